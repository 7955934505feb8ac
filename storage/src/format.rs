//! The on-disk format of a data directory as a whole.
//!
//! | format | since | what |
//! |---|---|---|
//! | 1 | 0.1.0, before the file `format` | tables, log, duplicate journal, `control.db` with schema 1 |
//! | 2 | 0.1.0 | the file `format` (this number as text); `control.db` with schema 2, which remembers restores; the correlator's state packed |
//!
//! Log records, blocks of the duplicate journal and the schema of `control.db` have versions of their own and are read
//! or upgraded one by one; this number says that a directory needs a whence that knows all of them. An upgrade runs when
//! the directory is opened, in place. Each of its steps can be repeated, and the file `format` is written last, so that
//! a crash in between is followed by the same upgrade.

use crate::StorageError;
use crate::files::write_durably;
use std::io::ErrorKind;
use std::path::Path;

/// What this whence writes.
pub(crate) const FORMAT: u32 = 2;
/// What a directory without the file has.
const BEFORE_THE_FILE: u32 = 1;
const FILE: &str = "format";

/// The format of the data in `root`, `None` when there is no data yet. Blocks.
///
/// # Errors
///
/// When it is newer than this whence, or the file cannot be read.
pub(crate) fn check(root: &Path) -> Result<Option<u32>, StorageError> {
    let path = root.join(FILE);
    let found = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| StorageError::Incompatible {
            path: path.clone(),
            reason: format!("this is no format number: {:?}: restore a backup (whence restore)", text.trim()),
        })?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(root.join("control.db").is_file().then_some(BEFORE_THE_FILE));
        }
        Err(error) => return Err(StorageError::file("read", path)(error)),
    };
    accept(found, root)?;
    Ok(Some(found))
}

/// Refuses data of a newer format.
pub(crate) fn accept(found: u32, path: &Path) -> Result<(), StorageError> {
    if found <= FORMAT {
        return Ok(());
    }
    Err(StorageError::Incompatible {
        path: path.to_owned(),
        reason: format!(
            "was written in on-disk format {found}, this whence {} knows formats up to {FORMAT}: use the newer whence \
             again, or restore a backup made before its upgrade into another directory",
            env!("CARGO_PKG_VERSION")
        ),
    })
}

/// Writes down that everything in `root` is of this whence's format now. Blocks.
pub(crate) fn upgraded(root: &Path, from: Option<u32>) -> Result<(), StorageError> {
    if from == Some(FORMAT) {
        return Ok(());
    }
    write(root, FORMAT)?;
    if let Some(from) = from {
        tracing::info!("{}: upgraded from on-disk format {from} to {FORMAT}", root.display());
    }
    Ok(())
}

/// Writes the file. Blocks.
pub(crate) fn write(root: &Path, format: u32) -> Result<(), StorageError> {
    write_durably(&root.join(FILE), format!("{format}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_older_format_is_upgraded_and_a_newer_one_refused_with_both_numbers_and_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(check(folder.path()).unwrap(), None);
        std::fs::write(folder.path().join("control.db"), "").unwrap();
        assert_eq!(check(folder.path()).unwrap(), Some(1));
        upgraded(folder.path(), Some(1)).unwrap();
        assert_eq!(check(folder.path()).unwrap(), Some(FORMAT));
        write(folder.path(), 99).unwrap();
        let refused = check(folder.path()).unwrap_err().to_string();
        for part in ["format 99", "up to 2", "use the newer whence"] {
            assert!(refused.contains(part), "{refused}");
        }
        std::fs::write(folder.path().join(FILE), "two").unwrap();
        assert!(check(folder.path()).unwrap_err().to_string().contains("no format number"));
    }
}
