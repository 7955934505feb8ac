//! Incidents that are found while data arrives: with the right suspect, once, and also when the server was killed in the
//! middle.

use crate::causes::incident;
use crate::machine;
use crate::server::{Home, Server, run, words};
use crate::sql::eventually;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Half minutes are read one after another, in a build that is not optimised.
const FOUND: Duration = Duration::from_secs(300);
/// Without rests, so that half an hour that is sent in seconds is read in as many.
const AT_ONCE: &str = "exporters.hypertables.incidents.core_share=1";

fn send(server: &Server, file: &Path) {
    let output =
        run(&["replay", &file.display().to_string(), "--endpoint", &server.grpc_endpoint()], Duration::from_secs(300));
    assert!(output.status.success(), "{}", words(&output));
}

/// Incidents that overlap the fault: id, closed, asset, kind of the cause, confidence, explanation, and whether a first symptom is
/// told that is there.
fn incidents(server: &Server, from: u64, to: u64) -> Vec<Vec<Value>> {
    let statement = format!(
        "SELECT i.id, i.closed, i.asset_id, i.cause_kind, i.confidence, i.explanation, e.id IS NOT NULL \
         FROM incidents i LEFT JOIN events e ON e.id = i.first_symptom \
         WHERE i.opened < to_timestamp({}) AND coalesce(i.closed, now()) > to_timestamp({}) ORDER BY i.opened",
        to / 1_000_000_000,
        from / 1_000_000_000
    );
    server.sql(&statement).rows
}

fn metric(server: &Server, name: &str) -> f64 {
    let text = crate::http::request(server.ports.metrics, "GET", "/metrics", &[], b"").unwrap().text();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("no {name} in:\n{text}"))
}

#[test]
fn a_fault_is_found_as_data_arrives_and_is_the_same_incident_after_a_kill_in_the_middle() {
    let _machine = machine::shared();
    let home = Home::new();
    let (file, labels) = incident(&home);
    let [fault] = &labels.faults[..] else { panic!("one fault: {labels:?}") };
    let culprit = fault.root_cause_service.as_str();
    let (from, to) = (fault.time_unix_nano, fault.end_unix_nano.unwrap());
    // All that is sent until the middle of the fault, and the rest.
    let middle = from + (to - from) / 2;
    let text = std::fs::read_to_string(&file).unwrap();
    let (begun, rest): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| last_time(line) < middle);
    let halves = [("begun", begun), ("rest", rest)].map(|(name, lines)| {
        let part = home.file(&format!("{name}.otlp.jsonl"));
        std::fs::write(&part, lines.join("\n")).unwrap();
        part
    });

    let server = Server::start_with(&home, &[AT_ONCE]);
    send(&server, &halves[0]);
    let (before, _) = eventually(FOUND, || incidents(&server, from, to), |found| !found.is_empty());
    server.kill();
    let server = Server::start_with(&home, &[AT_ONCE]);
    send(&server, &halves[1]);
    let is_told = |found: &Vec<Vec<Value>>| {
        found.len() == 1
            && !found[0][1].is_null()
            && found[0][3].is_string()
            && metric(&server, "whence_watch_waiting_slots") == 0.0
    };
    let (after, took) = eventually(FOUND, || incidents(&server, from, to), is_told);
    let (busy, events) =
        (metric(&server, "whence_watch_busy_nanoseconds_total"), metric(&server, "whence_watch_events_total"));
    machine::announce(&format!(
        "found in {:.0} s, {:.0} s of work for a million events by the clock: {after:?}",
        took.as_secs_f64(),
        busy / events / 1_000.0
    ));
    let found = &after[0];
    assert_eq!((&found[0], found[2].as_str()), (&before[0][0], Some(culprit)), "{before:?} {after:?}");
    assert!(found[3].is_string() && found[4].as_f64().is_some_and(|sure| (0.0..=1.0).contains(&sure)), "{found:?}");
    assert!(found[5].as_str().is_some_and(|text| text.contains(culprit)), "{found:?}");
    // Asked later the answer is the same.
    let asked = format!(
        "SELECT r.asset_id, r.cause_kind FROM root_causes(to_timestamp({0}), to_timestamp({1})) r WHERE r.rank = 1",
        seconds(&server, "opened", &found[0]),
        seconds(&server, "closed", &found[0])
    );
    assert_eq!(server.sql(&asked).rows[0][..2], found[2..4]);
    let templates = server.sql("SELECT count(*), count(DISTINCT template_id) FROM log_templates");
    assert!(templates.rows[0][0] != 0 && templates.rows[0][0] == templates.rows[0][1], "{templates:?}");
    assert!(metric(&server, "whence_watch_minutes_total") > 0.0, "metrics are read as well");
    live_numbers_are_those_of_the_views(&server);
}

/// Whole minutes of `whence.live_red` say what the views say of the same rows, which were read for them.
fn live_numbers_are_those_of_the_views(server: &Server) {
    let of = [("service_red", "operation", "asset_id, operation"), ("edge_red", "edge", "caller, asset_id AS callee")];
    for (view, kind, key) in of {
        let same_key = if kind == "edge" {
            "l.caller = v.caller AND l.callee = v.callee"
        } else {
            "l.asset_id = v.asset_id AND l.operation = v.operation"
        };
        // Spans that end more than ten seconds after their half minute are not counted as they arrive.
        let statement = format!(
            "WITH live AS (SELECT time_bucket('1 minute', bucket) AS minute, {key}, sum(requests) AS requests, \
                    sum(errors) AS errors, sum(avg_ms * requests) / sum(requests) AS avg_ms, max(max_ms) AS max_ms \
                FROM whence.live_red WHERE kind = '{kind}' GROUP BY 1, 2, 3), \
             inside AS (SELECT min(minute) + interval '1 minute' AS first, max(minute) AS last FROM live) \
             SELECT count(*), count(*) FILTER (WHERE l.requests = v.requests AND l.errors = v.errors \
                    AND abs(l.avg_ms - v.avg_ms) < 0.001 AND abs(l.max_ms - v.max_ms) < 0.001) \
             FROM {view} v CROSS JOIN inside LEFT JOIN live l ON l.minute = v.bucket AND {same_key} \
             WHERE v.bucket >= first AND v.bucket < last AND v.max_ms < 10000"
        );
        let counted = &server.sql(&statement).rows[0];
        machine::announce(&format!("{view}: rows, and those that are the same live: {counted:?}"));
        assert!(counted[0] != 0 && counted[0] == counted[1], "{view}: {counted:?}");
    }
}

/// When the last item of a request of the simulator was, in nanoseconds.
fn last_time(line: &str) -> u64 {
    let times = line.split("UnixNano\":\"").skip(1).map(|rest| rest.split('"').next().unwrap_or_default());
    times.filter_map(|time| time.parse().ok()).max().unwrap_or(0)
}

/// A time of an incident in seconds.
fn seconds(server: &Server, column: &str, id: &Value) -> i64 {
    let id = id.as_str().unwrap();
    server.sql(&format!("SELECT extract(epoch FROM {column})::bigint FROM incidents WHERE id = '{id}'")).number()
}
