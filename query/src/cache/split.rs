//! The input of an aggregation taken apart: chunks that are whole within its time bounds, and the rest.

use super::hour_rows::HourRowsExec;
use super::levels::{PartialCache, PartialKey};
use super::{hours, signature};
use arrow::array::{ArrayRef, BooleanArray, RecordBatchOptions, TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
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
use datafusion::physical_plan::execution_plan::{replace_children_if_necessary, reset_plan_states};
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr, ProjectionExprs};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::union::UnionExec;
use std::ops::Range;
use std::sync::Arc;
use whence_schema::TenantId;
use whence_storage::Chunk;

/// The column that time bounds are about.
pub(super) const TIMESTAMP: &str = "timestamp";
/// Its name where it goes along for the bounds only.
const TIME: &str = "__time";

/// Changes with every change of what a partial result is.
const VERSION: u32 = 2;

/// What a file of a scan is, put there by the table.
#[derive(Debug, Clone)]
pub(crate) struct ScannedChunk {
    pub(crate) chunk: Arc<Chunk>,
    pub(crate) tenant: TenantId,
}

impl ScannedChunk {
    /// Under which a result of `computation` over the chunk is kept.
    pub(super) fn key(&self, computation: &str) -> PartialKey {
        let name = self.chunk.path.file_stem().map(|name| name.to_string_lossy()).unwrap_or_default();
        PartialKey::new(&self.tenant, &name, &format!("{VERSION} {computation}"))
    }
}

/// Parts of the input that are one chunk each, and no less of it than its tenant has there.
#[derive(Debug)]
pub(super) struct WholeChunks {
    pub(super) chunks: Vec<(ScannedChunk, PartitionedFile)>,
    /// Over the first of them: those of the others differ by the file.
    pub(super) plan: Arc<dyn ExecutionPlan>,
    /// What the plan computes, but for which chunk it is.
    pub(super) signature: String,
}

/// The plan over one chunk, made when it is needed: what most of them give is kept, and found sooner than they are made.
#[derive(Debug, Clone)]
pub(super) struct ChunkPlan {
    pattern: Arc<dyn ExecutionPlan>,
    /// The file that takes the place of the one of the pattern.
    file: Option<PartitionedFile>,
}

impl ChunkPlan {
    /// A plan that is made.
    pub(super) fn made(plan: Arc<dyn ExecutionPlan>) -> Self {
        Self { pattern: plan, file: None }
    }

    /// One like `pattern` over another file.
    pub(super) fn like(pattern: &Arc<dyn ExecutionPlan>, file: PartitionedFile) -> Self {
        Self { pattern: Arc::clone(pattern), file: Some(file) }
    }

    pub(super) fn schema(&self) -> SchemaRef {
        self.pattern.schema()
    }

    pub(super) fn make(&self) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(file) = &self.file else { return Ok(Arc::clone(&self.pattern)) };
        let over_file = |plan: Arc<dyn ExecutionPlan>| {
            let scan = plan.downcast_ref::<DataSourceExec>();
            let Some((config, _)) = scan.and_then(|scan| scan.downcast_to_file_source::<ParquetSource>()) else {
                return Ok(Transformed::no(plan));
            };
            Ok(Transformed::yes(over_one_file(config.clone(), file)))
        };
        Arc::clone(&self.pattern).transform_up(over_file).data()
    }

    /// As it was before it was executed.
    pub(super) fn reset(&self) -> Result<Self> {
        match self.file {
            // Each time another one is made.
            Some(_) => Ok(self.clone()),
            None => Ok(Self::made(reset_plan_states(Arc::clone(&self.pattern))?)),
        }
    }
}

fn over_one_file(config: impl Into<FileScanConfigBuilder>, file: &PartitionedFile) -> Arc<dyn ExecutionPlan> {
    let mut file = file.clone();
    file.range = None;
    let builder: FileScanConfigBuilder = config.into();
    DataSourceExec::from_data_source(builder.with_file_groups(vec![FileGroup::new(vec![file])]).build())
}

/// A chunk that time bounds cut. Hours that are whole within the bounds are kept one by one, so that bounds that move find
/// most of them; the others are part of the rest.
#[derive(Debug)]
pub(super) struct CutChunk {
    pub(super) scanned: ScannedChunk,
    /// The hours of the chunk, with the hour as the last column.
    pub(super) plan: Arc<dyn ExecutionPlan>,
    pub(super) signature: String,
    pub(super) hours: Range<i64>,
}

/// An input taken apart.
#[derive(Debug)]
pub(super) struct Split {
    /// `None`: nothing else.
    pub(super) rest: Option<Arc<dyn ExecutionPlan>>,
    pub(super) chunks: Vec<WholeChunks>,
    pub(super) cut: Vec<CutChunk>,
    /// True when rows of hours are kept in `rest`.
    pub(super) keeps_rows: bool,
}

impl Split {
    fn nothing_of(plan: &Arc<dyn ExecutionPlan>) -> Self {
        Self { rest: Some(Arc::clone(plan)), chunks: Vec::new(), cut: Vec::new(), keeps_rows: false }
    }

    /// True when nothing of it is kept.
    pub(super) fn is_nothing(&self) -> bool {
        self.chunks.is_empty() && self.cut.is_empty() && !self.keeps_rows
    }

    /// Puts `node` on top of every part.
    fn below(self, node: &Arc<dyn ExecutionPlan>, signature: &str) -> Result<Self> {
        let on_top = |input| replace_children_if_necessary(Arc::clone(node), vec![input]);
        let cut = self.cut.into_iter().map(|part| {
            let signature = format!("{signature} of {}", part.signature);
            Ok(CutChunk { plan: with_hour(node, part.plan)?, signature, ..part })
        });
        let cut = cut.collect::<Result<_>>()?;
        let chunks = self.chunks.into_iter().map(|part| {
            let signature = format!("{signature} of {}", part.signature);
            Ok(WholeChunks { plan: on_top(part.plan)?, signature, ..part })
        });
        Ok(Self { chunks: chunks.collect::<Result<_>>()?, cut, rest: self.rest.map(on_top).transpose()?, ..self })
    }
}

/// Takes `plan` apart; with a cache for hours, chunks that are cut by the hour, too. Rows must pass through it one by one;
/// where they do not, everything is rest.
pub(super) fn split(plan: &Arc<dyn ExecutionPlan>, by_hour: Option<&Arc<PartialCache>>) -> Result<Split> {
    let whole = || Ok(Split::nothing_of(plan));
    if let Some(source) = plan.downcast_ref::<DataSourceExec>() {
        return match source.downcast_to_file_source::<ParquetSource>() {
            Some((config, parquet)) => split_scan(plan, config, parquet, by_hour),
            None => whole(),
        };
    }
    if let Some(union) = plan.downcast_ref::<UnionExec>() {
        return split_union(union, by_hour);
    }
    let children = plan.children();
    let [child] = children.as_slice() else { return whole() };
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let expressions = projection.expr().iter().map(|part| signature::of_expression(&part.expr));
        return match expressions.collect::<Option<Vec<_>>>() {
            Some(text) => split(child, by_hour)?.below(plan, &format!("project {text:?}")),
            None => whole(),
        };
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>().filter(|filter| filter.fetch().is_none()) {
        return match signature::of_expression(filter.predicate()) {
            Some(text) => split(child, by_hour)?.below(plan, &format!("filter {text} to {:?}", filter.projection())),
            None => whole(),
        };
    }
    let spreads = plan.downcast_ref::<RepartitionExec>().is_some_and(|spread| !spread.preserve_order());
    let gathers = plan.downcast_ref::<CoalescePartitionsExec>().is_some_and(|gather| gather.fetch().is_none());
    if spreads || gathers {
        // Rows stay as they are, and a chunk has one partition.
        let parts = split(child, by_hour)?;
        let rest = parts.rest.map(|rest| replace_children_if_necessary(Arc::clone(plan), vec![rest])).transpose()?;
        return Ok(Split { rest, ..parts });
    }
    whole()
}

fn split_union(union: &UnionExec, by_hour: Option<&Arc<PartialCache>>) -> Result<Split> {
    let (mut rests, mut chunks, mut cut) = (Vec::new(), Vec::new(), Vec::new());
    let mut keeps_rows = false;
    for input in union.children() {
        let part = split(input, by_hour)?;
        keeps_rows |= part.keeps_rows;
        rests.extend(part.rest);
        chunks.extend(part.chunks);
        cut.extend(part.cut);
    }
    let rest = if rests.len() > 1 { Some(UnionExec::try_new(rests)?) } else { rests.pop() };
    Ok(Split { rest, chunks, cut, keeps_rows })
}

fn split_scan(
    plan: &Arc<dyn ExecutionPlan>,
    config: &FileScanConfig,
    source: &ParquetSource,
    by_hour: Option<&Arc<PartialCache>>,
) -> Result<Split> {
    if config.limit.is_some() {
        return Ok(Split::nothing_of(plan));
    }
    let schema = source.table_schema().file_schema().clone();
    let predicate = source.filter();
    let predicate = predicate.as_ref().map(|predicate| split_conjunction(predicate)).unwrap_or_default();
    let (about_time, others): (Vec<_>, Vec<_>) =
        predicate.into_iter().filter(|part| !is_dynamic(part)).partition(|part| is_time_bound(part));
    let described = (|| {
        // The optimizer puts conditions into one order or another.
        let mut conditions = others.iter().map(|part| signature::of_expression(part)).collect::<Option<Vec<_>>>()?;
        conditions.sort_unstable();
        let mut text = format!("scan {:?} where {} get ", schema.fields(), conditions.join(" and "));
        for part in source.projection().into_iter().flat_map(|projection| projection.iter()) {
            text += &signature::of_expression(&part.expr)?;
            text += ", ";
        }
        Some(text)
    })();
    let Some(described) = described else { return Ok(Split::nothing_of(plan)) };

    let scan = Scan { config, source, others: &others, about_time: &about_time };
    let mut edges = vec![FileGroup::default(); config.file_groups.len()];
    let mut seen: Vec<*const Chunk> = Vec::new();
    let (mut whole_chunks, mut cut, mut remains) = (Vec::new(), Vec::new(), Vec::new());
    let mut keeps_rows = false;
    let mut within = are_within(config, &about_time, &schema).into_iter();
    for (group, files) in config.file_groups.iter().enumerate() {
        for file in files.iter() {
            let Some(scanned) = file.extension::<ScannedChunk>() else {
                edges[group].push(file.clone());
                continue;
            };
            let whole = within.next().unwrap_or(false);
            let hours = by_hour
                .filter(|_| !whole)
                .and_then(|cache| Some((hours::cut(&scanned.chunk, &about_time, &schema)?, cache)));
            if !whole && hours.is_none() {
                edges[group].push(file.clone());
                continue;
            }
            // A large file comes in several ranges.
            if seen.contains(&Arc::as_ptr(&scanned.chunk)) {
                continue;
            }
            seen.push(Arc::as_ptr(&scanned.chunk));
            let scanned = scanned.clone();
            match hours {
                None => whole_chunks.push((scanned, file.clone())),
                Some((hours, cache)) => {
                    remains.extend(scan.outside(file, &scanned, &hours, &described, cache)?);
                    keeps_rows |= !hours.parts.is_empty();
                    if !hours.whole.is_empty() {
                        let (plan, hours) = (scan.by_hour(file, &hours.whole)?, hours.whole);
                        let signature = described.clone();
                        cut.push(CutChunk { scanned, plan, signature, hours });
                    }
                }
            }
        }
    }
    edges.retain(|group| group.iter().next().is_some());
    if !edges.is_empty() {
        let config = FileScanConfigBuilder::from(config.clone()).with_file_groups(edges).build();
        remains.push(DataSourceExec::from_data_source(config));
    }
    let chunks = match whole_chunks.first() {
        Some((_, file)) => vec![WholeChunks { plan: scan.whole(file), chunks: whole_chunks, signature: described }],
        None => Vec::new(),
    };
    // A scan of no files still says which columns there are.
    if remains.is_empty() && chunks.is_empty() && cut.is_empty() {
        remains.push(Arc::new(EmptyExec::new(plan.schema())));
    }
    let rest = if remains.len() > 1 { Some(UnionExec::try_new(remains)?) } else { remains.pop() };
    Ok(Split { rest, chunks, cut, keeps_rows })
}

/// A scan of chunks, to be made into scans of one of them.
struct Scan<'a> {
    config: &'a FileScanConfig,
    source: &'a ParquetSource,
    /// Conditions, apart from those on time.
    others: &'a [&'a Arc<dyn PhysicalExpr>],
    about_time: &'a [&'a Arc<dyn PhysicalExpr>],
}

impl Scan<'_> {
    fn of(&self, source: ParquetSource, file: &PartitionedFile) -> Arc<dyn ExecutionPlan> {
        over_one_file(FileScanConfigBuilder::from(self.config.clone()).with_source(Arc::new(source)), file)
    }

    /// All of the file, without conditions that hold for all of it.
    fn whole(&self, file: &PartitionedFile) -> Arc<dyn ExecutionPlan> {
        self.of(self.source.with_predicate(conjunction(self.others.iter().map(|part| Arc::clone(part)))), file)
    }

    /// The rows within the time bounds that are not in hours whole within them.
    fn outside(
        &self,
        file: &PartitionedFile,
        scanned: &ScannedChunk,
        cut: &hours::Cut,
        described: &str,
        cache: &Arc<PartialCache>,
    ) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let schema = self.source.table_schema().file_schema();
        let mut kept: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        for &hour in &cut.parts {
            let key = scanned.key(&format!("rows of hour {hour} of {described}"));
            if cache.is_too_large(&key) {
                let outside = if cut.whole.is_empty() { None } else { Some(hours::outside(&cut.whole, schema)?) };
                let conditions = self.others.iter().chain(self.about_time).map(|part| Arc::clone(part));
                let predicate = conjunction(conditions.chain(outside));
                return Ok(vec![self.of(self.source.with_predicate(predicate), file)]);
            }
            let time = ProjectionExpr { expr: hours::time(schema)?, alias: TIME.to_owned() };
            let all = self.with_column(time, hours::inside(&(hour..hour + 1), schema)?, file)?;
            let columns: Vec<_> = all.schema().fields().iter().cloned().collect();
            let Some((_, columns)) = columns.split_last() else { return internal_err!("a scan without columns") };
            let bounds = on_last_column(conjunction(self.about_time.iter().map(|part| Arc::clone(part))), columns)?;
            let schema = Arc::new(Schema::new(columns.to_vec()));
            kept.push(Arc::new(HourRowsExec::new(key, all, bounds, schema, Arc::clone(cache))));
        }
        Ok(kept)
    }

    /// The hours of the file, with the hour as the last column.
    fn by_hour(&self, file: &PartitionedFile, hours: &Range<i64>) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.source.table_schema().file_schema();
        self.with_column(hours::column(schema)?, hours::inside(hours, schema)?, file)
    }

    /// What of the file satisfies a condition, with one more column.
    fn with_column(
        &self,
        column: ProjectionExpr,
        condition: Arc<dyn PhysicalExpr>,
        file: &PartitionedFile,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let conditions = self.others.iter().map(|part| Arc::clone(part)).chain([condition]);
        let mut source = ParquetSource::new(self.source.table_schema().clone())
            .with_table_parquet_options(self.source.table_parquet_options().clone())
            .with_predicate(conjunction(conditions));
        if let Some(readers) = self.source.parquet_file_reader_factory() {
            source = source.with_parquet_file_reader_factory(Arc::clone(readers));
        }
        let columns = self.source.projection().into_iter().flat_map(|columns| columns.iter().cloned());
        let columns = ProjectionExprs::new(columns.chain([column]));
        let config = FileScanConfigBuilder::from(self.config.clone()).with_source(Arc::new(source)).build();
        let Some(projected) = config.file_source().try_pushdown_projection(&columns)? else {
            return internal_err!("a scan of Parquet files takes every projection");
        };
        Ok(over_one_file(FileScanConfigBuilder::from(config).with_source(projected), file))
    }
}

/// A condition on the timestamp of stored rows, for rows that have it behind `columns`.
fn on_last_column(condition: Arc<dyn PhysicalExpr>, columns: &[FieldRef]) -> Result<Arc<dyn PhysicalExpr>> {
    let last: Arc<dyn PhysicalExpr> = Arc::new(Column::new(TIME, columns.len()));
    let moved = condition.transform_up(|part| {
        Ok(if part.is::<Column>() { Transformed::yes(Arc::clone(&last)) } else { Transformed::no(part) })
    });
    moved.data()
}

/// A node on top of rows that have the hour as their last column, which it passes on.
fn with_hour(node: &Arc<dyn ExecutionPlan>, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let hour = input.schema().fields().len() - 1;
    let column = || Arc::new(Column::new(hours::HOUR, hour)) as Arc<dyn PhysicalExpr>;
    if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        let passed = ProjectionExpr { expr: column(), alias: hours::HOUR.to_owned() };
        return Ok(Arc::new(ProjectionExec::try_new(projection.expr().iter().cloned().chain([passed]), input)?));
    }
    if let Some(filter) = node.downcast_ref::<FilterExec>() {
        let projection =
            filter.projection().as_ref().map(|kept| kept.iter().copied().chain([hour]).collect::<Vec<_>>());
        let filter = FilterExecBuilder::new(Arc::clone(filter.predicate()), input).apply_projection(projection)?;
        return Ok(Arc::new(filter.build()?));
    }
    internal_err!("{} has no place in an input that is taken apart", node.name())
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

/// Of each chunk of a scan, whether all of its rows satisfy the time bounds.
fn are_within(config: &FileScanConfig, bounds: &[&Arc<dyn PhysicalExpr>], schema: &SchemaRef) -> Vec<bool> {
    let files = config.file_groups.iter().flat_map(FileGroup::iter);
    let ends: Vec<i64> = files
        .filter_map(|file| file.extension::<ScannedChunk>())
        .flat_map(|scanned| hours::ends(&scanned.chunk))
        .collect();
    // What holds at both ends holds at all times between them.
    let satisfied = if bounds.is_empty() { Some(vec![true; ends.len()]) } else { satisfied_at(ends, bounds, schema) };
    satisfied.unwrap_or_default().chunks(2).map(|ends| ends.iter().all(|holds| *holds)).collect()
}

/// For each of some times, in microseconds, whether the time bounds hold; `None` if that cannot be told.
pub(super) fn satisfied_at(
    times: Vec<i64>,
    bounds: &[&Arc<dyn PhysicalExpr>],
    schema: &SchemaRef,
) -> Option<Vec<bool>> {
    let position = schema.index_of(TIMESTAMP).ok()?;
    let count = times.len();
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"));
    let columns =
        schema.fields().iter().enumerate().map(|(i, field)| {
            if i == position { Arc::clone(&times) } else { new_null_array(field.data_type(), count) }
        });
    let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    let schema = Arc::new(Schema::new(fields));
    let rows = RecordBatch::try_new_with_options(schema, columns.collect(), &options).ok()?;
    let mut satisfied = vec![true; count];
    for bound in bounds {
        if collect_columns(bound).iter().any(|column| column.index() != position) {
            return None;
        }
        let holds = bound.evaluate(&rows).ok()?.into_array(count).ok()?;
        let holds = holds.as_any().downcast_ref::<BooleanArray>()?;
        satisfied.iter_mut().zip(holds).for_each(|(all, this)| *all &= this == Some(true));
    }
    Some(satisfied)
}
