//! Ending in order: stop accepting, finish requests, finish or cancel queries, flush, close; each under the deadline.

use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long all steps together may take before the process ends anyway. Acknowledged data is in the log by then.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How long running queries get before they are cancelled.
pub const QUERY_DEADLINE: Duration = Duration::from_secs(5);

/// Waits for SIGTERM or Ctrl-C.
pub async fn requested() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = interrupt.await;
}

/// A task with a name, so that what did not finish can be told.
pub struct Named {
    /// What it does.
    pub name: &'static str,
    /// The task.
    pub task: JoinHandle<anyhow::Result<()>>,
}

/// What becomes of a task that has not finished in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// It should have: the end is not a clean one.
    Failed,
    /// It is cancelled, and its client is told by the closed connection.
    Cancelled,
}

/// Waits for `tasks` until `deadline` and tells which failed or did not finish; true when all ended as they should.
pub async fn finish(tasks: Vec<Named>, deadline: Instant, late: Late) -> bool {
    let mut well = true;
    for Named { name, mut task } in tasks {
        match tokio::time::timeout_at(deadline, &mut task).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => {
                tracing::error!("{name} failed: {error:#}");
                well = false;
            }
            Ok(Err(error)) => {
                tracing::error!("{name} ended with a panic: {error}");
                well = false;
            }
            Err(_) => {
                task.abort();
                match late {
                    Late::Cancelled => tracing::info!("{name} had work under way, which is cancelled"),
                    Late::Failed => tracing::error!("{name} did not finish in time and is ended"),
                }
                well &= late == Late::Cancelled;
            }
        }
    }
    well
}
