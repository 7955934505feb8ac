//! A small HTTP client for Whence's own query door: `whence query` and `whence demo` speak SQL like any other client.

use anyhow::{Context, bail};
use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

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

/// Runs `sql` at `endpoint` and returns the body in `format` (`json` or `csv`).
pub async fn query_text(endpoint: &str, sql: &str, format: &str) -> anyhow::Result<Bytes> {
    let base = endpoint.trim_end_matches('/');
    let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
    let request = hyper::Request::post(format!("{base}/v1/sql?format={format}"))
        .header(hyper::header::CONTENT_TYPE, "text/plain")
        .body(Full::new(Bytes::from(sql.to_owned())))?;
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await.with_context(|| {
        format!("no answer from {base}: is `whence serve` running there? (--endpoint names another)")
    })?;
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
