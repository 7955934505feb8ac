//! Keeping the data directory below the configured number of bytes: the oldest chunks go first.
//!
//! Everything in the directory counts: chunks, those in their grace, log, Delta logs, journal and control database.
//! Chunks go by day, those of the oldest day first whatever their table. The newest chunk of each table stays, and so does
//! what is in the log: if that is too much, it is said loudly, and ingest goes on for as long as the disk takes it.

use crate::flush::{ChunkWriter, blocking};
use crate::{Chunk, StorageError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use whence_schema::Table;

/// Chunks dropped before the directory is measured again.
const CHUNKS_AT_A_TIME: usize = 64;

impl ChunkWriter {
    /// Drops the oldest chunks until the cap is kept; returns how many.
    pub(crate) async fn keep_below_cap(&mut self) -> Result<usize, StorageError> {
        let Some(cap) = self.shared.options.max_disk_bytes else { return Ok(0) };
        let root = self.shared.options.path.clone();
        let mut bytes = blocking("disk cap", move || Ok(bytes_below(&root))).await?;
        self.shared.counters.disk_bytes.store(bytes, Ordering::Relaxed);
        self.shared.counters.disk_over_cap_bytes.store(bytes.saturating_sub(cap), Ordering::Relaxed);
        // A join holds its inputs; it has ended before the next look.
        if bytes <= cap || self.joining.is_some() || self.erasing || !self.ledger_is_complete() {
            return Ok(0);
        }
        bytes = bytes.saturating_sub(self.retired.bytes());
        self.retired.release_all();
        let mut dropped = 0;
        for (table, chunk) in self.oldest_first() {
            if bytes <= cap || dropped == CHUNKS_AT_A_TIME {
                break;
            }
            bytes = bytes.saturating_sub(chunk.bytes);
            self.drop_for_room(table, chunk).await?;
            dropped += 1;
        }
        if dropped > 0 {
            tracing::warn!(chunks = dropped, cap, "dropped the oldest chunks: the disk cap was reached");
        }
        if bytes > cap && dropped < CHUNKS_AT_A_TIME {
            tracing::error!(
                bytes,
                cap,
                "the data takes more than max_disk_gib and nothing more may be dropped: raise it, or send less"
            );
        }
        self.shared.counters.disk_over_cap_bytes.store(bytes.saturating_sub(cap), Ordering::Relaxed);
        Ok(dropped)
    }

    /// Chunks that may be dropped.
    fn oldest_first(&self) -> Vec<(Table, Arc<Chunk>)> {
        let mut chunks = Vec::new();
        for table in Table::ALL {
            let mut own = self.committed(table);
            own.sort_by_key(|chunk| (chunk.day, chunk.max_time));
            own.pop();
            chunks.extend(own.into_iter().map(|chunk| (table, chunk)));
        }
        chunks.sort_by_key(|(_, chunk)| (chunk.day, chunk.max_time));
        chunks
    }
}

/// Bytes of all files in a folder and below. What vanishes meanwhile does not count. Blocks.
pub(crate) fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}
