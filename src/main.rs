//! The `whence` binary: reads the command line and hands over to one module per command.

#![allow(unreachable_pub, reason = "a binary exports nothing: pub marks what a module offers to its siblings")]

mod admin;
mod commands;
mod config;
mod health;
mod http_client;
mod pipeline;
mod progress;
mod shutdown;
mod table_functions;

use clap::Parser;

/// Memory comes and goes in large pieces on many threads here, which this allocator gives back to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The Delta Lake kernel logs an error where it only finds that a table does not exist yet, and every commit twice; its
/// errors reach us as values.
const QUIET: &str = "buoyant_kernel=off,buoyant_kernel_engine=off,deltalake_core=warn,object_store=warn";

fn main() -> std::process::ExitCode {
    let cli = commands::Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("WHENCE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(format!("{},{QUIET}", cli.command.default_log())));
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(false)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("whence: cannot start its threads: {error}");
            return std::process::ExitCode::FAILURE;
        }
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("whence: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
