//! Finds when something was wrong, slot by slot, without being told a window.
//!
//! Each slot is compared with the quiet slots before it; a slot that stands out is not quiet, so that an incident does
//! not become the measure of what follows.

use super::delays::Delays;
use super::findings::{DELAY, Least, STEP};
use super::share::{Level, Slot, upper_deviate};
use super::slots::Slots;
use super::steps::Steps;
use hashbrown::HashSet;
use std::ops::Range;

/// Slots that are looked at as one at most, beside each slot on its own: what happens rarely needs longer to show.
const LONG: u32 = 4;
/// How likely something stands out in a slot by chance, were all shares that are looked at independent of one another:
/// with a thousand of them that is a deviate of 4.5. In quiet hours the largest one is below 4.
const BY_CHANCE: f64 = 0.003_4;
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

/// What stands out when: by slot the largest deviate, 0 where nothing does, and the numbers of the series that do, first
/// that whose deviate it is.
#[derive(Debug, Default)]
pub(super) struct Loud(Vec<(f64, Vec<u32>)>);

impl Loud {
    /// Nothing yet, in slots before `end`.
    pub(super) fn new(end: u32) -> Self {
        Self(vec![(0.0, Vec::new()); end as usize])
    }

    /// A series stands out in these slots.
    pub(super) fn add(&mut self, series: usize, slots: Range<u32>, deviate: f64) {
        for (largest, who) in &mut self.0[slots.start as usize..slots.end as usize] {
            who.push(series as u32);
            if deviate > *largest {
                *largest = deviate;
                let last = who.len() - 1;
                who.swap(0, last);
            }
        }
    }

    /// Takes over what stands out in another's slots, which are so many later here.
    pub(super) fn copy(&mut self, other: &Self, later: i64) {
        for (slot, loud) in (later..).zip(&other.0) {
            if let Some(here) = usize::try_from(slot).ok().and_then(|slot| self.0.get_mut(slot)) {
                here.clone_from(loud);
            }
        }
    }

    /// The series that stands out most in each slot in which something does.
    pub(super) fn loudest(&self) -> impl Iterator<Item = u32> {
        self.0.iter().filter_map(|(_, who)| who.first().copied())
    }

    /// The series that stands out most in a run.
    pub(super) fn loudest_in(&self, run: &Run) -> Option<u32> {
        let slots = &self.0[run.slots.start as usize..run.slots.end as usize];
        slots.iter().find(|(deviate, _)| *deviate == run.deviate)?.1.first().copied()
    }

    /// True of a slot in which something stands out.
    fn is_loud(&self, slot: u32) -> bool {
        self.0[slot as usize].0 > 0.0
    }

    /// The runs of slots that stand out. After a quiet slot or two a run goes on only when something stands out that did
    /// before: what begins anew then is another trouble.
    pub(super) fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        // The series that stand out in the last run.
        let mut in_run: HashSet<u32> = HashSet::new();
        for (slot, (deviate, who)) in (0..).zip(&self.0).filter(|(_, (deviate, _))| *deviate > 0.0) {
            let goes_on = |run: &&mut Run| {
                let quiet = slot - run.slots.end;
                let is_near = quiet == 0 || quiet <= MOST_QUIET && who.iter().any(|series| in_run.contains(series));
                is_near && slot - run.slots.start < LONGEST
            };
            match runs.last_mut().filter(goes_on) {
                Some(run) => {
                    run.slots.end = slot + 1;
                    run.deviate = run.deviate.max(*deviate);
                }
                None => {
                    in_run.clear();
                    runs.push(Run { slots: slot..slot + 1, deviate: *deviate });
                }
            }
            in_run.extend(who);
        }
        runs
    }
}

/// Something that is counted per slot, while it is scanned.
pub(super) struct Counted {
    slots: Vec<Slot>,
    /// Number of slots that the level has passed.
    passed: usize,
    /// Number of slots up to the one looked at.
    seen: usize,
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
        let level = Level::new(slots);
        Self { slots: slots.to_vec(), passed: 0, seen: 0, level, least }
    }

    /// Looks at a slot, which is later than those before; false when it could not happen in it.
    fn pass(&mut self, slot: u32) -> bool {
        let is_now = self.slots.get(self.seen).is_some_and(|next| next.slot == slot);
        self.seen += usize::from(is_now);
        is_now
    }

    /// Learns slots up to `settled`, those that do not stand out.
    fn learn(&mut self, settled: u32, loud: &Loud) {
        while let Some(slot) = self.slots.get(self.passed).filter(|slot| slot.slot <= settled) {
            if !loud.is_loud(slot.slot) {
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

/// What stands out by what spans and logs show; series are numbered as steps are, and then delays.
pub(super) fn scan(steps: &Steps, delays: &Delays, slots: &Slots) -> Loud {
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
    loud(all, slots.window)
}

/// What of `all` stands out in slots before `end`.
pub(super) fn loud(mut all: Vec<Counted>, end: u32) -> Loud {
    let mut loud = Loud::new(end);
    for slot in 0..end {
        let counted = all.iter_mut().map(|counted| usize::from(counted.pass(slot))).sum();
        let least = stands_out(counted);
        for (series, counted) in all.iter_mut().enumerate() {
            if let Some(settled) = slot.checked_sub(LONG) {
                counted.learn(settled, &loud);
            }
            if let Some((deviate, first)) = counted.loudest(slot).filter(|(deviate, _)| *deviate >= least) {
                loud.add(series, first..slot + 1, deviate);
            }
        }
    }
    loud
}

/// Deviate from which one of so many shares that are looked at in a slot stands out: the more there are, the further
/// the largest of them is by chance (Bonferroni).
fn stands_out(shares: usize) -> f64 {
    upper_deviate(BY_CHANCE / shares.max(1) as f64)
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
        counted.learn(39, &Loud::new(46));
        let first = |slot| counted.loudest(slot).filter(|(deviate, _)| *deviate >= 4.5).map(|(_, first)| first);
        (40..46).map(first).collect()
    }

    #[test]
    fn what_stands_out_begins_and_ends_with_the_trouble() {
        assert_eq!(loudest((0, 20)), [None; 6]);
        assert_eq!(loudest((12, 20)), [None, None, Some(42), Some(42), None, None]);
        assert_eq!(loudest((3, 20)), [None, None, None, Some(42), None, None], "two together");
    }

    #[test]
    fn slots_that_stand_out_near_each_other_by_the_same_are_one_run() {
        let runs = |added: &[(usize, Range<u32>, f64)]| {
            let mut loud = Loud::new(60);
            added.iter().for_each(|(series, slots, deviate)| loud.add(*series, slots.clone(), *deviate));
            loud.runs()
        };
        let run = |slots, deviate| Run { slots, deviate };
        assert_eq!(
            runs(&[(0, 3..5, 6.0), (0, 7..8, 9.0), (0, 20..21, 5.0)]),
            [run(3..8, 9.0), run(20..21, 5.0)],
            "two quiet slots do not end it"
        );
        assert_eq!(runs(&[(0, 3..5, 6.0), (1, 5..8, 9.0)]), [run(3..8, 9.0)], "one follows the other at once");
        assert_eq!(runs(&[(0, 3..5, 6.0), (1, 6..8, 9.0)]), [run(3..5, 6.0), run(6..8, 9.0)], "another trouble");
        assert_eq!(runs(&[(0, 0..50, 6.0)]).len(), 3);
        assert_eq!(runs(&[]), []);
    }

    #[test]
    fn the_more_is_looked_at_the_more_it_takes_to_stand_out() {
        assert!((stands_out(1_000) - 4.5).abs() < 0.01, "{}", stands_out(1_000));
        assert!((stands_out(50) - 3.82).abs() < 0.01, "{}", stands_out(50));
        assert!(stands_out(10_000) > 4.9 && stands_out(0) == stands_out(1));
    }
}
