//! `time_bucket_gapfill`, `locf` and `interpolate`, as in TimescaleDB: buckets without rows between start and finish
//! become rows.
//!
//! ```text
//! Projection(locf(avg(x))) - Aggregate(time_bucket_gapfill(w, t), g)
//!   -> Projection(fill_0) - GapFill - Projection(.., avg(x) AS fill_0) - Aggregate(time_bucket(w, t), g)
//! ```
//!
//! Start and finish are arguments, or come from the conditions on the time in WHERE. They are expressions of the plan's
//! node, so that `now()` in them is the same moment as in WHERE.

mod execution;
mod node;

pub(crate) use node::{GapFillPlanner, functions};

use crate::error::QueryError;
use crate::functions::is_text;
use crate::functions::time_bucket::{GAP_FILL, TimeBucket};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, ExprSchemable, Extension, LogicalPlan, LogicalPlanBuilder, Operator, Projection,
    ScalarUDF,
};
use node::{Fill, GapFill};
use std::sync::Arc;

/// Fills the gaps of every aggregation that asks for it.
pub(crate) fn fill(plan: LogicalPlan) -> Result<LogicalPlan> {
    let asks = |node: &LogicalPlan| match node {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.iter().any(is_call),
        _ => false,
    };
    let mut any = false;
    plan.apply_with_subqueries(|node| {
        any |= asks(node);
        Ok(if any { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if !any {
        return Ok(plan);
    }
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Projection(projection) => match of_projection(&projection)? {
            Some(plan) => Ok(Transformed::yes(plan)),
            None => Ok(Transformed::yes(LogicalPlan::Projection(projection).recompute_schema()?)),
        },
        // What could not be NULL below can be now.
        other => Ok(Transformed::yes(other.recompute_schema()?)),
    })
    .data()
}

/// A call of `time_bucket_gapfill` in its parts.
struct Call {
    /// `time_bucket` of the same.
    bucket: Expr,
    width: Expr,
    time: Expr,
    zone: Option<Expr>,
    start: Option<Expr>,
    finish: Option<Expr>,
}

fn of_projection(projection: &Projection) -> Result<Option<LogicalPlan>> {
    // Between the projection and the aggregation: HAVING below, windows above the filled rows.
    let (mut windows, mut having) = (Vec::new(), Vec::new());
    let mut below = projection.input.as_ref();
    let aggregate = loop {
        match below {
            LogicalPlan::Window(window) => {
                windows.push(window.window_expr.clone());
                below = window.input.as_ref();
            }
            LogicalPlan::Filter(filter) => {
                having.push(filter.predicate.clone());
                below = filter.input.as_ref();
            }
            LogicalPlan::Aggregate(aggregate) => break aggregate,
            _ => return Ok(None),
        }
    };
    let calls: Vec<usize> = (0..aggregate.group_expr.len()).filter(|at| is_call(&aggregate.group_expr[*at])).collect();
    let position = match calls.as_slice() {
        [] => return Ok(None),
        [position] => *position,
        _ => return Err(QueryError::NotSupported { what: "more than one time_bucket_gapfill".to_owned() }.into()),
    };
    let call = read(aggregate, &aggregate.group_expr[position])?;
    let (from, to) = bounds(aggregate, &call)?;
    let columns = aggregate.schema.columns();
    let mut groups = aggregate.group_expr.clone();
    groups[position] = call.bucket.clone().alias(columns[position].name.clone());
    let rows = LogicalPlanBuilder::from(aggregate.input.as_ref().clone());
    let mut rows = rows.aggregate(groups, aggregate.aggr_expr.clone())?;
    for condition in having {
        rows = rows.filter(condition)?;
    }
    // What locf and interpolate fill is computed before.
    let mut filled: Vec<(Expr, Fill)> = Vec::new();
    let exprs = projection.expr.iter().zip(projection.schema.columns()).map(|(expr, column)| {
        let replaced = expr.clone().transform_down(|expr| {
            Ok(match node::fill_of(&expr)? {
                Some((argument, fill)) => {
                    let name = format!("__fill_{}", filled.len());
                    filled.push((argument.alias(name.clone()), fill));
                    Transformed::yes(Expr::Column(Column::from_name(name)))
                }
                None => Transformed::no(expr),
            })
        });
        let replaced = replaced.data()?;
        Ok(match &replaced {
            Expr::Column(same) if *same == column => replaced,
            _ => replaced.unalias().alias_qualified(column.relation, column.name),
        })
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    let mut fills: Vec<Fill> =
        (0..columns.len()).map(|at| if at < aggregate.group_expr.len() { Fill::Group } else { Fill::Null }).collect();
    fills[position] = Fill::Time;
    fills.extend(filled.iter().map(|(_, fill)| *fill));
    let computed = columns.into_iter().map(Expr::Column).chain(filled.into_iter().map(|(argument, _)| argument));
    let input = rows.project(computed.collect::<Vec<_>>())?.build()?;
    let node = GapFill::new(input, fills, call.width, call.zone, from, to)?;
    let mut plan = LogicalPlanBuilder::from(LogicalPlan::Extension(Extension { node: Arc::new(node) }));
    for window in windows.into_iter().rev() {
        plan = plan.window(window)?;
    }
    Ok(Some(plan.project(exprs)?.build()?))
}

fn is_call(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.name() == GAP_FILL)
        || matches!(expr, Expr::Alias(alias) if is_call(&alias.expr))
}

fn read(aggregate: &Aggregate, expr: &Expr) -> Result<Call> {
    let Expr::ScalarFunction(call) = expr.clone().unalias() else {
        return Err(QueryError::Internal(format!("{expr} is no {GAP_FILL}")).into());
    };
    let schema = aggregate.input.schema();
    let mut values = call.args.into_iter();
    let (Some(width), Some(time)) = (values.next(), values.next()) else {
        return Err(QueryError::UndefinedFunction { problem: format!("{GAP_FILL} needs a width and a time") }.into());
    };
    let mut rest: Vec<Expr> = values.collect();
    // A text that stands first of one or three is a zone; the others are start and finish.
    let zone = match rest.first() {
        Some(first) if rest.len() != 2 && is_text(&first.get_type(schema)?) => Some(rest.remove(0)),
        _ => None,
    };
    let mut ends = rest.into_iter().map(|end| match end {
        Expr::Literal(value, _) if value.is_null() => None,
        end => Some(end),
    });
    let (start, finish) = (ends.next().flatten(), ends.next().flatten());
    let mut values = vec![width.clone(), time.clone()];
    values.extend(zone.clone());
    let bucket = ScalarFunction::new_udf(Arc::new(ScalarUDF::from(TimeBucket::plain())), values);
    Ok(Call { bucket: Expr::ScalarFunction(bucket), width, time, zone, start, finish })
}

/// Where filling starts (included) and ends (excluded), each the greatest, or the least, of several.
fn bounds(aggregate: &Aggregate, call: &Call) -> Result<(Vec<Expr>, Vec<Expr>)> {
    let (mut from, mut to) = (Vec::new(), Vec::new());
    let mut below = aggregate.input.as_ref();
    loop {
        match below {
            LogicalPlan::Filter(filter) => {
                for condition in split_conjunction(&filter.predicate) {
                    bound(condition, &call.time, &mut from, &mut to);
                }
                below = filter.input.as_ref();
            }
            LogicalPlan::SubqueryAlias(alias) => below = alias.input.as_ref(),
            _ => break,
        }
    }
    if let Some(start) = &call.start {
        from = vec![node::Bound::at(start.clone())];
    }
    if let Some(finish) = &call.finish {
        to = vec![node::Bound::at(finish.clone())];
    }
    for (bounds, end) in [(&from, "start"), (&to, "finish")] {
        if bounds.is_empty() {
            let problem = format!(
                "missing time_bucket_gapfill argument: could not infer {end} from WHERE clause (specify start and \
                 finish as arguments or in the WHERE clause)"
            );
            return Err(QueryError::InvalidArgument { function: GAP_FILL, position: 3, problem }.into());
        }
    }
    let exprs = |bounds: Vec<node::Bound>| bounds.into_iter().map(node::Bound::expression).collect();
    Ok((exprs(from), exprs(to)))
}

fn bound(condition: &Expr, time: &Expr, from: &mut Vec<node::Bound>, to: &mut Vec<node::Bound>) {
    let constant = |expr: &Expr| expr.column_refs().is_empty() && !expr.contains_outer();
    let mut narrow = |op: Operator, end: &Expr| match op {
        Operator::Gt => from.push(node::Bound::after(end.clone())),
        Operator::GtEq => from.push(node::Bound::at(end.clone())),
        Operator::Lt => to.push(node::Bound::at(end.clone())),
        Operator::LtEq => to.push(node::Bound::after(end.clone())),
        Operator::Eq => {
            from.push(node::Bound::at(end.clone()));
            to.push(node::Bound::after(end.clone()));
        }
        _ => {}
    };
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if left.as_ref() == time && constant(right) => {
            narrow(*op, right);
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if right.as_ref() == time && constant(left) => {
            narrow(op.swap().unwrap_or(Operator::NotEq), left);
        }
        Expr::Between(between) if !between.negated && between.expr.as_ref() == time => {
            if constant(&between.low) {
                narrow(Operator::GtEq, &between.low);
            }
            if constant(&between.high) {
                narrow(Operator::LtEq, &between.high);
            }
        }
        _ => {}
    }
}
