//! Continuous aggregates that were declared: whose they are, what they may be called, and that they answer as the query
//! they stand for.

use super::fixture::{Row, Shop, ask};
use crate::{Answer, QueryError, Session};
use whence_schema::{TenantId, VIEWS};
use whence_storage::{Grant, NewKey, Scopes};

const HOURLY: &str = "SELECT time_bucket('1 hour', timestamp) AS bucket, asset_id, count(*) AS n, \
                      bool_or(severity = 'error') AS failed, max(timestamp) AS last FROM events GROUP BY 1, 2";
const HOUR: i64 = 3_600_000_000_000;

fn create(name: &str, query: &str) -> String {
    format!("CREATE MATERIALIZED VIEW {name} WITH (timescaledb.continuous) AS {query}")
}

/// Runs a statement that has no rows; its notices.
async fn tell(session: &Session, sql: &str) -> Result<Vec<String>, QueryError> {
    let statement = session.parse(sql)?.remove(0);
    match session.execute(&statement, &[]).await? {
        Answer::Told(_, notices) => Ok(notices),
        Answer::Rows(_) | Answer::Copy(..) => panic!("{sql}: rows"),
        Answer::Done(tag) | Answer::Passed(tag, _) => panic!("{sql}: {tag}"),
    }
}

async fn state(session: &Session, sql: &str) -> &'static str {
    match tell(session, sql).await {
        Ok(notices) => panic!("{sql}: done, {notices:?}"),
        Err(error) => error.sqlstate().0,
    }
}

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
async fn a_declared_aggregate_answers_as_its_query_and_its_readers_share_what_was_worked_out() {
    let shop = Shop::empty().await;
    let session = shop.session();
    assert_eq!(tell(&session, &create("hourly", HOURLY)).await.unwrap(), Vec::<String>::new());
    let tenant = TenantId::default();
    shop.events(&tenant, &calls(0, 2_000)).await;
    shop.store.flush().await.unwrap();
    shop.events(&tenant, &calls(2_000, 10)).await;
    session.set("whence.cache", Some("partials")).unwrap();
    let plain = |rest: &str| format!("SELECT {rest}").replace("hourly", &format!("({HOURLY}) AS hourly"));
    assert_eq!(ask(&session, "SELECT sum(n) FROM hourly").await.unwrap(), ["2010"]);
    let hits = shop.engine.cache_statistics().memory_hits;
    let bound = "'2020-01-01' AND last > '2020-01-01'";
    for rest in [
        "asset_id, sum(n), bool_or(failed) FROM hourly GROUP BY 1 ORDER BY 1".to_owned(),
        "bucket, n FROM hourly WHERE asset_id = 'cart' ORDER BY bucket".to_owned(),
        format!("count(*) FROM hourly WHERE bucket > {bound}"),
        "max(last) FROM hourly WHERE bucket < now()".to_owned(),
    ] {
        let answer = ask(&session, &format!("SELECT {rest}")).await.unwrap();
        assert_eq!(answer, ask(&session, &plain(&rest)).await.unwrap(), "{rest}");
    }
    let statistics = shop.engine.cache_statistics();
    assert!(statistics.memory_hits >= hits + 4, "{statistics:?}");
    let explained =
        ask(&session, "EXPLAIN ANALYZE SELECT sum(n) FROM hourly WHERE bucket > '2020-01-01'").await.unwrap();
    let explained = explained.join("\n");
    assert!(explained.contains("partials_computed=0") && !explained.contains("partials_from_memory=0"), "{explained}");
    // A bound that prunes, and one on the bucket itself, work nothing new out but what it cuts.
    let newest = ask(&session, "SELECT max(bucket) FROM hourly").await.unwrap().remove(0);
    let of_bucket = |column: &str| format!("SELECT sum({column}) FROM hourly WHERE bucket = '{newest}'");
    assert_eq!(
        ask(&session, &of_bucket("n")).await.unwrap(),
        ask(&session, &plain(&of_bucket("n")[7..])).await.unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn other_tenants_neither_see_nor_touch_a_declared_aggregate() {
    let shop = Shop::empty().await;
    let (mine, other) = (shop.session(), shop.engine.session(Grant::trusted(TenantId::new("other"))));
    shop.events(&TenantId::default(), &calls(0, 3)).await;
    shop.events(&TenantId::new("other"), &calls(0, 5)).await;
    tell(&mine, &create("hourly", HOURLY)).await.unwrap();
    let seen = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'hourly'";
    let listings = [
        seen,
        "SELECT count(*) FROM information_schema.tables WHERE table_name = 'hourly'",
        "SELECT count(*) FROM pg_class WHERE relname = 'hourly' AND relkind = 'm'",
        "SELECT count(*) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE relname = 'hourly'",
        "SELECT count(*) FROM pg_matviews WHERE matviewname = 'hourly'",
        "SELECT count(*) FROM timescaledb_information.continuous_aggregates WHERE view_name = 'hourly'",
        "SELECT count(pg_get_viewdef('hourly'))",
    ];
    for sql in listings {
        let rows = if sql.contains("olumns") || sql.contains("attribute") { "5" } else { "1" };
        assert_eq!(ask(&mine, sql).await.unwrap(), [rows], "{sql}");
        assert_eq!(ask(&other, sql).await.unwrap(), ["0"], "{sql}");
    }
    let answer = ask(&other, "SELECT * FROM hourly").await;
    assert_eq!(answer.unwrap_err().sqlstate().0, "42P01");
    for sql in ["DROP MATERIALIZED VIEW hourly", "REFRESH MATERIALIZED VIEW hourly"] {
        assert_eq!(state(&other, sql).await, "42P01", "{sql}");
    }
    assert_eq!(state(&other, "ALTER MATERIALIZED VIEW hourly RENAME TO mine").await, "42P01");
    assert_eq!(tell(&other, "DROP MATERIALIZED VIEW IF EXISTS hourly").await.unwrap().len(), 1);
    // Under the same name the other tenant has another one, over its own rows, whatever is kept of answers.
    let count = "SELECT sum(n) FROM hourly";
    tell(&other, &create("hourly", &HOURLY.replace("count(*)", "2 * count(*)"))).await.unwrap();
    assert_eq!(
        (ask(&mine, count).await.unwrap(), ask(&other, count).await.unwrap()),
        (vec!["3".into()], vec!["10".into()])
    );
    tell(&other, "DROP MATERIALIZED VIEW hourly").await.unwrap();
    assert_eq!(ask(&mine, count).await.unwrap(), ["3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declaration_is_renamed_dropped_and_never_answered_from_what_was_kept_of_another() {
    let shop = Shop::empty().await;
    let session = shop.session();
    shop.events(&TenantId::default(), &calls(0, 3)).await;
    let count = "SELECT sum(n) FROM a";
    tell(&session, &create("public.A", HOURLY)).await.unwrap();
    assert_eq!(
        (ask(&session, count).await.unwrap(), ask(&session, count).await.unwrap()),
        (vec!["3".into()], vec!["3".into()])
    );
    assert!(shop.engine.cache_statistics().answer_hits > 0, "answers over a declared aggregate are kept");
    tell(&session, "ALTER MATERIALIZED VIEW a RENAME TO \"B c\"").await.unwrap();
    assert_eq!(ask(&session, count).await.unwrap_err().sqlstate().0, "42P01");
    tell(&session, &create("a", &HOURLY.replace("count(*)", "7 * count(*)"))).await.unwrap();
    assert_eq!(ask(&session, count).await.unwrap(), ["21"]);
    assert_eq!(ask(&session, "SELECT sum(n) FROM \"B c\"").await.unwrap(), ["3"]);
    tell(&session, "DROP MATERIALIZED VIEW a, \"B c\"").await.unwrap();
    assert_eq!(ask(&session, count).await.unwrap_err().sqlstate().0, "42P01");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_forms_and_numbers_are_checked() {
    let shop = Shop::empty().await;
    let session = shop.session();
    tell(&session, &create("taken", HOURLY)).await.unwrap();
    for (name, expected) in [
        ("taken", "42P07"),
        ("events", "42P07"),
        ("service_red", "42P07"),
        ("pg_class", "42P07"),
        ("pg_mine", "42939"),
        ("whence", "42939"),
        ("pg_catalog", "42939"),
        ("public", "42939"),
        ("events_stored", "42939"),
        ("whence.mine", "3F000"),
        (&format!("\"{}\"", "x".repeat(64)), "42622"),
    ] {
        assert_eq!(state(&session, &create(name, HOURLY)).await, expected, "{name}");
        if !name.contains('.') && expected != "42P07" {
            assert_eq!(state(&session, &format!("ALTER MATERIALIZED VIEW taken RENAME TO {name}")).await, expected);
        }
    }
    for (sql, expected) in [
        (format!("CREATE MATERIALIZED VIEW v AS {HOURLY}"), "0A000"),
        (format!("CREATE MATERIALIZED VIEW v WITH (timescaledb.continuous = false) AS {HOURLY}"), "0A000"),
        (format!("CREATE MATERIALIZED VIEW v WITH (continuous, fillfactor = 70) AS {HOURLY}"), "22023"),
        (format!("CREATE MATERIALIZED VIEW v (a, b) WITH (continuous) AS {HOURLY}"), "0A000"),
        ("DROP VIEW taken".to_owned(), "42809"),
        ("DROP TABLE taken".to_owned(), "42809"),
        ("DROP VIEW service_red".to_owned(), "42501"),
        ("DROP VIEW nothing".to_owned(), "25006"),
        ("DROP TABLE events".to_owned(), "25006"),
        ("DROP MATERIALIZED VIEW service_red".to_owned(), "42501"),
        ("DROP MATERIALIZED VIEW taken, nothing".to_owned(), "42P01"),
        ("DROP MATERIALIZED VIEW events".to_owned(), "42P01"),
        ("CALL refresh_continuous_aggregate('nothing', NULL, NULL)".to_owned(), "42P01"),
        ("ALTER MATERIALIZED VIEW taken SET (timescaledb.compress)".to_owned(), "22023"),
    ] {
        assert_eq!(state(&session, &sql).await, expected, "{sql}");
    }
    for sql in [
        "REFRESH MATERIALIZED VIEW taken".to_owned(),
        "REFRESH MATERIALIZED VIEW CONCURRENTLY service_red".to_owned(),
        "CALL refresh_continuous_aggregate('public.taken', NULL, now())".to_owned(),
        "ALTER MATERIALIZED VIEW taken SET (timescaledb.materialized_only = true)".to_owned(),
        format!("CREATE MATERIALIZED VIEW IF NOT EXISTS taken WITH (continuous) AS {HOURLY} WITH NO DATA"),
        create("slow", "SELECT time_bucket('1 day', timestamp), count(DISTINCT name) FROM events GROUP BY 1"),
    ] {
        assert_eq!(tell(&session, &sql).await.unwrap().len(), 1, "{sql}: a notice");
    }
    for i in 2..100 {
        tell(&session, &create(&format!("v{i}"), HOURLY)).await.unwrap();
    }
    assert_eq!(state(&session, &create("one_more", HOURLY)).await, "54000");
    let known = ask(&session, "SELECT count(*) FROM pg_matviews").await.unwrap();
    assert_eq!(known, ["100"]);
    let known = ask(&session, "SELECT count(*) FROM timescaledb_information.continuous_aggregates").await.unwrap();
    assert_eq!(known, [(VIEWS.len() + 100).to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_operators_declare() {
    let shop = Shop::empty().await;
    let keyring = shop.engine.keyring().clone();
    let anybody = || shop.engine.session(keyring.anonymous());
    assert_eq!(state(&anybody(), &create("a", HOURLY)).await, "42501");
    tell(&anybody().on_this_host(), &create("a", HOURLY)).await.unwrap();
    let key = |scopes: &str| NewKey {
        tenant: "default".to_owned(),
        name: scopes.to_owned(),
        scopes: Scopes::parse(scopes).unwrap(),
        expires_at: None,
        test: false,
    };
    let session = async |scopes: &str| {
        let made = keyring.create(key(scopes), std::time::Duration::ZERO).await.unwrap();
        let header = format!("Bearer {}", made.key);
        shop.engine.authenticate(|name| (name == "authorization").then_some(header.as_bytes())).unwrap()
    };
    let (reader, operator) = (session("read").await, session("read,admin").await);
    for sql in [&create("b", HOURLY), "DROP MATERIALIZED VIEW a", "ALTER MATERIALIZED VIEW a RENAME TO b"] {
        assert_eq!(state(&reader.clone().on_this_host(), sql).await, "42501", "{sql}");
    }
    assert_eq!(tell(&reader, "REFRESH MATERIALIZED VIEW a").await.unwrap().len(), 1);
    tell(&operator, "ALTER MATERIALIZED VIEW a RENAME TO b").await.unwrap();
    assert_eq!(ask(&reader, "SELECT count(*) FROM b").await.unwrap(), ["0"]);
    assert!(anybody().on_this_host().check().is_err(), "nobody comes in without a key now");
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_over_metrics_meet_the_parts_of_rows_where_that_comes_to_the_same() {
    let shop = Shop::empty().await;
    let session = shop.session();
    session.set("whence.cache", Some("partials")).unwrap();
    let tenant = TenantId::default();
    // Parts of one row in two chunks and in memory.
    for round in 0..40 {
        shop.values(&tenant, &[f64::from(round), 100.0]).await;
        if round == 20 || round == 39 {
            shop.store.flush().await.unwrap();
        }
    }
    shop.values(&tenant, &[7.5]).await;
    for (select, adds_up) in [
        ("sum(value_sum), sum(value_count), min(value_min), max(value_max), sum(point_count)", true),
        ("approx_percentile(0.5, rollup(sketch)), max(timestamp) = min(timestamp)", true),
        ("count(DISTINCT asset_id), approx_distinct(metric_name) FILTER (WHERE metric_type = 'gauge')", true),
        ("sum(value_sum) FILTER (WHERE asset_id = 'checkout'), bool_and(dimensions->>'route' = '/pay')", true),
        ("count(*), sum(value_sum)", false),
        ("avg(value_avg), max(value_p99), sum(value_stddev)", false),
        ("min(value_max), max(value_count), sum(value_count + 1)", false),
        ("sum(value_sum) FILTER (WHERE value_count > 50)", false),
        ("count(DISTINCT unit), max(id::text)", false),
    ] {
        for rest in ["", "WHERE metric_name LIKE 'http%' AND dimensions->>'route' = '/pay'"] {
            let query = |from: &str| {
                format!(
                    "SELECT time_bucket('1 hour', timestamp) AS t, asset_id, metric_type, tenant_id, {select} \
                         FROM {from} m {rest} GROUP BY 1, 2, 3, 4"
                )
            };
            let rows = "(SELECT * FROM metrics OFFSET 0)";
            let answer = ask(&session, &query("metrics")).await.unwrap();
            assert_eq!(answer, ask(&session, &query(rows)).await.unwrap(), "{select} {rest}");
            assert_eq!(answer.len(), 1);
            let plan = ask(&session, &format!("EXPLAIN {}", query("metrics"))).await.unwrap().join("\n");
            assert_eq!(plan.contains("gby=[timestamp"), !adds_up, "{select} {rest}: {plan}");
        }
    }
    let none = "SELECT sum(value_sum), sum(value_count) FROM metrics WHERE asset_id = 'nobody'";
    assert_eq!(ask(&session, none).await.unwrap(), ["NULL|NULL"]);
    // Kept is what becomes much less: here 50 rows of a chunk one or two.
    for minutes in 1..=50 {
        shop.values_before(&tenant, minutes, &[5.0]).await;
    }
    shop.store.flush().await.unwrap();
    let all = "SELECT sum(count), min(min_value), max(max_value) FROM metrics_hourly";
    assert_eq!(ask(&session, all).await.unwrap(), ["131|0|100"]);
    let hits = shop.engine.cache_statistics().memory_hits;
    assert_eq!(ask(&session, all).await.unwrap(), ["131|0|100"]);
    assert!(shop.engine.cache_statistics().memory_hits > hits, "{:?}", shop.engine.cache_statistics());
}
