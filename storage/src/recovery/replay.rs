//! The stages of a replay, each on a thread of its own. Everything here blocks.

use super::{LoggedRequest, Recovery, RecoveryProgress, RecoveryReport};
use crate::StorageError;
use crate::log::{Command, LogOffset, Record, Replayed, Request, keep_damaged, scan};
use crate::memory::Reservation;
use crate::state::{Application, Emit};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use whence_schema::{MappedRequest, Rows};

/// Bytes between two reports of progress.
const PROGRESS_BYTES: u64 = 4 << 20;
/// Records that wait before and behind each mapping thread.
const QUEUE_RECORDS: usize = 2;
/// Mapping threads at most; beyond, reading and applying cannot keep up.
const MOST_MAPPERS: usize = 8;
/// How often the reader looks whether there is room in memory again.
const ROOM_INTERVAL: Duration = Duration::from_millis(5);

/// Bytes that a request takes on its way, for each byte of its body: itself, its rows, and those rows waiting for the
/// correlator while they are in a memtable.
const ROWS_PER_BODY: usize = 4;

type Map<'a> = &'a (dyn Fn(LoggedRequest) -> Result<MappedRequest, String> + Sync);

/// A record on its way to be mapped.
struct Read {
    offset: LogOffset,
    record: Record,
    /// For the request and the rows it will be.
    reservation: Reservation,
}

/// A record on its way to the log thread.
struct Mapped {
    offset: LogOffset,
    record: Replayed,
    /// For the rows.
    reservation: Reservation,
}

/// How many requests went by, and how many of them could not be mapped.
#[derive(Default)]
struct Applied {
    requests: u64,
    dropped: u64,
}

/// Replays everything in order.
pub(super) fn run(
    recovery: Recovery,
    map: Map<'_>,
    progress: &(dyn Fn(RecoveryProgress) + Sync),
) -> Result<RecoveryReport, StorageError> {
    let mappers = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_MAPPERS);
    std::thread::scope(|scope| {
        let recovery = &recovery;
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for _ in 0..mappers {
            let (input, reads) = sync_channel(QUEUE_RECORDS);
            let (mapped, output) = sync_channel(QUEUE_RECORDS);
            inputs.push(input);
            outputs.push(output);
            scope.spawn(move || recovery.map(map, &reads, &mapped));
        }
        let applier = scope.spawn(move || recovery.apply(&outputs));
        let read = recovery.read(inputs, progress);
        let applied = applier.join().map_err(|_| StorageError::Task("replay".to_owned()))?;
        let mut report = read?;
        report.requests = applied.requests;
        report.dropped_requests = applied.dropped;
        Ok(report)
    })
}

impl Recovery {
    /// Deals the records out to the mapping threads in turn.
    fn read(
        &self,
        inputs: Vec<SyncSender<Read>>,
        progress: &dyn Fn(RecoveryProgress),
    ) -> Result<RecoveryReport, StorageError> {
        let disk = self.shared.options.disk.as_ref();
        let mut report = RecoveryReport { damage: self.damage.clone(), ..RecoveryReport::default() };
        let total_bytes = self.segments.iter().map(|segment| segment.bytes).sum();
        let mut done = RecoveryProgress { total_bytes, ..RecoveryProgress::default() };
        let mut inputs = inputs.iter().cycle();
        let mut previous = LogOffset::default();
        let mut told = 0;
        progress(done);
        for segment in &self.segments {
            if previous.0 > 0 && segment.first.0 > previous.0 + 1 && previous >= self.offsets.saved {
                report.damage.push(format!("records {} to {} are missing", previous.0 + 1, segment.first.0 - 1));
            }
            let before = done.bytes;
            let mut closed = false;
            let read = scan(disk, segment, |offset, record, bytes| {
                done.bytes += bytes;
                previous = offset;
                if offset <= self.offsets.saved {
                    return ControlFlow::Continue(());
                }
                done.requests += u64::from(matches!(record, Record::Request(_)));
                let bytes = body_bytes(&record).saturating_mul(ROWS_PER_BODY);
                closed = !self.wait_for_room(bytes) || {
                    let reservation = self.shared.memory.reserve(bytes);
                    inputs.next().is_none_or(|input| input.send(Read { offset, record, reservation }).is_err())
                };
                if done.bytes >= told + PROGRESS_BYTES {
                    told = done.bytes;
                    progress(done);
                }
                if closed { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if closed {
                return Err(StorageError::Closed);
            }
            for damage in &read.damage {
                report.damage.push(damage.sentence(segment));
                keep_damaged(disk, segment, damage);
            }
            done.bytes = before + segment.bytes;
        }
        progress(done);
        Ok(report)
    }

    /// Waits until rows have gone to chunks and there is room for `bytes`; false when the store is closed. Only the
    /// reader waits, so that what has been read is always on its way out of memory; and only while more than half is
    /// taken, for below that nothing is written to chunks.
    fn wait_for_room(&self, bytes: usize) -> bool {
        let memory = &self.shared.memory;
        let full = || {
            let used = memory.used();
            used > memory.limit() / 2 && used.saturating_add(bytes) > memory.limit() / 4 * 3
        };
        while full() {
            if self.shared.closed.load(Ordering::Acquire) {
                return false;
            }
            self.shared.relief_wanted.notify_one();
            std::thread::sleep(ROOM_INTERVAL);
        }
        true
    }

    fn map(&self, map: Map<'_>, reads: &Receiver<Read>, mapped: &SyncSender<Mapped>) {
        for Read { offset, record, reservation } in reads {
            let record = mapped_record(record, map);
            let rows = self.shared.memory.reserve(row_bytes(&record));
            drop(reservation);
            if mapped.send(Mapped { offset, record, reservation: rows }).is_err() {
                return;
            }
        }
    }

    /// Hands mapped records to the log thread in the order in which they were read.
    fn apply(&self, outputs: &[Receiver<Mapped>]) -> Applied {
        let mut applied = Applied::default();
        for output in outputs.iter().cycle() {
            let Ok(Mapped { offset, record, reservation }) = output.recv() else { break };
            applied.requests += u64::from(!matches!(record, Replayed::Counts(_)));
            applied.dropped += u64::from(matches!(record, Replayed::Dropped(_)));
            let emit = Emit {
                events: offset > self.offsets.events,
                metrics: offset > self.offsets.metrics,
                links: offset > self.offsets.correlations,
                tail: offset > self.offsets.tail,
            };
            if self.log.send(Command::Replay { offset, record, emit, reservation }).is_err() {
                break;
            }
        }
        applied
    }
}

fn body_bytes(record: &Record) -> usize {
    match record {
        Record::Request(request) => request.body.len(),
        Record::Counts(_) => 0,
    }
}

fn row_bytes(record: &Replayed) -> usize {
    match record {
        Replayed::Request(application) => match &application.rows {
            Rows::Events(batch) => crate::memtable::batch_bytes(batch),
            Rows::Metrics(points) => points.points.len() * 160,
        },
        _ => 0,
    }
}

fn mapped_record(record: Record, map: Map<'_>) -> Replayed {
    let request = match record {
        Record::Counts(counts) => return Replayed::Counts(counts),
        Record::Request(request) => request,
    };
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
            Replayed::Dropped(request)
        }
    }
}
