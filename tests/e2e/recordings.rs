//! A recording of a real system's faults, stored exactly: its numbers, and every call between services as a link.

use crate::http::Connection;
use crate::machine;
use crate::recording::{self, Counts};
use crate::server::{Home, Server, run, verify, words};
use crate::sql::eventually;
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

const TRAINTICKET: &str = "trainticket-2023-01-29.otlp.jsonl.zst";
const TRAINTICKET_COUNTS: Counts = Counts { spans: 325_859, logs: 175_211, points: 762_964 };
/// Spans whose parent is in another service.
const TRAINTICKET_CALLS: usize = 51_422;

/// The recording, or a loud word that it is not there.
fn trainticket() -> Option<std::path::PathBuf> {
    let file = recording::find(TRAINTICKET);
    if file.is_none() {
        machine::announce(&format!(
            "SKIPPED: {TRAINTICKET} is not in ../shared/incidents beside the checkout; set WHENCE_SHARED to test with it"
        ));
    }
    file
}

/// What the server holds, as a user asks for it.
fn stored(server: &Server) -> Counts {
    let events = server.sql("SELECT signal, count(*) FROM events GROUP BY signal ORDER BY signal");
    let of = |signal: &str| {
        let row = events.rows.iter().find(|row| row[0] == signal);
        row.map_or(0, |row| crate::sql::whole(&row[1])) as u64
    };
    let points = server.sql("SELECT sum(value_count) FROM metrics WHERE time_bucket = INTERVAL '1 minute'").number();
    Counts { spans: of("span"), logs: of("log"), points: points as u64 }
}

fn replay(server: &Server, file: &Path) {
    let start = Instant::now();
    let file = file.display().to_string();
    let arguments = ["replay", &file, "--endpoint", &server.grpc_endpoint(), "--protocol", "grpc"];
    let output = run(&arguments, Duration::from_secs(900));
    assert!(output.status.success(), "{}", words(&output));
    machine::announce(&format!("replayed in {:.1} s", start.elapsed().as_secs_f64()));
}

/// Replayed over gRPC twice, restarted in between and after: the same exact numbers, and exactly one link of the right
/// direction for each call between services that the file holds.
#[test]
fn a_recording_is_stored_and_linked_exactly_however_often_it_is_sent() {
    let Some(file) = trainticket() else { return };
    let _machine = machine::alone();
    let expected = recording::contents(&file);
    assert_eq!((expected.counts, expected.calls.len()), (TRAINTICKET_COUNTS, TRAINTICKET_CALLS));

    let home = Home::new();
    let server = Server::start(&home);
    replay(&server, &file);
    assert_eq!(stored(&server), TRAINTICKET_COUNTS);
    links_are_those_of_the_recording(&server, &expected);

    replay(&server, &file);
    assert_eq!(stored(&server), TRAINTICKET_COUNTS);
    ledger_says_once_stored_once_duplicate(&server);
    assert!(server.terminate(Duration::from_secs(120)).success());
    verify(&home.data());

    let server = Server::start(&home);
    assert_eq!(stored(&server), TRAINTICKET_COUNTS);
    links_are_those_of_the_recording(&server, &expected);
    assert_eq!(server.sql("SELECT count(*) FROM asset_metadata").number(), 46);
}

fn links_are_those_of_the_recording(server: &Server, expected: &recording::Contents) {
    let calls = "SELECT count(*) FROM correlations WHERE metadata->>'relation' = 'call'";
    let wanted = expected.calls.len() as i64;
    // Links become visible within 5 s of the later end; an unoptimised build may be some seconds behind a full replay.
    let (_, lag) = eventually(Duration::from_secs(30), || server.sql(calls).number(), |found| *found >= wanted);
    machine::announce(&format!("{wanted} calls linked {:.1} s after the last answer", lag.as_secs_f64()));

    let rows = server.sql(
        "SELECT primary_event_id, related_event_id FROM correlations \
         WHERE correlation_type = 'causal' AND metadata->>'relation' = 'call'",
    );
    assert_eq!(rows.rows.len() as i64, wanted, "one row for each call");
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let found: HashSet<(String, String)> = rows.rows.iter().map(|row| (text(&row[0]), text(&row[1]))).collect();
    let missing: Vec<_> = expected.calls.difference(&found).take(5).collect();
    let invented: Vec<_> = found.difference(&expected.calls).take(5).collect();
    assert!(missing.is_empty() && invented.is_empty(), "missing (parent, child) {missing:?}; invented {invented:?}");

    let logs = "SELECT count(*) FROM correlations WHERE metadata->>'relation' = 'log_in_span'";
    assert_eq!(server.sql(logs).number(), expected.loud_logs as i64);
    let joined = "SELECT count(*) FROM correlations c JOIN events p ON c.primary_event_id = p.id \
                  JOIN events r ON c.related_event_id = r.id \
                  WHERE c.metadata->>'relation' = 'call' AND p.asset_id <> r.asset_id AND r.parent_event_id = p.id";
    assert_eq!(server.sql(joined).number(), wanted);
}

fn ledger_says_once_stored_once_duplicate(server: &Server) {
    for (signal, count) in [("traces", 325_859), ("logs", 175_211), ("metrics", 762_964)] {
        assert_eq!(server.ledger(signal), [2 * count, count, count, 0, 0], "{signal}");
    }
}

/// `kill -9` at full speed, three times at different places: after each restart everything acknowledged is there, and
/// sending the recording again gives its exact numbers and links. With little memory, so that chunks are written and
/// published all the while.
#[test]
fn kills_in_the_middle_of_a_recording_lose_nothing_acknowledged_and_double_nothing() {
    let Some(file) = trainticket() else { return };
    let _machine = machine::alone();
    let home = Home::new();
    let settings = ["exporters.hypertables.memory_mib=256"];
    let mut least = Counts::default();
    for acknowledged_lines in [1_000, 2_200, 3_300] {
        let mut server = Some(Server::start_with(&home, &settings));
        let port = server.as_ref().unwrap().ports.http;
        let killed = AtomicBool::new(false);
        let sent = send_recording(&file, port, &killed, |acknowledged| {
            if acknowledged == acknowledged_lines {
                killed.store(true, Ordering::Relaxed);
                server.take().unwrap().kill();
            }
        });
        assert!(server.is_none(), "the recording was over before the kill");

        let there = stored(&Server::start_with(&home, &settings));
        machine::announce(&format!("killed: {:?} acknowledged, {there:?} there after the restart", sent.acknowledged));
        // What an earlier round left unanswered may be there as well.
        let within = |there: u64, acknowledged: u64, unanswered: u64, least: u64| {
            (acknowledged.max(least)..=acknowledged.max(least) + unanswered).contains(&there)
        };
        let (acknowledged, unanswered) = (sent.acknowledged, sent.unanswered);
        assert!(within(there.spans, acknowledged.spans, unanswered.spans, least.spans), "{there:?} {sent:?} {least:?}");
        assert!(within(there.logs, acknowledged.logs, unanswered.logs, least.logs), "{there:?} {sent:?} {least:?}");
        assert!(
            within(there.points, acknowledged.points, unanswered.points, least.points),
            "{there:?} {sent:?} {least:?}"
        );
        least = there;
    }

    let server = Server::start_with(&home, &settings);
    let again = send_recording(&file, server.ports.http, &AtomicBool::new(false), |_| {});
    assert_eq!(again.acknowledged, TRAINTICKET_COUNTS);
    assert_eq!(stored(&server), TRAINTICKET_COUNTS);
    links_are_those_of_the_recording(&server, &recording::contents(&file));
    assert!(server.terminate(Duration::from_secs(120)).success());
    verify(&home.data());
}

#[derive(Debug, Default)]
struct Sent {
    acknowledged: Counts,
    /// Sent, but the connection ended before the answer.
    unanswered: Counts,
}

/// Sends line by line over four connections of OTLP/HTTP with JSON. Tells how many requests were acknowledged after
/// each; ends early when connections fail after `may_fail` is set.
fn send_recording(file: &Path, port: u16, may_fail: &AtomicBool, mut acknowledged: impl FnMut(usize)) -> Sent {
    let (give, take) = mpsc::sync_channel::<String>(16);
    let take = Mutex::new(take);
    let (answered, answers) = mpsc::channel::<(Counts, bool)>();
    let mut sent = Sent::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (take, answered) = (&take, answered.clone());
            scope.spawn(move || {
                let mut connection = Connection::open(port).unwrap();
                loop {
                    let Ok(line) = take.lock().unwrap().recv() else { return };
                    let outcome = send_line(&mut connection, &line);
                    answered.send((recording::counts(&line), outcome.is_ok())).unwrap();
                    if let Err(error) = outcome {
                        assert!(may_fail.load(Ordering::Relaxed), "before the kill: {error}");
                        return;
                    }
                }
            });
        }
        drop(answered);
        scope.spawn(move || {
            // Fails when all connections are gone.
            recording::lines(file).try_for_each(|line| give.send(line)).ok();
        });
        let mut count = 0;
        for (counts, success) in answers {
            if success {
                sent.acknowledged += counts;
                count += 1;
                acknowledged(count);
            } else {
                sent.unanswered += counts;
            }
        }
        // When the connections ended early, lines are still waiting: the reader of the file must not wait for ever.
        while take.lock().unwrap_or_else(PoisonError::into_inner).recv().is_ok() {}
    });
    sent
}

fn send_line(connection: &mut Connection, line: &str) -> io::Result<()> {
    let headers = [("content-type", "application/json")];
    let answer = connection.send("POST", recording::path(line), &headers, line.as_bytes())?;
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
    Ok(())
}
