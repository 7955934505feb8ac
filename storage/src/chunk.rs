//! Chunks: immutable Parquet files of one table, day and bucket.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use whence_schema::UnixNanos;

/// An immutable Parquet file. The file stays as long as somebody holds its `Arc`, also when compaction or retention
/// has taken it out of the table.
#[derive(Debug)]
pub struct Chunk {
    /// Absolute path.
    pub path: PathBuf,
    /// Rows in it.
    pub rows: u64,
    /// Size of the file.
    pub bytes: u64,
    /// Earliest `timestamp`.
    pub min_time: UnixNanos,
    /// Latest `timestamp`, rounded up to the microsecond.
    pub max_time: UnixNanos,
    /// Days since 1970-01-01 (UTC): the partition column `day`.
    pub day: i32,
    /// Hash of the tenant modulo [`BUCKETS`]: the partition column `bucket`.
    pub bucket: i32,
    /// When the newest of its rows were written, in seconds since 1970.
    pub created_seconds: i64,
    /// How often its rows were joined with others.
    pub level: u8,
    pub(crate) obsolete: AtomicBool,
}

/// Number of hash partitions of a day.
pub const BUCKETS: u64 = 4;

impl Drop for Chunk {
    fn drop(&mut self) {
        if self.obsolete.load(Ordering::Acquire)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "replaced chunk not deleted; the next start will");
        }
    }
}
