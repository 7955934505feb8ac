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
        let running = pipeline::start(&config).await?;
        let protocols = &config.receivers.otlp.protocols;
        tracing::info!(
            "ready: OTLP on {} (gRPC) and {} (HTTP), SQL on {} (PostgreSQL) and {} (HTTP), data in {}",
            protocols.grpc.endpoint,
            protocols.http.endpoint,
            config.extensions.query.pgwire.endpoint,
            config.extensions.query.http.endpoint,
            config.exporters.hypertables.path.display(),
        );
        shutdown::requested().await;
        tracing::info!("stopping: finishing requests and queries, then writing what is in memory");
        let well = running.stop().await;
        tracing::info!("stopped");
        Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
