//! One connection to an OTLP endpoint. Bodies go out as they are given; nothing is re-batched or retried here.

use crate::wire::{BytesCodec, ExportResponse, RpcStatus};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use std::io::Write;
use std::time::Duration;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use whence_schema::{Encoding, Signal};

/// Largest answer read, in bytes.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// How requests travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// HTTP/1.1 POST.
    Http,
}

/// How bodies are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not.
    None,
    /// gzip.
    Gzip,
}

/// A request that was accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// Items the receiver refused.
    pub rejected: u64,
    /// Why.
    pub message: String,
}

/// A request that was not accepted.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{endpoint} answered {status}: {message}")]
pub struct SendError {
    /// Where it was sent.
    pub endpoint: String,
    /// gRPC code or HTTP status.
    pub status: String,
    /// What the receiver said.
    pub message: String,
    /// Whether the same request may be sent again.
    pub retryable: bool,
    /// How long the receiver asked to wait.
    pub retry_after: Option<Duration>,
}

/// A client of one endpoint. Cloning shares the connection.
#[derive(Debug, Clone)]
pub struct OtlpClient {
    endpoint: String,
    compression: Compression,
    /// Value of the header `authorization`.
    authorization: Option<HeaderValue>,
    transport: Transport,
}

#[derive(Debug, Clone)]
enum Transport {
    Grpc(Channel),
    Http(Box<Client<HttpConnector, Full<Bytes>>>),
}

impl OtlpClient {
    /// Prepares a connection to `endpoint` (`host:port` or `http://host:port`); it is opened by the first request.
    ///
    /// # Errors
    ///
    /// When `endpoint` is no address.
    pub fn new(endpoint: &str, protocol: Protocol, compression: Compression) -> Result<Self, SendError> {
        let endpoint = match endpoint.strip_suffix('/').unwrap_or(endpoint) {
            url if url.contains("://") => url.to_owned(),
            address => format!("http://{address}"),
        };
        let invalid = |message: String| SendError {
            endpoint: endpoint.clone(),
            status: "no address".to_owned(),
            message,
            retryable: false,
            retry_after: None,
        };
        let transport = match protocol {
            Protocol::Grpc => {
                let channel = Channel::from_shared(endpoint.clone()).map_err(|e| invalid(e.to_string()))?;
                Transport::Grpc(channel.connect_timeout(Duration::from_secs(5)).connect_lazy())
            }
            Protocol::Http => {
                endpoint.parse::<hyper::Uri>().map_err(|e| invalid(e.to_string()))?;
                Transport::Http(Box::new(Client::builder(TokioExecutor::new()).build_http()))
            }
        };
        Ok(Self { endpoint, compression, authorization: None, transport })
    }

    /// The same, with an API key in every request.
    ///
    /// # Errors
    ///
    /// When `key` cannot stand in a header.
    pub fn with_api_key(mut self, key: &str) -> Result<Self, SendError> {
        let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| SendError {
            endpoint: self.endpoint.clone(),
            status: "no API key".to_owned(),
            message: "the API key has characters that no key has".to_owned(),
            retryable: false,
            retry_after: None,
        })?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(self)
    }

    /// Sends one encoded request.
    ///
    /// # Errors
    ///
    /// When it was not accepted, or no answer came.
    pub async fn send(&self, signal: Signal, encoding: Encoding, body: Bytes) -> Result<Sent, SendError> {
        match &self.transport {
            Transport::Grpc(channel) => self.send_grpc(channel.clone(), signal, body).await,
            Transport::Http(client) => self.send_http(client, signal, encoding, body).await,
        }
    }

    async fn send_grpc(&self, channel: Channel, signal: Signal, body: Bytes) -> Result<Sent, SendError> {
        let path = match signal {
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        };
        let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        if self.compression == Compression::Gzip {
            grpc = grpc.send_compressed(CompressionEncoding::Gzip);
        }
        grpc.ready().await.map_err(|e| self.unreachable(&e))?;
        let path = hyper::http::uri::PathAndQuery::from_static(path);
        let mut request = tonic::Request::new(body);
        if let Some(authorization) = self.authorization.as_ref().and_then(|value| value.to_str().ok()?.parse().ok()) {
            request.metadata_mut().insert("authorization", authorization);
        }
        match grpc.unary(request, path, BytesCodec).await {
            Ok(answer) => Ok(sent(&answer.into_inner())),
            Err(status) => Err(self.grpc_error(&status)),
        }
    }

    fn grpc_error(&self, status: &tonic::Status) -> SendError {
        use tonic::Code;
        let retryable = matches!(
            status.code(),
            Code::Cancelled
                | Code::DeadlineExceeded
                | Code::Aborted
                | Code::OutOfRange
                | Code::Unavailable
                | Code::DataLoss
        );
        // A connection that broke shows as Unknown with a transport error behind it.
        let broken = status.code() == Code::Unknown && std::error::Error::source(status).is_some();
        SendError {
            endpoint: self.endpoint.clone(),
            status: format!("{:?}", status.code()),
            message: status.message().to_owned(),
            retryable: retryable || broken,
            retry_after: None,
        }
    }

    async fn send_http(
        &self,
        client: &Client<HttpConnector, Full<Bytes>>,
        signal: Signal,
        encoding: Encoding,
        body: Bytes,
    ) -> Result<Sent, SendError> {
        let content_type = match encoding {
            Encoding::Protobuf => "application/x-protobuf",
            Encoding::Json => "application/json",
        };
        let mut request =
            hyper::Request::post(format!("{}/v1/{signal}", self.endpoint)).header(CONTENT_TYPE, content_type);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let body = match self.compression {
            Compression::None => body,
            Compression::Gzip => {
                request = request.header(CONTENT_ENCODING, "gzip");
                gzip(&body).map_err(|e| self.unreachable(&e))?
            }
        };
        let request = request.body(Full::new(body)).map_err(|e| self.unreachable(&e))?;
        let response = client.request(request).await.map_err(|e| self.unreachable(&e))?;
        let (head, body) = response.into_parts();
        let answer = http_body_util::Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        let answer = answer.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        if head.status.is_success() {
            return Ok(if encoding == Encoding::Json { sent_json(&answer) } else { sent(&answer) });
        }
        let retry_after = head.headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
        Err(SendError {
            endpoint: self.endpoint.clone(),
            status: head.status.to_string(),
            message: match encoding {
                Encoding::Json => String::from_utf8_lossy(&answer).into_owned(),
                Encoding::Protobuf => RpcStatus::decode(answer).map(|s| s.message).unwrap_or_default(),
            },
            retryable: matches!(head.status.as_u16(), 429 | 502 | 503 | 504),
            retry_after: retry_after.map(Duration::from_secs),
        })
    }

    fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> SendError {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(next) = cause {
            message = format!("{message}: {next}");
            cause = next.source();
        }
        SendError {
            endpoint: self.endpoint.clone(),
            status: "no answer".to_owned(),
            message,
            retryable: true,
            retry_after: None,
        }
    }
}

fn sent(answer: &[u8]) -> Sent {
    let partial = ExportResponse::decode(answer).ok().and_then(|r| r.partial_success).unwrap_or_default();
    Sent { rejected: u64::try_from(partial.rejected).unwrap_or(0), message: partial.error_message }
}

fn sent_json(answer: &[u8]) -> Sent {
    let value: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let partial = &value["partialSuccess"];
    let rejected = ["rejectedSpans", "rejectedLogRecords", "rejectedDataPoints"]
        .iter()
        .find_map(|key| partial[*key].as_str().and_then(|text| text.parse().ok()).or_else(|| partial[*key].as_u64()));
    Sent { rejected: rejected.unwrap_or(0), message: partial["errorMessage"].as_str().unwrap_or_default().to_owned() }
}

fn gzip(body: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::fast());
    encoder.write_all(body)?;
    Ok(encoder.finish()?.into())
}
