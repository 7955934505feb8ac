//! Live tail: `GET /v1/tail` as server-sent events.

use crate::machine;
use crate::server::{Home, Server, now_unix_nanos};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Severity numbers of OTLP.
const INFO: u8 = 9;
const ERROR: u8 = 17;

/// A client of server-sent events.
struct Watcher {
    stream: BufReader<TcpStream>,
}

impl Watcher {
    /// Asks, and gives the status.
    fn open(port: u16, query: &str) -> (Self, u16) {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // HTTP/1.0: the body comes as it is, without chunks.
        write!(stream, "GET /v1/tail?{query} HTTP/1.0\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n\r\n")
            .unwrap();
        let mut watcher = Self { stream: BufReader::new(stream) };
        let status = watcher.line().split(' ').nth(1).unwrap().parse().unwrap();
        while !watcher.line().is_empty() {}
        (watcher, status)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.stream.read_line(&mut line).unwrap() > 0, "the stream ended");
        line.trim_end_matches(['\r', '\n']).to_owned()
    }

    /// The next message: its lines up to an empty one.
    fn message(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            match self.line() {
                line if line.is_empty() => return lines,
                line => lines.push(line),
            }
        }
    }

    /// The next event, past heartbeats.
    fn event(&mut self) -> Value {
        loop {
            let message = self.message();
            if let Some(data) = message[0].strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
            assert_eq!(message, [": heartbeat"]);
        }
    }
}

fn send_log(server: &Server, service: &str, severity: u8, body: &str) {
    server.export_json(
        "/v1/logs",
        &json!({"resourceLogs": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
            "scopeLogs": [{"logRecords": [{"timeUnixNano": now_unix_nanos().to_string(), "severityNumber": severity,
                "body": {"stringValue": body},
                "attributes": [{"key": "order", "value": {"intValue": "7"}}]}]}]
        }]}),
    );
}

#[test]
fn new_events_that_satisfy_the_condition_arrive_as_they_are_stored() {
    let _machine = machine::shared();
    let server = Server::start(&Home::new());
    send_log(&server, "cart", ERROR, "before");
    let filter = "severity%20%3D%20'error'%20AND%20payload-%3E%3E'order'%20%3D%20'7'";
    let (mut errors, status) =
        Watcher::open(server.ports.query, &format!("filter={filter}&columns=asset_id,body,payload&heartbeat_ms=100"));
    assert_eq!((status, errors.message()), (200, vec![": watching".to_owned()]));
    assert_eq!(errors.message(), [": heartbeat"]);
    let (mut all, _) = Watcher::open(server.ports.query, "columns=body");
    assert_eq!(all.message(), [": watching"]);

    for (service, severity, body) in [("cart", ERROR, "one"), ("cart", INFO, "two"), ("pay", ERROR, "three\nlines")] {
        send_log(&server, service, severity, body);
    }
    assert_eq!(errors.event(), json!({"asset_id": "cart", "body": "one", "payload": {"order": 7}}));
    assert_eq!(errors.event(), json!({"asset_id": "pay", "body": "three\nlines", "payload": {"order": 7}}));
    let bodies: Vec<_> = (0..3).map(|_| all.event()["body"].clone()).collect();
    assert_eq!(bodies, ["one", "two", "three\nlines"]);

    // The server does not wait for those who watch.
    assert!(server.terminate(Duration::from_secs(60)).success());
    let mut rest = String::new();
    while all.stream.read_line(&mut rest).unwrap() > 0 {}
}

#[test]
fn conditions_that_cannot_be_used_are_refused_with_their_reason() {
    let _machine = machine::shared();
    let server = Server::start(&Home::new());
    for (query, code) in [
        ("filter=nope%20%3D%201", "42703"),
        ("filter=asset_id", "0A000"),
        ("filter=id%20IN%20(SELECT%20primary_event_id%20FROM%20correlations)", "0A000"),
        ("columns=nope", "42703"),
        ("columns=count(*)", "22P02"),
    ] {
        let (mut watcher, status) = Watcher::open(server.ports.query, query);
        let body: Value = serde_json::from_str(&watcher.line()).unwrap();
        assert_eq!((status, &body["error"]["code"]), (400, &code.into()), "{query}: {body}");
    }
}
