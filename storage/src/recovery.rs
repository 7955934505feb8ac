//! Replay of the log after a restart.
//!
//! Replay begins behind the offset of the control database. Every record from there on goes through the log thread as
//! if it had just been written; `flush.rs` says which of its parts are left out because a table has them already.

use crate::StorageError;
use crate::flush::blocking;
use crate::log::{Command, LogOffset, Record, Replayed, Request, Segment, damaged, scan};
use crate::state::{Application, Emit, Shared};
use bytes::Bytes;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use whence_schema::{Encoding, MappedRequest, RequestDigest, Rows, Signal, TenantId, UnixNanos};

/// Records between two reports of progress.
const PROGRESS_RECORDS: u64 = 1_000;

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
        let report = blocking("recovery", move || self.replay(&map, &progress)).await?;
        let (reply, done) = oneshot::channel();
        log.send(Command::Barrier { reply }).map_err(|_| StorageError::Closed)?;
        done.await.map_err(|_| StorageError::Closed)?;
        shared.recovered.store(true, Ordering::Release);
        report.damage.iter().for_each(|damage| tracing::warn!(damage, "the log was damaged"));
        Ok(report)
    }

    fn replay(
        self,
        map: &dyn Fn(LoggedRequest) -> Result<MappedRequest, String>,
        progress: &dyn Fn(RecoveryProgress),
    ) -> Result<RecoveryReport, StorageError> {
        let mut report = RecoveryReport { damage: self.damage.clone(), ..RecoveryReport::default() };
        let mut done = RecoveryProgress {
            total_bytes: self.segments.iter().map(|s| s.bytes).sum(),
            ..RecoveryProgress::default()
        };
        let mut closed = false;
        let mut previous = LogOffset::default();
        for segment in &self.segments {
            if previous.0 > 0 && segment.first.0 > previous.0 + 1 && previous >= self.offsets.saved {
                report.damage.push(format!("records {} to {} are missing", previous.0 + 1, segment.first.0 - 1));
            }
            let before = done.bytes;
            let read = scan(segment, |offset, record| {
                if let Record::Request(request) = &record {
                    done.bytes += request.body.len() as u64;
                }
                previous = offset;
                if offset <= self.offsets.saved {
                    return ControlFlow::Continue(());
                }
                let record = mapped(record, map, &mut report);
                closed = self.send(offset, record).is_err();
                if report.requests.is_multiple_of(PROGRESS_RECORDS) {
                    progress(RecoveryProgress { requests: report.requests, ..done });
                }
                if closed { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if closed {
                return Err(StorageError::Closed);
            }
            report.damage.extend(damaged(segment, &read));
            done.bytes = before + segment.bytes;
        }
        progress(RecoveryProgress { requests: report.requests, ..done });
        Ok(report)
    }

    fn send(&self, offset: LogOffset, record: Replayed) -> Result<(), StorageError> {
        // Room is made by chunks being written. This thread has nothing else to do meanwhile.
        while self.shared.memory.used() > self.shared.memory.limit() / 4 * 3 {
            if self.shared.closed.load(Ordering::Acquire) {
                return Err(StorageError::Closed);
            }
            self.shared.relief_wanted.notify_one();
            std::thread::sleep(Duration::from_millis(20));
        }
        let emit = Emit {
            events: offset > self.offsets.events,
            metrics: offset > self.offsets.metrics,
            links: offset > self.offsets.correlations,
        };
        let bytes = match &record {
            Replayed::Request(application) => match &application.rows {
                Rows::Events(batch) => crate::memtable::batch_bytes(batch),
                Rows::Metrics(points) => points.points.len() * 160,
            },
            _ => 0,
        };
        let reservation = self.shared.memory.reserve(bytes);
        self.log.send(Command::Replay { offset, record, emit, reservation }).map_err(|_| StorageError::Closed)
    }
}

fn mapped(
    record: Record,
    map: &dyn Fn(LoggedRequest) -> Result<MappedRequest, String>,
    report: &mut RecoveryReport,
) -> Replayed {
    let request = match record {
        Record::Counts(counts) => return Replayed::Counts(counts),
        Record::Request(request) => request,
    };
    report.requests += 1;
    let Request { tenant, signal, received_at, encoding, digest, body, .. } = request.clone();
    match map(LoggedRequest { tenant, signal, encoding, received_at, digest, body }) {
        Ok(mapped) => {
            let mut application = Application::from(mapped);
            application.received = request.received;
            application.rejected = request.rejected;
            application.digest = request.digest;
            application.received_at = request.received_at;
            Replayed::Request(Box::new(application))
        }
        Err(reason) => {
            tracing::error!(reason, "a logged request cannot be mapped any more: its items are dropped");
            report.dropped_requests += 1;
            Replayed::Dropped(request)
        }
    }
}
