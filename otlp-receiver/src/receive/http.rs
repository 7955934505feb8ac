//! OTLP over HTTP: protobuf and JSON by content type, gzip by content encoding.

use super::admitted::AdmittedBody;
use super::answer::code;
use super::{ReceiverOptions, without_delay};
use crate::ingest::{Ingest, IngestError};
use crate::wire::{ExportResponse, RpcStatus};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use prost::Message;
use std::io::Read;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use whence_schema::{Encoding, Signal};
use whence_storage::AccessError;

/// Serves until `shutdown`, then lets requests under way finish.
///
/// # Errors
///
/// When the listener fails.
pub async fn serve_http(
    listener: TcpListener,
    ingest: Ingest,
    options: ReceiverOptions,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let permits = Arc::new(Semaphore::new(options.limits.max_concurrent_requests));
    let state = HttpState { ingest, options: Arc::new(options), permits };
    let router = Router::new().fallback(export).with_state(state);
    axum::serve(without_delay(listener), router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

#[derive(Clone)]
struct HttpState {
    ingest: Ingest,
    options: Arc<ReceiverOptions>,
    permits: Arc<Semaphore>,
}

/// An answer that is not success.
struct Refusal {
    http: StatusCode,
    status: RpcStatus,
    retry_after_seconds: Option<u64>,
}

impl Refusal {
    fn new(http: StatusCode, code: i32, message: impl Into<String>) -> Self {
        Self { http, status: RpcStatus::new(code, message), retry_after_seconds: None }
    }
}

async fn export(State(state): State<HttpState>, request: Request) -> Response {
    let encoding = request_encoding(request.headers());
    match handle(&state, request).await {
        Ok((signal, answer)) => respond(
            StatusCode::OK,
            encoding.unwrap_or(Encoding::Protobuf),
            match encoding {
                Some(Encoding::Json) => answer.to_json(signal),
                _ => answer.encode_to_vec(),
            },
            None,
        ),
        Err(refusal) => {
            // Whoever sent an unknown type can at least read JSON.
            let encoding = encoding.unwrap_or(Encoding::Json);
            let body = match encoding {
                Encoding::Json => refusal.status.to_json(),
                Encoding::Protobuf => refusal.status.encode_to_vec(),
            };
            respond(refusal.http, encoding, body, refusal.retry_after_seconds)
        }
    }
}

async fn handle(state: &HttpState, request: Request) -> Result<(Signal, ExportResponse), Refusal> {
    let signal = signal_of(request.uri().path())?;
    if !state.options.signals.contains(&signal) {
        let message = format!("no pipeline for {signal}: add service.pipelines.{signal}");
        return Err(Refusal::new(StatusCode::NOT_FOUND, code::UNIMPLEMENTED, message));
    }
    if request.method() != Method::POST {
        let message = format!("method {} is not allowed here, send POST", request.method());
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, code::UNIMPLEMENTED, message));
    }
    let encoding = request_encoding(request.headers()).ok_or_else(|| {
        let message = "content type must be application/x-protobuf or application/json";
        Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code::INVALID_ARGUMENT, message)
    })?;
    let headers = request.headers();
    let grant = state.ingest.authenticate(|name| headers.get(name).map(HeaderValue::as_bytes)).map_err(not_let_in)?;
    let Ok(_permit) = state.permits.try_acquire() else {
        let message = "too many requests at once, send again in a second";
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE, message);
        return Err(Refusal { retry_after_seconds: Some(1), ..refusal });
    };
    let body = read_body(state, request).await?;
    match state.ingest.accept(grant.tenant().clone(), signal, encoding, body).await {
        Ok(ingested) => Ok((signal, ExportResponse::new(&ingested))),
        Err(error) => Err(refusal(&error)),
    }
}

fn not_let_in(error: AccessError) -> Refusal {
    let http = if error.is_forbidden() { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED };
    Refusal { http, status: RpcStatus::not_let_in(&error), retry_after_seconds: None }
}

fn refusal(error: &IngestError) -> Refusal {
    let status = RpcStatus::of(error);
    let http = match status.code {
        code::INVALID_ARGUMENT => StatusCode::BAD_REQUEST,
        code::UNAVAILABLE => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let retry_after_seconds = error.is_retryable().then(|| error.retry_after().as_secs().max(1));
    Refusal { http, status, retry_after_seconds }
}

fn signal_of(path: &str) -> Result<Signal, Refusal> {
    match path {
        "/v1/traces" => Ok(Signal::Traces),
        "/v1/logs" => Ok(Signal::Logs),
        "/v1/metrics" => Ok(Signal::Metrics),
        _ => Err(Refusal::new(
            StatusCode::NOT_FOUND,
            code::UNIMPLEMENTED,
            "no such path: OTLP over HTTP is received at /v1/traces, /v1/logs and /v1/metrics",
        )),
    }
}

fn request_encoding(headers: &HeaderMap) -> Option<Encoding> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    match value.split(';').next()?.trim().to_ascii_lowercase().as_str() {
        "application/x-protobuf" | "application/protobuf" => Some(Encoding::Protobuf),
        "application/json" => Some(Encoding::Json),
        _ => None,
    }
}

async fn read_body(state: &HttpState, request: Request) -> Result<Bytes, Refusal> {
    let limit = state.options.limits.max_request_bytes;
    let content_encoding = request.headers().get(header::CONTENT_ENCODING).cloned();
    let body = AdmittedBody::new(request.into_body(), &state.ingest);
    let body = match Limited::new(body, limit).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(too_large(limit, "as sent")),
        Err(error) => {
            if let Some(error) = error.downcast_ref::<IngestError>() {
                state.ingest.count_turned_away();
                return Err(refusal(error));
            }
            let message = format!("the body could not be read: {error}");
            return Err(Refusal::new(StatusCode::BAD_REQUEST, code::INVALID_ARGUMENT, message));
        }
    };
    match content_encoding.as_ref().map(HeaderValue::as_bytes) {
        None | Some(b"identity" | b"") => Ok(body),
        Some(b"gzip") => gunzip(&body, limit),
        Some(other) => {
            let message =
                format!("content encoding '{}' is not supported, send gzip or none", String::from_utf8_lossy(other));
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code::INVALID_ARGUMENT, message))
        }
    }
}

/// Stops at the limit, so that a small body cannot grow into a large one.
fn gunzip(body: &[u8], limit: usize) -> Result<Bytes, Refusal> {
    let mut out = Vec::with_capacity((body.len() * 4).min(limit));
    let read = flate2::read::MultiGzDecoder::new(body).take(limit as u64 + 1).read_to_end(&mut out);
    match read {
        Err(error) => {
            let message = format!("the body is not valid gzip: {error}");
            Err(Refusal::new(StatusCode::BAD_REQUEST, code::INVALID_ARGUMENT, message))
        }
        Ok(_) if out.len() > limit => Err(too_large(limit, "after decompression")),
        Ok(_) => Ok(out.into()),
    }
}

fn too_large(limit: usize, when: &str) -> Refusal {
    let message = format!("the request is larger than {limit} bytes {when}: send smaller batches, or raise the limit");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, code::RESOURCE_EXHAUSTED, message)
}

fn respond(status: StatusCode, encoding: Encoding, body: Vec<u8>, retry_after_seconds: Option<u64>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let content_type = match encoding {
        Encoding::Protobuf => "application/x-protobuf",
        Encoding::Json => "application/json",
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(seconds) = retry_after_seconds {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    response
}
