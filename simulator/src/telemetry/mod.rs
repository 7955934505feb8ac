//! What a simulated system says about itself: spans, log records, metrics.

mod attributes;
mod failures;
mod logs;
mod metrics;
mod pods;
mod spans;

use crate::engine::Run;
use crate::export::{self, Request};
use crate::random::stream;
use crate::world::{MissingSpans, World};
use metrics::PodMetrics;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use pods::Pod;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Items that are sent in one request, at most.
const LARGEST_REQUEST: usize = 5_000;

/// Writes telemetry down until it is exported. Times are those of the clock of the node that says them.
pub(crate) struct Recorder {
    rng: ChaCha8Rng,
    /// When the simulation began.
    start: u64,
    /// Time between two collections of metrics.
    interval: u64,
    /// When that was last done.
    collected: u64,
    /// Every process that ever was; an index into this is the source of an item. The nodes come first.
    pods: Vec<Pod>,
    /// What each of them has measured.
    metrics: Vec<PodMetrics>,
    spans: Vec<(u32, Span)>,
    logs: Vec<(u32, LogRecord)>,
    points: Vec<(u32, Metric)>,
}

impl Recorder {
    pub(crate) fn new(world: &World, start: u64, interval: u64) -> Self {
        let mut recorder = Recorder {
            rng: stream(world.key, 4),
            start,
            interval,
            collected: start,
            pods: Vec::new(),
            metrics: Vec::new(),
            spans: Vec::new(),
            logs: Vec::new(),
            points: Vec::new(),
        };
        for node in 0..world.nodes.len() {
            recorder.pods.push(Pod::of_node(world, node, start));
            recorder.metrics.push(PodMetrics::default());
        }
        recorder
    }

    pub(crate) fn interval(&self) -> u64 {
        self.interval
    }

    /// The time that the clock of a pod shows.
    fn clock(&self, pod: u32, at: u64) -> u64 {
        at.saturating_add_signed(self.pods[pod as usize].skew)
    }

    /// Whether a span of a run arrives.
    fn keeps_span(&mut self, world: &World, run: &Run) -> bool {
        match world.services[run.operation.service].missing.spans {
            MissingSpans::None => true,
            MissingSpans::Uninstrumented => false,
            MissingSpans::Lost(share) => !self.rng.random_bool(share),
        }
    }

    fn keep_log(&mut self, world: &World, pod: u32, record: LogRecord) {
        let keeps = self.pods[pod as usize].service.is_none_or(|service| !world.services[service].missing.logs);
        if keeps {
            self.logs.push((pod, record));
        }
    }

    /// Everything written down since the last export, as requests of a collector: each signal by itself.
    pub(crate) fn export(&mut self) -> Vec<Request> {
        let mut spans = std::mem::take(&mut self.spans);
        let mut logs = std::mem::take(&mut self.logs);
        spans.sort_by_key(|(_, span)| span.end_time_unix_nano);
        logs.sort_by_key(|(_, log)| log.time_unix_nano);
        let points = std::mem::take(&mut self.points);
        let origin = |pod: u32| self.pods[pod as usize].origin.clone();
        let mut requests = Vec::new();
        requests.extend(cut(spans).map(|spans| export::traces(origin, spans)));
        requests.extend(cut(logs).map(|logs| export::logs(origin, logs)));
        requests.extend(cut(points).map(|points| export::metrics(origin, points)));
        requests
    }
}

fn cut<T>(items: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut items = items.into_iter();
    std::iter::from_fn(move || {
        let part: Vec<T> = items.by_ref().take(LARGEST_REQUEST).collect();
        (!part.is_empty()).then_some(part)
    })
}
