//! Log records to rows of `events`.

use super::attributes::{ObjectWriter, text, write_value};
use super::event_rows::{EventRow, EventRows};
use super::resource::ResourceRows;
use super::spans::{short, write_scope};
use super::{Mapped, Request};
use crate::rejection::Rejections;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use whence_schema::tables::events::SIGNAL_LOG;
use whence_schema::{Rows, Severity, SpanId, TraceId, UnixNanos};

pub(super) fn map(request: &Request<'_>, message: ExportLogsServiceRequest, rejections: &mut Rejections) -> Mapped {
    let records: usize = message.resource_logs.iter().flat_map(|r| &r.scope_logs).map(|s| s.log_records.len()).sum();
    let rows = EventRows::new(request.tenant.as_str(), request.received_at, request.digest, records);
    let mut mapping = LogMapping { request, rows, scratch: Vec::with_capacity(1_024), body: Vec::new() };
    let mut assets = Vec::with_capacity(message.resource_logs.len());
    let mut position = 0;
    for resource_logs in message.resource_logs {
        let resource = ResourceRows::new(resource_logs.resource);
        mapping.rows.begin_resource(&resource);
        let mut last_seen = UnixNanos(i64::MIN);
        for scope_logs in &resource_logs.scope_logs {
            for record in &scope_logs.log_records {
                match mapping.push(record, scope_logs.scope.as_ref(), position) {
                    Ok(time) => last_seen = last_seen.max(time),
                    Err(reason) => rejections.add(|| format!("log record {position} '{}': {reason}", label(record))),
                }
                position += 1;
            }
        }
        if last_seen.0 > i64::MIN {
            assets.push(resource.sighting(last_seen));
        }
    }
    Mapped { received: records as u64, rows: Rows::Events(mapping.rows.finish()), assets }
}

fn label(record: &LogRecord) -> String {
    match record.body.as_ref().and_then(|b| b.value.as_ref()) {
        Some(Value::StringValue(text)) => short(text),
        _ => short(&record.event_name),
    }
}

struct LogMapping<'a> {
    request: &'a Request<'a>,
    rows: EventRows<'a>,
    scratch: Vec<u8>,
    body: Vec<u8>,
}

impl LogMapping<'_> {
    fn push(
        &mut self,
        record: &LogRecord,
        scope: Option<&InstrumentationScope>,
        position: u32,
    ) -> Result<UnixNanos, String> {
        let observed = self.request.time(record.observed_time_unix_nano, self.request.received_at)?;
        let time = self.request.time(record.time_unix_nano, observed)?;
        // Older SDKs carry the event's name as an attribute.
        let event_name = match record.event_name.as_str() {
            "" => text(&record.attributes, "event.name").unwrap_or(""),
            name => name,
        };
        let matched = self.request.rules.first_match(SIGNAL_LOG, event_name, &record.attributes);
        self.scratch.clear();
        write_payload(&mut self.scratch, record, scope);
        let body = body_text(&mut self.body, record.body.as_ref());
        let trace = TraceId::from_slice(&record.trace_id);
        self.rows.push(&EventRow {
            timestamp: time,
            signal: SIGNAL_LOG,
            source_module: matched.map_or("telemetry", |r| &r.source_module),
            event_type: matched.map_or(SIGNAL_LOG, |r| &r.event_type),
            trace,
            // A span id means nothing without its trace.
            span: trace.and(SpanId::from_slice(&record.span_id)),
            parent: None,
            position: Some(position),
            severity: severity(record),
            name: (!event_name.is_empty()).then_some(event_name),
            kind: None,
            duration_ns: None,
            status: None,
            body,
            agent: text(&record.attributes, "gen_ai.agent.name"),
            model: text(&record.attributes, "gen_ai.request.model"),
            payload: std::str::from_utf8(&self.scratch).unwrap_or("{}"),
            rule: matched.map(|r| r.name.as_str()),
        });
        Ok(time)
    }
}

/// A text as it is; anything else as JSON.
fn body_text<'a>(scratch: &'a mut Vec<u8>, body: Option<&'a AnyValue>) -> Option<&'a str> {
    match body?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => {
            scratch.clear();
            write_value(scratch, body, 0);
            std::str::from_utf8(scratch).ok()
        }
    }
}

/// The number decides; without one, the text that many loggers send alone.
fn severity(record: &LogRecord) -> Severity {
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

fn write_payload(out: &mut Vec<u8>, record: &LogRecord, scope: Option<&InstrumentationScope>) {
    let mut object = ObjectWriter::begin(out);
    object.members(&record.attributes);
    let scope = scope.filter(|s| !s.name.is_empty());
    let plain = record.severity_text.is_empty() && record.flags == 0 && record.dropped_attributes_count == 0;
    if !plain || scope.is_some() {
        let mut rest = ObjectWriter::begin(object.key("_otel"));
        write_scope(&mut rest, scope);
        rest.text_unless_empty("severity_text", &record.severity_text);
        rest.number_unless_zero("flags", record.flags.into());
        rest.number_unless_zero("dropped_attributes_count", record.dropped_attributes_count.into());
        rest.end();
    }
    object.end();
}
