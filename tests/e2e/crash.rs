//! What was acknowledged survives SIGTERM under load and restarts (`kills.rs`: `kill -9`).

use crate::http::Connection;
use crate::machine;
use crate::protobuf::{export_request, gauge, log, span};
use crate::server::{Home, Server, now_unix_nanos, verify};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);

/// Requests by number: each its own, the same bytes whenever it is sent, three signals in turn.
struct Load {
    started: u64,
}

impl Load {
    fn request(&self, number: u64) -> (&'static str, Vec<u8>) {
        let time = self.started + number * 1_000_000;
        let name = number.to_string();
        match number % 3 {
            0 => {
                // Parent and child in two services are one request each, so links survive crashes in between, too.
                let trace = u128::from(number / 6 + 1).to_be_bytes();
                let this = span(&trace, &(number + 1).to_be_bytes(), &name, time);
                let (service, this) = if number.is_multiple_of(6) {
                    ("caller", this)
                } else {
                    ("callee", this.bytes(4, (number - 2).to_be_bytes()))
                };
                ("/v1/traces", export_request(service, &[this]))
            }
            1 => ("/v1/logs", export_request("caller", &[log(&name, time)])),
            _ => ("/v1/metrics", export_request("caller", &[gauge("number", &[number as f64], time)])),
        }
    }

    /// Sends the numbers `from..until` over four connections; `enough` acknowledgements call `at_enough`, which ends the
    /// server. Gives those acknowledged, and the first number that was not sent.
    fn send(&self, port: u16, from: u64, until: u64, enough: usize, at_enough: impl FnOnce()) -> (BTreeSet<u64>, u64) {
        let next = AtomicU64::new(from);
        let stop = AtomicBool::new(false);
        let (answered, answers) = std::sync::mpsc::channel();
        let mut acknowledged = BTreeSet::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let (answered, stop, next) = (answered.clone(), &stop, &next);
                scope.spawn(move || {
                    let mut connection = Connection::open(port).unwrap();
                    let headers = [("content-type", "application/x-protobuf")];
                    while !stop.load(Ordering::Relaxed) {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= until {
                            return;
                        }
                        let (path, body) = self.request(number);
                        match connection.send("POST", path, &headers, &body) {
                            Ok(answer) if answer.status == 200 => answered.send(number).unwrap(),
                            // A server that drains may say so; the request then counts as not accepted.
                            Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
                            Err(_) => return,
                        }
                    }
                });
            }
            drop(answered);
            let mut at_enough = Some(at_enough);
            for number in answers {
                acknowledged.insert(number);
                if acknowledged.len() >= enough
                    && let Some(at_enough) = at_enough.take()
                {
                    at_enough();
                    stop.store(true, Ordering::Relaxed);
                }
            }
        });
        (acknowledged, next.into_inner())
    }

    /// Sends the numbers `0..until`, all of which must be acknowledged.
    fn send_all(&self, server: &Server, until: u64) {
        let (acknowledged, _) = self.send(server.ports.http, 0, until, usize::MAX, || {});
        assert_eq!(acknowledged.len() as u64, until);
    }

    /// Every acknowledged number is stored, and nothing is stored twice.
    fn assert_stored(&self, server: &Server, acknowledged: &BTreeSet<u64>) {
        let events = server.sql("SELECT coalesce(body, name) FROM events").texts();
        let points = server.sql("SELECT sum(value_count) FROM metrics").number();
        let found: BTreeSet<u64> = events.iter().map(|number| number.parse().unwrap()).collect();
        assert_eq!(found.len(), events.len(), "an event is there twice");
        let missing: Vec<_> = acknowledged.iter().filter(|&&n| n % 3 != 2 && !found.contains(&n)).take(9).collect();
        assert!(missing.is_empty(), "acknowledged and lost: {missing:?}");
        let acknowledged_points = acknowledged.iter().filter(|&&number| number % 3 == 2).count() as i64;
        assert!(points >= acknowledged_points, "{points} points of {acknowledged_points} acknowledged");
    }
}

#[test]
fn sigterm_under_load_drains_ends_with_success_and_keeps_what_was_acknowledged() {
    let _machine = machine::shared();
    let home = Home::new();
    let load = Load { started: now_unix_nanos() };
    let mut server = Some(Server::start(&home));
    let port = server.as_ref().unwrap().ports.http;
    let mut status = None;
    let (acknowledged, _) = load.send(port, 0, u64::MAX, 600, || {
        status = Some(server.take().unwrap().terminate(WITHIN));
    });
    assert!(status.unwrap().success());
    verify(&home.data());
    let server = Server::start(&home);
    load.assert_stored(&server, &acknowledged);
}

#[test]
fn answers_are_the_same_after_an_orderly_restart() {
    let _machine = machine::shared();
    let home = Home::new();
    let load = Load { started: now_unix_nanos() };
    let statements = [
        "SELECT id, timestamp, asset_id, name, body, payload, metadata, created_at FROM events ORDER BY id",
        "SELECT id, timestamp, value_count, value_sum, value_p99, dimensions FROM metrics ORDER BY id",
        "SELECT id, primary_event_id, related_event_id, strength, metadata FROM correlations ORDER BY id",
        "SELECT asset_id, asset_type, created_at FROM asset_metadata ORDER BY asset_id",
        "SELECT * FROM whence.ingest_ledger ORDER BY minute, signal",
    ];
    let ask = |server: &Server| statements.map(|statement| server.sql(statement));
    let server = Server::start(&home);
    load.send_all(&server, 300);
    let calls = "SELECT count(*) FROM correlations";
    let pairs = server.sql("SELECT count(*) FROM events c JOIN events p ON c.parent_event_id = p.id").number();
    crate::sql::eventually(Duration::from_secs(10), || server.sql(calls).number(), |count| *count == pairs);
    let before = ask(&server);
    assert!(server.terminate(WITHIN).success());
    for (before, after) in before.iter().zip(ask(&Server::start(&home))) {
        assert_eq!(*before, after);
    }
}
