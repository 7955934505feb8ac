//! The command line: one module per command.

mod apikey;
mod backup;
mod delete;
mod demo;
mod eval;
mod explain;
mod load;
mod query;
mod replay;
mod restore;
mod serve;
mod server;
mod validate;
mod verify;

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// OpenTelemetry in, causes out, in SQL.
#[derive(Debug, Parser)]
#[command(name = "whence", version, about, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "Examples:
  whence demo                                  a simulated shop with a fault, and what caused it
  whence serve --set exporters.hypertables.path=/var/lib/whence
  whence explain                               what caused the last incident
  whence query \"SELECT asset_id, count(*) FROM events GROUP BY 1\"
  psql -h 127.0.0.1 -p 15432 whence
Log level: WHENCE_LOG=debug. API key, once the server has keys: WHENCE_API_KEY";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Receive OpenTelemetry and answer SQL until stopped.
    Serve(serve::Serve),
    /// Start a server, simulate a shop with a fault, and show what caused it.
    Demo(demo::Demo),
    /// Send simulated telemetry to any OTLP endpoint and measure it.
    Load(load::Load),
    /// Send a recording (OTLP JSON lines, plain or zstd) to any OTLP endpoint.
    Replay(replay::Replay),
    /// Run one SQL statement on a running server.
    Query(query::Query),
    /// Tell what caused the trouble of a time, on a running server.
    Explain(explain::Explain),
    /// Measure how often the right cause is named, with simulated systems or labelled recordings.
    Eval(eval::Eval),
    /// Erase rows of a tenant for good, on a running server, and prove it.
    Delete(delete::Delete),
    /// Make, list and revoke API keys, on a running or stopped server.
    Apikey(apikey::ApiKey),
    /// Check configuration files without starting.
    Validate(validate::Validate),
    /// Prove that data is whole: log, Delta logs, chunks and ledger; of a running server, a stopped one, or a backup.
    Verify(verify::Verify),
    /// Make a restore point of a running or stopped server's data.
    Backup(backup::Backup),
    /// Put a backup in the place of a running or stopped server's data, whole or as it was at a time.
    Restore(restore::Restore),
}

impl Command {
    /// Servers tell what they do; tools only what went wrong.
    pub fn default_log(&self) -> &'static str {
        match self {
            Self::Serve(_) => "info",
            _ => "warn",
        }
    }
}

/// Where the configuration comes from.
#[derive(Debug, Args, Default)]
pub struct ConfigArguments {
    /// Configuration file; may be given several times, later ones win. Every key: config/otel.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// One key over all files, for example exporters.hypertables.path=/var/lib/whence
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Runs the command.
pub async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve(command) => command.run().await,
        Command::Demo(command) => command.run().await,
        Command::Load(command) => command.run().await,
        Command::Replay(command) => command.run().await,
        Command::Query(command) => command.run().await,
        Command::Explain(command) => command.run().await,
        Command::Eval(command) => command.run().await,
        Command::Delete(command) => command.run().await,
        Command::Apikey(command) => command.run().await,
        Command::Validate(command) => command.run(),
        Command::Verify(command) => command.run().await,
        Command::Backup(command) => command.run().await,
        Command::Restore(command) => command.run().await,
    }
}
