//! What the correlator concludes, and what whoever builds the engine adds: tables and conditions given as text.

use super::fixture::{Row, Shop, ask};
use whence_schema::{EventId, TenantId, UnixNanos};
use whence_storage::{Grant, Incident, LogTemplate};

fn incident(id: u128, title: &str) -> Incident {
    Incident {
        id,
        opened: UnixNanos(1_700_000_000_000_000_000),
        closed: None,
        severity: 4.5,
        title: title.to_owned(),
        asset: Some("cart".to_owned()),
        cause_kind: None,
        confidence: Some(0.75),
        affected: vec!["cart".to_owned(), "front \"end\"".to_owned()],
        first_symptom: Some(EventId(7)),
        explanation: "cart failed".to_owned(),
        updated_at: UnixNanos(1_700_000_060_000_001_000),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn incidents_and_log_templates_are_tables_of_their_tenant() {
    let shop = Shop::empty().await;
    let (mine, other) = (TenantId::default(), TenantId::new("other"));
    let bare = Incident {
        closed: Some(UnixNanos(1_700_000_100_000_000_000)),
        severity: f64::INFINITY,
        asset: None,
        cause_kind: Some("errors".to_owned()),
        confidence: None,
        affected: vec![],
        first_symptom: None,
        ..incident(u128::MAX, "later")
    };
    shop.store.put_incidents(&mine, &[incident(1, "errors of cart"), bare]).await.unwrap();
    shop.store.put_incidents(&other, &[incident(1, "secret")]).await.unwrap();
    let template = |id, text: &str| LogTemplate {
        id,
        asset: "cart".to_owned(),
        text: text.to_owned(),
        first_seen: UnixNanos(1_700_000_000_000_000_000),
        last_seen: UnixNanos(1_700_000_001_000_000_000),
    };
    shop.store.put_log_templates(&mine, &[template(-3, "took <n> ms")]).await.unwrap();
    shop.store.put_log_templates(&other, &[template(5, "secret")]).await.unwrap();
    assert_eq!(
        shop.ask("SELECT * FROM incidents ORDER BY id").await,
        [
            "00000000-0000-0000-0000-000000000001|2023-11-14 22:13:20+00|NULL|4.5|errors of cart|cart|NULL|0.75|\
             {cart,\"front \\\"end\\\"\"}|00000000-0000-0000-0000-000000000007|cart failed|2023-11-14 22:14:20.000001+00",
            "ffffffff-ffff-ffff-ffff-ffffffffffff|2023-11-14 22:13:20+00|2023-11-14 22:15:00+00|Infinity|later|NULL|\
             errors|NULL|{}|NULL|cart failed|2023-11-14 22:14:20.000001+00",
        ]
    );
    for (sql, row) in [
        ("SELECT * FROM log_templates", "-3|cart|took <n> ms|2023-11-14 22:13:20+00|2023-11-14 22:13:21+00"),
        ("SELECT title FROM incidents WHERE 'cart' = ANY(affected_assets) AND closed IS NULL", "errors of cart"),
        ("SELECT title FROM incidents WHERE id = '00000000-0000-0000-0000-000000000001'", "errors of cart"),
        ("SELECT count(*) FROM public.incidents i JOIN log_templates t ON i.asset_id = t.asset_id", "1"),
        ("SELECT array_length(affected_assets, 1) FROM incidents WHERE closed IS NULL", "2"),
        (
            "SELECT data_type || ' ' || udt_name || ' ' || is_nullable FROM information_schema.columns \
             WHERE table_name = 'incidents' AND column_name = 'affected_assets'",
            "ARRAY _text NO",
        ),
        (
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'incidents'::regclass \
             AND attname = 'affected_assets'",
            "text[]",
        ),
        ("SELECT count(*) FROM pg_class WHERE relname IN ('incidents', 'log_templates') AND relkind = 'r'", "2"),
        ("SELECT obj_description('log_templates'::regclass)", "What messages of an asset have in common."),
    ] {
        assert_eq!(shop.ask(sql).await, [row], "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_from_incidents_is_never_an_earlier_one() {
    let shop = Shop::empty().await;
    let mine = TenantId::default();
    shop.events(&mine, &[Row { asset: "cart", name: "pay", severity: "info", ..Row::default() }]).await;
    for sql in [
        "SELECT coalesce(max(title), 'none') FROM incidents",
        "SELECT (SELECT coalesce(max(title), 'none') FROM incidents) FROM events",
        "SELECT coalesce(max(i.title), 'none') FROM events e LEFT JOIN incidents i ON e.asset_id = i.asset_id",
    ] {
        let version = shop.store.snapshot().version;
        for title in ["first", "second"] {
            shop.store.put_incidents(&mine, &[incident(1, title)]).await.unwrap();
            assert_eq!(shop.ask(sql).await, [title], "{sql}");
            assert_eq!(shop.ask(sql).await, [title], "{sql}");
        }
        assert_eq!(shop.store.snapshot().version, version, "no row arrived meanwhile");
        assert_eq!(shop.engine.cache_statistics().answer_hits, 0, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_added_is_asked_for_the_tenant_and_described_like_others() {
    let shop = Shop::empty().await;
    assert_eq!(shop.ask("SELECT * FROM whence.whose").await, ["default"]);
    let stranger = shop.engine.session(Grant::trusted(TenantId::new("other")));
    assert_eq!(ask(&stranger, "SELECT tenant || '' FROM whence.whose").await.unwrap(), ["other"]);
    let expected = [
        ("SELECT oid::regclass FROM pg_class WHERE relname = 'whose'", "whence.whose"),
        ("SELECT obj_description('whence.whose'::regclass)", "Who asks."),
        (
            "SELECT column_name || ' ' || data_type || ' ' || is_nullable FROM information_schema.columns \
             WHERE table_name = 'whose'",
            "tenant text NO",
        ),
        ("SELECT count(*) - count(DISTINCT oid) FROM pg_class", "0"),
    ];
    for (sql, row) in expected {
        assert_eq!(shop.ask(sql).await, [row], "{sql}");
    }
    assert_eq!(shop.refused("SELECT * FROM whose").await, "42P01");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_is_given_a_condition_on_the_columns_of_events() {
    let shop = Shop::empty().await;
    let row = |name, severity| Row { asset: "cart", name, severity, payload: r#"{"n": 3}"#, ..Row::default() };
    shop.events(&TenantId::default(), &[row("pay", "error"), row("pay", "info"), row("list", "info")]).await;
    for (sql, count) in [
        ("SELECT * FROM chosen('severity = ''error''')", "1"),
        ("SELECT * FROM chosen('(payload->>''n'')::int = 3 AND name = ''pay''')", "2"),
        ("SELECT * FROM chosen('true')", "3"),
        ("SELECT * FROM chosen('name IS NULL')", "0"),
    ] {
        assert_eq!(shop.ask(sql).await, [count], "{sql}");
    }
    let session = shop.engine.session(Grant::trusted(TenantId::default()));
    for (condition, told) in [
        ("severity = = 'error'", "chosen, argument 1: which: syntax error"),
        ("name = 'pay' AND nope = 1", "at character 18 of it"),
        ("severity = 'a' AND (", "chosen, argument 1: which: syntax error"),
        ("asset_id", "argument 1: which: "),
        ("count(*) > 1", "argument 1: which: "),
        ("asset_id IN (SELECT asset_id FROM events)", "argument 1: which: "),
        ("asset_id = (SELECT max(asset_id) FROM asset_metadata)", "argument 1: which: "),
        ("EXISTS (SELECT 1 FROM incidents)", "argument 1: which: "),
        ("true); DELETE FROM events; SELECT (true", "argument 1: which: "),
        ("true) FROM metrics, (SELECT 1", "argument 1: which: "),
        ("", "argument 1: which: "),
    ] {
        let sql = format!("SELECT * FROM chosen('{}')", condition.replace('\'', "''"));
        let error = ask(&session, &sql).await.unwrap_err();
        assert_eq!(error.sqlstate().0, "22023", "{condition}: {error}");
        assert!(error.to_string().contains(told), "{condition}: {error}");
        assert!(!error.to_string().contains("Line:"), "{condition}: {error}");
    }
    assert_eq!(shop.refused("SELECT * FROM chosen(NULL)").await, "22023");
    assert_eq!(shop.refused("SELECT * FROM chosen(1)").await, "22023");
    let arguments = "SELECT pg_get_function_arguments(oid) FROM pg_proc WHERE proname = 'chosen'";
    assert_eq!(shop.ask(arguments).await, ["which text"]);
}
