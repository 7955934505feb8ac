//! Chunk files for readers that go through `object_store`, such as DataFusion's.

use super::transfer::Remote;
use crate::StorageError;
use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::fmt;
use std::sync::Arc;

/// How often a file is fetched again because it was evicted before it could be opened.
const ATTEMPTS: usize = 5;

/// In the message of an error of [`Store::chunk_files`](crate::Store::chunk_files) when a bucket does not answer: readers
/// such as DataFusion hand on no more than the words.
pub const BUCKET_UNAVAILABLE: &str = "unavailable bucket error";

fn name_of(error: &StorageError) -> &'static str {
    if error.needs_bucket() { "unavailable bucket" } else { "bucket" }
}

/// The local file system, in which chunks that were evicted from the cache appear when they are read.
#[derive(Debug)]
pub(crate) struct ChunkFiles {
    files: LocalFileSystem,
    remote: Arc<Remote>,
}

impl ChunkFiles {
    pub(crate) fn new(remote: Arc<Remote>) -> Self {
        Self { files: LocalFileSystem::new(), remote }
    }
}

impl fmt::Display for ChunkFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("chunk files")
    }
}

#[async_trait]
impl ObjectStore for ChunkFiles {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let path = std::path::Path::new("/").join(location.as_ref());
        for _ in 0..ATTEMPTS {
            match self.files.get_opts(location, options.clone()).await {
                // An open file stays readable when it is evicted.
                Err(Error::NotFound { .. }) if self.remote.has_place_for(&path) => self
                    .remote
                    .fetch(&path)
                    .await
                    .map_err(|error| Error::Generic { store: name_of(&error), source: Box::new(error) })?,
                outcome => {
                    self.remote.touch(&path);
                    return outcome;
                }
            }
        }
        self.files.get_opts(location, options).await
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.files.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.files.put_multipart_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await
    }
}
