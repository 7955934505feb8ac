//! Random faults: where, when, how strong.

use crate::fault::parameters::{
    DELAY_MS, DEMAND, DURATION, FAILING, FILLING, PEER_DELAY_MS, RAMP, THREADS, TRIGGER, TRIGGER_FACTOR, VARIANT,
};
use crate::fault::plan::{Period, scaled};
use crate::fault::{Fault, FlagRule, Harm, Mechanism, Plan, PlannedChange, decoys};
use crate::purpose::{Purpose, Scale};
use crate::random::SECOND;
use crate::truth::{ChangeKind, FaultKind};
use crate::world::{MissingSpans, Operation, OperationRef, PeerKind, PerOperation, Query, ServiceIndex, Step, World};
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

/// A fault is put only where this many runs a second meet it: 40 in three minutes.
const LEAST_RATE: f64 = 0.22;
/// Requests a second of a service that a retry storm can be at.
const STORM_RATE: f64 = 1.0;
const ATTEMPTS: usize = 20;

/// Chooses the faults of one scenario.
pub(super) struct Chooser<'a> {
    world: &'a World,
    rng: &'a mut ChaCha8Rng,
    period: Period,
    /// Runs of each operation a second.
    rates: PerOperation,
    /// What earlier faults are at, and what they reach.
    roots: Vec<ServiceIndex>,
    reached: Vec<ServiceIndex>,
}

/// A fault that is not there yet.
struct Draft {
    mechanism: Mechanism,
    change: Option<PlannedChange>,
    flag: Option<FlagRule>,
    /// The fault may grow instead of being there at once.
    grows: bool,
}

impl From<Mechanism> for Draft {
    fn from(mechanism: Mechanism) -> Self {
        Draft { mechanism, change: None, flag: None, grows: true }
    }
}

#[derive(Clone, Copy)]
struct Window {
    onset: u64,
    end: u64,
}

impl<'a> Chooser<'a> {
    pub(super) fn new(world: &'a World, rng: &'a mut ChaCha8Rng, period: Period, rate: f64) -> Self {
        let mut rates = world.visits();
        for run in world.operations() {
            *rates.get_mut(run) *= rate;
        }
        Chooser { world, rng, period, rates, roots: Vec::new(), reached: Vec::new() }
    }

    pub(super) fn choose(mut self, kinds: &[FaultKind]) -> Plan {
        let mut plan = Plan::default();
        let mut first = None;
        for &kind in kinds {
            let window = self.window(first);
            let Some(draft) = self.place(kind, window) else { continue };
            first.get_or_insert(window);
            let change = draft.change.map(|change| {
                plan.changes.push(change);
                plan.changes.len() - 1
            });
            plan.flags.extend(draft.flag);
            let ramp = if draft.grows && self.rng.random_bool(0.5) {
                let share = self.draw(&RAMP);
                ((window.end - window.onset) as f64 * share) as u64
            } else {
                0
            };
            let Window { onset, end } = window;
            plan.faults.push(Fault { kind, onset, end, ramp, mechanism: draft.mechanism, change });
        }
        plan
    }

    fn purpose(&self) -> Purpose {
        self.world.purpose
    }

    fn draw(&mut self, scale: &Scale) -> f64 {
        scale.draw(self.world.purpose, self.rng)
    }

    /// When a fault happens: after enough quiet, and overlapping with the first.
    fn window(&mut self, first: Option<Window>) -> Window {
        let length = scaled(self.purpose(), self.rng, &DURATION, self.period);
        let latest = self.period.at(0.95) - length;
        let onset = match first {
            None => self.period.at(self.rng.random_range(0.35..0.6)),
            Some(first) => {
                let distance = (first.end - first.onset) as f64 * self.rng.random_range(-0.3..0.7);
                first.onset.saturating_add_signed(distance as i64)
            }
        };
        let onset = onset.clamp(self.period.at(0.3), latest);
        Window { onset, end: onset + length }
    }

    /// A fault of a kind that is not at, before or behind another one.
    fn place(&mut self, kind: FaultKind, window: Window) -> Option<Draft> {
        for _ in 0..ATTEMPTS {
            let Some(draft) = self.draft(kind, window) else { continue };
            let (root, reached) = self.world.footprint(&draft.mechanism);
            let clear = root.iter().all(|service| !self.roots.contains(service) && !self.reached.contains(service))
                && self.roots.iter().all(|service| !reached.contains(service));
            if clear {
                self.roots.extend(root);
                self.reached.extend(reached);
                return Some(draft);
            }
        }
        None
    }

    fn draft(&mut self, kind: FaultKind, window: Window) -> Option<Draft> {
        match kind {
            FaultKind::Latency => self.latency(),
            FaultKind::Errors => {
                let (service, operation) = self.operation_or_all()?;
                Some(Mechanism::Throw { service, operation, share: self.draw(&FAILING) }.into())
            }
            FaultKind::Cpu => {
                let service = self.busy_operation()?.service;
                let instances = self.instances(service);
                Some(Mechanism::Stress { service, instances, threads: self.draw(&THREADS) }.into())
            }
            FaultKind::MemoryLeak => {
                let service = self.busy_operation()?.service;
                let period = ((window.end - window.onset) as f64 * self.draw(&FILLING)) as u64;
                let mechanism = Mechanism::Leak { service, instances: self.instances(service), period };
                Some(Draft { grows: false, ..mechanism.into() })
            }
            FaultKind::PoolExhaustion => self.pool_exhaustion(),
            FaultKind::SlowDependency => {
                let peers: Vec<usize> = (0..self.world.peers.len())
                    .filter(|&peer| self.query_rate(|_, of| of == peer) >= LEAST_RATE)
                    .collect();
                let &peer = peers.choose(self.rng)?;
                Some(Mechanism::SlowPeer { peer, millis: self.draw(&PEER_DELAY_MS) }.into())
            }
            FaultKind::BadDeployment => self.bad_deployment(window),
            FaultKind::Flag => self.flag(window),
            FaultKind::RetryStorm => self.retry_storm(window),
            FaultKind::NoisyNeighbour => self.noisy_neighbour(),
        }
    }

    /// An operation that runs often enough, of a service whose spans arrive.
    fn busy_operation(&mut self) -> Option<OperationRef> {
        let (world, rates) = (self.world, &self.rates);
        let fits = |run: &OperationRef| {
            let seen = world.services[run.service].missing.spans != MissingSpans::Uninstrumented;
            seen && !world.operation(*run).background && rates.get(*run) >= LEAST_RATE
        };
        // First a service, so that those with many operations are not hit more often.
        let mut services: Vec<ServiceIndex> = world.operations().filter(fits).map(|run| run.service).collect();
        services.dedup();
        let service = *services.choose(self.rng)?;
        let operations: Vec<OperationRef> =
            world.operations().filter(|run| run.service == service).filter(fits).collect();
        operations.choose(self.rng).copied()
    }

    /// A service, and one operation of it or all.
    fn operation_or_all(&mut self) -> Option<(ServiceIndex, Option<usize>)> {
        let run = self.busy_operation()?;
        Some((run.service, self.rng.random_bool(0.6).then_some(run.operation)))
    }

    /// All instances of a service, or one of several.
    fn instances(&mut self, service: ServiceIndex) -> Vec<usize> {
        let count = self.world.services[service].instances.len();
        if self.rng.random_bool(0.6) { (0..count).collect() } else { vec![self.rng.random_range(0..count)] }
    }

    fn latency(&mut self) -> Option<Draft> {
        let (service, operation) = self.operation_or_all()?;
        let called =
            |run: &OperationRef| run.service == service && operation.is_none_or(|operation| operation == run.operation);
        let has_callers = self.world.operations().any(|run| {
            let steps = self.world.operation(run).steps();
            steps
                .filter_map(|step| if let Step::Call(call) = step { Some(call.target) } else { None })
                .any(|to| called(&to))
        });
        let network = has_callers && self.rng.random_bool(0.35);
        Some(Mechanism::Delay { service, operation, millis: self.draw(&DELAY_MS), network }.into())
    }

    /// Statements a second that fit.
    fn query_rate(&self, fits: impl Fn(ServiceIndex, usize) -> bool) -> f64 {
        let of_run = |run: OperationRef| {
            let of_step = |step: &Step| match step {
                Step::Query(Query { connection, probability, .. })
                    if fits(run.service, self.world.services[run.service].connections[*connection].peer) =>
                {
                    *probability
                }
                _ => 0.0,
            };
            self.rates.get(run) * self.world.operation(run).steps().map(of_step).sum::<f64>()
        };
        self.world.operations().map(of_run).sum()
    }

    fn pool_exhaustion(&mut self) -> Option<Draft> {
        let service = self.busy_operation()?.service;
        let plan = &self.world.services[service];
        let databases: Vec<usize> = (0..plan.connections.len())
            .filter(|&connection| {
                matches!(self.world.peers[plan.connections[connection].peer].kind, PeerKind::Database(_))
            })
            .collect();
        let &connection = databases.choose(self.rng)?;
        let peer = plan.connections[connection].peer;
        let rate = self.query_rate(|of, to| (of, to) == (service, peer)) / plan.instances.len() as f64;
        if rate < LEAST_RATE {
            return None;
        }
        let limit = self.rng.random_range(1..=2);
        // Demand is what comes in while one connection is held, for each connection that is left.
        let hold = (self.draw(&DEMAND) * limit as f64 / rate * SECOND as f64) as u64;
        Some(Draft { grows: false, ..Mechanism::Drain { service, connection, limit, hold }.into() })
    }

    fn harm(&mut self) -> Harm {
        if self.rng.random_bool(0.5) {
            Harm::Delay { millis: self.draw(&DELAY_MS) }
        } else {
            Harm::Throw { share: self.draw(&FAILING) }
        }
    }

    fn bad_deployment(&mut self, window: Window) -> Option<Draft> {
        let (service, operation) = self.operation_or_all()?;
        let change = PlannedChange {
            kind: ChangeKind::Deployment,
            service,
            name: self.world.services[service].name.clone(),
            at: window.onset,
            reverted: Some(window.end),
            instances: self.instances(service),
            pause: self.rng.random_range(SECOND..8 * SECOND),
        };
        let mechanism = Mechanism::Deployment { service, operation, harm: self.harm() };
        Some(Draft { change: Some(change), grows: false, ..mechanism.into() })
    }

    fn flag(&mut self, window: Window) -> Option<Draft> {
        let share = self.draw(&VARIANT);
        let OperationRef { service, operation } = self.busy_operation()?;
        if self.rates.get(OperationRef { service, operation }) * share < LEAST_RATE {
            return None;
        }
        let key = decoys::flag_key(self.world, self.rng, service);
        let change = PlannedChange {
            kind: ChangeKind::FeatureFlag,
            service,
            name: key.clone(),
            at: window.onset,
            reverted: Some(window.end),
            instances: Vec::new(),
            pause: 0,
        };
        let rule = FlagRule { service, operation, key, from: window.onset, to: window.end, share };
        let mechanism = Mechanism::Flag { service, operation, harm: self.harm() };
        Some(Draft { change: Some(change), flag: Some(rule), grows: false, ..mechanism.into() })
    }

    /// At a service that others wait for, and that is called often: few requests make no storm.
    fn retry_storm(&mut self, window: Window) -> Option<Draft> {
        let called = |service: ServiceIndex| {
            let steps = self.world.operations().flat_map(|run| self.world.operation(run).steps());
            steps.filter(|step| matches!(step, Step::Call(call) if call.target.service == service)).count() > 0
        };
        let mut services: Vec<ServiceIndex> = (0..self.world.services.len())
            .filter(|&service| self.world.services[service].missing.spans != MissingSpans::Uninstrumented)
            .filter(|&service| self.rates.of_service(service) >= STORM_RATE && called(service))
            .collect();
        services.shuffle(self.rng);
        let &service = services.first()?;
        let trigger_end = window.onset + scaled(self.purpose(), self.rng, &TRIGGER, self.period);
        let mechanism =
            Mechanism::Storm { service, factor: self.draw(&TRIGGER_FACTOR), trigger_end: trigger_end.min(window.end) };
        Some(Draft { grows: false, ..mechanism.into() })
    }

    /// An instance on a node where an instance of another, busy service is.
    fn noisy_neighbour(&mut self) -> Option<Draft> {
        let service = self.rng.random_range(0..self.world.services.len());
        let instance = self.rng.random_range(0..self.world.services[service].instances.len());
        let node = self.world.services[service].instances[instance];
        let suffers = |run: OperationRef| {
            let plan = &self.world.services[run.service];
            let here = plan.instances.iter().filter(|&&place| place == node).count() as f64;
            let rate = self.rates.get(run) * here / plan.instances.len() as f64;
            let Operation { work_ms, background, .. } = self.world.operation(run);
            run.service != service && !background && rate >= LEAST_RATE && *work_ms >= 1.5
        };
        if !self.world.operations().any(suffers) || self.world.services[service].missing.metrics {
            return None;
        }
        Some(Mechanism::Burn { service, instance, node, threads: self.draw(&THREADS) }.into())
    }
}
