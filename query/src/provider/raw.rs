//! A hypertable with its stored columns: what is in memory and what is in chunk files, for one tenant.

use super::chunk_reader::ChunkReaders;
use super::lookup::implied;
use super::selection::Selection;
use crate::cache::split::ScannedChunk;
use crate::text::needed;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use chrono::DateTime;
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Result, ScalarValue, Statistics, internal_err, plan_datafusion_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown};
use datafusion::object_store::ObjectMeta;
use datafusion::object_store::path::Path;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::prelude::{col, lit};
use std::sync::Arc;
use whence_schema::tables::timestamp_type;
use whence_schema::{Table, TenantId, UnixNanos};
use whence_storage::{Chunk, Constant, Snapshot, TableSnapshot, TextCondition};

const TENANT_ID: &str = "tenant_id";
const TIMESTAMP: &str = "timestamp";

/// Files of a scan up to which the reader is told what is constant in each: it looks at that once more for each file,
/// which is more than what a look-up by bloom filters costs.
const MOST_DESCRIBED: usize = 64;

/// Stored columns of one table, one tenant's rows, at one moment.
#[derive(Debug, Clone)]
pub(crate) struct RawTable {
    table: Table,
    schema: SchemaRef,
    rows: Arc<TableSnapshot>,
    tenant: TenantId,
}

impl RawTable {
    pub(crate) fn new(table: Table, rows: Arc<TableSnapshot>, tenant: TenantId) -> Self {
        Self { table, schema: table.stored_schema(), rows, tenant }
    }

    /// The same table with the rows of a tenant in a snapshot, or with none.
    pub(crate) fn over(&self, rows: Option<(&Snapshot, &TenantId)>) -> Self {
        let tenant = rows.map_or(&self.tenant, |(_, tenant)| tenant).clone();
        let rows = match rows {
            Some((snapshot, _)) => rows_of(self.table, snapshot),
            None => Arc::default(),
        };
        Self::new(self.table, rows, tenant)
    }

    /// Rows in memory that pass `predicate`.
    fn memory(&self, columns: &[usize], partitions: usize) -> Result<Arc<dyn ExecutionPlan>> {
        let mut parts: Vec<Vec<RecordBatch>> = vec![Vec::new(); partitions.min(self.rows.batches.len()).max(1)];
        let count = parts.len();
        for (i, batch) in self.rows.batches.iter().enumerate() {
            parts[i % count].push(batch.clone());
        }
        Ok(MemorySourceConfig::try_new_exec(&parts, self.schema.clone(), Some(columns.to_vec()))?)
    }

    /// Which chunks to read, and what of them. The newest come first: with `ORDER BY timestamp DESC LIMIT n` the rest is
    /// then skipped by their statistics.
    async fn selection(&self, range: &TimeRange, texts: TextCondition, threads: usize) -> Result<Selection> {
        let mut chunks: Vec<_> = self.rows.chunks.iter().filter(|chunk| range.touches(chunk)).cloned().collect();
        chunks.sort_by_key(|chunk| std::cmp::Reverse(chunk.max_time));
        Selection::of(chunks, texts, threads).await
    }

    /// Rows in a selection; `described` if the reader is told what is constant in each chunk.
    fn chunks(
        &self,
        state: &dyn Session,
        columns: &[usize],
        selection: &Selection,
        described: bool,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let partitions = state.config_options().execution.target_partitions.min(selection.chunks.len()).max(1);
        let mut groups = vec![FileGroup::default(); partitions];
        for (i, selected) in selection.chunks.iter().enumerate() {
            let scanned = ScannedChunk { chunk: Arc::clone(&selected.chunk), tenant: self.tenant.clone() };
            let mut file = file(&selected.chunk)?.with_extension(scanned);
            if described {
                file = file.with_statistics(Arc::new(statistics(&selected.chunk, &self.schema)?));
            }
            groups[i % partitions].push(match selected.access_plan() {
                Some(plan) => file.with_extension(plan),
                None => file,
            });
        }
        let url = ObjectStoreUrl::local_filesystem();
        let environment = state.runtime_env();
        let readers = ChunkReaders(CachedParquetFileReaderFactory::new(
            environment.object_store(&url)?,
            environment.cache_manager.get_file_metadata_cache(),
        ));
        let source = ParquetSource::new(self.schema.clone())
            .with_table_parquet_options(state.table_options().parquet.clone())
            .with_parquet_file_reader_factory(Arc::new(readers))
            .with_pushdown_filters(true)
            .with_reorder_filters(true)
            .with_enable_page_index(true)
            .with_bloom_filter_on_read(true);
        selection.report(&source);
        let rows = selection.chunks.iter().map(|read| usize::try_from(read.chunk.rows).unwrap_or(usize::MAX));
        let statistics = Statistics::new_unknown(&self.schema)
            .with_num_rows(Precision::Inexact(rows.fold(0, usize::saturating_add)));
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(Some(columns.to_vec()))?
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    /// Positions of what is read: what is asked for, what filters need, and the tenant.
    fn columns_read(&self, projection: &[usize], filters: &[Expr]) -> Result<Vec<usize>> {
        let mut columns = projection.to_vec();
        columns.push(self.schema.index_of(TENANT_ID)?);
        for filter in filters {
            for column in filter.column_refs() {
                columns.push(self.schema.index_of(&column.name)?);
            }
        }
        columns.sort_unstable();
        columns.dedup();
        Ok(columns)
    }
}

fn file(chunk: &Chunk) -> Result<PartitionedFile> {
    let location = Path::from_absolute_path(&chunk.path)
        .map_err(|error| plan_datafusion_err!("chunk {}: {error}", chunk.path.display()))?;
    // Chunks never change: size and path say all about them.
    let meta =
        ObjectMeta { location, last_modified: DateTime::UNIX_EPOCH, size: chunk.bytes, e_tag: None, version: None };
    Ok(PartitionedFile::new_from_meta(meta))
}

/// The rows of a table.
pub(crate) fn rows_of(table: Table, snapshot: &Snapshot) -> Arc<TableSnapshot> {
    match table {
        Table::Events => snapshot.events.clone(),
        Table::Metrics => snapshot.metrics.clone(),
        Table::Correlations => snapshot.correlations.clone(),
    }
}

/// What is known of a file's columns without reading it: those that are the same in all rows, and the time. The reader
/// then puts values in place of constant columns, in conditions, too.
fn statistics(chunk: &Chunk, schema: &SchemaRef) -> Result<Statistics> {
    let rows = usize::try_from(chunk.rows).unwrap_or(usize::MAX);
    let mut known = Statistics::new_unknown(schema).with_num_rows(Precision::Exact(rows));
    for (name, constant) in chunk.known_constants() {
        let Ok(index) = schema.index_of(name) else { continue };
        let (column, data_type) = (&mut known.column_statistics[index], schema.field(index).data_type());
        match constant {
            Constant::Null => column.null_count = Precision::Exact(rows),
            Constant::Text(text) => {
                let value = ScalarValue::Utf8View(Some(text.to_string())).cast_to(data_type)?;
                column.null_count = Precision::Exact(0);
                (column.min_value, column.max_value) = (Precision::Exact(value.clone()), Precision::Exact(value));
            }
        }
    }
    let DataType::Timestamp(_, zone) = timestamp_type() else { return Ok(known) };
    // Exact, or readers would not skip files by it. Nothing takes the ends for rows: one microsecond too far, they say that
    // no row is beyond them.
    let time = |micros: i64| Precision::Exact(ScalarValue::TimestampMicrosecond(Some(micros), zone.clone()));
    let column = &mut known.column_statistics[schema.index_of(TIMESTAMP)?];
    // A chunk's times are those of rows before they were cut to microseconds: one of grace.
    column.min_value = time(chunk.min_time.micros() - 1);
    column.max_value = time(chunk.max_time.micros() + 1);
    column.null_count = Precision::Exact(0);
    Ok(known)
}

/// Has the chunks know their constants, where reading may block; whether readers should be told. What cannot be read is for
/// them to tell.
async fn know_constants(selection: &Selection) -> bool {
    if selection.chunks.len() > MOST_DESCRIBED {
        return false;
    }
    let chunks = selection.chunks.iter().map(|selected| &selected.chunk);
    let unknown: Vec<_> = chunks.filter(|chunk| !chunk.knows_its_constants()).cloned().collect();
    if !unknown.is_empty() {
        let read = tokio::task::spawn_blocking(move || unknown.iter().all(|chunk| chunk.constants().is_ok()));
        let _ = read.await;
    }
    true
}

#[async_trait]
impl TableProvider for RawTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Everything but subqueries is decided here.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        filters
            .iter()
            .map(|filter| {
                let foreign = filter.exists(|expr| {
                    Ok(matches!(
                        expr,
                        Expr::ScalarSubquery(_)
                            | Expr::InSubquery(_)
                            | Expr::Exists(_)
                            | Expr::OuterReferenceColumn(..)
                    ))
                })?;
                Ok(if foreign || filter.is_volatile() {
                    TableProviderFilterPushDown::Unsupported
                } else {
                    TableProviderFilterPushDown::Exact
                })
            })
            .collect()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let projection = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let mut conditions = vec![col(TENANT_ID).eq(lit(ScalarValue::Utf8View(Some(self.tenant.as_str().to_owned()))))];
        for filter in filters.iter().flat_map(|filter| split_conjunction(filter)) {
            conditions.extend(implied(filter));
            conditions.push(filter.clone());
        }
        let columns = self.columns_read(&projection, &conditions)?;
        let read_schema = Arc::new(self.schema.project(&columns)?);
        let range = TimeRange::of(&conditions);
        let texts = conditions.iter().map(needed).fold(TextCondition::always(), TextCondition::and);
        let input_schema = DFSchema::try_from(read_schema.clone())?;
        let compiled = |conditions: Vec<Expr>| match conjunction(conditions) {
            Some(condition) => state.create_physical_expr(condition, &input_schema),
            None => internal_err!("rows are always those of a tenant"),
        };
        let condition = compiled(conditions.clone())?;
        let partitions = state.config_options().execution.target_partitions;
        let mut inputs = Vec::new();
        if !self.rows.batches.is_empty() {
            inputs.push(filtered(self.memory(&columns, partitions)?, &condition)?);
        }
        let selection = self.selection(&range, texts, partitions).await?;
        let described = know_constants(&selection).await;
        // In chunks that are all within the range nothing is decoded just to compare it with the range.
        let (within, cut) = selection.split(|chunk| range.covers(chunk));
        if !cut.is_empty() {
            inputs.push(filtered(self.chunks(state, &columns, &cut, described)?, &condition)?);
        }
        if !within.is_empty() {
            conditions.retain(|condition| time_bound(condition).is_none());
            inputs.push(filtered(self.chunks(state, &columns, &within, described)?, &compiled(conditions)?)?);
        }
        let rows = match inputs.len() {
            0 => Arc::new(EmptyExec::new(read_schema.clone())) as Arc<dyn ExecutionPlan>,
            1 => inputs.remove(0),
            _ => UnionExec::try_new(inputs)?,
        };
        let output = projection.iter().map(|index| {
            let name = self.schema.field(*index).name();
            Ok((Arc::new(Column::new_with_schema(name, &read_schema)?) as Arc<dyn PhysicalExpr>, name.clone()))
        });
        Ok(Arc::new(ProjectionExec::try_new(output.collect::<Result<Vec<_>>>()?, rows)?))
    }
}

/// The optimizer moves the filter into Parquet sources, and removes it only where they take all of it.
fn filtered(input: Arc<dyn ExecutionPlan>, condition: &Arc<dyn PhysicalExpr>) -> Result<Arc<dyn ExecutionPlan>> {
    Ok(Arc::new(FilterExec::try_new(condition.clone(), input)?))
}

/// Times that rows can have under a set of conditions, both ends included.
#[derive(Debug, PartialEq)]
struct TimeRange {
    from: i64,
    to: i64,
}

impl TimeRange {
    fn of(conditions: &[Expr]) -> Self {
        let mut range = Self { from: i64::MIN, to: i64::MAX };
        for (op, bound) in conditions.iter().filter_map(time_bound) {
            if op != Operator::Lt && op != Operator::LtEq {
                range.from = range.from.max(bound);
            }
            if op != Operator::Gt && op != Operator::GtEq {
                range.to = range.to.min(bound);
            }
        }
        range
    }

    /// Whether all rows of the chunk are within, for ends that are excluded, too.
    fn covers(&self, chunk: &Chunk) -> bool {
        let (UnixNanos(min), UnixNanos(max)) = (chunk.min_time, chunk.max_time);
        min.saturating_sub(1_000) >= self.from && max.saturating_add(1_000) <= self.to
    }

    fn touches(&self, chunk: &Chunk) -> bool {
        // A chunk's times are those of rows before they were cut to microseconds: one of grace.
        let UnixNanos(min) = chunk.min_time;
        let UnixNanos(max) = chunk.max_time;
        max.saturating_add(1_000) >= self.from && min.saturating_sub(1_000) <= self.to
    }
}

/// How a condition compares the timestamp, and with which nanosecond; `None` if it does something else.
pub(crate) fn time_bound(condition: &Expr) -> Option<(Operator, i64)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return None };
    let (op, bound) = if is_timestamp(left) {
        (*op, nanos(right)?)
    } else if is_timestamp(right) {
        (op.swap()?, nanos(left)?)
    } else {
        return None;
    };
    let bounds = matches!(op, Operator::Gt | Operator::GtEq | Operator::Eq | Operator::Lt | Operator::LtEq);
    bounds.then_some((op, bound))
}

/// The timestamp, as precise as it is stored.
fn is_timestamp(expr: &Expr) -> bool {
    match expr {
        Expr::Column(column) => column.name == TIMESTAMP,
        Expr::Cast(cast) => {
            let precise =
                matches!(cast.field.data_type(), DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _));
            precise && is_timestamp(&cast.expr)
        }
        _ => false,
    }
}

fn nanos(expr: &Expr) -> Option<i64> {
    let Expr::Literal(value, _) = expr else { return None };
    match value {
        ScalarValue::TimestampSecond(Some(value), _) => value.checked_mul(1_000_000_000),
        ScalarValue::TimestampMillisecond(Some(value), _) => value.checked_mul(1_000_000),
        ScalarValue::TimestampMicrosecond(Some(value), _) => value.checked_mul(1_000),
        ScalarValue::TimestampNanosecond(Some(value), _) => Some(*value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_on_the_timestamp_bound_the_time_whichever_side_it_stands_on() {
        let at = |micros| lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())));
        let conditions = [
            col("timestamp").gt_eq(at(10)),
            at(30).gt(col("timestamp")),
            col("created_at").lt(at(1)),
            col("name").eq(lit("x")),
        ];
        assert_eq!(TimeRange::of(&conditions), TimeRange { from: 10_000, to: 30_000 });
        assert_eq!(TimeRange::of(&[]), TimeRange { from: i64::MIN, to: i64::MAX });
    }
}
