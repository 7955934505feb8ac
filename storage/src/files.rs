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

/// Makes names in `folder` durable.
pub(crate) fn fsync_folder(folder: &Path) -> Result<(), StorageError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(StorageError::file("fsync", folder))
}

/// Makes the content of `path` durable.
pub(crate) fn fsync_file(path: &Path) -> Result<(), StorageError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(StorageError::file("fsync", path))
}
