//! HTTP.
use crate::QueryEngine;
/// `POST /v1/sql`.
pub fn router(engine: QueryEngine) -> axum::Router {
    let _ = engine;
    axum::Router::new()
}
