//! What a retry storm needs before it begins: a service near its limit, and callers that do not give up.

use crate::fault::{Fault, Mechanism};
use crate::random::{MILLISECOND, SECOND};
use crate::world::{OperationRef, ServiceIndex, Step, World};
use rand::Rng;

/// Requests that the service can serve at the same time, over all of its instances.
const WORKERS: f64 = 2.0;
/// Share of them that is busy without a fault.
const BUSY: f64 = 0.45;
/// Callers wait so many times as long as a run takes.
const PATIENCE: f64 = 4.0;

/// The service of a retry storm.
pub(super) fn service(fault: &Fault) -> Option<ServiceIndex> {
    match fault.mechanism {
        Mechanism::Storm { service, .. } => Some(service),
        _ => None,
    }
}

/// Makes the runs of a service take so long that its few workers are rather busy.
pub(super) fn slow_down(world: &mut World, service: ServiceIndex, rate: f64) {
    let visits = world.visits().of_service(service) * rate;
    let wanted_ms = (BUSY * WORKERS / visits * 1e3).min(1500.0);
    let durations = world.durations();
    let waits: Vec<f64> = (world.services[service].operations.iter().enumerate())
        .map(|(operation, plan)| durations.get(OperationRef { service, operation }) - plan.work_ms * 1.15)
        .collect();
    let service = &mut world.services[service];
    for (operation, waits) in service.operations.iter_mut().zip(waits).filter(|(operation, _)| !operation.background) {
        // A worker also waits for what the operation calls.
        operation.work_ms = (wanted_ms - waits).max(2.0);
        operation.sigma = 0.15;
        operation.error_rate = 0.0;
    }
    service.instances.truncate(1);
    // Its own processors are not what it lacks.
    service.processors = 2.0 * WORKERS;
}

/// Takes the headroom, and lets callers try again at once.
pub(super) fn tighten(world: &mut World, rng: &mut impl Rng, service: ServiceIndex) {
    let node = world.services[service].instances[0];
    world.nodes[node].processors = world.nodes[node].processors.max(3.0 * WORKERS);
    let durations = world.durations();
    let plan = &mut world.services[service];
    plan.workers = WORKERS as usize;
    plan.backlog = 60 * plan.workers;
    let operations = world.services.iter_mut().flat_map(|service| &mut service.operations);
    for step in operations.flat_map(|operation| operation.stages.iter_mut().flatten()) {
        if let Step::Call(call) = step
            && call.target.service == service
        {
            let usual = durations.get(OperationRef { service, operation: call.target.operation });
            call.timeout = ((usual * PATIENCE * MILLISECOND as f64) as u64).max(SECOND / 2);
            call.retries = rng.random_range(4..=6);
            call.backoff = rng.random_range(MILLISECOND..10 * MILLISECOND);
            call.fallback = 0.0;
        }
    }
    raise_timeouts(world);
}

/// Callers of callers wait for all attempts.
fn raise_timeouts(world: &mut World) {
    let mut longest = crate::world::PerOperation::new(world);
    let runs: Vec<OperationRef> = world.operations().collect();
    for run in runs.into_iter().rev() {
        let mut own: f64 = 0.0;
        for step in world.services[run.service].operations[run.operation].stages.iter_mut().flatten() {
            if let Step::Call(call) = step {
                call.timeout = call.timeout.max(longest.get(call.target) as u64).min(60 * SECOND);
                own = own.max(call.timeout as f64 * 1.05);
            }
        }
        *longest.get_mut(run) = own;
    }
}
