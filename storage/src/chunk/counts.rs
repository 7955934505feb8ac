//! What the ledger counts of rows: spans, log records and data points, by tenant and minute of receiving.

use crate::control::RowCounts;
use crate::control::removals::RowsByKey;
use crate::ledger::LedgerKey;
use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use whence_schema::tables::{events, metrics};
use whence_schema::{Signal, Table, TenantId, UnixNanos};

/// Where a batch has the columns that counting needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CountedColumns {
    tenant: usize,
    created_at: usize,
    what: What,
}

#[derive(Debug, Clone, Copy)]
enum What {
    /// One for each row of these signals.
    Signal(usize),
    /// The sum of this column.
    Points(usize),
}

/// Rows of a batch of stored columns by what the ledger counts.
pub(crate) fn count_rows(table: Table, batch: &RecordBatch) -> RowCounts {
    let mut by_key = RowsByKey::new();
    if let Some(columns) = CountedColumns::of(table) {
        columns.count(batch, &mut by_key);
    }
    let mut counts = RowCounts::default();
    by_key.iter().for_each(|(key, rows)| *counts.of_signal(key.signal) += rows);
    counts
}

impl CountedColumns {
    /// In a batch of all stored columns; `None` for a table the ledger does not count.
    pub(crate) fn of(table: Table) -> Option<Self> {
        use {events::column as event, metrics::column as metric};
        match table {
            Table::Events => Some(Self {
                tenant: event::TENANT_ID,
                created_at: event::CREATED_AT,
                what: What::Signal(event::SIGNAL),
            }),
            Table::Metrics => Some(Self {
                tenant: metric::TENANT_ID,
                created_at: metric::CREATED_AT,
                what: What::Points(metric::POINT_COUNT),
            }),
            Table::Correlations => None,
        }
    }

    /// The stored columns to be read, in order.
    pub(crate) fn stored(self) -> [usize; 3] {
        let (What::Signal(what) | What::Points(what)) = self.what;
        [self.tenant, self.created_at, what]
    }

    /// In a batch of [`stored`](Self::stored) columns only.
    pub(crate) fn projected(self) -> Self {
        let what = match self.what {
            What::Signal(_) => What::Signal(2),
            What::Points(_) => What::Points(2),
        };
        Self { tenant: 0, created_at: 1, what }
    }

    /// Adds the rows of `batch` to `counts`.
    pub(crate) fn count(self, batch: &RecordBatch, counts: &mut RowsByKey) {
        let tenants = batch.column(self.tenant).as_string_view();
        let created = batch.column(self.created_at).as_primitive::<TimestampMicrosecondType>();
        // Rows of one request mostly stand together.
        let mut last: Option<(LedgerKey, u64)> = None;
        for row in 0..batch.num_rows() {
            let Some((signal, rows)) = self.what.of(batch, row) else { continue };
            let minute_seconds = UnixNanos(created.value(row).saturating_mul(1_000)).minute_seconds();
            let tenant = tenants.value(row);
            match &mut last {
                Some((key, total))
                    if (key.minute_seconds, key.signal, key.tenant.as_str()) == (minute_seconds, signal, tenant) =>
                {
                    *total += rows;
                }
                _ => {
                    let key = LedgerKey { tenant: TenantId::new(tenant), signal, minute_seconds };
                    if let Some((key, total)) = last.replace((key, rows)) {
                        *counts.entry(key).or_default() += total;
                    }
                }
            }
        }
        if let Some((key, total)) = last {
            *counts.entry(key).or_default() += total;
        }
    }
}

impl What {
    fn of(self, batch: &RecordBatch, row: usize) -> Option<(Signal, u64)> {
        match self {
            Self::Signal(column) => match batch.column(column).as_string_view().value(row) {
                events::SIGNAL_SPAN => Some((Signal::Traces, 1)),
                events::SIGNAL_LOG => Some((Signal::Logs, 1)),
                _ => None,
            },
            Self::Points(column) => {
                let points = batch.column(column).as_primitive::<Int64Type>().value(row);
                Some((Signal::Metrics, points.unsigned_abs()))
            }
        }
    }
}
