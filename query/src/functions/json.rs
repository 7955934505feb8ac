//! JSON operators over JSON text, with PostgreSQL's meaning: `->` gives JSON, `->>` gives text, `#>` and `#>>` take paths,
//! and the operators of `jsonb`. Functions by name are in `scalar` and `build`, documents in `document`.

mod build;
pub(crate) mod document;
mod scalar;

use super::{is_json, is_text, json_metadata};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::sqlparser::ast::BinaryOperator;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use datafusion_functions_json::udfs::{json_as_text_udf, json_get_json_udf};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// `->`: a part of a JSON document, itself JSON.
#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonPart {
    inner: Arc<ScalarUDF>,
}

static PART: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Arc::new(ScalarUDF::from(JsonPart { inner: json_get_json_udf() })));

impl ScalarUDFImpl for JsonPart {
    fn name(&self) -> &str {
        "json_part"
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let field = self.inner.return_field_from_args(args)?;
        Ok(Arc::new(Field::new(self.name(), field.data_type().clone(), true).with_metadata(json_metadata())))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.inner.invoke_with_args(args)
    }
}

/// The functions by name, and those behind operators and set-returning functions.
static BY_NAME: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let all = scalar::functions().into_iter().chain(build::functions());
    all.map(|function| (function.name().to_owned(), Arc::new(function))).collect()
});

/// Functions that can also be called by name.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    BY_NAME.values().cloned().collect()
}

/// A call of one of them.
pub(crate) fn call(name: &str, arguments: Vec<Expr>) -> Result<Expr> {
    match BY_NAME.get(name) {
        Some(function) => Ok(Expr::ScalarFunction(ScalarFunction::new_udf(function.clone(), arguments))),
        None => plan_err!("Invalid function '{name}'"),
    }
}

/// True for `->>` on `expr`: document and path.
pub(crate) fn as_text_of(call: &ScalarFunction) -> Option<(&Expr, &[Expr])> {
    let is_text = call.func.name() == json_as_text_udf().name();
    match call.args.split_first() {
        Some((document, path)) if is_text => Some((document, path)),
        _ => None,
    }
}

/// Plans the JSON operators.
#[derive(Debug)]
pub(crate) struct JsonOperators;

impl ExprPlanner for JsonOperators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator::{
            Arrow, ArrowAt, AtArrow, AtAt, AtQuestion, HashArrow, HashLongArrow, HashMinus, LongArrow, Minus, Question,
            QuestionAnd, QuestionPipe, StringConcat,
        };
        let title = || format!("{} {} {}", shown(&expr.left), expr.op, shown(&expr.right));
        // Columns of an outer query have no type here.
        let is_document = |side: &Expr| side.to_field(schema).map_or(true, |(_, field)| may_be_document(&field));
        let holds_json = |side: &Expr| side.to_field(schema).is_ok_and(|(_, field)| is_json(&field));
        let function = match expr.op {
            Arrow => return planned(PART.clone(), title(), vec![document(&expr.left), expr.right]),
            LongArrow => return planned(json_as_text_udf(), title(), vec![document(&expr.left), expr.right]),
            HashArrow | HashLongArrow => {
                let text = expr.op == HashLongArrow;
                let left = document(&expr.left);
                // A step of digits is a position in an array and a key in an object: only the document says which.
                if let Some(steps) = path_of(&expr.right) {
                    let function = if text { json_as_text_udf() } else { PART.clone() };
                    return planned(function, title(), std::iter::once(left).chain(steps).collect());
                }
                let name = if text { "jsonb_extract_path_text" } else { "jsonb_extract_path" };
                let call = call(name, vec![left, expr.right.clone()])?;
                return Ok(PlannerResult::Planned(call.alias(title())));
            }
            AtArrow if is_document(&expr.left) => "jsonb_contains",
            ArrowAt if is_document(&expr.left) => "jsonb_contained",
            Question => "jsonb_exists",
            QuestionPipe => "jsonb_exists_any",
            QuestionAnd => "jsonb_exists_all",
            HashMinus => "jsonb_delete_path",
            Minus if holds_json(&expr.left) => "jsonb_delete",
            StringConcat if holds_json(&expr.left) && (holds_json(&expr.right) || is_literal(&expr.right)) => {
                "jsonb_concat"
            }
            StringConcat if holds_json(&expr.right) && is_literal(&expr.left) => "jsonb_concat",
            AtAt => {
                let call = super::text_search::matching(&expr.left, &expr.right)?;
                return Ok(PlannerResult::Planned(call.alias(title())));
            }
            AtQuestion => {
                let what = format!("{} (use ->, ->>, @> or LIKE instead)", expr.op);
                return Err(crate::QueryError::NotSupported { what: format!("the operator {what}") }.into());
            }
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let title = title();
        let call = call(function, vec![document(&expr.left), document(&expr.right)])?;
        Ok(PlannerResult::Planned(call.alias(title)))
    }
}

fn planned(function: Arc<ScalarUDF>, title: String, values: Vec<Expr>) -> Result<PlannerResult<RawBinaryExpr>> {
    Ok(PlannerResult::Planned(Expr::ScalarFunction(ScalarFunction::new_udf(function, values)).alias(title)))
}

fn may_be_document(field: &Field) -> bool {
    is_text(field.data_type()) || field.data_type().is_null()
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(..))
}

/// `payload::jsonb` as `payload`, which operators read as well; literals keep the cast that checks them.
fn document(expr: &Expr) -> Expr {
    match expr {
        Expr::Cast(cast) if is_json(&cast.field) && !is_literal(&cast.expr) => document(&cast.expr),
        other => other.clone(),
    }
}

/// Steps of a path as PostgreSQL writes it, `'{a,b}'`, if none of them is a number.
fn path_of(expr: &Expr) -> Option<Vec<Expr>> {
    let Expr::Literal(value, _) = expr else { return None };
    let steps = crate::dialect::split_array(value.try_as_str()??)?;
    let step = |step: Option<String>| step.filter(|step| step.parse::<i64>().is_err()).map(datafusion::prelude::lit);
    steps.into_iter().map(step).collect::<Option<Vec<_>>>().filter(|steps| !steps.is_empty())
}

fn shown(expr: &Expr) -> String {
    match expr {
        Expr::Column(column) => column.name.clone(),
        Expr::Alias(alias) => alias.name.clone(),
        Expr::Literal(value, _) => match value.try_as_str() {
            Some(Some(text)) => format!("'{text}'"),
            _ => value.to_string(),
        },
        Expr::Cast(cast) => shown(&cast.expr),
        other => other.to_string(),
    }
}
