//! Functions that compute one row at a time from values of declared types; NULL for any argument gives NULL.

use super::interval::intervals;
use super::is_text;
use crate::serve::text::{plain, value as written};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Date32Builder, Float64Builder, Int32Builder, Int64Builder,
    IntervalMonthDayNanoBuilder, StringBuilder, Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use whence_schema::tables::timestamp_type;

/// A type of an argument or a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Text,
    /// Of anything its text, as PostgreSQL writes it; of results the same as [`Type::Text`].
    AnyAsText,
    Integer,
    /// As a result: four bytes.
    SmallInteger,
    Float,
    Boolean,
    /// A time without a zone.
    Timestamp,
    TimestampTz,
    Date,
    Time,
    Interval,
}

/// A value that is not NULL. Times are microseconds, dates days since 1970-01-01.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Micros(i64),
    Days(i32),
    Interval(IntervalMonthDayNano),
    Null,
}

type Call = fn(&[Value]) -> Result<Value>;

/// One list of arguments that a function takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overload {
    pub(crate) takes: &'static [Type],
    pub(crate) gives: Type,
    pub(crate) call: Call,
}

#[derive(Debug)]
struct TypedFunction {
    name: &'static str,
    overloads: &'static [Overload],
    aliases: Vec<String>,
    signature: Signature,
}

/// A function of these overloads.
pub(crate) fn typed(name: &'static str, overloads: &'static [Overload], aliases: &[&str]) -> ScalarUDF {
    let signature = Signature::one_of(
        vec![datafusion::logical_expr::TypeSignature::UserDefined, datafusion::logical_expr::TypeSignature::Nullary],
        Volatility::Immutable,
    );
    let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
    ScalarUDF::from(TypedFunction { name, overloads, aliases, signature })
}

impl PartialEq for TypedFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for TypedFunction {}

impl Hash for TypedFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

const LOCAL: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

impl Type {
    fn data_type(self) -> DataType {
        match self {
            Self::Text | Self::AnyAsText => DataType::Utf8,
            Self::Integer => DataType::Int64,
            Self::SmallInteger => DataType::Int32,
            Self::Float => DataType::Float64,
            Self::Boolean => DataType::Boolean,
            Self::Timestamp => LOCAL,
            Self::TimestampTz => timestamp_type(),
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Interval => INTERVAL,
        }
    }

    /// How far `given` is from it; `None` if it cannot be passed.
    fn distance(self, given: &DataType) -> Option<u32> {
        let is_moment = |given: &DataType| matches!(given, DataType::Timestamp(..) | DataType::Date32);
        match (self, given) {
            (_, DataType::Null) => Some(1),
            (Self::AnyAsText, _) => Some(2),
            (Self::Text, DataType::Dictionary(_, value)) if is_text(value) => Some(0),
            (Self::Text, text) if is_text(text) => Some(0),
            (Self::Integer | Self::SmallInteger, integer) if integer.is_integer() => Some(0),
            (Self::Float, float) if float.is_floating() => Some(0),
            (Self::Float, DataType::Decimal128(..)) => Some(1),
            (Self::Float, integer) if integer.is_integer() => Some(2),
            (Self::Boolean, DataType::Boolean) => Some(0),
            (Self::Timestamp, DataType::Timestamp(_, None)) | (Self::TimestampTz, DataType::Timestamp(_, Some(_))) => {
                Some(0)
            }
            (Self::TimestampTz, other) if is_moment(other) => Some(1),
            (Self::Timestamp, DataType::Date32) => Some(2),
            (Self::Date, DataType::Date32) | (Self::Time, DataType::Time64(_)) => Some(0),
            (Self::Interval, DataType::Interval(_) | DataType::Duration(_)) => Some(0),
            // What is written as a literal has no type of its own.
            (Self::Timestamp, text) if is_text(text) => Some(4),
            (Self::Integer | Self::SmallInteger | Self::Boolean, _) => None,
            (_, text) if is_text(text) => Some(3),
            _ => None,
        }
    }
}

impl TypedFunction {
    /// The overload that fits best.
    fn overload(&self, given: &[DataType]) -> Result<&'static Overload> {
        let distance = |overload: &&Overload| -> Option<u32> {
            if overload.takes.len() != given.len() {
                return None;
            }
            overload.takes.iter().zip(given).map(|(takes, given)| takes.distance(given)).sum()
        };
        let fitting = self.overloads.iter().filter_map(|overload| Some((distance(&overload)?, overload)));
        match fitting.min_by_key(|(distance, _)| *distance) {
            Some((_, overload)) => Ok(overload),
            None => {
                let given = given.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                plan_err!("No function matches {}({given})", self.name)
            }
        }
    }
}

impl ScalarUDFImpl for TypedFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let overload = self.overload(given)?;
        let coerced = overload.takes.iter().zip(given).map(|(takes, given)| match takes {
            Type::AnyAsText => given.clone(),
            Type::SmallInteger => DataType::Int64,
            other => other.data_type(),
        });
        Ok(coerced.collect())
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        Ok(self.overload(given)?.gives.data_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let all_scalar = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if all_scalar { 1 } else { args.number_rows };
        let given: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
        let overload = self.overload(&given)?;
        let columns = args.args.iter().zip(overload.takes).map(|(value, takes)| column(&value.to_array(rows)?, *takes));
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        let mut inputs = Vec::with_capacity(columns.len());
        let mut outputs = Outputs::of(overload.gives, rows);
        for row in 0..rows {
            inputs.clear();
            for (column, takes) in columns.iter().zip(overload.takes) {
                inputs.push(if column.is_null(row) { Value::Null } else { value(column, *takes, row)? });
            }
            let output = if inputs.contains(&Value::Null) { Value::Null } else { (overload.call)(&inputs)? };
            outputs.append(output)?;
        }
        let result = outputs.finish();
        match all_scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            false => Ok(ColumnarValue::Array(result)),
        }
    }
}

fn column(array: &ArrayRef, takes: Type) -> Result<ArrayRef> {
    match takes {
        Type::Interval => Ok(Arc::new(intervals(array)?)),
        Type::AnyAsText => Ok(plain(array)?),
        other => Ok(cast(array, &other.data_type())?),
    }
}

fn value(column: &ArrayRef, takes: Type, row: usize) -> Result<Value> {
    Ok(match takes {
        Type::Text => Value::Text(column.as_string::<i32>().value(row).to_owned()),
        Type::AnyAsText => {
            let mut text = String::new();
            if !written(&mut text, column, row) {
                text = arrow::util::display::array_value_to_string(column, row)?;
            }
            Value::Text(text)
        }
        Type::Integer => Value::Integer(column.as_primitive::<Int64Type>().value(row)),
        Type::SmallInteger => return internal_err!("arguments are eight bytes wide"),
        Type::Float => Value::Float(column.as_primitive::<Float64Type>().value(row)),
        Type::Boolean => Value::Boolean(column.as_boolean().value(row)),
        Type::Timestamp | Type::TimestampTz => {
            Value::Micros(column.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        Type::Date => Value::Days(column.as_primitive::<Date32Type>().value(row)),
        Type::Time => Value::Micros(column.as_primitive::<Time64MicrosecondType>().value(row)),
        Type::Interval => Value::Interval(column.as_primitive::<IntervalMonthDayNanoType>().value(row)),
    })
}

enum Outputs {
    Text(StringBuilder),
    Integer(Int64Builder),
    SmallInteger(Int32Builder),
    Float(Float64Builder),
    Boolean(BooleanBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Interval(IntervalMonthDayNanoBuilder),
}

macro_rules! append {
    ($builder:expr, $output:expr, $kind:ident) => {
        match $output {
            Value::$kind(value) => $builder.append_value(value),
            Value::Null => $builder.append_null(),
            other => return internal_err!("a result that is {other:?}"),
        }
    };
}

impl Outputs {
    fn of(gives: Type, rows: usize) -> Self {
        let times = TimestampMicrosecondBuilder::with_capacity(rows);
        match gives {
            Type::Text | Type::AnyAsText => Self::Text(StringBuilder::with_capacity(rows, rows * 16)),
            Type::Integer => Self::Integer(Int64Builder::with_capacity(rows)),
            Type::SmallInteger => Self::SmallInteger(Int32Builder::with_capacity(rows)),
            Type::Float => Self::Float(Float64Builder::with_capacity(rows)),
            Type::Boolean => Self::Boolean(BooleanBuilder::with_capacity(rows)),
            Type::Timestamp => Self::Timestamp(times),
            Type::TimestampTz => Self::Timestamp(times.with_data_type(timestamp_type())),
            Type::Date => Self::Date(Date32Builder::with_capacity(rows)),
            Type::Time => Self::Time(Time64MicrosecondBuilder::with_capacity(rows)),
            Type::Interval => Self::Interval(IntervalMonthDayNanoBuilder::with_capacity(rows)),
        }
    }

    fn append(&mut self, output: Value) -> Result<()> {
        match self {
            Self::Text(builder) => append!(builder, output, Text),
            Self::Integer(builder) => append!(builder, output, Integer),
            Self::SmallInteger(builder) => match output {
                Value::Integer(value) => builder.append_option(i32::try_from(value).ok()),
                _ => builder.append_null(),
            },
            Self::Float(builder) => append!(builder, output, Float),
            Self::Boolean(builder) => append!(builder, output, Boolean),
            Self::Timestamp(builder) => append!(builder, output, Micros),
            Self::Date(builder) => append!(builder, output, Days),
            Self::Time(builder) => append!(builder, output, Micros),
            Self::Interval(builder) => append!(builder, output, Interval),
        }
        Ok(())
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Text(mut builder) => Arc::new(builder.finish()),
            Self::Integer(mut builder) => Arc::new(builder.finish()),
            Self::SmallInteger(mut builder) => Arc::new(builder.finish()),
            Self::Float(mut builder) => Arc::new(builder.finish()),
            Self::Boolean(mut builder) => Arc::new(builder.finish()),
            Self::Timestamp(mut builder) => Arc::new(builder.finish()),
            Self::Date(mut builder) => Arc::new(builder.finish()),
            Self::Time(mut builder) => Arc::new(builder.finish()),
            Self::Interval(mut builder) => Arc::new(builder.finish()),
        }
    }
}
