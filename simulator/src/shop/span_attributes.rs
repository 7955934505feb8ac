//! Attributes of spans after the OpenTelemetry semantic conventions (1.37).

use crate::attributes::{integer, text};
use crate::shop::topology::{Database, Protocol, Service};
use opentelemetry_proto::tonic::common::v1::KeyValue;

/// What one request carries through all services.
pub(crate) struct Visit {
    pub(crate) user: u32,
    pub(crate) session: u64,
    /// Number that stands for `{id}` in routes.
    pub(crate) item: u32,
}

/// Outcome of a call, as an HTTP status code. 0: no answer came.
pub(crate) type StatusCode = u16;

/// Attributes of the SERVER span of an operation.
pub(crate) fn server(service: &Service, operation: usize, visit: &Visit, status: StatusCode) -> Vec<KeyValue> {
    let mut attributes = request(service, operation, status);
    attributes.push(text("server.address", service.name));
    attributes.push(integer("server.port", 8080));
    if service.protocol == Protocol::Http {
        attributes.push(text("http.route", service.http_route(operation)));
        attributes.push(text("url.path", path(service, operation, visit)));
        attributes.push(text("url.scheme", "http"));
    }
    attributes
}

/// What the front end alone knows of its visitors.
pub(crate) fn visitor(visit: &Visit) -> Vec<KeyValue> {
    vec![
        text("client.address", format!("203.0.113.{}", visit.user % 254 + 1)),
        text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0"),
        text("user.id", format!("user-{}", visit.user)),
        text("session.id", format!("{:016x}", visit.session)),
    ]
}

/// Attributes of the CLIENT span of a call to an operation.
pub(crate) fn client(callee: &Service, operation: usize, visit: &Visit, status: StatusCode) -> Vec<KeyValue> {
    let mut attributes = request(callee, operation, status);
    attributes.push(text("server.address", callee.name));
    attributes.push(integer("server.port", 8080));
    if callee.protocol == Protocol::Http {
        attributes.push(text("url.full", format!("http://{}:8080{}", callee.name, path(callee, operation, visit))));
    }
    attributes
}

fn request(service: &Service, operation: usize, status: StatusCode) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(12);
    if service.protocol == Protocol::Grpc {
        attributes.push(text("rpc.system", "grpc"));
        attributes.push(text("rpc.service", service.operations[operation].method.as_str()));
        attributes.push(text("rpc.method", service.operations[operation].route.as_str()));
        attributes.push(integer("rpc.grpc.status_code", grpc_code(status)));
    } else {
        attributes.push(text("http.request.method", service.operations[operation].method.as_str()));
        attributes.push(text("network.protocol.version", "1.1"));
        if status != 0 {
            attributes.push(integer("http.response.status_code", i64::from(status)));
        }
    }
    attributes
}

/// The gRPC status code that stands for an HTTP one.
fn grpc_code(status: StatusCode) -> i64 {
    match status {
        200..=299 => 0, // OK
        0 | 504 => 4,   // DEADLINE_EXCEEDED
        503 => 14,      // UNAVAILABLE
        _ => 13,        // INTERNAL
    }
}

fn path(service: &Service, operation: usize, visit: &Visit) -> String {
    let route = service.http_route(operation);
    route.replace("{id}", &visit.item.to_string()).replace("{sku}", &format!("sku-{}", visit.item % 500))
}

/// Attributes of the CLIENT span of a query.
pub(crate) fn query(database: &Database, statement: &str, verb: &str, table: &str) -> Vec<KeyValue> {
    vec![
        text("db.system.name", database.system),
        text("db.namespace", database.address.trim_end_matches("-db")),
        text("db.operation.name", verb),
        text("db.collection.name", table),
        text("db.query.summary", format!("{verb} {table}")),
        text("db.query.text", statement),
        text("server.address", database.address.as_str()),
        integer("server.port", database.port),
    ]
}

/// Attributes of the PRODUCER span of a message, or with `consumer` of its CONSUMER span.
pub(crate) fn message(topic: &str, id: u64, consumer: Option<&str>) -> Vec<KeyValue> {
    let mut attributes = vec![
        text("messaging.system", "kafka"),
        text("messaging.destination.name", topic),
        text("messaging.message.id", format!("{id:016x}")),
        text("messaging.operation.type", if consumer.is_some() { "process" } else { "send" }),
        text("messaging.operation.name", if consumer.is_some() { "process" } else { "send" }),
        text("server.address", "kafka"),
    ];
    attributes.extend(consumer.map(|name| text("messaging.consumer.group.name", name)));
    attributes
}

/// Attributes of an `exception` event or of an error log.
pub(crate) fn exception(service: &Service, class: &str, message: &str) -> Vec<KeyValue> {
    let trace = match service.language {
        "java" => format!("{class}: {message}\n\tat org.shop.{0}.Service.run(Service.java:118)", service.name),
        "python" => format!(
            "Traceback (most recent call last):\n  File \"/app/{0}.py\", line 74, in run\n{class}: {message}",
            service.name
        ),
        "nodejs" => format!("{class}: {message}\n    at run (/app/{}.js:61:13)", service.name),
        _ => format!("{class}: {message}\n  in {}::run", service.name),
    };
    vec![text("exception.type", class), text("exception.message", message), text("exception.stacktrace", trace)]
}
