//! Instances: how fast they work, and how they die, come back and get new code.

use crate::engine::state::Pool;
use crate::engine::{Event, Failure, Simulation, Trigger};
use crate::fault::{Mechanism, garbage_collection};
use crate::random::{MILLISECOND, SECOND};
use crate::world::ServiceIndex;
use rand::Rng;

impl Simulation<'_> {
    /// How long some processor time takes that begins now. [`Event::Worked`] must follow.
    pub(super) fn work(&mut self, machine: usize, nanos: u64) -> u64 {
        let now = self.state.now;
        let machine = &mut self.state.machines[machine];
        machine.running += 1;
        machine.busy += nanos;
        self.state.running[machine.node] += 1;
        let place = machine.place();
        let own = self.world.services[machine.service].processors;
        let stress = self.plan.stress(place, now) * own;
        let of_instance = (machine.running as f64 + stress) / own;
        let all = self.world.nodes[machine.node].processors;
        let burn = self.plan.burn(machine.node, now) * all;
        // Stress is held down by the limit of its instance, a noisy neighbour has none.
        let of_node = (self.state.running[machine.node] as f64 + stress.min(own) + burn) / all;
        let (share, pause) = garbage_collection(self.plan.leaked(place, machine.started, now));
        let taken = nanos as f64 * of_instance.max(of_node).max(1.0) / (1.0 - share);
        // Pauses come so often that they make up their share of the time.
        let met = (taken + pause as f64) * share / pause as f64;
        let paused = if self.state.rng.random_bool(met.min(1.0)) { self.state.rng.random_range(0..=pause) } else { 0 };
        taken as u64 + paused
    }

    /// An instance dies with everything that it does.
    pub(super) fn kill(&mut self, machine: usize, fault: usize) {
        let now = self.state.now;
        if now >= self.plan.faults[fault].end {
            return;
        }
        self.state.recorder.killed(self.world, &self.state.machines[machine], now);
        for key in self.state.runs.keys(|run| run.machine == machine) {
            let Some(run) = self.state.runs.remove(key) else { continue };
            if let Trigger::Request { call: Some(attempt) } = run.trigger {
                self.state.agenda.add(now + MILLISECOND, Event::Answer(attempt, Some(Failure::Killed)));
            }
        }
        let dead = &mut self.state.machines[machine];
        self.state.running[dead.node] -= dead.running;
        (dead.up, dead.working, dead.running) = (false, 0, 0);
        dead.epoch += 1;
        dead.backlog.clear();
        dead.pools.iter_mut().for_each(|pool| *pool = Pool::default());
        let back = now + self.state.rng.random_range(6 * SECOND..20 * SECOND);
        self.state.agenda.add(back, Event::Recover { machine, fault });
    }

    pub(super) fn recover(&mut self, machine: usize, fault: usize) {
        let now = self.state.now;
        self.state.machines[machine].up = true;
        self.new_process(machine, true);
        if let Mechanism::Leak { period, .. } = self.plan.faults[fault].mechanism {
            self.state.agenda.add(now + period, Event::Kill { machine, fault });
        }
    }

    /// The process of an instance ends in good order, and another one takes its place at once.
    pub(super) fn restart(&mut self, machine: usize) {
        if self.state.machines[machine].up {
            self.new_process(machine, true);
        }
    }

    fn new_process(&mut self, machine: usize, same_pod: bool) {
        let now = self.state.now;
        let new = &mut self.state.machines[machine];
        (new.restarts, new.generation) =
            if same_pod { (new.restarts + 1, new.generation) } else { (0, new.generation + 1) };
        new.started = now;
        let names = (new.revision, new.generation, new.restarts);
        new.pod = self.state.recorder.add_pod(self.world, new.place(), names, now);
        self.state.recorder.started(self.world, &self.state.machines[machine], now);
    }

    /// An instance gets code of another revision.
    pub(super) fn replace(&mut self, machine: usize, revision: u32) {
        self.state.machines[machine].revision = revision;
        self.new_process(machine, false);
    }

    pub(super) fn join(&mut self, machine: usize) {
        let new = &mut self.state.machines[machine];
        (new.up, new.started) = (true, self.state.now);
        self.state.recorder.started(self.world, &self.state.machines[machine], self.state.now);
    }

    /// Everything that waits for a service is turned away.
    pub(super) fn shed(&mut self, service: ServiceIndex) {
        for machine in self.state.machines_of(self.world, service) {
            for key in std::mem::take(&mut self.state.machines[machine].backlog) {
                self.turn_away(key, Failure::Overloaded);
            }
        }
    }
}
