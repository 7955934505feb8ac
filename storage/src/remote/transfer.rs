//! Chunks on their way to the bucket and back.

use super::binding::{Instance, check_owner};
use super::bucket::Bucket;
use super::cache::Cache;
use super::reader::ChunkFiles;
use super::watch::{BucketStatistics, is_unavailable};
use crate::StorageError;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path as Key;
use object_store::{Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc};
use whence_schema::Table;
use xxhash_rust::xxh3::Xxh3;

/// Bytes of one request: what is larger goes and comes in parts of this size.
const PART_BYTES: usize = 8 << 20;
/// Parts of one file under way at a time.
const PARTS: usize = 3;
/// Files under way at a time, in each direction.
const FILES: usize = 4;
/// Pause before objects are deleted again that could not be.
const DELETE_PAUSE: Duration = Duration::from_secs(15);

/// A bucket together with the folder that caches its chunks.
#[derive(Debug)]
pub(crate) struct Remote {
    bucket: Bucket,
    instance: Instance,
    root: PathBuf,
    cache: Cache,
    runtime: tokio::runtime::Handle,
    downloads: Semaphore,
    uploads: Semaphore,
    /// One lock for each file that is being fetched, so that it is fetched once.
    fetching: Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>,
    deletions: mpsc::UnboundedSender<Key>,
    closing: AtomicBool,
}

impl Remote {
    /// `root` is the folder above those of the tables, as an absolute path. Must be called within a tokio runtime.
    pub(crate) fn new(bucket: Bucket, instance: Instance, root: PathBuf) -> Arc<Self> {
        let (deletions, wanted) = mpsc::unbounded_channel();
        tokio::spawn(delete_all(bucket.store().clone(), wanted));
        Arc::new(Self {
            cache: Cache::new(bucket.cache_bytes()),
            bucket,
            instance,
            root,
            runtime: tokio::runtime::Handle::current(),
            downloads: Semaphore::new(FILES),
            uploads: Semaphore::new(FILES),
            fetching: Mutex::new(HashMap::new()),
            deletions,
            closing: AtomicBool::new(false),
        })
    }

    pub(crate) fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// From now on nothing waits for a bucket that does not answer.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    pub(crate) fn closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(crate) fn statistics(&self) -> BucketStatistics {
        BucketStatistics { cached_bytes: self.cache.bytes(), ..self.bucket.watch.statistics() }
    }

    /// A view of the local file system in which evicted chunks are fetched when they are read.
    pub(crate) fn chunk_files(self: &Arc<Self>) -> Arc<dyn ObjectStore> {
        Arc::new(ChunkFiles::new(self.clone()))
    }

    fn key(&self, path: &Path) -> Option<Key> {
        let below = path.strip_prefix(&self.root).ok()?;
        let parts: Option<Vec<&str>> = below.iter().map(|part| part.to_str()).collect();
        Some(self.bucket.key(parts?))
    }

    /// True for the path of a chunk, whether it is there or not.
    pub(crate) fn has_place_for(&self, path: &Path) -> bool {
        path.starts_with(&self.root) && path.extension().is_some_and(|extension| extension == "parquet")
    }

    fn failed(&self, action: &'static str, key: &Key) -> impl FnOnce(Error) -> StorageError {
        let location = format!("{} in {}", key, self.bucket.url());
        move |source| StorageError::ObjectStore { action, location, source }
    }

    fn located(&self, path: &Path) -> Result<Key, StorageError> {
        self.key(path).ok_or_else(|| StorageError::Incompatible {
            path: path.to_owned(),
            reason: format!("not below {}, where chunks are", self.root.display()),
        })
    }

    /// Asks for something small: fails when the bucket does not answer.
    pub(crate) async fn probe(&self) -> Result<(), StorageError> {
        let key = self.bucket.key([super::binding::OBJECT]);
        self.bucket.store().head(&key).await.map(|_| ()).map_err(self.failed("reach", &key))
    }

    /// Fails once another folder has taken the bucket over.
    pub(crate) async fn check_owner(&self) -> Result<(), StorageError> {
        check_owner(&self.bucket, &self.instance).await
    }

    /// Sends a whole local chunk file; from then on the local one is a cached copy.
    pub(crate) async fn upload(&self, path: &Path) -> Result<(), StorageError> {
        let _turn = self.uploads.acquire().await.map_err(|_| StorageError::Closed)?;
        let key = self.located(path)?;
        let opened = tokio::fs::File::open(path).await.map_err(StorageError::file("open", path))?;
        let bytes = opened.metadata().await.map_err(StorageError::file("read", path))?.len();
        if bytes <= 2 * PART_BYTES as u64 {
            let content = tokio::fs::read(path).await.map_err(StorageError::file("read", path))?;
            self.bucket.store().put(&key, PutPayload::from(content)).await.map_err(self.failed("write", &key))?;
        } else {
            self.upload_in_parts(opened, path, &key).await?;
        }
        self.bucket.watch.uploaded_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.cached(path, bytes);
        Ok(())
    }

    async fn upload_in_parts(&self, mut file: tokio::fs::File, path: &Path, key: &Key) -> Result<(), StorageError> {
        let begun = self.bucket.store().put_multipart(key).await.map_err(self.failed("write", key))?;
        let mut upload = WriteMultipart::new_with_chunk_size(begun, PART_BYTES);
        loop {
            let mut part = Vec::with_capacity(PART_BYTES);
            let read = (&mut file).take(PART_BYTES as u64).read_to_end(&mut part).await;
            let waited = upload.wait_for_capacity(PARTS).await;
            let outcome = match (read, waited) {
                (Ok(0), Ok(())) => break,
                (Ok(_), Ok(())) => {
                    upload.put(part.into());
                    Ok(())
                }
                (Err(error), _) => Err(StorageError::file("read", path)(error)),
                (_, Err(error)) => Err(self.failed("write", key)(error)),
            };
            if outcome.is_err() {
                // Parts that stay behind are the bucket's to expire.
                let _ = upload.abort().await;
                return outcome;
            }
        }
        upload.finish().await.map(|_| ()).map_err(self.failed("write", key))
    }

    /// Notes that a chunk of the bucket is on local disk.
    pub(crate) fn cached(&self, path: &Path, bytes: u64) {
        for evicted in self.cache.add(path, bytes) {
            if let Err(error) = std::fs::remove_file(&evicted)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(path = %evicted.display(), %error, "a cached chunk cannot be deleted");
            }
        }
    }

    pub(crate) fn touch(&self, path: &Path) {
        self.cache.touch(path);
    }

    /// Puts a chunk of the bucket on local disk, unless it is there.
    pub(crate) async fn fetch(&self, path: &Path) -> Result<(), StorageError> {
        let lock = self.fetching.lock().entry(path.to_owned()).or_default().clone();
        let outcome = {
            let _one = lock.lock().await;
            if path.exists() { Ok(()) } else { self.download(path).await }
        };
        let mut fetching = self.fetching.lock();
        // Two are the map's and this one: nobody else waits.
        if Arc::strong_count(&lock) <= 2 {
            fetching.remove(path);
        }
        outcome
    }

    /// As [`fetch`](Self::fetch), for threads that may block.
    pub(crate) fn fetch_blocking(self: &Arc<Self>, path: &Path) -> Result<(), StorageError> {
        let (done, outcome) = std::sync::mpsc::sync_channel(1);
        let (remote, path) = (self.clone(), path.to_owned());
        self.runtime.spawn(async move { drop(done.send(remote.fetch(&path).await)) });
        outcome.recv().unwrap_or(Err(StorageError::Closed))
    }

    /// A part of a chunk of the bucket, for threads that may block.
    pub(crate) fn read_blocking(self: &Arc<Self>, path: &Path, range: Range<u64>) -> Result<Vec<u8>, StorageError> {
        let (done, outcome) = std::sync::mpsc::sync_channel(1);
        let (remote, path) = (self.clone(), path.to_owned());
        self.runtime.spawn(async move { drop(done.send(remote.read(&path, range).await)) });
        outcome.recv().unwrap_or(Err(StorageError::Closed))
    }

    async fn read(&self, path: &Path, range: Range<u64>) -> Result<Vec<u8>, StorageError> {
        let _turn = self.downloads.acquire().await.map_err(|_| StorageError::Closed)?;
        let key = self.located(path)?;
        let bytes = self.bucket.store().get_range(&key, range).await.map_err(self.failed("read", &key))?;
        self.bucket.watch.downloaded_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes.into())
    }

    async fn download(&self, path: &Path) -> Result<(), StorageError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let _turn = self.downloads.acquire().await.map_err(|_| StorageError::Closed)?;
        let key = self.located(path)?;
        let partial = path.with_extension(format!("{}.partial", NUMBER.fetch_add(1, Ordering::Relaxed)));
        if let Some(folder) = path.parent() {
            tokio::fs::create_dir_all(folder).await.map_err(StorageError::file("create", folder))?;
        }
        let outcome = self.download_to(&partial, &key, path).await;
        let outcome = match outcome {
            Ok(bytes) => {
                let renamed = tokio::fs::rename(&partial, path).await;
                renamed.map(|()| bytes).map_err(StorageError::file("rename", &partial))
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(bytes) => {
                self.bucket.watch.downloaded_bytes.fetch_add(bytes, Ordering::Relaxed);
                self.cached(path, bytes);
                Ok(())
            }
            Err(error) => {
                let _ = tokio::fs::remove_file(&partial).await;
                Err(error)
            }
        }
    }

    /// Writes an object to a file, in parts, and compares the checksum with that in the name of `path`.
    async fn download_to(&self, partial: &Path, key: &Key, path: &Path) -> Result<u64, StorageError> {
        let store = self.bucket.store();
        let failed = || self.failed("read", key);
        let part = PART_BYTES as u64;
        let options = GetOptions { range: Some(GetRange::Bounded(0..part)), ..GetOptions::default() };
        let first = store.get_opts(key, options).await.map_err(failed())?;
        let size = first.meta.size;
        let first = first.bytes().await.map_err(failed())?;
        let rest = (part..size).step_by(PART_BYTES).map(|from| store.get_range(key, from..size.min(from + part)));
        let mut rest = futures::stream::iter(rest).buffered(PARTS);
        let mut file = tokio::fs::File::create(partial).await.map_err(StorageError::file("create", partial))?;
        let mut hasher = Xxh3::new();
        let mut next = Some(first);
        while let Some(bytes) = next {
            hasher.update(&bytes);
            file.write_all(&bytes).await.map_err(StorageError::file("write", partial))?;
            next = rest.try_next().await.map_err(failed())?;
        }
        file.sync_all().await.map_err(StorageError::file("fsync", partial))?;
        if crate::chunk::file::checksum_in_name(path) != Some(hasher.digest()) {
            return Err(StorageError::Incompatible {
                path: path.to_owned(),
                reason: format!("its object {key} has not the checksum in its name: restore it from a backup"),
            });
        }
        Ok(size)
    }

    /// Deletes the local copy of a chunk now and its object as soon as the bucket answers.
    pub(crate) fn delete(&self, path: &Path) {
        self.cache.forget(path);
        if let Some(key) = self.key(path) {
            let _ = self.deletions.send(key);
        }
    }

    /// Deletes chunks of a table that its Delta log, whose newest commit is that of `version`, does not name. Whatever is
    /// younger than that commit stays.
    pub(crate) async fn tidy(&self, table: Table, version: u64, known: HashSet<Key>) -> Result<(), StorageError> {
        let store = self.bucket.store();
        let commit = self.bucket.key([table.name(), "_delta_log", &format!("{version:020}.json")]);
        let committed = store.head(&commit).await.map_err(self.failed("read", &commit))?.last_modified;
        let folder = self.bucket.key([table.name()]);
        let objects: Vec<ObjectMeta> = store
            .list(Some(&folder))
            .try_filter(|object| {
                let orphan = object.last_modified < committed
                    && is_chunk(&folder, &object.location)
                    && !known.contains(&object.location);
                std::future::ready(orphan)
            })
            .try_collect()
            .await
            .map_err(self.failed("list", &folder))?;
        for object in objects {
            tracing::info!(object = %object.location, "deleting a chunk that was never published or was replaced");
            let _ = self.deletions.send(object.location);
        }
        Ok(())
    }

    pub(crate) fn keys<'a>(&self, paths: impl Iterator<Item = &'a Path>) -> HashSet<Key> {
        paths.filter_map(|path| self.key(path)).collect()
    }
}

/// True for `day=*/bucket=*/*.parquet` below the folder of a table.
fn is_chunk(folder: &Key, object: &Key) -> bool {
    let Some(parts) = object.prefix_match(folder) else { return false };
    let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
    matches!(&parts[..], [day, bucket, name]
        if day.starts_with("day=") && bucket.starts_with("bucket=") && name.ends_with(".parquet"))
}

/// Deletes objects in the order they were given up; tries for as long as the bucket does not answer. What is left at the
/// end of the process is deleted by the next start.
async fn delete_all(store: Arc<dyn ObjectStore>, mut wanted: mpsc::UnboundedReceiver<Key>) {
    while let Some(key) = wanted.recv().await {
        while let Err(error) = store.delete(&key).await {
            if !is_unavailable(&error) {
                if !matches!(error, Error::NotFound { .. }) {
                    tracing::warn!(object = %key, %error, "an object that is no longer needed cannot be deleted");
                }
                break;
            }
            tokio::time::sleep(DELETE_PAUSE).await;
        }
    }
}
