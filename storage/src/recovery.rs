//! Replay of the log after a restart.

use crate::StorageError;
use bytes::Bytes;
use whence_schema::{Encoding, MappedRequest, RequestDigest, Signal, TenantId, UnixNanos};

/// A request as the log holds it.
#[derive(Debug, Clone)]
pub struct LoggedRequest {
    /// Owner.
    pub tenant: TenantId,
    /// What was sent.
    pub signal: Signal,
    /// Encoding of `body`.
    pub encoding: Encoding,
    /// When it was accepted; mapping must use it as `created_at`.
    pub received_at: UnixNanos,
    /// Its digest.
    pub digest: RequestDigest,
    /// The request, decompressed.
    pub body: Bytes,
}

/// What remains to be replayed. Appends are refused as retryable until [`run`](Self::run) has ended well.
#[derive(Debug)]
pub struct Recovery {}

/// How far a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecoveryProgress {
    /// Requests replayed.
    pub requests: u64,
    /// Log bytes read.
    pub bytes: u64,
    /// Log bytes there are.
    pub total_bytes: u64,
}

/// What a replay did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// Requests replayed.
    pub requests: u64,
    /// Requests that could not be mapped any more; their items are `dropped` in the ledger.
    pub dropped_requests: u64,
    /// What was cut from the log because it was torn or damaged, one sentence each.
    pub damage: Vec<String>,
}

impl Recovery {
    /// Replays the log: maps every request again with `map` and applies it. The tail should be read meanwhile.
    ///
    /// # Errors
    ///
    /// When the log cannot be read or the store is closed.
    pub async fn run(
        self,
        map: impl Fn(LoggedRequest) -> Result<MappedRequest, String> + Send + Sync + 'static,
        progress: impl Fn(RecoveryProgress) + Send + Sync + 'static,
    ) -> Result<RecoveryReport, StorageError> {
        let _ = (map, progress);
        Ok(RecoveryReport::default())
    }
}
