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
/// Of a chunk's hours, one in so many must be whole within the bounds: working out all of them is for later readers.
const LEAST_SHARE: i64 = 4;

/// Earliest and latest time of a chunk in microseconds. Its times are those of rows before they were cut to
/// microseconds: one of grace.
pub(super) fn ends(chunk: &Chunk) -> [i64; 2] {
    [chunk.min_time.0.div_euclid(1_000) - 1, chunk.max_time.0.div_euclid(1_000) + 1]
}

/// The hours of the chunk in which all rows satisfy the time bounds; `None` when they are too few to be of use.
pub(super) fn whole_within(chunk: &Chunk, bounds: &[&Arc<dyn PhysicalExpr>], schema: &SchemaRef) -> Option<Range<i64>> {
    let [first, last] = ends(chunk).map(|micros| micros.div_euclid(MICROS));
    // Division rounds towards zero below.
    if first < 0 || last - first < LEAST_SHARE {
        return None;
    }
    let ends = (first..=last).flat_map(|hour| [hour * MICROS, (hour + 1) * MICROS - 1]).collect();
    let at_ends = satisfied_at(ends, bounds, schema)?;
    let whole = |hour: &i64| at_ends.chunks(2).nth((hour - first) as usize) == Some([true, true].as_slice());
    let begin = (first..=last).find(whole)?;
    let end = (begin..=last).find(|hour| !whole(hour)).unwrap_or(last + 1);
    ((end - begin) * LEAST_SHARE >= last - first).then_some(begin..end)
}

/// The hours next to these in which some rows of the chunk can satisfy the time bounds.
pub(super) fn next_to(
    hours: &Range<i64>,
    chunk: &Chunk,
    bounds: &[&Arc<dyn PhysicalExpr>],
    schema: &SchemaRef,
) -> Vec<i64> {
    let [first, last] = ends(chunk).map(|micros| micros.div_euclid(MICROS));
    // What holds anywhere in such an hour holds where it meets the others.
    let meets = [(hours.start - 1, hours.start * MICROS - 1), (hours.end, hours.end * MICROS)];
    let holds = satisfied_at(meets.map(|(_, time)| time).to_vec(), bounds, schema).unwrap_or_else(|| vec![true; 2]);
    let hours = meets.into_iter().zip(holds).filter(|(_, holds)| *holds).map(|((hour, _), _)| hour);
    hours.filter(|hour| (first..=last).contains(hour)).collect()
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

/// Holds for stored rows of the hour.
pub(super) fn inside(hour: i64, schema: &SchemaRef) -> Result<Arc<dyn PhysicalExpr>> {
    let from = compare(schema, Operator::GtEq, hour)?;
    Ok(Arc::new(BinaryExpr::new(from, Operator::And, compare(schema, Operator::Lt, hour + 1)?)))
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

/// The rows of these hours, without the hour, which is the first column.
pub(super) fn select(batch: &RecordBatch, hours: &Range<i64>, schema: &SchemaRef) -> Result<RecordBatch> {
    let of = batch.column(0).as_primitive::<Int64Type>();
    let within: BooleanArray = of.iter().map(|hour| hour.map(|hour| hours.contains(&hour))).collect();
    let rows = filter_record_batch(batch, &within)?;
    Ok(RecordBatch::try_new(schema.clone(), rows.columns()[1..].to_vec())?)
}
