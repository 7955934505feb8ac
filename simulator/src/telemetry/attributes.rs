//! Attributes of spans after the OpenTelemetry semantic conventions: the stable names, or those of before.

use crate::attributes::{integer, text};
use crate::engine::Visit;
use crate::world::{Operation, Peer, PeerKind, Protocol, Query, Service};
use opentelemetry_proto::tonic::common::v1::KeyValue;

/// The name of an attribute in the stable conventions, or in those of before.
fn named(service: &Service, stable: &'static str, old: &'static str) -> &'static str {
    if service.old_names { old } else { stable }
}

/// Attributes of a request to `callee`, in the names that `speaker` uses. Status 0: no answer came.
fn request(speaker: &Service, callee: &Service, operation: &Operation, status: u16) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(10);
    if callee.protocol == Protocol::Grpc {
        attributes.push(text("rpc.system", "grpc"));
        attributes.push(text("rpc.service", operation.name.split('/').next().unwrap_or_default()));
        attributes.push(text("rpc.method", operation.route.as_str()));
        attributes.push(integer("rpc.grpc.status_code", grpc_code(status)));
    } else {
        attributes.push(text(named(speaker, "http.request.method", "http.method"), operation.method));
        if status != 0 {
            let name = named(speaker, "http.response.status_code", "http.status_code");
            attributes.push(integer(name, i64::from(status)));
        }
    }
    attributes
}

/// The gRPC status code that stands for an HTTP one.
fn grpc_code(status: u16) -> i64 {
    match status {
        200..=299 => 0, // OK
        0 | 504 => 4,   // DEADLINE_EXCEEDED
        503 => 14,      // UNAVAILABLE
        _ => 13,        // INTERNAL
    }
}

/// Attributes of a SERVER span.
pub(super) fn server(service: &Service, operation: &Operation, visit: Visit, status: u16) -> Vec<KeyValue> {
    let mut attributes = request(service, service, operation, status);
    if service.protocol == Protocol::Http {
        attributes.push(text("http.route", operation.route.as_str()));
        attributes.push(text(named(service, "url.path", "http.target"), path(operation, visit)));
    }
    attributes.push(text(named(service, "server.address", "net.host.name"), service.name.as_str()));
    attributes
}

/// What an entry point knows of its users.
pub(super) fn user(visit: Visit) -> KeyValue {
    text("user.id", format!("user-{}", visit.user))
}

/// Attributes of the CLIENT span of a call.
pub(super) fn client(
    caller: &Service,
    callee: &Service,
    operation: &Operation,
    visit: Visit,
    status: u16,
) -> Vec<KeyValue> {
    let mut attributes = request(caller, callee, operation, status);
    attributes.push(text(named(caller, "server.address", "net.peer.name"), callee.name.as_str()));
    if callee.protocol == Protocol::Http {
        let url = format!("http://{}:8080{}", callee.name, path(operation, visit));
        attributes.push(text(named(caller, "url.full", "http.url"), url));
    }
    attributes
}

fn path(operation: &Operation, visit: Visit) -> String {
    operation.route.replace("{id}", &visit.item.to_string())
}

/// Attributes of the CLIENT span of a query.
pub(super) fn query(service: &Service, peer: &Peer, query: &Query, answered: bool) -> Vec<KeyValue> {
    let Query { verb, subject, .. } = query;
    let mut attributes = match peer.kind {
        PeerKind::Database(system) => vec![
            text(named(service, "db.system.name", "db.system"), system),
            text(named(service, "db.operation.name", "db.operation"), *verb),
            text(named(service, "db.collection.name", "db.sql.table"), subject.as_str()),
            text(named(service, "db.query.text", "db.statement"), statement(query)),
        ],
        PeerKind::External => vec![
            text(named(service, "http.request.method", "http.method"), *verb),
            text(named(service, "url.full", "http.url"), format!("https://{}{subject}", peer.address)),
        ],
    };
    if peer.kind == PeerKind::External && answered {
        attributes.push(integer(named(service, "http.response.status_code", "http.status_code"), 200));
    }
    attributes.push(text(named(service, "server.address", "net.peer.name"), peer.address.as_str()));
    attributes.push(integer(named(service, "server.port", "net.peer.port"), peer.port));
    attributes
}

/// The name of the span of a query.
pub(super) fn query_name(peer: &Peer, Query { verb, subject, .. }: &Query) -> String {
    match peer.kind {
        PeerKind::Database(_) => format!("{verb} {subject}"),
        PeerKind::External => (*verb).to_string(),
    }
}

fn statement(Query { verb, subject, .. }: &Query) -> String {
    match *verb {
        "SELECT" => format!("SELECT * FROM {subject} WHERE id = $1"),
        "INSERT" => format!("INSERT INTO {subject} (id, body) VALUES ($1, $2)"),
        "UPDATE" => format!("UPDATE {subject} SET body = $1 WHERE id = $2"),
        other => format!("{other} {subject}:?"),
    }
}

/// Attributes of the PRODUCER span of a message, or with `group` of its CONSUMER span.
pub(super) fn message(topic: &str, id: u64, group: Option<&str>) -> Vec<KeyValue> {
    let kind = if group.is_some() { "process" } else { "send" };
    let mut attributes = vec![
        text("messaging.system", "kafka"),
        text("messaging.destination.name", topic),
        text("messaging.message.id", format!("{id:016x}")),
        text("messaging.operation.type", kind),
        text("messaging.operation.name", kind),
    ];
    attributes.extend(group.map(|name| text("messaging.consumer.group.name", name)));
    attributes
}
