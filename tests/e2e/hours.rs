//! Links of onsets and of changes, stored at the end of each full hour: there by SQL, and once when the server was killed.

use crate::machine;
use crate::server::{Home, Server, now_unix_nanos};
use crate::sql::eventually;
use serde_json::{Value, json};
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * SECOND;
/// Half minutes are read one after another, in a build that is not optimised.
const FOUND: Duration = Duration::from_secs(300);
/// Without rests, so that an hour that is sent in seconds is read in as many.
const AT_ONCE: &str = "exporters.hypertables.incidents.core_share=1";
/// When orders fails for forty seconds, in seconds of the hour, and when it was deployed.
const FAILS: [u64; 6] = [500, 1_110, 1_495, 2_040, 2_800, 3_300];
const DEPLOYED: u64 = 3_290;

fn resource(service: &str) -> Value {
    json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}}]})
}

/// A front end that calls orders every two seconds for an hour and three minutes; orders fails at times, and the front
/// end by that.
fn send(server: &Server, from: u64) {
    for minute in 0..63_u64 {
        let spans = |front: bool| -> Vec<Value> {
            let span = |second: u64| {
                let fails = FAILS.iter().any(|fails| (*fails..fails + 40).contains(&second));
                let start = from + second * SECOND + if front { 0 } else { 5_000_000 };
                let end = start + if front { 40_000_000 } else { 20_000_000 };
                json!({
                    "traceId": format!("{:032x}", second + 1),
                    "spanId": if front { "00000000000000a1" } else { "00000000000000b1" },
                    "parentSpanId": if front { "" } else { "00000000000000a1" },
                    "name": if front { "page" } else { "order" },
                    "kind": 2,
                    "startTimeUnixNano": start.to_string(),
                    "endTimeUnixNano": end.to_string(),
                    "status": {"code": if fails { 2 } else { 0 }},
                })
            };
            (minute * 60..(minute + 1) * 60).step_by(2).map(span).collect()
        };
        let of = |service: &str, front| json!({"resource": resource(service), "scopeSpans": [{"spans": spans(front)}]});
        server.export_json("/v1/traces", &json!({"resourceSpans": [of("front", true), of("orders", false)]}));
        if minute == DEPLOYED / 60 {
            let at = (from + DEPLOYED * SECOND).to_string();
            let deployed = json!({"timeUnixNano": at, "body": {"stringValue": "deployed"},
                "attributes": [{"key": "deployment.id", "value": {"stringValue": "7"}}]});
            let logs = json!({"resource": resource("orders"), "scopeLogs": [{"logRecords": [deployed]}]});
            server.export_json("/v1/logs", &json!({"resourceLogs": [logs]}));
        }
    }
}

/// Links that were found by comparing, with the assets of both ends.
fn links(server: &Server) -> Vec<Vec<Value>> {
    let statement = "SELECT c.metadata->>'relation', c.correlation_type, p.asset_id, r.asset_id, c.metadata->>'lag_ms', \
            c.metadata->>'q', c.id, c.timestamp, c.created_at, c.confidence, c.strength \
        FROM correlations c JOIN events p ON c.primary_event_id = p.id JOIN events r ON c.related_event_id = r.id \
        WHERE c.metadata->>'relation' IN ('lag', 'change') ORDER BY c.timestamp, c.id";
    server.sql(statement).rows
}

#[test]
fn an_hour_that_is_over_has_its_links_stored_and_a_kill_doubles_and_loses_none() {
    let _machine = machine::shared();
    let home = Home::new();
    let server = Server::start_with(&home, &[AT_ONCE]);
    send(&server, now_unix_nanos() / HOUR * HOUR - 3 * HOUR);
    let (found, _) = eventually(FOUND, || links(&server), |found| !found.is_empty());
    let of = |relation: &str| found.iter().filter(|link| link[0] == relation).collect::<Vec<_>>();
    assert_eq!(of("lag").len(), FAILS.len(), "{found:#?}");
    let number = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
    for lag in of("lag") {
        assert_eq!(lag[1..4], [json!("temporal"), json!("orders"), json!("front")], "{found:#?}");
        assert!(number(&lag[4]) == 15.0 && number(&lag[5]) <= 0.05, "{found:#?}");
    }
    assert!(!of("change").is_empty(), "{found:#?}");
    for change in of("change") {
        assert_eq!(change[1..4], [json!("temporal"), json!("orders"), json!("orders")], "{found:#?}");
    }
    // Killed before or after these rows left memory.
    server.kill();
    let server = Server::start_with(&home, &[AT_ONCE]);
    let (again, _) = eventually(FOUND, || links(&server), |again| again.len() >= found.len());
    assert_eq!(again, found);
    let statement = "SELECT value FROM whence.correlation_quality WHERE name = 'watch_skipped_hours'";
    assert_eq!(server.sql(statement).number(), 0);
    assert!(server.terminate(Duration::from_secs(60)).success());
    let server = Server::start_with(&home, &[AT_ONCE]);
    assert_eq!(links(&server), found);
}
