//! Starting, configuring and stopping: what is refused, and what is said about it.

use crate::machine::{self, free_port};
use crate::server::{Home, Ports, Server, run, verify, whence, words};
use std::process::Stdio;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

#[test]
fn an_address_off_loopback_without_keys_does_not_start_unless_told_so() {
    let _machine = machine::shared();
    let home = Home::new();
    let path = format!("exporters.hypertables.path={}", home.data().display());
    for key in ["receivers.otlp.protocols.grpc.endpoint", "extensions.query.pgwire.endpoint"] {
        let open = format!("{key}=0.0.0.0:{}", free_port());
        let settings: Vec<String> = Ports::free().settings();
        let mut arguments: Vec<&str> = vec!["serve", "--set", &path];
        arguments.extend(settings.iter().map(String::as_str));
        arguments.extend(["--set", open.as_str()]);
        let output = run(&arguments, SOON);
        assert!(!output.status.success(), "{key}");
        assert!(words(&output).contains("auth: none"), "no remedy in: {}", words(&output));
    }
    let open = format!("receivers.otlp.protocols.http.endpoint=0.0.0.0:{}", free_port());
    let server = Server::start_with(&home, &[&open, "service.auth=none"]);
    assert!(server.terminate(SOON).success());
}

#[test]
fn an_unknown_key_is_refused_with_its_path_and_the_nearest_known_key() {
    let _machine = machine::shared();
    let home = Home::new();
    let file = home.file("misspelt.yaml");
    std::fs::write(&file, "exporters:\n  hypertables:\n    durabilty: os\n").unwrap();
    let file = file.display().to_string();
    for command in ["validate", "serve"] {
        let output = run(&[command, "--config", &file], SOON);
        assert!(!output.status.success(), "{command}");
        for part in ["exporters.hypertables", "durabilty", "durability"] {
            assert!(words(&output).contains(part), "{command} does not say {part}: {}", words(&output));
        }
    }
    let output = run(&["serve", "--set", "exporters.hypertables.durability=sometimes"], SOON);
    assert!(!output.status.success());
    assert!(words(&output).contains("fsync"), "does not name the choices: {}", words(&output));
}

#[test]
fn the_shipped_configuration_is_valid_and_equals_the_defaults() {
    let _machine = machine::shared();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/config/otel.yaml");
    let output = run(&["validate", "--config", shipped], SOON);
    assert!(output.status.success(), "{}", words(&output));
}

#[test]
fn a_second_server_on_the_same_directory_does_not_start() {
    let _machine = machine::shared();
    let home = Home::new();
    let server = Server::start(&home);
    let path = format!("exporters.hypertables.path={}", home.data().display());
    let settings = Ports::free().settings();
    let mut arguments: Vec<&str> = vec!["serve", "--set", &path];
    arguments.extend(settings.iter().map(String::as_str));
    let output = run(&arguments, SOON);
    assert!(!output.status.success());
    assert!(words(&output).contains(&home.data().display().to_string()), "{}", words(&output));
    assert_eq!(server.sql("SELECT count(*) FROM events").number(), 0, "the first one still serves");
}

#[test]
fn a_taken_port_is_named_and_nothing_half_started_stays() {
    let _machine = machine::shared();
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let path = format!("exporters.hypertables.path={}", home.data().display());
    let set = format!("receivers.otlp.protocols.http.endpoint={address}");
    let settings = Ports::free().settings();
    let mut arguments: Vec<&str> = vec!["serve", "--set", &path];
    arguments.extend(settings.iter().map(String::as_str));
    arguments.extend(["--set", &set]);
    let output = run(&arguments, SOON);
    assert!(!output.status.success());
    assert!(words(&output).contains(&address), "{}", words(&output));
}

#[test]
fn sigint_ends_an_idle_server_with_success_and_leaves_a_sound_directory() {
    let _machine = machine::shared();
    let home = Home::new();
    assert!(Server::start(&home).end("INT", SOON).success());
    verify(&home.data());
}

#[test]
fn own_metrics_are_prometheus_text() {
    let _machine = machine::shared();
    let server = Server::start(&Home::new());
    let answer = crate::http::request(server.ports.metrics, "GET", "/metrics", &[], b"").unwrap();
    assert_eq!(answer.status, 200);
    let text = answer.text();
    assert!(text.lines().any(|line| line.starts_with("# TYPE")), "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "not a sample: {line}");
    }
}

#[test]
fn the_query_command_prints_table_json_and_csv() {
    let _machine = machine::shared();
    let server = Server::start(&Home::new());
    let endpoint = format!("http://127.0.0.1:{}", server.ports.query);
    let ask = |format: &str| {
        let output =
            run(&["query", "SELECT 1 AS one, 'a,b' AS two", "--endpoint", &endpoint, "--format", format], SOON);
        assert!(output.status.success(), "{format}: {}", words(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(ask("csv").lines().collect::<Vec<_>>(), ["one,two", "1,\"a,b\""]);
    let json: serde_json::Value = serde_json::from_str(&ask("json")).unwrap();
    assert!(json.to_string().contains("a,b"), "{json}");
    let table = ask("table");
    assert!(table.contains("one") && table.contains("a,b"), "{table}");
    let output = run(&["query", "SELECT nothing FROM nowhere", "--endpoint", &endpoint], SOON);
    assert!(!output.status.success());
    assert!(words(&output).contains("nowhere"), "{}", words(&output));
    // Nobody reads on, as behind `| head`.
    let many = ["query", "SELECT * FROM generate_series(1, 1000)", "--endpoint", &endpoint];
    let mut unread = whence().args(many).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(unread.stdout.take());
    let output = unread.wait_with_output().unwrap();
    assert!(output.stderr.is_empty(), "{}", words(&output));
}

#[test]
fn sql_reads_only() {
    let _machine = machine::shared();
    let home = Home::new();
    let server = Server::start(&home);
    let target = home.file("copied");
    let copy = format!("COPY (SELECT 1) TO '{}'", target.display());
    let refused = [
        "DROP TABLE events",
        "DELETE FROM events",
        "INSERT INTO events SELECT * FROM events",
        "UPDATE events SET name = 'x'",
        "CREATE TABLE x AS SELECT 1",
        "CREATE EXTERNAL TABLE passwords STORED AS CSV LOCATION '/etc/passwd'",
        "SELECT 1; DROP TABLE events",
        &copy,
    ];
    for statement in refused {
        let answer = server.sql_answer(statement);
        assert!((400..500).contains(&answer.status), "{statement}: {} {}", answer.status, answer.text());
    }
    assert!(!target.exists());
    assert_eq!(server.sql("SELECT count(*) FROM events").number(), 0);
}
