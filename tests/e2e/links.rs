//! Structural links: every kind, whichever end comes first, exactly once, in the right direction.

use crate::machine;
use crate::server::{Home, Server, now_unix_nanos};
use crate::sql::eventually;
use serde_json::{Value, json};
use std::time::Duration;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
/// "Visible within 5 s of the later of the two ends."
const VISIBLE: Duration = Duration::from_secs(5);

fn resource(service: &str) -> Value {
    json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}}]})
}

fn send_span(server: &Server, service: &str, mut span: Value) {
    let now = now_unix_nanos();
    let fields = span.as_object_mut().unwrap();
    fields.entry("traceId").or_insert(TRACE.into());
    fields.entry("startTimeUnixNano").or_insert((now - 10_000_000).to_string().into());
    fields.entry("endTimeUnixNano").or_insert(now.to_string().into());
    let spans = json!({"resourceSpans": [{"resource": resource(service), "scopeSpans": [{"spans": [span]}]}]});
    server.export_json("/v1/traces", &spans);
}

fn send_log(server: &Server, service: &str, severity: u32, body: &str, span: &str) {
    let log = json!({"timeUnixNano": now_unix_nanos().to_string(), "severityNumber": severity,
        "body": {"stringValue": body}, "traceId": TRACE, "spanId": span});
    let logs = json!({"resourceLogs": [{"resource": resource(service), "scopeLogs": [{"logRecords": [log]}]}]});
    server.export_json("/v1/logs", &logs);
}

/// All links as "relation: cause -> effect", with the names of spans and the bodies of logs, once there are `count`.
fn links(server: &Server, count: usize) -> Vec<String> {
    let statement = "SELECT c.metadata->>'relation', coalesce(p.name, p.body), coalesce(r.name, r.body) \
        FROM correlations c JOIN events p ON c.primary_event_id = p.id JOIN events r ON c.related_event_id = r.id \
        WHERE c.correlation_type = 'causal'";
    let (rows, _) = eventually(VISIBLE, || server.sql(statement).rows, |rows| rows.len() >= count);
    let text = |value: &Value| value.as_str().unwrap_or("NULL").to_owned();
    let mut links: Vec<String> =
        rows.iter().map(|row| format!("{}: {} -> {}", text(&row[0]), text(&row[1]), text(&row[2]))).collect();
    links.sort();
    links
}

#[test]
fn every_kind_of_structural_link_is_found_in_its_direction() {
    let _machine = machine::shared();
    let server = Server::start(&Home::new());
    send_span(&server, "web", json!({"spanId": "00000000000000a1", "name": "page", "status": {"code": 2}}));
    send_span(
        &server,
        "shop",
        json!({"spanId": "00000000000000b1", "parentSpanId": "00000000000000a1", "name": "order",
        "status": {"code": 2}}),
    );
    // Within one service: no link.
    send_span(
        &server,
        "shop",
        json!({"spanId": "00000000000000b2", "parentSpanId": "00000000000000b1", "name": "validate"}),
    );
    // Another trace, tied by a span link.
    send_span(
        &server,
        "mailer",
        json!({"traceId": "11111111111111112222222222222222", "spanId": "00000000000000c1",
        "name": "mail", "links": [{"traceId": TRACE, "spanId": "00000000000000b1"}]}),
    );
    send_log(&server, "shop", 17, "order failed", "00000000000000b1");
    send_log(&server, "shop", 9, "order began", "00000000000000b1");
    assert_eq!(
        links(&server, 4),
        ["call: page -> order", "failure: order -> page", "link: order -> mail", "log_in_span: order -> order failed",]
    );
    let strengths =
        server.sql("SELECT min(strength), max(strength), min(confidence), max(confidence) FROM correlations");
    for value in &strengths.rows[0] {
        assert!((0.0..=1.0).contains(&value.as_f64().unwrap()), "{strengths:?}");
    }
}

#[test]
fn an_exemplar_ties_its_span_to_the_metric() {
    let _machine = machine::shared();
    let server = Server::start(&Home::new());
    send_span(&server, "shop", json!({"spanId": "00000000000000d1", "name": "slow order"}));
    let now = now_unix_nanos().to_string();
    let exemplar = json!({"timeUnixNano": now, "asDouble": 2.5, "traceId": TRACE, "spanId": "00000000000000d1"});
    let metric = json!({"name": "order.duration", "unit": "s", "histogram": {"aggregationTemporality": 1, "dataPoints": [
        {"startTimeUnixNano": now, "timeUnixNano": now, "count": "1", "sum": 2.5, "explicitBounds": [1.0],
         "bucketCounts": ["0", "1"], "exemplars": [exemplar]}]}});
    let request = json!({"resourceMetrics": [{"resource": resource("shop"), "scopeMetrics": [{"metrics": [metric]}]}]});
    server.export_json("/v1/metrics", &request);
    let statement = "SELECT count(*) FROM correlations WHERE metadata->>'relation' = 'exemplar' \
        AND correlation_type = 'causal' AND (primary_event_id = (SELECT id FROM events) OR related_event_id = (SELECT id FROM events))";
    eventually(VISIBLE, || server.sql(statement).number(), |count| *count == 1);
}

#[test]
fn children_before_and_long_after_their_parents_are_linked_once_also_across_restarts() {
    let _machine = machine::shared();
    let home = Home::new();
    let child = |server: &Server, id: u32| {
        let span = json!({"spanId": format!("{id:016x}"), "parentSpanId": format!("{:016x}", 1), "name": format!("child {id}")});
        send_span(server, "callee", span);
    };
    let server = Server::start(&home);
    child(&server, 2);
    assert!(server.terminate(Duration::from_secs(60)).success());
    let server = Server::start(&home);
    child(&server, 3);
    server.kill();

    // Two children are there, one in chunks and one in the log only; now the parent comes.
    let server = Server::start(&home);
    send_span(&server, "caller", json!({"spanId": format!("{:016x}", 1), "name": "parent"}));
    let expected = ["call: parent -> child 2", "call: parent -> child 3"];
    assert_eq!(links(&server, 2), expected);
    assert!(server.terminate(Duration::from_secs(60)).success());

    // The parent is in chunks only; two children come after it, with a crash in between.
    let server = Server::start(&home);
    assert_eq!(links(&server, 2), expected);
    child(&server, 4);
    links(&server, 3);
    server.kill();
    let server = Server::start(&home);
    child(&server, 5);
    let all =
        ["call: parent -> child 2", "call: parent -> child 3", "call: parent -> child 4", "call: parent -> child 5"];
    assert_eq!(links(&server, 4), all);
    assert!(server.terminate(Duration::from_secs(60)).success());
    assert_eq!(links(&Server::start(&home), 4), all);
}
