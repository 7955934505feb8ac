//! The one door: append on one side, snapshots on the other.

use crate::{Recovery, Snapshot, StorageError, StoreOptions, Tail};
use arrow::record_batch::RecordBatch;
use std::sync::Arc;
use whence_schema::{MappedRequest, Signal, TenantId, UnixNanos};

/// The embedded store. Clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {}

/// An open store with what has to be set going.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// For the correlator; drop it to run without one.
    pub tail: Tail,
    /// To be run before the first append.
    pub recovery: Recovery,
    /// What the correlator answered to the last committed [`TailItem::Seal`](crate::TailItem::Seal).
    pub correlator_state: Option<Vec<u8>>,
}

/// What became of an appended request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is durable and visible.
    Stored,
    /// It was stored before; nothing changed but the ledger.
    Duplicate,
}

/// Plain numbers about the store, for its own metrics and health.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Statistics {
    pub log_bytes: u64,
    pub log_segments: u64,
    pub log_groups: u64,
    pub log_poisoned: bool,
    pub requests: u64,
    pub duplicates: u64,
    pub memory_bytes: u64,
    pub memory_limit_bytes: u64,
    pub memtable_rows: u64,
    pub memtable_bytes: u64,
    pub tail_items: u64,
    pub series: u64,
    pub chunks: u64,
    pub chunk_rows: u64,
    pub chunk_bytes: u64,
    pub flushes: u64,
    pub commits: u64,
    pub commit_failures: u64,
    pub compactions: u64,
}

impl Store {
    /// Opens or makes the data directory. Does not replay the log yet.
    ///
    /// # Errors
    ///
    /// When the directory is in use, unreadable or of another version.
    pub async fn open(options: StoreOptions) -> Result<Opened, StorageError> {
        let _ = options;
        Err(StorageError::Closed)
    }

    /// Stores one request: durable as configured and visible to snapshots when this returns.
    ///
    /// # Errors
    ///
    /// Retryable ones when memory is full, the disk refuses or the store is closing; nothing was stored then.
    pub async fn append(&self, request: MappedRequest) -> Result<Appended, StorageError> {
        let _ = (request, &self.inner);
        Err(StorageError::Closed)
    }

    /// Counts a request of which every item was refused, so that the ledger balances.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    pub async fn count_refused(
        &self,
        tenant: &TenantId,
        signal: Signal,
        at: UnixNanos,
        received: u64,
    ) -> Result<(), StorageError> {
        let _ = (tenant, signal, at, received);
        Ok(())
    }

    /// Adds links (stored columns of `correlations`). Only the reader of the tail calls it: links are derived, and
    /// replaying the tail makes them again.
    ///
    /// # Errors
    ///
    /// When the columns are not those of `correlations`.
    pub async fn append_correlations(&self, rows: RecordBatch) -> Result<(), StorageError> {
        let _ = rows;
        Ok(())
    }

    /// The tables as they are now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { version: 0, events: Arc::default(), metrics: Arc::default(), correlations: Arc::default() }
    }

    /// The ingest ledger of a tenant: minute, tenant_id, signal, received, stored, duplicate, rejected, dropped.
    ///
    /// # Errors
    ///
    /// When the control database fails.
    pub async fn ledger(&self, tenant: &TenantId) -> Result<RecordBatch, StorageError> {
        let _ = tenant;
        Err(StorageError::Closed)
    }

    /// The rows of `asset_metadata` of a tenant.
    ///
    /// # Errors
    ///
    /// When the control database fails.
    pub async fn assets(&self, tenant: &TenantId) -> Result<RecordBatch, StorageError> {
        let _ = tenant;
        Err(StorageError::Closed)
    }

    /// Writes everything to chunks and commits now.
    ///
    /// # Errors
    ///
    /// When a file cannot be written; the rows stay in memory and in the log.
    pub async fn flush(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Flushes and stops. Further appends fail as retryable.
    ///
    /// # Errors
    ///
    /// When the flush failed; the store is stopped all the same, and the log has what was acknowledged.
    pub async fn close(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Numbers about the store.
    pub fn statistics(&self) -> Statistics {
        Statistics::default()
    }
}
