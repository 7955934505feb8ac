//! Memtable of `metrics`: points are added to the row of their series and bucket as they come.

use super::batch_bytes;
use super::increase::{Growth, advance};
use super::points::{add_increase, add_value};
use super::rows::{Row, to_batch};
use super::series::{Registry, Slot, overflow_series};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use hashbrown::HashMap;
use std::sync::Arc;
use whence_schema::aggregate::Aggregate;
use whence_schema::{MetricPoints, Series, TenantId, UnixNanos};

/// Rows of a block. A block is the unit in which rows are shown to queries: those that have not changed since the last
/// snapshot are not made again.
const BLOCK_ROWS: usize = 512;
/// Estimated bytes of a row with its sketch, its index entry and its share of texts.
const ROW_BYTES: usize = 1_024;
/// Estimated bytes of a known series with its last value.
const SERIES_BYTES: usize = 256;

/// Points of open and late buckets, not yet sealed, and the state of every series.
#[derive(Debug, Default)]
pub(crate) struct MetricsMemtable {
    pub(crate) registry: Registry,
    blocks: Vec<Block>,
    index: HashMap<(Slot, i64), (u32, u32)>,
    rows: usize,
}

#[derive(Debug, Default)]
struct Block {
    rows: Vec<Row>,
    shown: Option<RecordBatch>,
}

impl MetricsMemtable {
    /// Empty, with the series as [`Registry::save`] saved them; `None` when that is of no known form.
    pub(crate) fn restore(series: &[u8]) -> Option<Self> {
        Some(Self { registry: Registry::load(series)?, ..Self::default() })
    }

    /// Adds the points of one request. With `emit` false only the series' state changes: the rows are in chunks already.
    pub(crate) fn add(&mut self, tenant: &TenantId, points: &MetricPoints, at: UnixNanos, limit: usize, emit: bool) {
        let mut described: Vec<Option<Arc<Series>>> = vec![None; points.series.len()];
        let slots: Vec<Slot> =
            points.series.iter().map(|series| self.registry.resolve(tenant, series.id, limit, at)).collect();
        for point in &points.points {
            let index = point.series as usize;
            let Some(slot) = slots.get(index) else { continue };
            let known = self.registry.get(*slot);
            let overflow = known.overflow;
            let growth = match (point.cumulative, overflow) {
                (false, _) => Growth::Whole,
                // Values of many series: their differences mean nothing.
                (true, true) => Growth::Unknown,
                (true, false) => advance(&mut known.last, point),
            };
            if !emit {
                continue;
            }
            let describe = || {
                let described = described[index].get_or_insert_with(|| {
                    if overflow { overflow_series() } else { Arc::new(points.series[index].clone()) }
                });
                (tenant.clone(), described.clone())
            };
            let aggregate = self.row(*slot, point.timestamp.bucket(), at, describe);
            aggregate.points = aggregate.points.saturating_add(1);
            match growth {
                Growth::By(increase) => add_increase(aggregate, &increase),
                Growth::Whole => add_value(aggregate, &point.value),
                Growth::Unknown => {}
            }
        }
    }

    fn row(
        &mut self,
        slot: Slot,
        bucket: UnixNanos,
        created_at: UnixNanos,
        describe: impl FnOnce() -> (TenantId, Arc<Series>),
    ) -> &mut Aggregate {
        let (blocks, rows) = (&mut self.blocks, &mut self.rows);
        let (block, row) = *self.index.entry((slot, bucket.0)).or_insert_with(|| {
            if blocks.last().is_none_or(|block| block.rows.len() >= BLOCK_ROWS) {
                blocks.push(Block::default());
            }
            let block = blocks.len() - 1;
            let (tenant, series) = describe();
            blocks[block].rows.push(Row { tenant, series, bucket, created_at, aggregate: Aggregate::default() });
            *rows += 1;
            (block as u32, (blocks[block].rows.len() - 1) as u32)
        });
        let block = &mut self.blocks[block as usize];
        block.shown = None;
        &mut block.rows[row as usize].aggregate
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes that sealing frees.
    pub(crate) fn row_bytes(&self) -> usize {
        self.rows * ROW_BYTES
    }

    /// Bytes of rows and of the state of series.
    pub(crate) fn bytes(&self) -> usize {
        self.row_bytes() + self.registry.len() * SERIES_BYTES
    }

    /// The rows as they are now.
    pub(crate) fn batches(&mut self) -> Result<Vec<RecordBatch>, ArrowError> {
        self.blocks
            .iter_mut()
            .map(|block| {
                if block.shown.is_none() {
                    block.shown = Some(to_batch(&block.rows)?);
                }
                block.shown.clone().ok_or_else(|| ArrowError::ComputeError("empty block".to_owned()))
            })
            .collect()
    }

    /// Forgets the series of a tenant. Only while there are no rows, which name series by their place.
    pub(crate) fn forget(&mut self, tenant: &TenantId) {
        if self.rows == 0 {
            self.registry.forget(tenant);
        }
    }

    /// Takes the rows out; the series stay known. Returns them with their size.
    pub(crate) fn seal(&mut self, now: UnixNanos) -> Result<(Vec<RecordBatch>, usize), ArrowError> {
        let batches = self.batches()?;
        self.blocks = Vec::new();
        self.index = HashMap::new();
        self.rows = 0;
        self.registry.forget_idle(now);
        let bytes = batches.iter().map(batch_bytes).sum();
        Ok((batches, bytes))
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
