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

/// Slots that are looked at as one, beside each slot on its own: what happens rarely needs longer to show.
const LONG: u32 = 4;
/// Deviate from which a slot stands out. Thousands of shares are looked at in each: in quiet hours the largest deviate
/// is below 4.
const STANDS_OUT: f64 = 4.5;
/// Quiet slots that may lie within one run.
const MOST_QUIET: u32 = 2;
/// Slots after which a run is cut: what lasts longer than ten minutes is looked at in parts.
const LONGEST: u32 = 20;

/// Successive slots in which something was wrong.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    pub(super) slots: Range<u32>,
    /// Largest deviate in it.
    pub(super) deviate: f64,
}

/// Something that is counted per slot, while it is scanned.
struct Counted<'a> {
    slots: Vec<Slot>,
    /// Number of slots that the level has passed.
    passed: usize,
    level: Level,
    least: &'a Least,
}

impl<'a> Counted<'a> {
    fn new(slots: &[Slot], least: &'a Least) -> Self {
        Self { slots: slots.to_vec(), passed: 0, level: Level::new(slots), least }
    }

    /// Learns slots up to `settled`, those that do not stand out.
    fn learn(&mut self, settled: u32, loud: &[bool]) {
        while let Some(slot) = self.slots.get(self.passed).filter(|slot| slot.slot <= settled) {
            if !loud[slot.slot as usize] {
                self.level.add(*slot);
            }
            self.passed += 1;
        }
    }

    /// The deviates of a slot and of it and those before that are not settled.
    fn deviates(&self, slot: u32) -> (f64, f64) {
        let ((mut hits, mut of), mut last) = ((0, 0), (0, 0));
        for counted in self.slots[self.passed..].iter().take_while(|counted| counted.slot <= slot) {
            hits += counted.hits;
            of += counted.of;
            if counted.slot == slot {
                last = (counted.hits, counted.of);
            }
        }
        (self.deviate(last), self.deviate((hits, of)))
    }

    fn deviate(&self, (hits, of): (u32, u32)) -> f64 {
        if hits == 0 || of < self.least.trials {
            return 0.0;
        }
        let rise = self.level.rise(hits, of).filter(|rise| rise.now - rise.before >= self.least.rise);
        rise.map_or(0.0, |rise| rise.deviate)
    }
}

/// The runs of slots of the baseline that stand out.
pub(super) fn runs(steps: &Steps, delays: &Delays, slots: &Slots) -> Vec<Run> {
    let end = slots.window;
    let mut all = Vec::new();
    let mut counts = Vec::new();
    for step in 0..steps.steps.len() {
        steps.slots(step, &mut counts);
        all.push(Counted::new(&counts, &STEP));
    }
    for series in &delays.series {
        series.slots(&mut counts);
        all.push(Counted::new(&counts, &DELAY));
    }
    let mut loud = vec![false; end as usize];
    let mut deviates = vec![0.0_f64; end as usize];
    for slot in 0..end {
        let (mut short, mut long) = (0.0_f64, 0.0_f64);
        for counted in &mut all {
            if let Some(settled) = slot.checked_sub(LONG) {
                counted.learn(settled, &loud);
            }
            let (of_slot, of_several) = counted.deviates(slot);
            short = short.max(of_slot);
            long = long.max(of_several);
        }
        let first = if short >= STANDS_OUT { slot } else { slot.saturating_sub(LONG - 1) };
        if short.max(long) >= STANDS_OUT {
            for loud in first..=slot {
                deviates[loud as usize] = deviates[loud as usize].max(short.max(long));
            }
            loud[first as usize..=slot as usize].fill(true);
        }
    }
    join(&deviates)
}

/// Joins slots that stand out and are near each other.
fn join(deviates: &[f64]) -> Vec<Run> {
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
