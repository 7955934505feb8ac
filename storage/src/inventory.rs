//! Chunks and background work as rows, for `whence.chunks` and `whence.jobs`.

use crate::chunk::{bucket_of, day_text};
use crate::flush::blocking;
use crate::{Chunk, JobRecord, StorageError, Store};
use arrow::array::{ArrayRef, Float64Array, Int16Array, Int64Array, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use std::sync::Arc;
use whence_schema::tables::timestamp_type;
use whence_schema::{Table, TenantId, UnixNanos};

/// A chunk with the size its columns have before compression, which only its footer knows.
type Measured = (Table, Arc<Chunk>, Option<u64>);

impl Store {
    /// The chunks of the partitions that a tenant's hash falls in. A partition holds the rows of several tenants, so
    /// rows and bytes are those of the file, not of the tenant. Columns: table_name, day, partition, file, rows, bytes,
    /// uncompressed_bytes, compression_ratio, min_time, max_time, level, created_at. Reads the footer of chunks that no
    /// query has read yet.
    ///
    /// # Errors
    ///
    /// When a footer cannot be read for another reason than that the file is damaged: then the sizes are null.
    pub async fn chunk_rows(&self, tenant: &TenantId) -> Result<RecordBatch, StorageError> {
        let bucket = bucket_of(tenant.as_str());
        let snapshot = self.snapshot();
        let measured = blocking("chunks", move || {
            let own = |table: Table| snapshot.table(table).chunks.iter().filter(|chunk| chunk.bucket == bucket);
            let chunks = Table::ALL.into_iter().flat_map(|table| own(table).map(move |chunk| (table, chunk.clone())));
            Ok(chunks.map(|(table, chunk)| (table, chunk.clone(), uncompressed(&chunk))).collect::<Vec<_>>())
        });
        Ok(chunks_to_batch(&measured.await?)?)
    }

    /// How the last run of each kind of background work went. Columns: job, last_started_at, last_duration_ms,
    /// last_result, details, runs, failures; counted since the server was started.
    ///
    /// # Errors
    ///
    /// When the rows cannot be put into columns.
    pub fn job_rows(&self) -> Result<RecordBatch, StorageError> {
        Ok(jobs_to_batch(&self.jobs())?)
    }
}

/// Blocks the first time.
fn uncompressed(chunk: &Chunk) -> Option<u64> {
    let footer = chunk.footer().inspect_err(|error| tracing::warn!(%error, "no sizes for whence.chunks")).ok()?;
    Some(footer.metadata().row_groups().iter().map(|group| group.total_byte_size().unsigned_abs()).sum())
}

fn count(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Int64, nullable)
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8View, false)
}

fn time(name: &str) -> Field {
    Field::new(name, timestamp_type(), false)
}

fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn times(values: impl Iterator<Item = UnixNanos>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values.map(|time| time.micros())).with_timezone("UTC"))
}

fn chunks_to_batch(chunks: &[Measured]) -> Result<RecordBatch, ArrowError> {
    let schema = Schema::new(vec![
        text("table_name"),
        text("day"),
        Field::new("partition", DataType::Int16, false),
        text("file"),
        count("rows", false),
        count("bytes", false),
        count("uncompressed_bytes", true),
        Field::new("compression_ratio", DataType::Float64, true),
        time("min_time"),
        time("max_time"),
        Field::new("level", DataType::Int16, false),
        time("created_at"),
    ]);
    let of = |value: fn(&Chunk) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(chunks.iter().map(|(_, chunk, _)| value(chunk))))
    };
    let small = |value: fn(&Chunk) -> i16| -> ArrayRef {
        Arc::new(Int16Array::from_iter_values(chunks.iter().map(|(_, chunk, _)| value(chunk))))
    };
    let files = chunks.iter().map(|(table, chunk, _)| format!("{}/{}", table.name(), chunk.relative_path()));
    let ratio = |(_, chunk, raw): &Measured| raw.map(|raw| raw as f64 / chunk.bytes.max(1) as f64);
    let second = |chunk: &Chunk| UnixNanos(chunk.created_seconds.saturating_mul(1_000_000_000));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from_iter_values(chunks.iter().map(|(table, ..)| table.name()))),
        Arc::new(StringViewArray::from_iter_values(chunks.iter().map(|(_, chunk, _)| day_text(chunk.day)))),
        small(|chunk| chunk.bucket as i16),
        Arc::new(StringViewArray::from_iter_values(files)),
        of(|chunk| integer(chunk.rows)),
        of(|chunk| integer(chunk.bytes)),
        Arc::new(chunks.iter().map(|(.., raw)| raw.map(integer)).collect::<Int64Array>()),
        Arc::new(chunks.iter().map(ratio).collect::<Float64Array>()),
        times(chunks.iter().map(|(_, chunk, _)| chunk.min_time)),
        times(chunks.iter().map(|(_, chunk, _)| chunk.max_time)),
        small(|chunk| i16::from(chunk.level)),
        times(chunks.iter().map(|(_, chunk, _)| second(chunk))),
    ];
    RecordBatch::try_new(Arc::new(schema), columns)
}

fn jobs_to_batch(jobs: &[JobRecord]) -> Result<RecordBatch, ArrowError> {
    let schema = Schema::new(vec![
        text("job"),
        time("last_started_at"),
        Field::new("last_duration_ms", DataType::Float64, true),
        text("last_result"),
        text("details"),
        count("runs", false),
        count("failures", false),
    ]);
    let result = |job: &JobRecord| match (job.duration, job.succeeded) {
        (None, _) => "running",
        (_, true) => "succeeded",
        (_, false) => "failed",
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from_iter_values(jobs.iter().map(|job| job.kind.name()))),
        times(jobs.iter().map(|job| job.started)),
        Arc::new(jobs.iter().map(|job| job.duration.map(|d| d.as_secs_f64() * 1e3)).collect::<Float64Array>()),
        Arc::new(StringViewArray::from_iter_values(jobs.iter().map(result))),
        Arc::new(StringViewArray::from_iter_values(jobs.iter().map(|job| job.outcome.as_str()))),
        Arc::new(Int64Array::from_iter_values(jobs.iter().map(|job| integer(job.runs)))),
        Arc::new(Int64Array::from_iter_values(jobs.iter().map(|job| integer(job.failures)))),
    ];
    RecordBatch::try_new(Arc::new(schema), columns)
}
