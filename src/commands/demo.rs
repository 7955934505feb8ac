//! `whence demo`: a server, a simulated shop with one fault sent through the real receiver, and the answer to *what
//! caused this?* in SQL alone.

mod story;

use super::ConfigArguments;
use crate::{config, http_client, pipeline, shutdown};
use anyhow::{Context, bail};
use futures::StreamExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use whence_otlp_receiver::export::{Compression, OtlpClient, Protocol};
use whence_schema::{Encoding, Signal, UnixNanos};
use whence_simulator::ShopScenario;

#[derive(Debug, clap::Args)]
pub struct Demo {
    /// Picks topology, culprit and kind of fault. Default: from the clock.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where to keep the data. Default: a temporary directory, removed at the end.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// End after the answer instead of going on serving.
    #[arg(long)]
    pub exit: bool,
    #[command(flatten)]
    pub configuration: ConfigArguments,
}

/// How long the correlator gets to link the last spans.
const SETTLE: Duration = Duration::from_secs(15);

impl Demo {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let mut config = config::load(&self.configuration.config, &self.configuration.set)?;
        // Kept until the end of this function: dropping it removes the directory.
        let temporary = tempfile::Builder::new().prefix("whence-demo-").tempdir()?;
        let directory = self.data_dir.clone().unwrap_or_else(|| temporary.path().join("data"));
        if directory.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
            bail!("--data-dir {} is not empty: the demo's answer would mix with what is there", directory.display());
        }
        config.exporters.hypertables.path = directory.clone();
        let seed = self.seed.unwrap_or_else(|| UnixNanos::now().0 as u64 / 1_000 % 1_000_000);

        println!("Starting a server with its data in {}", directory.display());
        let running = pipeline::start(&config).await?;
        let endpoint = format!("http://{}", config.extensions.query.http.endpoint);
        let scenario = ShopScenario::demo(seed, UnixNanos::now().0 as u64);
        println!(
            "Simulating ten minutes of a shop with {} services (seed {seed}), sent over OTLP/gRPC",
            scenario.topology().service_names().len()
        );
        let sent = send(&scenario, &config.receivers.otlp.protocols.grpc.endpoint.to_string()).await?;
        println!("Sent {} requests with {} items in {:.1} s\n", sent.requests, sent.items, sent.elapsed.as_secs_f64());
        wait_for_links(&endpoint).await?;
        story::tell(&endpoint, &scenario).await?;
        story::how_to_connect(&config);
        if !self.exit {
            println!("\nThe server goes on; stop it with Ctrl-C.");
            shutdown::requested().await;
        }
        let well = running.stop().await;
        Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

struct Sent {
    requests: u64,
    items: u64,
    elapsed: Duration,
}

async fn send(scenario: &ShopScenario, endpoint: &str) -> anyhow::Result<Sent> {
    let started = Instant::now();
    let client = crate::http_client::otlp_client(endpoint, Protocol::Grpc, Compression::None)?;
    let mut sent = Sent { requests: 0, items: 0, elapsed: Duration::ZERO };
    // Eight requests under way at once, as eight exporting services would have them.
    let answers = futures::stream::iter(scenario.requests()).map(|request| send_one(&client, request)).buffered(8);
    let mut answers = std::pin::pin!(answers);
    let line = crate::progress::Bar::line();
    while let Some(items) = answers.next().await {
        sent.requests += 1;
        sent.items += items?;
        if sent.requests.is_multiple_of(50) {
            line.say(&format!("{} items sent", sent.items));
        }
    }
    sent.elapsed = started.elapsed();
    Ok(sent)
}

async fn send_one(client: &OtlpClient, request: whence_simulator::Request) -> anyhow::Result<u64> {
    let answer = client.send(signal_of(request.signal), Encoding::Protobuf, request.body).await?;
    if answer.rejected > 0 {
        bail!("the receiver refused {} simulated items: {}", answer.rejected, answer.message);
    }
    Ok(request.items as u64)
}

/// The simulator stands alone, so it has its own name for a signal.
pub(super) fn signal_of(signal: whence_simulator::Signal) -> Signal {
    match signal {
        whence_simulator::Signal::Traces => Signal::Traces,
        whence_simulator::Signal::Logs => Signal::Logs,
        whence_simulator::Signal::Metrics => Signal::Metrics,
    }
}

/// Links are written while data arrives, a moment behind it: done when their number has stopped growing.
async fn wait_for_links(endpoint: &str) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut last = 0;
    loop {
        let answer = http_client::query(endpoint, "SELECT count(*) FROM correlations").await?;
        let links: u64 = answer.text(0, 0).parse().context("the number of links")?;
        if (links > 0 && links == last) || started.elapsed() > SETTLE {
            return Ok(());
        }
        last = links;
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
}
