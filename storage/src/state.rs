//! What is in memory: memtables, sealed rows, the list of chunks, and what belongs to the next commit.

use crate::assets::{self, Assets};
use crate::feed::Feed;
use crate::jobs::Jobs;
use crate::ledger::{Counts, Increments};
use crate::log::LogOffset;
use crate::memory::Memory;
use crate::memtable::Batches;
use crate::memtable::correlations::CorrelationsMemtable;
use crate::memtable::events::{EventsMemtable, count_signals};
use crate::memtable::metrics::MetricsMemtable;
use crate::remote::Remote;
use crate::{Chunk, Snapshot, StorageError, StoreOptions, TableSnapshot, TailRows};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;
use whence_schema::{AssetSighting, RequestDigest, Rows, Signal, Table, TenantId, UnixNanos};

/// What every part of the store shares.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The bucket, when the tables are in one.
    pub(crate) remote: Option<Arc<Remote>>,
    pub(crate) options: StoreOptions,
    pub(crate) memory: Arc<Memory>,
    pub(crate) state: Mutex<State>,
    /// Told when rows should leave memory before their time.
    pub(crate) relief_wanted: Notify,
    pub(crate) recovered: AtomicBool,
    pub(crate) closed: AtomicBool,
    pub(crate) counters: Counters,
    pub(crate) jobs: Jobs,
    pub(crate) feed: Feed,
}

/// Numbers for [`crate::Statistics`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) log_bytes: AtomicU64,
    pub(crate) log_segments: AtomicU64,
    pub(crate) log_groups: AtomicU64,
    pub(crate) log_poisoned: AtomicBool,
    pub(crate) requests: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) tail_items: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) commit_failures: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) removed_duplicates: AtomicU64,
    pub(crate) removed_by_retention: AtomicU64,
    pub(crate) removed_by_disk_cap: AtomicU64,
    pub(crate) removed_by_erasure: AtomicU64,
    pub(crate) disk_bytes: AtomicU64,
    pub(crate) disk_over_cap_bytes: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Rows no longer growing, until a chunk has them.
#[derive(Debug, Clone)]
pub(crate) struct SealedRows {
    pub(crate) number: u64,
    pub(crate) table: Table,
    pub(crate) batches: Vec<RecordBatch>,
    bytes: usize,
}

/// Which parts of a replayed record are not in chunks yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Emit {
    pub(crate) events: bool,
    pub(crate) metrics: bool,
    pub(crate) links: bool,
    /// False for what the correlator's state has seen.
    pub(crate) tail: bool,
}

impl Emit {
    pub(crate) const ALL: Self = Self { events: true, metrics: true, links: true, tail: true };
}

/// A request to be applied.
#[derive(Debug)]
pub(crate) struct Application {
    pub(crate) tenant: TenantId,
    pub(crate) signal: Signal,
    pub(crate) received_at: UnixNanos,
    pub(crate) digest: RequestDigest,
    pub(crate) received: u64,
    pub(crate) rejected: u64,
    pub(crate) rows: Rows,
    pub(crate) assets: Vec<AssetSighting>,
}

/// The mutable part.
#[derive(Debug, Default)]
pub(crate) struct State {
    version: u64,
    pub(crate) applied: LogOffset,
    /// Up to which SQLite and all tables have everything.
    pub(crate) saved: LogOffset,
    events: EventsMemtable,
    pub(crate) metrics: MetricsMemtable,
    correlations: CorrelationsMemtable,
    sealed: Vec<SealedRows>,
    sealed_number: u64,
    chunks: [Vec<Arc<Chunk>>; 3],
    shown: [Option<Arc<TableSnapshot>>; 3],
    pub(crate) ledger: Increments,
    /// Learned since the last commit, and since it began.
    pub(crate) assets: Assets,
    pub(crate) assets_sealed: Assets,
    pub(crate) digests: Vec<RequestDigest>,
}

impl Shared {
    /// Changes the state, and accounts for the memory it then takes.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let result = change(&mut state);
        self.memory.set_tables(state.bytes());
        result
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot, StorageError> {
        let mut state = self.state.lock();
        let [events, metrics, correlations] = Table::ALL.map(|table| state.table(table));
        Ok(Snapshot { version: state.version, events: events?, metrics: metrics?, correlations: correlations? })
    }

    /// True when rows should go to chunks now.
    pub(crate) fn needs_relief(&self) -> bool {
        let limit = self.options.memtable_bytes;
        let large = {
            let state = self.state.lock();
            state.events.batches.bytes > limit
                || state.metrics.row_bytes() > limit
                || state.correlations.batches.bytes > limit
        };
        large || self.memory.used() > self.memory.limit() / 2
    }
}

impl State {
    /// Empty, after a restart with everything up to `saved` in tables and SQLite.
    pub(crate) fn at(saved: LogOffset) -> Self {
        Self { applied: saved, saved, ..Self::default() }
    }

    /// Puts a request's rows where queries see them; returns what the tail is to be told.
    pub(crate) fn apply(
        &mut self,
        offset: LogOffset,
        request: Application,
        series_limit: usize,
        emit: Emit,
    ) -> Result<Option<TailRows>, ArrowError> {
        let Application { tenant, signal, received_at, rows, .. } = request;
        let mut counts = Counts { received: request.received, rejected: request.rejected, ..Counts::default() };
        let tail = match rows {
            Rows::Events(batch) => {
                let (spans, logs) = count_signals(&batch);
                counts.stored = if signal == Signal::Logs { logs } else { spans };
                if emit.events {
                    self.events.push(batch.clone())?;
                    self.touch(Table::Events);
                }
                (batch.num_rows() > 0).then_some(TailRows::Events(batch))
            }
            Rows::Metrics(points) => {
                counts.stored = points.points.len() as u64;
                self.metrics.add(&tenant, &points, received_at, series_limit, emit.metrics);
                self.touch(Table::Metrics);
                TailRows::of_points(points)
            }
        };
        self.ledger.add(&tenant, signal, received_at, &counts);
        for sighting in request.assets {
            assets::sight(&mut self.assets, &tenant, sighting, received_at);
        }
        self.digests.push(request.digest);
        self.applied = offset;
        Ok(tail)
    }

    pub(crate) fn append_correlations(&mut self, rows: RecordBatch) -> Result<(), ArrowError> {
        self.correlations.batches.push(rows)?;
        self.touch(Table::Correlations);
        Ok(())
    }

    /// Moves the rows of `table` out of the memtable; they stay visible.
    pub(crate) fn seal(&mut self, table: Table, now: UnixNanos) -> Result<(), ArrowError> {
        let take = |batches: &mut Batches| {
            let bytes = batches.bytes;
            (batches.take(), bytes)
        };
        let (batches, bytes) = match table {
            Table::Events => take(&mut self.events.batches),
            Table::Metrics => self.metrics.seal(now)?,
            Table::Correlations => take(&mut self.correlations.batches),
        };
        if !batches.is_empty() {
            self.sealed_number += 1;
            self.sealed.push(SealedRows { number: self.sealed_number, table, batches, bytes });
        }
        Ok(())
    }

    pub(crate) fn oldest_sealed(&self) -> Option<SealedRows> {
        self.sealed.first().cloned()
    }

    /// Chunks take the place of sealed rows.
    pub(crate) fn written(&mut self, sealed: &SealedRows, chunks: &[Arc<Chunk>]) {
        self.sealed.retain(|rows| rows.number != sealed.number);
        self.chunks[sealed.table as usize].extend(chunks.iter().cloned());
        self.touch(sealed.table);
    }

    /// Other chunks take the place of `old`, whose files go once nobody reads them.
    pub(crate) fn replace_chunks(&mut self, table: Table, old: &[Arc<Chunk>], new: &[Arc<Chunk>]) {
        let chunks = &mut self.chunks[table as usize];
        chunks.retain(|chunk| !old.iter().any(|old| Arc::ptr_eq(old, chunk)));
        chunks.extend(new.iter().cloned());
        old.iter().for_each(|chunk| chunk.obsolete.store(true, Ordering::Release));
        self.touch(table);
    }

    pub(crate) fn chunks(&self, table: Table) -> &[Arc<Chunk>] {
        &self.chunks[table as usize]
    }

    pub(crate) fn set_chunks(&mut self, table: Table, chunks: Vec<Arc<Chunk>>) {
        self.chunks[table as usize] = chunks;
        self.touch(table);
    }

    /// True when there is anything that a commit would save.
    pub(crate) fn dirty(&self) -> bool {
        self.applied > self.saved || self.rows() > 0
    }

    pub(crate) fn rows(&self) -> usize {
        let sealed: usize = self.sealed.iter().flat_map(|rows| &rows.batches).map(RecordBatch::num_rows).sum();
        self.events.batches.rows + self.metrics.rows() + self.correlations.batches.rows + sealed
    }

    pub(crate) fn bytes(&self) -> usize {
        let sealed: usize = self.sealed.iter().map(|rows| rows.bytes).sum();
        self.events.batches.bytes + self.metrics.bytes() + self.correlations.batches.bytes + sealed
    }

    fn touch(&mut self, table: Table) {
        self.version += 1;
        self.shown[table as usize] = None;
    }

    fn table(&mut self, table: Table) -> Result<Arc<TableSnapshot>, ArrowError> {
        if let Some(shown) = &self.shown[table as usize] {
            return Ok(shown.clone());
        }
        let mut batches: Vec<RecordBatch> =
            self.sealed.iter().filter(|rows| rows.table == table).flat_map(|rows| rows.batches.clone()).collect();
        match table {
            Table::Events => batches.extend(self.events.batches.iter().cloned()),
            Table::Metrics => batches.extend(self.metrics.batches()?),
            Table::Correlations => batches.extend(self.correlations.batches.iter().cloned()),
        }
        let snapshot = Arc::new(TableSnapshot { batches, chunks: self.chunks[table as usize].clone() });
        self.shown[table as usize] = Some(snapshot.clone());
        Ok(snapshot)
    }
}
