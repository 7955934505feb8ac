//! Telemetry as it arrives: decoded from the requests alone.

#![allow(dead_code)] // each test binary uses a part of it

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::collections::HashMap;
use std::rc::Rc;
use whence_simulator::{Request, Signal};

/// An item and the attributes of its resource.
pub(crate) struct Sent<T> {
    pub(crate) resource: Rc<HashMap<String, String>>,
    pub(crate) item: T,
}

impl<T> Sent<T> {
    pub(crate) fn service(&self) -> &str {
        self.resource.get("service.name").map_or("", String::as_str)
    }
}

/// A gauge's or a sum's data point.
pub(crate) struct Point {
    pub(crate) name: String,
    pub(crate) attributes: HashMap<String, String>,
    pub(crate) time: u64,
    pub(crate) value: f64,
}

/// All items of a scenario.
#[derive(Default)]
pub(crate) struct Telemetry {
    pub(crate) spans: Vec<Sent<Span>>,
    pub(crate) logs: Vec<Sent<LogRecord>>,
    pub(crate) points: Vec<Sent<Point>>,
}

impl Telemetry {
    pub(crate) fn of(requests: impl Iterator<Item = Request>) -> Self {
        let mut telemetry = Telemetry::default();
        for request in requests {
            match request.signal {
                Signal::Traces => telemetry.spans.extend(spans_of(&request)),
                Signal::Logs => telemetry.logs.extend(logs_of(&request)),
                Signal::Metrics => telemetry.points.extend(points_of(&request)),
            }
        }
        telemetry
    }
}

pub(crate) fn strings(attributes: &[KeyValue]) -> HashMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let pairs = attributes.iter().map(|a| (a.key.clone(), text(a.value.as_ref().unwrap().value.as_ref().unwrap())));
    pairs.collect()
}

fn resource_of(resource: Option<&Resource>) -> Rc<HashMap<String, String>> {
    Rc::new(strings(&resource.unwrap().attributes))
}

pub(crate) fn spans_of(request: &Request) -> Vec<Sent<Span>> {
    let decoded = ExportTraceServiceRequest::decode(request.body.clone()).unwrap();
    let of_resource = |group: opentelemetry_proto::tonic::trace::v1::ResourceSpans| {
        let resource = resource_of(group.resource.as_ref());
        let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.map(move |item| Sent { resource: resource.clone(), item })
    };
    decoded.resource_spans.into_iter().flat_map(of_resource).collect()
}

pub(crate) fn logs_of(request: &Request) -> Vec<Sent<LogRecord>> {
    let decoded = ExportLogsServiceRequest::decode(request.body.clone()).unwrap();
    let of_resource = |group: opentelemetry_proto::tonic::logs::v1::ResourceLogs| {
        let resource = resource_of(group.resource.as_ref());
        let logs = group.scope_logs.into_iter().flat_map(|scope| scope.log_records);
        logs.map(move |item| Sent { resource: resource.clone(), item })
    };
    decoded.resource_logs.into_iter().flat_map(of_resource).collect()
}

fn points_of(request: &Request) -> Vec<Sent<Point>> {
    let decoded = ExportMetricsServiceRequest::decode(request.body.clone()).unwrap();
    let mut points = Vec::new();
    for group in decoded.resource_metrics {
        let resource = resource_of(group.resource.as_ref());
        for metric in group.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
            let numbers = match metric.data.unwrap() {
                Data::Gauge(gauge) => gauge.data_points,
                Data::Sum(sum) => sum.data_points,
                _ => continue,
            };
            points.extend(numbers.into_iter().map(|point| Sent {
                resource: resource.clone(),
                item: Point {
                    name: metric.name.clone(),
                    attributes: strings(&point.attributes),
                    time: point.time_unix_nano,
                    value: match point.value.unwrap() {
                        Number::AsDouble(value) => value,
                        Number::AsInt(value) => value as f64,
                    },
                },
            }));
        }
    }
    points
}

pub(crate) fn failed(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code == 2)
}

/// The middle of some numbers; 0 of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
