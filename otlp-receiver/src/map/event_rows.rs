//! Builds the stored columns of `events`, row by row, without an intermediate row type per column.

use super::columns::{Repeated, Sparse, SparseIds, Texts, by_key, constant, numbers, values};
use super::resource::ResourceRows;
use super::rules::{RuleColumns, RuleKey};
use crate::protobuf::Utf8;
use arrow::array::{ArrayRef, StringViewArray};
use arrow::datatypes::{Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt8Type, UInt32Type};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use std::sync::{Arc, LazyLock};
use whence_schema::tables::events::{SIGNAL_LOG, SIGNAL_SPAN, SIGNAL_SPAN_EVENT, stored_schema};
use whence_schema::{RequestDigest, Severity, SpanId, TraceId, UnixNanos};

/// One row, borrowed from the request; its payload is written before, to [`EventRows::payload`].
pub(super) struct EventRow<'a, 'body> {
    pub(super) timestamp: UnixNanos,
    pub(super) signal: EventSignal,
    pub(super) rule: RuleKey,
    pub(super) trace: Option<TraceId>,
    pub(super) span: Option<SpanId>,
    pub(super) parent: Option<SpanId>,
    /// Set for log records and span events.
    pub(super) position: Option<u32>,
    pub(super) severity: Severity,
    pub(super) name: Option<Utf8<'body>>,
    /// `SpanKind` and `StatusCode` of a span, and how long it took.
    pub(super) span_only: Option<SpanOnly>,
    pub(super) body: Option<&'a [u8]>,
    pub(super) agent: Option<Utf8<'body>>,
    pub(super) model: Option<Utf8<'body>>,
}

/// What only spans have.
pub(super) struct SpanOnly {
    pub(super) kind: i32,
    pub(super) status: i32,
    pub(super) duration_ns: i64,
}

/// As what an event came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventSignal {
    Span,
    SpanEvent,
    Log,
}

impl EventSignal {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Span => SIGNAL_SPAN,
            Self::SpanEvent => SIGNAL_SPAN_EVENT,
            Self::Log => SIGNAL_LOG,
        }
    }
}

/// Texts of the columns that have a fixed list of them, by key.
struct FixedTexts {
    signals: StringViewArray,
    severities: StringViewArray,
    /// By `SpanKind`; 0 has no text.
    kinds: StringViewArray,
    /// By `StatusCode`, and one more for "not a span".
    statuses: StringViewArray,
}

const KINDS: i32 = 5;
const STATUSES: i32 = 2;
const NO_STATUS: u8 = 3;

static FIXED: LazyLock<FixedTexts> = LazyLock::new(|| FixedTexts {
    signals: values([EventSignal::Span, EventSignal::SpanEvent, EventSignal::Log].map(|s| Some(s.as_str()))),
    severities: values(Severity::ALL.iter().map(|s| Some(s.as_str()))),
    kinds: values([None, Some("internal"), Some("server"), Some("client"), Some("producer"), Some("consumer")]),
    statuses: values([Some("unset"), Some("ok"), Some("error"), None]),
});

pub(super) struct EventRows<'a> {
    tenant: &'a str,
    created_at: i64,
    digest: i64,
    rows: usize,
    /// What the resources say, and how many rows there are up to and with the last of each.
    assets: Texts,
    environments: Texts,
    resources: Texts,
    last_rows: Vec<usize>,
    timestamps: Vec<i64>,
    timestamp_nanos: Vec<i16>,
    signals: Vec<u8>,
    rules: Vec<u32>,
    traces: SparseIds,
    spans: Sparse<Int64Type>,
    parents: Sparse<Int64Type>,
    digests: Sparse<Int64Type>,
    positions: Sparse<Int32Type>,
    severities: Vec<u8>,
    names: Repeated<'a>,
    kinds: Vec<u8>,
    durations: Sparse<Int64Type>,
    statuses: Vec<u8>,
    bodies: Texts,
    agents: Repeated<'a>,
    models: Repeated<'a>,
    payloads: Texts,
}

impl<'a> EventRows<'a> {
    /// Columns with room for what a body of `bytes` is likely to need.
    pub(super) fn new(tenant: &'a str, received_at: UnixNanos, digest: RequestDigest, bytes: usize) -> Self {
        // Items of fewer bytes are rare; if they come, the columns grow.
        let rows = bytes / 192;
        Self {
            tenant,
            created_at: received_at.micros(),
            digest: digest.short() as i64,
            rows: 0,
            assets: Texts::new(1, 0),
            environments: Texts::new(1, 0),
            resources: Texts::new(1, 256),
            last_rows: Vec::new(),
            timestamps: Vec::with_capacity(rows),
            timestamp_nanos: Vec::with_capacity(rows),
            signals: Vec::with_capacity(rows),
            rules: Vec::with_capacity(rows),
            traces: SparseIds::new(rows),
            spans: Sparse::new(rows),
            parents: Sparse::new(rows),
            digests: Sparse::new(rows),
            positions: Sparse::new(rows),
            severities: Vec::with_capacity(rows),
            names: Repeated::new(),
            kinds: Vec::with_capacity(rows),
            durations: Sparse::new(rows),
            statuses: Vec::with_capacity(rows),
            bodies: Texts::new(0, 0),
            agents: Repeated::new(),
            models: Repeated::new(),
            payloads: Texts::new(rows, bytes),
        }
    }

    /// Rows pushed from now on belong to this resource.
    pub(super) fn begin_resource(&mut self, resource: &ResourceRows<'_, 'a>) {
        let index = self.last_rows.len();
        self.last_rows.push(self.rows);
        self.assets.set(index, resource.asset_id.as_bytes());
        if let Some(environment) = resource.environment {
            self.environments.set(index, environment.as_bytes());
        }
        resource.write_json(self.resources.writer());
        self.resources.end(index);
    }

    /// Where to write the JSON of the next row to be pushed.
    pub(super) fn payload(&mut self) -> &mut Vec<u8> {
        self.payloads.writer()
    }

    pub(super) fn push(&mut self, event: &EventRow<'_, 'a>) {
        let row = self.rows;
        self.rows += 1;
        if let Some(last) = self.last_rows.last_mut() {
            *last = self.rows;
        }
        self.payloads.end(row);
        self.timestamps.push(event.timestamp.micros());
        self.timestamp_nanos.push(event.timestamp.sub_micros());
        self.signals.push(event.signal as u8);
        self.rules.push(event.rule.index());
        self.traces.push(event.trace.map(|trace| trace.0));
        if let Some(span) = event.span {
            self.spans.set(row, span.stored());
        }
        if let Some(parent) = event.parent {
            self.parents.set(row, parent.stored());
        }
        if let Some(position) = event.position {
            self.digests.set(row, self.digest);
            self.positions.set(row, position as i32);
        }
        self.severities.push(event.severity as u8);
        if let Some(name) = event.name {
            self.names.set(row, name);
        }
        let (mut kind, mut status) = (0, NO_STATUS);
        if let Some(span) = &event.span_only {
            kind = if (0..=KINDS).contains(&span.kind) { span.kind as u8 } else { 0 };
            status = if (0..=STATUSES).contains(&span.status) { span.status as u8 } else { 0 };
            self.durations.set(row, span.duration_ns);
        }
        self.kinds.push(kind);
        self.statuses.push(status);
        if let Some(body) = event.body {
            self.bodies.set(row, body);
        }
        if let Some(agent) = event.agent {
            self.agents.set(row, agent);
        }
        if let Some(model) = event.model {
            self.models.set(row, model);
        }
    }

    /// The stored columns, in the order of [`stored_schema`].
    pub(super) fn finish(self, rules: &RuleColumns) -> RecordBatch {
        // The columns are the schema's, one for one; a test maps every kind of row.
        self.columns(rules).unwrap_or_else(|_| RecordBatch::new_empty(stored_schema()))
    }

    fn columns(self, rules: &RuleColumns) -> Result<RecordBatch, ArrowError> {
        let rows = self.rows;
        let resource_keys = resource_keys(&self.last_rows);
        let resources = self.last_rows.len();
        let of_resource =
            |texts: Texts| -> ArrayRef { by_key::<UInt32Type>(&texts.finish(resources), resource_keys.clone()) };
        let timestamps =
            |values| -> ArrayRef { Arc::new(numbers::<TimestampMicrosecondType>(values).with_timezone("UTC")) };
        let [modules, event_types, metadata] = rules.columns(self.rules);
        let columns: Vec<ArrayRef> = vec![
            constant(self.tenant, rows),
            timestamps(self.timestamps),
            Arc::new(numbers::<Int16Type>(self.timestamp_nanos)),
            timestamps(vec![self.created_at; rows]),
            by_key::<UInt8Type>(&FIXED.signals, self.signals),
            modules,
            event_types,
            self.traces.finish(),
            Arc::new(self.spans.finish(rows)),
            Arc::new(self.parents.finish(rows)),
            Arc::new(self.digests.finish(rows)),
            Arc::new(self.positions.finish(rows)),
            of_resource(self.assets),
            by_key::<UInt8Type>(&FIXED.severities, self.severities),
            of_resource(self.environments),
            self.names.finish(rows),
            by_key::<UInt8Type>(&FIXED.kinds, self.kinds),
            Arc::new(self.durations.finish(rows)),
            by_key::<UInt8Type>(&FIXED.statuses, self.statuses),
            Arc::new(self.bodies.finish(rows)),
            self.agents.finish(rows),
            self.models.finish(rows),
            of_resource(self.resources),
            Arc::new(self.payloads.finish(rows)),
            metadata,
        ];
        RecordBatch::try_new(stored_schema(), columns)
    }
}

/// For every row the index of its resource.
fn resource_keys(last_rows: &[usize]) -> Vec<u32> {
    let mut keys = Vec::with_capacity(last_rows.last().copied().unwrap_or(0));
    for (resource, last) in last_rows.iter().enumerate() {
        keys.resize(*last, resource as u32);
    }
    keys
}
