//! Reading segments: the good prefix, and what was cut behind it.

use super::LogOffset;
use super::record::{self, FRAME_BYTES, HEADER_BYTES, Record};
use crate::StorageError;
use bytes::Bytes;
use std::fs::File;
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

/// How far a segment could be read.
#[derive(Debug)]
pub(crate) struct Scan {
    /// Bytes of the header and all good records.
    pub(crate) good_bytes: u64,
    /// Last good record.
    pub(crate) last: Option<LogOffset>,
    /// Why reading stopped before the end of the file.
    pub(crate) damage: Option<String>,
}

/// Sentence for reports about a damaged segment.
pub(crate) fn damaged(segment: &Segment, scan: &Scan) -> Option<String> {
    let reason = scan.damage.as_ref()?;
    let lost = segment.bytes.saturating_sub(scan.good_bytes);
    Some(format!("{}: {reason} at byte {}: {lost} bytes cut", segment.path.display(), scan.good_bytes))
}

/// Segments in order. Blocks.
pub(crate) fn list_segments(folder: &Path) -> Result<Vec<Segment>, StorageError> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(StorageError::file("list", folder))? {
        let entry = entry.map_err(StorageError::file("list", folder))?;
        let path = entry.path();
        let first = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".log")?.parse::<u64>().ok());
        if let Some(first) = first {
            let bytes = entry.metadata().map_err(StorageError::file("inspect", &path))?.len();
            segments.push(Segment { path, first: LogOffset(first), bytes });
        }
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments)
}

/// Hands every good record to `each`, until it breaks. Blocks.
pub(crate) fn scan(
    segment: &Segment,
    mut each: impl FnMut(LogOffset, Record) -> ControlFlow<()>,
) -> Result<Scan, StorageError> {
    let file = File::open(&segment.path).map_err(StorageError::file("open", &segment.path))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut scan = Scan { good_bytes: 0, last: None, damage: None };
    let mut header = [0; HEADER_BYTES];
    if !read_full(&mut reader, &mut header).map_err(StorageError::file("read", &segment.path))? {
        scan.damage = Some("the header is torn".to_owned());
        return Ok(scan);
    }
    match record::parse_header(&header) {
        Ok(first) if first == segment.first => scan.good_bytes = HEADER_BYTES as u64,
        Ok(_) => scan.damage = Some("the header belongs to another file name".to_owned()),
        Err(reason) => scan.damage = Some(reason),
    }
    let mut expected = segment.first;
    while scan.damage.is_none() && scan.good_bytes < segment.bytes {
        match read_record(&mut reader, segment.bytes - scan.good_bytes, expected)
            .map_err(StorageError::file("read", &segment.path))?
        {
            Ok((bytes, record)) => {
                scan.good_bytes += bytes;
                scan.last = Some(expected);
                if each(expected, record).is_break() {
                    break;
                }
                expected = expected.next();
            }
            Err(reason) => scan.damage = Some(reason),
        }
    }
    Ok(scan)
}

type Outcome = Result<(u64, Record), String>;

fn read_record(reader: &mut impl Read, available: u64, expected: LogOffset) -> std::io::Result<Outcome> {
    let mut frame = [0; FRAME_BYTES];
    if !read_full(reader, &mut frame)? {
        return Ok(Err("a record is torn".to_owned()));
    }
    let mut fields = record::Fields(&frame);
    let (length, checksum) = (fields.u32().unwrap_or(0), fields.u32().unwrap_or(0));
    let total = u64::from(length) + FRAME_BYTES as u64;
    // A length beyond the file is damage; checking it first keeps damage from asking for memory.
    if length == 0 || total > available {
        return Ok(Err("a record is torn".to_owned()));
    }
    let mut payload = vec![0; length as usize];
    if !read_full(reader, &mut payload)? {
        return Ok(Err("a record is torn".to_owned()));
    }
    if crc32fast::hash(&payload) != checksum {
        return Ok(Err("a record has a wrong checksum".to_owned()));
    }
    Ok(match record::decode(&Bytes::from(payload)) {
        Some((offset, record)) if offset == expected => Ok((total, record)),
        Some((offset, _)) => Err(format!("record {} stands where {} should", offset.0, expected.0)),
        None => Err("a record is of no known kind".to_owned()),
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
