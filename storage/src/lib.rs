//! The embedded store: one way in ([`Store::append`]), one way out ([`Store::snapshot`]).
//!
//! ```text
//! MappedRequest
//!   -> Store::append          memory limit
//!   -> log/thread.rs          duplicate? -> write-ahead log, group commit, fsync     (log/, digests.rs)
//!   -> state.rs               memtables: visible to snapshots => answer              (memtable/, ledger.rs, assets.rs)
//!        |-> Tail             correlator -> Store::append_correlations               (tail.rs)
//!        |-> flush.rs         sort, Parquet + zstd                                   (chunk/)
//!              -> Delta commit with the log offset                                   (delta.rs)
//!              -> duplicate journal; ledger, assets, states in SQLite                (digests.rs, control.rs)
//!              -> log cut
//!              -> small chunks joined, old ones dropped            (compaction.rs, retention.rs, disk_cap.rs)
//!                    -> rows that leave counted, files deleted after a grace           (replace.rs)
//! incidents, log templates -> SQLite                                                (incidents.rs)
//! Snapshot  -> batches and chunks, to scan; find_spans, trace_rows, links, to look up (snapshot.rs, lookup.rs)
//! restart   -> Recovery::run: the log behind the offset in SQLite, mapped again       (recovery.rs)
//! ```
//!
//! The order of a commit, and why a crash between any two of its steps neither loses nor doubles anything, is written
//! down in `flush.rs`; byte layouts are in `log/record.rs`, `digests.rs`, `memtable/series.rs` and `chunk.rs`.
//!
//! Invariants:
//! * Only the log thread writes log and memtables, so log order is the order of everything.
//! * A request is answered after its record is durable and its rows are visible, never before.
//! * A row is in a memtable, in sealed rows or in a chunk of the list: in exactly one of them for every snapshot.
//! * Chunk files never change. They are deleted when the last snapshot that lists them is gone.
//!
//! What this crate is not for: it knows no OTLP (recovery is handed the mapping), finds no links (the correlator does),
//! and evaluates no queries beyond looking up ids.

mod aggregates;
mod assets;
mod backup;
mod chunk;
mod compaction;
mod control;
mod delta;
mod digests;
mod disk;
mod disk_cap;
mod erase;
mod error;
mod feed;
mod files;
mod flush;
mod format;
mod incidents;
mod inventory;
mod jobs;
mod keyring;
mod ledger;
mod log;
mod lookup;
mod memory;
mod memtable;
mod onsets;
mod options;
mod pin;
mod progress;
mod recovery;
mod remote;
mod replace;
mod restore;
mod retention;
mod snapshot;
mod state;
mod store;
mod tail;
#[cfg(test)]
mod tests;
mod verify;

pub use aggregates::{AggregateError, Aggregates, Definition, DefinitionId, TenantDefinitions};
pub use backup::{BackupReport, time_text};
pub use chunk::constants::Constant;
pub use chunk::text::TextCondition;
pub use chunk::{BUCKETS, Chunk, bucket_of};
pub use disk::{Disk, DiskFile, RealDisk};
pub use erase::{Erased, Erasure, RowCondition};
pub use error::StorageError;
pub use feed::{ArrivedEvents, NewEvents};
pub use incidents::{Incident, LogTemplate};
pub use jobs::{JobKind, JobRecord};
pub use keyring::{
    AccessError, CreatedKey, Credentials, Grant, KeyId, KeyInfo, Keyring, NewKey, Scope, Scopes, ScramParameters,
};
pub use lookup::{FoundSpan, LinkSide, Payloads};
pub use memory::Admission;
pub use onsets::{KeptOnset, OnsetAsset, OnsetHour};
pub use options::{CrashPoint, Durability, Retention, StoreOptions, TenantRetention};
pub use progress::Progress;
pub use recovery::{LoggedRequest, Recovery, RecoveryProgress, RecoveryReport};
pub use remote::{BUCKET_UNAVAILABLE, Bucket, BucketStatistics, S3Options, Secret};
pub use restore::{RestoreReport, parse_time, restore, stage_restore, verify_backup};
pub use snapshot::{Snapshot, TableSnapshot};
pub use store::{Appended, Opened, Statistics, Store};
pub use tail::{Tail, TailItem, TailRows};
pub use verify::{VerifyReport, verify};
