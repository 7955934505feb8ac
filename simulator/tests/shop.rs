//! Scenarios keep what their ground truth promises, seen from outside: in the encoded requests alone.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod decoded;

use decoded::{Sent, failed, logs_of, spans_of, strings};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::collections::{BTreeSet, HashMap, HashSet};
use whence_simulator::{Request, ShopChange, ShopFault, ShopOptions, ShopScenario, ShopTopology, ShopTruth, Signal};

const END: u64 = 1_790_000_000_000_000_000;
const SEEDS: std::ops::Range<u64> = 0..50;

fn small(seed: u64) -> ShopScenario {
    ShopScenario::new(seed, END, ShopOptions { spans: 15_000, ..Default::default() })
}

fn all_spans(scenario: &ShopScenario) -> Vec<Sent<Span>> {
    scenario.requests().filter(|request| request.signal == Signal::Traces).flat_map(|r| spans_of(&r)).collect()
}

fn all_logs(scenario: &ShopScenario) -> Vec<Sent<LogRecord>> {
    scenario.requests().filter(|request| request.signal == Signal::Logs).flat_map(|r| logs_of(&r)).collect()
}

/// Number of calls from the front end, from the call graph as published.
fn depth(topology: &ShopTopology, service: &str) -> usize {
    let mut reached = BTreeSet::from(["frontend"]);
    let mut depth = 0;
    while !reached.contains(service) {
        let next: Vec<&str> =
            topology.calls().iter().filter(|(caller, _)| reached.contains(caller)).map(|(_, callee)| *callee).collect();
        reached.extend(next);
        depth += 1;
        assert!(depth < 20, "{service} is not reachable");
    }
    depth
}

#[test]
fn same_seed_and_time_give_the_same_bytes_and_others_do_not() {
    let bodies = |seed, end| -> Vec<Request> {
        ShopScenario::new(seed, end, ShopOptions { spans: 3_000, ..Default::default() }).requests().collect()
    };
    assert_eq!(bodies(7, END), bodies(7, END));
    assert_ne!(bodies(7, END), bodies(8, END));
    assert_ne!(bodies(7, END), bodies(7, END + 1));
    let truth = |end| serde_json::to_string(small_truth(7, end).as_ref()).unwrap();
    assert_eq!(truth(END), truth(END));
}

fn small_truth(seed: u64, end: u64) -> Box<ShopTruth> {
    Box::new(ShopScenario::demo(seed, end).ground_truth().clone())
}

#[test]
fn ground_truth_keeps_its_guarantees_for_fifty_seeds() {
    let (mut kinds, mut changes, mut culprits) = (HashSet::new(), HashSet::new(), HashSet::new());
    for seed in SEEDS {
        let scenario = ShopScenario::demo(seed, END);
        let (truth, topology) = (scenario.ground_truth(), scenario.topology());
        let names = topology.service_names();
        assert!((15..=16).contains(&names.len()) && names[0] == "frontend", "{seed}: {names:?}");
        assert!(names.contains(&"checkout") && names.contains(&"payment"), "{seed}");
        assert!(depth(topology, &truth.culprit_service) >= 2, "{seed}: {truth:?}");
        assert!(truth.reach >= 0.15, "{seed}: {truth:?}");
        assert_eq!(truth.path.first().unwrap(), "frontend", "{seed}");
        assert_eq!(truth.path.last(), Some(&truth.culprit_service), "{seed}");
        for edge in truth.path.windows(2) {
            assert!(topology.calls().contains(&(edge[0].as_str(), edge[1].as_str())), "{seed}: {edge:?}");
        }
        let middle = (scenario.start_unix_nanos() + END) / 2;
        assert!(middle < truth.start_unix_nanos && truth.start_unix_nanos < truth.end_unix_nanos, "{seed}");
        let lead = truth.start_unix_nanos - truth.change_unix_nanos;
        assert!((1..10_000_000_000).contains(&lead), "{seed}: {lead}");
        assert_eq!(truth.version_before != truth.version_after, truth.change == ShopChange::Deployment, "{seed}");
        assert_eq!(truth.database.is_some(), truth.kind == ShopFault::SlowThenFailingDatabase, "{seed}");
        assert!((1..=2).contains(&truth.decoys.len()), "{seed}");
        for decoy in &truth.decoys {
            assert!(decoy.service != truth.culprit_service && decoy.service != "frontend", "{seed}: {decoy:?}");
            assert_ne!(decoy.version_before, decoy.version_after, "{seed}");
        }
        kinds.insert(truth.kind);
        changes.insert(truth.change);
        culprits.insert(truth.culprit_service.clone());
    }
    assert_eq!((kinds.len(), changes.len()), (4, 3));
    assert!(culprits.len() >= 4, "{culprits:?}");
}

#[test]
fn a_wanted_kind_of_fault_is_the_one_that_happens() {
    for kind in [ShopFault::SlowThenFailingDatabase, ShopFault::CpuContention] {
        let options = ShopOptions { fault: Some(kind), ..Default::default() };
        assert_eq!(ShopScenario::new(3, END, options).ground_truth().kind, kind);
    }
}

#[test]
fn front_end_fails_during_the_fault_and_hardly_before_for_fifty_seeds() {
    for seed in SEEDS {
        let scenario = small(seed);
        let truth = scenario.ground_truth();
        let spans = all_spans(&scenario);
        // A database or CPU that fails is at the root of all operations, anything else of one.
        let of_one = matches!(truth.kind, ShopFault::Exception | ShopFault::BadConfiguration);
        let touching: HashSet<&[u8]> = spans
            .iter()
            .filter(|sent| sent.service() == truth.culprit_service)
            .filter(|sent| !of_one || sent.item.name == truth.culprit_operation)
            .filter(|sent| sent.item.kind == 2 && sent.item.start_time_unix_nano >= truth.start_unix_nanos)
            .map(|sent| sent.item.trace_id.as_slice())
            .collect();
        let share = |during: bool, touching_only: bool| {
            let mut counts = [0.0_f64; 2];
            for Sent { item: span, .. } in spans.iter().filter(|sent| sent.service() == "frontend") {
                let in_period = (span.start_time_unix_nano >= truth.start_unix_nanos) == during;
                let counted = !touching_only || touching.contains(span.trace_id.as_slice());
                if span.kind == 2 && in_period && counted {
                    counts[usize::from(failed(span))] += 1.0;
                }
            }
            counts[1] / (counts[0] + counts[1])
        };
        let (before, during, touched) = (share(false, false), share(true, false), share(true, true));
        assert!(before < 0.015, "seed {seed}: {before} before {truth:?}");
        assert!(during >= 0.10, "seed {seed}: {during} during {truth:?}");
        eprintln!("seed {seed}: {before:.4} {during:.3} {touched:.3} {:?} {}", truth.kind, truth.culprit_service);
        assert!(touched > 0.5, "seed {seed}: {touched} of those that touch it {truth:?}");
    }
}

#[test]
fn every_parent_and_link_exists_and_calls_are_nested() {
    let scenario = small(11);
    let sent = all_spans(&scenario);
    let by_id: HashMap<(&[u8], &[u8]), &Sent<Span>> =
        sent.iter().map(|span| ((span.item.trace_id.as_slice(), span.item.span_id.as_slice()), span)).collect();
    assert_eq!(by_id.len(), sent.len(), "span ids are unique");
    let (mut links, mut crossing) = (0, 0);
    for Sent { item: span, .. } in &sent {
        assert!(span.start_time_unix_nano < span.end_time_unix_nano);
        for link in &span.links {
            assert!(by_id.contains_key(&(link.trace_id.as_slice(), link.span_id.as_slice())));
            links += 1;
        }
        if span.parent_span_id.is_empty() {
            assert!(span.name.starts_with("process ") || span.kind == 2);
            continue;
        }
        let parent = by_id[&(span.trace_id.as_slice(), span.parent_span_id.as_slice())];
        assert!(parent.item.start_time_unix_nano <= span.start_time_unix_nano);
        if span.kind == 2 {
            assert_eq!(parent.item.kind, 3, "a callee's parent is the call");
            crossing += 1;
            let timed_out = failed(&parent.item);
            assert!(timed_out || span.end_time_unix_nano <= parent.item.end_time_unix_nano);
        }
    }
    assert!(links > 50 && crossing > 1_000, "{links} {crossing}");
    let in_span = all_logs(&scenario).into_iter().filter(|log| !log.item.span_id.is_empty());
    assert!(
        in_span.map(|log| assert!(by_id.contains_key(&(&log.item.trace_id[..], &log.item.span_id[..])))).count()
            > 1_000
    );
}

#[test]
fn the_change_is_reported_by_the_culprit_and_its_version_follows() {
    for seed in 0..10 {
        let scenario = small(seed);
        let truth = scenario.ground_truth();
        let logs = all_logs(&scenario);
        let events: Vec<&Sent<LogRecord>> = logs.iter().filter(|log| !log.item.event_name.is_empty()).collect();
        assert_eq!(events.len(), 1 + truth.decoys.len());
        let own = events.iter().find(|log| log.service() == truth.culprit_service).unwrap();
        assert_eq!(own.item.time_unix_nano, truth.change_unix_nanos);
        assert_eq!(own.resource["service.version"], truth.version_after);
        let attributes = strings(&own.item.attributes);
        let name = if truth.change == ShopChange::FeatureFlag { "feature_flag.key" } else { "deployment.name" };
        assert_eq!(attributes[name], truth.change_name);
        for sent in all_spans(&scenario).iter().filter(|sent| sent.service() == truth.culprit_service) {
            let after = sent.item.start_time_unix_nano >= truth.change_unix_nanos;
            if sent.item.kind == 2 {
                let version = if after { &truth.version_after } else { &truth.version_before };
                assert_eq!(&sent.resource["service.version"], version);
            }
        }
    }
}

#[test]
fn cpu_contention_makes_callers_time_out_while_the_culprit_succeeds() {
    let options = ShopOptions { spans: 15_000, fault: Some(ShopFault::CpuContention), ..Default::default() };
    let scenario = ShopScenario::new(5, END, options);
    let truth = scenario.ground_truth();
    let spans = all_spans(&scenario);
    let timeouts = spans.iter().filter(|sent| {
        let attributes = strings(&sent.item.attributes);
        sent.item.kind == 3
            && failed(&sent.item)
            && attributes.get("error.type").is_some_and(|class| class == "timeout")
            && attributes.get("server.address") == Some(&truth.culprit_service)
    });
    assert!(timeouts.count() > 30);
    let slow: Vec<_> = spans
        .iter()
        .filter(|sent| sent.service() == truth.culprit_service && sent.item.kind == 2)
        .filter(|sent| sent.item.start_time_unix_nano >= truth.start_unix_nanos)
        .collect();
    let share = slow.iter().filter(|sent| failed(&sent.item)).count() as f64 / slow.len() as f64;
    assert!(share < 0.05, "{share}");
}

#[test]
fn the_database_at_fault_fails_in_spans_of_the_culprit_with_an_exception() {
    let options = ShopOptions { spans: 15_000, fault: Some(ShopFault::SlowThenFailingDatabase), ..Default::default() };
    let scenario = ShopScenario::new(6, END, options);
    let truth = scenario.ground_truth();
    let failing = all_spans(&scenario).into_iter().filter(|sent| {
        let attributes = strings(&sent.item.attributes);
        failed(&sent.item) && sent.item.kind == 3 && attributes.get("server.address") == truth.database.as_ref()
    });
    let mut count = 0;
    for sent in failing {
        assert_eq!(sent.service(), truth.culprit_service);
        assert_eq!(sent.item.events[0].name, "exception");
        assert_eq!(Some(&strings(&sent.item.events[0].attributes)["exception.type"]), truth.exception_type.as_ref());
        count += 1;
    }
    assert!(count > 30, "{count}");
}

#[test]
fn a_demo_has_about_seventy_thousand_spans_in_order_of_event_time() {
    let scenario = ShopScenario::demo(1, END);
    let (mut totals, mut requests, mut slice) = ([0_usize; 3], 0, 0);
    for request in scenario.requests() {
        requests += 1;
        totals[request.signal as usize] += request.items;
        let latest = match request.signal {
            Signal::Traces => {
                let spans = spans_of(&request);
                assert_eq!(spans.len(), request.items);
                assert_eq!(spans.iter().map(Sent::service).collect::<HashSet<_>>().len(), 1, "one service");
                spans.iter().map(|sent| sent.item.end_time_unix_nano).max()
            }
            Signal::Logs => logs_of(&request).iter().map(|sent| sent.item.time_unix_nano).max(),
            Signal::Metrics => Some(assert_points(&request)),
        };
        // A point is taken at the end of its slice.
        let of_request = (latest.unwrap().min(END) - scenario.start_unix_nanos() - 1) / 10_000_000_000;
        assert!(of_request >= slice, "{of_request} after {slice}");
        slice = of_request;
    }
    eprintln!("{requests} requests, {totals:?} spans, log records, data points");
    assert_eq!(slice, 59);
    assert!((60_000..80_000).contains(&totals[0]), "{totals:?}");
    assert!(totals[1] > totals[0] / 10 && totals[2] > 5_000 && requests < 3_000, "{totals:?} {requests}");
}

/// Checks the data points of a request, and returns their time.
fn assert_points(request: &Request) -> u64 {
    let decoded = ExportMetricsServiceRequest::decode(request.body.clone()).unwrap();
    let (mut points, mut time) = (0, 0);
    let metrics =
        decoded.resource_metrics.iter().flat_map(|group| &group.scope_metrics).flat_map(|scope| &scope.metrics);
    for metric in metrics {
        match metric.data.as_ref().unwrap() {
            Data::Gauge(gauge) => points += gauge.data_points.len(),
            Data::Sum(sum) => points += sum.data_points.len(),
            Data::Histogram(histogram) => {
                for point in &histogram.data_points {
                    assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
                    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                    assert!(point.start_time_unix_nano < point.time_unix_nano);
                    time = point.time_unix_nano;
                }
                points += histogram.data_points.len();
            }
            other => panic!("{other:?}"),
        }
        if let Some(Data::Gauge(gauge)) = &metric.data {
            time = gauge.data_points[0].time_unix_nano;
        }
    }
    assert_eq!(points, request.items);
    time
}
