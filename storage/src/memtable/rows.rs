//! Rows of `metrics`: to stored columns and back, and parts of one row merged.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, FixedSizeBinaryBuilder, Float64Array, Int64Array, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use hashbrown::HashMap;
use std::sync::Arc;
use whence_schema::aggregate::Aggregate;
use whence_schema::sketch::Sketch;
use whence_schema::tables::metrics::{column, stored_schema};
use whence_schema::{MetricType, Series, SeriesId, TenantId, UnixNanos};

/// What one series did in one bucket.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) tenant: TenantId,
    pub(crate) series: Arc<Series>,
    pub(crate) bucket: UnixNanos,
    pub(crate) created_at: UnixNanos,
    pub(crate) aggregate: Aggregate,
}

/// One row per series and bucket: parts that were flushed at different times are put together. The first part says when
/// the row was created. `None` when a part cannot be read; parts are then best left as they are.
pub(crate) fn merge(batches: &[RecordBatch]) -> Option<Result<RecordBatch, ArrowError>> {
    let mut rows: Vec<Row> = Vec::new();
    let mut index: HashMap<(TenantId, SeriesId, UnixNanos), usize> = HashMap::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let part = read(batch, row)?;
            match index.get(&(part.tenant.clone(), part.series.id, part.bucket)) {
                Some(at) => {
                    let whole = &mut rows[*at];
                    whole.aggregate.merge(&part.aggregate);
                    whole.created_at = whole.created_at.min(part.created_at);
                }
                None => {
                    index.insert((part.tenant.clone(), part.series.id, part.bucket), rows.len());
                    rows.push(part);
                }
            }
        }
    }
    Some(to_batch(&rows))
}

fn read(batch: &RecordBatch, row: usize) -> Option<Row> {
    let text = |at: usize| batch.column(at).as_string_view().value(row);
    let time = |at: usize| UnixNanos(batch.column(at).as_primitive::<TimestampMicrosecondType>().value(row) * 1_000);
    let count = |at: usize| u64::try_from(batch.column(at).as_primitive::<Int64Type>().value(row)).ok();
    let value = |at: usize| {
        let values = batch.column(at).as_primitive::<Float64Type>();
        values.is_valid(row).then(|| values.value(row))
    };
    let id = batch.column(column::SERIES).as_fixed_size_binary().value(row).try_into().ok()?;
    Some(Row {
        tenant: TenantId::new(text(column::TENANT_ID)),
        series: Arc::new(Series {
            id: SeriesId(u128::from_be_bytes(id)),
            asset_id: text(column::ASSET_ID).to_owned(),
            metric_type: MetricType::parse(text(column::METRIC_TYPE))?,
            metric_name: text(column::METRIC_NAME).to_owned(),
            unit: text(column::UNIT).to_owned(),
            dimensions: text(column::DIMENSIONS).to_owned(),
        }),
        bucket: time(column::TIMESTAMP),
        created_at: time(column::CREATED_AT),
        aggregate: Aggregate {
            points: count(column::POINT_COUNT)?,
            count: count(column::VALUE_COUNT)?,
            sum: value(column::VALUE_SUM)?,
            min: value(column::VALUE_MIN).unwrap_or(f64::INFINITY),
            max: value(column::VALUE_MAX).unwrap_or(f64::NEG_INFINITY),
            m2: value(column::VALUE_M2)?,
            sketch: Sketch::decode(batch.column(column::SKETCH).as_binary::<i32>().value(row))?,
        },
    })
}

/// Rows as stored columns.
pub(crate) fn to_batch(rows: &[Row]) -> Result<RecordBatch, ArrowError> {
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
