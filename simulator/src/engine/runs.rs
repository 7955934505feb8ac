//! Runs of operations: they wait for a worker, work, take their steps, work again and answer.

use crate::engine::slab::Key;
use crate::engine::state::{Attempt, StepRef};
use crate::engine::{Context, Event, Failure, Run, Simulation, Trigger, Visit, span_id, trace_id};
use crate::fault::Begin;
use crate::random::{MILLISECOND, log_normal};
use crate::world::{MissingSpans, Operation, OperationRef, Protocol, Step};
use rand::Rng;
use rand::seq::IteratorRandom;

/// Share of the processor time that comes before the steps.
const BEFORE_STEPS: f64 = 0.6;

impl Simulation<'_> {
    /// Sends a request or message to an instance of the service; it is there at `at`.
    pub(super) fn send(&mut self, to: OperationRef, context: Context, trigger: Trigger, visit: Visit, at: u64) {
        let machines = self.state.machines_of(self.world, to.service);
        let up = machines.clone().filter(|&machine| self.state.machines[machine].up);
        // Nobody listens when all are down: the request is refused when it gets there.
        let machine = up.choose(&mut self.state.rng).unwrap_or(machines.start);
        let run = self.add_run(to, machine, context, trigger, visit);
        self.state.agenda.add(at, Event::Reach(run));
    }

    fn add_run(&mut self, to: OperationRef, machine: usize, context: Context, trigger: Trigger, visit: Visit) -> Key {
        self.state.runs.insert(Run {
            operation: to,
            machine,
            pod: self.state.machines[machine].pod,
            context,
            trigger,
            visit,
            start: self.state.now,
            working: false,
            stage: 0,
            pending: 0,
            failure: None,
            finishing: false,
            flag: None,
        })
    }

    /// A request is at its instance: it is served, waits, or is turned away.
    pub(super) fn reach(&mut self, key: Key) {
        let now = self.state.now;
        let Some(run) = self.state.runs.get_mut(key) else { return };
        let machine = &mut self.state.machines[run.machine];
        let plan = &self.world.services[run.operation.service];
        (run.start, run.pod) = (now, machine.pod);
        if !machine.up {
            return self.turn_away(key, Failure::Refused);
        }
        if machine.working < plan.workers {
            return self.begin(key);
        }
        // Messages wait as long as they must.
        if machine.backlog.len() >= plan.backlog && plan.protocol != Protocol::Queue {
            return self.turn_away(key, Failure::Overloaded);
        }
        machine.backlog.push_back(key);
    }

    /// Ends a run that never had a worker.
    pub(super) fn turn_away(&mut self, key: Key, failure: Failure) {
        let Some(mut run) = self.state.runs.remove(key) else { return };
        run.failure = Some(failure);
        let now = self.state.now;
        if failure == Failure::Overloaded {
            self.state.recorder.run(self.world, self.plan, &run, now + MILLISECOND / 4);
        }
        self.answer(&run, Some(failure));
    }

    fn answer(&mut self, run: &Run, failure: Option<Failure>) {
        if let Trigger::Request { call: Some(attempt) } = run.trigger {
            let at = self.state.now + log_normal(&mut self.state.rng, 0.3, 0.4);
            self.state.agenda.add(at, Event::Answer(attempt, failure));
        }
    }

    /// A worker takes the run.
    fn begin(&mut self, key: Key) {
        let now = self.state.now;
        let Some(run) = self.state.runs.get_mut(key) else { return };
        let service = &self.world.services[run.operation.service];
        if !matches!(run.trigger, Trigger::Background) {
            self.state.machines[run.machine].working += 1;
            run.working = true;
        }
        if !service.span_from_accept {
            run.start = now;
        }
        let (operation, machine) = (run.operation, run.machine);
        let flag = self.ask_flags(operation);
        let begin = Begin {
            run: operation,
            revision: self.state.machines[machine].revision,
            flagged: flag.is_some_and(|(_, on)| on),
            at: now,
        };
        let Operation { work_ms, sigma, error_rate, .. } = *self.world.operation(operation);
        let rng = &mut self.state.rng;
        let effect = self.plan.run_effect(rng, begin);
        let accident = rng.random_bool(error_rate);
        let work = log_normal(rng, work_ms * BEFORE_STEPS * effect.slower, sigma);
        if let Some(run) = self.state.runs.get_mut(key) {
            run.flag = flag;
            run.failure = match (effect.fails, accident) {
                (true, _) => Some(Failure::Exception),
                (false, true) => Some(Failure::Accident),
                (false, false) => None,
            };
        }
        let done = now + effect.delay + self.work(machine, work);
        self.state.agenda.add(done, Event::Worked(key));
    }

    fn ask_flags(&mut self, of: OperationRef) -> Option<(usize, bool)> {
        let now = self.state.now;
        let asked = |rule: &crate::fault::FlagRule| (rule.service, rule.operation) == (of.service, of.operation);
        let index = self.plan.flags.iter().position(asked)?;
        let rule = &self.plan.flags[index];
        let on = (rule.from..rule.to).contains(&now) && self.state.rng.random_bool(rule.share);
        Some((index, on))
    }

    /// Processor time is over.
    pub(super) fn worked(&mut self, key: Key) {
        let Some(run) = self.state.runs.get(key) else { return };
        let machine = &mut self.state.machines[run.machine];
        machine.running -= 1;
        self.state.running[machine.node] -= 1;
        if run.finishing { self.finish(key) } else { self.advance(key) }
    }

    /// Takes the steps of the next stages, until there is something to wait for.
    pub(super) fn advance(&mut self, key: Key) {
        let world = self.world;
        loop {
            let Some(run) = self.state.runs.get_mut(key) else { return };
            let operation = world.operation(run.operation);
            let stage = run.stage;
            if stage == operation.stages.len() || run.failure.is_some() {
                run.finishing = true;
                let machine = run.machine;
                let work = operation.work_ms * (1.0 - BEFORE_STEPS);
                let work = log_normal(&mut self.state.rng, work, operation.sigma);
                let done = self.state.now + self.work(machine, work);
                return self.state.agenda.add(done, Event::Worked(key));
            }
            run.stage += 1;
            for step in 0..operation.stages[stage].len() {
                self.start_step(key, StepRef { stage, step });
            }
            if self.state.runs.get(key).is_none_or(|run| run.pending > 0) {
                return;
            }
        }
    }

    fn start_step(&mut self, key: Key, at: StepRef) {
        let world = self.world;
        let Some(run) = self.state.runs.get_mut(key) else { return };
        let step = &world.operation(run.operation).stages[at.stage][at.step];
        let probability = match step {
            Step::Call(call) => call.probability,
            Step::Query(query) => query.probability,
            Step::Publish { probability, .. } | Step::Background { probability, .. } => *probability,
        };
        if !self.state.rng.random_bool(probability) {
            return;
        }
        match step {
            Step::Call(_) => {
                run.pending += 1;
                self.start_call(key, at, 0);
            }
            Step::Query(_) => {
                run.pending += 1;
                self.start_query(key, at);
            }
            Step::Publish { target, topic, .. } => self.publish(key, *target, topic),
            Step::Background { operation, .. } => self.start_background(key, *operation),
        }
    }

    /// A step is done: without the last one the run goes on.
    pub(super) fn settle(&mut self, key: Key, failure: Option<Failure>) {
        let Some(run) = self.state.runs.get_mut(key) else { return };
        run.pending -= 1;
        run.failure = run.failure.or(failure);
        if run.pending == 0 {
            self.advance(key);
        }
    }

    fn publish(&mut self, key: Key, target: OperationRef, topic: &str) {
        let Some(run) = self.state.runs.get(key).cloned() else { return };
        let (now, rng) = (self.state.now, &mut self.state.rng);
        let (producer, id) = (span_id(rng), rng.random());
        let sent = now + log_normal(rng, 1.0, 0.4);
        let delivered = sent + log_normal(rng, 15.0, 0.6);
        let context = Context { trace_id: trace_id(rng), span_id: span_id(rng), parent: None };
        let instrumented = self.world.services[run.operation.service].missing.spans != MissingSpans::Uninstrumented;
        let from = instrumented.then_some((run.context.trace_id, producer));
        self.state.recorder.message(self.world, &run, topic, (producer, id), (now, sent));
        self.send(target, context, Trigger::Message { producer: from, id }, run.visit, delivered);
    }

    fn start_background(&mut self, key: Key, operation: usize) {
        let Some(run) = self.state.runs.get(key).cloned() else { return };
        let context =
            Context { span_id: span_id(&mut self.state.rng), parent: self.parent_for_children(&run), ..run.context };
        let to = OperationRef { service: run.operation.service, operation };
        let background = self.add_run(to, run.machine, context, Trigger::Background, run.visit);
        self.begin(background);
    }

    /// What children of a run name as their parent: a service without instrumentation hands on what it was given.
    pub(super) fn parent_for_children(&self, run: &Run) -> Option<[u8; 8]> {
        match self.world.services[run.operation.service].missing.spans {
            MissingSpans::Uninstrumented => run.context.parent,
            _ => Some(run.context.span_id),
        }
    }

    fn finish(&mut self, key: Key) {
        let Some(run) = self.state.runs.remove(key) else { return };
        let now = self.state.now;
        self.state.recorder.run(self.world, self.plan, &run, now);
        if run.working {
            self.state.machines[run.machine].working -= 1;
            self.next_from_backlog(run.machine);
        }
        self.answer(&run, run.failure);
    }

    fn next_from_backlog(&mut self, machine: usize) {
        while let Some(waiting) = self.state.machines[machine].backlog.pop_front() {
            if self.state.runs.get(waiting).is_some() {
                return self.begin(waiting);
            }
        }
    }

    /// A new attempt of a step of a run.
    pub(super) fn attempt(&mut self, key: Key, step: StepRef, number: u32) -> Option<(Attempt, Run)> {
        let run = self.state.runs.get(key)?.clone();
        let attempt = Attempt {
            run: key,
            step,
            number,
            span_id: span_id(&mut self.state.rng),
            start: self.state.now,
            machine: run.machine,
            epoch: self.state.machines[run.machine].epoch,
            connected: false,
            failure: None,
        };
        Some((attempt, run))
    }
}
