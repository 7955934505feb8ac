//! Rows of several chunks in one, in the order of the table, some left out. Blocks.
//!
//! ```text
//! chunk -> sorted runs -> batches, rows left out -> merge by sort key -> (parts of metrics put together) -> new chunk
//! ```
//!
//! Memory: some pages of each run that is open, at most [`OPEN_RUNS`] at a time (more are merged in rounds), and one row
//! group of the output.

use super::counts::CountedColumns;
use super::duplicates::Positions;
use super::file::{ChunkFile, Place};
use super::text::TextIndexBuilder;
use super::writer::finish;
use super::{Chunk, Facts, layout};
use crate::StorageError;
use crate::control::removals::RowsByKey;
use crate::memtable::rows;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringViewArray};
use arrow::compute::{filter_record_batch, interleave, not};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;
use hashbrown::HashSet;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;
use whence_schema::Table;
use whence_schema::tables::{events, metrics};

/// Key in a chunk's footer: the first row group of each run of sorted rows, separated by commas.
pub(crate) const SORTED_RUNS: &str = "whence.sorted_runs";
/// Runs merged at a time.
const OPEN_RUNS: usize = 24;
const BATCH_ROWS: usize = 2_048;
const SLICE_ROWS: usize = 8_192;

/// Decides which rows of a batch of stored columns are meant.
pub(crate) type Selection = Arc<dyn Fn(&RecordBatch) -> Result<BooleanArray, StorageError> + Send + Sync>;

/// Rows that are left out.
#[derive(Clone)]
pub(crate) enum Without {
    Nothing,
    Positions(Positions),
    Rows(Selection),
}

/// What [`merge`] made.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// `None` when no row was left.
    pub(crate) chunk: Option<Arc<Chunk>>,
    /// What was left out, as the ledger counts it.
    pub(crate) removed: RowsByKey,
    /// Rows left out.
    pub(crate) removed_rows: u64,
}

/// Writes the rows of `inputs`, which are of the day and bucket of `place`, as one sorted chunk.
pub(crate) fn merge(place: &Place<'_>, inputs: &[(Arc<Chunk>, Without)]) -> Result<Merged, StorageError> {
    let mut merged = Merged::default();
    let mut runs = Vec::new();
    for (chunk, without) in inputs {
        runs.extend(runs_of(chunk)?.into_iter().map(|groups| (chunk.clone(), groups, without.clone())));
    }
    while runs.len() > OPEN_RUNS {
        let round: Vec<_> = runs.drain(..OPEN_RUNS).collect();
        if let Some(chunk) = merge_runs(place, round, &mut merged)? {
            // Only a step on the way: its file goes with it.
            chunk.obsolete.store(true, std::sync::atomic::Ordering::Release);
            let groups = 0..chunk.footer()?.metadata().num_row_groups();
            runs.push((Arc::new(chunk), groups, Without::Nothing));
        }
    }
    merged.chunk = merge_runs(place, runs, &mut merged)?.map(Arc::new);
    Ok(merged)
}

/// Row groups of a chunk that are sorted together.
fn runs_of(chunk: &Chunk) -> Result<Vec<Range<usize>>, StorageError> {
    let metadata = chunk.footer()?.metadata();
    let starts = run_starts(metadata);
    let ends = starts.iter().skip(1).copied().chain([metadata.num_row_groups()]);
    Ok(starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect())
}

/// First row groups of the runs of a file.
pub(crate) fn run_starts(metadata: &ParquetMetaData) -> Vec<usize> {
    let groups = metadata.num_row_groups();
    let written = metadata.file_metadata().key_value_metadata().and_then(|pairs| {
        let value = pairs.iter().find(|pair| pair.key == SORTED_RUNS)?.value.as_deref()?;
        value.split(',').map(|start| start.parse().ok()).collect::<Option<Vec<usize>>>()
    });
    let valid = |starts: &Vec<usize>| {
        starts.first() == Some(&0) && starts.is_sorted_by(|a, b| a < b) && starts.iter().all(|start| *start < groups)
    };
    // Every row group is sorted in itself.
    written.filter(valid).unwrap_or_else(|| (0..groups).collect())
}

/// The footer's word for runs that begin at these row groups.
pub(crate) fn sorted_runs(starts: &[usize]) -> KeyValue {
    let starts: Vec<String> = starts.iter().map(usize::to_string).collect();
    KeyValue::new(SORTED_RUNS.to_owned(), starts.join(","))
}

type RunToMerge = (Arc<Chunk>, Range<usize>, Without);

fn merge_runs(place: &Place<'_>, runs: Vec<RunToMerge>, merged: &mut Merged) -> Result<Option<Chunk>, StorageError> {
    let mut open = Vec::with_capacity(runs.len());
    for run in runs {
        let mut run = Run::open(place.table, run)?;
        if run.advance(merged)? {
            open.push(run);
        }
    }
    let mut order: Vec<usize> = (0..open.len()).collect();
    order.sort_by(|a, b| open[*a].compare(&open[*b]));
    if order.is_empty() {
        return Ok(None);
    }
    let rows = open.iter().map(|run| run.rows).sum();
    let mut output = Output::create(place, rows)?;
    let mut slice: Vec<(usize, usize)> = Vec::with_capacity(SLICE_ROWS);
    while let Some(least) = order.first().copied() {
        let run = &open[least];
        let ahead = order.get(1).map_or(run.remaining(), |next| run.rows_before(&open[*next]));
        let taken = ahead.min(SLICE_ROWS - slice.len());
        slice.extend((run.row..run.row + taken).map(|row| (least, row)));
        let run = &mut open[least];
        run.row += taken;
        let exhausted = run.remaining() == 0;
        if exhausted || slice.len() == SLICE_ROWS {
            output.write(gather(place.table, &open, &slice)?)?;
            slice.clear();
        }
        order.remove(0);
        if !exhausted || open[least].advance(merged)? {
            let position = order.partition_point(|other| open[*other].compare(&open[least]).is_lt());
            order.insert(position, least);
        }
    }
    output.finish()
}

/// A run being read.
struct Run {
    table: Table,
    reader: ParquetRecordBatchReader,
    batch: RecordBatch,
    row: usize,
    /// Rows of the file before what is read next.
    next_row: u64,
    rows: u64,
    without: Without,
}

impl Run {
    fn open(table: Table, (chunk, groups, without): RunToMerge) -> Result<Self, StorageError> {
        let footer = chunk.footer()?.clone();
        let rows_of = |groups: Range<usize>| -> u64 {
            footer.metadata().row_groups()[groups].iter().map(|group| group.num_rows().unsigned_abs()).sum()
        };
        let (next_row, rows) = (rows_of(0..groups.start), rows_of(groups.clone()));
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(chunk.open()?, footer)
            .with_row_groups(groups.collect())
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(StorageError::chunk(&chunk.path))?;
        let batch = RecordBatch::new_empty(table.stored_schema());
        Ok(Self { table, reader, batch, row: 0, next_row, rows, without })
    }

    /// Reads on to the next row that stays; false when there is none.
    fn advance(&mut self, merged: &mut Merged) -> Result<bool, StorageError> {
        self.row = 0;
        for batch in self.reader.by_ref() {
            let batch = batch?;
            let first = self.next_row;
            self.next_row += batch.num_rows() as u64;
            let leaving = match &self.without {
                Without::Nothing => None,
                Without::Positions(rows) => {
                    let leaves = (0..batch.num_rows() as u64).map(|row| Some(rows.contains(first + row)));
                    Some(leaves.collect::<BooleanArray>())
                }
                Without::Rows(selection) => Some(selection(&batch)?),
            };
            self.batch = match leaving {
                Some(leaving) if leaving.true_count() > 0 => {
                    // A row for which a condition is null is not meant.
                    let leaving = BooleanArray::from_iter(leaving.iter().map(|leaves| Some(leaves == Some(true))));
                    let removed = filter_record_batch(&batch, &leaving)?;
                    merged.removed_rows += removed.num_rows() as u64;
                    if let Some(columns) = CountedColumns::of(self.table) {
                        columns.count(&removed, &mut merged.removed);
                    }
                    filter_record_batch(&batch, &not(&leaving)?)?
                }
                _ => batch,
            };
            if self.batch.num_rows() > 0 {
                return Ok(true);
            }
        }
        self.batch = RecordBatch::new_empty(self.table.stored_schema());
        Ok(false)
    }

    fn remaining(&self) -> usize {
        self.batch.num_rows() - self.row
    }

    fn texts(&self) -> impl Iterator<Item = &StringViewArray> {
        layout::sort_texts(self.table).iter().map(|column| self.batch.column(*column).as_string_view())
    }

    fn micros(&self, row: usize) -> i64 {
        self.batch.column(events::column::TIMESTAMP).as_primitive::<TimestampMicrosecondType>().value(row)
    }

    fn compare_rows(&self, row: usize, other: &Self, other_row: usize) -> Ordering {
        self.texts()
            .zip(other.texts())
            .map(|(a, b)| a.value(row).cmp(b.value(other_row)))
            .find(|ordering| ordering.is_ne())
            .unwrap_or_else(|| self.micros(row).cmp(&other.micros(other_row)))
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.compare_rows(self.row, other, other.row)
    }

    /// How many rows from here on do not come after the first of `other`; at least this one, which is the least of all.
    fn rows_before(&self, other: &Self) -> usize {
        let (mut low, mut high) = (self.row + 1, self.batch.num_rows());
        // Mostly few rows: step wider and wider before halving.
        let mut step = 1;
        while low + step < high && self.compare_rows(low + step, other, other.row).is_le() {
            low += step;
            step *= 2;
        }
        high = high.min(low + step);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.compare_rows(middle, other, other.row).is_le() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low - self.row
    }
}

fn gather(table: Table, open: &[Run], slice: &[(usize, usize)]) -> Result<RecordBatch, StorageError> {
    let mut position = vec![usize::MAX; open.len()];
    let mut taking_part = Vec::new();
    let mut places = Vec::with_capacity(slice.len());
    for (run, row) in slice {
        if position[*run] == usize::MAX {
            position[*run] = taking_part.len();
            taking_part.push(&open[*run].batch);
        }
        places.push((position[*run], *row));
    }
    let schema = table.stored_schema();
    let columns = (0..schema.fields().len())
        .map(|column| {
            let arrays: Vec<&dyn Array> = taking_part.iter().map(|batch| batch.column(column).as_ref()).collect();
            interleave(&arrays, &places)
        })
        .collect::<Result<Vec<ArrayRef>, _>>()?;
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// The chunk being written.
struct Output {
    table: Table,
    writer: ArrowWriter<ChunkFile>,
    texts: Option<TextIndexBuilder>,
    facts: Facts,
    /// Of `metrics`: rows of the last bucket written so far, to which parts may still come.
    held: Option<RecordBatch>,
}

impl Output {
    fn create(place: &Place<'_>, rows: u64) -> Result<Self, StorageError> {
        let file = ChunkFile::create(place)?;
        let path = file.path().to_owned();
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        let properties = layout::properties(place.table, rows, layout::compression_of(place.level));
        let mut writer = ArrowWriter::try_new(file, place.table.stored_schema(), Some(properties))
            .map_err(StorageError::chunk(path))?;
        writer.append_key_value_metadata(sorted_runs(&[0]));
        let facts = Facts { rows: 0, bytes: 0, min_micros: i64::MAX, max_micros: i64::MIN };
        let texts = TextIndexBuilder::for_table(place.table);
        Ok(Self { table: place.table, writer, texts, facts, held: None })
    }

    fn write(&mut self, batch: RecordBatch) -> Result<(), StorageError> {
        if self.table != Table::Metrics {
            return self.put(&batch);
        }
        let batch = match self.held.take() {
            Some(held) => arrow::compute::concat_batches(&batch.schema(), [&held, &batch])?,
            None => batch,
        };
        let batch = with_whole_rows(batch)?;
        let kept = start_of_last_bucket(&batch);
        if kept > 0 {
            self.put(&batch.slice(0, kept))?;
        }
        self.held = Some(batch.slice(kept, batch.num_rows() - kept));
        Ok(())
    }

    fn put(&mut self, batch: &RecordBatch) -> Result<(), StorageError> {
        let times = batch.column(events::column::TIMESTAMP).as_primitive::<TimestampMicrosecondType>();
        for time in times.values() {
            self.facts.min_micros = self.facts.min_micros.min(*time);
            self.facts.max_micros = self.facts.max_micros.max(*time);
        }
        self.facts.rows += batch.num_rows() as u64;
        self.texts.iter_mut().for_each(|texts| texts.add(batch));
        self.writer.write(batch).map_err(StorageError::chunk(self.writer.inner().path()))
    }

    fn finish(mut self) -> Result<Option<Chunk>, StorageError> {
        if let Some(held) = self.held.take() {
            self.put(&held)?;
        }
        finish(self.writer, self.texts, self.facts).map(Some)
    }
}

/// Parts of one row put together, where there are any.
fn with_whole_rows(batch: RecordBatch) -> Result<RecordBatch, StorageError> {
    let tenants = batch.column(metrics::column::TENANT_ID).as_string_view();
    let times = batch.column(metrics::column::TIMESTAMP).as_primitive::<TimestampMicrosecondType>();
    let series = batch.column(metrics::column::SERIES).as_fixed_size_binary();
    let mut seen = HashSet::with_capacity(batch.num_rows());
    let whole = (0..batch.num_rows()).all(|row| seen.insert((tenants.value(row), series.value(row), times.value(row))));
    drop(seen);
    if whole {
        return Ok(batch);
    }
    // Parts that cannot be read stay as they are.
    Ok(rows::merge(std::slice::from_ref(&batch)).transpose()?.unwrap_or(batch))
}

/// First of the rows at the end that agree in what they are sorted by.
fn start_of_last_bucket(batch: &RecordBatch) -> usize {
    let Some(last) = batch.num_rows().checked_sub(1) else { return 0 };
    let times = batch.column(metrics::column::TIMESTAMP).as_primitive::<TimestampMicrosecondType>();
    let texts: Vec<&StringViewArray> =
        layout::sort_texts(Table::Metrics).iter().map(|column| batch.column(*column).as_string_view()).collect();
    let same = |row: usize| {
        times.value(row) == times.value(last) && texts.iter().all(|texts| texts.value(row) == texts.value(last))
    };
    (0..last).rev().find(|row| !same(*row)).map_or(0, |row| row + 1)
}
