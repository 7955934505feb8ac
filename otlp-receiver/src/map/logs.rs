//! Log records to rows of `events`.

use super::attributes::{ObjectWriter, text, write_value};
use super::event_rows::{EventRow, EventRows, EventSignal};
use super::resource::ResourceRows;
use super::spans::{short, write_scope};
use super::{Mapped, Request};
use crate::otlp::{AnyValue, Envelope, Layout, LogRecord, ResourceItems, Scope, ScopeItems};
use crate::protobuf::WireError;
use crate::rejection::Rejections;
use whence_schema::{Rows, Severity, SpanId, TraceId, UnixNanos};

const LAYOUT: Layout =
    Layout { request: "ExportLogsServiceRequest", resource: "ResourceLogs", scope: "ScopeLogs", item: "LogRecord" };

pub(super) fn map(request: &Request<'_>, body: &[u8], rejections: &mut Rejections) -> Result<Mapped, WireError> {
    let rows = EventRows::new(request.tenant.as_str(), request.received_at, request.digest, body.len());
    let mut mapping = LogMapping { request, rows, body: Vec::new() };
    let mut envelope = Envelope::new(body, &LAYOUT);
    let (mut resource, mut scope, mut record) = (ResourceItems::default(), ScopeItems::default(), LogRecord::default());
    let (mut assets, mut position) = (Vec::new(), 0);
    while envelope.next_resource(&mut resource)? {
        let described = ResourceRows::new(&resource.attributes);
        mapping.rows.begin_resource(&described);
        let mut last_seen = UnixNanos(i64::MIN);
        for scope_fields in &resource.scopes {
            envelope.read_scope(&resource, scope_fields, &mut scope)?;
            for item in &scope.items {
                record.read(envelope.item(&scope, item))?;
                match mapping.push(&record, &scope.scope, position) {
                    Ok(time) => last_seen = last_seen.max(time),
                    Err(reason) => rejections.add(|| format!("log record {position} '{}': {reason}", label(&record))),
                }
                position += 1;
            }
        }
        if last_seen.0 > i64::MIN {
            assets.push(described.sighting(last_seen));
        }
    }
    let rows = Rows::Events(mapping.rows.finish(request.rules.columns()));
    Ok(Mapped { received: u64::from(position), rows, assets })
}

fn label(record: &LogRecord<'_>) -> String {
    match record.body {
        Some(AnyValue::Text(text)) => short(text),
        _ => short(record.event_name),
    }
}

struct LogMapping<'a, 'body> {
    request: &'a Request<'a>,
    rows: EventRows<'body>,
    body: Vec<u8>,
}

impl<'body> LogMapping<'_, 'body> {
    /// Time of the log record when it was stored, else the reason why not.
    fn push(&mut self, record: &LogRecord<'body>, scope: &Scope<'_>, position: u32) -> Result<UnixNanos, String> {
        let observed = self.request.time(record.observed, self.request.received_at)?;
        let time = self.request.time(record.time, observed)?;
        // Older SDKs carry the event's name as an attribute.
        let event_name = match record.event_name {
            name if name.is_empty() => text(&record.attributes, "event.name").unwrap_or_default(),
            name => name,
        };
        write_payload(self.rows.payload(), record, scope);
        let trace = TraceId::from_slice(record.trace_id);
        self.rows.push(&EventRow {
            timestamp: time,
            signal: EventSignal::Log,
            rule: self.request.rules.first_match(EventSignal::Log, event_name, &record.attributes),
            trace,
            // A span id means nothing without its trace.
            span: trace.and(SpanId::from_slice(record.span_id)),
            parent: None,
            position: Some(position),
            severity: severity(record),
            name: (!event_name.is_empty()).then_some(event_name),
            span_only: None,
            body: body_text(&mut self.body, record.body.unwrap_or(AnyValue::Empty)),
            agent: text(&record.attributes, "gen_ai.agent.name"),
            model: text(&record.attributes, "gen_ai.request.model"),
        });
        Ok(time)
    }
}

/// A text as it is; anything else as JSON.
fn body_text<'a>(scratch: &'a mut Vec<u8>, body: AnyValue<'a>) -> Option<&'a [u8]> {
    match body {
        AnyValue::Empty => None,
        AnyValue::Text(text) => Some(text.as_bytes()),
        _ => {
            scratch.clear();
            write_value(scratch, body, 0);
            Some(scratch)
        }
    }
}

/// The number decides; without one, the text that many loggers send alone.
fn severity(record: &LogRecord<'_>) -> Severity {
    if let Some(severity) = Severity::from_otlp(record.severity_number) {
        return severity;
    }
    let text = record.severity_text.as_bytes();
    let starts =
        |prefix: &str| text.len() >= prefix.len() && text[..prefix.len()].eq_ignore_ascii_case(prefix.as_bytes());
    if starts("crit") || starts("fatal") || starts("emerg") || starts("alert") {
        Severity::Critical
    } else if starts("err") {
        Severity::Error
    } else if starts("warn") {
        Severity::Warning
    } else if starts("debug") {
        Severity::Debug
    } else if starts("trace") {
        Severity::Trace
    } else {
        Severity::Info
    }
}

fn write_payload(out: &mut Vec<u8>, record: &LogRecord<'_>, scope: &Scope<'_>) {
    let mut object = ObjectWriter::begin(out);
    object.members(&record.attributes);
    let plain = record.severity_text.is_empty() && record.flags == 0 && record.dropped_attributes == 0;
    if !plain || !scope.name.is_empty() {
        let mut rest = ObjectWriter::begin(object.key("_otel"));
        write_scope(&mut rest, scope);
        rest.text_unless_empty("severity_text", record.severity_text);
        rest.number_unless_zero("flags", record.flags);
        rest.number_unless_zero("dropped_attributes_count", record.dropped_attributes);
        rest.end();
    }
    object.end();
}
