//! Spans and their events to rows of `events`.

use super::attributes::{ObjectWriter, hex, text, write_object};
use super::event_rows::{EventRow, EventRows, EventSignal, SpanOnly};
use super::resource::ResourceRows;
use super::{Mapped, Request};
use crate::otlp::{Attribute, Envelope, Event, Layout, ResourceItems, Scope, ScopeItems, Span};
use crate::protobuf::{Utf8, WireError};
use crate::rejection::Rejections;
use std::collections::BTreeMap;
use whence_schema::{AssetSighting, Rows, Severity, SpanId, TraceId, UnixNanos};

const STATUS_ERROR: i32 = 2;

const LAYOUT: Layout =
    Layout { request: "ExportTraceServiceRequest", resource: "ResourceSpans", scope: "ScopeSpans", item: "Span" };

pub(super) fn map(request: &Request<'_>, body: &[u8], rejections: &mut Rejections) -> Result<Mapped, WireError> {
    let rows = EventRows::new(request.tenant.as_str(), request.received_at, request.digest, body.len());
    let mut mapping = SpanMapping { request, rows, next_position: 0, named: BTreeMap::new() };
    let mut envelope = Envelope::new(body, &LAYOUT);
    let (mut resource, mut scope, mut span) = (ResourceItems::default(), ScopeItems::default(), Span::default());
    let (mut assets, mut received) = (Vec::new(), 0);
    while envelope.next_resource(&mut resource)? {
        let described = ResourceRows::new(&resource.attributes);
        mapping.rows.begin_resource(&described);
        let mut last_seen = UnixNanos(i64::MIN);
        for scope_fields in &resource.scopes {
            envelope.read_scope(&resource, scope_fields, &mut scope)?;
            for item in &scope.items {
                span.read(envelope.item(&scope, item))?;
                received += 1;
                match mapping.push(&span, &scope.scope) {
                    Ok(start) => last_seen = last_seen.max(start),
                    Err(reason) => rejections.add(|| format!("span '{}': {reason}", short(span.name))),
                }
            }
        }
        if last_seen.0 > i64::MIN {
            assets.push(described.sighting(last_seen));
        }
    }
    let named = mapping.named.into_iter().map(|((asset_type, asset_id), last_seen)| AssetSighting {
        asset_id: asset_id.as_str().to_owned(),
        asset_type,
        version: None,
        last_seen,
        metadata: None,
    });
    assets.extend(named);
    Ok(Mapped { received, rows: Rows::Events(mapping.rows.finish(request.rules.columns())), assets })
}

/// Names go into error messages; a hostile one shall not fill them.
pub(super) fn short(name: Utf8<'_>) -> String {
    name.as_str().chars().take(80).collect()
}

struct SpanMapping<'a, 'body> {
    request: &'a Request<'a>,
    rows: EventRows<'body>,
    next_position: u32,
    /// Agents and models that spans name are assets too: when each was last seen, by type and name.
    named: BTreeMap<(&'static str, Utf8<'body>), UnixNanos>,
}

impl<'body> SpanMapping<'_, 'body> {
    /// Start time of the span when it was stored, else the reason why not.
    fn push(&mut self, span: &Span<'body>, scope: &Scope<'_>) -> Result<UnixNanos, String> {
        let trace = TraceId::from_slice(span.trace_id).ok_or_else(|| bad_id("trace_id", 16, span.trace_id))?;
        let id = SpanId::from_slice(span.span_id).ok_or_else(|| bad_id("span_id", 8, span.span_id))?;
        if !matches!(span.parent_span_id.len(), 0 | 8) {
            return Err(bad_id("parent_span_id", 8, span.parent_span_id));
        }
        let start = self.request.time(span.start, self.request.received_at)?;
        let end = self.request.time(span.end, start)?;
        let (agent, model) = agent_and_model(&span.attributes);
        for (asset_type, name) in [("agent", agent), ("model", model)] {
            if let Some(name) = name {
                let seen = self.named.entry((asset_type, name)).or_insert(start);
                *seen = start.max(*seen);
            }
        }
        let failed = span.status_code == STATUS_ERROR;
        write_payload(self.rows.payload(), span, scope);
        self.rows.push(&EventRow {
            timestamp: start,
            signal: EventSignal::Span,
            rule: self.request.rules.first_match(EventSignal::Span, Utf8::default(), &span.attributes),
            trace: Some(trace),
            span: Some(id),
            parent: SpanId::from_slice(span.parent_span_id),
            position: None,
            severity: if failed { Severity::Error } else { Severity::Info },
            name: Some(span.name),
            span_only: Some(SpanOnly {
                kind: span.kind,
                status: span.status_code,
                duration_ns: end.0.saturating_sub(start.0).max(0),
            }),
            body: None,
            agent,
            model,
        });
        for event in &span.events {
            self.push_event(event, span.event_attributes(event), trace, id, start);
        }
        Ok(start)
    }

    /// An event whose own time cannot be right takes the start of its span.
    fn push_event(
        &mut self,
        event: &Event<'body>,
        attributes: &[Attribute<'body>],
        trace: TraceId,
        span: SpanId,
        start: UnixNanos,
    ) {
        let position = self.next_position;
        self.next_position += 1;
        let rules = self.request.rules;
        let rule = rules.first_match(EventSignal::SpanEvent, event.name, attributes);
        write_object(self.rows.payload(), attributes);
        self.rows.push(&EventRow {
            timestamp: self.request.time(event.time, start).unwrap_or(start),
            signal: EventSignal::SpanEvent,
            rule,
            trace: Some(trace),
            span: Some(span),
            parent: None,
            position: Some(position),
            severity: if rules.event_type(rule) == "exception" { Severity::Error } else { Severity::Info },
            name: Some(event.name),
            span_only: None,
            body: None,
            agent: text(attributes, "gen_ai.agent.name"),
            model: text(attributes, "gen_ai.request.model"),
        });
    }
}

/// Who a span says has acted, and with which model.
fn agent_and_model<'body>(attributes: &[Attribute<'body>]) -> (Option<Utf8<'body>>, Option<Utf8<'body>>) {
    if !attributes.iter().any(|a| a.key.as_bytes().starts_with(b"gen_ai.")) {
        return (None, None);
    }
    let first = |keys: [&str; 2]| keys.into_iter().find_map(|key| text(attributes, key));
    (first(["gen_ai.agent.name", "gen_ai.agent.id"]), first(["gen_ai.response.model", "gen_ai.request.model"]))
}

fn bad_id(field: &str, length: usize, got: &[u8]) -> String {
    format!("{field} must be {length} bytes, not all zero; got {} bytes", got.len())
}

/// The span's attributes flat, and under `_otel` what is not an attribute.
fn write_payload(out: &mut Vec<u8>, span: &Span<'_>, scope: &Scope<'_>) {
    let mut object = ObjectWriter::begin(out);
    object.members(&span.attributes);
    let plain = span.links.is_empty()
        && span.trace_state.is_empty()
        && span.status_message.is_empty()
        && span.flags == 0
        && span.dropped_attributes == 0
        && span.dropped_events == 0
        && span.dropped_links == 0;
    if !plain || !scope.name.is_empty() {
        let mut rest = ObjectWriter::begin(object.key("_otel"));
        write_scope(&mut rest, scope);
        rest.text_unless_empty("status_message", span.status_message);
        rest.text_unless_empty("trace_state", span.trace_state);
        rest.number_unless_zero("flags", span.flags);
        rest.number_unless_zero("dropped_attributes_count", span.dropped_attributes);
        rest.number_unless_zero("dropped_events_count", span.dropped_events);
        rest.number_unless_zero("dropped_links_count", span.dropped_links);
        if !span.links.is_empty() {
            write_links(rest.key("links"), span);
        }
        rest.end();
    }
    object.end();
}

/// A scope without a name says nothing.
pub(super) fn write_scope(object: &mut ObjectWriter<'_>, scope: &Scope<'_>) {
    if scope.name.is_empty() {
        return;
    }
    object.text_unless_empty("scope", scope.name);
    object.text_unless_empty("scope_version", scope.version);
    if !scope.attributes.is_empty() {
        write_object(object.key("scope_attributes"), &scope.attributes);
    }
}

fn write_links(out: &mut Vec<u8>, span: &Span<'_>) {
    out.push(b'[');
    for (i, link) in span.links.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let mut object = ObjectWriter::begin(out);
        write_hex(object.key("trace_id"), link.trace_id);
        write_hex(object.key("span_id"), link.span_id);
        object.text_unless_empty("trace_state", link.trace_state);
        let attributes = span.link_attributes(link);
        if !attributes.is_empty() {
            write_object(object.key("attributes"), attributes);
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
