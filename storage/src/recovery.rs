//! Replay of the log after a restart.
//!
//! Replay begins behind the offset of the control database. Every record from there on goes through the log thread as
//! if it had just been written; `flush.rs` says which of its parts are left out because a table has them already.
//!
//! ```text
//! segments -> reader -> mapping, as many at once as there are cores -> in log order -> log thread
//! ```
//!
//! The reader waits while memory is short, so a log of any size is replayed within the memory limit.

mod replay;

use crate::StorageError;
use crate::flush::blocking;
use crate::log::{Command, LogOffset, Segment};
use crate::state::Shared;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{mpsc, oneshot};
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

/// Up to which record each part has everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offsets {
    pub(crate) saved: LogOffset,
    pub(crate) events: LogOffset,
    pub(crate) metrics: LogOffset,
    pub(crate) correlations: LogOffset,
    /// Of the correlator's state.
    pub(crate) tail: LogOffset,
}

/// What remains to be replayed. Appends are refused as retryable until [`run`](Self::run) has ended well.
#[derive(Debug)]
pub struct Recovery {
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: mpsc::UnboundedSender<Command>,
    pub(crate) segments: Vec<Segment>,
    pub(crate) damage: Vec<String>,
    pub(crate) offsets: Offsets,
}

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
    /// Replays the log: maps every request again with `map` and applies it. The tail should be read meanwhile: a log
    /// larger than memory needs commits on the way, and they wait for the correlator.
    ///
    /// # Errors
    ///
    /// When the log cannot be read or the store is closed.
    pub async fn run(
        self,
        map: impl Fn(LoggedRequest) -> Result<MappedRequest, String> + Send + Sync + 'static,
        progress: impl Fn(RecoveryProgress) + Send + Sync + 'static,
    ) -> Result<RecoveryReport, StorageError> {
        let (shared, log) = (self.shared.clone(), self.log.clone());
        let report = blocking("recovery", move || replay::run(self, &map, &progress)).await?;
        let (reply, done) = oneshot::channel();
        log.send(Command::Barrier { reply }).map_err(|_| StorageError::Closed)?;
        done.await.map_err(|_| StorageError::Closed)?;
        shared.recovered.store(true, Ordering::Release);
        report.damage.iter().for_each(|damage| tracing::warn!(damage, "the log was damaged"));
        Ok(report)
    }
}
