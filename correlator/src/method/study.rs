//! One question's observations, counted, and what they charge assets with in any window of slots.

use super::blame::{Charge, Proof, charges, sort};
use super::causes::Question;
use super::delays::Delays;
use super::findings::{Finding, findings};
use super::observations::{LogSeen, Observations, PointSeen};
use super::scan::{Run, scan};
use super::series::{Shift, relate, shifts, sorted, stand_out, weight};
use super::slots::Slots;
use super::steps::Steps;
use super::threads::both;
use super::traces::Traces;
use hashbrown::HashSet;
use std::ops::Range;

/// Assets that are taken to have had a part in an earlier incident: the likeliest ones, of which one is at fault.
const SUSPECTS: usize = 3;
/// Evidence from which an asset is one of them.
const SUSPICIOUS: f64 = 2.0;

/// Observations, counted.
pub(super) struct Study<'a> {
    pub(super) observations: &'a Observations,
    pub(super) traces: Traces,
    pub(super) slots: Slots,
    steps: Steps,
    delays: Delays,
    points: Vec<PointSeen>,
}

/// What a window of slots shows.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) findings: Vec<Finding>,
    pub(super) shifts: Vec<Shift>,
    /// By asset, the heaviest first.
    pub(super) charges: Vec<Charge>,
}

impl Shown {
    /// The assets in which something is different, in the order of their numbers.
    pub(super) fn assets(&self) -> Vec<u32> {
        let of_findings = self.findings.iter().flat_map(|finding| finding.what.assets());
        let mut assets: Vec<u32> = of_findings.chain(self.shifts.iter().map(|shift| shift.asset)).collect();
        assets.sort_unstable();
        assets.dedup();
        assets
    }

    /// The charges against each asset, the asset with the heaviest charge first.
    pub(super) fn by_asset(&self) -> Vec<&[Charge]> {
        let mut accused: Vec<&[Charge]> = self.charges.chunk_by(|a, b| a.asset == b.asset).collect();
        accused.sort_by(|a, b| b[0].weight.total_cmp(&a[0].weight).then(a[0].asset.cmp(&b[0].asset)));
        accused
    }
}

impl<'a> Study<'a> {
    /// Counts what is in a question's baseline and window.
    pub(super) fn of(observations: &'a Observations, question: &Question) -> Self {
        let traces = Traces::of(observations);
        let slots = Slots::of(question);
        // An asset whose logs begin with the window says nothing by what it logs.
        let in_baseline = |log: &&LogSeen| slots.at(log.time).is_some_and(|slot| slots.is_before(slot));
        let logging: HashSet<u32> = observations.logs.iter().filter(in_baseline).map(|log| log.asset).collect();
        let (steps, delays) = both(
            traces.spans.len(),
            || Steps::count(&traces, &slots, |asset| !logging.contains(&asset)),
            || Delays::of(&traces, &slots),
        );
        Self { observations, traces, steps, delays, points: sorted(observations), slots }
    }

    /// Steps and delays that were too many to be counted.
    pub(super) fn uncounted(&self) -> u64 {
        self.steps.dropped + self.delays.dropped
    }

    /// The runs of slots of the baseline that stand out.
    pub(super) fn runs(&self) -> Vec<Run> {
        let mut loud = scan(&self.steps, &self.delays, &self.slots);
        let series = self.steps.steps.len() + self.delays.series.len();
        stand_out(&self.points, &self.observations.metrics, &self.slots, series, &mut loud);
        loud.runs()
    }

    /// What a window shows against the baseline before it.
    pub(super) fn shown(&self, window: &Range<u32>) -> Shown {
        let spans = self.traces.spans_in(&self.slots, window);
        let findings = findings(&self.traces, &self.steps, &self.delays, &self.slots, window);
        let mut charges = charges(&self.traces, spans, &findings);
        let tracing: HashSet<u32> = self.traces.spans[spans.0..spans.1].iter().map(|span| span.asset).collect();
        let mut shifts = shifts(&self.points, &self.slots, window);
        relate(&mut shifts, &self.points, &self.observations.metrics, &self.slots, window);
        for (index, shift) in shifts.iter().enumerate() {
            let metric = self.observations.metrics.get(shift.metric as usize).map_or("", String::as_str);
            let weight = weight(shift, metric, tracing.contains(&shift.asset));
            charges.push(Charge { asset: shift.asset, proof: Proof::Shift(index as u32), weight });
        }
        sort(&mut charges);
        Shown { findings, shifts, charges }
    }

    /// Takes earlier incidents out of the baseline of those assets that may have caused them: what they did then is no
    /// measure, and if they do it again it is new. To others it is a measure of how they suffer.
    pub(super) fn except_incidents(&mut self) {
        for run in self.runs() {
            let shown = self.shown(&run.slots);
            self.except_suspects(&shown, &run.slots);
        }
        self.delays.learn(&self.slots);
    }

    /// Takes slots out of the baseline of the assets that may have caused what they show.
    pub(super) fn except_suspects(&mut self, shown: &Shown, slots: &Range<u32>) {
        for accused in shown.by_asset().into_iter().take(SUSPECTS) {
            if accused[0].weight.sqrt() >= SUSPICIOUS {
                self.slots.except(accused[0].asset, slots.clone());
            }
        }
    }
}
