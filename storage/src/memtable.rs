//! Rows that are in the log but not yet in chunks, visible to queries.

pub(crate) mod correlations;
pub(crate) mod events;
mod increase;
pub(crate) mod metrics;
mod points;
pub(crate) mod rows;
pub(crate) mod series;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::concat_batches;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

/// Bytes a batch keeps from being freed: buffers shared between its columns count once.
pub(crate) fn batch_bytes(batch: &RecordBatch) -> usize {
    let mut shared: Vec<(*const u8, usize)> = Vec::new();
    let mut total = batch.num_columns() * 128;
    for column in batch.columns() {
        if let DataType::Utf8View = column.data_type() {
            let views = column.as_string_view();
            total += views.len() * 16;
            for buffer in views.data_buffers() {
                let key = (buffer.as_ptr(), buffer.capacity());
                if !shared.contains(&key) {
                    shared.push(key);
                    total += buffer.capacity();
                }
            }
        } else {
            total += column.get_buffer_memory_size();
        }
    }
    total
}

/// Rows from which on a batch stays as it came; smaller ones are joined, for each carries its own fixed cost.
const SMALL_ROWS: usize = 256;
/// Small batches that are joined at a time.
const FAN_IN: usize = 32;

/// Batches of one table. Small ones are joined in two levels, so that requests of one row each cost each row two copies
/// and the list stays short.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    whole: Vec<RecordBatch>,
    levels: [Vec<RecordBatch>; 2],
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

impl Batches {
    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<(), ArrowError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.rows += batch.num_rows();
        self.bytes += batch_bytes(&batch);
        if batch.num_rows() >= SMALL_ROWS {
            self.whole.push(batch);
            return Ok(());
        }
        self.levels[0].push(batch);
        for level in 0..self.levels.len() {
            if self.levels[level].len() < FAN_IN {
                break;
            }
            let small = std::mem::take(&mut self.levels[level]);
            let before: usize = small.iter().map(batch_bytes).sum();
            let joined = join(&small)?;
            self.bytes = (self.bytes + batch_bytes(&joined)).saturating_sub(before);
            match self.levels.get_mut(level + 1) {
                Some(next) if joined.num_rows() < SMALL_ROWS => next.push(joined),
                _ => self.whole.push(joined),
            }
        }
        Ok(())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &RecordBatch> {
        self.whole.iter().chain(self.levels.iter().rev().flatten())
    }

    pub(crate) fn take(&mut self) -> Vec<RecordBatch> {
        let batches = self.iter().cloned().collect();
        *self = Self::default();
        batches
    }
}

/// One batch with the rows of all, whose texts no longer hold on to the buffers they came in.
fn join(batches: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
    let schema = batches[0].schema();
    let joined = concat_batches(&schema, batches)?;
    let compacted = |column: &ArrayRef| -> ArrayRef {
        column.as_string_view_opt().map_or_else(|| column.clone(), |views| Arc::new(views.gc()))
    };
    RecordBatch::try_new(schema, joined.columns().iter().map(compacted).collect())
}
