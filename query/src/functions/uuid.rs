//! UUIDs in SQL: `'...'::uuid`, `id::text`, and comparisons of a uuid column with text, as PostgreSQL's unknown-typed
//! literals allow.

use super::{UUID, is_text, time_text};
use crate::error::QueryError;
use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryBuilder, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, TypePlanner};
use datafusion::logical_expr::sqlparser::ast::{BinaryOperator, DataType as SqlType, ExactNumberInfo, TimezoneInfo};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use std::fmt::Write;
use std::sync::{Arc, LazyLock};
use whence_schema::EventId;

#[derive(Debug, PartialEq, Eq, Hash)]
enum Direction {
    FromText,
    ToText,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct UuidConversion {
    direction: Direction,
    signature: Signature,
}

static FROM_TEXT: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| conversion(Direction::FromText));
static TO_TEXT: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| conversion(Direction::ToText));

fn conversion(direction: Direction) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(UuidConversion { direction, signature: Signature::any(1, Volatility::Immutable) }))
}

/// The text of a UUID as an id.
pub(crate) fn parse_uuid(text: &str) -> Result<EventId> {
    let bare = text.trim().trim_start_matches('{').trim_end_matches('}');
    bare.parse().map_err(|_| {
        QueryError::InvalidText { problem: format!("invalid input syntax for type uuid: \"{text}\"") }.into()
    })
}

/// A UUID as a literal.
pub(crate) fn uuid_literal(id: EventId) -> ScalarValue {
    ScalarValue::FixedSizeBinary(16, Some(id.to_bytes().to_vec()))
}

impl ScalarUDFImpl for UuidConversion {
    fn name(&self) -> &str {
        match self.direction {
            Direction::FromText => "uuid",
            Direction::ToText => "uuid_text",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.direction {
            Direction::FromText => UUID,
            Direction::ToText => DataType::Utf8,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let array = args.args[0].to_array(args.number_rows)?;
        let result: ArrayRef = match self.direction {
            Direction::FromText => {
                let texts = cast(&array, &DataType::Utf8View)?;
                let texts = texts.as_string_view();
                let mut builder = FixedSizeBinaryBuilder::with_capacity(texts.len(), 16);
                for text in texts {
                    match text {
                        Some(text) => builder.append_value(parse_uuid(text)?.to_bytes())?,
                        None => builder.append_null(),
                    }
                }
                Arc::new(builder.finish())
            }
            Direction::ToText => {
                let ids = array.as_fixed_size_binary();
                let mut builder = StringBuilder::with_capacity(ids.len(), ids.len() * 36);
                for id in ids {
                    match id.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()) {
                        Some(bytes) => {
                            let _ = write!(builder, "{}", EventId(u128::from_be_bytes(bytes)));
                            builder.append_value("");
                        }
                        None => builder.append_null(),
                    }
                }
                Arc::new(builder.finish())
            }
        };
        if matches!(args.args[0], ColumnarValue::Scalar(_)) {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// `text` as a UUID: at once if it is a literal.
fn from_text(text: Expr) -> Result<Expr> {
    Ok(match &text {
        Expr::Literal(ScalarValue::Null, _) => Expr::Literal(ScalarValue::FixedSizeBinary(16, None), None),
        Expr::Literal(value, _) => match value.try_as_str() {
            Some(Some(text)) => Expr::Literal(uuid_literal(parse_uuid(text)?), None),
            Some(None) => Expr::Literal(ScalarValue::FixedSizeBinary(16, None), None),
            None => Expr::ScalarFunction(ScalarFunction::new_udf(FROM_TEXT.clone(), vec![text])),
        },
        _ => Expr::ScalarFunction(ScalarFunction::new_udf(FROM_TEXT.clone(), vec![text])),
    })
}

/// When a query is planned: `uuid = text` compares UUIDs.
#[derive(Debug)]
pub(crate) struct UuidComparison;

impl ExprPlanner for UuidComparison {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
        if !matches!(expr.op, Eq | NotEq | Lt | LtEq | Gt | GtEq) {
            return Ok(PlannerResult::Original(expr));
        }
        // Columns of an outer query have no type here; their comparisons are left alone.
        let (Ok(left), Ok(right)) = (expr.left.get_type(schema), expr.right.get_type(schema)) else {
            return Ok(PlannerResult::Original(expr));
        };
        let is_parameter = |side: &Expr| matches!(side, Expr::Placeholder(_));
        let RawBinaryExpr { op, left: left_side, right: right_side } = expr;
        let (left_side, right_side) = match (&left, &right) {
            (&UUID, text) if is_text(text) && !is_parameter(&right_side) => (left_side, from_text(right_side)?),
            (text, &UUID) if is_text(text) && !is_parameter(&left_side) => (from_text(left_side)?, right_side),
            _ => (left_side, right_side),
        };
        Ok(PlannerResult::Original(RawBinaryExpr { op, left: left_side, right: right_side }))
    }
}

/// Before types are coerced: casts between uuid and text, and `id IN ('...', ...)`.
#[derive(Debug)]
pub(crate) struct UuidRewrite;

impl FunctionRewrite for UuidRewrite {
    fn name(&self) -> &str {
        "uuid"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        match expr {
            Expr::Cast(cast) => {
                let (from, to) = (cast.expr.get_type(schema), cast.field.data_type());
                match from {
                    Ok(from) if *to == UUID && (is_text(&from) || from == DataType::Null) => {
                        Ok(Transformed::yes(from_text(*cast.expr)?))
                    }
                    Ok(from) if from == UUID && is_text(to) => {
                        let text = ScalarFunction::new_udf(TO_TEXT.clone(), vec![*cast.expr]);
                        Ok(Transformed::yes(Expr::ScalarFunction(text)))
                    }
                    _ => Ok(Transformed::no(Expr::Cast(cast))),
                }
            }
            Expr::InList(InList { expr, list, negated }) if expr.get_type(schema).is_ok_and(|t| t == UUID) => {
                let mut changed = false;
                let list = list
                    .into_iter()
                    .map(|item| match item.get_type(schema) {
                        Ok(item_type) if is_text(&item_type) => {
                            changed = true;
                            from_text(item)
                        }
                        _ => Ok(item),
                    })
                    .collect::<Result<Vec<_>>>()?;
                let result = Expr::InList(InList { expr, list, negated });
                Ok(if changed { Transformed::yes(result) } else { Transformed::no(result) })
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

/// SQL types that DataFusion does not know or takes for others: `uuid`, `json`, `jsonb`, times, `float`; the rest goes to pg_catalog's planner.
#[derive(Debug)]
pub(crate) struct SqlTypes(pub(crate) Option<Arc<dyn TypePlanner>>);

impl TypePlanner for SqlTypes {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        match sql_type {
            SqlType::Uuid => Ok(Some(Arc::new(Field::new("uuid", UUID, true)))),
            SqlType::JSON | SqlType::JSONB => {
                let name = if *sql_type == SqlType::JSONB { super::casts::JSONB } else { "json" };
                Ok(Some(Arc::new(Field::new(name, DataType::Utf8, true).with_metadata(super::json_metadata()))))
            }
            SqlType::Timestamp(None | Some(6), zone) => {
                let zone = matches!(zone, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone);
                Ok(Some(Arc::new(Field::new("timestamp", time_text::type_of(zone), true))))
            }
            SqlType::Timestamp(Some(digits), _) | SqlType::Time(Some(digits), _) => {
                let what = format!("a time of {digits} digits (cut it with date_trunc('second', ...))");
                Err(QueryError::NotSupported { what }.into())
            }
            SqlType::Time(None, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                Ok(Some(Arc::new(Field::new("time", time_text::TIME_OF_DAY, true))))
            }
            // Without digits, and with more than 24 binary ones, it is a double precision.
            SqlType::Float(ExactNumberInfo::Precision(digits)) if *digits <= 24 => {
                Ok(Some(Arc::new(Field::new("float4", DataType::Float32, true))))
            }
            SqlType::Float(_) => Ok(Some(Arc::new(Field::new("float8", DataType::Float64, true)))),
            other => self.0.as_ref().map_or(Ok(None), |inner| inner.plan_type_field(other)),
        }
    }
}
