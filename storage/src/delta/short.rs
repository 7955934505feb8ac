//! Keeping a local Delta log short, and reading it when a checkpoint cannot be read; the grace of removed files.

use super::{Log, local_table};
use crate::{Chunk, StorageError};
use futures::TryStreamExt;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use whence_schema::UnixNanos;

/// Commits after which the Delta log is summed up in a checkpoint.
pub(super) const CHECKPOINT_COMMITS: u64 = 20;

/// A file of the Delta log that belongs to a version.
struct LogFile {
    version: u64,
    is_checkpoint: bool,
    path: PathBuf,
    modified: SystemTime,
}

fn log_files(table_folder: &Path) -> Result<Vec<LogFile>, StorageError> {
    let log = table_folder.join("_delta_log");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&log).map_err(StorageError::file("list", &log))? {
        let entry = entry.map_err(StorageError::file("list", &log))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((version, rest)) = name.split_once('.') else { continue };
        let Ok(version) = version.parse() else { continue };
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let modified = modified.map_err(StorageError::file("read the age of", entry.path()))?;
        files.push(LogFile { version, is_checkpoint: rest == "checkpoint.parquet", path: entry.path(), modified });
    }
    Ok(files)
}

/// Version of the newest checkpoint; 0 when there is none.
pub(super) fn newest_checkpoint(table_folder: &Path) -> Result<u64, StorageError> {
    let files = log_files(table_folder)?;
    Ok(files.iter().filter(|file| file.is_checkpoint).map(|file| file.version).max().unwrap_or(0))
}

impl Log {
    /// Writes a checkpoint when it is time. The commit before stands whatever comes of this, and the next one tries again.
    pub(super) async fn keep_short(&mut self, version: u64) {
        if self.remote.is_some() || version < self.checkpoint + CHECKPOINT_COMMITS {
            return;
        }
        if let Err(error) = self.sum_up(version).await {
            tracing::warn!(%error, table = self.table.name(), "no checkpoint of the Delta log");
        }
    }

    /// Writes a checkpoint, and deletes what is older than the one before it.
    async fn sum_up(&mut self, version: u64) -> Result<(), StorageError> {
        deltalake::checkpoints::create_checkpoint(&self.delta, None).await.map_err(StorageError::delta(self.table))?;
        self.sync(version)?;
        self.checkpoint = version;
        let files = log_files(&self.folder)?;
        let mut checkpoints: Vec<u64> =
            files.iter().filter(|file| file.is_checkpoint).map(|file| file.version).collect();
        checkpoints.sort_unstable();
        let Some(kept_from) = checkpoints.iter().rev().nth(1) else { return Ok(()) };
        for file in files.iter().filter(|file| file.version < *kept_from) {
            if file.modified.elapsed().is_ok_and(|age| age >= self.grace) {
                std::fs::remove_file(&file.path).map_err(StorageError::file("delete", &file.path))?;
            }
        }
        Ok(())
    }

    /// Puts checkpoints aside into the table's folder, newest first, until the table can be read from what is left.
    pub(super) async fn load_without_checkpoint(
        &mut self,
        error: StorageError,
    ) -> Result<Vec<Arc<Chunk>>, StorageError> {
        let rename = |from: &Path, to: &Path| std::fs::rename(from, to).map_err(StorageError::file("rename", from));
        let mut aside = Vec::new();
        let mut checkpoints = log_files(&self.folder)?;
        checkpoints.retain(|file| file.is_checkpoint);
        checkpoints.sort_by_key(|file| std::cmp::Reverse(file.version));
        let hint = self.folder.join("_delta_log/_last_checkpoint");
        for checkpoint in checkpoints {
            let damaged = self.folder.join(format!("{:020}.checkpoint.damaged", checkpoint.version));
            rename(&checkpoint.path, &damaged)?;
            // Only a hint: without it the log is listed.
            let _ = std::fs::remove_file(&hint);
            let failed = StorageError::delta(self.table);
            let url = deltalake::ensure_table_uri(self.folder.to_string_lossy()).map_err(&failed)?;
            self.delta = local_table(url).map_err(&failed)?;
            let path = checkpoint.path.display();
            match self.load(true).await {
                Ok(chunks) => {
                    tracing::error!(%path, %error, "checkpoint unreadable: read from the commits instead");
                    self.checkpoint = newest_checkpoint(&self.folder)?;
                    return Ok(chunks);
                }
                Err(error) => tracing::warn!(%error, "nor can the Delta log be read without checkpoint {path}"),
            }
            aside.push((checkpoint.path, damaged));
        }
        for (path, damaged) in &aside {
            rename(damaged, path)?;
        }
        Err(error)
    }

    /// Files that the log has removed, and when.
    pub(super) async fn removed(&self) -> Result<Vec<(PathBuf, UnixNanos)>, StorageError> {
        let failed = StorageError::delta(self.table);
        let mut removed = Vec::new();
        if self.grace.is_zero() {
            return Ok(removed);
        }
        let log_store = self.delta.log_store();
        let mut tombstones = self.delta.snapshot().map_err(&failed)?.all_tombstones(log_store.as_ref());
        while let Some(tombstone) = tombstones.try_next().await.map_err(&failed)? {
            let at = tombstone.deletion_timestamp().unwrap_or(0).saturating_mul(1_000_000);
            removed.push((self.folder.join(tombstone.path().as_ref()), UnixNanos(at)));
        }
        Ok(removed)
    }

    /// Files that the log has removed, whose grace has not ended at `now`, with the moment it ends.
    pub(super) async fn retired(
        &self,
        chunks: &[Arc<Chunk>],
        now: UnixNanos,
    ) -> Result<Vec<(UnixNanos, Arc<Chunk>)>, StorageError> {
        let grace = i64::try_from(self.grace.as_nanos()).unwrap_or(i64::MAX);
        let active: HashSet<&Path> = chunks.iter().map(|chunk| chunk.path.as_path()).collect();
        let mut retired = Vec::new();
        for (path, at) in self.removed().await? {
            let until = UnixNanos(at.0.saturating_add(grace));
            let there = self.remote.is_some() || path.is_file();
            if until > now
                && there
                && !active.contains(path.as_path())
                && let Some(chunk) = Chunk::retired(path)
            {
                self.remote.iter().for_each(|remote| chunk.is_in(remote));
                retired.push((until, Arc::new(chunk)));
            }
        }
        Ok(retired)
    }
}
