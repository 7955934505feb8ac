//! OTLP out: sends encoded requests to any OTLP endpoint, over gRPC or HTTP.

mod client;

pub use client::{Compression, OtlpClient, Protocol, SendError, Sent};
