//! Hours of a chunk, for time bounds that cut it. They are counted from 1970, in UTC.

use super::split::{TIMESTAMP, satisfied_at};
use arrow::array::{AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};
use datafusion::physical_plan::projection::ProjectionExpr;
use datafusion::scalar::ScalarValue;
use std::ops::Range;
use std::sync::Arc;
use whence_schema::tables::timestamp_type;
use whence_storage::Chunk;

/// Name of the column.
pub(super) const HOUR: &str = "__hour";
const MICROS: i64 = 3_600_000_000;
/// Rows of a chunk up to which hours are kept of which time bounds take a part, though they take none whole.
const FEW_ROWS: u64 = 262_144;

/// How time bounds cut a chunk.
#[derive(Debug, PartialEq)]
pub(super) struct Cut {
    /// Hours in which all rows satisfy them.
    pub(super) whole: Range<i64>,
    /// Hours in which some do.
    pub(super) parts: Vec<i64>,
}

/// Earliest and latest time of a chunk in microseconds. Its times are those of rows before they were cut to
/// microseconds: one of grace.
pub(super) fn ends(chunk: &Chunk) -> [i64; 2] {
    [chunk.min_time.0.div_euclid(1_000) - 1, chunk.max_time.0.div_euclid(1_000) + 1]
}

/// How time bounds cut the chunk; `None` when its hours are of no use.
pub(super) fn cut(chunk: &Chunk, bounds: &[&Arc<dyn PhysicalExpr>], schema: &SchemaRef) -> Option<Cut> {
    let [first, last] = ends(chunk).map(|micros| micros.div_euclid(MICROS));
    // Division rounds towards zero below.
    if first < 0 {
        return None;
    }
    let ends = (first..=last).flat_map(|hour| [hour * MICROS, (hour + 1) * MICROS - 1]).collect();
    let at_ends = satisfied_at(ends, bounds, schema)?;
    let satisfied = |hour: i64| at_ends.chunks(2).nth((hour - first) as usize).unwrap_or_default();
    let whole = |hour: &i64| satisfied(*hour).iter().all(|holds| *holds);
    let begin = (first..=last).find(whole).unwrap_or(first);
    let end = (begin..=last).find(|hour| !whole(hour)).unwrap_or(last + 1);
    // Bounds hold from one time to another, so an hour that they take a part of they take an end of, or no other hour.
    let parts = (first..=last).filter(|hour| !whole(hour) && satisfied(*hour).contains(&true)).collect::<Vec<_>>();
    let of_use = begin < end || !parts.is_empty() && chunk.rows <= FEW_ROWS;
    of_use.then_some(Cut { whole: begin..end, parts })
}

/// The time of a stored row.
pub(super) fn time(schema: &SchemaRef) -> Result<Arc<dyn PhysicalExpr>> {
    Ok(Arc::new(Column::new_with_schema(TIMESTAMP, schema)?))
}

/// The hour of a stored row.
pub(super) fn column(schema: &SchemaRef) -> Result<ProjectionExpr> {
    let time = Arc::new(CastExpr::new(time(schema)?, DataType::Int64, None));
    let micros = Arc::new(Literal::new(ScalarValue::Int64(Some(MICROS))));
    Ok(ProjectionExpr { expr: Arc::new(BinaryExpr::new(time, Operator::Divide, micros)), alias: HOUR.to_owned() })
}

/// Holds for stored rows that are in none of the hours.
pub(super) fn outside(hours: &Range<i64>, schema: &SchemaRef) -> Result<Arc<dyn PhysicalExpr>> {
    let before = compare(schema, Operator::Lt, hours.start)?;
    Ok(Arc::new(BinaryExpr::new(before, Operator::Or, compare(schema, Operator::GtEq, hours.end)?)))
}

/// Holds for stored rows of the hours.
pub(super) fn inside(hours: &Range<i64>, schema: &SchemaRef) -> Result<Arc<dyn PhysicalExpr>> {
    let from = compare(schema, Operator::GtEq, hours.start)?;
    Ok(Arc::new(BinaryExpr::new(from, Operator::And, compare(schema, Operator::Lt, hours.end)?)))
}

/// A comparison of the time of a stored row with the start of an hour.
fn compare(schema: &SchemaRef, op: Operator, hour: i64) -> Result<Arc<dyn PhysicalExpr>> {
    let zone = match timestamp_type() {
        DataType::Timestamp(_, zone) => zone,
        _ => None,
    };
    let start = Literal::new(ScalarValue::TimestampMicrosecond(Some(hour * MICROS), zone));
    Ok(Arc::new(BinaryExpr::new(time(schema)?, op, Arc::new(start))))
}

/// The rows of one hour, without the hour, which is the first column.
pub(super) fn select(batch: &RecordBatch, hour: i64, schema: &SchemaRef) -> Result<RecordBatch> {
    let of = batch.column(0).as_primitive::<Int64Type>();
    let within: BooleanArray = of.iter().map(|of| of.map(|of| of == hour)).collect();
    let rows = filter_record_batch(batch, &within)?;
    Ok(RecordBatch::try_new(schema.clone(), rows.columns()[1..].to_vec())?)
}

/// All rows, without the hour, which is the first column.
pub(super) fn without(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    Ok(RecordBatch::try_new(schema.clone(), batch.columns()[1..].to_vec())?)
}
