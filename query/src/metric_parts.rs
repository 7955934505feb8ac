//! Aggregations over `metrics` that need no whole rows. A row of `metrics` is put together from the parts of one series and
//! minute, which is an aggregation below the statement's own; but counts and sums of rows are counts and sums of their
//! parts, extremes are extremes, and sketches merge in any order:
//!
//! ```text
//! Aggregate(sum(value_sum))                    Aggregate(sum(value_sum))
//!   Projection: columns of metrics      =>       Projection: those columns of a part
//!     Aggregate: parts to rows                     metrics_stored
//!       metrics_stored
//! ```
//!
//! So the statement's aggregation meets the chunks, and its partial results can be kept.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, Result, TableReference};
use datafusion::logical_expr::expr::{AggregateFunction, FieldMetadata};
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, Filter, LogicalPlan, Projection, SubqueryAlias};
use datafusion::optimizer::AnalyzerRule;
use std::collections::BTreeSet;
use std::sync::Arc;
use whence_schema::Table;

/// Columns that all parts of a row have in common. (The unit is not part of what makes a series.)
const COMMON: [&str; 7] =
    ["timestamp", "time_bucket", "asset_id", "metric_type", "metric_name", "tenant_id", "dimensions"];

/// Aggregates of a column that come to the same over parts.
const OF_PARTS: [(&str, &str); 7] = [
    ("sum", "value_count"),
    ("sum", "value_sum"),
    ("sum", "point_count"),
    ("min", "value_min"),
    ("max", "value_max"),
    ("min", "created_at"),
    ("rollup", "sketch"),
];

/// Aggregates that do not mind how often they see a value.
const OF_VALUES: [&str; 5] = ["min", "max", "bool_and", "bool_or", "approx_distinct"];

/// Takes the step from parts to rows out where it makes no difference.
#[derive(Debug)]
pub(crate) struct MetricPartsAddUp;

impl AnalyzerRule for MetricPartsAddUp {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let changed = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Aggregate(aggregate) => in_aggregate(aggregate),
            other => Ok(Transformed::no(other)),
        })?;
        if !changed.transformed {
            return Ok(changed.data);
        }
        // Which columns may be NULL has changed.
        changed.data.transform_up_with_subqueries(|plan| plan.recompute_schema().map(Transformed::yes)).data()
    }

    fn name(&self) -> &str {
        "metric_parts_add_up"
    }
}

fn in_aggregate(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let grouped = aggregate.group_expr.iter().all(is_common);
    if !grouped || !aggregate.aggr_expr.iter().all(adds_up) {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let mut names = BTreeSet::new();
    let used = aggregate.group_expr.iter().chain(&aggregate.aggr_expr).flat_map(Expr::column_refs);
    names.extend(used.map(|column| column.name.clone()));
    let Some(input) = of_parts(&aggregate.input, &mut names)? else {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    };
    let Aggregate { group_expr, aggr_expr, .. } = aggregate;
    Ok(Transformed::yes(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), group_expr, aggr_expr)?)))
}

fn is_common(expr: &Expr) -> bool {
    expr.column_refs().iter().all(|column| COMMON.contains(&column.name.as_str()))
}

fn adds_up(expr: &Expr) -> bool {
    let Expr::AggregateFunction(AggregateFunction { func, params }) = expr.clone().unalias() else { return false };
    if !params.filter.iter().all(|filter| is_common(filter)) || !params.order_by.is_empty() {
        return false;
    }
    let of_common = params.args.iter().all(is_common) && params.args.iter().any(has_column);
    if of_common && (params.distinct || OF_VALUES.contains(&func.name())) {
        return true;
    }
    match params.args.as_slice() {
        [Expr::Column(column)] if !params.distinct => OF_PARTS.contains(&(func.name(), column.name.as_str())),
        _ => false,
    }
}

fn has_column(expr: &Expr) -> bool {
    !expr.column_refs().is_empty()
}

/// `plan`, which gives rows of `metrics`, giving parts of them with the columns `names` and those its conditions need;
/// `None` if it is something else.
fn of_parts(plan: &LogicalPlan, names: &mut BTreeSet<String>) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::Filter(filter) if is_common(&filter.predicate) => {
            names.extend(filter.predicate.column_refs().into_iter().map(|column| column.name.clone()));
            let Some(input) = of_parts(&filter.input, names)? else { return Ok(None) };
            Ok(Some(LogicalPlan::Filter(Filter::try_new(filter.predicate.clone(), Arc::new(input))?)))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let Some(input) = of_parts(&alias.input, names)? else { return Ok(None) };
            Ok(Some(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?)))
        }
        LogicalPlan::Projection(view) => match view.input.as_ref() {
            LogicalPlan::Aggregate(rows) => match rows.input.as_ref() {
                scan @ LogicalPlan::TableScan(stored) if is_stored(&stored.table_name) => {
                    Ok(Some(parts(view, scan, &stored.table_name, names)?))
                }
                _ => Ok(None),
            },
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

fn is_stored(table: &TableReference) -> bool {
    table.table() == format!("{}_stored", Table::Metrics.name())
}

/// The view's columns of these names, computed from one part as they are from a row.
fn parts(
    view: &Projection,
    scan: &LogicalPlan,
    stored: &TableReference,
    names: &BTreeSet<String>,
) -> Result<LogicalPlan> {
    let mut columns = Vec::new();
    for (expr, (_, field)) in view.expr.iter().zip(view.schema.iter()) {
        if !names.contains(field.name()) {
            continue;
        }
        let of_part = expr.clone().unalias().transform(|part| match part {
            Expr::Column(column) => Ok(Transformed::yes(Expr::Column(Column::new(Some(stored.clone()), column.name)))),
            other => Ok(Transformed::no(other)),
        });
        let of_part = of_part.data()?.cast_to(field.data_type(), scan.schema())?;
        let metadata = (!field.metadata().is_empty()).then(|| FieldMetadata::from(field.metadata().clone()));
        columns.push(of_part.alias_with_metadata(field.name(), metadata));
    }
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(scan.clone()))?))
}
