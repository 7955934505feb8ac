//! Functions that compute one row at a time from texts, numbers and arrays of texts.

use super::json_metadata;
use crate::functions::is_text;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Int32Builder, ListBuilder, StringBuilder, StringViewArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A value of an argument.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Input<'a> {
    Null,
    Text(&'a str),
    Texts(Vec<Option<String>>),
    Integer(i64),
    Boolean(bool),
}

/// A result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Output {
    Null,
    Text(String),
    Texts(Vec<Option<String>>),
    /// Arrays of texts.
    Lists(Vec<Vec<Option<String>>>),
    Integer(i64),
    Boolean(bool),
}

/// What a function answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Json,
    Texts,
    Jsons,
    Lists,
    Integer,
    Boolean,
}

type Call = fn(&[Input<'_>]) -> Result<Output>;

/// A function of rows.
#[derive(Debug)]
pub(crate) struct RowFunction {
    name: &'static str,
    /// Fewest and most arguments.
    arity: (usize, usize),
    returns: Kind,
    /// NULL for any argument gives NULL, without a call.
    strict: bool,
    call: Call,
    signature: Signature,
}

/// A function that is NULL when an argument is.
pub(crate) fn strict(name: &'static str, arity: (usize, usize), returns: Kind, call: Call) -> ScalarUDF {
    let signature = Signature::one_of(
        vec![datafusion::logical_expr::TypeSignature::UserDefined, datafusion::logical_expr::TypeSignature::Nullary],
        Volatility::Immutable,
    );
    ScalarUDF::from(RowFunction { name, arity, returns, strict: true, call, signature })
}

/// A function that is called with NULLs too.
pub(crate) fn lenient(name: &'static str, arity: (usize, usize), returns: Kind, call: Call) -> ScalarUDF {
    let signature = Signature::user_defined(Volatility::Immutable);
    ScalarUDF::from(RowFunction { name, arity, returns, strict: false, call, signature })
}

impl PartialEq for RowFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for RowFunction {}

impl Hash for RowFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Kind {
    fn data_type(self) -> DataType {
        match self {
            Self::Text | Self::Json => DataType::Utf8,
            Self::Integer => DataType::Int32,
            Self::Boolean => DataType::Boolean,
            Self::Texts | Self::Jsons => DataType::List(self.item()),
            Self::Lists => DataType::List(Arc::new(Field::new_list_field(DataType::List(Self::Texts.item()), true))),
        }
    }

    fn item(self) -> FieldRef {
        let item = Field::new_list_field(DataType::Utf8, true);
        Arc::new(if self == Self::Jsons { item.with_metadata(json_metadata()) } else { item })
    }
}

impl ScalarUDFImpl for RowFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.returns.data_type())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        let field = Field::new(self.name, self.returns.data_type(), true);
        Ok(Arc::new(if self.returns == Kind::Json { field.with_metadata(json_metadata()) } else { field }))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        if arg_types.len() < self.arity.0 || arg_types.len() > self.arity.1 {
            return plan_err!("No function matches {} with {} arguments", self.name, arg_types.len());
        }
        let coerced = |data_type: &DataType| match data_type {
            text if is_text(text) => Some(DataType::Utf8View),
            DataType::Null => Some(DataType::Utf8View),
            DataType::Dictionary(_, value) if is_text(value) => Some(DataType::Utf8View),
            integer if integer.is_integer() => Some(DataType::Int64),
            DataType::Boolean => Some(DataType::Boolean),
            DataType::List(item) | DataType::LargeList(item)
                if is_text(item.data_type()) || item.data_type().is_null() =>
            {
                Some(DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))))
            }
            _ => None,
        };
        let types = arg_types.iter().map(|data_type| match coerced(data_type) {
            Some(coerced) => Ok(coerced),
            None => plan_err!("No function matches {}({data_type})", self.name),
        });
        types.collect()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let all_scalar = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if all_scalar { 1 } else { args.number_rows };
        let columns = args.args.iter().map(|value| value.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let columns = columns.iter().map(Column::of).collect::<Result<Vec<_>>>()?;
        let mut inputs = Vec::with_capacity(columns.len());
        let mut outputs = Outputs::new(self.returns, rows);
        for row in 0..rows {
            inputs.clear();
            inputs.extend(columns.iter().map(|column| column.at(row)));
            if self.strict && inputs.contains(&Input::Null) {
                outputs.append(Output::Null);
            } else {
                outputs.append((self.call)(&inputs)?);
            }
        }
        let result = outputs.finish();
        match result.as_list_opt::<i32>() {
            _ if !all_scalar => Ok(ColumnarValue::Array(result)),
            // As it is: what marks its items as JSON is kept.
            Some(list) => Ok(ColumnarValue::Scalar(ScalarValue::List(Arc::new(list.clone())))),
            None => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
        }
    }
}

enum Column {
    Texts(StringViewArray),
    Other(ArrayRef),
}

impl Column {
    fn of(array: &ArrayRef) -> Result<Self> {
        Ok(match array.data_type() {
            text if is_text(text) || text.is_null() => {
                Self::Texts(cast(array, &DataType::Utf8View)?.as_string_view().clone())
            }
            _ => Self::Other(array.clone()),
        })
    }

    fn at(&self, row: usize) -> Input<'_> {
        match self {
            Self::Texts(texts) if texts.is_valid(row) => Input::Text(texts.value(row)),
            Self::Texts(_) => Input::Null,
            Self::Other(array) if array.is_null(row) => Input::Null,
            Self::Other(array) => match array.data_type() {
                DataType::Int64 => Input::Integer(array.as_primitive::<Int64Type>().value(row)),
                DataType::Boolean => Input::Boolean(array.as_boolean().value(row)),
                DataType::List(_) => {
                    let items = array.as_list::<i32>().value(row);
                    match items.as_string_opt::<i32>() {
                        Some(items) => Input::Texts(items.iter().map(|item| item.map(str::to_owned)).collect()),
                        None => Input::Texts(vec![None; items.len()]),
                    }
                }
                _ => Input::Null,
            },
        }
    }
}

enum Outputs {
    Text(StringBuilder),
    Texts(ListBuilder<StringBuilder>),
    Lists(ListBuilder<ListBuilder<StringBuilder>>),
    Integer(Int32Builder),
    Boolean(BooleanBuilder),
}

impl Outputs {
    fn new(kind: Kind, rows: usize) -> Self {
        match kind {
            Kind::Text | Kind::Json => Self::Text(StringBuilder::with_capacity(rows, rows * 16)),
            Kind::Texts | Kind::Jsons => Self::Texts(ListBuilder::new(StringBuilder::new()).with_field(kind.item())),
            Kind::Lists => {
                let inner = ListBuilder::new(StringBuilder::new()).with_field(Kind::Texts.item());
                Self::Lists(ListBuilder::new(inner))
            }
            Kind::Integer => Self::Integer(Int32Builder::with_capacity(rows)),
            Kind::Boolean => Self::Boolean(BooleanBuilder::with_capacity(rows)),
        }
    }

    /// A result of another kind than the function's is NULL: there is none.
    fn append(&mut self, output: Output) {
        match (self, output) {
            (Self::Text(builder), Output::Text(text)) => builder.append_value(text),
            (Self::Text(builder), _) => builder.append_null(),
            (Self::Texts(builder), Output::Texts(items)) => builder.append_value(items),
            (Self::Texts(builder), _) => builder.append_null(),
            (Self::Lists(builder), Output::Lists(lists)) => {
                for list in lists {
                    builder.values().append_value(list);
                }
                builder.append(true);
            }
            (Self::Lists(builder), _) => builder.append_null(),
            (Self::Integer(builder), Output::Integer(number)) => builder.append_option(i32::try_from(number).ok()),
            (Self::Integer(builder), _) => builder.append_null(),
            (Self::Boolean(builder), Output::Boolean(truth)) => builder.append_value(truth),
            (Self::Boolean(builder), _) => builder.append_null(),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Text(mut builder) => Arc::new(builder.finish()),
            Self::Texts(mut builder) => Arc::new(builder.finish()),
            Self::Lists(mut builder) => Arc::new(builder.finish()),
            Self::Integer(mut builder) => Arc::new(builder.finish()),
            Self::Boolean(mut builder) => Arc::new(builder.finish()),
        }
    }
}
