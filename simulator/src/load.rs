//! Requests for load generation: encoded once, then made unique in place.

use crate::export::{Request, Signal};
use crate::load_points::{Rounds, merge};
use crate::random::{MILLISECOND, split_mix, stream};
use crate::restamp::{EPOCH, Stamp, Template};
use crate::shop::export::{self, Items};
use crate::shop::fault::FaultPlan;
use crate::shop::topology::Topology;
use crate::shop::traffic::Traffic;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::num::NonZeroUsize;

/// Pods of each service: with some series in each of them, they make a few thousand series.
const PODS: usize = 24;
/// Measured durations between two rounds of data points.
const MEASUREMENTS_PER_ROUND: usize = 4_000;

/// Which signals a load consists of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadMix {
    /// Spans alone.
    Traces,
    /// Log records alone.
    Logs,
    /// Data points alone.
    Metrics,
    /// 15% data points, the rest spans and the logs in them, each signal in requests of its own.
    Mixed,
}

impl LoadMix {
    /// Requests of the pool with spans or logs, and with data points.
    fn pool(self) -> (usize, usize) {
        match self {
            LoadMix::Traces | LoadMix::Logs => (16, 0),
            LoadMix::Metrics => (0, 16),
            LoadMix::Mixed => (17, 3),
        }
    }

    fn has(self, signal: Signal) -> bool {
        match self {
            LoadMix::Traces => signal == Signal::Traces,
            LoadMix::Logs => signal == Signal::Logs,
            LoadMix::Metrics => signal == Signal::Metrics,
            LoadMix::Mixed => true,
        }
    }
}

/// A pool of encoded requests from which any number of unique ones is made.
pub struct LoadTemplates {
    templates: Vec<(Signal, Template)>,
    batch: usize,
    rounds: u64,
    /// What ids derive from, besides the number of the request.
    key: u64,
}

impl LoadTemplates {
    /// Makes the pool: requests of exactly `batch` items, from several services as a Collector would send them.
    ///
    /// `started_unix_nanos` is the start time of all cumulative series, so take the time when the load starts; loads
    /// with another start have other ids.
    pub fn new(seed: u64, mix: LoadMix, batch: NonZeroUsize, started_unix_nanos: u64) -> Self {
        let mut topology = Topology::random(seed);
        for service in &mut topology.services {
            service.pods = PODS;
        }
        let pool = Pool::fill(&topology, mix, batch.get(), started_unix_nanos);
        LoadTemplates {
            rounds: pool.rounds,
            templates: pool.templates(&topology),
            batch: batch.get(),
            key: split_mix(seed ^ split_mix(started_unix_nanos)),
        }
    }

    /// The request of a number (count up from 0, over all connections), its latest event at `base_unix_nanos`.
    ///
    /// Requests of different numbers differ in all trace ids and span ids. Those of `len()` successive numbers,
    /// from a multiple of it, belong together: a parent, a linked span or the span of a log may be in another one.
    pub fn request(&self, request_number: u64, base_unix_nanos: u64) -> Request {
        let count = self.templates.len() as u64;
        let (signal, template) = &self.templates[(request_number % count) as usize];
        let cycle = request_number / count;
        let mask = |part: u64| split_mix(self.key ^ split_mix(cycle * 3 + part));
        let stamp = Stamp {
            trace_mask: [mask(0), mask(1)],
            span_mask: mask(2),
            base_unix_nanos,
            rounds_before: cycle * self.rounds,
        };
        Request { signal: *signal, body: template.restamp(&stamp), items: self.batch }
    }

    /// Number of templates in the pool, at least one.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.templates.len()
    }
}

/// Full batches of items, in the order in which a simulation fills them.
struct Pool {
    traffic: Vec<Batch>,
    points: Vec<Items<Metric>>,
    /// Rounds of data points in the pool.
    rounds: u64,
}

enum Batch {
    Spans(Items<Span>),
    Logs(Items<LogRecord>),
}

impl Pool {
    fn fill(topology: &Topology, mix: LoadMix, batch: usize, started: u64) -> Self {
        let (plan, mut rng) = (FaultPlan::quiet(), stream(topology.seed, 5));
        let (want_traffic, want_points) = mix.pool();
        let mut pool = Pool { traffic: Vec::new(), points: Vec::new(), rounds: 0 };
        let (mut spans, mut logs) = (Items::new(), Items::new());
        let mut rounds = Rounds::new(topology, &plan, started);
        let mut measurements = Vec::new();
        let mut now = EPOCH;
        while pool.traffic.len() < want_traffic || pool.points.len() < want_points {
            let trace = Traffic::new(topology, &plan, &mut rng).request(now);
            now += MILLISECOND;
            if mix.has(Signal::Traces) {
                spans.extend(trace.spans);
            }
            if mix.has(Signal::Logs) {
                logs.extend(trace.logs);
            }
            let mut batches: Vec<Batch> = cut(&mut spans, batch).map(Batch::Spans).collect();
            batches.extend(cut(&mut logs, batch).map(Batch::Logs));
            batches.truncate(want_traffic.saturating_sub(pool.traffic.len()));
            pool.traffic.extend(batches);
            if pool.points.len() < want_points {
                measurements.extend(trace.measurements);
                if measurements.len() >= MEASUREMENTS_PER_ROUND {
                    rounds.collect(&mut rng, std::mem::take(&mut measurements));
                    pool.points.extend(cut(&mut rounds.waiting, batch));
                    pool.points.truncate(want_points);
                }
            }
        }
        pool.rounds = rounds.count;
        pool
    }

    /// Encodes all batches, those of data points spread evenly among the others.
    fn templates(self, topology: &Topology) -> Vec<(Signal, Template)> {
        let total = self.traffic.len() + self.points.len();
        let (mut traffic, mut points) = (self.traffic.into_iter(), self.points.into_iter());
        let every = total.checked_div(points.len()).unwrap_or(usize::MAX).max(1);
        let encoded = (1..=total).filter_map(|place| {
            let next = if place % every == 0 { points.next().map(Err) } else { None };
            next.or_else(|| traffic.next().map(Ok)).or_else(|| points.next().map(Err))
        });
        encoded
            .map(|batch| match batch {
                Ok(Batch::Spans(spans)) => (Signal::Traces, Template::traces(&export::traces(topology, spans).body)),
                Ok(Batch::Logs(logs)) => (Signal::Logs, Template::logs(&export::logs(topology, logs).body)),
                Err(points) => (Signal::Metrics, Template::metrics(&export::metrics(topology, merge(points)).body)),
            })
            .collect()
    }
}

/// Takes as many full batches as there are from the front.
fn cut<T>(items: &mut Vec<T>, batch: usize) -> impl Iterator<Item = Vec<T>> {
    let full = items.len() / batch * batch;
    let rest = items.split_off(full);
    let mut items = std::mem::replace(items, rest).into_iter();
    (0..full / batch).map(move |_| items.by_ref().take(batch).collect())
}
