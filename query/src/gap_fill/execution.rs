//! Fills gaps: takes all rows, sorts them by group and time, and puts rows between them.

use super::node::Fill;
use crate::error::QueryError;
use crate::functions::bucket::Buckets;
use crate::functions::time_bucket::nanos_of;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, UInt32Array};
use arrow::compute::{SortColumn, SortOptions, cast, concat_batches, lexsort_to_indices, partition, take};
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, exec_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};
use std::fmt;
use std::sync::Arc;

/// Buckets from start to finish.
const MAX_BUCKETS: usize = 1_000_000;
/// Rows of one answer.
const MAX_ROWS: usize = 10_000_000;
/// Rows of one batch.
const BATCH: usize = 8_192;

#[derive(Debug, Clone)]
pub(super) struct GapFillExec {
    input: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
    fills: Vec<Fill>,
    buckets: Buckets,
    /// Microseconds, included.
    start: i64,
    /// Microseconds, excluded.
    finish: i64,
    properties: Arc<PlanProperties>,
}

impl GapFillExec {
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        schema: Schema,
        fills: Vec<Fill>,
        buckets: Buckets,
        start: i64,
        finish: i64,
    ) -> Self {
        let schema = Arc::new(schema);
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        ));
        Self { input, schema, fills, buckets, start, finish, properties }
    }

    /// Starts of all buckets, in microseconds.
    fn times(&self) -> Result<Vec<i64>> {
        let micros = |nanos: i128| i64::try_from(nanos.div_euclid(1_000)).ok();
        let mut times = Vec::new();
        let mut next = self.buckets.start(i128::from(self.start) * 1_000);
        while let Some(start) = next {
            let Some(at) = micros(start).filter(|at| *at < self.finish) else { break };
            if times.len() >= MAX_BUCKETS {
                let what =
                    format!("time_bucket_gapfill of more than {MAX_BUCKETS} buckets (widen them, or narrow the time)");
                return Err(QueryError::NotSupported { what }.into());
            }
            times.push(at);
            next = self.buckets.next(start);
        }
        Ok(times)
    }

    fn filled(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let Some(time_at) = self.fills.iter().position(|fill| *fill == Fill::Time) else {
            return exec_err!("no column with the bucket");
        };
        let groups: Vec<usize> =
            self.fills.iter().enumerate().filter(|(_, fill)| **fill == Fill::Group).map(|(at, _)| at).collect();
        let options = Some(SortOptions { descending: false, nulls_first: false });
        let sort_column = |at: &usize| SortColumn { values: rows.column(*at).clone(), options };
        let order: Vec<SortColumn> = groups.iter().chain([&time_at]).map(sort_column).collect();
        let order = lexsort_to_indices(&order, None)?;
        let sorted: Vec<ArrayRef> =
            rows.columns().iter().map(|column| take(column, &order, None)).collect::<Result<_, _>>()?;
        let time_type = rows.column(time_at).data_type().clone();
        let micros = cast(&sorted[time_at], &DataType::Timestamp(TimeUnit::Microsecond, None))?;
        let micros = cast(&micros, &DataType::Int64)?;
        let ranges = match (groups.is_empty(), rows.num_rows()) {
            // All rows are one group, even if there are none.
            (true, count) => std::iter::once(0..count).collect(),
            (false, 0) => Vec::new(),
            (false, _) => partition(&groups.iter().map(|at| sorted[*at].clone()).collect::<Vec<_>>())?.ranges(),
        };
        let layout = Layout::of(&ranges, micros.as_primitive::<Int64Type>(), &self.times()?)?;
        let columns = sorted.iter().zip(&self.fills).map(|(column, fill)| {
            let array = match fill {
                Fill::Time => layout.time_column(&time_type)?,
                Fill::Group => take(column, &layout.of_group, None)?,
                Fill::Null => take(column, &layout.row, None)?,
                Fill::Locf(nulls_too) => take(column, &layout.carried(column, *nulls_too), None)?,
                Fill::Interpolate => layout.interpolated(column)?,
            };
            Ok(array)
        });
        Ok(RecordBatch::try_new(self.schema.clone(), columns.collect::<Result<Vec<_>>>()?)?)
    }
}

/// Where each row of the answer comes from.
struct Layout {
    /// Row of the input; none for a gap.
    row: UInt32Array,
    /// Some row of the same group.
    of_group: UInt32Array,
    /// Number of the group.
    group: Vec<usize>,
    /// Bucket, in microseconds; NULL as in the input.
    time: Int64Array,
}

impl Layout {
    fn of(ranges: &[std::ops::Range<usize>], micros: &Int64Array, times: &[i64]) -> Result<Self> {
        let (mut row, mut of_group, mut group, mut time) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (number, range) in ranges.iter().enumerate() {
            let mut rows = range.clone().peekable();
            let mut gaps = times.iter().copied().peekable();
            let first = (!range.is_empty()).then_some(range.start as u32);
            loop {
                let next_row = rows.peek().map(|row| micros.is_valid(*row).then(|| micros.value(*row)));
                let from_row = match (next_row, gaps.peek()) {
                    (None, None) => break,
                    (Some(_), None) => true,
                    (None, Some(_)) => false,
                    // A row without a bucket comes last.
                    (Some(None), Some(_)) => false,
                    (Some(Some(at)), Some(gap)) if at == *gap => {
                        gaps.next();
                        true
                    }
                    (Some(Some(at)), Some(gap)) => at < *gap,
                };
                if from_row {
                    let Some(at) = rows.next() else { break };
                    row.push(Some(at as u32));
                    time.push(next_row.flatten());
                } else {
                    row.push(None);
                    time.push(gaps.next());
                }
                of_group.push(first);
                group.push(number);
                if row.len() > MAX_ROWS {
                    let what = format!("time_bucket_gapfill with more than {MAX_ROWS} rows (widen the buckets)");
                    return Err(QueryError::NotSupported { what }.into());
                }
            }
        }
        Ok(Self { row: row.into(), of_group: of_group.into(), group, time: time.into() })
    }

    fn time_column(&self, data_type: &DataType) -> Result<ArrayRef> {
        let DataType::Timestamp(unit, _) = data_type else { return exec_err!("a bucket of type {data_type}") };
        let unit = nanos_of(*unit);
        let values: Int64Array = self.time.unary_opt(|micros| i64::try_from(i128::from(micros) * 1_000 / unit).ok());
        Ok(cast(&values, data_type)?)
    }

    /// Rows whose values are carried forward.
    fn carried(&self, column: &ArrayRef, nulls_too: bool) -> UInt32Array {
        let (mut last, mut group) = (None, usize::MAX);
        let rows = self.row.iter().zip(&self.group).map(|(row, of)| {
            if *of != group {
                (last, group) = (None, *of);
            }
            match row {
                Some(row) if !(nulls_too && column.is_null(row as usize)) => {
                    last = Some(row);
                    last
                }
                _ => last,
            }
        });
        rows.collect()
    }

    /// Values on the lines between the rows.
    fn interpolated(&self, column: &ArrayRef) -> Result<ArrayRef> {
        if !column.data_type().is_numeric() {
            let what = format!("interpolate of {} (use locf)", column.data_type());
            return Err(QueryError::NotSupported { what }.into());
        }
        let values = cast(column, &DataType::Float64)?;
        let values = values.as_primitive::<Float64Type>();
        let at = |position: usize| {
            let row = self.row.is_valid(position).then(|| self.row.value(position) as usize)?;
            (values.is_valid(row) && self.time.is_valid(position))
                .then(|| (self.time.value(position) as f64, values.value(row)))
        };
        let mut following: Vec<Option<usize>> = vec![None; self.row.len()];
        for position in (1..self.row.len()).rev() {
            let next = if self.row.is_valid(position) { Some(position) } else { following[position] };
            following[position - 1] = next.filter(|next| self.group[*next] == self.group[position - 1]);
        }
        let mut result: Vec<Option<f64>> = Vec::with_capacity(self.row.len());
        let mut before: Option<usize> = None;
        for (position, after) in following.into_iter().enumerate() {
            if before.is_some_and(|before| self.group[before] != self.group[position]) {
                before = None;
            }
            if self.row.is_valid(position) {
                before = Some(position);
                result.push(at(position).map(|(_, value)| value));
                continue;
            }
            let line = before.and_then(at).zip(after.and_then(at));
            result.push(line.map(|((x0, y0), (x1, y1))| {
                let x = self.time.value(position) as f64;
                (y0 * (x1 - x) + y1 * (x - x0)) / (x1 - x0)
            }));
        }
        // Whole numbers are the nearest ones.
        let whole = column.data_type().is_integer();
        let result = result.into_iter().map(|value| value.map(|value| if whole { value.round() } else { value }));
        let result: arrow::array::Float64Array = result.collect();
        Ok(cast(&result, column.data_type())?)
    }
}

impl DisplayAs for GapFillExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "GapFillExec: {:?}", self.fills)
    }
}

impl ExecutionPlan for GapFillExec {
    fn name(&self) -> &str {
        "GapFillExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition]
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
        match children.pop() {
            Some(input) => Ok(Arc::new(Self { input, ..self.as_ref().clone() })),
            None => Ok(self),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context.clone())?;
        let this = self.clone();
        let rows = async move {
            let memory = MemoryConsumer::new("GapFill").register(context.memory_pool());
            let mut input = input;
            let mut batches = Vec::new();
            while let Some(batch) = input.next().await {
                let batch = batch?;
                // Once as they came, once sorted and filled.
                memory.try_grow(batch.get_array_memory_size() * 3)?;
                batches.push(batch);
            }
            let all = concat_batches(&input.schema(), &batches)?;
            drop(batches);
            let filled = this.filled(&all)?;
            let pieces: Vec<Result<RecordBatch>> = (0..filled.num_rows())
                .step_by(BATCH)
                .map(|from| Ok(filled.slice(from, BATCH.min(filled.num_rows() - from))))
                .collect();
            drop(memory);
            Ok::<_, datafusion::error::DataFusionError>(stream::iter(pieces))
        };
        let stream = stream::once(rows).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), stream)))
    }
}
