//! OTLP messages to stored rows. Pure: no runtime, no clock, the same rows every time.

mod attributes;
mod columns;
mod event_rows;
mod logs;
mod metrics;
mod resource;
mod rules;
mod spans;

pub use rules::{Rule, default_rules};

use crate::decode::{DecodeError, as_protobuf, with_parts_merged};
use crate::protobuf::WireError;
use crate::rejection::Rejections;
use bytes::Bytes;
use rules::Rules;
use whence_schema::{Encoding, MappedRequest, RequestDigest, Signal, TenantId, UnixNanos};

/// Times further ahead of the receive time than this are refused: a clock is wrong, and the row would hide in the future.
pub(crate) const MAX_AHEAD_NANOS: i64 = 24 * 3_600 * 1_000_000_000;

/// Turns requests into rows by a list of rules.
#[derive(Debug)]
pub struct Mapper {
    rules: Rules,
}

impl Mapper {
    /// A mapper whose first matching rule decides `source_module` and `event_type`.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules: Rules::new(rules) }
    }

    /// Decodes and maps one request.
    ///
    /// # Errors
    ///
    /// When `body` is no OTLP request at all. Single wrong items are left out and told in [`Rejections`].
    pub fn map(
        &self,
        tenant: TenantId,
        signal: Signal,
        encoding: Encoding,
        received_at: UnixNanos,
        body: Bytes,
    ) -> Result<(MappedRequest, Rejections), DecodeError> {
        let digest = RequestDigest::of(&tenant, signal, &body);
        let request = Request { tenant: &tenant, received_at, digest, rules: &self.rules };
        let (mapped, rejections) = match as_protobuf(signal, encoding, &body)? {
            Some(protobuf) => map_body(&request, signal, &protobuf),
            None => map_body(&request, signal, &body),
        }
        .map_err(|source| DecodeError::Protobuf { signal, source })?;
        let rejected = rejections.count();
        let Mapped { received, rows, assets } = mapped;
        let mapped =
            MappedRequest { tenant, signal, received_at, digest, body, encoding, received, rejected, rows, assets };
        Ok((mapped, rejections))
    }
}

fn map_body(request: &Request<'_>, signal: Signal, body: &[u8]) -> Result<(Mapped, Rejections), WireError> {
    let once = |body: &[u8]| {
        let mut rejections = Rejections::default();
        let mapped = match signal {
            Signal::Traces => spans::map(request, body, &mut rejections),
            Signal::Logs => logs::map(request, body, &mut rejections),
            Signal::Metrics => metrics::map(request, body, &mut rejections),
        };
        mapped.map(|mapped| (mapped, rejections)).map_err(|error| error.located(body))
    };
    match once(body) {
        Err(error) if error.needs_merging() => match with_parts_merged(signal, body) {
            Some(merged) => once(&merged),
            None => Err(error),
        },
        done => done,
    }
}

/// What every row of a request shares.
struct Request<'a> {
    tenant: &'a TenantId,
    received_at: UnixNanos,
    digest: RequestDigest,
    rules: &'a Rules,
}

struct Mapped {
    received: u64,
    rows: whence_schema::Rows,
    assets: Vec<whence_schema::AssetSighting>,
}

impl Request<'_> {
    /// OTLP's time, where 0 means "not set" and becomes `default`.
    ///
    /// # Errors
    ///
    /// Text on why the time cannot be right.
    fn time(&self, nanos: u64, default: UnixNanos) -> Result<UnixNanos, String> {
        if nanos == 0 {
            return Ok(default);
        }
        match i64::try_from(nanos) {
            Ok(time) if time <= self.received_at.0.saturating_add(MAX_AHEAD_NANOS) => Ok(UnixNanos(time)),
            _ => Err(format!(
                "its time {nanos} ns is more than 24 h ahead of the receive time {} ns",
                self.received_at.0
            )),
        }
    }
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
