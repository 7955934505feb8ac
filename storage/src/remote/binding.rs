//! Which local folder belongs to which bucket.
//!
//! Log offsets mean something only together with the tables they were committed to. So the folder says which bucket it
//! belongs to (file `object_store`), and the bucket which folder (object `whence.json`), by an id drawn when a folder
//! takes a bucket over. Whatever does not fit is refused; an empty folder takes over what is in the bucket.

use super::bucket::Bucket;
use crate::StorageError;
use crate::files::{fsync_file, fsync_folder};
use object_store::{Error, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

const FILE: &str = "object_store";
pub(super) const OBJECT: &str = "whence.json";
const FORMAT: u32 = 1;

/// Content of both the file and the object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Binding {
    format: u32,
    url: String,
    instance: String,
}

/// Who a bucket belongs to: drawn when a folder takes it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instance(String);

/// How folder and bucket came together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    /// They were before, or neither held anything.
    AsBefore,
    /// The folder is empty and the bucket is not: what only the folder knew is lost.
    TakenOver,
}

/// Refuses a folder whose tables are in a bucket, when it is opened without one.
pub(crate) fn refuse_without_bucket(folder: &Path) -> Result<(), StorageError> {
    match read_file(folder)? {
        None => Ok(()),
        Some(binding) => Err(incompatible(
            folder,
            format!(
                "its tables are in {0}: start whence with exporters.hypertables.path set to {0} and local_path to this folder; \
                 verify and back up the running server",
                binding.url
            ),
        )),
    }
}

/// Finds out whether `folder` and `bucket` belong together, and joins them when they are new to each other.
pub(crate) async fn bind(folder: &Path, bucket: &Bucket) -> Result<(Bound, Instance), StorageError> {
    let local = read_file(folder)?;
    if local.is_none() && folder.join("control.db").exists() {
        let reason = format!("holds tables of its own: use an empty folder as local_path for {}", bucket.url());
        return Err(incompatible(folder, reason));
    }
    if let Some(other) = local.as_ref().filter(|local| local.url != bucket.url()) {
        let reason = format!("belongs to {}, not to {}: use another local_path for that", other.url, bucket.url());
        return Err(incompatible(folder, reason));
    }
    let there = read_object(bucket).await?;
    match (local, there) {
        (Some(local), Some(there)) if local.instance == there.instance => {
            Ok((Bound::AsBefore, Instance(local.instance)))
        }
        (Some(_), Some(_)) => {
            let reason = format!(
                "another folder has taken over {} since: go on with that one; to take the bucket over again, use an empty \
                 folder as local_path (what only this one's log holds is not in the bucket)",
                bucket.url()
            );
            Err(incompatible(folder, reason))
        }
        (Some(_), None) => {
            let reason = format!(
                "belongs to {}, in which there is no {OBJECT}: the bucket was emptied; restore it, or use an empty folder as \
                 local_path to begin anew",
                bucket.url()
            );
            Err(incompatible(folder, reason))
        }
        (None, there) => {
            let instance = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
            let binding = Binding { format: FORMAT, url: bucket.url().to_owned(), instance: instance.clone() };
            let text = serde_json::to_vec_pretty(&binding).unwrap_or_default();
            // The bucket first: after a crash in between, the folder is still an empty one.
            let put = bucket.store().put(&bucket.key([OBJECT]), PutPayload::from(text.clone())).await;
            put.map_err(failed(bucket, "write"))?;
            write_file(folder, &text)?;
            Ok((if there.is_some() { Bound::TakenOver } else { Bound::AsBefore }, Instance(instance)))
        }
    }
}

/// Fails, and not for a while only, once another folder has taken the bucket over.
pub(crate) async fn check_owner(bucket: &Bucket, instance: &Instance) -> Result<(), StorageError> {
    match read_object(bucket).await? {
        Some(there) if there.instance == instance.0 => Ok(()),
        _ => Err(incompatible(
            Path::new(bucket.url()),
            "another folder has taken this bucket over: stop this process; what it accepted since is in its log only"
                .to_owned(),
        )),
    }
}

async fn read_object(bucket: &Bucket) -> Result<Option<Binding>, StorageError> {
    match bucket.store().get(&bucket.key([OBJECT])).await {
        Ok(found) => parse(bucket, &found.bytes().await.map_err(failed(bucket, "read"))?).map(Some),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(failed(bucket, "read")(error)),
    }
}

fn failed(bucket: &Bucket, action: &'static str) -> impl FnOnce(Error) -> StorageError {
    let location = format!("{OBJECT} in {}", bucket.url());
    move |source| StorageError::ObjectStore { action, location, source }
}

fn incompatible(folder: &Path, reason: String) -> StorageError {
    StorageError::Incompatible { path: folder.to_owned(), reason }
}

fn parse(bucket: &Bucket, bytes: &[u8]) -> Result<Binding, StorageError> {
    let wrong = |reason: String| incompatible(Path::new(bucket.url()), reason);
    let binding: Binding = serde_json::from_slice(bytes).map_err(|error| {
        wrong(format!("{OBJECT} is not what whence writes ({error}): use another bucket or prefix"))
    })?;
    if binding.format > FORMAT {
        return Err(wrong(format!("format {} is newer than this whence: use a newer one", binding.format)));
    }
    Ok(binding)
}

fn read_file(folder: &Path) -> Result<Option<Binding>, StorageError> {
    let path = folder.join(FILE);
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            incompatible(&path, format!("not what whence writes ({error}): restore it from a backup"))
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::file("read", &path)(error)),
    }
}

fn write_file(folder: &Path, text: &[u8]) -> Result<(), StorageError> {
    let (partial, path) = (folder.join("object_store.partial"), folder.join(FILE));
    std::fs::write(&partial, text).map_err(StorageError::file("write", &partial))?;
    fsync_file(&partial)?;
    std::fs::rename(&partial, &path).map_err(StorageError::file("rename", &partial))?;
    fsync_folder(folder)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use object_store::memory::InMemory;
    use std::sync::Arc;

    #[tokio::test]
    async fn folder_and_bucket_find_each_other_again_and_nothing_else_fits() {
        let store = Arc::new(InMemory::new());
        let bucket = |url: &str| Bucket::new(url, store.clone(), 0).unwrap();
        let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
        let [first, second, third] = [0, 1, 2].map(|at: usize| folders[at].path());

        let (bound, owner) = bind(first, &bucket("s3://b/p")).await.unwrap();
        assert_eq!(bound, Bound::AsBefore);
        assert_eq!(bind(first, &bucket("s3://b/p/")).await.unwrap(), (Bound::AsBefore, owner.clone()));
        check_owner(&bucket("s3://b/p"), &owner).await.unwrap();
        let refusal = |outcome: Result<(Bound, Instance), StorageError>| outcome.unwrap_err().to_string();
        assert!(refusal(bind(first, &bucket("s3://b/q")).await).contains("belongs to s3://b/p/"));
        assert!(refuse_without_bucket(first).unwrap_err().to_string().contains("s3://b/p/"));

        assert_eq!(bind(second, &bucket("s3://b/p")).await.unwrap().0, Bound::TakenOver);
        assert!(!check_owner(&bucket("s3://b/p"), &owner).await.unwrap_err().is_retryable());
        assert!(refusal(bind(first, &bucket("s3://b/p")).await).contains("taken over"));
        store.delete(&bucket("s3://b/p").key([OBJECT])).await.unwrap();
        assert!(refusal(bind(second, &bucket("s3://b/p")).await).contains("emptied"));

        std::fs::write(third.join("control.db"), b"").unwrap();
        assert!(refusal(bind(third, &bucket("s3://b/p")).await).contains("tables of its own"));
        refuse_without_bucket(third).unwrap();
    }
}
