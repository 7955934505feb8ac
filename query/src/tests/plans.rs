//! Plans: what reaches the files.

use super::fixture::{CHILD_ID, Shop};

async fn plan(shop: &Shop, sql: &str) -> String {
    shop.ask(&format!("EXPLAIN {sql}")).await.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn time_and_ids_reach_the_files_and_unused_columns_are_not_read() {
    let shop = Shop::with_history(true).await;
    let recent = plan(
        &shop,
        "SELECT name FROM events WHERE asset_id = 'checkout' AND timestamp >= NOW() - INTERVAL '24 hours' \
         ORDER BY timestamp DESC LIMIT 10",
    )
    .await;
    assert!(recent.contains("pruning_predicate") && recent.contains("timestamp_max"), "{recent}");
    assert!(!recent.contains("payload"), "{recent}");
    let by_id = plan(&shop, &format!("SELECT name FROM events WHERE id = '{CHILD_ID}'")).await;
    assert!(by_id.contains("span_id_min"), "{by_id}");
    let metrics = plan(&shop, "SELECT sum(value_count) FROM metrics WHERE metric_name = 'x'").await;
    assert!(metrics.contains("metric_name_min"), "{metrics}");
    assert!(!metrics.contains("sketch") && !metrics.contains("dimensions"), "{metrics}");
}
