//! What a plan computes, as text: two plans with the same text over the same rows give the same result.

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::Volatility;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NegativeExpr,
    NotExpr, TryCastExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::aggregates::AggregateExec;
use std::fmt::Write;
use std::sync::Arc;

/// Aggregates whose partial state is small and can be merged in any order.
const MERGEABLE: [&str; 31] = [
    "approx_distinct",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "first",
    "last",
    "max",
    "min",
    "percentile_agg",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "rollup",
    "stddev",
    "stddev_pop",
    "sum",
    "var",
    "var_pop",
];

/// Whether an aggregate's results of parts can be put together.
pub(crate) fn is_mergeable(name: &str, distinct: bool) -> bool {
    !distinct && (MERGEABLE.contains(&name) || name.starts_with("approx_percentile"))
}

/// Whether the value of an expression follows from the row alone, and its debug text says all about it.
pub(super) fn is_settled(expression: &Arc<dyn PhysicalExpr>) -> bool {
    let mut settled = true;
    let walked = expression.apply(|part| {
        let function = part.downcast_ref::<ScalarFunctionExpr>();
        settled = match function {
            Some(function) => function.fun().signature().volatility == Volatility::Immutable,
            None => is_plain(part),
        };
        Ok(if settled { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    settled && walked.is_ok()
}

fn is_plain(part: &Arc<dyn PhysicalExpr>) -> bool {
    part.is::<Column>()
        || part.is::<Literal>()
        || part.is::<BinaryExpr>()
        || part.is::<CastExpr>()
        || part.is::<TryCastExpr>()
        || part.is::<CaseExpr>()
        || part.is::<InListExpr>()
        || part.is::<IsNullExpr>()
        || part.is::<IsNotNullExpr>()
        || part.is::<LikeExpr>()
        || part.is::<NotExpr>()
        || part.is::<NegativeExpr>()
}

/// Text of an expression; `None` when its value may be another the next time.
pub(super) fn of_expression(expression: &Arc<dyn PhysicalExpr>) -> Option<String> {
    is_settled(expression).then(|| format!("{expression:?}"))
}

/// Text of an aggregation without its input. `Err` says why its partial results cannot be kept.
pub(super) fn of_aggregate(aggregate: &AggregateExec) -> Result<String, String> {
    let unsettled = || "an expression may have another value the next time".to_owned();
    let group = aggregate.group_expr();
    let mut text = String::from("group");
    for (expression, name) in group.expr().iter().chain(group.null_expr()) {
        let _ = write!(text, " {name:?} {}", of_expression(expression).ok_or_else(unsettled)?);
    }
    let _ = write!(text, " {:?} {}", group.groups(), group.has_grouping_set());
    for (function, filter) in aggregate.aggr_expr().iter().zip(aggregate.filter_expr()) {
        let name = function.fun().name();
        if !is_mergeable(name, function.is_distinct()) {
            let distinct = if function.is_distinct() { " of distinct values" } else { "" };
            return Err(format!("{name}{distinct} cannot be put together from parts"));
        }
        let _ = write!(text, " {}", of_function(function).ok_or_else(unsettled)?);
        if let Some(filter) = filter {
            let _ = write!(text, " filter {}", of_expression(filter).ok_or_else(unsettled)?);
        }
    }
    Ok(text)
}

fn of_function(function: &AggregateFunctionExpr) -> Option<String> {
    let mut text = format!(
        "{} {:?} reversed {} nulls {} {:?}",
        function.fun().name(),
        function.field().data_type(),
        function.is_reversed(),
        function.ignore_nulls(),
        function.state_fields().ok()?,
    );
    for argument in function.expressions() {
        let _ = write!(text, " {}", of_expression(&argument)?);
    }
    for order in function.order_bys() {
        let _ = write!(text, " by {} {:?}", of_expression(&order.expr)?, order.options);
    }
    Some(text)
}
