//! Casts that PostgreSQL does another way than the engine: to text in PostgreSQL's form, to JSON with a check, to bytes
//! with escapes, and from fractions to whole numbers with rounding.

use super::row_function::{Input, Kind, Output, strict};
use super::{UUID, interval, is_json, is_text, json, operands, time_text};
use crate::error::QueryError;
use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, exec_err};
use datafusion::logical_expr::expr::{Cast, InList, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, not, when,
};
use datafusion::prelude::lit;
use datafusion::scalar::ScalarValue;
use std::sync::{Arc, LazyLock};

/// Name of the type that `::jsonb` asks for; `::json` keeps the text as it is.
pub(crate) const JSONB: &str = "jsonb";

/// What the engine does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Conversion {
    /// Text to bytes: `\x0aff`, or text with `\\` and `\ooo`.
    Bytes,
    /// To the nearest whole number; of two, the even one.
    HalfToEven,
    /// To the nearest whole number; of two, the one farther from zero.
    HalfAway,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Convert {
    conversion: Conversion,
    signature: Signature,
}

static CONVERSIONS: LazyLock<[Arc<ScalarUDF>; 3]> = LazyLock::new(|| {
    [Conversion::Bytes, Conversion::HalfToEven, Conversion::HalfAway].map(|conversion| {
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(ScalarUDF::from(Convert { conversion, signature }))
    })
});

fn convert(conversion: Conversion, value: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(CONVERSIONS[conversion as usize].clone(), vec![value]))
}

impl ScalarUDFImpl for Convert {
    fn name(&self) -> &str {
        match self.conversion {
            Conversion::Bytes => "bytea",
            Conversion::HalfToEven => "nearest_even",
            Conversion::HalfAway => "nearest",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.conversion {
            Conversion::Bytes => DataType::Binary,
            _ => DataType::Int64,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let array = args.args[0].to_array(args.number_rows)?;
        let result = match self.conversion {
            Conversion::Bytes => bytes(&array)?,
            rounding => whole_numbers(&array, rounding == Conversion::HalfToEven)?,
        };
        match &args.args[0] {
            ColumnarValue::Scalar(_) => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            ColumnarValue::Array(_) => Ok(ColumnarValue::Array(result)),
        }
    }
}

fn bytes(array: &ArrayRef) -> Result<ArrayRef> {
    let texts = cast(array, &DataType::Utf8View)?;
    let mut builder = BinaryBuilder::new();
    for text in texts.as_string_view() {
        match text {
            Some(text) => match unescaped(text) {
                Some(bytes) => builder.append_value(bytes),
                None => {
                    let problem = "invalid input syntax for type bytea".to_owned();
                    return Err(QueryError::InvalidText { problem }.into());
                }
            },
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    if let Some(digits) = text.strip_prefix("\\x") {
        let digits: Vec<u8> = digits.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        return if digits.len().is_multiple_of(2) { digits.chunks(2).map(pair).collect() } else { None };
    }
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            out.push(*first);
        } else if let Some(after) = rest.strip_prefix(b"\\") {
            out.push(b'\\');
            rest = after;
        } else {
            let digits = std::str::from_utf8(rest.get(..3)?).ok()?;
            out.push(u8::from_str_radix(digits, 8).ok()?);
            rest = &rest[3..];
        }
    }
    Some(out)
}

fn whole_numbers(array: &ArrayRef, even: bool) -> Result<ArrayRef> {
    if let DataType::Decimal128(_, scale) = array.data_type() {
        let unit = 10_i128.pow(u32::from(scale.unsigned_abs()));
        let nearest = |value: i128| {
            let (whole, rest) = (value / unit, value % unit);
            let whole = if rest.abs() * 2 >= unit { whole + value.signum() } else { whole };
            i64::try_from(whole).map_err(|_| out_of_range())
        };
        return Ok(Arc::new(array.as_primitive::<Decimal128Type>().try_unary::<_, Int64Type, _>(nearest)?));
    }
    let numbers = cast(array, &DataType::Float64)?;
    let nearest = |value: f64| {
        let whole = if even { value.round_ties_even() } else { value.round() };
        // 2^63 is the first that does not fit; NaN compares with nothing.
        if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&whole) {
            Ok(whole as i64)
        } else {
            Err(out_of_range())
        }
    };
    Ok(Arc::new(numbers.as_primitive::<Float64Type>().try_unary::<_, Int64Type, _>(nearest)?))
}

fn out_of_range() -> arrow::error::ArrowError {
    arrow::error::ArrowError::ComputeError("integer out of range".to_owned())
}

/// `similar_to_escape` and other functions of this module by name.
pub(crate) fn functions() -> Vec<ScalarUDF> {
    vec![strict("to_hex", (1, 1), Kind::Text, |inputs| {
        Ok(match inputs {
            [Input::Integer(number)] => Output::Text(format!("{number:x}")),
            _ => return exec_err!("to_hex takes a whole number"),
        })
    })]
}

/// Puts these conversions in the place of casts.
#[derive(Debug)]
pub(crate) struct PostgresCasts;

impl FunctionRewrite for PostgresCasts {
    fn name(&self) -> &str {
        "postgres_casts"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let cast = match expr {
            Expr::Cast(cast) => cast,
            Expr::Between(range) => {
                let range = interval::between(time_text::between(range, schema)?, schema)?;
                return Ok(Transformed::yes(Expr::Between(range)));
            }
            Expr::InList(InList { expr, list, negated }) => {
                let of_expr = expr.get_type(schema)?;
                for item in &list {
                    let of_item = item.get_type(schema)?;
                    if operands::no_operator(&expr, &of_expr, &of_item) {
                        return Err(operands::no_such_operator(&of_expr, "=", &of_item).into());
                    }
                }
                let list =
                    list.into_iter().map(|item| time_text::beside(item, &expr, schema)).collect::<Result<_>>()?;
                return Ok(Transformed::yes(Expr::InList(InList { expr, list, negated })));
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, right }) => {
                let binary = |side: &Expr| matches!(side.get_type(schema), Ok(DataType::Binary));
                if binary(&left) || binary(&right) {
                    let what = "|| of bytea (use encode(bytes, 'hex') || ...)".to_owned();
                    return Err(QueryError::NotSupported { what }.into());
                }
                let (left, right) = (as_text(*left, schema)?, as_text(*right, schema)?);
                return Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(
                    Box::new(left),
                    Operator::StringConcat,
                    Box::new(right),
                ))));
            }
            Expr::ScalarFunction(call) if matches!(call.func.name(), "concat" | "concat_ws") => {
                let args = call.args.into_iter().map(|arg| match arg.get_type(schema) {
                    // As a column of a text it is `true`, among others `t`.
                    Ok(DataType::List(_)) => json::call("postgres_text", vec![arg]),
                    Ok(DataType::Boolean) => when(arg.clone(), lit("t")).when(not(arg), lit("f")).end(),
                    _ => as_text(arg, schema),
                });
                let args = args.collect::<Result<_>>()?;
                return Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(call.func, args))));
            }
            other => return Ok(Transformed::no(other)),
        };
        let Ok((_, from)) = cast.expr.to_field(schema) else { return Ok(Transformed::no(Expr::Cast(cast))) };
        let (source, target) = (from.data_type(), cast.field.data_type());
        if is_json(&cast.field) && (is_text(source) || source.is_null()) {
            let normal = cast.field.name() == JSONB;
            return Ok(match (normal, is_json(&from)) {
                (false, true) => Transformed::yes(*cast.expr),
                (true, _) => Transformed::yes(json::call("to_jsonb_of_text", vec![*cast.expr])?),
                (false, false) => Transformed::yes(json::call("to_json_of_text", vec![*cast.expr])?),
            });
        }
        if is_text(target) && differs_as_text(source) {
            return Ok(Transformed::yes(json::call("postgres_text", vec![*cast.expr])?));
        }
        if is_text(source)
            && !is_json(&from)
            && let Some(time) = time_text::of_text(&cast.expr, target)
        {
            return Ok(Transformed::yes(time?));
        }
        if is_text(source) && matches!(target, DataType::List(_)) {
            let problem = "cannot cast a text to an array: use string_to_array(text, ',')".to_owned();
            return Err(QueryError::CannotCast { problem }.into());
        }
        if source.is_integer() && matches!(target, DataType::Timestamp(..) | DataType::Date32) {
            let problem = "cannot cast a number to a time: use to_timestamp(seconds)".to_owned();
            return Err(QueryError::CannotCast { problem }.into());
        }
        if *target == DataType::Binary && is_text(source) {
            return Ok(Transformed::yes(convert(Conversion::Bytes, *cast.expr)));
        }
        let fraction = source.is_floating() || matches!(source, DataType::Decimal128(..));
        if fraction && target.is_signed_integer() {
            // A literal with a point is a numeric in PostgreSQL, and those round away from zero.
            let away = matches!(*cast.expr, Expr::Literal(..)) || !source.is_floating();
            let rounding = if away { Conversion::HalfAway } else { Conversion::HalfToEven };
            let whole = convert(rounding, *cast.expr);
            let whole = match target {
                DataType::Int64 => whole,
                _ => Expr::Cast(Cast { expr: Box::new(whole), field: cast.field }),
            };
            return Ok(Transformed::yes(whole));
        }
        Ok(Transformed::no(Expr::Cast(cast)))
    }
}

/// What stands between texts, in PostgreSQL's form. Arrays stay: `||` puts them together.
fn as_text(value: Expr, schema: &DFSchema) -> Result<Expr> {
    match value.get_type(schema) {
        Ok(DataType::List(_)) => Ok(value),
        Ok(other) if differs_as_text(&other) => json::call("postgres_text", vec![value]),
        _ => Ok(value),
    }
}

/// True for types whose text the engine writes another way.
fn differs_as_text(data_type: &DataType) -> bool {
    data_type.is_floating()
        || matches!(
            data_type,
            DataType::Timestamp(..)
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Interval(_)
                | DataType::Duration(_)
                | DataType::Binary
                | DataType::BinaryView
                | DataType::LargeBinary
                | DataType::List(_)
        ) && *data_type != UUID
}
