//! Finding single rows by id in a snapshot, without a scan of the table: chunks are pruned by time and bloom filter, and
//! of the row groups left only the id column is read before the rows that match, and of these only the columns that are
//! asked for.

use crate::chunk::bucket_of;
use crate::{Chunk, Snapshot, StorageError, TableSnapshot};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, new_null_array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Int64Type, Schema, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use hashbrown::HashSet;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowFilter,
};
use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use whence_schema::tables::events::SIGNAL_SPAN;
use whence_schema::tables::{correlations, events};
use whence_schema::{EventId, SpanId, TenantId, TraceId, UnixNanos};

/// A span found by its id.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundSpan {
    /// Where it ran.
    pub asset_id: String,
    /// Its trace.
    pub trace: TraceId,
    /// When it began.
    pub start: UnixNanos,
    /// How long it took.
    pub duration_ns: i64,
    /// `status` is `error`.
    pub failed: bool,
    /// `server`, `client`, ...
    pub kind: Option<String>,
    /// Name of the operation.
    pub name: Option<String>,
    /// Its parent, when it has one.
    pub parent_span_id: Option<SpanId>,
}

/// Columns of `events` that say nothing of how events hang together. They are the largest ones, and what a page of them
/// holds before the row that is looked for must be decompressed. The last one is read where payloads are asked for.
const UNREAD: [usize; 7] = {
    use events::column::{AGENT, ENVIRONMENT, METADATA, MODEL, PAYLOAD, RESOURCE, SOURCE_MODULE};
    [SOURCE_MODULE, ENVIRONMENT, AGENT, MODEL, RESOURCE, METADATA, PAYLOAD]
};

/// Whether payloads are read, which takes longer than all the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payloads {
    /// They are.
    Read,
    /// They are null in rows of chunks.
    Unread,
}

impl Payloads {
    fn unread(self) -> &'static [usize] {
        match self {
            Self::Read => UNREAD.split_last().map_or(&[], |(_, others)| others),
            Self::Unread => &UNREAD,
        }
    }
}

/// Which end of a correlation to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkSide {
    /// The cause.
    Primary,
    /// The effect.
    Related,
}

impl Snapshot {
    /// Spans by event id, among those that began from `from` up to and including `to`. Blocks on file reads.
    ///
    /// # Errors
    ///
    /// When a chunk cannot be read.
    pub fn find_spans(
        &self,
        tenant: &TenantId,
        ids: &[EventId],
        from: UnixNanos,
        to: UnixNanos,
    ) -> Result<HashMap<EventId, FoundSpan>, StorageError> {
        let wanted: HashSet<EventId> = ids.iter().copied().collect();
        let low = Sought::Numbers(Arc::new(ids.iter().map(|id| id.low() as i64).collect()));
        let mut found = HashMap::new();
        let (table, column) = (&self.events, events::column::SPAN_ID);
        let search = Search { table, tenant, column, sought: low, unread: &UNREAD };
        let whole = search.run((from, to), &mut |batch| {
            for row in 0..batch.num_rows() {
                if let Some((id, span)) = span_at(batch, row, tenant)
                    && wanted.contains(&id)
                    && (from..=to).contains(&span.start)
                {
                    found.insert(id, span);
                }
            }
            found.len() == wanted.len()
        });
        whole.map(|()| found)
    }

    /// All events of one trace, stored columns, in no particular order. Source module, environment, agent, model, resource
    /// and metadata are not to be looked at: they are null in rows of chunks. Blocks on file reads.
    ///
    /// # Errors
    ///
    /// When a chunk cannot be read.
    pub fn trace_rows(
        &self,
        tenant: &TenantId,
        trace: TraceId,
        payloads: Payloads,
    ) -> Result<Vec<RecordBatch>, StorageError> {
        let always = (UnixNanos(i64::MIN), UnixNanos(i64::MAX));
        let mut rows = Vec::new();
        let mut failed = None;
        let sought = Sought::Trace(trace);
        let (column, unread) = (events::column::TRACE_ID, payloads.unread());
        let search = Search { table: &self.events, tenant, column, sought, unread };
        search.run(always, &mut |batch| {
            let own: BooleanArray =
                tenants_of(batch).iter().map(|owner| Some(owner == Some(tenant.as_str()))).collect();
            keep(filter_record_batch(batch, &own), &mut rows, &mut failed)
        })?;
        failed.map_or(Ok(rows), |error| Err(StorageError::from(error)))
    }

    /// Correlations one end of which is among `ids`, stored columns, in no particular order. Blocks on file reads.
    ///
    /// # Errors
    ///
    /// When a chunk cannot be read.
    pub fn links(&self, tenant: &TenantId, ids: &[EventId], side: LinkSide) -> Result<Vec<RecordBatch>, StorageError> {
        self.links_between(tenant, ids, side, (UnixNanos(i64::MIN), UnixNanos(i64::MAX)))
    }

    /// The same, of chunks that hold effects from one instant up to and including another.
    pub(crate) fn links_between(
        &self,
        tenant: &TenantId,
        ids: &[EventId],
        side: LinkSide,
        range: (UnixNanos, UnixNanos),
    ) -> Result<Vec<RecordBatch>, StorageError> {
        use correlations::column::{PRIMARY_HIGH, PRIMARY_LOW, RELATED_HIGH, RELATED_LOW};
        let wanted: HashSet<EventId> = ids.iter().copied().collect();
        let sought = Sought::Numbers(Arc::new(ids.iter().map(|id| id.low() as i64).collect()));
        let column = if side == LinkSide::Primary { PRIMARY_LOW } else { RELATED_LOW };
        let mut rows = Vec::new();
        let mut failed = None;
        Search { table: &self.correlations, tenant, column, sought, unread: &[] }.run(range, &mut |batch| {
            let numbers = |index: usize| batch.column(index).as_primitive::<Int64Type>();
            let (low, primary_high, related_high) = (numbers(column), numbers(PRIMARY_HIGH), numbers(RELATED_HIGH));
            let tenants = tenants_of(batch);
            let matches = |row: usize| {
                // A primary in the same trace as its related event has its high half left out.
                let high = if side == LinkSide::Primary && primary_high.is_valid(row) {
                    primary_high.value(row)
                } else {
                    related_high.value(row)
                };
                let id = EventId::from_halves(high as u64, low.value(row) as u64);
                Some(tenants.value(row) == tenant.as_str() && wanted.contains(&id))
            };
            let own: BooleanArray = (0..batch.num_rows()).map(matches).collect();
            keep(filter_record_batch(batch, &own), &mut rows, &mut failed)
        })?;
        failed.map_or(Ok(rows), |error| Err(StorageError::from(error)))
    }
}

fn keep(
    filtered: Result<RecordBatch, ArrowError>,
    rows: &mut Vec<RecordBatch>,
    failed: &mut Option<ArrowError>,
) -> bool {
    match filtered {
        Ok(batch) => {
            rows.extend((batch.num_rows() > 0).then_some(batch));
            false
        }
        Err(error) => {
            *failed = Some(error);
            true
        }
    }
}

fn tenants_of(batch: &RecordBatch) -> &arrow::array::StringViewArray {
    batch.column(events::column::TENANT_ID).as_string_view()
}

/// What a column is searched for.
#[derive(Debug, Clone)]
enum Sought {
    Numbers(Arc<HashSet<i64>>),
    Trace(TraceId),
}

impl Sought {
    fn may_be_in(&self, filter: &Sbbf) -> bool {
        match self {
            Self::Numbers(numbers) => numbers.iter().any(|number| filter.check(number)),
            Self::Trace(trace) => filter.check(&trace.0[..]),
        }
    }

    fn matches(&self, column: &ArrayRef) -> BooleanArray {
        match (self, column.data_type()) {
            (Self::Numbers(numbers), DataType::Int64) => {
                let values = column.as_primitive::<Int64Type>();
                values.iter().map(|value| Some(value.is_some_and(|value| numbers.contains(&value)))).collect()
            }
            (Self::Trace(trace), DataType::FixedSizeBinary(16)) => {
                let values = column.as_fixed_size_binary();
                (0..values.len()).map(|row| Some(values.is_valid(row) && values.value(row) == trace.0)).collect()
            }
            _ => BooleanArray::from(vec![false; column.len()]),
        }
    }
}

/// Rows that are looked for.
struct Search<'a> {
    table: &'a TableSnapshot,
    /// Whose rows: others may come as well.
    tenant: &'a TenantId,
    /// The column that tells which.
    column: usize,
    sought: Sought,
    /// Columns that are null in rows of chunks.
    unread: &'a [usize],
}

impl Search<'_> {
    /// Hands the rows to `each`, until it says that it has enough.
    fn run(
        &self,
        (from, to): (UnixNanos, UnixNanos),
        each: &mut dyn FnMut(&RecordBatch) -> bool,
    ) -> Result<(), StorageError> {
        let Self { table, column, sought, .. } = self;
        if matches!(sought, Sought::Numbers(numbers) if numbers.is_empty()) {
            return Ok(());
        }
        for batch in &table.batches {
            let matching = sought.matches(batch.column(*column));
            if matching.true_count() > 0 && each(&filter_record_batch(batch, &matching)?) {
                return Ok(());
            }
        }
        // What is asked for is mostly recent.
        let bucket = bucket_of(self.tenant.as_str());
        let may_match = |chunk: &&Arc<Chunk>| chunk.bucket == bucket && chunk.overlaps(from, to);
        let mut chunks: Vec<&Arc<Chunk>> = table.chunks.iter().filter(may_match).collect();
        chunks.sort_by_key(|chunk| std::cmp::Reverse(chunk.max_time));
        for chunk in chunks {
            if self.run_in(chunk, each)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn run_in(&self, chunk: &Chunk, each: &mut dyn FnMut(&RecordBatch) -> bool) -> Result<bool, StorageError> {
        let failed = || StorageError::chunk(&chunk.path);
        let filters = chunk.filters(self.column)?;
        let may_match = |filter: &Option<Sbbf>| filter.as_ref().is_none_or(|filter| self.sought.may_be_in(filter));
        let groups = filters.iter().enumerate().filter(|(_, filter)| may_match(filter)).map(|(group, _)| group);
        let groups: Vec<usize> = groups.collect();
        if groups.is_empty() {
            return Ok(false);
        }
        let file = chunk.open()?;
        let footer = with_pages(chunk.footer()?.clone(), &file).map_err(failed())?;
        let stored = footer.schema().clone();
        let leaves = footer.parquet_schema();
        let read = ProjectionMask::leaves(leaves, (0..stored.fields().len()).filter(|at| !self.unread.contains(at)));
        let (mask, sought) = (ProjectionMask::leaves(leaves, [self.column]), self.sought.clone());
        let predicate = ArrowPredicateFn::new(mask, move |batch: RecordBatch| Ok(sought.matches(batch.column(0))));
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, footer)
            .with_row_groups(groups)
            .with_projection(read)
            .with_row_filter(RowFilter::new(vec![Box::new(predicate)]))
            .build()
            .map_err(failed())?;
        for batch in reader {
            if each(&self.with_unread(&batch?, &stored)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A batch with all `stored` columns in their places, those that were not read as nulls.
    fn with_unread(&self, read: &RecordBatch, stored: &Schema) -> Result<RecordBatch, ArrowError> {
        let mut of_read = read.columns().iter();
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for (at, field) in stored.fields().iter().enumerate() {
            if self.unread.contains(&at) {
                fields.push(Arc::new(field.as_ref().clone().with_nullable(true)));
                columns.push(new_null_array(field.data_type(), read.num_rows()));
            } else {
                fields.push(field.clone());
                columns.extend(of_read.next().cloned());
            }
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
    }
}

/// The footer with where each page lies, so that pages without a match are not even read. Not kept: every page of every
/// column is in it, and few chunks are looked into.
fn with_pages(footer: ArrowReaderMetadata, file: &File) -> Result<ArrowReaderMetadata, ParquetError> {
    let mut reader = ParquetMetaDataReader::new_with_metadata(footer.metadata().as_ref().clone())
        .with_column_index_policy(PageIndexPolicy::Skip)
        .with_offset_index_policy(PageIndexPolicy::Optional);
    reader.read_page_indexes(file)?;
    ArrowReaderMetadata::try_new(Arc::new(reader.finish()?), ArrowReaderOptions::new())
}

fn span_at(batch: &RecordBatch, row: usize, tenant: &TenantId) -> Option<(EventId, FoundSpan)> {
    use events::column as at;
    let text = |index: usize| {
        let column = batch.column(index).as_string_view();
        column.is_valid(row).then(|| column.value(row))
    };
    let number = |index: usize| {
        let column = batch.column(index).as_primitive::<Int64Type>();
        column.is_valid(row).then(|| column.value(row))
    };
    if text(at::TENANT_ID) != Some(tenant.as_str()) || text(at::SIGNAL) != Some(SIGNAL_SPAN) {
        return None;
    }
    let traces = batch.column(at::TRACE_ID).as_fixed_size_binary();
    let trace = traces.is_valid(row).then(|| TraceId::from_slice(traces.value(row)))??;
    let micros = batch.column(at::TIMESTAMP).as_primitive::<TimestampMicrosecondType>().value(row);
    let nanos = batch.column(at::TIMESTAMP_NANOS).as_primitive::<arrow::datatypes::Int16Type>().value(row);
    let id = EventId::of_span(trace, SpanId(number(at::SPAN_ID)? as u64));
    let span = FoundSpan {
        asset_id: text(at::ASSET_ID)?.to_owned(),
        trace,
        start: UnixNanos(micros.saturating_mul(1_000).saturating_add(i64::from(nanos))),
        duration_ns: number(at::DURATION_NS).unwrap_or(0),
        failed: text(at::STATUS) == Some("error"),
        kind: text(at::KIND).map(str::to_owned),
        name: text(at::NAME).map(str::to_owned),
        parent_span_id: number(at::PARENT_SPAN_ID).map(|bits| SpanId(bits as u64)),
    };
    Some((id, span))
}
