//! Which streams of onsets follow one another: onsets of trouble in one asset, and onsets in a neighbour soon after.
//!
//! ```text
//! streams ─> for each ordered pair and limit: follows, p by circular shift ─> q by Benjamini and Hochberg, over all of them
//!                                                                                  └─> direction ─> followed
//! ```
//!
//! Onsets come in bursts and in rhythms, which makes textbook p-values false. So one of the two streams is turned
//! against the other, by every whole number of slots (circular shift, as the toroidal shift of Lotwick and Silverman 1982):
//! that keeps what each stream is like and takes away what they have to do with each other. Turns are of whole slots,
//! since onsets have a preferred time within a slot, and that is no sign of anything.
//!
//! That two streams go together does not say which of them leads: what causes both makes them go together as well, in
//! any order. So the order must be the same more often than that of a coin.

use super::discovery::q_values;
use super::slots::SLOT_NANOS;
use std::ops::Range;

/// Times within which an onset may follow on another one, in nanoseconds. All are tested; the shortest of those that say
/// the same is kept.
const LIMITS: [i64; 3] = [5_000_000_000, 30_000_000_000, 120_000_000_000];
/// Onsets without which a stream is not tested: of fewer, no order can be told from that of a coin. It is decided without
/// looking at what follows what, so that it biases no test.
pub(super) const FEWEST_ONSETS: usize = 5;
/// Slots that both streams must be known in: with fewer, no p-value is small enough for anything.
const FEWEST_SLOTS: u32 = 20;
/// Share of false discoveries among all that is accepted.
pub(super) const FALSE_DISCOVERY_RATE: f64 = 0.05;
/// p-value of the order of two streams that is accepted.
const DIRECTION: f64 = 0.05;

/// When something began, again and again.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Stream {
    /// In which an onset could have been seen.
    pub(super) slots: Range<u32>,
    /// Nanoseconds since the beginning of slot 0, ascending, all within the slots.
    pub(super) onsets: Vec<i64>,
}

/// A stream that follows on another one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Followed {
    /// Index of the pair.
    pub(super) pair: usize,
    /// Onsets of the first and the second stream, by index, that follow on each other.
    pub(super) onsets: Vec<(u32, u32)>,
    /// Onsets of the first stream while both were known.
    pub(super) of: u32,
    /// How much more often an onset follows on one of the first stream than at other times, 0 to 1.
    pub(super) strength: f64,
    /// Share of all circular shifts with as many follows or more.
    pub(super) p: f64,
    /// The same, corrected for the number of tests: false discovery rate.
    pub(super) q: f64,
    /// How likely a coin falls on this order so often.
    pub(super) direction_p: f64,
}

/// What came of all tests.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Tested {
    /// Number of tests: pairs with enough onsets, times limits.
    pub(super) tests: usize,
    /// In the order of pairs.
    pub(super) followed: Vec<Followed>,
}

/// The pairs, of indexes of streams, of which the second follows on the first, at a false discovery rate of `rate`.
pub(super) fn followed(streams: &[Stream], pairs: &[(usize, usize)], rate: f64) -> Tested {
    let mut tests: Vec<(usize, i64, f64)> = Vec::new();
    for (pair, &(first, second)) in pairs.iter().enumerate() {
        let Some(both) = Both::of(&streams[first], &streams[second]) else { continue };
        tests.extend(LIMITS.iter().map(|&limit| (pair, limit, both.p(limit))));
    }
    let p_values: Vec<f64> = tests.iter().map(|(.., p)| *p).collect();
    let q_values = q_values(&p_values);
    let mut tested = Tested { tests: tests.len(), followed: Vec::new() };
    for (of_pair, q_values) in tests.chunks(LIMITS.len()).zip(q_values.chunks(LIMITS.len())) {
        let discovered = of_pair.iter().zip(q_values).filter(|(_, q)| **q <= rate);
        // Of equal p-values the first counts, which is that of the shortest limit.
        let Some((&(pair, limit, p), &q)) = discovered.min_by(|a, b| a.0.2.total_cmp(&b.0.2)) else { continue };
        let (first, second) = pairs[pair];
        let Some(both) = Both::of(&streams[first], &streams[second]) else { continue };
        let direction_p = both.direction_p(limit);
        if direction_p <= DIRECTION {
            let (onsets, strength) = (both.follows(limit), both.strength(limit));
            tested.followed.push(Followed { pair, onsets, of: both.first.len() as u32, strength, p, q, direction_p });
        }
    }
    tested
}

/// Two streams, while both are known.
struct Both<'a> {
    slots: Range<u32>,
    first: &'a [i64],
    second: &'a [i64],
    /// How many onsets of each stream come before.
    skipped: (u32, u32),
}

impl<'a> Both<'a> {
    /// `None` when there is too little to test.
    fn of(first: &'a Stream, second: &'a Stream) -> Option<Self> {
        let slots = first.slots.start.max(second.slots.start)..first.slots.end.min(second.slots.end);
        if slots.end.saturating_sub(slots.start) < FEWEST_SLOTS {
            return None;
        }
        let (from, to) = (i64::from(slots.start) * SLOT_NANOS, i64::from(slots.end) * SLOT_NANOS);
        let within = |onsets: &'a [i64]| {
            let before = onsets.partition_point(|onset| *onset < from);
            (&onsets[before..onsets.partition_point(|onset| *onset < to)], before as u32)
        };
        let ((first, skipped), (second, skipped_of_second)) = (within(&first.onsets), within(&second.onsets));
        let enough = first.len() >= FEWEST_ONSETS && second.len() >= FEWEST_ONSETS;
        enough.then_some(Self { slots, first, second, skipped: (skipped, skipped_of_second) })
    }

    fn length(&self) -> i64 {
        i64::from(self.slots.end - self.slots.start) * SLOT_NANOS
    }

    /// Share of the circular shifts at which as many onsets of the first stream are followed as without a shift, which
    /// counts as one of them.
    fn p(&self, limit: i64) -> f64 {
        let counts = self.follows_by_shift(limit);
        let extreme = counts.iter().filter(|count| **count >= counts[0]).count();
        extreme as f64 / counts.len() as f64
    }

    /// Of each circular shift of the second stream by whole slots, how many onsets of the first one are followed.
    fn follows_by_shift(&self, limit: i64) -> Vec<u32> {
        let (slots, length) = (i64::from(self.slots.end - self.slots.start), self.length());
        let mut counts = vec![0_u32; slots as usize];
        let mut counted_for = vec![usize::MAX; slots as usize];
        for (index, first) in self.first.iter().enumerate() {
            for second in self.second {
                let ahead = (second - first).rem_euclid(length);
                // Shifted by some slots, and once around or not, it is ahead by more than nothing and up to the limit.
                for turn in [0, length] {
                    let fewest = ((turn - ahead).div_euclid(SLOT_NANOS) + 1).max(0);
                    let most = (turn - ahead + limit).div_euclid(SLOT_NANOS).min(slots - 1);
                    for shift in fewest..=most {
                        let (count, last) = (&mut counts[shift as usize], &mut counted_for[shift as usize]);
                        if std::mem::replace(last, index) != index {
                            *count += 1;
                        }
                    }
                }
            }
        }
        counts
    }

    /// Indexes of the onsets of the first stream that are followed within the limit, each with the first that follows.
    fn follows(&self, limit: i64) -> Vec<(u32, u32)> {
        let follow = |(index, first): (usize, &i64)| {
            let next = self.second.partition_point(|second| second <= first);
            let second = self.second.get(next).filter(|second| **second - first <= limit)?;
            debug_assert!(second > first);
            Some((self.skipped.0 + index as u32, self.skipped.1 + next as u32))
        };
        self.first.iter().enumerate().filter_map(follow).collect()
    }

    /// P(an onset of the second stream within the limit after one of the first) less P(the same at another time): of the
    /// latter, the onsets without one of the first before them, by the time that is not within the limit after one.
    fn strength(&self, limit: i64) -> f64 {
        let after = self.follows(limit).len() as f64 / self.first.len() as f64;
        let alone = |second: &&i64| {
            let before = self.first.partition_point(|first| first < second);
            before == 0 || **second - self.first[before - 1] > limit
        };
        let alone = self.second.iter().filter(alone).count() as f64;
        let mut elsewhere = self.length();
        for (index, first) in self.first.iter().enumerate() {
            let next = self.first.get(index + 1).map_or(self.length() + self.from(), |next| *next);
            elsewhere -= limit.min(next - first);
        }
        let otherwise = if elsewhere > 0 { (alone * limit as f64 / elsewhere as f64).min(1.0) } else { 0.0 };
        (after - otherwise).clamp(0.0, 1.0)
    }

    fn from(&self) -> i64 {
        i64::from(self.slots.start) * SLOT_NANOS
    }

    /// One-sided sign test: of the onsets of the first stream with one of the second within the limit, before or after,
    /// how many have the nearest one after it.
    fn direction_p(&self, limit: i64) -> f64 {
        let (mut after, mut all) = (0, 0);
        for first in self.first {
            let next = self.second.partition_point(|second| second < first);
            let ahead = self.second.get(next).map_or(i64::MAX, |second| second - first);
            let behind = next.checked_sub(1).map_or(i64::MAX, |before| first - self.second[before]);
            // At the same time, or as far on both sides, says nothing.
            if ahead.min(behind) <= limit && ahead != 0 && ahead != behind {
                all += 1;
                after += u32::from(ahead < behind);
            }
        }
        upper_binomial_tail(after, all)
    }
}

/// P(at least `heads` of `all` throws of a fair coin).
fn upper_binomial_tail(heads: u32, all: u32) -> f64 {
    /// Beyond so many throws the points are too small for the format; as many say the same with the same share.
    const MOST: u32 = 1_000;
    let (heads, all) = if all > MOST { (heads * MOST / all, MOST) } else { (heads, all) };
    let mut point = 0.5_f64.powi(all as i32);
    // From all heads down: each point follows from the one before it.
    let mut tail = 0.0;
    for tails in 0..=(all - heads) {
        tail += point;
        point *= f64::from(all - tails) / f64::from(tails + 1);
    }
    tail.min(1.0)
}

#[cfg(test)]
mod tests;
