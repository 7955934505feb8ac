//! Names of types in SQL's words, and `pg_typeof(value)`.

use super::{UUID, is_json};
use arrow::datatypes::{DataType, Field};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;

/// The name that PostgreSQL has for a type.
pub(crate) fn of(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint",
        DataType::Int32 | DataType::UInt16 => "integer",
        DataType::Int64 | DataType::UInt32 => "bigint",
        DataType::Float16 | DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::UInt64 | DataType::Decimal128(..) | DataType::Decimal256(..) => "numeric",
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone",
        DataType::Timestamp(_, None) => "timestamp without time zone",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time without time zone",
        DataType::Interval(_) | DataType::Duration(_) => "interval",
        &UUID => "uuid",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "bytea",
        DataType::Null => "unknown",
        DataType::Dictionary(_, values) => return of(values),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            return format!("{}[]", of(item.data_type()));
        }
        DataType::Struct(_) => "record",
        _ => "text",
    };
    name.to_owned()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TypeOf(Signature);

/// The function.
pub(crate) fn pg_typeof() -> ScalarUDF {
    ScalarUDF::from(TypeOf(Signature::any(1, Volatility::Immutable)))
}

impl ScalarUDFImpl for TypeOf {
    fn name(&self) -> &str {
        "pg_typeof"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let name = |field: &Field| if is_json(field) { "jsonb".to_owned() } else { of(field.data_type()) };
        Ok(ColumnarValue::Scalar(ScalarValue::from(name(&args.arg_fields[0]))))
    }
}
