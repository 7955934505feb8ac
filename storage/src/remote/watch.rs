//! Whether a bucket answers: a store that every request goes through and that notes how it ended.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Numbers about a bucket since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BucketStatistics {
    /// Whether its last request was answered.
    pub available: bool,
    /// Requests, each with its retries.
    pub requests: u64,
    /// Those that failed for good: refused, timed out, or an error of the server after all retries.
    pub failures: u64,
    /// Bytes of chunks sent.
    pub uploaded_bytes: u64,
    /// Bytes of chunks fetched again.
    pub downloaded_bytes: u64,
    /// Bytes of chunks that are in the bucket and on local disk too.
    pub cached_bytes: u64,
}

/// How the requests to a bucket end.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    name: String,
    trouble: Mutex<Option<Trouble>>,
    requests: AtomicU64,
    failures: AtomicU64,
    pub(crate) uploaded_bytes: AtomicU64,
    pub(crate) downloaded_bytes: AtomicU64,
}

#[derive(Debug, Clone)]
struct Trouble {
    since: Instant,
    message: String,
    refused: bool,
}

/// True when the bucket was not reached or could not answer; trying again may help.
pub(crate) fn is_unavailable(error: &Error) -> bool {
    matches!(error, Error::Generic { .. } | Error::JoinError { .. })
}

fn is_refused(error: &Error) -> bool {
    matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. })
}

impl Watch {
    pub(crate) fn new(name: String) -> Self {
        Self { name, ..Self::default() }
    }

    fn note<T>(&self, outcome: &Result<T>) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut trouble = self.trouble.lock();
        match outcome {
            Err(error) if is_unavailable(error) || is_refused(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                let (since, message) = (Instant::now(), error.to_string());
                if trouble.is_none() {
                    tracing::warn!(
                        bucket = self.name,
                        error = message,
                        "the bucket does not take requests: rows stay in the log and in local chunk files until it does"
                    );
                }
                let since = trouble.as_ref().map_or(since, |trouble| trouble.since);
                *trouble = Some(Trouble { since, message, refused: is_refused(error) });
            }
            _ => {
                if let Some(over) = trouble.take() {
                    tracing::info!(bucket = self.name, after = ?over.since.elapsed(), "the bucket answers again");
                }
            }
        }
    }

    /// Why the last request failed, if it did.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().as_ref().map(|trouble| trouble.message.clone())
    }

    /// True when the last request was turned down for its credentials, which waiting does not mend.
    pub(crate) fn refused(&self) -> bool {
        self.trouble.lock().as_ref().is_some_and(|trouble| trouble.refused)
    }

    pub(crate) fn statistics(&self) -> BucketStatistics {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BucketStatistics {
            available: self.trouble.lock().is_none(),
            requests: of(&self.requests),
            failures: of(&self.failures),
            uploaded_bytes: of(&self.uploaded_bytes),
            downloaded_bytes: of(&self.downloaded_bytes),
            cached_bytes: 0,
        }
    }
}

/// A store whose requests are watched. Its `Debug` and `Display` name the bucket and nothing else.
pub(crate) struct Watched {
    inner: Arc<dyn ObjectStore>,
    watch: Arc<Watch>,
}

impl Watched {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, watch: Arc<Watch>) -> Self {
        Self { inner, watch }
    }

    fn noted<T>(&self, outcome: Result<T>) -> Result<T> {
        self.watch.note(&outcome);
        outcome
    }

    fn watched<T: Send + 'static>(&self, stream: BoxStream<'static, Result<T>>) -> BoxStream<'static, Result<T>> {
        let watch = self.watch.clone();
        stream.inspect(move |item| watch.note(item)).boxed()
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.watch.name)
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.watch.name)
    }
}

#[async_trait]
impl ObjectStore for Watched {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.noted(self.inner.put_opts(location, payload, options).await)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.noted(self.inner.put_multipart_opts(location, options).await)
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.noted(self.inner.get_opts(location, options).await)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.watched(self.inner.delete_stream(locations))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.watched(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.watched(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.noted(self.inner.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.noted(self.inner.copy_opts(from, to, options).await)
    }
}
