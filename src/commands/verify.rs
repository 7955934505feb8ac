//! `whence verify`

use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Verify {
    /// Data directory of a stopped server.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    pub data_dir: PathBuf,
}

impl Verify {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let report = whence_storage::verify(&self.data_dir).await?;
        println!(
            "{} chunks, {} log records; {} spans, {} log records and {} data points stored",
            report.chunks, report.log_records, report.spans, report.logs, report.points
        );
        for problem in &report.problems {
            println!("PROBLEM: {problem}");
        }
        if report.problems.is_empty() {
            println!("Everything is whole: checksums, chunks, and the ledger balances.");
            return Ok(ExitCode::SUCCESS);
        }
        Ok(ExitCode::FAILURE)
    }
}
