//! A whole scenario: a random system, what happens to it, and its telemetry in order of time.

use crate::engine::{Simulation, State, Traffic};
use crate::export::Request;
use crate::fault::{FaultChoice, Period, Plan};
use crate::purpose::Purpose;
use crate::random::{SECOND, stream};
use crate::truth::GroundTruth;
use crate::world::{self, World};
use rand::Rng;
use std::collections::VecDeque;
use std::sync::Arc;

/// The last request of a user comes so long before the end: most of its spans end in time.
const LAST_REQUEST_BEFORE_END: u64 = 20 * SECOND;
/// Shorter scenarios would have no quiet before their faults.
const SHORTEST: u64 = 300;

/// How long and how large a scenario is, and what happens in it.
#[derive(Clone, Debug)]
pub struct ScenarioOptions {
    /// Simulated time in seconds, at least 300. Below 1,500 faults are shorter in proportion, which takes them out of
    /// the ranges of the purpose. Default 1,800.
    pub duration_seconds: u64,
    /// About how many spans to make in all, if there were no fault; the rate of requests follows from it. Default
    /// 200,000.
    pub spans: usize,
    /// Seconds that one export request covers, at least 1. Default 10.
    pub slice_seconds: u64,
    /// Which faults happen. Default: the seed decides.
    pub faults: FaultChoice,
    /// Whether there may be harmless changes and spikes of traffic. Default true.
    pub decoys: bool,
    /// Whether services may lack spans, logs or metrics. Default true.
    pub missing_telemetry: bool,
}

impl Default for ScenarioOptions {
    fn default() -> Self {
        ScenarioOptions {
            duration_seconds: 1_800,
            spans: 200_000,
            slice_seconds: 10,
            faults: FaultChoice::Random,
            decoys: true,
            missing_telemetry: true,
        }
    }
}

/// A random system, what happens to it, and the telemetry of both.
#[derive(Clone)]
pub struct Scenario {
    story: Arc<Story>,
}

struct Story {
    world: World,
    plan: Plan,
    truth: GroundTruth,
    traffic: Traffic,
    period: Period,
    slice: u64,
    /// Time between two collections of metrics.
    interval: u64,
}

impl Scenario {
    /// A scenario that ends at `end_unix_nanos`. All follows from purpose, seed and options; the end only moves it in
    /// time. Scenarios of different purposes have nothing in common.
    pub fn new(purpose: Purpose, seed: u64, end_unix_nanos: u64, options: ScenarioOptions) -> Self {
        let length = options.duration_seconds.max(SHORTEST) * SECOND;
        let end = end_unix_nanos.max(100_000 * SECOND + length);
        let period = Period { start: end - length, end };
        let mut world = world::build(purpose, seed);
        if !options.missing_telemetry {
            world.services.iter_mut().for_each(|service| service.missing = Default::default());
        }
        let last = end - LAST_REQUEST_BEFORE_END;
        let rate = options.spans.max(1) as f64 / world.mean_spans() / ((last - period.start) as f64 / SECOND as f64);
        let plan = Plan::new(&mut world, &options.faults, options.decoys, period, rate);
        let truth = plan.ground_truth(&world, seed, period);
        let mut rng = stream(world.key, 5);
        let season = (rng.random_range(0.4..1.5) * length as f64, rng.random_range(0.0..0.3), rng.random());
        let traffic = Traffic { rate, start: period.start, end: last, season, trend: rng.random_range(-0.2..0.2) };
        let interval = rng.random_range(10..=30) * SECOND;
        let slice = options.slice_seconds.max(1) * SECOND;
        Scenario { story: Arc::new(Story { world, plan, truth, traffic, period, slice, interval }) }
    }

    /// What really happens.
    pub fn ground_truth(&self) -> &GroundTruth {
        &self.story.truth
    }

    /// The telemetry in order of time: for each slice of time a request with spans, one with logs and one with
    /// metrics, each from all services, as a collector sends them. An item is sent in the slice in which it ends.
    pub fn requests(&self) -> ScenarioRequests {
        let story = self.story.clone();
        let state = State::new(&story.world, &story.plan, &story.traffic, story.interval);
        ScenarioRequests { state, now: story.period.start, ready: VecDeque::new(), story }
    }
}

/// The export requests of a scenario, simulated while one iterates.
pub struct ScenarioRequests {
    story: Arc<Story>,
    state: State,
    now: u64,
    ready: VecDeque<Request>,
}

impl Iterator for ScenarioRequests {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        while self.ready.is_empty() && self.now < self.story.period.end {
            self.now = (self.now + self.story.slice).min(self.story.period.end);
            let Story { world, plan, traffic, .. } = &*self.story;
            Simulation { world, plan, traffic, state: &mut self.state }.run_until(self.now);
            self.ready.extend(self.state.recorder.export());
        }
        self.ready.pop_front()
    }
}
