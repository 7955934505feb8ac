//! A whole story of the shop: quiet, a change, a fault, as export requests in order of event time.

use crate::export::Request;
use crate::random::{SECOND, split_mix, stream};
use crate::shop::export::{self, Items};
use crate::shop::fault::{FaultPlan, Period, ShopFault, ShopTruth};
use crate::shop::instruments::{InstrumentState, Instruments};
use crate::shop::log_records;
use crate::shop::topology::{ServiceIndex, Source, Topology};
use crate::shop::traffic::{Measurement, Traffic};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The last request starts so long before the end, that its spans end in time even if all of them time out.
const LAST_REQUEST_BEFORE_END: u64 = 10 * SECOND;

/// How long and how large a scenario is.
#[derive(Clone, Debug)]
pub struct ShopOptions {
    /// Simulated time in seconds, at least 60. Default 600.
    pub duration_seconds: u64,
    /// About how many spans to make in all; the rate of requests follows from it. Default 70,000.
    pub spans: usize,
    /// Seconds that one export request covers, at least 1. Default 10.
    pub slice_seconds: u64,
    /// The kind of fault, if the topology has a culprit for it. Default: the seed decides.
    pub fault: Option<ShopFault>,
}

impl Default for ShopOptions {
    fn default() -> Self {
        ShopOptions { duration_seconds: 600, spans: 70_000, slice_seconds: 10, fault: None }
    }
}

/// A shop, its fault, and the telemetry of both.
#[derive(Clone)]
pub struct ShopScenario {
    story: Arc<Story>,
}

struct Story {
    topology: Topology,
    plan: FaultPlan,
    truth: ShopTruth,
    period: Period,
    slice: u64,
    /// Mean time between two requests to the front end, in nanoseconds.
    gap: f64,
}

impl ShopScenario {
    /// The scenario of `whence demo`: ten minutes up to `end_unix_nanos`, about 70,000 spans.
    pub fn demo(seed: u64, end_unix_nanos: u64) -> Self {
        Self::new(seed, end_unix_nanos, ShopOptions::default())
    }

    /// A scenario that ends at `end_unix_nanos`. Topology and fault follow from the seed alone, traffic from both.
    pub fn new(seed: u64, end_unix_nanos: u64, options: ShopOptions) -> Self {
        let topology = Topology::random(seed);
        let length = options.duration_seconds.max(60) * SECOND;
        let period = Period { start: end_unix_nanos.saturating_sub(length), end: end_unix_nanos.max(length) };
        let (plan, truth) = FaultPlan::random(&topology, period, options.fault);
        let requests = options.spans.max(1) as f64 / mean_spans(&topology);
        let gap = (length - LAST_REQUEST_BEFORE_END) as f64 / requests;
        let slice = options.slice_seconds.max(1) * SECOND;
        ShopScenario { story: Arc::new(Story { topology, plan, truth, period, slice, gap }) }
    }

    /// What really happens.
    pub fn ground_truth(&self) -> &ShopTruth {
        &self.story.truth
    }

    /// The shop.
    pub fn topology(&self) -> &Topology {
        &self.story.topology
    }

    /// First instant of the scenario, in nanoseconds since the Unix epoch.
    pub fn start_unix_nanos(&self) -> u64 {
        self.story.period.start
    }

    /// Last instant of the scenario, in nanoseconds since the Unix epoch.
    pub fn end_unix_nanos(&self) -> u64 {
        self.story.period.end
    }

    /// The telemetry, in order of event time: one request per service, signal and slice.
    pub fn requests(&self) -> ShopRequests {
        let story = self.story.clone();
        let Period { start, end } = story.period;
        ShopRequests {
            rng: stream(story.topology.seed ^ split_mix(end), 3),
            next_arrival: start,
            slice_start: start,
            next_change: 0,
            spans: Vec::new(),
            logs: Vec::new(),
            measurements: Vec::new(),
            instruments: InstrumentState::new(start),
            ready: VecDeque::new(),
            story,
        }
    }
}

/// Spans that a request to the front end leaves, on average: the price of a request in [`ShopOptions::spans`].
fn mean_spans(topology: &Topology) -> f64 {
    const SAMPLE: usize = 500;
    let (plan, mut rng) = (FaultPlan::quiet(), stream(topology.seed, 4));
    let mut traffic = Traffic::new(topology, &plan, &mut rng);
    let spans: usize = (0..SAMPLE).map(|_| traffic.request(SECOND).spans.len()).sum();
    spans as f64 / SAMPLE as f64
}

/// The export requests of a scenario, made slice by slice while one iterates.
pub struct ShopRequests {
    story: Arc<Story>,
    rng: ChaCha8Rng,
    next_arrival: u64,
    slice_start: u64,
    next_change: usize,
    /// Items simulated already, but of later slices: an item is exported when it ended.
    spans: Items<Span>,
    logs: Items<LogRecord>,
    measurements: Vec<Measurement>,
    instruments: InstrumentState,
    ready: VecDeque<Request>,
}

impl Iterator for ShopRequests {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        while self.ready.is_empty() && self.slice_start < self.story.period.end {
            self.make_slice();
        }
        self.ready.pop_front()
    }
}

impl ShopRequests {
    fn make_slice(&mut self) {
        let story = self.story.clone();
        let end = (self.slice_start + story.slice).min(story.period.end);
        // The last slice takes everything that is left.
        let until = if end == story.period.end { u64::MAX } else { end };
        self.simulate(&story, end);
        let mut spans = split_by(&mut self.spans, |(_, span)| span.end_time_unix_nano < until);
        let mut logs = split_by(&mut self.logs, |(_, log)| log.time_unix_nano < until);
        spans.sort_by_key(|(_, span)| span.end_time_unix_nano);
        logs.sort_by_key(|(_, log)| log.time_unix_nano);
        let metrics = self.collect(&story, end);
        let topology = &story.topology;
        self.ready.extend(by_service(spans).into_values().map(|spans| export::traces(topology, spans)));
        self.ready.extend(by_service(logs).into_values().map(|logs| export::logs(topology, logs)));
        self.ready.extend(by_service(metrics).into_values().map(|metrics| export::metrics(topology, metrics)));
        self.slice_start = end;
    }

    /// All requests and changes that begin before the end of the slice.
    fn simulate(&mut self, story: &Story, end: u64) {
        let last_arrival = story.period.end - LAST_REQUEST_BEFORE_END;
        while self.next_arrival < end.min(last_arrival) {
            let trace = Traffic::new(&story.topology, &story.plan, &mut self.rng).request(self.next_arrival);
            self.spans.extend(trace.spans);
            self.logs.extend(trace.logs);
            self.measurements.extend(trace.measurements);
            // Requests come independently of each other: exponential gaps.
            let gap = -self.rng.random_range(1e-9_f64..1.0).ln() * story.gap;
            self.next_arrival += gap as u64 + 1;
        }
        while let Some(change) = story.plan.changes.get(self.next_change).filter(|change| change.at < end) {
            let before = story.plan.revision(change.service, change.at - 1);
            let revision = story.plan.revision(change.service, change.at);
            let version = |revision| story.topology.version(change.service, revision);
            let record = log_records::change(&story.topology, change, &version(before), &version(revision));
            self.logs.push((Source { service: change.service, revision, pod: 0 }, record));
            self.next_change += 1;
        }
    }

    fn collect(&mut self, story: &Story, end: u64) -> Items<Metric> {
        let state = std::mem::take(&mut self.instruments);
        let mut instruments = Instruments::new(&story.topology, &story.plan, state);
        for measurement in split_by(&mut self.measurements, |measurement| measurement.end < end) {
            instruments.record(&measurement);
        }
        let metrics = instruments.collect(&mut self.rng, end);
        self.instruments = instruments.state;
        metrics
    }
}

/// Takes the items that are due out of those that wait, both in their order.
fn split_by<T>(waiting: &mut Vec<T>, is_due: impl Fn(&T) -> bool) -> Vec<T> {
    let (due, rest) = std::mem::take(waiting).into_iter().partition(is_due);
    *waiting = rest;
    due
}

fn by_service<T>(items: Items<T>) -> BTreeMap<ServiceIndex, Items<T>> {
    let mut groups: BTreeMap<ServiceIndex, Items<T>> = BTreeMap::new();
    for (source, item) in items {
        groups.entry(source.service).or_default().push((source, item));
    }
    groups
}
