//! The PostgreSQL drivers that users have, beyond a query: cursors, COPY, pools, reflection, catalogs. Each client has one
//! script in `tests/clients` that prints what it saw; one server serves the parts of a client.

use crate::clients::{answer_of, folder, node, python, script};
use crate::machine;
use crate::server::{Home, Server, now_unix_nanos};
use serde_json::{Value, json};
use std::process::{Command, Stdio};

/// A server with 50 spans of the service `checkout`, all in one trace.
pub(crate) fn shop() -> Server {
    shop_with(&[])
}

fn shop_with(settings: &[&str]) -> Server {
    let server = Server::start_with(&Home::new(), settings);
    let now = now_unix_nanos();
    let spans: Vec<Value> = (0..50)
        .map(|number| {
            let start = now - number * 1_000_000_000;
            json!({"traceId": "5b8efff798038103d269b633813fc60c", "spanId": format!("{:016x}", number + 1), "name": "pay",
                "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + 5_000_000).to_string(),
                "attributes": [{"key": "amount", "value": {"doubleValue": 12.5}}]})
        })
        .collect();
    server.export_json(
        "/v1/traces",
        &json!({"resourceSpans": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "checkout"}}]},
            "scopeSpans": [{"spans": spans}]
        }]}),
    );
    server
}

/// Each part of what a client saw, compared by its name.
fn compare(seen: &Value, expected: &[(&str, Value)]) {
    let wrong: Vec<_> = expected
        .iter()
        .filter(|(part, value)| seen[*part] != *value)
        .map(|(part, value)| format!("{part}: {} instead of {value}", seen[*part]))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The query by which Grafana finds the schemas of the search path.
const SEARCH_PATH: &str = "SELECT CASE WHEN trim(s[i]) = '\"$user\"' THEN user ELSE trim(s[i]) END FROM \
    generate_series(array_lower(string_to_array(current_setting('search_path'),','),1), \
    array_upper(string_to_array(current_setting('search_path'),','),1)) as i, \
    string_to_array(current_setting('search_path'),',') s";

/// What the data source asks before anybody has written a query.
fn discovery() -> Vec<(String, Value)> {
    let tables = format!(
        "SELECT CASE WHEN quote_ident(table_schema) IN ({SEARCH_PATH}) THEN quote_ident(table_name) \
         ELSE quote_ident(table_schema) || '.' || quote_ident(table_name) END AS \"table\" FROM information_schema.tables \
         WHERE quote_ident(table_schema) NOT IN ('information_schema','pg_catalog','_timescaledb_cache') \
         AND table_name = 'events' ORDER BY CASE WHEN quote_ident(table_schema) IN ({SEARCH_PATH}) THEN 0 ELSE 1 END, 1"
    );
    let columns = format!(
        "SELECT quote_ident(column_name) AS \"column\", data_type AS \"type\" FROM information_schema.columns WHERE \
         CASE WHEN array_length(parse_ident('events'),1) = 2 \
         THEN quote_ident(table_schema) = (parse_ident('events'))[1] AND quote_ident(table_name) = (parse_ident('events'))[2] \
         ELSE quote_ident(table_name) = 'events' AND quote_ident(table_schema) IN ({SEARCH_PATH}) END \
         AND column_name IN ('id', 'duration_ns') ORDER BY 1"
    );
    let older = format!(
        "SELECT quote_ident(table_name) FROM information_schema.tables WHERE quote_ident(table_schema) IN ({SEARCH_PATH}) \
         AND table_type != 'VIEW' AND table_name LIKE 'ev%' ORDER BY table_name"
    );
    let typed = "SELECT column_name, data_type, udt_name, numeric_precision::text, numeric_scale::text \
                 FROM information_schema.columns WHERE table_name = 'events' AND column_name = 'duration_ns'";
    let values = "SELECT DISTINCT asset_id::text FROM events UNION ALL SELECT DISTINCT name::text FROM events";
    vec![
        ("-- ping".to_owned(), json!([])),
        (";".to_owned(), json!([])),
        ("SELECT current_setting('server_version_num')::int/100 AS version".to_owned(), json!([["1600"]])),
        ("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'".to_owned(), json!([])),
        (tables, json!([["events"]])),
        (columns, json!([["duration_ns", "bigint"], ["id", "uuid"]])),
        (older, json!([["events"]])),
        (typed.to_owned(), json!([["duration_ns", "bigint", "int8", "64", "0"]])),
        (format!("SELECT * FROM ({values}) AS v(value) ORDER BY 1"), json!([["checkout"], ["pay"]])),
    ]
}

/// A panel's statement as the macros leave it, with the number of rows it must have at least.
fn panels() -> Vec<String> {
    let seconds = now_unix_nanos() / 1_000_000_000;
    let (from, to) = (seconds - 3_600, seconds + 60);
    let rfc = |seconds: u64| {
        let time =
            Command::new("date").args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"]).output().unwrap();
        String::from_utf8(time.stdout).unwrap().trim().to_owned()
    };
    let filter = format!("timestamp BETWEEN '{}' AND '{}'", rfc(from), rfc(to));
    let mut panels = vec![
        format!("SELECT timestamp AS \"time\", duration_ns FROM events WHERE {filter} ORDER BY 1"),
        format!(
            "SELECT floor(extract(epoch from timestamp)/300)*300 AS \"time\", asset_id AS metric, count(*) AS value \
             FROM events WHERE {filter} GROUP BY 1, 2 ORDER BY 1, 2"
        ),
        format!(
            "SELECT floor((extract(epoch from timestamp))/300)*300 AS \"time\", avg(duration_ns) FROM events \
             WHERE extract(epoch from timestamp) >= {from} AND extract(epoch from timestamp) <= {to} GROUP BY 1 ORDER BY 1"
        ),
        // An alert: one number per series.
        format!(
            "SELECT now() AS \"time\", asset_id, count(*) FILTER (WHERE severity = 'error')::float8 / count(*) AS value \
             FROM events WHERE {filter} GROUP BY asset_id"
        ),
    ];
    // With the TimescaleDB switch.
    panels.extend(["300.000s", "0.020s", "1036800.000s"].map(|width| {
        format!(
            "SELECT time_bucket('{width}',timestamp) AS \"time\", count(*) AS value FROM events WHERE {filter} \
             GROUP BY 1 ORDER BY 1"
        )
    }));
    panels
}

#[test]
fn grafanas_data_source_finds_its_way_in_both_protocols_of_its_driver() {
    let _machine = machine::shared();
    let server = shop();
    let (discovery, panels) = (discovery(), panels());
    let simple: Vec<_> = discovery.iter().map(|(sql, _)| sql).chain(&panels).collect();
    // The extended protocol has no statement without a command.
    let extended: Vec<_> = discovery.iter().map(|(sql, _)| sql).skip(2).chain(&panels).collect();
    let asked = json!({"simple": simple, "extended": extended}).to_string();
    let mut grafana = Command::new(folder().join("pgx/grafana"));
    let seen = answer_of(grafana.arg(server.ports.pgwire.to_string()), asked.as_bytes());
    for (answer, (sql, expected)) in seen["simple"].as_array().unwrap().iter().zip(&discovery) {
        assert_eq!(answer["rows"], *expected, "{sql}: {answer}");
    }
    let panels_of = |protocol: &str| {
        let answers = seen[protocol].as_array().unwrap();
        answers[answers.len() - panels.len()..].to_vec()
    };
    for (sql, (simple, extended)) in panels.iter().zip(panels_of("simple").into_iter().zip(panels_of("extended"))) {
        let rows = |answer: &Value| answer["rows"].as_array().map_or(0, Vec::len);
        assert!(rows(&simple) > 0 && rows(&simple) == rows(&extended), "{sql}: {simple} {extended}");
    }
    for answer in seen["extended"].as_array().unwrap() {
        assert!(answer["error"].is_null(), "{answer}");
    }
}

/// What psycopg reads with its parts in `sessions.py`.
#[test]
fn psycopg_has_cursors_copy_pipelines_and_can_cancel() {
    let _machine = machine::shared();
    let server = shop();
    let seen = answer_of(python("sessions.py").arg(server.ports.pgwire.to_string()), b"");
    compare(
        &seen,
        &[
            ("pipeline", json!([[0, 1, 2, 3, 4], "42703", 2])),
            ("transactions", json!(["INTRANS", ["42703", "25P02"], 2, "IDLE"])),
            (
                "named_cursor",
                json!([
                    12_502_500,
                    [1, "1"],
                    [[2, "2"], [3, "3"]],
                    [14, "14"],
                    86,
                    ["g", "word"],
                    [[1.5, "x", 1], [1.5, "x", 2], [1.5, "x", 3]],
                    [[1], [2], [3]]
                ]),
            ),
            (
                "scroll_cursor",
                json!([
                    [
                        [[1], [2]],
                        [1],
                        [[5], [6], [7]],
                        [[7], [6], [5, 4], [2], [5], [5], [4, 3, 2, 1], [1, 2, 3, 4, 5, 6, 7], [1], []]
                    ],
                    ["MOVE 3", "MOVE 2", "MOVE 1"],
                    "55000"
                ]),
            ),
            ("cursors_end_with_their_transaction", json!([[[1]], "34000", "25P01", "34000"])),
            (
                "copy",
                json!({
                    "text": "1\ta\\tb, \"c\"\tt\n2\t\\N\tf\n",
                    "options": "g;word;one\n1;\"a\tb, \"\"c\"\"\";t\n2;nil;f\n",
                    "csv": [["1", "a\tb, \"c\"", "t"], ["2", "", "f"]],
                    "table": "asset_id\ncheckout\n",
                    "rows": [[1, 2], [2, 4], [3, 6], [4, 8]],
                }),
            ),
            ("copy_refused", json!(["25006", "25006", "25006", "42703"])),
            ("cancel", json!(["57014", 1])),
            ("timeout", json!(["57014", "57014"])),
            (
                "activity",
                json!([
                    ["idle", "SELECT 1", "the other", "anyone", "whence"],
                    ["active"],
                    true,
                    ["57014"],
                    false,
                    true
                ]),
            ),
            (
                "errors",
                json!({
                    "SELEC 1": ["42601", "1"],
                    "SELECT 1 FROM events WHERE": ["42601", null],
                    "SELECT nope FROM events": ["42703", "8"],
                    "SELECT name FROM nosuch": ["42P01", "18"],
                    "SELECT nosuch(1)": ["42883", "8"],
                    "SELECT 1 / 0": ["22012", null],
                    "SELECT 'x'::int": ["22P02", null],
                    "SHOW nosuch": ["42704", null],
                }),
            ),
        ],
    );
}

#[test]
fn asyncpgs_pool_is_content() {
    let _machine = machine::shared();
    let server = shop();
    let seen = answer_of(python("pool.py").arg(server.ports.pgwire.to_string()), b"");
    compare(
        &seen,
        &[
            ("parameters", json!([1, 50, 0, [4, 5], ["a", null, "b c"]])),
            (
                "arrays",
                json!([
                    [],
                    {
                        "uuid": 3, "uuid cast": 2, "uuid, all of them": 47, "int8": 50, "int4": 2, "float8": 50,
                        "bool": 50, "timestamptz": 4, "text": 50, "nothing": 0, "rows": [1, 2, 3],
                    },
                    true,
                    ["pay"],
                    [5_000_000, 5_000_000, 5_000_000]
                ]),
            ),
            ("cursors", json!([500_500, [1, 2], 6])),
            ("savepoints", json!(2)),
            ("release", json!("")),
            ("copy", json!(["COPY 2", "g,word\n1,x\n2,x\n"])),
            ("timeouts", json!(3)),
        ],
    );
}

#[test]
fn node_postgres_is_content() {
    let _machine = machine::shared();
    let server = shop();
    let seen = answer_of(node("pg.js").arg(server.ports.pgwire.to_string()), b"");
    compare(
        &seen,
        &[
            ("parameters", json!([1, "string", true, "object", "50", "50", "50", 2])),
            ("arrays", json!([3, 2, 47, 50, 50, 50, true, 0, [1, null, 3], [true, false], [0.5, 2], true])),
            ("named", json!([1, 2])),
            ("cursor", json!([["1", "2"], 10, "3"])),
            ("errors", json!([["42703", "8"], "4"])),
            ("pool", json!([1, 2, 3, 4])),
        ],
    );
}

#[test]
fn adbc_reads_arrow() {
    let _machine = machine::shared();
    let server = shop();
    let seen = answer_of(python("arrow.py").arg(server.ports.pgwire.to_string()), b"");
    let time = "timestamp[us, tz=UTC]";
    compare(
        &seen,
        &[
            (
                "query",
                json!([["asset_id", "string"], ["timestamp", time], ["duration_ns", "int64"], ["sampled", "bool"], 1]),
            ),
            ("parameter", json!([[50]])),
            ("schema", json!([["id", "extension<arrow.uuid>"], ["timestamp", time], ["source_module", "string"]])),
            ("catalogs", json!([["whence", null, null, null]])),
            (
                "schemas",
                json!([
                    ["whence", "public", null, null],
                    ["whence", "timescaledb_information", null, null],
                    ["whence", "whence", null, null]
                ]),
            ),
            (
                "columns",
                json!([
                    ["whence", "public", ["correlations", "table"], ["id", "uuid", 1]],
                    ["whence", "public", ["correlations", "table"], ["timestamp", "timestamptz", 2]],
                    ["whence", "public", ["correlations", "table"], ["correlation_type", "text", 3]]
                ]),
            ),
            ("schema_of_a_schema", json!([["job", "string"], ["last_started_at", time]])),
        ],
    );
}

#[test]
fn jdbc_reads_the_catalog_and_fetches_in_parts() {
    let _machine = machine::shared();
    let server = shop();
    let mut java = Command::new("java");
    java.arg("-cp").arg(folder().join("java/postgresql-42.7.14.jar")).arg(script("Catalog.java"));
    let seen = answer_of(java.arg(server.ports.pgwire.to_string()), b"");
    let tables: Vec<_> = seen["tables"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(["correlations", "events", "metrics"].iter().all(|table| tables.contains(table)), "{tables:?}");
    let none = || json!([]);
    compare(
        &seen,
        &[
            ("product", json!(["PostgreSQL", 16])),
            ("primaryKeys", none()),
            ("indexes", none()),
            ("importedKeys", none()),
            ("exportedKeys", none()),
            ("typeInfo", json!(true)),
            ("procedures", none()),
            ("prepared", json!([true, true, true, true, true, true, true])),
            ("arrays", json!(50)),
            ("fetchSize", json!(500_500)),
            ("savepoints", json!(2)),
            ("timeout", json!("57014")),
            ("copy", json!("a,b\n1,x\n")),
            ("valid", json!([true, "public", "whence"])),
        ],
    );
}

#[test]
fn tls_is_spoken_with_psql_and_psycopg_and_a_broken_setup_stops_the_start() {
    let _machine = machine::shared();
    let home = Home::new();
    let (certificate, key) = (home.file("server.crt"), home.file("server.key"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
    openssl.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    let made = openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let tls = |key: &std::path::Path, more: &str| {
        let (certificate, key) = (certificate.display(), key.display());
        format!("extensions.query.pgwire.tls={{cert_file: {certificate}, key_file: {key}{more}}}")
    };
    let server = Server::start_with(&home, &[&tls(&key, ", required: true")]);
    let address = |mode: &str| {
        format!(
            "host=localhost hostaddr=127.0.0.1 port={} dbname=whence user=anyone sslmode={mode} sslrootcert={}",
            server.ports.pgwire,
            certificate.display()
        )
    };
    let psql = |mode: &str| {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-At", "-c", "SELECT 1", &address(mode)]).stdin(Stdio::null()).output().unwrap()
    };
    for mode in ["require", "verify-full"] {
        let answer = psql(mode);
        assert_eq!(String::from_utf8_lossy(&answer.stdout), "1\n", "{}", String::from_utf8_lossy(&answer.stderr));
    }
    let refused = psql("disable");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("TLS only"), "{refused:?}");
    let mut python = Command::new(folder().join("python/bin/python"));
    let text = "import sys, psycopg; c = psycopg.connect(sys.argv[1]); print(int(c.pgconn.ssl_in_use))";
    let answer = answer_of(python.args(["-c", text, &address("verify-full")]), b"");
    assert_eq!(answer, json!(1));
    drop(server);

    std::fs::write(&key, "no key\n").unwrap();
    let mut broken = Server::spawn(&home, &[&tls(&key, "")]);
    let status = broken.wait();
    let said = broken.output();
    assert!(!status.success() && said.contains("server.key") && said.contains("private key"), "{status}: {said}");
}
