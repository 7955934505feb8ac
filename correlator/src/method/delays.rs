//! Delays: self times of operations, and what calls take beyond the time of what they call, per slot.

use super::share::Slot;
use super::slots::Slots;
use super::traces::{NONE, Traces};
use hashbrown::HashMap;
use std::ops::Range;

/// Most values of one series that are kept; others are not counted.
const MOST_VALUES: usize = 1 << 20;

/// What is delayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Delayed {
    /// Self time of an operation.
    Own { asset: u32, operation: u32 },
    /// Time that calls of one asset to one operation of another take beyond what the callee says it takes.
    Call { caller: u32, callee: u32, operation: u32 },
    /// The same of all operations of the callee.
    Edge { caller: u32, callee: u32 },
}

#[derive(Debug, Clone, Copy)]
struct Value {
    slot: u32,
    span: u32,
    nanos: u64,
}

/// The values of one [`Delayed`], in the order of time.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) delayed: Delayed,
    values: Vec<Value>,
    /// From this on a value is slow, in nanoseconds.
    pub(super) limit: u64,
    median: u64,
}

/// All series.
#[derive(Debug, Default)]
pub(super) struct Delays {
    pub(super) series: Vec<Series>,
    /// Values that were too many to keep.
    pub(super) dropped: u64,
}

/// Quantile of the baseline above which a value is slow.
const SLOW_QUANTILE: f64 = 0.9;
/// Slow is also at least so many times the median and a millisecond more: less is not worth a cause, and clocks and
/// schedulers differ by that much.
const SLOW_RATIO: f64 = 1.3;
const SLOW_NANOS: f64 = 1_000_000.0;
/// A delay by this part of its trace's duration matters in full.
const RELEVANT_PART: f64 = 0.02;

impl Delays {
    /// Reads the values of all spans of baseline and window.
    pub(super) fn of(traces: &Traces, slots: &Slots) -> Self {
        let mut delays = Self::default();
        let mut known: HashMap<Delayed, u32> = HashMap::new();
        for (index, span) in traces.spans.iter().enumerate() {
            let Some(slot) = slots.at(span.start) else { continue };
            let mut put = |delayed: Delayed, nanos: u64| {
                let series = *known.entry(delayed).or_insert_with(|| {
                    delays.series.push(Series { delayed, values: Vec::new(), limit: 0, median: 0 });
                    delays.series.len() as u32 - 1
                });
                let values = &mut delays.series[series as usize].values;
                if values.len() < MOST_VALUES {
                    values.push(Value { slot, span: index as u32, nanos });
                } else {
                    delays.dropped += 1;
                }
            };
            let (asset, operation) = (span.asset, span.operation);
            match traces.times.callees[index] {
                NONE => put(Delayed::Own { asset, operation }, traces.times.own_ns[index]),
                _ if traces.times.has_remote_child[index] => {}
                callee => {
                    put(Delayed::Call { caller: asset, callee, operation }, span.duration_ns);
                    put(Delayed::Edge { caller: asset, callee }, span.duration_ns);
                }
            }
            if let Some(parent) = traces.remote_parent(index) {
                put(Delayed::Call { caller: parent.asset, callee: asset, operation }, traces.times.gap_ns[index]);
                put(Delayed::Edge { caller: parent.asset, callee: asset }, traces.times.gap_ns[index]);
            }
        }
        delays.learn(slots);
        delays
    }

    /// Learns what is slow from the slots that are a baseline of the assets concerned.
    pub(super) fn learn(&mut self, slots: &Slots) {
        for series in &mut self.series {
            let assets = series.delayed.assets();
            let baseline = series.values.iter().filter(|value| slots.is_quiet_for(assets, value.slot));
            (series.limit, series.median) = slow(baseline);
        }
    }
}

impl Delayed {
    /// The assets at both ends; of a self time both are the same.
    pub(super) fn assets(self) -> [u32; 2] {
        match self {
            Self::Own { asset, .. } => [asset, asset],
            Self::Call { caller, callee, .. } | Self::Edge { caller, callee } => [caller, callee],
        }
    }
}

impl Series {
    /// All values, in nanoseconds.
    pub(super) fn nanos(&self) -> impl Iterator<Item = u64> {
        self.values.iter().map(|value| value.nanos)
    }

    /// Fills `counts` with the slots of the series, in the order of time: how many values are slow, of all.
    pub(super) fn slots(&self, counts: &mut Vec<Slot>) {
        counts.clear();
        for value in &self.values {
            let hits = u32::from(value.nanos > self.limit);
            match counts.last_mut() {
                Some(last) if last.slot == value.slot => {
                    last.of += 1;
                    last.hits += hits;
                }
                _ => counts.push(Slot { slot: value.slot, hits, of: 1 }),
            }
        }
    }

    /// How much of the slow values of a range of slots matters to those who wait, 0 to 1: a delay that is a small part
    /// of its whole trace's duration causes no trouble.
    pub(super) fn relevance(&self, traces: &Traces, window: &Range<u32>) -> f64 {
        let slow = self.values.iter().filter(|value| window.contains(&value.slot) && value.nanos > self.limit);
        let (mut count, mut sum) = (0.0, 0.0);
        for value in slow {
            let part = (value.nanos - self.median) as f64 / traces.root_duration(value.span).max(1) as f64;
            count += 1.0;
            sum += (part / RELEVANT_PART).min(1.0);
        }
        if count > 0.0 { sum / count } else { 0.0 }
    }

    /// The spans with slow values in a range of slots.
    pub(super) fn slow(&self, window: Range<u32>) -> impl Iterator<Item = u32> {
        let slow = move |value: &&Value| window.contains(&value.slot) && value.nanos > self.limit;
        self.values.iter().filter(slow).map(|value| value.span)
    }
}

/// From what on values of a baseline are slow, and their median.
fn slow<'a>(baseline: impl Iterator<Item = &'a Value>) -> (u64, u64) {
    let mut nanos: Vec<u64> = baseline.map(|value| value.nanos).collect();
    if nanos.is_empty() {
        return (u64::MAX, 0);
    }
    let count = nanos.len();
    let (_, median, _) = nanos.select_nth_unstable(count / 2);
    let median = *median;
    let (_, high, _) = nanos.select_nth_unstable(high_rank(count));
    (slow_limit(median, *high), median)
}

/// Which of so many values, in the order of their size and counted from 0, is the high one.
pub(super) fn high_rank(count: usize) -> usize {
    ((count as f64 * SLOW_QUANTILE) as usize).min(count.saturating_sub(1))
}

/// Above what a value is slow, when the values of the baseline have this median and this high one.
pub(super) fn slow_limit(median: u64, high: u64) -> u64 {
    (high as f64).max(median as f64 * SLOW_RATIO + SLOW_NANOS) as u64
}
