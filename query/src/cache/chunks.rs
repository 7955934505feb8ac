//! Partial results of chunks, from the cache or worked out now.

use super::hour_rows::compact;
use super::hours;
use super::levels::{Level, PartialCache, PartialKey, bytes_of};
use super::split::ChunkPlan;
use crate::leaf::leaf;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
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
    pub(super) plan: ChunkPlan,
    /// Of these hours, each of which is kept by itself. The plan has the hour as its first column.
    pub(super) hours: Option<Range<i64>>,
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
                let wanted = Wanted { chunk: &chunk, cache: &cache, schema: &schema, counters: &counters };
                if let Some(kept) = wanted.kept().await? {
                    return Ok(kept);
                }
                counters.computed.add(1);
                wanted.compute(context).await
            }
        });
        let batches = batches.try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches)))
    }

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        let reset = |chunk: &ChunkPartial| Ok(ChunkPartial { plan: chunk.plan.reset()?, ..chunk.clone() });
        let chunks = self.partitions.iter().flatten().map(reset).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(Self::new(chunks, self.schema.clone(), self.partitions.len(), self.cache.clone())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

fn streamed(batches: Vec<RecordBatch>) -> SendableBatches {
    stream::iter(batches.into_iter().map(Ok)).boxed()
}

type SendableBatches = stream::BoxStream<'static, Result<RecordBatch>>;

/// The partial result of one chunk, while it is looked for.
struct Wanted<'a> {
    chunk: &'a ChunkPartial,
    cache: &'a PartialCache,
    schema: &'a SchemaRef,
    counters: &'a Counters,
}

impl Wanted<'_> {
    /// What is kept, if that is all of it.
    async fn kept(&self) -> Result<Option<SendableBatches>> {
        let (keys, schema) = match &self.chunk.hours {
            None => (vec![self.chunk.key.clone()], self.chunk.plan.schema()),
            Some(hours) => (hours.clone().map(|hour| self.chunk.key.of_hour(hour)).collect(), self.schema.clone()),
        };
        let (mut batches, mut farthest) = (Vec::new(), Level::Memory);
        for key in &keys {
            let Some((partial, level)) = self.cache.get(key, &schema).await else { return Ok(None) };
            batches.extend(partial.iter().cloned());
            farthest = if level == Level::Redis { level } else { farthest };
        }
        match farthest {
            Level::Memory => self.counters.from_memory.add(1),
            Level::Redis => self.counters.from_redis.add(1),
        }
        // Each step of a plan takes its time for each batch.
        if keys.len() > 1 {
            batches = vec![concat_batches(&schema, &batches)?];
        }
        Ok(Some(streamed(batches)))
    }

    /// Works it out, and keeps it. What turns out too large to keep flows on as it comes.
    async fn compute(&self, context: Arc<TaskContext>) -> Result<SendableBatches> {
        let chunk = self.chunk;
        let plan = chunk.plan.make()?;
        debug_assert_eq!(plan.output_partitioning().partition_count(), 1);
        let mut input = execute_stream(plan, context)?;
        let mut batches = Vec::new();
        let mut rows = 0;
        while let Some(batch) = input.try_next().await? {
            rows += batch.num_rows() as u64;
            batches.push(batch);
            if bytes_of(&batches) > self.cache.most_bytes() || rows > chunk.rows / LEAST_REDUCTION + 1 {
                self.counters.too_large.add(1);
                self.cache.put_too_large(chunk.key.clone());
                let all = streamed(batches).chain(input);
                if chunk.hours.is_none() {
                    return Ok(all.boxed());
                }
                let schema = self.schema.clone();
                return Ok(all.map(move |batch| hours::without(&batch?, &schema)).boxed());
            }
        }
        let Some(hours) = &chunk.hours else {
            self.cache.put(chunk.key.clone(), Arc::new(batches.clone()));
            return Ok(streamed(batches));
        };
        let mut all = Vec::new();
        for hour in hours.clone() {
            let of_hour =
                batches.iter().map(|batch| hours::select(batch, hour, self.schema)).collect::<Result<Vec<_>>>()?;
            let of_hour = compact(&concat_batches(self.schema, &of_hour)?)?;
            self.cache.put(chunk.key.of_hour(hour), Arc::new(vec![of_hour.clone()]));
            all.push(of_hour);
        }
        Ok(streamed(all))
    }
}
