//! OTLP out: sends encoded requests to any OTLP endpoint, and reads recordings of them.

mod client;
mod recorded;

pub use client::{Compression, OtlpClient, Protocol, SendError, Sent};
pub use recorded::{RecordedRequest, RecordingError};
