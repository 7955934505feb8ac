//! The log thread: the only writer of log and memtables, in log order.
//!
//! ```text
//! everything queued -> duplicate? -> one write, one fsync -> memtables, ledger -> answers, tail
//! ```
//!
//! It takes whatever has queued up while the disk was busy as the next group, so groups grow with the load.

use super::{Counts, LogOffset, LogWriter, Record, Request, Segment};
use crate::control::Unsaved;
use crate::digests::{Digests, ServingSeconds};
use crate::memory::Reservation;
use crate::state::{Application, Emit, Shared, count};
use crate::tail::TailMessage;
use crate::{Appended, StorageError, TailRows, ledger};
use hashbrown::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};
use whence_schema::{MappedRequest, Table, TenantId};

/// Bytes of a group at most; what is queued beyond waits for the next fsync.
const GROUP_BYTES: usize = 32 << 20;

pub(crate) type Reply<T> = oneshot::Sender<Result<T, StorageError>>;

/// What the log thread can be asked for.
#[derive(Debug)]
pub(crate) enum Command {
    Append {
        request: Box<MappedRequest>,
        reservation: Reservation,
        reply: Reply<Appended>,
    },
    Count {
        counts: Counts,
        reply: Reply<Appended>,
    },
    Replay {
        offset: LogOffset,
        record: Replayed,
        emit: Emit,
        reservation: Reservation,
    },
    Seal {
        seal: Seal,
        reply: Reply<Sealed>,
    },
    Cut {
        up_to: LogOffset,
        reply: Reply<()>,
    },
    /// Tells the segments with the bytes that are whole.
    Segments {
        reply: oneshot::Sender<Vec<Segment>>,
    },
    /// Answers when everything sent before is done.
    Barrier {
        reply: oneshot::Sender<()>,
    },
    Stop,
}

/// What to seal.
#[derive(Debug, Clone)]
pub(crate) enum Seal {
    /// Large memtables.
    Large,
    /// All of what is in memory, and what a commit saves; the tail is told.
    Everything,
    /// The same; the log begins a new segment, and the series of a tenant are forgotten.
    BeforeErasing { tenant: Option<TenantId> },
}

/// A record of the log, mapped again.
#[derive(Debug)]
pub(crate) enum Replayed {
    Request(Box<Application>),
    /// A request that cannot be mapped any more.
    Dropped(Request),
    Counts(Counts),
}

/// What was sealed.
#[derive(Debug, Default)]
pub(crate) struct Sealed {
    pub(crate) unsaved: Unsaved,
    /// The correlator's answer, and the moment at which its links are complete.
    pub(crate) correlator: Option<(oneshot::Receiver<Vec<u8>>, oneshot::Receiver<()>)>,
}

#[derive(Debug)]
pub(crate) struct LogThread {
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    pub(crate) writer: LogWriter,
    pub(crate) digests: Digests,
    /// Serving time when this run began.
    pub(crate) serving_before: ServingSeconds,
    pub(crate) started: Instant,
    pub(crate) shared: Arc<Shared>,
    pub(crate) tail: mpsc::UnboundedSender<TailMessage>,
}

/// A member of a group, waiting for the fsync.
enum Waiting {
    Store(LogOffset, Box<MappedRequest>, Reservation, Reply<Appended>),
    Count(LogOffset, Counts, Appended, Reply<Appended>),
}

impl LogThread {
    /// Works until told to stop, or until everybody who could ask is gone. Blocks.
    pub(crate) fn run(mut self) {
        let mut ahead = None;
        while let Some(command) = ahead.take().or_else(|| self.commands.blocking_recv()) {
            match command {
                Command::Append { .. } | Command::Count { .. } => ahead = self.group(command),
                Command::Replay { offset, record, emit, reservation } => {
                    self.replay(offset, record, emit);
                    drop(reservation);
                }
                Command::Seal { seal, reply } => {
                    let _ = reply.send(self.seal(&seal));
                }
                Command::Cut { up_to, reply } => {
                    let _ = reply.send(self.writer.cut(up_to));
                    self.publish_numbers();
                }
                Command::Segments { reply } => {
                    let _ = reply.send(self.writer.segments());
                }
                Command::Barrier { reply } => {
                    let _ = reply.send(());
                }
                Command::Stop => break,
            }
        }
    }

    pub(crate) fn serving_now(&self) -> ServingSeconds {
        ServingSeconds(self.serving_before.0 + self.started.elapsed().as_secs())
    }

    /// Writes `first` and what is queued behind it; returns the command that ended the group, if one did.
    fn group(&mut self, first: Command) -> Option<Command> {
        let mut waiting = Vec::new();
        let mut fresh = HashSet::new();
        let mut next = Some(first);
        let mut ended_by = None;
        while let Some(command) = next {
            match command {
                Command::Append { request, reservation, reply } => {
                    waiting.push(self.add(request, reservation, reply, &mut fresh));
                }
                Command::Count { counts, reply } => {
                    let offset = self.writer.push(&Record::Counts(counts.clone()));
                    waiting.push(Waiting::Count(offset, counts, Appended::Stored, reply));
                }
                other => {
                    ended_by = Some(other);
                    break;
                }
            }
            next = if self.writer.group_bytes() < GROUP_BYTES { self.commands.try_recv().ok() } else { None };
        }
        let written = self.writer.commit();
        count(&self.shared.counters.log_groups);
        self.publish_numbers();
        match written {
            Ok(()) => waiting.into_iter().for_each(|waiting| self.finish(waiting)),
            Err(error) => {
                tracing::error!(%error, requests = waiting.len(), "requests refused: the log cannot be written");
                waiting.into_iter().for_each(|waiting| refuse(waiting, &error));
            }
        }
        if self.shared.needs_relief() {
            self.shared.relief_wanted.notify_one();
        }
        ended_by
    }

    fn add(
        &mut self,
        request: Box<MappedRequest>,
        reservation: Reservation,
        reply: Reply<Appended>,
        fresh: &mut HashSet<u128>,
    ) -> Waiting {
        if self.digests.contains(request.digest) || !fresh.insert(request.digest.0) {
            let counts = Counts {
                tenant: request.tenant,
                signal: request.signal,
                at: request.received_at,
                received: request.received,
                // What was refused the first time is refused again.
                duplicate: request.received.saturating_sub(request.rejected),
                rejected: request.rejected,
            };
            let offset = self.writer.push(&Record::Counts(counts.clone()));
            return Waiting::Count(offset, counts, Appended::Duplicate, reply);
        }
        let offset = self.writer.push(&Record::Request(Request {
            tenant: request.tenant.clone(),
            signal: request.signal,
            received_at: request.received_at,
            encoding: request.encoding,
            digest: request.digest,
            received: request.received,
            rejected: request.rejected,
            body: request.body.clone(),
        }));
        Waiting::Store(offset, request, reservation, reply)
    }

    fn finish(&mut self, waiting: Waiting) {
        match waiting {
            Waiting::Store(offset, request, reservation, reply) => {
                count(&self.shared.counters.requests);
                self.digests.insert(request.digest, self.serving_now());
                let outcome = self.apply(offset, Application::from(*request), Emit::ALL);
                drop(reservation);
                let _ = reply.send(outcome.map(|()| Appended::Stored));
            }
            Waiting::Count(offset, counts, appended, reply) => {
                if appended == Appended::Duplicate {
                    count(&self.shared.counters.duplicates);
                }
                self.count(offset, &counts);
                let _ = reply.send(Ok(appended));
            }
        }
    }

    fn apply(&self, offset: LogOffset, application: Application, emit: Emit) -> Result<(), StorageError> {
        let tenant = application.tenant.clone();
        let limit = self.shared.options.series_limit;
        let rows = self.shared.change(|state| state.apply(offset, application, limit, emit))?;
        if let Some(TailRows::Events(batch)) = &rows {
            self.shared.feed.publish(&tenant, batch);
        }
        if let Some(rows) = rows.filter(|_| emit.tail) {
            let reservation = self.shared.memory.reserve(rows.bytes());
            let message = TailMessage::Appended { tenant, rows, emit: emit.links, reservation };
            if self.tail.send(message).is_ok() {
                count(&self.shared.counters.tail_items);
            }
        }
        Ok(())
    }

    fn count(&self, offset: LogOffset, counts: &Counts) {
        let Counts { tenant, signal, at, received, duplicate, rejected } = counts;
        let counts = ledger::Counts {
            received: *received,
            duplicate: *duplicate,
            rejected: *rejected,
            ..ledger::Counts::default()
        };
        self.shared.change(|state| {
            state.ledger.add(tenant, *signal, *at, &counts);
            state.applied = offset;
        });
    }

    fn replay(&mut self, offset: LogOffset, record: Replayed, emit: Emit) {
        match record {
            Replayed::Request(application) => {
                self.digests.insert(application.digest, self.serving_now());
                if let Err(error) = self.apply(offset, *application, emit) {
                    tracing::error!(%error, offset = offset.0, "a logged request cannot be applied");
                }
            }
            Replayed::Dropped(request) => {
                self.digests.insert(request.digest, self.serving_now());
                let counts = ledger::Counts {
                    received: request.received,
                    rejected: request.rejected,
                    dropped: request.received.saturating_sub(request.rejected),
                    ..ledger::Counts::default()
                };
                self.shared.change(|state| {
                    state.ledger.add(&request.tenant, request.signal, request.received_at, &counts);
                    state.digests.push(request.digest);
                    state.applied = offset;
                });
            }
            Replayed::Counts(counts) => self.count(offset, &counts),
        }
        if self.shared.needs_relief() {
            self.shared.relief_wanted.notify_one();
        }
    }

    fn seal(&mut self, seal: &Seal) -> Result<Sealed, StorageError> {
        let everything = !matches!(seal, Seal::Large);
        if let Seal::BeforeErasing { .. } = seal {
            // What is appended from here on is not in one segment with what was before.
            self.writer.rotate()?;
        }
        let now = (self.shared.options.clock)();
        let half = self.shared.options.memtable_bytes / 2;
        let mut sealed = self.shared.change(|state| -> Result<Sealed, StorageError> {
            state.seal(Table::Events, now)?;
            if everything || state.metrics.row_bytes() > half {
                state.seal(Table::Metrics, now)?;
            }
            if let Seal::BeforeErasing { tenant: Some(tenant) } = seal {
                state.metrics.forget(tenant);
            }
            let mut sealed = Sealed::default();
            if everything {
                let offset = state.applied;
                let learned = std::mem::take(&mut state.assets);
                for (key, asset) in &learned {
                    crate::assets::merge(&mut state.assets_sealed, key, asset);
                }
                sealed.unsaved = Unsaved {
                    offset,
                    ledger: state.ledger.seal(offset),
                    assets: state.assets_sealed.clone(),
                    digests: std::mem::take(&mut state.digests),
                    series: Some(state.metrics.registry.save()),
                    correlator: None,
                };
            }
            Ok(sealed)
        })?;
        if everything {
            let (reply, state) = oneshot::channel();
            let (complete, completed) = oneshot::channel();
            if self.tail.send(TailMessage::Seal { reply, complete }).is_ok() {
                sealed.correlator = Some((state, completed));
            }
        }
        Ok(sealed)
    }

    fn publish_numbers(&self) {
        let numbers = self.writer.numbers();
        let counters = &self.shared.counters;
        counters.log_bytes.store(numbers.bytes, Ordering::Relaxed);
        counters.log_segments.store(numbers.segments, Ordering::Relaxed);
        counters.log_poisoned.store(self.writer.poisoned(), Ordering::Relaxed);
    }
}

impl From<MappedRequest> for Application {
    fn from(request: MappedRequest) -> Self {
        Self {
            tenant: request.tenant,
            signal: request.signal,
            received_at: request.received_at,
            digest: request.digest,
            received: request.received,
            rejected: request.rejected,
            rows: request.rows,
            assets: request.assets,
        }
    }
}

fn refuse(waiting: Waiting, error: &StorageError) {
    let (Waiting::Store(.., reply) | Waiting::Count(.., reply)) = waiting;
    let _ = reply.send(Err(repeat(error)));
}

/// The same error once more: every member of a group gets its own.
fn repeat(error: &StorageError) -> StorageError {
    match error {
        StorageError::File { action, path, source } => StorageError::File {
            action,
            path: path.clone(),
            source: std::io::Error::new(source.kind(), source.to_string()),
        },
        StorageError::LogPoisoned(reason) => StorageError::LogPoisoned(reason.clone()),
        other => StorageError::Task(other.to_string()),
    }
}

/// Counts of a request of which every item was refused.
pub(crate) fn refused(
    tenant: &TenantId,
    signal: whence_schema::Signal,
    at: whence_schema::UnixNanos,
    received: u64,
) -> Counts {
    Counts { tenant: tenant.clone(), signal, at, received, duplicate: 0, rejected: received }
}
