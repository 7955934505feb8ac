//! Which asset a finding speaks against, and how much.
//!
//! What goes wrong below a span explains what goes wrong in it: of anomalous spans of different assets in one trace,
//! the deepest counts. What a call takes beyond its callee's time lies between the two, so both ends share it: the
//! more of an asset's calls are slow, whoever is at their other end, the more it is that asset.

use super::delays::Delayed;
use super::findings::{Finding, LEAST_DEVIATE, What};
use super::traces::{MOST_ANCESTORS, NONE, Symbol, Traces};
use hashbrown::HashMap;
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
    let coherence = Coherence::of(traces, first..end, findings);
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
        match (finding.what, failed_call(traces, finding)) {
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

/// The asset that most spans of a finding called, when the finding is that they failed: a call that fails lies between
/// its two ends, as a slow one does.
fn failed_call(traces: &Traces, finding: &Finding) -> Option<u32> {
    if !matches!(finding.what, What::Step { next: Symbol::FAILED, .. }) {
        return None;
    }
    let mut callees: Vec<u32> = finding.spans.iter().map(|span| traces.callees[*span as usize]).collect();
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

/// By asset: which share of its calls in the window, in both directions, is slow or fails beyond what is usual.
struct Coherence(HashMap<u32, f64>);

impl Coherence {
    fn of(traces: &Traces, window: Range<usize>, findings: &[Finding]) -> Self {
        let mut calls: HashMap<u32, f64> = HashMap::new();
        for span in window {
            let seen = &traces.spans[span];
            let caller = traces.remote_parent(span).map(|caller| caller.asset);
            let callee = Some(traces.callees[span]).filter(|callee| *callee != NONE && !traces.has_remote_child[span]);
            for end in caller.into_iter().chain(callee) {
                *calls.entry(end).or_default() += 1.0;
                *calls.entry(seen.asset).or_default() += 1.0;
            }
        }
        let mut slow: HashMap<u32, f64> = HashMap::new();
        for finding in findings {
            let ends = match (finding.what, failed_call(traces, finding)) {
                (What::Slow { delayed: Delayed::Edge { caller, callee }, .. }, _) => [caller, callee],
                (What::Step { context, .. }, Some(callee)) => [context.asset, callee],
                _ => continue,
            };
            for end in ends {
                *slow.entry(end).or_default() += finding.spans.len() as f64 * finding.rise.attributable();
            }
        }
        Self(slow.into_iter().map(|(asset, slow)| (asset, slow / calls.get(&asset).copied().unwrap_or(1.0))).collect())
    }

    /// Share of the delay between two assets that is the callee's; the squares make the more coherent end stand out.
    fn share_of_callee(&self, caller: u32, callee: u32) -> f64 {
        let square = |asset: u32| self.0.get(&asset).map_or(0.0, |share| share * share);
        let (caller, callee) = (square(caller), square(callee));
        if caller + callee > 0.0 { callee / (caller + callee) } else { 0.5 }
    }
}
