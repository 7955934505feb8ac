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

#[tokio::test(flavor = "multi_thread")]
async fn links_are_joined_with_their_events_on_time_as_well() {
    let shop = Shop::with_history(true).await;
    for joined in [
        "FROM correlations c JOIN events e ON c.primary_event_id = e.id",
        "FROM correlations AS c LEFT JOIN events e ON e.id = c.related_event_id AND e.name <> 'x'",
        "FROM correlations c, events e WHERE c.related_event_id = e.id",
        "FROM correlations JOIN events ON correlations.related_event_id = events.id",
    ] {
        let plan = plan(&shop, &format!("SELECT 1 {joined}")).await;
        let join = plan.lines().find(|line| line.contains("HashJoinExec")).unwrap();
        assert!(join.contains("timestamp"), "{joined}: {join}");
    }
    for other in [
        "FROM (SELECT primary_event_id, now() AS primary_timestamp FROM correlations) c \
         JOIN events e ON c.primary_event_id = e.id",
        "FROM correlations c JOIN (SELECT id, now() AS timestamp FROM events) e ON c.primary_event_id = e.id",
        "FROM correlations c JOIN events e ON c.primary_event_id = e.parent_event_id",
    ] {
        let plan = plan(&shop, &format!("SELECT 1 {other}")).await;
        let join = plan.lines().find(|line| line.contains("HashJoinExec")).unwrap();
        assert!(!join.contains("timestamp"), "{other}: {join}");
    }
    let both = "SELECT count(*) FROM correlations c JOIN events a ON c.primary_event_id = a.id \
                JOIN events b ON c.related_event_id = b.id";
    assert_eq!(shop.ask(both).await, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_of_many_wide_rows_are_found_by_their_times_and_are_the_right_ones() {
    let shop = Shop::with_history(true).await;
    for (order, limit) in [("DESC", 7), ("ASC", 7), ("DESC", 10_000), ("DESC", 0)] {
        let rest = format!("FROM events WHERE asset_id = 'checkout' ORDER BY timestamp {order} LIMIT {limit}");
        let wide = format!("SELECT id, timestamp, name, kind, severity, payload, metadata {rest}");
        if limit > 0 {
            let plan = plan(&shop, &wide).await;
            assert!(plan.contains("TimesFirstExec"), "{wide}");
            assert!(plan.contains("projection=[timestamp]"), "the times alone are read first: {plan}");
        }
        let all =
            shop.ask(&format!("SELECT id FROM events WHERE asset_id = 'checkout' ORDER BY timestamp {order}")).await;
        let ids: Vec<_> = shop.ask(&wide).await.iter().map(|row| row.split('|').next().unwrap().to_owned()).collect();
        assert_eq!(ids, all[..limit.min(all.len())], "{order} {limit}");
    }
    assert!(!plan(&shop, "SELECT id, timestamp FROM events ORDER BY timestamp LIMIT 5").await.contains("TimesFirst"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_on_a_time_bucket_prunes_chunks_by_time() {
    let shop = Shop::with_history(true).await;
    for condition in [
        "time_bucket('1 day', timestamp) = '2020-01-01T00:00:00Z'",
        "time_bucket('1 month', timestamp) < '2020-01-01T00:00:00Z'",
        "time_bucket('1 hour', timestamp) > now() + INTERVAL '1 day'",
        "time_bucket('1 day', timestamp, 'Europe/Berlin') <= '2020-01-01T00:00:00Z'",
    ] {
        let plan = plan(&shop, &format!("SELECT name FROM events WHERE {condition}")).await;
        assert!(!plan.contains(".parquet"), "chunks are read for {condition}:\n{plan}");
    }
    // Bounds that are no start of a bucket.
    for (condition, all) in [
        ("time_bucket('1 day', timestamp) > '2020-01-01T12:00:00Z'", true),
        ("time_bucket('1 day', timestamp) = '2020-01-01T12:00:00Z'", false),
        ("time_bucket('1 day', timestamp) <> '2020-01-01T12:00:00Z'", true),
        ("time_bucket('1 day', timestamp) IN ('2020-01-01T00:00:00Z')", false),
    ] {
        let count = shop.ask(&format!("SELECT count(*) > 0 FROM events WHERE {condition}")).await;
        assert_eq!(count, [if all { "t" } else { "f" }], "{condition}");
    }
}
