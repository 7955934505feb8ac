//! Incidents of a stretch of time: when something was wrong, found without being told.

use super::blame::Proof;
use super::causes::Question;
use super::explanation::title;
use super::observations::Observations;
use super::study::{Shown, Study};
use whence_schema::{EventId, UnixNanos};

/// The title of what stands out and speaks against nobody.
pub(crate) const UNTITLED: &str = "something is different";

/// A stretch of time in which something was wrong.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Incident {
    /// Start of the first half minute that stands out.
    pub opened: UnixNanos,
    /// End of the last one, exclusive.
    pub closed: UnixNanos,
    /// How far the worst of it is from what is usual, in standard deviations.
    pub severity: f64,
    /// What it shows.
    pub symptoms: Symptoms,
}

/// What is different in a window, in short.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Symptoms {
    /// What is wrong, in a few words.
    pub title: String,
    /// Index of the asset with the strongest evidence against it; `None` when nothing speaks against any.
    pub asset: Option<u32>,
    /// Indexes of the assets in which something was different.
    pub affected: Vec<u32>,
    /// The first event that shows the strongest evidence; `None` when that is a metric.
    pub first_symptom: Option<EventId>,
}

impl Symptoms {
    /// Of what a window shows.
    pub(super) fn of(study: &Study<'_>, shown: &Shown) -> Self {
        let strongest = shown.by_asset().first().map(|charges| charges[0]);
        let first_symptom = strongest.and_then(|charge| match charge.proof {
            Proof::Finding(finding) => shown.findings[finding as usize].spans.first().copied(),
            Proof::Shift(_) => None,
        });
        Self {
            title: strongest.map_or_else(|| UNTITLED.to_owned(), |charge| title(study, shown, &charge)),
            asset: strongest.map(|charge| charge.asset),
            affected: shown.assets(),
            first_symptom: first_symptom.map(|span| study.traces.spans[span as usize].id()),
        }
    }
}

/// The incidents between two instants, in the order of time; what was quiet before one is what it is compared with, so
/// nothing is found in the first minutes.
pub(crate) fn incidents(observations: &Observations, from: UnixNanos, to: UnixNanos) -> Vec<Incident> {
    // All of it is baseline to the question: the window after it is empty.
    let question = Question { from: to, to, baseline_from: from };
    let mut study = Study::of(observations, &question);
    let mut incidents = Vec::new();
    for run in study.runs() {
        let shown = study.shown(&run.slots);
        study.except_suspects(&shown, &run.slots);
        incidents.push(Incident {
            opened: study.slots.start(run.slots.start).max(from),
            closed: study.slots.start(run.slots.end).min(to),
            severity: run.deviate,
            symptoms: Symptoms::of(&study, &shown),
        });
    }
    incidents
}
