//! The two OTLP transports. They differ in framing and in how an answer is written; both call [`crate::Ingest`].

mod admitted;
mod answer;
mod grpc;
mod http;

pub use grpc::serve_grpc;
pub use http::serve_http;

use axum::serve::{Listener, ListenerExt};
use tokio::net::{TcpListener, TcpStream};
use whence_schema::Signal;

/// Bounds of one receiver.
#[derive(Debug, Clone, Copy)]
pub struct ReceiverLimits {
    /// Largest request in bytes, as sent and also after decompression.
    pub max_request_bytes: usize,
    /// Requests handled at once; more are answered with a retryable error.
    pub max_concurrent_requests: usize,
}

impl Default for ReceiverLimits {
    fn default() -> Self {
        Self { max_request_bytes: 64 << 20, max_concurrent_requests: 1_024 }
    }
}

/// What a receiver is told at its start.
#[derive(Debug, Clone)]
pub struct ReceiverOptions {
    /// Bounds.
    pub limits: ReceiverLimits,
    /// Signals that have a pipeline; others are refused.
    pub signals: Vec<Signal>,
}

/// Answers are small and complete: waiting for more to put into one packet would cost each request some 40 ms.
fn without_delay(listener: TcpListener) -> impl Listener<Io = TcpStream, Addr = std::net::SocketAddr> {
    listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("TCP_NODELAY could not be set: {error}");
        }
    })
}
