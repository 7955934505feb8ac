//! Bytes of a log segment, version 1. All numbers are little-endian.
//!
//! ```text
//! header   "WHNCLOG" | version (1 byte) | offset of the first record (8) | CRC-32 of the 16 bytes before (4)
//! record   length of payload (4) | CRC-32 of payload (4) | payload
//! payload  offset (8) | kind (1) | length of tenant (2) | tenant | signal (1) | received at, Unix nanoseconds (8) | rest
//! rest of kind 1, a request
//!          encoding (1) | digest (16) | items received (8) | items rejected (8) | the request, decompressed
//! rest of kind 2, counts of a request of which nothing is stored
//!          items received (8) | items duplicate (8) | items rejected (8)
//! ```

use super::LogOffset;
use bytes::Bytes;
use whence_schema::{Encoding, RequestDigest, Signal, TenantId, UnixNanos};

pub(crate) const VERSION: u8 = 1;
pub(crate) const HEADER_BYTES: usize = 20;
pub(crate) const FRAME_BYTES: usize = 8;
const MAGIC: &[u8; 7] = b"WHNCLOG";
const KIND_REQUEST: u8 = 1;
const KIND_COUNTS: u8 = 2;

/// What the log remembers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Record {
    Request(Request),
    Counts(Counts),
}

/// A request whose rows are stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) tenant: TenantId,
    pub(crate) signal: Signal,
    pub(crate) received_at: UnixNanos,
    pub(crate) encoding: Encoding,
    pub(crate) digest: RequestDigest,
    pub(crate) received: u64,
    pub(crate) rejected: u64,
    pub(crate) body: Bytes,
}

/// A request of which nothing is stored: a duplicate, or refused as a whole.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Counts {
    pub(crate) tenant: TenantId,
    pub(crate) signal: Signal,
    pub(crate) at: UnixNanos,
    pub(crate) received: u64,
    pub(crate) duplicate: u64,
    pub(crate) rejected: u64,
}

/// Header of a segment.
pub(crate) fn header(first: LogOffset) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..7].copy_from_slice(MAGIC);
    bytes[7] = VERSION;
    bytes[8..16].copy_from_slice(&first.0.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..16]);
    bytes[16..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Why bytes are no header of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// Its checksum is wrong.
    Damaged,
    /// It is whole, and of a version this code does not know.
    Version(u8),
}

/// Offset of the first record.
pub(crate) fn parse_header(bytes: &[u8; HEADER_BYTES]) -> Result<LogOffset, HeaderFault> {
    let mut fields = Fields(&bytes[..]);
    let (magic, version) = (fields.array::<7>(), fields.u8());
    let (first, checksum) = (fields.u64(), fields.u32());
    if magic.as_ref() != Some(MAGIC) || checksum != Some(crc32fast::hash(&bytes[..16])) {
        return Err(HeaderFault::Damaged);
    }
    match (version, first) {
        (Some(VERSION), Some(first)) => Ok(LogOffset(first)),
        (version, _) => Err(HeaderFault::Version(version.unwrap_or(0))),
    }
}

/// Appends the framed record to `out`.
pub(crate) fn encode(offset: LogOffset, record: &Record, out: &mut Vec<u8>) {
    let frame = out.len();
    out.extend_from_slice(&[0; FRAME_BYTES]);
    out.extend_from_slice(&offset.0.to_le_bytes());
    let head = |out: &mut Vec<u8>, kind: u8, tenant: &TenantId, signal: Signal, at: UnixNanos| {
        // Names of tenants are limited to far below 64 KiB where they are configured.
        let name = &tenant.as_str().as_bytes()[..tenant.as_str().len().min(usize::from(u16::MAX))];
        out.push(kind);
        out.extend_from_slice(&(name.len() as u16).to_le_bytes());
        out.extend_from_slice(name);
        out.push(signal as u8);
        out.extend_from_slice(&at.0.to_le_bytes());
    };
    match record {
        Record::Request(request) => {
            head(out, KIND_REQUEST, &request.tenant, request.signal, request.received_at);
            out.push(request.encoding as u8);
            out.extend_from_slice(&request.digest.0.to_le_bytes());
            out.extend_from_slice(&request.received.to_le_bytes());
            out.extend_from_slice(&request.rejected.to_le_bytes());
            out.extend_from_slice(&request.body);
        }
        Record::Counts(counts) => {
            head(out, KIND_COUNTS, &counts.tenant, counts.signal, counts.at);
            for count in [counts.received, counts.duplicate, counts.rejected] {
                out.extend_from_slice(&count.to_le_bytes());
            }
        }
    }
    let payload = frame + FRAME_BYTES;
    let length = (out.len() - payload) as u32;
    let checksum = crc32fast::hash(&out[payload..]);
    out[frame..frame + 4].copy_from_slice(&length.to_le_bytes());
    out[frame + 4..payload].copy_from_slice(&checksum.to_le_bytes());
}

/// Reads a payload whose checksum was right; `None` when it is no record of this version.
pub(crate) fn decode(payload: &Bytes) -> Option<(LogOffset, Record)> {
    let mut fields = Fields(payload);
    let offset = LogOffset(fields.u64()?);
    let kind = fields.u8()?;
    let name_length = usize::from(u16::from_le_bytes(fields.array()?));
    let tenant = TenantId::new(std::str::from_utf8(fields.take(name_length)?).ok()?);
    let signal = *Signal::ALL.get(usize::from(fields.u8()?))?;
    let at = UnixNanos(fields.u64()? as i64);
    let record = match kind {
        KIND_REQUEST => {
            let encoding = match fields.u8()? {
                0 => Encoding::Protobuf,
                1 => Encoding::Json,
                _ => return None,
            };
            let digest = RequestDigest(u128::from_le_bytes(fields.array()?));
            let (received, rejected) = (fields.u64()?, fields.u64()?);
            let body = payload.slice_ref(fields.0);
            Record::Request(Request { tenant, signal, received_at: at, encoding, digest, received, rejected, body })
        }
        KIND_COUNTS => {
            let (received, duplicate, rejected) = (fields.u64()?, fields.u64()?, fields.u64()?);
            Record::Counts(Counts { tenant, signal, at, received, duplicate, rejected })
        }
        _ => return None,
    };
    Some((offset, record))
}

/// Reads fixed-width fields from the front of a slice.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|bytes| bytes[0])
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn request() -> Record {
        Record::Request(Request {
            tenant: TenantId::new("acme"),
            signal: Signal::Logs,
            received_at: UnixNanos(-5),
            encoding: Encoding::Json,
            digest: RequestDigest(7),
            received: 3,
            rejected: 1,
            body: Bytes::from_static(b"{}"),
        })
    }

    #[test]
    fn records_read_back() {
        let counts = Record::Counts(Counts {
            tenant: TenantId::default(),
            signal: Signal::Metrics,
            at: UnixNanos(9),
            received: 5,
            duplicate: 4,
            rejected: 1,
        });
        for record in [request(), counts] {
            let mut bytes = Vec::new();
            encode(LogOffset(42), &record, &mut bytes);
            let payload = Bytes::from(bytes).slice(FRAME_BYTES..);
            assert_eq!(decode(&payload), Some((LogOffset(42), record)));
            (0..40.min(payload.len())).for_each(|end| assert!(decode(&payload.slice(..end)).is_none()));
        }
    }

    /// Every later version must read what version 1 has written.
    #[test]
    fn a_record_of_version_1_is_read() {
        let written: [u8; 67] = include!("../../fixtures/log_record_v1.in");
        let payload = Bytes::copy_from_slice(&written[FRAME_BYTES..]);
        assert_eq!(decode(&payload), Some((LogOffset(1), request())));
        assert_eq!(crc32fast::hash(&payload).to_le_bytes(), written[4..8]);
    }

    #[test]
    fn headers_of_other_versions_and_damaged_ones_are_told_apart() {
        let good = header(LogOffset(77));
        assert_eq!(parse_header(&good), Ok(LogOffset(77)));
        let mut damaged = good;
        damaged[9] ^= 1;
        assert_eq!(parse_header(&damaged), Err(HeaderFault::Damaged));
        let mut newer = good;
        newer[7] = 2;
        let checksum = crc32fast::hash(&newer[..16]);
        newer[16..].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(parse_header(&newer), Err(HeaderFault::Version(2)));
    }
}
