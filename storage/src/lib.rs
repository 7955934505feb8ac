//! storage

mod assets;
mod chunk;
mod compaction;
mod control;
mod delta;
mod digests;
mod error;
mod files;
mod flush;
mod ledger;
mod log;
mod lookup;
mod memory;
mod memtable;
mod options;
mod recovery;
mod retention;
mod snapshot;
mod state;
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

#[cfg(test)]
mod tests;
