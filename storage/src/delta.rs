//! A table as other engines see it: a Delta Lake log over its chunks, in a local folder or in a bucket.
//!
//! One commit per flush carries the log offset up to which the table's rows are in chunks, as the version of the
//! application transaction `whence`. Files under the table's folder that the log does not name were written by a flush
//! that did not get as far as its commit: they are deleted on start, and their rows come back from the write-ahead log.
//! Files that the log has removed stay for the grace given to foreign readers, counted from their removal.
//!
//! A local log is kept short: every [`CHECKPOINT_COMMITS`] commits are summed up in a checkpoint. Two checkpoints are
//! kept, and the commits since the older one, so that a checkpoint that cannot be read costs nothing (`delta/short.rs`).
//!
//! In a bucket, a commit may have been done although its answer was lost, or be done later than anybody waits for it. Its
//! number is taken by a conditional put, so it is done once or not at all; what became of it is read back before
//! anything is built on it. [`DeltaLog::add`] leaves that to the next call, which leaves out what turns out to be
//! published. [`DeltaLog::replace`] and [`DeltaLog::open`] delete files on the strength of it, so they first take the
//! next number themselves ([`Log::fence`]): what was under way can then no longer be done.

mod actions;
mod short;

use crate::StorageError;
use crate::chunk::Chunk;
use crate::files::{fsync_file, fsync_folder, make_folder};
use crate::log::LogOffset;
use crate::remote::Remote;
use actions::{add_action, create, facts_of_file, parse_stats, partition_columns, remove_action};
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Transaction};
use deltalake::logstore::{
    LogStore, LogStoreFactory, ObjectStoreRef, StorageConfig, default_logstore, logstore_factories,
};
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::{DeltaResult, DeltaTable, DeltaTableBuilder, DeltaTableError};
use futures::{StreamExt, TryStreamExt};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use url::Url;
use whence_schema::{Table, UnixNanos};

const APPLICATION: &str = "whence";
/// Version of this application transaction: a [`LinksNumber`].
const LINKS_APPLICATION: &str = "whence.links";
/// Pause before a bucket is asked again what became of a commit.
const SETTLE_PAUSE: Duration = Duration::from_secs(2);
/// Chunks uploaded at a time.
const UPLOADS: usize = 4;

/// Number of a state of the correlator, under which it is saved before the links that go with it are committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct LinksNumber(pub(crate) u64);

/// What [`DeltaLog::open`] found.
#[derive(Debug)]
pub(crate) struct OpenedTable {
    pub(crate) log: DeltaLog,
    pub(crate) chunks: Vec<Arc<Chunk>>,
    /// Files out of the table whose grace has not ended, with the moment it ends.
    pub(crate) retired: Vec<(UnixNanos, Arc<Chunk>)>,
}

/// How a table is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Access {
    /// To look at: nothing is changed.
    Read,
    /// As its only writer: what is left over from earlier runs goes, but for files removed less than `grace` before `now`.
    Write { grace: Duration, now: UnixNanos },
}

/// The Delta log of one table. Only one process writes it. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct DeltaLog {
    table: Table,
    folder: PathBuf,
    remote: Option<Arc<Remote>>,
    /// Offset of the last commit that added rows.
    offset: Arc<AtomicU64>,
    /// Number of the correlator's state at the last commit that carried one.
    links: LinksNumber,
    log: Arc<Mutex<Log>>,
}

#[derive(Debug)]
struct Log {
    table: Table,
    folder: PathBuf,
    remote: Option<Arc<Remote>>,
    delta: DeltaTable,
    /// What became of the last commit is not known.
    doubtful: bool,
    /// Version of the newest checkpoint.
    checkpoint: u64,
    grace: Duration,
}

impl DeltaLog {
    /// Opens or makes the table below `root`, or in the bucket.
    pub(crate) async fn open(
        table: Table,
        root: &Path,
        remote: Option<&Arc<Remote>>,
        access: Access,
    ) -> Result<OpenedTable, StorageError> {
        let (tidy, grace, now) = match access {
            Access::Read => (false, Duration::ZERO, UnixNanos(0)),
            Access::Write { grace, now } => (true, grace, now),
        };
        let folder = root.join(table.name());
        make_folder(&folder)?;
        let folder = folder.canonicalize().map_err(StorageError::file("resolve", &folder))?;
        let failed = StorageError::delta(table);
        let remote = remote.cloned();
        let mut delta = match &remote {
            Some(remote) => bucket_table(remote, table).map_err(&failed)?,
            None => {
                let url = deltalake::ensure_table_uri(folder.to_string_lossy()).map_err(&failed)?;
                local_table(url).map_err(&failed)?
            }
        };
        let exists = match &remote {
            Some(_) => delta.log_store().is_delta_table_location().await.map_err(&failed)?,
            None => has_commits(&folder),
        };
        if !exists {
            delta = create(table, delta).await.map_err(&failed)?;
            if remote.is_none() {
                sync_log(&folder, 0)?;
                fsync_folder(&folder)?;
            }
        }
        let checkpoint = if remote.is_none() { short::newest_checkpoint(&folder)? } else { 0 };
        let (remote_of_log, doubtful) = (remote.clone(), false);
        let mut log = Log { table, folder: folder.clone(), remote: remote_of_log, delta, doubtful, checkpoint, grace };
        let chunks = match log.load(tidy).await {
            Err(error) if tidy && remote.is_none() => log.load_without_checkpoint(error).await?,
            loaded => loaded?,
        };
        let offset = log.read_offset().await?;
        let retired = if tidy { log.retired(&chunks, now).await? } else { Vec::new() };
        let links = LinksNumber(log.read_transaction(LINKS_APPLICATION).await?);
        if tidy {
            delete_orphans(&folder, chunks.iter().chain(retired.iter().map(|(_, chunk)| chunk)))?;
        }
        if let Some(remote) = &remote {
            take_stock(remote, &chunks);
            if tidy {
                log.tidy_bucket(remote.clone(), chunks.iter().chain(retired.iter().map(|(_, chunk)| chunk)));
            }
        }
        let log =
            Self { table, folder, remote, links, offset: Arc::new(offset.0.into()), log: Arc::new(Mutex::new(log)) };
        Ok(OpenedTable { log, chunks, retired })
    }

    pub(crate) fn table(&self) -> Table {
        self.table
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Up to which record the rows of this table are in chunks.
    pub(crate) fn offset(&self) -> LogOffset {
        LogOffset(self.offset.load(Ordering::Acquire))
    }

    /// Number of the last commit.
    pub(crate) async fn version(&self) -> u64 {
        self.log.lock().await.delta.version().unwrap_or_default()
    }

    /// Files (below the table's folder) that an earlier version of the log lists, read again from where it is.
    pub(crate) async fn files_at(&self, version: u64) -> Result<HashSet<String>, StorageError> {
        let failed = StorageError::delta(self.table);
        let mut delta = match &self.remote {
            Some(remote) => bucket_table(remote, self.table).map_err(&failed)?,
            None => {
                let url = deltalake::ensure_table_uri(self.folder.to_string_lossy()).map_err(&failed)?;
                local_table(url).map_err(&failed)?
            }
        };
        delta.load_version(version).await.map_err(&failed)?;
        let log_store = delta.log_store();
        let mut views = delta.snapshot().map_err(&failed)?.snapshot().file_views(log_store.as_ref(), None);
        let mut files = HashSet::new();
        while let Some(view) = views.try_next().await.map_err(&failed)? {
            files.insert(view.path().as_ref().to_owned());
        }
        Ok(files)
    }

    /// Publishes `new` in the place of `gone` as the state at `offset`, in one commit: how the tables of a backup move
    /// from one restore point to the next. Of local tables only.
    pub(crate) async fn publish(
        &self,
        gone: &[Arc<Chunk>],
        new: &[Arc<Chunk>],
        offset: LogOffset,
    ) -> Result<(), StorageError> {
        let now = UnixNanos::now().0 / 1_000_000;
        let mut actions: Vec<Action> =
            gone.iter().map(|chunk| Action::Remove(remove_action(chunk, true, now))).collect();
        actions.extend(new.iter().map(|chunk| Action::Add(add_action(chunk, true))));
        self.log.lock().await.commit(actions, properties(offset), append()).await?;
        self.offset.store(offset.0, Ordering::Release);
        Ok(())
    }

    /// Which of the saved states of the correlator the links in this table go with, as it was when opened.
    pub(crate) fn links(&self) -> LinksNumber {
        self.links
    }

    /// Publishes new chunks together with the offset up to which rows are now in chunks, and the number of the
    /// correlator's state that goes with them, if they are links. On failure they may be published all the same, and can
    /// be given again.
    pub(crate) async fn add(
        &self,
        chunks: &[Arc<Chunk>],
        offset: LogOffset,
        links: Option<LinksNumber>,
    ) -> Result<(), StorageError> {
        self.upload(chunks).await?;
        let mut log = self.log.lock().await;
        let mut chunks = chunks.to_vec();
        if log.doubtful {
            self.settle(&mut log).await?;
            let published = log.active().await?;
            chunks.retain(|chunk| !published.contains(&chunk.path));
            if chunks.is_empty() {
                return Ok(());
            }
        }
        let actions = chunks.iter().map(|chunk| Action::Add(add_action(chunk, true))).collect();
        if let Err(error) = log.commit(actions, with_links(properties(offset), links), append()).await {
            // A failure behind the commit itself (checkpoint, clean-up, fsync, a lost answer) is none of the commit.
            log.doubtful = true;
            let known = self.offset();
            match self.settle(&mut log).await {
                Err(doubt) if !doubt.is_retryable() => return Err(doubt),
                Ok(()) if self.offset() == offset && offset != known => {}
                _ => return Err(error),
            }
            log.sync(log.delta.version().unwrap_or_default())?;
        }
        self.offset.store(offset.0, Ordering::Release);
        Ok(())
    }

    /// Takes chunks out and puts others in their place; `same_rows` when those have all rows. Tombstones say that the old
    /// ones were removed at `removed_at`, from which their grace counts. With a bucket that does not answer this takes
    /// until it does, for whoever is told of a failure deletes the new files.
    pub(crate) async fn replace(
        &self,
        old: &[Arc<Chunk>],
        new: &[Arc<Chunk>],
        same_rows: bool,
        removed_at: UnixNanos,
    ) -> Result<(), StorageError> {
        self.upload(new).await?;
        let mut log = self.log.lock().await;
        if log.doubtful {
            self.settle(&mut log).await?;
        }
        let now = removed_at.0 / 1_000_000;
        let mut actions: Vec<Action> =
            old.iter().map(|chunk| Action::Remove(remove_action(chunk, !same_rows, now))).collect();
        actions.extend(new.iter().map(|chunk| Action::Add(add_action(chunk, !same_rows))));
        let operation = if same_rows {
            DeltaOperation::Optimize { predicate: None, target_size: 0 }
        } else {
            DeltaOperation::Delete { predicate: None }
        };
        let Err(error) = log.commit(actions, CommitProperties::default(), operation).await else { return Ok(()) };
        log.doubtful = true;
        loop {
            match self.was_replaced(&mut log, old).await {
                Ok(true) => return log.sync(log.delta.version().unwrap_or_default()),
                Ok(false) => return Err(error),
                Err(doubt) => match &self.remote {
                    None => return Err(doubt),
                    Some(remote) if remote.closing() || !doubt.is_retryable() => {
                        // The next start finds out; until then the files have to outlive this process.
                        std::mem::forget(new.to_vec());
                        return Err(doubt);
                    }
                    Some(_) => tokio::time::sleep(SETTLE_PAUSE).await,
                },
            }
        }
    }

    /// Paths of the table's chunks, read again.
    pub(crate) async fn read_active(&self) -> Result<HashSet<PathBuf>, StorageError> {
        let mut log = self.log.lock().await;
        self.settle(&mut log).await?;
        log.active().await
    }

    /// Uploads what is not in the bucket yet, if there is one.
    async fn upload(&self, chunks: &[Arc<Chunk>]) -> Result<(), StorageError> {
        let Some(remote) = &self.remote else { return Ok(()) };
        let missing: Vec<_> = chunks.iter().filter(|chunk| !chunk.uploaded()).cloned().collect();
        let uploads = missing.into_iter().map(|chunk| upload_one(remote.clone(), chunk));
        futures::stream::iter(uploads).buffer_unordered(UPLOADS).try_collect().await
    }

    /// Reads what the log says now.
    async fn settle(&self, log: &mut Log) -> Result<(), StorageError> {
        if let Some(remote) = &self.remote {
            remote.check_owner().await?;
        }
        log.delta.update_state().await.map_err(StorageError::delta(self.table))?;
        self.offset.store(log.read_offset().await?.0, Ordering::Release);
        log.doubtful = false;
        Ok(())
    }

    /// Whether chunks were taken out by a commit that failed; once it is known that they were not, they will not be.
    async fn was_replaced(&self, log: &mut Log, old: &[Arc<Chunk>]) -> Result<bool, StorageError> {
        self.settle(log).await?;
        log.doubtful = true;
        let mut active = log.active().await?;
        if log.remote.is_some() && old.iter().any(|chunk| active.contains(&chunk.path)) {
            log.fence().await?;
            active = log.active().await?;
        }
        log.doubtful = false;
        Ok(!old.iter().any(|chunk| active.contains(&chunk.path)))
    }
}

impl Log {
    /// Reads the log; returns the table's chunks.
    async fn load(&mut self, tidy: bool) -> Result<Vec<Arc<Chunk>>, StorageError> {
        self.delta.load().await.map_err(StorageError::delta(self.table))?;
        if tidy && self.remote.is_some() {
            self.fence().await?;
        }
        // Everything that is read from a checkpoint is read here, where one that is damaged can be done without.
        self.read_offset().await?;
        self.removed().await?;
        self.chunks().await
    }

    async fn commit(
        &mut self,
        actions: Vec<Action>,
        mut properties: CommitProperties,
        operation: DeltaOperation,
    ) -> Result<(), StorageError> {
        let failed = StorageError::delta(self.table);
        if self.remote.is_none() {
            properties = properties.with_create_checkpoint(false).with_cleanup_expired_logs(Some(false));
        }
        let mut builder = CommitBuilder::from(properties).with_actions(actions);
        if self.remote.is_some() {
            // Nobody else writes the table: a taken number is this process's own commit, or that of the one before.
            builder = builder.with_max_retries(0);
        }
        let finished = builder
            .build(Some(self.delta.snapshot().map_err(&failed)?), self.delta.log_store(), operation)
            .await
            .map_err(&failed)?;
        let version = finished.version();
        self.delta.state = Some(finished.snapshot());
        self.sync(version)?;
        self.keep_short(version).await;
        Ok(())
    }

    /// Takes the next number with a commit that changes nothing, so that no commit still under way can have it.
    async fn fence(&mut self) -> Result<(), StorageError> {
        loop {
            let before = self.delta.version();
            let offset = self.read_offset().await?;
            let Err(error) = self.commit(Vec::new(), properties(offset), append()).await else { return Ok(()) };
            self.delta.update_state().await.map_err(StorageError::delta(self.table))?;
            if self.delta.version() == before {
                return Err(error);
            }
        }
    }

    fn sync(&self, version: u64) -> Result<(), StorageError> {
        // A few small files: not worth a thread of their own. A bucket has made durable what it acknowledged.
        if self.remote.is_some() { Ok(()) } else { sync_log(&self.folder, version) }
    }

    async fn read_offset(&self) -> Result<LogOffset, StorageError> {
        Ok(LogOffset(self.read_transaction(APPLICATION).await?))
    }

    async fn read_transaction(&self, application: &str) -> Result<u64, StorageError> {
        let failed = StorageError::delta(self.table);
        let state = self.delta.snapshot().map_err(&failed)?;
        let log_store = self.delta.log_store();
        let version = state.snapshot().transaction_version(log_store.as_ref(), application).await.map_err(&failed)?;
        Ok(version.and_then(|version| u64::try_from(version).ok()).unwrap_or(0))
    }

    async fn active(&self) -> Result<HashSet<PathBuf>, StorageError> {
        Ok(self.chunks().await?.iter().map(|chunk| chunk.path.clone()).collect())
    }

    async fn chunks(&self) -> Result<Vec<Arc<Chunk>>, StorageError> {
        let failed = StorageError::delta(self.table);
        let log_store = self.delta.log_store();
        let state = self.delta.snapshot().map_err(&failed)?;
        let mut views = state.snapshot().file_views(log_store.as_ref(), None);
        let mut chunks = Vec::new();
        while let Some(view) = views.try_next().await.map_err(&failed)? {
            let path = self.folder.join(view.path().as_ref());
            let bytes = u64::try_from(view.size()).unwrap_or(0);
            let facts = match (view.stats().and_then(|stats| parse_stats(&stats, bytes)), &self.remote) {
                (Some(facts), _) => facts,
                (None, None) => facts_of_file(&path, bytes)?,
                (None, Some(remote)) => {
                    remote.fetch(&path).await?;
                    facts_of_file(&path, bytes)?
                }
            };
            let chunk = Chunk::at(path.clone(), facts).ok_or_else(|| StorageError::Incompatible {
                path,
                reason: "not written by whence: remove it from the Delta table".to_owned(),
            })?;
            if let Some(remote) = &self.remote {
                chunk.is_in(remote);
            }
            chunks.push(Arc::new(chunk));
        }
        chunks.sort_by(|a, b| (a.day, a.bucket, &a.path).cmp(&(b.day, b.bucket, &b.path)));
        Ok(chunks)
    }

    /// Begins to delete objects that are no chunks of the table. A start does not wait for it, nor does it fail.
    fn tidy_bucket<'a>(&self, remote: Arc<Remote>, chunks: impl Iterator<Item = &'a Arc<Chunk>>) {
        let known = remote.keys(chunks.map(|chunk| chunk.path.as_path()));
        let (table, version) = (self.table, self.delta.version().unwrap_or_default());
        tokio::spawn(async move {
            if let Err(error) = remote.tidy(table, version, known).await {
                tracing::warn!(%error, table = table.name(), "what is left over in the bucket stays until the next start");
            }
        });
    }
}

async fn upload_one(remote: Arc<Remote>, chunk: Arc<Chunk>) -> Result<(), StorageError> {
    remote.upload(&chunk.path).await?;
    chunk.is_in(&remote);
    Ok(())
}

/// A table in a local folder, not loaded yet.
fn local_table(url: Url) -> Result<DeltaTable, DeltaTableError> {
    DeltaTableBuilder::from_url(url)?.build()
}

/// A table in a bucket, not loaded yet.
fn bucket_table(remote: &Remote, table: Table) -> Result<DeltaTable, DeltaTableError> {
    let scheme = Url::parse("s3://").map_err(|error| DeltaTableError::generic(error.to_string()))?;
    logstore_factories().entry(scheme).or_insert_with(|| Arc::new(ConditionalPuts));
    let url = remote.bucket().table_url(table);
    DeltaTableBuilder::from_url(url.clone())?.with_storage_backend(remote.bucket().store().clone(), url).build()
}

/// Commits by conditional puts, which every bucket that is used here has.
struct ConditionalPuts;

impl LogStoreFactory for ConditionalPuts {
    fn with_options(
        &self,
        prefixed_store: ObjectStoreRef,
        root_store: ObjectStoreRef,
        location: &Url,
        options: &StorageConfig,
    ) -> DeltaResult<Arc<dyn LogStore>> {
        Ok(default_logstore(prefixed_store, root_store, location, options))
    }
}

/// Enters local copies of chunks in the books of the cache; those of another size are none.
fn take_stock(remote: &Remote, chunks: &[Arc<Chunk>]) {
    for chunk in chunks {
        match std::fs::metadata(&chunk.path) {
            Ok(file) if file.len() == chunk.bytes => remote.cached(&chunk.path, chunk.bytes),
            Ok(_) => drop(std::fs::remove_file(&chunk.path)),
            Err(_) => {}
        }
    }
}

fn properties(offset: LogOffset) -> CommitProperties {
    CommitProperties::default()
        .with_application_transaction(Transaction::new(APPLICATION, i64::try_from(offset.0).unwrap_or(i64::MAX)))
}

fn with_links(properties: CommitProperties, links: Option<LinksNumber>) -> CommitProperties {
    let Some(LinksNumber(number)) = links else { return properties };
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    properties.with_application_transaction(Transaction::new(LINKS_APPLICATION, number))
}

fn append() -> DeltaOperation {
    DeltaOperation::Write { mode: SaveMode::Append, partition_by: Some(partition_columns()), predicate: None }
}

fn delete_orphans<'a>(folder: &Path, chunks: impl Iterator<Item = &'a Arc<Chunk>>) -> Result<(), StorageError> {
    let known: HashSet<&Path> = chunks.map(|chunk| chunk.path.as_path()).collect();
    for path in parquet_files(folder)? {
        if !known.contains(path.as_path()) {
            tracing::info!(path = %path.display(), "deleting a chunk that was never published or was replaced");
            std::fs::remove_file(&path).map_err(StorageError::file("delete", &path))?;
        }
    }
    Ok(())
}

/// Chunk files on disk, whole and partial: `day=*/bucket=*/*`. Blocks.
pub(crate) fn parquet_files(table_folder: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let list = |folder: &Path| -> Result<Vec<PathBuf>, StorageError> {
        let entries = std::fs::read_dir(folder).map_err(StorageError::file("list", folder))?;
        entries.map(|entry| entry.map(|entry| entry.path()).map_err(StorageError::file("list", folder))).collect()
    };
    let named = |path: &Path, prefix: &str| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(prefix));
    let mut files = Vec::new();
    for day in list(table_folder)?.iter().filter(|path| named(path, "day=")) {
        for bucket in list(day)?.iter().filter(|path| named(path, "bucket=")) {
            files.extend(
                list(bucket)?
                    .into_iter()
                    .filter(|path| path.extension().is_some_and(|e| e == "parquet" || e == "partial")),
            );
        }
    }
    Ok(files)
}

fn has_commits(folder: &Path) -> bool {
    std::fs::read_dir(folder.join("_delta_log")).is_ok_and(|mut entries| entries.next().is_some())
}

/// Makes commit `version`, and a checkpoint made with it, durable: object_store does not. Blocks.
fn sync_log(folder: &Path, version: u64) -> Result<(), StorageError> {
    let log = folder.join("_delta_log");
    let prefix = format!("{version:020}.");
    for entry in std::fs::read_dir(&log).map_err(StorageError::file("list", &log))? {
        let entry = entry.map_err(StorageError::file("list", &log))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&prefix) || name == "_last_checkpoint" {
            fsync_file(&entry.path())?;
        }
    }
    fsync_folder(&log)
}
