//! Whether an answer is right, and how often that is.

use serde::Serialize;
use whence_correlator::{Cause, FoundIncident};
use whence_schema::UnixNanos;
use whence_simulator::{FaultLabel, Labels};
use whence_storage::time_text;

/// Length of a fault whose labels do not tell, in seconds.
const FAULT_SECONDS: u64 = 180;
/// Longest window asked about, in seconds: nobody waits longer before asking.
const LONGEST_SECONDS: u64 = 600;
/// Answers that a case keeps.
const MOST_ANSWERS: usize = 5;

/// The window to ask about: from a fault's onset to its end, ten minutes at most.
pub(super) fn window(label: &FaultLabel, labels: &Labels) -> (UnixNanos, UnixNanos) {
    let seconds = if labels.fault_seconds == 0 { FAULT_SECONDS } else { labels.fault_seconds };
    let from = label.time_unix_nano;
    let end = label.end_unix_nano.unwrap_or(from + seconds * 1_000_000_000);
    let to = end.clamp(from + 1_000_000_000, from + LONGEST_SECONDS * 1_000_000_000);
    (UnixNanos(from as i64), UnixNanos(to as i64))
}

/// An asset that was named.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Named {
    pub(super) asset: Option<String>,
    pub(super) kind: &'static str,
    pub(super) confidence: Option<f32>,
    pub(super) evidence_score: f64,
    pub(super) evidence_share: f64,
    pub(super) right: bool,
}

/// One fault and what was answered.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Case {
    pub(super) source: String,
    pub(super) kind: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) cause: String,
    /// Rank of the first right answer; none when the cause was not named.
    pub(super) rank: Option<usize>,
    pub(super) seconds: f64,
    pub(super) answers: Vec<Named>,
    pub(super) explanation: String,
}

impl Case {
    pub(super) fn judge(
        source: &str,
        label: &FaultLabel,
        (from, to): (UnixNanos, UnixNanos),
        causes: &[Cause],
        seconds: f64,
    ) -> Self {
        let right = |asset: &str| is_right(label, asset);
        let rank = causes.iter().position(|cause| cause.asset.as_deref().is_some_and(right)).map(|at| at + 1);
        Self {
            source: source.to_owned(),
            kind: label.fault_type.clone(),
            from: time_text(from),
            to: time_text(to),
            cause: label.root_cause_service.clone(),
            rank,
            seconds,
            answers: named(causes, right),
            explanation: causes.first().map(|cause| cause.explanation.clone()).unwrap_or_default(),
        }
    }
}

/// What was found in all of a recording without being told a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Alone {
    /// Labelled faults.
    pub(super) faults: usize,
    /// Those during which, or within two minutes after, an incident was open.
    pub(super) found: usize,
    /// Those of these of whose incidents one names the cause.
    pub(super) right: usize,
    /// Incidents.
    pub(super) incidents: usize,
    /// Incidents at the time of no fault.
    pub(super) others: usize,
}

impl Alone {
    pub(super) fn judge(labels: &Labels, found: &[FoundIncident]) -> Self {
        const LATE: i64 = 120_000_000_000;
        let touches = |label: &FaultLabel, incident: &FoundIncident| {
            let (from, to) = window(label, labels);
            incident.opened.0 < to.0 + LATE && incident.closed.0 > from.0
        };
        let mut all = Self { faults: labels.faults.len(), found: 0, right: 0, incidents: found.len(), others: 0 };
        for label in &labels.faults {
            let during: Vec<&FoundIncident> = found.iter().filter(|incident| touches(label, incident)).collect();
            let names =
                |incident: &&FoundIncident| incident.asset.as_deref().is_some_and(|asset| is_right(label, asset));
            all.found += usize::from(!during.is_empty());
            all.right += usize::from(during.iter().any(names));
        }
        all.others =
            found.iter().filter(|incident| !labels.faults.iter().any(|label| touches(label, incident))).count();
        all
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            faults: self.faults + other.faults,
            found: self.found + other.found,
            right: self.right + other.right,
            incidents: self.incidents + other.incidents,
            others: self.others + other.others,
        }
    }
}

/// A time without a fault and what was answered.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Quiet {
    pub(super) source: String,
    pub(super) from: String,
    pub(super) to: String,
    /// Empty when no cause was found, which is right.
    pub(super) answers: Vec<Named>,
}

impl Quiet {
    pub(super) fn new(source: &str, (from, to): (UnixNanos, UnixNanos), causes: &[Cause]) -> Self {
        let answers = named(causes, |_| false).into_iter().filter(|answer| answer.asset.is_some()).collect();
        Self { source: source.to_owned(), from: time_text(from), to: time_text(to), answers }
    }
}

fn named(causes: &[Cause], right: impl Fn(&str) -> bool) -> Vec<Named> {
    let name = |cause: &Cause| Named {
        asset: cause.asset.clone(),
        kind: cause.kind,
        confidence: cause.confidence,
        evidence_score: cause.evidence_score,
        evidence_share: cause.evidence_share,
        right: cause.asset.as_deref().is_some_and(&right),
    };
    causes.iter().take(MOST_ANSWERS).map(name).collect()
}

/// The labelled service; of a dependency without telemetry of its own, also a service that uses it, since only that
/// one's spans show it.
fn is_right(label: &FaultLabel, asset: &str) -> bool {
    let uses = |injected: &whence_simulator::InjectedFault| injected.root.clients.iter().any(|client| client == asset);
    asset == label.root_cause_service || label.injected.as_ref().is_some_and(uses)
}

/// A share with its 95% interval by Wilson (1927).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Share {
    pub(super) share: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Share {
    pub(super) fn of(part: usize, all: usize) -> Self {
        if all == 0 {
            return Self { share: 0.0, low: 0.0, high: 1.0 };
        }
        const Z: f64 = 1.959_963_984_540_054;
        let (n, p) = (all as f64, part as f64 / all as f64);
        let middle = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
        let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        Self { share: p, low: (middle - half).max(0.0), high: (middle + half).min(1.0) }
    }
}

/// How well confidence says how often answers are right: mean squared error (Brier score), and mean distance of
/// confidence and share in ten bins of equally many answers (expected calibration error; Naeini, Cooper, Hauskrecht 2015).
pub(super) fn reliability(answers: &[(f64, bool)]) -> Option<(f64, f64)> {
    if answers.is_empty() {
        return None;
    }
    let mut answers = answers.to_vec();
    answers.sort_by(|a, b| a.0.total_cmp(&b.0));
    let right = |answer: &(f64, bool)| f64::from(u8::from(answer.1));
    let all = answers.len() as f64;
    let brier = answers.iter().map(|answer| (answer.0 - right(answer)).powi(2)).sum::<f64>() / all;
    const BINS: usize = 10;
    let bins = (0..BINS).map(|bin| &answers[bin * answers.len() / BINS..(bin + 1) * answers.len() / BINS]);
    let error: f64 = bins.map(|bin| bin.iter().map(|answer| answer.0 - right(answer)).sum::<f64>().abs() / all).sum();
    Some((brier, error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn shares_have_wilsons_interval() {
        // Newcombe (1998), table I: 81 of 263.
        let share = Share::of(81, 263);
        assert_eq!(format!("{:.4} {:.4} {:.4}", share.share, share.low, share.high), "0.3080 0.2553 0.3662");
        assert_eq!(Share::of(0, 0), Share { share: 0.0, low: 0.0, high: 1.0 });
        assert!(Share::of(28, 28).low > 0.87 && Share::of(28, 28).high > 0.999_999);
    }

    #[test]
    fn the_error_of_confidence_is_nothing_where_it_is_the_share() {
        let answers: Vec<(f64, bool)> = (0..10).map(|number| (0.5, number < 5)).collect();
        let (brier, _) = reliability(&answers).unwrap();
        assert!((brier - 0.25).abs() < 1e-12);
        let (_, error) = reliability(&[(1.0, true), (0.0, false)]).unwrap();
        assert_eq!(error, 0.0);
        assert_eq!(reliability(&[]), None);
        // Of eleven answers in ten bins the last has two.
        let eleven: Vec<(f64, bool)> = (0..11).map(|number| (f64::from(number) / 10.0, number > 5)).collect();
        let each: [f64; 10] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.4, 0.3, 0.2, 0.1];
        let (_, error) = reliability(&eleven).unwrap();
        assert!((error - each.iter().sum::<f64>() / 11.0).abs() < 1e-12, "{error}");
    }
}
