//! What is different in a window: steps and delays whose share has risen.

use super::delays::{Delayed, Delays};
use super::share::{Rise, Slot, rise};
use super::slots::Slots;
use super::steps::{Context, Steps};
use super::traces::{Symbol, Traces};
use std::ops::Range;

/// What has risen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// A step within spans.
    Step { context: Context, next: Symbol },
    /// The share of slow values above a limit in nanoseconds.
    Slow { delayed: Delayed, limit: u64 },
}

/// One thing that has risen, and the spans of the window in which it happened.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) what: What,
    pub(super) rise: Rise,
    /// In the order of time, at least one.
    pub(super) spans: Vec<u32>,
    /// How much it matters, beside how sure it is: see [`TROUBLE`] and [`Series::relevance`].
    pub(super) relevance: f64,
}

impl What {
    /// The assets that it is about: both ends of a call.
    pub(super) fn assets(&self) -> [u32; 2] {
        match self {
            Self::Step { context, .. } => [context.asset; 2],
            Self::Slow { delayed, .. } => delayed.assets(),
        }
    }
}

/// Less than this is no evidence: of what is looked at, one in fifteen reaches it by chance.
pub(super) const LEAST_DEVIATE: f64 = 1.5;
/// Occurrences of a context in the baseline that are enough to know what follows.
const LEAST_BEFORE: u32 = 3;
/// What happens in at least half of all cases is what is usual: more of it is a return to it, no trouble.
pub(super) const USUAL: f64 = 0.5;
/// How much more a step counts that is an error by its own word, since somebody meant to report trouble with it, than
/// one that is only unusual.
const TROUBLE: f64 = 3.0;

/// What is too little to be looked at.
pub(super) struct Least {
    /// Rise of the share.
    pub(super) rise: f64,
    /// Trials in the window.
    pub(super) trials: u32,
}

/// Steps that are taken more often by three in a hundred can be a fault that few requests meet.
pub(super) const STEP: Least = Least { rise: 0.03, trials: 1 };
/// Delays vary more, and a single one says nothing.
pub(super) const DELAY: Least = Least { rise: 0.1, trials: 3 };

/// All findings of a window of slots, against the quiet slots before it, in an order of their own.
pub(super) fn findings(
    traces: &Traces,
    steps: &Steps,
    delays: &Delays,
    slots: &Slots,
    window: &Range<u32>,
) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut counts = Vec::new();
    let mut finding_of_step = vec![u32::MAX; steps.steps.len()];
    for (step, finding) in finding_of_step.iter_mut().enumerate() {
        steps.slots(step, &mut counts);
        let context = steps.context(step);
        let next = steps.steps[step].next;
        let is_trouble = traces.is_trouble(next);
        let relevance = if is_trouble { TROUBLE } else { 1.0 };
        if let Some(rise) = risen(&mut counts, slots, window, [context.asset; 2], &STEP, is_trouble) {
            *finding = found.len() as u32;
            let what = What::Step { context, next };
            found.push(Finding { what, rise, spans: Vec::new(), relevance });
        }
    }
    let (first, end) = traces.spans_in(slots, window);
    for &(span, step) in steps.taken(first, end) {
        if let Some(finding) = found.get_mut(finding_of_step[step as usize] as usize)
            && finding.spans.last() != Some(&span)
        {
            finding.spans.push(span);
        }
    }
    for series in &delays.series {
        series.slots(&mut counts);
        let assets = series.delayed.assets();
        if let Some(rise) = risen(&mut counts, slots, window, assets, &DELAY, false) {
            let what = What::Slow { delayed: series.delayed, limit: series.limit };
            let spans = series.slow(window.clone()).collect();
            let relevance = series.relevance(traces, window);
            found.push(Finding { what, rise, spans, relevance });
        }
    }
    found.sort_unstable_by_key(|finding| finding.what);
    found
}

fn risen(
    counts: &mut Vec<Slot>,
    slots: &Slots,
    window: &Range<u32>,
    assets: [u32; 2],
    least: &Least,
    is_trouble: bool,
) -> Option<Rise> {
    let inside = counts.iter().filter(|slot| window.contains(&slot.slot));
    let (hits, of) = inside.fold((0, 0), |(hits, of), slot| (hits + slot.hits, of + slot.of));
    if hits == 0 || of < least.trials {
        return None;
    }
    // What happened in most cases of the hour before, incidents and all, has not begun now: it is how things are.
    let (mut recent_hits, mut recent) = (0, 0);
    for slot in counts.iter().filter(|slot| slots.is_hour_before(window, slot.slot)) {
        recent_hits += slot.hits;
        recent += slot.of;
    }
    counts.retain(|slot| slots.is_baseline(window, assets, slot.slot));
    if counts.iter().map(|slot| slot.of).sum::<u32>() < LEAST_BEFORE {
        return None;
    }
    rise(counts, hits, of).filter(|rise| {
        let lately = f64::from(recent_hits) / f64::from(recent);
        let is_usual = rise.before.max(rise.long_run).max(lately) >= USUAL;
        rise.deviate >= LEAST_DEVIATE && rise.now - rise.before >= least.rise && (is_trouble || !is_usual)
    })
}
