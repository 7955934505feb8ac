//! Writing segments: one write and one fsync for a group of records.

use super::record::{self, HEADER_BYTES, Record};
use super::{LogOffset, Segment, keep_damaged, list_segments, scan};
use crate::files::make_folder;
use crate::{Disk, DiskFile, Durability, StorageError};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The open end of the log.
#[derive(Debug)]
pub(crate) struct LogWriter {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    durability: Durability,
    segment_bytes: u64,
    /// Whole segments, oldest first.
    finished: VecDeque<Segment>,
    current: Segment,
    file: Box<dyn DiskFile>,
    group: Vec<u8>,
    group_records: u64,
    next: LogOffset,
    poisoned: Option<String>,
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
        disk: &Arc<dyn Disk>,
        folder: &Path,
        durability: Durability,
        segment_bytes: u64,
        at_least: LogOffset,
    ) -> Result<(Self, Vec<Segment>, Vec<String>), StorageError> {
        make_folder(folder)?;
        let mut segments = list_segments(disk.as_ref(), folder)?;
        remove_unbegun(disk.as_ref(), &mut segments)?;
        let mut damage = Vec::new();
        let mut next = at_least;
        // A segment that could not be begun properly may be empty and stand behind the one that was written to instead.
        while let Some(segment) = segments.last_mut() {
            let read = scan(disk.as_ref(), segment, |_, _, _| ControlFlow::Continue(()))?;
            next = next.max(read.last.map_or(segment.first, LogOffset::next));
            let torn = read.damage.last().filter(|damage| damage.is_end());
            damage.extend(torn.map(|torn| torn.sentence(segment)));
            if read.last.is_some() {
                if let Some(torn) = torn {
                    keep_damaged(disk.as_ref(), segment, torn);
                }
                let good_bytes = if torn.is_some() { read.good_bytes } else { segment.bytes };
                end_segment(disk.as_ref(), segment, durability, good_bytes)?;
                break;
            }
            if segment.bytes > HEADER_BYTES as u64 {
                let kept = segment.path.with_extension("damaged");
                disk.rename(&segment.path, &kept).map_err(StorageError::file("rename", &segment.path))?;
            } else {
                remove(disk.as_ref(), &segment.path)?;
            }
            segments.pop();
        }
        let (current, file) = begin_segment(disk.as_ref(), folder, next)?;
        let writer = Self {
            disk: disk.clone(),
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
        if let Err(source) = self.file.write_all(&self.group) {
            // A write that failed half way (disk full) is undone, so that the service returns when space does.
            if let Err(error) = self.file.truncate(self.current.bytes) {
                self.poisoned = Some(error.to_string());
            }
            return Err(StorageError::File { action: "write", path: self.current.path.clone(), source });
        }
        if self.durability == Durability::Fsync
            && let Err(error) = self.file.sync()
        {
            self.poisoned = Some(error.to_string());
            // What was refused must not come back with a restart, which would find it in the cache and take it for
            // durable: a sender that repeats it would then be told it is stored.
            let _ = self.file.truncate(self.current.bytes);
            return Err(StorageError::LogPoisoned(error.to_string()));
        }
        Ok(())
    }

    pub(crate) fn poisoned(&self) -> bool {
        self.poisoned.is_some()
    }

    /// Begins a new segment unless the current one is empty. Blocks.
    pub(crate) fn rotate(&mut self) -> Result<(), StorageError> {
        if self.current.bytes <= HEADER_BYTES as u64 {
            return Ok(());
        }
        let (segment, file) = begin_segment(self.disk.as_ref(), &self.folder, self.next)?;
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
            remove(self.disk.as_ref(), &segment.path)?;
            self.finished.pop_front();
            removed = true;
        }
        if removed {
            self.disk.sync_folder(&self.folder).map_err(StorageError::file("fsync", &self.folder))?;
        }
        Ok(())
    }

    /// The segments, oldest first, with the bytes that are whole.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        self.finished.iter().chain([&self.current]).cloned().collect()
    }

    pub(crate) fn numbers(&self) -> LogNumbers {
        LogNumbers {
            bytes: self.finished.iter().map(|segment| segment.bytes).sum::<u64>() + self.current.bytes,
            segments: self.finished.len() as u64 + 1,
        }
    }
}

/// Removes segments without a record that have others behind them. Such a one could not be begun properly, and the one
/// before it was written to instead: by its name it claims offsets of that one, which would be cut too early.
fn remove_unbegun(disk: &dyn Disk, segments: &mut Vec<Segment>) -> Result<(), StorageError> {
    let last = segments.len().saturating_sub(1);
    for empty in segments.extract_if(..last, |segment| segment.bytes <= HEADER_BYTES as u64) {
        remove(disk, &empty.path)?;
    }
    Ok(())
}

fn begin_segment(
    disk: &dyn Disk,
    folder: &Path,
    first: LogOffset,
) -> Result<(Segment, Box<dyn DiskFile>), StorageError> {
    let path = folder.join(format!("{:020}.log", first.0));
    let failed = |action| StorageError::file(action, &path);
    let mut file = disk.create(&path).map_err(failed("create"))?;
    let made = file
        .write_all(&record::header(first))
        .map_err(failed("write"))
        .and_then(|()| file.sync().map_err(failed("fsync")))
        .and_then(|()| disk.sync_folder(folder).map_err(StorageError::file("fsync", folder)));
    if made.is_err() {
        let _ = disk.remove(&path);
    }
    made?;
    Ok((Segment { path, first, bytes: HEADER_BYTES as u64 }, file))
}

/// Cuts the newest segment of an earlier run and makes it durable by writing it anew: what that run did not get synced,
/// or failed to sync, can still be read from the cache, where another fsync would do nothing for it. From now on it
/// counts: a request that is repeated will be answered as stored. Needs the segment's size in space; a disk that is full
/// gets an fsync only.
fn end_segment(
    disk: &dyn Disk,
    segment: &mut Segment,
    durability: Durability,
    good_bytes: u64,
) -> Result<(), StorageError> {
    let copy = segment.path.with_extension("new");
    let copied = if durability == Durability::Fsync { copy_segment(disk, segment, good_bytes, &copy) } else { Ok(()) };
    if let Err(error) = copied {
        let _ = disk.remove(&copy);
        if error.kind() != ErrorKind::StorageFull {
            return Err(StorageError::file("copy", &segment.path)(error));
        }
    }
    let failed = |action| StorageError::file(action, &segment.path);
    let mut file = disk.append(&segment.path).map_err(failed("open"))?;
    if good_bytes < segment.bytes {
        file.truncate(good_bytes).map_err(failed("truncate"))?;
    }
    if durability == Durability::Fsync {
        file.sync().map_err(failed("fsync"))?;
    }
    segment.bytes = good_bytes;
    Ok(())
}

fn copy_segment(disk: &dyn Disk, segment: &Segment, good_bytes: u64, to: &Path) -> std::io::Result<()> {
    let mut from = disk.open(&segment.path)?.take(good_bytes);
    let mut file = disk.create(to)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match from.read(&mut buffer)? {
            0 => break,
            read => file.write_all(&buffer[..read])?,
        }
    }
    file.sync()?;
    disk.rename(to, &segment.path)?;
    segment.path.parent().map_or(Ok(()), |folder| disk.sync_folder(folder))
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    match disk.remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StorageError::file("delete", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
