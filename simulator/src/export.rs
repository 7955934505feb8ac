//! Turns items into encoded OTLP export requests.

use crate::attributes::{integer, text};
use crate::topology::{Source, Topology};
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

/// Items of several pods, in the order in which they come.
pub(crate) type Items<T> = Vec<(Source, T)>;

pub(crate) fn traces(topology: &Topology, spans: Items<Span>) -> Request {
    let items = spans.len();
    let resource_spans = by_source(spans)
        .into_iter()
        .map(|(source, spans)| ResourceSpans {
            resource: Some(resource(topology, source)),
            scope_spans: vec![ScopeSpans { scope: Some(scope(topology, source)), spans, schema_url: String::new() }],
            schema_url: SCHEMA_URL.into(),
        })
        .collect();
    encode(Signal::Traces, items, &ExportTraceServiceRequest { resource_spans })
}

pub(crate) fn logs(topology: &Topology, log_records: Items<LogRecord>) -> Request {
    let items = log_records.len();
    let resource_logs = by_source(log_records)
        .into_iter()
        .map(|(source, log_records)| ResourceLogs {
            resource: Some(resource(topology, source)),
            scope_logs: vec![ScopeLogs {
                scope: Some(scope(topology, source)),
                log_records,
                schema_url: String::new(),
            }],
            schema_url: SCHEMA_URL.into(),
        })
        .collect();
    encode(Signal::Logs, items, &ExportLogsServiceRequest { resource_logs })
}

pub(crate) fn metrics(topology: &Topology, metrics: Items<Metric>) -> Request {
    let items = metrics.iter().map(|(_, metric)| points(metric)).sum();
    let resource_metrics = by_source(metrics)
        .into_iter()
        .map(|(source, metrics)| ResourceMetrics {
            resource: Some(resource(topology, source)),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope(topology, source)),
                metrics,
                schema_url: String::new(),
            }],
            schema_url: SCHEMA_URL.into(),
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

fn by_source<T>(items: Items<T>) -> BTreeMap<Source, Vec<T>> {
    let mut groups: BTreeMap<Source, Vec<T>> = BTreeMap::new();
    for (source, item) in items {
        groups.entry(source).or_default().push(item);
    }
    groups
}

fn encode(signal: Signal, items: usize, message: &impl Message) -> Request {
    Request { signal, body: message.encode_to_vec().into(), items }
}

fn resource(topology: &Topology, source: Source) -> Resource {
    let service = &topology.services[source.service];
    let pod = topology.pod(source);
    let attributes = vec![
        text("service.name", service.name),
        text("service.namespace", "shop"),
        text("service.version", topology.version(source.service, source.revision)),
        text("service.instance.id", pod.instance_id),
        text("deployment.environment.name", "production"),
        text("k8s.cluster.name", "shop-1"),
        text("k8s.namespace.name", "shop"),
        text("k8s.deployment.name", service.name),
        text("k8s.pod.name", pod.name),
        text("k8s.node.name", pod.host.clone()),
        text("host.name", pod.host),
        integer("process.pid", 1),
        text("telemetry.sdk.name", "opentelemetry"),
        text("telemetry.sdk.language", service.language),
        text("telemetry.sdk.version", "1.36.0"),
    ];
    Resource { attributes, ..Default::default() }
}

fn scope(topology: &Topology, source: Source) -> InstrumentationScope {
    let name = format!("io.opentelemetry.shop.{}", topology.services[source.service].name);
    InstrumentationScope { name, version: "1.0.0".into(), ..Default::default() }
}
