//! `whence load`: the simulated shop as a load generator for any OTLP endpoint.

use anyhow::bail;
use clap::ValueEnum;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use whence_otlp_receiver::export::{Compression, OtlpClient, Protocol, SendError};
use whence_schema::{Encoding, UnixNanos};
use whence_simulator::{LoadMix, LoadTemplates};

#[derive(Debug, Clone, clap::Args)]
pub struct Load {
    /// Where to send it. Default: 127.0.0.1:4317 for gRPC, 127.0.0.1:4318 for HTTP.
    #[arg(long)]
    pub endpoint: Option<String>,
    /// Transport.
    #[arg(long, value_enum, default_value_t = super::replay::Transport::Grpc)]
    pub protocol: super::replay::Transport,
    /// Signals; mixed is 15% data points, the rest spans and their logs.
    #[arg(long, value_enum, default_value_t = Mix::Mixed)]
    pub signal: Mix,
    /// Items (spans, log records, data points) in a request.
    #[arg(long, default_value_t = NonZeroUsize::new(1_000).unwrap_or(NonZeroUsize::MIN))]
    pub batch: NonZeroUsize,
    /// Items to send in all, rounded up to whole requests.
    #[arg(long, conflicts_with = "duration")]
    pub total: Option<u64>,
    /// Hours before now over which the timestamps of --total items are spread; else they are those of sending.
    #[arg(long, value_name = "HOURS", requires = "total", default_value_t = 0)]
    pub spread: u64,
    /// Seconds to send. Default 10, unless --total is given.
    #[arg(long)]
    pub duration: Option<u64>,
    /// Items a second; 0 sends as fast as the receiver answers. With a rate, latency counts from when a request was due.
    #[arg(long, default_value_t = 0)]
    pub rate: u64,
    /// Connections.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub connections: u16,
    /// Requests under way at once on each connection.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub in_flight: u16,
    /// Compression of requests.
    #[arg(long, value_enum, default_value_t = Packed::None)]
    pub compression: Packed,
    /// Seed of the simulated shop.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Process id of the server on this machine: its CPU seconds and memory are measured too (Linux).
    #[arg(long)]
    pub server_pid: Option<u32>,
    /// Seconds to wait at the end so that the server's background work is counted.
    #[arg(long, default_value_t = 0)]
    pub settle: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mix {
    Traces,
    Logs,
    Metrics,
    Mixed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Packed {
    None,
    Gzip,
}

/// What all senders share.
struct Run {
    templates: LoadTemplates,
    next: AtomicU64,
    requests: Option<u64>,
    /// Nanoseconds before now at which the first request happens.
    spread: u64,
    until: Option<Instant>,
    started: Instant,
    /// Time between two requests, with a rate.
    gap: Option<Duration>,
    accepted: AtomicU64,
}

impl Run {
    /// Nanoseconds before now at which a request happens.
    fn ago(&self, number: u64) -> u64 {
        let Some(requests) = self.requests.filter(|_| self.spread > 0) else { return 0 };
        let left = requests.saturating_sub(number) as f64 / requests as f64;
        (self.spread as f64 * left) as u64
    }
}

/// What one sender saw.
#[derive(Default)]
struct Seen {
    accepted: u64,
    rejected: u64,
    failed: u64,
    latencies: Vec<u32>,
    errors: Vec<String>,
}

impl Load {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let mix = match self.signal {
            Mix::Traces => LoadMix::Traces,
            Mix::Logs => LoadMix::Logs,
            Mix::Metrics => LoadMix::Metrics,
            Mix::Mixed => LoadMix::Mixed,
        };
        let batch = self.batch.get() as u64;
        let templates = LoadTemplates::new(self.seed, mix, self.batch, UnixNanos::now().0 as u64);
        let before = self.server_pid.map(Process::read).transpose()?;
        let duration = if self.total.is_some() { None } else { Some(self.duration.unwrap_or(10)) };
        let run = Arc::new(Run {
            templates,
            next: AtomicU64::new(0),
            requests: self.total.map(|total| total.div_ceil(batch)),
            spread: Duration::from_secs(self.spread * 3_600).as_nanos() as u64,
            until: duration.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
            started: Instant::now(),
            gap: (self.rate > 0).then(|| Duration::from_secs_f64(batch as f64 / self.rate as f64)),
            accepted: AtomicU64::new(0),
        });
        let progress = tokio::spawn(show_progress(run.clone()));
        let mut seen = Seen::default();
        for sender in self.senders(&run)? {
            seen.add(sender.await?);
        }
        let elapsed = run.started.elapsed();
        progress.abort();
        tokio::time::sleep(Duration::from_secs(self.settle)).await;
        seen.print(elapsed);
        if let (Some(pid), Some(before)) = (self.server_pid, before) {
            Process::read(pid)?.print_since(&before, seen.accepted);
        }
        Ok(if seen.failed + seen.rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn senders(&self, run: &Arc<Run>) -> anyhow::Result<Vec<tokio::task::JoinHandle<Seen>>> {
        let (protocol, default) = match self.protocol {
            super::replay::Transport::Grpc => (Protocol::Grpc, "127.0.0.1:4317"),
            super::replay::Transport::Http => (Protocol::Http, "127.0.0.1:4318"),
        };
        let compression = if self.compression == Packed::Gzip { Compression::Gzip } else { Compression::None };
        let mut senders = Vec::new();
        for _ in 0..self.connections {
            let client =
                crate::http_client::otlp_client(self.endpoint.as_deref().unwrap_or(default), protocol, compression)?;
            for _ in 0..self.in_flight {
                senders.push(tokio::spawn(send(run.clone(), client.clone())));
            }
        }
        Ok(senders)
    }
}

async fn send(run: Arc<Run>, client: OtlpClient) -> Seen {
    let mut seen = Seen::default();
    loop {
        let number = run.next.fetch_add(1, Ordering::Relaxed);
        if run.requests.is_some_and(|requests| number >= requests) {
            return seen;
        }
        let due = match run.gap {
            Some(gap) => {
                let due = run.started + gap.mul_f64(number as f64);
                if run.until.is_some_and(|until| due >= until) {
                    return seen;
                }
                tokio::time::sleep_until(due.into()).await;
                due
            }
            None => Instant::now(),
        };
        if run.until.is_some_and(|until| Instant::now() >= until) {
            return seen;
        }
        let request = run.templates.request(number, UnixNanos::now().0 as u64 - run.ago(number));
        let signal = super::demo::signal_of(request.signal);
        let items = request.items as u64;
        match client.send(signal, Encoding::Protobuf, request.body).await {
            Ok(sent) => {
                seen.accepted += items - sent.rejected.min(items);
                seen.rejected += sent.rejected;
                seen.note(&sent.message);
                run.accepted.fetch_add(items, Ordering::Relaxed);
            }
            Err(error) => {
                seen.failed += items;
                seen.note(&error.to_string());
                back_off(&error).await;
            }
        }
        seen.latencies.push(u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
}

/// A receiver that says "later" is not asked again at once.
async fn back_off(error: &SendError) {
    tokio::time::sleep(error.retry_after.unwrap_or(Duration::from_millis(100))).await;
}

async fn show_progress(run: Arc<Run>) {
    let mut last = 0;
    let line = crate::progress::Bar::line();
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let accepted = run.accepted.load(Ordering::Relaxed);
        let seconds = run.started.elapsed().as_secs();
        line.say_anywhere(&format!("{seconds:>5} s: {accepted} items, {} a second", (accepted - last) / 5));
        last = accepted;
    }
}

impl Seen {
    fn note(&mut self, message: &str) {
        if !message.is_empty() && self.errors.len() < 3 && !self.errors.iter().any(|e| e == message) {
            self.errors.push(message.to_owned());
        }
    }

    fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.rejected += other.rejected;
        self.failed += other.failed;
        self.latencies.extend(other.latencies);
        other.errors.iter().for_each(|e| self.note(e));
    }

    fn print(&mut self, elapsed: Duration) {
        let rate = self.accepted as f64 / elapsed.as_secs_f64();
        println!("accepted  {} items in {:.1} s: {rate:.0} a second", self.accepted, elapsed.as_secs_f64());
        println!("rejected  {} items, failed {} items", self.rejected, self.failed);
        self.latencies.sort_unstable();
        if let Some(last) = self.latencies.len().checked_sub(1) {
            let at = |q: f64| f64::from(self.latencies[(q * last as f64) as usize]) / 1_000.0;
            println!(
                "latency   p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
                at(0.5),
                at(0.95),
                at(0.99),
                at(1.0)
            );
        }
        for error in &self.errors {
            println!("error     {error}");
        }
    }
}

/// What the operating system says of a process.
struct Process {
    cpu_seconds: f64,
    peak_kib: u64,
    resident_kib: u64,
}

impl Process {
    /// Reads `/proc`; clock ticks are 1/100 s on Linux.
    fn read(pid: u32) -> anyhow::Result<Self> {
        let stat = match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => stat,
            Err(error) => bail!("--server-pid {pid}: no such process can be read: {error}"),
        };
        // The command's name is in parentheses and may hold spaces; user and system time are fields 14 and 15.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let kib = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key));
            line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
        };
        Ok(Self { cpu_seconds: (ticks(11) + ticks(12)) / 100.0, peak_kib: kib("VmHWM:"), resident_kib: kib("VmRSS:") })
    }

    fn print_since(&self, before: &Self, items: u64) {
        let used = self.cpu_seconds - before.cpu_seconds;
        let per_million = used / (items.max(1) as f64 / 1e6);
        println!("server    {used:.2} CPU s, {per_million:.2} CPU s per million items");
        println!("server    {} MiB resident, {} MiB at its peak", self.resident_kib >> 10, self.peak_kib >> 10);
    }
}
