//! Tables in a bucket of a real S3-protocol server: what a folder promises holds there too, and a bucket that is away,
//! slow, failing or silent loses and doubles nothing.

use crate::http::{Answer, Connection, request};
use crate::machine;
use crate::protobuf::{export_request, gauge, log, span};
use crate::s3::{Bucket, Fault};
use crate::server::{Home, Server, now_unix_nanos};
use crate::sql::eventually;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Long, for machines that have much else to do: rows may first go to chunks a minute after they came.
const WITHIN: Duration = Duration::from_secs(180);
/// Log records of a request; large enough that memtables fill up within seconds.
const RECORDS: u64 = 200;

/// How long the bucket fails altogether. `WHENCE_TEST_OUTAGE_SECONDS=60` for the full length.
fn outage() -> Duration {
    let seconds = std::env::var("WHENCE_TEST_OUTAGE_SECONDS").map_or(16, |seconds| seconds.parse().unwrap());
    Duration::from_secs(seconds)
}

fn start(home: &Home, bucket: &Bucket, cache_mib: u32) -> Server {
    let settings = bucket.settings(home, cache_mib);
    Server::start_with(home, &settings.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Requests by number, each its own: log records in most, a parent and its child, or a point.
fn numbered(started: u64, number: u64) -> (&'static str, Vec<u8>) {
    let time = started + number * 1_000_000;
    match number % 4 {
        0 => {
            let trace = u128::from(number + 1).to_be_bytes();
            let parent = span(&trace, &(2 * number + 1).to_be_bytes(), "parent", time);
            let child = span(&trace, &(2 * number + 2).to_be_bytes(), "child", time);
            let mut body = export_request("caller", &[parent]);
            body.extend(export_request("callee", &[child.bytes(4, (2 * number + 1).to_be_bytes())]));
            ("/v1/traces", body)
        }
        1 => ("/v1/metrics", export_request("caller", &[gauge("number", &[number as f64], time)])),
        _ => {
            let text = |record: u64| format!("{number}-{record} {}", noise(number * RECORDS + record));
            let records: Vec<_> = (0..RECORDS).map(|record| log(&text(record), time + record)).collect();
            ("/v1/logs", export_request("caller", &records))
        }
    }
}

/// Some 250 characters that do not compress to much less than half of that.
fn noise(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..16).map(|_| format!("{:016x}", step())).collect()
}

/// What `requests` numbered requests come to: spans, log records, points.
fn expected(requests: u64) -> [i64; 3] {
    let of = |residue: u64| (0..requests).filter(|number| number % 4 == residue).count() as i64;
    [2 * of(0), (of(2) + of(3)) * RECORDS as i64, of(1)]
}

/// Sends numbers from `next` on until told to stop; every one must be accepted.
fn send(port: u16, started: u64, next: &AtomicU64, stop: &AtomicBool, pause: Duration) {
    let mut connection = Connection::open(port).unwrap();
    while !stop.load(Ordering::Relaxed) {
        let (path, body) = numbered(started, next.fetch_add(1, Ordering::Relaxed));
        let headers = [("content-type", "application/x-protobuf")];
        let answer = connection.send("POST", path, &headers, &body).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        std::thread::sleep(pause);
    }
}

fn send_numbers(server: &Server, started: u64, from: u64, until: u64) {
    for number in from..until {
        let (path, body) = numbered(started, number);
        let answer = server.post(path, "application/x-protobuf", &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

fn counts(server: &Server) -> [i64; 3] {
    [
        server.sql("SELECT count(*) FROM events WHERE signal = 'span'").number(),
        server.sql("SELECT count(*) FROM events WHERE signal = 'log'").number(),
        server.sql("SELECT coalesce(sum(value_count), 0) FROM metrics").number(),
    ]
}

fn links(server: &Server) -> i64 {
    server.sql("SELECT count(*) FROM correlations").number()
}

fn as_deltalake(counts: [i64; 3], links: i64) -> Value {
    let [spans, logs, points] = counts;
    json!({"events": {"span": spans, "log": logs}, "points": points, "correlations": links})
}

fn own_metric(server: &Server, name: &str) -> f64 {
    let text = request(server.ports.metrics, "GET", "/metrics", &[], &[]).unwrap().text();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("no {name} in:\n{text}"))
}

fn health(server: &Server) -> Answer {
    request(server.ports.health, "GET", "/", &[], &[]).unwrap()
}

#[test]
fn a_bucket_keeps_what_was_acknowledged_over_kills_and_deltalake_and_an_empty_folder_find_it() {
    let _machine = machine::shared();
    let (bucket, home, started) = (Bucket::start(), Home::new(), now_unix_nanos());
    let mut next = 0;
    for _ in 0..2 {
        let server = start(&home, &bucket, 64);
        assert_eq!(counts(&server), expected(next));
        send_numbers(&server, started, next, next + 120);
        next += 120;
        server.kill();
    }
    let server = start(&home, &bucket, 64);
    send_numbers(&server, started, 0, next);
    assert_eq!(counts(&server), expected(next), "sent again, stored once");
    let pairs = expected(next)[0] / 2;
    eventually(WITHIN, || links(&server), |links| *links == pairs);
    assert_eq!(health(&server).json()["bucket"], "answers");
    assert!(server.terminate(WITHIN).success());
    assert_eq!(bucket.counted_by_deltalake(), as_deltalake(expected(next), pairs));

    let server = start(&home, &bucket, 64);
    assert_eq!((counts(&server), links(&server)), (expected(next), pairs));
    assert!(server.terminate(WITHIN).success());
    let empty = Home::new();
    let server = start(&empty, &bucket, 64);
    assert_eq!((counts(&server), links(&server)), (expected(next), pairs));
    for part in ["taken over", "ledger", "not yet committed"] {
        assert!(server.output().contains(part), "does not say {part}:\n{}", server.output());
    }
    assert!(!server.output().contains("test-secret"));
    assert!(own_metric(&server, "whence_bucket_downloaded_bytes_total") > 0.0);
    assert!(server.terminate(WITHIN).success());
}

#[test]
fn a_bucket_that_fails_under_load_is_ridden_out_and_everything_is_committed_once() {
    let _machine = machine::shared();
    let (bucket, home, started) = (Bucket::start(), Home::new(), now_unix_nanos());
    let server = start(&home, &bucket, 64);
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let port = server.ports.http;
        let (sent, stopped) = (&next, &stop);
        scope.spawn(move || send(port, started, sent, stopped, Duration::from_millis(20)));
        let _stop = StopWhenDropped(&stop);
        eventually(WITHIN, || own_metric(&server, "whence_commits_total"), |commits| *commits >= 1.0);
        let faults = [Fault::Away, Fault::Errors, Fault::AnswersLost, Fault::Slow(Duration::from_secs(8))];
        for fault in faults {
            bucket.set(fault);
            if fault == Fault::Away {
                let failed = || own_metric(&server, "whence_bucket_failed_requests_total");
                eventually(WITHIN, failed, |failed| *failed >= 1.0);
            }
            let until = Instant::now() + outage() / faults.len() as u32;
            while Instant::now() < until {
                assert_eq!(health(&server).status, 200);
                let seen = next.load(Ordering::Relaxed).saturating_sub(2);
                assert!(counts(&server)[1] >= expected(seen)[1], "what was acknowledged is seen meanwhile");
                std::thread::sleep(Duration::from_millis(500));
            }
        }
        let limit = own_metric(&server, "whence_memory_limit_bytes");
        assert!(own_metric(&server, "whence_memory_bytes") < limit, "memory is freed without the bucket");
        bucket.set(Fault::None);
        let before = own_metric(&server, "whence_commits_total");
        eventually(WITHIN, || own_metric(&server, "whence_commits_total"), |commits| *commits > before);
    });
    let sent = next.into_inner();
    machine::announce(&format!("{sent} requests while the bucket failed for {:?}", outage()));
    assert_eq!(counts(&server), expected(sent));
    assert_eq!(own_metric(&server, "whence_bucket_available"), 1.0);
    eventually(WITHIN, || links(&server), |links| *links == expected(sent)[0] / 2);
    let [received, stored, ..] = server.ledger("logs");
    assert_eq!([received, stored], [expected(sent)[1]; 2]);
    assert!(server.terminate(WITHIN).success());
    assert_eq!(bucket.counted_by_deltalake(), as_deltalake(expected(sent), expected(sent)[0] / 2));
}

/// A thread that sends ends also when an assertion fails.
struct StopWhenDropped<'a>(&'a AtomicBool);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_stop_and_a_start_while_the_bucket_is_away_lose_nothing() {
    let _machine = machine::shared();
    let (bucket, home, started) = (Bucket::start(), Home::new(), now_unix_nanos());
    let server = start(&home, &bucket, 64);
    send_numbers(&server, started, 0, 40);
    bucket.set(Fault::Away);
    send_numbers(&server, started, 40, 80);
    assert!(!server.terminate(WITHIN).success(), "the end was not a clean one");

    let away = bucket.requests();
    std::thread::scope(|scope| {
        let starting = scope.spawn(|| start(&home, &bucket, 64));
        eventually(WITHIN, || bucket.requests(), |requests| *requests > away + 4);
        assert!(!starting.is_finished(), "nothing is served before the bucket answers");
        bucket.set(Fault::None);
        let server = starting.join().unwrap();
        assert_eq!(counts(&server), expected(80));
        assert!(server.terminate(WITHIN).success());
    });
    assert_eq!(bucket.counted_by_deltalake()["events"]["log"], expected(80)[1]);
}

#[test]
fn chunks_beyond_the_cache_are_fetched_and_without_the_bucket_only_they_are_missed() {
    let _machine = machine::shared();
    let (bucket, home, started) = (Bucket::start(), Home::new(), now_unix_nanos());
    let server = start(&home, &bucket, 64);
    send_numbers(&server, started, 0, 80);
    assert!(server.terminate(WITHIN).success());

    // Looking for incidents would fetch the chunks of the last hour before anybody asks.
    let home = Home::new();
    let mut settings = bucket.settings(&home, 1);
    settings.push("exporters.hypertables.incidents.watch=false".to_owned());
    let server = Server::start_with(&home, &settings.iter().map(String::as_str).collect::<Vec<_>>());
    send_numbers(&server, started, 80, 84);
    bucket.set(Fault::Away);
    let answer = server.sql_answer("SELECT count(*), max(body) FROM events");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.json()["error"]["code"], "58030", "{}", answer.text());
    let recent = format!(
        "SELECT count(*) FROM events WHERE signal = 'log' AND timestamp >= to_timestamp_nanos({})",
        started + 81 * 1_000_000
    );
    assert_eq!(server.sql(&recent).number(), 2 * RECORDS as i64, "rows on local disk are read");
    bucket.set(Fault::Slow(Duration::from_millis(200)));
    assert_eq!(counts(&server), expected(84));
    bucket.set(Fault::None);
    assert!(server.terminate(WITHIN).success());
}

#[test]
fn folders_and_buckets_that_do_not_belong_together_are_refused() {
    let _machine = machine::shared();
    let (bucket, home, folder) = (Bucket::start(), Home::new(), Home::new());
    drop(start(&home, &bucket, 64));
    drop(Server::start(&folder));
    let refused = |arguments: &[String]| {
        let ports = crate::server::Ports::free().settings();
        let mut all: Vec<&str> = vec!["serve"];
        all.extend(ports.iter().map(String::as_str));
        all.extend(arguments.iter().flat_map(|setting| ["--set", setting.as_str()]));
        let output = crate::server::run(&all, WITHIN);
        assert!(!output.status.success());
        crate::server::words(&output)
    };
    let local = refused(&[format!("exporters.hypertables.path={}", home.data().display())]);
    assert!(local.contains("its tables are in s3://telemetry/whence/tests/"), "{local}");
    let mixed = refused(&bucket.settings(&folder, 64));
    assert!(mixed.contains("tables of its own"), "{mixed}");
    let mut wrong = bucket.settings(&home, 64);
    wrong.push("exporters.hypertables.s3.allow_http=false".to_owned());
    let wrong = refused(&wrong);
    assert!(wrong.contains("exporters.hypertables.s3.endpoint") && wrong.contains("allow_http: true"), "{wrong}");
}
