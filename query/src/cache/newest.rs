//! The newest rows of chunks, kept. A chunk never changes, so its newest rows that satisfy a condition are found once;
//! of what else a query reads, only what is newer than the last of them matters.
//!
//! ```text
//! SortExec(timestamp DESC, n)            NewestExec: best chunks first, until n rows are newer than all of the next,
//!   memtable + all chunks       =>       then what stands below, told how new its rows have to be
//!                                          SortExec(timestamp DESC, n)
//!                                            UnionExec
//!                                              Found        rows of chunks
//!                                              rest         memtable + chunks that a time bound cuts
//! ```

use super::hour_rows::compact;
use super::hours;
use super::levels::{PartialCache, PartialKey, bytes_of};
use super::signature;
use super::split::{ChunkPlan, TIMESTAMP, WholeChunks, split};
use crate::leaf::leaf;
use crate::times_first::{TimesFirst, first_times, tell, times_of};
use arrow::array::AsArray;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::datasource::physical_plan::{FileSource, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions, collect,
};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use futures::{StreamExt, TryStreamExt, stream};
use std::fmt;
use std::sync::{Arc, OnceLock};
use tokio::sync::OnceCell;

/// Chunks from which on planning for each of them would take longer than reading the newest.
const MOST_CHUNKS: usize = 64;

/// Rows of an entry at most: those of a screen, or of a page.
const MOST_ROWS: usize = 2_000;

/// A chunk of the input.
#[derive(Debug, Clone)]
struct NewestOfChunk {
    key: PartialKey,
    /// Its latest time in the order asked for, in microseconds: the latest, or the earliest.
    best: i64,
    /// All rows asked for.
    plan: ChunkPlan,
}

/// The first rows of a sort by time, with what chunks have to say kept.
#[derive(Debug)]
pub(crate) struct NewestExec {
    chunks: Vec<NewestOfChunk>,
    order: PhysicalSortExpr,
    fetch: usize,
    cache: Arc<PartialCache>,
    /// The times of what is no whole chunk; `None` if there is nothing else.
    times: Option<Arc<dyn ExecutionPlan>>,
    sort: Arc<dyn ExecutionPlan>,
    /// For a leaf of `sort`.
    found: Arc<OnceLock<Vec<RecordBatch>>>,
    prepared: Arc<OnceCell<()>>,
    metrics: ExecutionPlanMetricsSet,
}

impl NewestExec {
    /// `None` if no chunk's rows could be kept.
    pub(crate) fn try_new(sort: &SortExec, cache: &Arc<PartialCache>, config: &ConfigOptions) -> Result<Option<Self>> {
        let (Some(fetch), [order]) = (sort.fetch(), sort.expr().iter().as_slice()) else { return Ok(None) };
        if fetch == 0 || fetch > MOST_ROWS || !is_stored_time(&order.expr, sort.input()) {
            return Ok(None);
        }
        let parts = split(sort.input(), None)?;
        let Some(order_text) = signature::of_expression(&order.expr) else { return Ok(None) };
        let count: usize = parts.chunks.iter().map(|whole| whole.chunks.len()).sum();
        if count == 0 || count > MOST_CHUNKS {
            return Ok(None);
        }
        let descending = order.options.descending;
        let mut chunks = Vec::with_capacity(count);
        for WholeChunks { chunks: of_scan, plan, signature } in parts.chunks {
            let computation = format!("first {fetch} by {order_text} {:?} of {signature}", order.options);
            chunks.extend(of_scan.into_iter().map(|(scanned, file)| {
                let [first, last] = hours::ends(&scanned.chunk);
                NewestOfChunk {
                    key: scanned.key(&computation),
                    best: if descending { last } else { first },
                    plan: ChunkPlan::like(&plan, file),
                }
            }));
        }
        chunks.sort_by_key(|chunk| if descending { -chunk.best } else { chunk.best });

        let found: Arc<OnceLock<Vec<RecordBatch>>> = Arc::default();
        let leaf: Arc<dyn ExecutionPlan> = Arc::new(Found::new(found.clone(), sort.input().schema()));
        let rest = parts.rest.filter(|rest| !rest.is::<EmptyExec>());
        let input = match &rest {
            Some(rest) => UnionExec::try_new(vec![leaf, Arc::clone(rest)])?,
            None => leaf,
        };
        let times = match rest {
            Some(rest) => times_of(&over(sort, rest)?, config)?,
            None => None,
        };
        let sort = Arc::new(over(sort, input)?);
        let (cache, metrics) = (cache.clone(), ExecutionPlanMetricsSet::new());
        let order = order_of(&sort)?;
        Ok(Some(Self { chunks, order, fetch, cache, times, sort, found, prepared: Arc::default(), metrics }))
    }
}

fn order_of(sort: &SortExec) -> Result<PhysicalSortExpr> {
    match sort.expr().iter().as_slice() {
        [order] => Ok(order.clone()),
        _ => internal_err!("the order is one column"),
    }
}

/// The same sort, with the filter it tightens, over another input.
fn over(sort: &SortExec, input: Arc<dyn ExecutionPlan>) -> Result<SortExec> {
    let several = input.output_partitioning().partition_count() > 1;
    let gathers = several && !sort.preserve_partitioning();
    let input = if gathers { Arc::new(CoalescePartitionsExec::new(input)) } else { input };
    let plan = Arc::new(sort.clone()) as Arc<dyn ExecutionPlan>;
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    match plan.replace_children(vec![input], options)?.downcast_ref::<SortExec>() {
        Some(sort) => Ok(sort.clone()),
        None => internal_err!("a sort stays a sort"),
    }
}

/// Whether an expression is the timestamp that is stored, and of which chunks know the ends.
fn is_stored_time(expression: &Arc<dyn PhysicalExpr>, plan: &Arc<dyn ExecutionPlan>) -> bool {
    let Some(column) = expression.downcast_ref::<Column>() else { return false };
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let below = projection.expr().get(column.index());
        return below.is_some_and(|below| is_stored_time(&below.expr, projection.input()));
    }
    if let Some(source) = plan.downcast_ref::<DataSourceExec>() {
        let Some((_, parquet)) = source.downcast_to_file_source::<ParquetSource>() else { return true };
        let projected = parquet.projection().and_then(|columns| columns.iter().nth(column.index()));
        return projected
            .is_some_and(|read| read.expr.downcast_ref::<Column>().is_some_and(|read| read.name() == TIMESTAMP));
    }
    // The nodes that are left keep columns where they are, unless they say so.
    let keeps = ["UnionExec", "RepartitionExec", "CooperativeExec", "CoalescePartitionsExec"].contains(&plan.name());
    let filters = plan.downcast_ref::<FilterExec>().is_some_and(|filter| filter.projection().is_none());
    (keeps || filters) && plan.children().into_iter().all(|child| is_stored_time(expression, child))
}

/// Looks chunks up until the rest cannot matter, and tells the sort.
struct Search {
    chunks: Vec<NewestOfChunk>,
    order: PhysicalSortExpr,
    fetch: usize,
    cache: Arc<PartialCache>,
    times: Option<Arc<dyn ExecutionPlan>>,
    sort: Arc<dyn ExecutionPlan>,
    found: Arc<OnceLock<Vec<RecordBatch>>>,
    from_memory: Count,
    computed: Count,
}

impl Search {
    async fn run(self, context: Arc<TaskContext>) -> Result<()> {
        let descending = self.order.options.descending;
        let (mut rows, mut times) = (Vec::new(), Vec::new());
        let mut last = None;
        for chunk in &self.chunks {
            let matters = |last: i64| if descending { chunk.best >= last } else { chunk.best <= last };
            if last.is_some_and(|last| !matters(last)) {
                break;
            }
            for batch in self.of_chunk(chunk, &context).await?.iter() {
                times.extend(self.times_in(batch)?);
                rows.push(batch.clone());
            }
            last = self.last_of(&mut times);
        }
        if let (None, Some(rest)) = (last, &self.times) {
            let of_rest = first_times(Arc::clone(rest), self.fetch, descending, context).await?;
            times.extend(of_rest.into_iter().flatten());
            last = self.last_of(&mut times);
        }
        if let Some(last) = last {
            tell(&self.sort, last)?;
        }
        let _ = self.found.set(rows);
        Ok(())
    }

    async fn of_chunk(&self, chunk: &NewestOfChunk, context: &Arc<TaskContext>) -> Result<Arc<Vec<RecordBatch>>> {
        if let Some(kept) = self.cache.get_in_memory(&chunk.key, &chunk.plan.schema()) {
            self.from_memory.add(1);
            return Ok(kept);
        }
        self.computed.add(1);
        let order = LexOrdering::from([self.order.clone()]);
        let sort = SortExec::new(order, chunk.plan.make()?).with_fetch(Some(self.fetch));
        let options = context.session_config().options();
        let plan = FilterPushdown::new_post_optimization().optimize(Arc::new(sort), options)?;
        let plan = TimesFirst::default().optimize(plan, options)?;
        let rows = collect(plan, Arc::clone(context)).await?;
        let rows = Arc::new(rows.iter().map(compact).collect::<Result<Vec<_>>>()?);
        if bytes_of(&rows) <= self.cache.most_bytes() {
            self.cache.put_in_memory(chunk.key.clone(), rows.clone());
        }
        Ok(rows)
    }

    fn times_in(&self, batch: &RecordBatch) -> Result<Vec<i64>> {
        let column = self.order.expr.evaluate(batch)?.into_array(batch.num_rows())?;
        match column.as_primitive_opt::<TimestampMicrosecondType>() {
            Some(times) => Ok(times.iter().flatten().collect()),
            None => internal_err!("times are in microseconds, not {}", column.data_type()),
        }
    }

    /// The time of the last row asked for, if there are as many; `times` are left with no more.
    fn last_of(&self, times: &mut Vec<i64>) -> Option<i64> {
        if times.len() < self.fetch {
            return None;
        }
        if self.order.options.descending {
            times.sort_unstable_by_key(|time| std::cmp::Reverse(*time));
        } else {
            times.sort_unstable();
        }
        times.truncate(self.fetch);
        times.last().copied()
    }
}

impl DisplayAs for NewestExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "NewestExec: chunks={}", self.chunks.len())
    }
}

impl ExecutionPlan for NewestExec {
    fn name(&self) -> &str {
        "NewestExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.sort.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.sort]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(sort) = children.pop() else { return Ok(self) };
        Ok(Arc::new(Self {
            chunks: self.chunks.clone(),
            order: self.order.clone(),
            fetch: self.fetch,
            cache: self.cache.clone(),
            times: self.times.clone(),
            sort,
            found: self.found.clone(),
            prepared: self.prepared.clone(),
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (prepared, sort) = (self.prepared.clone(), Arc::clone(&self.sort));
        let counter = |name| MetricBuilder::new(&self.metrics).counter(name, partition);
        let search = Search {
            chunks: self.chunks.clone(),
            order: self.order.clone(),
            fetch: self.fetch,
            cache: self.cache.clone(),
            times: self.times.clone(),
            sort: Arc::clone(&self.sort),
            found: self.found.clone(),
            from_memory: counter("newest_from_memory"),
            computed: counter("newest_computed"),
        };
        let rows = stream::once(async move {
            prepared.get_or_try_init(|| search.run(context.clone())).await?;
            sort.execute(partition, context)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.sort.schema(), rows.try_flatten().boxed())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// Rows that are found before this runs.
#[derive(Debug)]
struct Found {
    rows: Arc<OnceLock<Vec<RecordBatch>>>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl Found {
    fn new(rows: Arc<OnceLock<Vec<RecordBatch>>>, schema: SchemaRef) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { rows, schema, properties: Arc::new(properties) }
    }
}

impl DisplayAs for Found {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Found")
    }
}

impl ExecutionPlan for Found {
    fn name(&self) -> &str {
        "Found"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    leaf!();

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(rows) = self.rows.get() else { return internal_err!("rows are found first") };
        let rows = stream::iter(rows.clone().into_iter().map(Ok));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows)))
    }
}
