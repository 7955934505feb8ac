//! The digests of the last hour, series by series, and the runs of slots that stand out in them.
//!
//! What is looked at is what `scan` looks at in events: only the counts come from digests, and values from classes of
//! them.

use super::delays::{Delayed, high_rank, slow_limit};
use super::digest::{Digest, NanosClass, StepKey};
use super::explanation::{delay_title, step_title};
use super::names::{AllNames, Used};
use super::scan::{Counted, Loud, MOST_QUIET, loud};
use super::share::Slot;
use super::slots::GridSlot;
use super::steps::Context;
use super::traces::Symbol;
use hashbrown::HashMap;
use std::ops::Range;

/// Slots that are compared: an hour.
pub(crate) const HISTORY_SLOTS: i32 = 120;
/// Slots without anything that end a run.
pub(crate) const ENDING_SLOTS: i32 = MOST_QUIET as i32 + 1;
/// Steps and series at most; others are not counted.
const MOST_SERIES: usize = 200_000;
/// Bytes that a step or series takes beside its slots, about.
const SERIES_BYTES: usize = 96;

/// Successive slots in which something was wrong.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LoudRun {
    pub(crate) slots: Range<GridSlot>,
    /// How far the worst of it is from what is usual, in standard deviations.
    pub(crate) deviate: f64,
    /// What that is.
    pub(crate) sign: Option<Sign>,
}

/// What stands out most, which is not always what caused it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sign {
    /// In a few words.
    pub(crate) title: String,
    /// In which asset; of a call in the one that is called.
    pub(crate) asset: String,
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Scanned {
    /// In the order of time.
    pub(crate) runs: Vec<LoudRun>,
    /// Comparisons that were made: series times slots.
    pub(crate) tests: u64,
}

/// What stands out in the slots of an hour by what spans and logs show.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The first of its slots; `None` before anything was scanned.
    pub(super) first: Option<GridSlot>,
    pub(super) loud: Loud,
    /// How many series were looked at: they are numbered from 0 on.
    pub(super) series: usize,
    /// What those say that are the loudest of a slot.
    pub(super) signs: HashMap<u32, Sign>,
    /// Comparisons that were made: series times slots.
    pub(crate) tests: u64,
}

type Counts = Vec<(GridSlot, u32)>;
type Classes = Vec<(GridSlot, Box<[(NanosClass, u32)]>)>;

/// Digests of successive slots of one tenant.
#[derive(Debug, Default)]
pub(crate) struct History {
    contexts: HashMap<Context, Counts>,
    steps: HashMap<StepKey, Counts>,
    delays: HashMap<Delayed, Classes>,
    /// Slots that were added and not forgotten, in the order of time.
    slots: Vec<GridSlot>,
    bytes: usize,
}

impl History {
    /// Adds a digest of a later slot than those before; returns how many of its entries were too many.
    pub(crate) fn add(&mut self, digest: &Digest) -> u64 {
        let slot = digest.slot;
        let mut dropped = 0;
        for &((context, next), count) in &digest.steps {
            if self.steps.len() >= MOST_SERIES && !self.steps.contains_key(&(context, next)) {
                dropped += 1;
                continue;
            }
            self.steps.entry((context, next)).or_default().push((slot, count));
            let contexts = self.contexts.entry(context).or_default();
            match contexts.last_mut() {
                Some((last, all)) if *last == slot => *all += count,
                _ => contexts.push((slot, count)),
            }
        }
        for (delayed, classes) in &digest.delays {
            if self.delays.len() >= MOST_SERIES && !self.delays.contains_key(delayed) {
                dropped += 1;
                continue;
            }
            self.delays.entry(*delayed).or_default().push((slot, classes.as_slice().into()));
        }
        self.slots.push(slot);
        self.measure();
        dropped
    }

    /// Forgets slots before `first`; returns how many there were.
    pub(crate) fn forget_before(&mut self, first: GridSlot) -> u64 {
        let before = self.slots.partition_point(|slot| *slot < first);
        if before == 0 {
            return 0;
        }
        self.slots.drain(..before);
        forget_before(&mut self.steps, first);
        forget_before(&mut self.contexts, first);
        forget_before(&mut self.delays, first);
        self.measure();
        before as u64
    }

    /// The first of the newer half of the slots.
    pub(crate) fn middle(&self) -> Option<GridSlot> {
        self.slots.get(self.slots.len().div_ceil(2)).copied()
    }

    /// Marks the names and templates in use.
    pub(crate) fn mark(&self, used: &mut Used) {
        let mut symbol = |symbol: Symbol| {
            used.templates.extend(symbol.as_template());
            used.operations.extend(symbol.as_child());
        };
        for (context, next) in self.steps.keys() {
            symbol(context.previous);
            symbol(*next);
        }
        for context in self.contexts.keys() {
            used.assets.insert(context.asset);
            used.operations.insert(context.operation);
        }
        for delayed in self.delays.keys() {
            used.assets.extend(delayed.assets());
            if let Delayed::Own { operation, .. } | Delayed::Call { operation, .. } = delayed {
                used.operations.insert(*operation);
            }
        }
    }

    /// Bytes of memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What stands out in the hour up to the slot `last` and including it.
    pub(crate) fn scan(&self, last: GridSlot, names: &AllNames) -> Heard {
        let first = last.later(1 - HISTORY_SLOTS);
        let number = |slot: GridSlot| slot.0.checked_sub(first.0).and_then(|slot| u32::try_from(slot).ok());
        let number = |slot: GridSlot| number(slot).filter(|number| *number < HISTORY_SLOTS as u32);
        let mut all = Vec::with_capacity(self.steps.len() + self.delays.len());
        let mut slots: Vec<Slot> = Vec::new();
        for ((context, _), taken) in &self.steps {
            slots.clear();
            let mut taken = taken.iter().peekable();
            for &(slot, of) in self.contexts.get(context).into_iter().flatten() {
                let hits = taken.next_if(|(at, _)| *at == slot).map_or(0, |(_, hits)| *hits);
                slots.extend(number(slot).map(|slot| Slot { slot, hits, of }));
            }
            all.push(Counted::step(&slots));
        }
        let mut totals = vec![0; NanosClass::COUNT];
        for classes in self.delays.values() {
            let inside = || classes.iter().filter_map(|(slot, classes)| Some((number(*slot)?, classes)));
            let limit = limit(inside().flat_map(|(_, classes)| classes.iter().copied()), &mut totals);
            slots.clear();
            for (slot, classes) in inside() {
                let count = |slow: bool| {
                    let counted = classes.iter().filter(|(class, _)| !slow || class.nanos() > limit);
                    counted.map(|(_, count)| count).sum()
                };
                slots.push(Slot { slot, hits: count(true), of: count(false) });
            }
            all.push(Counted::delay(&slots));
        }
        let tests = all.len() as u64 * self.slots.len() as u64;
        let series = all.len();
        let loud = loud(all, HISTORY_SLOTS as u32);
        let signs = loud.loudest().filter_map(|series| Some((series, self.sign(series as usize, names)?))).collect();
        Heard { first: Some(first), loud, series, signs, tests }
    }

    /// What a step or series says, by its place in what is scanned: first the steps, then the delays.
    fn sign(&self, place: usize, names: &AllNames) -> Option<Sign> {
        let (asset, operation) = (|number| names.assets.text(number), |number| names.operations.text(number));
        if let Some((context, next)) = self.steps.keys().nth(place) {
            let title = step_title(operation(context.operation), asset(context.asset), *next == Symbol::FAILED);
            return Some(Sign { title, asset: asset(context.asset).to_owned() });
        }
        let delayed = self.delays.keys().nth(place - self.steps.len())?;
        let [_, of] = delayed.assets();
        Some(Sign { title: delay_title(*delayed, asset, operation), asset: asset(of).to_owned() })
    }

    fn measure(&mut self) {
        let counts = |counts: &Counts| SERIES_BYTES + counts.capacity() * size_of::<(GridSlot, u32)>();
        let classes = |classes: &Classes| {
            let slots = classes.capacity() * size_of::<(GridSlot, Box<[(NanosClass, u32)]>)>();
            let entries: usize = classes.iter().map(|(_, classes)| classes.len()).sum();
            SERIES_BYTES + slots + entries * size_of::<(NanosClass, u32)>()
        };
        self.bytes = self.steps.values().chain(self.contexts.values()).map(counts).sum::<usize>()
            + self.delays.values().map(classes).sum::<usize>();
    }
}

/// Forgets slots before `first`, and series without any other.
fn forget_before<K, V>(series: &mut HashMap<K, Vec<(GridSlot, V)>>, first: GridSlot) {
    series.retain(|_, slots| {
        slots.drain(..slots.partition_point(|(slot, _)| *slot < first));
        slots.shrink_to(2 * slots.len());
        !slots.is_empty()
    });
}

/// From what on values are slow. `totals` is room for the count of each class, all 0 before and after.
fn limit(classes: impl Iterator<Item = (NanosClass, u32)> + Clone, totals: &mut [u32]) -> u64 {
    let mut count = 0;
    for (class, values) in classes.clone() {
        totals[usize::from(class.0)] += values;
        count += values as usize;
    }
    if count == 0 {
        return u64::MAX;
    }
    let ranks = [count / 2, high_rank(count)];
    let mut found = [0; 2];
    let mut below = 0;
    for (class, values) in totals.iter_mut().enumerate().filter(|(_, values)| **values > 0) {
        let end = below + *values as usize;
        for (rank, found) in ranks.iter().zip(&mut found) {
            if (below..end).contains(rank) {
                *found = NanosClass(class as u16).nanos();
            }
        }
        below = end;
        *values = 0;
    }
    let [median, high] = found;
    slow_limit(median, high)
}
