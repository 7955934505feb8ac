//! Writing segments: one write and one fsync for a group of records.

use super::record::{self, HEADER_BYTES, Record};
use super::{LogOffset, Segment, damaged, list_segments, scan};
use crate::files::{fsync_folder, make_folder};
use crate::{Durability, StorageError};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// The open end of the log.
#[derive(Debug)]
pub(crate) struct LogWriter {
    folder: PathBuf,
    durability: Durability,
    segment_bytes: u64,
    /// Whole segments, oldest first.
    finished: VecDeque<Segment>,
    current: Segment,
    file: File,
    group: Vec<u8>,
    group_records: u64,
    next: LogOffset,
    poisoned: Option<String>,
    #[cfg(test)]
    pub(crate) fail: Option<Failure>,
}

/// Faults that tests inject.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    Write,
    Fsync,
}

/// Size of the log.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LogNumbers {
    pub(crate) bytes: u64,
    pub(crate) segments: u64,
}

impl LogWriter {
    /// Opens the log in `folder`: cuts off a torn end and begins a segment behind it, at `at_least` or later.
    /// Returns what was cut, in sentences. Blocks.
    pub(crate) fn open(
        folder: &Path,
        durability: Durability,
        segment_bytes: u64,
        at_least: LogOffset,
    ) -> Result<(Self, Vec<Segment>, Vec<String>), StorageError> {
        make_folder(folder)?;
        let mut segments = list_segments(folder)?;
        let mut damage = Vec::new();
        let mut next = at_least;
        if let Some(segment) = segments.last_mut() {
            let read = scan(segment, |_, _| ControlFlow::Continue(()))?;
            damage.extend(damaged(segment, &read));
            next = next.max(read.last.map_or(segment.first, LogOffset::next));
            if read.damage.is_some() {
                cut_off(segment, read.good_bytes)?;
            }
            if read.last.is_none() {
                remove(&segment.path)?;
                segments.pop();
            }
        }
        let (current, file) = begin_segment(folder, next)?;
        let writer = Self {
            folder: folder.to_owned(),
            durability,
            segment_bytes,
            finished: segments.iter().cloned().collect(),
            current,
            file,
            group: Vec::new(),
            group_records: 0,
            next,
            poisoned: None,
            #[cfg(test)]
            fail: None,
        };
        Ok((writer, segments, damage))
    }

    /// Adds a record to the group and says which offset it will have.
    pub(crate) fn push(&mut self, record: &Record) -> LogOffset {
        let offset = LogOffset(self.next.0 + self.group_records);
        record::encode(offset, record, &mut self.group);
        self.group_records += 1;
        offset
    }

    pub(crate) fn group_bytes(&self) -> usize {
        self.group.len()
    }

    /// Writes the group and, if so configured, waits for the disk. After an error nothing of the group is in the log;
    /// after a failed fsync nothing is known any more, and every later call fails.
    pub(crate) fn commit(&mut self) -> Result<(), StorageError> {
        if let Some(reason) = &self.poisoned {
            self.group.clear();
            self.group_records = 0;
            return Err(StorageError::LogPoisoned(reason.clone()));
        }
        if self.group_records == 0 {
            return Ok(());
        }
        let written = self.write_group();
        let bytes = self.group.len() as u64;
        let records = std::mem::take(&mut self.group_records);
        self.group.clear();
        // One huge group must not hold its memory for ever.
        self.group.shrink_to(16 << 20);
        written?;
        self.current.bytes += bytes;
        self.next.0 += records;
        if self.current.bytes >= self.segment_bytes {
            // The group is safe whatever comes of this; a full disk is met again, and reported, by the next write.
            if let Err(error) = self.rotate() {
                tracing::warn!(%error, "no new log segment; going on with the old one");
            }
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), StorageError> {
        if let Err(source) = self.write_bytes() {
            // A write that failed half way (disk full) is undone, so that the service returns when space does.
            let undone = self
                .file
                .set_len(self.current.bytes)
                .and_then(|()| self.file.seek(SeekFrom::Start(self.current.bytes)).map(|_| ()));
            if let Err(error) = undone {
                self.poisoned = Some(error.to_string());
            }
            return Err(StorageError::File { action: "write", path: self.current.path.clone(), source });
        }
        if self.durability == Durability::Fsync
            && let Err(error) = self.sync()
        {
            self.poisoned = Some(error.to_string());
            return Err(StorageError::LogPoisoned(error.to_string()));
        }
        Ok(())
    }

    fn write_bytes(&mut self) -> std::io::Result<()> {
        #[cfg(test)]
        if self.fail == Some(Failure::Write) {
            self.file.write_all(&self.group[..self.group.len() / 2])?;
            return Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
        }
        self.file.write_all(&self.group)
    }

    fn sync(&self) -> std::io::Result<()> {
        #[cfg(test)]
        if self.fail == Some(Failure::Fsync) {
            return Err(std::io::Error::other("injected"));
        }
        self.file.sync_data()
    }

    pub(crate) fn poisoned(&self) -> bool {
        self.poisoned.is_some()
    }

    /// Begins a new segment unless the current one is empty. Blocks.
    pub(crate) fn rotate(&mut self) -> Result<(), StorageError> {
        if self.current.bytes <= HEADER_BYTES as u64 {
            return Ok(());
        }
        let (segment, file) = begin_segment(&self.folder, self.next)?;
        self.finished.push_back(std::mem::replace(&mut self.current, segment));
        self.file = file;
        Ok(())
    }

    /// Deletes segments that hold nothing beyond `up_to`. Blocks.
    pub(crate) fn cut(&mut self, up_to: LogOffset) -> Result<(), StorageError> {
        if self.next.0 <= up_to.0 + 1 {
            self.rotate()?;
        }
        let mut removed = false;
        while let Some(segment) = self.finished.front() {
            let next_first = self.finished.get(1).map_or(self.current.first, |next| next.first);
            if next_first.0 > up_to.0 + 1 {
                break;
            }
            remove(&segment.path)?;
            self.finished.pop_front();
            removed = true;
        }
        if removed { fsync_folder(&self.folder) } else { Ok(()) }
    }

    pub(crate) fn numbers(&self) -> LogNumbers {
        LogNumbers {
            bytes: self.finished.iter().map(|segment| segment.bytes).sum::<u64>() + self.current.bytes,
            segments: self.finished.len() as u64 + 1,
        }
    }
}

fn begin_segment(folder: &Path, first: LogOffset) -> Result<(Segment, File), StorageError> {
    let path = folder.join(format!("{:020}.log", first.0));
    let failed = |action| StorageError::file(action, &path);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&path).map_err(failed("create"))?;
    file.write_all(&record::header(first)).map_err(failed("write"))?;
    file.sync_all().map_err(failed("fsync"))?;
    fsync_folder(folder)?;
    Ok((Segment { path, first, bytes: HEADER_BYTES as u64 }, file))
}

/// Cuts the end of a segment off and keeps it beside the log, in case it was damage and not a torn write.
fn cut_off(segment: &mut Segment, good_bytes: u64) -> Result<(), StorageError> {
    let failed = |action| StorageError::file(action, &segment.path);
    let bytes = std::fs::read(&segment.path).map_err(failed("read"))?;
    let rest = bytes.get(good_bytes as usize..).unwrap_or_default();
    if rest.iter().any(|byte| *byte != 0) {
        let kept = segment.path.with_extension("cut");
        std::fs::write(&kept, rest).map_err(StorageError::file("write", &kept))?;
    }
    let file = OpenOptions::new().write(true).open(&segment.path).map_err(failed("open"))?;
    file.set_len(good_bytes).map_err(failed("truncate"))?;
    file.sync_all().map_err(failed("fsync"))?;
    segment.bytes = good_bytes;
    Ok(())
}

fn remove(path: &Path) -> Result<(), StorageError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StorageError::file("delete", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
