//! `whence delete` on a running server: the rows are gone from SQL and from the files, and stay gone.

use crate::machine;
use crate::protobuf::{export_request, log};
use crate::server::{Home, Server, now_unix_nanos, run, verify, words};
use std::path::Path;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);

fn count(server: &Server, condition: &str) -> i64 {
    server.sql(&format!("SELECT count(*) FROM events WHERE {condition}")).number()
}

/// Files below `folder` that hold `text` as plain bytes.
fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if std::fs::read(&path).unwrap().windows(text.len()).any(|bytes| bytes == text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn deleted_rows_are_gone_from_sql_and_from_every_file_and_stay_gone_after_a_kill() {
    let _machine = machine::shared();
    let home = Home::new();
    let server = Server::start(&home);
    let (secret, time) = ("jane-doe-4711", now_unix_nanos());
    let logs: Vec<_> = (0..20)
        .map(|i| if i < 5 { log(&format!("login of {secret} number {i}"), time + i) } else { log("plain", time + i) })
        .collect();
    let answer = server.post("/v1/logs", "application/x-protobuf", &export_request("accounts", &logs));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(!files_with(&home.data(), secret).is_empty(), "the log should hold it before");

    let endpoint = format!("http://127.0.0.1:{}", server.ports.query);
    let condition = format!("body LIKE '%{secret}%'");
    let arguments = ["delete", "--tenant", "default", "--where", &condition, "--endpoint", &endpoint];
    let unasked = run(&arguments, WITHIN);
    assert!(!unasked.status.success(), "without a terminal and --yes nothing may be deleted: {}", words(&unasked));
    assert_eq!(count(&server, &condition), 5);

    let output = run(&[&arguments[..], &["--yes"]].concat(), WITHIN);
    assert!(output.status.success(), "{}", words(&output));
    assert!(words(&output).contains("5 rows of events"), "{}", words(&output));
    assert_eq!((count(&server, &condition), count(&server, "true")), (0, 15));
    assert_eq!(files_with(&home.data(), secret), Vec::<String>::new());

    server.kill();
    let server = Server::start(&home);
    assert_eq!((count(&server, &condition), count(&server, "true")), (0, 15));
    let ledger = server.ledger("logs");
    assert_eq!(ledger[0], 20, "{ledger:?}");
    assert!(server.terminate(WITHIN).success());
    verify(&home.data());
}
