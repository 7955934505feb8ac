//! The change of plans that lets aggregations use what is kept.

use super::chunks::{ChunkPartial, ChunkPartialsExec};
use super::hours::HOUR;
use super::levels::PartialCache;
use super::signature;
use super::split::{ChunkPlan, CutChunk, Split, WholeChunks, split};
use crate::group_runs::GroupRunsExec;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, InputOrderMode};
use std::sync::Arc;

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
        if !is_unordered(aggregate) || aggregate.limit_options().is_some() {
            return Ok(None);
        }
        let Ok(computation) = signature::of_aggregate(aggregate) else { return Ok(None) };
        let by_hour = |cut: &CutChunk| cut.scanned.key(&format!("{computation} by hour of {}", cut.signature));
        let keeps_hours = Some(&self.0).filter(|_| !aggregate.group_expr().has_grouping_set());
        let mut parts = split(aggregate.input(), keeps_hours)?;
        // Groups told apart by the hour are more of them; where they cannot be kept, that is for nothing.
        if parts.cut.iter().any(|cut| self.0.is_too_large(&by_hour(cut))) {
            parts = split(aggregate.input(), None)?;
        }
        if parts.is_nothing() {
            return Ok(None);
        }
        let Split { rest, chunks, cut, .. } = parts;
        let mut parts = Vec::new();
        for WholeChunks { chunks, plan, signature } in chunks {
            let computation = format!("{computation} of {signature}");
            let pattern = first_step(aggregate, aggregate.group_expr().clone(), plan)?;
            parts.extend(chunks.into_iter().map(|(scanned, file)| ChunkPartial {
                key: scanned.key(&computation),
                rows: scanned.chunk.rows,
                plan: ChunkPlan::like(&pattern, file),
                hours: None,
            }));
        }
        for cut in cut {
            let key = by_hour(&cut);
            let plan = first_step(aggregate, hours_and(aggregate.group_expr(), &cut.plan), cut.plan)?;
            let (plan, hours) = (ChunkPlan::made(plan), Some(cut.hours));
            parts.push(ChunkPartial { key, rows: cut.scanned.chunk.rows, plan, hours });
        }
        let rest = rest.map(|rest| first_step(aggregate, aggregate.group_expr().clone(), rest)).transpose()?;
        let all = match rest {
            Some(rest) if parts.is_empty() => rest,
            rest => {
                let schema = partial_schema(aggregate)?;
                let kept = Arc::new(ChunkPartialsExec::new(parts, schema, partitions, self.0.clone()));
                let kept: Arc<dyn ExecutionPlan> = kept;
                match rest {
                    Some(rest) => UnionExec::try_new(vec![rest, kept])?,
                    None => kept,
                }
            }
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

/// The first step of an aggregation over an input of its own.
fn first_step(
    aggregate: &AggregateExec,
    group: PhysicalGroupBy,
    input: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = input.schema();
    let step = AggregateExec::try_new(
        AggregateMode::Partial,
        group,
        aggregate.aggr_expr().to_vec(),
        aggregate.filter_expr().to_vec(),
        input,
        schema,
    )?;
    Ok(match GroupRunsExec::try_new(&step) {
        Some(runs) => Arc::new(runs),
        None => Arc::new(step),
    })
}

/// Whether an aggregation makes no use of the order of its rows. That by groups with a single value (a tenant's id) is none.
fn is_unordered(aggregate: &AggregateExec) -> bool {
    let (rows, groups) = (aggregate.input().equivalence_properties(), aggregate.group_expr().expr());
    let is_single = |group: &usize| groups.get(*group).is_some_and(|(expr, _)| rows.is_expr_constant(expr).is_some());
    match aggregate.input_order_mode() {
        InputOrderMode::Linear => true,
        InputOrderMode::PartiallySorted(by) => by.iter().all(is_single),
        InputOrderMode::Sorted => (0..groups.len()).all(|group| is_single(&group)),
    }
}

/// Columns of what the first step gives.
fn partial_schema(aggregate: &AggregateExec) -> Result<SchemaRef> {
    let input = Arc::new(EmptyExec::new(aggregate.input().schema()));
    Ok(first_step(aggregate, aggregate.group_expr().clone(), input)?.schema())
}

/// The same groups, told apart by the hour, which is the last column of `input`.
fn hours_and(group: &PhysicalGroupBy, input: &Arc<dyn ExecutionPlan>) -> PhysicalGroupBy {
    let position = input.schema().fields().len() - 1;
    let hour: Arc<dyn PhysicalExpr> = Arc::new(Column::new(HOUR, position));
    let mut groups = vec![(hour, HOUR.to_owned())];
    groups.extend(group.expr().iter().cloned());
    PhysicalGroupBy::new_single(groups)
}
