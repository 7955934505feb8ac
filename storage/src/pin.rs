//! Everything at one log offset, held still while it is verified or copied and while ingest goes on.

use crate::control::RowCounts;
use crate::delta::DeltaLog;
use crate::flush::{ChunkWriter, Request, blocking};
use crate::ledger::Entries;
use crate::log::{Command, LogOffset, Segment};
use crate::{Chunk, StorageError, Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::oneshot;
use whence_schema::{Table, UnixNanos};

/// What was committed at one offset. Its chunk files stay as long as this lives.
#[derive(Debug)]
pub(crate) struct Pinned {
    /// Everything up to here is in the chunks and in the ledger.
    pub(crate) offset: LogOffset,
    /// Everything acknowledged before is included.
    pub(crate) taken_at: UnixNanos,
    /// By table.
    pub(crate) chunks: [Vec<Arc<Chunk>>; 3],
    /// The Delta tables, and which of their versions lists these chunks.
    pub(crate) tables: Vec<(DeltaLog, u64)>,
    pub(crate) ledger: Entries,
    pub(crate) expired: Vec<(String, RowCounts)>,
}

impl ChunkWriter {
    /// Commits and pins. With `copy_to`, the control database and the duplicate journal of the same offset are copied
    /// there, for nothing else keeps them still.
    pub(crate) async fn pin(&mut self, copy_to: Option<PathBuf>) -> Result<Pinned, StorageError> {
        let taken_at = (self.shared.options.clock)();
        self.commit().await?;
        if let Some(folder) = copy_to {
            self.control.copy_to(&folder.join("control.db")).await?;
            let journal = self.shared.options.path.join("digests");
            blocking("backup", move || copy_folder(&journal, &folder.join("digests"))).await?;
        }
        let (ledger, offset) = self.control.ledger(None).await?;
        let expired = self.control.expired().await?;
        let chunks = {
            let state = self.shared.state.lock();
            // Rows beyond the offset may have been written to chunks meanwhile: they wait for the next commit.
            Table::ALL.map(|table| {
                let committed = state.chunks(table).iter().filter(|chunk| !self.is_uncommitted(table, chunk));
                committed.cloned().collect()
            })
        };
        let mut tables = Vec::new();
        for table in &self.tables {
            tables.push((table.clone(), table.version().await));
        }
        Ok(Pinned { offset, taken_at, chunks, tables, ledger, expired })
    }
}

impl Store {
    pub(crate) async fn pin(&self, copy_to: Option<PathBuf>) -> Result<Pinned, StorageError> {
        self.ask_writer(|reply| Request::Pin { copy_to, reply }).await
    }

    /// The log's segments with as many bytes as are whole now.
    pub(crate) async fn log_segments(&self) -> Result<Vec<Segment>, StorageError> {
        let (reply, segments) = oneshot::channel();
        self.send(Command::Segments { reply })?;
        segments.await.map_err(|_| StorageError::Closed)
    }
}

/// Copies the files of a folder; blocks.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<(), StorageError> {
    crate::files::make_folder(to)?;
    for entry in std::fs::read_dir(from).map_err(StorageError::file("list", from))? {
        let path = entry.map_err(StorageError::file("list", from))?.path();
        let copy = to.join(path.file_name().unwrap_or_default());
        std::fs::copy(&path, &copy).map_err(StorageError::file("copy", &path))?;
        crate::files::fsync_file(&copy)?;
    }
    crate::files::fsync_folder(to)
}
