//! `whence serve`

use super::ConfigArguments;
use crate::{config, pipeline, shutdown};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Serve {
    #[command(flatten)]
    pub configuration: ConfigArguments,
}

impl Serve {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let config = config::load(&self.configuration.config, &self.configuration.set)?;
        for warning in config.warnings() {
            tracing::warn!("{warning}");
        }
        let mut stop = std::pin::pin!(shutdown::requested());
        loop {
            let running = pipeline::start(&config).await?;
            self.tell(&config);
            tokio::select! {
                () = &mut stop => {
                    tracing::info!("stopping: finishing requests and queries, then writing what is in memory");
                    let well = running.stop().await;
                    tracing::info!("stopped");
                    return Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
                }
                () = running.restart_wanted() => {
                    // Senders meet closed ports for a moment and send again.
                    tracing::info!("restored data is ready: closing the store and opening it again");
                    running.stop().await;
                }
            }
        }
    }

    fn tell(&self, config: &config::Config) {
        let protocols = &config.receivers.otlp.protocols;
        tracing::info!(
            "ready: OTLP on {} (gRPC) and {} (HTTP), SQL on {} (PostgreSQL) and {} (HTTP), data in {}",
            protocols.grpc.endpoint,
            protocols.http.endpoint,
            config.extensions.query.pgwire.endpoint,
            config.extensions.query.http.endpoint,
            config.exporters.hypertables.path.display(),
        );
    }
}
