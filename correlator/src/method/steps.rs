//! Steps: which symbol follows which within spans of one operation, counted per slot.
//!
//! A step is conditional on the symbol before it, so that one message that is missing or new is one step that rose,
//! and what follows it goes on as before.

use super::share::Slot;
use super::slots::Slots;
use super::traces::{Symbol, Traces};
use hashbrown::HashMap;

/// Most different steps; others are not counted.
const MOST_STEPS: usize = 500_000;

/// What a step follows on: an operation of an asset, and the symbol before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Context {
    pub(super) asset: u32,
    pub(super) operation: u32,
    pub(super) previous: Symbol,
}

/// A symbol after a context.
#[derive(Debug)]
pub(super) struct Step {
    /// Index of its context.
    context: u32,
    pub(super) next: Symbol,
    /// How often, by slot; `of` is not used.
    slots: Vec<Slot>,
}

/// All steps of all spans.
#[derive(Debug, Default)]
pub(super) struct Steps {
    contexts: Vec<(Context, Vec<Slot>)>,
    pub(super) steps: Vec<Step>,
    /// Every step that was taken: the span's index and the step's, in the order of spans.
    taken: Vec<(u32, u32)>,
    /// Steps that were too many to count.
    pub(super) dropped: u64,
}

impl Steps {
    /// Counts the steps of all spans. Templates of assets in `ignored` are no symbols: the rest is as it was.
    pub(super) fn count(traces: &Traces, slots: &Slots, ignores_logs: impl Fn(u32) -> bool) -> Self {
        let mut counted = Self::default();
        let mut pairs: HashMap<(u32, u32), u32> = HashMap::new();
        let mut contexts: HashMap<(u32, u32), u32> = HashMap::new();
        let mut steps: HashMap<(u32, u32), u32> = HashMap::new();
        for (index, span) in traces.spans.iter().enumerate() {
            let Some(slot) = slots.at(span.start) else { continue };
            let more = pairs.len() as u32;
            let pair = *pairs.entry((span.asset, span.operation)).or_insert(more);
            let without_logs = ignores_logs(span.asset);
            let mut previous = Symbol::START;
            for &next in &traces.symbols(index)[1..] {
                if without_logs && next.as_template().is_some() || next == previous {
                    continue;
                }
                let context = *contexts.entry((pair, previous.number())).or_insert_with(|| {
                    let context = Context { asset: span.asset, operation: span.operation, previous };
                    counted.contexts.push((context, Vec::new()));
                    counted.contexts.len() as u32 - 1
                });
                previous = next;
                let step = match steps.get(&(context, next.number())) {
                    Some(step) => *step,
                    None if counted.steps.len() >= MOST_STEPS => {
                        counted.dropped += 1;
                        continue;
                    }
                    None => {
                        let step = counted.steps.len() as u32;
                        steps.insert((context, next.number()), step);
                        counted.steps.push(Step { context, next, slots: Vec::new() });
                        step
                    }
                };
                increment(&mut counted.contexts[context as usize].1, slot);
                increment(&mut counted.steps[step as usize].slots, slot);
                counted.taken.push((index as u32, step));
            }
        }
        counted
    }

    /// Every step with what it follows on, and how often it was taken in all slots.
    pub(super) fn totals(&self) -> impl Iterator<Item = (Context, Symbol, u32)> {
        let total = |step: &Step| step.slots.iter().map(|slot| slot.hits).sum();
        self.steps.iter().map(move |step| (self.contexts[step.context as usize].0, step.next, total(step)))
    }

    /// The steps that spans from `first` to `end`, exclusive, took: the span's index and the step's.
    pub(super) fn taken(&self, first: usize, end: usize) -> &[(u32, u32)] {
        let at = |span: usize| self.taken.partition_point(|(taken, _)| (*taken as usize) < span);
        &self.taken[at(first)..at(end)]
    }

    /// What a step follows on.
    pub(super) fn context(&self, step: usize) -> Context {
        self.contexts[self.steps[step].context as usize].0
    }

    /// Fills `counts` with the slots of a step, in the order of time: how often it was taken, of all steps from the
    /// same context.
    pub(super) fn slots(&self, step: usize, counts: &mut Vec<Slot>) {
        counts.clear();
        let taken = &self.steps[step];
        let mut hits = taken.slots.iter().peekable();
        for all in &self.contexts[taken.context as usize].1 {
            let hits = hits.next_if(|slot| slot.slot == all.slot).map_or(0, |slot| slot.hits);
            counts.push(Slot { hits, of: all.hits, ..*all });
        }
    }
}

/// One more in a slot that is not before any that was counted.
fn increment(slots: &mut Vec<Slot>, slot: u32) {
    match slots.last_mut() {
        Some(last) if last.slot == slot => last.hits += 1,
        _ => slots.push(Slot { slot, hits: 1, of: 0 }),
    }
}
