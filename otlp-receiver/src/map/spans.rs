//! Spans and their events to rows of `events`.

use super::attributes::{ObjectWriter, hex, text, write_object};
use super::event_rows::{EventRow, EventRows};
use super::resource::ResourceRows;
use super::{Mapped, Request};
use crate::rejection::Rejections;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::trace::v1::{Span, span};
use std::collections::BTreeMap;
use whence_schema::tables::events::{SIGNAL_SPAN, SIGNAL_SPAN_EVENT};
use whence_schema::{AssetSighting, Rows, Severity, SpanId, TraceId, UnixNanos};

const STATUS_ERROR: i32 = 2;

pub(super) fn map(request: &Request<'_>, message: ExportTraceServiceRequest, rejections: &mut Rejections) -> Mapped {
    let spans: usize = message.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum();
    let rows = EventRows::new(request.tenant.as_str(), request.received_at, request.digest, spans);
    let mut mapping =
        SpanMapping { request, rows, scratch: Vec::with_capacity(1_024), next_position: 0, named: BTreeMap::new() };
    let mut assets = Vec::with_capacity(message.resource_spans.len());
    for resource_spans in message.resource_spans {
        let resource = ResourceRows::new(resource_spans.resource);
        mapping.rows.begin_resource(&resource);
        let mut last_seen = UnixNanos(i64::MIN);
        for scope_spans in &resource_spans.scope_spans {
            for span in &scope_spans.spans {
                match mapping.push(span, scope_spans.scope.as_ref()) {
                    Ok(start) => last_seen = last_seen.max(start),
                    Err(reason) => rejections.add(|| format!("span '{}': {reason}", short(&span.name))),
                }
            }
        }
        if last_seen.0 > i64::MIN {
            assets.push(resource.sighting(last_seen));
        }
    }
    let named = mapping.named.into_iter().map(|((asset_type, asset_id), last_seen)| AssetSighting {
        asset_id,
        asset_type,
        version: None,
        last_seen,
        metadata: None,
    });
    assets.extend(named);
    Mapped { received: spans as u64, rows: Rows::Events(mapping.rows.finish()), assets }
}

/// Names go into error messages; a hostile one shall not fill them.
pub(super) fn short(name: &str) -> String {
    name.chars().take(80).collect()
}

struct SpanMapping<'a> {
    request: &'a Request<'a>,
    rows: EventRows<'a>,
    scratch: Vec<u8>,
    next_position: u32,
    /// Agents and models that spans name are assets too: when each was last seen, by type and name.
    named: BTreeMap<(&'static str, String), UnixNanos>,
}

impl SpanMapping<'_> {
    /// Start time of the span when it was stored, else the reason why not.
    fn push(&mut self, span: &Span, scope: Option<&InstrumentationScope>) -> Result<UnixNanos, String> {
        let trace = TraceId::from_slice(&span.trace_id).ok_or_else(|| bad_id("trace_id", 16, &span.trace_id))?;
        let id = SpanId::from_slice(&span.span_id).ok_or_else(|| bad_id("span_id", 8, &span.span_id))?;
        if !matches!(span.parent_span_id.len(), 0 | 8) {
            return Err(bad_id("parent_span_id", 8, &span.parent_span_id));
        }
        let start = self.request.time(span.start_time_unix_nano, self.request.received_at)?;
        let end = self.request.time(span.end_time_unix_nano, start)?;
        let agent = text(&span.attributes, "gen_ai.agent.name").or_else(|| text(&span.attributes, "gen_ai.agent.id"));
        let model =
            text(&span.attributes, "gen_ai.response.model").or_else(|| text(&span.attributes, "gen_ai.request.model"));
        for (asset_type, name) in [("agent", agent), ("model", model)] {
            if let Some(name) = name {
                let seen = self.named.entry((asset_type, name.to_owned())).or_insert(start);
                *seen = start.max(*seen);
            }
        }
        let failed = span.status.as_ref().is_some_and(|s| s.code == STATUS_ERROR);
        let matched = self.request.rules.first_match(SIGNAL_SPAN, "", &span.attributes);
        self.scratch.clear();
        write_payload(&mut self.scratch, span, scope);
        self.rows.push(&EventRow {
            timestamp: start,
            signal: SIGNAL_SPAN,
            source_module: matched.map_or("telemetry", |r| &r.source_module),
            event_type: matched.map_or(SIGNAL_SPAN, |r| &r.event_type),
            trace: Some(trace),
            span: Some(id),
            parent: SpanId::from_slice(&span.parent_span_id),
            position: None,
            severity: if failed { Severity::Error } else { Severity::Info },
            name: Some(&span.name),
            kind: kind(span.kind),
            duration_ns: Some(end.0.saturating_sub(start.0).max(0)),
            status: Some(match span.status.as_ref().map_or(0, |s| s.code) {
                1 => "ok",
                STATUS_ERROR => "error",
                _ => "unset",
            }),
            body: None,
            agent,
            model,
            payload: std::str::from_utf8(&self.scratch).unwrap_or("{}"),
            rule: matched.map(|r| r.name.as_str()),
        });
        for event in &span.events {
            self.push_event(event, trace, id, start);
        }
        Ok(start)
    }

    /// An event whose own time cannot be right takes the start of its span.
    fn push_event(&mut self, event: &span::Event, trace: TraceId, span: SpanId, start: UnixNanos) {
        let position = self.next_position;
        self.next_position += 1;
        let matched = self.request.rules.first_match(SIGNAL_SPAN_EVENT, &event.name, &event.attributes);
        let event_type = matched.map_or(SIGNAL_SPAN_EVENT, |r| &r.event_type);
        self.scratch.clear();
        write_object(&mut self.scratch, &event.attributes);
        self.rows.push(&EventRow {
            timestamp: self.request.time(event.time_unix_nano, start).unwrap_or(start),
            signal: SIGNAL_SPAN_EVENT,
            source_module: matched.map_or("telemetry", |r| &r.source_module),
            event_type,
            trace: Some(trace),
            span: Some(span),
            parent: None,
            position: Some(position),
            severity: if event_type == "exception" { Severity::Error } else { Severity::Info },
            name: Some(&event.name),
            kind: None,
            duration_ns: None,
            status: None,
            body: None,
            agent: text(&event.attributes, "gen_ai.agent.name"),
            model: text(&event.attributes, "gen_ai.request.model"),
            payload: std::str::from_utf8(&self.scratch).unwrap_or("{}"),
            rule: matched.map(|r| r.name.as_str()),
        });
    }
}

fn bad_id(field: &str, length: usize, got: &[u8]) -> String {
    format!("{field} must be {length} bytes, not all zero; got {} bytes", got.len())
}

fn kind(kind: i32) -> Option<&'static str> {
    Some(match kind {
        1 => "internal",
        2 => "server",
        3 => "client",
        4 => "producer",
        5 => "consumer",
        _ => return None,
    })
}

/// The span's attributes flat, and under `_otel` what is not an attribute.
fn write_payload(out: &mut Vec<u8>, span: &Span, scope: Option<&InstrumentationScope>) {
    let mut object = ObjectWriter::begin(out);
    object.members(&span.attributes);
    let status_message = span.status.as_ref().map_or("", |s| s.message.as_str());
    let plain = span.links.is_empty()
        && span.trace_state.is_empty()
        && status_message.is_empty()
        && span.flags == 0
        && span.dropped_attributes_count == 0
        && span.dropped_events_count == 0
        && span.dropped_links_count == 0;
    let scope = scope.filter(|s| !s.name.is_empty());
    if !plain || scope.is_some() {
        let mut rest = ObjectWriter::begin(object.key("_otel"));
        write_scope(&mut rest, scope);
        rest.text_unless_empty("status_message", status_message);
        rest.text_unless_empty("trace_state", &span.trace_state);
        rest.number_unless_zero("flags", span.flags.into());
        rest.number_unless_zero("dropped_attributes_count", span.dropped_attributes_count.into());
        rest.number_unless_zero("dropped_events_count", span.dropped_events_count.into());
        rest.number_unless_zero("dropped_links_count", span.dropped_links_count.into());
        if !span.links.is_empty() {
            write_links(rest.key("links"), &span.links);
        }
        rest.end();
    }
    object.end();
}

pub(super) fn write_scope(object: &mut ObjectWriter<'_>, scope: Option<&InstrumentationScope>) {
    let Some(scope) = scope else { return };
    object.text_unless_empty("scope", &scope.name);
    object.text_unless_empty("scope_version", &scope.version);
    if !scope.attributes.is_empty() {
        write_object(object.key("scope_attributes"), &scope.attributes);
    }
}

fn write_links(out: &mut Vec<u8>, links: &[span::Link]) {
    out.push(b'[');
    for (i, link) in links.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let mut object = ObjectWriter::begin(out);
        write_hex(object.key("trace_id"), &link.trace_id);
        write_hex(object.key("span_id"), &link.span_id);
        object.text_unless_empty("trace_state", &link.trace_state);
        if !link.attributes.is_empty() {
            write_object(object.key("attributes"), &link.attributes);
        }
        object.end();
    }
    out.push(b']');
}

fn write_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    hex(out, bytes);
    out.push(b'"');
}
