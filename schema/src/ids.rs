//! Ids as arithmetic: what ties events together follows from what OTLP carries, without a look-up.
//!
//! | id | high 64 bits | low 64 bits |
//! |---|---|---|
//! | span | low half of the trace id | span id |
//! | log record, span event | digest of the request that brought it | position in that request |
//! | metric row | hash of series and bucket start | |
//! | correlation | hash of type, relation and the two ids | |
//!
//! `correlation_id` is the trace id itself: 16 bytes, and so a UUID. All halves are big-endian in the UUID's text form,
//! so a person recognises the span id in the last 16 digits of an event's id.

use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

/// Who owns a row. No query sees another tenant's rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Tenant of everything until API keys say otherwise.
    pub const DEFAULT: &'static str = "default";

    /// A tenant by name.
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The name as stored in `tenant_id`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TenantId {
    fn default() -> Self {
        Self::new(Self::DEFAULT)
    }
}

/// A W3C trace id: 16 bytes, never all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(pub [u8; 16]);

impl TraceId {
    /// `None` for a wrong length or the all-zero id, which OTLP defines as absent.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let id: [u8; 16] = bytes.try_into().ok()?;
        (id != [0; 16]).then_some(Self(id))
    }

    /// Low 64 bits, the high half of the ids of this trace's spans.
    pub fn low(self) -> u64 {
        (u128::from_be_bytes(self.0) & u128::from(u64::MAX)) as u64
    }
}

/// A span id: 8 bytes read big-endian, never zero. Stored as `Int64` with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(pub u64);

impl SpanId {
    /// `None` for a wrong length or the all-zero id, which OTLP defines as absent.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let id = u64::from_be_bytes(bytes.try_into().ok()?);
        (id != 0).then_some(Self(id))
    }

    /// The bits as the stored column holds them.
    pub fn stored(self) -> i64 {
        self.0 as i64
    }
}

/// Id of a row of `events`, `metrics` or `correlations`: a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct EventId(pub u128);

impl EventId {
    /// From its two halves.
    pub fn from_halves(high: u64, low: u64) -> Self {
        Self((u128::from(high) << 64) | u128::from(low))
    }

    /// Id of a span.
    pub fn of_span(trace: TraceId, span: SpanId) -> Self {
        Self::from_halves(trace.low(), span.0)
    }

    /// Id of a log record or span event: where it stood in which request.
    pub fn of_position(digest: RequestDigest, position: u32) -> Self {
        Self::from_halves(digest.short(), u64::from(position))
    }

    /// Id of a row of `metrics`: one series, one bucket.
    pub fn of_metric_row(series: SeriesId, bucket_micros: i64) -> Self {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&series.0.to_be_bytes());
        bytes[16..].copy_from_slice(&bucket_micros.to_be_bytes());
        Self(xxh3_128(&bytes))
    }

    /// Id of a row of `correlations`: the same link always gets the same id.
    pub fn of_correlation(correlation_type: &str, relation: &str, primary: Self, related: Self) -> Self {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(correlation_type.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(relation.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(&primary.0.to_be_bytes());
        bytes.extend_from_slice(&related.0.to_be_bytes());
        Self(xxh3_128(&bytes))
    }

    /// High 64 bits.
    pub fn high(self) -> u64 {
        (self.0 >> 64) as u64
    }

    /// Low 64 bits.
    pub fn low(self) -> u64 {
        self.0 as u64
    }

    /// Big-endian bytes, the order of the UUID's text form.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

/// Appends two lower-case hexadecimal digits for each byte. Ids are written by the thousand, and formatting takes its time.
pub fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    for byte in bytes {
        out.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

impl EventId {
    /// Appends the same text as [`Display`](std::fmt::Display).
    pub fn push_to(self, out: &mut String) {
        for (part, hyphen) in [(0..4, "-"), (4..6, "-"), (6..8, "-"), (8..10, "-"), (10..16, "")] {
            push_hex(out, &self.to_bytes()[part]);
            out.push_str(hyphen);
        }
    }
}

impl std::fmt::Display for EventId {
    /// Lower-case UUID text: 8-4-4-4-12 digits.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::with_capacity(36);
        self.push_to(&mut text);
        f.write_str(&text)
    }
}

impl std::str::FromStr for EventId {
    type Err = InvalidId;

    /// Accepts a UUID with or without hyphens, upper or lower case.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let valid = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let value = valid.then(|| u128::from_str_radix(&digits, 16).ok()).flatten();
        value.map(Self).ok_or_else(|| InvalidId(text.chars().take(64).collect()))
    }
}

/// A text that is no UUID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidId(pub String);

impl std::fmt::Display for InvalidId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "invalid id '{}': expected 32 hexadecimal digits, hyphens allowed", self.0)
    }
}

impl std::error::Error for InvalidId {}

/// Digest of a request: tenant, signal and decompressed bytes. Two requests with one digest are one request sent twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestDigest(pub u128);

impl RequestDigest {
    /// Digest of `body` as `tenant` sent it for `signal`.
    pub fn of(tenant: &TenantId, signal: crate::Signal, body: &[u8]) -> Self {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        hasher.update(tenant.as_str().as_bytes());
        hasher.update(&[0, signal as u8]);
        hasher.update(body);
        Self(hasher.digest128())
    }

    /// The 64 bits that go into the ids of the rows the request brought.
    pub fn short(self) -> u64 {
        (self.0 >> 64) as u64
    }
}

/// Identity of one metric series within a tenant: a hash of asset, name, type and dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct SeriesId(pub u128);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_span_id_can_be_read_in_the_event_id() {
        let trace = TraceId::from_slice(&[0xaa; 16]).unwrap();
        let id = EventId::of_span(trace, SpanId(0x0123_4567_89ab_cdef));
        assert_eq!(id.to_string(), "aaaaaaaa-aaaa-aaaa-0123-456789abcdef");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn texts_that_are_no_uuid_are_refused_with_the_text() {
        for text in ["", "123", "zzaaaaaa-aaaa-aaaa-0123-456789abcdef", "+1aaaaaa-aaaa-aaaa-0123-456789abcdef"] {
            assert_eq!(text.parse::<EventId>(), Err(InvalidId(text.to_owned())));
        }
    }

    #[test]
    fn all_zero_ids_are_absent() {
        assert_eq!(TraceId::from_slice(&[0; 16]), None);
        assert_eq!(SpanId::from_slice(&[0; 8]), None);
        assert_eq!(SpanId::from_slice(&[1; 7]), None);
    }

    #[test]
    fn the_digest_tells_tenants_and_signals_apart() {
        let (a, b) = (TenantId::new("a"), TenantId::new("b"));
        let digest = RequestDigest::of(&a, crate::Signal::Traces, b"x");
        assert_ne!(digest, RequestDigest::of(&b, crate::Signal::Traces, b"x"));
        assert_ne!(digest, RequestDigest::of(&a, crate::Signal::Logs, b"x"));
        assert_eq!(digest, RequestDigest::of(&a, crate::Signal::Traces, b"x"));
    }
}
