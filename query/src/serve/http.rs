//! HTTP: `POST /v1/sql`, and `GET /v1/tail` (see [`tail`]).
//!
//! ```text
//! body (SQL, or {"sql", "params", ...}) -> Session::execute -> first batch (so that errors have a status) -> body, streamed
//! ```
//!
//! The answer is JSON, CSV, an Arrow IPC stream, or lines of JSON that also tell the progress ([`body::Format`]). Rows are
//! made as the client reads; a client that goes away ends its query.

mod body;
mod request;
mod tail;

use crate::error::{QueryError, SqlState};
use crate::session::Answer;
use crate::{Parameter, QueryEngine, Session};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use body::Format;
use bytes::Bytes;
use request::{Request, Wishes};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Bytes of a request.
const MAX_BODY: usize = 1 << 20;

/// What the routes share.
#[derive(Clone)]
struct Doors {
    engine: QueryEngine,
    watchers: Arc<Semaphore>,
    /// Ends what would go on for ever.
    until: CancellationToken,
}

/// Routes of the query API, whose endless answers end with `until`.
pub fn router(engine: QueryEngine, until: CancellationToken) -> Router {
    let watchers = Arc::new(Semaphore::new(tail::MAX_WATCHERS));
    Router::new()
        .route("/v1/sql", post(sql))
        .route("/v1/tail", get(tail::tail))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Doors { engine, watchers, until })
}

async fn sql(
    State(Doors { engine, .. }): State<Doors>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    Query(wishes): Query<Wishes>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let request = Request::read(&headers, &body)?;
    let parameters = request.parameters()?;
    let wishes = request.wishes.or(wishes);
    let format = request::format(&wishes, &headers)?;
    let session = session_for(&engine, &headers)?;
    let local = peer.is_some_and(|Extension(ConnectInfo(peer))| is_on_this_host(peer, &headers));
    let session = if local { session.on_this_host() } else { session };
    if let Some(milliseconds) = wishes.timeout_ms {
        session.set("statement_timeout", Some(&milliseconds.to_string()))?;
    }
    let limit = match (wishes.limit, format) {
        (Some(rows), _) => Some(rows),
        (None, Format::Json | Format::Lines) => Some(engine.options().http_rows),
        (None, Format::Csv | Format::Arrow) => None,
    };
    let answer = run(&session, &request.sql, &parameters).await;
    let answered = match answer {
        Ok(Answer::Rows(rows)) => body::answer(rows, format, limit, &request.sql).await,
        Ok(Answer::Copy(..)) => Err(QueryError::NotSupported { what: "COPY: ask for ?format=csv; it".to_owned() }),
        Ok(Answer::Told(tag, notices)) => {
            Ok(Json(json!({ "columns": [], "rows": [], "command": tag, "notices": notices })).into_response())
        }
        Ok(Answer::Done(tag) | Answer::Passed(tag, _)) => {
            Ok(Json(json!({ "columns": [], "rows": [], "command": tag })).into_response())
        }
        Err(error) => Err(error),
    };
    answered.map_err(|error| Failure { position: error.position(&request.sql), error })
}

/// A session for whoever sends these headers.
fn session_for(engine: &QueryEngine, headers: &HeaderMap) -> Result<Session, QueryError> {
    engine.authenticate(|name| headers.get(name).map(HeaderValue::as_bytes))
}

/// Whether the client is on the server's own host, and no page in a browser, which could be anybody's: browsers say
/// where a page comes from, and a name that others point to this host is not this host's.
fn is_on_this_host(peer: SocketAddr, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let own_name = name == "localhost" || address.is_ok_and(|address| address.is_loopback());
    peer.ip().to_canonical().is_loopback() && own_name && !headers.contains_key(header::ORIGIN)
}

async fn run(session: &Session, sql: &str, parameters: &[Parameter]) -> Result<Answer, QueryError> {
    let mut statements = session.parse(sql)?;
    let (Some(statement), true) = (statements.pop(), statements.is_empty()) else {
        return Err(QueryError::NotSupported { what: "anything but one statement in a request".to_owned() });
    };
    session.execute(&statement, parameters).await
}

/// An error as the answer to a request.
struct Failure {
    error: QueryError,
    position: Option<usize>,
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self { error, position: None }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match &self.error {
            QueryError::Timeout(_) => StatusCode::REQUEST_TIMEOUT,
            QueryError::Access(error) if error.is_forbidden() => StatusCode::FORBIDDEN,
            QueryError::Access(_) => StatusCode::UNAUTHORIZED,
            error if error.sqlstate() == SqlState::INSUFFICIENT_PRIVILEGE => StatusCode::FORBIDDEN,
            QueryError::Shutdown => StatusCode::SERVICE_UNAVAILABLE,
            error if error.sqlstate() == SqlState::IO_ERROR => StatusCode::SERVICE_UNAVAILABLE,
            error if error.is_callers_fault() => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({ "error": described(&self.error, self.position) }))).into_response()
    }
}

fn described(error: &QueryError, position: Option<usize>) -> Value {
    let mut described = json!({ "code": error.sqlstate().0, "message": error.to_string() });
    if let Some(position) = position {
        described["position"] = position.into();
    }
    if let Some(hint) = error.hint() {
        described["hint"] = hint.into();
    }
    described
}
