//! Continuous aggregates: queries with a name, worked out from partial results of chunks whenever they are read, so that
//! they are current. All of a query's columns are computed whichever are asked for, and only bounds on its time go
//! below its aggregation: so every reader finds the partial results of every other.

use crate::aggregates::check::only_query;
use crate::error::QueryError;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{Result, plan_datafusion_err};
use datafusion::datasource::{TableProvider, TableType};
use datafusion::execution::SessionState;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, LogicalPlan, LogicalPlanBuilder, Operator, TableProviderFilterPushDown,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::prelude::{SessionContext, cast, col};
use parking_lot::RwLock;
use std::sync::{Arc, OnceLock, Weak};

/// The state of the statement that names tables, once there is one. Weak: the state holds the tables.
pub(crate) type StatementState = Arc<OnceLock<Weak<RwLock<SessionState>>>>;

/// A continuous aggregate, for one statement.
#[derive(Debug)]
pub(crate) struct ContinuousAggregate {
    plan: LogicalPlan,
    schema: SchemaRef,
}

impl ContinuousAggregate {
    /// Plans `query`, whose columns are named as in `schema` and become of its types.
    pub(crate) async fn new(name: &str, query: &str, schema: SchemaRef, state: &StatementState) -> Result<Self> {
        let state =
            state.get().and_then(Weak::upgrade).ok_or_else(|| plan_datafusion_err!("no statement is planned"))?;
        let context = SessionContext::new_with_state(state.read().clone());
        let planned = plan_query(&context, query).await;
        let plan = planned.map_err(|error| plan_datafusion_err!("{name}: {error}"))?;
        // Columns by position, with the declared names and types.
        let columns = plan.schema().columns().into_iter().zip(schema.fields());
        let named = columns.map(|(column, field)| cast(col(column), field.data_type().clone()).alias(field.name()));
        let plan = LogicalPlanBuilder::from(plan).project(named.collect::<Vec<_>>())?.build()?;
        let nullable = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        Ok(Self { plan, schema: Arc::new(Schema::new(nullable.collect::<Vec<_>>())) })
    }
}

async fn plan_query(context: &SessionContext, sql: &str) -> Result<LogicalPlan, QueryError> {
    crate::planning::plan(context, only_query(sql)?).await
}

/// Whether a condition bounds a column of times.
fn bounds_time(condition: &Expr, schema: &Schema) -> bool {
    let is_time = |expr: &Expr| match expr {
        Expr::Column(column) => schema.field_with_name(&column.name).is_ok_and(|field| field.data_type().is_temporal()),
        _ => false,
    };
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return false };
    let compares = matches!(op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq | Operator::Eq);
    let literal = |expr: &Expr| matches!(expr, Expr::Literal(..));
    compares && (is_time(left) && literal(right) || is_time(right) && literal(left))
}

#[async_trait]
impl TableProvider for ContinuousAggregate {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let pushed = |filter: &&Expr| match bounds_time(filter, &self.schema) {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(pushed).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut plan = LogicalPlanBuilder::from(self.plan.clone());
        if let Some(condition) = conjunction(filters.iter().cloned()) {
            plan = plan.filter(condition)?;
        }
        let rows = state.create_physical_plan(&plan.build()?).await?;
        let Some(projection) = projection else { return Ok(rows) };
        let columns = projection.iter().map(|index| {
            let name = self.schema.field(*index).name();
            (Arc::new(Column::new(name, *index)) as Arc<dyn PhysicalExpr>, name.clone())
        });
        Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Vec<_>>(), rows)?))
    }
}
