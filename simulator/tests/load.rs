//! Load templates: decoded again, every restamped request is whole, unique and of now.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, NumberDataPoint};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use whence_simulator::{LoadMix, LoadTemplates, Request, Signal};

const STARTED: u64 = 1_790_000_000_000_000_000;
const BASE: u64 = STARTED + 1_000_000_000;
const SECOND: u64 = 1_000_000_000;

fn templates(mix: LoadMix, batch: usize) -> LoadTemplates {
    LoadTemplates::new(42, mix, NonZeroUsize::new(batch).unwrap(), STARTED)
}

fn spans(request: &Request) -> Vec<Span> {
    let decoded = ExportTraceServiceRequest::decode(request.body.clone()).unwrap();
    assert!(decoded.resource_spans.len() > 10, "several services in one request");
    decoded.resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans).collect()
}

fn logs(request: &Request) -> Vec<LogRecord> {
    let decoded = ExportLogsServiceRequest::decode(request.body.clone()).unwrap();
    decoded.resource_logs.into_iter().flat_map(|r| r.scope_logs).flat_map(|s| s.log_records).collect()
}

enum Point {
    Number(NumberDataPoint, bool),
    Histogram(HistogramDataPoint, bool),
}

/// Series and point; the flag says cumulative and growing.
fn points(request: &Request) -> Vec<(String, Point)> {
    let decoded = ExportMetricsServiceRequest::decode(request.body.clone()).unwrap();
    let mut all = Vec::new();
    for group in decoded.resource_metrics {
        let resource = format!("{:?}", group.resource.unwrap().attributes);
        for metric in group.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
            let series = |attributes| format!("{resource} {} {attributes:?}", metric.name);
            match metric.data.unwrap() {
                Data::Gauge(gauge) => {
                    all.extend(
                        gauge.data_points.into_iter().map(|p| (series(p.attributes.clone()), Point::Number(p, false))),
                    );
                }
                Data::Sum(sum) => {
                    let grows = sum.is_monotonic;
                    all.extend(
                        sum.data_points.into_iter().map(|p| (series(p.attributes.clone()), Point::Number(p, grows))),
                    );
                }
                Data::Histogram(histogram) => {
                    let grows = histogram.aggregation_temporality == 2;
                    let points = histogram.data_points.into_iter();
                    all.extend(points.map(|p| (series(p.attributes.clone()), Point::Histogram(p, grows))));
                }
                other => panic!("{other:?}"),
            }
        }
    }
    all
}

#[test]
fn a_restamped_batch_has_its_size_new_ids_the_same_relations_and_the_time_of_now() {
    let templates = templates(LoadMix::Traces, 1_000);
    let count = templates.len() as u64;
    let mut ids = HashSet::new();
    let mut children = [0; 2];
    for (round, children) in children.iter_mut().enumerate() {
        let base = BASE + round as u64 * SECOND;
        for number in 0..count {
            let request = templates.request(round as u64 * count + number, base);
            let spans = spans(&request);
            assert_eq!((request.signal, request.items, spans.len()), (Signal::Traces, 1_000, 1_000));
            assert_eq!(spans.iter().map(|span| span.end_time_unix_nano).max(), Some(base));
            for span in &spans {
                assert!(span.start_time_unix_nano < span.end_time_unix_nano);
                assert!(span.start_time_unix_nano > base - 10 * SECOND);
                assert!(span.events.iter().all(|event| event.time_unix_nano <= base));
                assert!(ids.insert((span.trace_id.clone(), span.span_id.clone())), "ids never come again");
            }
            let here: HashSet<_> = spans.iter().map(|span| (&span.trace_id, &span.span_id)).collect();
            *children += spans.iter().filter(|span| here.contains(&(&span.trace_id, &span.parent_span_id))).count();
        }
    }
    assert_eq!(children[0], children[1]);
    assert!(children[0] > 12_000, "most parents are in the same batch: {children:?}");
    let second_load = LoadTemplates::new(42, LoadMix::Traces, NonZeroUsize::new(1_000).unwrap(), STARTED + 1);
    assert!(
        spans(&second_load.request(0, BASE)).iter().all(|s| !ids.contains(&(s.trace_id.clone(), s.span_id.clone())))
    );
}

#[test]
fn a_mixed_load_has_its_shares_and_its_logs_belong_to_its_spans() {
    for batch in [100, 1_000] {
        let templates = templates(LoadMix::Mixed, batch);
        let (mut of_signal, mut span_ids, mut log_ids, mut parents) = (HashMap::new(), HashSet::new(), vec![], vec![]);
        for number in 0..templates.len() as u64 {
            let request = templates.request(number, BASE);
            *of_signal.entry(request.signal).or_insert(0) += request.items;
            match request.signal {
                Signal::Traces => {
                    for span in spans(&request) {
                        parents.push((span.trace_id.clone(), span.parent_span_id));
                        parents.extend(span.links.into_iter().map(|link| (link.trace_id, link.span_id)));
                        span_ids.insert((span.trace_id, span.span_id));
                    }
                }
                Signal::Logs => {
                    let logs = logs(&request);
                    assert_eq!(logs.len(), batch);
                    assert!(logs.iter().all(|log| (BASE - 20 * SECOND..=BASE).contains(&log.time_unix_nano)));
                    log_ids.extend(logs.into_iter().map(|log| (log.trace_id, log.span_id)));
                }
                Signal::Metrics => assert_eq!(points(&request).len(), batch),
            }
        }
        assert_eq!(of_signal[&Signal::Metrics], 3 * batch);
        assert_eq!(of_signal.values().sum::<usize>(), 20 * batch);
        assert!(of_signal[&Signal::Logs] >= 2 * batch, "{of_signal:?}");
        let known = |ids: &[(Vec<u8>, Vec<u8>)]| ids.iter().filter(|id| span_ids.contains(id)).count() * 10;
        parents.retain(|(_, parent)| !parent.is_empty());
        // The last logs of the pool may have their spans behind its end.
        assert!(known(&log_ids) >= log_ids.len() * 7, "{} of {}", known(&log_ids) / 10, log_ids.len());
        assert!(known(&parents) >= parents.len() * 9, "{} of {}", known(&parents) / 10, parents.len());
    }
}

#[test]
fn a_metric_load_keeps_its_series_while_time_advances_and_counters_grow() {
    let templates = templates(LoadMix::Metrics, 1_000);
    let mut last: HashMap<String, (u64, f64)> = HashMap::new();
    let mut growing = 0;
    for number in 0..3 * templates.len() as u64 {
        let base = BASE + number * 50_000_000;
        let points = points(&templates.request(number, base));
        assert_eq!(points.len(), 1_000);
        for (series, point) in points {
            let (time, start, value, grows) = match point {
                Point::Number(p, grows) => {
                    let value = match p.value.unwrap() {
                        Value::AsInt(value) => value as f64,
                        Value::AsDouble(value) => value,
                    };
                    (p.time_unix_nano, p.start_time_unix_nano, value, grows)
                }
                Point::Histogram(p, grows) => {
                    assert_eq!(p.bucket_counts.iter().sum::<u64>(), p.count);
                    assert!(p.exemplars.iter().all(|exemplar| exemplar.time_unix_nano <= p.time_unix_nano));
                    assert_eq!(p.start_time_unix_nano == STARTED, grows);
                    (p.time_unix_nano, p.start_time_unix_nano, p.sum.unwrap(), grows)
                }
            };
            assert!((base - 20_000_000..=base).contains(&time) && start < time);
            if let Some((earlier, before)) = last.insert(series, (time, value)) {
                assert!(time > earlier);
                assert!(!grows || value > before, "{value} after {before}");
                growing += usize::from(grows);
            }
        }
    }
    assert!(growing > 1_000, "{growing}");
    assert!((1_000..5_000).contains(&last.len()), "{} series", last.len());
}

/// `cargo test --release -p whence-simulator -- --ignored --nocapture` prints the cost; a debug build says nothing.
#[test]
#[ignore = "a measurement, not a test"]
fn cost_of_a_restamped_item() {
    for mix in [LoadMix::Traces, LoadMix::Logs, LoadMix::Metrics] {
        let started = std::time::Instant::now();
        let templates = templates(mix, 1_000);
        let made = started.elapsed();
        let started = std::time::Instant::now();
        let bytes: usize = (0..2_000).map(|number| templates.request(number, BASE + number).body.len()).sum();
        let nanos = started.elapsed().as_nanos() as f64 / 2_000_000.0;
        eprintln!("{mix:?}: made in {made:?}, {nanos:.1} ns and {} bytes an item", bytes / 2_000_000);
    }
}
