//! `whence restore`

use super::server::{ServerArguments, absolute, is_in_use};
use crate::progress::Bar;
use std::path::PathBuf;
use std::process::ExitCode;
use whence_schema::UnixNanos;
use whence_storage::RestoreReport;

#[derive(Debug, clap::Args)]
pub struct Restore {
    /// A directory that `whence backup` has written.
    pub directory: PathBuf,
    /// Leave out what was accepted after this time: 2026-11-23T15:40:00Z, or without a zone in UTC. Needs a backup made
    /// at that time or later. Default: all of the newest backup.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub to: Option<UnixNanos>,
    #[command(flatten)]
    pub server: ServerArguments,
}

fn parse_time(text: &str) -> Result<UnixNanos, String> {
    whence_storage::parse_time(text).ok_or_else(|| "this is no time like 2026-11-23T15:40:00Z".to_owned())
}

impl Restore {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let directory = absolute(&self.directory)?;
        let place = self.server.place()?;
        let stopped = if place.is_server() {
            None
        } else {
            let bar = Bar::bytes("restoring");
            let show = move |progress: whence_storage::Progress| bar.set(progress.done, progress.total);
            match whence_storage::restore(&directory, &place.data, self.to, show).await.map_err(anyhow::Error::from) {
                Err(error) if is_in_use(&error) => None,
                outcome => Some(outcome?),
            }
        };
        let report: RestoreReport = match stopped {
            Some(report) => report,
            None => {
                let started_at = place.status().await?;
                let request = serde_json::json!({ "directory": directory, "to": self.to });
                let report = place.ask("/v1/admin/restore", &request, "restoring").await?;
                place.wait_for_restart(started_at).await?;
                report
            }
        };
        let [events, metrics, correlations] = report.left_out;
        println!("Restored {}: {} chunks, {} bytes", report.restore_point, report.chunks, report.bytes);
        if report.cut_at.is_some() {
            println!("Left out as later: {events} events, {metrics} parts of metric rows, {correlations} correlations");
        }
        println!("What was there before is kept as replaced-* in the data directory: delete it when you are content.");
        Ok(ExitCode::SUCCESS)
    }
}
