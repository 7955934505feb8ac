//! Reading segments: every good record, and what lies between and behind them.

use super::LogOffset;
use super::damage::{Damage, TORN};
use super::record::{self, FRAME_BYTES, HEADER_BYTES, HeaderFault, Record};
use crate::{Disk, StorageError};
use bytes::Bytes;
use std::io::{BufReader, ErrorKind, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A segment file.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    /// From its name.
    pub(crate) first: LogOffset,
    pub(crate) bytes: u64,
}

/// What a segment holds.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Where the last good record ends.
    pub(crate) good_bytes: u64,
    /// Last good record.
    pub(crate) last: Option<LogOffset>,
    /// What holds no good record, in order.
    pub(crate) damage: Vec<Damage>,
}

/// Segments in order. Blocks.
pub(crate) fn list_segments(disk: &dyn Disk, folder: &Path) -> Result<Vec<Segment>, StorageError> {
    let mut segments = Vec::new();
    for (path, bytes) in disk.list(folder).map_err(StorageError::file("list", folder))? {
        let first = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".log")?.parse::<u64>().ok());
        if let Some(first) = first {
            segments.push(Segment { path, first: LogOffset(first), bytes });
        }
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments)
}

/// Hands every good record to `each`, with the bytes it takes, until it breaks. Blocks.
///
/// # Errors
///
/// When the file cannot be read, or is of another version; damage is no error but part of the result.
pub(crate) fn scan(
    disk: &dyn Disk,
    segment: &Segment,
    each: impl FnMut(LogOffset, Record, u64) -> ControlFlow<()>,
) -> Result<Scan, StorageError> {
    let file = disk.open(&segment.path).map_err(StorageError::file("open", &segment.path))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    scan_bytes(&mut reader, segment, each).map_err(|stopped| match stopped {
        Stopped::Read(source) => StorageError::file("read", &segment.path)(source),
        Stopped::Version(version) => StorageError::Incompatible {
            path: segment.path.clone(),
            reason: format!("log format {version}, this whence reads format {}: use a newer whence", record::VERSION),
        },
    })
}

/// Why a segment cannot be read at all.
#[derive(Debug)]
pub(crate) enum Stopped {
    Read(std::io::Error),
    Version(u8),
}

impl From<std::io::Error> for Stopped {
    fn from(error: std::io::Error) -> Self {
        Self::Read(error)
    }
}

/// As [`scan`], of `segment.bytes` bytes that `reader` gives.
pub(crate) fn scan_bytes(
    reader: &mut impl Read,
    segment: &Segment,
    mut each: impl FnMut(LogOffset, Record, u64) -> ControlFlow<()>,
) -> Result<Scan, Stopped> {
    let mut scan = Scan::default();
    let (mut at, mut expected) = (HEADER_BYTES as u64, segment.first);
    // Where what cannot be read began, why, and which record was expected there.
    let mut bad: Option<(u64, String, LogOffset)> = None;
    let mut header = [0; HEADER_BYTES];
    if !read_full(reader, &mut header)? {
        at = segment.bytes;
        bad = Some((0, "the header is torn".to_owned(), expected));
    } else {
        match record::parse_header(&header) {
            Ok(first) if first == segment.first => scan.good_bytes = at,
            Ok(_) => {
                at = segment.bytes;
                bad = Some((0, "the header belongs to another file name".to_owned(), expected));
            }
            Err(HeaderFault::Version(version)) => return Err(Stopped::Version(version)),
            // The name says where it begins, and records prove themselves.
            Err(HeaderFault::Damaged) => bad = Some((0, "the header is damaged".to_owned(), expected)),
        }
    }
    while at < segment.bytes {
        match read_frame(reader, segment.bytes - at, expected)? {
            Frame::Good(bytes, record) => {
                if let Some((from, reason, first)) = bad.take() {
                    let lost = Some((expected.0, expected.0 - first.0));
                    scan.damage.push(Damage { at: from, bytes: at - from, reason, lost });
                }
                at += bytes;
                scan.good_bytes = at;
                scan.last = Some(expected);
                if each(expected, record, bytes).is_break() {
                    return Ok(scan);
                }
                expected = expected.next();
            }
            Frame::Bad(bytes, reason) => {
                bad.get_or_insert((at, reason, expected));
                at += bytes;
                expected = expected.next();
            }
            Frame::End(reason) => {
                bad.get_or_insert((at, reason, expected));
                break;
            }
        }
    }
    if let Some((from, reason, _)) = bad {
        scan.damage.push(Damage { at: from, bytes: segment.bytes.saturating_sub(from), reason, lost: None });
    }
    Ok(scan)
}

enum Frame {
    Good(u64, Record),
    /// No good record, but its length may lead to the next one.
    Bad(u64, String),
    /// Nothing behind this can be read.
    End(String),
}

fn read_frame(reader: &mut impl Read, available: u64, expected: LogOffset) -> std::io::Result<Frame> {
    let torn = || Ok(Frame::End(TORN.to_owned()));
    let mut frame = [0; FRAME_BYTES];
    if !read_full(reader, &mut frame)? {
        return torn();
    }
    let mut fields = record::Fields(&frame);
    let (length, checksum) = (fields.u32().unwrap_or(0), fields.u32().unwrap_or(0));
    let total = u64::from(length) + FRAME_BYTES as u64;
    // A length beyond the file is damage; checking it first keeps damage from asking for memory.
    if length == 0 || total > available {
        return torn();
    }
    let mut payload = vec![0; length as usize];
    if !read_full(reader, &mut payload)? {
        return torn();
    }
    if crc32fast::hash(&payload) != checksum {
        return Ok(Frame::Bad(total, "a record has a wrong checksum".to_owned()));
    }
    Ok(match record::decode(&Bytes::from(payload)) {
        Some((offset, record)) if offset == expected => Frame::Good(total, record),
        Some((offset, _)) => Frame::End(format!("record {} stands where {} should", offset.0, expected.0)),
        None => Frame::Bad(total, "a record is of no known kind".to_owned()),
    })
}

/// False at the end of the file.
fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
