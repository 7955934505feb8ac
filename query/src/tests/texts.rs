//! Searches in texts: what is read of the chunks, and that the answers are those of reading all of them.

use super::fixture::{Row, Shop};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use whence_schema::TenantId;

/// Log records of one flush, so of one chunk with one row group.
fn logs(digest: u64, texts: &[(&'static str, &'static str)]) -> Vec<Row> {
    let log = |(position, (body, payload)): (usize, &(&'static str, &'static str))| Row {
        at: position as i64 * 1_000,
        asset: "cart",
        name: "log",
        log: Some((digest, position as i32)),
        severity: "info",
        body,
        payload,
        ..Row::default()
    };
    texts.iter().enumerate().map(log).collect()
}

/// Three chunks, and rows in memory.
async fn three_chunks() -> Shop {
    let shop = Shop::empty().await;
    let tenant = TenantId::default();
    let chunks: [&[(&str, &str)]; 3] = [
        &[
            ("Connection refused by 10.0.0.7", r#"{"http.route":"/cart","http.status_code":503}"#),
            ("retrying", r#"{"http.route":"/cart"}"#),
        ],
        &[("upstream timeout_ms=1500", r#"{"http.route":"/checkout","order":"0b5c-77"}"#)],
        &[("all is well", r#"{"note":"caf\u00e9 closed\nagain","http.route":"/"}"#)],
    ];
    for (digest, texts) in chunks.into_iter().enumerate() {
        shop.events(&tenant, &logs(digest as u64 + 1, texts)).await;
        shop.store.flush().await.unwrap();
    }
    shop.events(&tenant, &logs(9, &[("Connection refused again", "{}")])).await;
    shop
}

/// Row groups that were left out and that were read, as `EXPLAIN ANALYZE` counts them; `None` when no chunk was asked.
async fn pruned(shop: &Shop, condition: &str) -> Option<(usize, usize)> {
    let plan = shop.ask(&format!("EXPLAIN ANALYZE SELECT body FROM events WHERE {condition}")).await.join("\n");
    let metric = plan.split("row_groups_pruned_text=").nth(1)?;
    let mut numbers = metric.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty());
    let mut next = || numbers.next().unwrap().parse::<usize>().unwrap();
    let (total, matched) = (next(), next());
    Some((total - matched, matched))
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_without_the_words_are_not_read() {
    let shop = three_chunks().await;
    for (condition, rows, expected) in [
        ("body ILIKE '%connection refused%'", 2, Some((2, 1))),
        ("body LIKE '%timeout%'", 1, Some((2, 1))),
        ("body LIKE '%imeou%'", 1, Some((2, 1))),
        ("body LIKE 'all%'", 1, Some((2, 1))),
        ("body ~ 'upstream.*ms=[0-9]+'", 1, Some((2, 1))),
        ("body ~* '(REFUSED|well)$'", 1, Some((1, 2))),
        ("body = 'retrying'", 1, Some((2, 1))),
        ("body IN ('retrying', 'all is well')", 2, Some((1, 2))),
        ("payload->>'http.route' = '/checkout'", 1, Some((2, 1))),
        ("payload @> '{\"http.route\": \"/cart\"}'", 2, Some((2, 1))),
        ("payload ? 'note'", 1, Some((2, 1))),
        ("payload ?| ARRAY['note', 'order']", 2, Some((1, 2))),
        ("payload->>'order' IS NOT NULL", 1, Some((2, 1))),
        ("payload->>'order' = '0b5c-77'", 1, Some((2, 1))),
        ("payload->>'http.status_code' = '503'", 1, Some((2, 1))),
        ("payload->>'http.status_code' = '504'", 0, Some((3, 0))),
        ("payload::text LIKE '%checkout%'", 1, Some((2, 1))),
        ("payload->>'note' LIKE '%again'", 1, Some((2, 1))),
        ("lower(body) LIKE '%connection%'", 2, Some((2, 1))),
        ("body LIKE '%timeout%' OR payload->>'note' IS NOT NULL", 2, Some((1, 2))),
        ("body LIKE '%refused%' AND payload->>'note' IS NOT NULL", 0, Some((3, 0))),
        // Nothing follows from these.
        ("body NOT LIKE '%refused%'", 3, None),
        ("body LIKE '%10%'", 1, None),
        ("severity = 'info'", 5, None),
        ("body LIKE '%timeout%' OR severity = 'info'", 5, None),
    ] {
        let count = shop.ask(&format!("SELECT count(*) FROM events WHERE {condition}")).await;
        assert_eq!(count, [rows.to_string()], "{condition}");
        assert_eq!(pruned(&shop, condition).await, expected, "{condition}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_of_a_search_are_kept_as_they_are_without_the_chunks_that_have_nothing() {
    let shop = three_chunks().await;
    let sql = "SELECT asset_id, count(*) FROM events WHERE body ILIKE '%refused%' GROUP BY 1";
    for _ in 0..2 {
        assert_eq!(shop.ask(sql).await, ["cart|2"]);
    }
    let wide = "SELECT body FROM events WHERE body ILIKE '%refused%' ORDER BY timestamp DESC LIMIT 10";
    assert_eq!(shop.ask(wide).await.len(), 2);
}

/// Parts of texts and of patterns.
const WORDS: [&str; 16] = [
    "error", "Error", "rro", "timeout", "time", "out", "node", "k", "s", "dead", "beef", "7", "42", "a1", "é",
    "\u{212a}",
];
const BETWEEN: [&str; 8] = [" ", "", "-", "_", ".", "/", "\\", "\""];

fn phrase() -> impl Strategy<Value = String> {
    let part = (prop::sample::select(&WORDS), prop::sample::select(&BETWEEN));
    vec(part, 1..4).prop_map(|parts| parts.into_iter().map(|(word, between)| format!("{word}{between}")).collect())
}

/// A condition on `text` in the words of SQL. `text` is a column, or an expression that is the same and of which nothing
/// is known to chunks.
fn condition() -> impl Strategy<Value = (usize, String)> {
    let quoted = |text: &str| text.replace('\'', "''");
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    (0_usize..7, phrase(), phrase(), 0_usize..3).prop_map(move |(kind, one, two, source)| {
        let (like, more) = (quoted(&escaped(&one)), quoted(&escaped(&two)));
        let (regex, other) = (quoted(&regex::escape(&one)), quoted(&regex::escape(&two)));
        let condition = match kind {
            0 => format!("LIKE '%{like}%'"),
            1 => format!("ILIKE '%{like}%{more}%'"),
            2 => format!("ILIKE '{like}_%'"),
            3 => format!("~ '{regex}.*{other}'"),
            4 => format!("~* '\\m{regex}|({other})+x?$'"),
            5 => format!("~ '^[^a-z]?{regex}\\s*'"),
            _ => format!("= '{}'", quoted(&one)),
        };
        (source, condition)
    })
}

#[test]
fn searches_find_what_reading_everything_finds() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 12, ..Config::default() });
    let texts = vec(vec((phrase(), phrase()), 1..5), 2..5);
    let property = (texts, vec(condition(), 24));
    runner
        .run(&property, |(chunks, conditions)| {
            runtime.block_on(async {
                let shop = Shop::empty().await;
                for (digest, texts) in chunks.iter().enumerate() {
                    let leaked = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
                    let texts: Vec<_> = texts
                        .iter()
                        .map(|(body, value)| {
                            let payload = serde_json::json!({ "some.key": value }).to_string();
                            (leaked(body.clone()), leaked(payload))
                        })
                        .collect();
                    shop.events(&TenantId::default(), &logs(digest as u64 + 1, &texts)).await;
                    shop.store.flush().await.unwrap();
                }
                for (source, condition) in &conditions {
                    let text = ["body", "payload->>'some.key'", "payload::text"][*source];
                    let ask = async |text: &str| {
                        shop.ask(&format!("SELECT id FROM events WHERE {text} {condition} ORDER BY id")).await
                    };
                    let (searched, read) = (ask(text).await, ask(&format!("concat({text}, '')")).await);
                    prop_assert_eq!(searched, read, "{} {}", text, condition);
                }
                Ok(())
            })
        })
        .unwrap();
}
