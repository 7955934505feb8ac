//! Parameters: what a client is told about them, and how it sends them (one row of Arrow columns).

use crate::error::QueryError;
use crate::functions::UUID;
use crate::serve::portable::portable_schema;
use crate::serve::text::{plain, value};
use crate::{Parameter, ParameterType};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Schema, SchemaRef};
use arrow::util::display::array_value_to_string;
use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use futures::{Stream, TryStreamExt};
use tonic::Status;

/// Columns for the parameters: text where the type is not known, and for UUIDs, which are compared with text.
pub(super) fn schema(types: &[Option<DataType>]) -> SchemaRef {
    let field = |(index, data_type): (usize, &Option<DataType>)| {
        let data_type = match data_type {
            Some(data_type) if *data_type != UUID && *data_type != DataType::Null => data_type.clone(),
            _ => DataType::Utf8,
        };
        Field::new(format!("${}", index + 1), data_type, true)
    };
    portable_schema(&Schema::new(types.iter().enumerate().map(field).collect::<Vec<_>>()))
}

/// Reads the one row of parameters, and how many bytes it took.
pub(super) async fn read(
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
) -> Result<(Vec<Parameter>, usize), Status> {
    let messages = messages.map_err(|status| FlightError::Tonic(Box::new(status)));
    let mut batches = FlightRecordBatchStream::new_from_flight_data(messages);
    let mut row = None;
    let unreadable = |error: FlightError| match error {
        FlightError::Tonic(status) => *status,
        other => Status::invalid_argument(format!("the parameters cannot be read: {other}")),
    };
    while let Some(batch) = batches.try_next().await.map_err(unreadable)? {
        if batch.num_rows() == 0 {
            continue;
        }
        if batch.num_rows() > 1 || row.is_some() {
            return Err(Status::unimplemented(
                "more than one row of parameters is not supported: run the statement once for each",
            ));
        }
        row = Some(batch);
    }
    let Some(row) = row else { return Ok((Vec::new(), 0)) };
    let parameters = row.columns().iter().map(|column| parameter(column, 0)).collect::<Result<_, _>>();
    let parameters = parameters.map_err(|error| super::answer::status(&error, ""))?;
    Ok((parameters, row.get_array_memory_size()))
}

fn parameter(column: &ArrayRef, row: usize) -> Result<Parameter, QueryError> {
    let column = plain(column)?;
    if column.is_null(row) {
        return Ok(Parameter::Null);
    }
    let text = || -> Result<String, QueryError> {
        let mut text = String::new();
        if !value(&mut text, &column, row) {
            text = array_value_to_string(&column, row)?;
        }
        Ok(text)
    };
    Ok(match column.data_type() {
        DataType::Boolean => Parameter::Boolean(column.as_boolean().value(row)),
        whole if whole.is_integer() => {
            let text = text()?;
            text.parse().map_or(Parameter::Number(text), Parameter::Integer)
        }
        DataType::Float32 => Parameter::Float(column.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => Parameter::Float(column.as_primitive::<Float64Type>().value(row)),
        DataType::Binary => Parameter::Bytes(column.as_binary::<i32>().value(row).to_vec()),
        DataType::Timestamp(_, Some(_)) => Parameter::Typed(ParameterType::TimestampTz, text()?),
        DataType::Timestamp(_, None) => Parameter::Typed(ParameterType::Timestamp, text()?),
        DataType::Date32 => Parameter::Typed(ParameterType::Date, text()?),
        DataType::Time64(_) => Parameter::Typed(ParameterType::Time, text()?),
        DataType::Interval(_) | DataType::Duration(_) => Parameter::Typed(ParameterType::Interval, text()?),
        decimal if decimal.is_decimal() => Parameter::Number(text()?),
        DataType::Utf8 | DataType::Utf8View => Parameter::Text(text()?),
        &UUID => Parameter::Text(text()?),
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            Parameter::Array((0..items.len()).map(|at| parameter(&items, at)).collect::<Result<_, _>>()?)
        }
        other => return Err(QueryError::NotSupported { what: format!("a parameter of the Arrow type {other}") }),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::array::{
        Date32Array, FixedSizeBinaryArray, Int64Array, ListArray, StringArray, TimestampNanosecondArray,
    };
    use arrow::datatypes::Int32Type;
    use std::sync::Arc;

    #[test]
    fn values_of_arrow_columns_become_parameters_of_the_same_meaning() {
        let of = |column: ArrayRef| parameter(&column, 0).unwrap();
        assert_eq!(of(Arc::new(Int64Array::from(vec![-7]))), Parameter::Integer(-7));
        assert_eq!(of(Arc::new(Int64Array::from(vec![None]))), Parameter::Null);
        assert_eq!(of(Arc::new(StringArray::from(vec!["x"]))), Parameter::Text("x".to_owned()));
        let id = FixedSizeBinaryArray::try_from_iter([[1_u8; 16]].into_iter()).unwrap();
        assert_eq!(of(Arc::new(id)), Parameter::Text("01010101-0101-0101-0101-010101010101".to_owned()));
        let time = TimestampNanosecondArray::from(vec![1_674_981_669_120_000_000]).with_timezone("UTC");
        let typed = |kind, text: &str| Parameter::Typed(kind, text.to_owned());
        assert_eq!(of(Arc::new(time)), typed(ParameterType::TimestampTz, "2023-01-29 08:41:09.12+00"));
        assert_eq!(of(Arc::new(Date32Array::from(vec![19_386]))), typed(ParameterType::Date, "2023-01-29"));
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), None])]);
        assert_eq!(of(Arc::new(list)), Parameter::Array(vec![Parameter::Integer(1), Parameter::Null]));
    }

    #[test]
    fn parameters_of_no_known_type_and_uuids_are_announced_as_text() {
        let schema = schema(&[None, Some(UUID), Some(DataType::Int64), Some(DataType::Utf8View)]);
        let types: Vec<_> = schema.fields().iter().map(|field| field.data_type().clone()).collect();
        assert_eq!(types, [DataType::Utf8, DataType::Utf8, DataType::Int64, DataType::Utf8]);
        assert_eq!(schema.field(1).name(), "$2");
    }
}
