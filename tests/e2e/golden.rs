//! Golden answers: every statement of `tests/golden/*.sql` over one small recording.
//!
//! `BLESS=1 cargo test --test e2e golden` writes the answers anew; read the difference before committing it.

use crate::machine;
use crate::server::{Home, Server, run, words};
use crate::sql::{Rows, eventually};
use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn in_tests(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// Files of statements in a folder of `tests`.
pub(crate) fn statement_files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(in_tests(folder)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    assert!(!files.is_empty());
    files
}

/// A server that holds `fixtures/shop.otlp.jsonl`, with its links.
pub(crate) fn with_fixture(options: &[&str]) -> Server {
    let home = Home::new();
    let server = Server::start(&home);
    let fixture = in_tests("fixtures/shop.otlp.jsonl").display().to_string();
    let endpoint = server.grpc_endpoint();
    let mut arguments = vec!["replay", fixture.as_str(), "--endpoint", &endpoint, "--protocol", "grpc"];
    arguments.extend(options);
    let output = run(&arguments, Duration::from_secs(60));
    assert!(output.status.success(), "{}", words(&output));
    let links = || server.sql("SELECT count(*) FROM correlations").number();
    eventually(Duration::from_secs(5), links, |count| *count >= 11);
    server
}

/// Columns with their types, then one line for each row.
fn rendered(rows: &Rows) -> String {
    let mut text = String::new();
    let columns: Vec<String> = rows.columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
    writeln!(text, "{}", columns.join(" | ")).unwrap();
    for row in &rows.rows {
        let cells: Vec<String> = row.iter().map(cell).collect();
        writeln!(text, "{}", cells.join(" | ")).unwrap();
    }
    text
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        // Fifteen digits: sums in another order differ in the last ones.
        Value::Number(number) if number.is_f64() => format!("{}", (number.as_f64().unwrap() * 1e9).round() / 1e9),
        other => other.to_string(),
    }
}

/// Of functions whose names are equally near, the engine suggests any.
fn without_suggestion(error: &str) -> String {
    let Some((before, after)) = error.split_once("\\nDid you mean '") else { return error.to_owned() };
    let after = after.split_once("'?").map_or("", |(_, after)| after);
    format!("{before}{after}")
}

#[test]
fn golden_statements_have_their_answers() {
    let _machine = machine::shared();
    let server = with_fixture(&[]);
    let bless = std::env::var_os("BLESS").is_some();
    let files = [statement_files("golden"), statement_files("golden/functions")].concat();
    let mut wrong = String::new();
    for file in files {
        let mut text = String::new();
        for statement in std::fs::read_to_string(&file).unwrap().split_inclusive(";\n") {
            let statement = statement.trim();
            let answer = server.sql_answer(statement.trim_end_matches(';'));
            let answer = match answer.status {
                200 => rendered(&Rows::from_json(&answer.json())),
                status => format!("{status} {}\n", without_suggestion(&answer.text())),
            };
            writeln!(text, "{statement}\n\n{answer}").unwrap();
        }
        let expected = file.with_extension("out");
        if bless {
            std::fs::write(&expected, text).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != text {
            write!(wrong, "--- {} should be, but is now:\n{text}", expected.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_three_query_patterns_run_as_users_write_them() {
    let _machine = machine::shared();
    let server = with_fixture(&["--shift-to-now"]);
    let recent = server.sql(
        "SELECT * FROM events WHERE asset_id = 'checkout' AND timestamp >= NOW() - INTERVAL '24 hours' \
         ORDER BY timestamp DESC LIMIT 1000",
    );
    assert_eq!(recent.rows.len(), 7);
    let first: Vec<&str> = recent.columns.iter().take(3).map(|(name, _)| name.as_str()).collect();
    assert_eq!(first, ["id", "timestamp", "source_module"]);
    let times: Vec<String> = recent.rows.iter().map(|row| row[1].as_str().unwrap().to_owned()).collect();
    assert!(times.is_sorted_by(|later, earlier| later >= earlier), "{times:?}");

    let hourly = server.sql(
        "SELECT time_bucket('1 hour', timestamp) AS bucket, asset_id, avg(value_avg), max(value_p99) FROM metrics \
         WHERE metric_name = 'http.server.request.duration' AND timestamp >= NOW() - INTERVAL '7 days' \
         GROUP BY 1, 2 ORDER BY 1 DESC",
    );
    // The recording is three minutes long, so it may lie in two hours.
    assert!((2..=4).contains(&hourly.rows.len()), "{hourly:?}");

    let joined = server.sql(
        "SELECT e1.id, e1.event_type, e2.id, e2.event_type, c.correlation_type, c.strength \
         FROM correlations c JOIN events e1 ON c.primary_event_id = e1.id JOIN events e2 ON c.related_event_id = e2.id \
         WHERE c.timestamp >= NOW() - INTERVAL '1 hour' AND c.strength > 0.8 ORDER BY c.strength DESC",
    );
    assert!(!joined.rows.is_empty());
    let strengths: Vec<f64> = joined.rows.iter().map(|row| row[5].as_f64().unwrap()).collect();
    assert!(strengths.iter().all(|strength| *strength > 0.8) && strengths.is_sorted_by(|a, b| a >= b), "{strengths:?}");
}
