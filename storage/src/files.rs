//! Files and folders that survive a loss of power. Everything here blocks.

use crate::StorageError;
use std::fs::File;
use std::path::Path;

/// Makes `folder` with its parents, and makes its existence durable.
pub(crate) fn make_folder(folder: &Path) -> Result<(), StorageError> {
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(folder).map_err(StorageError::file("create", folder))?;
    // New parents are few: syncing up to three levels covers table, day and bucket.
    for ancestor in folder.ancestors().take(4).filter(|path| path.is_dir()) {
        fsync_folder(ancestor)?;
    }
    Ok(())
}

/// Makes names in `folder` durable.
pub(crate) fn fsync_folder(folder: &Path) -> Result<(), StorageError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(StorageError::file("fsync", folder))
}

/// Makes the content of `path` durable.
pub(crate) fn fsync_file(path: &Path) -> Result<(), StorageError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(StorageError::file("fsync", path))
}
