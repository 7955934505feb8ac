//! Turns items into encoded OTLP export requests.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics, metric::Data};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

/// Who sent something: the resource, and the scope of its instrumentation.
pub(crate) type Origin = (Resource, InstrumentationScope);

/// A signal of OpenTelemetry: which OTLP service a request goes to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// `ExportTraceServiceRequest`
    Traces,
    /// `ExportLogsServiceRequest`
    Logs,
    /// `ExportMetricsServiceRequest`
    Metrics,
}

/// An OTLP export request, encoded as protobuf without gRPC framing or compression.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Which service it goes to.
    pub signal: Signal,
    /// The encoded message.
    pub body: Bytes,
    /// Number of spans, log records or data points in it.
    pub items: usize,
}

pub(crate) fn traces<S: Ord + Copy>(origin: impl Fn(S) -> Origin, spans: Vec<(S, Span)>) -> Request {
    let items = spans.len();
    let resource_spans = by_source(spans)
        .into_iter()
        .map(|(source, spans)| {
            let (resource, scope) = origin(source);
            ResourceSpans {
                resource: Some(resource),
                scope_spans: vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }],
                schema_url: SCHEMA_URL.into(),
            }
        })
        .collect();
    encode(Signal::Traces, items, &ExportTraceServiceRequest { resource_spans })
}

pub(crate) fn logs<S: Ord + Copy>(origin: impl Fn(S) -> Origin, log_records: Vec<(S, LogRecord)>) -> Request {
    let items = log_records.len();
    let resource_logs = by_source(log_records)
        .into_iter()
        .map(|(source, log_records)| {
            let (resource, scope) = origin(source);
            ResourceLogs {
                resource: Some(resource),
                scope_logs: vec![ScopeLogs { scope: Some(scope), log_records, schema_url: String::new() }],
                schema_url: SCHEMA_URL.into(),
            }
        })
        .collect();
    encode(Signal::Logs, items, &ExportLogsServiceRequest { resource_logs })
}

pub(crate) fn metrics<S: Ord + Copy>(origin: impl Fn(S) -> Origin, metrics: Vec<(S, Metric)>) -> Request {
    let items = metrics.iter().map(|(_, metric)| points(metric)).sum();
    let resource_metrics = by_source(metrics)
        .into_iter()
        .map(|(source, metrics)| {
            let (resource, scope) = origin(source);
            ResourceMetrics {
                resource: Some(resource),
                scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: String::new() }],
                schema_url: SCHEMA_URL.into(),
            }
        })
        .collect();
    encode(Signal::Metrics, items, &ExportMetricsServiceRequest { resource_metrics })
}

fn points(metric: &Metric) -> usize {
    match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(Data::Summary(summary)) => summary.data_points.len(),
        None => 0,
    }
}

fn by_source<S: Ord, T>(items: Vec<(S, T)>) -> BTreeMap<S, Vec<T>> {
    let mut groups: BTreeMap<S, Vec<T>> = BTreeMap::new();
    for (source, item) in items {
        groups.entry(source).or_default().push(item);
    }
    groups
}

fn encode(signal: Signal, items: usize, message: &impl Message) -> Request {
    Request { signal, body: message.encode_to_vec().into(), items }
}
