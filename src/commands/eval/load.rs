//! Telemetry with labels in a store of its own.

use crate::commands::demo::signal_of;
use crate::commands::replay;
use crate::config;
use crate::pipeline::{self, Alone};
use anyhow::{Context, bail};
use axum::body::Bytes;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;
use whence_otlp_receiver::{Ingest, IngestError};
use whence_schema::{Encoding, Signal, TenantId, UnixNanos};
use whence_simulator::{FaultChoice, FaultKind, FaultLabel, Labels, Purpose, Scenario, ScenarioOptions};
use whence_storage::Store;

/// Whose telemetry it is.
pub(super) fn tenant() -> TenantId {
    TenantId::default()
}

/// When simulated time ends, in nanoseconds since the Unix epoch: any fixed time serves.
const END: u64 = 1_790_000_000_000_000_000;
/// What is asked about where there is no fault, in nanoseconds: as long as most faults, after enough to compare it with.
const QUIET: i64 = 240_000_000_000;
const BEFORE_QUIET: i64 = 360_000_000_000;

/// Faults that come again and again: those that are over when their cause is.
const RECURRING: [FaultKind; 6] = [
    FaultKind::Latency,
    FaultKind::Errors,
    FaultKind::Cpu,
    FaultKind::PoolExhaustion,
    FaultKind::SlowDependency,
    FaultKind::NoisyNeighbour,
];
/// How often each comes, in how many seconds.
const TIMES: u32 = 10;
const RECURRING_SECONDS: u64 = 5_400;

/// Where telemetry comes from.
pub(super) enum Source {
    Simulated { name: String, scenario: Box<Scenario> },
    Recorded { name: String, file: PathBuf, labels: Labels },
}

impl Source {
    /// A simulated system with one fault; seeds take turns at the kinds, and at none.
    pub(super) fn simulated(purpose: Purpose, seed: u64, spans: usize) -> Self {
        let kind = FaultKind::ALL.get(seed as usize % (FaultKind::ALL.len() + 1)).copied();
        let faults = kind.map_or(FaultChoice::Quiet, |kind| FaultChoice::Kinds(vec![kind]));
        let options = ScenarioOptions { faults, spans, ..ScenarioOptions::default() };
        let name = format!("simulated system {seed} ({})", kind.map_or("no fault", FaultKind::name));
        Self::Simulated { name, scenario: Box::new(Scenario::new(purpose, seed, END, options)) }
    }

    /// A simulated system with a fault that comes again and again; seeds take turns at the kinds that can.
    pub(super) fn recurring(purpose: Purpose, seed: u64, spans: usize) -> Self {
        let kind = RECURRING[seed as usize % RECURRING.len()];
        let (faults, duration_seconds) = (FaultChoice::Recurring(kind, TIMES), RECURRING_SECONDS);
        let options = ScenarioOptions { faults, spans, duration_seconds, ..ScenarioOptions::default() };
        let name = format!("simulated system {seed} ({} again and again)", kind.name());
        Self::Simulated { name, scenario: Box::new(Scenario::new(purpose, seed, END, options)) }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Simulated { name, .. } | Self::Recorded { name, .. } => name,
        }
    }
}

/// The recordings that `paths` name or hold.
pub(super) fn recordings(paths: &[PathBuf]) -> anyhow::Result<Vec<Source>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let entries = std::fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?;
            let mut found: Vec<PathBuf> = entries.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
            found.retain(|file| labels_beside(file).is_some_and(|labels| labels.is_file()));
            if found.is_empty() {
                bail!(
                    "{} holds no labelled recording: NAME.otlp.jsonl or NAME.otlp.jsonl.zst with NAME.labels.json",
                    path.display()
                );
            }
            found.sort();
            files.extend(found);
        } else {
            files.push(path.clone());
        }
    }
    files.into_iter().map(recording).collect()
}

fn recording(file: PathBuf) -> anyhow::Result<Source> {
    let beside = labels_beside(&file).with_context(|| {
        format!("{} is no recording: its name ends in .otlp.jsonl or .otlp.jsonl.zst", file.display())
    })?;
    let text = std::fs::read_to_string(&beside).with_context(|| {
        format!(
            "cannot read {}: a recording needs its labels beside it, which say what caused its faults",
            beside.display()
        )
    })?;
    let labels: Labels =
        serde_json::from_str(&text).with_context(|| format!("{} holds no labels", beside.display()))?;
    let name = beside.file_name().map(|name| name.to_string_lossy().replace(".labels.json", "")).unwrap_or_default();
    Ok(Source::Recorded { name, file, labels })
}

fn labels_beside(file: &Path) -> Option<PathBuf> {
    let name = file.file_name()?.to_str()?;
    let stem = name.strip_suffix(".otlp.jsonl.zst").or_else(|| name.strip_suffix(".otlp.jsonl"))?;
    Some(file.with_file_name(format!("{stem}.labels.json")))
}

/// Telemetry that is in a store.
pub(super) struct Telemetry {
    pub(super) name: String,
    pub(super) labels: Labels,
    /// First and last instant of a simulated system.
    /// Pairs of caller and callee of a simulated system.
    pub(super) calls: Vec<(String, String)>,
    period: Option<(i64, i64)>,
    alone: Alone,
    /// Removed when dropped.
    _folder: tempfile::TempDir,
}

/// One request on its way.
struct Loading {
    signal: Signal,
    protobuf: Bytes,
}

impl Telemetry {
    /// Loads all of a source; `told` hears now and then how many requests are in.
    pub(super) async fn load(source: &Source, told: impl Fn(u64)) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("whence-eval-").tempdir()?;
        let mut config = config::load(&[], &["exporters.hypertables.durability=os".to_owned()])?;
        config.exporters.hypertables.path = folder.path().join("data");
        let alone = pipeline::open_alone(&config).await?;
        let (sender, mut requests) = mpsc::channel::<Loading>(8);
        let mut calls = Vec::new();
        let (labels, period, reading) = match source {
            Source::Simulated { scenario, .. } => {
                let scenario = scenario.clone();
                let truth = scenario.ground_truth();
                calls.clone_from(&truth.calls);
                let period = (truth.start_unix_nanos as i64, truth.end_unix_nanos as i64);
                let labels = labels_of(&scenario);
                (labels, Some(period), tokio::task::spawn_blocking(move || simulate(&scenario, &sender)))
            }
            Source::Recorded { file, labels, .. } => {
                let file = file.clone();
                (labels.clone(), None, tokio::task::spawn_blocking(move || read(&file, &sender)))
            }
        };
        let mut loaded = 0;
        while let Some(Loading { signal, protobuf }) = requests.recv().await {
            accept(&alone.ingest, signal, protobuf).await?;
            loaded += 1;
            if loaded % 50 == 0 {
                told(loaded);
            }
        }
        reading.await??;
        Ok(Self { name: source.name().to_owned(), labels, calls, period, alone, _folder: folder })
    }

    pub(super) fn store(&self) -> &Store {
        self.alone.store()
    }

    /// All of the time: of a simulated system, or of a recording from ten minutes before its first fault to five after
    /// its last; `None` without faults, or when that is too long to ask about.
    pub(super) fn whole(&self) -> Option<(UnixNanos, UnixNanos)> {
        const MINUTE: i64 = 60_000_000_000;
        let (start, end) = self.period.or_else(|| {
            let windows = || self.labels.faults.iter().map(|label| super::judge::window(label, &self.labels));
            let first = windows().map(|(from, _)| from.0).min()?;
            Some((first - 10 * MINUTE, windows().map(|(_, to)| to.0).max()? + 5 * MINUTE))
        })?;
        (end - start <= 24 * 60 * MINUTE).then_some((UnixNanos(start), UnixNanos(end)))
    }

    /// Times of a simulated system at which nothing was wrong, nor shortly before: one before the first fault, several
    /// where there is none. Recordings are not known to have any.
    pub(super) fn quiet_windows(&self) -> Vec<(UnixNanos, UnixNanos)> {
        let Some((start, end)) = self.period else { return Vec::new() };
        let fault = self.labels.faults.iter().map(|fault| fault.time_unix_nano as i64).min();
        // Simulated systems stop taking requests a little before their end.
        let until = fault.map_or(end - 60_000_000_000, |onset| onset - 30_000_000_000);
        let mut windows = Vec::new();
        let mut from = start + BEFORE_QUIET;
        while from + QUIET <= until && windows.len() < 4 {
            windows.push((UnixNanos(from), UnixNanos(from + QUIET)));
            from += QUIET;
        }
        if fault.is_some() {
            windows.drain(..windows.len().saturating_sub(1));
        }
        windows
    }

    pub(super) async fn close(self) -> anyhow::Result<()> {
        self.alone.close().await
    }
}

/// What a recording of the scenario would be labelled with.
fn labels_of(scenario: &Scenario) -> Labels {
    let truth = scenario.ground_truth();
    let label = |fault: &whence_simulator::InjectedFault| FaultLabel {
        time: whence_storage::time_text(UnixNanos(fault.onset_unix_nanos as i64)),
        time_unix_nano: fault.onset_unix_nanos,
        root_cause_pod: None,
        root_cause_service: fault.root.asset.clone(),
        fault_type: fault.kind.name().to_owned(),
        end_unix_nano: Some(fault.end_unix_nanos),
        injected: Some(fault.clone()),
    };
    Labels {
        system: format!("simulated-{}", truth.seed),
        date: String::new(),
        spans: 0,
        logs: 0,
        metric_points: 0,
        fault_seconds: 0,
        faults: truth.faults.iter().map(label).collect(),
        decoys: truth.decoys.clone(),
        missing: truth.missing.clone(),
    }
}

fn simulate(scenario: &Scenario, sender: &mpsc::Sender<Loading>) -> anyhow::Result<()> {
    for request in scenario.requests() {
        let loading = Loading { signal: signal_of(request.signal), protobuf: request.body };
        if sender.blocking_send(loading).is_err() {
            break;
        }
    }
    Ok(())
}

fn read(file: &Path, sender: &mpsc::Sender<Loading>) -> anyhow::Result<()> {
    for line in replay::lines(file)? {
        let (number, line) = line?;
        let request = replay::parse(number, &line)?;
        let loading = Loading { signal: request.signal(), protobuf: request.encode(Encoding::Protobuf) };
        if sender.blocking_send(loading).is_err() {
            break;
        }
    }
    Ok(())
}

/// Accepts as the receiver does, waiting when the store is behind.
async fn accept(ingest: &Ingest, signal: Signal, protobuf: Bytes) -> anyhow::Result<()> {
    loop {
        match ingest.accept(tenant(), signal, Encoding::Protobuf, protobuf.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_retryable() => tokio::time::sleep(retry_after(&error)).await,
            Err(error) => return Err(error).context("a request was refused"),
        }
    }
}

fn retry_after(error: &IngestError) -> std::time::Duration {
    error.retry_after().min(std::time::Duration::from_secs(1))
}
