//! `whence verify`

use super::server::{ServerArguments, is_in_use};
use crate::progress::Bar;
use std::path::PathBuf;
use std::process::ExitCode;
use whence_storage::{Progress, VerifyReport};

#[derive(Debug, clap::Args)]
pub struct Verify {
    #[command(flatten)]
    pub server: ServerArguments,
    /// Check this backup instead: every restore point with its files.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["data_dir", "endpoint"])]
    pub backup: Option<PathBuf>,
}

impl Verify {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let report = match self.backup {
            Some(backup) => whence_storage::verify_backup(&backup, reporter()).await?,
            None => verify(self.server).await?,
        };
        println!(
            "{} chunks, {} log records; {} spans, {} log records and {} data points stored",
            report.chunks, report.log_records, report.spans, report.logs, report.points
        );
        for problem in &report.problems {
            println!("PROBLEM: {problem}");
        }
        for note in &report.notes {
            println!("note: {note}");
        }
        if report.problems.is_empty() {
            println!("Everything is whole: checksums, chunks, and the ledger balances.");
            return Ok(ExitCode::SUCCESS);
        }
        Ok(ExitCode::FAILURE)
    }
}

async fn verify(server: ServerArguments) -> anyhow::Result<VerifyReport> {
    let place = server.place()?;
    if !place.is_server() {
        match whence_storage::verify(&place.data, reporter()).await.map_err(anyhow::Error::from) {
            Err(error) if is_in_use(&error) => {}
            outcome => return outcome,
        }
    }
    place.ask("/v1/admin/verify", &serde_json::json!({}), "verifying").await
}

fn reporter() -> impl Fn(Progress) + Send + Sync {
    let bar = Bar::bytes("verifying");
    move |progress| bar.set(progress.done, progress.total)
}
