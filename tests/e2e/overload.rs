//! More load than the machine can take: memory stays bounded, what is acknowledged is stored, what is refused is told so.

use crate::http::Connection;
use crate::machine;
use crate::protobuf::{export_request, log};
use crate::server::{Home, Server, now_unix_nanos, verify};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const BUDGET_MIB: u64 = 64;
/// What the process takes beside its budget: itself, its threads, answers under way.
const BESIDE_MIB: u64 = 128;
const RECORDS: u64 = 1_000;
const SENDERS: u64 = 48;

/// How long the flood lasts, in seconds; `WHENCE_OVERLOAD_SECONDS` makes it longer.
fn seconds() -> u64 {
    std::env::var("WHENCE_OVERLOAD_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// A request of log records that differ from all others, some 300 bytes each.
fn request(sender: u64, number: u64, time: u64) -> Vec<u8> {
    let filler = "x".repeat(200);
    let logs: Vec<_> = (0..RECORDS).map(|i| log(&format!("{sender} {number} {i} {filler}"), time + i)).collect();
    export_request("flood", &logs)
}

#[derive(Default)]
struct Seen {
    acknowledged: AtomicU64,
    refused: AtomicU64,
}

fn send_until_told(port: u16, sender: u64, stop: &AtomicBool, seen: &Seen) {
    let mut connection = Connection::open(port).unwrap();
    let headers = [("content-type", "application/x-protobuf")];
    let start = now_unix_nanos();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let body = request(sender, number, start);
        match connection.send("POST", "/v1/logs", &headers, &body) {
            Ok(answer) if answer.status == 200 => seen.acknowledged.fetch_add(RECORDS, Ordering::Relaxed),
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{}", answer.text());
                let wait: u64 = answer.header("retry-after").expect("told when to come back").parse().unwrap();
                assert!((1..=30).contains(&wait), "{wait}");
                // A sender that does not listen: the next request comes at once.
                seen.refused.fetch_add(RECORDS, Ordering::Relaxed)
            }
            // A refusal before the body was read whole may close the connection.
            Err(_) => {
                connection = Connection::open(port).unwrap();
                0
            }
        };
    }
}

#[test]
fn a_flood_is_refused_in_words_within_the_memory_budget_and_everything_acknowledged_is_stored() {
    let _machine = machine::alone();
    let home = Home::new();
    let budget = format!("exporters.hypertables.memory_mib={BUDGET_MIB}");
    let server = Server::start_with(&home, &[&budget]);
    let (stop, seen) = (AtomicBool::new(false), Seen::default());
    let mut peak = 0;
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (port, stop, seen) = (server.ports.http, &stop, &seen);
            scope.spawn(move || send_until_told(port, sender, stop, seen));
        }
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(seconds()) {
            peak = peak.max(server.anonymous_memory_mib());
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (acknowledged, refused) = (seen.acknowledged.into_inner(), seen.refused.into_inner());
    machine::announce(&format!("flood: {acknowledged} acknowledged, {refused} refused, peak {peak} MiB"));
    assert!(acknowledged > 0);
    assert!(peak <= BUDGET_MIB + BESIDE_MIB, "{peak} MiB with a budget of {BUDGET_MIB}");

    // Service is normal again: nothing of this is refused.
    std::thread::sleep(Duration::from_secs(2));
    for number in 0..20 {
        let answer = server.post("/v1/logs", "application/x-protobuf", &request(SENDERS, number, now_unix_nanos()));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let stored = server.sql("SELECT count(*) FROM events").number() as u64;
    // A request whose answer was lost with its connection may be stored; one that was acknowledged must be.
    assert!(stored >= acknowledged + 20 * RECORDS, "{stored} stored, {acknowledged} acknowledged");
    assert_eq!(server.ledger("logs")[1] as u64, stored);
    assert!(server.terminate(Duration::from_secs(60)).success());
    verify(&home.data());
}
