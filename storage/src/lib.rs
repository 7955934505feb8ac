//! storage

mod chunk;
mod error;
mod lookup;
mod options;
mod recovery;
mod snapshot;
mod store;
mod tail;
mod verify;

pub use chunk::{BUCKETS, Chunk};
pub use error::StorageError;
pub use lookup::{FoundSpan, LinkSide};
pub use options::{CrashPoint, Durability, Retention, StoreOptions};
pub use recovery::{LoggedRequest, Recovery, RecoveryProgress, RecoveryReport};
pub use snapshot::{Snapshot, TableSnapshot};
pub use store::{Appended, Opened, Statistics, Store};
pub use tail::{Tail, TailItem, TailRows};
pub use verify::{VerifyReport, verify};
