//! Attempts of calls and queries: they wait for an answer or a connection, are given up, and are tried again.

use crate::engine::slab::Key;
use crate::engine::state::{Attempt, StepRef};
use crate::engine::{Context, Event, Failure, Simulation, Trigger, span_id};
use crate::random::{MILLISECOND, log_normal};
use crate::world::{Call, MissingSpans, OperationRef, Query, Step};
use rand::Rng;

impl<'a> Simulation<'a> {
    fn step(&self, of: OperationRef, at: StepRef) -> &'a Step {
        &self.world.operation(of).stages[at.stage][at.step]
    }

    pub(super) fn start_call(&mut self, key: Key, step: StepRef, number: u32) {
        let Some((attempt, run)) = self.attempt(key, step, number) else { return };
        let Step::Call(Call { target, timeout, .. }) = self.step(run.operation, step) else { return };
        let client_span = attempt.span_id;
        let attempt = self.state.attempts.insert(attempt);
        let now = self.state.now;
        let rng = &mut self.state.rng;
        let arrives = now + log_normal(rng, 0.3, 0.4) + self.plan.network_delay(rng, *target, now);
        // The client span is the parent, unless nobody made one.
        let parent = match self.world.services[run.operation.service].missing.spans {
            MissingSpans::Uninstrumented => run.context.parent,
            _ => Some(client_span),
        };
        let context = Context { trace_id: run.context.trace_id, span_id: span_id(rng), parent };
        self.state.agenda.add(now + timeout, Event::GiveUp(attempt));
        self.send(*target, context, Trigger::Request { call: Some(attempt) }, run.visit, arrives);
    }

    /// An answer is there, if anybody still waits for it.
    pub(super) fn answered(&mut self, key: Key, failure: Option<Failure>) {
        if let Some(attempt) = self.state.attempts.remove(key) {
            self.end_call(&attempt, failure);
        }
    }

    pub(super) fn give_up(&mut self, key: Key) {
        if let Some(attempt) = self.state.attempts.remove(key) {
            let millis = ((self.state.now - attempt.start) / MILLISECOND) as u32;
            self.end_call(&attempt, Some(Failure::TimedOut { millis }));
        }
    }

    fn end_call(&mut self, attempt: &Attempt, failure: Option<Failure>) {
        let Some(run) = self.state.runs.get(attempt.run).cloned() else { return };
        let world = self.world;
        let Step::Call(call) = self.step(run.operation, attempt.step) else { return };
        let now = self.state.now;
        self.state.recorder.call(world, &run, (attempt.span_id, attempt.start), call, failure, now);
        let Some(failure) = failure else { return self.settle(attempt.run, None) };
        if attempt.number < call.retries {
            let pause = (call.backoff << attempt.number.min(6)) as f64 * self.state.rng.random_range(0.5..1.5);
            let retry = Event::Retry { run: attempt.run, step: attempt.step, number: attempt.number + 1 };
            self.state.recorder.retried(world, &run, call, failure, now);
            return self.state.agenda.add(now + pause as u64, retry);
        }
        if self.state.rng.random_bool(call.fallback) {
            self.state.recorder.went_on(world, &run, call, failure, now);
            return self.settle(attempt.run, None);
        }
        self.settle(attempt.run, Some(Failure::Upstream { target: call.target, status: failure.status() }));
    }

    pub(super) fn start_query(&mut self, key: Key, step: StepRef) {
        let Some((attempt, run)) = self.attempt(key, step, 0) else { return };
        let Step::Query(Query { connection, .. }) = *self.step(run.operation, step) else { return };
        let machine = attempt.machine;
        let attempt = self.state.attempts.insert(attempt);
        if self.state.machines[machine].pools[connection].used < self.pool_limit(machine, connection) {
            return self.connect(attempt, connection);
        }
        self.state.machines[machine].pools[connection].waiting.push_back(attempt);
        let wait = self.world.services[run.operation.service].connections[connection].wait;
        self.state.agenda.add(self.state.now + wait, Event::NoConnection(attempt));
    }

    fn pool_limit(&self, machine: usize, connection: usize) -> usize {
        let service = self.state.machines[machine].service;
        let limit = self.world.services[service].connections[connection].limit;
        self.plan.drained(service, connection, self.state.now).map_or(limit, |(left, _)| left.min(limit))
    }

    /// The attempt gets a connection and asks its peer.
    fn connect(&mut self, key: Key, connection: usize) {
        let now = self.state.now;
        let Some(attempt) = self.state.attempts.get_mut(key) else { return };
        let Some(run) = self.state.runs.get(attempt.run) else { return };
        let pool = &mut self.state.machines[attempt.machine].pools[connection];
        pool.used += 1;
        self.state.recorder.waited(run.pod, connection, now - attempt.start);
        (attempt.connected, attempt.start) = (true, now);
        let operation = self.world.operation(run.operation);
        let Step::Query(query) = &operation.stages[attempt.step.stage][attempt.step.step] else { return };
        let to = &self.world.services[run.operation.service].connections[connection];
        let rng = &mut self.state.rng;
        let nanos = log_normal(rng, query.median_ms, query.sigma) + self.plan.peer_delay(rng, to.peer, now);
        if nanos > to.timeout {
            let millis = (to.timeout / MILLISECOND) as u32;
            attempt.failure = Some(Failure::QueryTimedOut { connection, millis });
        }
        self.state.agenda.add(now + nanos.min(to.timeout), Event::Queried(key));
    }

    pub(super) fn queried(&mut self, key: Key) {
        let Some(attempt) = self.state.attempts.remove(key) else { return };
        let now = self.state.now;
        let (machine, epoch) = (attempt.machine, attempt.epoch);
        let Some(run) = self.state.runs.get(attempt.run).cloned() else { return };
        let Step::Query(query) = self.step(run.operation, attempt.step) else { return };
        let span = (attempt.span_id, attempt.start);
        self.state.recorder.query(self.world, &run, span, query, attempt.failure, now);
        let connection = query.connection;
        match self.plan.drained(run.operation.service, connection, now) {
            Some((_, hold)) => {
                // Held by a transaction that nobody ended in time.
                let hold = (hold as f64 * self.state.rng.random_range(0.5..1.5)) as u64;
                self.state.agenda.add(now + hold, Event::Release { machine, epoch, connection });
            }
            None => self.release(machine, epoch, connection),
        }
        self.settle(attempt.run, attempt.failure);
    }

    /// A connection comes back, and whoever waits for one gets it.
    pub(super) fn release(&mut self, machine: usize, epoch: u32, connection: usize) {
        if self.state.machines[machine].epoch != epoch {
            return;
        }
        self.state.machines[machine].pools[connection].used -= 1;
        let limit = self.pool_limit(machine, connection);
        loop {
            let pool = &mut self.state.machines[machine].pools[connection];
            if pool.used >= limit {
                return;
            }
            let Some(waiting) = pool.waiting.pop_front() else { return };
            self.connect(waiting, connection);
        }
    }

    pub(super) fn no_connection(&mut self, key: Key) {
        if self.state.attempts.get(key).is_none_or(|attempt| attempt.connected) {
            return;
        }
        let Some(attempt) = self.state.attempts.remove(key) else { return };
        let Some(run) = self.state.runs.get(attempt.run) else { return };
        let Step::Query(Query { connection, .. }) = *self.step(run.operation, attempt.step) else { return };
        let millis = ((self.state.now - attempt.start) / MILLISECOND) as u32;
        let pod = run.pod;
        self.state.recorder.waited_in_vain(pod, connection);
        self.settle(attempt.run, Some(Failure::NoConnection { connection, millis }));
    }
}
