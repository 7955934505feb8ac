//! Answers put together from partial results of chunks are those of the rows themselves.

use super::fixture::{Row, Shop, ask};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use whence_schema::{Table, TenantId};
use whence_storage::{Erasure, Grant, Retention, StoreOptions};

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
    let partials = shop.session();
    partials.set("whence.cache", Some("partials")).unwrap();
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
        assert_eq!(ask(&partials, sql).await.unwrap(), expected, "{sql}");
        let before = hits();
        assert_eq!(ask(&partials, sql).await.unwrap(), expected, "{sql}");
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

/// What may happen between two queries.
#[derive(Debug, Clone)]
enum Step {
    /// So many rows, new ones as well as late ones of any of the last days.
    Append(u64),
    Flush,
    /// All rows of an asset, for good.
    Erase(usize),
    /// Retention drops what is older than so many days.
    Retain(u64),
    /// A query of this shape, from so many hours before now, and up to so many after that.
    Ask {
        shape: usize,
        from: Option<u64>,
        hours: Option<u64>,
    },
    /// The same of a declared aggregate.
    Read {
        shape: usize,
        from: Option<u64>,
        hours: Option<u64>,
    },
}

/// Continuous aggregates, as they are declared.
const DECLARED: [&str; 5] = [
    "SELECT time_bucket('1 hour', timestamp) AS bucket, asset_id, count(*), avg(duration_ns), max(timestamp) AS last \
     FROM events GROUP BY 1, 2",
    "SELECT time_bucket('1 day', timestamp, 'Europe/Berlin') AS bucket, severity, count(*) FILTER (WHERE name = 'read') \
     FROM events WHERE asset_id IN ('cart', 'search') GROUP BY 1, 2",
    "SELECT time_bucket('7 minutes', timestamp) AS bucket, sum(duration_ns), bool_or(severity = 'error') FROM events \
     GROUP BY 1 HAVING count(*) > 1",
    "SELECT time_bucket('6 hours', timestamp, INTERVAL '45 minutes') AS bucket, name, \
     approx_percentile(0.9, percentile_agg(duration_ns)) > 0, first(asset_id, timestamp) FROM events GROUP BY 1, 2",
    "SELECT time_bucket('1 day', timestamp) AS bucket, count(DISTINCT name) AS names FROM events GROUP BY 1",
];

/// Select list and rest; `{time}` is where the time bounds go.
const SHAPES: [&str; 18] = [
    "count(*) FROM events WHERE {time}",
    "min(timestamp), max(timestamp), count(duration_ns), sum(duration_ns) FROM events WHERE {time}",
    "asset_id, count(*), avg(duration_ns), min(name) FROM events WHERE {time} GROUP BY 1",
    "asset_id, severity, count(*) FILTER (WHERE name = 'read') FROM events WHERE {time} GROUP BY 1, 2",
    "time_bucket('1 hour', timestamp) AS t, count(*) FROM events WHERE {time} AND severity = 'error' GROUP BY 1",
    "date_trunc('day', timestamp) AS t, asset_id, max(duration_ns) FROM events WHERE {time} GROUP BY 1, 2",
    "name, count(*) FROM events WHERE {time} AND asset_id IN ('cart', 'search') GROUP BY 1 HAVING count(*) > 5",
    "asset_id, bool_and(severity = 'info'), count(*) FROM events WHERE {time} AND name LIKE 'r%' GROUP BY ROLLUP(asset_id)",
    "upper(asset_id), sum(duration_ns + 1) FROM events WHERE {time} AND payload->>'x' IS NULL GROUP BY 1",
    "a, sum(n) FROM (SELECT asset_id AS a, severity, count(*) AS n FROM events WHERE {time} GROUP BY 1, 2) GROUP BY 1",
    "e.asset_id, n FROM (SELECT asset_id, count(*) AS n FROM events WHERE {time} GROUP BY 1) e \
     JOIN (SELECT asset_id, max(timestamp) AS m FROM events GROUP BY 1) f ON e.asset_id = f.asset_id",
    "asset_id, count(DISTINCT name) FROM events WHERE {time} GROUP BY 1",
    "percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ns) FROM events WHERE {time}",
    "asset_id, count(*) FROM events WHERE {time} AND time_bucket('6 hours', timestamp) >= '2020-01-01' GROUP BY 1",
    "asset_id, percentile_cont(0.9) WITHIN GROUP (ORDER BY extract(epoch FROM timestamp)), avg(duration_ns) \
     FILTER (WHERE name = 'read') FROM events WHERE {time} GROUP BY 1",
    "id, timestamp, name, kind, severity, asset_id, payload FROM events WHERE {time} AND asset_id = 'cart' \
     ORDER BY timestamp DESC LIMIT 20",
    "id, timestamp, name, kind, severity, asset_id, payload->>'x', trace_id FROM events WHERE {time} \
     ORDER BY timestamp LIMIT 30",
    "created_at IS NULL, o.timestamp, id, name, kind, severity FROM (SELECT *, timestamp - INTERVAL '1 day' AS moved \
     FROM events WHERE {time} AND severity <> 'info') o ORDER BY timestamp DESC LIMIT 200",
];

fn step() -> impl Strategy<Value = Step> {
    let hours = || proptest::option::of(1..100_u64);
    prop_oneof![
        3 => (1..200_u64).prop_map(Step::Append),
        2 => Just(Step::Flush),
        1 => (0..ASSETS.len()).prop_map(Step::Erase),
        1 => (1..4_u64).prop_map(Step::Retain),
        14 => (0..SHAPES.len(), hours(), hours()).prop_map(|(shape, from, hours)| Step::Ask { shape, from, hours }),
        6 => (0..DECLARED.len(), hours(), hours()).prop_map(|(shape, from, hours)| Step::Read { shape, from, hours }),
    ]
}

/// How many queries there were, and how many of them found something that was kept.
#[derive(Debug, Default)]
struct Tally {
    queries: AtomicU64,
    hits: AtomicU64,
}

async fn run(steps: Vec<Step>, tally: &Tally) {
    let mut shop = Shop::empty().await;
    let tenant = TenantId::default();
    let mut sent = 500;
    shop.events(&tenant, &rows(0, sent)).await;
    shop.events(&TenantId::new("other"), &rows(0, 100)).await;
    shop.store.flush().await.unwrap();
    for (number, query) in DECLARED.iter().enumerate() {
        shop.ask(&format!("CREATE MATERIALIZED VIEW a{number} WITH (timescaledb.continuous) AS {query}")).await;
    }
    for step in steps {
        match step {
            Step::Append(count) => {
                shop.events(&tenant, &rows(sent, count)).await;
                sent += count;
            }
            Step::Flush => shop.store.flush().await.unwrap(),
            Step::Erase(asset) => {
                let condition = format!("asset_id = '{}'", ASSETS[asset]);
                let condition = Some(shop.engine.row_condition(Table::Events, &condition).await.unwrap());
                let erasure = Erasure { tenant: tenant.clone(), table: Some(Table::Events), condition };
                shop.store.erase(erasure).await.unwrap();
                sent = refill(&shop, sent).await;
            }
            Step::Retain(days) => {
                let retention = Retention { events: Some(Duration::from_secs(days * 86_400)), ..Retention::default() };
                shop = shop.reopened(StoreOptions { retention, ..StoreOptions::default() }).await;
                sent = refill(&shop, sent).await;
            }
            Step::Ask { shape, from, hours } => {
                let sql =
                    format!("SELECT {}", SHAPES[shape].replace("{time}", &bounds(&shop, "timestamp", from, hours)));
                compare(&shop, &sql, &sql, tally).await;
            }
            Step::Read { shape, from, hours } => {
                let rest = format!("WHERE {}", bounds(&shop, "bucket", from, hours));
                let plain = format!("SELECT * FROM ({}) AS declared {rest}", DECLARED[shape]);
                compare(&shop, &format!("SELECT * FROM a{shape} {rest}"), &plain, tally).await;
            }
        }
    }
}

fn bounds(shop: &Shop, column: &str, from: Option<u64>, hours: Option<u64>) -> String {
    // Plans of statements with times as texts are kept.
    let at = |hours: i64| {
        let seconds = shop.start.0 / 1_000_000_000 - hours * 3_600;
        let time = chrono::DateTime::from_timestamp(seconds, 0).unwrap().format("'%Y-%m-%dT%H:%M:%SZ'");
        if from.is_some_and(|from| from % 3 == 0) { format!("to_timestamp({seconds})") } else { time.to_string() }
    };
    let mut time = vec!["true".to_owned()];
    if let Some(from) = from {
        time.push(format!("{column} >= {}", at(from as i64)));
        if let Some(hours) = hours {
            time.push(format!("{column} < {}", at(from as i64 - hours as i64)));
        }
    }
    time.join(" AND ")
}

/// Chunks to ask about, after others went; returns how many rows there have been.
async fn refill(shop: &Shop, sent: u64) -> u64 {
    shop.events(&TenantId::default(), &rows(sent, 400)).await;
    shop.store.flush().await.unwrap();
    sent + 400
}

/// `sql` answers as `plain` does over the rows themselves.
async fn compare(shop: &Shop, sql: &str, plain: &str, tally: &Tally) {
    let uncached = shop.session();
    uncached.set("whence.cache", Some("off")).unwrap();
    let partials = shop.session();
    partials.set("whence.cache", Some("partials")).unwrap();
    let before = shop.engine.cache_statistics().memory_hits;
    // Rows that leave by age may do so between two questions.
    for attempt in 0.. {
        let mut answers = [
            ask(&uncached, plain).await.unwrap(),
            ask(&partials, sql).await.unwrap(),
            shop.ask(sql).await,
            ask(&uncached, plain).await.unwrap(),
        ];
        answers.iter_mut().for_each(|rows| rows.sort());
        let [expected, from_partials, kept, again] = answers;
        if expected == again || attempt == 10 {
            assert_eq!(from_partials, expected, "{sql}");
            assert_eq!(kept, expected, "{sql}");
            break;
        }
    }
    tally.queries.fetch_add(1, Ordering::Relaxed);
    if shop.engine.cache_statistics().memory_hits > before {
        tally.hits.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn cached_answers_are_those_of_the_rows_whatever_happened_to_them() {
    let cases = std::env::var("PROPTEST_CASES").map_or(6, |cases| cases.parse().unwrap());
    let config = Config { cases, max_shrink_iters: 30, failure_persistence: None, ..Config::default() };
    let tally = Tally::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut runner = TestRunner::new(config);
    runner
        .run(&vec(step(), 20..60), |steps| {
            runtime.block_on(run(steps, &tally));
            Ok(())
        })
        .unwrap();
    let (queries, hits) = (tally.queries.into_inner(), tally.hits.into_inner());
    println!("{hits} of {queries} queries found partial results");
    assert!(hits * 10 >= queries * 3, "{hits} of {queries} queries found partial results");
}

#[tokio::test(flavor = "multi_thread")]
async fn joined_chunks_answer_as_those_they_were_joined_from() {
    let shop = Shop::empty().await;
    let sql = "SELECT asset_id, count(*), sum(duration_ns) FROM events GROUP BY 1 ORDER BY 1";
    let query = "SELECT time_bucket('1 day', timestamp) AS day, asset_id, count(*) AS n, sum(duration_ns) AS ns \
                 FROM events GROUP BY 1, 2";
    shop.ask(&format!("CREATE MATERIALIZED VIEW daily WITH (timescaledb.continuous) AS {query}")).await;
    let declared = "SELECT asset_id, sum(n), sum(ns) FROM daily GROUP BY 1 ORDER BY 1";
    let mut sent = 0;
    let deadline = Instant::now() + Duration::from_secs(120);
    while shop.store.statistics().compactions == 0 {
        assert!(Instant::now() < deadline, "{:?}", shop.store.statistics());
        shop.events(&TenantId::default(), &rows(sent, 20)).await;
        sent += 20;
        shop.store.flush().await.unwrap();
        let per_asset = format!("|{}|{}", sent / 4, sent / 4 * 1_000_000);
        assert_eq!(shop.ask(sql).await, ASSETS.map(|asset| format!("{asset}{per_asset}")));
        assert_eq!(shop.ask(declared).await, shop.ask(sql).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(shop.engine.cache_statistics().memory_hits > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_answers_are_given_again_until_a_row_arrives_and_never_when_they_depend_on_more_than_rows() {
    let shop = Shop::empty().await;
    let (mine, other) = (TenantId::default(), TenantId::new("other"));
    shop.events(&mine, &rows(0, 50)).await;
    let hits = || shop.engine.cache_statistics().answer_hits;
    let sql = "SELECT asset_id, name, timestamp FROM events ORDER BY timestamp, name LIMIT 7";
    let first = shop.ask(sql).await;
    assert_eq!((hits(), shop.ask(sql).await, hits()), (0, first.clone(), 1));
    let stranger = shop.engine.session(Grant::trusted(other));
    assert_eq!((ask(&stranger, sql).await.unwrap().len(), hits()), (0, 1));
    for changing in [
        "SELECT count(*) FROM events WHERE timestamp < now()",
        "SELECT random(), count(*) FROM events",
        "SELECT count(*) FROM whence.jobs",
        "SELECT count(*) FROM asset_metadata",
        "EXPLAIN SELECT count(*) FROM events",
        "SELECT count(*) FROM events WHERE asset_id IN (SELECT asset_id FROM asset_metadata)",
    ] {
        shop.ask(changing).await;
        shop.ask(changing).await;
        assert_eq!(hits(), 1, "{changing}");
    }
    shop.events(&mine, &[Row { at: -10 * DAY, ..rows(0, 1)[0].clone() }]).await;
    assert_ne!(shop.ask(sql).await, first, "the oldest row is new");
    assert_eq!(hits(), 1);
}
