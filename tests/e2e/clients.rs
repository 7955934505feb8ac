//! The clients that users have: the OpenTelemetry SDKs for Python and Node.js, psql and psycopg.

use crate::machine;
use crate::server::{Home, Server, now_unix_nanos};
use crate::sql::eventually;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Where `tests/clients/install` has put them.
pub(crate) fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../clients");
    assert!(
        ["python", "node", "java"].iter().all(|kind| folder.join(kind).join(".installed").exists()),
        "the clients are not in {}: run tests/clients/install {0}",
        folder.display()
    );
    folder
}

pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

pub(crate) fn python(name: &str) -> Command {
    let mut command = Command::new(folder().join("python/bin/python"));
    command.arg("-B").arg(script(name));
    command
}

pub(crate) fn node(name: &str) -> Command {
    let mut command = Command::new("node");
    command.env("NODE_PATH", folder().join("node/node_modules")).arg(script(name));
    command
}

/// Runs a client to its end, which must be a success, and reads its one line of JSON.
pub(crate) fn answer_of(command: &mut Command, input: &[u8]) -> Value {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}; tests/run installs what is missing"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{command:?} printed {}", String::from_utf8_lossy(&output.stdout)))
}

/// One raw message to an OTLP/gRPC method: how the call ended.
pub(crate) fn call(server: &Server, signal: &str, options: &[&str], message: &[u8]) -> Value {
    answer_of(python("call.py").arg(server.ports.grpc.to_string()).arg(signal).args(options), message)
}

/// Sends with an SDK, then asks until everything is there, which must be within one second of the flush.
fn sent_is_found(server: &Server, sdk: &mut Command, service: &str, protocol: &str) {
    let endpoint = if protocol == "grpc" { server.grpc_endpoint() } else { server.http_endpoint() };
    let child = sdk.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{sdk:?}: {error}; tests/run installs what is missing"));
    let mut line = String::new();
    // Not waiting for the end of the process: its runtime may take its time to shut down.
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    let sent: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{sdk:?} printed {line:?}"));

    let text = |key: &str| sent[key].as_str().unwrap().to_owned();
    let (trace, parent, child_span) = (text("trace_id"), text("parent_span_id"), text("span_id"));
    let found = |statement: String| {
        let (rows, _) = eventually(Duration::from_secs(10), || server.sql(&statement), |rows| !rows.rows.is_empty());
        (rows, now_unix_nanos())
    };
    let (span, spans_found) = found(format!(
        "SELECT asset_id, name, kind, status, severity, payload->>'amount', environment, span_id FROM events \
         WHERE trace_id = '{trace}' AND span_id = '{child_span}' AND signal = 'span'"
    ));
    let (log, logs_found) = found(format!(
        "SELECT asset_id, body, severity, payload->>'order.id', span_id FROM events \
         WHERE signal = 'log' AND correlation_id = '{}'",
        uuid(&trace)
    ));
    let (_, metrics_found) =
        found(format!("SELECT 1 FROM metrics WHERE asset_id = '{service}' AND metric_name = 'orders'"));
    for (signal, found) in [("spans", spans_found), ("logs", logs_found), ("metrics", metrics_found)] {
        let flushed = sent[format!("{signal}_flushed")].as_u64().unwrap();
        let milliseconds = found.saturating_sub(flushed) / 1_000_000;
        machine::announce(&format!("{service}: {signal} found {milliseconds} ms after the flush"));
        assert!(milliseconds < 1_000, "{signal} found only after {milliseconds} ms");
    }
    assert!(child.wait().unwrap().success());

    let expected = json!([[service, "charge card", "client", "error", "error", "12.5", "test", child_span]]);
    assert_eq!(span.json(), expected);
    let expected = json!([[service, "card declined: insufficient funds", "error", "o-1", child_span]]);
    assert_eq!(log.json(), expected);
    let parent_of = format!(
        "SELECT p.span_id FROM events c JOIN events p ON c.parent_event_id = p.id \
         WHERE c.trace_id = '{trace}' AND c.span_id = '{child_span}' AND c.signal = 'span'"
    );
    assert_eq!(server.sql(&parent_of).texts(), [parent]);
    let events = format!("SELECT name FROM events WHERE trace_id = '{trace}' AND signal = 'span_event'");
    assert_eq!(server.sql(&events).texts(), ["retrying"]);
    metrics_are_right(server, service);
}

fn metrics_are_right(server: &Server, service: &str) {
    // An SDK that shuts down sends its cumulative values again: the sum must not count them twice.
    let sums = server.sql(&format!(
        "SELECT metric_name, metric_type, unit, sum(value_sum) FROM metrics WHERE asset_id = '{service}' \
         AND metric_name IN ('orders', 'http.server.request.duration') GROUP BY 1, 2, 3 ORDER BY 1"
    ));
    let expected = json!([["http.server.request.duration", "histogram", "s", 0.875], ["orders", "sum", "{order}", 3]]);
    assert_eq!(sums.json(), expected);
    let last = server.sql(&format!(
        "SELECT metric_name, max(value_max), min(value_min) FROM metrics WHERE asset_id = '{service}' \
         AND metric_name IN ('queue.depth', 'basket.items') GROUP BY 1 ORDER BY 1"
    ));
    assert_eq!(last.json(), json!([["basket.items", -2, -2], ["queue.depth", 7, 7]]));
    let count = "SELECT sum(value_count) FROM metrics WHERE metric_name = 'http.server.request.duration'";
    assert_eq!(server.sql(&format!("{count} AND asset_id = '{service}'")).number(), 3);
}

fn uuid(trace: &str) -> String {
    [&trace[..8], &trace[8..12], &trace[12..16], &trace[16..20], &trace[20..]].join("-")
}

#[test]
fn the_python_sdk_is_understood_with_only_its_endpoint_set() {
    let _machine = machine::alone();
    let server = Server::start(&Home::new());
    for (protocol, service) in [("grpc", "python-grpc"), ("http/protobuf", "python-http")] {
        sent_is_found(&server, python("send.py").arg(protocol).arg(service), service, protocol);
    }
}

#[test]
fn the_node_sdk_is_understood_over_its_three_protocols() {
    let _machine = machine::alone();
    let server = Server::start(&Home::new());
    for protocol in ["grpc", "http/protobuf", "http/json"] {
        let service = format!("node-{}", protocol.replace('/', "-"));
        let mut sdk = node("send.js");
        sdk.env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol).arg(&service);
        sent_is_found(&server, &mut sdk, &service, protocol);
    }
}

/// One small request with a span that has an amount, and the id of its trace.
pub(crate) fn one_span(server: &Server) -> &'static str {
    let trace = "5b8efff798038103d269b633813fc60c";
    let now = now_unix_nanos();
    server.export_json(
        "/v1/traces",
        &json!({"resourceSpans": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "checkout"}}]},
            "scopeSpans": [{"spans": [{"traceId": trace, "spanId": "eee19b7ec3c1b174", "name": "pay",
                "startTimeUnixNano": now.to_string(), "endTimeUnixNano": (now + 5_000_000).to_string(),
                "attributes": [{"key": "amount", "value": {"doubleValue": 12.5}}]}]}]
        }]}),
    );
    trace
}

#[test]
fn psql_connects_describes_and_queries() {
    let _machine = machine::shared();
    let server = Server::start(&Home::new());
    one_span(&server);
    let psql = |commands: &[&str]| {
        let mut command = Command::new("psql");
        command.args([
            "-X",
            "-h",
            "127.0.0.1",
            "-p",
            &server.ports.pgwire.to_string(),
            "whence",
            "-v",
            "ON_ERROR_STOP=1",
        ]);
        for text in commands {
            command.args(["-c", text]);
        }
        let output = command.stdin(Stdio::null()).output().expect("psql is installed by tests/run");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{commands:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    for listing in ["\\d", "\\dt"] {
        let text = psql(&[listing]);
        for table in ["events", "metrics", "correlations", "asset_metadata"] {
            assert!(text.contains(table), "{listing} does not show {table}:\n{text}");
        }
    }
    let text = psql(&["\\d events"]);
    for (column, kind) in
        [("id", "uuid"), ("timestamp", "timestamp with time zone"), ("payload", "json"), ("duration_ns", "bigint")]
    {
        let shown = text.lines().any(|line| line.trim_start().starts_with(column) && line.contains(kind));
        assert!(shown, "\\d events does not show {column} {kind}:\n{text}");
    }
    let text =
        psql(&["-- a comment", ";", "\\pset format unaligned", "SELECT id, name, payload->>'amount' FROM events"]);
    assert!(text.contains("d269b633-813f-c60c-eee1-9b7ec3c1b174|pay|12.5"), "{text}");
}

#[test]
fn psycopg_reads_text_and_binary_with_parameters() {
    let _machine = machine::shared();
    let server = Server::start(&Home::new());
    let trace = one_span(&server);
    let answer = answer_of(python("query.py").args([&server.ports.pgwire.to_string(), "checkout", trace]), b"");
    let rows = json!({"names": ["pay"], "amounts": [12.5]});
    assert_eq!((&answer["text"], &answer["binary"]), (&rows, &rows));
    assert_eq!((&answer["by_uuid"], &answer["by_text"], &answer["in_transaction"]), (&json!(1), &json!(1), &json!(1)));
    assert_eq!(answer["not_refused"], Value::Null);
    assert_eq!(answer["refused"].as_array().unwrap()[2], "42P01", "undefined_table: {answer}");
}
