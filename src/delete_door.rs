//! `POST /v1/delete` on the query door: counting or erasing rows of a running server.
//!
//! ```text
//! {"tenant": "acme", "table": "events", "where": "asset_id = 'cart'", "dry_run": true}  -> {"rows": {...}}
//! the same without dry_run                                                              -> {"rows": {...}, "chunks": ...}
//! ```

use crate::key_door;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use whence_query::QueryEngine;
use whence_schema::{Table, TenantId};
use whence_storage::{Erasure, Store};

/// What is to be deleted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    tenant: String,
    table: Option<String>,
    #[serde(rename = "where")]
    condition: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// The route; to be served with the address of the peer.
pub fn router(store: Store, engine: QueryEngine) -> Router {
    let keyring = store.keyring().clone();
    key_door::for_operators(Router::new().route("/v1/delete", post(delete)).with_state((store, engine)), keyring)
}

async fn delete(State((store, engine)): State<(Store, QueryEngine)>, Json(request): Json<Request>) -> Response {
    let dry_run = request.dry_run;
    let erasure = match erasure(&engine, request).await {
        Ok(erasure) => erasure,
        Err(message) => return failed(StatusCode::BAD_REQUEST, &message),
    };
    let answer = if dry_run {
        store.count_erasure(erasure).await.map(|rows| json!({ "rows": by_table(rows) }))
    } else {
        let tenant = erasure.tenant.clone();
        let erased = store.erase(erasure).await;
        // Also after an error: some of the rows may be gone.
        if let Err(error) = engine.forget(&tenant).await {
            return failed(StatusCode::SERVICE_UNAVAILABLE, &format!("{error}: delete once more when Redis is back"));
        }
        erased.map(|erased| {
            json!({
                "rows": by_table(erased.rows),
                "chunks": erased.chunks,
                "bytes": erased.bytes,
                "remaining": erased.remaining,
            })
        })
    };
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(error) if error.is_retryable() => failed(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        Err(error) => failed(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn erasure(engine: &QueryEngine, request: Request) -> Result<Erasure, String> {
    if request.tenant.is_empty() {
        return Err("tenant is empty: name whose rows are to be deleted".to_owned());
    }
    let named = match request.table.as_deref() {
        None => None,
        Some(name) => Some(Table::ALL.into_iter().find(|table| table.name() == name).ok_or_else(|| {
            format!("there is no table '{name}' to delete from: use events, metrics or correlations, or leave it out")
        })?),
    };
    let tenant = TenantId::new(&request.tenant);
    let Some(condition) = request.condition else { return Ok(Erasure { tenant, table: named, condition: None }) };
    let table = named.unwrap_or(Table::Events);
    let condition = engine.row_condition(table, &condition).await.map_err(|error| match error.hint() {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    })?;
    Ok(Erasure { tenant, table: Some(table), condition: Some(condition) })
}

fn by_table(rows: [u64; 3]) -> Value {
    Table::ALL.iter().map(|table| (table.name().to_owned(), Value::from(rows[*table as usize]))).collect()
}

fn failed(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": { "message": message } }))).into_response()
}
