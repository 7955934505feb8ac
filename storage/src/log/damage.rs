//! Damaged bytes of a segment: what is reported, and where they are kept.

use super::Segment;
use crate::{Disk, StorageError};
use std::io::{Read, Write};
use std::path::PathBuf;

/// Why a record that reaches beyond the end of its file is none.
pub(crate) const TORN: &str = "a record is torn";

/// A range of a segment that holds no good record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Byte at which it begins.
    pub(crate) at: u64,
    pub(crate) bytes: u64,
    pub(crate) reason: String,
    /// The record with which good ones begin again, and how many before it are lost; `None` at the end of a segment,
    /// where it is not known how many there were.
    pub(crate) lost: Option<(u64, u64)>,
}

impl Damage {
    /// The sentence for reports.
    pub(crate) fn sentence(&self, segment: &Segment) -> String {
        let Self { at, bytes, reason, .. } = self;
        let path = segment.path.display();
        match self.lost {
            None => format!("{path}: {reason} at byte {at}: {bytes} bytes cut"),
            Some((_, 0)) => format!("{path}: {reason} at byte {at}: {bytes} bytes left out, no record lost"),
            Some((next, 1)) => {
                format!("{path}: {reason} at byte {at}: {bytes} bytes left out, record {} lost", next - 1)
            }
            Some((next, lost)) => {
                let first = next - lost;
                format!("{path}: {reason} at byte {at}: {bytes} bytes left out, records {first} to {} lost", next - 1)
            }
        }
    }

    /// True for a torn end: how a kill leaves a write that was under way, of a request that nobody was told is stored.
    pub(crate) fn is_unfinished_write(&self) -> bool {
        self.is_end() && self.reason == TORN
    }

    /// True for a torn or damaged end, behind which nothing could be read.
    pub(crate) fn is_end(&self) -> bool {
        self.lost.is_none()
    }

    fn side_file(&self, segment: &Segment) -> PathBuf {
        segment.path.with_file_name(format!("{:020}-{}.damaged", segment.first.0, self.at))
    }
}

/// Copies damaged bytes to a file beside the log, unless they are there or are all zero (a file that had grown, but was
/// not written yet, when power was lost). A disk that cannot take them is no reason not to start. Blocks.
pub(crate) fn keep_damaged(disk: &dyn Disk, segment: &Segment, damage: &Damage) {
    let path = damage.side_file(segment);
    if let Err(error) = copy(disk, segment, damage, &path) {
        tracing::warn!(%error, "damaged bytes of the log could not be kept");
        let _ = disk.remove(&path);
    }
}

fn copy(disk: &dyn Disk, segment: &Segment, damage: &Damage, to: &std::path::Path) -> Result<(), StorageError> {
    let Some(folder) = to.parent() else { return Ok(()) };
    let listed = disk.list(folder).map_err(StorageError::file("list", folder))?;
    if listed.iter().any(|(path, bytes)| path == to && *bytes == damage.bytes) {
        return Ok(());
    }
    let mut reader = disk.open(&segment.path).map_err(StorageError::file("open", &segment.path))?;
    let read = StorageError::file("read", &segment.path);
    let skipped = std::io::copy(&mut reader.by_ref().take(damage.at), &mut std::io::sink()).map_err(read)?;
    let mut rest = reader.take(if skipped == damage.at { damage.bytes } else { 0 });
    let mut buffer = vec![0; 1 << 20];
    let mut file = None;
    let mut zeros = 0;
    loop {
        let read = rest.read(&mut buffer).map_err(StorageError::file("read", &segment.path))?;
        if read == 0 {
            break;
        }
        let block = &buffer[..read];
        let failed = || StorageError::file("write", to);
        if file.is_none() && block.iter().all(|byte| *byte == 0) {
            zeros += read as u64;
            continue;
        }
        if file.is_none() {
            let mut made = disk.create(to).map_err(failed())?;
            std::io::copy(&mut std::io::repeat(0).take(zeros), &mut made).map_err(failed())?;
            file = Some(made);
        }
        file.as_mut().map_or(Ok(()), |file| file.write_all(block)).map_err(failed())?;
    }
    if let Some(mut file) = file {
        file.sync().map_err(StorageError::file("fsync", to))?;
        disk.sync_folder(folder).map_err(StorageError::file("fsync", folder))?;
    }
    Ok(())
}
