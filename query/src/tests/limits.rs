//! What one tenant's statements may take, and what they tell about themselves.

use super::fixture::{Shop, ask};
use whence_schema::TenantId;
use whence_storage::Grant;

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_would_not_fit_into_memory_is_refused_before_it_is_made() {
    let shop = Shop::empty().await;
    for sql in [
        "SELECT repeat('xy', 1000000000)",
        "SELECT length(repeat('x', 100000000)) FROM generate_series(1, 100)",
        "SELECT lpad('x', 2000000000)",
        "SELECT rpad('x', 2000000000, 'y')",
        "SELECT array_repeat(1, 2000000000)",
        "SELECT range(1, 100000000000)",
    ] {
        assert_eq!(shop.refused(sql).await, "53200", "{sql}");
    }
    for (sql, answer) in [
        ("SELECT repeat('xy', 3)", "xyxyxy"),
        ("SELECT lpad('x', 3), rpad('x', 3, 'y')", "  x|xyy"),
        ("SELECT length(repeat('x', 1000000))", "1000000"),
        ("SELECT repeat(NULL, 5)", "NULL"),
        ("SELECT cardinality(range(1, 1000))", "999"),
        ("SELECT count(*) FROM generate_series(1, 100000)", "100000"),
    ] {
        assert_eq!(shop.ask(sql).await, [answer], "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_counted_without_their_literals_and_for_their_own_tenant_only() {
    let shop = Shop::with_history(true).await;
    for asset in ["'checkout'", "'cart'", "'secret-of-mine'"] {
        shop.ask(&format!("SELECT name FROM events WHERE asset_id = {asset} ORDER BY name LIMIT 3")).await;
    }
    shop.refused("SELECT 1 / (count(*) - count(*)) FROM events").await;
    let queries = "SELECT calls, rows, errors, max_ms > 0, total_ms >= max_ms, query FROM whence.queries ";
    let seen = shop.ask(&format!("{queries} WHERE query LIKE '%asset_id = %'")).await;
    assert_eq!(seen, ["3|6|0|t|t|SELECT name FROM events WHERE asset_id = ? ORDER BY name LIMIT ?"]);
    let failed = shop.ask(&format!("{queries} WHERE errors > 0")).await;
    assert_eq!(failed, ["1|0|1|t|t|SELECT ? / (count(*) - count(*)) FROM events"]);
    let other = shop.engine.session(Grant::trusted(TenantId::new("other")));
    assert_eq!(ask(&other, "SELECT count(*) FROM whence.queries").await.unwrap(), ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_settings_are_shown() {
    let shop = Shop::with_history(true).await;
    let tables = "SELECT t.table_name, t.rows = sum(c.rows), t.bytes = sum(c.bytes), t.chunks = count(*) \
                  FROM whence.tables t JOIN whence.chunks c USING (table_name) \
                  GROUP BY t.table_name, t.rows, t.bytes, t.chunks ORDER BY 1";
    assert_eq!(shop.ask(tables).await, ["correlations|t|t|t", "events|t|t|t", "metrics|t|t|t"]);
    assert_eq!(shop.ask("SELECT count(*) FROM whence.settings").await, ["0"], "none were handed to this engine");
}

/// One session never sees another's tenant, whatever is asked, and however.
#[tokio::test(flavor = "multi_thread")]
async fn no_statement_leads_to_another_tenants_rows() {
    let shop = Shop::with_history(true).await;
    for sql in [
        "SELECT count(*) FROM events WHERE tenant_id = 'other'",
        "SELECT count(*) FROM events WHERE tenant_id <> 'default' OR asset_id = 'vault'",
        "SELECT count(*) FROM whence.public.events WHERE name = 'secret'",
        "SELECT count(*) FROM (SELECT * FROM events) e WHERE e.name = 'secret'",
        "WITH RECURSIVE r AS (SELECT name FROM events UNION SELECT name FROM r) SELECT count(*) FROM r WHERE name = 'secret'",
        "SELECT count(*) FROM metrics WHERE value_max = 7",
        "SELECT count(*) FROM metrics WHERE tenant_id = 'other'",
        "SELECT count(*) FROM whence.ingest_ledger WHERE tenant_id = 'other'",
        "SELECT count(*) FROM asset_metadata WHERE tenant_id = 'other'",
        "SELECT count(*) FROM events a LEFT JOIN events b ON a.tenant_id <> b.tenant_id WHERE b.id IS NOT NULL",
    ] {
        assert_eq!(shop.ask(sql).await, ["0"], "{sql}");
    }
    let plan = shop.ask("EXPLAIN ANALYZE VERBOSE SELECT * FROM events WHERE asset_id = 'vault'").await.join("\n");
    assert!(!plan.contains("other"), "{plan}");
    for sql in ["SELECT * FROM other.events", "SELECT * FROM events_stored", "SELECT * FROM control.api_key"] {
        assert_eq!(shop.refused(sql).await, "42P01", "{sql}");
    }
}
