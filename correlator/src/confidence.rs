//! Confidence: how likely an answer is right that has a rank and a share of the evidence.
//!
//! `confidence.json` is made by `whence eval --calibrate`: isotonic regression, for each rank apart, of "this asset was
//! the cause" on its share of the evidence, over simulated faults of the purpose *calibration*, which has nothing in
//! common with what answers are judged on. A share says how far an answer is ahead of the others: that means the same
//! in any system, whereas how strong evidence is depends on how much a system is used and how steadily.
//! Between two of its scores confidence is on the line.
//!
//! Links that were found by comparing many events have a curve of their own for each relation, `lag` and `change`, of "cause
//! and effect lie on the way of one fault" on the link's score: how that is decided says `src/commands/eval/links.rs`.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use whence_schema::{Relation, UnixNanos};
use whence_storage::parse_time;

/// Points of one rank, by share of the evidence.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Curve {
    /// The lowest rank it is of; the last curve is of all further ranks as well.
    pub rank: i32,
    /// Shares of the evidence, ascending.
    pub scores: Vec<f64>,
    /// How likely an answer with that share is right, 0 to 1, not descending.
    pub confidences: Vec<f64>,
}

/// What `confidence.json` holds. What is not known is not there: then it was not fitted.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confidence {
    /// The day it was made, as in `2026-01-31`.
    #[serde(default)]
    pub made: Option<String>,
    /// Simulated faults that it was fitted to.
    #[serde(default)]
    pub faults: Option<u64>,
    /// Times without a fault that it was fitted to.
    #[serde(default)]
    pub quiet: Option<u64>,
    /// Brier score of first answers, each by a curve that was fitted to other systems.
    #[serde(default)]
    pub brier: Option<f64>,
    /// Expected calibration error of the same.
    #[serde(default)]
    pub expected_calibration_error: Option<f64>,
    /// By rank, of the first three.
    pub curves: Vec<Curve>,
    /// Of links, by their relation.
    #[serde(default)]
    pub links: BTreeMap<String, LinkConfidence>,
}

/// How confidence of links of one relation was calibrated, and its curve.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkConfidence {
    /// Simulated systems that were asked for links.
    pub systems: u64,
    /// Links that were found and judged.
    pub judged: u64,
    /// Those of them that were right.
    pub right: u64,
    /// Brier score, each link by a curve that was fitted to other systems; none when there were too few.
    pub brier: Option<f64>,
    /// Expected calibration error of the same.
    pub expected_calibration_error: Option<f64>,
    /// Confidence by score. Its rank says nothing.
    pub curve: Curve,
}

/// How confidence of links of one relation was calibrated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LinkCalibration {
    /// Links that were found in simulated systems and judged.
    pub judged: u64,
    /// Brier score in two-fold cross-validation.
    pub brier: Option<f64>,
    /// Expected calibration error of the same, in ten bins.
    pub expected_calibration_error: Option<f64>,
}

/// How confidence of links of a relation was calibrated; `None` when it was not.
pub(crate) fn link_calibration(relation: Relation) -> Option<LinkCalibration> {
    let known = IN_USE.links.get(relation.as_str())?;
    Some(LinkCalibration {
        judged: known.judged,
        brier: known.brier,
        expected_calibration_error: known.expected_calibration_error,
    })
}

/// How likely a link is right, 0 to 1; where it was not calibrated, its score.
pub(crate) fn link_confidence(relation: Relation, score: f64) -> f32 {
    IN_USE.links.get(relation.as_str()).map_or(score, |known| known.curve.at(score)) as f32
}

/// How confidence was calibrated, as far as it was.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Calibration {
    /// The beginning of the day.
    pub made_at: Option<UnixNanos>,
    /// Simulated faults that it was fitted to.
    pub faults: Option<u64>,
    /// Times without a fault that it was fitted to.
    pub quiet: Option<u64>,
    /// Brier score of first answers in two-fold cross-validation: the mean squared distance of confidence from 1 for a
    /// right answer and from 0 for a wrong one.
    pub brier: Option<f64>,
    /// Expected calibration error of the same: the mean distance of confidence from the share of right answers in ten
    /// bins of equally many answers.
    pub expected_calibration_error: Option<f64>,
}

/// What is in use.
static IN_USE: LazyLock<Confidence> =
    LazyLock::new(|| serde_json::from_str(include_str!("confidence.json")).unwrap_or_default());

/// How the confidence in use was calibrated.
pub fn calibration() -> Calibration {
    calibration_of(&IN_USE)
}

fn calibration_of(confidence: &Confidence) -> Calibration {
    Calibration {
        made_at: confidence.made.as_deref().and_then(parse_time),
        faults: confidence.faults,
        quiet: confidence.quiet,
        brier: confidence.brier,
        expected_calibration_error: confidence.expected_calibration_error,
    }
}

/// How likely an answer is right, 0 to 1.
pub(crate) fn confidence(rank: i32, score: f64) -> f32 {
    let curve = IN_USE.curves.iter().rev().find(|curve| curve.rank <= rank);
    curve.map_or(0.0, |curve| curve.at(score)) as f32
}

impl Curve {
    /// How likely an answer with this score is right, 0 to 1.
    pub fn at(&self, score: f64) -> f64 {
        let Self { scores, confidences, .. } = self;
        let above = scores.partition_point(|known| *known <= score);
        match (above.checked_sub(1), above) {
            (None, _) => confidences.first().copied().unwrap_or(0.0),
            (Some(below), above) if above < scores.len() => {
                let share = (score - scores[below]) / (scores[above] - scores[below]);
                confidences[below] + share * (confidences[above] - confidences[below])
            }
            (Some(below), _) => confidences[below],
        }
    }
}

/// Isotonic regression by pooling adjacent violators (Ayer, Brunk, Ewing, Reid, Silverman 1955) of answers of one rank:
/// share of the evidence, and whether the answer was right. Of answers that are never right, or always, the rule of succession
/// says how sure that is: with n of them 1 / (n + 2) for never, and as much less than 1 for always.
pub fn fit(rank: i32, answers: &[(f64, bool)]) -> Curve {
    let mut answers: Vec<(f64, bool)> = answers.iter().copied().filter(|(score, _)| score.is_finite()).collect();
    answers.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut blocks: Vec<Block> = Vec::new();
    for (score, right) in answers {
        blocks.push(Block { first: score, last: score, right: f64::from(u8::from(right)), all: 1.0 });
        while let [.., a, b] = &blocks[..]
            && (a.mean() >= b.mean() || a.last == b.first)
        {
            let joined = Block { first: a.first, last: b.last, right: a.right + b.right, all: a.all + b.all };
            blocks.truncate(blocks.len() - 2);
            blocks.push(joined);
        }
    }
    let mut curve = Curve { rank, scores: Vec::new(), confidences: Vec::new() };
    for block in blocks {
        let mean = (block.right + 1.0) / (block.all + 2.0);
        let mean = mean.max(curve.confidences.last().copied().unwrap_or(0.0));
        for score in [block.first, block.last] {
            if curve.scores.last().is_none_or(|last| *last < score) {
                curve.scores.push(score);
                curve.confidences.push(mean);
            }
        }
    }
    curve
}

/// Answers that are right equally often.
#[derive(Debug, Clone, Copy)]
struct Block {
    first: f64,
    last: f64,
    right: f64,
    all: f64,
}

impl Block {
    fn mean(&self) -> f64 {
        self.right / self.all
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_shipped_reads_and_rises_with_the_score() {
        let curves = &IN_USE.curves;
        assert!(!curves.is_empty());
        for curve in curves {
            assert_eq!(curve.scores.len(), curve.confidences.len());
            assert!(curve.scores.windows(2).all(|pair| pair[0] < pair[1]), "{curve:?}");
            assert!(curve.confidences.windows(2).all(|pair| pair[0] <= pair[1]), "{curve:?}");
            assert!(curve.confidences.iter().all(|value| (0.0..=1.0).contains(value)), "{curve:?}");
        }
        assert_eq!(curves[0].rank, 1);
        assert!(confidence(1, 1e9) > confidence(1, 0.0));
    }

    #[test]
    fn the_example_of_the_textbook_is_pooled_into_its_blocks() {
        // Right answers of 1, 0, 0, 1, 1 by score: the first three are one block, the last two another.
        let curve = fit(1, &[(1.0, true), (2.0, false), (3.0, false), (4.0, true), (5.0, true)]);
        assert_eq!(curve.scores, [1.0, 3.0, 4.0, 5.0]);
        assert_eq!(curve.confidences, [2.0 / 5.0, 2.0 / 5.0, 3.0 / 4.0, 3.0 / 4.0]);
        assert_eq!(curve.at(0.0), 0.4);
        assert!((curve.at(3.5) - (0.4 + 0.75) / 2.0).abs() < 1e-12);
        assert_eq!(curve.at(99.0), 0.75);
    }

    #[test]
    fn what_is_shipped_is_calibrated_in_full_or_not_at_all() {
        let Calibration { made_at, faults, quiet, brier, expected_calibration_error } = calibration();
        let known = [made_at.is_some(), faults.is_some(), quiet.is_some(), brier.is_some()];
        assert!(known.iter().all(|known| *known == expected_calibration_error.is_some()), "{:?}", calibration());
    }

    #[test]
    fn a_file_tells_when_and_on_what_it_was_fitted() {
        let text = r#"{"made": "1970-01-02", "faults": 7, "quiet": 2, "brier": 0.125, "expected_calibration_error": 0.5,
            "curves": [{"rank": 1, "scores": [1.0], "confidences": [0.5]}]}"#;
        let read: Confidence = serde_json::from_str(text).unwrap();
        let expected = Calibration {
            made_at: Some(UnixNanos(86_400_000_000_000)),
            faults: Some(7),
            quiet: Some(2),
            brier: Some(0.125),
            expected_calibration_error: Some(0.5),
        };
        assert_eq!(calibration_of(&read), expected);
        let bare: Confidence = serde_json::from_str(r#"{"curves": []}"#).unwrap();
        assert_eq!(calibration_of(&bare), Calibration::default());
        assert!(serde_json::from_str::<Confidence>(r#"{"curves": [], "bier": 1.0}"#).is_err());
    }

    #[test]
    fn equal_scores_are_one_point() {
        let curve = fit(2, &[(1.0, false), (1.0, true), (1.0, true), (f64::NAN, true)]);
        assert_eq!((curve.scores, curve.confidences), (vec![1.0], vec![3.0 / 5.0]));
        assert_eq!(fit(1, &[]).scores.len(), 0);
    }
}
