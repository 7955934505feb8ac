//! Continuous aggregates that users declare: with psql, psycopg, HTTP and Flight SQL, in the configuration, and with keys.

use crate::clients::{answer_of, one_span, python};
use crate::http;
use crate::keys::{key_in, psql, sql_with};
use crate::machine;
use crate::server::{Home, Server, run, words};
use serde_json::json;
use std::process::{Command, Stdio};
use std::time::Duration;

const BY_HOUR: &str = "SELECT time_bucket('1 hour', timestamp) AS bucket, asset_id, count(*) AS n, max(duration_ns) AS slowest FROM events \
     GROUP BY 1, 2";

fn create(name: &str) -> String {
    format!("CREATE MATERIALIZED VIEW {name} WITH (timescaledb.continuous) AS {BY_HOUR};")
}

#[test]
fn psycopg_and_adbc_declare_read_and_drop() {
    let _machine = machine::shared();
    let server = Server::start(&Home::new());
    one_span(&server);
    let ports = [server.ports.pgwire.to_string(), server.ports.query.to_string()];
    let seen = answer_of(python("aggregates.py").args(ports), b"");
    assert_eq!(
        (&seen["tag"], &seen["dropped"]),
        (&json!("CREATE MATERIALIZED VIEW"), &json!("DROP MATERIALIZED VIEW"))
    );
    assert_eq!(seen["read"], json!([[["checkout", 1, "12.5"]], [["checkout", 1, "12.5"]]]), "{seen}");
    assert_eq!(seen["people"], json!([[1]]), "{seen}");
    let notices: Vec<_> = seen["notices"].as_array().unwrap().iter().map(|notice| notice.as_str().unwrap()).collect();
    let expected =
        ["already exists, skipping", "count(DISTINCT) cannot be put", "is always current", "is always current"];
    assert_eq!(notices.len(), expected.len(), "{notices:?}");
    for (notice, words) in notices.iter().zip(expected) {
        assert!(notice.contains(words), "{notices:?}");
    }
    for (what, state, hint) in [
        ("drop_view", "42809", "DROP MATERIALIZED VIEW"),
        ("plain", "0A000", "WITH (timescaledb.continuous)"),
        ("volatile", "0A000", "in the query that reads it"),
        ("in_transaction", "25001", "autocommit"),
    ] {
        let refused = &seen[what];
        assert!(refused[0] == state && refused[1].as_str().unwrap().contains(hint), "{what}: {refused}");
    }
    assert_eq!(seen["flight"], json!([["CREATE MATERIALIZED VIEW", null]]), "{seen}");
    assert_eq!(
        (&seen["flight_read"], &seen["flight_dropped"]),
        (&json!([1]), &json!([["DROP MATERIALIZED VIEW", null]]))
    );
}

#[test]
fn psql_shows_a_declared_aggregate_as_a_materialized_view_also_after_a_restart() {
    let _machine = machine::shared();
    let home = Home::new();
    let configured = format!("extensions.query.continuous_aggregates.configured={BY_HOUR}");
    let server = Server::start_with(&home, &[&configured]);
    one_span(&server);
    let say = |server: &Server, text: &str| {
        let (well, said) = psql(server, "", text);
        assert!(well, "{text}: {said}");
        said
    };
    assert_eq!(say(&server, &create("hourly")).trim(), "CREATE MATERIALIZED VIEW");
    let ended = server.terminate(Duration::from_secs(30));
    assert!(ended.success(), "{ended}");

    let server = Server::start_with(&home, &[&configured]);
    for name in ["hourly", "configured"] {
        let sum = format!("SELECT n, slowest FROM {name}");
        assert_eq!(say(&server, &sum).trim(), "1|5000000");
        let described = say(&server, &format!("\\d {name}"));
        for line in ["bucket|timestamp with time zone", "asset_id|text", "n|bigint", "slowest|bigint"] {
            assert!(described.contains(line), "\\d {name}: {described}");
        }
        let definition = say(&server, &format!("SELECT pg_get_viewdef('{name}'::regclass, true)"));
        assert!(definition.contains("time_bucket('1 hour', timestamp)"), "{definition}");
        let known = format!(
            "SELECT hypertable_name, materialized_only FROM timescaledb_information.continuous_aggregates WHERE view_name = '{name}'"
        );
        assert_eq!(say(&server, &known).trim(), "events|f");
        let columns = format!(
            "SELECT column_name, data_type, udt_name FROM information_schema.columns WHERE table_name = '{name}' \
             ORDER BY ordinal_position LIMIT 1"
        );
        assert_eq!(say(&server, &columns).trim(), "bucket|timestamp with time zone|timestamptz");
    }
    let (all, views) = (say(&server, "\\d"), say(&server, "\\dm"));
    for name in ["hourly", "configured"] {
        let line = format!("public|{name}|materialized view|");
        assert!(all.contains(&line) && views.contains(&line), "{all}{views}");
    }
    for line in ["public|events|table|", "public|service_red|view|"] {
        assert!(all.contains(line) && !views.contains(line), "{all}{views}");
    }

    let (backup, data) = (home.file("backup").display().to_string(), home.data().display().to_string());
    let place = ["--data-dir", &data, "--endpoint", &format!("http://127.0.0.1:{}", server.ports.query)];
    let whence = |command: &str| {
        let done = run(&[&[command, &backup], &place[..]].concat(), Duration::from_secs(60));
        assert!(done.status.success(), "{command}: {}", words(&done));
    };
    whence("backup");
    say(&server, "DROP MATERIALIZED VIEW hourly");
    assert!(!say(&server, "\\dm").contains("hourly"));
    whence("restore");
    assert_eq!(say(&server, "SELECT n, slowest FROM hourly").trim(), "1|5000000", "a backup has it");

    let (well, said) = psql(&server, "", "DROP MATERIALIZED VIEW configured");
    assert!(!well && said.contains("declared in the configuration"), "{said}");
    let validated = run(
        &["validate", "--config", "config/otel.yaml", "--set", &configured.replace("count(*)", "random()")],
        Duration::from_secs(30),
    );
    let said = words(&validated);
    assert!(!validated.status.success() && said.contains("continuous_aggregates.configured: random()"), "{said}");
}

#[test]
fn over_http_only_operators_declare_and_another_tenant_sees_nothing() {
    let _machine = machine::shared();
    let home = Home::new();
    let server = Server::start(&home);
    let sql = |headers: &[(&str, &str)]| {
        http::request(server.ports.query, "POST", "/v1/sql", headers, create("early").as_bytes()).unwrap()
    };
    let page = sql(&[("origin", "http://evil.example")]);
    assert_eq!((page.status, &page.json()["error"]["code"]), (403, &json!("42501")), "a page in a browser");
    let answer = sql(&[]);
    assert_eq!(
        (answer.status, &answer.json()["command"]),
        (200, &json!("CREATE MATERIALIZED VIEW")),
        "{}",
        answer.text()
    );
    assert_eq!(sql(&[]).json()["error"]["code"], "42P07");
    assert!(server.terminate(Duration::from_secs(30)).success());

    let operator = key_in(&home, &["--tenant", "acme", "--name", "operator"]);
    let reader = key_in(&home, &["--tenant", "acme", "--name", "reader", "--scopes", "read"]);
    let other = key_in(&home, &["--tenant", "beta", "--name", "other", "--scopes", "read,admin"]);
    let server = Server::start(&home);
    let code = |key: &str, statement: &str| sql_with(&server, key, statement).json()["error"]["code"].clone();
    assert_eq!(code(&reader, &create("hourly")), "42501");
    assert_eq!(sql_with(&server, &operator, &create("hourly")).status, 200);
    assert_eq!(sql_with(&server, &reader, "SELECT * FROM hourly").status, 200);
    for statement in ["SELECT * FROM hourly", "DROP MATERIALIZED VIEW hourly", "SELECT * FROM early"] {
        assert_eq!(code(&other, statement), "42P01", "{statement}");
    }
    let (well, said) = psql(&server, &reader, "DROP MATERIALIZED VIEW hourly");
    assert!(!well && said.contains("scope admin") && said.contains("read,admin"), "{said}");
    let (well, said) = psql(&server, &other, "\\dm");
    assert!(well && !said.contains("hourly") && !said.contains("early"), "{said}");
    let (well, said) = psql(&server, &operator, "DROP MATERIALIZED VIEW IF EXISTS hourly, nothing");
    assert!(well && said.contains("does not exist, skipping"), "{said}");
}

#[test]
fn the_jdbc_driver_of_flight_declares() {
    let _machine = machine::shared();
    let server = Server::start(&Home::new());
    one_span(&server);
    let source = crate::clients::script("java/FlightDeclare.java");
    let mut java = Command::new("java");
    java.arg("--add-opens=java.base/java.nio=ALL-UNNAMED")
        .arg("-cp")
        .arg(crate::clients::folder().join("java").join("*"));
    let output = java.arg(source).arg(server.ports.query.to_string()).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0 1 dropped");
}
