//! What stands on the two sides of an operator, as PostgreSQL types it: a literal text beside a number or a truth value is
//! one; any other text is not, and must be cast.

use super::is_text;
use crate::error::QueryError;
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::functions_nested::expr_fn::array_has_any;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::sqlparser::ast::BinaryOperator;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::prelude::{lit, starts_with};

/// When a query is planned: types of operands, and operators that are functions of the engine.
#[derive(Debug)]
pub(crate) struct Operands;

impl ExprPlanner for Operands {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator::{
            Divide, Eq, Gt, GtEq, Lt, LtEq, Minus, Modulo, Multiply, NotEq, PGOverlap, PGStartsWith, Plus,
        };
        match expr.op {
            PGStartsWith => return Ok(PlannerResult::Planned(starts_with(expr.left, expr.right))),
            PGOverlap => return Ok(PlannerResult::Planned(array_has_any(expr.left, expr.right))),
            Eq | NotEq | Lt | LtEq | Gt | GtEq | Plus | Minus | Multiply | Divide | Modulo => {}
            _ => return Ok(PlannerResult::Original(expr)),
        }
        // Columns of an outer query have no type here.
        let (Ok(left), Ok(right)) = (expr.left.get_type(schema), expr.right.get_type(schema)) else {
            return Ok(PlannerResult::Original(expr));
        };
        let RawBinaryExpr { op, left: left_side, right: right_side } = expr;
        let compares = matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq);
        if compares && (no_operator(&left_side, &left, &right) || no_operator(&right_side, &right, &left)) {
            return Err(no_such_operator(&left, &op.to_string(), &right).into());
        }
        let left_side = typed_by(left_side, &left, &right)?;
        let right_side = typed_by(right_side, &right, &left)?;
        Ok(PlannerResult::Original(RawBinaryExpr { op, left: left_side, right: right_side }))
    }
}

/// That an operator is not defined for these types.
pub(crate) fn no_such_operator(left: &DataType, op: &str, right: &DataType) -> QueryError {
    let (left, right) = (super::type_name::of(left), super::type_name::of(right));
    let problem = format!("operator does not exist: {left} {op} {right} (add a cast such as ::text or ::numeric)");
    QueryError::UndefinedFunction { problem }
}

fn holds_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_text(values),
        other => is_text(other),
    }
}

/// True for a time, or for a text that is no literal, that is compared with a number.
pub(crate) fn no_operator(side: &Expr, data_type: &DataType, other: &DataType) -> bool {
    let literal = matches!(side, Expr::Literal(..) | Expr::Placeholder(_));
    let of_number = !literal && holds_text(data_type);
    (of_number || data_type.is_temporal() && !matches!(data_type, DataType::Interval(_))) && other.is_numeric()
}

/// A literal text beside a number or a truth value, as one.
fn typed_by(side: Expr, data_type: &DataType, other: &DataType) -> Result<Expr> {
    let text = match &side {
        Expr::Literal(value, _) if is_text(data_type) => value.try_as_str().flatten(),
        _ => None,
    };
    let Some(text) = text.map(str::trim) else { return Ok(side) };
    let invalid =
        |kind: &str| QueryError::InvalidText { problem: format!("invalid input syntax for type {kind}: \"{text}\"") };
    Ok(match other {
        integer if integer.is_integer() => lit(text.parse::<i64>().map_err(|_| invalid("bigint"))?),
        number if number.is_numeric() => lit(text.parse::<f64>().map_err(|_| invalid("double precision"))?),
        DataType::Boolean => lit(truth(text).ok_or_else(|| invalid("boolean"))?),
        _ => side,
    })
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "t" | "true" | "y" | "yes" | "on" | "1" => Some(true),
        "f" | "false" | "n" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}
