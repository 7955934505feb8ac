//! The PostgreSQL wire with psql, where it is installed.

use super::fixture::{ROOT_ID, Shop};
use crate::serve::pgwire;
use std::process::Stdio;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

struct Served {
    _shop: Shop,
    port: u16,
    stop: CancellationToken,
}

impl Served {
    async fn start() -> Self {
        let shop = Shop::with_history(true).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        tokio::spawn(pgwire::serve(shop.engine.clone(), listener, None, stop.clone()));
        Self { _shop: shop, port, stop }
    }

    /// What psql prints; `None` where there is no psql.
    async fn psql(&self, commands: &[&str]) -> Option<String> {
        let mut psql = std::process::Command::new("psql");
        psql.args(["-X", "-A", "-t", "-v", "VERBOSITY=verbose", "-h", "127.0.0.1", "-U", "anyone", "-p"]);
        psql.arg(self.port.to_string()).arg("whence").stdin(Stdio::null());
        for command in commands {
            psql.args(["-c", command]);
        }
        let output = tokio::task::spawn_blocking(move || psql.output()).await.unwrap().ok()?;
        Some(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_finds_its_way() {
    let served = Served::start().await;
    let Some(tables) = served.psql(&["\\dt"]).await else {
        eprintln!("SKIPPED: psql is not installed");
        return;
    };
    for table in ["events", "metrics", "correlations", "asset_metadata"] {
        assert!(tables.contains(table), "\\dt: {tables}");
    }
    // As in PostgreSQL: what needs its schema to be found is listed by its schema.
    let ours = served.psql(&["\\dt whence.*"]).await.unwrap();
    assert!(ours.contains("ingest_ledger") && !tables.contains("ingest_ledger"), "{ours} {tables}");
    let events = served.psql(&["\\d events"]).await.unwrap();
    for column in ["id|uuid|", "timestamp|timestamp with time zone|", "payload|json|", "duration_ns|bigint|"] {
        assert!(events.contains(column), "\\d events: {events}");
    }
    for command in ["\\d", "\\l", "\\dn", "\\dv", "\\d metrics"] {
        let output = served.psql(&[command]).await.unwrap();
        assert!(!output.contains("ERROR"), "{command}: {output}");
    }
    let query = format!("SELECT id, name FROM events WHERE id = '{ROOT_ID}'");
    assert_eq!(served.psql(&[&query]).await.unwrap(), format!("{ROOT_ID}|GET /\n"));
    let several = served.psql(&["SELECT 1; BEGIN; SELECT 2; COMMIT;"]).await.unwrap();
    assert!(several.contains('1') && several.contains('2'), "{several}");
    let refused = served.psql(&["DELETE FROM events", "SELECT nope FROM events", "SELECT * FROM nope"]).await.unwrap();
    for state in ["25006", "42703", "42P01"] {
        assert!(refused.contains(state), "{refused}");
    }
    served.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn psycopg_is_content() {
    let served = Served::start().await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/psycopg_client.py");
    let mut python = std::process::Command::new("python3");
    python.args([script, &served.port.to_string(), ROOT_ID]);
    let Ok(output) = tokio::task::spawn_blocking(move || python.output()).await.unwrap() else {
        eprintln!("SKIPPED: python3 is not installed");
        return;
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("No module named 'psycopg'") {
        eprintln!("SKIPPED: psycopg is not installed");
        return;
    }
    assert!(output.status.success(), "{errors}");
}
