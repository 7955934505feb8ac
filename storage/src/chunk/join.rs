//! Joining chunks of one partition into one: few rows are sorted together (and parts of one row of `metrics` merged),
//! many are copied as they are encoded.
//! Everything here blocks.

use super::file::{ChunkFile, Place};
use super::{Chunk, Facts, layout, writer};
use crate::memtable::rows;
use crate::{Disk, StorageError};
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

/// One chunk of the next level with the rows of all. They are of one day and bucket.
pub(crate) fn join(
    disk: &Arc<dyn Disk>,
    table: Table,
    table_folder: &Path,
    chunks: &[Arc<Chunk>],
) -> Result<Vec<Arc<Chunk>>, StorageError> {
    let rows: u64 = chunks.iter().map(|chunk| chunk.rows).sum();
    let level = chunks.iter().map(|chunk| chunk.level).max().unwrap_or(0).saturating_add(1);
    let created = chunks.iter().map(|chunk| chunk.created_seconds).max().unwrap_or(0);
    if rows <= layout::ROW_GROUP_ROWS as u64 {
        let mut batches = Vec::new();
        for chunk in chunks {
            batches.extend(read_all(chunk)?);
        }
        if table == Table::Metrics
            && let Some(merged) = rows::merge(&batches)
        {
            batches = vec![merged?];
        }
        return writer::write_chunks(disk, table, table_folder, &batches, created, level);
    }
    let Some(first) = chunks.first() else { return Ok(Vec::new()) };
    let place =
        Place { disk, table, table_folder, day: first.day, bucket: first.bucket, created_seconds: created, level };
    let (path, bytes) = copy_row_groups(&place, chunks)?;
    let min_micros = chunks.iter().map(|chunk| chunk.min_time.micros()).min().unwrap_or(0);
    let max_micros = chunks.iter().map(|chunk| chunk.max_time.micros()).max().unwrap_or(0);
    Ok(Chunk::at(path, Facts { rows, bytes, min_micros, max_micros }).map(Arc::new).into_iter().collect())
}

/// The rows of a chunk, a batch at a time.
pub(crate) fn batches(
    chunk: &Chunk,
) -> Result<impl Iterator<Item = Result<arrow::record_batch::RecordBatch, StorageError>> + use<>, StorageError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(chunk.open()?)
        .and_then(|builder| builder.with_batch_size(8_192).build())
        .map_err(StorageError::chunk(&chunk.path))?;
    Ok(reader.map(|batch| batch.map_err(StorageError::from)))
}

/// All rows of a chunk.
pub(crate) fn read_all(chunk: &Chunk) -> Result<Vec<arrow::record_batch::RecordBatch>, StorageError> {
    batches(chunk)?.collect()
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
    let mut properties = layout::properties(place.table, layout::ROW_GROUP_ROWS).into_builder();
    // The Arrow types of the columns are in the footer's key "ARROW:schema", which row groups do not carry.
    properties = properties.set_key_value_metadata(first.file_metadata().key_value_metadata().cloned());
    let mut writer = SerializedFileWriter::new(output, schema, Arc::new(properties.build())).map_err(failed())?;
    for (file, metadata) in &inputs {
        for group in 0..metadata.num_row_groups() {
            copy_row_group(&mut writer, file, metadata, group).map_err(failed())?;
        }
    }
    writer.finish().map_err(failed())?;
    writer.inner_mut().finish()
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
