//! Which asset a finding speaks against, and how much.
//!
//! What goes wrong below a span explains what goes wrong in it: of anomalous spans of different assets in one trace,
//! the deepest counts. What a call takes beyond its callee's time lies between the two, and so does that it fails: both
//! ends share it. The more of an asset's calls with others are slow or fail as well, the more it is that asset.

use super::delays::Delayed;
use super::findings::{Finding, LEAST_DEVIATE, What};
use super::traces::{MOST_ANCESTORS, NONE, Symbol, Traces};
use hashbrown::{HashMap, HashSet};
use std::ops::Range;

/// What speaks against an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Proof {
    /// Index of a finding.
    Finding(u32),
    /// Index of a shifted series.
    Shift(u32),
}

/// Something that speaks against an asset.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Charge {
    pub(super) asset: u32,
    pub(super) proof: Proof,
    /// Squared deviate beyond what chance gives, times the size of the effect, times the share that is not explained by
    /// something else.
    pub(super) weight: f64,
}

/// Orders charges by asset, the heaviest first, and drops those without weight.
pub(super) fn sort(charges: &mut Vec<Charge>) {
    charges.retain(|charge| charge.weight > 0.0);
    charges
        .sort_unstable_by(|a, b| a.asset.cmp(&b.asset).then(b.weight.total_cmp(&a.weight)).then(a.proof.cmp(&b.proof)));
}

/// All charges of findings in spans from `first` to `end`.
pub(super) fn charges(traces: &Traces, (first, end): (usize, usize), findings: &[Finding]) -> Vec<Charge> {
    let explained = explained(traces, findings);
    let failures = Failures::of(traces, first..end);
    let coherence = Coherence::of(traces, first..end, findings, &failures);
    let mut charges = Vec::new();
    for (index, finding) in findings.iter().enumerate() {
        let sure = finding.rise.deviate.powi(2) - LEAST_DEVIATE.powi(2);
        let evidence = sure * (finding.rise.now - finding.rise.before) * finding.relevance;
        let mut charge = |asset, share| {
            charges.push(Charge { asset, proof: Proof::Finding(index as u32), weight: evidence * share });
        };
        let unexplained = || {
            let rest = |span: &u32| 1.0 - explained.get(span).copied().unwrap_or(0.0);
            finding.spans.iter().map(rest).sum::<f64>() / finding.spans.len().max(1) as f64
        };
        match (finding.what, failures.callee(traces, finding)) {
            (What::Step { context, .. }, Some(callee)) => {
                let (of_callee, rest) = (coherence.share_of_callee(context.asset, callee), unexplained());
                charge(callee, of_callee * rest);
                charge(context.asset, (1.0 - of_callee) * rest);
            }
            (What::Step { context, .. }, None) => charge(context.asset, unexplained()),
            (What::Slow { delayed: Delayed::Own { asset, .. }, .. }, _) => charge(asset, unexplained()),
            (
                What::Slow { delayed: Delayed::Call { caller, callee, .. } | Delayed::Edge { caller, callee }, .. },
                _,
            ) => {
                let of_callee = coherence.share_of_callee(caller, callee);
                charge(callee, of_callee);
                charge(caller, 1.0 - of_callee);
            }
        }
    }
    charges
}

/// The calls that failed, seen from the spans above them.
#[derive(Debug, Default)]
struct Failures {
    /// By span: the call below it in the same asset that failed last, as its end and its callee.
    last_below: HashMap<u32, (i64, u32)>,
    /// Spans with a failed call somewhere below them: when they fail as well, they pass it on.
    passing_on: HashSet<u32>,
}

impl Failures {
    fn of(traces: &Traces, window: Range<usize>) -> Self {
        let mut failures = Self::default();
        for index in window {
            let (span, callee) = (&traces.spans[index], traces.times.callees[index]);
            if !span.failed || callee == NONE {
                continue;
            }
            let mut above = traces.parents[index];
            if above != NONE && traces.spans[above as usize].asset == span.asset {
                let end = (span.start.0.saturating_add_unsigned(span.duration_ns), callee);
                failures.last_below.entry(above).and_modify(|last| *last = end.max(*last)).or_insert(end);
            }
            // What is above a span that was reached before was reached as well.
            for _ in 0..MOST_ANCESTORS {
                if above == NONE || !failures.passing_on.insert(above) {
                    break;
                }
                above = traces.parents[above as usize];
            }
        }
        failures
    }

    /// What most spans of a finding called in vain, themselves or just below them, when the finding is that they failed
    /// or reported an error.
    fn callee(&self, traces: &Traces, finding: &Finding) -> Option<u32> {
        let What::Step { next, .. } = finding.what else { return None };
        if !traces.is_trouble(next) {
            return None;
        }
        let callee = |span: &u32| match traces.times.callees[*span as usize] {
            callee if callee != NONE && traces.spans[*span as usize].failed => callee,
            _ => self.last_below.get(span).map_or(NONE, |(_, callee)| *callee),
        };
        most(finding.spans.iter().map(callee))
    }
}

/// The callee of more than half of all spans, if there is one.
fn most(callees: impl Iterator<Item = u32>) -> Option<u32> {
    let mut callees: Vec<u32> = callees.collect();
    callees.sort_unstable();
    let most = callees.chunk_by(u32::eq).max_by_key(|same| same.len())?;
    (most[0] != NONE && most.len() * 2 > callees.len()).then_some(most[0])
}

/// By span: the largest attributable fraction of what is anomalous below it in another asset.
fn explained(traces: &Traces, findings: &[Finding]) -> HashMap<u32, f64> {
    let mut anomalous: HashMap<u32, f64> = HashMap::new();
    for finding in findings {
        if !matches!(finding.what, What::Step { .. } | What::Slow { delayed: Delayed::Own { .. }, .. }) {
            continue;
        }
        for span in &finding.spans {
            let most = anomalous.entry(*span).or_default();
            *most = most.max(finding.rise.attributable());
        }
    }
    let mut explained: HashMap<u32, f64> = HashMap::new();
    for (span, fraction) in &anomalous {
        let asset = traces.spans[*span as usize].asset;
        let mut above = traces.parents[*span as usize];
        for _ in 0..MOST_ANCESTORS {
            if above == NONE {
                break;
            }
            if traces.spans[above as usize].asset != asset {
                let most = explained.entry(above).or_default();
                *most = most.max(*fraction);
            }
            above = traces.parents[above as usize];
        }
    }
    explained
}

/// Calls of a window, and how many of them are slow or fail beyond what is usual.
#[derive(Debug, Clone, Copy, Default)]
struct Calls {
    all: f64,
    slow: f64,
}

/// The calls of each asset, in both directions, and of each pair of caller and callee.
#[derive(Debug, Default)]
struct Coherence {
    of_asset: HashMap<u32, Calls>,
    of_edge: HashMap<(u32, u32), Calls>,
}

/// Calls that an edge itself counts for beside the other edges of its ends: of these alone it cannot be told which end
/// it is, but without any others it is all there is.
const OWN_CALLS: f64 = 8.0;

impl Coherence {
    fn of(traces: &Traces, window: Range<usize>, findings: &[Finding], failures: &Failures) -> Self {
        let mut coherence = Self::default();
        for span in window {
            let asset = traces.spans[span].asset;
            if let Some(caller) = traces.remote_parent(span) {
                coherence.add((caller.asset, asset), Calls { all: 1.0, slow: 0.0 });
            }
            let callee = traces.times.callees[span];
            if callee != NONE && !traces.times.has_remote_child[span] {
                coherence.add((asset, callee), Calls { all: 1.0, slow: 0.0 });
            }
        }
        for finding in findings {
            let (edge, slow) = match finding.what {
                What::Slow { delayed: Delayed::Edge { caller, callee }, .. } => ((caller, callee), finding.spans.len()),
                What::Step { context, next: Symbol::FAILED } => {
                    let called = finding.spans.iter().map(|span| traces.times.callees[*span as usize]);
                    let Some(callee) = most(called) else { continue };
                    // Which of the two ends it is, is told by their own failures, not by those that they pass on.
                    let is_own = |span: &&u32| !failures.passing_on.contains(*span);
                    ((context.asset, callee), finding.spans.iter().filter(is_own).count())
                }
                _ => continue,
            };
            coherence.add(edge, Calls { all: 0.0, slow: slow as f64 * finding.rise.attributable() });
        }
        coherence
    }

    fn add(&mut self, edge: (u32, u32), calls: Calls) {
        let add = |sum: &mut Calls| {
            sum.all += calls.all;
            sum.slow += calls.slow;
        };
        add(self.of_edge.entry(edge).or_default());
        add(self.of_asset.entry(edge.0).or_default());
        add(self.of_asset.entry(edge.1).or_default());
    }

    /// Share of the delay between two assets that is the callee's: the more of an end's other calls are slow, the more
    /// it is that end's. The squares make the more coherent end stand out.
    fn share_of_callee(&self, caller: u32, callee: u32) -> f64 {
        let edge = self.of_edge.get(&(caller, callee)).copied().unwrap_or_default();
        let own = edge.slow / edge.all.max(1.0);
        let square = |asset: u32| {
            let calls = self.of_asset.get(&asset).copied().unwrap_or_default();
            ((calls.slow - edge.slow + OWN_CALLS * own) / (calls.all - edge.all + OWN_CALLS)).powi(2)
        };
        let (caller, callee) = (square(caller), square(callee));
        if caller + callee > 0.0 { callee / (caller + callee) } else { 0.5 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: u32 = 0;

    #[test]
    fn the_other_calls_of_either_end_tell_whose_delay_it_is() {
        let share = |others: [(u32, f64); 2], callers: &[(u32, f64)]| {
            let mut coherence = Coherence::default();
            let all = 100.0;
            coherence.add((CALLER, 1), Calls { all, slow: 80.0 });
            others.iter().for_each(|&(callee, slow)| coherence.add((CALLER, callee), Calls { all, slow }));
            callers.iter().for_each(|&(caller, slow)| coherence.add((caller, 1), Calls { all, slow }));
            coherence.share_of_callee(CALLER, 1)
        };
        assert!(share([(2, 0.0), (3, 0.0)], &[]) > 0.95, "its other calls are as ever");
        assert!(share([(2, 70.0), (3, 75.0)], &[(4, 0.0)]) < 0.05, "all of its calls are slow, and others' are not");
        assert!(share([(2, 70.0), (3, 75.0)], &[(4, 80.0)]) > 0.4, "both ends are slow");
        assert_eq!(Coherence::default().share_of_callee(CALLER, 1), 0.5);
    }
}
