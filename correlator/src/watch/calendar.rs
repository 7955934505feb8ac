//! Which slots of one tenant are complete and wait to be read.
//!
//! ```text
//!     ... read            | waiting                  | not complete yet
//!     [.][.][x][x][x][x][x][o][o]               [o][o][.][.]
//!           `- history: read again after a start, the last part of it also looked at again
//! ```
//!
//! A slot is complete when the newest event is later than its end by the lateness; or when time has passed it by that and
//! more, and nothing has arrived for a while. Metrics have a calendar of their own, of the slots with which minutes end. When events come faster than time passes, requests that are under way at once
//! overtake one another by more than the lateness: so a slot of which something has just arrived waits for a moment, unless
//! that goes on. What arrives of a slot after that is late and not counted.

use super::arrivals::Arrived;
use crate::method::history::HISTORY_SLOTS;
use crate::method::slots::GridSlot;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use whence_schema::UnixNanos;

/// Slots before the first that arrives which are looked at again, ten minutes: a process that ended may have read them
/// and not looked, or looked and not said.
const LOOKED_AT_AGAIN: i32 = 20;
/// Slots that may wait, four hours; those before the newest so many are skipped. What was imported long after it happened
/// is answered when asked for.
const MOST_WAITING: usize = 480;

/// How long nothing has to have arrived of a slot before it is complete.
const MOMENT: Duration = Duration::from_secs(2);
/// How long something may arrive of a slot before it is not waited for any longer, beside the lateness.
const MOST_PATIENCE: Duration = Duration::from_secs(40);

/// When a slot is complete.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// How long after the end of a slot its events may come.
    pub(crate) lateness: Duration,
    /// How long nothing has to arrive before time passes without events.
    pub(crate) idle: Duration,
}

/// A slot to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) slot: GridSlot,
    /// False when it is only history of what is to be looked at.
    pub(crate) look: bool,
}

/// The slots of one tenant in one table.
#[derive(Debug)]
pub(crate) struct Calendar {
    /// Slots between two that are read: 1, or 2 of what is stored by the minute.
    every: i32,
    /// With the times at which something of each arrived first and last.
    waiting: BTreeMap<GridSlot, (UnixNanos, UnixNanos)>,
    newest: Option<UnixNanos>,
    arrived_at: UnixNanos,
    /// The last slot that was read and had events.
    read: Option<GridSlot>,
    /// `None` until the first slot has arrived.
    look_from: Option<GridSlot>,
}

impl Calendar {
    /// Of a tenant of which nothing is known yet; each `every`th slot is read.
    pub(crate) fn new(every: i32) -> Self {
        let (waiting, arrived_at) = (BTreeMap::new(), UnixNanos(i64::MIN));
        Self { every, waiting, newest: None, arrived_at, read: None, look_from: None }
    }

    /// The hour before what arrives first may be in the store.
    fn begin(&mut self, first: GridSlot) {
        self.look_from = Some(look_from(first));
        let before = |slots: i32| first.later(-slots * self.every);
        let history = (1..=(HISTORY_SLOTS + LOOKED_AT_AGAIN) / self.every).map(before);
        self.waiting.extend(history.map(|slot| (slot, (UnixNanos(i64::MIN), UnixNanos(i64::MIN)))));
    }

    /// Adds what has arrived; returns how many slots of it were read before, and how many are skipped.
    pub(crate) fn note(&mut self, arrived: Arrived) -> (u64, u64) {
        if let Some(first) = last_stretch(&arrived.slots).filter(|_| self.look_from.is_none()) {
            self.begin(first);
        }
        let mut late = 0;
        for slot in arrived.slots {
            if self.read.is_some_and(|read| slot <= read) {
                late += 1;
            } else {
                self.waiting.entry(slot).or_insert((arrived.at, arrived.at)).1 = arrived.at;
            }
        }
        self.newest = self.newest.max(arrived.newest);
        self.arrived_at = self.arrived_at.max(arrived.at);
        let mut skipped = arrived.skipped;
        while self.waiting.len() > MOST_WAITING + (HISTORY_SLOTS + LOOKED_AT_AGAIN) as usize {
            self.waiting.pop_first();
            skipped += 1;
        }
        if let Some((first, _)) = self.waiting.first_key_value().filter(|_| skipped > 0) {
            // Without an hour before it everything would be new.
            self.look_from = self.look_from.max(Some(first.later(HISTORY_SLOTS)));
        }
        (late, skipped)
    }

    /// The earliest slot that is complete and was not read.
    pub(crate) fn due(&self, now: UnixNanos, patience: Patience) -> Option<Due> {
        let (&slot, &times) = self.waiting.first_key_value()?;
        self.is_complete(slot, times, now, patience).then_some(Due { slot, look: self.look_from <= Some(slot) })
    }

    /// The earliest slot that was not read, complete or not.
    pub(crate) fn first_waiting(&self) -> Option<GridSlot> {
        self.waiting.first_key_value().map(|(slot, _)| *slot)
    }

    /// True once something has arrived.
    pub(crate) fn has_begun(&self) -> bool {
        self.look_from.is_some()
    }

    /// How many slots are complete and wait.
    pub(crate) fn complete(&self, now: UnixNanos, patience: Patience) -> usize {
        let is_complete = |(slot, times): &(&GridSlot, &_)| self.is_complete(**slot, **times, now, patience);
        self.waiting.iter().take_while(is_complete).count()
    }

    /// How much later than the earliest slot that waits is what has arrived, in nanoseconds; 0 when none is complete.
    pub(crate) fn lag_nanos(&self, now: UnixNanos, patience: Patience) -> u64 {
        let (Some(due), Some(newest)) = (self.due(now, patience), self.newest) else { return 0 };
        newest.0.min(now.0).saturating_sub(due.slot.end().0).max(0) as u64
    }

    /// Takes a slot out that was read, and says whether there was something in it.
    pub(crate) fn done(&mut self, slot: GridSlot, had_events: bool) {
        self.waiting.remove(&slot);
        if had_events {
            self.read = self.read.max(Some(slot));
        }
    }

    /// True when all that has happened until `time` has arrived.
    pub(crate) fn has_passed(&self, time: UnixNanos, now: UnixNanos, patience: Patience) -> bool {
        let late = |more: Duration| time.0.saturating_add((patience.lateness + more).as_nanos() as i64);
        self.newest.is_some_and(|newest| newest.0.min(now.0) >= late(Duration::ZERO))
            || (self.is_idle(now, patience) && now.0 >= late(patience.idle))
    }

    /// True when no slot that begins before `time` waits to be read.
    pub(crate) fn is_read_until(&self, time: UnixNanos) -> bool {
        self.waiting.first_key_value().is_none_or(|(slot, _)| slot.start() >= time)
    }

    /// True when nothing waits that will be complete by the time that passes.
    pub(crate) fn is_settled(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When something arrived last.
    pub(crate) fn arrived_at(&self) -> UnixNanos {
        self.arrived_at
    }

    fn is_complete(
        &self,
        slot: GridSlot,
        (first, last): (UnixNanos, UnixNanos),
        now: UnixNanos,
        patience: Patience,
    ) -> bool {
        let ago = |time: UnixNanos, least: Duration| now.0.saturating_sub(time.0) >= least.as_nanos() as i64;
        let is_still = || ago(last, MOMENT) || ago(first, MOST_PATIENCE + patience.lateness);
        self.has_passed(slot.end(), now, patience) && is_still()
    }

    fn is_idle(&self, now: UnixNanos, patience: Patience) -> bool {
        now.0.saturating_sub(self.arrived_at.0) >= patience.idle.as_nanos() as i64
    }
}

/// The first slot that is looked at of what arrives first.
pub(super) fn look_from(first: GridSlot) -> GridSlot {
    first.later(-LOOKED_AT_AGAIN)
}

/// The first of the last slots between which less than an hour lies: a single event of last year is no beginning.
pub(super) fn last_stretch(slots: &BTreeSet<GridSlot>) -> Option<GridSlot> {
    let mut first = *slots.last()?;
    for slot in slots.iter().rev() {
        if first.0.saturating_sub(slot.0) > HISTORY_SLOTS {
            break;
        }
        first = *slot;
    }
    Some(first)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const PATIENCE: Patience = Patience { lateness: Duration::from_secs(10), idle: Duration::from_secs(20) };

    fn at(second: i64) -> UnixNanos {
        UnixNanos(second * SECOND)
    }

    /// Events at these seconds that arrive at `now`.
    fn arrived(seconds: &[i64], now: i64) -> Arrived {
        let mut arrived = Arrived::default();
        arrived.note(seconds.iter().map(|second| second * 1_000_000), at(now));
        arrived
    }

    fn begun(seconds: &[i64], now: i64) -> Calendar {
        let mut calendar = Calendar::new(1);
        calendar.note(arrived(seconds, now));
        calendar
    }

    #[test]
    fn a_slot_is_due_when_newer_events_have_passed_its_end_by_the_lateness() {
        let mut calendar = begun(&[30_000], 30_001);
        let history = std::iter::from_fn(|| {
            let due = calendar.due(at(30_005), PATIENCE)?;
            calendar.done(due.slot, false);
            Some(due)
        });
        let history: Vec<Due> = history.collect();
        assert_eq!(history.len(), 139, "the last one is not complete either");
        assert_eq!((history[0].slot.0, history[119].look, history[120].look), (860, false, true));
        assert_eq!(calendar.due(at(30_029), PATIENCE), None);
        calendar.note(arrived(&[30_039], 30_039));
        assert_eq!(calendar.due(at(30_039), PATIENCE).map(|due| due.slot), Some(GridSlot(999)));
        calendar.done(GridSlot(999), false);
        assert_eq!(calendar.due(at(30_039), PATIENCE), None);
        calendar.note(arrived(&[30_040], 30_040));
        assert_eq!(calendar.due(at(30_040), PATIENCE), Some(Due { slot: GridSlot(1_000), look: true }));
        calendar.done(GridSlot(1_000), true);
        assert_eq!(calendar.note(arrived(&[30_029, 30_031], 30_041)), (1, 0), "what was read is late");
        assert_eq!(calendar.due(at(30_041), PATIENCE), None);
    }

    #[test]
    fn a_slot_is_due_when_nothing_newer_comes_and_events_of_the_future_complete_nothing() {
        let mut calendar = begun(&[30_000, 90_000], 30_001);
        (860..1_000).for_each(|slot| calendar.done(GridSlot(slot), false));
        assert_eq!(calendar.due(at(30_040), PATIENCE), None, "an event of tomorrow is no sign of now");
        assert_eq!(calendar.due(at(30_060), PATIENCE).map(|due| due.slot), Some(GridSlot(1_000)));
        calendar.note(arrived(&[30_001], 30_059));
        assert_eq!(calendar.due(at(30_060), PATIENCE), None, "something still comes");
    }

    #[test]
    fn a_slot_of_which_something_just_arrived_waits_for_a_moment_and_not_for_ever() {
        let mut calendar = begun(&[30_000, 30_100], 50_000);
        (860..1_000).for_each(|slot| calendar.done(GridSlot(slot), false));
        assert_eq!(calendar.due(at(50_001), PATIENCE), None, "a request may have been overtaken");
        assert_eq!(calendar.due(at(50_002), PATIENCE).map(|due| due.slot), Some(GridSlot(1_000)));
        for second in 50_001..50_050 {
            calendar.note(arrived(&[30_000], second));
            assert_eq!(calendar.due(at(second), PATIENCE), None);
        }
        calendar.note(arrived(&[30_000], 50_050));
        assert_eq!(calendar.due(at(50_050), PATIENCE).map(|due| due.slot), Some(GridSlot(1_000)));
    }

    #[test]
    fn of_a_long_import_the_newest_hours_are_read_and_looked_at_after_an_hour() {
        let day: Vec<i64> = (0..86_400).step_by(30).collect();
        let mut calendar = Calendar::new(1);
        let (late, skipped) = calendar.note(arrived(&day, 100_000));
        assert_eq!((late, skipped), (0, 2_880 + 140 - 620));
        let due = calendar.due(at(100_002), PATIENCE).unwrap();
        assert_eq!(due, Due { slot: GridSlot(2_260), look: false });
        (2_260..2_380).for_each(|slot| calendar.done(GridSlot(slot), true));
        assert_eq!(calendar.due(at(100_002), PATIENCE), Some(Due { slot: GridSlot(2_380), look: true }));
        assert_eq!(calendar.complete(at(100_002), PATIENCE), 498);
    }

    #[test]
    fn of_what_is_stored_by_the_minute_the_slots_are_read_with_which_minutes_end() {
        let mut points = Arrived::default();
        points.note_points([at(30_001), at(30_029)].into_iter(), at(30_030));
        assert_eq!(points.slots, [GridSlot(1_001)].into());
        let mut calendar = Calendar::new(2);
        assert!(!calendar.has_begun() && calendar.has_passed(at(30_000), at(30_030), PATIENCE));
        calendar.note(points);
        assert_eq!(calendar.first_waiting(), Some(GridSlot(861)));
        let waiting: Vec<i32> = calendar.waiting.keys().map(|slot| slot.0).collect();
        assert_eq!((waiting.len(), waiting[1], waiting[70]), (71, 863, 1_001));
        (861..1_001).step_by(2).for_each(|slot| calendar.done(GridSlot(slot), false));
        assert_eq!(calendar.due(at(30_069), PATIENCE), None);
        assert_eq!(calendar.due(at(30_090), PATIENCE), Some(Due { slot: GridSlot(1_001), look: true }));
    }
}
