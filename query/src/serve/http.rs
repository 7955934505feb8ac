//! HTTP: `POST /v1/sql`.
//!
//! ```text
//! body (SQL, or {"sql", "parameters"}) -> Session::execute -> first batch (so that errors have a status) -> body, streamed
//! ```
//!
//! Answers JSON, CSV or an Arrow IPC stream, by `?format=` or the `Accept` header. Only JSON has a limit of rows, and says
//! so (`"truncated": true`).

mod body;

use crate::error::{QueryError, SqlState};
use crate::session::Answer;
use crate::{Parameter, QueryEngine};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use body::Format;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

/// Bytes of a request.
const MAX_BODY: usize = 1 << 20;

/// Routes of the query API.
pub fn router(engine: QueryEngine) -> Router {
    Router::new().route("/v1/sql", post(sql)).layer(DefaultBodyLimit::max(MAX_BODY)).with_state(engine)
}

#[derive(Debug, Deserialize)]
struct Wishes {
    format: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    sql: String,
    #[serde(default)]
    parameters: Vec<Value>,
}

async fn sql(
    State(engine): State<QueryEngine>,
    Query(wishes): Query<Wishes>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let format = format_of(wishes.format.as_deref(), &headers)?;
    let request = read(&headers, &body)?;
    let session = engine.authenticate(|name| headers.get(name).map(HeaderValue::as_bytes))?;
    let mut statements = session.parse(&request.sql)?;
    let (Some(statement), true) = (statements.pop(), statements.is_empty()) else {
        return Err(QueryError::NotSupported { what: "anything but one statement in a request".to_owned() }.into());
    };
    let parameters: Vec<_> = request.parameters.into_iter().map(parameter).collect();
    match session.execute(&statement, &parameters).await? {
        Answer::Rows(rows) => Ok(body::answer(rows, format, engine.options().http_rows).await?),
        Answer::Done(tag) => Ok(Json(json!({ "columns": [], "rows": [], "command": tag })).into_response()),
    }
}

fn format_of(wish: Option<&str>, headers: &HeaderMap) -> Result<Format, QueryError> {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match wish {
        Some("json") => Ok(Format::Json),
        Some("csv") => Ok(Format::Csv),
        Some("arrow") => Ok(Format::Arrow),
        Some(other) => Err(QueryError::NotSupported { what: format!("format {other}: json, csv and arrow are; it") }),
        None if accepted.contains(body::ARROW_TYPE) => Ok(Format::Arrow),
        None if accepted.contains("text/csv") => Ok(Format::Csv),
        None => Ok(Format::Json),
    }
}

/// SQL does not start with a brace: what does is JSON, whatever its type says.
fn read(headers: &HeaderMap, body: &[u8]) -> Result<Request, QueryError> {
    let text = std::str::from_utf8(body)
        .map_err(|_| QueryError::InvalidText { problem: "the request's body is not UTF-8".to_owned() })?;
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/json"));
    if is_json || text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|error| QueryError::InvalidText {
            problem: format!("the request's body is no JSON object with \"sql\" (and \"parameters\"): {error}"),
        })
    } else {
        Ok(Request { sql: text.to_owned(), parameters: Vec::new() })
    }
}

fn parameter(value: Value) -> Parameter {
    match value {
        Value::Null => Parameter::Null,
        Value::Bool(truth) => Parameter::Boolean(truth),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Parameter::Integer(integer),
            (None, Some(float)) => Parameter::Float(float),
            (None, None) => Parameter::Text(number.to_string()),
        },
        Value::String(text) => Parameter::Text(text),
        Value::Array(items) => Parameter::Array(items.into_iter().map(parameter).collect()),
        object @ Value::Object(_) => Parameter::Text(object.to_string()),
    }
}

/// An error as the answer to a request.
struct Failure(QueryError);

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match &self.0 {
            QueryError::Timeout(_) => StatusCode::REQUEST_TIMEOUT,
            QueryError::Access(error) if error.is_forbidden() => StatusCode::FORBIDDEN,
            QueryError::Access(_) => StatusCode::UNAUTHORIZED,
            QueryError::Shutdown => StatusCode::SERVICE_UNAVAILABLE,
            error if error.sqlstate() == SqlState::IO_ERROR => StatusCode::SERVICE_UNAVAILABLE,
            error if error.is_callers_fault() => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({ "error": described(&self.0) }))).into_response()
    }
}

fn described(error: &QueryError) -> Value {
    let mut described = json!({ "code": error.sqlstate().0, "message": error.to_string() });
    if let Some(hint) = error.hint() {
        described["hint"] = hint.into();
    }
    described
}
