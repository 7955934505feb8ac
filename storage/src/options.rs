//! How a store is to behave. Defaults do not depend on the machine.

use crate::{Bucket, Disk, RealDisk};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use whence_schema::{Table, TenantId, UnixNanos};

/// What an acknowledged request survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Loss of power: the log is fsynced before the answer.
    #[default]
    Fsync,
    /// Loss of the process only: the operating system has the bytes, and writes them within its own time
    /// (some 30 seconds). A crash of the machine loses them.
    Os,
}

/// How long rows are kept, counted from the later of event time and arrival. `None` keeps them for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Of `events`.
    pub events: Option<Duration>,
    /// Of `metrics`.
    pub metrics: Option<Duration>,
    /// Of `correlations`.
    pub correlations: Option<Duration>,
    /// What is different for single tenants.
    pub tenants: BTreeMap<TenantId, TenantRetention>,
}

/// How long rows of one tenant are kept. The outer `None` is as for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TenantRetention {
    /// Of `events`.
    pub events: Option<Option<Duration>>,
    /// Of `metrics`.
    pub metrics: Option<Option<Duration>>,
    /// Of `correlations`.
    pub correlations: Option<Option<Duration>>,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Default for Retention {
    /// 365, 365 and 90 days.
    fn default() -> Self {
        let days = |n| DAY.checked_mul(n);
        Self { events: days(365), metrics: days(365), correlations: days(90), tenants: BTreeMap::new() }
    }
}

impl Retention {
    /// Of one table, unless a tenant has its own.
    pub fn of_table(&self, table: Table) -> Option<Duration> {
        match table {
            Table::Events => self.events,
            Table::Metrics => self.metrics,
            Table::Correlations => self.correlations,
        }
    }

    /// Of one tenant's rows in a table.
    pub fn of(&self, table: Table, tenant: &str) -> Option<Duration> {
        let own = self.tenants.iter().find(|(name, _)| name.as_str() == tenant);
        own.and_then(|(_, own)| own.of(table)).unwrap_or_else(|| self.of_table(table))
    }

    /// Every one that some tenant may have.
    pub(crate) fn all_of(&self, table: Table) -> Vec<Option<Duration>> {
        let own = self.tenants.values().filter_map(|own| own.of(table));
        own.chain([self.of_table(table)]).collect()
    }
}

impl TenantRetention {
    fn of(&self, table: Table) -> Option<Option<Duration>> {
        match table {
            Table::Events => self.events,
            Table::Metrics => self.metrics,
            Table::Correlations => self.correlations,
        }
    }
}

/// Options of [`Store::open`](crate::Store::open).
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Data directory; made when missing. Default `./data`.
    pub path: PathBuf,
    /// Where the tables are, when they are not in the data directory too. That then holds the log, the control database
    /// and copies of chunks. Default: none.
    pub bucket: Option<Bucket>,
    /// What an acknowledged request survives. Default [`Durability::Fsync`].
    pub durability: Durability,
    /// Bytes for queued requests, memtables, rows being written and the correlator's queue together. Beyond it,
    /// appends are refused with a time to wait; beyond half of it, rows are written to chunks at once. Default 768 MiB.
    pub memory_bytes: usize,
    /// Bytes of `events` in memory beyond which a chunk is written. Default 96 MiB.
    pub memtable_bytes: usize,
    /// How long rows are kept.
    pub retention: Retention,
    /// Longest time rows stay in memory only. Default 60 s.
    pub flush_interval: Duration,
    /// Shortest time between two Delta Lake commits of a table, except when asked for. Default 10 s.
    pub commit_interval: Duration,
    /// Series of metrics per tenant; points of further series go to one overflow series. Default 100,000.
    pub series_limit: usize,
    /// Serving time within which a request sent twice is recognised. Default 30 minutes.
    pub duplicate_window: Duration,
    /// Requests remembered for that at most. Default 2,000,000 (some 80 bytes each).
    pub duplicate_limit: usize,
    /// Bytes of one log segment. Default 64 MiB.
    pub segment_bytes: u64,
    /// Join small chunks in the background. Default true.
    pub compaction: bool,
    /// Age of a day from its end at which its chunks are written anew, sorted whole and compressed best. `None`: never.
    /// Default 2 days.
    pub cold_after: Option<Duration>,
    /// How long replaced files stay for foreign readers of the Delta tables, up to one hour. Default 60 s.
    pub grace: Duration,
    /// Bytes the data directory may take; beyond it the oldest chunks are dropped. Default: no limit.
    pub max_disk_bytes: Option<u64>,
    /// The clock, for retention and names of files. Default: the system's.
    pub clock: fn() -> UnixNanos,
    /// The disk under log, duplicate journal and chunk files, for tests of its faults. Default: the one there is.
    pub disk: Arc<dyn Disk>,
    /// Where to stop, in tests of crashes. Default: nowhere.
    pub fail_at: Option<CrashPoint>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            path: PathBuf::from("./data"),
            bucket: None,
            durability: Durability::default(),
            memory_bytes: 768 << 20,
            memtable_bytes: 96 << 20,
            retention: Retention::default(),
            flush_interval: Duration::from_secs(60),
            commit_interval: Duration::from_secs(10),
            series_limit: 100_000,
            duplicate_window: Duration::from_secs(30 * 60),
            duplicate_limit: 2_000_000,
            segment_bytes: 64 << 20,
            compaction: true,
            cold_after: DAY.checked_mul(2),
            grace: Duration::from_secs(60),
            max_disk_bytes: None,
            clock: UnixNanos::now,
            disk: Arc::new(RealDisk),
            fail_at: None,
        }
    }
}

/// A point between two steps of a commit (see `flush.rs`) where a test stops the store as `kill -9` would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CrashPoint {
    ChunksWritten,
    EventsCommitted,
    MetricsCommitted,
    CorrelationsCommitted,
    DigestsSaved,
    ControlSaved,
    LogCut,
    RemovalAnnounced,
    ReplacementCommitted,
    RemovalSettled,
}

impl CrashPoint {
    /// Every point between the steps that put a replacement of chunks in place, in their order (see `replace.rs`).
    pub const OF_REPLACEMENT: [Self; 3] = [Self::RemovalAnnounced, Self::ReplacementCommitted, Self::RemovalSettled];

    /// Every point of a commit, in its order.
    pub const ALL: [Self; 7] = [
        Self::ChunksWritten,
        Self::EventsCommitted,
        Self::MetricsCommitted,
        Self::CorrelationsCommitted,
        Self::DigestsSaved,
        Self::ControlSaved,
        Self::LogCut,
    ];
}
