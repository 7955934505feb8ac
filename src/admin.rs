//! Verifying, backing up and restoring a running server, at the HTTP query door.
//!
//! ```text
//! GET  /v1/admin/status                                      {"data_dir", "started_at"}
//! POST /v1/admin/verify
//! POST /v1/admin/backup   {"directory", "keep"?}
//! POST /v1/admin/restore  {"directory", "to"?}               restarts the server inside its process
//! ```
//!
//! A POST is answered with lines of JSON: `{"progress": {"done", "total"}}` in bytes, at last `{"result": ...}` or
//! `{"error": "..."}`. What was begun goes on when the client leaves; one at a time.
//!
//! Paths are those of the server's host, and the server reads and writes them with its own rights. So this answers
//! clients on the same host only (by address and by `Host`, against names that others point to this host), and only
//! requests that say they are JSON, which no page in a browser can send elsewhere unasked; once there are API keys, with
//! one of scope admin. It lives here, beside the
//! wiring, because it is about the store and the process as a whole: the query crate only answers queries.

use crate::key_door;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use whence_schema::UnixNanos;
use whence_storage::{Progress, StorageError, Store};

/// Lines that may wait for a slow client; further progress is left out.
const WAITING_LINES: usize = 64;

/// What the routes work on.
#[derive(Debug, Clone)]
pub struct Admin {
    store: Store,
    data: PathBuf,
    started_at: UnixNanos,
    one_at_a_time: Arc<Semaphore>,
    restart: Arc<Notify>,
}

impl Admin {
    /// `restart` is told when staged data waits for the store to be opened again.
    pub fn new(store: Store, data: PathBuf, restart: Arc<Notify>) -> Self {
        let data = data.canonicalize().unwrap_or(data);
        Self { store, data, started_at: UnixNanos::now(), one_at_a_time: Arc::new(Semaphore::new(1)), restart }
    }
}

/// The routes; to be served with the address of the peer.
pub fn router(admin: Admin) -> Router {
    let keyring = admin.store.keyring().clone();
    let routes = Router::new()
        .route("/v1/admin/status", get(status))
        .route("/v1/admin/verify", post(verify))
        .route("/v1/admin/backup", post(backup))
        .route("/v1/admin/restore", post(restore))
        .with_state(admin);
    key_door::for_operators(routes, keyring)
}

fn refusal(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": message }))).into_response()
}

async fn status(State(admin): State<Admin>) -> Json<Value> {
    Json(json!({ "data_dir": admin.data, "started_at": admin.started_at.0 }))
}

async fn verify(State(admin): State<Admin>) -> Response {
    stream(&admin.clone(), move |lines| async move {
        let report = admin.store.verify(lines.reporter()).await?;
        Ok(json!(report))
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BackupRequest {
    directory: PathBuf,
    keep: Option<u32>,
}

async fn backup(State(admin): State<Admin>, body: Bytes) -> Response {
    let request: BackupRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, &format!("the request is no backup request: {error}")),
    };
    stream(&admin.clone(), move |lines| async move {
        let report = admin.store.backup(&request.directory, request.keep, lines.reporter()).await?;
        Ok(json!(report))
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RestoreRequest {
    directory: PathBuf,
    to: Option<UnixNanos>,
}

async fn restore(State(admin): State<Admin>, body: Bytes) -> Response {
    let request: RestoreRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, &format!("the request is no restore request: {error}")),
    };
    stream(&admin.clone(), move |lines| async move {
        let reporter = lines.reporter();
        let report = whence_storage::stage_restore(&request.directory, &admin.data, request.to, reporter).await?;
        tracing::info!(restore_point = report.restore_point, "restored data waits: opening the store again");
        admin.restart.notify_one();
        Ok(json!(report))
    })
}

/// Lines of an answer.
#[derive(Debug, Clone)]
struct Lines(mpsc::Sender<Value>);

impl Lines {
    fn reporter(&self) -> impl Fn(Progress) + Send + Sync + use<> {
        let lines = self.0.clone();
        move |progress| {
            let _ = lines.try_send(json!({ "progress": progress }));
        }
    }
}

/// Runs `work` whether or not the client stays, and answers with its lines.
fn stream<F>(admin: &Admin, work: impl FnOnce(Lines) -> F) -> Response
where
    F: Future<Output = Result<Value, StorageError>> + Send + 'static,
{
    let Ok(permit) = admin.one_at_a_time.clone().try_acquire_owned() else {
        return refusal(
            StatusCode::CONFLICT,
            "a verification, backup or restore is running: try again when it has ended",
        );
    };
    let (sender, mut receiver) = mpsc::channel(WAITING_LINES);
    let work = work(Lines(sender.clone()));
    tokio::spawn(run(work, sender, permit));
    let lines = futures::stream::poll_fn(move |context| receiver.poll_recv(context));
    let bytes = futures::StreamExt::map(lines, |line| Ok::<_, std::convert::Infallible>(format!("{line}\n")));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(bytes)).into_response()
}

async fn run(
    work: impl Future<Output = Result<Value, StorageError>>,
    lines: mpsc::Sender<Value>,
    permit: OwnedSemaphorePermit,
) {
    let last = match work.await {
        Ok(result) => json!({ "result": result }),
        Err(error) => {
            tracing::error!(%error, "asked for by an operator, and failed");
            json!({ "error": error.to_string() })
        }
    };
    drop(permit);
    // Nobody may be listening any more.
    let _ = lines.send_timeout(last, Duration::from_secs(5)).await;
}
