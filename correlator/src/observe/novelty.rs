//! What tells of a change without an event of its own: a version, a model or a value of a flag that was not there
//! before.

use hashbrown::HashMap;
use whence_schema::{EventId, UnixNanos};

/// Values remembered at most: what invents a new one for every event is no version.
const MOST: usize = 50_000;
/// A thing with more values than this has no versions; its values are something else.
const MOST_OF_ONE: usize = 50;
/// How unlikely it must be that a value was there all the time and only not seen: `exp(-7)` is one in a thousand.
const MISSED: f64 = 7.0;
/// Events with another value before it, at least.
const FEWEST_BEFORE: u64 = 10;

/// One value of one thing, where it was seen.
#[derive(Debug, Clone, Copy)]
struct Seen {
    first: UnixNanos,
    event: EventId,
    count: u64,
}

/// Values of things, such as versions of a service, by number.
#[derive(Debug, Default)]
pub(super) struct Novelty {
    /// By asset, thing and value.
    seen: HashMap<(u32, u32, u32), Seen>,
}

/// A value that took another one's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct New {
    pub(super) asset: u32,
    pub(super) thing: u32,
    pub(super) value: u32,
    pub(super) before: u32,
    pub(super) time: UnixNanos,
    pub(super) event: EventId,
}

impl Novelty {
    pub(super) fn add(&mut self, asset: u32, thing: u32, value: u32, time: UnixNanos, event: EventId) {
        let key = (asset, thing, value);
        if self.seen.len() >= MOST && !self.seen.contains_key(&key) {
            return;
        }
        let seen = self.seen.entry(key).or_insert(Seen { first: time, event, count: 0 });
        seen.count += 1;
        if (time, event) < (seen.first, seen.event) {
            (seen.first, seen.event) = (time, event);
        }
    }

    /// Values that came up during `[from, to)` while another one was there before, by time.
    pub(super) fn new_values(&self, from: UnixNanos, to: UnixNanos) -> Vec<New> {
        let mut things: HashMap<(u32, u32), Vec<(u32, Seen)>> = HashMap::new();
        for ((asset, thing, value), seen) in &self.seen {
            things.entry((*asset, *thing)).or_default().push((*value, *seen));
        }
        let mut new = Vec::new();
        for ((asset, thing), mut values) in things {
            values.sort_by_key(|(value, seen)| (seen.first, *value));
            if values.len() > MOST_OF_ONE {
                continue;
            }
            for at in 1..values.len() {
                let (value, seen) = values[at];
                let before = values[..at].iter().rev().find(|(_, other)| other.count >= FEWEST_BEFORE);
                let absent = (seen.first.0 - from.0) as f64;
                let present = (to.0 - seen.first.0).max(1) as f64;
                if let Some((before, _)) = before
                    && seen.count as f64 * absent / present >= MISSED
                {
                    new.push(New { asset, thing, value, before: *before, time: seen.first, event: seen.event });
                }
            }
        }
        new.sort_by_key(|new| (new.time, new.asset, new.thing, new.value));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn value_at(novelty: &mut Novelty, value: u32, seconds: impl Iterator<Item = i64>) {
        for second in seconds {
            novelty.add(1, 2, value, UnixNanos(second * SECOND), EventId(second as u128));
        }
    }

    fn new(novelty: &Novelty) -> Vec<(u32, u32, u128)> {
        let new = novelty.new_values(UnixNanos(0), UnixNanos(1_000 * SECOND));
        new.iter().map(|new| (new.before, new.value, new.event.0)).collect()
    }

    #[test]
    fn a_value_that_replaces_another_is_new_where_it_was_first_seen() {
        let mut novelty = Novelty::default();
        value_at(&mut novelty, 8, (600..1_000).rev());
        value_at(&mut novelty, 7, 0..600);
        assert_eq!(new(&novelty), [(7, 8, 600)]);
    }

    #[test]
    fn values_that_were_there_all_the_time_or_are_rare_are_not_new() {
        let mut novelty = Novelty::default();
        value_at(&mut novelty, 7, 0..1_000);
        value_at(&mut novelty, 8, 1..1_000);
        // Seen four times, first in the second quarter: it may well have been there and not been seen.
        value_at(&mut novelty, 9, (300..1_000).step_by(200));
        assert_eq!(new(&novelty), []);
    }

    #[test]
    fn what_is_different_every_time_is_no_version() {
        let mut novelty = Novelty::default();
        value_at(&mut novelty, 1_000, 0..100);
        for value in 0..100 {
            value_at(&mut novelty, value, (500..520).map(|second| second + i64::from(value)));
        }
        assert_eq!(new(&novelty), []);
    }
}
