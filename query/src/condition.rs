//! Conditions on the columns users know, as functions of batches of stored columns: what a deletion is told to find.
//!
//! ```text
//! condition -> SELECT (condition) FROM table -> the statement's plan over the view, optimized
//!   -> its one expression, with the view's columns replaced by what they are computed from -> physical expression
//! ```

use crate::error::QueryError;
use crate::planning::plan;
use crate::statement::Command;
use crate::{QueryEngine, Settings};
use arrow::array::AsArray;
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DataFusionError};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use std::sync::Arc;
use whence_schema::{Table, TenantId};
use whence_storage::{RowCondition, Snapshot, TableSnapshot};

/// What stands before a condition in the statement that is made of it.
const BEFORE: &str = "SELECT (";

impl QueryEngine {
    /// `condition` as a function of the stored columns of `table`, which may be named by the columns users know. Those of
    /// `metrics` that are aggregates of several stored rows cannot be used.
    ///
    /// # Errors
    ///
    /// When it is no condition on one row.
    pub async fn row_condition(&self, table: Table, condition: &str) -> Result<RowCondition, QueryError> {
        let sql = format!("{BEFORE}{condition}\n) FROM {}", table.name());
        let mut statements = crate::statement::parse(&sql)?;
        let (Some(statement), true) = (statements.pop(), statements.is_empty()) else { return Err(refused()) };
        let Command::Query(ast) = statement.command else { return Err(refused()) };
        let rows = || Arc::new(TableSnapshot::default());
        let snapshot = Snapshot { version: 0, events: rows(), metrics: rows(), correlations: rows() };
        let settings = Settings::new(self.options().statement_timeout);
        let context = self.statement_context(Arc::new(snapshot), &TenantId::default(), Arc::new(settings))?;
        let state = context.state();
        let plan = state.optimize(&plan(&context, (*ast).clone()).await?)?;
        let expression = expression_of(&plan)?;
        let schema = DFSchema::try_from(table.stored_schema())?;
        if expression.get_type(&schema)? != DataType::Boolean {
            return Err(refused());
        }
        let physical = state.create_physical_expr(expression, &schema)?;
        Ok(Arc::new(move |batch: &RecordBatch| {
            let values = physical.evaluate(batch).and_then(|values| values.into_array(batch.num_rows()));
            let values = values.map_err(|error| error.to_string())?;
            values.as_boolean_opt().cloned().ok_or_else(|| "it is not true or false".to_owned())
        }))
    }
}

/// Where in `condition` the fault was noticed, in characters from 1, where that is known; one behind its end at most.
pub(crate) fn condition_position(error: &QueryError, condition: &str) -> Option<usize> {
    let at = error.position(&format!("{BEFORE}{condition}"))?;
    at.checked_sub(BEFORE.len()).filter(|at| *at > 0)
}

fn refused() -> QueryError {
    QueryError::NotSupported { what: "as a condition, anything but one on the columns of a single row:".to_owned() }
}

/// The one expression of a plan that computes nothing but it from rows of one table.
fn expression_of(plan: &LogicalPlan) -> Result<Expr, QueryError> {
    let LogicalPlan::Projection(top) = plan else { return Err(refused()) };
    let [expression] = &top.expr[..] else { return Err(refused()) };
    let mut expression = expression.clone().unalias();
    let mut below: &LogicalPlan = &top.input;
    loop {
        let sources: Vec<Expr> = match below {
            LogicalPlan::Projection(projection) => projection.expr.clone(),
            LogicalPlan::Aggregate(aggregate) => {
                let parts = aggregate.aggr_expr.iter().map(part);
                aggregate.group_expr.iter().cloned().chain(parts).collect()
            }
            LogicalPlan::SubqueryAlias(alias) => {
                below = &alias.input;
                continue;
            }
            LogicalPlan::TableScan(scan) if scan.filters.is_empty() && scan.fetch.is_none() => break,
            _ => return Err(refused()),
        };
        let schema = below.schema();
        expression = replaced(expression, &|column| {
            let index = schema
                .maybe_index_of_column(column)
                .or_else(|| schema.fields().iter().position(|field| *field.name() == column.name))?;
            sources.get(index).cloned().map(Expr::unalias)
        })?;
        below = match below {
            LogicalPlan::Projection(projection) => &projection.input,
            LogicalPlan::Aggregate(aggregate) => &aggregate.input,
            _ => return Err(refused()),
        };
    }
    replaced(expression, &|column| Some(Expr::Column(Column::from_name(&column.name))))
}

/// What an aggregate of parts is of each part: the same, for what describes a series.
fn part(aggregate: &Expr) -> Expr {
    match aggregate.clone().unalias() {
        Expr::AggregateFunction(AggregateFunction { func, params })
            if func.name() == "first_value" && params.args.len() == 1 =>
        {
            params.args[0].clone()
        }
        other => other,
    }
}

fn replaced(expression: Expr, source: &dyn Fn(&Column) -> Option<Expr>) -> Result<Expr, QueryError> {
    let replaced = expression.transform_up(|expr| match &expr {
        Expr::Column(column) => match source(column) {
            Some(source) => Ok(Transformed::yes(source)),
            None => Err(DataFusionError::Plan(format!("column {} cannot be used in this condition", column.name))),
        },
        Expr::AggregateFunction(_) => Err(DataFusionError::Plan(
            "a condition on metrics can name timestamp, asset_id, metric_name, metric_type, unit, dimensions and id"
                .to_owned(),
        )),
        _ => Ok(Transformed::no(expr)),
    });
    Ok(replaced?.data)
}
