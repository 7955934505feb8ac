//! The state at a time, out of a later one: rows accepted after it are left out, and the ledger no longer counts them.
//!
//! * `events`: exact, for `created_at` is when the request was accepted.
//! * `correlations`: links made until then, some milliseconds after their later end was accepted.
//! * `metrics`: whole parts. A part sums up what came for a series and minute between two commits (and, once compaction
//!   has joined parts, all of that minute), and has the time of the first of its points: parts begun until then stay,
//!   with everything in them up to the restore point.
//! * ledger: exact for spans and logs, and always balanced. Duplicates, rejected and dropped items of the minute that
//!   the time falls into stay counted; of metrics, the newest minutes give way.
//! * `asset_metadata`, `incidents`, `log_templates`: those first seen until then; what was said about them later stays.
//! * Onsets of trouble: of the hours that had been looked at until then; later ones are looked at again.
//! * Causes and effects that waited for each other across that time are forgotten, as is which requests were seen.

use crate::Chunk;
use crate::chunk::file::is_intact;
use crate::chunk::join::batches;
use crate::chunk::writer::write_chunks;
use crate::control::Control;
use crate::ledger::{Counts, Entries, LedgerKey};
use crate::{Disk, RealDisk, StorageError};
use arrow::array::{AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::compute::kernels::boolean::not;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parquet::file::statistics::Statistics;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use whence_schema::tables::{events, metrics};
use whence_schema::{Signal, Table, TenantId, UnixNanos};

/// Rows written as one chunk at most, which bounds memory.
const CHUNK_ROWS: usize = 262_144;

/// What is left out, and how many rows that was.
#[derive(Debug, Default)]
pub(super) struct Cut {
    at_micros: Option<i64>,
    rows: [u64; 3],
    /// Spans and logs by the minute in which they were accepted.
    removed: Entries,
    /// Points by tenant.
    removed_points: BTreeMap<TenantId, u64>,
}

impl Cut {
    pub(super) fn new(at: Option<UnixNanos>) -> Self {
        Self { at_micros: at.map(UnixNanos::micros), ..Self::default() }
    }

    pub(super) fn rows(&self) -> [u64; 3] {
        self.rows
    }

    /// True when the statistics of a chunk say that none of its rows is too late. Blocks.
    pub(super) fn keeps_all(&self, table: Table, chunk: &Chunk) -> Result<bool, StorageError> {
        let Some(at) = self.at_micros else { return Ok(true) };
        let index = created_at(table)?;
        let footer = chunk.footer()?;
        Ok(footer.metadata().row_groups().iter().all(|group| match group.column(index).statistics() {
            Some(Statistics::Int64(values)) => values.max_opt().is_some_and(|max| *max <= at),
            _ => false,
        }))
    }

    /// Writes the rows of `chunk` that stay below `table_folder`, in chunks of the same age and level. Blocks.
    pub(super) fn copy_part(
        &mut self,
        table: Table,
        chunk: &Chunk,
        table_folder: &Path,
    ) -> Result<Vec<Arc<Chunk>>, StorageError> {
        let at = self.at_micros.unwrap_or(i64::MAX);
        let index = created_at(table)?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        if !is_intact(&chunk.path)? {
            return Err(StorageError::Damaged { path: chunk.path.clone() });
        }
        let (mut chunks, mut kept, mut rows) = (Vec::new(), Vec::new(), 0);
        let write =
            |kept: &[RecordBatch]| write_chunks(&disk, table, table_folder, kept, chunk.created_seconds, chunk.level);
        for batch in batches(chunk)? {
            let batch = batch?;
            let times = batch.column(index).as_primitive::<TimestampMicrosecondType>();
            let stays: BooleanArray = times.values().iter().map(|time| Some(*time <= at)).collect();
            self.count(table, &filter_record_batch(&batch, &not(&stays)?)?);
            let staying = filter_record_batch(&batch, &stays)?;
            rows += staying.num_rows();
            if staying.num_rows() > 0 {
                kept.push(staying);
            }
            if rows >= CHUNK_ROWS {
                chunks.extend(write(&kept)?);
                (kept, rows) = (Vec::new(), 0);
            }
        }
        if !kept.is_empty() {
            chunks.extend(write(&kept)?);
        }
        Ok(chunks)
    }

    fn count(&mut self, table: Table, left_out: &RecordBatch) {
        self.rows[table as usize] += left_out.num_rows() as u64;
        match table {
            Table::Events => self.count_events(left_out),
            Table::Metrics => {
                let tenants = left_out.column(metrics::column::TENANT_ID).as_string_view();
                let points = left_out.column(metrics::column::POINT_COUNT).as_primitive::<Int64Type>();
                for (tenant, points) in tenants.iter().zip(points.iter()) {
                    let tenant = TenantId::new(tenant.unwrap_or_default());
                    *self.removed_points.entry(tenant).or_default() += points.unwrap_or(0).unsigned_abs();
                }
            }
            Table::Correlations => {}
        }
    }

    fn count_events(&mut self, left_out: &RecordBatch) {
        let tenants = left_out.column(events::column::TENANT_ID).as_string_view();
        let times = left_out.column(events::column::CREATED_AT).as_primitive::<TimestampMicrosecondType>();
        let signals = left_out.column(events::column::SIGNAL).as_string_view();
        for row in 0..left_out.num_rows() {
            let signal = match signals.value(row) {
                events::SIGNAL_SPAN => Signal::Traces,
                events::SIGNAL_LOG => Signal::Logs,
                // Events of spans are no items of their own.
                _ => continue,
            };
            let minute_seconds = times.value(row).div_euclid(60_000_000) * 60;
            let key = LedgerKey { tenant: TenantId::new(tenants.value(row)), signal, minute_seconds };
            self.removed.entry(key).or_default().stored += 1;
        }
    }

    /// Takes what was left out from the ledger, and from the control database what is later.
    pub(super) async fn apply(&self, control: &Control) -> Result<(), StorageError> {
        let Some(at) = self.at_micros else { return Ok(()) };
        let (ledger, _) = control.ledger(None).await?;
        control.cut(&self.ledger(ledger, at), UnixNanos(at.saturating_mul(1_000))).await
    }

    /// The ledger without what was left out.
    fn ledger(&self, mut ledger: Entries, at_micros: i64) -> Entries {
        for (key, counts) in &self.removed {
            if let Some(entry) = ledger.get_mut(key) {
                take(entry, counts.stored);
            }
        }
        for (tenant, points) in &self.removed_points {
            let mut rest = *points;
            let own = ledger.iter_mut().filter(|(key, _)| key.tenant == *tenant && key.signal == Signal::Metrics);
            let mut newest_first: Vec<_> = own.collect();
            newest_first.sort_by_key(|(key, _)| std::cmp::Reverse(key.minute_seconds));
            for (_, entry) in newest_first {
                let taken = rest.min(entry.stored);
                take(entry, taken);
                rest -= taken;
            }
        }
        let minute_seconds = at_micros.div_euclid(60_000_000) * 60;
        ledger.retain(|key, counts| {
            if key.minute_seconds > minute_seconds {
                // Nothing was stored then: what is left are points in parts that stay.
                *counts = Counts { received: counts.stored, stored: counts.stored, ..Counts::default() };
            }
            *counts != Counts::default()
        });
        ledger
    }
}

fn take(entry: &mut Counts, stored: u64) {
    entry.stored = entry.stored.saturating_sub(stored);
    entry.received = entry.stored + entry.duplicate + entry.rejected + entry.dropped;
}

fn created_at(table: Table) -> Result<usize, ArrowError> {
    table.stored_schema().index_of("created_at")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_loses_what_was_left_out_and_still_balances() {
        let tenant = TenantId::default();
        let key = |signal, minute_seconds| LedgerKey { tenant: tenant.clone(), signal, minute_seconds };
        let counts =
            |stored, duplicate| Counts { received: stored + duplicate, stored, duplicate, ..Counts::default() };
        let ledger = Entries::from([
            (key(Signal::Traces, 60), counts(10, 1)),
            (key(Signal::Traces, 120), counts(20, 2)),
            (key(Signal::Metrics, 60), counts(5, 0)),
            (key(Signal::Metrics, 120), counts(7, 3)),
        ]);
        let mut cut = Cut::new(Some(UnixNanos(90_000_000_000)));
        cut.removed =
            Entries::from([(key(Signal::Traces, 60), counts(4, 0)), (key(Signal::Traces, 120), counts(20, 0))]);
        cut.removed_points = BTreeMap::from([(tenant.clone(), 6)]);
        let left = cut.ledger(ledger, 90_000_000);
        let expected = Entries::from([
            (key(Signal::Traces, 60), counts(6, 1)),
            (key(Signal::Metrics, 60), counts(5, 0)),
            (key(Signal::Metrics, 120), counts(1, 0)),
        ]);
        assert_eq!(left, expected);
    }
}
