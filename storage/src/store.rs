//! The one door: append on one side, snapshots on the other.

mod open;

pub(crate) use open::lock_directory;

use crate::assets;
use crate::control::Control;
use crate::feed::NewEvents;
use crate::flush::{self, blocking};
use crate::incidents::Conclusions;
use crate::ledger;
use crate::log::{Command, refused};
use crate::memory::{Admission, OVERLOAD_PAUSE};
use crate::memtable::batch_bytes;
use crate::remote::Remote;
use crate::replace::removal_path;
use crate::state::Shared;
use crate::{
    Aggregates, BucketStatistics, Chunk, JobRecord, Keyring, Recovery, Snapshot, StorageError, TableSnapshot, Tail,
};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use whence_schema::{MappedRequest, Rows, Signal, Table, TenantId, UnixNanos};

const RECOVERY_PAUSE: Duration = Duration::from_secs(1);
/// Fixed cost of a request on its way, beside its bytes.
const REQUEST_BYTES: usize = 1_024;

/// The embedded store. Clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    control: Control,
    keyring: Keyring,
    aggregates: Aggregates,
    conclusions: Conclusions,
    log: mpsc::UnboundedSender<Command>,
    writer: mpsc::UnboundedSender<flush::Request>,
    log_thread: Mutex<Option<JoinHandle<()>>>,
    /// Held until this and the chunk writer have ended.
    lock: Mutex<Option<Arc<File>>>,
}

/// An open store with what has to be set going.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// For the correlator; drop it to run without one.
    pub tail: Tail,
    /// To be run before the first append, while the tail is being read.
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

/// Plain numbers about the store, for its own metrics and health. Those without a unit in their name count since the
/// store was opened, or how many there are now.
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
    pub memory_peak_bytes: u64,
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
    pub removed_duplicates: u64,
    pub removed_by_retention: u64,
    pub removed_by_disk_cap: u64,
    pub removed_by_erasure: u64,
    pub disk_bytes: u64,
    pub disk_over_cap_bytes: u64,
}

/// Names of all chunks in the tables, as rows that leave are announced under.
pub(crate) fn active_paths(tables: [&[Arc<Chunk>]; 3]) -> HashSet<String> {
    let of = |(table, chunks): (Table, &[Arc<Chunk>])| -> Vec<String> {
        chunks.iter().map(|chunk| removal_path(table, chunk)).collect()
    };
    Table::ALL.into_iter().zip(tables).flat_map(of).collect()
}

impl Store {
    /// Stores one request: durable as configured and visible to snapshots when this returns.
    ///
    /// # Errors
    ///
    /// Retryable ones when memory is full, the disk refuses or the store is closing; nothing was stored then.
    pub async fn append(&self, request: MappedRequest) -> Result<Appended, StorageError> {
        self.check_open()?;
        let bytes = request_bytes(&request)?;
        let memory = &self.inner.shared.memory;
        let Some(reservation) = memory.try_reserve(bytes) else {
            self.inner.shared.relief_wanted.notify_one();
            return Err(StorageError::Overloaded { retry_after: OVERLOAD_PAUSE, limit: memory.limit() });
        };
        let (reply, answer) = oneshot::channel();
        self.send(Command::Append { request: Box::new(request), reservation, reply })?;
        answer.await.map_err(|_| StorageError::Closed)?
    }

    /// An account for a request that is on its way to [`append`](Self::append), at first of no bytes.
    pub fn admission(&self) -> Admission {
        Admission(self.inner.shared.memory.reserve(0))
    }

    /// How long a request should wait before it is read: longer the further the chunk writer is behind, zero when it
    /// keeps up.
    pub fn delay(&self) -> Duration {
        let shared = &self.inner.shared;
        // One memtable fills while one is written, and the correlator may still hold the one before.
        shared.memory.delay(shared.options.memtable_bytes.saturating_mul(3))
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
        self.check_open()?;
        let (reply, answer) = oneshot::channel();
        self.send(Command::Count { counts: refused(tenant, signal, at, received), reply })?;
        answer.await.map_err(|_| StorageError::Closed)?.map(|_| ())
    }

    /// Adds links (stored columns of `correlations`). Only the reader of the tail calls it, between two items: links are
    /// derived, and replaying the tail makes them again. Links of hours, which follow from no record, come at any time:
    /// they are put beside their hour first, see [`put_onset_hour`](Self::put_onset_hour).
    ///
    /// # Errors
    ///
    /// When the columns are not those of `correlations`.
    pub async fn append_correlations(&self, rows: RecordBatch) -> Result<(), StorageError> {
        check_columns(Table::Correlations, &rows)?;
        self.inner.shared.change(|state| state.append_correlations(rows))?;
        Ok(())
    }

    /// The API keys: whom doors let in.
    pub fn keyring(&self) -> &Keyring {
        &self.inner.keyring
    }

    /// The continuous aggregates that were declared with statements.
    pub fn aggregates(&self) -> &Aggregates {
        &self.inner.aggregates
    }

    /// The tables as they are now.
    pub fn snapshot(&self) -> Snapshot {
        self.inner.shared.snapshot().unwrap_or_else(|error| {
            // Only if rows could not be put into columns, which their checks on entry exclude.
            tracing::error!(%error, "no snapshot");
            let empty = || Arc::new(TableSnapshot::default());
            Snapshot { version: 0, events: empty(), metrics: empty(), correlations: empty() }
        })
    }

    /// Events of a tenant as they are stored from now on. Of what waits to be taken, `max_bytes` are kept at most: then
    /// the oldest are dropped, and counted.
    pub fn watch_events(&self, tenant: TenantId, max_bytes: usize) -> NewEvents {
        self.inner.shared.feed.watch(tenant, max_bytes)
    }

    /// The ingest ledger of a tenant: minute, tenant_id, signal, received, stored, duplicate, rejected, dropped.
    ///
    /// # Errors
    ///
    /// When the control database fails.
    pub async fn ledger(&self, tenant: &TenantId) -> Result<RecordBatch, StorageError> {
        loop {
            // Memory first: what a commit moves to SQLite in between is then seen twice, and told apart by its offset.
            let (unsaved, before) = {
                let state = self.inner.shared.state.lock();
                (state.ledger.of(tenant), state.saved)
            };
            let (mut entries, offset) = self.inner.control.ledger(Some(tenant)).await?;
            if unsaved.complete(&mut entries, offset, before) {
                return Ok(ledger::to_batch(&entries)?);
            }
        }
    }

    /// The rows of `asset_metadata` of a tenant.
    ///
    /// # Errors
    ///
    /// When the control database fails.
    pub async fn assets(&self, tenant: &TenantId) -> Result<RecordBatch, StorageError> {
        let (sealed, open) = {
            let state = self.inner.shared.state.lock();
            (state.assets_sealed.clone(), state.assets.clone())
        };
        let mut known = self.inner.control.assets(tenant).await?;
        for (key, asset) in sealed.iter().chain(&open).filter(|(key, _)| key.tenant == *tenant) {
            assets::merge(&mut known, key, asset);
        }
        Ok(assets::to_batch(&known)?)
    }

    /// Writes everything to chunks and commits now.
    ///
    /// # Errors
    ///
    /// When a file cannot be written; the rows stay in memory and in the log.
    pub async fn flush(&self) -> Result<(), StorageError> {
        self.ask_writer(flush::Request::Commit).await
    }

    pub(crate) async fn ask_writer<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, StorageError>>) -> flush::Request,
    ) -> Result<T, StorageError> {
        let (reply, answer) = oneshot::channel();
        self.inner.writer.send(request(reply)).map_err(|_| StorageError::Closed)?;
        answer.await.map_err(|_| StorageError::Closed)?
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    pub(crate) fn control(&self) -> &Control {
        &self.inner.control
    }

    pub(crate) fn conclusions(&self) -> &Conclusions {
        &self.inner.conclusions
    }

    pub(crate) fn check_running(&self) -> Result<(), StorageError> {
        if self.inner.shared.closed.load(Ordering::Acquire) { Err(StorageError::Closed) } else { Ok(()) }
    }

    /// Commits and stops. Further appends fail as retryable. The tail ends; the correlator should be reading it until
    /// then.
    ///
    /// # Errors
    ///
    /// When the commit failed; the store is stopped all the same, and the log has what was acknowledged.
    pub async fn close(&self) -> Result<(), StorageError> {
        // A replay that was broken off has applied only a part: committing that would be right, but is of no use.
        self.stop(self.inner.shared.recovered.load(Ordering::Acquire)).await
    }

    async fn stop(&self, commit: bool) -> Result<(), StorageError> {
        self.inner.shared.closed.store(true, Ordering::Release);
        if let Some(remote) = &self.inner.shared.remote {
            remote.close();
        }
        let (reply, answer) = oneshot::channel();
        let outcome = match self.inner.writer.send(flush::Request::Stop { commit, reply }) {
            Ok(()) => answer.await.unwrap_or(Err(StorageError::Closed)),
            Err(_) => Ok(()),
        };
        let _ = self.inner.log.send(Command::Stop);
        let thread = self.inner.log_thread.lock().take();
        if let Some(thread) = thread {
            blocking("close", move || thread.join().map_err(|_| StorageError::Task("log thread".to_owned()))).await?;
        }
        self.inner.lock.lock().take();
        outcome
    }

    /// Stops as a crash would: nothing more is written.
    #[cfg(test)]
    pub(crate) async fn abandon(&self) {
        self.stop(false).await.ok();
    }

    /// How the last run of each kind of background work went.
    pub fn jobs(&self) -> Vec<JobRecord> {
        self.inner.shared.jobs.records()
    }

    /// Numbers about the store.
    pub fn statistics(&self) -> Statistics {
        let shared = &self.inner.shared;
        let counters = &shared.counters;
        let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let mut statistics = Statistics {
            log_bytes: of(&counters.log_bytes),
            log_segments: of(&counters.log_segments),
            log_groups: of(&counters.log_groups),
            log_poisoned: counters.log_poisoned.load(Ordering::Relaxed),
            requests: of(&counters.requests),
            duplicates: of(&counters.duplicates),
            memory_bytes: shared.memory.used() as u64,
            memory_limit_bytes: shared.memory.limit() as u64,
            memory_peak_bytes: shared.memory.peak() as u64,
            tail_items: of(&counters.tail_items),
            flushes: of(&counters.flushes),
            commits: of(&counters.commits),
            commit_failures: of(&counters.commit_failures),
            compactions: of(&counters.compactions),
            removed_duplicates: of(&counters.removed_duplicates),
            removed_by_retention: of(&counters.removed_by_retention),
            removed_by_disk_cap: of(&counters.removed_by_disk_cap),
            removed_by_erasure: of(&counters.removed_by_erasure),
            disk_bytes: of(&counters.disk_bytes),
            disk_over_cap_bytes: of(&counters.disk_over_cap_bytes),
            ..Statistics::default()
        };
        let state = shared.state.lock();
        statistics.memtable_rows = state.rows() as u64;
        statistics.memtable_bytes = state.bytes() as u64;
        statistics.series = state.metrics.registry.len() as u64;
        for chunk in Table::ALL.iter().flat_map(|table| state.chunks(*table)) {
            statistics.chunks += 1;
            statistics.chunk_rows += chunk.rows;
            statistics.chunk_bytes += chunk.bytes;
        }
        statistics
    }

    /// Numbers about the bucket, if there is one.
    pub fn bucket_statistics(&self) -> Option<BucketStatistics> {
        self.inner.shared.remote.as_ref().map(|remote| remote.statistics())
    }

    /// The local file system for readers of chunks that go through `object_store`: chunks that are in the bucket only
    /// are fetched when they are read. `None` when all chunks are local.
    pub fn chunk_files(&self) -> Option<Arc<dyn object_store::ObjectStore>> {
        self.inner.shared.remote.as_ref().map(Remote::chunk_files)
    }

    fn check_open(&self) -> Result<(), StorageError> {
        self.check_running()?;
        if !self.inner.shared.recovered.load(Ordering::Acquire) {
            return Err(StorageError::Recovering { retry_after: RECOVERY_PAUSE });
        }
        Ok(())
    }

    pub(crate) fn send(&self, command: Command) -> Result<(), StorageError> {
        self.inner.log.send(command).map_err(|_| StorageError::Closed)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        let _ = self.log.send(Command::Stop);
    }
}

/// Bytes a request takes until its rows are in chunks; refuses rows without the columns of their table.
fn request_bytes(request: &MappedRequest) -> Result<usize, StorageError> {
    let rows = match &request.rows {
        Rows::Events(batch) => {
            check_columns(Table::Events, batch)?;
            batch_bytes(batch)
        }
        Rows::Metrics(points) => points.points.len() * 160 + points.series.len() * 512,
    };
    Ok(REQUEST_BYTES + request.body.len() + rows)
}

fn check_columns(table: Table, batch: &RecordBatch) -> Result<(), StorageError> {
    let expected = table.stored_schema();
    let given = batch.schema_ref();
    if Arc::ptr_eq(&expected, given) || expected.fields() == given.fields() {
        return Ok(());
    }
    Err(ArrowError::SchemaError(format!("rows have not the stored columns of {}", table.name())).into())
}
