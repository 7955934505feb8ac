//! What a query sees: memtable and chunks of the three tables at one moment.

use crate::Chunk;
use arrow::record_batch::RecordBatch;
use std::sync::Arc;
use whence_schema::Table;

/// The three tables at one moment. Cheap to take and to clone; its chunks stay readable as long as it lives.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Grows with every change that a query could see.
    pub version: u64,
    /// `events`.
    pub events: Arc<TableSnapshot>,
    /// `metrics`.
    pub metrics: Arc<TableSnapshot>,
    /// `correlations`.
    pub correlations: Arc<TableSnapshot>,
}

/// One table at one moment.
#[derive(Debug, Clone, Default)]
pub struct TableSnapshot {
    /// Rows in memory, stored columns. Of `metrics`: rows per series and bucket, to be merged with those in chunks.
    pub batches: Vec<RecordBatch>,
    /// Files.
    pub chunks: Vec<Arc<Chunk>>,
}

impl Snapshot {
    /// One of the tables.
    pub fn table(&self, table: Table) -> &TableSnapshot {
        match table {
            Table::Events => &self.events,
            Table::Metrics => &self.metrics,
            Table::Correlations => &self.correlations,
        }
    }
}
