//! Continuous aggregates answer as the queries they stand for, with rows that have just arrived.

use super::fixture::{Row, Shop, ask};
use whence_schema::{TenantId, VIEWS};

const HOUR: i64 = 3_600_000_000_000;

fn calls(from: u64, count: u64) -> Vec<Row> {
    let call = |i: u64| Row {
        at: -((i % 60) as i64) * HOUR,
        asset: ["cart", "checkout"][i as usize % 2],
        name: "GET /",
        trace: Some(u128::from(i) << 3 | 1),
        span: Some(0x9000_0000_0000_0000 | i),
        severity: "info",
        payload: "{}",
        ..Row::default()
    };
    (from..from + count).map(call).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_continuous_aggregate_has_the_columns_it_declares_and_can_be_read() {
    let shop = Shop::with_history(true).await;
    for view in VIEWS {
        let rows = shop.session().query(&format!("SELECT * FROM {}", view.name)).await;
        let rows = rows.unwrap_or_else(|error| panic!("{}: {error}", view.name));
        let names: Vec<_> = rows.schema().fields().iter().map(|field| field.name().clone()).collect();
        let declared = view.columns().lines().filter_map(|line| {
            let line = line.trim().trim_end_matches(',');
            (!line.is_empty() && !line.starts_with("--") && !line.starts_with("CREATE"))
                .then(|| line.split_whitespace().next().unwrap().to_owned())
        });
        assert_eq!(names, declared.collect::<Vec<_>>(), "{}", view.name);
        rows.collect_batches().await.unwrap_or_else(|error| panic!("{}: {error}", view.name));
        let columns = format!("SELECT count(*) FROM information_schema.columns WHERE table_name = '{}'", view.name);
        assert_eq!(shop.ask(&columns).await, [names.len().to_string()], "{}", view.name);
    }
    assert_eq!(shop.ask("SELECT count, avg_value, min_value, max_value FROM metrics_hourly").await, ["5|22|1|100"]);
    let edges = "SELECT caller, callee, requests, errors FROM edge_red ORDER BY 1, 2";
    assert_eq!(shop.ask(edges).await, ["frontend|checkout|2|0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_a_continuous_aggregate_share_its_parts_and_see_new_rows_at_once() {
    let shop = Shop::empty().await;
    let tenant = TenantId::default();
    shop.events(&tenant, &calls(0, 2_000)).await;
    shop.store.flush().await.unwrap();
    let session = shop.session();
    session.set("whence.cache", Some("partials")).unwrap();
    let total = "SELECT sum(requests), max(p99_ms) BETWEEN 0.98 AND 1.02 FROM service_red";
    assert_eq!(ask(&session, total).await.unwrap(), ["2000|t"]);
    let statistics = || shop.engine.cache_statistics();
    let (hits, misses) = (statistics().memory_hits, statistics().misses);
    for (sql, answer) in [
        ("SELECT asset_id, sum(requests) FROM service_red GROUP BY 1 ORDER BY 1", vec!["cart|1000", "checkout|1000"]),
        ("SELECT sum(errors) FROM service_red WHERE asset_id = 'cart' AND operation = 'GET /'", vec!["0"]),
        ("SELECT count(*) > 1 FROM service_red WHERE bucket > '2020-01-01'", vec!["t"]),
    ] {
        assert_eq!(ask(&session, sql).await.unwrap(), answer, "{sql}");
    }
    assert!(statistics().memory_hits >= hits + 3, "{:?}", statistics());
    assert_eq!(statistics().misses, misses, "other columns and conditions of the same aggregate need nothing new");
    shop.events(&tenant, &calls(2_000, 1)).await;
    assert_eq!(ask(&session, total).await.unwrap(), ["2001|t"]);
}
