//! Partial results of chunks, from the cache or worked out now.

use super::hours;
use super::levels::{Level, Partial, PartialCache, PartialKey, bytes_of};
use crate::leaf::leaf;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties, execute_stream,
};
use futures::{StreamExt, TryStreamExt, stream};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A chunk whose rows become at least this many times fewer is worth keeping.
const LEAST_REDUCTION: u64 = 4;

/// The aggregation of one chunk.
#[derive(Debug, Clone)]
pub(super) struct ChunkPartial {
    pub(super) key: PartialKey,
    pub(super) rows: u64,
    pub(super) plan: Arc<dyn ExecutionPlan>,
    /// Only these hours of what is kept, which has the hour as its first column.
    pub(super) hours: Option<Range<i64>>,
}

impl ChunkPartial {
    /// What of the partial result is wanted.
    fn wanted(&self, batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        match &self.hours {
            Some(hours) => hours::select(batch, hours, schema),
            None => Ok(batch.clone()),
        }
    }
}

/// Partial results of whole chunks.
#[derive(Debug)]
pub(super) struct ChunkPartialsExec {
    /// By output partition.
    partitions: Vec<Vec<ChunkPartial>>,
    cache: Arc<PartialCache>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ChunkPartialsExec {
    /// Deals `chunks` out to at most `partitions` parts, which are worked on side by side.
    pub(super) fn new(
        mut chunks: Vec<ChunkPartial>,
        schema: SchemaRef,
        partitions: usize,
        cache: Arc<PartialCache>,
    ) -> Self {
        chunks.sort_by_key(|chunk| std::cmp::Reverse(chunk.rows));
        let mut parts = vec![Vec::new(); partitions.clamp(1, chunks.len().max(1))];
        let count = parts.len();
        for (i, chunk) in chunks.into_iter().enumerate() {
            parts[i % count].push(chunk);
        }
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(count),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Self { partitions: parts, cache, schema, properties: Arc::new(properties), metrics }
    }

    fn counters(&self, partition: usize) -> Counters {
        let counter = |name| MetricBuilder::new(&self.metrics).counter(name, partition);
        Counters {
            from_memory: counter("partials_from_memory"),
            from_redis: counter("partials_from_redis"),
            computed: counter("partials_computed"),
            too_large: counter("partials_too_large_to_keep"),
        }
    }
}

#[derive(Clone)]
struct Counters {
    from_memory: Count,
    from_redis: Count,
    computed: Count,
    too_large: Count,
}

impl DisplayAs for ChunkPartialsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let chunks: usize = self.partitions.iter().map(Vec::len).sum();
        write!(f, "ChunkPartialsExec: chunks={chunks}")
    }
}

impl ExecutionPlan for ChunkPartialsExec {
    fn name(&self) -> &str {
        "ChunkPartialsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    leaf!();

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let counters = self.counters(partition);
        let chunks = self.partitions.get(partition).cloned().unwrap_or_default();
        let (cache, schema) = (self.cache.clone(), self.schema.clone());
        let batches = stream::iter(chunks).then(move |chunk| {
            let (cache, schema, context, counters) = (cache.clone(), schema.clone(), context.clone(), counters.clone());
            async move {
                let rows = match cache.get(&chunk.key, &chunk.plan.schema()).await {
                    Some((partial, level)) => {
                        match level {
                            Level::Memory => counters.from_memory.add(1),
                            Level::Redis => counters.from_redis.add(1),
                        }
                        kept(&partial)
                    }
                    None => {
                        counters.computed.add(1);
                        compute(&chunk, &cache, context, &counters).await?
                    }
                };
                Ok::<_, DataFusionError>(rows.map(move |batch| chunk.wanted(&batch?, &schema)))
            }
        });
        let batches = batches.try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches)))
    }

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        let reset = |chunk: &ChunkPartial| {
            let plan = datafusion::physical_plan::execution_plan::reset_plan_states(Arc::clone(&chunk.plan))?;
            Ok(ChunkPartial { plan, ..chunk.clone() })
        };
        let chunks = self.partitions.iter().flatten().map(reset).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(Self::new(chunks, self.schema.clone(), self.partitions.len(), self.cache.clone())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

fn kept(partial: &Partial) -> SendableBatches {
    let batches: Vec<_> = partial.iter().cloned().map(Ok).collect();
    stream::iter(batches).boxed()
}

type SendableBatches = stream::BoxStream<'static, Result<RecordBatch>>;

/// Works one chunk out. What turns out too large to keep flows on as it comes.
async fn compute(
    chunk: &ChunkPartial,
    cache: &PartialCache,
    context: Arc<TaskContext>,
    counters: &Counters,
) -> Result<SendableBatches> {
    debug_assert_eq!(chunk.plan.output_partitioning().partition_count(), 1);
    let mut input = execute_stream(Arc::clone(&chunk.plan), context)?;
    let mut batches = Vec::new();
    let mut rows = 0;
    while let Some(batch) = input.try_next().await? {
        rows += batch.num_rows() as u64;
        batches.push(batch);
        if bytes_of(&batches) > cache.most_bytes() || rows > chunk.rows / LEAST_REDUCTION + 1 {
            counters.too_large.add(1);
            cache.put_too_large(chunk.key.clone());
            return Ok(stream::iter(batches.into_iter().map(Ok)).chain(input).boxed());
        }
    }
    let partial = Arc::new(batches);
    cache.put(chunk.key.clone(), partial.clone());
    Ok(kept(&partial))
}
