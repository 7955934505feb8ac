//! Writing rows as chunks: sorted, encoded, durable. Everything here blocks and takes CPU.

use super::file::{ChunkFile, Place};
use super::gather::gather;
use super::merge::sorted_runs;
use super::sort::{Key, Partition, sorted_keys};
use super::text::{TextIndex, TextIndexBuilder};
use super::{Chunk, Facts, layout};
use crate::{Disk, StorageError};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use whence_schema::Table;

/// Rows put in order at a time, which bounds the copy that is held beside the originals.
const SLICE_ROWS: usize = 16_384;

/// Writes the rows of `batches` as one chunk per day and bucket below `table_folder`; files and folders are fsynced.
pub(crate) fn write_chunks(
    disk: &Arc<dyn Disk>,
    table: Table,
    table_folder: &Path,
    batches: &[RecordBatch],
    created_seconds: i64,
    level: u8,
) -> Result<Vec<Arc<Chunk>>, StorageError> {
    let keys = sorted_keys(batches, layout::sort_texts(table));
    let mut chunks: Vec<Arc<Chunk>> = Vec::new();
    for rows in keys.chunk_by(|a, b| a.partition == b.partition) {
        let Partition { day, bucket } = rows[0].partition;
        let place = Place { disk, table, table_folder, day, bucket, created_seconds, level };
        match write_chunk(&place, batches, rows) {
            Ok(chunk) => chunks.push(Arc::new(chunk)),
            Err(error) => {
                // All or nothing: these rows are written again.
                chunks.iter().for_each(|chunk| chunk.obsolete.store(true, Ordering::Release));
                return Err(error);
            }
        }
    }
    Ok(chunks)
}

fn write_chunk(place: &Place<'_>, batches: &[RecordBatch], keys: &[Key]) -> Result<Chunk, StorageError> {
    let file = ChunkFile::create(place)?;
    let path = file.path().to_owned();
    let failed = || StorageError::chunk(&path);
    let properties = layout::properties(place.table, keys.len(), layout::compression_of(place.level));
    let mut writer = ArrowWriter::try_new(file, place.table.stored_schema(), Some(properties)).map_err(failed())?;
    writer.append_key_value_metadata(sorted_runs(&[0]));
    let mut texts = TextIndexBuilder::for_table(place.table);
    for slice in keys.chunks(SLICE_ROWS) {
        let rows = gather(place.table, batches, slice)?;
        writer.write(&rows).map_err(failed())?;
        texts.iter_mut().for_each(|texts| texts.add(&rows));
    }
    let facts = Facts {
        rows: keys.len() as u64,
        bytes: 0,
        min_micros: keys.iter().map(|key| key.micros).min().unwrap_or(0),
        max_micros: keys.iter().map(|key| key.micros).max().unwrap_or(0),
    };
    finish(writer, texts, facts)
}

/// Makes the file durable under its final name. Its size is filled in here.
pub(super) fn finish(
    mut writer: ArrowWriter<ChunkFile>,
    texts: Option<TextIndexBuilder>,
    facts: Facts,
) -> Result<Chunk, StorageError> {
    if let Some(texts) = texts {
        append_text_index(&mut writer, texts)?;
    }
    writer.finish().map_err(StorageError::chunk(writer.inner().path()))?;
    let (path, bytes) = writer.inner_mut().finish()?;
    Chunk::at(path.clone(), Facts { bytes, ..facts })
        .ok_or_else(|| StorageError::Incompatible { path, reason: "the name is not that of a chunk".to_owned() })
}

/// Writes what the texts are behind the last row group.
fn append_text_index(writer: &mut ArrowWriter<ChunkFile>, texts: TextIndexBuilder) -> Result<(), StorageError> {
    let path = writer.inner().path().to_owned();
    writer.flush().map_err(StorageError::chunk(&path))?;
    let groups = texts.finish();
    let written = writer.flushed_row_groups().iter().map(|group| group.num_rows().unsigned_abs());
    if !written.eq(groups.iter().map(|group| group.rows as u64)) {
        // Never so; what is said of other rows would hide these.
        tracing::warn!(path = %path.display(), "no text index: row groups are not those it was made for");
        return Ok(());
    }
    let mut index = TextIndex::default();
    for group in &groups {
        let bytes = index.push(group, writer.bytes_written() as u64)?;
        writer.write_all(&bytes).map_err(StorageError::file("write", &path))?;
    }
    writer.append_key_value_metadata(index.key_value());
    Ok(())
}
