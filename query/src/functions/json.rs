//! JSON operators over JSON text, with PostgreSQL's meaning: `->` gives JSON, `->>` gives text, `#>` and `#>>` take paths.

use super::json_metadata;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::sqlparser::ast::BinaryOperator;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use datafusion_functions_json::udfs::{json_as_text_udf, json_contains_udf, json_get_json_udf};
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
        "json_extract_path"
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

/// Functions that can also be called by name.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![PART.clone(), json_as_text_udf(), json_contains_udf()]
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
    fn plan_binary_op(&self, expr: RawBinaryExpr, _: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let function = match expr.op {
            BinaryOperator::Arrow | BinaryOperator::HashArrow => PART.clone(),
            BinaryOperator::LongArrow | BinaryOperator::HashLongArrow => json_as_text_udf(),
            BinaryOperator::Question => json_contains_udf(),
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let title = format!("{} {} {}", shown(&expr.left), expr.op, shown(&expr.right));
        let is_path = matches!(expr.op, BinaryOperator::HashArrow | BinaryOperator::HashLongArrow);
        let mut arguments = vec![expr.left];
        match path_of(&expr.right).filter(|_| is_path) {
            Some(steps) => arguments.extend(steps),
            None => arguments.push(expr.right),
        }
        Ok(PlannerResult::Planned(Expr::ScalarFunction(ScalarFunction::new_udf(function, arguments)).alias(title)))
    }
}

/// Steps of a path as PostgreSQL writes it, `'{a,0,b}'`: numbers are positions in arrays.
fn path_of(expr: &Expr) -> Option<Vec<Expr>> {
    let Expr::Literal(value, _) = expr else { return None };
    let inside = value.try_as_str()??.trim().strip_prefix('{')?.strip_suffix('}')?;
    let steps = inside.split(',').map(str::trim).filter(|step| !step.is_empty());
    Some(
        steps
            .map(|step| step.parse::<i64>().map_or_else(|_| datafusion::prelude::lit(step), datafusion::prelude::lit))
            .collect(),
    )
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
