//! PostgreSQL wire: simple and extended protocol, version 3.
//!
//! ```text
//! serve: accept (bounded) -> process_socket -> Connection: startup -> simple | extended -> Session -> rows
//! rows: batch by batch from the query's threads -> types::FieldInfo, encode::RowEncoder -> socket; a slow reader slows the query
//! ```
//!
//! Any user may connect to database `whence`: without a password as tenant `default` until there are API keys, then with
//! a key as password (`proof.rs`).

mod authentication;
mod connection;
mod copy;
mod encode;
mod extended;
mod names;
mod parameters;
mod proof;
mod reply;
mod scram;
mod simple;
mod tls;
mod types;

use crate::QueryEngine;
use ::pgwire::api::ConnectionManager;
use ::pgwire::tokio::process_socket;
use connection::{Connection, Handlers};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub(crate) use types::wire_type;

pub use tls::{Tls, TlsError, TlsOptions, TlsVersion};

/// Pause after a failed accept, so that a process out of file descriptors does not spin.
const PAUSE_AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);

/// Serves connections until `shutdown` is cancelled; then running statements end with SQLSTATE 57P01, and this returns
/// when the last connection is closed.
///
/// # Errors
///
/// None that end the service today; connections fail one by one.
pub async fn serve(
    engine: QueryEngine,
    listener: TcpListener,
    tls: Option<Tls>,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let connections = engine.options().max_connections;
    let free = Arc::new(Semaphore::new(connections));
    let cancellations = Arc::new(ConnectionManager::new());
    let required = tls.as_ref().is_some_and(|tls| tls.required);
    loop {
        let socket = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match socket {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "PostgreSQL wire: a connection was not accepted");
                tokio::time::sleep(PAUSE_AFTER_FAILED_ACCEPT).await;
                continue;
            }
        };
        // A connection too many is told so; a second bound keeps those that wait to be told few.
        let Ok(permit) = free.clone().try_acquire_owned() else {
            tracing::warn!(%peer, connections, "PostgreSQL wire: too many connections");
            connection::refuse(socket);
            continue;
        };
        let connection = Arc::new(Connection::new(engine.clone(), cancellations.clone(), shutdown.clone(), required));
        let acceptor = tls.as_ref().map(|tls| tls.acceptor.clone());
        let closing = shutdown.clone();
        tokio::spawn(async move {
            let finished = connection.finished();
            let ended = async {
                closing.cancelled().await;
                // A statement that runs is told first; an idle connection ends at once.
                finished.await;
            };
            tokio::select! {
                result = process_socket(socket, acceptor, Handlers(connection)) => {
                    if let Err(error) = result {
                        tracing::debug!(%peer, %error, "PostgreSQL wire: connection ended");
                    }
                }
                () = ended => {}
            }
            drop(permit);
        });
    }
    let all = u32::try_from(connections).unwrap_or(u32::MAX);
    let _ = free.acquire_many(all).await;
    Ok(())
}

/// PostgreSQL's name for the type of a column.
pub(super) fn type_name(field: &arrow::datatypes::Field) -> String {
    types::wire_type(field).name().to_owned()
}
