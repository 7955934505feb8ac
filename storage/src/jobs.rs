//! What the store does in the background, and how its last run of each kind went.

use crate::StorageError;
use crate::state::Shared;
use parking_lot::Mutex;
use std::time::{Duration, Instant};
use whence_schema::UnixNanos;

/// Kinds of background work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobKind {
    /// Rows from memory to chunks and into the tables.
    Flush,
    /// Chunks joined, duplicates removed, cold chunks written anew.
    Compaction,
    /// Rows beyond their age dropped.
    Retention,
    /// Oldest chunks dropped because the disk may not take more.
    DiskCap,
    /// Rows erased by request.
    Erase,
    /// A copy of everything.
    Backup,
    /// Everything read and compared with the ledger.
    Verify,
}

impl JobKind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Flush, Self::Compaction, Self::Retention, Self::DiskCap, Self::Erase, Self::Backup, Self::Verify];

    /// Name in SQL and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flush => "flush",
            Self::Compaction => "compaction",
            Self::Retention => "retention",
            Self::DiskCap => "disk_cap",
            Self::Erase => "erase",
            Self::Backup => "backup",
            Self::Verify => "verify",
        }
    }
}

/// The last run of one kind of work since the store was opened.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecord {
    /// Which work.
    pub kind: JobKind,
    /// When the run began.
    pub started: UnixNanos,
    /// How long it took; `None` while it runs.
    pub duration: Option<Duration>,
    /// What it did, or why it failed, as a text for people. Empty while it runs.
    pub outcome: String,
    /// False when the last run that ended has failed.
    pub succeeded: bool,
    /// Runs begun since the store was opened.
    pub runs: u64,
    /// Of those, how many failed.
    pub failures: u64,
}

/// The last runs, by kind.
#[derive(Debug, Default)]
pub(crate) struct Jobs(Mutex<[Option<JobRecord>; JobKind::ALL.len()]>);

impl Jobs {
    /// What ran since the store was opened, in the order of [`JobKind::ALL`].
    pub(crate) fn records(&self) -> Vec<JobRecord> {
        self.0.lock().iter().flatten().cloned().collect()
    }

    fn change(&self, kind: JobKind, started: UnixNanos, change: impl FnOnce(&mut JobRecord)) {
        let record = || JobRecord {
            kind,
            started,
            duration: None,
            outcome: String::new(),
            succeeded: true,
            runs: 0,
            failures: 0,
        };
        change(self.0.lock()[kind as usize].get_or_insert_with(record));
    }
}

/// A run that has begun.
#[derive(Debug)]
pub(crate) struct JobRun {
    kind: JobKind,
    started: UnixNanos,
    since: Instant,
}

impl Shared {
    /// Notes that work of `kind` begins.
    pub(crate) fn begin_job(&self, kind: JobKind) -> JobRun {
        let started = (self.options.clock)();
        self.jobs.change(kind, started, |record| {
            record.started = started;
            record.duration = None;
            record.outcome.clear();
            record.runs += 1;
        });
        JobRun { kind, started, since: Instant::now() }
    }

    /// Notes how it went.
    pub(crate) fn end_job(&self, run: &JobRun, outcome: Result<String, &StorageError>) {
        let duration = run.since.elapsed();
        self.jobs.change(run.kind, run.started, |record| {
            record.duration = Some(duration);
            record.succeeded = outcome.is_ok();
            record.failures += u64::from(outcome.is_err());
            record.outcome = outcome.unwrap_or_else(|error| error.to_string());
        });
    }
}
