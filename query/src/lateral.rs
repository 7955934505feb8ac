//! Lateral subqueries that the optimizer cannot take apart: those over the columns of one row (`unnest`, functions with
//! rows), and those with ORDER BY and LIMIT of their own.
//!
//! ```text
//! Join(left, Subquery(Projection(Unnest(Projection(one row)))))   -> the same projections over left
//! Join(left, Subquery(Limit n (Sort (Projection (Filter (..))))))  -> left with a number for each row, joined;
//!     row_number() OVER (PARTITION BY that number ORDER BY the sort) up to n
//! ```

use crate::error::QueryError;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, NullHandling, Result};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::expr::Sort as SortExpr;
use datafusion::logical_expr::{Expr, ExprFunctionExt, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Unnest};
use datafusion::prelude::lit;
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// Number of a row on the left, and of a row among those that belong to it.
const ROW: &str = "__lateral_row";
const RANK: &str = "__lateral_rank";
/// Lateral joins of one statement that are rewritten, one within the other.
const MAX_DEPTH: usize = 16;

/// Takes apart what the optimizer cannot.
pub(crate) fn unfold(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) => match of_join(&join)? {
            Some(plan) => Ok(Transformed::yes(plan)),
            None => Ok(Transformed::no(LogicalPlan::Join(join))),
        },
        other => Ok(Transformed::no(other)),
    })
    .data()
}

fn of_join(join: &Join) -> Result<Option<LogicalPlan>> {
    if !is_lateral(&join.right) || !matches!(join.join_type, JoinType::Inner | JoinType::Left) || !join.on.is_empty() {
        return Ok(None);
    }
    let outer = join.join_type == JoinType::Left;
    let always = join.filter.as_ref().is_none_or(|filter| *filter == lit(true));
    let limited = join.right.exists(|node| Ok(matches!(node, LogicalPlan::Limit(_) | LogicalPlan::Unnest(_))))?;
    let one_row = join.right.exists(|node| Ok(matches!(node, LogicalPlan::EmptyRelation(_))))?;
    if !limited && !one_row {
        return Ok(None);
    }
    if outer && !always {
        let what = "LEFT JOIN LATERAL of such a subquery with a condition (put it into the subquery, and say ON true)";
        return Err(QueryError::NotSupported { what: what.to_owned() }.into());
    }
    let mut left = LogicalPlanBuilder::from(join.left.as_ref().clone());
    if join.right.exists(|node| Ok(matches!(node, LogicalPlan::Limit(_))))? {
        left = left.window(vec![row_number().alias(ROW)])?;
    }
    let mut lateral = Lateral { left: left.build()?, outer, depth: 0 };
    let Some(plan) = lateral.over(&join.right)? else { return Ok(None) };
    let mut builder = LogicalPlanBuilder::from(plan);
    if let Some(filter) = join.filter.as_ref().filter(|_| !always) {
        builder = builder.filter(filter.clone())?;
    }
    let all = join.schema.columns().into_iter().map(Expr::Column);
    Ok(Some(builder.project(all)?.build()?))
}

fn is_lateral(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => is_lateral(&alias.input),
        LogicalPlan::Subquery(subquery) => !subquery.outer_ref_columns.is_empty(),
        _ => false,
    }
}

struct Lateral {
    /// The left side with a number for each row.
    left: LogicalPlan,
    /// Rows of the left side without any on the right stay.
    outer: bool,
    depth: usize,
}

impl Lateral {
    /// Columns of the left side.
    fn columns(&self) -> Vec<Expr> {
        self.left.schema().columns().into_iter().map(Expr::Column).collect()
    }

    /// `plan` for each row of the left side: its columns behind those of the left side.
    fn over(&mut self, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
        self.depth += 1;
        if self.depth > MAX_DEPTH * 4 {
            return Ok(None);
        }
        let is_row = matches!(plan, LogicalPlan::EmptyRelation(empty) if empty.produce_one_row);
        if !is_row && !plan.exists(|node| Ok(node.contains_outer_reference()))? {
            return self.joined(plan).map(Some);
        }
        Ok(Some(match plan {
            LogicalPlan::EmptyRelation(_) if is_row => self.left.clone(),
            LogicalPlan::Subquery(subquery) => return self.over(&subquery.subquery),
            LogicalPlan::SubqueryAlias(alias) => {
                let Some(input) = self.over(&alias.input)? else { return Ok(None) };
                let named = alias.input.schema().columns().into_iter().map(|column| {
                    let name = column.name.clone();
                    Expr::Column(column).alias_qualified(Some(alias.alias.clone()), name)
                });
                let all: Vec<Expr> = self.columns().into_iter().chain(named).collect();
                LogicalPlanBuilder::from(input).project(all)?.build()?
            }
            LogicalPlan::Projection(projection) => {
                let Some(input) = self.over(&projection.input)? else { return Ok(None) };
                let mut all = self.columns();
                for (expr, column) in projection.expr.iter().zip(projection.schema.columns()) {
                    if self.outer && keeps_no_null(expr) && !matches!(*projection.input, LogicalPlan::EmptyRelation(_))
                    {
                        let what = "LEFT JOIN LATERAL of a subquery that computes columns (compute them outside of it)";
                        return Err(QueryError::NotSupported { what: what.to_owned() }.into());
                    }
                    let expr = inner(expr.clone())?;
                    all.push(match &expr {
                        Expr::Column(same) if *same == column => expr,
                        _ => expr.unalias().alias_qualified(column.relation, column.name),
                    });
                }
                LogicalPlanBuilder::from(input).project(all)?.build()?
            }
            LogicalPlan::Filter(filter) if !self.outer => {
                let Some(input) = self.over(&filter.input)? else { return Ok(None) };
                LogicalPlanBuilder::from(input).filter(inner(filter.predicate.clone())?)?.build()?
            }
            LogicalPlan::Unnest(unnest) => {
                let Some(input) = self.over(&unnest.input)? else { return Ok(None) };
                let mut options = unnest.options.clone();
                options.null_handling = match self.outer {
                    true => NullHandling::PreserveAndExpandEmpty,
                    false => NullHandling::Drop,
                };
                LogicalPlan::Unnest(Unnest::try_new(Arc::new(input), unnest.exec_columns.clone(), options)?)
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => return self.over(&sort.input),
            LogicalPlan::Limit(limit) => return self.limited(limit),
            core => self.joined(core)?,
        }))
    }

    /// The first rows for each row of the left side.
    fn limited(&mut self, limit: &datafusion::logical_expr::Limit) -> Result<Option<LogicalPlan>> {
        let skip = number(limit.skip.as_deref());
        let fetch = number(limit.fetch.as_deref());
        let (Some(skip), Some(fetch)) = (skip, fetch) else {
            let what = "LIMIT of a lateral subquery that is not a number".to_owned();
            return Err(QueryError::NotSupported { what }.into());
        };
        // Above the sort there can be a projection that drops what only the sort needs.
        let (sort, projection) = match limit.input.as_ref() {
            LogicalPlan::Sort(sort) => (Some(sort), None),
            LogicalPlan::Projection(projection) => match projection.input.as_ref() {
                LogicalPlan::Sort(sort) => (Some(sort), Some(projection)),
                _ => (None, None),
            },
            _ => (None, None),
        };
        let below = sort.map_or(limit.input.as_ref(), |sort| sort.input.as_ref());
        let Some(input) = self.over(below)? else { return Ok(None) };
        let order: Vec<SortExpr> = match sort {
            Some(sort) => sort
                .expr
                .iter()
                .map(|by| Ok(SortExpr { expr: inner(by.expr.clone())?, ..*by }))
                .collect::<Result<_>>()?,
            None => Vec::new(),
        };
        let row = Expr::Column(Column::from_name(ROW));
        let rank = row_number().partition_by(vec![row]).order_by(order).build()?.alias(RANK);
        let rank_of = || Expr::Column(Column::from_name(RANK));
        let mut builder = LogicalPlanBuilder::from(input.clone()).window(vec![rank])?;
        if skip.is_some_and(|skip| skip > 0) {
            builder = builder.filter(rank_of().gt(lit(skip.unwrap_or(0) as u64)))?;
        }
        if let Some(fetch) = fetch {
            let last = fetch.saturating_add(skip.unwrap_or(0));
            builder = builder.filter(rank_of().lt_eq(lit(last as u64)))?;
        }
        let kept: Vec<Expr> = match projection {
            Some(projection) => {
                let exprs = projection.expr.iter().map(|expr| inner(expr.clone())).collect::<Result<Vec<_>>>()?;
                self.columns().into_iter().chain(exprs).collect()
            }
            None => input.schema().columns().into_iter().map(Expr::Column).collect(),
        };
        Ok(Some(builder.project(kept)?.build()?))
    }

    /// The left side joined with what the subquery reads.
    fn joined(&self, core: &LogicalPlan) -> Result<LogicalPlan> {
        let mut core = core.clone();
        let mut conditions = Vec::new();
        if let LogicalPlan::Filter(filter) = &core {
            conditions.push(inner(filter.predicate.clone())?);
            core = filter.input.as_ref().clone();
        }
        if core.exists(|node| Ok(node.contains_outer_reference()))? {
            let what = "such a lateral subquery (use columns of other tables in its WHERE only)".to_owned();
            return Err(QueryError::NotSupported { what }.into());
        }
        let join_type = if self.outer { JoinType::Left } else { JoinType::Inner };
        LogicalPlanBuilder::from(self.left.clone()).join_on(core, join_type, conditions)?.build()
    }
}

/// Columns of the outer query as plain columns.
fn inner(expr: Expr) -> Result<Expr> {
    expr.transform_up(|expr| match expr {
        Expr::OuterReferenceColumn(_, column) => Ok(Transformed::yes(Expr::Column(column))),
        other => Ok(Transformed::no(other)),
    })
    .data()
}

/// True if `expr` may be something else than NULL where there is no row.
fn keeps_no_null(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => keeps_no_null(&alias.expr),
        Expr::Column(_) => false,
        _ => true,
    }
}

/// `Some(None)` is no limit, `None` not a number.
fn number(expr: Option<&Expr>) -> Option<Option<i64>> {
    match expr {
        None => Some(None),
        Some(Expr::Literal(value, _)) => match value.cast_to(&arrow::datatypes::DataType::Int64) {
            Ok(ScalarValue::Int64(number)) => Some(number),
            _ => None,
        },
        Some(Expr::Cast(cast)) => number(Some(&cast.expr)),
        Some(_) => None,
    }
}
