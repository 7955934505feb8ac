//! What can go wrong in the store, and whether trying again helps.

use std::path::PathBuf;
use std::time::Duration;

/// Failure of a storage operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Memory is full of rows not yet written to chunks.
    #[error("storage is at its memory limit of {limit} bytes: send again in {retry_after:?}, or raise memory_mib")]
    Overloaded {
        /// When room is expected.
        retry_after: Duration,
        /// The limit in bytes.
        limit: usize,
    },
    /// An fsync failed: what the disk holds is unknown, so nothing more is acknowledged until a restart reads it again.
    #[error(
        "the write-ahead log takes no more writes since an fsync failed ({0}): check the disk, then restart whence"
    )]
    LogPoisoned(String),
    /// The log is still being replayed.
    #[error("storage is replaying its log after a restart: send again in {retry_after:?}")]
    Recovering {
        /// When to try again.
        retry_after: Duration,
    },
    /// The store was closed.
    #[error("storage is shut down: send again once whence has restarted")]
    Closed,
    /// Another process uses the directory.
    #[error("{path}: in use by another whence process: stop that one, or choose another path")]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Rows that do not have the columns of their table, or arithmetic that Arrow refused.
    #[error("rows cannot be processed: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// A chunk cannot be written or read.
    #[error("chunk {path}: {source}: if the file is damaged, `whence verify` names what it held")]
    Chunk {
        /// The file.
        path: PathBuf,
        /// Why.
        source: parquet::errors::ParquetError,
    },
    /// The Delta Lake log of a table cannot be read or written.
    #[error("Delta table {table}: {source}")]
    Delta {
        /// Name of the table.
        table: &'static str,
        /// Why.
        source: Box<deltalake::DeltaTableError>,
    },
    /// A bucket cannot be read or written.
    #[error(
        "cannot {action} {location}: {source}: what was acknowledged is in the log or in the bucket; check the endpoint and the credentials if this goes on"
    )]
    ObjectStore {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which object or bucket.
        location: String,
        /// Why not.
        source: object_store::Error,
    },
    /// The control database failed.
    #[error("control database: {0}")]
    Control(#[from] sqlx::Error),
    /// The directory was written by a newer or a modified version.
    #[error("{path}: {reason}")]
    Incompatible {
        /// File or folder.
        path: PathBuf,
        /// What does not fit, and what to do.
        reason: String,
    },
    /// A file of the store or of a backup is not as it was written.
    #[error("{path}: the content has changed since it was written: restore it from a backup that is whole")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A background task ended with a panic; the message names which.
    #[error("storage task failed: {0}: this is a bug, please report it; acknowledged data is in the log")]
    Task(String),
    /// A condition on rows cannot be evaluated.
    #[error("the condition fails: {0}")]
    Condition(String),
    /// Rows are being erased already.
    #[error("rows are being erased already: try again when that has ended (whence.jobs tells)")]
    Erasing,
    /// A crash point chosen by a test.
    #[error("stopped at crash point {0:?}")]
    CrashPoint(crate::CrashPoint),
}

impl StorageError {
    /// True when the same request may succeed later: clients are told to send it again.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Overloaded { .. } | Self::LogPoisoned(_) | Self::Recovering { .. } | Self::Closed => true,
            Self::File { .. } | Self::Control(_) | Self::Delta { .. } | Self::Task(_) => true,
            Self::ObjectStore { source, .. } => crate::remote::is_unavailable(source),
            Self::Locked { .. } | Self::Arrow(_) | Self::Chunk { .. } => false,
            Self::Incompatible { .. } | Self::Damaged { .. } | Self::CrashPoint(_) | Self::Condition(_) => false,
            Self::Erasing => true,
        }
    }

    /// True when a bucket would have been needed that does not answer.
    pub fn needs_bucket(&self) -> bool {
        matches!(self, Self::ObjectStore { .. }) && self.is_retryable()
    }

    /// When to try again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after, .. } | Self::Recovering { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    pub(crate) fn chunk(path: impl Into<PathBuf>) -> impl FnOnce(parquet::errors::ParquetError) -> Self {
        let path = path.into();
        move |source| Self::Chunk { path, source }
    }

    pub(crate) fn delta(table: whence_schema::Table) -> impl Fn(deltalake::DeltaTableError) -> Self {
        move |source| Self::Delta { table: table.name(), source: Box::new(source) }
    }
}
