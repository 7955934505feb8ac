//! Reads a recording of OTLP/JSON lines and counts what is in it, independently of Whence.

use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// The folder of recordings: `WHENCE_SHARED`, else `../shared` beside the checkout. `None` when there is no such file.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("WHENCE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    Some(shared.join("incidents").join(name)).filter(|file| file.is_file())
}

/// Lines of a recording; each is one request.
pub(crate) fn lines(file: &Path) -> impl Iterator<Item = String> {
    let file = File::open(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    BufReader::new(zstd::Decoder::new(file).unwrap()).lines().map(Result::unwrap)
}

/// What a request brings.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub spans: u64,
    pub logs: u64,
    pub points: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.spans += other.spans;
        self.logs += other.logs;
        self.points += other.points;
    }
}

/// What a recording holds.
#[derive(Default)]
pub(crate) struct Contents {
    pub counts: Counts,
    /// Parent and child of every span whose parent is in another service, as event ids.
    pub calls: HashSet<(String, String)>,
    /// Logs of severity WARN and above that name a span.
    pub loud_logs: u64,
}

/// Reads a whole recording.
pub(crate) fn contents(file: &Path) -> Contents {
    let mut contents = Contents::default();
    let mut services: HashMap<String, u16> = HashMap::new();
    let mut spans: HashMap<SpanKey, (u16, u64)> = HashMap::new();
    for line in lines(file) {
        let request: Request = serde_json::from_str(&line).unwrap();
        contents.counts += request.counts();
        for resource in request.resource_spans {
            let next = services.len() as u16;
            let service = *services.entry(resource.resource.service()).or_insert(next);
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let earlier = spans.insert(span.key(), (service, id(&span.parent_span_id)));
                assert!(earlier.is_none(), "span {} is in the recording twice", span.span_id);
            }
        }
        let records = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
        let records = records.flat_map(|scope| scope.log_records);
        contents.loud_logs += records.filter(|log| log.severity_number >= 13 && !log.span_id.is_empty()).count() as u64;
    }
    for (child, (service, parent)) in &spans {
        let parent = SpanKey { span: *parent, ..*child };
        if spans.get(&parent).is_some_and(|(parents_service, _)| parents_service != service) {
            contents.calls.insert((parent.event_id(), child.event_id()));
        }
    }
    contents
}

/// What one line brings.
pub(crate) fn counts(line: &str) -> Counts {
    serde_json::from_str::<Request>(line).unwrap().counts()
}

/// Path of OTLP/HTTP for one line.
pub(crate) fn path(line: &str) -> &'static str {
    match line.get(2..16) {
        Some("resourceSpans\"") => "/v1/traces",
        Some("resourceLogs\":") => "/v1/logs",
        Some("resourceMetric") => "/v1/metrics",
        _ => panic!("not an OTLP/JSON line: {:.60}", line),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct SpanKey {
    trace: u128,
    span: u64,
}

impl SpanKey {
    /// The id that `events` must give this span: low half of the trace id, then the span id.
    fn event_id(self) -> String {
        let digits = format!("{:016x}{:016x}", self.trace as u64, self.span);
        let part = |range| &digits[range];
        format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
    }
}

fn id(hexadecimal: &str) -> u64 {
    if hexadecimal.is_empty() { 0 } else { u64::from_str_radix(hexadecimal, 16).unwrap() }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    #[serde(default)]
    resource_spans: Vec<ResourceSpans>,
    #[serde(default)]
    resource_logs: Vec<ResourceLogs>,
    #[serde(default)]
    resource_metrics: Vec<ResourceMetrics>,
}

impl Request {
    fn counts(&self) -> Counts {
        let spans =
            self.resource_spans.iter().flat_map(|resource| &resource.scope_spans).map(|scope| scope.spans.len());
        let logs = self.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
        let logs = logs.map(|scope| scope.log_records.len());
        let metrics = self.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
        let points = metrics.flat_map(|scope| &scope.metrics).map(|metric| metric.gauge.data_points.len());
        Counts {
            spans: spans.sum::<usize>() as u64,
            logs: logs.sum::<usize>() as u64,
            points: points.sum::<usize>() as u64,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans {
    resource: Resource,
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Deserialize)]
struct Resource {
    attributes: Vec<KeyValue>,
}

impl Resource {
    fn service(&self) -> String {
        let service = self.attributes.iter().find(|attribute| attribute.key == "service.name");
        service.map_or_else(|| "unknown".to_owned(), |attribute| attribute.value.string_value.clone())
    }
}

#[derive(Deserialize)]
struct KeyValue {
    key: String,
    value: AnyValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyValue {
    #[serde(default)]
    string_value: String,
}

#[derive(Deserialize)]
struct ScopeSpans {
    spans: Vec<Span>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    trace_id: String,
    span_id: String,
    #[serde(default)]
    parent_span_id: String,
}

impl Span {
    fn key(&self) -> SpanKey {
        SpanKey { trace: u128::from_str_radix(&self.trace_id, 16).unwrap(), span: id(&self.span_id) }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceLogs {
    scope_logs: Vec<ScopeLogs>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScopeLogs {
    log_records: Vec<LogRecord>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogRecord {
    #[serde(default)]
    severity_number: u32,
    #[serde(default)]
    span_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceMetrics {
    scope_metrics: Vec<ScopeMetrics>,
}

#[derive(Deserialize)]
struct ScopeMetrics {
    metrics: Vec<Metric>,
}

#[derive(Deserialize)]
struct Metric {
    gauge: Gauge,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Gauge {
    data_points: Vec<Point>,
}

#[derive(Deserialize)]
struct Point {}
