//! `kill -9` at random moments, at full speed: what was acknowledged is there, once.
//!
//! `tests/soak/kill9` runs more rounds. `WHENCE_SEED` repeats the moments of an earlier run (not its interleavings).

use crate::http::Connection;
use crate::machine;
use crate::protobuf::{export_request, gauge, log, span};
use crate::server::{Home, Server, now_unix_nanos, verify};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_secs(60);
/// Items of a request.
const ITEMS: u64 = 20;
const CONNECTIONS: usize = 8;

/// A sender that repeats what was not acknowledged. A request is its number: the same bytes whenever it is sent, three
/// signals in turn.
struct Sender {
    started: u64,
    state: Mutex<Sent>,
}

#[derive(Default)]
struct Sent {
    next: u64,
    /// To be sent again before anything new.
    unanswered: Vec<u64>,
    acknowledged: BTreeSet<u64>,
}

impl Sender {
    fn request(&self, number: u64) -> (&'static str, Vec<u8>) {
        let time = self.started + number * 1_000_000;
        let name = number.to_string();
        let items = 0..ITEMS;
        match number % 3 {
            0 => {
                // Parents and children are of one request each, so links survive kills in between, too.
                let trace = u128::from(number / 6 + 1).to_be_bytes();
                let id = |number: u64, item: u64| (number * ITEMS + item + 1).to_be_bytes();
                let parents = number.is_multiple_of(6);
                let spans: Vec<_> = items
                    .map(|item| {
                        let span = span(&trace, &id(number, item), &name, time);
                        if parents { span } else { span.bytes(4, id(number - 3, item)) }
                    })
                    .collect();
                ("/v1/traces", export_request(if parents { "caller" } else { "callee" }, &spans))
            }
            1 => ("/v1/logs", export_request("caller", &items.map(|item| log(&name, time + item)).collect::<Vec<_>>())),
            _ => {
                let values: Vec<f64> = items.map(|item| (number + item) as f64).collect();
                ("/v1/metrics", export_request("caller", &[gauge("number", &values, time)]))
            }
        }
    }

    /// Sends as fast as the server answers until `stop`, or until everything below `until` has been acknowledged.
    fn send(&self, port: u16, until: u64, stop: &AtomicBool) {
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS {
                scope.spawn(|| {
                    // A server that is not ready yet, or was killed, takes no connection.
                    let Ok(mut connection) = Connection::open(port) else { return };
                    while !stop.load(Ordering::Relaxed) {
                        let Some(number) = self.take(until) else { return };
                        let (path, body) = self.request(number);
                        let answer =
                            connection.send("POST", path, &[("content-type", "application/x-protobuf")], &body);
                        let mut state = self.state.lock().unwrap();
                        match answer {
                            Ok(answer) if answer.status == 200 => drop(state.acknowledged.insert(number)),
                            Ok(answer) => {
                                assert_eq!(answer.status, 503, "{}", answer.text());
                                state.unanswered.push(number);
                            }
                            Err(_) => {
                                state.unanswered.push(number);
                                return;
                            }
                        }
                    }
                });
            }
        });
    }

    fn take(&self, until: u64) -> Option<u64> {
        let mut state = self.state.lock().unwrap();
        let again = state.unanswered.pop();
        if again.is_some() || state.next >= until {
            return again;
        }
        state.next += 1;
        Some(state.next - 1)
    }

    /// Every acknowledged request is stored whole and once; one that was not is stored whole and once, or not at all.
    fn check(&self, server: &Server) {
        let state = self.state.lock().unwrap();
        let requests = "SELECT coalesce(body, name) AS request, count(*) AS items FROM events GROUP BY 1";
        let torn = server.sql(&format!("SELECT * FROM ({requests}) WHERE items <> {ITEMS} LIMIT 9")).rows;
        assert!(torn.is_empty(), "stored in part or twice (request, items): {torn:?}");
        // As one text, since answers have a limit of rows.
        let found = server.sql(&format!("SELECT coalesce(string_agg(request, ','), '') FROM ({requests})"));
        let found: BTreeSet<u64> =
            found.only().as_str().unwrap().split_terminator(',').map(|number| number.parse().unwrap()).collect();
        let lost: Vec<_> = state.acknowledged.iter().filter(|&&n| n % 3 != 2 && !found.contains(&n)).take(9).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let points = server.sql("SELECT coalesce(sum(value_count), 0) FROM metrics").number();
        let acknowledged = state.acknowledged.iter().filter(|&&n| n % 3 == 2).count() as i64 * ITEMS as i64;
        let most = acknowledged + state.unanswered.iter().filter(|&&n| n % 3 == 2).count() as i64 * ITEMS as i64;
        assert!((acknowledged..=most).contains(&points), "{points} points, of {acknowledged} to {most}");
        for signal in ["traces", "logs", "metrics"] {
            let [received, stored, duplicate, rejected, dropped] = server.ledger(signal);
            assert_eq!((received, rejected, dropped), (stored + duplicate, 0, 0), "{signal}");
        }
    }
}

/// A number below `limit` (SplitMix64).
fn below(random: &mut u64, limit: u64) -> u64 {
    *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *random;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % limit
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}: not a number")))
}

#[test]
fn kills_at_random_moments_at_full_speed_lose_nothing_acknowledged_and_double_nothing() {
    let _machine = machine::shared();
    let rounds = number_from("WHENCE_KILLS").unwrap_or(3);
    let mut random = number_from("WHENCE_SEED").unwrap_or_else(now_unix_nanos);
    machine::announce(&format!("{rounds} kills at random moments: WHENCE_SEED={random} repeats them"));
    let home = Home::new();
    let sender = Sender { started: now_unix_nanos(), state: Mutex::default() };
    for round in 1..=rounds {
        if below(&mut random, 4) == 0 {
            // While it starts, most likely while it replays its log.
            let server = Server::spawn(&home, &[]);
            std::thread::sleep(Duration::from_millis(below(&mut random, 400)));
            server.kill();
        }
        let begun = Instant::now();
        let server = Server::start(&home);
        let ready = begun.elapsed();
        sender.check(&server);
        let alive = Duration::from_millis(30 + below(&mut random, 2_500));
        let (port, stop) = (server.ports.http, AtomicBool::new(false));
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| sender.send(port, u64::MAX, &stop));
            std::thread::sleep(alive);
            // The senders stop only because nobody answers any more.
            server.kill();
            stop.store(true, Ordering::Relaxed);
            sending.join().unwrap();
        });
        verify(&home.data());
        let state = sender.state.lock().unwrap();
        let (acknowledged, unanswered) = (state.acknowledged.len(), state.unanswered.len());
        machine::announce(&format!(
            "kill {round} after {alive:?}: {acknowledged} requests acknowledged, {unanswered} unanswered; ready in {ready:?}"
        ));
    }
    finish(&home, &sender);
}

/// Everything is sent to its end, and once more; then all of it is there once, with its links.
fn finish(home: &Home, sender: &Sender) {
    let server = Server::start(home);
    sender.check(&server);
    let stop = AtomicBool::new(false);
    let until = sender.state.lock().unwrap().next.next_multiple_of(6);
    sender.send(server.ports.http, until, &stop);
    {
        let mut state = sender.state.lock().unwrap();
        assert_eq!((state.acknowledged.len() as u64, state.unanswered.len()), (until, 0));
        state.unanswered = (0..until).collect();
    }
    sender.send(server.ports.http, until, &stop);
    sender.check(&server);
    let items = until / 3 * ITEMS;
    for signal in ["traces", "logs", "metrics"] {
        let [_, stored, duplicate, ..] = server.ledger(signal);
        assert!(stored == items as i64 && duplicate >= stored, "{signal}: {stored} stored, {duplicate} duplicate");
    }
    let calls =
        "SELECT count(*), count(DISTINCT related_event_id) FROM correlations WHERE metadata->>'relation' = 'call'";
    let pairs = until / 6 * ITEMS;
    crate::sql::eventually(
        Duration::from_secs(60),
        || server.sql(calls).rows,
        |rows| rows[0].iter().all(|count| crate::sql::whole(count) == pairs as i64),
    );
    assert!(server.terminate(WITHIN).success());
    verify(&home.data());
}
