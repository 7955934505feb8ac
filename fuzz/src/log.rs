//! The reader of the write-ahead log, from its own source: instrumenting the storage crate around it would take long.

#![allow(dead_code, unreachable_pub, reason = "only reading is called here, from modules that do more")]

#[path = "../../storage/src/log/damage.rs"]
mod damage;
#[path = "../../storage/src/disk.rs"]
pub(crate) mod disk;
#[path = "../../storage/src/log/reader.rs"]
mod reader;
#[path = "../../storage/src/log/record.rs"]
mod record;

use reader::Segment;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// As in the storage crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct LogOffset(pub(crate) u64);

impl LogOffset {
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What reading fails with, as far as the reader makes it.
#[derive(Debug)]
pub(crate) enum StorageError {
    File { action: &'static str, path: PathBuf, source: std::io::Error },
    Incompatible { path: PathBuf, reason: String },
}

impl StorageError {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}

impl std::fmt::Display for StorageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Reads `input` as a segment: an even first byte puts a good header in front of the rest, so that what follows is
/// read as records; an odd one leaves all of it to the input. Checksums of frames are made right where the second byte
/// is even, or hardly a record would ever be looked into.
///
/// # Panics
///
/// When records and damage together are not the whole file.
pub fn read(input: &[u8]) {
    let [first, second, rest @ ..] = input else { return };
    let mut bytes = if first % 2 == 0 { record::header(LogOffset(1)).to_vec() } else { Vec::new() };
    let begin = bytes.len();
    bytes.extend_from_slice(rest);
    if first % 2 == 0 && second % 2 == 0 {
        mend_checksums(&mut bytes[begin..]);
    }
    let segment = Segment { path: PathBuf::from("1.log"), first: LogOffset(1), bytes: bytes.len() as u64 };
    let mut expected = LogOffset(1);
    let mut taken = 0;
    let scanned = reader::scan_bytes(&mut bytes.as_slice(), &segment, |offset, _, length| {
        assert!(offset >= expected, "offsets go up");
        expected = offset.next();
        taken += length;
        ControlFlow::Continue(())
    });
    let Ok(scan) = scanned else { return };
    let damaged: u64 = scan.damage.iter().map(|damage| damage.bytes).sum();
    let header = if scan.damage.first().is_some_and(|damage| damage.at == 0) { 0 } else { record::HEADER_BYTES as u64 };
    assert_eq!(header + taken + damaged, segment.bytes, "{scan:?}");
    assert!(scan.good_bytes <= segment.bytes);
}

fn mend_checksums(mut bytes: &mut [u8]) {
    while bytes.len() > record::FRAME_BYTES {
        let (frame, rest) = bytes.split_at_mut(record::FRAME_BYTES);
        // Lengths of two bytes reach everything that an input can hold.
        (frame[2], frame[3]) = (0, 0);
        let length = usize::from(u16::from_le_bytes([frame[0], frame[1]])).min(rest.len());
        frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
        let (payload, behind) = rest.split_at_mut(length);
        frame[4..].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
        bytes = behind;
    }
}
