//! Rows into chunks, chunks into tables.
//!
//! ```text
//! flush    seal events (and large metrics) -> write chunks -> they take the place of the sealed rows for queries
//! commit   1 seal all tables at log offset O, tell the tail
//!          2 write chunks of events and metrics; wait for the correlator; write chunks of correlations
//!          3 Delta commit of each table that has new chunks, with O; before that of links, the correlator's state into
//!            SQLite under a number that the Delta commit carries
//!          4 digests of the records up to O into the duplicate journal, fsync
//!          5 SQLite, one transaction: ledger, assets, state of series and correlator, O
//!          6 delete log segments that hold nothing beyond O
//! ```
//!
//! A flush happens whenever memory asks for it; a commit at most every 10 s, since each makes a file per table that is
//! listed for ever after. Chunks that are not committed are no part of the table: after a crash they are deleted, and
//! their rows come back from the log.
//!
//! A crash between any two steps loses and doubles nothing, because replay begins behind the O of step 5 and each part
//! knows its own O: the rows of a table are put into its memtable only behind the O of its Delta commit; series, which
//! are at the O of step 5, see every record from there on, but make no rows up to the O of their table. The correlator
//! starts with the state that goes with the links in the table (which may be newer than step 5, and even of the same O,
//! when links came from look-ups alone), and sees the records behind it. Digests are in the journal (step 4) or in the
//! log (before step 6), or both.
//!
//! A step that fails (disk full) leaves everything before it as it is; the next commit takes up what was left, at a
//! later O.

use crate::chunk::writer::write_chunks;
use crate::compaction::Joining;
use crate::control::{Control, Unsaved};
use crate::delta::{DeltaLog, LinksNumber};
use crate::digests::{DigestJournal, ServingSeconds};
use crate::erase::Basis;
use crate::jobs::{JobKind, JobRun};
use crate::log::{Command, LogOffset, Seal, Sealed};
use crate::pin::Pinned;
use crate::replace::{Replacement, Retired};
use crate::state::{Shared, count};
use crate::{Chunk, CrashPoint, Erased, StorageError};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use whence_schema::{Table, TenantId, UnixNanos};

/// How often the writer looks at the clock.
const TICK: Duration = Duration::from_millis(500);
/// How long a commit waits for the correlator.
const CORRELATOR_PATIENCE: Duration = Duration::from_secs(60);
/// Pause after a failure; doubled from one to the next while a bucket does not answer.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(10);
/// How often retention looks for old chunks.
const RETENTION_INTERVAL: Duration = Duration::from_secs(600);
/// How often the data directory is measured, if it may not take more than so much.
const DISK_CAP_INTERVAL: Duration = Duration::from_secs(10);

/// What the chunk writer can be asked for.
#[derive(Debug)]
pub(crate) enum Request {
    Commit(oneshot::Sender<Result<(), StorageError>>),
    /// Commit, and hold what is committed still; see [`ChunkWriter::pin`].
    Pin {
        copy_to: Option<PathBuf>,
        reply: oneshot::Sender<Result<Pinned, StorageError>>,
    },
    /// Commit, and leave the chunks alone until told otherwise. Everything of `tenant` is to be forgotten.
    BeginErasing {
        tenant: Option<TenantId>,
        reply: oneshot::Sender<Result<Basis, StorageError>>,
    },
    /// Put chunks in the place of others, for an erasure.
    Replace {
        replacement: Box<Replacement>,
        reply: oneshot::Sender<Result<(), StorageError>>,
    },
    /// Clean up after it.
    EndErasing {
        tenant: Option<TenantId>,
        result: Result<Erased, String>,
        reply: oneshot::Sender<Result<(), StorageError>>,
    },
    /// Stop; with `commit`, after a last one.
    Stop {
        commit: bool,
        reply: oneshot::Sender<Result<(), StorageError>>,
    },
}

/// The task that owns chunks, Delta logs, duplicate journal and control database.
pub(crate) struct ChunkWriter {
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: mpsc::UnboundedSender<Command>,
    pub(crate) requests: mpsc::UnboundedReceiver<Request>,
    pub(crate) tables: [DeltaLog; 3],
    pub(crate) control: Control,
    pub(crate) journal: Option<DigestJournal>,
    pub(crate) serving_before: ServingSeconds,
    pub(crate) started: std::time::Instant,
    /// Chunks not yet in a Delta commit, by table.
    uncommitted: [Vec<Arc<Chunk>>; 3],
    unsaved: Unsaved,
    /// Of the state of the correlator that goes with the links in the table, and the last one given to any.
    links_committed: LinksNumber,
    links_given: LinksNumber,
    last_commit: Instant,
    /// Since when there has been something to commit.
    dirty_since: Option<Instant>,
    retry_at: Instant,
    retry_pause: Duration,
    retention_at: Instant,
    disk_cap_at: Instant,
    pub(crate) joining: Option<Joining>,
    /// Replaced files in their grace.
    pub(crate) retired: Retired,
    /// Rows were announced of which it is not settled whether they left.
    pub(crate) unsettled: bool,
    /// Rows are being erased: no other job may touch the chunks.
    pub(crate) erasing: bool,
    pub(crate) erase_run: Option<JobRun>,
    /// The directory stays taken while this may write.
    _lock: Arc<File>,
}

/// The parts [`ChunkWriter::new`] puts together.
pub(crate) struct Parts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: mpsc::UnboundedSender<Command>,
    pub(crate) requests: mpsc::UnboundedReceiver<Request>,
    pub(crate) tables: [DeltaLog; 3],
    pub(crate) control: Control,
    pub(crate) journal: DigestJournal,
    pub(crate) serving_before: ServingSeconds,
    pub(crate) lock: Arc<File>,
    pub(crate) retired: Vec<(UnixNanos, Arc<Chunk>)>,
}

impl ChunkWriter {
    pub(crate) fn new(parts: Parts) -> Self {
        let now = Instant::now();
        let links_committed = parts.tables[Table::Correlations as usize].links();
        Self {
            shared: parts.shared,
            log: parts.log,
            requests: parts.requests,
            tables: parts.tables,
            control: parts.control,
            journal: Some(parts.journal),
            serving_before: parts.serving_before,
            started: std::time::Instant::now(),
            uncommitted: [const { Vec::new() }; 3],
            unsaved: Unsaved::default(),
            links_committed,
            links_given: links_committed,
            last_commit: now,
            dirty_since: None,
            retry_at: now,
            retry_pause: RETRY,
            retention_at: now,
            disk_cap_at: now,
            joining: None,
            retired: Retired::new(parts.retired),
            unsettled: false,
            erasing: false,
            erase_run: None,
            _lock: parts.lock,
        }
    }

    /// Works until told to stop, or until everybody who could ask is gone.
    pub(crate) async fn run(mut self) {
        loop {
            let shared = self.shared.clone();
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(Request::Commit(reply)) => {
                        let _ = reply.send(self.commit().await);
                    }
                    Some(Request::Pin { copy_to, reply }) => {
                        let _ = reply.send(self.pin(copy_to).await);
                    }
                    Some(Request::BeginErasing { tenant, reply }) => {
                        let _ = reply.send(self.begin_erasing(tenant).await);
                    }
                    Some(Request::Replace { replacement, reply }) => {
                        let _ = reply.send(self.put_in_place(*replacement).await);
                    }
                    Some(Request::EndErasing { tenant, result, reply }) => {
                        let _ = reply.send(self.end_erasing(tenant, result).await);
                    }
                    Some(Request::Stop { commit, reply }) => {
                        let outcome = if commit { self.commit().await } else { Ok(()) };
                        self.stop_joining().await;
                        self.control.close().await;
                        // Whoever waits for this may open the directory again at once.
                        drop(self);
                        let _ = reply.send(outcome);
                        return;
                    }
                    None => return,
                },
                () = shared.relief_wanted.notified() => self.relieve().await,
                () = tokio::time::sleep(TICK) => self.tick().await,
            }
        }
    }

    /// Frees memory: by a commit if one is due, else by writing chunks only.
    async fn relieve(&mut self) {
        let paused = Instant::now() < self.retry_at;
        // A bucket that does not answer is no reason to keep rows in memory.
        if !self.shared.needs_relief() || (paused && !self.bucket_fails()) {
            return;
        }
        let due = !paused && self.last_commit.elapsed() >= self.shared.options.commit_interval;
        let outcome = if due { self.commit().await } else { self.flush().await };
        self.note(&outcome);
    }

    async fn tick(&mut self) {
        self.finish_joining().await;
        if Instant::now() < self.retry_at {
            return;
        }
        self.relieve().await;
        let options = &self.shared.options;
        let dirty = self.shared.state.lock().dirty() || self.uncommitted.iter().any(|chunks| !chunks.is_empty());
        self.dirty_since = if dirty { self.dirty_since.or_else(|| Some(Instant::now())) } else { None };
        let old = self.dirty_since.is_some_and(|since| since.elapsed() >= options.flush_interval);
        let waiting = self.uncommitted.iter().any(|chunks| !chunks.is_empty())
            && self.last_commit.elapsed() >= options.commit_interval;
        if self.shared.recovered.load(Ordering::Acquire) && (old || waiting) {
            let outcome = self.commit().await;
            self.note(&outcome);
        }
        if self.unsettled && self.shared.options.fail_at.is_none() {
            let outcome = self.settle().await;
            self.note(&outcome);
        }
        self.retired.release((self.shared.options.clock)());
        if self.retention_at <= Instant::now() {
            self.retention_at = Instant::now() + RETENTION_INTERVAL;
            let run = self.shared.begin_job(JobKind::Retention);
            let outcome = self.drop_expired().await;
            self.note(&outcome);
            self.shared.end_job(&run, outcome.as_ref().map(|chunks| format!("{chunks} chunks dropped")));
        }
        if self.disk_cap_at <= Instant::now() && self.shared.options.max_disk_bytes.is_some() {
            self.disk_cap_at = Instant::now() + DISK_CAP_INTERVAL;
            let run = self.shared.begin_job(JobKind::DiskCap);
            let outcome = self.keep_below_cap().await;
            self.note(&outcome);
            self.shared.end_job(&run, outcome.as_ref().map(|chunks| format!("{chunks} chunks dropped")));
        }
        self.begin_joining();
    }

    fn note<T>(&mut self, outcome: &Result<T, StorageError>) {
        if let Err(error) = outcome {
            count(&self.shared.counters.commit_failures);
            tracing::error!(%error, "rows stay in memory and in the log; trying again");
            self.retry_pause = if self.bucket_fails() { (self.retry_pause * 2).min(LONGEST_RETRY) } else { RETRY };
            self.retry_at = Instant::now() + self.retry_pause;
        } else {
            self.retry_pause = RETRY;
        }
    }

    fn bucket_fails(&self) -> bool {
        self.shared.remote.as_ref().is_some_and(|remote| remote.bucket().trouble().is_some())
    }

    async fn seal(&self, seal: Seal) -> Result<Sealed, StorageError> {
        let (reply, sealed) = oneshot::channel();
        self.log.send(Command::Seal { seal, reply }).map_err(|_| StorageError::Closed)?;
        sealed.await.map_err(|_| StorageError::Closed)?
    }

    /// Writes what is in the large memtables to chunks, without publishing them.
    async fn flush(&mut self) -> Result<(), StorageError> {
        let run = self.shared.begin_job(JobKind::Flush);
        let outcome = match self.seal(Seal::Large).await {
            Ok(_) => self.write_sealed().await,
            Err(error) => Err(error),
        };
        self.shared.end_job(&run, outcome.as_ref().map(|()| "rows written to chunks".to_owned()));
        outcome
    }

    async fn write_sealed(&mut self) -> Result<(), StorageError> {
        loop {
            let Some(sealed) = self.shared.state.lock().oldest_sealed() else { return Ok(()) };
            let folder = self.tables[sealed.table as usize].folder().to_owned();
            let created = (self.shared.options.clock)().0.div_euclid(1_000_000_000);
            let (table, batches, disk) = (sealed.table, sealed.batches.clone(), self.shared.options.disk.clone());
            let chunks =
                blocking("chunk writer", move || write_chunks(&disk, table, &folder, &batches, created, 0)).await?;
            count(&self.shared.counters.flushes);
            self.uncommitted[table as usize].extend(chunks.iter().cloned());
            self.shared.change(|state| state.written(&sealed, &chunks));
        }
    }

    /// Steps 1 to 6.
    pub(crate) async fn commit(&mut self) -> Result<(), StorageError> {
        let idle = !self.shared.state.lock().dirty() && self.uncommitted.iter().all(Vec::is_empty);
        if idle && self.unsaved.digests.is_empty() {
            return Ok(());
        }
        self.commit_sealing(Seal::Everything).await
    }

    /// The same, whether or not there is anything to commit.
    pub(crate) async fn commit_sealing(&mut self, seal: Seal) -> Result<(), StorageError> {
        let run = self.shared.begin_job(JobKind::Flush);
        let outcome = self.commit_steps(seal).await;
        let committed = |()| format!("committed up to log offset {}", self.shared.state.lock().saved.0);
        self.shared.end_job(&run, outcome.as_ref().map(|()| committed(())));
        outcome
    }

    async fn commit_steps(&mut self, seal: Seal) -> Result<(), StorageError> {
        if let Some(remote) = self.shared.remote.clone().filter(|_| self.bucket_fails()) {
            // Before anything is sealed: a chunk for every try would be too many.
            remote.probe().await?;
        }
        let sealed = self.seal(seal).await?;
        let earlier = std::mem::take(&mut self.unsaved);
        self.unsaved = sealed.unsaved;
        self.unsaved.digests.splice(0..0, earlier.digests);
        self.unsaved.correlator = earlier.correlator;
        let offset = self.unsaved.offset;

        self.write_sealed().await?;
        self.await_correlator(sealed.correlator).await?;
        self.write_sealed().await?;
        self.crash_point(CrashPoint::ChunksWritten)?;

        self.publish(offset).await?;
        self.save_digests().await?;
        self.crash_point(CrashPoint::DigestsSaved)?;

        self.control.save(&self.unsaved).await?;
        self.unsaved = Unsaved::default();
        self.shared.change(|state| {
            state.ledger.saved(offset);
            state.assets_sealed.clear();
            state.saved = offset;
        });
        self.crash_point(CrashPoint::ControlSaved)?;
        let (reply, cut) = oneshot::channel();
        self.log.send(Command::Cut { up_to: offset, reply }).map_err(|_| StorageError::Closed)?;
        cut.await.map_err(|_| StorageError::Closed)??;
        self.crash_point(CrashPoint::LogCut)?;
        count(&self.shared.counters.commits);
        self.last_commit = Instant::now();
        self.dirty_since = None;
        Ok(())
    }

    /// Step 3. What is written to chunks meanwhile waits for the next commit.
    async fn publish(&mut self, offset: LogOffset) -> Result<(), StorageError> {
        let points = [CrashPoint::EventsCommitted, CrashPoint::MetricsCommitted, CrashPoint::CorrelationsCommitted];
        // Taken at once: what is written while one table is committed may hold rows behind the offset, also of the next.
        let sealed = self.uncommitted.clone();
        for ((table, point), chunks) in Table::ALL.into_iter().zip(points).zip(sealed) {
            if !chunks.is_empty() {
                let links = if table == Table::Correlations { self.save_links_state(offset).await? } else { None };
                let (log, added) = (self.tables[table as usize].clone(), chunks.clone());
                self.relieving(async move { log.add(&added, offset, links).await }).await?;
                self.links_committed = links.unwrap_or(self.links_committed);
                self.uncommitted[table as usize].retain(|chunk| !chunks.iter().any(|other| Arc::ptr_eq(other, chunk)));
            }
            self.crash_point(point)?;
        }
        Ok(())
    }

    /// Saves what the correlator needs to go on from the links that are to be committed next.
    async fn save_links_state(&mut self, offset: LogOffset) -> Result<Option<LinksNumber>, StorageError> {
        let Some(state) = &self.unsaved.correlator else { return Ok(None) };
        self.links_given.0 += 1;
        self.control.save_links_state(self.links_given, self.links_committed, offset, state).await?;
        Ok(Some(self.links_given))
    }

    /// Waits for work that may take as long as a bucket wants, and frees memory meanwhile.
    pub(crate) async fn relieving<T: Send + 'static>(
        &mut self,
        work: impl Future<Output = Result<T, StorageError>> + Send + 'static,
    ) -> Result<T, StorageError> {
        let shared = self.shared.clone();
        let mut task = tokio::spawn(work);
        loop {
            tokio::select! {
                done = &mut task => {
                    return done.unwrap_or_else(|error| Err(StorageError::Task(format!("Delta commit: {error}"))));
                }
                () = shared.relief_wanted.notified() => {}
                () = tokio::time::sleep(TICK) => {}
            }
            if shared.needs_relief()
                && let Err(error) = self.flush().await
            {
                tracing::error!(%error, "rows stay in memory and in the log");
            }
        }
    }

    async fn await_correlator(
        &mut self,
        answer: Option<(oneshot::Receiver<Vec<u8>>, oneshot::Receiver<()>)>,
    ) -> Result<(), StorageError> {
        if let Some((state, complete)) = answer {
            let both = async { (state.await.ok(), complete.await.is_ok()) };
            let (state, complete) = tokio::time::timeout(CORRELATOR_PATIENCE, both)
                .await
                .map_err(|_| StorageError::Task(format!("the correlator did not answer in {CORRELATOR_PATIENCE:?}")))?;
            if state.is_some() {
                self.unsaved.correlator = state;
            }
            if complete {
                return Ok(());
            }
        }
        // Nobody reads the tail, so nobody appends behind the seal either.
        let now = (self.shared.options.clock)();
        self.shared.change(|state| state.seal(Table::Correlations, now))?;
        Ok(())
    }

    async fn save_digests(&mut self) -> Result<(), StorageError> {
        let Some(mut journal) = self.journal.take() else {
            return Err(StorageError::Task("duplicate journal lost in an earlier panic".to_owned()));
        };
        let digests = std::mem::take(&mut self.unsaved.digests);
        let now = ServingSeconds(self.serving_before.0 + self.started.elapsed().as_secs());
        let (journal, digests, outcome) = blocking("duplicate journal", move || {
            let outcome = journal.append(&digests, now);
            Ok((journal, digests, outcome))
        })
        .await?;
        self.journal = Some(journal);
        if outcome.is_err() {
            self.unsaved.digests = digests;
        }
        outcome
    }

    pub(crate) fn crash_point(&self, point: CrashPoint) -> Result<(), StorageError> {
        if self.shared.options.fail_at == Some(point) { Err(StorageError::CrashPoint(point)) } else { Ok(()) }
    }

    pub(crate) fn is_uncommitted(&self, table: Table, chunk: &Arc<Chunk>) -> bool {
        self.uncommitted[table as usize].iter().any(|other| Arc::ptr_eq(other, chunk))
    }
}

/// Runs `work` on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| StorageError::Task(format!("{name}: {error}")))?
}
