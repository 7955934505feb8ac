//! Dropping chunks whose rows are all older than the table keeps them.
//!
//! Age counts from the later of the latest event and the writing of the chunk, so a recording of years ago can be loaded
//! and kept. What a dropped chunk held is first written down in the control database, for the ledger keeps counting it.

use crate::chunk::join::read_all;
use crate::control::RowCounts;
use crate::flush::{ChunkWriter, blocking};
use crate::memtable::events::count_signals;
use crate::{Chunk, StorageError};
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use std::sync::Arc;
use whence_schema::tables::metrics;
use whence_schema::{Table, UnixNanos};

/// Rows of a batch by what the ledger counts.
pub(crate) fn count_rows(table: Table, batch: &RecordBatch) -> RowCounts {
    match table {
        Table::Events => {
            let (spans, logs) = count_signals(batch);
            RowCounts { spans, logs, points: 0 }
        }
        Table::Metrics => {
            let points = batch.column(metrics::column::POINT_COUNT).as_primitive::<Int64Type>();
            RowCounts { points: points.iter().flatten().map(i64::unsigned_abs).sum(), ..RowCounts::default() }
        }
        Table::Correlations => RowCounts::default(),
    }
}

fn expired(chunk: &Chunk, keep_seconds: u64, now: UnixNanos) -> bool {
    let newest = chunk.max_time.0.div_euclid(1_000_000_000).max(chunk.created_seconds);
    let keep = i64::try_from(keep_seconds).unwrap_or(i64::MAX);
    newest.saturating_add(keep) < now.0.div_euclid(1_000_000_000)
}

impl ChunkWriter {
    /// Drops expired chunks of every table; returns how many.
    pub(crate) async fn drop_expired(&mut self) -> Result<usize, StorageError> {
        let mut dropped = 0;
        // A join that is running may hold expired chunks: they go once it has ended.
        if self.joining.is_some() {
            return Ok(dropped);
        }
        let now = (self.shared.options.clock)();
        for table in Table::ALL {
            let Some(keep) = self.shared.options.retention.of(table) else { continue };
            let old: Vec<Arc<Chunk>> = {
                let state = self.shared.state.lock();
                let old = state.chunks(table).iter().filter(|chunk| expired(chunk, keep.as_secs(), now));
                old.filter(|chunk| !self.is_uncommitted(table, chunk)).cloned().collect()
            };
            if old.is_empty() {
                continue;
            }
            let counted = old.clone();
            let counts = blocking("retention", move || counted.iter().map(|chunk| count_chunk(table, chunk)).collect());
            let counts: Vec<(String, RowCounts)> = counts.await?;
            self.control.expire(&counts).await?;
            self.replace(table, &old, &[]).await?;
            self.shared.change(|state| state.replace_chunks(table, &old, &[]));
            tracing::info!(table = table.name(), chunks = old.len(), "dropped chunks beyond retention");
            dropped += old.len();
        }
        Ok(dropped)
    }
}

fn count_chunk(table: Table, chunk: &Chunk) -> Result<(String, RowCounts), StorageError> {
    let mut total = RowCounts::default();
    for batch in read_all(chunk)? {
        let counts = count_rows(table, &batch);
        total.spans += counts.spans;
        total.logs += counts.logs;
        total.points += counts.points;
    }
    Ok((format!("{}/{}", table.name(), chunk.relative_path()), total))
}
