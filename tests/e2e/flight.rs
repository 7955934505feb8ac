//! Flight SQL, on the port of HTTP, with its real clients: ADBC from Python, and the JDBC driver.

use crate::clients::{answer_of, folder, one_span, python};
use crate::machine;
use crate::server::{Home, Server};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}")).iter().filter_map(Value::as_str).collect()
}

#[test]
fn adbc_reads_binds_lists_cancels_and_hears_why_something_is_refused() {
    let _machine = machine::shared();
    let server = Server::start(&Home::new());
    one_span(&server);
    let answer = answer_of(python("flight.py").args([&server.ports.query.to_string(), "checkout"]), b"");
    assert_eq!(answer["names"], json!(["pay"]));
    assert_eq!(answer["ids"], json!(["d269b633-813f-c60c-eee1-9b7ec3c1b174"]));
    for (column, kind) in [
        ("id", "extension<arrow.uuid>"),
        ("timestamp", "timestamp[us, tz=UTC]"),
        ("name", "string"),
        ("duration_ns", "int64"),
        ("payload", "extension<arrow.json>"),
    ] {
        assert_eq!(answer["types"][column], kind, "{column}: {}", answer["types"]);
    }
    assert_eq!((&answer["bound"], &answer["by_id"], &answer["twice"]), (&json!(1), &json!(1), &json!([42, null])));
    assert_eq!((&answer["streamed"], &answer["after"], &answer["basic"]), (&json!([100_000]), &json!(1), &json!(1)));
    for (statement, words) in [
        ("DELETE FROM events", "25006"),
        ("SELECT nope FROM events", "42703, at character 8"),
        ("SELECT * FROM nosuchtable", "42P01"),
        ("SELECT 1; SELECT 2", "0A000"),
        ("ingest", "25006"),
        ("update", "25006"),
    ] {
        let told = answer["refused"][statement].to_string();
        assert!(told.contains(words), "{statement}: {told}");
    }
    assert!(answer["canceled"].to_string().to_lowercase().contains("cancel"), "{}", answer["canceled"]);
    assert_eq!((&answer["vendor"], &answer["catalogs"]), (&json!("Whence"), &json!(["whence"])));
    assert_eq!(answer["table_types"], json!(["TABLE", "VIEW"]));
    for table in ["events", "metrics", "correlations", "asset_metadata"] {
        assert!(texts(&answer["tables"][table]).len() > 5, "{table}: {}", answer["tables"]);
    }
    assert_eq!(answer["table_schema"]["strength"], "float", "{}", answer["table_schema"]);
}

#[test]
fn the_jdbc_driver_reads_binds_and_lists() {
    let _machine = machine::shared();
    let server = Server::start(&Home::new());
    one_span(&server);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/java/FlightQuery.java");
    let mut java = Command::new("java");
    java.arg("--add-opens=java.base/java.nio=ALL-UNNAMED").arg("-cp").arg(folder().join("java").join("*"));
    let answer = answer_of(java.arg(source).args([&server.ports.query.to_string(), "checkout"]), b"");
    let expected = [
        ("names", "[pay]"),
        ("streamed", "100000"),
        ("bound", "1"),
        ("product", "Whence"),
        ("read_only", "true"),
        ("catalogs", "[whence]"),
        ("table_types", "[TABLE, VIEW]"),
        ("primary_keys", "[]"),
        ("imported_keys", "[]"),
    ];
    for (key, value) in expected {
        assert_eq!(answer[key], value, "{key}: {answer}");
    }
    for (key, words) in [
        ("delete", "25006"),
        ("unknown", "42703"),
        ("schemas", "information_schema, pg_catalog, public"),
        ("tables", "correlations"),
        ("columns", "primary_event_id"),
    ] {
        assert!(answer[key].as_str().unwrap().contains(words), "{key}: {answer}");
    }
}
