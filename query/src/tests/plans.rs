//! Plans: what reaches the files.

use super::fixture::{CHILD_ID, Shop, ask};
use crate::kept_plans::{Kept, Timed};
use crate::statement::{Command, parse};
use whence_schema::TenantId;
use whence_storage::Grant;

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
    assert!(recent.contains("pruning_predicate") && recent.contains("asset_id_min"), "{recent}");
    assert!(!recent.contains("payload") && !recent.contains("timestamp_max"), "no row is older: {recent}");
    let start = shop.start.0 / 1_000_000_000;
    let newer = plan(&shop, &format!("SELECT name FROM events WHERE timestamp > to_timestamp({start})")).await;
    assert!(newer.contains("pruning_predicate") && newer.contains("timestamp_max"), "{newer}");
    let by_id = plan(&shop, &format!("SELECT name FROM events WHERE id = '{CHILD_ID}'")).await;
    assert!(by_id.contains("span_id_min"), "{by_id}");
    let uncached = shop.session();
    uncached.set("whence.cache", Some("off")).unwrap();
    let metrics = "EXPLAIN SELECT sum(value_avg) FROM metrics WHERE metric_name = 'x'";
    let metrics = ask(&uncached, metrics).await.unwrap().join("\n");
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
    let uncached = shop.session();
    uncached.set("whence.cache", Some("off")).unwrap();
    for (order, limit) in [("DESC", 7), ("ASC", 7), ("DESC", 10_000), ("DESC", 0)] {
        let rest = format!("FROM events WHERE asset_id = 'checkout' ORDER BY timestamp {order} LIMIT {limit}");
        let wide = format!("SELECT id, timestamp, name, kind, severity, payload, metadata {rest}");
        if limit > 0 {
            let plan = ask(&uncached, &format!("EXPLAIN {wide}")).await.unwrap().join("\n");
            assert!(plan.contains("TimesFirstExec"), "{wide}");
            assert!(plan.contains("projection=[timestamp]"), "the times alone are read first: {plan}");
        }
        let all =
            shop.ask(&format!("SELECT id FROM events WHERE asset_id = 'checkout' ORDER BY timestamp {order}")).await;
        for session in [&uncached, &shop.session(), &shop.session()] {
            let rows = ask(session, &wide).await.unwrap();
            let ids: Vec<_> = rows.iter().map(|row| row.split('|').next().unwrap().to_owned()).collect();
            assert_eq!(ids, all[..limit.min(all.len())], "{order} {limit}");
        }
    }
    assert!(!plan(&shop, "SELECT id, timestamp FROM events ORDER BY timestamp LIMIT 5").await.contains("TimesFirst"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_rows_of_a_chunk_are_kept_and_older_chunks_are_not_looked_at() {
    let shop = Shop::with_history(true).await;
    let session = shop.session();
    session.set("whence.cache", Some("partials")).unwrap();
    let sql = "SELECT id, timestamp, name, kind, severity, payload FROM events ORDER BY timestamp DESC LIMIT 3";
    assert!(plan(&shop, sql).await.contains("NewestExec"));
    let first = ask(&session, sql).await.unwrap();
    let hits = shop.engine.cache_statistics().memory_hits;
    assert_eq!(ask(&session, sql).await.unwrap(), first);
    assert!(shop.engine.cache_statistics().memory_hits > hits);
    let explained = ask(&session, &format!("EXPLAIN ANALYZE {sql}")).await.unwrap().join("\n");
    assert!(explained.contains("newest_from_memory=1") && explained.contains("newest_computed=0"), "{explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_of_statements_that_come_again_with_other_times_are_kept() {
    let shop = Shop::with_history(true).await;
    let uncached = shop.session();
    uncached.set("whence.cache", Some("off")).unwrap();
    let time = |hours: i64| {
        let time = chrono::DateTime::from_timestamp(shop.start.0 / 1_000_000_000 - hours * 3_600, 0).unwrap();
        time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    let between = |select: &str, hours: i64| {
        format!("SELECT {select}").replace("{time}", &format!("timestamp BETWEEN '{}' AND '{}'", time(hours), time(-9)))
    };
    for (select, fits) in [
        ("count(*) FROM events WHERE {time}", true),
        (
            "time_bucket('120.000s',timestamp) AS \"time\", asset_id, count(*) FROM events WHERE {time} GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 9",
            true,
        ),
        (
            "asset_id, n * 2 FROM (SELECT asset_id, count(*) AS n FROM events e WHERE {time} GROUP BY 1) x WHERE n > 1 ORDER BY 1",
            true,
        ),
        ("count(*) FROM correlations WHERE {time}", true),
        (
            "asset_id, avg(duration_ns), approx_percentile(0.95, percentile_agg(duration_ns)) FROM events WHERE {time} GROUP BY 1 ORDER BY 1",
            true,
        ),
        ("id FROM events WHERE {time} ORDER BY 1", false),
        ("count(*) FROM events WHERE {time} AND random() < 2", false),
        ("count(*) FROM events a JOIN events b ON a.id = b.id WHERE a.{time}", false),
        ("count(*) FROM events WHERE NOT {time}", false),
        (
            "time_bucket_gapfill('1 day', timestamp) AS t, count(*) FROM events WHERE {time} GROUP BY 1 ORDER BY 1",
            false,
        ),
    ] {
        for hours in [1_000, 2, 30, 0, 5_000] {
            let sql = between(select, hours);
            assert_eq!(shop.ask(&sql).await, ask(&uncached, &sql).await.unwrap(), "{sql}");
        }
        let Command::Query(ast) = parse(&between(select, 7)).unwrap().remove(0).command else { panic!("{select}") };
        let kept = shop.engine.plans().get(&TenantId::default(), &Timed::of(&ast, 0).unwrap());
        assert_eq!(matches!(kept, Some(Kept::Plan(_))), fits, "{select}");
    }
    // The statement's own time is a time like others, but its answer is kept by nobody.
    let passing =
        "SELECT asset_id, count(*) FROM events WHERE timestamp >= now() - INTERVAL '400 days' GROUP BY 1 ORDER BY 1";
    let hits = shop.engine.cache_statistics().answer_hits;
    for _ in 0..4 {
        assert_eq!(shop.ask(passing).await, ask(&uncached, passing).await.unwrap());
    }
    assert_eq!(shop.engine.cache_statistics().answer_hits, hits);
    let Command::Query(ast) = parse(passing).unwrap().remove(0).command else { panic!("{passing}") };
    let kept = shop.engine.plans().get(&TenantId::default(), &Timed::of(&ast, 0).unwrap());
    assert!(matches!(kept, Some(Kept::Plan(_))));
    // What was planned for others' rows reads the asker's.
    let sql = between("count(*) FROM events WHERE {time}", 1);
    let stranger = shop.engine.session(Grant::trusted(TenantId::new("stranger")));
    for _ in 0..3 {
        assert_eq!(ask(&stranger, &sql).await.unwrap(), ["0"]);
    }
}

/// What else a kept plan could follow from than its times: each is asked until its plan would be kept, then with what it
/// follows from changed, and answered as without anything kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_plan_says_nothing_of_another_session_moment_or_time() {
    let shop = Shop::with_history(true).await;
    let start = shop.start.0 / 1_000_000_000;
    let from = |hours: i64| {
        let time = chrono::DateTime::from_timestamp(start - hours * 3_600, 0).unwrap();
        time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    let session = |cache: &str, hours: i64| {
        let session = shop.session();
        session.set("whence.cache", Some(cache)).unwrap();
        session.set("application_name", Some(&format!("asks of {hours}"))).unwrap();
        drop(session.list(1, format!("user {hours}"), ([127, 0, 0, 1], 5432).into()));
        session
    };
    for sql in [
        "SELECT count(*) FROM events WHERE time_bucket('1 microsecond', timestamp) = '{time}'",
        "SELECT count(*) FROM events WHERE time_bucket('1 hour', timestamp) = '{time}'",
        "SELECT count(*) FROM events WHERE date_trunc('second', timestamp) >= '{time}'",
        "SELECT count(*) FROM events WHERE date_trunc('microseconds', timestamp) >= '{time}'",
        "SELECT count(*) FROM events WHERE timestamp + INTERVAL '1 hour' > '{time}'",
        "SELECT count(*) FROM events WHERE timestamp > '{time}'::timestamptz - INTERVAL '1 hour'",
        "SELECT count(*) FROM events WHERE timestamp > '{time}' AND extract(day FROM '{time}'::timestamptz) <> 1",
        "SELECT count(*), max(length('{time}')) FROM events WHERE timestamp > '{time}'",
        "SELECT count(*), '{time}' FROM events WHERE timestamp > '{time}'",
        "SELECT count(*) FILTER (WHERE timestamp > '{time}') FROM events",
        "SELECT count(*) FROM events WHERE timestamp > '{time}' HAVING max(timestamp) > '{time}'",
        "SELECT count(*) FROM events WHERE timestamp > '{time}' AND name <> '{time}'",
        "SELECT count(*) FROM events WHERE timestamp > '{time}' OR timestamp < '{time}'",
        "SELECT count(*) FROM events WHERE timestamp IN ('{time}', '2026-01-01T00:00:00Z')",
        "SELECT timestamp, count(*) FROM events WHERE timestamp = '{time}' GROUP BY 1 ORDER BY 1",
        "SELECT current_setting('application_name'), count(*) FROM events WHERE timestamp > '{time}'",
        "SELECT current_user, count(*) FROM events WHERE timestamp > '{time}'",
        "SELECT count(*) FROM events WHERE timestamp > '{time}' AND timestamp < now() - INTERVAL '1 hour'",
        "SELECT count(*) FROM events WHERE timestamp > '{time}' AND created_at < now() - INTERVAL '1 hour'",
        "SELECT count(*), max(now() > '2026-01-01T00:00:00Z') FROM events WHERE timestamp > '{time}'",
    ] {
        for hours in [0, 0, 0, 1_000, 24, -48, 0] {
            let sql = sql.replace("{time}", &from(hours));
            let answers = [ask(&session("partials", hours), &sql).await, ask(&session("off", hours), &sql).await];
            let [kept, plain] = answers.map(|answer| answer.map_err(|error| error.to_string()));
            assert_eq!(kept, plain, "{sql}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_are_the_same_in_a_whole_chunk_are_not_compared() {
    let shop = Shop::with_history(true).await;
    let sql = "SELECT asset_id, max(duration_ns) FROM events WHERE timestamp > '2000-01-01' GROUP BY 1";
    let uncached = shop.session();
    uncached.set("whence.cache", Some("off")).unwrap();
    let all_time = ask(&uncached, &format!("EXPLAIN {sql}")).await.unwrap().join("\n");
    assert!(all_time.contains("GroupRunsExec"), "{all_time}");
    let scans: Vec<_> = all_time.lines().filter(|line| line.contains("DataSourceExec")).collect();
    assert!(!scans.is_empty() && scans.iter().all(|scan| !scan.contains("timestamp")), "all are within: {scans:?}");
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
