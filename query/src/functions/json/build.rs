//! JSON from values of any type: `to_jsonb`, `jsonb_build_object`, `jsonb_build_array`, and text as PostgreSQL casts it.

use super::document::{Json, write_string};
use crate::error::QueryError;
use crate::functions::{UUID, is_json, is_text, json_metadata};
use crate::serve::text::{plain, value as postgres_text};
use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// Which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Shape {
    /// `to_jsonb(value)`.
    Value,
    /// `jsonb_build_array(value, ...)`.
    Array,
    /// `jsonb_build_object(key, value, ...)`.
    Object,
    /// The value as its type's output function writes it: what `::text` gives.
    Text,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Build {
    name: &'static str,
    shape: Shape,
    /// In the form of `jsonb`, else in that of `json`.
    normal: bool,
    signature: Signature,
}

/// The functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    use Shape::{Array, Object, Value};
    [
        ("to_jsonb", Value, true),
        ("to_json", Value, false),
        ("jsonb_build_array", Array, true),
        ("json_build_array", Array, false),
        ("jsonb_build_object", Object, true),
        ("json_build_object", Object, false),
        ("postgres_text", Shape::Text, false),
    ]
    .map(|(name, shape, normal)| {
        let arguments = match shape {
            Value | Shape::Text => TypeSignature::Any(1),
            Array | Object => TypeSignature::OneOf(vec![TypeSignature::VariadicAny, TypeSignature::Nullary]),
        };
        ScalarUDF::from(Build { name, shape, normal, signature: Signature::new(arguments, Volatility::Immutable) })
    })
    .into()
}

impl ScalarUDFImpl for Build {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        let field = Field::new(self.name, DataType::Utf8, true);
        Ok(Arc::new(if self.shape == Shape::Text { field } else { field.with_metadata(json_metadata()) }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let all_scalar = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if all_scalar { 1 } else { args.number_rows };
        let columns = args.args.iter().zip(&args.arg_fields).map(|(value, field)| {
            let array = value.to_array(rows)?;
            Ok((plain(&array).map_err(datafusion::error::DataFusionError::from)?, is_json(field)))
        });
        let columns = columns.collect::<Result<Vec<(ArrayRef, bool)>>>()?;
        let mut builder = StringBuilder::with_capacity(rows, rows * 16);
        for row in 0..rows {
            match self.row(&columns, row)? {
                Some(text) => builder.append_value(text),
                None => builder.append_null(),
            }
        }
        let result: ArrayRef = Arc::new(builder.finish());
        match all_scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            false => Ok(ColumnarValue::Array(result)),
        }
    }
}

impl Build {
    fn row(&self, columns: &[(ArrayRef, bool)], row: usize) -> Result<Option<String>> {
        let mut out = String::new();
        match (self.shape, columns) {
            (Shape::Text, [(array, _)]) => {
                if array.is_null(row) {
                    return Ok(None);
                }
                text_of(&mut out, array, row)?;
                return Ok(Some(out));
            }
            (Shape::Value, [(array, json)]) => {
                if array.is_null(row) {
                    return Ok(None);
                }
                append(&mut out, array, row, *json)?;
            }
            (Shape::Array, values) => {
                out.push('[');
                for (position, (array, json)) in values.iter().enumerate() {
                    out.push_str(if position == 0 { "" } else { ", " });
                    append(&mut out, array, row, *json)?;
                }
                out.push(']');
            }
            (Shape::Object, entries) => self.object(&mut out, entries, row)?,
            _ => return Ok(None),
        }
        if !self.normal {
            return Ok(Some(out));
        }
        Ok(Json::parse(&out).map(|value| value.to_jsonb()))
    }

    fn object(&self, out: &mut String, entries: &[(ArrayRef, bool)], row: usize) -> Result<()> {
        let problem = |position: usize, problem: &str| QueryError::InvalidArgument {
            function: self.name,
            position: position + 1,
            problem: problem.to_owned(),
        };
        out.push('{');
        for (position, pair) in entries.chunks(2).enumerate() {
            let [(key, _), (value, json)] = pair else {
                return Err(problem(position * 2, "argument list must have even number of elements").into());
            };
            if key.is_null(row) {
                return Err(problem(position * 2, "key must not be null").into());
            }
            out.push_str(if position == 0 { "" } else { ", " });
            let mut name = String::new();
            text_of(&mut name, key, row)?;
            write_string(out, &name);
            out.push_str(" : ");
            append(out, value, row, *json)?;
        }
        out.push('}');
        Ok(())
    }
}

/// The value as JSON.
fn append(out: &mut String, array: &ArrayRef, row: usize, json: bool) -> Result<()> {
    if array.is_null(row) {
        out.push_str("null");
        return Ok(());
    }
    match array.data_type() {
        text if is_text(text) => {
            let mut text = String::new();
            text_of(&mut text, array, row)?;
            if json { out.push_str(&text) } else { write_string(out, &text) }
        }
        DataType::Boolean => out.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
        DataType::List(item) => {
            let items = array.as_list::<i32>().value(row);
            let items = plain(&items).map_err(datafusion::error::DataFusionError::from)?;
            out.push('[');
            for position in 0..items.len() {
                out.push_str(if position == 0 { "" } else { ", " });
                append(out, &items, position, is_json(item))?;
            }
            out.push(']');
        }
        DataType::Float32 | DataType::Float64 => {
            let start = out.len();
            text_of(out, array, row)?;
            // JSON has no numbers for these.
            if out[start..].ends_with(['N', 'y']) {
                let text = out.split_off(start);
                write_string(out, &text);
            }
        }
        number if number.is_integer() || matches!(number, DataType::Decimal128(..) | DataType::Decimal256(..)) => {
            text_of(out, array, row)?;
        }
        DataType::Timestamp(_, zone) => {
            let mut text = String::new();
            text_of(&mut text, array, row)?;
            let text = text.replacen(' ', "T", 1);
            write_string(out, &if zone.is_some() { format!("{text}:00") } else { text });
        }
        _ => {
            let mut text = String::new();
            text_of(&mut text, array, row)?;
            write_string(out, &text);
        }
    }
    Ok(())
}

/// The value as text.
fn text_of(out: &mut String, array: &ArrayRef, row: usize) -> Result<()> {
    match array.data_type() {
        DataType::Boolean => out.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
        other => {
            if !postgres_text(out, array, row) {
                let known = if *other == UUID { array.clone() } else { cast(array, &DataType::Utf8)? };
                out.push_str(known.as_string::<i32>().value(row));
            }
        }
    }
    Ok(())
}
