//! OTLP over gRPC. The codec hands the message's bytes through undecoded, since the log keeps the request as it was sent.

use super::admitted::AdmittedBody;
use super::answer::code;
use super::{ReceiverOptions, without_delay};
use crate::ingest::{Ingest, IngestError};
use crate::wire::BytesCodec;
use crate::wire::{ExportResponse, RpcStatus};
use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use prost::Message;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::server::UnaryService;
use tonic::{Code, Request, Response, Status};
use whence_schema::{Encoding, Signal, TenantId};

/// Serves until `shutdown`, then lets requests under way finish.
///
/// # Errors
///
/// When the listener fails.
pub async fn serve_grpc(
    listener: TcpListener,
    ingest: Ingest,
    options: ReceiverOptions,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let permits = Arc::new(Semaphore::new(options.limits.max_concurrent_requests));
    let state = GrpcState { ingest, options: Arc::new(options), permits };
    let router = axum::Router::new().fallback(export).with_state(state);
    axum::serve(without_delay(listener), router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

#[derive(Clone)]
struct GrpcState {
    ingest: Ingest,
    options: Arc<ReceiverOptions>,
    permits: Arc<Semaphore>,
}

async fn export(
    axum::extract::State(state): axum::extract::State<GrpcState>,
    request: axum::http::Request<Body>,
) -> axum::http::Response<tonic::body::Body> {
    let signal = match request.uri().path() {
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Signal::Traces,
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Signal::Logs,
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Signal::Metrics,
        other => return Status::unimplemented(format!("no method {other}: this is an OTLP receiver")).into_http(),
    };
    if !state.options.signals.contains(&signal) {
        return Status::unimplemented(format!("no pipeline for {signal}: add service.pipelines.{signal}")).into_http();
    }
    let headers = request.headers();
    let tenant = match state.ingest.authenticate(|name| headers.get(name).map(|value| value.as_bytes())) {
        Ok(grant) => grant.tenant().clone(),
        Err(error) => return grpc_status(&RpcStatus::not_let_in(&error)).into_http(),
    };
    let Ok(_permit) = state.permits.clone().try_acquire_owned() else {
        return Status::unavailable("too many requests at once, send again in a second").into_http();
    };
    let limit = state.options.limits.max_request_bytes;
    let ingest = state.ingest.clone();
    let request = request.map(|body| {
        let admitted = AdmittedBody::new(body, &ingest);
        admitted.map_err(move |error| match error.downcast::<IngestError>() {
            Ok(error) => {
                ingest.count_turned_away();
                Box::new(grpc_status(&RpcStatus::of(&error)))
            }
            Err(error) => error,
        })
    });
    let response = tonic::server::Grpc::new(BytesCodec)
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(limit)
        .unary(ExportCall { state, signal, tenant }, request)
        .await;
    // tonic's code for a message over the limit is one that OTLP clients retry, and nothing else here answers with it.
    match response.headers().get("grpc-status").map(|code| code.as_bytes() == b"11") {
        Some(true) => {
            let message = format!(
                "the request is larger than {limit} bytes, as sent or after decompression: send smaller batches, or raise \
                 max_recv_msg_size_mib"
            );
            Status::resource_exhausted(message).into_http()
        }
        _ => response,
    }
}

struct ExportCall {
    state: GrpcState,
    signal: Signal,
    tenant: TenantId,
}

impl UnaryService<Bytes> for ExportCall {
    type Response = Bytes;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Status>> + Send>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let (state, signal, tenant) = (self.state.clone(), self.signal, self.tenant.clone());
        Box::pin(async move {
            match state.ingest.accept(tenant, signal, Encoding::Protobuf, request.into_inner()).await {
                Ok(ingested) => Ok(Response::new(ExportResponse::new(&ingested).encode_to_vec().into())),
                Err(error) => Err(grpc_status(&RpcStatus::of(&error))),
            }
        })
    }
}

fn grpc_status(status: &RpcStatus) -> Status {
    let code = match status.code {
        code::INVALID_ARGUMENT => Code::InvalidArgument,
        code::UNAVAILABLE => Code::Unavailable,
        code::RESOURCE_EXHAUSTED => Code::ResourceExhausted,
        code::UNAUTHENTICATED => Code::Unauthenticated,
        code::PERMISSION_DENIED => Code::PermissionDenied,
        _ => Code::Internal,
    };
    Status::with_details(code, status.message.clone(), status.encode_to_vec().into())
}
