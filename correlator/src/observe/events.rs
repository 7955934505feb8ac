//! Rows of `events` as spans, log records and changes.

use super::changes::{self, Described};
use super::event_texts::{LONGEST, flag, line, peer, shortened};
use super::names::{Names, Numbered};
use super::novelty::Novelty;
use super::resources::Resources;
use super::{MOST_TEXT, Observed, stays};
use crate::error::CorrelatorError;
use crate::functions::detail::parse;
use crate::functions::scan::{Only, Range, Scan, Visit, read_ahead};
use crate::method::observations::{ChangeKind, ChangeSeen, LogSeen, Observations, SpanKind, SpanSeen};
use arrow::array::{
    Array, ArrowPrimitiveType, AsArray, BooleanArray, FixedSizeBinaryArray, PrimitiveArray, RecordBatch,
    StringViewArray,
};
use arrow::datatypes::{Int16Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use serde_json::{Map, Value};
use std::ops::ControlFlow;
use whence_schema::tables::events::{SIGNAL_LOG, SIGNAL_SPAN, column};
use whence_schema::{EventId, Severity, SpanId, Table, TenantId, TraceId, UnixNanos};
use whence_storage::Snapshot;
use xxhash_rust::xxh3::xxh3_64;

/// What is read of every row, in the order of the stored columns; with the payload, that is at the end.
const COLUMNS: [usize; 20] = [
    column::TENANT_ID,
    column::TIMESTAMP,
    column::TIMESTAMP_NANOS,
    column::SIGNAL,
    column::SOURCE_MODULE,
    column::EVENT_TYPE,
    column::TRACE_ID,
    column::SPAN_ID,
    column::PARENT_SPAN_ID,
    column::REQUEST_DIGEST,
    column::POSITION,
    column::ASSET_ID,
    column::SEVERITY,
    column::NAME,
    column::KIND,
    column::DURATION_NS,
    column::STATUS,
    column::BODY,
    column::MODEL,
    column::RESOURCE,
];
const COLUMNS_AND_PAYLOAD: [usize; 21] = {
    let mut columns = [column::PAYLOAD; 21];
    let mut at = 0;
    while at < COLUMNS.len() {
        columns[at] = COLUMNS[at];
        at += 1;
    }
    columns
};
/// Rows of chunks whose payload is read.
const WITH_PAYLOAD: Only = Only {
    columns: &[column::SIGNAL, column::SOURCE_MODULE, column::EVENT_TYPE, column::KIND],
    choose: |batch| {
        let text = |at: usize| batch.column(at).as_string_view_opt().ok_or_else(|| wrong(at));
        let (signals, modules, types, kinds) = (text(0)?, text(1)?, text(2)?, text(3)?);
        let needs = |row: usize| needs_payload([signals, modules, types, kinds], row);
        Ok((0..batch.num_rows()).map(|row| Some(needs(row))).collect::<BooleanArray>())
    },
};

fn wrong(at: usize) -> ArrowError {
    ArrowError::SchemaError(format!("column {at} has another type than stored"))
}

/// Peers, exceptions, flags and changes are told by attributes; of other events columns say enough. Of signal, source
/// module, event type and kind.
fn needs_payload([signals, modules, types, kinds]: [&StringViewArray; 4], row: usize) -> bool {
    let signal = signals.value(row);
    if signal == SIGNAL_SPAN {
        return matches!(text_or_empty(kinds, row), "client" | "producer");
    }
    let event_type = types.value(row);
    (signal != SIGNAL_LOG && event_type == "exception")
        || changes::may_be_change(signal, modules.value(row), event_type)
}

/// Rows of `tenant` in `range` among the stored columns of `batch`.
pub(super) fn rows_of(batch: &RecordBatch, tenant: &TenantId, range: Range) -> usize {
    let tenants = batch.column(column::TENANT_ID).as_string_view_opt();
    let times = batch.column(column::TIMESTAMP).as_primitive_opt::<TimestampMicrosecondType>();
    let (Some(tenants), Some(times)) = (tenants, times) else { return 0 };
    let inside = |row: &usize| {
        let time = times.value(*row).saturating_mul(1_000);
        time >= range.from.0 && time < range.to.0 && tenants.value(*row) == tenant.as_str()
    };
    (0..batch.num_rows()).filter(inside).count()
}

/// Columns of a batch of [`COLUMNS`].
struct Columns<'a> {
    timestamp: &'a PrimitiveArray<TimestampMicrosecondType>,
    nanos: &'a PrimitiveArray<Int16Type>,
    signal: &'a StringViewArray,
    source_module: &'a StringViewArray,
    event_type: &'a StringViewArray,
    trace: &'a FixedSizeBinaryArray,
    span: &'a PrimitiveArray<Int64Type>,
    parent: &'a PrimitiveArray<Int64Type>,
    digest: &'a PrimitiveArray<Int64Type>,
    position: &'a PrimitiveArray<Int32Type>,
    asset: &'a StringViewArray,
    severity: &'a StringViewArray,
    name: &'a StringViewArray,
    kind: &'a StringViewArray,
    duration: &'a PrimitiveArray<Int64Type>,
    status: &'a StringViewArray,
    body: &'a StringViewArray,
    model: &'a StringViewArray,
    resource: &'a StringViewArray,
}

const MISSING: CorrelatorError = CorrelatorError::Columns { table: "events", column: "a column of observations" };

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, CorrelatorError> {
        fn number<T: ArrowPrimitiveType>(
            batch: &RecordBatch,
            at: usize,
        ) -> Result<&PrimitiveArray<T>, CorrelatorError> {
            batch.column(at).as_primitive_opt::<T>().ok_or(MISSING)
        }
        let text = |at: usize| batch.column(at).as_string_view_opt().ok_or(MISSING);
        Ok(Self {
            timestamp: number(batch, 1)?,
            nanos: number(batch, 2)?,
            signal: text(3)?,
            source_module: text(4)?,
            event_type: text(5)?,
            trace: batch.column(6).as_fixed_size_binary_opt().ok_or(MISSING)?,
            span: number(batch, 7)?,
            parent: number(batch, 8)?,
            digest: number(batch, 9)?,
            position: number(batch, 10)?,
            asset: text(11)?,
            severity: text(12)?,
            name: text(13)?,
            kind: text(14)?,
            duration: number(batch, 15)?,
            status: text(16)?,
            body: text(17)?,
            model: text(18)?,
            resource: text(19)?,
        })
    }

    /// What decides whether a row needs its payload.
    fn decisive(&self) -> [&'a StringViewArray; 4] {
        [self.signal, self.source_module, self.event_type, self.kind]
    }

    fn time(&self, row: usize) -> UnixNanos {
        let micros = self.timestamp.value(row).saturating_mul(1_000);
        UnixNanos(micros.saturating_add(i64::from(self.nanos.value(row))))
    }

    /// The trace id, 0 for none.
    fn trace(&self, row: usize) -> u128 {
        let bytes = if self.trace.is_null(row) { &[] } else { self.trace.value(row) };
        <[u8; 16]>::try_from(bytes).map_or(0, u128::from_be_bytes)
    }

    /// The id of what is no span.
    fn position_id(&self, row: usize) -> Option<EventId> {
        if self.digest.is_null(row) || self.position.is_null(row) {
            return None;
        }
        let position = u64::from(self.position.value(row) as u32);
        Some(EventId::from_halves(self.digest.value(row) as u64, position))
    }
}

/// The bits of an id, 0 for none.
fn id(column: &PrimitiveArray<Int64Type>, row: usize) -> u64 {
    if column.is_null(row) { 0 } else { column.value(row) as u64 }
}

fn text_or_empty(column: &StringViewArray, row: usize) -> &str {
    if column.is_null(row) { "" } else { column.value(row) }
}

fn span_kind(kind: &str) -> SpanKind {
    match kind {
        "server" => SpanKind::Server,
        "client" => SpanKind::Client,
        "producer" => SpanKind::Producer,
        "consumer" => SpanKind::Consumer,
        _ => SpanKind::Internal,
    }
}

/// The lowest OTLP severity number with this name.
fn severity_number(severity: &str) -> u8 {
    match Severity::parse(severity) {
        None => 0,
        Some(Severity::Trace) => 1,
        Some(Severity::Debug) => 5,
        Some(Severity::Info) => 9,
        Some(Severity::Warning) => 13,
        Some(Severity::Error) => 17,
        Some(Severity::Critical) => 21,
    }
}

/// Numbers of the texts of a batch.
struct Numbers<'a> {
    assets: Numbered<'a>,
    operations: Numbered<'a>,
    resources: Numbered<'a>,
    models: Numbered<'a>,
}

impl<'a> Numbers<'a> {
    fn new(columns: &Columns<'a>) -> Self {
        Self {
            assets: Numbered::new(columns.asset),
            operations: Numbered::new(columns.name),
            resources: Numbered::new(columns.resource),
            models: Numbered::new(columns.model),
        }
    }
}

/// How many cores are taken by reading.
#[derive(Clone, Copy)]
pub(super) enum Pace {
    /// One: nobody waits.
    OneThread,
    /// Two: chunks are decoded ahead.
    Ahead,
}

/// What has been read so far.
pub(super) struct Reading {
    range: Range,
    most: usize,
    /// One trace of how many is kept: a power of two.
    of: u64,
    /// False when changes are of no interest; they are told apart from logs all the same.
    with_changes: bool,
    assets: Names,
    operations: Names,
    spans: Vec<SpanSeen>,
    logs: Vec<LogSeen>,
    /// Bytes of the texts of `logs`.
    text: usize,
    recorded: Vec<ChangeSeen>,
    novelty: Novelty,
    /// What has values that may be new: versions, models, flags by their key.
    things: Names,
    values: Names,
    resources: Resources,
}

/// Number of the empty value: no version, no model.
const NO_VALUE: u32 = 0;
/// Numbers of the things that are no flags.
const VERSION: u32 = 0;
const MODEL: u32 = 1;

impl Reading {
    pub(super) fn new(range: Range, most: usize, with_changes: bool) -> Self {
        let (mut things, mut values) = (Names::default(), Names::default());
        values.number("");
        things.number("service.version");
        things.number("model");
        Self {
            range,
            most: most.max(1),
            of: 1,
            with_changes,
            assets: Names::default(),
            operations: Names::default(),
            spans: Vec::new(),
            logs: Vec::new(),
            text: 0,
            recorded: Vec::new(),
            novelty: Novelty::default(),
            things,
            values,
            resources: Resources::default(),
        }
    }

    /// Reads the events of the range, some `expected` ones.
    pub(super) fn read(
        &mut self,
        snapshot: &Snapshot,
        tenant: &TenantId,
        expected: f64,
        pace: Pace,
    ) -> Result<(), CorrelatorError> {
        self.spans.reserve(self.most.min(expected as usize));
        let range = self.range;
        let told = Scan { snapshot, table: Table::Events, tenant, range, columns: &COLUMNS_AND_PAYLOAD, only: None };
        let mut add = |batch: &RecordBatch| self.add(batch);
        if told.memory(&mut add)?.is_break() {
            return Ok(());
        }
        let chunks = |add: &mut Visit<'_>| {
            Scan { columns: &COLUMNS, ..told }.chunks(add)?;
            Scan { only: Some(WITH_PAYLOAD), ..told }.chunks(add)
        };
        match pace {
            Pace::OneThread => chunks(&mut add),
            Pace::Ahead => read_ahead(chunks, &mut add),
        }
    }

    pub(super) fn finish(mut self) -> Observed {
        let changes = changes::settled(std::mem::take(&mut self.recorded), self.new_values());
        let (places, placed) = self.resources.into_places();
        Observed {
            observations: Observations {
                assets: self.assets.into_texts(),
                operations: self.operations.into_texts(),
                metrics: Vec::new(),
                spans: self.spans,
                logs: self.logs,
                points: Vec::new(),
                changes,
                places,
                placed,
            },
            baseline_from: self.range.from,
            thinned: self.of,
            cut: false,
        }
    }

    /// What a batch tells: without payloads by columns alone, of the rows for which that is enough.
    fn add(&mut self, batch: &RecordBatch) -> Result<ControlFlow<()>, CorrelatorError> {
        let columns = Columns::of(batch)?;
        let payloads = match batch.columns().get(COLUMNS.len()) {
            Some(payloads) => Some(payloads.as_string_view_opt().ok_or(MISSING)?),
            None => None,
        };
        let mut numbers = Numbers::new(&columns);
        for row in 0..batch.num_rows() {
            let needed = needs_payload(columns.decisive(), row);
            let payload = payloads.filter(|_| needed).map(|payloads| payloads.value(row));
            if needed && payload.is_none() {
                continue;
            }
            let asset = numbers.assets.get(row, |name| self.assets.number(name));
            let (resources, values) = (&mut self.resources, &mut self.values);
            let version = numbers.resources.get(row, |resource| resources.read(values, asset, resource));
            let event = if columns.signal.value(row) == SIGNAL_SPAN {
                let peer = payload.and_then(peer).map(|peer| self.assets.number(peer));
                self.push_span(&columns, &mut numbers, row, (asset, version, peer))
            } else {
                let Some(event) = columns.position_id(row) else { continue };
                if let Some(payload) = payload {
                    self.push_told(&columns, row, event, asset, &parse(payload));
                    continue;
                }
                let body = text_or_empty(columns.body, row);
                let body = if body.is_empty() { text_or_empty(columns.name, row) } else { body };
                self.push_log(&columns, row, event, asset, shortened(body, LONGEST).to_owned());
                event
            };
            if self.with_changes {
                self.note_version(&columns, &mut numbers, row, (asset, version, event));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// A log record or span event that is told by its attributes: a change, the value of a flag, an exception.
    fn push_told(
        &mut self,
        columns: &Columns<'_>,
        row: usize,
        event: EventId,
        asset: u32,
        payload: &Map<String, Value>,
    ) {
        let described = Described {
            signal: columns.signal.value(row),
            source_module: columns.source_module.value(row),
            event_type: columns.event_type.value(row),
            name: text_or_empty(columns.name, row),
            body: text_or_empty(columns.body, row),
        };
        if self.with_changes
            && changes::evaluates_flag(described)
            && let Some((key, value)) = flag(payload)
        {
            let (thing, value) = (self.things.number(key), self.values.number(value));
            self.novelty.add(asset, thing, value, columns.time(row), event);
        }
        if let Some(kind) = changes::kind(described, payload) {
            let what = changes::what(kind, described, payload);
            self.recorded.push(ChangeSeen { id: event, time: columns.time(row), asset, kind, what });
        } else {
            let said = described.body;
            let body = if said.is_empty() { line(described.name, payload) } else { shortened(said, LONGEST).into() };
            self.push_log(columns, row, event, asset, body);
        }
    }

    fn note_version(
        &mut self,
        columns: &Columns<'_>,
        numbers: &mut Numbers<'_>,
        row: usize,
        (asset, version, event): (u32, u32, EventId),
    ) {
        let model = numbers.models.get(row, |model| self.values.number(model));
        for (thing, value) in [(VERSION, version), (MODEL, model)] {
            if value != NO_VALUE {
                self.novelty.add(asset, thing, value, columns.time(row), event);
            }
        }
    }

    fn push_span(
        &mut self,
        columns: &Columns<'_>,
        numbers: &mut Numbers<'_>,
        row: usize,
        (asset, version, peer): (u32, u32, Option<u32>),
    ) -> EventId {
        let (trace, span) = (columns.trace(row), id(columns.span, row));
        if self.of == 1 || stays(hash(trace), self.of) {
            self.spans.push(SpanSeen {
                trace,
                span,
                parent: id(columns.parent, row),
                asset,
                operation: numbers.operations.get(row, |name| self.operations.number(name)),
                kind: span_kind(text_or_empty(columns.kind, row)),
                start: columns.time(row),
                duration_ns: if columns.duration.is_null(row) { 0 } else { columns.duration.value(row).max(0) as u64 },
                failed: text_or_empty(columns.status, row) == "error",
                peer,
                version,
            });
            self.keep_few();
        }
        EventId::of_span(TraceId(trace.to_be_bytes()), SpanId(span))
    }

    fn push_log(&mut self, columns: &Columns<'_>, row: usize, id_of_row: EventId, asset: u32, body: String) {
        let trace = columns.trace(row);
        let log = LogSeen {
            id: id_of_row,
            time: columns.time(row),
            asset,
            trace,
            span: id(columns.span, row),
            severity: severity_number(columns.severity.value(row)),
            body,
        };
        if self.of == 1 || stays(hash_of_log(&log), self.of) {
            self.text += log.body.len();
            self.logs.push(log);
            self.keep_few();
        }
    }

    /// Keeps half of the traces when there are too many events.
    fn keep_few(&mut self) {
        while (self.spans.len() + self.logs.len() > self.most || self.text > MOST_TEXT) && self.of < 1 << 40 {
            self.of *= 2;
            let of = self.of;
            self.spans.retain(|span| stays(hash(span.trace), of));
            self.logs.retain(|log| stays(hash_of_log(log), of));
            self.text = self.logs.iter().map(|log| log.body.len()).sum();
        }
    }

    /// Changes that show by new values.
    fn new_values(&self) -> Vec<ChangeSeen> {
        let new = self.novelty.new_values(self.range.from, self.range.to);
        let change = |new: super::novelty::New| {
            let (value, before) = (self.values.text(new.value), self.values.text(new.before));
            let (kind, what) = match new.thing {
                VERSION => (ChangeKind::Deployment, format!("version {value}, before {before}")),
                MODEL => (ChangeKind::Other, format!("model {value}, before {before}")),
                flag => (ChangeKind::FeatureFlag, format!("{}={value}", self.things.text(flag))),
            };
            ChangeSeen { id: new.event, time: new.time, asset: new.asset, kind, what }
        };
        new.into_iter().map(change).collect()
    }
}

fn hash(trace: u128) -> u64 {
    xxh3_64(&trace.to_be_bytes())
}

/// A log record outside of traces stays or goes by itself.
fn hash_of_log(log: &LogSeen) -> u64 {
    hash(if log.trace == 0 { log.id.0 } else { log.trace })
}
