//! The input of an aggregation taken apart: chunks that are whole within its time bounds, and the rest.

use super::signature;
use arrow::array::{ArrayRef, BooleanArray, RecordBatchOptions, TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, DynamicFilterPhysicalExpr, Literal};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr, conjunction, split_conjunction};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::union::UnionExec;
use std::sync::Arc;
use whence_schema::TenantId;
use whence_storage::Chunk;

/// The column that time bounds are about.
const TIMESTAMP: &str = "timestamp";

/// What a file of a scan is, put there by the table.
#[derive(Debug, Clone)]
pub(crate) struct ScannedChunk {
    pub(crate) chunk: Arc<Chunk>,
    pub(crate) tenant: TenantId,
}

/// A part of the input that is one chunk, and no less of it than its tenant has there.
#[derive(Debug)]
pub(super) struct WholeChunk {
    pub(super) scanned: ScannedChunk,
    pub(super) plan: Arc<dyn ExecutionPlan>,
    /// What the plan computes, but for which chunk it is.
    pub(super) signature: String,
}

/// An input taken apart.
#[derive(Debug)]
pub(super) struct Split {
    /// `None`: nothing else.
    pub(super) rest: Option<Arc<dyn ExecutionPlan>>,
    pub(super) chunks: Vec<WholeChunk>,
}

impl Split {
    fn nothing_of(plan: &Arc<dyn ExecutionPlan>) -> Self {
        Self { rest: Some(Arc::clone(plan)), chunks: Vec::new() }
    }

    /// Puts `node` on top of every part.
    fn below(self, node: &Arc<dyn ExecutionPlan>, signature: &str) -> Result<Self> {
        let on_top = |input| replace_children_if_necessary(Arc::clone(node), vec![input]);
        let chunks = self.chunks.into_iter().map(|part| {
            let signature = format!("{signature} of {}", part.signature);
            Ok(WholeChunk { plan: on_top(part.plan)?, signature, ..part })
        });
        Ok(Self { chunks: chunks.collect::<Result<_>>()?, rest: self.rest.map(on_top).transpose()? })
    }
}

/// Takes `plan` apart. Rows must pass through it one by one; where they do not, everything is rest.
pub(super) fn split(plan: &Arc<dyn ExecutionPlan>) -> Result<Split> {
    let whole = || Ok(Split::nothing_of(plan));
    if let Some(source) = plan.downcast_ref::<DataSourceExec>() {
        return match source.downcast_to_file_source::<ParquetSource>() {
            Some((config, parquet)) => split_scan(plan, config, parquet),
            None => whole(),
        };
    }
    if let Some(union) = plan.downcast_ref::<UnionExec>() {
        return split_union(union);
    }
    let children = plan.children();
    let [child] = children.as_slice() else { return whole() };
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let expressions = projection.expr().iter().map(|part| signature::of_expression(&part.expr));
        return match expressions.collect::<Option<Vec<_>>>() {
            Some(text) => split(child)?.below(plan, &format!("project {text:?}")),
            None => whole(),
        };
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>().filter(|filter| filter.fetch().is_none()) {
        return match signature::of_expression(filter.predicate()) {
            Some(text) => split(child)?.below(plan, &format!("filter {text} to {:?}", filter.projection())),
            None => whole(),
        };
    }
    let spreads = plan.downcast_ref::<RepartitionExec>().is_some_and(|spread| !spread.preserve_order());
    let gathers = plan.downcast_ref::<CoalescePartitionsExec>().is_some_and(|gather| gather.fetch().is_none());
    if spreads || gathers {
        // Rows stay as they are, and a chunk has one partition.
        let Split { rest, chunks } = split(child)?;
        let rest = rest.map(|rest| replace_children_if_necessary(Arc::clone(plan), vec![rest])).transpose()?;
        return Ok(Split { rest, chunks });
    }
    whole()
}

fn split_union(union: &UnionExec) -> Result<Split> {
    let (mut rests, mut chunks) = (Vec::new(), Vec::new());
    for input in union.children() {
        let part = split(input)?;
        rests.extend(part.rest);
        chunks.extend(part.chunks);
    }
    let rest = if rests.len() > 1 { Some(UnionExec::try_new(rests)?) } else { rests.pop() };
    Ok(Split { rest, chunks })
}

fn split_scan(plan: &Arc<dyn ExecutionPlan>, config: &FileScanConfig, source: &ParquetSource) -> Result<Split> {
    if config.limit.is_some() {
        return Ok(Split::nothing_of(plan));
    }
    let schema = source.table_schema().file_schema().clone();
    let predicate = source.filter();
    let predicate = predicate.as_ref().map(|predicate| split_conjunction(predicate)).unwrap_or_default();
    let (about_time, others): (Vec<_>, Vec<_>) =
        predicate.into_iter().filter(|part| !is_dynamic(part)).partition(|part| is_time_bound(part));
    let described = (|| {
        let mut text = format!("scan {:?} where", schema.fields());
        for part in &others {
            text += &signature::of_expression(part)?;
            text += " and ";
        }
        for part in source.projection().into_iter().flat_map(|projection| projection.iter()) {
            text += &signature::of_expression(&part.expr)?;
            text += ", ";
        }
        Some(text)
    })();
    let Some(described) = described else { return Ok(Split::nothing_of(plan)) };

    let mut edges = vec![FileGroup::default(); config.file_groups.len()];
    let mut seen: Vec<*const Chunk> = Vec::new();
    let mut chunks = Vec::new();
    for (group, files) in config.file_groups.iter().enumerate() {
        for file in files.iter() {
            match file.extension::<ScannedChunk>() {
                Some(scanned) if is_within(&scanned.chunk, &about_time, &schema) => {
                    // A large file comes in several ranges.
                    if seen.contains(&Arc::as_ptr(&scanned.chunk)) {
                        continue;
                    }
                    seen.push(Arc::as_ptr(&scanned.chunk));
                    let plan = scan_of(config, source, &others, file);
                    chunks.push(WholeChunk { scanned: scanned.clone(), plan, signature: described.clone() });
                }
                _ => edges[group].push(file.clone()),
            }
        }
    }
    edges.retain(|group| group.iter().next().is_some());
    let rest = (!edges.is_empty()).then(|| {
        let config = FileScanConfigBuilder::from(config.clone()).with_file_groups(edges).build();
        DataSourceExec::from_data_source(config) as Arc<dyn ExecutionPlan>
    });
    // A scan of no files still says which columns there are.
    let rest =
        if rest.is_none() && chunks.is_empty() { Some(Arc::new(EmptyExec::new(plan.schema())) as _) } else { rest };
    Ok(Split { rest, chunks })
}

/// The scan of one whole file, without conditions that hold for all of it.
fn scan_of(
    config: &FileScanConfig,
    source: &ParquetSource,
    conditions: &[&Arc<dyn PhysicalExpr>],
    file: &PartitionedFile,
) -> Arc<dyn ExecutionPlan> {
    let mut file = file.clone();
    file.range = None;
    let source = source.with_predicate(conjunction(conditions.iter().map(|part| Arc::clone(part))));
    let config = FileScanConfigBuilder::from(config.clone())
        .with_source(Arc::new(source))
        .with_file_groups(vec![FileGroup::new(vec![file])])
        .build();
    DataSourceExec::from_data_source(config)
}

/// A filter that tightens while the query runs, by what it has seen elsewhere.
fn is_dynamic(part: &Arc<dyn PhysicalExpr>) -> bool {
    let mut dynamic = false;
    let _ = part.apply(|part| {
        dynamic |= part.is::<DynamicFilterPhysicalExpr>();
        Ok(if dynamic { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    dynamic
}

/// Whether a condition compares a function of the timestamp that never falls with a literal: what then holds at two
/// times holds at all times between them.
fn is_time_bound(part: &Arc<dyn PhysicalExpr>) -> bool {
    let Some(comparison) = part.downcast_ref::<BinaryExpr>() else { return false };
    let compares = matches!(comparison.op(), Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq);
    let (left, right) = (comparison.left(), comparison.right());
    compares && (rises(left) && right.is::<Literal>() || rises(right) && left.is::<Literal>())
}

fn rises(expression: &Arc<dyn PhysicalExpr>) -> bool {
    if let Some(column) = expression.downcast_ref::<Column>() {
        return column.name() == TIMESTAMP;
    }
    if let Some(cast) = expression.downcast_ref::<CastExpr>() {
        return cast.cast_type().is_temporal() && rises(cast.expr());
    }
    let Some(function) = expression.downcast_ref::<ScalarFunctionExpr>() else { return false };
    match (function.fun().name(), function.args()) {
        ("time_bucket" | "date_trunc" | "date_bin", [width, time]) => width.is::<Literal>() && rises(time),
        _ => false,
    }
}

/// Whether all rows of the chunk satisfy the time bounds.
fn is_within(chunk: &Chunk, bounds: &[&Arc<dyn PhysicalExpr>], schema: &SchemaRef) -> bool {
    bounds.is_empty() || satisfied(chunk, bounds, schema).unwrap_or(false)
}

fn satisfied(chunk: &Chunk, bounds: &[&Arc<dyn PhysicalExpr>], schema: &SchemaRef) -> Option<bool> {
    // A chunk's times are those of rows before they were cut to microseconds: one of grace.
    let ends = [chunk.min_time.0.div_euclid(1_000) - 1, chunk.max_time.0.div_euclid(1_000) + 1];
    let position = schema.index_of(TIMESTAMP).ok()?;
    let times = TimestampMicrosecondArray::from(ends.to_vec()).with_timezone("UTC");
    let columns = schema.fields().iter().enumerate().map(|(i, field)| {
        if i == position { Arc::new(times.clone()) as ArrayRef } else { new_null_array(field.data_type(), ends.len()) }
    });
    let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(ends.len()));
    let schema = Arc::new(Schema::new(fields));
    let rows = RecordBatch::try_new_with_options(schema, columns.collect(), &options).ok()?;
    for bound in bounds {
        if collect_columns(bound).iter().any(|column| column.index() != position) {
            return Some(false);
        }
        let holds = bound.evaluate(&rows).ok()?.into_array(ends.len()).ok()?;
        let holds = holds.as_any().downcast_ref::<BooleanArray>()?;
        if holds.true_count() < ends.len() {
            return Some(false);
        }
    }
    Some(true)
}
