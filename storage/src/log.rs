//! The write-ahead log: every request as received, before it is acknowledged.
//!
//! ```text
//! log/00000000000000000001.log   header | record | record | ...
//! log/00000000000000004711.log   the name is the offset of the first record
//! ```
//!
//! Offsets number records, from 1, without gaps between segments that are whole. A segment is never written to after a
//! restart: a new one is begun.
//!
//! What is damaged is found by its checksum. A torn end of the last segment is cut off. Damage anywhere else is passed
//! over where the lengths of the records still lead on: good records behind it are read, for they were acknowledged. In
//! both cases the bytes that are left out are copied to `<first offset>-<byte>.damaged` and reported.

mod damage;
mod reader;
pub(crate) mod record;
mod thread;
mod writer;

pub(crate) use damage::keep_damaged;
pub(crate) use reader::{Segment, list_segments, scan};
pub(crate) use record::{Counts, Record, Request};
pub(crate) use thread::{Command, LogThread, Replayed, Seal, Sealed, refused};
pub(crate) use writer::LogWriter;

/// Number of a record in the log. 0 is before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct LogOffset(pub(crate) u64);

impl LogOffset {
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
