//! The `whence` binary: reads the command line and hands over to one module per command.

#![allow(unreachable_pub, reason = "a binary exports nothing: pub marks what a module offers to its siblings")]

mod admin;
mod commands;
mod config;
mod delete_door;
mod health;
mod http_client;
mod key_door;
mod output;
mod pipeline;
mod progress;
mod same_host;
mod shutdown;
mod system_tables;
mod table_functions;

use clap::Parser;

/// Rows are allocated by receiving threads and freed by those that write chunks. Of the allocators tried, this one kept
/// least beside what was in use, and every page it does not touch anew is time saved.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How the allocator is set up: two arenas for all threads, and what was free for a second goes back to the system.
/// `_RJEM_MALLOC_CONF` in the environment changes it.
#[allow(unsafe_code, reason = "the allocator reads its configuration from a symbol of this name")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_CONFIGURATION: &[u8; 70] =
    b"background_thread:true,narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

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
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(whence_query::STACK_BYTES)
        .enable_all()
        .build()
    {
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
