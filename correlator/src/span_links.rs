//! Span links as the receiver leaves them in a span's payload: `{"_otel": {"links": [{"trace_id": …, "span_id": …}]}}`.

use serde::Deserialize;
use std::borrow::Cow;
use whence_schema::{EventId, SpanId, TraceId};

/// Links of one span that are followed; a span that joins more than this many others says little about each.
pub(crate) const LIMIT: usize = 128;

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow, rename = "_otel")]
    otel: Option<Otel<'a>>,
}

#[derive(Deserialize)]
struct Otel<'a> {
    #[serde(borrow, default)]
    links: Vec<Link<'a>>,
}

#[derive(Deserialize)]
struct Link<'a> {
    #[serde(borrow)]
    trace_id: Cow<'a, str>,
    #[serde(borrow)]
    span_id: Cow<'a, str>,
}

/// Ids of the spans that the span `own` links to: each once, itself never. The payload is only parsed when it may have
/// links, which costs a search for seven bytes.
pub(crate) fn linked(payload: &str, own: EventId) -> Vec<EventId> {
    if !payload.contains("\"links\"") {
        return Vec::new();
    }
    let parsed: Option<Payload<'_>> = serde_json::from_str(payload).ok();
    let links = parsed.and_then(|payload| payload.otel).map(|otel| otel.links).unwrap_or_default();
    let mut ids = Vec::new();
    for link in links.iter().take(LIMIT) {
        let Some(id) = span_of(link) else { continue };
        if id != own && !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

fn span_of(link: &Link<'_>) -> Option<EventId> {
    if link.trace_id.len() != 32 || link.span_id.len() != 16 {
        return None;
    }
    let trace = TraceId::from_slice(&u128::from_str_radix(&link.trace_id, 16).ok()?.to_be_bytes())?;
    let span = SpanId::from_slice(&u64::from_str_radix(&link.span_id, 16).ok()?.to_be_bytes())?;
    Some(EventId::of_span(trace, span))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0123456789abcdef00000000000000aa";

    #[test]
    fn each_linked_span_is_named_once_and_never_the_span_itself() {
        let link = |span: &str| format!(r#"{{"trace_id":"{TRACE}","span_id":"{span}","trace_state":"a=b"}}"#);
        let (one, two) = (link("0000000000000001"), link("0000000000000002"));
        let payload = format!(r#"{{"links":3,"x":{{"y":[1]}},"_otel":{{"scope":"s","links":[{one},{two},{one}]}}}}"#);
        assert_eq!(linked(&payload, EventId((0xaa << 64) | 2)), [EventId((0xaa << 64) | 1)]);
    }

    #[test]
    fn payloads_without_links_or_with_bad_ones_have_none() {
        let bad = [
            r#"{"links":[{"trace_id":"a","span_id":"b"}]}"#.to_owned(),
            r#"{"_otel":{"links":[{"trace_id":"a","span_id":"b"}]}}"#.to_owned(),
            format!(r#"{{"_otel":{{"links":[{{"trace_id":"{TRACE}","span_id":"0000000000000000"}}]}}}}"#),
            r#"{"_otel":{"links":7}}"#.to_owned(),
            r#"{"_otel":{"links":["#.to_owned(),
        ];
        for payload in bad {
            assert_eq!(linked(&payload, EventId(1)), [], "{payload}");
        }
    }
}
