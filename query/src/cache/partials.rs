//! The change of plans that lets aggregations use what is kept.

use super::chunks::{ChunkPartial, ChunkPartialsExec};
use super::levels::{PartialCache, PartialKey};
use super::signature;
use super::split::{Split, split};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, InputOrderMode};
use std::sync::Arc;

/// Changes with every change of what a partial result is.
const VERSION: u32 = 1;

/// Has aggregations take partial results of whole chunks from the cache.
#[derive(Debug)]
pub(crate) struct KeepPartials(pub(crate) Arc<PartialCache>);

impl PhysicalOptimizerRule for KeepPartials {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let partitions = config.execution.target_partitions;
        plan.transform_up(|plan| {
            let Some(aggregate) = plan.downcast_ref::<AggregateExec>() else { return Ok(Transformed::no(plan)) };
            let changed = match aggregate.mode() {
                AggregateMode::Partial => self.partial(aggregate, partitions)?,
                AggregateMode::Single => self.single(aggregate, partitions)?,
                _ => None,
            };
            Ok(changed.map_or(Transformed::no(plan), Transformed::yes))
        })
        .data()
    }

    fn name(&self) -> &str {
        "keep_partials"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

impl KeepPartials {
    /// What takes the place of the first step of an aggregation.
    fn partial(&self, aggregate: &AggregateExec, partitions: usize) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let unordered = *aggregate.input_order_mode() == InputOrderMode::Linear;
        if !unordered || aggregate.limit_options().is_some() {
            return Ok(None);
        }
        let Ok(computation) = signature::of_aggregate(aggregate) else { return Ok(None) };
        let Split { rest, chunks } = split(aggregate.input())?;
        if chunks.is_empty() {
            return Ok(None);
        }
        let on_top = |input: Arc<dyn ExecutionPlan>| -> Result<Arc<dyn ExecutionPlan>> {
            let mut schema = input.schema();
            if schema != aggregate.input_schema() {
                schema = aggregate.input_schema();
            }
            Ok(Arc::new(AggregateExec::try_new(
                AggregateMode::Partial,
                aggregate.group_expr().clone(),
                aggregate.aggr_expr().to_vec(),
                aggregate.filter_expr().to_vec(),
                input,
                schema,
            )?))
        };
        let mut parts = Vec::new();
        for whole in chunks {
            let chunk = &whole.scanned.chunk;
            let name = chunk.path.file_stem().map(|name| name.to_string_lossy()).unwrap_or_default();
            let text = format!("{VERSION} {computation} of {}", whole.signature);
            let key = PartialKey::new(&whole.scanned.tenant, &name, &text);
            parts.push(ChunkPartial { key, rows: chunk.rows, plan: on_top(whole.plan)? });
        }
        let Some(first) = parts.first() else { return Ok(None) };
        let schema = first.plan.schema();
        let kept: Arc<dyn ExecutionPlan> = Arc::new(ChunkPartialsExec::new(parts, schema, partitions, self.0.clone()));
        let all = match rest {
            Some(rest) => UnionExec::try_new(vec![on_top(rest)?, kept])?,
            None => kept,
        };
        // What stood here had one partition, and what takes its rows may count on that.
        let one = aggregate.input().output_partitioning().partition_count() == 1;
        let several = all.output_partitioning().partition_count() > 1;
        Ok(Some(if one && several { Arc::new(CoalescePartitionsExec::new(all)) } else { all }))
    }

    /// The same for an aggregation that was planned as one step.
    fn single(&self, aggregate: &AggregateExec, partitions: usize) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(partial) = self.partial(aggregate, partitions)? else { return Ok(None) };
        Ok(Some(Arc::new(AggregateExec::try_new(
            AggregateMode::Final,
            aggregate.group_expr().as_final(),
            aggregate.aggr_expr().to_vec(),
            aggregate.filter_expr().to_vec(),
            partial,
            aggregate.input_schema(),
        )?)))
    }
}
