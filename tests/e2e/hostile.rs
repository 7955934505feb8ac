//! Hostile statements of one tenant: they end with an error that says why, and ingest and other tenants go on meanwhile.

use crate::http;
use crate::machine;
use crate::protobuf::{export_request, log};
use crate::server::{Home, Server, now_unix_nanos, run, words};
use crate::sql::Rows;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const RECORDS: u64 = 5_000;

/// A statement, and the SQLSTATEs it may end with; an empty one stands for an answer.
fn statements() -> Vec<(&'static str, String, &'static [&'static str])> {
    let cross = "SELECT count(*) FROM events a, events b, events c WHERE (a.body || b.body) <> c.body";
    let sort = "SELECT n FROM generate_series(1, 100000000) AS t(n) ORDER BY (n * 7919) % 1000003, n DESC";
    let group = "SELECT count(*) FROM (SELECT n, count(*) FROM generate_series(1, 1000000000) AS t(n) GROUP BY n) g";
    let endless = "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r";
    let series = "SELECT sum(n % 7) FROM generate_series(1, 1000000000000) AS t(n)";
    let regex =
        "SELECT count(*) FROM events a, events b WHERE (a.body || b.body) ~ '^(([a-z0-9 ]+)+)+(x{1,500}){1,500}$'";
    let nested = format!("SELECT {}1{}", "(".repeat(20_000), ")".repeat(20_000));
    let list: Vec<String> = (0..60_000).map(|n| format!("'word {n}'")).collect();
    let list = format!("SELECT count(*) FROM events WHERE body IN ({})", list.join(","));
    let sum = format!("SELECT 1{}", " + 1".repeat(60_000));
    let (late, full): (&[&str], &[&str]) = (&["57014"], &["53200", "57014"]);
    vec![
        ("cross join", cross.to_owned(), full),
        ("huge sort", sort.to_owned(), full),
        ("huge aggregation", group.to_owned(), full),
        ("recursion without end", endless.to_owned(), full),
        ("billions of rows", series.to_owned(), late),
        ("regex bomb", regex.to_owned(), &["2201B"]),
        ("deep nesting", nested, &["54001"]),
        ("long sum", sum, &["54001"]),
        ("huge list", list, &["", "57014", "54000"]),
        ("huge text", "SELECT repeat('x', 1000000000) FROM generate_series(1, 100)".to_owned(), &["53200"]),
    ]
}

fn key(home: &Home, tenant: &str) -> String {
    let data = home.data().display().to_string();
    let arguments = ["apikey", "create", "--data-dir", &data, "--tenant", tenant, "--name", tenant, "--yes"];
    let output = run(&arguments, Duration::from_secs(60));
    assert!(output.status.success(), "{}", words(&output));
    format!("Bearer {}", String::from_utf8(output.stdout).unwrap().trim())
}

fn ask(port: u16, key: &str, statement: &str) -> http::Answer {
    http::request(port, "POST", "/v1/sql", &[("authorization", key)], statement.as_bytes()).unwrap()
}

fn send(port: u16, key: &str, number: u64, records: u64) {
    let now = now_unix_nanos();
    let logs: Vec<_> = (0..records).map(|i| log(&format!("word {number} {i}"), now + i)).collect();
    let headers = [("content-type", "application/x-protobuf"), ("authorization", key)];
    let answer = http::request(port, "POST", "/v1/logs", &headers, &export_request("flood", &logs)).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn hostile_statements_end_with_an_error_and_stop_neither_ingest_nor_another_tenant() {
    let _machine = machine::alone();
    let home = Home::new();
    let (hostile, calm) = (key(&home, "hostile"), key(&home, "calm"));
    let server = Server::start_with(
        &home,
        &[
            "extensions.query.statement_timeout=8s",
            "extensions.query.memory_per_query_mib=32",
            "extensions.query.memory_mib=256",
            "extensions.query.spill_mib=64",
            "extensions.query.queue_timeout=1m",
        ],
    );
    send(server.ports.http, &hostile, 0, RECORDS);
    let (port, running) = (server.ports.query, AtomicUsize::new(0));
    let (running, hostile, calm) = (&running, &hostile, &calm);
    let (mut waits, mut beside) = (Vec::new(), 0);
    thread::scope(|scope| {
        for (name, statement, endings) in statements() {
            running.fetch_add(1, Ordering::SeqCst);
            scope.spawn(move || {
                let start = Instant::now();
                let answer = ask(port, hostile, &statement);
                running.fetch_sub(1, Ordering::SeqCst);
                let code = match answer.status {
                    200 => String::new(),
                    _ => answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned(),
                };
                let said = answer.text().chars().take(300).collect::<String>();
                machine::announce(&format!("{name}: {:?} after {:.1?}", code, start.elapsed()));
                assert!(endings.contains(&code.as_str()), "{name} ended with {code:?}: {said}");
            });
        }
        for number in 1.. {
            let during = running.load(Ordering::SeqCst);
            let start = Instant::now();
            send(server.ports.http, calm, number, 10);
            let ingested = start.elapsed();
            let count = ask(port, calm, "SELECT count(*) FROM events");
            assert_eq!(count.status, 200, "{}", count.text());
            let count = Rows::from_json(&count.json()).number();
            assert_eq!(count, 10 * number as i64, "this tenant's rows, and all of them");
            waits.push((ingested, start.elapsed() - ingested));
            beside += usize::from(running.load(Ordering::SeqCst) > 0);
            if during == 0 {
                break;
            }
        }
    });
    assert!(beside > 0, "the hostile statements were over before anything was answered beside them");
    let worst = |of: fn(&(Duration, Duration)) -> Duration| {
        let mut all: Vec<_> = waits.iter().map(of).collect();
        all.sort();
        all[all.len() * 99 / 100]
    };
    machine::announce(&format!(
        "beside hostile statements: {} requests and queries; p99 of ingest {:.0?}, of another tenant's query {:.0?}",
        waits.len(),
        worst(|(ingest, _)| *ingest),
        worst(|(_, query)| *query)
    ));
    let left = std::fs::read_dir(home.data().join("spill")).map_or(0, |folders| {
        folders.flatten().filter_map(|folder| std::fs::read_dir(folder.path()).ok()).map(Iterator::count).sum::<usize>()
    });
    assert_eq!(left, 0, "files of ended queries are left");
}
