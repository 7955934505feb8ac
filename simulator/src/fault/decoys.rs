//! Changes and traffic that cause nothing.

use crate::fault::parameters::{SPIKE, SPIKE_LENGTH};
use crate::fault::plan::{Period, scaled};
use crate::fault::{FlagRule, Mechanism, Plan, PlannedChange, Spike};
use crate::random::SECOND;
use crate::truth::ChangeKind;
use crate::vocabulary;
use crate::world::{ServiceIndex, World};
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// Adds none to four decoys; a scaled service gets one more instance.
pub(super) fn add(plan: &mut Plan, world: &mut World, rng: &mut ChaCha8Rng, period: Period) {
    let storm = plan.faults.iter().any(|fault| matches!(fault.mechanism, Mechanism::Storm { .. }));
    // Changed services are left alone: two changes of one service would be one story.
    let mut taken: Vec<ServiceIndex> = plan.faults.iter().filter_map(|fault| root(&fault.mechanism)).collect();
    for _ in 0..rng.random_range(0..=4) {
        let at = instant(plan, rng, period);
        let free: Vec<ServiceIndex> = (0..world.services.len()).filter(|service| !taken.contains(service)).collect();
        let Some(&service) = free.choose(rng) else { return };
        match rng.random_range(0..4) {
            0 => deployment(plan, world, rng, service, at),
            1 => flag(plan, world, rng, service, (at, period)),
            2 => scaling(plan, world, rng, service, at),
            // What is near its limit would fall over, and so a spike would be a cause.
            _ if !storm => {
                let end = at + scaled(world.purpose, rng, &SPIKE_LENGTH, period);
                plan.spikes.push(Spike { start: at, end: end.min(period.end), factor: SPIKE.draw(world.purpose, rng) });
                continue;
            }
            _ => continue,
        }
        taken.push(service);
    }
}

/// The service at fault, if it is one.
fn root(mechanism: &Mechanism) -> Option<ServiceIndex> {
    match *mechanism {
        Mechanism::Delay { service, .. }
        | Mechanism::Throw { service, .. }
        | Mechanism::Stress { service, .. }
        | Mechanism::Leak { service, .. }
        | Mechanism::Drain { service, .. }
        | Mechanism::Deployment { service, .. }
        | Mechanism::Flag { service, .. }
        | Mechanism::Storm { service, .. }
        | Mechanism::Burn { service, .. } => Some(service),
        Mechanism::SlowPeer { .. } => None,
    }
}

/// Half of the decoys come shortly before or after a fault begins.
fn instant(plan: &Plan, rng: &mut ChaCha8Rng, period: Period) -> u64 {
    let near = plan.faults.choose(rng).filter(|_| rng.random_bool(0.5)).map(|fault| fault.onset);
    match near {
        Some(onset) => onset + rng.random_range(0..60 * SECOND) - rng.random_range(0..50 * SECOND),
        None => period.at(rng.random_range(0.1..0.9)),
    }
}

fn deployment(plan: &mut Plan, world: &World, rng: &mut ChaCha8Rng, service: ServiceIndex, at: u64) {
    plan.changes.push(PlannedChange {
        kind: ChangeKind::Deployment,
        service,
        name: world.services[service].name.clone(),
        at,
        reverted: None,
        instances: (0..world.services[service].instances.len()).collect(),
        pause: rng.random_range(2 * SECOND..15 * SECOND),
    });
}

fn flag(plan: &mut Plan, world: &World, rng: &mut ChaCha8Rng, service: ServiceIndex, (at, period): (u64, Period)) {
    let operations = &world.services[service].operations;
    let operation = rng.random_range(0..operations.iter().filter(|operation| !operation.background).count());
    let key = flag_key(world, rng, service);
    plan.changes.push(PlannedChange {
        kind: ChangeKind::FeatureFlag,
        service,
        name: key.clone(),
        at,
        reverted: None,
        instances: Vec::new(),
        pause: 0,
    });
    let share = rng.random_range(0.1..1.0);
    plan.flags.push(FlagRule { service, operation, key, from: at, to: period.end, share });
}

/// Key of a flag of a service.
pub(super) fn flag_key(world: &World, rng: &mut ChaCha8Rng, service: ServiceIndex) -> String {
    let word = vocabulary::of(world.purpose).flags.choose(rng).copied().unwrap_or("variant");
    format!("{}-{word}", world.services[service].name)
}

fn scaling(plan: &mut Plan, world: &mut World, rng: &mut ChaCha8Rng, service: ServiceIndex, at: u64) {
    let node = rng.random_range(0..world.nodes.len());
    let plan_of = &mut world.services[service];
    plan_of.instances.push(node);
    plan.changes.push(PlannedChange {
        kind: ChangeKind::Scaling,
        service,
        name: plan_of.name.clone(),
        at,
        reverted: None,
        instances: vec![plan_of.instances.len() - 1],
        pause: 0,
    });
}
