//! Scenarios seen from outside: what arrives fits what the ground truth says.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod decoded;

use decoded::{Sent, Telemetry, failed, strings};
use opentelemetry_proto::tonic::trace::v1::Span;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use whence_simulator::{
    ChangeKind, Decoy, FaultChoice, FaultKind, GroundTruth, Labels, Purpose, Request, Scenario, ScenarioOptions,
    Signal, write_recording,
};

const END: u64 = 1_790_000_000_000_000_000;
const SECOND: u64 = 1_000_000_000;

fn small(faults: FaultChoice) -> ScenarioOptions {
    ScenarioOptions { duration_seconds: 600, spans: 12_000, faults, ..Default::default() }
}

fn complete(faults: FaultChoice) -> ScenarioOptions {
    ScenarioOptions { decoys: false, missing_telemetry: false, ..small(faults) }
}

#[test]
fn the_same_arguments_give_the_same_bytes_and_others_do_not() {
    let bodies = |purpose, seed| -> Vec<Request> {
        Scenario::new(purpose, seed, END, small(FaultChoice::Random)).requests().collect()
    };
    let first = bodies(Purpose::Evaluation, 3);
    assert!(first == bodies(Purpose::Evaluation, 3));
    assert!(first != bodies(Purpose::Evaluation, 4));
    assert!(first != bodies(Purpose::Calibration, 3));
    let truth = |end| Scenario::new(Purpose::Demo, 5, end, small(FaultChoice::Random)).ground_truth().clone();
    assert_eq!(truth(END), truth(END));
    // The end only moves a scenario in time.
    assert_eq!(truth(END).faults.len(), truth(END + SECOND).faults.len());
}

/// All names that a scenario shows: services, operations, tables, topics, peers, nodes, flags.
fn names(purpose: Purpose, seed: u64) -> BTreeSet<String> {
    let options = ScenarioOptions { spans: 4_000, ..small(FaultChoice::Random) };
    let scenario = Scenario::new(purpose, seed, END, options);
    let mut names: BTreeSet<String> = scenario.ground_truth().services.iter().cloned().collect();
    for sent in Telemetry::of(scenario.requests()).spans {
        let attributes = strings(&sent.item.attributes);
        for key in ["server.address", "net.peer.name", "http.route", "db.collection.name", "db.sql.table", "rpc.method"]
        {
            names.extend(attributes.get(key).cloned());
        }
        let statement = attributes.contains_key("db.system.name") || attributes.contains_key("db.system");
        // "POST" to a partner says nothing of it.
        if !statement && sent.item.name.contains(' ') {
            names.insert(sent.item.name.clone());
        }
        names.insert(sent.resource["host.name"].clone());
        let events = sent.item.events.iter().map(|event| strings(&event.attributes));
        names.extend(events.filter_map(|attributes| attributes.get("feature_flag.key").cloned()));
    }
    names
}

#[test]
fn purposes_share_neither_names_nor_families() {
    let of = |purpose| -> BTreeSet<String> { (0..12).flat_map(|seed| names(purpose, seed)).collect() };
    let all: Vec<BTreeSet<String>> = Purpose::ALL.into_iter().map(of).collect();
    for (first, second) in [(0, 1), (0, 2), (1, 2)] {
        let shared: Vec<&String> = all[first].intersection(&all[second]).collect();
        assert!(shared.is_empty(), "{shared:?}");
        let families = Purpose::ALL[first].families();
        assert!(families.iter().all(|family| !Purpose::ALL[second].families().contains(family)));
    }
    assert!(all.iter().all(|names| names.len() > 100));
}

#[test]
fn topologies_are_of_the_promised_size_and_kinds() {
    let mut sizes = BTreeSet::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..60 {
        let purpose = Purpose::ALL[seed as usize % 3];
        let scenario = Scenario::new(purpose, seed, END, complete(FaultChoice::Quiet));
        let truth = scenario.ground_truth();
        sizes.insert(truth.services.len());
        assert!((8..=40).contains(&truth.services.len()), "{seed}");
        assert!(truth.calls.len() + 1 >= truth.services.len() / 2, "{seed}: {}", truth.calls.len());
        assert!(purpose.families().contains(&truth.family));
        if seed >= 12 {
            continue;
        }
        for sent in Telemetry::of(scenario.requests()).spans {
            let attributes = strings(&sent.item.attributes);
            let kinds = [
                ("old names", attributes.contains_key("http.method")),
                ("database", attributes.contains_key("db.system.name")),
                ("link", !sent.item.links.is_empty()),
                ("producer", sent.item.kind == 4),
                ("background", sent.item.kind == 1),
                ("grpc", attributes.contains_key("rpc.system")),
                ("partner", attributes.get("server.address").is_some_and(|to| to.ends_with(".example"))),
            ];
            for (name, _) in kinds.into_iter().filter(|(_, here)| *here) {
                *seen.entry(name).or_default() += 1;
            }
        }
    }
    assert!(sizes.len() > 20, "{sizes:?}");
    assert!(seen.len() == 7 && seen.values().all(|&count| count > 50), "{seen:?}");
}

type Ids<'a> = HashMap<(&'a [u8], &'a [u8]), &'a Sent<Span>>;

fn by_id(spans: &[Sent<Span>]) -> Ids<'_> {
    let ids: Ids = spans.iter().map(|sent| ((&sent.item.trace_id[..], &sent.item.span_id[..]), sent)).collect();
    assert_eq!(ids.len(), spans.len(), "span ids are unique");
    ids
}

#[test]
fn spans_form_trees_and_logs_belong_to_them() {
    for seed in 0..6 {
        let scenario = Scenario::new(Purpose::Evaluation, seed, END, complete(FaultChoice::Quiet));
        let telemetry = Telemetry::of(scenario.requests());
        let ids = by_id(&telemetry.spans);
        // What is not over at the end was not sent.
        let early = |span: &Span| span.end_time_unix_nano < END - 30 * SECOND;
        let (mut remote, mut outliving) = (0, 0);
        for Sent { item: span, .. } in telemetry.spans.iter().filter(|sent| early(&sent.item)) {
            assert!(span.start_time_unix_nano < span.end_time_unix_nano);
            for link in &span.links {
                assert!(ids.contains_key(&(&link.trace_id[..], &link.span_id[..])), "seed {seed}");
            }
            if span.parent_span_id.is_empty() {
                assert!(span.kind == 2 || span.kind == 5, "roots are requests and messages");
                continue;
            }
            let parent = ids.get(&(&span.trace_id[..], &span.parent_span_id[..])).expect("parent");
            let same = parent.service() == span_service(&ids, span);
            assert_eq!(span.kind == 2, !same, "a request comes from another service, all else from the own");
            remote += usize::from(span.kind == 2);
            outliving += usize::from(span.end_time_unix_nano > parent.item.end_time_unix_nano && span.kind == 1);
            let skew = parent.item.start_time_unix_nano.saturating_sub(span.start_time_unix_nano);
            assert!(skew <= SECOND / 10, "clocks differ by {skew} ns");
        }
        assert!(remote > 1_000, "{remote}");
        let _ = outliving;
        let known = |log: &&Sent<_>| {
            let log: &opentelemetry_proto::tonic::logs::v1::LogRecord = &log.item;
            ids.contains_key(&(&log.trace_id[..], &log.span_id[..]))
        };
        let in_spans = telemetry.logs.iter().filter(|log| !log.item.span_id.is_empty());
        let early_logs: Vec<_> = in_spans.filter(|log| log.item.time_unix_nano < END - 60 * SECOND).collect();
        let orphans = early_logs.iter().filter(|log| !known(log)).count();
        assert!(early_logs.len() > 500 && orphans == 0, "{orphans} of {}", early_logs.len());
    }
}

fn span_service<'a>(ids: &Ids<'a>, span: &Span) -> &'a str {
    ids[&(&span.trace_id[..], &span.span_id[..])].service()
}

#[test]
fn background_runs_outlive_their_parents() {
    let outliving = (0..8).flat_map(|seed| {
        let scenario = Scenario::new(Purpose::Calibration, seed, END, complete(FaultChoice::Quiet));
        let spans = Telemetry::of(scenario.requests()).spans;
        let ids = by_id(&spans);
        let ends: Vec<bool> = spans
            .iter()
            .filter(|sent| sent.item.kind == 1)
            .filter_map(|sent| {
                let parent = ids.get(&(&sent.item.trace_id[..], &sent.item.parent_span_id[..]))?;
                Some(sent.item.end_time_unix_nano > parent.item.end_time_unix_nano)
            })
            .collect();
        ends
    });
    let outliving: Vec<bool> = outliving.collect();
    assert!(outliving.iter().filter(|&&outlives| outlives).count() * 2 > outliving.len() && outliving.len() > 100);
}

#[test]
fn quiet_scenarios_are_quiet() {
    for seed in 0..8 {
        let scenario = Scenario::new(Purpose::Evaluation, seed, END, complete(FaultChoice::Quiet));
        assert!(scenario.ground_truth().faults.is_empty());
        let telemetry = Telemetry::of(scenario.requests());
        let share =
            telemetry.spans.iter().filter(|sent| failed(&sent.item)).count() as f64 / telemetry.spans.len() as f64;
        assert!(share < 0.02, "seed {seed}: {share}");
        let waiting = telemetry.points.iter().filter(|sent| sent.item.name == "db.client.connection.timeouts");
        assert!(waiting.map(|sent| sent.item.value).sum::<f64>() == 0.0, "seed {seed}");
        assert!(telemetry.logs.iter().all(|log| log.item.event_name.is_empty()), "seed {seed}");
    }
}

#[test]
fn missing_telemetry_is_missing_and_nothing_else() {
    let mut gaps: HashMap<String, usize> = HashMap::new();
    for seed in 0..20 {
        let options = ScenarioOptions { decoys: false, ..small(FaultChoice::Quiet) };
        let scenario = Scenario::new(Purpose::Evaluation, seed, END, options);
        let truth = scenario.ground_truth();
        let telemetry = Telemetry::of(scenario.requests());
        let whole = |signal: &str| -> HashSet<&str> {
            let gaps = truth.missing.iter().filter(|gap| gap.signal == signal && gap.share == 1.0);
            gaps.map(|gap| gap.asset.as_str()).collect()
        };
        assert!(telemetry.spans.iter().all(|sent| !whole("spans").contains(sent.service())), "seed {seed}");
        assert!(telemetry.logs.iter().all(|sent| !whole("logs").contains(sent.service())), "seed {seed}");
        assert!(telemetry.points.iter().all(|sent| !whole("metrics").contains(sent.service())), "seed {seed}");
        let lost = truth.missing.iter().any(|gap| gap.share < 1.0);
        let ids = by_id(&telemetry.spans);
        let dangling =
            telemetry.spans.iter().filter(|sent| sent.item.end_time_unix_nano < END - 30 * SECOND).any(|sent| {
                let (trace, parent) = (&sent.item.trace_id[..], &sent.item.parent_span_id[..]);
                !parent.is_empty() && !ids.contains_key(&(trace, parent))
            });
        assert!(lost || !dangling, "seed {seed}");
        for gap in &truth.missing {
            *gaps.entry(format!("{} {}", gap.signal, gap.share == 1.0)).or_default() += 1;
        }
    }
    assert_eq!(gaps.len(), 4, "{gaps:?}");
}

#[test]
fn concurrent_faults_overlap_and_are_in_different_parts() {
    let kinds = [FaultKind::Errors, FaultKind::Cpu, FaultKind::SlowDependency];
    let mut of_three = 0;
    for seed in 0..40 {
        let scenario = Scenario::new(Purpose::Evaluation, seed, END, small(FaultChoice::Kinds(kinds.to_vec())));
        let faults = &scenario.ground_truth().faults;
        of_three += usize::from(faults.len() == 3);
        for pair in faults.windows(2) {
            assert!(pair[0].onset_unix_nanos <= pair[1].onset_unix_nanos, "seed {seed}");
        }
        for (one, other) in faults.iter().flat_map(|one| faults.iter().map(move |other| (one, other))) {
            if one.root.asset != other.root.asset {
                assert!(!one.affected.contains(&other.root.asset), "seed {seed}: {one:?} {other:?}");
            }
        }
    }
    assert!(of_three > 15, "{of_three} of 40");
}

#[test]
fn a_fault_that_comes_again_is_the_same_one_at_times_that_lie_apart() {
    for kind in [FaultKind::Errors, FaultKind::Cpu, FaultKind::SlowDependency] {
        let faults = FaultChoice::Recurring(kind, 10);
        let options = ScenarioOptions { duration_seconds: 5_400, faults, ..ScenarioOptions::default() };
        let scenario = Scenario::new(Purpose::Calibration, 3, END, options);
        let faults = &scenario.ground_truth().faults;
        assert_eq!(faults.len(), 10, "{kind:?}");
        for (one, next) in faults.iter().zip(&faults[1..]) {
            assert_eq!((one.kind, &one.root, one.magnitude), (kind, &next.root, next.magnitude));
            assert!(one.end_unix_nanos < next.onset_unix_nanos, "{one:?} {next:?}");
        }
        assert!(faults[0].onset_unix_nanos - scenario.ground_truth().start_unix_nanos >= 490 * SECOND, "{kind:?}");
    }
    let faults = FaultChoice::Recurring(FaultKind::BadDeployment, 10);
    let options = ScenarioOptions { faults, ..ScenarioOptions::default() };
    assert_eq!(Scenario::new(Purpose::Calibration, 3, END, options).ground_truth().faults.len(), 1);
}

#[test]
fn the_seed_decides_how_many_faults_there_are_and_all_kinds_occur() {
    let (mut counts, mut kinds, mut decoys) = ([0; 4], BTreeSet::new(), BTreeSet::new());
    for seed in 0..150 {
        let scenario = Scenario::new(Purpose::Calibration, seed, END, ScenarioOptions::default());
        let truth = scenario.ground_truth();
        counts[truth.faults.len()] += 1;
        for fault in &truth.faults {
            kinds.insert(fault.kind);
            let seconds = (fault.end_unix_nanos - fault.onset_unix_nanos) / SECOND;
            assert!((120..=600).contains(&seconds), "seed {seed}: {seconds}");
            assert!(fault.end_unix_nanos < END && fault.onset_unix_nanos > truth.start_unix_nanos + 500 * SECOND);
            assert!(!fault.affected.contains(&fault.root.asset), "seed {seed}");
        }
        for decoy in &truth.decoys {
            decoys.insert(match decoy {
                Decoy::Change(change) => {
                    let roots = truth.faults.iter().map(|fault| &fault.root.asset);
                    assert!(roots.into_iter().all(|root| *root != change.asset), "seed {seed}");
                    Some(change.kind)
                }
                _ => None,
            });
        }
    }
    assert!(counts.iter().all(|&count| count > 3), "{counts:?}");
    assert_eq!(kinds.len(), 10, "{kinds:?}");
    assert_eq!(decoys.len(), 4, "{decoys:?}");
}

#[test]
fn changes_are_reported_by_the_changed_service_and_versions_follow() {
    let mut seen = BTreeSet::new();
    for seed in 0..12 {
        let kinds = vec![FaultKind::BadDeployment, FaultKind::Flag];
        let options = ScenarioOptions { missing_telemetry: false, ..small(FaultChoice::Kinds(kinds)) };
        let scenario = Scenario::new(Purpose::Evaluation, seed, END, options);
        let truth = scenario.ground_truth();
        let telemetry = Telemetry::of(scenario.requests());
        let harmless = truth.decoys.iter().filter_map(|decoy| match decoy {
            Decoy::Change(change) => Some(change),
            _ => None,
        });
        for change in truth.faults.iter().filter_map(|fault| fault.change.as_ref()).chain(harmless) {
            let own: Vec<_> = telemetry
                .logs
                .iter()
                .filter(|log| log.service() == change.asset && !log.item.event_name.is_empty())
                .collect();
            assert_eq!(own.len(), 1 + usize::from(change.reverted_unix_nanos.is_some()), "seed {seed}: {change:?}");
            assert!(own[0].item.time_unix_nano.abs_diff(change.at_unix_nanos) <= SECOND / 20, "seed {seed}");
            assert_eq!(own[0].resource["service.version"], change.version_after, "seed {seed}");
            assert_eq!(change.version_before != change.version_after, change.kind == ChangeKind::Deployment);
            seen.insert(change.kind);
        }
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[test]
fn about_as_many_spans_come_as_were_asked_for_and_requests_are_in_order() {
    for purpose in Purpose::ALL {
        let scenario = Scenario::new(purpose, 1, END, complete(FaultChoice::Quiet));
        let (mut totals, mut last) = ([0; 3], 0);
        for request in scenario.requests() {
            totals[request.signal as usize] += request.items;
            if request.signal == Signal::Traces {
                let ends = decoded::spans_of(&request).into_iter().map(|sent| sent.item.end_time_unix_nano);
                let latest = ends.max().unwrap();
                assert!(latest + SECOND / 10 > last, "{purpose:?}");
                last = latest;
            }
        }
        assert!((8_000..17_000).contains(&totals[0]), "{purpose:?}: {totals:?}");
        assert!(totals[1] > 1_000 && totals[2] > 3_000, "{purpose:?}: {totals:?}");
    }
}

#[test]
fn a_recording_reads_back_as_the_requests_and_the_truth() {
    let scenario = Scenario::new(Purpose::Demo, 2, END, small(FaultChoice::Kinds(vec![FaultKind::Errors])));
    let mut lines = Vec::new();
    let labels = write_recording(&scenario, &mut lines).unwrap();
    let lines = String::from_utf8(lines).unwrap();
    assert_eq!(lines.lines().count(), scenario.requests().count());
    for (line, request) in lines.lines().zip(scenario.requests()) {
        use opentelemetry_proto::tonic::collector::{logs::v1 as logs, metrics::v1 as metrics, trace::v1 as trace};
        use prost::Message;
        let again = match request.signal {
            Signal::Traces => serde_json::from_str::<trace::ExportTraceServiceRequest>(line).unwrap().encode_to_vec(),
            Signal::Logs => serde_json::from_str::<logs::ExportLogsServiceRequest>(line).unwrap().encode_to_vec(),
            Signal::Metrics => {
                serde_json::from_str::<metrics::ExportMetricsServiceRequest>(line).unwrap().encode_to_vec()
            }
        };
        // Reading decimal numbers may be off by the last bit, which changes no length.
        let equal = again == request.body || request.signal == Signal::Metrics && again.len() == request.body.len();
        assert!(equal, "{line:.300}");
    }
    let read: Labels = serde_json::from_str(&serde_json::to_string(&labels).unwrap()).unwrap();
    assert_eq!(read, labels);
    let truth: GroundTruth = scenario.ground_truth().clone();
    assert_eq!(read.faults[0].injected.as_ref(), Some(&truth.faults[0]));
    assert_eq!(read.faults[0].root_cause_service, truth.faults[0].root.asset);
}

#[test]
fn labels_of_recordings_of_real_systems_are_read() {
    let text = r#"{"system": "trainticket", "date": "2023-01-29", "spans": 325859, "logs": 175211,
        "metric_points": 762964, "fault_seconds": 180, "faults": [{"time": "2023-01-29T08:43:04+00:00",
        "time_unix_nano": 1674981784000000000, "root_cause_pod": "ts-contacts-service-866bd68c97-xcqfx",
        "root_cause_service": "ts-contacts-service", "fault_type": "return"}]}"#;
    let labels: Labels = serde_json::from_str(text).unwrap();
    assert_eq!(labels.faults[0].root_cause_service, "ts-contacts-service");
    assert!(labels.faults[0].injected.is_none() && labels.decoys.is_empty());
}

#[test]
#[ignore = "a measurement, not a test"]
fn cost_of_a_scenario() {
    let started = std::time::Instant::now();
    let mut items = [0; 3];
    for seed in 0..5 {
        for request in Scenario::new(Purpose::Evaluation, seed, END, ScenarioOptions::default()).requests() {
            items[request.signal as usize] += request.items;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{items:?} spans, log records, data points in {seconds:.1} s on one processor");
}
