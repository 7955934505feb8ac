//! All that goes wrong, changes or only looks like it in one scenario.

use crate::fault::choose::Chooser;
use crate::fault::{Fault, Mechanism, decoys, storm};
use crate::purpose::Purpose;
use crate::random::{SECOND, stream};
use crate::truth::{ChangeKind, FaultKind};
use crate::world::{ServiceIndex, World};
use rand::Rng;
use rand::seq::SliceRandom;

/// First and last instant of a scenario, in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Period {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Period {
    pub(crate) fn length(self) -> u64 {
        self.end - self.start
    }

    /// The instant at a share of the period.
    pub(crate) fn at(self, share: f64) -> u64 {
        self.start + (self.length() as f64 * share) as u64
    }
}

/// Which faults happen in a scenario.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum FaultChoice {
    /// None to three of any kind: the seed decides.
    #[default]
    Random,
    /// None.
    Quiet,
    /// One of each of these kinds, close to each other in time and in different parts of the topology. One for which
    /// the topology has no place is left out.
    Kinds(Vec<FaultKind>),
    /// One of this kind that comes again and again, so many times in all, for a minute or two each. Of a kind that follows on
    /// a change, or grows until something breaks, it comes once.
    Recurring(FaultKind, u32),
}

/// A change, of a fault or of a decoy.
#[derive(Clone, Debug)]
pub(crate) struct PlannedChange {
    pub(crate) kind: ChangeKind,
    pub(crate) service: ServiceIndex,
    pub(crate) name: String,
    pub(crate) at: u64,
    pub(crate) reverted: Option<u64>,
    /// Instances that are replaced or added, one after the other.
    pub(crate) instances: Vec<usize>,
    /// Time from one of them to the next.
    pub(crate) pause: u64,
}

/// A flag that an operation asks for at every run.
#[derive(Clone, Debug)]
pub(crate) struct FlagRule {
    pub(crate) service: ServiceIndex,
    pub(crate) operation: usize,
    pub(crate) key: String,
    /// When the new variant is handed out, and to what share of the runs.
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) share: f64,
}

/// More traffic than usual.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spike {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) factor: f64,
}

/// All that happens in one scenario.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// In order of their onset.
    pub(crate) faults: Vec<Fault>,
    pub(crate) changes: Vec<PlannedChange>,
    pub(crate) flags: Vec<FlagRule>,
    pub(crate) spikes: Vec<Spike>,
}

impl Plan {
    /// Plans a scenario with `rate` requests a second, and makes the world large enough for it.
    pub(crate) fn new(world: &mut World, choice: &FaultChoice, with_decoys: bool, period: Period, rate: f64) -> Self {
        let mut rng = stream(world.key, 2);
        let kinds = kinds(&mut rng, choice);
        let mut plan = Chooser::new(world, &mut rng, period, rate).choose(&kinds);
        if let FaultChoice::Recurring(_, times) = choice {
            recur(&mut plan, &mut rng, *times, period);
        }
        plan.faults.sort_by_key(|fault| fault.onset);
        let storms: Vec<ServiceIndex> = plan.faults.iter().filter_map(storm::service).collect();
        for &service in &storms {
            storm::slow_down(world, service, rate);
        }
        world.size_for(&mut rng, rate);
        for &service in &storms {
            storm::tighten(world, &mut rng, service);
        }
        if with_decoys {
            decoys::add(&mut plan, world, &mut rng, period);
        }
        plan
    }

    /// Traffic in relation to the usual.
    pub(crate) fn traffic(&self, at: u64) -> f64 {
        let during = self.spikes.iter().filter(|spike| (spike.start..spike.end).contains(&at));
        during.map(|spike| spike.factor).fold(1.0, f64::max)
    }
}

fn kinds(rng: &mut impl Rng, choice: &FaultChoice) -> Vec<FaultKind> {
    match choice {
        FaultChoice::Quiet => Vec::new(),
        FaultChoice::Kinds(kinds) => kinds.clone(),
        FaultChoice::Recurring(kind, _) => vec![*kind],
        FaultChoice::Random => {
            let count = match rng.random_range(0..20) {
                0..3 => 0,
                3..14 => 1,
                14..18 => 2,
                _ => 3,
            };
            let mut kinds = FaultKind::ALL;
            kinds.shuffle(rng);
            kinds[..count].to_vec()
        }
    }
}

/// How long a fault that comes again lasts each time.
const RECURRING_NANOS: std::ops::Range<u64> = 60 * SECOND..120 * SECOND;

/// Puts a fault that has no change and needs no time to build up at other times as well, each in a part of its own of the
/// period.
fn recur(plan: &mut Plan, rng: &mut impl Rng, times: u32, period: Period) {
    let [fault] = &plan.faults[..] else { return };
    if fault.change.is_some()
        || matches!(fault.mechanism, Mechanism::Leak { .. } | Mechanism::Storm { .. } | Mechanism::Flag { .. })
    {
        return;
    }
    let fault = fault.clone();
    // The first part stays quiet, as there has to be something to compare with.
    let part = period.length() / u64::from(times + 1);
    let again = (1..=u64::from(times)).map(|number| {
        let length = rng.random_range(RECURRING_NANOS).min(part / 2);
        let onset = period.start + number * part + rng.random_range(0..part - length);
        Fault { onset, end: onset + length, ramp: 0, ..fault.clone() }
    });
    plan.faults = again.collect();
}

/// Faults of short scenarios are shorter: lengths are drawn for a scenario of this length.
const WHOLE: f64 = 1500.0 * SECOND as f64;

/// Seconds on the time scale of the period, as nanoseconds.
pub(super) fn scaled(purpose: Purpose, rng: &mut impl Rng, scale: &crate::purpose::Scale, period: Period) -> u64 {
    let shrink = (period.length() as f64 / WHOLE).min(1.0);
    (scale.draw(purpose, rng) * shrink * SECOND as f64) as u64
}
