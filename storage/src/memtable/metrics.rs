//! Memtable of `metrics`: points are added to the row of their series and bucket as they come.

use super::batch_bytes;
use super::increase::{Growth, advance};
use super::points::{add_increase, add_value};
use super::series::{Registry, Slot, overflow_series};
use arrow::array::{
    ArrayRef, BinaryBuilder, FixedSizeBinaryBuilder, Float64Array, Int64Array, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use hashbrown::HashMap;
use std::sync::Arc;
use whence_schema::aggregate::Aggregate;
use whence_schema::tables::metrics::stored_schema;
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

#[derive(Debug)]
struct Row {
    tenant: TenantId,
    series: Arc<Series>,
    bucket: UnixNanos,
    created_at: UnixNanos,
    aggregate: Aggregate,
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

fn to_batch(rows: &[Row]) -> Result<RecordBatch, ArrowError> {
    let texts = |of: fn(&Row) -> &str| -> ArrayRef { Arc::new(StringViewArray::from_iter_values(rows.iter().map(of))) };
    let times = |of: fn(&Row) -> UnixNanos| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| of(r).micros())).with_timezone("UTC"))
    };
    let counts = |of: fn(&Row) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| i64::try_from(of(r)).unwrap_or(i64::MAX))))
    };
    let values = |of: fn(&Row) -> f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values(rows.iter().map(of))) };
    let extremes = |of: fn(&Row) -> f64| -> ArrayRef {
        Arc::new(rows.iter().map(|r| (r.aggregate.count > 0).then(|| of(r))).collect::<Float64Array>())
    };
    let mut series = FixedSizeBinaryBuilder::with_capacity(rows.len(), 16);
    let mut sketches = BinaryBuilder::with_capacity(rows.len(), rows.len() * 32);
    let mut encoded = Vec::new();
    for row in rows {
        series.append_value(row.series.id.0.to_be_bytes())?;
        encoded.clear();
        row.aggregate.sketch.encode(&mut encoded);
        sketches.append_value(&encoded);
    }
    RecordBatch::try_new(
        stored_schema(),
        vec![
            texts(|r| r.tenant.as_str()),
            times(|r| r.bucket),
            times(|r| r.created_at),
            texts(|r| &r.series.asset_id),
            texts(|r| r.series.metric_type.as_str()),
            texts(|r| &r.series.metric_name),
            texts(|r| &r.series.unit),
            Arc::new(series.finish()),
            counts(|r| r.aggregate.points),
            counts(|r| r.aggregate.count),
            values(|r| r.aggregate.sum),
            extremes(|r| r.aggregate.min),
            extremes(|r| r.aggregate.max),
            values(|r| r.aggregate.m2),
            Arc::new(sketches.finish()),
            texts(|r| &r.series.dimensions),
        ],
    )
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
