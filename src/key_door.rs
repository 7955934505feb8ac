//! API keys of a running server, at the HTTP query door, and the middleware that asks for one with scope admin.
//!
//! ```text
//! GET  /v1/admin/api-keys            {"closed_from", "keys": [...]}
//! POST /v1/admin/api-keys            {"key": {"tenant", "name", "scopes", "expires_at"?, "test"?}, "grace_seconds"?}
//! POST /v1/admin/api-keys/revoke     {"id"}
//! ```
//!
//! Answered on the server's own host only, as everything that changes or copies data.

use crate::same_host;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;
use whence_schema::UnixNanos;
use whence_storage::{AccessError, Credentials, KeyId, KeyInfo, Keyring, NewKey, Scope};

/// The routes; to be served with the address of the peer.
pub fn router(keyring: Keyring) -> Router {
    let routes = Router::new()
        .route("/v1/admin/api-keys", get(list).post(create))
        .route("/v1/admin/api-keys/revoke", post(revoke))
        .with_state(keyring.clone());
    for_operators(routes, keyring)
}

/// Routes for operators: on this host, and with a key of scope admin once there are keys.
pub fn for_operators(routes: Router, keyring: Keyring) -> Router {
    routes
        .route_layer(middleware::from_fn_with_state(keyring, with_key))
        .route_layer(middleware::from_fn(same_host::only))
}

async fn with_key(State(keyring): State<Keyring>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let credentials = Credentials::from_headers(|name| headers.get(name).map(HeaderValue::as_bytes));
    match keyring.authenticate(&credentials, Scope::Admin) {
        Ok(_) => next.run(request).await,
        Err(error) => refusal(&error),
    }
}

/// Every key of a server.
#[derive(Debug, Serialize, Deserialize)]
pub struct Listed {
    /// From when on nobody comes in without a key; `None` as long as no key was ever made.
    pub closed_from: Option<UnixNanos>,
    /// The keys, by number.
    pub keys: Vec<KeyInfo>,
}

impl Listed {
    /// What the keyring holds.
    pub fn of(keyring: &Keyring) -> Self {
        Self { closed_from: keyring.closed_from(), keys: keyring.list() }
    }
}

/// A key to be made.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Creation {
    /// What it is to be.
    pub key: NewKey,
    /// Time in which everybody still comes in without one, if it is the first.
    #[serde(default)]
    pub grace_seconds: u64,
}

/// A key to be taken back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Its number.
    pub id: KeyId,
}

async fn list(State(keyring): State<Keyring>) -> Json<Listed> {
    Json(Listed::of(&keyring))
}

async fn create(State(keyring): State<Keyring>, Json(wish): Json<Creation>) -> Response {
    answer(keyring.create(wish.key, Duration::from_secs(wish.grace_seconds)).await)
}

async fn revoke(State(keyring): State<Keyring>, Json(wish): Json<Revocation>) -> Response {
    answer(keyring.revoke(wish.id).await)
}

fn answer<T: Serialize>(outcome: Result<T, AccessError>) -> Response {
    outcome.map_or_else(|error| refusal(&error), |value| Json(value).into_response())
}

fn refusal(error: &AccessError) -> Response {
    let status = match error {
        AccessError::NotAllowed { .. } => StatusCode::FORBIDDEN,
        AccessError::Invalid(_) => StatusCode::BAD_REQUEST,
        AccessError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNAUTHORIZED,
    };
    (status, Json(json!({ "error": error.to_string() }))).into_response()
}
