//! The simulation of a world, event by event: requests wait for workers, processors, connections and answers.
//!
//! ```text
//! Arrival ─> Reach ─(worker free?)─> begin ─> Worked ─> stages of steps ─> Worked ─> finish ─> Answer to the caller
//!                                                        │ calls: Reach of the callee, GiveUp, Retry
//!                                                        │ queries: a connection of the pool, then Queried
//!                                                        └ messages, background runs: nobody waits
//! ```
//!
//! A processor is shared by what wants it when a piece of work begins; that a later arrival slows down earlier ones is
//! left out. Everything else is played as it happens, so that queues, timeouts and retries do what they do.

mod attempts;
mod machines;
mod runs;
mod slab;
mod state;

pub(crate) use state::{Context, Event, Failure, Machine, Run, State, Trigger, Visit};

use crate::fault::{Mechanism, Plan};
use crate::random::{SECOND, exponential, stream};
use crate::telemetry::Recorder;
use crate::truth::ChangeKind;
use crate::world::World;
use rand::Rng;
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use state::{Agenda, Pool};

/// How traffic goes up and down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    /// Mean requests a second.
    pub(crate) rate: f64,
    pub(crate) start: u64,
    /// The last request of a user comes before this.
    pub(crate) end: u64,
    /// A wave stands for the season: its length in nanoseconds, its height and where it begins.
    pub(crate) season: (f64, f64, f64),
    /// Growth over the whole time.
    pub(crate) trend: f64,
}

impl Traffic {
    /// Requests a second at an instant.
    fn at(&self, plan: &Plan, now: u64) -> f64 {
        let (length, height, phase) = self.season;
        let since = now.saturating_sub(self.start) as f64;
        let season = 1.0 + height * (std::f64::consts::TAU * (since / length + phase)).sin();
        let trend = 1.0 + self.trend * (since / (self.end - self.start) as f64 - 0.5);
        self.rate * season * trend * plan.traffic(now)
    }
}

/// A simulation under way.
pub(crate) struct Simulation<'a> {
    pub(crate) world: &'a World,
    pub(crate) plan: &'a Plan,
    pub(crate) traffic: &'a Traffic,
    pub(crate) state: &'a mut State,
}

impl State {
    /// The state before the first request; `interval` is the time between two collections of metrics.
    pub(crate) fn new(world: &World, plan: &Plan, traffic: &Traffic, interval: u64) -> Self {
        let mut state = State {
            rng: stream(world.key, 3),
            now: traffic.start,
            agenda: Agenda::default(),
            runs: Default::default(),
            attempts: Default::default(),
            machines: Vec::new(),
            first: Vec::new(),
            running: vec![0; world.nodes.len()],
            recorder: Recorder::new(world, traffic.start, interval),
        };
        for (service, plan_of) in world.services.iter().enumerate() {
            state.first.push(state.machines.len());
            for (instance, &node) in plan_of.instances.iter().enumerate() {
                // Processes started some time before the scenario.
                let started = traffic.start - state.rng.random_range(600 * SECOND..80_000 * SECOND);
                let pod = state.recorder.add_pod(world, (service, instance), (0, 0, 0), started);
                state.machines.push(Machine {
                    service,
                    instance,
                    node,
                    pod,
                    up: true,
                    started,
                    revision: 0,
                    generation: 0,
                    restarts: 0,
                    epoch: 0,
                    working: 0,
                    backlog: Default::default(),
                    running: 0,
                    pools: plan_of.connections.iter().map(|_| Pool::default()).collect(),
                    busy: 0,
                });
            }
        }
        state.agenda.add(traffic.start, Event::Arrival);
        state.agenda.add(traffic.start + interval, Event::Collect);
        state.plan_changes(plan);
        state.plan_ends(plan);
        state
    }

    fn plan_changes(&mut self, plan: &Plan) {
        for (index, change) in plan.changes.iter().enumerate() {
            for (place, &instance) in change.instances.iter().enumerate() {
                let machine = self.machine(change.service, instance);
                let later = place as u64 * change.pause;
                if change.kind == ChangeKind::Scaling {
                    self.machines[machine].up = false;
                    self.agenda.add(change.at, Event::Join { machine });
                    continue;
                }
                self.agenda.add(change.at + later, Event::Replace { machine, revision: 1 });
                if let Some(reverted) = change.reverted {
                    self.agenda.add(reverted + later, Event::Replace { machine, revision: 0 });
                }
            }
            // After the first new instance is there, which reports it.
            self.agenda.add(change.at, Event::Announce { change: index, reverted: false });
            if let Some(reverted) = change.reverted {
                self.agenda.add(reverted, Event::Announce { change: index, reverted: true });
            }
        }
    }

    fn plan_ends(&mut self, plan: &Plan) {
        for (index, fault) in plan.faults.iter().enumerate() {
            match &fault.mechanism {
                Mechanism::Leak { service, instances, period } => {
                    for &instance in instances {
                        let machine = self.machine(*service, instance);
                        self.agenda.add(fault.onset + period, Event::Kill { machine, fault: index });
                        self.agenda.add(fault.end, Event::Restart { machine });
                    }
                }
                Mechanism::Storm { service, .. } => self.agenda.add(fault.end, Event::Shed { service: *service }),
                _ => {}
            }
        }
    }
}

impl Simulation<'_> {
    /// Plays everything that happens before an instant.
    pub(crate) fn run_until(&mut self, until: u64) {
        while let Some((now, event)) = self.state.agenda.next_before(until) {
            self.state.now = now;
            self.handle(event);
        }
        self.state.now = until;
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrival => self.arrive(),
            Event::Reach(run) => self.reach(run),
            Event::Worked(run) => self.worked(run),
            Event::Answer(attempt, failure) => self.answered(attempt, failure),
            Event::GiveUp(attempt) => self.give_up(attempt),
            Event::Retry { run, step, number } => self.start_call(run, step, number),
            Event::Queried(attempt) => self.queried(attempt),
            Event::NoConnection(attempt) => self.no_connection(attempt),
            Event::Release { machine, epoch, connection } => self.release(machine, epoch, connection),
            Event::Collect => self.collect(),
            Event::Announce { change, reverted } => self.announce(change, reverted),
            Event::Replace { machine, revision } => self.replace(machine, revision),
            Event::Join { machine } => self.join(machine),
            Event::Kill { machine, fault } => self.kill(machine, fault),
            Event::Recover { machine, fault } => self.recover(machine, fault),
            Event::Restart { machine } => self.restart(machine),
            Event::Shed { service } => self.shed(service),
        }
    }

    /// A user's request, and the time of the next.
    fn arrive(&mut self) {
        let now = self.state.now;
        if now >= self.traffic.end {
            return;
        }
        let weights = WeightedIndex::new(self.world.entries.iter().map(|(_, weight)| *weight));
        let entry = weights.map_or(0, |weights| weights.sample(&mut self.state.rng));
        let (operation, _) = self.world.entries[entry];
        let rng = &mut self.state.rng;
        let visit = Visit { user: rng.random_range(1..20_000), item: rng.random_range(1..9_000) };
        let context = Context { trace_id: trace_id(rng), span_id: span_id(rng), parent: None };
        self.send(operation, context, Trigger::Request { call: None }, visit, now);
        // Thinning (Lewis and Shedler 1979) keeps the gaps exponential while the rate changes.
        let highest = self.traffic.rate * 6.0;
        let mut next = now;
        loop {
            next += exponential(&mut self.state.rng, highest);
            if self.state.rng.random::<f64>() * highest <= self.traffic.at(self.plan, next) {
                break;
            }
        }
        self.state.agenda.add(next, Event::Arrival);
    }

    fn collect(&mut self) {
        self.state.recorder.collect(self.world, self.plan, &mut self.state.machines, self.state.now);
        let next = self.state.now + self.state.recorder.interval();
        self.state.agenda.add(next, Event::Collect);
    }

    fn announce(&mut self, change: usize, reverted: bool) {
        let change = &self.plan.changes[change];
        let machine = self.state.machine(change.service, change.instances.first().copied().unwrap_or(0));
        let pod = self.state.machines[machine].pod;
        self.state.recorder.change(self.world, change, reverted, pod, self.state.now);
    }
}

pub(crate) fn trace_id(rng: &mut impl Rng) -> [u8; 16] {
    rng.random_range(1..u128::MAX).to_be_bytes()
}

pub(crate) fn span_id(rng: &mut impl Rng) -> [u8; 8] {
    rng.random_range(1..u64::MAX).to_be_bytes()
}
