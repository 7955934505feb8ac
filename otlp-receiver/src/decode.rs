//! Bytes to OTLP messages.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use whence_schema::{Encoding, Signal};

/// A request that could be decoded, not yet validated.
#[derive(Debug)]
pub(crate) enum Decoded {
    Traces(ExportTraceServiceRequest),
    Logs(ExportLogsServiceRequest),
    Metrics(ExportMetricsServiceRequest),
}

/// A request that is not OTLP: nothing of it can be stored.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The body is no protobuf message of the expected type.
    #[error("the body is not a valid OTLP {signal} request in protobuf: {source}")]
    Protobuf {
        /// What was expected.
        signal: Signal,
        /// What the decoder found.
        source: prost::DecodeError,
    },
    /// The body is no JSON of the expected shape.
    #[error("the body is not a valid OTLP {signal} request in JSON: {source}")]
    Json {
        /// What was expected.
        signal: Signal,
        /// What the parser found, with line and column.
        source: serde_json::Error,
    },
}

pub(crate) fn decode(signal: Signal, encoding: Encoding, body: &[u8]) -> Result<Decoded, DecodeError> {
    Ok(match signal {
        Signal::Traces => Decoded::Traces(message(signal, encoding, body)?),
        Signal::Logs => Decoded::Logs(message(signal, encoding, body)?),
        Signal::Metrics => Decoded::Metrics(message(signal, encoding, body)?),
    })
}

fn message<M>(signal: Signal, encoding: Encoding, body: &[u8]) -> Result<M, DecodeError>
where
    M: Message + Default + serde::de::DeserializeOwned,
{
    match encoding {
        Encoding::Protobuf => M::decode(body).map_err(|source| DecodeError::Protobuf { signal, source }),
        // An empty request may be sent as {}, and the lists are optional in proto3 JSON.
        Encoding::Json if body.trim_ascii() == b"{}" => Ok(M::default()),
        Encoding::Json => serde_json::from_slice(body).map_err(|source| DecodeError::Json { signal, source }),
    }
}
