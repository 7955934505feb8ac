//! What a request to `POST /v1/sql` asks for.
//!
//! ```text
//! SELECT ...                                                              text, or
//! {"sql": "SELECT ... $1 ... $2",
//!  "params": ["cart", {"type": "timestamptz", "value": "2026-01-31T10:00:00Z"}],
//!  "format": "json", "limit": 1000, "timeout_ms": 5000}                   JSON; the last three may be in the URL instead
//! ```

use super::body::{self, Format};
use crate::error::QueryError;
use crate::{Parameter, ParameterType};
use axum::http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::Value;

/// Wishes about the answer.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wishes {
    pub(super) format: Option<String>,
    /// Rows at most.
    pub(super) limit: Option<usize>,
    /// Time for the statement, in milliseconds; 0 is no limit.
    pub(super) timeout_ms: Option<u64>,
}

impl Wishes {
    /// `other` where this says nothing.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            format: self.format.or(other.format),
            limit: self.limit.or(other.limit),
            timeout_ms: self.timeout_ms.or(other.timeout_ms),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    sql: String,
    #[serde(default, alias = "parameters")]
    params: Vec<Value>,
    format: Option<String>,
    limit: Option<usize>,
    timeout_ms: Option<u64>,
}

/// One statement and how it is to be answered.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) sql: String,
    params: Vec<Value>,
    pub(super) wishes: Wishes,
}

impl Request {
    /// SQL does not start with a brace: what does is JSON, whatever its type says.
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, QueryError> {
        let text = std::str::from_utf8(body)
            .map_err(|_| QueryError::InvalidText { problem: "the request's body is not UTF-8".to_owned() })?;
        let is_json = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/json"));
        if !is_json && !text.trim_start().starts_with('{') {
            return Ok(Self { sql: text.to_owned(), params: Vec::new(), wishes: Wishes::default() });
        }
        let body: Body = serde_json::from_str(text).map_err(|error| QueryError::InvalidText {
            problem: format!(
                "the request's body is no JSON object with \"sql\" (and \"params\", \"format\", \"limit\", \
                 \"timeout_ms\"): {error}"
            ),
        })?;
        let wishes = Wishes { format: body.format, limit: body.limit, timeout_ms: body.timeout_ms };
        Ok(Self { sql: body.sql, params: body.params, wishes })
    }

    /// Values of `$1`, `$2`, ...
    pub(super) fn parameters(&self) -> Result<Vec<Parameter>, QueryError> {
        let parameter =
            |(index, value)| parameter(value).map_err(|problem| QueryError::Parameter { position: index + 1, problem });
        self.params.iter().enumerate().map(parameter).collect()
    }
}

/// Form of the answer: as the request says, else as its `Accept` does, else JSON.
pub(super) fn format(wishes: &Wishes, headers: &HeaderMap) -> Result<Format, QueryError> {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match wishes.format.as_deref() {
        Some(name) => Format::named(name).ok_or_else(|| QueryError::NotSupported {
            what: format!("format {name}: json, csv, arrow and ndjson are; it"),
        }),
        None if accepted.contains(body::ARROW_TYPE) => Ok(Format::Arrow),
        None if accepted.contains("ndjson") => Ok(Format::Lines),
        None if accepted.contains("text/csv") => Ok(Format::Csv),
        None => Ok(Format::Json),
    }
}

/// A plain JSON value means what it is; `{"type", "value"}` names another type.
fn parameter(value: &Value) -> Result<Parameter, String> {
    Ok(match value {
        Value::Null => Parameter::Null,
        Value::Bool(truth) => Parameter::Boolean(*truth),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Parameter::Integer(integer),
            (None, Some(float)) => Parameter::Float(float),
            (None, None) => Parameter::Text(number.to_string()),
        },
        Value::String(text) => Parameter::Text(text.clone()),
        Value::Array(items) => Parameter::Array(items.iter().map(parameter).collect::<Result<_, _>>()?),
        Value::Object(fields) => match (fields.get("type").and_then(Value::as_str), fields.get("value")) {
            (Some(name), Some(value)) if fields.len() == 2 => typed(name, value)?,
            _ => Parameter::Text(value.to_string()),
        },
    })
}

fn typed(name: &str, value: &Value) -> Result<Parameter, String> {
    let text = match value {
        Value::Null => return Ok(Parameter::Null),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let unreadable = || format!("\"{text}\" does not read as {name}");
    let of_kind = |kind| Ok(Parameter::Typed(kind, text.clone()));
    match name.to_ascii_lowercase().as_str() {
        "text" | "varchar" | "uuid" | "json" | "jsonb" => Ok(Parameter::Text(text)),
        "bigint" | "int8" | "integer" | "int4" | "int" | "smallint" | "int2" => {
            text.parse().map(Parameter::Integer).map_err(|_| unreadable())
        }
        "double precision" | "double" | "float8" | "real" | "float4" => {
            text.parse().map(Parameter::Float).map_err(|_| unreadable())
        }
        "numeric" | "decimal" => {
            let digits = text.strip_prefix('-').unwrap_or(&text);
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            if !plain || digits.parse::<f64>().is_err() {
                return Err(unreadable());
            }
            Ok(Parameter::Number(text))
        }
        "boolean" | "bool" => text.parse().map(Parameter::Boolean).map_err(|_| unreadable()),
        "timestamptz" | "timestamp with time zone" => of_kind(ParameterType::TimestampTz),
        "timestamp" | "timestamp without time zone" => of_kind(ParameterType::Timestamp),
        "date" => of_kind(ParameterType::Date),
        "time" => of_kind(ParameterType::Time),
        "interval" => of_kind(ParameterType::Interval),
        "bytea" => {
            let digits = text.strip_prefix("\\x").unwrap_or(&text).as_bytes();
            let plain = digits.len() % 2 == 0 && digits.iter().all(u8::is_ascii_hexdigit);
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
            bytes.filter(|_| plain).map(Parameter::Bytes).ok_or_else(unreadable)
        }
        other => Err(format!("its type {other} is not known: use a type of PostgreSQL, such as timestamptz")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn parameters_are_what_their_json_or_their_type_says() {
        let request = |params: Value| {
            let body = json!({ "sql": "SELECT $1", "params": params }).to_string();
            Request::read(&HeaderMap::new(), body.as_bytes()).unwrap().parameters()
        };
        let typed = |name: &str, value: Value| json!([{ "type": name, "value": value }]);
        assert_eq!(
            request(json!([null, true, 1, 1.5, "x", [1, 2], {"a": 1}])).unwrap(),
            [
                Parameter::Null,
                Parameter::Boolean(true),
                Parameter::Integer(1),
                Parameter::Float(1.5),
                Parameter::Text("x".to_owned()),
                Parameter::Array(vec![Parameter::Integer(1), Parameter::Integer(2)]),
                Parameter::Text("{\"a\":1}".to_owned()),
            ]
        );
        let time = Parameter::Typed(ParameterType::TimestampTz, "2026-01-31T10:00:00Z".to_owned());
        assert_eq!(request(typed("timestamptz", json!("2026-01-31T10:00:00Z"))).unwrap(), [time]);
        assert_eq!(
            request(typed("bigint", json!("9007199254740993"))).unwrap(),
            [Parameter::Integer(9007199254740993)]
        );
        assert_eq!(request(typed("numeric", json!("-1.10"))).unwrap(), [Parameter::Number("-1.10".to_owned())]);
        assert_eq!(request(typed("bytea", json!("\\x00ff"))).unwrap(), [Parameter::Bytes(vec![0, 255])]);
        assert_eq!(request(typed("date", Value::Null)).unwrap(), [Parameter::Null]);
        for (name, value) in
            [("bigint", "x"), ("numeric", "1; DROP"), ("bytea", "\\x0"), ("bytea", "é"), ("money", "1")]
        {
            let error = request(typed(name, json!(value))).unwrap_err();
            assert_eq!(error.sqlstate().0, "22P02", "{name} {value}: {error}");
        }
    }
}
