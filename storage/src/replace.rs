//! Chunks taking the place of others: how every job that rewrites or drops chunks makes its result count.
//!
//! ```text
//! announce rows that leave (control/removals.rs) -> Delta commit -> list of chunks -> settle -> old files, after a grace
//! ```

use crate::control::removals::{Reason, Removal, RowsByKey};
use crate::delta::parquet_files;
use crate::erase::Basis;
use crate::flush::{ChunkWriter, blocking};
use crate::jobs::JobKind;
use crate::ledger::LedgerKey;
use crate::log::Seal;
use crate::state::Counters;
use crate::{Chunk, CrashPoint, Erased, StorageError};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use whence_schema::{Table, TenantId, UnixNanos};

/// What becomes of replaced files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// Deleted once the grace has passed and no snapshot lists them.
    Grace,
    /// Deleted once no snapshot lists them.
    Unread,
    /// Deleted now; queries that read them fail.
    Now,
}

/// Chunks and what takes their place.
#[derive(Debug)]
pub(crate) struct Replacement {
    pub(crate) table: Table,
    pub(crate) old: Vec<Arc<Chunk>>,
    pub(crate) new: Vec<Arc<Chunk>>,
    /// Rows of `old` that are not in `new`, as the ledger counts them.
    pub(crate) removals: Vec<Removal>,
    /// `new` has every row of `old`.
    pub(crate) same_rows: bool,
    pub(crate) farewell: Farewell,
}

/// Replaced files whose grace has not ended. What is still here when the store stops stays on disk; the next start
/// knows from the Delta log how long.
#[derive(Debug, Default)]
pub(crate) struct Retired(Vec<(UnixNanos, Arc<Chunk>)>);

impl Retired {
    pub(crate) fn new(files: Vec<(UnixNanos, Arc<Chunk>)>) -> Self {
        Self(files)
    }

    /// Lets go of files whose grace has ended.
    pub(crate) fn release(&mut self, now: UnixNanos) {
        self.0.retain(|(until, _)| *until > now);
    }

    /// Lets go of all files.
    pub(crate) fn release_all(&mut self) -> Vec<Arc<Chunk>> {
        std::mem::take(&mut self.0).into_iter().map(|(_, chunk)| chunk).collect()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.iter().map(|(_, chunk)| chunk.bytes).sum()
    }
}

impl Drop for Retired {
    fn drop(&mut self) {
        self.0.iter().for_each(|(_, chunk)| chunk.obsolete.store(false, Ordering::Release));
    }
}

/// The name under which rows of a chunk are announced.
pub(crate) fn removal_path(table: Table, chunk: &Chunk) -> String {
    name_of(table, &chunk.path)
}

/// Table, day, bucket and file.
fn name_of(table: Table, path: &Path) -> String {
    let parts: Vec<_> = path.iter().rev().take(3).map(|part| part.to_string_lossy()).collect();
    let below: Vec<_> = parts.into_iter().rev().collect();
    format!("{}/{}", table.name(), below.join("/"))
}

/// The rows without the minutes they came in, which only duplicates need.
pub(crate) fn without_minutes(rows: RowsByKey) -> RowsByKey {
    let mut total = RowsByKey::new();
    for (key, rows) in rows {
        *total.entry(LedgerKey { minute_seconds: 0, ..key }).or_default() += rows;
    }
    total
}

/// Deletes the files of new chunks that are not to count.
pub(crate) fn discard(chunks: &[Arc<Chunk>]) {
    chunks.iter().for_each(|chunk| chunk.obsolete.store(true, Ordering::Release));
}

impl ChunkWriter {
    /// Makes a replacement count, and sees to the old files.
    pub(crate) async fn put_in_place(&mut self, replacement: Replacement) -> Result<(), StorageError> {
        if self.unsettled {
            self.settle().await?;
        }
        let Replacement { table, old, new, removals, same_rows, farewell } = replacement;
        if !removals.is_empty() {
            self.unsettled = true;
            if let Err(error) = self.control.announce(&removals).await {
                discard(&new);
                return Err(error);
            }
        }
        self.crash_point(CrashPoint::RemovalAnnounced)?;
        let now = (self.shared.options.clock)();
        // Without a grace a start after a crash deletes the files at once.
        let removed_at = if farewell == Farewell::Grace { now } else { UnixNanos(0) };
        let (log, out, put) = (self.tables[table as usize].clone(), old.clone(), new.clone());
        let replaced = self.relieving(async move { log.replace(&out, &put, same_rows, removed_at).await }).await;
        if let Err(error) = replaced {
            // Files that may have been published stay; if they were not, the next start deletes them.
            if let Ok(active) = self.tables[table as usize].read_active().await
                && new.iter().all(|chunk| !active.contains(&chunk.path))
            {
                discard(&new);
            }
            return Err(error);
        }
        self.crash_point(CrashPoint::ReplacementCommitted)?;
        self.shared.change(|state| state.replace_chunks(table, &old, &new));
        match farewell {
            Farewell::Grace => {
                let grace = i64::try_from(self.shared.options.grace.as_nanos()).unwrap_or(i64::MAX);
                let until = UnixNanos(now.0.saturating_add(grace));
                self.retired.0.extend(old.into_iter().map(|chunk| (until, chunk)));
                self.retired.release(now);
            }
            Farewell::Unread => {}
            Farewell::Now => old.iter().for_each(|chunk| chunk.delete()),
        }
        if self.unsettled { self.settle().await } else { Ok(()) }
    }

    /// Ends other work on chunks and commits, so that every row is in a chunk and no request in the log.
    pub(crate) async fn begin_erasing(&mut self, tenant: Option<TenantId>) -> Result<Basis, StorageError> {
        if self.erasing {
            return Err(StorageError::Erasing);
        }
        self.stop_joining().await;
        let run = self.shared.begin_job(JobKind::Erase);
        let log_bytes = self.shared.counters.log_bytes.load(Ordering::Relaxed);
        if let Err(error) = self.commit_sealing(Seal::BeforeErasing { tenant: tenant.clone() }).await {
            self.shared.end_job(&run, Err(&error));
            return Err(error);
        }
        if let Some(tenant) = &tenant {
            self.control.forget_assets(tenant).await?;
        }
        self.erasing = true;
        self.erase_run = Some(run);
        Ok(Basis {
            chunks: Table::ALL.map(|table| self.committed(table)),
            folders: self.tables.each_ref().map(|table| table.folder().to_owned()),
            disk: self.shared.options.disk.clone(),
            log_bytes: log_bytes.saturating_sub(self.shared.counters.log_bytes.load(Ordering::Relaxed)),
        })
    }

    /// Deletes whatever may still hold what was erased: replaced files, cut ends of the log, old pages of SQLite.
    pub(crate) async fn end_erasing(
        &mut self,
        tenant: Option<TenantId>,
        result: Result<Erased, String>,
    ) -> Result<(), StorageError> {
        self.erasing = false;
        let outcome = match &result {
            Ok(_) => self.clean_up_after_erasing(tenant).await,
            Err(reason) => Err(StorageError::Task(reason.clone())),
        };
        if let Some(run) = self.erase_run.take() {
            let done = || result.map(|erased| format!("{} rows erased", erased.rows.iter().sum::<u64>()));
            self.shared.end_job(&run, outcome.as_ref().map(|()| done().unwrap_or_default()));
        }
        outcome
    }

    async fn clean_up_after_erasing(&mut self, tenant: Option<TenantId>) -> Result<(), StorageError> {
        self.retired.release_all().iter().for_each(|chunk| chunk.delete());
        // The correlator's answer to this seal is what replaces the state in the control database.
        if tenant.is_some() {
            self.commit_sealing(Seal::Everything).await?;
        }
        self.control.write_anew().await?;
        let known: HashSet<PathBuf> = {
            let state = self.shared.state.lock();
            Table::ALL.iter().flat_map(|table| state.chunks(*table)).map(|chunk| chunk.path.clone()).collect()
        };
        let (root, folders) = (self.shared.options.path.clone(), self.tables.each_ref().map(|t| t.folder().to_owned()));
        blocking("erase", move || {
            for folder in folders {
                for path in parquet_files(&folder)?.into_iter().filter(|path| !known.contains(path)) {
                    std::fs::remove_file(&path).map_err(StorageError::file("delete", &path))?;
                }
            }
            let log = root.join("log");
            for entry in std::fs::read_dir(&log).map_err(StorageError::file("list", &log))?.flatten() {
                if entry.path().extension().is_some_and(|extension| extension == "cut") {
                    std::fs::remove_file(entry.path()).map_err(StorageError::file("delete", entry.path()))?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Makes announcements count whose chunks are out of their table, and forgets the others.
    pub(crate) async fn settle(&mut self) -> Result<(), StorageError> {
        let mut active = HashSet::new();
        for table in Table::ALL {
            let paths = self.tables[table as usize].read_active().await?;
            active.extend(paths.iter().map(|path| name_of(table, path)));
        }
        let left = self.control.settle(|path| active.contains(path)).await?;
        self.unsettled = false;
        left.iter().for_each(|removal| count(&self.shared.counters, removal));
        self.crash_point(CrashPoint::RemovalSettled)
    }
}

fn count(counters: &Counters, removal: &Removal) {
    let counter = match removal.reason {
        Reason::Duplicate => &counters.removed_duplicates,
        Reason::Retention => &counters.removed_by_retention,
        Reason::DiskCap => &counters.removed_by_disk_cap,
        Reason::Erase => &counters.removed_by_erasure,
    };
    counter.fetch_add(removal.rows.values().sum(), Ordering::Relaxed);
}
