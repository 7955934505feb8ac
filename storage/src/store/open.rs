//! Opening a store: the folder is taken, the tables and what the control store knows are read, and the log's thread and the
//! chunk writer begin.

use super::{Inner, Opened, Store, active_paths};
use crate::control::Control;
use crate::delta::{Access, DeltaLog, OpenedTable};
use crate::digests::{DigestJournal, Digests, ServingSeconds};
use crate::feed::Feed;
use crate::files::make_folder;
use crate::flush::{ChunkWriter, Parts, blocking};
use crate::format;
use crate::incidents::Conclusions;
use crate::jobs::Jobs;
use crate::log::{LogOffset, LogThread, LogWriter, Segment};
use crate::memory::Memory;
use crate::memtable::metrics::MetricsMemtable;
use crate::recovery::Offsets;
use crate::remote::{Bound, Remote, bind, refuse_without_bucket};
use crate::restore::complete_on_open;
use crate::state::{Counters, Shared, State};
use crate::{Aggregates, Bucket, Chunk, Keyring, Recovery, StorageError, StoreOptions, Tail};
use parking_lot::Mutex;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};
use whence_schema::Table;

/// Pause before a bucket is asked again at the start.
const BUCKET_PAUSE: Duration = Duration::from_secs(2);

impl Store {
    /// Opens or makes the data directory. Does not replay the log yet. Needs a multi-threaded tokio runtime.
    ///
    /// # Errors
    ///
    /// When the directory is in use, unreadable or of another version.
    pub async fn open(options: StoreOptions) -> Result<Opened, StorageError> {
        let root = options.path.clone();
        let lock = Arc::new(blocking("open", move || make_folder(&root).and_then(|()| lock_directory(&root))).await?);
        let root = options.path.clone();
        let format = blocking("open", move || complete_on_open(&root).and_then(|()| format::check(&root))).await?;
        let (remote, bound) = match options.bucket.clone() {
            Some(bucket) => attach(&options.path, bucket).await?,
            None => {
                refuse_without_bucket(&options.path)?;
                (None, Bound::AsBefore)
            }
        };
        let control = Control::open(&options.path).await?;
        let saved = control.offset().await?;
        let access = Access::Write { grace: options.grace, now: (options.clock)() };
        let events = open_table(Table::Events, &options.path, remote.as_ref(), access).await?;
        let metrics = open_table(Table::Metrics, &options.path, remote.as_ref(), access).await?;
        let correlations = open_table(Table::Correlations, &options.path, remote.as_ref(), access).await?;
        let opened = [events, metrics, correlations];
        if bound == Bound::TakenOver {
            tell_of_loss(&options, opened.iter().flat_map(|table| &table.chunks));
        }
        let root = options.path.clone();
        blocking("open", move || format::upgraded(&root, format)).await?;
        let active = active_paths(opened.each_ref().map(|table| &table.chunks[..]));
        control.settle(|path| active.contains(path)).await?;
        let retired = opened.iter().flat_map(|table| table.retired.clone()).collect();
        let links_state = control.links_state(opened[2].log.links()).await?.filter(|(offset, _)| *offset >= saved);
        let offsets = Offsets {
            saved,
            tail: links_state.as_ref().map_or(saved, |(offset, _)| *offset),
            events: opened[0].log.offset().max(saved),
            metrics: opened[1].log.offset().max(saved),
            correlations: opened[2].log.offset().max(saved),
        };

        let mut state = State::at(saved);
        let tables = opened.map(|OpenedTable { log, chunks, .. }| {
            state.set_chunks(log.table(), chunks);
            log
        });
        if let Some(bytes) = control.series().await? {
            state.metrics = MetricsMemtable::restore(&bytes).ok_or_else(|| StorageError::Incompatible {
                path: options.path.join("control.db"),
                reason: "the state of metric series is of an unknown form: use the whence that wrote it".to_owned(),
            })?;
        }
        let correlator_state = match links_state {
            Some((_, state)) => Some(state),
            None => control.correlator().await?,
        };
        let shared = Arc::new(Shared {
            remote,
            memory: Memory::new(options.memory_bytes),
            state: Mutex::new(state),
            relief_wanted: Notify::new(),
            recovered: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            counters: Counters::default(),
            jobs: Jobs::default(),
            feed: Feed::default(),
            options,
        });
        let files = shared.clone();
        let (log_writer, segments, damage, digests, journal, serving_before) =
            blocking("open", move || open_files(&files.options, offsets)).await?;

        let (log, commands) = mpsc::unbounded_channel();
        let (tail_sender, tail_receiver) = mpsc::unbounded_channel();
        let (writer, requests) = mpsc::unbounded_channel();
        let log_thread = LogThread {
            commands,
            writer: log_writer,
            digests,
            serving_before,
            started: Instant::now(),
            shared: shared.clone(),
            tail: tail_sender,
        };
        let log_thread = std::thread::Builder::new()
            .name("whence-log".to_owned())
            .spawn(move || log_thread.run())
            .map_err(StorageError::file("start the log thread for", &shared.options.path))?;
        let parts = Parts {
            shared: shared.clone(),
            // The chunk writer must not keep the log thread alive once every `Store` is gone.
            log: log.clone(),
            requests,
            tables,
            control: control.clone(),
            journal,
            serving_before,
            lock: lock.clone(),
            retired,
        };
        tokio::spawn(ChunkWriter::new(parts).run());
        let tail = Tail { receiver: tail_receiver, shared: shared.clone(), sealing: None };
        let recovery = Recovery { shared: shared.clone(), log: log.clone(), segments, damage, offsets };
        let keyring = Keyring::load(control.clone()).await?;
        let aggregates = Aggregates::load(control.clone()).await?;
        let inner = Inner {
            shared,
            control,
            keyring,
            aggregates,
            conclusions: Conclusions::default(),
            log,
            writer,
            log_thread: Mutex::new(Some(log_thread)),
            lock: Mutex::new(Some(lock)),
        };
        Ok(Opened { store: Self { inner: Arc::new(inner) }, tail, recovery, correlator_state })
    }
}

/// Takes the data directory for this process. Blocks.
pub(crate) fn lock_directory(path: &Path) -> Result<File, StorageError> {
    let file_path = path.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&file_path)
        .map_err(StorageError::file("open", &file_path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StorageError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(StorageError::file("lock", &file_path)(error)),
    }
}

/// Joins folder and bucket. Waits for a bucket that does not answer, since nothing can be served without its tables.
async fn attach(folder: &Path, bucket: Bucket) -> Result<(Option<Arc<Remote>>, Bound), StorageError> {
    let (bound, instance) = patiently(&bucket, || bind(folder, &bucket)).await?;
    let folder = folder.canonicalize().map_err(StorageError::file("resolve", folder))?;
    Ok((Some(Remote::new(bucket, instance, folder)), bound))
}

async fn open_table(
    table: Table,
    path: &Path,
    remote: Option<&Arc<Remote>>,
    access: Access,
) -> Result<OpenedTable, StorageError> {
    let Some(to) = remote else { return DeltaLog::open(table, path, None, access).await };
    patiently(to.bucket(), || DeltaLog::open(table, path, remote, access)).await
}

/// Does `work` again for as long as it fails because the bucket does not answer.
async fn patiently<T, F: Future<Output = Result<T, StorageError>>>(
    bucket: &Bucket,
    work: impl Fn() -> F,
) -> Result<T, StorageError> {
    loop {
        match work().await {
            Err(error) if error.is_retryable() && bucket.trouble().is_some() && !bucket.refused() => {
                tracing::warn!(bucket = bucket.url(), %error, "waiting for the bucket: nothing is served before it answers");
                tokio::time::sleep(BUCKET_PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

fn tell_of_loss<'a>(options: &StoreOptions, chunks: impl Iterator<Item = &'a Arc<Chunk>>) {
    let (chunks, rows) = chunks.fold((0_u64, 0_u64), |(chunks, rows), chunk| (chunks + 1, rows + chunk.rows));
    tracing::warn!(
        folder = %options.path.display(),
        chunks,
        rows,
        "the bucket has tables and the local folder is empty: the tables are taken over as they are. What only the folder of \
         before knew is lost: requests not yet committed, the ledger, asset metadata, digests of recent requests (one sent \
         again is stored again), last values of cumulative metrics, and links still waiting for their other end"
    );
}

type Files = (LogWriter, Vec<Segment>, Vec<String>, Digests, DigestJournal, ServingSeconds);

fn open_files(options: &StoreOptions, offsets: Offsets) -> Result<Files, StorageError> {
    let window = options.duplicate_window.as_secs();
    let mut digests = Digests::new(window, options.duplicate_limit);
    let (journal, serving_before) =
        DigestJournal::open(&options.disk, &options.path.join("digests"), window, &mut digests)?;
    let newest = offsets.saved.max(offsets.events).max(offsets.metrics).max(offsets.correlations);
    let first = LogOffset(newest.0 + 1);
    let (log, segments, damage) =
        LogWriter::open(&options.disk, &options.path.join("log"), options.durability, options.segment_bytes, first)?;
    Ok((log, segments, damage, digests, journal, serving_before))
}
