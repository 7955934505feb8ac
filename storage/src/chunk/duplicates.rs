//! Finding rows that several chunks hold, before the chunks are joined. Blocks.
//!
//! Two rows are copies of one when they agree in the primary key: tenant, id and timestamp. (Two spans that share an id
//! but not a start, as Zipkin's client and server spans do, are two rows.) The copy that was accepted first stays.
//!
//! Only what an id is made of is read, and of that only where it can matter: chunks that were joined before have no
//! copies within themselves, so there only row groups are read whose times overlap those of another chunk. Ids are
//! compared by 96 bits of their hash, a bounded number of rows at a time.

use super::Chunk;
use crate::StorageError;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use std::collections::HashMap;
use std::sync::Arc;
use whence_schema::Table;
use whence_schema::tables::{correlations, events};
use xxhash_rust::xxh3::xxh3_128;

/// Rows compared at a time, 16 bytes each.
const PASS_ROWS: u64 = 2 << 20;
const BATCH_ROWS: usize = 8_192;

/// Rows of one chunk that are to go, by position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Positions(Vec<u64>);

impl Positions {
    pub(crate) fn contains(&self, row: u64) -> bool {
        self.0.get((row / 64) as usize).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    fn insert(&mut self, row: u64) {
        let word = (row / 64) as usize;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (row % 64);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

/// A row by the hash of its primary key, with its number among the rows of all chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    high: u64,
    low: u32,
    row: u32,
}

/// Columns the primary key is made of.
fn key_columns(table: Table) -> &'static [usize] {
    use correlations::column as link;
    use events::column as event;
    match table {
        Table::Events => &[
            event::TENANT_ID,
            event::TIMESTAMP,
            event::SIGNAL,
            event::TRACE_ID,
            event::SPAN_ID,
            event::REQUEST_DIGEST,
            event::POSITION,
        ],
        // Rows of one series and bucket are parts, not copies.
        Table::Metrics => &[],
        Table::Correlations => &[
            link::TENANT_ID,
            link::TIMESTAMP,
            link::CORRELATION_TYPE,
            link::RELATION,
            link::PRIMARY_HIGH,
            link::PRIMARY_LOW,
            link::RELATED_HIGH,
            link::RELATED_LOW,
        ],
    }
}

/// For each of `chunks`, which of its rows are later copies of rows of these chunks.
pub(crate) fn find(table: Table, chunks: &[Arc<Chunk>]) -> Result<Vec<Positions>, StorageError> {
    let mut found = vec![Positions::default(); chunks.len()];
    if key_columns(table).is_empty() {
        return Ok(found);
    }
    let mut inputs = Vec::with_capacity(chunks.len());
    let mut first_row = 0;
    for (position, chunk) in chunks.iter().enumerate() {
        inputs.push(Input { chunk, groups: groups_to_read(chunks, position)?, first_row });
        first_row += u32::try_from(chunk.rows).unwrap_or(u32::MAX);
    }
    let rows: u64 = inputs.iter().flat_map(|input| &input.groups).map(|group| group.rows).sum();
    let passes = rows.div_ceil(PASS_ROWS).max(1);
    for pass in 0..passes {
        let mut entries = Vec::with_capacity((rows / passes + rows / passes / 16) as usize);
        for input in &inputs {
            input.read(key_columns(table), &mut |first, batch| {
                hash_rows(table, batch, first, &mut |entry| {
                    if passes == 1 || entry.high % passes == pass {
                        entries.push(entry);
                    }
                });
            })?;
        }
        entries.sort_unstable();
        let same = |a: &Entry, b: &Entry| (a.high, a.low) == (b.high, b.low);
        let copies: Vec<&[Entry]> = entries.chunk_by(same).filter(|copies| copies.len() > 1).collect();
        if !copies.is_empty() {
            mark_later_copies(table, &inputs, &copies, &mut found)?;
        }
    }
    Ok(found)
}

fn mark_later_copies(
    table: Table,
    inputs: &[Input<'_>],
    copies: &[&[Entry]],
    found: &mut [Positions],
) -> Result<(), StorageError> {
    let mut accepted: HashMap<u32, i64> =
        copies.iter().flat_map(|copies| copies.iter()).map(|entry| (entry.row, i64::MAX)).collect();
    let created_at = match table {
        Table::Events => events::column::CREATED_AT,
        Table::Metrics => whence_schema::tables::metrics::column::CREATED_AT,
        Table::Correlations => correlations::column::CREATED_AT,
    };
    for input in inputs {
        input.read(&[created_at], &mut |first, batch| {
            let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
            for (row, time) in times.values().iter().enumerate() {
                if let Some(known) = accepted.get_mut(&(first + row as u32)) {
                    *known = *time;
                }
            }
        })?;
    }
    for copies in copies {
        let first = copies.iter().map(|entry| (accepted.get(&entry.row), entry.row)).min();
        for entry in copies.iter().filter(|entry| first.is_some_and(|(_, row)| row != entry.row)) {
            let input = inputs.partition_point(|input| input.first_row <= entry.row) - 1;
            found[input].insert(u64::from(entry.row - inputs[input].first_row));
        }
    }
    Ok(())
}

/// A row group that has to be read.
struct Group {
    index: usize,
    /// Rows of the file before it.
    before: u64,
    rows: u64,
}

struct Input<'a> {
    chunk: &'a Chunk,
    groups: Vec<Group>,
    first_row: u32,
}

impl Input<'_> {
    /// Hands over batches of `columns`, each with the number of its first row.
    fn read(&self, columns: &[usize], each: &mut dyn FnMut(u32, &RecordBatch)) -> Result<(), StorageError> {
        if self.groups.is_empty() {
            return Ok(());
        }
        let footer: ArrowReaderMetadata = self.chunk.footer()?.clone();
        let mask = ProjectionMask::leaves(footer.parquet_schema(), columns.iter().copied());
        for group in &self.groups {
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(self.chunk.open()?, footer.clone())
                .with_row_groups(vec![group.index])
                .with_projection(mask.clone())
                .with_batch_size(BATCH_ROWS)
                .build()
                .map_err(StorageError::chunk(&self.chunk.path))?;
            let mut next = self.first_row + group.before as u32;
            for batch in reader {
                let batch = batch?;
                each(next, &batch);
                next += batch.num_rows() as u32;
            }
        }
        Ok(())
    }
}

/// Row groups of a chunk that may hold copies of rows of the others, or of its own.
fn groups_to_read(chunks: &[Arc<Chunk>], position: usize) -> Result<Vec<Group>, StorageError> {
    let chunk = &chunks[position];
    let others: Vec<(i64, i64)> = chunks
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != position)
        .map(|(_, other)| (other.min_time.micros(), other.max_time.micros()))
        .collect();
    let footer = chunk.footer()?;
    let mut before = 0;
    let mut groups = Vec::new();
    for (index, group) in footer.metadata().row_groups().iter().enumerate() {
        let rows = group.num_rows().unsigned_abs();
        let overlaps = || {
            let (min, max) = times_of(group);
            others.iter().any(|(from, to)| *from <= max && min <= *to)
        };
        if chunk.level == 0 || overlaps() {
            groups.push(Group { index, before, rows });
        }
        before += rows;
    }
    Ok(groups)
}

/// Earliest and latest `timestamp`, in microseconds.
fn times_of(group: &RowGroupMetaData) -> (i64, i64) {
    match group.column(events::column::TIMESTAMP).statistics() {
        Some(Statistics::Int64(values)) => {
            (values.min_opt().copied().unwrap_or(i64::MIN), values.max_opt().copied().unwrap_or(i64::MAX))
        }
        _ => (i64::MIN, i64::MAX),
    }
}

/// Hashes the primary keys of a batch of key columns. Of a span event or log record, only request and position make
/// the id; of a span, only trace and span id.
fn hash_rows(table: Table, batch: &RecordBatch, first: u32, each: &mut dyn FnMut(Entry)) {
    // Positions in the batch: tenant, timestamp, signal, trace, span id, digest, position.
    const SIGNAL: usize = 2;
    let signals = (table == Table::Events).then(|| batch.column(SIGNAL).as_string_view());
    let mut key = Vec::with_capacity(128);
    for row in 0..batch.num_rows() {
        let span = signals.map(|signals| signals.value(row) == events::SIGNAL_SPAN);
        key.clear();
        for (index, column) in batch.columns().iter().enumerate() {
            let belongs = match (span, index) {
                (Some(true), 5 | 6) | (Some(false), 3 | 4) => false,
                _ => column.is_valid(row),
            };
            key.push(u8::from(belongs));
            if belongs {
                append(&mut key, column.as_ref(), row);
            }
        }
        let hash = xxh3_128(&key);
        each(Entry { high: (hash >> 64) as u64, low: hash as u32, row: first + row as u32 });
    }
}

fn append(key: &mut Vec<u8>, column: &dyn Array, row: usize) {
    match column.data_type() {
        DataType::Utf8View => {
            let text = column.as_string_view().value(row);
            key.extend_from_slice(&(text.len() as u32).to_le_bytes());
            key.extend_from_slice(text.as_bytes());
        }
        DataType::Int64 => key.extend_from_slice(&column.as_primitive::<Int64Type>().value(row).to_le_bytes()),
        DataType::Int32 => key.extend_from_slice(&column.as_primitive::<Int32Type>().value(row).to_le_bytes()),
        DataType::FixedSizeBinary(_) => key.extend_from_slice(column.as_fixed_size_binary().value(row)),
        _ => key.extend_from_slice(&column.as_primitive::<TimestampMicrosecondType>().value(row).to_le_bytes()),
    }
}
