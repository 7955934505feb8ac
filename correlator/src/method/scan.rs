//! Finds when something was wrong, slot by slot, without being told a window.
//!
//! Each slot is compared with the quiet slots before it; a slot that stands out is not quiet, so that an incident does
//! not become the measure of what follows.

use super::delays::Delays;
use super::findings::{DELAY, Least, STEP};
use super::share::{Level, Slot};
use super::slots::Slots;
use super::steps::Steps;
use std::ops::Range;

/// Slots that are looked at as one at most, beside each slot on its own: what happens rarely needs longer to show.
const LONG: u32 = 4;
/// Deviate from which a slot stands out. Thousands of shares are looked at in each: in quiet hours the largest deviate
/// is below 4.
pub(super) const STANDS_OUT: f64 = 4.5;
/// Quiet slots that may lie within one run.
pub(super) const MOST_QUIET: u32 = 2;
/// Slots after which a run is cut: what lasts longer than ten minutes is looked at in parts.
pub(super) const LONGEST: u32 = 20;

/// Successive slots in which something was wrong.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    pub(super) slots: Range<u32>,
    /// Largest deviate in it.
    pub(super) deviate: f64,
}

/// Something that is counted per slot, while it is scanned.
pub(super) struct Counted {
    slots: Vec<Slot>,
    /// Number of slots that the level has passed.
    passed: usize,
    level: Level,
    least: &'static Least,
}

impl Counted {
    /// A step, of which there are so many in each slot, in the order of time.
    pub(super) fn step(slots: &[Slot]) -> Self {
        Self::new(slots, &STEP)
    }

    /// Slow values of a series, likewise.
    pub(super) fn delay(slots: &[Slot]) -> Self {
        Self::new(slots, &DELAY)
    }

    fn new(slots: &[Slot], least: &'static Least) -> Self {
        Self { slots: slots.to_vec(), passed: 0, level: Level::new(slots), least }
    }

    /// Learns slots up to `settled`, those that do not stand out.
    fn learn(&mut self, settled: u32, deviates: &[f64]) {
        while let Some(slot) = self.slots.get(self.passed).filter(|slot| slot.slot <= settled) {
            if deviates[slot.slot as usize] == 0.0 {
                self.level.add(*slot);
            }
            self.passed += 1;
        }
    }

    /// The largest deviate of a slot alone or of several that end with it and are not settled, and the first of them. The
    /// outer two must both make it larger: it begins when the trouble does, and what is quiet after it does not prolong it.
    fn loudest(&self, slot: u32) -> Option<(f64, u32)> {
        let counted = &self.slots[self.passed..];
        let counted = &counted[..counted.partition_point(|counted| counted.slot <= slot)];
        let (last, earlier) = counted.split_last().filter(|(last, _)| last.slot == slot && last.hits > 0)?;
        let mut best = (self.deviate((last.hits, last.of)), slot);
        let (mut hits, mut of) = (0, 0);
        for counted in earlier.iter().rev() {
            hits += counted.hits;
            of += counted.of;
            if counted.hits == 0 {
                continue;
            }
            let deviate = self.deviate((hits + last.hits, of + last.of));
            if deviate > best.0 && deviate > self.deviate((hits, of)) {
                best = (deviate, counted.slot);
            }
        }
        Some(best)
    }

    fn deviate(&self, (hits, of): (u32, u32)) -> f64 {
        if hits == 0 || of < self.least.trials {
            return 0.0;
        }
        let rise = self.level.rise(hits, of).filter(|rise| rise.now - rise.before >= self.least.rise);
        rise.map_or(0.0, |rise| rise.deviate)
    }
}

/// The runs of slots of the baseline that stand out by what spans and logs show.
pub(super) fn runs(steps: &Steps, delays: &Delays, slots: &Slots) -> Vec<Run> {
    let mut all = Vec::new();
    let mut counts = Vec::new();
    for step in 0..steps.steps.len() {
        steps.slots(step, &mut counts);
        all.push(Counted::step(&counts));
    }
    for series in &delays.series {
        series.slots(&mut counts);
        all.push(Counted::delay(&counts));
    }
    runs_of(all, slots.window)
}

/// The runs of slots before `end` in which something of `all` stands out.
pub(super) fn runs_of(mut all: Vec<Counted>, end: u32) -> Vec<Run> {
    // Of the slots that stand out; of others 0.
    let mut deviates = vec![0.0_f64; end as usize];
    for slot in 0..end {
        for counted in &mut all {
            if let Some(settled) = slot.checked_sub(LONG) {
                counted.learn(settled, &deviates);
            }
            if let Some((deviate, first)) = counted.loudest(slot).filter(|(deviate, _)| *deviate >= STANDS_OUT) {
                for loud in &mut deviates[first as usize..=slot as usize] {
                    *loud = deviate.max(*loud);
                }
            }
        }
    }
    join(&deviates)
}

/// Joins slots that stand out and are near each other, from the deviate of each; of those that do not it is 0.
pub(super) fn join(deviates: &[f64]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (slot, &deviate) in deviates.iter().enumerate().filter(|(_, deviate)| **deviate > 0.0) {
        let slot = slot as u32;
        match runs.last_mut() {
            Some(run) if slot - run.slots.end <= MOST_QUIET && slot - run.slots.start < LONGEST => {
                run.slots.end = slot + 1;
                run.deviate = run.deviate.max(deviate);
            }
            _ => runs.push(Run { slots: slot..slot + 1, deviate }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is loudest with each of the last six slots, of which the middle two are what `loud` says; quiet ones before.
    fn loudest(loud: (u32, u32)) -> Vec<Option<u32>> {
        let slot = |slot: u32| {
            let (hits, of) = if (42..44).contains(&slot) { loud } else { (0, 20) };
            Slot { slot, hits, of }
        };
        let slots: Vec<Slot> = (0..46).map(slot).collect();
        let mut counted = Counted::new(&slots, &STEP);
        counted.learn(39, &[0.0; 46]);
        let first = |slot| counted.loudest(slot).filter(|(deviate, _)| *deviate >= STANDS_OUT).map(|(_, first)| first);
        (40..46).map(first).collect()
    }

    #[test]
    fn what_stands_out_begins_and_ends_with_the_trouble() {
        assert_eq!(loudest((0, 20)), [None; 6]);
        assert_eq!(loudest((12, 20)), [None, None, Some(42), Some(42), None, None]);
        assert_eq!(loudest((3, 20)), [None, None, None, Some(42), None, None], "two together");
    }

    #[test]
    fn slots_that_stand_out_near_each_other_are_one_run() {
        let mut deviates = [0.0; 60];
        deviates[3..5].fill(6.0);
        deviates[7] = 9.0;
        deviates[20] = 5.0;
        let runs = join(&deviates);
        assert_eq!(runs, [Run { slots: 3..8, deviate: 9.0 }, Run { slots: 20..21, deviate: 5.0 }]);
        assert_eq!(join(&[6.0; 50]).len(), 3);
        assert_eq!(join(&[]), []);
    }
}
