//! Time in slots of half a minute: what is counted is counted per slot.

use super::causes::Question;
use std::ops::Range;
use whence_schema::{BUCKET_NANOS, UnixNanos};

/// Length of a slot: short enough to see when something begins, long enough to hold some calls of what is called
/// rarely.
pub(super) const SLOT_NANOS: i64 = 30_000_000_000;

/// Slots that what is seen is compared with at most, an hour.
pub(super) const HOUR: u32 = 120;

/// Number of a slot on the grid that everybody shares: slot 0 begins with the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GridSlot(pub(crate) i32);

impl GridSlot {
    /// The slot of an instant.
    pub(crate) fn at(time: UnixNanos) -> Self {
        // 64 bits of nanoseconds are fewer slots than 32 bits can number.
        Self(time.0.div_euclid(SLOT_NANOS) as i32)
    }

    /// The slot with which the minute of an instant ends.
    pub(crate) fn last_of_minute(time: UnixNanos) -> Self {
        Self::at(UnixNanos(time.bucket().0.saturating_add(BUCKET_NANOS - 1)))
    }

    /// When it begins.
    pub(crate) fn start(self) -> UnixNanos {
        UnixNanos(i64::from(self.0).saturating_mul(SLOT_NANOS))
    }

    /// The slot so many later, or earlier.
    pub(crate) fn later(self, slots: i32) -> Self {
        Self(self.0.saturating_add(slots))
    }

    /// When it ends, exclusive.
    pub(crate) fn end(self) -> UnixNanos {
        self.later(1).start()
    }
}

/// Slots of a baseline and the window after it. The window begins with a slot, so that none holds some of both.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    origin: i64,
    /// Number of the first slot of the window.
    pub(super) window: u32,
    /// Number after the last slot of the window.
    pub(super) end: u32,
    /// Slots that are no baseline of an asset, since it was at fault in them.
    excepted: Vec<(u32, Range<u32>)>,
    to: UnixNanos,
}

impl Slots {
    /// The slots of a question.
    pub(super) fn of(question: &Question) -> Self {
        let before = question.from.0.saturating_sub(question.baseline_from.0).max(0);
        let window = slots_in(before);
        let origin = question.from.0 - window * SLOT_NANOS;
        let length = slots_in(question.to.0.saturating_sub(question.from.0).max(0));
        Self { origin, window: window as u32, end: (window + length) as u32, excepted: Vec::new(), to: question.to }
    }

    /// The slot of an instant; `None` outside of baseline and window.
    pub(super) fn at(&self, time: UnixNanos) -> Option<u32> {
        let slot = (time.0 - self.origin).div_euclid(SLOT_NANOS);
        (slot >= 0 && slot < i64::from(self.end) && time < self.to).then_some(slot as u32)
    }

    /// When a slot begins.
    pub(super) fn start(&self, slot: u32) -> UnixNanos {
        UnixNanos(self.origin + i64::from(slot) * SLOT_NANOS)
    }

    /// True for slots of the baseline.
    pub(super) fn is_before(&self, slot: u32) -> bool {
        slot < self.window
    }

    /// True for slots that are a baseline of both assets.
    pub(super) fn is_quiet_for(&self, assets: [u32; 2], slot: u32) -> bool {
        self.is_before(slot) && !self.is_excepted(assets, slot)
    }

    /// True for slots of the hour before a window.
    pub(super) fn is_hour_before(&self, window: &Range<u32>, slot: u32) -> bool {
        slot < window.start && slot + HOUR >= window.start
    }

    /// Likewise for those that are a baseline of both assets.
    pub(super) fn is_baseline(&self, window: &Range<u32>, assets: [u32; 2], slot: u32) -> bool {
        self.is_hour_before(window, slot) && !self.is_excepted(assets, slot)
    }

    fn is_excepted(&self, assets: [u32; 2], slot: u32) -> bool {
        self.excepted.iter().any(|(asset, range)| assets.contains(asset) && range.contains(&slot))
    }

    /// Takes slots out of the baseline of one asset.
    pub(super) fn except(&mut self, asset: u32, slots: Range<u32>) {
        self.excepted.push((asset, slots));
    }
}

/// Slots that a length of time reaches into.
fn slots_in(nanos: i64) -> i64 {
    nanos / SLOT_NANOS + i64::from(nanos % SLOT_NANOS != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(from: i64, to: i64, baseline_from: i64) -> Slots {
        let at = |seconds: i64| UnixNanos(seconds * 1_000_000_000);
        Slots::of(&Question { from: at(from), to: at(to), baseline_from: at(baseline_from) })
    }

    #[test]
    fn the_window_begins_with_a_slot_and_ends_where_it_was_asked_to() {
        let slots = slots(100, 140, 0);
        assert_eq!((slots.window, slots.end), (4, 6));
        let at = |seconds: i64| slots.at(UnixNanos(seconds * 1_000_000_000));
        assert_eq!(
            [at(-21), at(0), at(99), at(100), at(139), at(140)],
            [None, Some(0), Some(3), Some(4), Some(5), None]
        );
        assert_eq!(slots.start(4), UnixNanos(100_000_000_000));
        assert_eq!([slots.is_before(3), slots.is_before(4)], [true, false], "the window is no baseline");
    }

    #[test]
    fn excepted_slots_are_no_baseline_of_one_asset() {
        let mut slots = slots(120, 180, 0);
        slots.except(7, 2..4);
        assert_eq!([slots.is_quiet_for([7, 1], 2), slots.is_quiet_for([1, 1], 2)], [false, true]);
        assert!(slots.is_quiet_for([7, 7], 0));
    }

    #[test]
    fn a_window_without_length_or_before_its_baseline_has_no_slots() {
        assert_eq!(slots(60, 60, 0).end, 2);
        assert_eq!(slots(60, 0, 120).end, 0);
    }
}
