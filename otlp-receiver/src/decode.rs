//! A request's bytes as protobuf in the form that the views of [`crate::otlp`] read.

use crate::protobuf::WireError;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use whence_schema::{Encoding, Signal};

/// A request that is not OTLP: nothing of it can be stored.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The body is no protobuf message of the expected type.
    #[error("the body is not a valid OTLP {signal} request in protobuf: {source}")]
    Protobuf {
        /// What was expected.
        signal: Signal,
        /// What the decoder found, and where.
        source: WireError,
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

/// A request as owned messages: what JSON is read into, and what merges messages sent in parts.
#[derive(Debug, PartialEq)]
pub(crate) enum Messages {
    Traces(ExportTraceServiceRequest),
    Logs(ExportLogsServiceRequest),
    Metrics(ExportMetricsServiceRequest),
}

impl Messages {
    pub(crate) fn from_json(signal: Signal, body: &[u8]) -> Result<Self, DecodeError> {
        fn read<M: Default + serde::de::DeserializeOwned>(body: &[u8]) -> Result<M, serde_json::Error> {
            // An empty request may be sent as {}, and the lists are optional in proto3 JSON.
            if body.trim_ascii() == b"{}" { Ok(M::default()) } else { serde_json::from_slice(body) }
        }
        let messages = match signal {
            Signal::Traces => read(body).map(Self::Traces),
            Signal::Logs => read(body).map(Self::Logs),
            Signal::Metrics => read(body).map(Self::Metrics),
        };
        messages.map_err(|source| DecodeError::Json { signal, source })
    }

    pub(crate) fn from_protobuf(signal: Signal, body: &[u8]) -> Result<Self, prost::DecodeError> {
        match signal {
            Signal::Traces => Message::decode(body).map(Self::Traces),
            Signal::Logs => Message::decode(body).map(Self::Logs),
            Signal::Metrics => Message::decode(body).map(Self::Metrics),
        }
    }

    pub(crate) fn to_protobuf(&self) -> Vec<u8> {
        match self {
            Self::Traces(message) => message.encode_to_vec(),
            Self::Logs(message) => message.encode_to_vec(),
            Self::Metrics(message) => message.encode_to_vec(),
        }
    }
}

/// A JSON request as protobuf, so that there is one mapping; `None` when `body` is protobuf already.
pub(crate) fn as_protobuf(signal: Signal, encoding: Encoding, body: &[u8]) -> Result<Option<Vec<u8>>, DecodeError> {
    match encoding {
        Encoding::Protobuf => Ok(None),
        Encoding::Json => Messages::from_json(signal, body).map(|messages| Some(messages.to_protobuf())),
    }
}

/// A request in which some message was sent in parts, written anew with the parts merged. No encoder sends that, but
/// the format allows it, and merging is what `prost` is good at. `None` when the request turns out to be invalid.
pub(crate) fn with_parts_merged(signal: Signal, body: &[u8]) -> Option<Vec<u8>> {
    Messages::from_protobuf(signal, body).ok().map(|messages| messages.to_protobuf())
}
