//! Ranks what caused the trouble of a past window, by what is different in it from a baseline before it.

use super::blame::{Charge, Proof};
use super::explanation::{kind, sentence};
use super::incidents::Symptoms;
use super::observations::{ChangeSeen, Observations};
use super::slots::SLOT_NANOS;
use super::study::{Shown, Study};
use whence_schema::{EventId, UnixNanos};

/// Most ids of events that a cause names.
const MOST_EVIDENCE: usize = 10;
/// Most events that show one and the same thing.
const MOST_OF_ONE: usize = 4;
/// Evidence, as the square of a score, that speaks against none in particular: by chance scores reach two at quiet times.
const AGAINST_NONE: f64 = 4.0;
/// What happened less often before is seen from its first occurrence on.
pub(super) const RARE: f64 = 0.05;
/// How long after a change its consequences may begin, in nanoseconds: five minutes, by which a new version has taken
/// over and caches have turned over.
pub(super) const CHANGE_REACH: i64 = 300_000_000_000;

/// Which window is asked about, and what it is compared with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    /// Start of the window.
    pub from: UnixNanos,
    /// End of the window, exclusive.
    pub to: UnixNanos,
    /// The baseline is `[baseline_from, from)`; an hour serves well.
    pub baseline_from: UnixNanos,
}

/// What kind of evidence speaks most for a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum CauseKind {
    /// It takes longer, or what waits for it does.
    Latency,
    /// It fails.
    Errors,
    /// It does or logs something else than before.
    Logs,
    /// A metric left its range.
    Metric,
    /// A change was followed by the trouble.
    Change,
}

impl CauseKind {
    /// The kind with a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Latency, Self::Errors, Self::Logs, Self::Metric, Self::Change]
            .into_iter()
            .find(|kind| kind.name() == name)
    }

    /// The name in SQL and JSON, such as `latency`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Errors => "errors",
            Self::Logs => "logs",
            Self::Metric => "metric",
            Self::Change => "change",
        }
    }
}

/// One asset that may have caused the trouble.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RootCause {
    /// Index of the asset.
    pub asset: u32,
    /// What the strongest evidence is.
    pub kind: CauseKind,
    /// Effect size, 0 to 1: the share of what was looked at that the difference explains.
    pub strength: f32,
    /// How strong the evidence is, without a unit and without an upper bound.
    pub evidence_score: f64,
    /// The part of all evidence, 0 to 1, that speaks against this asset; confidence is calibrated from it.
    pub evidence_share: f64,
    /// When the first evidence happened.
    pub first_seen: UnixNanos,
    /// Events that show it, strongest evidence first; at most 10.
    pub evidence: Vec<EventId>,
    /// One sentence with figures.
    pub explanation: String,
}

/// The answer to a question.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Answer {
    /// The likeliest first; empty when nothing stands out.
    pub(crate) causes: Vec<RootCause>,
    /// What the window shows, in short.
    pub(crate) symptoms: Symptoms,
    /// Steps and delays that were too many to be counted.
    pub(crate) uncounted: u64,
}

/// The causes of what is different in the question's window.
pub(crate) fn root_causes(observations: &Observations, question: &Question) -> Answer {
    let mut study = Study::of(observations, question);
    study.except_incidents();
    let shown = study.shown(&(study.slots.window..study.slots.end));
    let accused = shown.by_asset();
    let all = AGAINST_NONE + accused.iter().map(|charges| charges[0].weight).sum::<f64>();
    let causes = accused.into_iter().map(|charges| cause(&study, &shown, charges, all)).collect();
    Answer { causes, symptoms: Symptoms::of(&study, &shown), uncounted: study.uncounted() }
}

/// The cause that charges against one asset, the heaviest first, make; `all` is the weight of all evidence.
fn cause(study: &Study<'_>, shown: &Shown, charges: &[Charge], all: f64) -> RootCause {
    let strongest = charges[0];
    let (kind, strength) = match strongest.proof {
        Proof::Finding(finding) => {
            let finding = &shown.findings[finding as usize];
            (kind(&study.traces, finding), finding.rise.now - finding.rise.before)
        }
        Proof::Shift(shift) => (CauseKind::Metric, shown.shifts[shift as usize].effect()),
    };
    let mut cause = RootCause {
        asset: strongest.asset,
        kind,
        strength: strength as f32,
        evidence_score: strongest.weight.sqrt(),
        evidence_share: strongest.weight / all,
        first_seen: onset(study, shown, charges),
        evidence: evidence(study, shown, charges),
        explanation: sentence(study, shown, &strongest),
    };
    follow_change(study.observations, &mut cause);
    cause
}

/// When the strongest evidence of spans began, or else the window.
fn onset(study: &Study<'_>, shown: &Shown, charges: &[Charge]) -> UnixNanos {
    let of_spans = charges.iter().find_map(|charge| match charge.proof {
        Proof::Finding(finding) => Some(&shown.findings[finding as usize]),
        Proof::Shift(_) => None,
    });
    let starts = of_spans.map(|finding| finding.spans.iter().map(|span| study.traces.spans[*span as usize].start));
    let first = match (of_spans, starts) {
        (Some(finding), Some(mut starts)) if finding.rise.before < RARE => starts.next(),
        (Some(_), Some(starts)) => begin(&starts.collect::<Vec<_>>()),
        _ => None,
    };
    first.unwrap_or_else(|| study.slots.start(study.slots.window))
}

/// When times become dense: the first one of the first slot with at least half as many as the fullest one.
pub(super) fn begin(times: &[UnixNanos]) -> Option<UnixNanos> {
    let slots: Vec<&[UnixNanos]> = times.chunk_by(|a, b| a.0 / SLOT_NANOS == b.0 / SLOT_NANOS).collect();
    let most = slots.iter().map(|slot| slot.len()).max()?;
    slots.iter().find(|slot| slot.len() * 2 >= most).and_then(|slot| slot.first()).copied()
}

/// Spans that show the heaviest charges, some of each.
fn evidence(study: &Study<'_>, shown: &Shown, charges: &[Charge]) -> Vec<EventId> {
    let mut evidence = Vec::new();
    for charge in charges {
        let Proof::Finding(finding) = charge.proof else { continue };
        let mut taken = 0;
        for span in &shown.findings[finding as usize].spans {
            let id = study.traces.spans[*span as usize].id();
            if evidence.len() == MOST_EVIDENCE || taken == MOST_OF_ONE {
                break;
            }
            if !evidence.contains(&id) {
                evidence.push(id);
                taken += 1;
            }
        }
    }
    evidence
}

/// A change of the same asset shortly before is what began it: the contrast before and after is the evidence that the
/// cause already has.
fn follow_change(observations: &Observations, cause: &mut RootCause) {
    let led = |change: &&ChangeSeen| {
        let after = cause.first_seen.0.saturating_sub(change.time.0);
        change.asset == cause.asset && (-SLOT_NANOS..=CHANGE_REACH).contains(&after)
    };
    let Some(change) = observations.changes.iter().filter(led).max_by_key(|change| (change.time, change.id)) else {
        return;
    };
    cause.kind = CauseKind::Change;
    cause.evidence.insert(0, change.id);
    cause.evidence.truncate(MOST_EVIDENCE);
    let seconds = (cause.first_seen.0 - change.time.0).max(0) / 1_000_000_000;
    cause.explanation = format!("{}; {seconds} s before: {}", cause.explanation, change.what);
}
