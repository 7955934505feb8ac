//! Tenants and API keys: who comes in at which door, and whose rows are seen.

use crate::clients::{answer_of, python};
use crate::http;
use crate::machine;
use crate::server::{Home, Server, now_unix_nanos, run, run_with, words};
use crate::sql::{Rows, eventually};
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// `whence apikey ARGUMENTS`, which must succeed; what it printed on standard output.
fn apikey(arguments: &[&str]) -> String {
    let output = run(&[&["apikey"], arguments].concat(), MINUTE);
    assert!(output.status.success(), "{arguments:?}: {}", words(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A key made in the data directory, without a server.
pub(crate) fn key_in(home: &Home, arguments: &[&str]) -> String {
    let data = home.data().display().to_string();
    let key = apikey(&[&["create", "--data-dir", &data, "--yes"], arguments].concat());
    assert!(key.starts_with("pk_") && key.len() == 48, "{key}");
    key
}

fn bearer(key: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {key}"))
}

pub(crate) fn sql_with(server: &Server, key: &str, statement: &str) -> http::Answer {
    let (name, value) = bearer(key);
    http::request(server.ports.query, "POST", "/v1/sql", &[(name, &value)], statement.as_bytes()).unwrap()
}

/// Sends everything an SDK sends, over `protocol`, with a key.
fn send_with_sdk(server: &Server, key: &str, protocol: &str, service: &str) {
    let endpoint = if protocol == "grpc" { server.grpc_endpoint() } else { server.http_endpoint() };
    let mut sdk = python("send.py");
    sdk.arg(protocol).arg(service).env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    // As the specification says, values of this variable are percent-encoded.
    sdk.env("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization=Bearer%20{key}"));
    answer_of(&mut sdk, b"");
}

/// One span as OTLP JSON.
fn one_span(service: &str) -> Vec<u8> {
    let now = now_unix_nanos();
    json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
        "scopeSpans": [{"spans": [{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174",
            "name": "pay", "startTimeUnixNano": now.to_string(), "endTimeUnixNano": (now + 1_000).to_string()}]}]
    }]})
    .to_string()
    .into_bytes()
}

/// What psql says with a key as password.
pub(crate) fn psql(server: &Server, key: &str, statement: &str) -> (bool, String) {
    let mut command = Command::new("psql");
    command.args(["-X", "-A", "-t", "-w", "-h", "127.0.0.1", "-U", "anybody", "-p", &server.ports.pgwire.to_string()]);
    command.args(["-d", "whence", "-c", statement]).env("PGPASSWORD", key).stdin(Stdio::null());
    let output = command.output().expect("psql is installed by tests/run");
    (output.status.success(), words(&output))
}

#[test]
fn two_tenants_with_keys_see_their_own_rows_only_and_a_wrong_key_opens_no_door() {
    let _machine = machine::shared();
    let home = Home::new();
    let acme = key_in(&home, &["--tenant", "acme", "--name", "all of acme"]);
    let beta = key_in(&home, &["--tenant", "beta", "--name", "beta", "--scopes", "read,write"]);
    let write_only = key_in(&home, &["--tenant", "beta", "--name", "sender", "--scopes", "write", "--test"]);
    let server = Server::start(&home);

    send_with_sdk(&server, &acme, "grpc", "acme-service");
    send_with_sdk(&server, &write_only, "http/protobuf", "beta-service");
    let wrong = format!("pk_live_{}", "x".repeat(40));
    for (key, status) in [(None, 401), (Some(&wrong), 401), (Some(&beta), 200)] {
        let authorization = key.map(|key| bearer(key));
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(authorization.as_ref().map(|(name, value)| (*name, value.as_str())));
        let answer = server.post_with("/v1/traces", &headers, &one_span("beta-service"));
        assert_eq!(answer.status, status, "{}", answer.text());
        if status == 401 {
            assert_eq!(answer.json()["code"], 16, "google.rpc.Status: {}", answer.text());
            assert!(answer.text().contains("whence apikey create"), "{}", answer.text());
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    http_sql(&server, &acme, &write_only, &wrong);
    admin_door(&server, &acme, &beta);

    let ports = [server.ports.grpc.to_string(), server.ports.pgwire.to_string()];
    let told = answer_of(python("keys.py").args(&ports).args([&acme, &beta, &write_only]), b"");
    assert_eq!(
        (&told["grpc"]["none"][0], &told["grpc"]["wrong"][0]),
        (&json!("UNAUTHENTICATED"), &json!("UNAUTHENTICATED"))
    );
    assert_eq!(told["grpc"]["good"][0], "OK");
    for (who, says) in [("none", "whence apikey create"), ("wrong", "whence apikey"), ("write only", "scope read")] {
        // A driver without a password says so itself.
        let text = told["postgres"][who].as_str().unwrap();
        assert!(text.contains(says) || who == "none" && text.contains("password"), "{who}: {text}");
    }
    let rows = |tenant: &str| {
        let answer = json!([[format!("{tenant}-service"), tenant]]);
        json!([answer, answer, answer])
    };
    assert_eq!(told["assets"], json!({"acme": rows("acme"), "beta": rows("beta")}));
    assert_eq!((&told["broken_out"], &told["not_refused"]), (&json!([]), &json!([])));
    assert_eq!((&told["after_set"], &told["plan_names_the_other"]), (&json!([["acme"]]), &json!(false)));

    let (well, text) = psql(&server, &acme, "SELECT DISTINCT asset_id FROM events");
    assert!(well && text.trim() == "acme-service", "{text}");
    let (well, text) = psql(&server, &wrong, "SELECT 1");
    assert!(!well && text.contains("not known here"), "{text}");
}

fn http_sql(server: &Server, acme: &str, write_only: &str, wrong: &str) {
    let none = server.sql_answer("SELECT 1");
    let text = none.text();
    assert!(none.status == 401 && text.contains("28000") && text.contains("Bearer"), "{text}");
    assert_eq!(sql_with(server, wrong, "SELECT 1").status, 401);
    let forbidden = sql_with(server, write_only, "SELECT 1");
    assert!(forbidden.status == 403 && forbidden.text().contains("scope read"), "{}", forbidden.text());
    let assets = sql_with(server, acme, "SELECT DISTINCT asset_id FROM events");
    assert_eq!(Rows::from_json(&assets.json()).texts(), ["acme-service"]);
}

fn admin_door(server: &Server, acme: &str, beta: &str) {
    let get = |key: Option<&str>| {
        let header = key.map(bearer);
        let headers: Vec<_> = header.iter().map(|(name, value)| (*name, value.as_str())).collect();
        http::request(server.ports.query, "GET", "/v1/admin/status", &headers, b"").unwrap().status
    };
    assert_eq!((get(None), get(Some(beta)), get(Some(acme))), (401, 403, 200));
    let delete = json!({"tenant": "acme", "dry_run": true}).to_string();
    let headers = [("content-type", "application/json")];
    let answer = http::request(server.ports.query, "POST", "/v1/delete", &headers, delete.as_bytes()).unwrap();
    assert_eq!(answer.status, 401, "{}", answer.text());
}

#[test]
fn the_first_key_of_a_running_server_closes_its_doors_after_the_grace_and_a_revoked_key_ends_its_session() {
    let _machine = machine::shared();
    let home = Home::new();
    let server = Server::start(&home);
    let endpoint = format!("http://127.0.0.1:{}", server.ports.query);
    let before = server.post("/v1/traces", "application/json", &one_span("early"));
    assert_eq!(before.status, 200, "{}", before.text());

    let create = ["create", "--endpoint", &endpoint, "--name", "first"];
    let unsure = run(&[&["apikey"], &create[..]].concat(), MINUTE);
    let said = words(&unsure);
    assert!(!unsure.status.success() && said.contains("locks out everybody") && said.contains("--grace 1h"), "{said}");
    assert_eq!(server.sql("SELECT count(*) FROM events").number(), 1, "nothing was closed");

    let first = apikey(&[&create[..], &["--grace", "2s"]].concat());
    let (closed, _) = eventually(MINUTE, || server.sql_answer("SELECT 1").status, |status| *status == 401);
    assert_eq!(closed, 401);
    let count = Rows::from_json(&sql_with(&server, &first, "SELECT count(*) FROM events").json());
    assert_eq!(count.number(), 1, "tenant default's rows are those of before");

    // The command needs a key itself now.
    let refused = run(&["apikey", "list", "--endpoint", &endpoint], MINUTE);
    assert!(!refused.status.success() && words(&refused).contains("API key is needed"), "{}", words(&refused));
    let (name, value) = bearer(&first);
    let list =
        || http::request(server.ports.query, "GET", "/v1/admin/api-keys", &[(name, &value)], b"").unwrap().json();
    assert_eq!(list()["keys"][0]["name"], "first");
    let post = |path: &str, body: &Value| {
        let headers = [(name, value.as_str()), ("content-type", "application/json")];
        http::request(server.ports.query, "POST", path, &headers, body.to_string().as_bytes()).unwrap()
    };
    let wish = json!({"key": {"tenant": "default", "name": "second", "scopes": "read", "expires_at": null}});
    let second = post("/v1/admin/api-keys", &wish).json()["key"].as_str().unwrap().to_owned();

    let mut session = std::process::Command::new("psql");
    session.args([
        "-X",
        "-A",
        "-t",
        "-h",
        "127.0.0.1",
        "-U",
        "x",
        "-d",
        "whence",
        "-p",
        &server.ports.pgwire.to_string(),
    ]);
    session.env("PGPASSWORD", &second).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut session = session.spawn().unwrap();
    let mut asked = session.stdin.take().unwrap();
    std::io::Write::write_all(&mut asked, b"SELECT 40 + 2;\n").unwrap();
    let mut answers = std::io::BufReader::new(session.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut answers, &mut line).unwrap();
    assert_eq!(line.trim(), "42");
    assert_eq!(post("/v1/admin/api-keys/revoke", &json!({"id": 2})).status, 200);
    std::io::Write::write_all(&mut asked, b"SELECT 40 + 3;\n").unwrap();
    drop(asked);
    let ended = session.wait_with_output().unwrap();
    assert!(words(&ended).contains("was revoked"), "{}", words(&ended));
    assert_eq!(sql_with(&server, &second, "SELECT 1").status, 401);
    assert!(list()["keys"][1]["revoked_at"].is_i64());
}

#[test]
fn load_sends_the_key_of_its_environment_over_both_protocols() {
    let _machine = machine::shared();
    let home = Home::new();
    drop(Server::start(&home));
    let key = key_in(&home, &["--name", "load", "--tenant", "acme"]);
    let server = Server::start(&home);
    for (protocol, endpoint) in [("grpc", server.grpc_endpoint()), ("http", server.http_endpoint())] {
        let load = ["load", "--protocol", protocol, "--endpoint", &endpoint, "--signal", "logs", "--total", "100"];
        let load = [&load[..], &["--batch", "50", "--seed", if protocol == "grpc" { "1" } else { "2" }]].concat();
        let refused = run(&load, MINUTE);
        assert!(!refused.status.success() && words(&refused).contains("API key"), "{}", words(&refused));
        let sent = run_with(&load, &[("WHENCE_API_KEY", &key)], MINUTE);
        assert!(sent.status.success(), "{}", words(&sent));
    }
    let count = sql_with(&server, &key, "SELECT count(*) FROM events WHERE tenant_id = 'acme'");
    assert_eq!(Rows::from_json(&count.json()).number(), 200);
}
