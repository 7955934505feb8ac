//! `whence eval`: how often `root_causes` names the right cause, of faults whose cause is known.
//!
//! ```text
//! simulator, or recording + labels -> real mapping -> temporary store -> root_causes(from, to) -> judged -> report
//! ```

mod judge;
mod links;
mod load;
mod report;

use crate::progress::Bar;
use anyhow::Context;
use judge::{Alone, Case, Quiet};
use links::Links;
use load::{Source, Telemetry};
use report::{Format, Report};
use std::path::PathBuf;
use std::process::ExitCode;
use whence_correlator::{Confidence, Curve, LinkConfidence, find_incidents, find_links, find_root_causes, fit};
use whence_schema::{Relation, UnixNanos};
use whence_simulator::Purpose;
use whence_storage::{Store, time_text};

/// Measures how often root_causes names the right cause of faults whose cause is known.
///
/// Without FILES, systems and faults are simulated: all ten kinds of faults, and times without any. Otherwise
/// recordings NAME.otlp.jsonl or NAME.otlp.jsonl.zst with NAME.labels.json beside them are read, which say when each
/// fault began and in which service. Everything goes through the receiver's mapping into a temporary store, and is
/// asked about with the times of the fault, as a user does with root_causes(from, to), and without any times with
/// incidents(from, to).
///
/// Links between onsets of trouble are asked for as they are, and with every stream of onsets turned against the others,
/// so that each link is a false discovery; links of changes are compared with which changes caused a fault.
///
/// AC@1 is the share of faults whose cause is named first, AC@3 among the first three, each with a 95% interval.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Eval {
    /// Recordings with labels, or folders of them.
    pub files: Vec<PathBuf>,
    /// How many systems to simulate; every eleventh has no fault.
    #[arg(long, default_value_t = 22, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub scenarios: u32,
    /// Where to begin counting the seeds of simulated systems.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// About how many spans each of them has.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=2_000_000))]
    pub spans: u32,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Fit confidence to evidence on simulated systems of the purpose calibration and write it to FILE, which
    /// correlator/src/confidence.json is a copy of.
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    pub calibrate: Option<PathBuf>,
}

impl Eval {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let purpose = if self.calibrate.is_some() { Purpose::Calibration } else { Purpose::Evaluation };
        let sources = if self.files.is_empty() { self.simulated(purpose) } else { load::recordings(&self.files)? };
        let bar = Bar::line();
        let mut report = Report::default();
        for (number, source) in (1..).zip(&sources) {
            bar.say_anywhere(&format!("{number} of {}: {}", sources.len(), source.name()));
            let telemetry = Telemetry::load(source, |requests| {
                bar.say(&format!("{number} of {}: {}, {requests} requests loaded", sources.len(), source.name()));
            })
            .await?;
            ask(&telemetry, &mut report).await?;
            telemetry.close().await?;
        }
        if self.calibrate.is_some() {
            // What keeps following what shows only where it comes again and again.
            let recurring = self.seeds().map(|seed| Source::recurring(purpose, seed, self.spans as usize));
            for source in recurring.take(sources.len().div_ceil(3)) {
                bar.say_anywhere(source.name());
                let telemetry = Telemetry::load(&source, |_| {}).await?;
                ask_links(&telemetry, &mut report).await?;
                telemetry.close().await?;
            }
        }
        drop(bar);
        match &self.calibrate {
            Some(file) => calibrate(file, &report)?,
            None => report.print(self.format)?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn seeds(&self) -> std::ops::Range<u64> {
        self.seed..self.seed + u64::from(self.scenarios)
    }

    fn simulated(&self, purpose: Purpose) -> Vec<Source> {
        self.seeds().map(|seed| Source::simulated(purpose, seed, self.spans as usize)).collect()
    }
}

/// Asks about every fault, and about times without any.
async fn ask(telemetry: &Telemetry, report: &mut Report) -> anyhow::Result<()> {
    for label in &telemetry.labels.faults {
        let (from, to) = judge::window(label, &telemetry.labels);
        let begun = std::time::Instant::now();
        let answers = answer(telemetry.store(), from, to).await?;
        let seconds = begun.elapsed().as_secs_f64();
        report.cases.push(Case::judge(&telemetry.name, label, (from, to), &answers, seconds));
    }
    if let Some((from, to)) = telemetry.whole() {
        let snapshot = telemetry.store().snapshot();
        let asked = move || find_incidents(&snapshot, &load::tenant(), from, to);
        let found = tokio::task::spawn_blocking(asked).await??;
        report.alone.push(Alone::judge(&telemetry.labels, &found));
        let (snapshot, labels) = (telemetry.store().snapshot(), telemetry.labels.clone());
        let asked = move || Links::judge(&snapshot, &load::tenant(), &labels, (from, to));
        let (counts, links) = tokio::task::spawn_blocking(asked).await??;
        report.links.push(counts);
        report.judge_links(telemetry, &links);
    }
    for (from, to) in telemetry.quiet_windows() {
        let answers = answer(telemetry.store(), from, to).await?;
        report.quiet.push(Quiet::new(&telemetry.name, (from, to), &answers));
    }
    Ok(())
}

/// Asks for the links of all of the time.
async fn ask_links(telemetry: &Telemetry, report: &mut Report) -> anyhow::Result<()> {
    if let Some((from, to)) = telemetry.whole() {
        let snapshot = telemetry.store().snapshot();
        let asked = move || find_links(&snapshot, &load::tenant(), from, to);
        let links = tokio::task::spawn_blocking(asked).await??;
        report.judge_links(telemetry, &links);
    }
    Ok(())
}

async fn answer(store: &Store, from: UnixNanos, to: UnixNanos) -> anyhow::Result<Vec<whence_correlator::Cause>> {
    let snapshot = store.snapshot();
    let asked = move || find_root_causes(&snapshot, &load::tenant(), from, to);
    Ok(tokio::task::spawn_blocking(asked).await??)
}

/// Fits a curve for each of the first three ranks; the last holds for all further ones as well.
fn calibrate(file: &std::path::Path, report: &Report) -> anyhow::Result<()> {
    let curves: Vec<Curve> = (1..).zip(1..=3).map(|(rank, of)| fit(rank, &report.answers_of_rank(of))).collect();
    let reliability = report.cross_validated();
    let confidence = Confidence {
        made: time_text(UnixNanos::now()).split('T').next().map(str::to_owned),
        faults: Some(report.cases.len() as u64),
        quiet: Some(report.quiet.len() as u64),
        brier: reliability.map(|(brier, _)| brier),
        expected_calibration_error: reliability.map(|(_, error)| error),
        curves,
        links: [Relation::Lag, Relation::Change]
            .into_iter()
            .filter_map(|relation| links_of(relation, report))
            .collect(),
    };
    let text = serde_json::to_string_pretty(&confidence)?;
    std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    println!("Fitted to {} faults and {} quiet times: {}", report.cases.len(), report.quiet.len(), file.display());
    if let Some((brier, error)) = reliability {
        println!("In two-fold cross-validation: Brier score {brier:.3}, calibration error {error:.3}");
    }
    for (relation, links) in &confidence.links {
        let LinkConfidence { systems, judged, right, brier, expected_calibration_error, .. } = links;
        let number = |number: &Option<f64>| number.map_or("unknown".to_owned(), |number| format!("{number:.3}"));
        println!(
            "Links {relation}: {right} of {judged} right, in {systems} systems: Brier score {}, calibration error {}",
            number(brier),
            number(expected_calibration_error)
        );
    }
    Ok(())
}

/// The curve of links of one relation; none without any link.
fn links_of(relation: Relation, report: &Report) -> Option<(String, LinkConfidence)> {
    let answers = report.answers_of_links(relation);
    if answers.is_empty() {
        return None;
    }
    let reliability = report.cross_validated_links(relation);
    let fitted = LinkConfidence {
        systems: report.systems_of_links() as u64,
        judged: answers.len() as u64,
        right: answers.iter().filter(|(_, right)| *right).count() as u64,
        brier: reliability.map(|(brier, _)| brier),
        expected_calibration_error: reliability.map(|(_, error)| error),
        curve: fit(1, &answers),
    };
    Some((relation.as_str().to_owned(), fitted))
}
