//! Other engines read the tables: the Python packages deltalake and polars, and DuckDB over the Parquet files. They see
//! what SQL shows, and what ARCHITECTURE.md says about derived columns gives the ids that SQL gives.

use crate::clients::{answer_of, python};
use crate::machine;
use crate::server::{Home, Server, now_unix_nanos};
use crate::sql::eventually;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

const HOUR: u64 = 3_600_000_000_000;
const WITHIN: Duration = Duration::from_secs(60);

/// What the engines answer over the data directory.
fn foreign(home: &Home) -> Value {
    let architecture = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    answer_of(python("foreign.py").arg(home.data()).arg(architecture), b"")
}

fn resource(service: &str) -> Value {
    json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}}]})
}

/// Requests of all signals, different for every `round`: calls between two services, one of them failed, an event of a
/// span, log records with and without a trace, a sum and a histogram.
fn send(server: &Server, round: u64, time: u64) {
    let trace = format!("{:016x}{:016x}", 0xfeed_0000_0000_0000_u64 + round, 0x8000_0000_0000_0001_u64 + round);
    let span = |number: u64, parent: u64, nanos: u64, status: u64| {
        let start = time + 1_001 * number;
        let parent = if parent == 0 { String::new() } else { span_id(round, parent) };
        json!({"traceId": trace, "spanId": span_id(round, number), "parentSpanId": parent,
            "name": format!("step {number}"), "kind": 2, "status": {"code": status},
            "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + nanos).to_string(),
            "events": [{"timeUnixNano": (start + 5).to_string(), "name": "retrying"}]})
    };
    server.export_json(
        "/v1/traces",
        &json!({"resourceSpans": [
            {"resource": resource("front"), "scopeSpans": [{"spans": [span(1, 0, 9_000_001, 0), span(2, 1, 7_000_000, 2)]}]},
            {"resource": resource("back"), "scopeSpans": [{"spans": [span(3, 2, 6_500_000, 2), span(4, 2, 100_000, 0)]}]},
        ]}),
    );
    let record = |severity: u64, body: &str, context: Value| {
        let mut record = json!({"timeUnixNano": (time + 321).to_string(), "severityNumber": severity,
            "body": {"stringValue": format!("{body} {round} – naïve")}});
        record.as_object_mut().unwrap().extend(context.as_object().unwrap().clone());
        record
    };
    server.export_json(
        "/v1/logs",
        &json!({"resourceLogs": [{"resource": resource("back"), "scopeLogs": [{"logRecords": [
            record(17, "failed", json!({"traceId": trace, "spanId": span_id(round, 2)})),
            record(9, "alone", json!({})),
        ]}]}]}),
    );
    let point = |value: Value| {
        let mut point = json!({"startTimeUnixNano": (time - HOUR).to_string(), "timeUnixNano": time.to_string()});
        point.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        json!([point])
    };
    server.export_json(
        "/v1/metrics",
        &json!({"resourceMetrics": [{"resource": resource("back"), "scopeMetrics": [{"metrics": [
            {"name": "orders", "sum": {"aggregationTemporality": 1, "isMonotonic": true,
                "dataPoints": point(json!({"asDouble": 1.5 + round as f64}))}},
            {"name": "depth", "gauge": {"dataPoints": point(json!({"asInt": (round * round).to_string()}))}},
        ]}]}]}),
    );
}

/// Every second id has its highest bit set, which makes it a negative number in the stored columns.
fn span_id(round: u64, number: u64) -> String {
    format!("{:016x}", (number % 2) << 63 | round << 8 | number)
}

/// What Whence's SQL answers to the same questions.
fn own(server: &Server) -> Value {
    let ask = |statement: &str| server.sql(statement).json();
    let engines = json!({
        "all": ask("SELECT count(*), sum(duration_ns), count(DISTINCT correlation_id) FROM events"),
        "groups": ask("SELECT asset_id, signal, severity, count(*), sum(duration_ns), max(body) FROM events \
            GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"),
        "days": ask("SELECT to_char(timestamp, 'YYYY-MM-DD'), count(*) FROM events GROUP BY 1 ORDER BY 1"),
        "links": ask("SELECT metadata->>'relation', count(*), sum(CASE WHEN strength > 0.5 THEN 1 ELSE 0 END) \
            FROM correlations GROUP BY 1 ORDER BY 1"),
        "points": ask("SELECT metric_name, sum(point_count), sum(value_count), sum(value_sum), min(value_min), \
            max(value_max) FROM metrics GROUP BY 1 ORDER BY 1"),
    });
    let documented = json!({
        "ids": ask("SELECT id, parent_event_id, correlation_id, trace_id, span_id FROM events ORDER BY 1"),
        "ends": ask("SELECT primary_event_id, related_event_id FROM correlations ORDER BY 1, 2"),
        "series": ask("SELECT metric_name, (extract(epoch FROM timestamp) * 1000000)::bigint, value_count, \
            round(value_avg, 6), round(value_stddev, 6) FROM metrics ORDER BY 1, 2"),
    });
    json!({"deltalake": engines, "polars": engines, "duckdb": engines, "documented": documented})
}

/// The same rows, whether a whole number came as 3, 3.0 or (beyond 2^53) as text.
fn same(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(same).collect(),
        Value::Object(items) => items.iter().map(|(key, value)| (key.clone(), same(value))).collect(),
        Value::Number(number) => json!(number.as_f64()),
        other => other.clone(),
    }
}

fn agree(server_says: &Value, home: &Home, when: &str) -> Value {
    let read = foreign(home);
    for (reader, expected) in server_says.as_object().unwrap() {
        for (question, expected) in expected.as_object().unwrap() {
            let (found, expected) = (same(&read["answers"][reader][question]), same(expected));
            assert_eq!(found, expected, "{reader} on '{question}', {when}");
        }
    }
    read
}

fn files(read: &Value) -> usize {
    read["files"]["events"].as_array().unwrap().len()
}

#[test]
fn deltalake_polars_and_duckdb_read_what_sql_shows_also_late_compacted_and_while_the_server_runs() {
    let _machine = machine::shared();
    let home = Home::new();
    let now = now_unix_nanos() / HOUR * HOUR;
    // Each stop writes one chunk a day: seven of today, the last two with late data of the day before.
    for round in 0..7 {
        let server = Server::start_with(&home, &[]);
        send(&server, round, now + round * 1_000_003);
        if round > 4 {
            send(&server, 100 + round, now - 24 * HOUR + round);
        }
        links_are_there(&server, round);
        assert!(server.terminate(WITHIN).success());
    }
    let server = Server::start(&home);
    let expected = own(&server);
    assert_eq!(expected["documented"]["ids"].as_array().unwrap().len(), 9 * 10, "{expected}");
    assert_eq!(files(&agree(&expected, &home, "while the server runs")), 9);

    // An eighth chunk of one day: they are joined soon after the server has started.
    send(&server, 7, now + 1_000_000_000);
    links_are_there(&server, 7);
    let expected = own(&server);
    assert!(server.terminate(WITHIN).success());
    agree(&expected, &home, "after the stop");
    // Read again only when no file goes away any more, which replaced ones would do after a minute.
    let server = Server::start_with(&home, &["exporters.hypertables.grace=0s"]);
    eventually(
        WITHIN,
        || ["events", "metrics", "correlations"].map(|table| chunk_files(&home, table)),
        |c| *c == [3; 3],
    );
    assert_eq!(files(&agree(&expected, &home, "after compaction, while the server runs")), 3);
    assert_eq!(own(&server), expected);
    assert!(server.terminate(WITHIN).success());
    agree(&expected, &home, "after compaction and a stop");
}

/// Chunk files of a table on disk, whole and partial.
fn chunk_files(home: &Home, table: &str) -> usize {
    let below = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let days = below(&home.data().join(table)).into_iter().filter(|path| path.to_string_lossy().contains("/day="));
    days.flat_map(|day| below(&day)).map(|bucket| below(&bucket).len()).sum()
}

/// Waits for the links of what was sent: two calls between the services, and what failed.
fn links_are_there(server: &Server, round: u64) {
    let sent = round + 1 + round.saturating_sub(4).min(2);
    let calls = "SELECT count(*) FROM correlations WHERE metadata->>'relation' = 'call'";
    eventually(WITHIN, || server.sql(calls).number(), |count| *count >= 2 * sent as i64);
}
