//! `whence replay`: one line of the recording is one request, sent in order and never re-batched.

use anyhow::{Context, bail};
use clap::ValueEnum;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use whence_otlp_receiver::export::{Compression, OtlpClient, Protocol, RecordedRequest, SendError, Sent};
use whence_schema::{Encoding, Signal, UnixNanos};

#[derive(Debug, clap::Args)]
pub struct Replay {
    /// The recording: OTLP JSON lines, plain or zstd.
    pub file: PathBuf,
    /// Where to send it. Default: 127.0.0.1:4317 for gRPC, 127.0.0.1:4318 for HTTP.
    #[arg(long)]
    pub endpoint: Option<String>,
    /// Transport.
    #[arg(long, value_enum, default_value_t = Transport::Grpc)]
    pub protocol: Transport,
    /// How fast, compared with the recorded times.
    #[arg(long, value_enum, default_value_t = Speed::Max)]
    pub speed: Speed,
    /// Move all times so that the recording ends now (or, at 1x and 10x, begins now).
    #[arg(long)]
    pub shift_to_now: bool,
    /// Requests under way at once.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub in_flight: u16,
    /// How many seconds to go on trying while the receiver is away or busy.
    #[arg(long, default_value_t = 60)]
    pub retry_for: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    Grpc,
    Http,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Speed {
    Max,
    #[value(name = "1x")]
    Recorded,
    #[value(name = "10x")]
    TenTimes,
}

#[derive(Debug, Default)]
struct Totals {
    requests: u64,
    bytes: u64,
    rejected: u64,
    refused: u64,
    messages: Vec<String>,
}

impl Replay {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let (protocol, default) = match self.protocol {
            Transport::Grpc => (Protocol::Grpc, "127.0.0.1:4317"),
            Transport::Http => (Protocol::Http, "127.0.0.1:4318"),
        };
        let client =
            crate::http_client::otlp_client(self.endpoint.as_deref().unwrap_or(default), protocol, Compression::None)?;
        let shift = if self.shift_to_now { self.shift()? } else { 0 };
        let totals = self.send_all(&client, shift).await?;
        println!(
            "{} requests ({} bytes of JSON) acknowledged; {} items rejected, {} requests refused",
            totals.requests, totals.bytes, totals.rejected, totals.refused
        );
        for message in &totals.messages {
            eprintln!("whence: {message}");
        }
        Ok(if totals.rejected + totals.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Nanoseconds to add so that the recording fits the present; reads the file once for that.
    fn shift(&self) -> anyhow::Result<i64> {
        let mut range: Option<(i64, i64)> = None;
        for line in lines(&self.file)? {
            let (number, line) = line?;
            let mut request = parse(number, &line)?;
            if let Some((first, last)) = request.time_range() {
                let (low, high) = range.unwrap_or((first.0, last.0));
                range = Some((low.min(first.0), high.max(last.0)));
            }
        }
        let (first, last) = range.context("the recording has no times to shift")?;
        Ok(UnixNanos::now().0 - if self.speed == Speed::Max { last } else { first })
    }

    async fn send_all(&self, client: &OtlpClient, shift: i64) -> anyhow::Result<Totals> {
        let (sender, mut requests) = tokio::sync::mpsc::channel(16);
        let file = self.file.clone();
        let reader = tokio::task::spawn_blocking(move || read_requests(&file, shift, &sender));
        let mut totals = Totals::default();
        let mut under_way: VecDeque<JoinHandle<(usize, Result<Sent, SendError>)>> = VecDeque::new();
        let mut pace = Pace::new(self.speed);
        let mut told = Instant::now();
        let line = crate::progress::Bar::line();
        while let Some(request) = requests.recv().await {
            pace.wait_for(request.time).await;
            if under_way.len() >= usize::from(self.in_flight)
                && let Some(oldest) = under_way.pop_front()
            {
                totals.count(oldest.await?);
            }
            let (client, patience) = (client.clone(), Duration::from_secs(self.retry_for));
            under_way.push_back(tokio::spawn(async move {
                let result = send_patiently(&client, &request, patience).await;
                (request.line_bytes, result)
            }));
            if told.elapsed() > Duration::from_secs(1) {
                line.say(&format!("{} requests acknowledged", totals.requests));
                told = Instant::now();
            }
        }
        for task in under_way {
            totals.count(task.await?);
        }
        drop(line);
        reader.await??;
        Ok(totals)
    }
}

impl Totals {
    fn count(&mut self, (bytes, result): (usize, Result<Sent, SendError>)) {
        let message = match result {
            Ok(sent) => {
                self.requests += 1;
                self.bytes += bytes as u64;
                self.rejected += sent.rejected;
                sent.message
            }
            Err(error) => {
                self.refused += 1;
                error.to_string()
            }
        };
        if !message.is_empty() && self.messages.len() < 10 {
            self.messages.push(message);
        }
    }
}

/// A request ready to be sent.
struct Ready {
    signal: Signal,
    protobuf: axum::body::Bytes,
    time: Option<UnixNanos>,
    line_bytes: usize,
}

async fn send_patiently(client: &OtlpClient, request: &Ready, patience: Duration) -> Result<Sent, SendError> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(100);
    loop {
        let error = match client.send(request.signal, Encoding::Protobuf, request.protobuf.clone()).await {
            Ok(sent) => return Ok(sent),
            Err(error) => error,
        };
        if !error.retryable || started.elapsed() >= patience {
            return Err(error);
        }
        tokio::time::sleep(error.retry_after.unwrap_or(pause)).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

/// Holds requests back until their recorded time has come.
struct Pace {
    factor: Option<u32>,
    start: Option<(Instant, UnixNanos)>,
}

impl Pace {
    fn new(speed: Speed) -> Self {
        let factor = match speed {
            Speed::Max => None,
            Speed::Recorded => Some(1),
            Speed::TenTimes => Some(10),
        };
        Self { factor, start: None }
    }

    async fn wait_for(&mut self, time: Option<UnixNanos>) {
        let (Some(factor), Some(time)) = (self.factor, time) else { return };
        let (started, first) = *self.start.get_or_insert((Instant::now(), time));
        let nanos = u64::try_from(time.0.saturating_sub(first.0)).unwrap_or(0);
        let due = started + Duration::from_nanos(nanos) / factor;
        tokio::time::sleep_until(due.into()).await;
    }
}

fn read_requests(file: &Path, shift: i64, sender: &tokio::sync::mpsc::Sender<Ready>) -> anyhow::Result<()> {
    for line in lines(file)? {
        let (number, line) = line?;
        let mut request = parse(number, &line)?;
        request.shift(shift);
        let time = request.time_range().map(|(first, _)| first);
        let protobuf = request.encode(Encoding::Protobuf);
        let ready = Ready { signal: request.signal(), protobuf, time, line_bytes: line.len() };
        if sender.blocking_send(ready).is_err() {
            break;
        }
    }
    Ok(())
}

pub(super) fn parse(number: usize, line: &[u8]) -> anyhow::Result<RecordedRequest> {
    RecordedRequest::parse(line).with_context(|| format!("line {number} of the recording"))
}

/// Longest line read, in bytes.
const MAX_LINE_BYTES: u64 = 256 << 20;

/// Non-empty lines with their numbers.
pub(super) fn lines(file: &Path) -> anyhow::Result<impl Iterator<Item = anyhow::Result<(usize, Vec<u8>)>> + use<>> {
    let name = file.display().to_string();
    let opened = std::fs::File::open(file).with_context(|| format!("cannot open the recording {name}"))?;
    let compressed = file.extension().is_some_and(|e| e == "zst");
    let plain: Box<dyn Read + Send> =
        if compressed { Box::new(zstd::stream::read::Decoder::new(opened)?) } else { Box::new(opened) };
    let mut reader = BufReader::with_capacity(1 << 20, plain);
    let mut number = 0;
    Ok(std::iter::from_fn(move || {
        loop {
            let mut line = Vec::new();
            number += 1;
            match reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(n) if n as u64 == MAX_LINE_BYTES => {
                    return Some(too_long(&name, number));
                }
                Ok(_) if line.trim_ascii().is_empty() => {}
                Ok(_) => return Some(Ok((number, line))),
                Err(error) => return Some(Err(error).with_context(|| format!("cannot read {name}"))),
            }
        }
    }))
}

fn too_long(name: &str, number: usize) -> anyhow::Result<(usize, Vec<u8>)> {
    bail!("line {number} of {name} is longer than {MAX_LINE_BYTES} bytes")
}
