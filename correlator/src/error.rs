//! What can go wrong when linking or when answering a table function.

use arrow::error::ArrowError;
use parquet::errors::ParquetError;
use std::path::PathBuf;
use whence_storage::StorageError;

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum CorrelatorError {
    /// A batch does not have the stored columns of its table.
    #[error(
        "column {column} of a batch of {table} is missing or has another type than stored: was it made by this version?"
    )]
    Columns {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
    /// Links or results do not fit their schema.
    #[error("cannot put {what} into columns")]
    Arrow {
        /// What was being built.
        what: &'static str,
        /// The cause.
        source: ArrowError,
    },
    /// The store refused to take links or to answer a look-up.
    #[error("cannot {what} the store")]
    Storage {
        /// What was attempted.
        what: &'static str,
        /// The cause.
        source: Box<StorageError>,
    },
    /// A chunk cannot be read.
    #[error("cannot read chunk {path}: `whence verify` tells whether it is damaged")]
    Chunk {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: ParquetError,
    },
    /// The two times are no window that can be asked about.
    #[error("{problem}")]
    Window {
        /// What is wrong with them, and what to ask instead.
        problem: String,
    },
    /// Bad and good events cannot be compared.
    #[error("{problem}")]
    Comparison {
        /// Why not, and what to ask instead.
        problem: String,
    },
    /// The range holds more than an answer is computed over.
    #[error("more than {limit} {what} between the two times: ask for a shorter range")]
    RangeTooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The largest number of that.
        limit: usize,
    },
}

impl CorrelatorError {
    /// True when it would have needed a bucket that does not answer.
    pub(crate) fn needs_bucket(&self) -> bool {
        matches!(self, Self::Storage { source, .. } if source.needs_bucket())
    }

    /// True when the arguments are at fault.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Window { .. } | Self::Comparison { .. } | Self::RangeTooLarge { .. })
    }

    /// True when the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Storage { source, .. } if source.is_retryable())
    }
}
