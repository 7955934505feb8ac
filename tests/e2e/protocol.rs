//! What OTLP promises on both transports: encodings, compression, errors, partial success, duplicates.

use crate::http::Answer;
use crate::protobuf::{self, Message, export_request, gauge, log, span};
use crate::server::{Home, Server, now_unix_nanos};
use crate::{clients, machine};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use std::io::Write;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A span with ids made of one number.
fn numbered_span(number: u64, name: &str) -> Message {
    span(&u128::from(number).to_be_bytes(), &number.to_be_bytes(), name, now_unix_nanos())
}

/// Every 4xx and 5xx carries a `google.rpc.Status` with a message, in the request's encoding.
fn assert_status_body(answer: &Answer, content_type: &str) {
    assert_eq!(answer.header("content-type"), Some(content_type), "{}", answer.text());
    let message = if content_type == JSON {
        answer.json()["message"].as_str().expect("google.rpc.Status has a message").to_owned()
    } else {
        protobuf::status(&answer.body).unwrap_or_else(|| panic!("not a google.rpc.Status: {:?}", answer.body)).1
    };
    assert!(message.len() > 10, "too short to help: {message:?}");
}

#[test]
fn empty_requests_succeed_on_every_path_and_encoding() {
    let _machine = machine::shared();
    let server = Server::start(&Home::new());
    for path in ["/v1/traces", "/v1/logs", "/v1/metrics"] {
        let answer = server.post(path, PROTOBUF, b"");
        assert_eq!((answer.status, answer.body.as_slice()), (200, b"".as_slice()), "{path}");
        assert_eq!(answer.header("content-type"), Some(PROTOBUF));
        let answer = server.post(path, JSON, b"{}");
        assert_eq!((answer.status, answer.text().as_str()), (200, "{}"), "{path}");
        assert_eq!(answer.header("content-type"), Some(JSON));
    }
    assert_eq!(clients::call(&server, "traces", &[], &[])["answer"], "");
}

#[test]
fn gzip_is_accepted_in_both_encodings_on_both_transports() {
    let _machine = machine::shared();
    let server = Server::start(&Home::new());
    let request = |number| export_request("zipped", &[numbered_span(number, "zipped")]);
    let json = json!({"resourceSpans": [{"scopeSpans": [{"spans": [{
        "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "EEE19B7EC3C1B174", "name": "zipped",
        "startTimeUnixNano": now_unix_nanos(), "endTimeUnixNano": now_unix_nanos().to_string(), "fromTheFuture": [1]
    }]}]}]});
    for (content_type, body) in [(PROTOBUF, request(1)), (JSON, json.to_string().into_bytes())] {
        let headers = [("content-type", content_type), ("content-encoding", "gzip")];
        let answer = server.post_with("/v1/traces", &headers, &gzip(&body));
        assert_eq!(answer.status, 200, "{content_type}: {}", answer.text());
    }
    assert_eq!(clients::call(&server, "traces", &["gzip"], &request(2))["code"], "OK");
    assert_eq!(server.sql("SELECT count(*) FROM events WHERE name = 'zipped'").number(), 3);
    let hexadecimal = "SELECT count(*) FROM events WHERE span_id = 'eee19b7ec3c1b174'";
    assert_eq!(server.sql(hexadecimal).number(), 1);
}

#[test]
fn what_cannot_be_read_is_refused_with_a_status_in_the_requests_encoding() {
    let _machine = machine::shared();
    let server = Server::start(&Home::new());
    let zipped = |content_type| [("content-type", content_type), ("content-encoding", "gzip")];
    for path in ["/v1/traces", "/v1/logs", "/v1/metrics"] {
        for body in [b"\x0a\xff".as_slice(), b"{}", &[0xff; 64]] {
            let answer = server.post(path, PROTOBUF, body);
            assert_eq!(answer.status, 400, "{path} {body:?}");
            assert_status_body(&answer, PROTOBUF);
            assert_eq!(protobuf::status(&answer.body).unwrap().0, 3, "INVALID_ARGUMENT");
        }
        for body in
            [b"{".as_slice(), b"[1]", b"\"\xff\"", br#"{"resourceSpans":1,"resourceLogs":1,"resourceMetrics":1}"#]
        {
            let answer = server.post(path, JSON, body);
            assert_eq!(answer.status, 400, "{path} {:?}", String::from_utf8_lossy(body));
            assert_status_body(&answer, JSON);
        }
        for content_type in [PROTOBUF, JSON] {
            let answer = server.post_with(path, &zipped(content_type), b"this is not gzip");
            assert_eq!(answer.status, 400, "{path} {content_type}");
            assert_status_body(&answer, content_type);
        }
        let signal = &path[4..];
        let answer = clients::call(&server, signal, &[], b"\x0a\xff");
        assert_eq!(answer["code"], "INVALID_ARGUMENT", "{signal}: {answer}");
    }
    // Many levels of arrays must not exhaust the stack.
    let deep = format!(r#"{{"resourceSpans":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(server.post("/v1/traces", JSON, deep.as_bytes()).status, 400);
    let nested = (0..1_000).fold(Message::default().bytes(1, "x"), |value, _| {
        Message::default().message(5, &Message::default().message(1, &value))
    });
    let attribute = Message::default().bytes(1, "deep").message(2, &nested);
    let deep = export_request("deep", &[numbered_span(9, "deep").message(9, &attribute)]);
    assert_eq!(server.post("/v1/traces", PROTOBUF, &deep).status, 400);
    assert_eq!(server.sql("SELECT count(*) FROM events").number(), 0);
}

#[test]
fn wrong_methods_types_and_paths_have_their_own_answers() {
    let _machine = machine::shared();
    let server = Server::start(&Home::new());
    for method in ["GET", "PUT", "DELETE"] {
        let answer = crate::http::request(server.ports.http, method, "/v1/traces", &[("content-type", JSON)], b"");
        assert_eq!(answer.unwrap().status, 405, "{method}");
    }
    assert_eq!(server.post("/v1/traces", "text/plain", b"x").status, 415);
    assert_eq!(server.post_with("/v1/traces", &[], b"x").status, 415);
    assert_eq!(server.post("/v1/traces", "application/json; charset=utf-8", b"{}").status, 200);
    let unknown = [("content-type", JSON), ("content-encoding", "br")];
    assert!([400, 415].contains(&server.post_with("/v1/traces", &unknown, b"x").status));
    assert_eq!(server.post("/v1/nothing", JSON, b"{}").status, 404);
}

#[test]
fn too_large_is_refused_also_after_decompression_and_is_not_retryable() {
    let _machine = machine::shared();
    let settings = [
        "receivers.otlp.protocols.http.max_request_body_size=100000",
        "receivers.otlp.protocols.grpc.max_recv_msg_size_mib=1",
    ];
    let server = Server::start_with(&Home::new(), &settings);
    let large = export_request("large", &[numbered_span(1, &"x".repeat(3 << 20))]);
    for content_type in [PROTOBUF, JSON] {
        let answer = server.post("/v1/traces", content_type, &large);
        assert_eq!(answer.status, 413, "{content_type}");
        assert_status_body(&answer, content_type);
        let headers = [("content-type", content_type), ("content-encoding", "gzip")];
        let answer = server.post_with("/v1/traces", &headers, &gzip(&large));
        assert_eq!(answer.status, 413, "{content_type}, gzip");
        assert_status_body(&answer, content_type);
    }
    for compression in [&[] as &[&str], &["gzip"]] {
        let answer = clients::call(&server, "traces", compression, &large);
        assert_eq!(answer["code"], "RESOURCE_EXHAUSTED", "{answer}");
        assert_eq!(answer["retry_info"], false, "a client must not send it again");
    }
    let small = export_request("small", &[numbered_span(2, "small")]);
    assert_eq!(server.post("/v1/traces", PROTOBUF, &small).status, 200);
    assert_eq!(server.sql("SELECT count(*) FROM events").number(), 1);
}

#[test]
fn the_wrong_part_is_counted_and_the_rest_is_stored() {
    let _machine = machine::shared();
    let server = Server::start(&Home::new());
    let now = now_unix_nanos();
    let (trace, id) = (7u128.to_be_bytes(), 7u64.to_be_bytes());
    let in_three_days = now + 3 * 86_400 * 1_000_000_000;
    let spans = [
        span(&trace, &id, "good", now),
        span(&trace[..3], &id, "short trace id", now),
        span(&[0; 16], &id, "zero trace id", now),
        span(&trace, &[0; 8], "zero span id", now),
        span(&trace, &id[..5], "short span id", now),
        span(&trace, b"", "no span id", now),
        span(&trace, &8u64.to_be_bytes(), "in three days", in_three_days),
        span(&trace, &9u64.to_be_bytes(), "at the end of time", u64::MAX - 2_000_000),
    ];
    let answer = server.post("/v1/traces", PROTOBUF, &export_request("partial", &spans));
    assert_eq!(answer.status, 200);
    let (rejected, message) = protobuf::partial_success(&answer.body).expect("partial success is set");
    assert_eq!(rejected, 7);
    assert!(message.len() > 10, "{message:?}");
    assert_eq!(server.sql("SELECT name FROM events").texts(), ["good"]);

    let logs = [log("now", now), log("in three days", in_three_days), log("long ago", 1), log("no time", 0)];
    let answer = server.post("/v1/logs", PROTOBUF, &export_request("partial", &logs));
    assert_eq!(protobuf::partial_success(&answer.body).map(|(rejected, _)| rejected), Some(1));
    let bodies = server.sql("SELECT body FROM events WHERE signal = 'log' ORDER BY body").texts();
    assert_eq!(bodies, ["long ago", "no time", "now"]);
    let dated = "SELECT count(*) FROM events WHERE body = 'no time' AND timestamp > NOW() - INTERVAL '1 minute'";
    assert_eq!(server.sql(dated).number(), 1, "a time of 0 becomes the receive time");

    let values = [1.0, f64::NAN, 2.0, f64::INFINITY, f64::NEG_INFINITY];
    let metrics = [gauge("temperature", &values, now)];
    let answer = server.post("/v1/metrics", PROTOBUF, &export_request("partial", &metrics));
    assert_eq!(protobuf::partial_success(&answer.body).map(|(rejected, _)| rejected), Some(3));
    let stored = server.sql("SELECT value_count, value_sum, value_min, value_max FROM metrics");
    let row: Vec<f64> = stored.rows[0].iter().map(|value| value.as_f64().unwrap()).collect();
    assert_eq!(row, [2.0, 3.0, 1.0, 2.0]);

    assert_eq!(server.ledger("traces"), [8, 1, 0, 7, 0]);
    assert_eq!(server.ledger("logs"), [4, 3, 0, 1, 0]);
    assert_eq!(server.ledger("metrics"), [5, 2, 0, 3, 0]);
}

#[test]
fn partial_success_in_json_counts_as_text_like_every_64_bit_integer() {
    let _machine = machine::shared();
    let server = Server::start(&Home::new());
    let span = |id: &str| {
        json!({"traceId": "5b8efff798038103d269b633813fc60c", "spanId": id, "name": "one",
        "startTimeUnixNano": now_unix_nanos().to_string(), "endTimeUnixNano": now_unix_nanos().to_string()})
    };
    let request = json!({"resourceSpans": [{"scopeSpans": [{"spans": [
        span("eee19b7ec3c1b174"), span("0000000000000000"), span("eee1")
    ]}]}]});
    let answer = server.post("/v1/traces", JSON, request.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let partial = &answer.json()["partialSuccess"];
    assert_eq!(partial["rejectedSpans"], "2", "{partial}");
    assert!(partial["errorMessage"].as_str().is_some_and(|message| message.len() > 10), "{partial}");
}

#[test]
fn a_retried_request_is_stored_once_and_told_as_duplicate_in_the_ledger() {
    let _machine = machine::shared();
    let home = Home::new();
    let server = Server::start(&home);
    let traces = export_request("retry", &[numbered_span(1, "a"), numbered_span(2, "b")]);
    let now = now_unix_nanos();
    // Two equal log records in one request are two events; the same request again is none.
    let logs = export_request("retry", &[log("same", now), log("same", now)]);
    let metrics = export_request("retry", &[gauge("depth", &[1.0, 2.0, 3.0], now)]);
    let send = |server: &Server| {
        for (path, body) in [("/v1/traces", &traces), ("/v1/logs", &logs), ("/v1/metrics", &metrics)] {
            let answer = server.post(path, PROTOBUF, body);
            assert_eq!((answer.status, answer.body.as_slice()), (200, b"".as_slice()), "{path}");
        }
    };
    send(&server);
    send(&server);
    let zipped = [("content-type", PROTOBUF), ("content-encoding", "gzip")];
    assert_eq!(server.post_with("/v1/traces", &zipped, &gzip(&traces)).status, 200);
    let check = |server: &Server, traces_sent: i64, sent: i64| {
        assert_eq!(server.sql("SELECT count(*) FROM events WHERE signal = 'span'").number(), 2);
        let distinct = server.sql("SELECT count(*), count(DISTINCT id) FROM events WHERE body = 'same'");
        assert_eq!(distinct.json(), json!([[2, 2]]));
        assert_eq!(server.sql("SELECT sum(value_count) FROM metrics").number(), 3);
        assert_eq!(server.ledger("traces"), [2 * traces_sent, 2, 2 * (traces_sent - 1), 0, 0]);
        assert_eq!(server.ledger("logs"), [2 * sent, 2, 2 * (sent - 1), 0, 0]);
        assert_eq!(server.ledger("metrics"), [3 * sent, 3, 3 * (sent - 1), 0, 0]);
    };
    check(&server, 3, 2);
    server.kill();
    let server = Server::start(&home);
    send(&server);
    check(&server, 4, 3);
}
