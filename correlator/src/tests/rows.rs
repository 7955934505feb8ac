//! Rows of `events` for tests.

use arrow::array::{
    ArrayRef, FixedSizeBinaryBuilder, Int16Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray,
};
use std::sync::Arc;
use whence_schema::tables::events::stored_schema;
use whence_schema::{EventId, SpanId, TraceId, UnixNanos};

/// One row; what is not set is as in a plain span.
#[derive(Debug, Clone)]
pub(crate) struct EventRow {
    pub(crate) tenant: &'static str,
    pub(crate) signal: &'static str,
    pub(crate) event_type: &'static str,
    pub(crate) trace: u128,
    pub(crate) span: u64,
    pub(crate) parent: u64,
    pub(crate) asset: String,
    pub(crate) start: i64,
    pub(crate) duration: i64,
    pub(crate) kind: Option<&'static str>,
    pub(crate) name: String,
    pub(crate) status: &'static str,
    pub(crate) severity: &'static str,
    pub(crate) payload: String,
    pub(crate) resource: String,
    pub(crate) body: Option<String>,
    pub(crate) position: Option<(u64, i32)>,
}

/// A span of trace 1.
pub(crate) fn span(span: u64, parent: u64, asset: &str) -> EventRow {
    EventRow {
        tenant: "default",
        signal: "span",
        event_type: "span",
        trace: 1,
        span,
        parent,
        asset: asset.to_owned(),
        start: 1_000_000_000_000,
        duration: 1_000_000,
        kind: None,
        name: "operation".to_owned(),
        status: "unset",
        severity: "info",
        payload: "{}".to_owned(),
        resource: "{}".to_owned(),
        body: None,
        position: None,
    }
}

/// A log record of severity error in a span of trace 1.
pub(crate) fn log(in_span: u64, digest: u64, position: i32) -> EventRow {
    EventRow {
        signal: "log",
        event_type: "log",
        severity: "error",
        position: Some((digest, position)),
        body: Some(format!("line {position}")),
        ..span(in_span, 0, "a")
    }
}

impl EventRow {
    pub(crate) fn trace(self, trace: u128) -> Self {
        Self { trace, ..self }
    }

    pub(crate) fn at(self, start: i64, duration: i64) -> Self {
        Self { start, duration, ..self }
    }

    pub(crate) fn kind(self, kind: &'static str) -> Self {
        Self { kind: Some(kind), ..self }
    }

    pub(crate) fn failed(self) -> Self {
        Self { status: "error", ..self }
    }

    pub(crate) fn payload(self, payload: &str) -> Self {
        Self { payload: payload.to_owned(), ..self }
    }

    /// With span links to these spans.
    pub(crate) fn links(self, to: &[(u128, u64)]) -> Self {
        let link = |(trace, span): &(u128, u64)| format!(r#"{{"trace_id":"{trace:032x}","span_id":"{span:016x}"}}"#);
        let links: Vec<String> = to.iter().map(link).collect();
        self.payload(&format!(r#"{{"_otel":{{"links":[{}]}}}}"#, links.join(",")))
    }

    pub(crate) fn id(&self) -> EventId {
        match self.position {
            Some((digest, position)) => EventId::from_halves(digest, position as u64),
            None => span_id(self.trace, self.span),
        }
    }
}

pub(crate) fn span_id(trace: u128, span: u64) -> EventId {
    EventId::of_span(TraceId(trace.to_be_bytes()), SpanId(span))
}

/// Stored columns of `rows`.
pub(crate) fn batch(rows: &[EventRow]) -> RecordBatch {
    let text =
        |of: fn(&EventRow) -> Option<&str>| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<StringViewArray>()) };
    let none = || text(|_| None);
    let time = |of: fn(&EventRow) -> i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(of)).with_timezone("UTC"))
    };
    let number =
        |of: fn(&EventRow) -> Option<i64>| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<Int64Array>()) };
    let mut traces = FixedSizeBinaryBuilder::new(16);
    rows.iter().for_each(|row| traces.append_value(row.trace.to_be_bytes()).unwrap());
    let nanos = rows.iter().map(|row| UnixNanos(row.start).sub_micros());
    let columns: Vec<ArrayRef> = vec![
        text(|row| Some(row.tenant)),
        time(|row| UnixNanos(row.start).micros()),
        Arc::new(Int16Array::from_iter_values(nanos)),
        time(|_| 5),
        text(|row| Some(row.signal)),
        text(|_| Some("telemetry")),
        text(|row| Some(row.event_type)),
        Arc::new(traces.finish()),
        number(|row| (row.span != 0).then_some(row.span as i64)),
        number(|row| (row.parent != 0).then_some(row.parent as i64)),
        number(|row| row.position.map(|(digest, _)| digest as i64)),
        Arc::new(rows.iter().map(|row| row.position.map(|(_, at)| at)).collect::<Int32Array>()),
        text(|row| Some(&row.asset)),
        text(|row| Some(row.severity)),
        none(),
        text(|row| (row.signal != "log").then_some(row.name.as_str())),
        text(|row| row.kind),
        number(|row| (row.signal == "span").then_some(row.duration)),
        text(|row| (row.signal == "span").then_some(row.status)),
        text(|row| row.body.as_deref()),
        none(),
        none(),
        text(|row| Some(&row.resource)),
        text(|row| Some(&row.payload)),
        none(),
    ];
    RecordBatch::try_new(stored_schema(), columns).unwrap()
}
