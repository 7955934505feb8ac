//! The catalog as clients read it: the same client asks Whence and a real PostgreSQL with tables of the same shape, and
//! sees the same.

use crate::clients::{answer_of, folder, python, script};
use crate::drivers;
use crate::machine;
use crate::postgres::{Postgres, psql};
use crate::server::Server;
use serde_json::{Value, json};
use std::process::{Command, Stdio};

/// A server with some rows and a continuous aggregate that was declared, which is a materialized view.
fn shop() -> Server {
    let server = drivers::shop();
    let declare = "CREATE MATERIALIZED VIEW hourly WITH (timescaledb.continuous) AS SELECT time_bucket('1 hour', timestamp) \
        AS bucket, asset_id, count(*) AS n, avg(duration_ns) AS mean, bool_or(status = 'error') AS failed, \
        percentile_agg(duration_ns) AS \"Durations\" FROM events GROUP BY 1, 2";
    let answer = psql(&address(&server), &format!("\\set ON_ERROR_STOP on\n{declare}"));
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    server
}

/// A PostgreSQL with the tables and views that Whence says it has, with their comments, owned by the same user.
fn twin(server: &Server) -> Postgres {
    let postgres = Postgres::start();
    let shape = "SELECT CASE WHEN c.relkind <> 'r' THEN 'CREATE ' || CASE c.relkind WHEN 'm' THEN 'MATERIALIZED ' \
            ELSE '' END || 'VIEW ' || c.oid::regclass::text || ' AS SELECT ' || \
            string_agg('NULL::' || format_type(a.atttypid, a.atttypmod) || ' AS ' || quote_ident(a.attname), ', ' \
            ORDER BY a.attnum) || CASE c.relkind WHEN 'm' THEN ' WITH NO DATA' ELSE '' END ELSE 'CREATE TABLE ' || c.oid::regclass::text || ' (' || \
            string_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod) || \
            CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END, ', ' ORDER BY a.attnum) || ')' END || ';' \
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname IN ('public', 'whence', 'timescaledb_information') GROUP BY c.oid, c.relkind ORDER BY c.oid";
    let comments = "SELECT 'COMMENT ON ' || CASE WHEN d.objsubid > 0 THEN 'COLUMN ' || c.oid::regclass::text || '.' || \
            quote_ident(a.attname) WHEN c.relkind = 'v' THEN 'VIEW ' || c.oid::regclass::text \
            ELSE 'TABLE ' || c.oid::regclass::text END || ' IS ' || quote_literal(d.description) || ';' \
        FROM pg_class c JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass \
        JOIN pg_namespace n ON n.oid = c.relnamespace \
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid WHERE n.nspname IN ('public', 'whence', 'timescaledb_information')";
    let mut script = "CREATE ROLE whence LOGIN SUPERUSER;\nCREATE DATABASE whence OWNER whence;\n\\c whence whence\n\
        ALTER SCHEMA public OWNER TO whence;\nCREATE SCHEMA whence;\nCREATE SCHEMA timescaledb_information;\n\
        -- A schema of the user's name would come first.\nALTER DATABASE whence SET search_path = public;\n\
        SET search_path = public;\n"
        .to_owned();
    for question in [shape, comments] {
        let answer = psql(&address(server), question);
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        script.push_str(&String::from_utf8(answer.stdout).unwrap());
    }
    let made = psql(&postgres.address(), &format!("\\set ON_ERROR_STOP on\n{script}"));
    assert!(made.status.success(), "{script}\n{}", String::from_utf8_lossy(&made.stderr));
    postgres
}

fn address(server: &Server) -> [String; 3] {
    ["127.0.0.1".to_owned(), server.ports.pgwire.to_string(), "whence".to_owned()]
}

/// Part by part what differs.
fn differences(ours: &Value, theirs: &Value, path: &str, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(left), Value::Object(right)) => {
            for key in left.keys().chain(right.keys().filter(|key| !left.contains_key(*key))) {
                differences(&ours[key], &theirs[key], &format!("{path}/{key}"), found);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (at, (left, right)) in left.iter().zip(right).enumerate() {
                differences(left, right, &format!("{path}/{at}"), found);
            }
        }
        _ if ours == theirs => {}
        _ => found.push(format!("{path}: {ours} instead of {theirs}")),
    }
}

fn assert_same(ours: &Value, theirs: &Value) {
    let mut found = Vec::new();
    differences(ours, theirs, "", &mut found);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn jdbc_reads_the_same_metadata_as_of_a_postgresql() {
    let _machine = machine::shared();
    let server = shop();
    let twin = twin(&server);
    let ask = |port: u16| {
        let mut java = Command::new("java");
        java.arg("-cp").arg(folder().join("java/postgresql-42.7.14.jar")).arg(script("Metadata.java"));
        answer_of(java.arg(port.to_string()).arg("whence"), b"")
    };
    let (mut ours, mut theirs) = (ask(server.ports.pgwire), ask(twin.port));
    // PostgreSQL has databases and composite types of its own, and rights to write; the twin has no functions.
    assert_eq!(ours["catalogs"], json!([{"TABLE_CAT": "whence"}]));
    assert_eq!(ours["user types"], json!([]));
    for (of, name) in [(&mut ours, "ours"), (&mut theirs, "theirs")] {
        for part in ["catalogs", "user types", "procedure columns"] {
            of[part] = Value::Null;
        }
        let selects = of["column privileges"].as_array().unwrap_or_else(|| panic!("{name}: {of}")).iter();
        of["column privileges"] = selects.filter(|row| row["PRIVILEGE"] == "SELECT").cloned().collect();
        // Newer versions have more types.
        let types = of["types"].as_array().unwrap_or_else(|| panic!("{name}: {of}")).iter();
        let common =
            ["bool", "int2", "int8", "float4", "float8", "numeric", "text", "varchar", "uuid", "json", "bytea"];
        let common = |row: &&Value| common.iter().any(|known| row["TYPE_NAME"] == *known);
        of["types"] = types.filter(common).cloned().collect();
    }
    assert_same(&ours, &theirs);
}

#[test]
fn sqlalchemy_reflects_the_same_as_of_a_postgresql() {
    let _machine = machine::shared();
    let server = shop();
    let twin = twin(&server);
    let ask = |port: u16| answer_of(python("reflect.py").arg(port.to_string()).arg("whence"), b"");
    let (mut ours, mut theirs) = (ask(server.ports.pgwire), ask(twin.port));
    // The twin has no rows.
    assert_eq!(ours["selected"], json!([[["pay", "UUID"]], true, 5050]));
    for of in [&mut ours, &mut theirs] {
        of["selected"] = Value::Null;
    }
    assert_same(&ours, &theirs);
}

/// What psql prints for one command, with what it says on the way.
fn printed(port: u16, command: &str) -> (bool, String) {
    let mut psql = Command::new("psql");
    psql.args(["-X", "-v", "HIDE_TABLEAM=on", "-h", "127.0.0.1", "-p", &port.to_string(), "-U", "whence", "whence"]);
    let output = psql.args(["-c", command]).env("EDITOR", "true").stdin(Stdio::null()).output();
    let output = output.expect("psql is installed by tests/run");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Commands whose answers are those of a PostgreSQL with the same tables, to the letter.
const SAME: [&str; 52] = [
    "\\d",
    "\\d events",
    "\\d metrics",
    "\\d service_red",
    "\\d hourly",
    "\\dm hour*",
    "\\dt timescaledb_information.*",
    "\\d whence.jobs",
    "\\d+ events",
    "\\d+ correlations",
    "\\d+ asset_metadata",
    "\\dt",
    "\\dt e*",
    "\\dt whence.*",
    "\\dv",
    "\\dm",
    "\\di",
    "\\di+",
    "\\ds",
    "\\ds+",
    "\\dy",
    "\\dd events",
    "\\dD",
    "\\ddp",
    "\\des",
    "\\des+",
    "\\dew",
    "\\dew+",
    "\\det",
    "\\det+",
    "\\deu",
    "\\deu+",
    "\\dE",
    "\\dRp",
    "\\dRs",
    "\\dRs+",
    "\\dP",
    "\\dPt",
    "\\dPi",
    "\\dX",
    "\\dT",
    "\\dT+",
    "\\dT int4",
    "\\dO",
    "\\dn whence",
    "\\df lower",
    "\\df now",
    "\\da sum",
    "\\dC",
    "\\dl",
    "\\do =",
    "\\sf nosuch",
];

/// Commands that list what differs here, or between versions, with a part of what they say.
const OTHERS: [(&str, &str); 45] = [
    ("\\dF", "english"),
    ("\\dFd", "english_stem"),
    ("\\dFp", "default"),
    ("\\dFt", "snowball"),
    ("\\dx", "List of installed extensions"),
    ("\\d+", "Every span, span event and log record"),
    ("\\d+ service_red", "View definition:"),
    ("\\d+ hourly", "View definition:\n SELECT time_bucket('1 hour', timestamp) AS bucket"),
    ("\\dt+", "events"),
    // Nothing is stored of it.
    ("\\dm+", "0 bytes"),
    ("\\dv+", "service_red"),
    ("\\dp", "asset_metadata"),
    ("\\z events", "events"),
    ("\\sv service_red", "CREATE OR REPLACE VIEW public.service_red AS"),
    ("\\sv+ service_red", "duration_sketch"),
    ("\\df", "time_bucket"),
    ("\\df+", "start of the bucket that a time is in"),
    ("\\df causal_chain", "TABLE("),
    ("\\da", "histogram"),
    ("\\df+ now", "timestamp with time zone"),
    ("\\dfS", "pg_get_viewdef"),
    ("\\dTS", "timestamp with time zone"),
    ("\\dT+ int4", "integer"),
    ("\\du", "whence"),
    ("\\du+", "whence"),
    ("\\dg", "whence"),
    ("\\dn", "public"),
    ("\\dn+", "what Whence tells about itself"),
    // The twin has another owner of its tablespaces, and a search path set.
    ("\\db", "pg_default"),
    ("\\db+", "pg_default"),
    ("\\drds", "Did not find any settings"),
    ("\\dc", "List of conversions"),
    ("\\dC+", "List of casts"),
    ("\\dL", "List of languages"),
    ("\\do", "List of operators"),
    ("\\do+ =", "List of operators"),
    ("\\dA+", "btree"),
    ("\\dAc", "List of operator classes"),
    ("\\dAf", "List of operator families"),
    ("\\dAo", "List of operators of operator families"),
    ("\\dAp", "List of support functions of operator families"),
    ("\\dconfig", "List of"),
    ("\\l+", "whence"),
    ("\\dS", "pg_class"),
    ("\\d pg_class", "relname"),
];

#[test]
fn psqls_commands_show_what_they_show_of_a_postgresql() {
    let _machine = machine::shared();
    let server = shop();
    let twin = twin(&server);
    let mut wrong = Vec::new();
    for command in SAME {
        let (ours, theirs) = (printed(server.ports.pgwire, command), printed(twin.port, command));
        if ours != theirs {
            wrong.push(format!("{command}\nPostgreSQL:\n{}Whence:\n{}", theirs.1, ours.1));
        }
    }
    for (command, part) in OTHERS {
        let (success, text) = printed(server.ports.pgwire, command);
        if !success || text.contains("ERROR") || !text.contains(part) {
            wrong.push(format!("{command} shows no {part}:\n{text}"));
        }
    }
    for (command, part) in
        [("\\conninfo", "database \"whence\""), ("\\encoding", "UTF8"), ("\\dRp+", "any publications")]
    {
        let (_, text) = printed(server.ports.pgwire, command);
        if text.contains("ERROR") || !text.contains(part) {
            wrong.push(format!("{command}: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn psql_is_told_that_passwords_are_not_set_here() {
    let _machine = machine::shared();
    let server = shop();
    let (success, text) = printed(server.ports.pgwire, "ALTER USER whence PASSWORD 'x'");
    assert!(!success && text.contains("SQL is read-only here"), "{text}");
}

#[test]
fn what_tools_ask_the_catalog_is_answered_with_postgresqls_columns() {
    let _machine = machine::shared();
    let server = shop();
    let twin = twin(&server);
    let text = std::fs::read_to_string(script("tools.sql")).unwrap();
    let statements: Vec<&str> = text.split("-- --\n").skip(1).map(str::trim).collect();
    assert!(statements.len() > 30, "{} statements", statements.len());
    let mut wrong = Vec::new();
    for statement in statements {
        let header = |port: u16| {
            let statement = statement.replace(":events", "(SELECT oid FROM pg_class WHERE relname = 'events')");
            let (success, text) = printed(port, &statement);
            (success, text.lines().next().unwrap_or_default().split('|').map(str::trim).collect::<Vec<_>>().join("|"))
        };
        let (ours, theirs) = (header(server.ports.pgwire), header(twin.port));
        if !ours.0 || !theirs.0 || !has_all(&ours.1, &theirs.1) {
            wrong.push(format!("{statement}\nPostgreSQL: {}\nWhence: {}", theirs.1, ours.1));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether every column is there, in the same order. Whence shows `tableoid`, which PostgreSQL hides from `*`, and
/// columns of later versions.
fn has_all(ours: &str, theirs: &str) -> bool {
    let extra = ["tableoid", "datlocale"];
    let shown = |header: &str| -> Vec<String> {
        header.split('|').filter(|column| !extra.contains(column)).map(str::to_owned).collect()
    };
    shown(ours) == shown(theirs)
}
