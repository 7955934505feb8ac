//! Files and folders that survive a loss of power. Everything here blocks.

use crate::StorageError;
use std::fs::File;
use std::path::Path;

/// Makes `folder` with its parents, and makes its existence durable.
pub(crate) fn make_folder(folder: &Path) -> Result<(), StorageError> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.is_dir()).collect();
    std::fs::create_dir_all(folder).map_err(StorageError::file("create", folder))?;
    // The name of a new folder is in its parent.
    for parent in missing.iter().filter_map(|path| path.parent()) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        fsync_folder(parent)?;
    }
    Ok(())
}

/// Writes a small file whole or not at all.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let new = path.with_extension("new");
    std::fs::write(&new, bytes).map_err(StorageError::file("write", &new))?;
    fsync_file(&new)?;
    std::fs::rename(&new, path).map_err(StorageError::file("rename", &new))?;
    path.parent().map_or(Ok(()), fsync_folder)
}

/// Makes names in `folder` durable.
pub(crate) fn fsync_folder(folder: &Path) -> Result<(), StorageError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(StorageError::file("fsync", folder))
}

/// Makes the content of `path` durable.
pub(crate) fn fsync_file(path: &Path) -> Result<(), StorageError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(StorageError::file("fsync", path))
}
