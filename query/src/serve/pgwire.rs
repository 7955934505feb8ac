//! PostgreSQL wire.
use crate::QueryEngine;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
/// Serves until `shutdown`.
pub async fn serve(engine: QueryEngine, listener: TcpListener, shutdown: CancellationToken) -> std::io::Result<()> {
    let _ = (engine, listener);
    shutdown.cancelled().await;
    Ok(())
}
