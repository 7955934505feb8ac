//! When trouble began in each asset, again and again: onsets of errors, of latency, of unusual log records.
//!
//! ```text
//! spans, log records ─> trials of each series, by time ─> slots ─> deviates ─> of each asset and kind the largest
//!                                 └──────── the first event of each onset <─ onsets: slots that are loud after a quiet one
//! ```
//!
//! Unlike [`scan`](super::scan), which finds incidents and looks at all assets at once, this looks at each asset and kind
//! of trouble apart, and for less: a small burst of trouble, if one of a neighbour keeps following it, is worth a link.
//! Here an asset's latency is how long others wait for it, so what it waits for itself is in it: that is how trouble
//! travels.
//!
//! What a span tells is known when it ends, not when it begins, and that it is slow as soon as it lasts longer than
//! usual: a caller begins before its callee and is still the later one to be in trouble.

use super::causes::CauseKind;
use super::findings::{DELAY, Least, STEP, USUAL};
use super::observations::{Observations, SpanKind};
use super::share::{Level, Rise, Slot};
use super::slots::Slots;
use super::traces::{Logged, NONE, Traces};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::ops::Range;
use whence_schema::{EventId, UnixNanos};

/// Deviate from which a slot of a stream may be loud.
const LOUD: f64 = 3.0;
/// Share of the slots of a stream that are not loud, however far they deviate: of many series one always does.
const QUIET_QUANTILE: f64 = 0.9;
/// Slots at the beginning of a series in which nothing can stand out yet.
const WARM_UP: u32 = 8;
/// Slots after which a level is learned, so that it does not follow what begins slowly.
const SETTLED: usize = 3;
/// Loud slots after which the level is taken to have moved for good: ten minutes.
const MOVED: u32 = 20;
/// A duration is slow beyond the upper quartile by so many interquartile ranges (Tukey's fence): unlike a high quantile, it
/// does not depend on how long things were slow, up to a quarter of the time.
const FENCE: f64 = 1.5;
/// Slow is also at least so many times the median, and a millisecond more.
const SLOW_RATIO: f64 = 1.3;
const SLOW_NANOS: f64 = 1_000_000.0;

/// The first event of an onset.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Onset {
    /// When it was known.
    pub(super) known: UnixNanos,
    /// Its row in `events`.
    pub(super) event: EventId,
    /// The time of that row.
    pub(super) time: UnixNanos,
}

/// The onsets of one kind of trouble in one asset.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trouble {
    pub(super) asset: u32,
    pub(super) kind: CauseKind,
    /// In which an onset could have been seen.
    pub(super) slots: Range<u32>,
    /// In the order of `known`.
    pub(super) onsets: Vec<Onset>,
}

/// All streams of onsets, by asset and kind; of onsets those that began in slot `since` or later.
pub(super) fn troubles(observations: &Observations, traces: &Traces, slots: &Slots, since: u32) -> Vec<Trouble> {
    let mut loudness = Loudness { slots, streams: HashMap::new() };
    read_spans(traces, &mut loudness);
    read_logs(observations, traces, &mut loudness);
    loudness.finish(since)
}

/// In which slots an onset of any kind could have been seen, of each asset that did something, by number.
pub(super) fn active(observations: &Observations, traces: &Traces, slots: &Slots) -> Vec<(u32, Range<u32>)> {
    let spans = traces.spans.iter().map(|span| (span.asset, span.start));
    let logs = observations.logs.iter().map(|log| (log.asset, log.time));
    let mut active: HashMap<u32, Range<u32>> = HashMap::new();
    for (asset, time) in spans.chain(logs) {
        let Some(slot) = slots.at(time) else { continue };
        let range = active.entry(asset).or_insert(slot..slot + 1);
        *range = range.start.min(slot)..range.end.max(slot + 1);
    }
    let mut active: Vec<(u32, Range<u32>)> =
        active.into_iter().map(|(asset, range)| (asset, range.start + WARM_UP..range.end)).collect();
    active.retain(|(_, range)| range.start < range.end);
    active.sort_unstable_by_key(|(asset, _)| *asset);
    active
}

/// Something that could have happened, and whether it did.
#[derive(Debug, Clone, Copy)]
struct Trial {
    hit: bool,
    /// The onset that it is when it is one.
    onset: Onset,
}

/// What is loudest in one slot of a stream.
#[derive(Debug, Clone, Copy)]
struct Loudest {
    deviate: f64,
    onset: Onset,
}

#[derive(Debug, Default)]
struct StreamSlots {
    /// Slots in which something could have stood out.
    known: Option<Range<u32>>,
    loudest: HashMap<u32, Loudest>,
}

struct Loudness<'a> {
    slots: &'a Slots,
    streams: HashMap<(u32, CauseKind), StreamSlots>,
}

impl Loudness<'_> {
    /// Adds a series: in the order of time how often it happened in each slot, and what happened between two instants.
    fn add(
        &mut self,
        stream: (u32, CauseKind),
        counts: &[Slot],
        least: &Least,
        trials: impl Fn(UnixNanos, UnixNanos) -> Vec<Trial>,
    ) {
        let [first, .., last] = counts else { return };
        let is_trouble = stream.1 == CauseKind::Errors;
        let stream = self.streams.entry(stream).or_default();
        let known = first.slot + WARM_UP..last.slot + 1;
        stream.known = Some(match stream.known.take() {
            Some(before) => before.start.min(known.start)..before.end.max(known.end),
            None => known.clone(),
        });
        for (slot, rise) in risen(counts, least) {
            if slot < known.start || rise.deviate < LOUD || (!is_trouble && rise.before.max(rise.long_run) >= USUAL) {
                continue;
            }
            let around = trials(self.slots.start(slot.saturating_sub(1)), self.slots.start(slot + 1));
            let Some(trial) = begin(&around, rise.before, rise.now) else { continue };
            let found = Loudest { deviate: rise.deviate, onset: trial.onset };
            let loudest = stream.loudest.entry(slot).or_insert(found);
            let order = |of: &Loudest| (-of.deviate, of.onset.known, of.onset.event);
            if order(&found) < order(loudest) {
                *loudest = found;
            }
        }
    }

    /// Adds a series of trials in any order.
    fn add_trials(&mut self, stream: (u32, CauseKind), mut trials: Vec<Trial>, least: &Least) {
        trials.sort_unstable_by_key(|trial| (trial.onset.known, trial.onset.event));
        let mut counts: Vec<Slot> = Vec::new();
        for trial in &trials {
            let Some(slot) = self.slots.at(trial.onset.known) else { continue };
            let hits = u32::from(trial.hit);
            match counts.last_mut().filter(|last| last.slot == slot) {
                Some(last) => {
                    last.of += 1;
                    last.hits += hits;
                }
                None => counts.push(Slot { slot, hits, of: 1 }),
            }
        }
        self.add(stream, &counts, least, |from, to| {
            let at = |time: UnixNanos| trials.partition_point(|trial| trial.onset.known < time);
            trials[at(from)..at(to)].to_vec()
        });
    }

    fn finish(self, since: u32) -> Vec<Trouble> {
        let trouble = |((asset, kind), stream): ((u32, CauseKind), StreamSlots)| {
            let slots = stream.known.filter(|known| known.start < known.end)?;
            let onsets = onsets(&slots, &stream.loudest, since);
            Some(Trouble { asset, kind, slots, onsets })
        };
        let mut troubles: Vec<Trouble> = self.streams.into_iter().filter_map(trouble).collect();
        troubles.sort_unstable_by_key(|trouble| (trouble.asset, trouble.kind));
        troubles
    }
}

/// The loud slots after quiet ones, from slot `since` on.
fn onsets(slots: &Range<u32>, loudest: &HashMap<u32, Loudest>, since: u32) -> Vec<Onset> {
    let mut deviates: Vec<f64> = loudest.values().map(|loudest| loudest.deviate).collect();
    deviates.sort_unstable_by(f64::total_cmp);
    let most = ((slots.end - slots.start) as f64 * (1.0 - QUIET_QUANTILE)).ceil() as usize;
    let threshold = deviates.len().checked_sub(most).and_then(|first| deviates.get(first)).copied().unwrap_or(LOUD);
    let loud = |slot: u32| loudest.get(&slot).filter(|loudest| loudest.deviate >= threshold);
    let begins = |slot: &u32| slot.checked_sub(1).and_then(loud).is_none();
    let counted = slots.start.max(since)..slots.end;
    let mut onsets: Vec<Onset> =
        counted.filter(begins).filter_map(|slot| loud(slot).map(|loudest| loudest.onset)).collect();
    onsets.sort_unstable_by_key(|onset| (onset.known, onset.event));
    onsets
}

/// The slots of a series in which its share rises above its level.
fn risen(counts: &[Slot], least: &Least) -> Vec<(u32, Rise)> {
    let mut level = Level::new(counts);
    let mut waiting: VecDeque<Slot> = VecDeque::with_capacity(SETTLED + 1);
    let mut found = Vec::new();
    let mut loud_for = 0;
    for count in counts {
        let rise = if count.of >= least.trials { level.rise(count.hits, count.of) } else { None };
        let rise = rise.filter(|rise| rise.now - rise.before >= least.rise);
        let is_loud = rise.is_some_and(|rise| rise.deviate >= LOUD);
        loud_for = if is_loud { loud_for + 1 } else { 0 };
        found.extend(rise.map(|rise| (count.slot, rise)));
        if !is_loud || loud_for > MOVED {
            waiting.push_back(*count);
        }
        if waiting.len() > SETTLED
            && let Some(settled) = waiting.pop_front()
        {
            level.add(settled);
        }
    }
    found
}

/// The hit with which a share most likely rose from one level to another: where the likelihood of a change point is
/// largest (Hinkley 1970), which is where Page's cumulative sum (1954) was lowest.
fn begin(trials: &[Trial], before: f64, now: f64) -> Option<&Trial> {
    let (before, now) = (before.clamp(1e-6, 1.0 - 1e-6), now.clamp(1e-6, 1.0 - 1e-6));
    let (hit, miss) = ((now / before).ln(), ((1.0 - now) / (1.0 - before)).ln());
    let (mut sum, mut best) = (0.0, None::<(f64, &Trial)>);
    for trial in trials.iter().rev() {
        sum += if trial.hit { hit } else { miss };
        if trial.hit && best.is_none_or(|(most, _)| sum >= most) {
            best = Some((sum, trial));
        }
    }
    best.map(|(_, trial)| trial)
}

fn read_spans(traces: &Traces, loudness: &mut Loudness<'_>) {
    let mut groups: HashMap<(u32, u32), Vec<u32>> = HashMap::new();
    for (index, span) in traces.spans.iter().enumerate() {
        groups.entry((span.asset, span.operation)).or_default().push(index as u32);
    }
    let onset = |span: u32, nanos: u64| {
        let span = &traces.spans[span as usize];
        Onset { known: UnixNanos(span.start.0.saturating_add_unsigned(nanos)), event: span.id(), time: span.start }
    };
    for ((asset, _), spans) in groups {
        let duration = |span: u32| traces.spans[span as usize].duration_ns;
        let failed = |span: &u32| traces.spans[*span as usize].failed;
        if spans.iter().any(failed) {
            let trial = |span: &u32| Trial { hit: failed(span), onset: onset(*span, duration(*span)) };
            let trials = spans.iter().map(trial).collect();
            loudness.add_trials((asset, CauseKind::Errors), trials, &STEP);
        }
        let waited_for: Vec<u32> = spans.into_iter().filter(|span| is_waited_for(traces, *span as usize)).collect();
        let limit = slow(traces, &waited_for);
        let trial =
            |span: &u32| Trial { hit: duration(*span) > limit, onset: onset(*span, duration(*span).min(limit)) };
        let trials: Vec<Trial> = waited_for.iter().map(trial).collect();
        if trials.iter().any(|trial| trial.hit) {
            loudness.add_trials((asset, CauseKind::Latency), trials, &DELAY);
        }
    }
}

/// Whether others wait for a span, or it waits for somebody who sends no spans.
fn is_waited_for(traces: &Traces, span: usize) -> bool {
    let seen = &traces.spans[span];
    let entrance = traces.parents[span] == NONE || traces.remote_parent(span).is_some();
    let calls_unseen = traces.times.callees[span] != NONE && !traces.times.has_remote_child[span];
    calls_unseen
        || matches!(seen.kind, SpanKind::Server | SpanKind::Consumer)
        || entrance && seen.kind != SpanKind::Client
}

/// From what duration on the spans of an operation are slow, in nanoseconds.
fn slow(traces: &Traces, spans: &[u32]) -> u64 {
    let mut durations: Vec<u64> = spans.iter().map(|span| traces.spans[*span as usize].duration_ns).collect();
    if durations.is_empty() {
        return u64::MAX;
    }
    let count = durations.len();
    let mut at = |share: usize| *durations.select_nth_unstable((count * share / 4).min(count - 1)).1 as f64;
    let (low, median, high) = (at(1), at(2), at(3));
    (high + FENCE * (high - low)).max(median * SLOW_RATIO + SLOW_NANOS) as u64
}

fn read_logs(observations: &Observations, traces: &Traces, loudness: &mut Loudness<'_>) {
    let mut by_asset: HashMap<u32, Vec<Logged>> = HashMap::new();
    for logged in &traces.logs.all {
        by_asset.entry(observations.logs[logged.log as usize].asset).or_default().push(*logged);
    }
    let slots = loudness.slots;
    let of = |logged: &Logged| &observations.logs[logged.log as usize];
    for (asset, logged) in by_asset {
        let mut all: Vec<Slot> = Vec::new();
        let mut templates: HashMap<u32, Vec<(u32, u32)>> = HashMap::new();
        for record in &logged {
            let Some(slot) = slots.at(of(record).time) else { continue };
            match all.last_mut().filter(|last| last.slot == slot) {
                Some(last) => last.of += 1,
                None => all.push(Slot { slot, hits: 0, of: 1 }),
            }
            let hits = templates.entry(record.template).or_default();
            match hits.last_mut().filter(|last| last.0 == slot) {
                Some(last) => last.1 += 1,
                None => hits.push((slot, 1)),
            }
        }
        for (template, hits) in templates {
            let mut hits = hits.into_iter().peekable();
            let with_hits = |count: &Slot| {
                let hits = hits.next_if(|(slot, _)| *slot == count.slot).map_or(0, |(_, hits)| hits);
                Slot { hits, ..*count }
            };
            let counts: Vec<Slot> = all.iter().map(with_hits).collect();
            let kind = if traces.is_error(template) { CauseKind::Errors } else { CauseKind::Logs };
            loudness.add((asset, kind), &counts, &STEP, |from, to| {
                let at = |time: UnixNanos| logged.partition_point(|record| of(record).time < time);
                let trial = |record: &Logged| {
                    let (log, hit) = (of(record), record.template == template);
                    Trial { hit, onset: Onset { known: log.time, event: log.id, time: log.time } }
                };
                logged[at(from)..at(to)].iter().map(trial).collect()
            });
        }
    }
}

#[cfg(test)]
mod tests;
