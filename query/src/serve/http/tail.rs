//! `GET /v1/tail`: new events as they are stored, as server-sent events.
//!
//! ```text
//! GET /v1/tail?filter=severity = 'error' AND asset_id = 'cart'&columns=timestamp,name,body
//!
//! : watching                                           from here on nothing is missed
//! data: {"timestamp":"...","name":"pay","body":null}   one event that satisfies the condition
//! event: dropped
//! data: {"events":1200}                                the client was too slow for so many, of whatever kind
//! : heartbeat                                          when nothing was said for a while (heartbeat_ms, 15 s)
//! event: failed
//! data: {"error":{"code":"...","message":"..."}}       at last, if something went wrong
//! ```

use super::body::json_value;
use super::{Doors, Failure, described, session_for};
use crate::error::QueryError;
use crate::functions::is_json;
use crate::serve::text::plain;
use crate::watch::{Arrived, Watch};
use arrow::record_batch::RecordBatch;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

/// Clients that watch at one time.
pub(super) const MAX_WATCHERS: usize = 64;
const HEARTBEAT_MILLISECONDS: u64 = 15_000;

/// What a client wants to see.
#[derive(Debug, Deserialize)]
pub(super) struct Wishes {
    filter: Option<String>,
    columns: Option<String>,
    heartbeat_ms: Option<u64>,
}

/// Answers with events until the client goes away or the server stops.
pub(super) async fn tail(
    State(doors): State<Doors>,
    Query(wishes): Query<Wishes>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let session = session_for(&doors.engine, &headers)?;
    let Ok(place) = doors.watchers.clone().try_acquire_owned() else {
        let message = format!("{MAX_WATCHERS} clients watch already: try again later");
        let error = json!({ "error": { "code": "53300", "message": message } });
        return Ok((StatusCode::SERVICE_UNAVAILABLE, axum::Json(error)).into_response());
    };
    let (filter, columns) = (wishes.filter.as_deref(), wishes.columns.as_deref());
    let watch = doors.engine.watch(&session, filter, columns).await?;
    let heartbeat = wishes.heartbeat_ms.unwrap_or(HEARTBEAT_MILLISECONDS).clamp(100, 60_000);
    let watching = Watching {
        watch,
        heartbeat: Duration::from_millis(heartbeat),
        until: doors.until.clone(),
        pending: b": watching\n\n".to_vec(),
        ended: false,
        _place: place,
    };
    let body = stream::unfold(watching, next_part);
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, Body::from_stream(body)).into_response())
}

struct Watching {
    watch: Watch,
    heartbeat: Duration,
    until: CancellationToken,
    pending: Vec<u8>,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

async fn next_part(mut watching: Watching) -> Option<(Result<Bytes, Infallible>, Watching)> {
    let mut part = std::mem::take(&mut watching.pending);
    while part.is_empty() {
        if watching.ended {
            return None;
        }
        let Watching { watch, heartbeat, until, .. } = &mut watching;
        let arrived = tokio::select! {
            () = until.cancelled() => return None,
            arrived = tokio::time::timeout(*heartbeat, watch.arrival()) => arrived,
        };
        let Ok(arrived) = arrived else {
            part.extend_from_slice(b": heartbeat\n\n");
            continue;
        };
        let written = watch.matching(arrived).await.and_then(|arrived| write(&arrived, &mut part));
        if let Err(error) = written {
            message(&mut part, Some("failed"), &json!({ "error": described(&error, None) }).to_string());
            watching.ended = true;
        }
    }
    Some((Ok(part.into()), watching))
}

fn write(arrived: &Arrived, out: &mut Vec<u8>) -> Result<(), QueryError> {
    if arrived.dropped > 0 {
        message(out, Some("dropped"), &json!({ "events": arrived.dropped }).to_string());
    }
    for batch in &arrived.rows {
        for row in objects(batch)? {
            message(out, None, &row);
        }
    }
    Ok(())
}

fn message(out: &mut Vec<u8>, event: Option<&str>, data: &str) {
    let event = event.map(|name| format!("event: {name}\n")).unwrap_or_default();
    // JSON has no line breaks of its own, except those that a sender put between the parts of a JSON value.
    let data = data.replace(['\n', '\r'], " ");
    out.extend_from_slice(format!("{event}data: {data}\n\n").as_bytes());
}

/// Each row as a JSON object.
fn objects(batch: &RecordBatch) -> Result<Vec<String>, QueryError> {
    let columns = batch.columns().iter().map(plain).collect::<Result<Vec<_>, _>>()?;
    let schema = batch.schema();
    let names: Vec<String> =
        schema.fields().iter().map(|field| Value::from(field.name().as_str()).to_string()).collect();
    (0..batch.num_rows())
        .map(|row| {
            let mut object = String::from("{");
            for ((column, field), name) in columns.iter().zip(schema.fields()).zip(&names) {
                object.push_str(if object.len() > 1 { "," } else { "" });
                object.push_str(name);
                object.push(':');
                json_value(column, row, is_json(field), &mut object)?;
            }
            object.push('}');
            Ok(object)
        })
        .collect()
}
