//! What came out, for people and for programs.

use super::judge::{Alone, Case, Named, Quiet, Share, reliability};
use super::links::{JudgedLink, Links};
use super::load::Telemetry;
use crate::output::print;
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use whence_correlator::{FoundLink, fit};
use whence_schema::Relation;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Table,
    Json,
}

/// Everything asked and answered.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) cases: Vec<Case>,
    pub(super) quiet: Vec<Quiet>,
    /// By recording.
    pub(super) alone: Vec<Alone>,
    /// By recording.
    pub(super) links: Vec<Links>,
    /// Systems that were asked for links, in the order of asking.
    pub(super) linked: Vec<String>,
    pub(super) judged: Vec<JudgedLink>,
}

/// How often a group of faults was explained.
#[derive(Debug, Clone, Copy, serde::Serialize)]
struct Accuracy {
    faults: usize,
    ac1: Share,
    ac3: Share,
}

impl Accuracy {
    fn of<'a>(cases: impl Iterator<Item = &'a Case>) -> Self {
        let (mut faults, mut first, mut third) = (0, 0, 0);
        for case in cases {
            faults += 1;
            first += usize::from(case.rank == Some(1));
            third += usize::from(case.rank.is_some_and(|rank| rank <= 3));
        }
        Self { faults, ac1: Share::of(first, faults), ac3: Share::of(third, faults) }
    }
}

impl Report {
    /// Share of the evidence and rightness of every answer with a rank; at quiet times every answer is wrong.
    pub(super) fn answers_of_rank(&self, rank: usize) -> Vec<(f64, bool)> {
        let of = |answers: &[Named]| answers.get(rank - 1).filter(|answer| answer.asset.is_some()).cloned();
        let answers = self.cases.iter().filter_map(|case| of(&case.answers));
        let quiet = self.quiet.iter().filter_map(|quiet| of(&quiet.answers));
        answers.chain(quiet).map(|answer| (answer.evidence_share, answer.right)).collect()
    }

    /// Takes in the links of one system.
    pub(super) fn judge_links(&mut self, telemetry: &Telemetry, links: &[FoundLink]) {
        let judged = |link| JudgedLink::new(&telemetry.name, link, &telemetry.labels, &telemetry.calls);
        self.judged.extend(links.iter().map(judged));
        self.linked.push(telemetry.name.clone());
    }

    /// Systems that were asked for links.
    pub(super) fn systems_of_links(&self) -> usize {
        self.linked.len()
    }

    /// Score and rightness of every link of a relation.
    pub(super) fn answers_of_links(&self, relation: Relation) -> Vec<(f64, bool)> {
        self.links_among(relation, |_| true)
    }

    fn links_among(&self, relation: Relation, of: impl Fn(&str) -> bool) -> Vec<(f64, bool)> {
        let links = self.judged.iter().filter(|link| link.relation == relation && of(&link.source));
        links.map(|link| (link.score, link.right)).collect()
    }

    /// Brier score and calibration error of links of a relation, those of each half of the systems by a curve that was
    /// fitted to the other half; none without links in both. Every other pair of systems is of the first half, so that
    /// all kinds of faults are in both.
    pub(super) fn cross_validated_links(&self, relation: Relation) -> Option<(f64, f64)> {
        let half = |odd: usize| {
            let of_half = self.linked.iter().enumerate().filter(|(number, _)| number / 2 % 2 == odd);
            let sources: HashSet<&str> = of_half.map(|(_, source)| source.as_str()).collect();
            self.links_among(relation, |source| sources.contains(source))
        };
        let halves = [half(0), half(1)];
        if halves.iter().any(Vec::is_empty) {
            return None;
        }
        let by = |fitted: &[(f64, bool)], others: &[(f64, bool)]| {
            let curve = fit(1, fitted);
            others.iter().map(|(score, right)| (curve.at(*score), *right)).collect::<Vec<_>>()
        };
        reliability(&[by(&halves[0], &halves[1]), by(&halves[1], &halves[0])].concat())
    }

    /// Brier score and calibration error of first answers when the confidence of one half of the systems is fitted to the
    /// answers about the other half; none without answers of both.
    pub(super) fn cross_validated(&self) -> Option<(f64, f64)> {
        // Halves, not every second one: kinds of faults follow one another in the order of systems.
        let mut sources: Vec<&str> = self.cases.iter().map(|case| case.source.as_str()).collect();
        sources.extend(self.quiet.iter().map(|quiet| quiet.source.as_str()));
        let mut seen = HashSet::new();
        sources.retain(|source| seen.insert(*source));
        let (first, second) = sources.split_at(sources.len() / 2);
        let halves = [first, second].map(|sources| {
            let cases = self.cases.iter().filter(|case| sources.contains(&case.source.as_str())).cloned().collect();
            let quiet = self.quiet.iter().filter(|quiet| sources.contains(&quiet.source.as_str())).cloned().collect();
            Self { cases, quiet, ..Self::default() }.answers_of_rank(1)
        });
        if halves.iter().any(Vec::is_empty) {
            return None;
        }
        let judged = |fitted: &[(f64, bool)], others: &[(f64, bool)]| {
            let curve = fit(1, fitted);
            others.iter().map(|(score, right)| (curve.at(*score), *right)).collect::<Vec<_>>()
        };
        reliability(&[judged(&halves[0], &halves[1]), judged(&halves[1], &halves[0])].concat())
    }

    pub(super) fn print(&self, format: Format) -> anyhow::Result<()> {
        match format {
            Format::Table => print(self.table()),
            Format::Json => print(format_args!("{}\n", serde_json::to_string_pretty(&self.json())?)),
        }
        Ok(())
    }

    fn by_kind(&self) -> BTreeMap<&str, Accuracy> {
        let mut kinds: BTreeMap<&str, Vec<&Case>> = BTreeMap::new();
        for case in &self.cases {
            kinds.entry(&case.kind).or_default().push(case);
        }
        kinds.into_iter().map(|(kind, cases)| (kind, Accuracy::of(cases.into_iter()))).collect()
    }

    /// Brier score and calibration error of the first answers.
    fn reliability(&self) -> Option<(f64, f64)> {
        let first = |answers: &[Named]| {
            let answer = answers.first()?;
            Some((f64::from(answer.confidence?), answer.right))
        };
        let cases = self.cases.iter().filter_map(|case| first(&case.answers));
        let quiet = self.quiet.iter().filter_map(|quiet| first(&quiet.answers));
        reliability(&cases.chain(quiet).collect::<Vec<_>>())
    }

    fn quiet_kept(&self) -> (usize, usize) {
        let none = self.quiet.iter().filter(|quiet| quiet.answers.is_empty()).count();
        let sure =
            |quiet: &&Quiet| quiet.answers.iter().any(|answer| answer.confidence.is_some_and(|sure| sure >= 0.5));
        (none, self.quiet.len() - self.quiet.iter().filter(sure).count())
    }

    fn alone(&self) -> Option<Alone> {
        self.alone.iter().copied().reduce(Alone::plus)
    }

    fn links(&self) -> Option<Links> {
        self.links.iter().copied().reduce(Links::plus)
    }

    /// What came of links between onsets and of changes.
    fn lines_of_links(&self) -> Vec<String> {
        let Some(links) = self.links() else { return Vec::new() };
        let Share { share, low, high } = Share::of(links.turns_with_links, links.turns);
        let percent = |share: f64| format!("{:.1}%", share * 100.0);
        vec![
            format!(
                "false discovery: {} of {} times that onsets were turned against each other had a link, {} ({} to {}), \
                 5% are accepted; {} links of onsets as they are, in {} tests",
                links.turns_with_links,
                links.turns,
                percent(share),
                percent(low),
                percent(high),
                links.of_onsets,
                links.tests
            ),
            format!(
                "changes with links to what they changed: {} of {} that caused a fault, {} of {} harmless ones",
                links.guilty_with_links, links.guilty, links.harmless_with_links, links.harmless
            ),
        ]
    }

    fn seconds(&self) -> f64 {
        self.cases.iter().map(|case| case.seconds).sum::<f64>() / self.cases.len().max(1) as f64
    }

    fn table(&self) -> String {
        let mut lines = vec![format!("{:<18} {:>6}   {:<22} {:<22}", "kind", "faults", "AC@1", "AC@3")];
        let line = |name: &str, accuracy: &Accuracy| {
            let share = |share: Share| {
                let percent = |value: f64| value * 100.0;
                format!("{:>5.1}% ({:.1} to {:.1})", percent(share.share), percent(share.low), percent(share.high))
            };
            let line =
                format!("{name:<18} {:>6}   {:<22} {:<22}", accuracy.faults, share(accuracy.ac1), share(accuracy.ac3));
            line.trim_end().to_owned()
        };
        lines.extend(self.by_kind().iter().map(|(kind, accuracy)| line(kind, accuracy)));
        lines.push(line("all", &Accuracy::of(self.cases.iter())));
        lines.push(String::new());
        lines.push(format!("{:.2} s for an answer on average", self.seconds()));
        if let Some((brier, error)) = self.reliability() {
            lines.push(format!("confidence of first answers: Brier score {brier:.3}, calibration error {error:.3}"));
        }
        if !self.quiet.is_empty() {
            let (none, unsure) = self.quiet_kept();
            let all = self.quiet.len();
            lines.push(format!(
                "times without a fault: {none} of {all} answered with no cause, {unsure} of {all} with none or a confidence below 0.5"
            ));
        }
        if let Some(alone) = self.alone() {
            let Alone { faults, found, right, incidents, others } = alone;
            lines.push(format!(
                "without being told when: {found} of {faults} faults found, {right} with their cause; {others} of {incidents} incidents at no fault's time"
            ));
        }
        lines.extend(self.lines_of_links());
        lines.extend(self.failing());
        lines.join("\n") + "\n"
    }

    /// What was not named first, and what was instead.
    fn failing(&self) -> Vec<String> {
        let failing: Vec<&Case> = self.cases.iter().filter(|case| case.rank != Some(1)).collect();
        if failing.is_empty() {
            return Vec::new();
        }
        let mut lines = vec![String::new(), "Not named first:".to_owned()];
        for case in failing {
            let rank = case.rank.map_or("not named".to_owned(), |rank| format!("named as number {rank}"));
            lines.push(format!("  {}, {} at {}: {}, {rank}", case.source, case.kind, case.from, case.cause));
            let instead = case.answers.iter().take(3).map(told);
            lines.push(format!("    instead: {}", instead.collect::<Vec<_>>().join(", ")));
            lines.push(format!("    {}", case.explanation));
        }
        lines
    }

    fn json(&self) -> serde_json::Value {
        let (none, unsure) = self.quiet_kept();
        let reliability = self.reliability();
        json!({
            "by_kind": self.by_kind(),
            "all": Accuracy::of(self.cases.iter()),
            "seconds_mean": self.seconds(),
            "brier": reliability.map(|(brier, _)| brier),
            "calibration_error": reliability.map(|(_, error)| error),
            "quiet": { "windows": self.quiet.len(), "none": none, "none_or_unsure": unsure, "answers": self.quiet },
            "without_times": self.alone(),
            "links": self.links(),
            "cases": self.cases,
        })
    }
}

fn told(answer: &Named) -> String {
    let asset = answer.asset.as_deref().unwrap_or("no cause found");
    match answer.confidence {
        Some(confidence) => format!("{asset} ({}, {confidence:.2})", answer.kind),
        None => asset.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn answer(asset: &str, right: bool) -> Named {
        Named {
            asset: Some(asset.to_owned()),
            kind: "errors",
            confidence: Some(0.8),
            evidence_score: 3.0,
            evidence_share: 0.75,
            right,
        }
    }

    fn case(kind: &str, rank: Option<usize>, answers: Vec<Named>) -> Case {
        Case {
            source: "shop".into(),
            kind: kind.into(),
            from: "2026-01-01T00:00:00.000Z".into(),
            to: "2026-01-01T00:03:00.000Z".into(),
            cause: "cart".into(),
            rank,
            seconds: 0.5,
            answers,
            explanation: "why".into(),
        }
    }

    #[test]
    fn a_report_counts_by_kind_and_tells_what_was_answered_instead() {
        let cases = vec![
            case("cpu", Some(1), vec![answer("cart", true)]),
            case("cpu", Some(2), vec![answer("mail", false), answer("cart", true)]),
            case("errors", None, vec![answer("mail", false)]),
        ];
        let quiet = vec![
            Quiet { source: "shop".into(), from: String::new(), to: String::new(), answers: Vec::new() },
            Quiet { source: "shop".into(), from: String::new(), to: String::new(), answers: vec![answer("x", false)] },
        ];
        let alone = Alone { faults: 3, found: 2, right: 1, incidents: 4, others: 1 };
        let (turns, turns_with_links) = (40, 1);
        let links = Links {
            turns,
            turns_with_links,
            tests: 36,
            of_onsets: 7,
            guilty: 2,
            guilty_with_links: 1,
            harmless: 3,
            harmless_with_links: 0,
        };
        let report = Report { cases, quiet, alone: vec![alone], links: vec![links], ..Report::default() };
        let table = report.table();
        for expected in [
            "cpu                     2    50.0% (9.5 to 90.5)   100.0% (34.2 to 100.0)",
            "all                     3    33.3% (6.1 to 79.2)    66.7% (20.8 to 93.9)",
            "times without a fault: 1 of 2 answered with no cause, 1 of 2 with none",
            "without being told when: 2 of 3 faults found, 1 with their cause; 1 of 4 incidents at no fault's time",
            "false discovery: 1 of 40 times that onsets were turned against each other had a link, 2.5% (0.4% to 12.9%)",
            "7 links of onsets as they are, in 36 tests",
            "what they changed: 1 of 2 that caused a fault, 0 of 3 harmless ones",
            "shop, cpu at 2026-01-01T00:00:00.000Z: cart, named as number 2",
            "instead: mail (errors, 0.80), cart (errors, 0.80)",
            "shop, errors at 2026-01-01T00:00:00.000Z: cart, not named",
        ] {
            assert!(table.contains(expected), "{expected}\nin\n{table}");
        }
        assert_eq!(report.answers_of_rank(1), [(0.75, true), (0.75, false), (0.75, false), (0.75, false)]);
        assert_eq!(report.answers_of_rank(2), [(0.75, true)]);
        let json = report.json();
        assert_eq!(report.cross_validated(), None, "all are of one system");
        assert_eq!((json["all"]["faults"].as_u64(), json["quiet"]["none"].as_u64()), (Some(3), Some(1)));
    }

    #[test]
    fn the_error_of_a_calibration_is_that_on_systems_it_was_not_fitted_to() {
        let of = |source: &str, rights: [bool; 2]| {
            let answers = |right| case("cpu", None, vec![answer("cart", right)]);
            rights.map(|right| Case { source: source.to_owned(), ..answers(right) })
        };
        let cases = [of("a", [true, true]), of("b", [true, true]), of("c", [false, false]), of("d", [false, false])];
        let report = Report { cases: cases.concat(), ..Report::default() };
        // Fitted to four that are right, by the rule of succession 5/6, and used on four that are wrong; and the other way.
        let (brier, error) = report.cross_validated().unwrap();
        assert!((brier - 25.0 / 36.0).abs() < 1e-12, "{brier}");
        assert!((error - 5.0 / 6.0).abs() < 1e-12, "{error}");
    }
}
