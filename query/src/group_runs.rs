//! First steps of aggregations whose rows come in runs of one group. Chunks are sorted by asset and time, so rows of one
//! asset and hour stand together. A hash table looks up every row; here the first of each run is looked up:
//!
//! ```text
//! AggregateExec(Partial)      =>      GroupRunsExec
//!   input                               input
//! ```
//!
//! If the first rows are in no runs, the aggregation is done as it was planned.

use crate::leaf::leaf;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt32Array};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::take;
use arrow::datatypes::{ArrowPrimitiveType, Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, aggregate_expressions};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode, PlanProperties};
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// Rows of a run on the average from which on runs pay.
const LEAST_ROWS: usize = 4;

/// Puts a [`GroupRunsExec`] in the place of first steps of aggregations.
#[derive(Debug)]
pub(crate) struct GroupRuns;

impl PhysicalOptimizerRule for GroupRuns {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let Some(aggregate) = plan.downcast_ref::<AggregateExec>() else { return Ok(Transformed::no(plan)) };
            Ok(match GroupRunsExec::try_new(aggregate) {
                Some(runs) => Transformed::yes(Arc::new(runs) as Arc<dyn ExecutionPlan>),
                None => Transformed::no(plan),
            })
        })
        .data()
    }

    fn name(&self) -> &str {
        "group_runs"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// An aggregation's first step, run by run.
#[derive(Debug)]
pub(crate) struct GroupRunsExec {
    /// The same as it was planned.
    aggregate: AggregateExec,
    metrics: ExecutionPlanMetricsSet,
}

impl GroupRunsExec {
    /// `None` for aggregations that are not first steps over rows in any order, or that something else is known to make
    /// shorter.
    pub(crate) fn try_new(aggregate: &AggregateExec) -> Option<Self> {
        let group = aggregate.group_expr();
        let plain = *aggregate.mode() == AggregateMode::Partial
            && *aggregate.input_order_mode() == InputOrderMode::Linear
            && aggregate.limit_options().is_none()
            && aggregate.dynamic_expressions_produced().is_empty()
            && group.is_single()
            && !group.is_empty();
        plain.then(|| Self { aggregate: aggregate.clone(), metrics: ExecutionPlanMetricsSet::new() })
    }
}

impl DisplayAs for GroupRunsExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("GroupRunsExec: ")?;
        self.aggregate.fmt_as(format, f)
    }
}

impl ExecutionPlan for GroupRunsExec {
    fn name(&self) -> &str {
        "GroupRunsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.aggregate.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![self.aggregate.input()]
    }

    fn apply_expressions(
        &self,
        each: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.aggregate.apply_expressions(each)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop() else { return Ok(self) };
        Ok(Arc::new(Self { aggregate: over(&self.aggregate, input)?, metrics: ExecutionPlanMetricsSet::new() }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.aggregate.input().execute(partition, Arc::clone(&context))?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let rows = stream::once(start(self.aggregate.clone(), input, partition, context, metrics)).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The same aggregation over another input.
fn over(aggregate: &AggregateExec, input: Arc<dyn ExecutionPlan>) -> Result<AggregateExec> {
    let schema = input.schema();
    AggregateExec::try_new(
        *aggregate.mode(),
        aggregate.group_expr().clone(),
        aggregate.aggr_expr().to_vec(),
        aggregate.filter_expr().to_vec(),
        input,
        schema,
    )
}

/// Looks at the first rows, and decides.
async fn start(
    aggregate: AggregateExec,
    mut input: SendableRecordBatchStream,
    partition: usize,
    context: Arc<TaskContext>,
    metrics: BaselineMetrics,
) -> Result<SendableRecordBatchStream> {
    let schema = aggregate.schema();
    let first = loop {
        match input.try_next().await? {
            Some(batch) if batch.num_rows() == 0 => {}
            first => break first,
        }
    };
    let Some(first) = first else {
        return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream::empty())));
    };
    let timer = metrics.elapsed_compute().timer();
    let mut table = Table::new(&aggregate)?;
    let keys = evaluated(&table.keys, &first)?;
    let in_runs = starts_of_runs(&keys, first.num_rows()).len() * LEAST_ROWS <= first.num_rows();
    if !in_runs {
        drop(timer);
        let rows = stream::iter([Ok(first)]).chain(input);
        let rows = RecordBatchStreamAdapter::new(aggregate.input().schema(), rows);
        let replayed = Replayed::new(&aggregate, Box::pin(rows));
        return over(&aggregate, Arc::new(replayed))?.execute(0, context);
    }
    table.add(&first, keys)?;
    drop(timer);
    let reservation = MemoryConsumer::new(format!("GroupRuns[{partition}]")).register(context.memory_pool());
    let batch_rows = context.session_config().batch_size();
    let work = Work { table, input: Some(input), reservation, schema: Arc::clone(&schema), metrics };
    let states = stream::try_unfold(work, |mut work| async move {
        let states = work.next().await?;
        Ok::<_, DataFusionError>(states.map(|states| (states, work)))
    });
    let slices = states.map_ok(move |states| {
        let rows = states.num_rows();
        let slices = (0..rows).step_by(batch_rows).map(move |from| Ok(states.slice(from, batch_rows.min(rows - from))));
        stream::iter(slices.collect::<Vec<Result<RecordBatch>>>())
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, slices.try_flatten())))
}

/// An aggregation under way.
struct Work {
    table: Table,
    /// `None` once it has ended.
    input: Option<SendableRecordBatchStream>,
    reservation: MemoryReservation,
    schema: SchemaRef,
    metrics: BaselineMetrics,
}

impl Work {
    /// The states of all groups; of those so far if there is no memory for more: what comes next merges them.
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(input) = &mut self.input {
            match self.reservation.try_resize(self.table.size()) {
                Err(refused) if self.table.groups.is_empty() => return Err(refused),
                Err(_) => break,
                Ok(()) => {}
            }
            match input.try_next().await? {
                Some(batch) if batch.num_rows() == 0 => {}
                Some(batch) => {
                    let _timer = self.metrics.elapsed_compute().timer();
                    let keys = evaluated(&self.table.keys, &batch)?;
                    self.table.add(&batch, keys)?;
                }
                None => self.input = None,
            }
        }
        let _timer = self.metrics.elapsed_compute().timer();
        let states = self.table.take(&self.schema)?.map(|states| states.record_output(&self.metrics));
        self.reservation.free();
        Ok(states)
    }
}

/// The groups and what is known of each.
struct Table {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    groups: Box<dyn GroupValues>,
    functions: Vec<Function>,
    group_of_run: Vec<usize>,
    group_of_row: Vec<usize>,
}

struct Function {
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    states: Box<dyn GroupsAccumulator>,
}

impl Table {
    fn new(aggregate: &AggregateExec) -> Result<Self> {
        let group = aggregate.group_expr();
        let schema = group.group_schema(&aggregate.input().schema())?;
        let arguments = aggregate_expressions(aggregate.aggr_expr(), aggregate.mode(), group.num_group_exprs())?;
        let functions = aggregate.aggr_expr().iter().zip(arguments).zip(aggregate.filter_expr());
        let functions = functions.map(|((function, arguments), filter)| {
            Ok(Function { arguments, filter: filter.clone(), states: states_of(function)? })
        });
        Ok(Self {
            keys: group.input_exprs(),
            groups: new_group_values(schema, &GroupOrdering::None)?,
            functions: functions.collect::<Result<_>>()?,
            group_of_run: Vec::new(),
            group_of_row: Vec::new(),
        })
    }

    fn add(&mut self, batch: &RecordBatch, keys: Vec<ArrayRef>) -> Result<()> {
        let rows = batch.num_rows();
        let starts = starts_of_runs(&keys, rows);
        if starts.len() * LEAST_ROWS <= rows {
            let ends = starts.iter().skip(1).map(|start| *start as usize).chain([rows]);
            let lengths: Vec<_> = starts.iter().zip(ends).map(|(start, end)| end - *start as usize).collect();
            let starts = UInt32Array::from(starts);
            let heads = keys.iter().map(|key| take(key, &starts, None)).collect::<std::result::Result<Vec<_>, _>>()?;
            self.groups.intern(&heads, &mut self.group_of_run)?;
            self.group_of_row.clear();
            for (group, length) in self.group_of_run.iter().zip(lengths) {
                self.group_of_row.resize(self.group_of_row.len() + length, *group);
            }
        } else {
            self.groups.intern(&keys, &mut self.group_of_row)?;
        }
        let count = self.groups.len();
        for function in &mut self.functions {
            let arguments = evaluated(&function.arguments, batch)?;
            let filter = function.filter.iter().cloned().collect::<Vec<_>>();
            let filter = evaluated(&filter, batch)?.pop();
            let filter: Option<&BooleanArray> = filter.as_ref().map(|filter| filter.as_boolean());
            function.states.update_batch(&arguments, &self.group_of_row, filter, count)?;
        }
        Ok(())
    }

    /// All groups with their states; the table is empty afterwards.
    fn take(&mut self, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
        if self.groups.is_empty() {
            return Ok(None);
        }
        let mut columns = self.groups.emit(EmitTo::All)?;
        for function in &mut self.functions {
            columns.extend(function.states.state(EmitTo::All)?);
        }
        self.groups.clear_shrink(0);
        Ok(Some(RecordBatch::try_new(Arc::clone(schema), columns)?))
    }

    /// Bytes.
    fn size(&self) -> usize {
        let states: usize = self.functions.iter().map(|function| function.states.size()).sum();
        states + self.groups.size() + (self.group_of_row.capacity() + self.group_of_run.capacity()) * size_of::<usize>()
    }
}

/// States of a function for many groups, also if it knows only how to keep one.
fn states_of(function: &Arc<AggregateFunctionExpr>) -> Result<Box<dyn GroupsAccumulator>> {
    if function.groups_accumulator_supported() {
        return function.create_groups_accumulator();
    }
    let function = Arc::clone(function);
    Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
}

fn evaluated(expressions: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    expressions.iter().map(|expression| expression.evaluate(batch)?.into_array(batch.num_rows())).collect()
}

/// The rows that are not like the one before.
fn starts_of_runs(keys: &[ArrayRef], rows: usize) -> Vec<u32> {
    let mut differs = vec![false; rows];
    if let Some(first) = differs.first_mut() {
        *first = true;
    }
    for key in keys {
        mark(key, &mut differs);
    }
    (0_u32..).zip(differs).filter(|(_, differs)| *differs).map(|(row, _)| row).collect()
}

/// Marks the rows in which `key` is another than in the row before.
fn mark(key: &ArrayRef, differs: &mut [bool]) {
    let plain = key.null_count() == 0;
    if let Some(times) = key.as_primitive_opt::<TimestampMicrosecondType>().filter(|_| plain) {
        mark_values::<TimestampMicrosecondType>(times.values(), differs);
    } else if let Some(numbers) = key.as_primitive_opt::<Int64Type>().filter(|_| plain) {
        mark_values::<Int64Type>(numbers.values(), differs);
    } else if let Some(texts) = key.as_string_view_opt().filter(|_| plain) {
        // Views that are the same show the same text; only others are compared.
        let views = texts.views().windows(2).zip(differs.iter_mut().skip(1)).enumerate();
        for (row, (pair, differs)) in views {
            *differs |= pair[0] != pair[1] && texts.value(row) != texts.value(row + 1);
        }
    } else if key.len() > 1 {
        let rest = key.len() - 1;
        match distinct(&key.slice(0, rest), &key.slice(1, rest)) {
            Ok(marked) => {
                differs.iter_mut().skip(1).zip(marked.values()).for_each(|(differs, marked)| *differs |= marked);
            }
            // Lists and the like are not compared here.
            Err(_) => differs.fill(true),
        }
    }
}

fn mark_values<T: ArrowPrimitiveType>(values: &[T::Native], differs: &mut [bool]) {
    for (pair, differs) in values.windows(2).zip(differs.iter_mut().skip(1)) {
        *differs |= pair[0] != pair[1];
    }
}

/// Rows that were begun to be read, as a plan that runs once.
#[derive(Debug)]
struct Replayed {
    rows: Rows,
    properties: Arc<PlanProperties>,
}

struct Rows(Mutex<Option<SendableRecordBatchStream>>);

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Rows")
    }
}

impl Replayed {
    fn new(aggregate: &AggregateExec, rows: SendableRecordBatchStream) -> Self {
        let properties = PlanProperties::clone(aggregate.input().properties());
        let properties = properties.with_partitioning(datafusion::physical_expr::Partitioning::UnknownPartitioning(1));
        Self { rows: Rows(Mutex::new(Some(rows))), properties: Arc::new(properties) }
    }
}

impl DisplayAs for Replayed {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Replayed")
    }
}

impl ExecutionPlan for Replayed {
    fn name(&self) -> &str {
        "Replayed"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    leaf!();

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        match self.rows.0.lock().take() {
            Some(rows) => Ok(rows),
            None => internal_err!("rows are replayed once"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::array::{Float64Array, Int64Array, StringViewArray, TimestampMicrosecondArray};

    #[test]
    fn a_run_ends_where_any_key_changes() {
        let long = "longer than what a view holds itself";
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "a", "b", long, long, "longer than this"]));
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1, 1, 1, 1, 2, 2]));
        assert_eq!(starts_of_runs(std::slice::from_ref(&texts), 6), [0, 2, 3, 5]);
        assert_eq!(starts_of_runs(&[texts, times], 6), [0, 2, 3, 4, 5]);
        let nulls: ArrayRef = Arc::new(Int64Array::from(vec![None, None, Some(0), Some(0), None, Some(0)]));
        assert_eq!(starts_of_runs(&[nulls], 6), [0, 2, 4, 5]);
        let one: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN]));
        assert_eq!(starts_of_runs(&[one], 1), [0]);
    }

    #[test]
    fn texts_of_several_buffers_are_compared_by_what_they_say() {
        let long = "longer than what a view holds itself";
        let parts: Vec<ArrayRef> =
            (0..2).map(|_| Arc::new(StringViewArray::from(vec![long, long])) as ArrayRef).collect();
        let both = arrow::compute::concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>()).unwrap();
        assert_eq!(starts_of_runs(&[both], 4), [0]);
    }
}
