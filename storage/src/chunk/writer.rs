//! Writing rows as chunks: sorted, encoded, durable. Everything here blocks and takes CPU.

use super::sort::{Key, Partition, sorted_keys};
use super::{Chunk, Facts, layout, new_path};
use crate::StorageError;
use crate::files::{fsync_folder, make_folder};
use arrow::array::{Array, ArrayRef};
use arrow::compute::interleave;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use whence_schema::Table;

/// Rows put in order at a time, which bounds the copy that is held beside the originals.
const SLICE_ROWS: usize = 16_384;

/// Writes the rows of `batches` as one chunk per day and bucket below `table_folder`; file and folder are fsynced.
pub(crate) fn write_chunks(
    table: Table,
    table_folder: &Path,
    batches: &[RecordBatch],
    created_seconds: i64,
    level: u8,
) -> Result<Vec<Arc<Chunk>>, StorageError> {
    let keys = sorted_keys(batches, layout::sort_texts(table));
    let mut chunks = Vec::new();
    for rows in keys.chunk_by(|a, b| a.partition == b.partition) {
        let partition = rows[0].partition;
        chunks.push(Arc::new(write_chunk(table, table_folder, batches, rows, partition, created_seconds, level)?));
    }
    Ok(chunks)
}

fn write_chunk(
    table: Table,
    table_folder: &Path,
    batches: &[RecordBatch],
    keys: &[Key],
    partition: Partition,
    created_seconds: i64,
    level: u8,
) -> Result<Chunk, StorageError> {
    let path = new_path(table_folder, partition.day, partition.bucket, created_seconds, level);
    let folder = path.parent().unwrap_or(table_folder);
    make_folder(folder)?;
    let written = write_file(table, &path, batches, keys).and_then(|bytes| {
        fsync_folder(folder)?;
        Ok(bytes)
    });
    if written.is_err() {
        // Half a file is of no use; what cannot be deleted now is deleted by the next start.
        let _ = std::fs::remove_file(&path);
    }
    let facts = Facts {
        rows: keys.len() as u64,
        bytes: written?,
        min_micros: keys.iter().map(|key| key.micros).min().unwrap_or(0),
        max_micros: keys.iter().map(|key| key.micros).max().unwrap_or(0),
    };
    Chunk::at(path.clone(), facts)
        .ok_or_else(|| StorageError::Incompatible { path, reason: "the name is not that of a chunk".to_owned() })
}

fn write_file(table: Table, path: &Path, batches: &[RecordBatch], keys: &[Key]) -> Result<u64, StorageError> {
    let file = File::create_new(path).map_err(StorageError::file("create", path))?;
    let properties = layout::properties(table, keys.len());
    let failed = || StorageError::chunk(path);
    let mut writer = ArrowWriter::try_new(file, table.stored_schema(), Some(properties)).map_err(failed())?;
    for slice in keys.chunks(SLICE_ROWS) {
        writer.write(&gather(table, batches, slice)?).map_err(failed())?;
    }
    writer.finish().map_err(failed())?;
    let file = writer.inner();
    file.sync_all().map_err(StorageError::file("fsync", path))?;
    Ok(file.metadata().map_err(StorageError::file("inspect", path))?.len())
}

fn gather(table: Table, batches: &[RecordBatch], keys: &[Key]) -> Result<RecordBatch, ArrowError> {
    // Only the batches that take part: texts in views would otherwise carry every batch's buffers along.
    let mut position = vec![u32::MAX; batches.len()];
    let mut taking_part = Vec::new();
    let mut places = Vec::with_capacity(keys.len());
    for key in keys {
        let batch = key.batch as usize;
        if position[batch] == u32::MAX {
            position[batch] = taking_part.len() as u32;
            taking_part.push(&batches[batch]);
        }
        places.push((position[batch] as usize, key.row as usize));
    }
    let schema = table.stored_schema();
    let columns = (0..schema.fields().len())
        .map(|column| {
            let arrays: Vec<&dyn Array> = taking_part.iter().map(|batch| batch.column(column).as_ref()).collect();
            interleave(&arrays, &places)
        })
        .collect::<Result<Vec<ArrayRef>, ArrowError>>()?;
    RecordBatch::try_new(schema, columns)
}
