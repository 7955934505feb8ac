//! Rows of a batch as DataRow messages.

use super::types::wire_type;
use crate::error::QueryError;
use crate::serve::text::{self, of_duration, plain};
use ::pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo};
use ::pgwire::error::{PgWireError, PgWireResult};
use ::pgwire::messages::data::DataRow;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType, UInt8Type,
    UInt16Type, UInt32Type,
};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_pg::encoder::encode_value;
use bytes::{BufMut, BytesMut};
use std::sync::Arc;

/// Microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL's binary times start.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
const EPOCH_DAYS: i32 = 10_957;

/// Encodes the rows of one batch, in order.
pub(super) struct RowEncoder {
    columns: Vec<ArrayRef>,
    fields: Arc<Vec<FieldInfo>>,
    row: usize,
    rows: usize,
    text: String,
}

impl RowEncoder {
    /// `fields` are those of the description, one per column.
    pub(super) fn new(batch: &RecordBatch, fields: Arc<Vec<FieldInfo>>) -> PgWireResult<Self> {
        let columns =
            batch.columns().iter().map(plain).collect::<Result<Vec<_>, _>>().map_err(super::connection::error)?;
        if columns.len() != fields.len() {
            let error = QueryError::Internal(format!("{} columns described, {} computed", fields.len(), columns.len()));
            return Err(super::connection::error(error));
        }
        Ok(Self { columns, fields, row: 0, rows: batch.num_rows(), text: String::new() })
    }

    /// The next row.
    pub(super) fn next_row(&mut self) -> Option<PgWireResult<DataRow>> {
        if self.row >= self.rows {
            return None;
        }
        let mut data = BytesMut::with_capacity(64 * self.columns.len());
        for (column, field) in self.columns.iter().zip(self.fields.iter()) {
            let start = data.len();
            data.put_i32(-1);
            if column.is_null(self.row) {
                continue;
            }
            let encoded = match field.format() {
                FieldFormat::Text => {
                    self.text.clear();
                    let common = text::value(&mut self.text, column, self.row);
                    data.put_slice(self.text.as_bytes());
                    common
                }
                FieldFormat::Binary => binary_value(&mut data, column, self.row),
            };
            if !encoded && let Err(error) = other_value(&mut data, column, self.row, field) {
                return Some(Err(error));
            }
            let length = i32::try_from(data.len() - start - 4).unwrap_or(i32::MAX);
            data[start..start + 4].copy_from_slice(&length.to_be_bytes());
        }
        self.row += 1;
        let columns = i16::try_from(self.columns.len()).unwrap_or(i16::MAX);
        Some(Ok(DataRow::new(data, columns)))
    }
}

impl Iterator for RowEncoder {
    type Item = PgWireResult<DataRow>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_row()
    }
}

macro_rules! primitive {
    ($column:expr, $kind:ty, $row:expr) => {
        $column.as_primitive::<$kind>().value($row)
    };
}

/// False if the type is not one of the common ones.
fn binary_value(data: &mut BytesMut, column: &ArrayRef, row: usize) -> bool {
    match column.data_type() {
        DataType::Utf8 => data.put_slice(column.as_string::<i32>().value(row).as_bytes()),
        DataType::Utf8View => data.put_slice(column.as_string_view().value(row).as_bytes()),
        DataType::Boolean => data.put_u8(u8::from(column.as_boolean().value(row))),
        DataType::Int8 => data.put_i16(i16::from(primitive!(column, Int8Type, row))),
        DataType::UInt8 => data.put_i16(i16::from(primitive!(column, UInt8Type, row))),
        DataType::Int16 => data.put_i16(primitive!(column, Int16Type, row)),
        DataType::UInt16 => data.put_i32(i32::from(primitive!(column, UInt16Type, row))),
        DataType::Int32 => data.put_i32(primitive!(column, Int32Type, row)),
        DataType::UInt32 => data.put_i64(i64::from(primitive!(column, UInt32Type, row))),
        DataType::Int64 => data.put_i64(primitive!(column, Int64Type, row)),
        DataType::Float32 => data.put_f32(primitive!(column, Float32Type, row)),
        DataType::Float64 => data.put_f64(primitive!(column, Float64Type, row)),
        DataType::Timestamp(..) => {
            let micros = primitive!(column, TimestampMicrosecondType, row);
            // The largest and the smallest are infinity and -infinity on both sides.
            let infinite = matches!(micros, i64::MAX | i64::MIN);
            data.put_i64(if infinite { micros } else { micros.saturating_sub(EPOCH_MICROS) });
        }
        DataType::Date32 => {
            let days = primitive!(column, Date32Type, row);
            data.put_i32(if matches!(days, i32::MAX | i32::MIN) { days } else { days.saturating_sub(EPOCH_DAYS) });
        }
        DataType::Time64(_) => data.put_i64(primitive!(column, Time64MicrosecondType, row)),
        DataType::Interval(_) => binary_interval(data, primitive!(column, IntervalMonthDayNanoType, row)),
        DataType::Duration(_) => binary_interval(data, of_duration(column, row)),
        DataType::FixedSizeBinary(_) => data.put_slice(column.as_fixed_size_binary().value(row)),
        DataType::Binary => data.put_slice(column.as_binary::<i32>().value(row)),
        DataType::List(item) => return binary_array(data, item, &column.as_list::<i32>().value(row)),
        _ => return false,
    }
    true
}

/// An array of one dimension: dimensions, whether there are nulls, element type, length, lower bound, then length and
/// value of each. False if its elements are not of the common types; nothing is written then.
fn binary_array(data: &mut BytesMut, item: &Field, items: &ArrayRef) -> bool {
    let Ok(items) = plain(items) else { return false };
    if matches!(items.data_type(), DataType::List(_) | DataType::Struct(_)) {
        return false;
    }
    let start = data.len();
    data.put_i32(i32::from(!items.is_empty()));
    data.put_i32(i32::from(items.null_count() > 0));
    data.put_u32(wire_type(item).oid());
    if items.is_empty() {
        return true;
    }
    data.put_i32(i32::try_from(items.len()).unwrap_or(i32::MAX));
    data.put_i32(1);
    for position in 0..items.len() {
        let before = data.len();
        data.put_i32(-1);
        if items.is_null(position) {
            continue;
        }
        if !binary_value(data, &items, position) {
            data.truncate(start);
            return false;
        }
        let length = i32::try_from(data.len() - before - 4).unwrap_or(i32::MAX);
        data[before..before + 4].copy_from_slice(&length.to_be_bytes());
    }
    true
}

fn binary_interval(data: &mut BytesMut, interval: IntervalMonthDayNano) {
    data.put_i64(interval.nanoseconds / 1_000);
    data.put_i32(interval.days);
    data.put_i32(interval.months);
}

/// Lists, numbers of arbitrary precision; what has no type in PostgreSQL goes out as text.
fn other_value(data: &mut BytesMut, column: &ArrayRef, row: usize, field: &FieldInfo) -> PgWireResult<()> {
    let listed = matches!(
        column.data_type(),
        DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::Decimal128(..)
            | DataType::UInt64
    );
    let arrow_field = Field::new(field.name(), column.data_type().clone(), true);
    if listed && wire_type(&arrow_field) == *field.datatype() {
        let mut encoder = DataRowEncoder::new(Arc::new(vec![field.clone()]));
        encode_value(&mut encoder, column, row, &arrow_field, field)?;
        // Its own length comes first; ours is in place already.
        data.put_slice(encoder.take_row().data.get(4..).unwrap_or_default());
        return Ok(());
    }
    let options = FormatOptions::default();
    let formatter =
        ArrayFormatter::try_new(column.as_ref(), &options).map_err(|error| PgWireError::ApiError(Box::new(error)))?;
    data.put_slice(formatter.value(row).to_string().as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::array::{FixedSizeBinaryArray, ListArray};
    use arrow::datatypes::Int32Type;

    #[test]
    fn arrays_are_written_as_postgresql_reads_them() {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(7), None]), Some(vec![])]);
        let column: ArrayRef = Arc::new(list);
        let mut data = BytesMut::new();
        assert!(binary_value(&mut data, &column, 0));
        let words: Vec<i32> = data.chunks(4).map(|word| i32::from_be_bytes(word.try_into().unwrap())).collect();
        assert_eq!(words, [1, 1, 23, 2, 1, 4, 7, -1]);
        data.clear();
        assert!(binary_value(&mut data, &column, 1));
        assert_eq!(data.len(), 12);
    }

    #[test]
    fn uuids_in_arrays_have_their_own_type() {
        let ids = FixedSizeBinaryArray::try_from_iter([[1_u8; 16]].iter()).unwrap();
        let item = Field::new("item", crate::functions::UUID, true);
        let mut data = BytesMut::new();
        assert!(binary_array(&mut data, &item, &(Arc::new(ids) as ArrayRef)));
        assert_eq!((&data[8..12], data.len()), (&2950_u32.to_be_bytes()[..], 40));
    }
}
