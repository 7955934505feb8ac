//! Chunks: immutable Parquet files of one table, day and bucket.
//!
//! ```text
//! <data>/events/day=2023-01-29/bucket=2/1769000000-00-1f0003-89abcdef01234567.parquet
//!                                       |          |  |      +-- XXH3-64 of the content
//!                                       |          |  +-- number that makes the name unique
//!                                       |          +-- level: how often its rows were joined with others; 9 when cold
//!                                       +-- Unix second at which the newest of its rows were written
//! ```
//!
//! A file without a checksum in its name, ending in `.partial`, is being written.

pub(crate) mod constants;
pub(crate) mod counts;
pub(crate) mod duplicates;
pub(crate) mod file;
mod filters;
mod gather;
pub(crate) mod join;
mod layout;
pub(crate) mod merge;
mod sort;
pub(crate) mod text;
pub(crate) mod writer;

use crate::StorageError;
use crate::remote::Remote;
use arrow::array::AsArray;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use whence_schema::UnixNanos;
use xxhash_rust::xxh3::xxh3_64;

/// Number of hash partitions of a day.
pub const BUCKETS: u64 = 4;

/// Level of chunks that are in their last form: sorted whole, compressed best.
pub(crate) const COLD_LEVEL: u8 = 9;

pub(crate) const MICROS_PER_DAY: i64 = 86_400_000_000;

/// How often an evicted file is fetched anew before it could be opened.
const OPEN_ATTEMPTS: usize = 5;

/// An immutable Parquet file. The file stays as long as somebody holds its `Arc`, also when compaction or retention
/// has taken it out of the table. In a store with a bucket the local file is a copy that may come and go:
/// [`open`](Self::open) brings it back.
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
    /// Latest `timestamp`, with the nanoseconds below its microsecond rounded up.
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
    /// Another one for each chunk of this process.
    number: u64,
    footer: OnceLock<ArrowReaderMetadata>,
    constants: OnceLock<Box<[(String, constants::Constant)]>>,
    /// Set once the chunk is in a bucket.
    remote: OnceLock<Arc<Remote>>,
    tenants: OnceLock<Vec<String>>,
    text_index: OnceLock<text::TextIndex>,
}

/// What a chunk is, apart from its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) min_micros: i64,
    pub(crate) max_micros: i64,
}

/// The bucket of a tenant.
pub fn bucket_of(tenant: &str) -> i32 {
    (xxh3_64(tenant.as_bytes()) % BUCKETS) as i32
}

impl Chunk {
    /// `None` when path and name are not those of a chunk.
    pub(crate) fn at(path: PathBuf, facts: Facts) -> Option<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let mut name = path.file_stem()?.to_str()?.splitn(4, '-');
        let created_seconds = name.next()?.parse().ok()?;
        let level = name.next()?.parse().ok()?;
        let bucket_folder = path.parent()?;
        let bucket = bucket_folder.file_name()?.to_str()?.strip_prefix("bucket=")?.parse().ok()?;
        let day = parse_day(bucket_folder.parent()?.file_name()?.to_str()?.strip_prefix("day=")?)?;
        Some(Self {
            rows: facts.rows,
            bytes: facts.bytes,
            min_time: UnixNanos(facts.min_micros.saturating_mul(1_000)),
            max_time: UnixNanos(facts.max_micros.saturating_mul(1_000).saturating_add(999)),
            day,
            bucket,
            created_seconds,
            level,
            obsolete: AtomicBool::new(false),
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            footer: OnceLock::new(),
            constants: OnceLock::new(),
            remote: OnceLock::new(),
            tenants: OnceLock::new(),
            text_index: OnceLock::new(),
            path,
        })
    }

    /// A file that is out of its table, to be deleted when this is dropped.
    pub(crate) fn retired(path: PathBuf) -> Option<Self> {
        let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let chunk = Self::at(path, Facts { rows: 0, bytes, min_micros: 0, max_micros: 0 })?;
        chunk.obsolete.store(true, Ordering::Release);
        Some(chunk)
    }

    /// Path below the folder of the table, as the Delta log has it.
    pub(crate) fn relative_path(&self) -> String {
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        format!("day={}/bucket={}/{name}", day_text(self.day), self.bucket)
    }

    /// The file's footer, read once. Blocks the first time.
    pub(crate) fn footer(&self) -> Result<&ArrowReaderMetadata, StorageError> {
        if let Some(footer) = self.footer.get() {
            return Ok(footer);
        }
        let file = self.open()?;
        let footer =
            ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(StorageError::chunk(&self.path))?;
        Ok(self.footer.get_or_init(|| footer))
    }

    /// The file, open for reading. Blocks, also on fetching it from a bucket when the local copy was evicted. The open
    /// file stays readable whatever becomes of its name.
    ///
    /// # Errors
    ///
    /// When it cannot be opened; retryable when it would have to come from a bucket that does not answer.
    pub fn open(&self) -> Result<File, StorageError> {
        let Some(remote) = self.remote.get() else {
            return File::open(&self.path).map_err(StorageError::file("open", &self.path));
        };
        let mut attempts = 0;
        loop {
            match File::open(&self.path) {
                Ok(file) => {
                    remote.touch(&self.path);
                    return Ok(file);
                }
                // It may be evicted again before it is open.
                Err(error) if error.kind() == ErrorKind::NotFound && attempts < OPEN_ATTEMPTS => {
                    attempts += 1;
                    remote.fetch_blocking(&self.path)?;
                }
                Err(error) => return Err(StorageError::file("open", &self.path)(error)),
            }
        }
    }

    /// `bytes` bytes from `offset` on, of the local file or, if that was evicted, of the object in the bucket. Blocks.
    pub(crate) fn read_at(&self, offset: u64, bytes: usize) -> Result<Vec<u8>, StorageError> {
        match (File::open(&self.path), self.remote.get()) {
            (Ok(file), _) => {
                let mut part = vec![0; bytes];
                file.read_exact_at(&mut part, offset).map_err(StorageError::file("read", &self.path))?;
                Ok(part)
            }
            (Err(error), Some(remote)) if error.kind() == ErrorKind::NotFound => {
                remote.read_blocking(&self.path, offset..offset + bytes as u64)
            }
            (Err(error), _) => Err(StorageError::file("open", &self.path)(error)),
        }
    }

    /// The file, open for reading, if it is on this disk. Does not fetch it.
    pub fn open_here(&self) -> Option<File> {
        let file = File::open(&self.path).ok()?;
        if let Some(remote) = self.remote.get() {
            remote.touch(&self.path);
        }
        Some(file)
    }

    /// Notes that the chunk is in the bucket, so that its local file may be evicted.
    pub(crate) fn is_in(&self, remote: &Arc<Remote>) {
        let _ = self.remote.set(remote.clone());
    }

    pub(crate) fn uploaded(&self) -> bool {
        self.remote.get().is_some()
    }

    /// Whose rows it has. Blocks the first time.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn tenants(&self) -> Result<&[String], StorageError> {
        if let Some(tenants) = self.tenants.get() {
            return Ok(tenants);
        }
        let mut tenants = BTreeSet::new();
        let column = whence_schema::tables::events::column::TENANT_ID;
        for batch in join::read_columns(self, &[column])? {
            let batch = batch?;
            tenants.extend(batch.column(0).as_string_view().iter().flatten().map(str::to_owned));
        }
        Ok(self.tenants.get_or_init(|| tenants.into_iter().collect()))
    }

    /// Deletes the file, whoever may be reading it. Blocks.
    pub(crate) fn delete(&self) {
        if let Some(remote) = self.remote.get() {
            remote.delete(&self.path);
        }
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "replaced chunk not deleted; the next start will");
        }
    }

    pub(crate) fn overlaps(&self, from: UnixNanos, to: UnixNanos) -> bool {
        self.min_time <= to && from <= self.max_time
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if self.obsolete.load(Ordering::Acquire) {
            self.delete();
        }
    }
}

/// Path for writing a new chunk.
fn new_path(place: &file::Place<'_>) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let folder =
        place.table_folder.join(format!("day={}", day_text(place.day))).join(format!("bucket={}", place.bucket));
    let (created, level) = (place.created_seconds, place.level);
    loop {
        // The process id tells runs apart that write within one second; so does the checksum that is added later.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{created}-{level:02}-{:x}{number:04x}.partial", std::process::id()));
        if !path.exists() {
            return path;
        }
    }
}

/// `YYYY-MM-DD` of a day since 1970-01-01 (algorithm of Howard Hinnant, "chrono-compatible low-level date algorithms").
pub(crate) fn day_text(day: i32) -> String {
    let z = i64::from(day) + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day_of_month:02}")
}

fn parse_day(text: &str) -> Option<i32> {
    let mut parts = text.rsplitn(4, '-');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    let (day, month, year) = (day.parse::<i64>().ok()?, month.parse::<i64>().ok()?, year.parse::<i64>().ok()?);
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    i32::try_from(era * 146_097 + day_of_era - 719_468).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_written_and_read_as_dates() {
        for (day, text) in [(0, "1970-01-01"), (19_386, "2023-01-29"), (-1, "1969-12-31"), (11_016, "2000-02-29")] {
            assert_eq!(day_text(day), text);
            assert_eq!(parse_day(text), Some(day));
        }
        for day in (-200_000..200_000).step_by(37) {
            assert_eq!(parse_day(&day_text(day)), Some(day));
        }
    }
}
