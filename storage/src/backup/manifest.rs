//! What a restore point consists of.

use super::{RESTORE_POINTS, list, refused};
use crate::chunk::{Chunk, Facts};
use crate::files::{fsync_folder, write_durably};
use crate::{StorageError, format};
use std::path::{Path, PathBuf};
use whence_schema::{Table, UnixNanos};
use xxhash_rust::xxh3::xxh3_64;

/// The manifest of a restore point. Its own checksum is in its file name.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Manifest {
    /// Version of the program that wrote it.
    pub(crate) whence: String,
    /// On-disk format of what is in it.
    pub(crate) format: u32,
    pub(crate) restore_point: String,
    /// Everything acknowledged before is in it.
    pub(crate) taken_at: UnixNanos,
    /// The log offset it is of.
    pub(crate) offset: u64,
    pub(crate) events: Vec<ChunkEntry>,
    pub(crate) metrics: Vec<ChunkEntry>,
    pub(crate) correlations: Vec<ChunkEntry>,
    /// What lies beside the manifest.
    pub(crate) files: Vec<FileEntry>,
}

/// A chunk; its checksum is in its name.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct ChunkEntry {
    /// Below the folder of its table.
    pub(crate) path: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) min_micros: i64,
    pub(crate) max_micros: i64,
}

/// A file with the XXH3-64 of its content.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct FileEntry {
    /// Below the folder of the restore point.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) checksum: String,
}

impl ChunkEntry {
    pub(crate) fn of(chunk: &Chunk) -> Self {
        Self {
            path: chunk.relative_path(),
            rows: chunk.rows,
            bytes: chunk.bytes,
            min_micros: chunk.min_time.micros(),
            max_micros: chunk.max_time.micros(),
        }
    }

    /// The chunk below `table_folder`.
    pub(crate) fn chunk(&self, table_folder: &Path) -> Result<Chunk, StorageError> {
        let facts =
            Facts { rows: self.rows, bytes: self.bytes, min_micros: self.min_micros, max_micros: self.max_micros };
        let path = table_folder.join(&self.path);
        Chunk::at(path.clone(), facts).ok_or_else(|| refused(&path, "this is no name of a chunk: use another backup"))
    }
}

impl Manifest {
    pub(crate) fn of(&self, table: Table) -> &[ChunkEntry] {
        match table {
            Table::Events => &self.events,
            Table::Metrics => &self.metrics,
            Table::Correlations => &self.correlations,
        }
    }

    pub(crate) fn chunks(&self) -> impl Iterator<Item = (Table, &ChunkEntry)> {
        Table::ALL.into_iter().flat_map(|table| self.of(table).iter().map(move |chunk| (table, chunk)))
    }

    /// Blocks.
    pub(crate) fn write(&self, point: &Path) -> Result<(), StorageError> {
        let text = serde_json::to_vec_pretty(self).map_err(|error| refused(point, &error.to_string()))?;
        write_durably(&point.join(format!("manifest-{:016x}.json", xxh3_64(&text))), &text)?;
        fsync_folder(point)
    }

    /// Reads the files beside the manifest and compares them with it. Blocks.
    pub(crate) fn check_files(&self, point: &Path) -> Result<(), StorageError> {
        for file in &self.files {
            let path = point.join(&file.path);
            if entry(&path, &file.path)? != *file {
                return Err(StorageError::Damaged { path });
            }
        }
        Ok(())
    }
}

fn entry(path: &Path, name: &str) -> Result<FileEntry, StorageError> {
    let bytes = std::fs::read(path).map_err(StorageError::file("read", path))?;
    let checksum = format!("{:016x}", xxh3_64(&bytes));
    Ok(FileEntry { path: name.to_owned(), bytes: bytes.len() as u64, checksum })
}

/// The files of a restore point, apart from its manifest. Blocks.
pub(crate) fn files_of(point: &Path) -> Result<Vec<FileEntry>, StorageError> {
    let mut files = vec![entry(&point.join("control.db"), "control.db")?];
    for path in list(&point.join("digests"))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push(entry(&path, &format!("digests/{name}"))?);
    }
    Ok(files)
}

/// Folders of the restore points that are whole, oldest first. Blocks.
pub(crate) fn restore_points(backup: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let mut points = list(&backup.join(RESTORE_POINTS))?;
    points.retain(|path| path.is_dir() && path.extension().is_none_or(|extension| extension != "partial"));
    points.sort();
    Ok(points)
}

/// Reads the manifest of a restore point and compares it with its checksum. Blocks.
///
/// # Errors
///
/// When there is none, it has changed since it was written, or it is of a newer format.
pub(crate) fn read_manifest(point: &Path) -> Result<Manifest, StorageError> {
    let expected = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        u64::from_str_radix(name.strip_prefix("manifest-")?.strip_suffix(".json")?, 16).ok()
    };
    let found = list(point)?.into_iter().find_map(|path| expected(&path).map(|checksum| (path, checksum)));
    let Some((path, checksum)) = found else {
        return Err(refused(point, "has no manifest: name an earlier time, or use another backup"));
    };
    let bytes = std::fs::read(&path).map_err(StorageError::file("read", &path))?;
    if xxh3_64(&bytes) != checksum {
        return Err(StorageError::Damaged { path });
    }
    // The format first: the rest may have another form in a newer one.
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| refused(&path, &e.to_string()))?;
    let format = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
    format::accept(u32::try_from(format).unwrap_or(u32::MAX), &path)?;
    serde_json::from_value(value).map_err(|error| refused(&path, &error.to_string()))
}
