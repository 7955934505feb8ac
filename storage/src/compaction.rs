//! Joining small chunks, so that the number of files stays flat.
//!
//! Chunks have a level, 0 when written. Eight of one level, table, day and bucket are joined into one of the next; so
//! every row is copied at most [`TOP_LEVEL`] times. The work runs beside flushes and commits, one join at a time; its
//! result is published by the chunk writer's own task, between two commits.

use crate::chunk::join::join;
use crate::flush::{ChunkWriter, blocking};
use crate::jobs::{JobKind, JobRun};
use crate::state::count;
use crate::{Chunk, StorageError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::task::JoinHandle;
use whence_schema::Table;

/// Chunks that are joined at a time.
const FAN_IN: usize = 8;
/// Chunks of this level are not joined any more.
const TOP_LEVEL: u8 = 4;
/// Nor are chunks that would make a file of more bytes than this.
const LARGEST_BYTES: u64 = 1 << 30;

/// A join that is running.
#[derive(Debug)]
pub(crate) struct Joining {
    table: Table,
    old: Vec<Arc<Chunk>>,
    run: JobRun,
    task: JoinHandle<Result<Vec<Arc<Chunk>>, StorageError>>,
}

/// The first group of chunks that should be joined.
fn candidates(chunks: &[Arc<Chunk>]) -> Option<Vec<Arc<Chunk>>> {
    let mut groups: BTreeMap<(u8, i32, i32), Vec<Arc<Chunk>>> = BTreeMap::new();
    for chunk in chunks.iter().filter(|chunk| chunk.level < TOP_LEVEL) {
        let group = groups.entry((chunk.level, chunk.day, chunk.bucket)).or_default();
        group.push(chunk.clone());
        if group.len() == FAN_IN {
            if group.iter().map(|chunk| chunk.bytes).sum::<u64>() <= LARGEST_BYTES {
                return groups.remove(&(chunk.level, chunk.day, chunk.bucket));
            }
            // Too large together: leave the oldest as it is and look at those behind it.
            group.remove(0);
        }
    }
    None
}

impl ChunkWriter {
    /// Begins a join if one is due and none is running.
    pub(crate) fn begin_joining(&mut self) {
        if self.joining.is_some() || !self.shared.options.compaction {
            return;
        }
        for table in Table::ALL {
            let chunks: Vec<Arc<Chunk>> = {
                let state = self.shared.state.lock();
                state.chunks(table).iter().filter(|chunk| !self.is_uncommitted(table, chunk)).cloned().collect()
            };
            if let Some(old) = candidates(&chunks) {
                let (folder, joined) = (self.tables[table as usize].folder().to_owned(), old.clone());
                let disk = self.shared.options.disk.clone();
                let task = tokio::spawn(blocking("compaction", move || join(&disk, table, &folder, &joined)));
                let run = self.shared.begin_job(JobKind::Compaction);
                self.joining = Some(Joining { table, old, run, task });
                return;
            }
        }
    }

    /// Publishes a join that has ended.
    pub(crate) async fn finish_joining(&mut self) {
        if self.joining.as_ref().is_none_or(|joining| !joining.task.is_finished()) {
            return;
        }
        self.await_joining().await;
    }

    /// Waits for a running join and publishes it.
    pub(crate) async fn await_joining(&mut self) {
        let Some(Joining { table, old, run, task }) = self.joining.take() else { return };
        let joined = task.await.unwrap_or_else(|error| Err(StorageError::Task(format!("compaction: {error}"))));
        let outcome = match joined {
            Ok(new) => self.publish_join(table, &old, &new).await,
            Err(error) => Err(error),
        };
        let done = |()| format!("{}: {} chunks joined", table.name(), old.len());
        self.shared.end_job(&run, outcome.as_ref().map(|outcome| done(*outcome)));
        if let Err(error) = outcome {
            tracing::error!(%error, table = table.name(), "chunks stay as they are: compaction failed");
        }
    }

    /// Waits for a running join and throws its result away.
    pub(crate) async fn stop_joining(&mut self) {
        let Some(joining) = self.joining.take() else { return };
        if let Ok(Ok(new)) = joining.task.await {
            discard(&new);
        }
    }

    async fn publish_join(&mut self, table: Table, old: &[Arc<Chunk>], new: &[Arc<Chunk>]) -> Result<(), StorageError> {
        if let Err(error) = self.replace(table, old, new).await {
            discard(new);
            return Err(error);
        }
        self.shared.change(|state| state.replace_chunks(table, old, new));
        count(&self.shared.counters.compactions);
        Ok(())
    }
}

fn discard(chunks: &[Arc<Chunk>]) {
    chunks.iter().for_each(|chunk| chunk.obsolete.store(true, Ordering::Release));
}
