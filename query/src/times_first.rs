//! The newest rows of many, with all their columns. `ORDER BY timestamp DESC LIMIT n` over wide rows would read every
//! column of all rows until it happens to know how new the last of the `n` is. Here the times alone are read first: the
//! n-th of them then keeps the wide read to the rows of the answer.

use crate::cache::levels::PartialCache;
use crate::cache::newest::NewestExec;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::ParquetSource;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, DynamicFilterPhysicalExpr, Literal};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::projection_pushdown::ProjectionPushdown;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions, reset_plan_states};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, execute_stream};
use datafusion::scalar::ScalarValue;
use futures::{StreamExt, TryStreamExt, stream};
use std::fmt;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// The column that is read first.
const TIMESTAMP: &str = "timestamp";
/// Rows asked for beyond which reading twice does not pay.
const MOST_ROWS: usize = 10_000;
/// Columns asked for from which on it pays.
const LEAST_COLUMNS: usize = 6;
/// Times that are held before those that cannot be among the first are dropped.
const LEAST_ROOM: usize = 8_192;

/// Puts a [`TimesFirstExec`] above such sorts; with a cache, a [`NewestExec`] that keeps what it finds.
#[derive(Debug, Default)]
pub(crate) struct TimesFirst {
    pub(crate) kept_in: Option<Arc<PartialCache>>,
}

impl PhysicalOptimizerRule for TimesFirst {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let Some(sort) = plan.downcast_ref::<SortExec>() else { return Ok(Transformed::no(plan)) };
            if !reads_many(sort) {
                return Ok(Transformed::no(plan));
            }
            if let Some(cache) = &self.kept_in
                && let Some(newest) = NewestExec::try_new(sort, cache, config)?
            {
                return Ok(Transformed::yes(Arc::new(newest) as Arc<dyn ExecutionPlan>));
            }
            let Some(times) = times_of(sort, config)? else { return Ok(Transformed::no(plan)) };
            Ok(Transformed::yes(Arc::new(TimesFirstExec::new(times, plan)) as Arc<dyn ExecutionPlan>))
        })
        .data()
    }

    fn name(&self) -> &str {
        "times_first"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether it sorts wide rows by time, and gives few of them.
fn reads_many(sort: &SortExec) -> bool {
    let few = sort.fetch().is_some_and(|fetch| fetch <= MOST_ROWS);
    let [order] = sort.expr().iter().as_slice() else { return false };
    let is_time = order.expr.downcast_ref::<Column>().is_some_and(|column| column.name() == TIMESTAMP);
    let wide = sort.schema().fields().len() >= LEAST_COLUMNS;
    few && is_time && wide && !filters_of(sort).is_empty() && reads_chunks_only(sort.input())
}

/// The times of the rows of such a sort, in no order; `None` where they would not help.
pub(crate) fn times_of(sort: &SortExec, config: &ConfigOptions) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let [order] = sort.expr().iter().as_slice() else { return Ok(None) };
    // Below the columns that are computed for the answer.
    let (mut expression, mut input) = (Arc::clone(&order.expr), sort.input());
    while let (Some(column), Some(columns)) =
        (expression.downcast_ref::<Column>(), input.downcast_ref::<ProjectionExec>())
    {
        let Some(below) = columns.expr().get(column.index()) else { return Ok(None) };
        (expression, input) = (Arc::clone(&below.expr), columns.input());
    }
    let time = ProjectionExpr { expr: expression, alias: TIMESTAMP.to_owned() };
    let times = Arc::new(ProjectionExec::try_new([time], Arc::clone(input))?);
    // Times only, down to the files. The copy of the plan runs by itself, with filters of its own.
    Ok(Some(ProjectionPushdown::new().optimize(reset_plan_states(times)?, config)?))
}

/// The first `fetch` of the times that a plan gives, in no order; all where there are fewer. `None` if one is null or they
/// are no times.
///
/// A heap, as a sort with a limit keeps it, is turned over by every row where rows are read in the opposite order.
pub(crate) async fn first_times(
    times: Arc<dyn ExecutionPlan>,
    fetch: usize,
    descending: bool,
    context: Arc<TaskContext>,
) -> Result<Option<Vec<i64>>> {
    let mut batches = execute_stream(times, context)?;
    // The latest are the first once signs are turned; the one number that has no opposite is no time.
    let turned = |time: i64| if descending { time.saturating_neg() } else { time };
    let (mut first, mut bound) = (Vec::new(), i64::MAX);
    let room = fetch.saturating_mul(2).max(LEAST_ROOM);
    while let Some(batch) = batches.try_next().await? {
        let Some(column) = batch.column(0).as_primitive_opt::<TimestampMicrosecondType>() else { return Ok(None) };
        if column.null_count() > 0 {
            return Ok(None);
        }
        first.extend(column.values().iter().map(|time| turned(*time)).filter(|time| *time <= bound));
        if first.len() > room {
            bound = keep_least(&mut first, fetch).unwrap_or(bound);
        }
    }
    keep_least(&mut first, fetch);
    Ok(Some(first.into_iter().map(turned).collect()))
}

/// Leaves the least `count` of the numbers, if there are more, and says which is the largest of them.
fn keep_least(numbers: &mut Vec<i64>, count: usize) -> Option<i64> {
    let last = count.checked_sub(1).filter(|last| *last < numbers.len())?;
    let (_, largest, _) = numbers.select_nth_unstable(last);
    let largest = *largest;
    numbers.truncate(count);
    Some(largest)
}

/// Whether the rows come from files of a table one by one.
fn reads_chunks_only(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(source) = plan.downcast_ref::<DataSourceExec>() {
        return source.downcast_to_file_source::<ParquetSource>().is_some() || plan.children().is_empty();
    }
    let simple = ["ProjectionExec", "FilterExec", "UnionExec", "RepartitionExec", "CooperativeExec"];
    let passes = simple.contains(&plan.name()) || plan.is::<CoalescePartitionsExec>();
    passes && plan.children().into_iter().all(reads_chunks_only)
}

/// Runs `times`, then `sort` with what that says about the times of its rows.
#[derive(Debug)]
struct TimesFirstExec {
    times: Arc<dyn ExecutionPlan>,
    sort: Arc<dyn ExecutionPlan>,
    known: Arc<OnceCell<()>>,
}

impl TimesFirstExec {
    fn new(times: Arc<dyn ExecutionPlan>, sort: Arc<dyn ExecutionPlan>) -> Self {
        Self { times, sort, known: Arc::new(OnceCell::new()) }
    }
}

/// Tells `sort` the last of the first times, if there are as many as are asked for.
async fn bound(times: Arc<dyn ExecutionPlan>, sort: Arc<dyn ExecutionPlan>, context: Arc<TaskContext>) -> Result<()> {
    let Some((fetch, descending)) = sort.downcast_ref::<SortExec>().and_then(|sort| {
        let order = sort.expr().iter().next()?;
        Some((sort.fetch()?, order.options.descending))
    }) else {
        return Ok(());
    };
    let first = first_times(times, fetch, descending, context).await?.filter(|first| first.len() >= fetch);
    let last = first.and_then(|first| if descending { first.into_iter().min() } else { first.into_iter().max() });
    last.map_or(Ok(()), |last| tell(&sort, last))
}

/// Tells the filter of a sort by time that rows after `last`, in microseconds, are of no use.
pub(crate) fn tell(sort: &Arc<dyn ExecutionPlan>, last: i64) -> Result<()> {
    let Some(sort) = sort.downcast_ref::<SortExec>() else { return Ok(()) };
    let Some(order) = sort.expr().iter().next() else { return Ok(()) };
    let DataType::Timestamp(_, zone) = order.expr.data_type(&sort.input().schema())? else { return Ok(()) };
    let time = ScalarValue::TimestampMicrosecond(Some(last), zone);
    let op = if order.options.descending { Operator::GtEq } else { Operator::LtEq };
    let bound: Arc<dyn PhysicalExpr> =
        Arc::new(BinaryExpr::new(Arc::clone(&order.expr), op, Arc::new(Literal::new(time))));
    for filter in filters_of(sort) {
        if let Some(filter) = filter.downcast_ref::<DynamicFilterPhysicalExpr>() {
            filter.update(Arc::clone(&bound))?;
        }
    }
    Ok(())
}

/// The filter that a sort with a limit has tightened in the files it reads from.
fn filters_of(sort: &SortExec) -> Vec<Arc<dyn PhysicalExpr>> {
    sort.dynamic_expressions_produced()
}

impl DisplayAs for TimesFirstExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("TimesFirstExec")
    }
}

impl ExecutionPlan for TimesFirstExec {
    fn name(&self) -> &str {
        "TimesFirstExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.sort.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.times, &self.sort]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false, true]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 2]>::try_from(children) {
            Ok([times, sort]) => Ok(Arc::new(Self::new(times, sort))),
            Err(_) => Ok(self),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (times, sort, known) = (Arc::clone(&self.times), Arc::clone(&self.sort), self.known.clone());
        let rows = stream::once(async move {
            known.get_or_try_init(|| bound(times, Arc::clone(&sort), context.clone())).await?;
            sort.execute(partition, context)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.sort.schema(), rows.try_flatten().boxed())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_numbers_are_kept() {
        let mut numbers = vec![5, 1, 9, 3, 3, 7];
        assert_eq!(keep_least(&mut numbers, 3), Some(3));
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 3, 3]);
        assert_eq!(keep_least(&mut numbers, 3), Some(3));
        assert_eq!((keep_least(&mut numbers, 4), keep_least(&mut numbers, 0), numbers.len()), (None, None, 3));
    }
}
