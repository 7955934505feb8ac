//! Tables in a bucket, with the log, the control database and a cache of chunks on local disk.
//!
//! ```text
//! write   chunk file in the local folder (as without a bucket)
//!           -> upload, whole or in parts                                   (transfer.rs)
//!           -> Delta commit in the bucket, `If-None-Match: *`              (delta.rs)
//!           -> the local file is now a cached copy, which may be evicted   (cache.rs)
//! read    local file; when it is not there: download, compare the checksum in its name, rename
//!           (transfer.rs; for DataFusion through reader.rs)
//! start   is this folder the one the bucket belongs to?                    (binding.rs)
//! health  every request notes whether the bucket answers                   (watch.rs)
//! ```
//!
//! Everything that reads and writes chunk files stays code for local files. A file that is not in the bucket yet is not
//! in the cache's books, so it is never evicted. Uploading a file twice changes nothing, since its name has its checksum.

mod binding;
mod bucket;
mod cache;
mod reader;
mod transfer;
mod watch;

pub(crate) use binding::{Bound, bind, refuse_without_bucket};
pub use bucket::{Bucket, S3Options, Secret};
pub use reader::BUCKET_UNAVAILABLE;
pub(crate) use transfer::Remote;
pub use watch::BucketStatistics;
pub(crate) use watch::is_unavailable;
