//! What one slot of time holds, as counts: all that finding incidents needs of it, in some kilobytes.
//!
//! The same events in any order have the same digest.

use super::causes::Question;
use super::delays::{Delayed, Delays};
use super::observations::Observations;
use super::red::{Red, red};
use super::slots::{GridSlot, Slots};
use super::steps::{Context, Steps};
use super::templates::Templates;
use super::traces::{Symbol, Traces};
use hashbrown::HashMap;
use whence_schema::UnixNanos;

/// A step: what it follows on, and the symbol that follows.
pub(super) type StepKey = (Context, Symbol);

/// Nanoseconds in classes, 32 for each power of two: none is wider than 3 % of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NanosClass(pub(super) u16);

/// Binary digits that tell the classes of one power of two apart.
const CLASS_BITS: u32 = 5;

impl NanosClass {
    /// Classes of all numbers of 64 bits.
    pub(super) const COUNT: usize = (64 - CLASS_BITS as usize + 1) << CLASS_BITS;

    /// The class of a value.
    pub(super) fn of(nanos: u64) -> Self {
        let power = (63 - (nanos | 1).leading_zeros()).saturating_sub(CLASS_BITS);
        Self(((power << CLASS_BITS) + (nanos >> power) as u32) as u16)
    }

    /// Its lowest value.
    pub(super) fn nanos(self) -> u64 {
        let power = (u32::from(self.0) >> CLASS_BITS).saturating_sub(1);
        (u64::from(self.0) - u64::from(power << CLASS_BITS)) << power
    }
}

/// The counts of one slot.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Digest {
    pub(crate) slot: GridSlot,
    /// How often each step was taken by spans that began in the slot, by step.
    pub(super) steps: Vec<(StepKey, u32)>,
    /// How many values of each series are of which class, by series and class.
    pub(super) delays: Vec<(Delayed, Vec<(NanosClass, u32)>)>,
    /// When messages of each template were written in the slot: the first and the last, by template.
    pub(crate) messages: Vec<(u32, UnixNanos, UnixNanos)>,
    /// Rate, errors and duration of what was answered in the slot.
    pub(crate) red: Vec<Red>,
    /// Steps and values that were too many to count.
    pub(crate) dropped: u64,
}

impl Digest {
    /// Counts what began in `slot`. `observations` holds whole traces, so begins before the slot and ends after it, and
    /// numbers its names as those of other slots do; new messages get templates.
    pub(crate) fn of(observations: &Observations, slot: GridSlot, templates: &mut Templates) -> Self {
        let traces = Traces::with(observations, std::mem::take(templates));
        let slots = Slots::of(&Question { baseline_from: slot.start(), from: slot.end(), to: slot.end() });
        let steps = Steps::count(&traces, &slots, |_| false);
        let delays = Delays::of(&traces, &slots);
        let mut counted: Vec<(StepKey, u32)> =
            steps.totals().map(|(context, next, count)| ((context, next), count)).collect();
        counted.sort_unstable();
        let mut classed: Vec<(Delayed, Vec<(NanosClass, u32)>)> =
            delays.series.iter().map(|series| (series.delayed, classes(series.nanos()))).collect();
        classed.sort_unstable();
        let (messages, red) = (messages(&traces, observations, slot), red(&traces, slot));
        *templates = traces.logs.templates;
        Self { slot, steps: counted, delays: classed, messages, red, dropped: steps.dropped + delays.dropped }
    }

    /// True when nothing happened in the slot.
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.delays.is_empty() && self.messages.is_empty()
    }
}

fn classes(nanos: impl Iterator<Item = u64>) -> Vec<(NanosClass, u32)> {
    let mut classes: Vec<NanosClass> = nanos.map(NanosClass::of).collect();
    classes.sort_unstable();
    classes.chunk_by(NanosClass::eq).map(|same| (same[0], same.len() as u32)).collect()
}

fn messages(traces: &Traces, observations: &Observations, slot: GridSlot) -> Vec<(u32, UnixNanos, UnixNanos)> {
    let mut seen: HashMap<u32, (UnixNanos, UnixNanos)> = HashMap::new();
    for logged in &traces.logs.all {
        let time = observations.logs[logged.log as usize].time;
        if GridSlot::at(time) == slot {
            let (_, last) = seen.entry(logged.template).or_insert((time, time));
            *last = time.max(*last);
        }
    }
    let mut messages: Vec<_> = seen.into_iter().map(|(template, (first, last))| (template, first, last)).collect();
    messages.sort_unstable();
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_nanoseconds_follow_one_another_and_are_narrow() {
        let mut last = NanosClass(0);
        for power in 0..64_u32 {
            for part in 0..8_u64 {
                let nanos = (1_u64 << power) + ((1_u64 << power) / 8) * part;
                let class = NanosClass::of(nanos);
                assert!(class >= last && (class.0 as usize) < NanosClass::COUNT);
                assert!(class.nanos() <= nanos && nanos - class.nanos() <= nanos / 32, "{nanos} {class:?}");
                assert_eq!(NanosClass::of(class.nanos()), class);
                last = class;
            }
        }
        assert_eq!(NanosClass::of(0).nanos(), 0);
        assert_eq!(usize::from(NanosClass::of(u64::MAX).0), NanosClass::COUNT - 1);
    }
}
