//! Two versions of one asset that serve side by side: whether the new one differs from the old one in the same slots.
//!
//! What both versions suffer from others they suffer alike, so no baseline is needed and nothing of the time before counts:
//! spans of one operation in one slot, by version, are two samples of the same conditions. Differences of all operations and
//! slots are put together as Mantel and Haenszel (1959) do, which compares only like with like: a new version that is sent
//! other requests than the old one, or more of them later, is no different for that.

use super::causes::CauseKind;
use super::contrast::LEAST_DEVIATE;
use super::delays::{high_rank, slow_limit};
use super::findings::{DELAY, STEP};
use super::observations::{ChangeKind, ChangeSeen};
use super::study::Study;
use super::traces::NONE;
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::ops::Range;

/// A version is that of a change when it shows first so long before the change is recorded, or after it, in nanoseconds: a
/// rollout may begin before it is said, and takes a while.
const SHOWS_BEFORE: i64 = 60_000_000_000;
const SHOWS_AFTER: i64 = 180_000_000_000;
/// Slots that are compared at most, from the first of the new version on: half an hour.
const MOST_SLOTS: u32 = 60;
/// Spans of each version, in slots that have both, from which a comparison says something.
const FEWEST_SPANS: u32 = 20;
/// Deviate of a difference that is none.
const SAME: f64 = 2.0;

/// A difference between the versions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Difference {
    pub(super) kind: CauseKind,
    /// Normal deviate of the difference.
    pub(super) deviate: f64,
    /// Share of the old version's spans that fail or are slow, where both serve.
    pub(super) old: f64,
    /// The same of the new version's.
    pub(super) new: f64,
    /// Spans of the new version that fail or are slow.
    pub(super) hits: u32,
    /// Spans of the new version that are compared.
    pub(super) of: u32,
    /// The first span of the new version that fails or is slow.
    pub(super) first: u32,
}

/// What two versions that serve at once say.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SideBySide {
    /// Slots from the first to the last that both serve in.
    pub(super) slots: Range<u32>,
    /// The new version fails or is slow more often; at most one of each kind, the surest first.
    pub(super) worse: Vec<Difference>,
    /// Kinds of trouble in which the new version is as the old one.
    pub(super) same: Vec<CauseKind>,
}

/// Compares the version that a change brought with the others, while both serve. `None` when the change brought none that
/// shows, or too little is served by both.
pub(super) fn side_by_side(study: &Study<'_>, change: &ChangeSeen) -> Option<SideBySide> {
    if change.kind != ChangeKind::Deployment {
        return None;
    }
    let new = new_version(study, change)?;
    let spans = compared(study, change.asset, new)?;
    let slots = spans.first()?.slot..spans.last()?.slot + 1;
    let seen = &study.traces.spans;
    // A version that shows by itself is a change whose event is one of its spans, which is no effect of itself.
    let is_change = |span: &Served| seen[span.span as usize].id() == change.id;
    let failed = table(&spans, |span| seen[span.span as usize].failed, is_change);
    let limits = limits(study, &spans);
    let slow = table(
        &spans,
        |span| {
            let seen = &seen[span.span as usize];
            seen.duration_ns > limits.get(&seen.operation).copied().unwrap_or(u64::MAX)
        },
        is_change,
    );
    let mut found = SideBySide { slots, worse: Vec::new(), same: Vec::new() };
    for (kind, table, least) in [(CauseKind::Errors, failed, &STEP), (CauseKind::Latency, slow, &DELAY)] {
        let Some(difference) = difference(&table, kind) else {
            found.same.push(kind);
            continue;
        };
        if difference.deviate >= LEAST_DEVIATE && difference.new - difference.old >= least.rise {
            found.worse.push(difference);
        } else if difference.deviate < SAME {
            found.same.push(kind);
        }
    }
    found.worse.sort_by(|a, b| b.deviate.total_cmp(&a.deviate));
    Some(found)
}

/// The version that shows first around the change, of an asset that had another one before.
fn new_version(study: &Study<'_>, change: &ChangeSeen) -> Option<u32> {
    let mut first: HashMap<u32, i64> = HashMap::new();
    for span in study.traces.spans.iter().filter(|span| span.asset == change.asset && span.version != 0) {
        // In the order of time.
        first.entry(span.version).or_insert(span.start.0);
    }
    let shows = change.time.0 - SHOWS_BEFORE..change.time.0 + SHOWS_AFTER;
    let oldest = first.values().min().copied()?;
    let new = first.iter().filter(|(_, time)| shows.contains(time) && **time > oldest);
    new.map(|(version, time)| ((time - change.time.0).abs(), *version)).min().map(|(_, version)| version)
}

/// A span of one of the versions.
#[derive(Debug, Clone, Copy)]
struct Served {
    slot: u32,
    operation: u32,
    is_new: bool,
    span: u32,
}

/// The spans of both versions that answer somebody, in slots and operations that both serve in, by time; `None` when they
/// are too few.
fn compared(study: &Study<'_>, asset: u32, new: u32) -> Option<Vec<Served>> {
    let traces = &study.traces;
    let mut served = Vec::new();
    for (index, span) in traces.spans.iter().enumerate() {
        let is_entrance = traces.parents[index] == NONE || traces.remote_parent(index).is_some();
        if span.asset != asset || span.version == 0 || !is_entrance {
            continue;
        }
        let Some(slot) = study.slots.at(span.start) else { continue };
        served.push(Served { slot, operation: span.operation, is_new: span.version == new, span: index as u32 });
    }
    let first = served.iter().find(|span| span.is_new)?.slot;
    served.retain(|span| (first..first + MOST_SLOTS).contains(&span.slot));
    let mut both: HashMap<(u32, u32), [u32; 2]> = HashMap::new();
    for span in &served {
        both.entry((span.operation, span.slot)).or_default()[usize::from(span.is_new)] += 1;
    }
    served.retain(|span| {
        both.get(&(span.operation, span.slot)).is_some_and(|counts| counts.iter().all(|count| *count > 0))
    });
    let new = served.iter().filter(|span| span.is_new).count() as u32;
    let enough = new >= FEWEST_SPANS && served.len() as u32 - new >= FEWEST_SPANS;
    enough.then_some(served)
}

/// From what duration on a span is slow, by operation, as the old version's durations have it.
fn limits(study: &Study<'_>, spans: &[Served]) -> HashMap<u32, u64> {
    let mut durations: HashMap<u32, Vec<u64>> = HashMap::new();
    for span in spans.iter().filter(|span| !span.is_new) {
        durations.entry(span.operation).or_default().push(study.traces.spans[span.span as usize].duration_ns);
    }
    let limit = |mut nanos: Vec<u64>| {
        let middle = nanos.len() / 2;
        let median = *nanos.select_nth_unstable(middle).1;
        let rank = high_rank(nanos.len());
        slow_limit(median, *nanos.select_nth_unstable(rank).1)
    };
    durations.into_iter().map(|(operation, nanos)| (operation, limit(nanos))).collect()
}

/// Hits and spans of the old and of the new version, of each operation and slot; and the first hit of the new one beside the
/// event of the change.
#[derive(Debug, Default)]
struct Table {
    strata: BTreeMap<(u32, u32), [(u32, u32); 2]>,
    first: Option<u32>,
}

fn table(spans: &[Served], is_hit: impl Fn(&Served) -> bool, is_change: impl Fn(&Served) -> bool) -> Table {
    let mut table = Table::default();
    for span in spans {
        let (hits, of) = &mut table.strata.entry((span.operation, span.slot)).or_default()[usize::from(span.is_new)];
        *of += 1;
        if is_hit(span) {
            *hits += 1;
            if span.is_new && !is_change(span) {
                table.first.get_or_insert(span.span);
            }
        }
    }
    table
}

/// How much more often it is the new version; `None` without a hit of it.
fn difference(table: &Table, kind: CauseKind) -> Option<Difference> {
    let first = table.first?;
    let (mut more, mut variance) = (0.0, 0.0);
    let mut sums = [(0, 0); 2];
    // Of each stratum how many hits are expected of the new version, were it as the old one, and their hypergeometric
    // variance.
    for counts in table.strata.values() {
        let [old, new] = counts.map(|(hits, of)| (f64::from(hits), f64::from(of)));
        let (hits, all) = (old.0 + new.0, old.1 + new.1);
        more += new.0 - hits * new.1 / all;
        if all > 1.0 {
            variance += old.1 * new.1 * hits * (all - hits) / (all * all * (all - 1.0));
        }
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum = (sum.0 + count.0, sum.1 + count.1);
        }
    }
    let share = |(hits, of): (u32, u32)| f64::from(hits) / f64::from(of.max(1));
    // Half a hit less is what a continuous distribution makes of whole numbers.
    let deviate = if variance > 0.0 { (more - 0.5).max(0.0) / variance.sqrt() } else { 0.0 };
    let [old, new] = sums;
    Some(Difference { kind, deviate, old: share(old), new: share(new), hits: new.0, of: new.1, first })
}
