//! Partial results in Redis: found again after a restart, of use to nobody else, and never missed when Redis is away.

use crate::machine;
use crate::protobuf::{export_request, log};
use crate::redis::Redis;
use crate::server::{Home, Server, now_unix_nanos, run, words};
use serde_json::Value;
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_secs(60);
const QUESTION: &str = "SELECT asset_id, severity, count(*), min(body) FROM events GROUP BY 1, 2 ORDER BY 1, 2";

/// A server whose rows are in chunks and whose memory is empty.
fn started_again(home: &Home, server: Server, settings: &[&str]) -> Server {
    assert!(server.terminate(WITHIN).success());
    Server::start_with(home, settings)
}

fn fill(server: &Server, service: &str, lines: u64) {
    let time = now_unix_nanos();
    let logs: Vec<_> = (0..lines).map(|i| log(&format!("line {i}"), time + i)).collect();
    let answer = server.post("/v1/logs", "application/x-protobuf", &export_request(service, &logs));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn metric(server: &Server, name: &str) -> u64 {
    let answer = crate::http::request(server.ports.metrics, "GET", "/metrics", &[], b"").unwrap();
    let text = answer.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.trim().parse().unwrap()
}

fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !reached() {
        assert!(Instant::now() < deadline, "{what}: not within {WITHIN:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn partial_results_survive_a_restart_in_redis_and_are_forgotten_with_the_rows() {
    let _machine = machine::shared();
    let redis = Redis::start(0, &[]);
    let cache = format!("extensions.query.cache.redis_url={}", redis.url());
    let settings = [cache.as_str()];
    let home = Home::new();
    let server = Server::start_with(&home, &settings);
    fill(&server, "accounts", 200);
    fill(&server, "billing", 100);
    let server = started_again(&home, server, &settings);
    let expected = server.sql(QUESTION).json();
    assert_eq!(expected[0][2].as_i64().or_else(|| expected[0][2].as_str()?.parse().ok()), Some(200), "{expected}");
    wait_until("partial results in Redis", || redis.keys() > 0);

    let server = started_again(&home, server, &settings);
    assert_eq!(server.sql(QUESTION).json(), expected);
    assert!(metric(&server, "whence_query_cache_redis_hits_total ") > 0, "nothing came from Redis");
    let plan = server.sql(&format!("EXPLAIN ANALYZE {QUESTION}")).json().to_string();
    assert!(plan.contains("partials_from_memory=1"), "{plan}");

    let endpoint = format!("http://127.0.0.1:{}", server.ports.query);
    let condition = "asset_id = 'billing'";
    let output =
        run(&["delete", "--tenant", "default", "--where", condition, "--endpoint", &endpoint, "--yes"], WITHIN);
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(redis.keys(), 0, "{}", redis.ask("KEYS *"));
    assert_eq!(server.sql(QUESTION).rows.len(), 1);
    assert_eq!(server.sql(QUESTION).rows[0][0], Value::from("accounts"));
}

#[test]
fn redis_that_is_full_hangs_dies_or_comes_back_changes_no_answer() {
    let _machine = machine::shared();
    let full = Redis::start(0, &["--maxmemory", "1", "--maxmemory-policy", "noeviction"]);
    let (port, cache) = (full.port, format!("extensions.query.cache.redis_url={}", full.url()));
    let settings = [cache.as_str()];
    let home = Home::new();
    let server = Server::start_with(&home, &settings);
    fill(&server, "accounts", 200);
    let server = started_again(&home, server, &settings);
    let expected = server.sql(QUESTION).json();
    wait_until("Redis to refuse", || metric(&server, "whence_query_cache_redis_errors_total ") > 0);
    assert_eq!(server.sql(QUESTION).json(), expected);

    full.signal("STOP");
    let server = started_again(&home, server, &settings);
    assert_eq!(server.sql(QUESTION).json(), expected, "Redis hangs");
    assert!(metric(&server, "whence_query_cache_redis_errors_total ") > 0);
    drop(full);

    let server = started_again(&home, server, &settings);
    assert_eq!(server.sql(QUESTION).json(), expected, "Redis is away");
    let back = Redis::start(port, &[]);
    // After an error Redis is left alone for a second; each question is another, so that each has something to keep.
    let mut number = 0;
    wait_until("partial results in the Redis that came back", || {
        number += 1;
        server.sql(&format!("SELECT count(*), sum({number}) FROM events"));
        back.keys() > 0
    });
    assert_eq!(server.sql(QUESTION).json(), expected);
}
