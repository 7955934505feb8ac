//! Answers put together from partial results of chunks are those of the rows themselves.

use super::fixture::{Row, Shop, ask};
use whence_schema::TenantId;
use whence_storage::Grant;

const ASSETS: [&str; 4] = ["cart", "checkout", "payment", "search"];
const SEVERITIES: [&str; 3] = ["info", "warning", "error"];
const DAY: i64 = 86_400_000_000_000;

/// Rows spread over the three days before now.
fn rows(from: u64, count: u64) -> Vec<Row> {
    let row = |i: u64| Row {
        at: -((i.wrapping_mul(7_919_000_000_007) % (3 * DAY as u64)) as i64),
        asset: ASSETS[i as usize % 4],
        name: if i.is_multiple_of(3) { "read" } else { "write" },
        trace: Some(u128::from(i) << 3 | 1),
        span: Some(0x8000_0000_0000_0000 | i),
        severity: SEVERITIES[i as usize % 3],
        payload: "{}",
        ..Row::default()
    };
    (from..from + count).map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dashboard_that_moves_forward_finds_what_it_worked_out_before() {
    let shop = Shop::empty().await;
    let tenant = TenantId::default();
    shop.events(&tenant, &rows(0, 2_000)).await;
    shop.store.flush().await.unwrap();
    shop.events(&tenant, &rows(2_000, 50)).await;
    let uncached = shop.session();
    uncached.set("whence.cache", Some("off")).unwrap();
    let hits = || shop.engine.cache_statistics().memory_hits;
    for sql in [
        "SELECT count(*) FROM events WHERE timestamp > now() - INTERVAL '9 days'",
        "SELECT asset_id, count(*), avg(duration_ns), max(timestamp) FROM events \
         WHERE timestamp > now() - INTERVAL '9 days' AND severity = 'error' GROUP BY 1 ORDER BY 1",
        "SELECT time_bucket('1 day', timestamp) AS day, asset_id, count(*) FILTER (WHERE name = 'read') FROM events \
         WHERE timestamp > now() - INTERVAL '9 days' GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT asset_id, n FROM (SELECT asset_id, count(*) AS n FROM events GROUP BY asset_id) WHERE n > 3 ORDER BY 1",
    ] {
        let expected = ask(&uncached, sql).await.unwrap();
        assert!(!expected.is_empty());
        assert_eq!(shop.ask(sql).await, expected, "{sql}");
        let before = hits();
        assert_eq!(shop.ask(sql).await, expected, "{sql}");
        assert!(hits() >= before + 3, "{sql}: {} hits", hits() - before);
    }
    let before = hits();
    for sql in [
        "SELECT count(DISTINCT name) FROM events",
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ns) FROM events",
    ] {
        assert_eq!(shop.ask(sql).await, ask(&uncached, sql).await.unwrap(), "{sql}");
    }
    assert_eq!(hits(), before, "what cannot be put together from parts is not kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn partials_of_one_tenant_are_no_other_tenants() {
    let shop = Shop::empty().await;
    let (mine, other) = (TenantId::default(), TenantId::new("other"));
    shop.events(&mine, &rows(0, 300)).await;
    shop.events(&other, &rows(300, 100)).await;
    shop.store.flush().await.unwrap();
    let sql = "SELECT count(*) FROM events";
    assert_eq!(shop.ask(sql).await, ["300"]);
    assert_eq!(shop.ask(sql).await, ["300"]);
    let session = shop.engine.session(Grant::trusted(other));
    assert_eq!(ask(&session, sql).await.unwrap(), ["100"]);
}
