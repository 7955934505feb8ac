//! What `grafana/` provides: files that Grafana reads, and panels whose SQL is answered, with its macros expanded as
//! Grafana's PostgreSQL data source does, with and without its TimescaleDB switch.

use crate::clients::{answer_of, python};
use crate::golden::with_fixture;
use crate::machine;
use crate::server::{Server, now_unix_nanos};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Of the services to choose from, one that has everything.
const SERVICE: &str = "checkout";

/// The fixture has nothing for these.
const MAY_BE_EMPTY: [&str; 2] = ["Guardrails and evaluations", "Incidents"];

fn grafana(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn dashboards() -> Vec<Value> {
    let read = |file: &PathBuf| serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    grafana("dashboards").iter().map(read).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("no list {key} in {value}"))
}

/// What a dashboard's macros and variables stand for.
struct Range {
    /// Unix seconds.
    from: i64,
    to: i64,
    /// Seconds between two points of a graph.
    interval: i64,
    timescale: bool,
    variables: BTreeMap<String, String>,
}

impl Range {
    fn expand(&self, sql: &str) -> String {
        let mut text = sql.replace("$__interval", &format!("{}s", self.interval));
        for (name, value) in &self.variables {
            let quoted = format!("'{}'", value.replace('\'', "''"));
            text = text.replace(&format!("${{{name}:sqlstring}}"), &quoted).replace(&format!("${{{name}}}"), value);
        }
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("$__") {
            // As Grafana's own pattern: a name, then everything up to the first closing parenthesis.
            let (call, tail) = after.split_once(')').unwrap_or_else(|| panic!("no macro: $__{after}"));
            let (name, arguments) = call.split_once('(').unwrap();
            let arguments: Vec<_> = arguments.split(',').map(str::trim).collect();
            out.push_str(before);
            out.push_str(&self.macro_text(name, &arguments));
            rest = tail;
        }
        out + rest
    }

    fn macro_text(&self, name: &str, arguments: &[&str]) -> String {
        let (from, to) = (self.time(self.from), self.time(self.to));
        match (name, arguments) {
            ("timeFilter", [column]) => format!("{column} BETWEEN {from} AND {to}"),
            ("timeFrom", _) => from,
            ("timeTo", _) => to,
            ("timeGroupAlias", [column, interval]) => {
                let seconds: i64 = interval.trim_end_matches('s').parse().unwrap();
                let group = if self.timescale {
                    format!("time_bucket('{seconds}.000s',{column})")
                } else {
                    format!("floor(extract(epoch from {column})/{seconds})*{seconds}")
                };
                format!("{group} AS \"time\"")
            }
            other => panic!("a macro that this test does not know: {other:?}"),
        }
    }

    /// RFC 3339.
    fn time(&self, seconds: i64) -> String {
        let (days, clock) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Civil from days: http://howardhinnant.github.io/date_algorithms.html
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_index = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_index + 2) / 5 + 1;
        let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (hour, minute, second) = (clock / 3_600, clock / 60 % 60, clock % 60);
        format!("'{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z'")
    }
}

fn run(server: &Server, statements: &[String]) -> Vec<Value> {
    let input = json!(statements).to_string();
    let outcomes = answer_of(python("statements.py").arg(server.ports.pgwire.to_string()), input.as_bytes());
    outcomes.as_array().unwrap().clone()
}

/// Values of the dashboard's variables: what a text box holds, and one answer of a query.
fn variables(server: &Server, dashboard: &Value, range: &Range) -> BTreeMap<String, String> {
    let value = |variable: &Value| {
        let value = match text(variable, "type") {
            "textbox" => text(variable, "query").to_owned(),
            "query" => {
                let answer = &run(server, &[range.expand(text(variable, "query"))])[0];
                let columns = list(answer, "columns");
                let at = columns.iter().position(|name| name == "__value").unwrap_or(0);
                let values: Vec<_> = list(answer, "rows").iter().filter_map(|row| row[at].as_str()).collect();
                let chosen = values.iter().find(|value| **value == SERVICE).or(values.first());
                chosen.unwrap_or_else(|| panic!("variable {}: {answer}", text(variable, "name"))).to_string()
            }
            other => panic!("a variable of type {other}"),
        };
        (text(variable, "name").to_owned(), value)
    };
    list(&dashboard["templating"], "list").iter().map(value).collect()
}

#[test]
fn every_panel_is_answered_with_and_without_the_timescaledb_switch() {
    let _machine = machine::shared();
    let server = with_fixture(&["--shift-to-now"]);
    let now = i64::try_from(now_unix_nanos() / 1_000_000_000).unwrap() + 60;
    for (hours, interval) in [(1, 15), (24 * 7, 7_200)] {
        for timescale in [false, true] {
            for dashboard in dashboards() {
                let from = now - hours * 3_600;
                let mut range = Range { from, to: now, interval, timescale, variables: BTreeMap::new() };
                range.variables = variables(&server, &dashboard, &range);
                let mut questions: Vec<(String, String)> = Vec::new();
                for panel in list(&dashboard, "panels") {
                    for target in list(panel, "targets") {
                        questions.push((text(panel, "title").to_owned(), range.expand(text(target, "rawSql"))));
                    }
                }
                for annotation in list(&dashboard["annotations"], "list") {
                    let sql = range.expand(text(&annotation["target"], "rawSql"));
                    questions.push((text(annotation, "name").to_owned(), sql));
                }
                let statements: Vec<_> = questions.iter().map(|(_, sql)| sql.clone()).collect();
                for ((title, sql), answer) in questions.iter().zip(run(&server, &statements)) {
                    let context = format!("{}: {title}\n{sql}\n{answer}", text(&dashboard, "title"));
                    assert_eq!(answer["error"], Value::Null, "{context}");
                    assert!(MAY_BE_EMPTY.contains(&title.as_str()) || !list(&answer, "rows").is_empty(), "{context}");
                    if sql.contains("AS \"time\"") {
                        assert_eq!(answer["columns"][0], "time", "{context}");
                    }
                }
            }
        }
    }
}

#[test]
fn dashboards_and_provisioning_are_what_grafana_reads() {
    let mut uids = Vec::new();
    for dashboard in dashboards() {
        let title = text(&dashboard, "title");
        uids.push(text(&dashboard, "uid").to_owned());
        assert!(dashboard["schemaVersion"].as_i64() >= Some(39), "{title}");
        let mut ids = Vec::new();
        for panel in list(&dashboard, "panels") {
            let place = &panel["gridPos"];
            assert!(place["x"].as_i64().unwrap() + place["w"].as_i64().unwrap() <= 24, "{title}: {place}");
            ids.push(panel["id"].as_i64().unwrap());
            for target in list(panel, "targets") {
                assert_eq!(target["datasource"]["uid"], "whence", "{title}");
                assert_eq!((&target["rawQuery"], &target["editorMode"]), (&json!(true), &json!("code")), "{title}");
            }
        }
        ids.dedup();
        assert_eq!(ids.len(), list(&dashboard, "panels").len(), "{title}: panels of one id");
    }
    uids.sort();
    assert_eq!(uids, ["whence-agents", "whence-causes", "whence-overview", "whence-service"]);
    // Links between dashboards lead somewhere.
    for file in grafana("dashboards") {
        let file = std::fs::read_to_string(file).unwrap();
        for link in file.split("\"/d/").skip(1) {
            let uid = link.split('?').next().unwrap();
            assert!(uids.iter().any(|known| known == uid), "no dashboard {uid}");
        }
    }
    let source: Value =
        serde_norway::from_slice(&std::fs::read(&grafana("provisioning/datasources")[0]).unwrap()).unwrap();
    assert_eq!(source["datasources"][0]["uid"], "whence");
    assert_eq!(source["datasources"][0]["jsonData"]["database"], "whence");
    let boards: Value =
        serde_norway::from_slice(&std::fs::read(&grafana("provisioning/dashboards")[0]).unwrap()).unwrap();
    assert_eq!(boards["providers"][0]["type"], "file");
}
