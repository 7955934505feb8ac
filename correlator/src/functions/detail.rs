//! What an event says about itself in one line: why it failed, whom it called, what was logged.

use super::span_tree::{Came, SpanTree};
use crate::columns::optional;
use serde_json::{Map, Value};

/// Longest detail, in characters.
const LONGEST: usize = 500;

/// One line about the event at `index`, if there is something to say.
///
/// * a log record: its body, else its exception;
/// * a span event: its exception;
/// * a failed span: its status message, else the exception recorded in it, else its `error.type` or HTTP status;
///   then, in brackets, the database it called;
/// * another span: the database it called.
pub(crate) fn detail(tree: &SpanTree<'_>, index: usize) -> Option<String> {
    let (columns, row) = tree.row(index);
    let payload = parse(columns.payload.value(row));
    let node = tree.node(index);
    let text = match node.came {
        Came::Log => optional(columns.body, row).map(str::to_owned).or_else(|| exception(&payload)),
        Came::SpanEvent => exception(&payload),
        Came::Span => {
            let reason = if node.failed { failure(tree, index, &payload) } else { None };
            match (reason, database(&payload)) {
                (Some(reason), Some(peer)) => Some(format!("{reason} ({peer})")),
                (reason, peer) => reason.or(peer),
            }
        }
    };
    text.filter(|text| !text.is_empty()).map(|text| text.chars().take(LONGEST).collect())
}

/// Attributes of an event; none when its payload is no object.
pub(crate) fn parse(payload: &str) -> Map<String, Value> {
    serde_json::from_str(payload).unwrap_or_default()
}

/// Where a client span's database is: `server.address` or the older `net.peer.name`, else the database system.
/// `None` when the span calls no database.
pub(crate) fn database_peer(payload: &Map<String, Value>) -> Option<String> {
    let system = text(payload, "db.system.name").or_else(|| text(payload, "db.system"))?;
    let address = text(payload, "server.address").or_else(|| text(payload, "net.peer.name"));
    Some(address.unwrap_or(system))
}

fn database(payload: &Map<String, Value>) -> Option<String> {
    let system = text(payload, "db.system.name").or_else(|| text(payload, "db.system"))?;
    let peer = database_peer(payload)?;
    Some(if peer == system { system } else { format!("{system} at {peer}") })
}

fn failure(tree: &SpanTree<'_>, index: usize, payload: &Map<String, Value>) -> Option<String> {
    let message = payload.get("_otel").and_then(Value::as_object).and_then(|rest| text(rest, "status_message"));
    let recorded = || {
        let events = tree.below(index).iter().rev().filter(|below| tree.node(**below).came == Came::SpanEvent);
        events.map(|event| tree.row(*event)).find_map(|(columns, row)| exception(&parse(columns.payload.value(row))))
    };
    let status = || {
        let code = payload.get("http.response.status_code").or_else(|| payload.get("http.status_code"))?;
        Some(format!("HTTP {}", code.as_str().map_or_else(|| code.to_string(), str::to_owned)))
    };
    message.or_else(recorded).or_else(|| text(payload, "error.type")).or_else(status)
}

fn exception(payload: &Map<String, Value>) -> Option<String> {
    match (text(payload, "exception.type"), text(payload, "exception.message")) {
        (Some(kind), Some(message)) => Some(format!("{kind}: {message}")),
        (kind, message) => kind.or(message),
    }
}

fn text(object: &Map<String, Value>, key: &str) -> Option<String> {
    object.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}
