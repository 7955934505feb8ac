//! Staged data takes the place of what is there. Everything here blocks, and can be repeated after a crash.

use super::replaced_name;
use crate::StorageError;
use crate::backup::list;
use crate::files::{fsync_folder, make_folder, write_durably};
use crate::remote::refuse_without_bucket;
use std::path::{Path, PathBuf};

/// Being staged.
const PARTIAL: &str = "restoring.partial";
/// Staged as a whole: the data from now on.
const STAGED: &str = "restoring";
/// What it replaces is out of the way.
const MOVING: &str = "restored";
/// In `STAGED`: where to put what is replaced.
const REPLACED_AS: &str = "replaced-as";

/// Makes an empty folder to stage into.
pub(super) fn begin(data: &Path) -> Result<PathBuf, StorageError> {
    make_folder(data)?;
    // What is in a bucket is not in this folder, so nothing here could take its place.
    refuse_without_bucket(data)?;
    let waiting = data.join(STAGED);
    if waiting.exists() || data.join(MOVING).exists() {
        return Err(StorageError::Incompatible {
            path: waiting,
            reason: "an earlier restore waits to be completed: start the server on this directory first".to_owned(),
        });
    }
    let staging = data.join(PARTIAL);
    remove(&staging)?;
    make_folder(&staging)?;
    Ok(staging)
}

/// Gives the space of a staging that failed back, unless it is all there is: an empty directory must not pass for the
/// restored one.
pub(super) fn abandon(data: &Path) -> Result<(), StorageError> {
    if data.join("control.db").is_file() { remove(&data.join(PARTIAL)) } else { Ok(()) }
}

/// From here on the staged data is what the directory holds.
pub(super) fn decide(data: &Path, staging: &Path, restore_point: &str) -> Result<(), StorageError> {
    let replaced = replaced_name(data, restore_point);
    let name = replaced.file_name().unwrap_or_default().to_string_lossy().into_owned();
    write_durably(&staging.join(REPLACED_AS), name.as_bytes())?;
    rename(staging, &data.join(STAGED))?;
    fsync_folder(data)
}

/// Completes a restore if one is staged; refuses a directory that has nothing but the beginning of one.
pub(crate) fn complete_on_open(data: &Path) -> Result<(), StorageError> {
    complete(data)?;
    let partial = data.join(PARTIAL);
    if !partial.exists() {
        return Ok(());
    }
    if data.join("control.db").is_file() {
        tracing::warn!("{}: deleting what an interrupted restore has staged", partial.display());
        return remove(&partial);
    }
    Err(StorageError::Incompatible {
        path: partial,
        reason: "a restore into this directory was interrupted: run `whence restore` again, or delete this folder to \
                 start with no data"
            .to_owned(),
    })
}

/// Completes a restore if one is staged.
pub(crate) fn complete(data: &Path) -> Result<(), StorageError> {
    let (staged, moving) = (data.join(STAGED), data.join(MOVING));
    if staged.is_dir() {
        let path = staged.join(REPLACED_AS);
        let name = std::fs::read_to_string(&path).map_err(StorageError::file("read", &path))?;
        let replaced = data.join(name.trim());
        make_folder(&replaced)?;
        for path in list(data)?.into_iter().filter(|path| is_data(path)) {
            rename(&path, &replaced.join(path.file_name().unwrap_or_default()))?;
        }
        fsync_folder(&replaced)?;
        fsync_folder(data)?;
        rename(&staged, &moving)?;
        fsync_folder(data)?;
        if std::fs::remove_dir(&replaced).is_err() {
            tracing::info!("{}: what the restore has replaced; delete it when it is not needed", replaced.display());
        }
    }
    if moving.is_dir() {
        for path in list(&moving)? {
            if path.file_name().is_some_and(|name| name == REPLACED_AS) {
                continue;
            }
            rename(&path, &data.join(path.file_name().unwrap_or_default()))?;
        }
        fsync_folder(data)?;
        remove(&moving)?;
        fsync_folder(data)?;
    }
    Ok(())
}

/// Everything but what belongs to the switch itself, and the lock that is held.
fn is_data(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let others = [PARTIAL, STAGED, MOVING, "lock", "lost+found"];
    !others.contains(&name.as_ref()) && !name.starts_with("replaced-")
}

fn rename(from: &Path, to: &Path) -> Result<(), StorageError> {
    std::fs::rename(from, to).map_err(StorageError::file("rename", from))
}

fn remove(folder: &Path) -> Result<(), StorageError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StorageError::file("delete", folder)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    /// A crash at any point of the switch is any number of its renames done: the rest must complete it.
    #[test]
    fn a_switch_broken_off_anywhere_is_completed_and_keeps_what_it_replaces() {
        for done in 0..6 {
            let folder = tempfile::tempdir().unwrap();
            let data = folder.path();
            for (name, content) in [("control.db", "old"), ("control.db-wal", "old"), ("lock", "")] {
                std::fs::write(data.join(name), content).unwrap();
            }
            let staging = begin(data).unwrap();
            std::fs::write(staging.join("control.db"), "new").unwrap();
            std::fs::write(staging.join("format"), "2").unwrap();
            decide(data, &staging, "then").unwrap();
            let (staged, moving, replaced) = (data.join(STAGED), data.join(MOVING), data.join("replaced-then-1"));
            let steps: [&dyn Fn(); 5] = [
                &|| std::fs::create_dir(&replaced).unwrap(),
                &|| rename(&data.join("control.db"), &replaced.join("control.db")).unwrap(),
                &|| rename(&data.join("control.db-wal"), &replaced.join("control.db-wal")).unwrap(),
                &|| rename(&staged, &moving).unwrap(),
                &|| rename(&moving.join("format"), &data.join("format")).unwrap(),
            ];
            steps.iter().take(done).for_each(|step| step());
            complete_on_open(data).unwrap();
            assert_eq!((text(&data.join("control.db")), text(&data.join("format"))), ("new".into(), "2".into()));
            assert_eq!(text(&replaced.join("control.db-wal")), "old", "after {done} steps");
            assert!(!data.join("control.db-wal").exists() && !staged.exists() && !moving.exists());
        }
    }

    #[test]
    fn half_a_staging_is_refused_where_there_is_no_data_and_deleted_where_there_is() {
        let folder = tempfile::tempdir().unwrap();
        begin(folder.path()).unwrap();
        assert!(complete_on_open(folder.path()).unwrap_err().to_string().contains("whence restore"));
        std::fs::write(folder.path().join("control.db"), "data").unwrap();
        complete_on_open(folder.path()).unwrap();
        assert!(!folder.path().join(PARTIAL).exists());
    }
}
