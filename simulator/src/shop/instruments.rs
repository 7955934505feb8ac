//! The metrics of every pod: histograms from measured durations, gauges and counters.

use crate::attributes::{integer, text};
use crate::data_points::{Distribution, gauge, histogram, metric, number, sum, up_down_counter};
use crate::random::{SECOND, split_mix};
use crate::shop::export::Items;
use crate::shop::fault::FaultPlan;
use crate::shop::topology::{Protocol, ServiceIndex, Source, Topology};
use crate::shop::traffic::{Measurement, Subject};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, Metric};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

const MEBIBYTE: i64 = 1 << 20;

/// The instruments of all pods.
pub(crate) struct Instruments<'a> {
    topology: &'a Topology,
    plan: &'a FaultPlan,
    pub(crate) state: InstrumentState,
}

/// What the instruments keep from one collection to the next.
#[derive(Default)]
pub(crate) struct InstrumentState {
    distributions: BTreeMap<(Source, Subject), Distribution>,
    orders: BTreeMap<Source, u64>,
    /// End of the last collection, and start of the first.
    collected: u64,
    started: u64,
}

impl InstrumentState {
    pub(crate) fn new(start: u64) -> Self {
        InstrumentState { collected: start, started: start, ..Default::default() }
    }
}

impl<'a> Instruments<'a> {
    pub(crate) fn new(topology: &'a Topology, plan: &'a FaultPlan, state: InstrumentState) -> Self {
        Instruments { topology, plan, state }
    }

    /// Some services report cumulative histograms, as their SDKs are configured differently.
    fn is_cumulative(service: ServiceIndex) -> bool {
        service % 3 == 2
    }

    pub(crate) fn record(&mut self, measurement: &Measurement) {
        let &Measurement { source, subject, .. } = measurement;
        let start = if Self::is_cumulative(source.service) { self.started_at(source) } else { self.state.collected };
        let series = self.state.distributions.entry((source, subject));
        series.or_insert_with(|| Distribution::since(start)).record(
            measurement.seconds,
            measurement.end,
            Some((measurement.trace_id, measurement.span_id)),
        );
        if let Subject::Server { status: 200, .. } = subject
            && self.topology.services[source.service].name == "checkout"
        {
            *self.state.orders.entry(source).or_default() += 1;
        }
    }

    /// When a pod started: at the start of the simulation, or with the deployment that brought its revision.
    fn started_at(&self, source: Source) -> u64 {
        match source.revision {
            0 => self.state.started,
            revision => self.plan.deployed_at(source.service, revision).unwrap_or(self.state.started),
        }
    }

    /// All data points of the period since the last collection.
    pub(crate) fn collect(&mut self, rng: &mut ChaCha8Rng, time: u64) -> Items<Metric> {
        let mut metrics = self.collect_distributions(time);
        for service in 0..self.topology.services.len() {
            let revision = self.plan.revision(service, time);
            for pod in 0..self.topology.services[service].pods {
                let source = Source { service, revision, pod };
                let start = self.started_at(source);
                metrics.extend(self.process_metrics(rng, source, start, time).map(|metric| (source, metric)));
            }
        }
        for (source, placed) in &self.state.orders {
            let start = self.started_at(*source);
            metrics.push((*source, orders_placed(*placed, start, time)));
        }
        self.state.collected = time;
        metrics
    }

    fn collect_distributions(&mut self, time: u64) -> Items<Metric> {
        let mut by_metric: BTreeMap<(Source, bool), Vec<HistogramDataPoint>> = BTreeMap::new();
        for ((source, subject), distribution) in &mut self.state.distributions {
            let cumulative = Self::is_cumulative(source.service);
            let attributes = subject_attributes(self.topology, source.service, *subject);
            let of_server = matches!(subject, Subject::Server { .. });
            let points = by_metric.entry((*source, of_server)).or_default();
            points.push(distribution.point(time, attributes, cumulative));
        }
        self.state.distributions.retain(|(source, _), _| Self::is_cumulative(source.service));
        let metrics = by_metric.into_iter().map(|((source, of_server), points)| {
            let name = if of_server { "http.server.request.duration" } else { "db.client.operation.duration" };
            (source, histogram(name, points, Self::is_cumulative(source.service)))
        });
        metrics.collect()
    }

    fn process_metrics(
        &self,
        rng: &mut ChaCha8Rng,
        source: Source,
        start: u64,
        time: u64,
    ) -> impl Iterator<Item = Metric> + use<> {
        // Every pod has its own usual level, with some noise around it.
        let level = split_mix(self.topology.seed ^ split_mix((source.service * 64 + source.pod) as u64)) % 1000;
        let level = level as f64 / 1000.0;
        let lacks_cpu = self.plan.lacks_cpu(source.service, time.saturating_sub(SECOND));
        let cpu =
            if lacks_cpu { rng.random_range(0.94..0.998) } else { 0.1 + 0.25 * level + rng.random_range(0.0..0.08) };
        let memory = (180 + (500.0 * level) as i64) * MEBIBYTE + rng.random_range(0..24 * MEBIBYTE);
        let active = if lacks_cpu { rng.random_range(12..40) } else { rng.random_range(0..4) };
        let of_http = vec![text("http.request.method", "POST"), text("url.scheme", "http")];
        [
            gauge("process.cpu.utilization", "1", number(Value::AsDouble(cpu), start, time, Vec::new())),
            up_down_counter("process.memory.usage", "By", number(Value::AsInt(memory), start, time, Vec::new())),
            up_down_counter(
                "http.server.active_requests",
                "{request}",
                number(Value::AsInt(active), start, time, of_http),
            ),
        ]
        .into_iter()
    }
}

fn subject_attributes(topology: &Topology, service: ServiceIndex, subject: Subject) -> Vec<KeyValue> {
    let plan = &topology.services[service];
    match subject {
        Subject::Server { operation, status } => {
            let http = plan.protocol == Protocol::Http;
            let method = if http { plan.operations[operation].method.as_str() } else { "POST" };
            let mut attributes = vec![
                text("http.request.method", method),
                text("http.route", plan.http_route(operation)),
                text("url.scheme", "http"),
                integer("http.response.status_code", i64::from(status)),
            ];
            if status >= 500 {
                attributes.push(text("error.type", status.to_string()));
            }
            attributes
        }
        Subject::Query { verb, table, failed } => {
            let database = plan.database.as_ref();
            let mut attributes = vec![
                text("db.system.name", database.map_or("other_sql", |database| database.system)),
                text("db.operation.name", verb),
                text("db.collection.name", table),
                text("server.address", database.map_or("", |database| database.address.as_str())),
            ];
            if failed {
                attributes.push(text("error.type", crate::shop::fault::database_exception(plan.language)));
            }
            attributes
        }
    }
}

fn orders_placed(placed: u64, start: u64, time: u64) -> Metric {
    let point = number(Value::AsInt(placed as i64), start, time, Vec::new());
    metric("orders.placed", "{order}", sum(point, true))
}
