//! `whence backup`

use super::server::{ServerArguments, absolute};
use crate::pipeline;
use crate::progress::Bar;
use std::path::PathBuf;
use std::process::ExitCode;
use whence_storage::BackupReport;

#[derive(Debug, clap::Args)]
pub struct Backup {
    /// Where to: an empty directory, or one with earlier backups, of which only what is new is copied. A running
    /// server writes it itself, so this is a path on its host.
    pub directory: PathBuf,
    /// Keep only so many restore points.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: Option<u32>,
    #[command(flatten)]
    pub server: ServerArguments,
}

impl Backup {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let directory = absolute(&self.directory)?;
        let place = self.server.place()?;
        let stopped = if place.is_server() { None } else { pipeline::open_stopped(&place.config).await? };
        let report: BackupReport = match stopped {
            Some(stopped) => {
                let bar = Bar::bytes("copying");
                let show = move |progress: whence_storage::Progress| bar.set(progress.done, progress.total);
                let outcome = stopped.store().backup(&directory, self.keep, show).await;
                stopped.close().await?;
                outcome?
            }
            None => {
                let request = serde_json::json!({ "directory": directory, "keep": self.keep });
                place.ask("/v1/admin/backup", &request, "copying").await?
            }
        };
        println!(
            "Restore point {}: {} chunks, {} bytes, {} of them copied now; {} restore points in {}",
            report.restore_point,
            report.chunks,
            report.bytes,
            report.copied_bytes,
            report.restore_points,
            directory.display()
        );
        Ok(ExitCode::SUCCESS)
    }
}
