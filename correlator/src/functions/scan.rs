//! Reading some columns of a table for one tenant and a range of time: memory first, then the chunks, newest first.

use crate::error::CorrelatorError;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{and, cast, filter_record_batch};
use arrow::datatypes::{Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicate, ArrowPredicateFn, ParquetRecordBatchReaderBuilder, RowFilter};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use parquet::schema::types::SchemaDescriptor;
use std::fs::File;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use whence_schema::tables::events::{self, column};
use whence_schema::{EventId, Table, TenantId, UnixNanos};
use whence_storage::{Chunk, Snapshot, TableSnapshot, bucket_of};

/// Position of `timestamp` in every table.
const TIMESTAMP: usize = column::TIMESTAMP;

/// Rows decoded at once.
const BATCH_ROWS: usize = 8_192;

/// From a point in time up to another one, which is not in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) from: UnixNanos,
    pub(crate) to: UnixNanos,
}

impl Range {
    /// Microseconds that lie in the range: first and last.
    fn micros(self) -> (i64, i64) {
        let up = |nanos: i64| nanos.div_euclid(1_000) + i64::from(nanos.rem_euclid(1_000) > 0);
        (up(self.from.0), up(self.to.0) - 1)
    }
}

/// Which rows of a batch of stored columns are wanted.
pub(crate) type Choose = fn(&RecordBatch) -> Result<BooleanArray, ArrowError>;

/// Which rows a scan hands over, beyond their tenant and time.
#[derive(Clone, Copy)]
pub(crate) struct Only {
    /// Stored columns that `choose` sees, ascending. Of the others, what is not chosen is not decoded.
    pub(crate) columns: &'static [usize],
    /// Which rows are handed over.
    pub(crate) choose: Choose,
}

/// Which rows of a table are read, and which columns of them.
#[derive(Clone, Copy)]
pub(crate) struct Scan<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) table: Table,
    pub(crate) tenant: &'a TenantId,
    pub(crate) range: Range,
    /// Positions of stored columns, ascending, beginning with tenant and timestamp (0 and 1).
    pub(crate) columns: &'a [usize],
    /// All rows of tenant and range when `None`.
    pub(crate) only: Option<Only>,
}

/// Takes a batch of rows; breaks when it has had enough.
pub(crate) type Visit<'a> = dyn FnMut(&RecordBatch) -> Result<ControlFlow<()>, CorrelatorError> + 'a;

/// Batches that a thread reads ahead of who looks at them.
const AHEAD: usize = 4;

/// Runs `read` on a thread of its own, a few batches ahead of `visit`, which runs on this one and sees them in the same
/// order.
pub(crate) fn read_ahead(
    read: impl FnOnce(&mut Visit<'_>) -> Result<(), CorrelatorError> + Send,
    visit: &mut Visit<'_>,
) -> Result<(), CorrelatorError> {
    std::thread::scope(|scope| {
        let (sender, batches) = sync_channel::<RecordBatch>(AHEAD);
        let reader = scope.spawn(move || {
            read(&mut |batch| match sender.send(batch.clone()) {
                Ok(()) => Ok(ControlFlow::Continue(())),
                Err(_) => Ok(ControlFlow::Break(())),
            })
        });
        // Whoever leaves this loop early drops the receiver, at which the reader ends.
        for batch in batches {
            if visit(&batch)?.is_break() {
                return Ok(());
            }
        }
        reader.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

impl Scan<'_> {
    /// Hands the rows to `visit`, batch by batch, until it breaks. Blocks on file reads.
    pub(crate) fn run(&self, visit: &mut Visit<'_>) -> Result<(), CorrelatorError> {
        if self.memory(visit)?.is_continue() {
            self.chunks(visit)?;
        }
        Ok(())
    }

    /// [`Self::run`] of rows in memory.
    pub(crate) fn memory(&self, visit: &mut Visit<'_>) -> Result<ControlFlow<()>, CorrelatorError> {
        for batch in self.snapshot.table(self.table).batches.iter().rev() {
            let Some(mut wanted) = wanted(batch, self.tenant, self.range).map_err(scanning)? else { continue };
            if let Some(Only { columns, choose }) = self.only {
                let chosen = batch.project(columns).and_then(|seen| choose(&seen)).map_err(scanning)?;
                wanted = and(&wanted, &chosen).map_err(scanning)?;
            }
            let rows = wanted.true_count();
            let batch = batch.project(self.columns).map_err(scanning)?;
            let batch = if rows == batch.num_rows() {
                batch
            } else {
                filter_record_batch(&batch, &wanted).map_err(scanning)?
            };
            if rows > 0 && visit(&batch)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// [`Self::run`] of chunks, the newest first.
    pub(crate) fn chunks(&self, visit: &mut Visit<'_>) -> Result<(), CorrelatorError> {
        let &Self { table, range, columns, .. } = self;
        let stored = table.stored_schema();
        let projected = Arc::new(stored.project(columns).map_err(scanning)?);
        let bucket = bucket_of(self.tenant.as_str());
        let is_there =
            |chunk: &&Arc<Chunk>| chunk.bucket == bucket && chunk.max_time >= range.from && chunk.min_time < range.to;
        for chunk in newest_first(&self.snapshot.table(table).chunks).filter(is_there) {
            let failed = |source| CorrelatorError::Chunk { path: chunk.path.clone(), source };
            let builder = open(chunk)?;
            let time = columns.get(1).map_or("timestamp", |at| stored.field(*at).name());
            let groups = builder.metadata().row_groups().iter().enumerate();
            let groups = groups.filter(|(_, group)| may_hold(group, time, range)).map(|(index, _)| index).collect();
            let names = columns.iter().map(|at| stored.field(*at).name().as_str());
            let mask = ProjectionMask::columns(builder.parquet_schema(), names);
            let filter = row_filter(builder.parquet_schema(), &stored, self.only, chunk, range);
            let reader = builder.with_projection(mask).with_row_groups(groups).with_batch_size(BATCH_ROWS);
            let reader = if let Some(filter) = filter { reader.with_row_filter(filter) } else { reader };
            for batch in reader.build().map_err(failed)? {
                let batch = as_stored(&batch.map_err(scanning)?, &projected).map_err(scanning)?;
                let Some(wanted) = wanted(&batch, self.tenant, range).map_err(scanning)? else { continue };
                let is_all = wanted.true_count() == batch.num_rows();
                let batch = if is_all { batch } else { filter_record_batch(&batch, &wanted).map_err(scanning)? };
                if visit(&batch)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Which rows of a batch, that begins with tenant and timestamp, are of `tenant` in `range`; `None` when none is.
fn wanted(batch: &RecordBatch, tenant: &TenantId, range: Range) -> Result<Option<BooleanArray>, ArrowError> {
    let wrong = || ArrowError::SchemaError("tenant_id has another type than stored".to_owned());
    let tenants = batch.columns().first().and_then(|array| array.as_string_view_opt()).ok_or_else(wrong)?;
    let times = column_as::<TimestampMicrosecondType>(batch, TIMESTAMP)?.values();
    let (first, last) = range.micros();
    // Most batches are of other times, and numbers are compared faster than texts.
    if !times.iter().any(|time| (first..=last).contains(time)) {
        return Ok(None);
    }
    let inside = |row: usize| (first..=last).contains(&times[row]) && tenants.value(row) == tenant.as_str();
    let wanted = BooleanArray::from_iter((0..batch.num_rows()).map(|row| Some(inside(row))));
    Ok((wanted.true_count() > 0).then_some(wanted))
}

/// What a reader of `chunk` decides before it decodes the other columns: times, where some of the chunk lie outside the
/// range, then what `only` says.
fn row_filter(
    file: &SchemaDescriptor,
    stored: &SchemaRef,
    only: Option<Only>,
    chunk: &Chunk,
    range: Range,
) -> Option<RowFilter> {
    let mask =
        |columns: &[usize]| ProjectionMask::columns(file, columns.iter().map(|at| stored.field(*at).name().as_str()));
    let mut predicates: Vec<Box<dyn ArrowPredicate>> = Vec::new();
    if chunk.min_time < range.from || chunk.max_time >= range.to {
        let (first, last) = range.micros();
        let inside = move |batch: RecordBatch| {
            let times = column_as::<TimestampMicrosecondType>(&batch, 0)?;
            Ok(BooleanArray::from_iter(times.values().iter().map(|time| Some((first..=last).contains(time)))))
        };
        predicates.push(Box::new(ArrowPredicateFn::new(mask(&[TIMESTAMP]), inside)));
    }
    if let Some(Only { columns, choose }) = only {
        let seen = stored.project(columns).map(Arc::new);
        let chosen = move |batch: RecordBatch| choose(&as_stored(&batch, seen.as_ref().map_err(again)?)?);
        predicates.push(Box::new(ArrowPredicateFn::new(mask(columns), chosen)));
    }
    (!predicates.is_empty()).then(|| RowFilter::new(predicates))
}

/// Errors cannot be cloned, and a filter answers many times.
fn again(error: &ArrowError) -> ArrowError {
    ArrowError::SchemaError(error.to_string())
}

/// The log record or span event with this id, all stored columns. A scan of two columns of the whole table: ids of
/// positions have no index. Blocks on file reads.
pub(crate) fn find_position(
    events: &TableSnapshot,
    tenant: &TenantId,
    id: EventId,
) -> Result<Option<RecordBatch>, CorrelatorError> {
    let position = i32::try_from(id.low());
    let Ok(position) = position else { return Ok(None) };
    let wanted = Wanted { tenant: tenant.clone(), digest: id.high() as i64, position };
    let of_batch = |batch: &RecordBatch| {
        let columns = [column::TENANT_ID, column::REQUEST_DIGEST, column::POSITION];
        filter_record_batch(batch, &wanted.among(&batch.project(&columns)?)?)
    };
    for batch in events.batches.iter().rev() {
        let found = of_batch(batch).map_err(scanning)?;
        if found.num_rows() > 0 {
            return Ok(Some(found.slice(0, 1)));
        }
    }
    for chunk in newest_first(&events.chunks) {
        let failed = |source| CorrelatorError::Chunk { path: chunk.path.clone(), source };
        let builder = open(chunk)?;
        let names = ["tenant_id", "request_digest", "position"];
        let mask = ProjectionMask::columns(builder.parquet_schema(), names);
        let wanted = wanted.clone();
        let filter = RowFilter::new(vec![Box::new(ArrowPredicateFn::new(mask, move |batch| wanted.among(&batch)))]);
        for batch in builder.with_row_filter(filter).with_batch_size(BATCH_ROWS).build().map_err(failed)? {
            let batch = batch.map_err(scanning)?;
            if batch.num_rows() > 0 {
                return as_stored(&batch.slice(0, 1), &events::stored_schema()).map(Some).map_err(scanning);
            }
        }
    }
    Ok(None)
}

#[derive(Clone)]
struct Wanted {
    tenant: TenantId,
    digest: i64,
    position: i32,
}

impl Wanted {
    /// Which rows of (tenant, digest, position) are wanted.
    fn among(&self, batch: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        let digests = column_as::<Int64Type>(batch, 1)?;
        let positions = column_as::<Int32Type>(batch, 2)?;
        let mut tenants = None;
        let mut mask = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let here = digests.is_valid(row) && digests.value(row) == self.digest && positions.is_valid(row);
            let mut here = here && positions.value(row) == self.position;
            if here {
                let tenants = match &tenants {
                    Some(tenants) => tenants,
                    None => tenants.insert(cast(batch.column(0), &arrow::datatypes::DataType::Utf8View)?),
                };
                here = tenants.as_string_view().value(row) == self.tenant.as_str();
            }
            mask.push(here);
        }
        Ok(BooleanArray::from(mask))
    }
}

fn column_as<T: arrow::array::ArrowPrimitiveType>(
    batch: &RecordBatch,
    index: usize,
) -> Result<&arrow::array::PrimitiveArray<T>, ArrowError> {
    let wrong = || ArrowError::SchemaError(format!("column {index} has another type than stored"));
    batch.columns().get(index).and_then(|array| array.as_primitive_opt::<T>()).ok_or_else(wrong)
}

fn scanning(source: ArrowError) -> CorrelatorError {
    CorrelatorError::Arrow { what: "rows of a scan", source }
}

fn newest_first(chunks: &[Arc<Chunk>]) -> impl Iterator<Item = &Arc<Chunk>> {
    let mut chunks: Vec<&Arc<Chunk>> = chunks.iter().collect();
    chunks.sort_by_key(|chunk| std::cmp::Reverse(chunk.max_time));
    chunks.into_iter()
}

fn open(chunk: &Chunk) -> Result<ParquetRecordBatchReaderBuilder<File>, CorrelatorError> {
    let file = chunk.open();
    let file = file.map_err(|source| CorrelatorError::Storage { what: "read", source: Box::new(source) })?;
    ParquetRecordBatchReaderBuilder::try_new(file)
        .map_err(|source| CorrelatorError::Chunk { path: chunk.path.clone(), source })
}

/// False when the statistics of the row group show that no row of it lies in `range`.
fn may_hold(group: &RowGroupMetaData, time: &str, range: Range) -> bool {
    let (first, last) = range.micros();
    let column = group.columns().iter().find(|column| column.column_path().string() == time);
    match column.and_then(|column| column.statistics()) {
        Some(Statistics::Int64(times)) => {
            times.max_opt().is_none_or(|max| *max >= first) && times.min_opt().is_none_or(|min| *min <= last)
        }
        _ => true,
    }
}

/// The batch with the types of `schema`: files may hold texts in another layout.
fn as_stored(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let wanted = schema.fields().iter();
    let columns: Result<Vec<ArrayRef>, ArrowError> =
        batch.columns().iter().zip(wanted).map(|(array, field)| cast(array, field.data_type())).collect();
    RecordBatch::try_new(schema.clone(), columns?)
}
