//! The node of the plan that fills gaps, and the functions that say how.

use super::execution::GapFillExec;
use crate::error::QueryError;
use crate::functions::bucket::Buckets;
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, DFSchemaRef, Result, plan_err};
use datafusion::error::DataFusionError;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    UserDefinedLogicalNode, UserDefinedLogicalNodeCore, Volatility,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use datafusion::prelude::{cast, lit};
use datafusion::scalar::ScalarValue;
use std::fmt;
use std::sync::Arc;

/// What stands in a column of a row that fills a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd)]
pub(super) enum Fill {
    /// The bucket.
    Time,
    /// What the other rows of the group have.
    Group,
    /// NULL.
    Null,
    /// The value of the row before. With `true`, NULLs are gaps too.
    Locf(bool),
    /// A value on the line between the row before and the row after.
    Interpolate,
}

/// An end of the time that is filled.
pub(super) struct Bound {
    at: Expr,
    after: bool,
}

impl Bound {
    /// At the moment of `at`.
    pub(super) fn at(at: Expr) -> Self {
        Self { at, after: false }
    }

    /// Right after it.
    pub(super) fn after(at: Expr) -> Self {
        Self { at, after: true }
    }

    /// Nanoseconds.
    pub(super) fn expression(self) -> Expr {
        let moment = cast(self.at, DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))));
        let micros = cast(moment, DataType::Int64);
        if self.after { micros + lit(1_i64) } else { micros }
    }
}

/// Rows of an aggregation, and rows for the buckets between that have none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct GapFill {
    input: LogicalPlan,
    /// One for each column of the input.
    fills: Vec<Fill>,
    /// Width, then the zone if there is one, then starts, then finishes.
    exprs: Vec<Expr>,
    has_zone: bool,
    starts: usize,
    /// The input's, where everything may be NULL.
    schema: DFSchemaRef,
}

impl PartialOrd for GapFill {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.fills.partial_cmp(&other.fills)
    }
}

impl GapFill {
    pub(super) fn new(
        input: LogicalPlan,
        fills: Vec<Fill>,
        width: Expr,
        zone: Option<Expr>,
        from: Vec<Expr>,
        to: Vec<Expr>,
    ) -> Result<Self> {
        let (has_zone, starts) = (zone.is_some(), from.len());
        let exprs = std::iter::once(width).chain(zone).chain(from).chain(to).collect();
        let schema = nullable(input.schema())?;
        Ok(Self { input, fills, exprs, has_zone, starts, schema })
    }

    /// Values of the expressions, once they are known.
    fn range(&self) -> Result<(Buckets, i64, i64)> {
        // The optimizer keeps the name of what it has computed as an alias.
        let mut values = self.exprs.iter().map(|expr| match expr.clone().unalias_nested().data {
            Expr::Literal(value, _) => Ok(value),
            other => {
                let what = format!("time_bucket_gapfill with '{other}' (use constants)");
                Err(DataFusionError::from(QueryError::NotSupported { what }))
            }
        });
        let Some(width) = values.next() else { return plan_err!("no width") };
        let zone = if self.has_zone { values.next().transpose()? } else { None };
        let buckets = Buckets::of(&width?, zone.as_slice())?;
        let moments = values.map(|value| match value? {
            ScalarValue::Int64(Some(micros)) => Ok(micros),
            _ => plan_err!("start and finish of time_bucket_gapfill must not be NULL"),
        });
        let moments = moments.collect::<Result<Vec<_>>>()?;
        let (starts, finishes) = moments.split_at(self.starts.min(moments.len()));
        let start = starts.iter().max().copied().unwrap_or_default();
        Ok((buckets, start, finishes.iter().min().copied().unwrap_or(start)))
    }
}

fn nullable(schema: &DFSchema) -> Result<DFSchemaRef> {
    let fields = schema.iter().map(|(table, field)| {
        let field = field.as_ref().clone().with_nullable(true);
        (table.cloned(), Arc::new(field))
    });
    Ok(Arc::new(DFSchema::new_with_metadata(fields.collect(), schema.metadata().clone())?))
}

impl UserDefinedLogicalNodeCore for GapFill {
    fn name(&self) -> &str {
        "GapFill"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.exprs.clone()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "GapFill: {:?}", self.fills)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.pop() {
            Some(input) => Ok(Self { schema: nullable(input.schema())?, input, exprs, ..self.clone() }),
            None => plan_err!("GapFill without input"),
        }
    }
}

/// Plans [`GapFill`] beside everything else.
#[derive(Debug)]
pub(crate) struct GapFillPlanner;

#[async_trait]
impl QueryPlanner for GapFillPlanner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(Self)]);
        planner.create_physical_plan(plan, session).await
    }
}

#[async_trait]
impl ExtensionPlanner for GapFillPlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let (Some(node), [input]) = (node.as_any().downcast_ref::<GapFill>(), inputs) else { return Ok(None) };
        let (buckets, start, finish) = node.range()?;
        let schema = node.schema.as_arrow().clone();
        Ok(Some(Arc::new(GapFillExec::new(input.clone(), schema, node.fills.clone(), buckets, start, finish))))
    }
}

/// `locf(value)` and `interpolate(value)`: the planner takes them out; where it does not, they do not belong.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Filling {
    name: &'static str,
    signature: Signature,
}

/// The functions.
pub(crate) fn functions() -> Vec<ScalarUDF> {
    ["locf", "interpolate"]
        .map(|name| {
            // Volatile: never computed ahead of the plan.
            ScalarUDF::from(Filling { name, signature: Signature::user_defined(Volatility::Volatile) })
        })
        .into()
}

/// The argument of `locf` or `interpolate`, and what it asks for.
pub(super) fn fill_of(expr: &Expr) -> Result<Option<(Expr, Fill)>> {
    let Expr::ScalarFunction(call) = expr else { return Ok(None) };
    if call.func.inner().downcast_ref::<Filling>().is_none() {
        return Ok(None);
    }
    let is_null = |expr: &Expr| matches!(expr, Expr::Literal(value, _) if value.is_null());
    let truth = |expr: &Expr| match expr {
        Expr::Literal(ScalarValue::Boolean(Some(truth)), _) => Some(*truth),
        _ => None,
    };
    let fill = match (call.func.name(), call.args.as_slice()) {
        ("locf", [value]) => (value, Fill::Locf(false)),
        ("locf", [value, prev]) if is_null(prev) => (value, Fill::Locf(false)),
        ("locf", [value, prev, missing]) if is_null(prev) && truth(missing).is_some() => {
            (value, Fill::Locf(truth(missing).unwrap_or_default()))
        }
        ("interpolate", [value]) => (value, Fill::Interpolate),
        (name, _) => {
            let what = format!("{name} with queries for values outside of the time range (widen the range in WHERE)");
            return Err(QueryError::NotSupported { what }.into());
        }
    };
    Ok(Some((fill.0.clone(), fill.1)))
}

impl ScalarUDFImpl for Filling {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [_, ..] if arg_types.len() <= 3 => Ok(arg_types.to_vec()),
            _ => plan_err!("No function matches {} with {} arguments", self.name, arg_types.len()),
        }
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types.first().cloned().unwrap_or(DataType::Null))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let value = &args.arg_fields[0];
        Ok(Arc::new(Field::new(self.name, value.data_type().clone(), true).with_metadata(value.metadata().clone())))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let what = format!("{} without time_bucket_gapfill in GROUP BY", self.name);
        Err(QueryError::NotSupported { what }.into())
    }
}
