//! A small HTTP client for Whence's own query door: commands speak to a server like any other client.

use anyhow::{Context, bail};
use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use whence_otlp_receiver::export::{Compression, OtlpClient, Protocol, SendError};

/// Columns and rows of an answer.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Answer {
    /// Names and PostgreSQL types.
    pub columns: Vec<Column>,
    /// Values, one list a row.
    pub rows: Vec<Vec<serde_json::Value>>,
    /// True when the row limit cut the answer.
    #[serde(default)]
    pub truncated: bool,
}

/// A column of an answer.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
}

impl Answer {
    /// Text of a cell; empty for null.
    pub fn text(&self, row: usize, column: usize) -> String {
        match self.rows.get(row).and_then(|r| r.get(column)) {
            None | Some(serde_json::Value::Null) => String::new(),
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }
}

fn base_of(endpoint: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    if base.contains("://") { base.to_owned() } else { format!("http://{base}") }
}

/// The API key that commands send: from the environment, since other users can see a process's arguments.
pub fn api_key() -> Option<String> {
    std::env::var("WHENCE_API_KEY").ok().filter(|key| !key.is_empty())
}

/// An OTLP client that sends the key, if there is one.
///
/// # Errors
///
/// When `endpoint` is no address, or the key no key.
pub fn otlp_client(endpoint: &str, protocol: Protocol, compression: Compression) -> Result<OtlpClient, SendError> {
    let client = OtlpClient::new(endpoint, protocol, compression)?;
    match api_key() {
        Some(key) => client.with_api_key(&key),
        None => Ok(client),
    }
}

/// What an answer says went wrong, in either of the forms there are.
pub fn error_of(answer: &serde_json::Value) -> Option<&str> {
    let error = &answer["error"];
    error.as_str().or_else(|| error["message"].as_str())
}

async fn answer(base: &str, mut request: hyper::Request<Full<Bytes>>) -> anyhow::Result<hyper::Response<Incoming>> {
    if let Some(key) = api_key() {
        let value = format!("Bearer {key}").parse().context("WHENCE_API_KEY holds no API key")?;
        request.headers_mut().insert(hyper::header::AUTHORIZATION, value);
    }
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    client
        .request(request)
        .await
        .with_context(|| format!("no answer from {base}: is `whence serve` running there? (--endpoint names another)"))
}

/// `GET` of a JSON document.
pub async fn get_json(endpoint: &str, path: &str) -> anyhow::Result<serde_json::Value> {
    let base = base_of(endpoint);
    let request = hyper::Request::get(format!("{base}{path}")).body(Full::default())?;
    let response = answer(&base, request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    let value: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    if !status.is_success() {
        bail!("{base} answered {status}: {}", error_of(&value).unwrap_or("is this a Whence server?"));
    }
    Ok(value)
}

/// `POST` of a JSON document; hands every line of the answer, a JSON document itself, to `each`.
pub async fn post_lines(
    endpoint: &str,
    path: &str,
    document: &serde_json::Value,
    mut each: impl FnMut(serde_json::Value),
) -> anyhow::Result<()> {
    let base = base_of(endpoint);
    let request = hyper::Request::post(format!("{base}{path}"))
        .header(hyper::header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(document.to_string())))?;
    let response = answer(&base, request).await?;
    let mut body = response.into_body();
    let mut waiting = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        waiting.extend_from_slice(&data);
        while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = waiting.drain(..=end).collect();
            each(serde_json::from_slice(&line).context("the answer is not JSON: is this a Whence server?")?);
        }
    }
    // A refusal is one document without a line end.
    if !waiting.is_empty() {
        each(serde_json::from_slice(&waiting).context("the answer is not JSON: is this a Whence server?")?);
    }
    Ok(())
}

/// `POST` of a JSON document that is answered with one.
pub async fn post_json(endpoint: &str, path: &str, body: &serde_json::Value) -> anyhow::Result<serde_json::Value> {
    let base = base_of(endpoint);
    let request = hyper::Request::post(format!("{base}{path}"))
        .header(hyper::header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))?;
    let response = answer(&base, request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    let value: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    if !status.is_success() {
        bail!("{}", error_of(&value).map_or_else(|| format!("{base} answered {status}"), str::to_owned));
    }
    Ok(value)
}

/// Runs `sql` at `endpoint` and returns the body in `format` (`json` or `csv`).
pub async fn query_text(endpoint: &str, sql: &str, format: &str) -> anyhow::Result<Bytes> {
    let base = base_of(endpoint);
    let request = hyper::Request::post(format!("{base}/v1/sql?format={format}"))
        .header(hyper::header::CONTENT_TYPE, "text/plain")
        .body(Full::new(Bytes::from(sql.to_owned())))?;
    let response = answer(&base, request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    if !status.is_success() {
        let error: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let error = &error["error"];
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        if text("message").is_empty() {
            bail!("{base} answered {status}: {}", String::from_utf8_lossy(&body));
        }
        let hint = if text("hint").is_empty() { String::new() } else { format!("\nHINT: {}", text("hint")) };
        bail!("{} (SQLSTATE {}){hint}", text("message"), text("code"));
    }
    Ok(body)
}

/// Runs `sql` at `endpoint`.
pub async fn query(endpoint: &str, sql: &str) -> anyhow::Result<Answer> {
    let body = query_text(endpoint, sql, "json").await?;
    serde_json::from_slice(&body).context("the answer is no result of a query: is this a Whence server?")
}
