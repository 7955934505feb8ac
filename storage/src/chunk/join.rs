//! Joining chunks of one partition into one. Copies of a row are left out, parts of one row of `metrics` merged.
//!
//! Row groups are copied as they are encoded where nothing is left out and nothing is merged: that is most of what is
//! joined. What has to be decoded is merged as a stream. Everything here blocks.

use super::counts::CountedColumns;
use super::duplicates;
use super::file::{ChunkFile, Place};
use super::merge::{Merged, SORTED_RUNS, Without, merge, run_starts, sorted_runs};
use super::text::{TEXT_INDEX, TextIndex};
use super::{COLD_LEVEL, Chunk, Facts, layout};
use crate::control::removals::RowsByKey;
use crate::{Disk, StorageError};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::bloom_filter::Sbbf;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::writer::SerializedFileWriter;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use whence_schema::Table;

/// One chunk of level `level` with the rows of all. They are of one day and bucket.
pub(crate) fn join(
    disk: &Arc<dyn Disk>,
    table: Table,
    table_folder: &Path,
    chunks: &[Arc<Chunk>],
    level: u8,
) -> Result<Merged, StorageError> {
    let Some(first) = chunks.first() else { return Ok(Merged::default()) };
    let rows: u64 = chunks.iter().map(|chunk| chunk.rows).sum();
    let created = chunks.iter().map(|chunk| chunk.created_seconds).max().unwrap_or(0);
    let place =
        Place { disk, table, table_folder, day: first.day, bucket: first.bucket, created_seconds: created, level };
    let duplicates = duplicates::find(table, chunks)?;
    let copied = rows > layout::ROW_GROUP_ROWS as u64
        && level < COLD_LEVEL
        && duplicates.iter().all(|rows| rows.is_empty())
        && !(table == Table::Metrics && overlap(chunks));
    if !copied {
        let without = duplicates.into_iter().map(|rows| match rows.is_empty() {
            true => Without::Nothing,
            false => Without::Positions(rows),
        });
        let inputs: Vec<_> = chunks.iter().cloned().zip(without).collect();
        return merge(&place, &inputs);
    }
    let (path, bytes) = copy_row_groups(&place, chunks)?;
    let min_micros = chunks.iter().map(|chunk| chunk.min_time.micros()).min().unwrap_or(0);
    let max_micros = chunks.iter().map(|chunk| chunk.max_time.micros()).max().unwrap_or(0);
    let chunk = Chunk::at(path, Facts { rows, bytes, min_micros, max_micros }).map(Arc::new);
    Ok(Merged { chunk, ..Merged::default() })
}

/// Whether a bucket may have parts in two chunks, or in one.
fn overlap(chunks: &[Arc<Chunk>]) -> bool {
    let mut times: Vec<_> = chunks.iter().map(|chunk| (chunk.min_time, chunk.max_time)).collect();
    times.sort_unstable();
    times.windows(2).any(|pair| pair[1].0 <= pair[0].1)
}

/// All rows of a chunk.
#[cfg(test)]
pub(crate) fn read_all(chunk: &Chunk) -> Result<Vec<RecordBatch>, StorageError> {
    batches(chunk)?.collect()
}

/// The rows of a chunk, a batch at a time.
pub(crate) fn batches(
    chunk: &Chunk,
) -> Result<impl Iterator<Item = Result<RecordBatch, StorageError>> + use<>, StorageError> {
    let columns: Vec<usize> = (0..chunk.footer()?.schema().fields().len()).collect();
    read_columns(chunk, &columns)
}

/// Some columns of all rows of a chunk, a batch at a time.
pub(crate) fn read_columns(
    chunk: &Chunk,
    columns: &[usize],
) -> Result<impl Iterator<Item = Result<RecordBatch, StorageError>> + use<>, StorageError> {
    let footer = chunk.footer()?.clone();
    let mask = ProjectionMask::leaves(footer.parquet_schema(), columns.iter().copied());
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(chunk.open()?, footer)
        .with_projection(mask)
        .with_batch_size(8_192)
        .build()
        .map_err(StorageError::chunk(&chunk.path))?;
    Ok(reader.map(|batch| batch.map_err(StorageError::from)))
}

/// What the ledger counts of a chunk.
pub(crate) fn count_chunk(table: Table, chunk: &Chunk) -> Result<RowsByKey, StorageError> {
    let mut counts = RowsByKey::new();
    if let Some(columns) = CountedColumns::of(table) {
        for batch in read_columns(chunk, &columns.stored())? {
            columns.projected().count(&batch?, &mut counts);
        }
    }
    Ok(counts)
}

fn copy_row_groups(place: &Place<'_>, chunks: &[Arc<Chunk>]) -> Result<(PathBuf, u64), StorageError> {
    let mut inputs = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let file = chunk.open()?;
        let metadata = ParquetMetaDataReader::new()
            .with_page_index_policy(PageIndexPolicy::Optional)
            .parse_and_finish(&file)
            .map_err(StorageError::chunk(&chunk.path))?;
        inputs.push((file, metadata));
    }
    let output = ChunkFile::create(place)?;
    let path = output.path().to_owned();
    let failed = || StorageError::chunk(&path);
    let Some((_, first)) = inputs.first() else { return Err(failed()(ParquetError::General("no input".to_owned()))) };
    let schema = first.file_metadata().schema_descr().root_schema_ptr();
    let compression = layout::compression_of(place.level);
    let mut properties = layout::properties(place.table, layout::ROW_GROUP_ROWS, compression).into_builder();
    // The Arrow types of the columns are in the footer's key "ARROW:schema", which row groups do not carry.
    let mut pairs = first.file_metadata().key_value_metadata().cloned().unwrap_or_default();
    pairs.retain(|pair| pair.key != SORTED_RUNS && pair.key != TEXT_INDEX);
    let mut starts = Vec::new();
    let mut groups = 0;
    for (_, metadata) in &inputs {
        starts.extend(run_starts(metadata).iter().map(|start| groups + start));
        groups += metadata.num_row_groups();
    }
    pairs.push(sorted_runs(&starts));
    properties = properties.set_key_value_metadata(Some(pairs));
    let mut writer = SerializedFileWriter::new(output, schema, Arc::new(properties.build())).map_err(failed())?;
    for (file, metadata) in &inputs {
        for group in 0..metadata.num_row_groups() {
            copy_row_group(&mut writer, file, metadata, group).map_err(failed())?;
        }
    }
    copy_text_index(&mut writer, chunks, &inputs)?;
    writer.finish().map_err(failed())?;
    writer.inner_mut().finish()
}

/// What the chunks say about their texts, behind the last row group.
fn copy_text_index(
    writer: &mut SerializedFileWriter<ChunkFile>,
    chunks: &[Arc<Chunk>],
    inputs: &[(File, ParquetMetaData)],
) -> Result<(), StorageError> {
    let indexes: Vec<TextIndex> = inputs.iter().map(|(_, metadata)| TextIndex::of(metadata)).collect();
    if indexes.iter().all(TextIndex::is_empty) {
        return Ok(());
    }
    let mut joined = TextIndex::default();
    for ((_, metadata), (index, chunk)) in inputs.iter().zip(indexes.iter().zip(chunks)) {
        for group in 0..metadata.num_row_groups() {
            let bytes = joined.copy(index, group, chunk, writer.bytes_written() as u64)?;
            writer.write_all(&bytes).map_err(StorageError::file("write", &chunk.path))?;
        }
    }
    writer.append_key_value_metadata(joined.key_value());
    Ok(())
}

fn copy_row_group(
    writer: &mut SerializedFileWriter<ChunkFile>,
    file: &File,
    metadata: &ParquetMetaData,
    group: usize,
) -> Result<(), ParquetError> {
    let row_group = metadata.row_group(group);
    let column_indexes = metadata.column_index().and_then(|index| index.get(group));
    let offset_indexes = metadata.offset_index().and_then(|index| index.get(group));
    let mut out = writer.next_row_group()?;
    for (position, column) in row_group.columns().iter().enumerate() {
        let closed = ColumnCloseResult {
            bytes_written: column.compressed_size() as u64,
            rows_written: row_group.num_rows() as u64,
            metadata: column.clone(),
            bloom_filter: Sbbf::read_from_column_chunk(column, file)?,
            column_index: column_indexes.and_then(|indexes| indexes.get(position)).cloned(),
            offset_index: offset_indexes.and_then(|indexes| indexes.get(position)).cloned(),
        };
        out.append_column(file, closed)?;
    }
    out.close()?;
    Ok(())
}
