//! `whence validate`

use crate::config;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Validate {
    /// Configuration file; may be given several times, later ones win.
    #[arg(long, value_name = "FILE", required = true)]
    pub config: Vec<PathBuf>,
    /// One key over all files, as for `whence serve`.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl Validate {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = config::load(&self.config, &self.set)?;
        for warning in config.warnings() {
            println!("Note: {warning}.");
        }
        println!("The configuration is valid.");
        Ok(ExitCode::SUCCESS)
    }
}
