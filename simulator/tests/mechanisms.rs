//! Every kind of fault shows where its mechanism works, and did not show before: seen in the telemetry alone.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod decoded;

use decoded::{Sent, Telemetry, failed, median, strings};
use opentelemetry_proto::tonic::trace::v1::Span;
use std::collections::HashMap;
use whence_simulator::{AssetKind, FaultChoice, FaultKind, InjectedFault, Purpose, Scenario, ScenarioOptions};

const END: u64 = 1_790_000_000_000_000_000;
const MILLISECOND: f64 = 1e6;
/// Servers and clients.
const SERVER: i32 = 2;
const CLIENT: i32 = 3;

/// A scenario with one fault, and what came of it.
struct Case {
    seed: u64,
    fault: InjectedFault,
    telemetry: Telemetry,
}

/// Which part of a scenario.
#[derive(Clone, Copy, PartialEq)]
enum When {
    Before,
    /// At full strength.
    During,
}

/// Runs some seeds with a fault of a kind.
fn cases(kind: FaultKind) -> impl Iterator<Item = Case> {
    (0..5).filter_map(move |seed| {
        let purpose = Purpose::ALL[seed as usize % 2];
        let options = ScenarioOptions {
            duration_seconds: 900,
            spans: 40_000,
            faults: FaultChoice::Kinds(vec![kind]),
            decoys: false,
            missing_telemetry: false,
            ..Default::default()
        };
        let scenario = Scenario::new(purpose, seed, END, options);
        let fault = scenario.ground_truth().faults.first()?.clone();
        assert_eq!(fault.kind, kind);
        Some(Case { seed, fault, telemetry: Telemetry::of(scenario.requests()) })
    })
}

/// Checks all cases; most seeds have a place for every kind.
fn each(kind: FaultKind, check: impl Fn(&Case)) {
    let count = cases(kind).map(|case| check(&case)).count();
    assert!(count >= 4, "only {count} scenarios have a place for {kind:?}");
}

impl Case {
    fn is(&self, when: When, at: u64) -> bool {
        let fault = &self.fault;
        match when {
            When::Before => at < fault.onset_unix_nanos,
            When::During => (fault.onset_unix_nanos + fault.ramp_nanos..fault.end_unix_nanos).contains(&at),
        }
    }

    fn spans(&self, when: When) -> impl Iterator<Item = &Sent<Span>> {
        self.telemetry.spans.iter().filter(move |sent| self.is(when, sent.item.start_time_unix_nano))
    }

    /// Server and consumer spans of what is at fault.
    fn at_root(&self, when: When) -> impl Iterator<Item = &Sent<Span>> {
        self.spans(when).filter(move |sent| {
            let root = &self.fault.root;
            let pod = &sent.resource["k8s.pod.name"];
            sent.service() == root.asset
                && matches!(sent.item.kind, SERVER | 5)
                && root.operation.as_ref().is_none_or(|operation| *operation == sent.item.name)
                && (root.instances.is_empty() || when == When::Before || root.instances.contains(pod))
        })
    }

    /// Highest value of a metric of the root, or of its instances.
    fn highest(&self, when: When, name: &str) -> f64 {
        let of_root = |sent: &&Sent<decoded::Point>| {
            sent.service() == self.fault.root.asset
                && (self.fault.root.instances.is_empty()
                    || self.fault.root.instances.contains(&sent.resource["k8s.pod.name"]))
        };
        let points = self.telemetry.points.iter().filter(|sent| sent.item.name == name).filter(of_root);
        let values = points.filter(|sent| self.is(when, sent.item.time)).map(|sent| sent.item.value);
        values.fold(0.0, f64::max)
    }
}

fn millis(span: &Span) -> f64 {
    (span.end_time_unix_nano - span.start_time_unix_nano) as f64 / MILLISECOND
}

fn durations<'a>(spans: impl Iterator<Item = &'a Sent<Span>>) -> f64 {
    median(spans.map(|sent| millis(&sent.item)).collect())
}

fn share_failed<'a>(spans: impl Iterator<Item = &'a Sent<Span>>) -> f64 {
    let (mut all, mut bad) = (0.0, 0.0);
    for sent in spans {
        all += 1.0;
        bad += f64::from(u8::from(failed(&sent.item)));
    }
    if all == 0.0 { 0.0 } else { bad / all }
}

/// Duration of each span less that of its children.
fn self_millis(telemetry: &Telemetry) -> HashMap<&[u8], f64> {
    let mut own: HashMap<&[u8], f64> =
        telemetry.spans.iter().map(|sent| (&sent.item.span_id[..], millis(&sent.item))).collect();
    for Sent { item: span, .. } in telemetry.spans.iter().filter(|sent| matches!(sent.item.kind, CLIENT | 4)) {
        if let Some(parent) = own.get_mut(&span.parent_span_id[..]) {
            *parent -= millis(span);
        }
    }
    own
}

#[test]
fn latency_is_in_the_runs_or_on_the_way_to_them() {
    each(FaultKind::Latency, |case| {
        let rise = durations(case.at_root(When::During)) - durations(case.at_root(When::Before));
        let servers: HashMap<&[u8], f64> =
            case.telemetry.spans.iter().map(|sent| (&sent.item.parent_span_id[..], millis(&sent.item))).collect();
        let gap = |when| {
            let mut gaps = Vec::new();
            for sent in case.spans(when).filter(|sent| sent.item.kind == CLIENT && !failed(&sent.item)) {
                let attributes = strings(&sent.item.attributes);
                let to = attributes.get("server.address").or(attributes.get("net.peer.name"));
                if to == Some(&case.fault.root.asset)
                    && case.fault.root.operation.as_ref().is_none_or(|operation| *operation == sent.item.name)
                {
                    gaps.extend(servers.get(&sent.item.span_id[..]).map(|server| millis(&sent.item) - server));
                }
            }
            median(gaps)
        };
        let on_the_way = gap(When::During) - gap(When::Before);
        // Calls that were given up are not among the gaps.
        let given_up = share_failed(case.spans(When::During).filter(|sent| sent.item.kind == CLIENT));
        let found = rise.max(on_the_way);
        assert!(
            found > 0.3 * case.fault.magnitude || given_up > 0.05,
            "seed {}: {rise} {on_the_way} {given_up} of {:?}",
            case.seed,
            case.fault
        );
    });
}

#[test]
fn errors_are_exceptions_of_the_root() {
    each(FaultKind::Errors, |case| {
        let (before, during) = (share_failed(case.at_root(When::Before)), share_failed(case.at_root(When::During)));
        assert!(
            before < 0.03 && during > 0.5 * case.fault.magnitude,
            "seed {}: {before} {during} {:?}",
            case.seed,
            case.fault
        );
        let thrown = case.at_root(When::During).filter(|sent| failed(&sent.item));
        let own = thrown.filter(|sent| sent.item.events.iter().any(|event| event.name == "exception")).count();
        assert!(own > 0, "seed {}", case.seed);
        let logged = case.telemetry.logs.iter().filter(|log| log.service() == case.fault.root.asset);
        let exceptions = logged.filter(|log| strings(&log.item.attributes).contains_key("exception.stacktrace"));
        assert!(exceptions.count() >= own, "seed {}", case.seed);
    });
}

#[test]
fn cpu_contention_slows_the_own_work_and_shows_in_the_metric() {
    each(FaultKind::Cpu, |case| {
        let own = self_millis(&case.telemetry);
        let self_time = |when| median(case.at_root(when).map(|sent| own[&sent.item.span_id[..]]).collect());
        let (before, during): (f64, f64) = (self_time(When::Before), self_time(When::During));
        assert!(during > 1.5 * before, "seed {}: {before} {during} {:?}", case.seed, case.fault);
        let metric = |when| case.highest(when, "process.cpu.utilization");
        assert!(metric(When::During) > 0.95, "seed {}: {}", case.seed, metric(When::During));
        assert!(metric(When::Before) < 0.8, "seed {}: {}", case.seed, metric(When::Before));
    });
}

#[test]
fn leaking_memory_fills_up_and_the_instance_is_restarted() {
    each(FaultKind::MemoryLeak, |case| {
        let full = |when| case.highest(when, "k8s.pod.memory_limit_utilization");
        assert!(full(When::Before) < 0.6 && full(When::During) > 0.7, "seed {}", case.seed);
        let killed = case.telemetry.logs.iter().filter(|log| log.service() == case.fault.root.asset);
        let reasons = killed.filter(|log| strings(&log.item.attributes).contains_key("k8s.event.reason"));
        assert!(reasons.count() >= 1, "seed {}: {:?}", case.seed, case.fault);
        let restarts = case.telemetry.points.iter().filter(|sent| sent.item.name == "k8s.container.restart.count");
        let most = restarts.filter(|sent| sent.service() == case.fault.root.asset).map(|sent| sent.item.value);
        assert!(most.fold(0.0, f64::max) >= 1.0, "seed {}", case.seed);
    });
}

#[test]
fn an_exhausted_pool_is_at_its_limit_and_runs_wait_for_it() {
    each(FaultKind::PoolExhaustion, |case| {
        let waits = |when| case.highest(when, "db.client.connection.pending_requests");
        let in_vain = |when| case.highest(when, "db.client.connection.timeouts");
        assert!(waits(When::Before) + in_vain(When::Before) == 0.0, "seed {}", case.seed);
        assert!(waits(When::During) + in_vain(When::During) >= 1.0, "seed {}: {:?}", case.seed, case.fault);
        let (before, during) = (durations(case.at_root(When::Before)), durations(case.at_root(When::During)));
        let failing = share_failed(case.at_root(When::During));
        assert!(during > 1.2 * before || failing > 0.05, "seed {}: {before} {during} {failing}", case.seed);
    });
}

#[test]
fn a_slow_dependency_shows_in_the_spans_of_its_clients_alone() {
    each(FaultKind::SlowDependency, |case| {
        assert_ne!(case.fault.root.kind, AssetKind::Service);
        let to_root = |sent: &&Sent<Span>| {
            let attributes = strings(&sent.item.attributes);
            attributes.get("server.address").or(attributes.get("net.peer.name")) == Some(&case.fault.root.asset)
        };
        let duration = |when| durations(case.spans(when).filter(to_root));
        let rise = duration(When::During) - duration(When::Before);
        assert!(rise > 0.4 * case.fault.magnitude.min(2_000.0), "seed {}: {rise} {:?}", case.seed, case.fault);
        let clients = &case.fault.root.clients;
        assert!(case.telemetry.spans.iter().filter(to_root).all(|sent| clients.iter().any(|c| c == sent.service())));
        assert!(case.telemetry.spans.iter().all(|sent| sent.service() != case.fault.root.asset));
    });
}

/// Whether the spans that a change touched are worse than others, by the unit of the fault.
fn assert_harm<'a>(
    case: &Case,
    good: impl Fn() -> Box<dyn Iterator<Item = &'a Sent<Span>> + 'a>,
    bad: impl Fn() -> Box<dyn Iterator<Item = &'a Sent<Span>> + 'a>,
) {
    let magnitude = case.fault.magnitude;
    let count = bad().count();
    assert!(count >= 10, "seed {}: {count} {:?}", case.seed, case.fault);
    if case.fault.unit == "ms" {
        let rise = durations(bad()) - durations(good());
        assert!(rise > 0.5 * magnitude, "seed {}: {rise} {:?}", case.seed, case.fault);
    } else {
        let (good, bad) = (share_failed(good()), share_failed(bad()));
        assert!(good < 0.03 && bad > 0.5 * magnitude, "seed {}: {good} {bad} {:?}", case.seed, case.fault);
    }
}

#[test]
fn a_bad_deployment_is_bad_where_the_new_version_runs() {
    each(FaultKind::BadDeployment, |case| {
        let version = &case.fault.change.as_ref().unwrap().version_after;
        let root = |sent: &&Sent<Span>| {
            sent.service() == case.fault.root.asset
                && sent.item.kind != CLIENT
                && case.fault.root.operation.as_ref().is_none_or(|operation| *operation == sent.item.name)
                && matches!(sent.item.kind, SERVER | 5)
        };
        let of = |is_new: bool| {
            let spans = case.telemetry.spans.iter().filter(root);
            spans.filter(move |sent| (sent.resource["service.version"] == *version) == is_new)
        };
        assert_harm(case, || Box::new(of(false)), || Box::new(of(true)));
    });
}

#[test]
fn a_flag_harms_the_requests_that_got_the_new_variant() {
    each(FaultKind::Flag, |case| {
        let key = &case.fault.change.as_ref().unwrap().name;
        let of = |wanted: &'static str| {
            case.telemetry.spans.iter().filter(move |sent| {
                sent.item.events.iter().any(|event| {
                    let attributes = strings(&event.attributes);
                    attributes.get("feature_flag.key") == Some(key)
                        && attributes.get("feature_flag.result.variant").is_some_and(|variant| variant == wanted)
                })
            })
        };
        assert_harm(case, || Box::new(of("off")), || Box::new(of("on")));
    });
}

#[test]
fn a_retry_storm_goes_on_after_its_trigger() {
    each(FaultKind::RetryStorm, |case| {
        let trigger_end = case.fault.trigger_end_unix_nanos.unwrap();
        let calls = |from: u64, to: u64| {
            let to_root = move |sent: &&Sent<Span>| {
                let attributes = strings(&sent.item.attributes);
                sent.item.kind == CLIENT
                    && (from..to).contains(&sent.item.start_time_unix_nano)
                    && attributes.get("server.address").or(attributes.get("net.peer.name"))
                        == Some(&case.fault.root.asset)
            };
            let spans: Vec<&Sent<Span>> = case.telemetry.spans.iter().filter(to_root).collect();
            let rate = spans.len() as f64 / ((to - from) as f64 / 1e9);
            (rate, share_failed(spans.into_iter()))
        };
        let onset = case.fault.onset_unix_nanos;
        let (rate_before, failed_before) = calls(onset - 200_000_000_000, onset);
        let (rate_during, _) = calls(onset, trigger_end);
        let (rate_after, failed_after) = calls(trigger_end, trigger_end + 20_000_000_000);
        let note = format!(
            "seed {}: {rate_before} {failed_before}, {rate_during}, {rate_after} {failed_after} {:?}",
            case.seed, case.fault
        );
        assert!(failed_before < 0.05, "{note}");
        assert!(rate_during.max(rate_after) > 1.5 * rate_before, "{note}");
        assert!(failed_after > 0.3, "{note}");
    });
}

#[test]
fn a_noisy_neighbour_burns_its_node_and_slows_the_others_there() {
    each(FaultKind::NoisyNeighbour, |case| {
        let node = case.fault.root.node.as_ref().unwrap();
        let cores = |when| case.highest(when, "k8s.pod.cpu.usage");
        assert!(cores(When::During) > 2.0 && cores(When::Before) < 2.0, "seed {}", case.seed);
        let of_node = |when| {
            let points = case
                .telemetry
                .points
                .iter()
                .filter(|sent| sent.item.name == "system.cpu.utilization" && sent.resource["host.name"] == *node);
            let values = points.filter(|sent| case.is(when, sent.item.time)).map(|sent| sent.item.value);
            median(values.collect())
        };
        assert!(of_node(When::During) > 0.85 && of_node(When::Before) < 0.7, "seed {}", case.seed);
        let own = self_millis(&case.telemetry);
        let slower = |here: bool| {
            // Each operation by itself, and their median: services differ.
            let mut by_name: HashMap<(&str, bool), Vec<f64>> = HashMap::new();
            for when in [When::Before, When::During] {
                for sent in case.spans(when).filter(|sent| sent.item.kind == SERVER) {
                    if (sent.resource["host.name"] == *node) == here && sent.service() != case.fault.root.asset {
                        let values = by_name.entry((&sent.item.name, when == When::During)).or_default();
                        values.push(own[&sent.item.span_id[..]]);
                    }
                }
            }
            let ratios = by_name.iter().filter(|((_, during), values)| *during && values.len() >= 10);
            let ratio = |((name, _), values): (&(&str, bool), &Vec<f64>)| {
                Some(median(values.clone()) / median(by_name.get(&(name, false))?.clone()))
            };
            median(ratios.filter_map(ratio).collect())
        };
        let (neighbours, others) = (slower(true), slower(false));
        assert!(neighbours > 1.5 && others < 1.5, "seed {}: {neighbours} {others} {:?}", case.seed, case.fault);
    });
}
