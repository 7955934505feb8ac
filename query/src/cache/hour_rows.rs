//! Rows of one hour of a chunk, kept as a scan gives them. Time bounds that move cut one hour for an hour: it is read
//! once, and then filtered in memory.

use super::levels::{PartialCache, PartialKey, bytes_of};
use crate::leaf::leaf;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, reset_plan_states};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, execute_stream};
use futures::{StreamExt, TryStreamExt, stream};
use std::fmt;
use std::sync::Arc;

/// The rows of one hour that satisfy conditions on their time.
#[derive(Debug)]
pub(super) struct HourRowsExec {
    key: PartialKey,
    /// Reads all rows of the hour, with their time as the last column.
    hour: Arc<dyn ExecutionPlan>,
    /// On rows with their time.
    bounds: Arc<dyn PhysicalExpr>,
    cache: Arc<PartialCache>,
    /// Without the time.
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl HourRowsExec {
    pub(super) fn new(
        key: PartialKey,
        hour: Arc<dyn ExecutionPlan>,
        bounds: Arc<dyn PhysicalExpr>,
        schema: SchemaRef,
        cache: Arc<PartialCache>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Self { key, hour, bounds, cache, schema, properties: Arc::new(properties), metrics }
    }
}

impl DisplayAs for HourRowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "HourRowsExec: {}", self.bounds)
    }
}

impl ExecutionPlan for HourRowsExec {
    fn name(&self) -> &str {
        "HourRowsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    leaf!();

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (key, hour, cache) = (self.key.clone(), Arc::clone(&self.hour), self.cache.clone());
        let (bounds, schema) = (Arc::clone(&self.bounds), self.schema.clone());
        let from_memory = MetricBuilder::new(&self.metrics).counter("hours_from_memory", partition);
        let read = MetricBuilder::new(&self.metrics).counter("hours_read", partition);
        let rows = stream::once(async move {
            if let Some(kept) = cache.get_in_memory(&key, &hour.schema()) {
                from_memory.add(1);
                let batches: Vec<_> = kept.iter().cloned().map(Ok).collect();
                return Ok::<_, datafusion::common::DataFusionError>(stream::iter(batches).boxed());
            }
            read.add(1);
            read_hour(key, hour, cache, context).await
        });
        let within =
            rows.try_flatten().and_then(move |batch: RecordBatch| std::future::ready(within(&batch, &bounds, &schema)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), within)))
    }

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        let hour = reset_plan_states(Arc::clone(&self.hour))?;
        let (bounds, schema) = (Arc::clone(&self.bounds), self.schema.clone());
        Ok(Arc::new(Self::new(self.key.clone(), hour, bounds, schema, self.cache.clone())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// Reads and keeps. What turns out too large to keep flows on as it comes.
async fn read_hour(
    key: PartialKey,
    hour: Arc<dyn ExecutionPlan>,
    cache: Arc<PartialCache>,
    context: Arc<TaskContext>,
) -> Result<stream::BoxStream<'static, Result<RecordBatch>>> {
    let mut input = execute_stream(hour, context)?;
    let mut batches = Vec::new();
    while let Some(batch) = input.try_next().await? {
        batches.push(compact(&batch)?);
        if bytes_of(&batches) > cache.most_bytes() {
            cache.put_too_large(key);
            return Ok(stream::iter(batches.into_iter().map(Ok)).chain(input).boxed());
        }
    }
    cache.put_in_memory(key, Arc::new(batches.clone()));
    Ok(stream::iter(batches.into_iter().map(Ok)).boxed())
}

/// The same rows without what of their buffers belongs to others.
pub(super) fn compact(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()) as ArrayRef,
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()) as ArrayRef,
        _ => Arc::clone(column),
    });
    Ok(RecordBatch::try_new(batch.schema(), columns.collect())?)
}

/// The rows within the bounds, without their time.
fn within(batch: &RecordBatch, bounds: &Arc<dyn PhysicalExpr>, schema: &SchemaRef) -> Result<RecordBatch> {
    let holds = bounds.evaluate(batch)?.into_array(batch.num_rows())?;
    let rows = filter_record_batch(batch, holds.as_boolean())?;
    let columns = rows.columns()[..schema.fields().len()].to_vec();
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}
