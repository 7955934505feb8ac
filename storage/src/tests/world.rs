//! Requests that can be mapped again from their bytes, and a correlator that links every span to its parent.

use crate::{
    LoggedRequest, Opened, RecoveryReport, Snapshot, Statistics, StorageError, Store, StoreOptions, Tail, TailItem,
    TailRows,
};
use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryBuilder, Int16Array, Int32Array, Int64Array};
use arrow::array::{StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{Float64Type, Int64Type};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use whence_schema::tables::correlations::{self, CorrelationRow};
use whence_schema::tables::{events, metrics};
use whence_schema::{
    AssetSighting, Encoding, EventId, MappedRequest, MetricPoint, MetricPoints, MetricType, PointValue, Relation,
    RequestDigest, Rows, Series, SeriesId, Signal, SpanId, Table, TenantId, TraceId, UnixNanos,
};

pub(super) const MINUTE: i64 = 60_000_000_000;
pub(super) const START: i64 = 28_000_000 * MINUTE;

/// What a request holds; its JSON is the request's body.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub(super) enum Sent {
    /// (span, parent or 0, seconds after the start)
    Spans(Vec<(u64, u64, i64)>),
    /// (text, seconds after the start)
    Logs(Vec<(String, i64)>),
    /// (series, value of a running total, seconds after the start)
    Points(Vec<(u32, f64, i64)>),
}

impl Sent {
    pub(super) fn items(&self) -> u64 {
        match self {
            Self::Spans(items) => items.len() as u64,
            Self::Logs(items) => items.len() as u64,
            Self::Points(items) => items.len() as u64,
        }
    }

    fn signal(&self) -> Signal {
        match self {
            Self::Spans(_) => Signal::Traces,
            Self::Logs(_) => Signal::Logs,
            Self::Points(_) => Signal::Metrics,
        }
    }
}

/// A request with `rejected` items beyond those in `sent`.
pub(super) fn request(sent: &Sent, rejected: u64) -> MappedRequest {
    let (tenant, signal) = (TenantId::default(), sent.signal());
    let body = Bytes::from(serde_json::to_vec(&(sent, rejected)).unwrap());
    let digest = RequestDigest::of(&tenant, signal, &body);
    let received_at = UnixNanos(START + 7 * MINUTE);
    map(LoggedRequest { tenant, signal, encoding: Encoding::Json, received_at, digest, body }).unwrap()
}

pub(super) fn map(logged: LoggedRequest) -> Result<MappedRequest, String> {
    let (sent, rejected): (Sent, u64) = serde_json::from_slice(&logged.body).map_err(|error| error.to_string())?;
    let rows = match &sent {
        Sent::Spans(spans) => Rows::Events(span_rows(&logged, spans)),
        Sent::Logs(logs) => Rows::Events(log_rows(&logged, logs)),
        Sent::Points(points) => Rows::Metrics(point_rows(points)),
    };
    let asset = AssetSighting {
        asset_id: "cart".to_owned(),
        asset_type: "service",
        version: Some("1.2".to_owned()),
        last_seen: logged.received_at,
        metadata: None,
    };
    Ok(MappedRequest {
        received: sent.items() + rejected,
        rejected,
        rows,
        assets: vec![asset],
        tenant: logged.tenant,
        signal: logged.signal,
        received_at: logged.received_at,
        digest: logged.digest,
        body: logged.body,
        encoding: logged.encoding,
    })
}

/// All spans of a test are of 16 traces, by span id.
pub(super) fn trace_of(span: u64) -> TraceId {
    let mut bytes = [7; 16];
    bytes[15] = (span % 16) as u8;
    TraceId(bytes)
}

pub(super) fn span_event_id(span: u64) -> EventId {
    EventId::of_span(trace_of(span), SpanId(span))
}

fn event_rows(logged: &LoggedRequest, rows: usize, fill: impl Fn(&str) -> Option<ArrayRef>) -> RecordBatch {
    let schema = Table::Events.stored_schema();
    let columns = schema.fields().iter().map(|field| {
        let text =
            |text: &str| -> ArrayRef { Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n(text, rows))) };
        fill(field.name()).unwrap_or_else(|| match field.name().as_str() {
            "tenant_id" => text(logged.tenant.as_str()),
            "created_at" => {
                Arc::new(TimestampMicrosecondArray::from(vec![logged.received_at.micros(); rows]).with_timezone("UTC"))
            }
            "timestamp_nanos" => Arc::new(Int16Array::from(vec![5; rows])),
            "source_module" => text("telemetry"),
            "severity" => text("info"),
            "resource" | "payload" => text("{\"a key\": \"a value that is longer than twelve bytes\"}"),
            _ => arrow::array::new_null_array(field.data_type(), rows),
        })
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

fn times(seconds: impl Iterator<Item = i64>) -> ArrayRef {
    let micros = seconds.map(|s| UnixNanos(START + s * 1_000_000_000).micros());
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
}

fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> Option<ArrayRef> {
    Some(Arc::new(StringViewArray::from_iter_values(texts)))
}

fn span_rows(logged: &LoggedRequest, spans: &[(u64, u64, i64)]) -> RecordBatch {
    event_rows(logged, spans.len(), |name| match name {
        "timestamp" => Some(times(spans.iter().map(|span| span.2))),
        "signal" | "event_type" => texts(spans.iter().map(|_| "span")),
        "asset_id" => {
            texts(spans.iter().map(|span| ["cart", "checkout", "a service with a long name"][span.0 as usize % 3]))
        }
        "name" => texts(spans.iter().map(|_| "GET /")),
        "trace_id" => {
            let mut ids = FixedSizeBinaryBuilder::new(16);
            spans.iter().for_each(|span| ids.append_value(trace_of(span.0).0).unwrap());
            Some(Arc::new(ids.finish()))
        }
        "span_id" => Some(Arc::new(Int64Array::from_iter_values(spans.iter().map(|span| span.0 as i64)))),
        "parent_span_id" => {
            Some(Arc::new(spans.iter().map(|span| (span.1 != 0).then_some(span.1 as i64)).collect::<Int64Array>()))
        }
        "duration_ns" => Some(Arc::new(Int64Array::from(vec![1_000; spans.len()]))),
        "status" => texts(spans.iter().map(|span| if span.0 % 2 == 0 { "error" } else { "unset" })),
        _ => None,
    })
}

fn log_rows(logged: &LoggedRequest, logs: &[(String, i64)]) -> RecordBatch {
    event_rows(logged, logs.len(), |name| match name {
        "timestamp" => Some(times(logs.iter().map(|log| log.1))),
        "signal" | "event_type" => texts(logs.iter().map(|_| "log")),
        "asset_id" => texts(logs.iter().map(|_| "cart")),
        "body" => texts(logs.iter().map(|log| log.0.as_str())),
        "request_digest" => Some(Arc::new(Int64Array::from(vec![logged.digest.short() as i64; logs.len()]))),
        "position" => Some(Arc::new(Int32Array::from_iter_values(0..logs.len() as i32))),
        _ => None,
    })
}

fn point_rows(points: &[(u32, f64, i64)]) -> MetricPoints {
    let ids: BTreeSet<u32> = points.iter().map(|point| point.0).collect();
    let series = |id: &u32| Series {
        id: SeriesId(u128::from(*id)),
        asset_id: "cart".to_owned(),
        metric_type: MetricType::Sum,
        metric_name: format!("metric {id}"),
        unit: "1".to_owned(),
        dimensions: "{}".to_owned(),
    };
    let point = |(series, value, seconds): &(u32, f64, i64)| MetricPoint {
        series: ids.iter().position(|id| id == series).unwrap() as u32,
        timestamp: UnixNanos(START + seconds * 1_000_000_000),
        start: UnixNanos(1),
        cumulative: true,
        value: PointValue::Number(*value),
    };
    MetricPoints {
        series: ids.iter().map(series).collect(),
        points: points.iter().map(point).collect(),
        exemplars: Vec::new(),
    }
}

/// An open store with its correlator.
#[derive(Debug)]
pub(super) struct World {
    pub(super) store: Store,
    pub(super) report: RecoveryReport,
    pub(super) correlator: tokio::task::JoinHandle<()>,
}

pub(super) fn options(path: &Path) -> StoreOptions {
    StoreOptions {
        path: path.to_owned(),
        segment_bytes: 4_096,
        flush_interval: Duration::from_secs(3_600),
        compaction: false,
        grace: Duration::ZERO,
        clock: || UnixNanos(START + 8 * MINUTE),
        ..StoreOptions::default()
    }
}

pub(super) async fn open(options: StoreOptions) -> Result<World, StorageError> {
    let Opened { store, tail, recovery, correlator_state } = Store::open(options).await?;
    let correlator = tokio::spawn(correlate(store.clone(), tail, correlator_state));
    let report = recovery.run(map, |_| ()).await?;
    Ok(World { store, report, correlator })
}

impl World {
    pub(super) async fn append(&self, sent: &Sent) -> crate::Appended {
        self.store.append(request(sent, 0)).await.unwrap()
    }

    /// Waits until the correlator has seen everything, and closes.
    pub(super) async fn close(self) {
        self.store.close().await.unwrap();
        drop(self.store);
        self.correlator.await.unwrap();
    }

    /// Stops without writing anything more, as kill -9 would.
    pub(super) async fn kill(self) {
        self.store.abandon().await;
        drop(self.store);
        self.correlator.await.unwrap();
    }

    pub(super) fn statistics(&self) -> Statistics {
        self.store.statistics()
    }

    pub(super) async fn totals(&self) -> Totals {
        let mut totals = totals(&self.store.snapshot());
        totals.ledger = ledger(&self.store).await;
        totals
    }
}

/// Links a span to its parent once both were seen, in whatever order; remembers all spans for ever.
async fn correlate(store: Store, mut tail: Tail, state: Option<Vec<u8>>) {
    let mut spans: BTreeMap<u64, u64> = state.map(|bytes| serde_json::from_slice(&bytes).unwrap()).unwrap_or_default();
    while let Some(item) = tail.next().await {
        match item {
            TailItem::Appended { rows: TailRows::Events(batch), emit, .. } => {
                let mut links = Vec::new();
                let numbers = |index: usize| batch.column(index).as_primitive::<Int64Type>();
                let (ids, parents) = (numbers(events::column::SPAN_ID), numbers(events::column::PARENT_SPAN_ID));
                for row in (0..batch.num_rows()).filter(|row| ids.is_valid(*row)) {
                    let id = ids.value(row) as u64;
                    let parent = if parents.is_valid(row) { parents.value(row) as u64 } else { 0 };
                    links.extend(spans.iter().filter(|(_, other)| **other == id).map(|(child, _)| (id, *child)));
                    links.extend(spans.contains_key(&parent).then_some((parent, id)));
                    spans.insert(id, parent);
                }
                if emit && !links.is_empty() {
                    store.append_correlations(link_rows(&links)).await.unwrap();
                }
            }
            TailItem::Appended { .. } => {}
            TailItem::Seal { reply } => {
                let _ = reply.send(serde_json::to_vec(&spans).unwrap());
            }
        }
    }
}

fn link_rows(links: &[(u64, u64)]) -> RecordBatch {
    let rows: Vec<CorrelationRow> = links
        .iter()
        .map(|(parent, child)| CorrelationRow {
            tenant: TenantId::default(),
            correlation_type: "causal",
            relation: Relation::Call,
            primary: span_event_id(*parent),
            related: span_event_id(*child),
            primary_timestamp: UnixNanos(START),
            related_timestamp: UnixNanos(START),
            strength: 1.0,
            confidence: 1.0,
            created_at: UnixNanos(START),
            metadata: None,
        })
        .collect();
    correlations::to_batch(&rows).unwrap()
}

/// What a store holds, counted from its rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) spans: Vec<u64>,
    pub(super) logs: u64,
    pub(super) points: u64,
    /// Sum of `value_sum`: what all series grew by.
    pub(super) growth: f64,
    /// Related ids, with repeats.
    pub(super) links: Vec<u64>,
    /// received, stored, duplicate, rejected, dropped of each signal
    pub(super) ledger: BTreeMap<String, [i64; 5]>,
}

pub(super) fn rows_of(snapshot: &Snapshot, table: Table) -> Vec<RecordBatch> {
    let table = snapshot.table(table);
    let mut batches = table.batches.clone();
    for chunk in &table.chunks {
        batches.extend(crate::chunk::join::read_all(chunk).unwrap());
    }
    batches
}

pub(super) fn totals(snapshot: &Snapshot) -> Totals {
    let mut totals = Totals::default();
    for batch in rows_of(snapshot, Table::Events) {
        let ids = batch.column(events::column::SPAN_ID).as_primitive::<Int64Type>();
        totals.spans.extend(ids.iter().flatten().map(|id| id as u64));
        totals.logs += crate::memtable::events::count_signals(&batch).1;
    }
    for batch in rows_of(snapshot, Table::Metrics) {
        let points = batch.column(metrics::column::POINT_COUNT).as_primitive::<Int64Type>();
        totals.points += points.iter().flatten().sum::<i64>() as u64;
        totals.growth +=
            batch.column(metrics::column::VALUE_SUM).as_primitive::<Float64Type>().iter().flatten().sum::<f64>();
    }
    for batch in rows_of(snapshot, Table::Correlations) {
        let related = batch.column(correlations::column::RELATED_LOW).as_primitive::<Int64Type>();
        totals.links.extend(related.iter().flatten().map(|id| id as u64));
    }
    totals.spans.sort_unstable();
    totals.links.sort_unstable();
    totals
}

pub(super) async fn ledger(store: &Store) -> BTreeMap<String, [i64; 5]> {
    let batch = store.ledger(&TenantId::default()).await.unwrap();
    let mut by_signal: BTreeMap<String, [i64; 5]> = BTreeMap::new();
    for row in 0..batch.num_rows() {
        let signal = batch.column(2).as_string_view().value(row).to_owned();
        let counts = by_signal.entry(signal).or_default();
        for (column, count) in counts.iter_mut().enumerate() {
            *count += batch.column(3 + column).as_primitive::<Int64Type>().value(row);
        }
    }
    by_signal
}
