//! Tables in a bucket that is away, loses answers, or is all there is left.

use super::crash::{append, expected};
use super::world::{World, open, options, totals};
use crate::{Bucket, StorageError, StoreOptions};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How a bucket behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Every request fails.
    Away,
    /// Conditional puts, which commits are, are done and not answered; everything after that fails.
    AnswersLost,
}

/// A bucket in memory with faults.
#[derive(Debug, Clone)]
struct Faulty {
    inner: Arc<InMemory>,
    fault: Arc<Mutex<Fault>>,
}

impl Faulty {
    fn new() -> Self {
        Self { inner: Arc::new(InMemory::new()), fault: Arc::new(Mutex::new(Fault::None)) }
    }

    fn set(&self, fault: Fault) {
        *self.fault.lock() = fault;
    }

    fn check(&self) -> Result<()> {
        if *self.fault.lock() == Fault::Away { Err(away()) } else { Ok(()) }
    }

    async fn chunks(&self) -> usize {
        let objects: Vec<_> = self.inner.list(None).collect().await;
        objects.into_iter().filter(|object| object.as_ref().unwrap().location.as_ref().contains("day=")).count()
    }
}

fn away() -> Error {
    Error::Generic { store: "test", source: "the bucket is away".into() }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.check()?;
        let conditional = options.mode == PutMode::Create;
        let result = self.inner.put_opts(location, payload, options).await?;
        if conditional && *self.fault.lock() == Fault::AnswersLost {
            self.set(Fault::Away);
            return Err(away());
        }
        Ok(result)
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.check()?;
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.check()?;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.check() {
            Ok(()) => self.inner.delete_stream(locations),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.check() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.check()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.check()?;
        self.inner.copy_opts(from, to, options).await
    }
}

fn in_bucket(folder: &std::path::Path, store: &Faulty, cache_bytes: u64) -> StoreOptions {
    let bucket = Bucket::new("s3://bucket/a/prefix", Arc::new(store.clone()), cache_bytes).unwrap();
    StoreOptions { bucket: Some(bucket), ..options(folder) }
}

async fn assert_waits_for_the_bucket(world: &World) {
    let error = world.store.flush().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(!world.store.bucket_statistics().unwrap().available);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_holds_what_a_folder_would_and_an_empty_folder_finds_it_there() {
    let expected = expected(3).await;
    let (folder, store) = (tempfile::tempdir().unwrap(), Faulty::new());
    let world = open(in_bucket(folder.path(), &store, 1 << 30)).await.unwrap();
    append(&world, 0).await;
    append(&world, 1).await;
    world.store.flush().await.unwrap();
    world.close().await;
    assert!(matches!(open(options(folder.path())).await, Err(StorageError::Incompatible { .. })));

    let world = open(in_bucket(folder.path(), &store, 1 << 30)).await.unwrap();
    append(&world, 2).await;
    world.store.flush().await.unwrap();
    assert_eq!(world.totals().await, expected);
    let chunks = store.chunks().await;
    assert_eq!(world.statistics().chunks, chunks as u64);
    world.close().await;

    // One that is still running when another takes over.
    let former = open(in_bucket(folder.path(), &store, 1 << 30)).await.unwrap();
    let empty = tempfile::tempdir().unwrap();
    let world = open(in_bucket(empty.path(), &store, 1 << 30)).await.unwrap();
    let mut found = world.totals().await;
    assert!(found.ledger.is_empty(), "the ledger was in the lost folder only");
    found.ledger = expected.ledger.clone();
    assert_eq!(found, expected);
    append(&former, 7).await;
    let error = former.store.flush().await.unwrap_err();
    assert!(error.to_string().contains("stop this process"), "{error}");
    former.kill().await;
    append(&world, 3).await;
    world.store.flush().await.unwrap();
    world.kill().await;
    let world = open(in_bucket(empty.path(), &store, 1 << 30)).await.unwrap();
    assert_eq!(world.totals().await.spans, super::crash::expected(4).await.spans);
    assert_eq!(store.chunks().await, world.statistics().chunks as usize, "what was there before is still there");
    world.close().await;
    let refused = open(in_bucket(folder.path(), &store, 1 << 30)).await.unwrap_err().to_string();
    assert!(refused.contains("taken over"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_while_the_bucket_is_away_is_committed_once_when_it_is_back() {
    let expected = expected(4).await;
    for kill in [false, true] {
        let (folder, store) = (tempfile::tempdir().unwrap(), Faulty::new());
        let mut world = open(in_bucket(folder.path(), &store, 1 << 30)).await.unwrap();
        append(&world, 0).await;
        world.store.flush().await.unwrap();
        store.set(Fault::Away);
        for number in 1..4 {
            append(&world, number).await;
            assert_waits_for_the_bucket(&world).await;
        }
        assert_eq!(totals(&world.store.snapshot()).spans, expected.spans, "queries go on");
        if kill {
            world.kill().await;
            let options = in_bucket(folder.path(), &store, 1 << 30);
            let opening = tokio::spawn(open(options));
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(!opening.is_finished(), "a start waits for the bucket");
            store.set(Fault::None);
            world = opening.await.unwrap().unwrap();
        }
        store.set(Fault::None);
        world.store.flush().await.unwrap();
        assert_eq!(world.totals().await, expected);
        assert!(world.store.bucket_statistics().unwrap().available);
        world.close().await;
        let world = open(in_bucket(folder.path(), &store, 1 << 30)).await.unwrap();
        assert_eq!(world.totals().await, expected);
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_is_not_done_twice() {
    let expected = expected(3).await;
    for kill in [false, true] {
        let (folder, store) = (tempfile::tempdir().unwrap(), Faulty::new());
        let mut world = open(in_bucket(folder.path(), &store, 1 << 30)).await.unwrap();
        append(&world, 0).await;
        world.store.flush().await.unwrap();
        append(&world, 1).await;
        // One table a time: events, metrics, correlations.
        for _ in 0..3 {
            store.set(Fault::AnswersLost);
            assert_waits_for_the_bucket(&world).await;
            if kill {
                world.kill().await;
                store.set(Fault::None);
                world = open(in_bucket(folder.path(), &store, 1 << 30)).await.unwrap();
            }
            store.set(Fault::None);
        }
        append(&world, 2).await;
        world.store.flush().await.unwrap();
        assert_eq!(world.totals().await, expected);
        world.close().await;
        let world = open(in_bucket(folder.path(), &store, 1 << 30)).await.unwrap();
        assert_eq!(world.totals().await, expected);
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_left_the_cache_are_fetched_when_read_and_missed_when_the_bucket_is_away() {
    let expected = expected(4).await;
    let (folder, store) = (tempfile::tempdir().unwrap(), Faulty::new());
    // Smaller than any two files.
    let world = open(in_bucket(folder.path(), &store, 1)).await.unwrap();
    for number in 0..4 {
        append(&world, number).await;
        world.store.flush().await.unwrap();
    }
    let snapshot = world.store.snapshot();
    let local = |snapshot: &crate::Snapshot| {
        let tables = [&snapshot.events, &snapshot.metrics, &snapshot.correlations];
        tables.iter().flat_map(|table| &table.chunks).filter(|chunk| chunk.path.exists()).count()
    };
    assert_eq!(local(&snapshot), 1);
    let held = snapshot.clone();
    let read = tokio::task::spawn_blocking(move || totals(&held)).await.unwrap();
    assert_eq!((read.spans, read.points, read.links), (expected.spans, expected.points, expected.links));
    assert!(world.store.bucket_statistics().unwrap().downloaded_bytes > 0);

    store.set(Fault::Away);
    let chunk = snapshot.events.chunks.iter().find(|chunk| !chunk.path.exists()).unwrap().clone();
    let error = tokio::task::spawn_blocking(move || chunk.open().map(|_| ())).await.unwrap().unwrap_err();
    assert!(error.is_retryable() && error.needs_bucket(), "{error}");
    store.set(Fault::None);

    // A copy that is not what its name says is not taken.
    let chunk = snapshot.events.chunks.iter().find(|chunk| !chunk.path.exists()).unwrap().clone();
    let key = Path::from(format!("a/prefix/events/{}", chunk.relative_path()));
    store.inner.put_opts(&key, PutPayload::from_static(b"something else"), PutOptions::default()).await.unwrap();
    let error = tokio::task::spawn_blocking(move || chunk.open().map(|_| ())).await.unwrap().unwrap_err();
    assert!(!error.is_retryable() && error.to_string().contains("checksum"), "{error}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_were_joined_are_deleted_in_the_bucket_too_and_orphans_by_the_next_start() {
    let (folder, store) = (tempfile::tempdir().unwrap(), Faulty::new());
    let world = open(StoreOptions { compaction: true, ..in_bucket(folder.path(), &store, 1 << 30) }).await.unwrap();
    for number in 0..9 {
        append(&world, number).await;
        world.store.flush().await.unwrap();
    }
    for _ in 0..100 {
        if world.statistics().compactions >= 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let totals = world.totals().await;
    let mut left = 0;
    for _ in 0..100 {
        left = store.chunks().await;
        if left == world.statistics().chunks as usize {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(left, world.statistics().chunks as usize);
    world.close().await;

    let orphan = Path::from("a/prefix/events/day=2023-03-28/bucket=1/1-00-1-0000000000000000.parquet");
    let foreign = Path::from("a/prefix/events/notes.txt");
    for key in [&orphan, &foreign] {
        store.inner.put_opts(key, PutPayload::from_static(b"x"), PutOptions::default()).await.unwrap();
    }
    let world = open(in_bucket(folder.path(), &store, 1 << 30)).await.unwrap();
    for _ in 0..100 {
        if store.inner.get_opts(&orphan, GetOptions::default()).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(store.inner.get_opts(&orphan, GetOptions::default()).await.is_err());
    store.inner.get_opts(&foreign, GetOptions::default()).await.unwrap();
    assert_eq!(world.totals().await, totals);
    world.close().await;
}
