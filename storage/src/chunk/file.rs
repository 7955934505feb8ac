//! The file of a new chunk: written under another name, fsynced, then given the name that holds its checksum.

use super::{Chunk, new_path};
use crate::files::make_folder;
use crate::{Disk, DiskFile, StorageError};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use whence_schema::Table;
use xxhash_rust::xxh3::Xxh3;

/// A chunk's place, apart from the name of its file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) disk: &'a Arc<dyn Disk>,
    pub(crate) table: Table,
    pub(crate) table_folder: &'a Path,
    pub(crate) day: i32,
    pub(crate) bucket: i32,
    pub(crate) created_seconds: i64,
    pub(crate) level: u8,
}

impl<'a> Place<'a> {
    /// The place of a chunk that takes that of `chunk`.
    pub(crate) fn of(disk: &'a Arc<dyn Disk>, table: Table, table_folder: &'a Path, chunk: &Chunk) -> Self {
        let Chunk { day, bucket, created_seconds, level, .. } = *chunk;
        Self { disk, table, table_folder, day, bucket, created_seconds, level }
    }
}

/// A file being written.
pub(crate) struct ChunkFile {
    disk: Arc<dyn Disk>,
    file: Box<dyn DiskFile>,
    path: PathBuf,
    hasher: Xxh3,
    bytes: u64,
    finished: bool,
}

impl ChunkFile {
    /// Blocks.
    pub(crate) fn create(place: &Place<'_>) -> Result<Self, StorageError> {
        let path = new_path(place);
        path.parent().map_or(Ok(()), make_folder)?;
        let file = place.disk.create(&path).map_err(StorageError::file("create", &path))?;
        Ok(Self { disk: place.disk.clone(), file, path, hasher: Xxh3::new(), bytes: 0, finished: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file durable under its final name; returns that and its size. Blocks.
    pub(crate) fn finish(&mut self) -> Result<(PathBuf, u64), StorageError> {
        self.file.sync().map_err(StorageError::file("fsync", &self.path))?;
        let stem = self.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let path = self.path.with_file_name(format!("{stem}-{:016x}.parquet", self.hasher.digest()));
        self.disk.rename(&self.path, &path).map_err(StorageError::file("rename", &self.path))?;
        self.finished = true;
        if let Some(folder) = path.parent() {
            self.disk.sync_folder(folder).map_err(StorageError::file("fsync", folder))?;
        }
        Ok((path, self.bytes))
    }
}

impl Write for ChunkFile {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Drop for ChunkFile {
    fn drop(&mut self) {
        if !self.finished {
            // Half a file is of no use; what cannot be deleted now is deleted by the next start.
            let _ = self.disk.remove(&self.path);
        }
    }
}

/// Checksum that the content of a chunk must have, from its name.
pub(crate) fn checksum_in_name(path: &Path) -> Option<u64> {
    u64::from_str_radix(path.file_stem()?.to_str()?.rsplit('-').next()?, 16).ok()
}

/// True when the content is what was written. Blocks.
pub(crate) fn is_intact(path: &Path) -> Result<bool, StorageError> {
    has_its_checksum(path, File::open(path).map_err(StorageError::file("open", path))?)
}

/// True when the content of `file`, open from its start, is what its name says. Blocks.
pub(crate) fn has_its_checksum(path: &Path, mut file: File) -> Result<bool, StorageError> {
    let failed = || StorageError::file("read", path);
    let expected = checksum_in_name(path);
    let mut hasher = Xxh3::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).map_err(failed())?;
        if read == 0 {
            return Ok(expected == Some(hasher.digest()));
        }
        hasher.update(&buffer[..read]);
    }
}
