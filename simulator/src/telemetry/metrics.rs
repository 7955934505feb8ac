//! Metrics: durations as they are measured, and the state of instances and nodes when metrics are collected.

use super::Recorder;
use crate::attributes::{integer, text};
use crate::data_points::{Distribution, gauge, histogram, metric, number, sum, up_down_counter};
use crate::engine::{Machine, Run, Trigger};
use crate::fault::{Plan, garbage_collection};
use crate::random::{SECOND, split_mix};
use crate::world::{PeerKind, Protocol, Query, Service, ServiceIndex, World};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, Metric, NumberDataPoint};
use rand::Rng;
use std::collections::BTreeMap;

const MEBIBYTE: f64 = (1 << 20) as f64;

/// What one process has measured since its start.
#[derive(Default)]
pub(super) struct PodMetrics {
    /// By operation and status.
    runs: BTreeMap<(usize, u16), Distribution>,
    /// By connection, and whether the query failed.
    queries: BTreeMap<(usize, bool), Distribution>,
    /// Waits for a connection, by connection.
    waits: BTreeMap<usize, Distribution>,
    waits_in_vain: BTreeMap<usize, u64>,
    collections: Distribution,
    /// Bytes received and sent.
    network: [u64; 2],
}

/// Usage of a node since the last collection.
#[derive(Clone, Copy, Default)]
struct NodeUsage {
    processors: f64,
    memory: f64,
}

impl Recorder {
    pub(super) fn measure_run(&mut self, world: &World, run: &Run, end: u64) {
        if matches!(run.trigger, Trigger::Background) {
            return;
        }
        let status = run.failure.map_or(200, |failure| failure.status());
        let service = &world.services[run.operation.service];
        let seconds = (end - run.start) as f64 / SECOND as f64;
        let exemplar = (run.context.trace_id, run.context.span_id);
        let start = self.duration_start(service, run.pod);
        let end = self.clock(run.pod, end);
        let measured = &mut self.metrics[run.pod as usize];
        measured.runs.entry((run.operation.operation, status)).or_insert_with(|| Distribution::since(start)).record(
            seconds,
            end,
            service.delta.then_some(exemplar),
        );
        measured.network[0] += 600 + split_mix(end) % 400;
        measured.network[1] += 1_500 + split_mix(end) % 3_000;
    }

    pub(super) fn measure_query(
        &mut self,
        service: &Service,
        run: &Run,
        query: &Query,
        (start, end): (u64, u64),
        failed: bool,
        span_id: [u8; 8],
    ) {
        let seconds = (end - start) as f64 / SECOND as f64;
        let series_start = self.duration_start(service, run.pod);
        let end = self.clock(run.pod, end);
        let measured = &mut self.metrics[run.pod as usize];
        measured.queries.entry((query.connection, failed)).or_insert_with(|| Distribution::since(series_start)).record(
            seconds,
            end,
            Some((run.context.trace_id, span_id)),
        );
        measured.network[0] += 900;
        measured.network[1] += 300;
    }

    /// A run has got its connection.
    pub(crate) fn waited(&mut self, pod: u32, connection: usize, nanos: u64) {
        let start = self.series_start(pod);
        let waits = self.metrics[pod as usize].waits.entry(connection);
        let waits = waits.or_insert_with(|| Distribution::since(start));
        waits.record(nanos as f64 / SECOND as f64, 0, None);
    }

    /// A run has got no connection.
    pub(crate) fn waited_in_vain(&mut self, pod: u32, connection: usize) {
        *self.metrics[pod as usize].waits_in_vain.entry(connection).or_default() += 1;
    }

    /// Start of a histogram that begins now: deltas begin where the last collection ended.
    fn duration_start(&self, service: &Service, pod: u32) -> u64 {
        let since_collection = self.clock(pod, self.collected);
        if service.delta { since_collection.max(self.series_start(pod)) } else { self.series_start(pod) }
    }

    /// Start of the cumulative series of a pod: of its process, as its clock shows it.
    fn series_start(&self, pod: u32) -> u64 {
        self.clock(pod, self.pods[pod as usize].started)
    }

    /// Collects the metrics of all instances and nodes.
    pub(crate) fn collect(&mut self, world: &World, plan: &Plan, machines: &mut [Machine], now: u64) {
        let mut usage = vec![NodeUsage::default(); world.nodes.len()];
        for machine in machines.iter_mut() {
            let busy = std::mem::take(&mut machine.busy) as f64 / self.interval as f64;
            if machine.up {
                let used = self.processors_used(world, plan, machine, busy, now);
                let node = &mut usage[machine.node];
                node.processors += used;
                if !world.services[machine.service].missing.metrics {
                    node.memory += self.collect_machine(world, plan, machine, used, now);
                }
            }
        }
        for (node, usage) in usage.into_iter().enumerate() {
            self.collect_node(world, node, usage, now);
        }
        self.collected = now;
    }

    /// Processors that an instance has used on average.
    fn processors_used(&mut self, world: &World, plan: &Plan, machine: &Machine, busy: f64, now: u64) -> f64 {
        let middle = now - self.interval / 2;
        let own = world.services[machine.service].processors;
        let usual = 0.03 + 0.15 * level(world, machine.place(), 1) + self.rng.random_range(0.0..0.04);
        let stress = plan.stress(machine.place(), middle) * own;
        let (collecting, _) = garbage_collection(plan.leaked(machine.place(), machine.started, middle));
        let used = (busy + usual + stress + collecting * own).min(own);
        if plan.burns(machine.place(), middle) {
            // It gets all that its neighbours leave it.
            let all = world.nodes[machine.node].processors;
            let threads = plan.burn(machine.node, middle) * all;
            return all * threads / (threads + 1.0 + 0.2 * all) * self.rng.random_range(0.97..1.0);
        }
        used
    }

    /// Metrics of an instance; returns the memory that it uses.
    fn collect_machine(&mut self, world: &World, plan: &Plan, machine: &Machine, used: f64, now: u64) -> f64 {
        let service = &world.services[machine.service];
        let full = plan.leaked(machine.place(), machine.started, now);
        let limit = MEBIBYTE * [512.0, 1024.0, 2048.0][(3.0 * level(world, machine.place(), 2)) as usize % 3];
        let usual = 0.2 + 0.3 * level(world, machine.place(), 3) + self.rng.random_range(0.0..0.03);
        let memory = limit * (usual + (0.98 - usual) * full);
        let (start, time) = (self.series_start(machine.pod), self.clock(machine.pod, now));
        let int = |value: usize, attributes| number(Value::AsInt(value as i64), start, time, attributes);
        let double = |value: f64| number(Value::AsDouble(value), start, time, Vec::new());
        let mut metrics = vec![
            gauge("process.cpu.utilization", "1", double((used / service.processors).min(1.0))),
            gauge("k8s.pod.cpu.usage", "{cpu}", double(used)),
            up_down_counter("process.memory.usage", "By", int(memory as usize, Vec::new())),
            gauge("k8s.pod.memory_limit_utilization", "1", double(memory / limit)),
            up_down_counter(
                "k8s.container.restart.count",
                "{restart}",
                int(self.pods[machine.pod as usize].restarts as usize, Vec::new()),
            ),
            queue(service, machine, &int),
        ];
        if service.protocol != Protocol::Queue {
            let active = int(machine.working + machine.backlog.len(), vec![text("url.scheme", "http")]);
            metrics.push(up_down_counter("http.server.active_requests", "{request}", active));
        }
        self.collect_garbage(service, machine, full, (start, time), &mut metrics);
        self.collect_pools(world, plan, machine, now, &mut metrics);
        self.collect_durations(world, machine, time, &mut metrics);
        self.points.extend(metrics.into_iter().map(|metric| (machine.pod, metric)));
        memory
    }

    fn collect_garbage(
        &mut self,
        service: &Service,
        machine: &Machine,
        full: f64,
        (start, time): (u64, u64),
        metrics: &mut Vec<Metric>,
    ) {
        let name = match service.language {
            "java" => "jvm.gc.duration",
            "nodejs" => "v8js.gc.duration",
            _ => return,
        };
        let (share, pause) = garbage_collection(full);
        let pause = pause as f64 / SECOND as f64;
        let count = share * (self.interval as f64 / SECOND as f64) / pause * self.rng.random_range(0.7..1.3);
        let collections = &mut self.metrics[machine.pod as usize].collections;
        collections.start = start;
        for _ in 0..count.round() as usize {
            collections.record(pause * self.rng.random_range(0.6..1.4), time, None);
        }
        let attributes = vec![text(if service.language == "java" { "jvm.gc.name" } else { "v8js.gc.type" }, "major")];
        metrics.push(histogram(name, vec![collections.point(time, attributes, true)], true));
    }

    fn collect_pools(&mut self, world: &World, plan: &Plan, machine: &Machine, now: u64, metrics: &mut Vec<Metric>) {
        let service = &world.services[machine.service];
        let (start, time) = (self.series_start(machine.pod), self.clock(machine.pod, now));
        for (connection, pool) in machine.pools.iter().enumerate() {
            let peer = &world.peers[service.connections[connection].peer];
            if !matches!(peer.kind, PeerKind::Database(_)) {
                continue;
            }
            let named = |state: Option<&str>| -> Vec<KeyValue> {
                let name = text("db.client.connection.pool.name", peer.address.as_str());
                let state = state.map(|state| text("db.client.connection.state", state));
                std::iter::once(name).chain(state).collect()
            };
            let int = |value: usize, state| number(Value::AsInt(value as i64), start, time, named(state));
            let limit = service.connections[connection].limit;
            let limit = plan.drained(machine.service, connection, now).map_or(limit, |(left, _)| left.min(limit));
            let idle = limit.saturating_sub(pool.used);
            let counts = [int(pool.used.min(limit), Some("used")), int(idle, Some("idle"))];
            metrics.extend(counts.map(|point| up_down_counter("db.client.connection.count", "{connection}", point)));
            metrics.push(up_down_counter("db.client.connection.max", "{connection}", int(limit, None)));
            let waiting = int(pool.waiting.len(), None);
            metrics.push(up_down_counter("db.client.connection.pending_requests", "{request}", waiting));
            let measured = &mut self.metrics[machine.pod as usize];
            let in_vain = measured.waits_in_vain.get(&connection).copied().unwrap_or(0) as usize;
            metrics.push(metric("db.client.connection.timeouts", "{timeout}", sum(int(in_vain, None), true)));
            if let Some(waits) = measured.waits.get_mut(&connection) {
                let point = waits.point(time, named(None), true);
                metrics.push(histogram("db.client.connection.wait_time", vec![point], true));
            }
        }
    }

    fn collect_durations(&mut self, world: &World, machine: &Machine, time: u64, metrics: &mut Vec<Metric>) {
        let service = &world.services[machine.service];
        let measured = &mut self.metrics[machine.pod as usize];
        let cumulative = !service.delta;
        let of_run = |((operation, status), distribution): (&(usize, u16), &mut Distribution)| {
            distribution.point(time, run_attributes(service, *operation, *status), cumulative)
        };
        let runs: Vec<HistogramDataPoint> = measured.runs.iter_mut().map(of_run).collect();
        let of_query = |((connection, failed), distribution): (&(usize, bool), &mut Distribution)| {
            let peer = &world.peers[service.connections[*connection].peer];
            let mut attributes = vec![text("server.address", peer.address.as_str())];
            attributes.extend(failed.then(|| text("error.type", "timeout")));
            distribution.point(time, attributes, cumulative)
        };
        let queries: Vec<HistogramDataPoint> = measured.queries.iter_mut().map(of_query).collect();
        if service.delta {
            measured.runs.clear();
            measured.queries.clear();
        }
        let name = match service.protocol {
            Protocol::Http => "http.server.request.duration",
            Protocol::Grpc => "rpc.server.call.duration",
            Protocol::Queue => "messaging.process.duration",
        };
        let named = [(name, runs), ("db.client.operation.duration", queries)];
        let sent = named.into_iter().filter(|(_, points)| !points.is_empty());
        metrics.extend(sent.map(|(name, points)| histogram(name, points, cumulative)));
        let start = self.series_start(machine.pod);
        let network = self.metrics[machine.pod as usize].network;
        for (bytes, direction) in network.into_iter().zip(["receive", "transmit"]) {
            let attributes = vec![text("network.io.direction", direction)];
            let point = number(Value::AsInt(bytes as i64), start, time, attributes);
            metrics.push(metric("k8s.pod.network.io", "By", sum(point, true)));
        }
    }

    fn collect_node(&mut self, world: &World, node: usize, usage: NodeUsage, now: u64) {
        let all = world.nodes[node].processors;
        let pod = node as u32;
        let (start, time) = (self.clock(pod, self.start), self.clock(pod, now));
        let double = |value: f64| number(Value::AsDouble(value), start, time, Vec::new());
        let processors = (usage.processors / all + self.rng.random_range(0.02..0.06)).min(1.0);
        let memory = (usage.memory / MEBIBYTE / 32_768.0 + self.rng.random_range(0.15..0.16)).min(1.0);
        let metrics = [
            gauge("system.cpu.utilization", "1", double(processors)),
            gauge("system.memory.utilization", "1", double(memory)),
            gauge("system.cpu.load_average.1m", "{thread}", double(processors * all)),
        ];
        self.points.extend(metrics.map(|metric| (pod, metric)));
    }
}

/// What waits for an instance.
fn queue(service: &Service, machine: &Machine, int: &impl Fn(usize, Vec<KeyValue>) -> NumberDataPoint) -> Metric {
    if service.protocol == Protocol::Queue {
        let attributes = vec![text("messaging.consumer.group.name", service.name.as_str())];
        return gauge("kafka.consumer_group.lag", "1", int(machine.backlog.len(), attributes));
    }
    gauge("server.queue.depth", "{request}", int(machine.backlog.len(), Vec::new()))
}

fn run_attributes(service: &Service, operation: usize, status: u16) -> Vec<KeyValue> {
    let operation = &service.operations[operation];
    let mut attributes = match service.protocol {
        Protocol::Http => vec![
            text("http.request.method", operation.method),
            text("http.route", operation.route.as_str()),
            integer("http.response.status_code", i64::from(status)),
        ],
        Protocol::Grpc => vec![text("rpc.system", "grpc"), text("rpc.method", operation.route.as_str())],
        Protocol::Queue => vec![text("messaging.destination.name", operation.route.as_str())],
    };
    if status != 200 {
        attributes.push(text("error.type", status.to_string()));
    }
    attributes
}

/// A number from 0 to 1 that an instance always has.
fn level(world: &World, (service, instance): (ServiceIndex, usize), purpose: u64) -> f64 {
    (split_mix(world.key ^ split_mix((service as u64) << 20 | (instance as u64) << 4 | purpose)) % 1000) as f64 / 1000.0
}
