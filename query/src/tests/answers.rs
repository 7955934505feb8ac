//! The same questions with all rows in memory, and with rows in chunks.

use super::fixture::{CHILD_ID, FILLERS, LOG_ID, ROOT_ID, Shop, TRACE_HEX, ask};
use crate::{Answer, Parameter};
use whence_schema::TenantId;
use whence_storage::Grant;

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_memory_are_answered() {
    check_answers(&Shop::with_history(false).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_chunks_are_answered_the_same() {
    check_answers(&Shop::with_history(true).await).await;
}

async fn check_answers(shop: &Shop) {
    let correlation_id = "01234567-89ab-cdef-fedc-ba9876543210";
    let expected: Vec<(String, Vec<String>)> = vec![
        // Ids that are computed, and found again by what they are computed from.
        (format!("SELECT id, parent_event_id FROM events WHERE id = '{ROOT_ID}'"), vec![format!("{ROOT_ID}|NULL")]),
        (
            format!("SELECT id, parent_event_id FROM events WHERE id = '{CHILD_ID}'"),
            vec![format!("{CHILD_ID}|{ROOT_ID}")],
        ),
        (format!("SELECT id, parent_event_id FROM events WHERE '{LOG_ID}' = id"), vec![format!("{LOG_ID}|{CHILD_ID}")]),
        (format!("SELECT id::text FROM events WHERE id = '{ROOT_ID}'::uuid"), vec![ROOT_ID.to_owned()]),
        (format!("SELECT name FROM events WHERE parent_event_id = '{CHILD_ID}'"), vec!["failed".to_owned()]),
        (format!("SELECT name FROM events WHERE parent_event_id = '{ROOT_ID}'"), vec!["pay".to_owned()]),
        (
            format!("SELECT name FROM events WHERE id IN ('{ROOT_ID}', '{CHILD_ID}', '{LOG_ID}') ORDER BY timestamp"),
            vec!["GET /".to_owned(), "pay".to_owned(), "failed".to_owned()],
        ),
        (
            format!("SELECT count(*) FROM events WHERE id NOT IN ('{ROOT_ID}', '{LOG_ID}')"),
            vec![(FILLERS + 1).to_string()],
        ),
        (format!("SELECT count(*) FROM events WHERE id <> '{ROOT_ID}'"), vec![(FILLERS + 2).to_string()]),
        (format!("SELECT count(*) FROM events WHERE correlation_id = '{correlation_id}'"), vec!["3".to_owned()]),
        (format!("SELECT count(*) FROM events WHERE trace_id = '{TRACE_HEX}'"), vec!["3".to_owned()]),
        (
            format!("SELECT DISTINCT trace_id, correlation_id FROM events WHERE trace_id = '{TRACE_HEX}'"),
            vec![format!("{TRACE_HEX}|{correlation_id}")],
        ),
        ("SELECT name FROM events WHERE span_id = 'f111111111111111'".into(), vec!["GET /".to_owned()]),
        (format!("SELECT count(*) FROM events WHERE trace_id = '{}'", TRACE_HEX.to_uppercase()), vec!["0".to_owned()]),
        // One tenant's rows only.
        ("SELECT count(*), count(DISTINCT tenant_id) FROM events".into(), vec![format!("{}|1", FILLERS + 3)]),
        ("SELECT count(*) FROM events WHERE tenant_id = 'other' OR asset_id = 'vault'".into(), vec!["0".to_owned()]),
        ("SELECT sum(point_count) FROM metrics".into(), vec!["5".to_owned()]),
        // Late points join the row of their minute.
        (
            "SELECT value_count, value_sum, value_avg, value_min, value_max, point_count, unit, metric_type, \
             dimensions->>'route', tenant_id FROM metrics WHERE time_bucket = INTERVAL '1 minute'"
                .into(),
            vec!["5|110|22|1|100|5|s|gauge|/pay|default".to_owned()],
        ),
        (
            "SELECT abs(value_p50 / 3.0 - 1) <= 0.01, abs(value_p99 / 100.0 - 1) <= 0.01, \
             abs(value_stddev - 39.0128) < 0.001, abs(approx_percentile(0.0, sketch) - 1) <= 0.01 FROM metrics"
                .into(),
            vec!["t|t|t|t".to_owned()],
        ),
        ("SELECT count(*) FROM metrics WHERE time_bucket = INTERVAL '5 minutes'".into(), vec!["0".to_owned()]),
        ("SELECT sum(value_count) FROM metrics WHERE time_bucket = INTERVAL '1 minute'".into(), vec!["5".to_owned()]),
        ("SELECT abs(approx_percentile(1.0, rollup(sketch)) - 100) < 1 FROM metrics".into(), vec!["t".to_owned()]),
        // Links.
        (
            "SELECT primary_event_id, related_event_id, correlation_type, metadata->>'relation', metadata->>'method', \
             metadata->>'lag_ns' FROM correlations WHERE strength > 0.8"
                .into(),
            vec![format!("{ROOT_ID}|{CHILD_ID}|causal|call|structural|5000")],
        ),
        (
            format!("SELECT metadata->>'why' FROM correlations WHERE related_event_id = '{LOG_ID}'"),
            vec!["weak".to_owned()],
        ),
        (format!("SELECT count(*) FROM correlations WHERE primary_event_id = '{ROOT_ID}'"), vec!["2".to_owned()]),
        ("SELECT count(*) FROM correlations WHERE metadata->>'relation' = 'call'".into(), vec!["2".to_owned()]),
        ("SELECT count(*) FROM correlations WHERE metadata->>'relation' = 'link'".into(), vec!["0".to_owned()]),
        ("SELECT count(DISTINCT id) FROM correlations".into(), vec!["2".to_owned()]),
        ("SELECT count(*) FROM correlations WHERE related_timestamp = timestamp".into(), vec!["2".to_owned()]),
        // JSON.
        (
            format!(
                "SELECT payload->>'http.route', payload->'n', payload->'n'->'a'->1->>'b', payload#>>'{{n,a,0}}', \
                 payload->'http.route', payload->>'missing', payload->>'nothing' FROM events WHERE id = '{ROOT_ID}'"
            ),
            vec![r#"/pay|{"a":[1,{"b":"x"}]}|x|1|"/pay"|NULL|NULL"#.to_owned()],
        ),
        ("SELECT count(*) FROM events WHERE payload->>'http.route' = '/pay'".into(), vec!["2".to_owned()]),
        // Table functions.
        (format!("SELECT id FROM echo_id('{CHILD_ID}', now() - INTERVAL '1 hour')"), vec![CHILD_ID.to_owned()]),
        (format!("SELECT id FROM echo_id('{CHILD_ID}'::uuid, '2024-01-01T00:00:00Z')"), vec![CHILD_ID.to_owned()]),
        // Books.
        (
            "SELECT signal, sum(received), sum(stored), sum(duplicate + rejected + dropped) FROM whence.ingest_ledger \
             GROUP BY 1 ORDER BY 1"
                .into(),
            vec!["logs|1|1|0".to_owned(), "metrics|5|5|0".to_owned(), format!("traces|{0}|{0}|0", FILLERS + 2)],
        ),
        ("SELECT count(*) FROM asset_metadata".into(), vec!["0".to_owned()]),
    ];
    for (sql, rows) in expected {
        assert_eq!(shop.ask(&sql).await, rows, "{sql}");
    }
    check_patterns(shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_and_jobs_describe_the_files_of_the_tenants_partition() {
    let shop = Shop::with_history(true).await;
    shop.store.flush().await.unwrap();
    let rows = shop.ask("SELECT sum(rows) FROM whence.chunks WHERE table_name = 'events'").await;
    assert!(rows[0].parse::<u64>().unwrap() >= FILLERS, "{rows:?}");
    let odd = "SELECT count(*) FROM whence.chunks WHERE bytes <= 0 OR compression_ratio IS NULL OR min_time > max_time \
               OR day <> to_char(min_time, 'YYYY-MM-DD') OR NOT starts_with(file, table_name) OR level <> 0";
    assert_eq!(shop.ask(odd).await, ["0"]);
    assert_eq!(shop.ask("SELECT count(DISTINCT partition) FROM whence.chunks").await, ["1"]);
    let flushes = "SELECT runs > 0, failures, last_result, details <> '' FROM whence.jobs WHERE job = 'flush'";
    assert_eq!(shop.ask(flushes).await, ["t|0|succeeded|t"]);
}

/// The three patterns of the users' documents.
async fn check_patterns(shop: &Shop) {
    let recent = shop
        .ask(
            "SELECT * FROM events WHERE asset_id = 'checkout' AND timestamp >= NOW() - INTERVAL '24 hours' \
             ORDER BY timestamp DESC LIMIT 1000",
        )
        .await;
    assert_eq!(recent.len() as u64, FILLERS / 2 + 2);
    assert_eq!(recent[0].split('|').count(), 25, "{}", recent[0]);
    let buckets = shop
        .ask(
            "SELECT time_bucket('1 hour', timestamp) AS bucket, asset_id, avg(value_avg), max(value_p99) FROM metrics \
             WHERE metric_name = 'http.server.request.duration' AND timestamp >= NOW() - INTERVAL '7 days' \
             GROUP BY 1, 2 ORDER BY 1 DESC",
        )
        .await;
    assert_eq!(buckets.len(), 1);
    assert!(buckets[0].contains(":00:00+00|checkout|22|"), "{buckets:?}");
    let links = shop
        .ask(
            "SELECT e1.id, e1.event_type, e2.id, e2.event_type, c.correlation_type, c.strength \
             FROM correlations c JOIN events e1 ON c.primary_event_id = e1.id JOIN events e2 ON c.related_event_id = e2.id \
             WHERE c.timestamp >= NOW() - INTERVAL '1 hour' AND c.strength > 0.8 ORDER BY c.strength DESC",
        )
        .await;
    assert_eq!(links, [format!("{ROOT_ID}|span|{CHILD_ID}|span|causal|0.9")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenant_sees_its_own_rows_only() {
    let shop = Shop::with_history(true).await;
    let other = shop.engine.session(Grant::trusted(TenantId::new("other")));
    assert_eq!(ask(&other, "SELECT name, tenant_id FROM events").await.unwrap(), ["secret|other"]);
    assert_eq!(ask(&other, "SELECT value_sum, tenant_id FROM metrics").await.unwrap(), ["7|other"]);
    assert_eq!(ask(&other, "SELECT count(*) FROM correlations").await.unwrap(), ["0"]);
    assert_eq!(
        ask(&other, "SELECT count(*) FROM whence.ingest_ledger WHERE tenant_id <> 'other'").await.unwrap(),
        ["0"]
    );
    let stranger = shop.engine.session(Grant::trusted(TenantId::new("' OR '1'='1")));
    assert_eq!(ask(&stranger, "SELECT count(*) FROM events").await.unwrap(), ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_the_states_of_postgresql() {
    let shop = Shop::with_history(false).await;
    for (sql, state) in [
        ("SELECT * FROM nope", "42P01"),
        ("SELECT nope FROM events", "42703"),
        ("SELECT nope(1)", "42883"),
        ("SELECT * FROM nope('x')", "42883"),
        ("SELEC 1", "42601"),
        ("SELECT 1/0", "22012"),
        ("SELECT * FROM events WHERE id = 'nope'", "22P02"),
        ("SELECT 'nope'::uuid", "22P02"),
        ("SELECT 'x'::int", "22P02"),
        ("SELECT * FROM echo_id('nope', now())", "22023"),
        ("SELECT * FROM echo_id('x')", "42883"),
        ("DELETE FROM events", "25006"),
        ("CREATE TABLE t (a int)", "25006"),
        ("SHOW nope", "42704"),
        ("SELECT current_setting('nope')", "42704"),
        ("SELECT time_bucket('soon', now())", "22P02"),
    ] {
        assert_eq!(shop.refused(sql).await, state, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_ask_a_server_about_itself_is_answered() {
    let shop = Shop::empty().await;
    for (sql, row) in [
        ("SELECT current_setting('server_version_num')::int/100", "1600"),
        ("SELECT current_database()", "whence"),
        ("SELECT to_char('2024-01-02T03:04:05Z'::timestamptz, 'YYYY-MM-DD HH24:MI')", "2024-01-02 03:04"),
        ("SELECT '\\x00ff'::bytea", "\\x00ff"),
        ("SELECT now() - INTERVAL '01:00:00' < now()", "t"),
        ("SHOW server_version", "16.6"),
        ("SHOW TIME ZONE", "UTC"),
        ("SELECT 1 WHERE '2024-01-01'::timestamptz < now()", "1"),
        ("SELECT time_bucket('1 hour', '2024-01-01T10:20:30Z'::timestamptz)", "2024-01-01 10:00:00+00"),
        ("SELECT time_bucket(INTERVAL '1 month', '2024-03-20'::date)", "2024-03-01 00:00:00+00"),
        ("SELECT time_bucket(10, 27)", "20"),
        (
            "SELECT time_bucket('1 day', '2024-01-02T05:00:00Z'::timestamptz, '2024-01-01T06:00:00Z'::timestamptz)",
            "2024-01-01 06:00:00+00",
        ),
    ] {
        assert_eq!(shop.ask(sql).await, [row], "{sql}");
    }
    assert!(shop.ask("SELECT version()").await[0].starts_with("PostgreSQL 16."));
    let columns = "SELECT column_name, data_type, udt_name FROM information_schema.columns WHERE table_name = 'events' \
                   ORDER BY ordinal_position LIMIT 2";
    assert_eq!(shop.ask(columns).await, ["id|uuid|uuid", "timestamp|timestamp with time zone|timestamptz"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_stand_for_values_wherever_they_are() {
    let shop = Shop::with_history(false).await;
    let session = shop.session();
    let text = |text: &str| Parameter::Text(text.to_owned());
    for (sql, parameters, rows) in [
        ("SELECT name FROM events WHERE id = $1", vec![text(ROOT_ID)], vec!["GET /"]),
        (
            "SELECT count(*) FROM events WHERE asset_id = $1 AND duration_ns > $2",
            vec![text("checkout"), Parameter::Integer(5)],
            vec!["251"],
        ),
        ("SELECT 1 FROM events LIMIT $1", vec![Parameter::Integer(2)], vec!["1", "1"]),
        ("SELECT id FROM echo_id($1, now())", vec![text(CHILD_ID)], vec![CHILD_ID]),
        ("SELECT $1", vec![text("it's; -- quoted")], vec!["it's; -- quoted"]),
        (
            "SELECT name FROM events WHERE payload->>$1 = $2 ORDER BY timestamp LIMIT 1",
            vec![text("http.route"), text("/pay")],
            vec!["GET /"],
        ),
        (
            "SELECT count(*) FROM events WHERE asset_id = ANY($1)",
            vec![Parameter::Array(vec![text("frontend"), text("nope")])],
            vec!["1"],
        ),
    ] {
        let statement = session.parse(sql).unwrap().remove(0);
        let Answer::Rows(answer) = session.execute(&statement, &parameters).await.unwrap() else { panic!("{sql}") };
        let batches = answer.collect_batches().await.unwrap();
        let values: Vec<_> = batches.iter().flat_map(|b| crate::serve::text_column(b.column(0)).unwrap()).collect();
        assert_eq!(values, rows, "{sql}");
    }
    let statement =
        session.parse("SELECT name FROM events WHERE id = $1 AND duration_ns > $2 LIMIT $3").unwrap().remove(0);
    let description = session.describe(&statement).await.unwrap();
    let types: Vec<_> = description.parameters.iter().map(|t| t.as_ref().map(ToString::to_string)).collect();
    assert_eq!(types, [Some("FixedSizeBinary(16)".to_owned()), Some("Int64".to_owned()), Some("Int64".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_beyond_its_time_ends_with_57014_while_others_go_on() {
    let shop = Shop::with_history(false).await;
    let slow = shop.session();
    slow.set("statement_timeout", Some("300ms")).unwrap();
    for endless in [
        "SELECT count(*) FROM generate_series(1, 1000000000000) WHERE value % 7 = 3",
        // No key to join by, and no row that matches: computes without ever having an answer to give.
        "SELECT count(*) FROM generate_series(1, 5000) a, generate_series(1, 100000000) b WHERE a.value * b.value = -1",
    ] {
        let started = std::time::Instant::now();
        let error = ask(&slow, endless).await.unwrap_err();
        assert_eq!(error.sqlstate().0, "57014", "{error}");
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
        assert_eq!(shop.ask("SELECT 1").await, ["1"]);
    }
    // Nothing is left behind: the threads are free again.
    let busy = || shop.engine.busy_tasks();
    for _ in 0..500 {
        if busy() == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("{} tasks still run after 10 s", busy());
}
