//! Makes a world large enough for its traffic: workers, pools, backlogs and timeouts follow from how often an
//! operation runs and how long it takes.

use crate::random::{MILLISECOND, SECOND};
use crate::world::{OperationRef, PerOperation, Query, Step, World};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// There are so many times the workers and connections that the mean load needs: waiting is rare without a fault.
const HEADROOM: f64 = 5.0;

impl World {
    /// Sizes all services for this many requests of users a second.
    pub(crate) fn size_for(&mut self, rng: &mut ChaCha8Rng, rate: f64) {
        let (visits, durations) = (self.visits(), self.durations());
        for index in 0..self.services.len() {
            let instances = self.services[index].instances.len() as f64;
            let of_operation = |operation| {
                let run = OperationRef { service: index, operation };
                (visits.get(run) * rate / instances, durations.get(run) / 1e3)
            };
            let busy: f64 = (0..self.services[index].operations.len())
                .map(of_operation)
                .map(|(rate, seconds)| rate * seconds)
                .sum();
            let mut connections = vec![0.0; self.services[index].connections.len()];
            for (operation, plan) in self.services[index].operations.iter().enumerate() {
                for step in plan.steps() {
                    if let Step::Query(Query { connection, probability, median_ms, .. }) = step {
                        connections[*connection] += of_operation(operation).0 * probability * median_ms * 1.3 / 1e3;
                    }
                }
            }
            let service = &mut self.services[index];
            service.workers = rng.random_range(6..16) + (HEADROOM * busy) as usize;
            service.backlog = service.workers * rng.random_range(2..6);
            for (connection, busy) in service.connections.iter_mut().zip(connections) {
                connection.limit = rng.random_range(4..12) + (HEADROOM * busy) as usize;
            }
        }
        self.set_timeouts(rng, &durations);
    }

    /// Callers wait a multiple of what a call takes, and longer than the callee itself waits for one attempt.
    fn set_timeouts(&mut self, rng: &mut ChaCha8Rng, durations: &PerOperation) {
        let runs: Vec<OperationRef> = self.operations().collect();
        let mut longest = PerOperation::new(self);
        for run in runs.into_iter().rev() {
            let operation = &mut self.services[run.service].operations[run.operation];
            let mut own: f64 = 0.0;
            for step in operation.stages.iter_mut().flatten() {
                if let Step::Call(call) = step {
                    let usual = durations.get(call.target) * MILLISECOND as f64;
                    let least = longest.get(call.target) * 1.1;
                    let wanted = (usual * rng.random_range(8.0..20.0)).max(SECOND as f64 * 0.4);
                    call.timeout = wanted.max(least).min(20.0 * SECOND as f64) as u64;
                    own = own.max(call.timeout as f64);
                }
            }
            *longest.get_mut(run) = own;
        }
    }

    /// About how long a run of each operation takes, in milliseconds.
    pub(crate) fn durations(&self) -> PerOperation {
        let mut durations = PerOperation::new(self);
        let runs: Vec<OperationRef> = self.operations().collect();
        for run in runs.into_iter().rev() {
            let operation = self.operation(run);
            let of_step = |step: &Step| match step {
                Step::Call(call) => call.probability * (durations.get(call.target) + 0.8),
                Step::Query(query) => query.probability * query.median_ms * 1.2,
                Step::Publish { .. } => 1.2,
                Step::Background { .. } => 0.0,
            };
            let of_stage = |stage: &Vec<Step>| stage.iter().map(of_step).fold(0.0, f64::max);
            let waited: f64 = operation.stages.iter().map(of_stage).sum();
            *durations.get_mut(run) = operation.work_ms * 1.15 + waited;
        }
        durations
    }
}
