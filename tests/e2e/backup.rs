//! Backups under load, restoring elsewhere, in place and to a time, verifying while rows arrive, and upgrades of data that
//! an earlier version wrote.

use crate::http;
use crate::machine;
use crate::protobuf::{export_request, log};
use crate::server::{Home, Server, now_unix_nanos, run, verify, words};
use crate::sql::eventually;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(120);
const LOGS: &str = "SELECT count(*) FROM events";
/// The fixture's events are old enough to be dropped some day.
const KEEP: [&str; 3] = [
    "exporters.hypertables.retention.events=off",
    "exporters.hypertables.retention.metrics=off",
    "exporters.hypertables.retention.correlations=off",
];

fn endpoint(server: &Server) -> String {
    format!("http://127.0.0.1:{}", server.ports.query)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn send_log(port: u16, number: u64) -> bool {
    let body = export_request("caller", &[log(&number.to_string(), now_unix_nanos())]);
    let headers = [("content-type", "application/x-protobuf")];
    matches!(http::request(port, "POST", "/v1/logs", &headers, &body), Ok(answer) if answer.status == 200)
}

fn send_logs(server: &Server, numbers: std::ops::Range<u64>) {
    numbers.for_each(|number| assert!(send_log(server.ports.http, number)));
}

fn well(output: &Output) -> String {
    assert!(output.status.success(), "{}", words(output));
    words(output)
}

/// The copy of one of the fixtures, unpacked.
fn unpacked(home: &Home, name: &str) {
    let fixture = format!("{}/tests/fixtures/format-1/{name}.tar.gz", env!("CARGO_MANIFEST_DIR"));
    let folder = home.data().parent().unwrap().to_owned();
    let done = Command::new("tar").arg("-xzf").arg(fixture).arg("-C").arg(folder).status();
    assert!(done.expect("this test needs tar").success());
}

#[test]
fn a_backup_under_load_is_one_moment_and_restored_elsewhere_it_has_what_was_acknowledged_before() {
    let _machine = machine::shared();
    let (home, other) = (Home::new(), Home::new());
    let server = Server::start(&home);
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let backup = home.file("backup");
    let (before, after) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                assert!(send_log(server.ports.http, sent.load(Ordering::Relaxed)));
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut bounds = (0, 0);
        for _ in 0..3 {
            let enough = sent.load(Ordering::Relaxed) + 50;
            while sent.load(Ordering::Relaxed) < enough {
                std::thread::sleep(Duration::from_millis(5));
            }
            bounds.0 = sent.load(Ordering::Relaxed);
            well(&run(&["backup", &text(&backup), "--endpoint", &endpoint(&server), "--keep", "2"], WITHIN));
            bounds.1 = sent.load(Ordering::Relaxed) + 1;
        }
        stop.store(true, Ordering::Relaxed);
        bounds
    });
    well(&run(&["verify", "--endpoint", &endpoint(&server)], WITHIN));
    let jobs = server.sql("SELECT runs, failures FROM whence.jobs WHERE job = 'backup'");
    assert_eq!(jobs.rows[0].iter().map(crate::sql::whole).collect::<Vec<_>>(), [3, 0]);
    drop(server);

    assert!(well(&run(&["verify", "--backup", &text(&backup)], WITHIN)).contains("whole"));
    well(&run(&["restore", &text(&backup), "--data-dir", &text(&other.data())], WITHIN));
    verify(&other.data());
    let server = Server::start(&other);
    let stored = server.sql(LOGS).number() as u64;
    assert!((before..=after).contains(&stored), "{stored} not in {before}..={after}");
    let [received, stored_by_ledger, ..] = server.ledger("logs");
    assert_eq!((received as u64, stored_by_ledger as u64), (stored, stored));
}

#[test]
fn a_restore_on_a_running_server_to_a_time_leaves_out_what_came_later_and_the_server_goes_on() {
    let _machine = machine::shared();
    let home = Home::new();
    let server = Server::start(&home);
    send_logs(&server, 0..20);
    std::thread::sleep(Duration::from_millis(20));
    let time = server.sql("SELECT now()::text").texts()[0].replace(' ', "T");
    std::thread::sleep(Duration::from_millis(20));
    send_logs(&server, 20..30);
    let backup = home.file("backup");
    // The directory is found in use, so the server is asked.
    let place = ["--data-dir", &text(&home.data()), "--endpoint", &endpoint(&server)].map(str::to_owned);
    let with_place = |words: &[&str]| {
        let all: Vec<&str> = words.iter().copied().chain(place.iter().map(String::as_str)).collect();
        run(&all, WITHIN)
    };
    well(&with_place(&["backup", &text(&backup)]));
    send_logs(&server, 30..40);
    well(&with_place(&["verify"]));
    well(&with_place(&["restore", &text(&backup), "--to", &time]));
    assert_eq!(server.sql(LOGS).number(), 20);
    send_logs(&server, 20..25);
    assert_eq!(server.sql(LOGS).number(), 25, "what was left out may be sent again");
    assert_eq!(server.ledger("logs"), [25, 25, 0, 0, 0]);
    well(&with_place(&["verify"]));
    assert!(server.terminate(WITHIN).success());
    verify(&home.data());
    let replaced = std::fs::read_dir(home.data()).unwrap().map(|entry| entry.unwrap().path());
    let replaced: Vec<PathBuf> = replaced.filter(|path| text(path).contains("replaced-")).collect();
    verify(&replaced[0]);
}

#[test]
fn damage_is_named_and_ends_with_a_failure_on_a_running_server_and_in_a_backup() {
    let _machine = machine::shared();
    let home = Home::new();
    let server = Server::start(&home);
    send_logs(&server, 0..20);
    let backup = home.file("backup");
    well(&run(&["backup", &text(&backup), "--endpoint", &endpoint(&server)], WITHIN));
    let file = server.sql("SELECT file FROM whence.chunks WHERE table_name = 'events'").texts()[0].clone();
    for (folder, arguments) in [
        (home.data(), ["verify".to_owned(), "--endpoint".to_owned(), endpoint(&server)]),
        (backup.clone(), ["verify".to_owned(), "--backup".to_owned(), text(&backup)]),
    ] {
        let path = folder.join(&file);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        std::fs::write(&path, bytes).unwrap();
        let output = run(&arguments.each_ref().map(String::as_str), WITHIN);
        assert!(!output.status.success());
        assert!(words(&output).contains(&file), "{}", words(&output));
    }
    drop(server);
    let other = Home::new();
    let output = run(&["restore", &text(&backup), "--data-dir", &text(&other.data())], WITHIN);
    assert!(!output.status.success() && words(&output).contains(&file), "{}", words(&output));
    let started = run(&["verify", "--data-dir", &text(&other.data())], WITHIN);
    assert!(!started.status.success(), "half a restore must not pass for data");
}

#[test]
fn a_killed_servers_data_can_be_backed_up_without_a_server() {
    let _machine = machine::shared();
    let (home, other) = (Home::new(), Home::new());
    let server = Server::start(&home);
    send_logs(&server, 0..20);
    server.kill();
    let backup = home.file("backup");
    well(&run(&["backup", &text(&backup), "--data-dir", &text(&home.data())], WITHIN));
    well(&run(&["restore", &text(&backup), "--data-dir", &text(&other.data())], WITHIN));
    assert_eq!(Server::start(&other).sql(LOGS).number(), 20);
}

#[test]
fn data_of_the_first_format_is_upgraded_whether_its_server_was_stopped_or_killed() {
    let _machine = machine::shared();
    for name in ["stopped", "killed"] {
        let home = Home::new();
        unpacked(&home, name);
        verify(&home.data());
        let server = Server::start_with(&home, &KEEP);
        assert!(server.output().contains("upgraded from on-disk format 1"), "{}", server.output());
        let counts = "SELECT (SELECT count(*) FROM events) AS events, (SELECT count(*) FROM metrics) AS metrics, \
                      (SELECT count(*) FROM asset_metadata) AS assets";
        let counts: Vec<i64> = server.sql(counts).rows[0].iter().map(crate::sql::whole).collect();
        assert_eq!(counts, [22, 10, 7], "{name}");
        let links = || server.sql("SELECT count(*) FROM correlations").number();
        eventually(Duration::from_secs(60), links, |links| *links == 11);
        send_logs(&server, 0..5);
        assert_eq!(server.sql(LOGS).number(), 27);
        assert!(server.terminate(WITHIN).success());
        verify(&home.data());
        assert_ne!(std::fs::read_to_string(home.data().join("format")).unwrap().trim(), "1");
    }
}

#[test]
fn data_of_a_newer_format_is_refused_with_both_numbers_and_left_alone() {
    let _machine = machine::shared();
    let home = Home::new();
    assert!(Server::start(&home).terminate(WITHIN).success());
    let known = std::fs::read_to_string(home.data().join("format")).unwrap();
    std::fs::write(home.data().join("format"), "99\n").unwrap();
    let path = format!("exporters.hypertables.path={}", text(&home.data()));
    let settings = crate::server::Ports::free().settings();
    let mut arguments = vec!["serve", "--set", path.as_str()];
    arguments.extend(settings.iter().map(String::as_str));
    let output = run(&arguments, WITHIN);
    assert!(!output.status.success());
    for part in ["format 99", &format!("up to {}", known.trim()), "newer whence"] {
        assert!(words(&output).contains(part), "{part}: {}", words(&output));
    }
    assert_eq!(std::fs::read_to_string(home.data().join("format")).unwrap(), "99\n");
}

#[test]
fn other_hosts_names_and_requests_that_are_no_json_are_refused_at_the_admin_routes() {
    let _machine = machine::shared();
    let server = Server::start(&Home::new());
    let ask = |headers: &[(&str, &str)]| {
        http::request(server.ports.query, "POST", "/v1/admin/verify", headers, b"{}").unwrap().status
    };
    assert_eq!(ask(&[("content-type", "text/plain")]), 415);
    assert_eq!(ask(&[("content-type", "application/json")]), 200);
}

#[test]
fn ports_open_after_recovery_and_health_tells_how_far_it_is() {
    let _machine = machine::shared();
    let home = Home::new();
    let server = Server::start(&home);
    let item = log(&"x".repeat(2_000), now_unix_nanos());
    for number in 0..300 {
        let mut items = vec![item.clone(); 100];
        items.push(log(&number.to_string(), now_unix_nanos()));
        let body = export_request("caller", &items);
        assert_eq!(server.post("/v1/logs", "application/x-protobuf", &body).status, 200);
    }
    server.kill();
    let halfway = |value: &serde_json::Value| value["percent"].as_u64().is_some_and(|percent| percent < 100);
    let mut seen = Vec::new();
    let server = Server::start_watching(&home, &[], |ports, _| {
        // In this order: what health says is not older than what the port did.
        let open = std::net::TcpStream::connect(("127.0.0.1", ports.http)).is_ok();
        let Ok(answer) = http::request(ports.health, "GET", "/", &[], &[]) else { return };
        if answer.status == 503 {
            let value = answer.json();
            assert!(!open || !halfway(&value), "open before recovery: {value}");
            assert_eq!(value["status"], "recovering");
            seen.push(value);
        }
    });
    assert!(!seen.is_empty(), "recovery ended before health was asked once");
    assert!(seen.iter().any(halfway), "{seen:?}");
    assert_eq!(server.sql(LOGS).number(), 300 * 101);
}
