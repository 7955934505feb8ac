//! Joining chunks, so that the number of files stays small and each row is stored once.
//!
//! * Warm chunks have a level, 0 when written. Eight of one level, table, day and bucket are joined into one of the
//!   next, or fewer where they would make a large file: with a commit a minute, a chunk covers eight minutes, an hour,
//!   eight hours. So every row is copied at most [`TOP_LEVEL`] times, mostly as it is encoded.
//! * A day that is over for longer than `cold_after` is cold: its chunks are sorted together and compressed better, once.
//!   What arrives for such a day later is treated alike when nothing has come for an hour.
//!
//! The work runs beside flushes and commits, one join at a time; its result is published by the chunk writer's own task,
//! between two commits.

use crate::chunk::COLD_LEVEL;
use crate::chunk::join::join;
use crate::chunk::merge::Merged;
use crate::control::removals::{Reason, Removal};
use crate::flush::{ChunkWriter, blocking};
use crate::jobs::{JobKind, JobRun};
use crate::replace::{Farewell, Replacement, discard, removal_path};
use crate::state::count;
use crate::{Chunk, StorageError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use whence_schema::{Table, UnixNanos};

/// Chunks that are joined at a time.
const FAN_IN: usize = 8;
/// Chunks of this level are not joined any more before they are cold.
const TOP_LEVEL: u8 = 4;
/// No join makes a file of many more bytes than this.
const LARGEST_BYTES: u64 = 1 << 30;
/// Nor of more rows.
const LARGEST_ROWS: u64 = 1 << 28;
/// A cold day's chunks are left alone until they are that old, for more may be coming.
const COLD_REST_SECONDS: i64 = 3_600;
const DAY_SECONDS: i64 = 86_400;

/// A join that is running.
#[derive(Debug)]
pub(crate) struct Joining {
    table: Table,
    old: Vec<Arc<Chunk>>,
    run: JobRun,
    task: JoinHandle<Result<Merged, StorageError>>,
}

/// Chunks that should be joined, and the level of the result.
#[derive(Debug)]
pub(crate) struct Candidates {
    pub(crate) chunks: Vec<Arc<Chunk>>,
    pub(crate) level: u8,
}

type Partition = (u8, i32, i32);

/// The first group of chunks that should be joined.
pub(crate) fn candidates(chunks: &[Arc<Chunk>], cold_after: Option<Duration>, now: UnixNanos) -> Option<Candidates> {
    let mut groups: BTreeMap<Partition, Vec<Arc<Chunk>>> = BTreeMap::new();
    let mut sorted: Vec<&Arc<Chunk>> = chunks.iter().collect();
    sorted.sort_by(|a, b| (a.created_seconds, &a.path).cmp(&(b.created_seconds, &b.path)));
    for chunk in &sorted {
        let cold = chunk.level >= COLD_LEVEL;
        if chunk.level >= TOP_LEVEL && !cold || chunk.bytes >= LARGEST_BYTES / 2 {
            continue;
        }
        let group = groups.entry((chunk.level, chunk.day, chunk.bucket)).or_default();
        let bytes = |group: &[Arc<Chunk>]| group.iter().map(|chunk| chunk.bytes).sum::<u64>();
        // Half a large file or more, which no eighth of it would fit to.
        let full = group.len() > 1 && bytes(group) + chunk.bytes > LARGEST_BYTES;
        if !full {
            group.push((*chunk).clone());
        }
        if full || group.len() == FAN_IN {
            let chunks = std::mem::take(group);
            return Some(Candidates { chunks, level: if cold { COLD_LEVEL } else { chunk.level + 1 } });
        }
    }
    cold_candidates(&sorted, cold_after?, now)
}

/// Chunks of the oldest cold day that are not in their last form.
fn cold_candidates(chunks: &[&Arc<Chunk>], cold_after: Duration, now: UnixNanos) -> Option<Candidates> {
    let now = now.0.div_euclid(1_000_000_000);
    let cold_after = i64::try_from(cold_after.as_secs()).unwrap_or(i64::MAX);
    let over = |day: i32| (i64::from(day) + 1).saturating_mul(DAY_SECONDS).saturating_add(cold_after) <= now;
    let mut days: BTreeMap<(i32, i32), Vec<&Arc<Chunk>>> = BTreeMap::new();
    for chunk in chunks.iter().filter(|chunk| chunk.level < COLD_LEVEL && over(chunk.day)) {
        days.entry((chunk.day, chunk.bucket)).or_default().push(chunk);
    }
    let resting = |chunk: &&Arc<Chunk>| chunk.created_seconds.saturating_add(COLD_REST_SECONDS) <= now;
    let day = days.into_values().find(|chunks| chunks.iter().all(resting))?;
    let (mut bytes, mut rows) = (0, 0);
    let fits = |chunk: &&&Arc<Chunk>| {
        bytes += chunk.bytes;
        rows += chunk.rows;
        bytes == chunk.bytes || (bytes <= LARGEST_BYTES && rows <= LARGEST_ROWS)
    };
    let chunks: Vec<Arc<Chunk>> = day.iter().take_while(fits).map(|chunk| (*chunk).clone()).collect();
    Some(Candidates { chunks, level: COLD_LEVEL })
}

impl ChunkWriter {
    /// Begins a join if one is due and none is running.
    pub(crate) fn begin_joining(&mut self) {
        if self.joining.is_some() || self.erasing || self.unsettled || !self.shared.options.compaction {
            return;
        }
        let options = &self.shared.options;
        let now = (options.clock)();
        for table in Table::ALL {
            let chunks: Vec<Arc<Chunk>> = self.committed(table);
            if let Some(Candidates { chunks: old, level }) = candidates(&chunks, options.cold_after, now) {
                let (folder, joined) = (self.tables[table as usize].folder().to_owned(), old.clone());
                let disk = options.disk.clone();
                let task = tokio::spawn(blocking("compaction", move || join(&disk, table, &folder, &joined, level)));
                let run = self.shared.begin_job(JobKind::Compaction);
                self.joining = Some(Joining { table, old, run, task });
                return;
            }
        }
    }

    /// Chunks of a table that are in its Delta log.
    pub(crate) fn committed(&self, table: Table) -> Vec<Arc<Chunk>> {
        let state = self.shared.state.lock();
        state.chunks(table).iter().filter(|chunk| !self.is_uncommitted(table, chunk)).cloned().collect()
    }

    /// True when the ledger in SQLite counts every row that is in a chunk of the tables, so that rows may move in it.
    pub(crate) fn ledger_is_complete(&self) -> bool {
        let saved = self.shared.state.lock().saved;
        self.tables.iter().all(|table| table.offset() <= saved)
    }

    /// Publishes a join that has ended.
    pub(crate) async fn finish_joining(&mut self) {
        if self.joining.as_ref().is_none_or(|joining| !joining.task.is_finished()) || !self.ledger_is_complete() {
            return;
        }
        let Some(Joining { table, old, run, task }) = self.joining.take() else { return };
        let joined = task.await.unwrap_or_else(|error| Err(StorageError::Task(format!("compaction: {error}"))));
        let number = old.len();
        let outcome = match joined {
            Ok(merged) => {
                let removed = merged.removed_rows;
                self.publish_join(table, old, merged).await.map(|()| removed)
            }
            Err(error) => Err(error),
        };
        let done = |removed: &u64| format!("{}: {number} chunks joined, {removed} duplicates removed", table.name());
        self.shared.end_job(&run, outcome.as_ref().map(done));
        if let Err(error) = outcome {
            tracing::error!(%error, table = table.name(), "chunks stay as they are: compaction failed");
        }
    }

    /// Waits for a running join and throws its result away.
    pub(crate) async fn stop_joining(&mut self) {
        let Some(joining) = self.joining.take() else { return };
        if let Ok(Ok(merged)) = joining.task.await {
            merged.chunk.iter().for_each(|chunk| discard(std::slice::from_ref(chunk)));
        }
        self.shared.end_job(&joining.run, Ok("given up for something else".to_owned()));
    }

    async fn publish_join(&mut self, table: Table, old: Vec<Arc<Chunk>>, merged: Merged) -> Result<(), StorageError> {
        let removals = match old.first() {
            Some(first) if !merged.removed.is_empty() => {
                let path = removal_path(table, first);
                vec![Removal { reason: Reason::Duplicate, path, rows: merged.removed }]
            }
            _ => Vec::new(),
        };
        let new = merged.chunk.into_iter().collect();
        let same_rows = merged.removed_rows == 0;
        let farewell = Farewell::Grace;
        self.put_in_place(Replacement { table, old, new, removals, same_rows, farewell }).await?;
        count(&self.shared.counters.compactions);
        Ok(())
    }
}
