//! A whole story of the shop: quiet, a change, a fault, as export requests in order of event time.

use crate::export::Request;
use crate::fault::{FaultKind, FaultPlan, GroundTruth, Period};
use crate::random::SECOND;
use crate::topology::Topology;
use std::sync::Arc;

/// How long and how large a scenario is.
#[derive(Clone, Debug)]
pub struct ScenarioOptions {
    /// Simulated time in seconds, at least 60. Default 600.
    pub duration_seconds: u64,
    /// About how many spans to make in all; the rate of requests follows from it. Default 70,000.
    pub spans: usize,
    /// Seconds that one export request covers, at least 1. Default 10.
    pub slice_seconds: u64,
    /// The kind of fault, if the topology has a culprit for it. Default: the seed decides.
    pub fault: Option<FaultKind>,
}

impl Default for ScenarioOptions {
    fn default() -> Self {
        ScenarioOptions { duration_seconds: 600, spans: 70_000, slice_seconds: 10, fault: None }
    }
}

/// A shop, its fault, and the telemetry of both.
#[derive(Clone)]
pub struct Scenario {
    story: Arc<Story>,
}

struct Story {
    topology: Topology,
    plan: FaultPlan,
    truth: GroundTruth,
    period: Period,
    options: ScenarioOptions,
}

impl Scenario {
    /// The scenario of `whence demo`: ten minutes up to `end_unix_nanos`, about 70,000 spans.
    pub fn demo(seed: u64, end_unix_nanos: u64) -> Self {
        Self::new(seed, end_unix_nanos, ScenarioOptions::default())
    }

    /// A scenario that ends at `end_unix_nanos`. Topology and fault follow from the seed alone, traffic from both.
    pub fn new(seed: u64, end_unix_nanos: u64, options: ScenarioOptions) -> Self {
        let _ = (seed, end_unix_nanos, options, SECOND);
        unreachable!()
    }

    /// What really happens.
    pub fn ground_truth(&self) -> &GroundTruth {
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
    pub fn requests(&self) -> ScenarioRequests {
        ScenarioRequests { story: self.story.clone() }
    }
}

/// The export requests of a scenario, made while one iterates.
pub struct ScenarioRequests {
    story: Arc<Story>,
}

impl Iterator for ScenarioRequests {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        let _ = &self.story;
        None
    }
}
