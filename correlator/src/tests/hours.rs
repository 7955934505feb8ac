//! Links of full hours as data arrives, at a real store: the same rows once, in any order within the lateness and across
//! restarts.

use super::rows::{EventRow, log, span};
use super::through_store::Requests;
use super::watching::{BEGIN, InLog, SECOND, Watching};
use crate::functions::scan::{Range, Scan};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float32Type, Int64Type, TimestampMicrosecondType};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use std::ops::ControlFlow;
use whence_schema::tables::correlations::column;
use whence_schema::{EventId, Table, TenantId, UnixNanos};

const HOUR: i64 = 3_600;
/// The first full hour, in seconds since the beginning, which is within an hour.
const FIRST: i64 = HOUR - (BEGIN / SECOND) % HOUR;
/// Events are of two hours and three minutes.
const LENGTH: i64 = 2 * HOUR + 180;
/// When orders fails for forty seconds, in seconds of the first full hour.
const FAILS: [i64; 9] = [500, 1_110, 1_495, 2_040, 2_800, 3_300, 4_300, 5_500, 6_600];
/// When orders was deployed.
const DEPLOYED: i64 = 3_290;
/// Seconds in which what arrives is one request.
const STEP: i64 = 10;

/// A front end that calls orders every two seconds; orders fails at some times, and the front end by that.
fn events() -> Vec<EventRow> {
    let at = |second: i64| BEGIN + (FIRST + second) * SECOND;
    let call = |second: i64| {
        let fails = FAILS.iter().any(|fails| (*fails..fails + 40).contains(&second));
        let failed = |row: EventRow| if fails { row.failed() } else { row };
        let trace = second as u128 + 1;
        let front = span(1, 0, "front").trace(trace).at(at(second), 40_000_000).kind("server");
        let orders = span(2, 1, "orders").trace(trace).at(at(second) + 5_000_000, 20_000_000).kind("server");
        [failed(front), failed(orders)]
    };
    let mut events: Vec<EventRow> = (0..LENGTH).step_by(2).flat_map(call).collect();
    events.push(EventRow {
        event_type: "deployment",
        severity: "info",
        body: Some("deployed".to_owned()),
        asset: "orders".to_owned(),
        start: at(DEPLOYED),
        span: 0,
        trace: 0,
        ..log(0, 1 << 40, 1)
    });
    events
}

/// By the second at which it arrives, up to `late` seconds after it happened.
fn arriving(late: i64, seed: u64) -> Vec<(i64, Vec<EventRow>)> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut arriving: Vec<(i64, Vec<EventRow>)> =
        (0..(LENGTH + late) / STEP + 2).map(|number| (FIRST + number * STEP, Vec::new())).collect();
    for event in events() {
        let second = (event.start - BEGIN) / SECOND - FIRST + random.random_range(0..=late);
        arriving[(second / STEP) as usize + 1].1.push(event);
    }
    arriving
}

/// A link as it is stored: relation, type, both ends, time, strength, and what `metadata` says.
type Stored = (String, String, EventId, EventId, i64, f32, String);

/// The stored links that were found by comparing, in an order of their own.
fn stored(watching: &Watching) -> Vec<Stored> {
    let columns = [
        column::TENANT_ID,
        column::TIMESTAMP,
        column::CORRELATION_TYPE,
        column::RELATION,
        column::PRIMARY_HIGH,
        column::PRIMARY_LOW,
        column::RELATED_HIGH,
        column::RELATED_LOW,
        column::STRENGTH,
        column::METADATA,
    ];
    let always = Range { from: UnixNanos(i64::MIN + 1_000), to: UnixNanos(i64::MAX) };
    let mut links = Vec::new();
    let snapshot = watching.life.store.snapshot();
    let (tenant, table) = (TenantId::default(), Table::Correlations);
    let scan = Scan { snapshot: &snapshot, table, tenant: &tenant, range: always, columns: &columns, only: None };
    scan.run(&mut |batch| {
        let text = |at: usize, row: usize| batch.column(at).as_string_view().value(row).to_owned();
        let number = |at: usize| batch.column(at).as_primitive::<Int64Type>();
        let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            if !matches!(text(3, row).as_str(), "lag" | "change") {
                continue;
            }
            let high = number(6).value(row);
            let primary = if number(4).is_null(row) { high } else { number(4).value(row) };
            links.push((
                text(3, row),
                text(2, row),
                EventId::from_halves(primary as u64, number(5).value(row) as u64),
                EventId::from_halves(high as u64, number(7).value(row) as u64),
                times.value(row),
                batch.column(8).as_primitive::<Float32Type>().value(row),
                text(9, row),
            ));
        }
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    links.sort_by(|a, b| (a.4, &a.0, a.2, a.3).cmp(&(b.4, &b.0, b.2, b.3)));
    links
}

fn count(links: &[Stored], relation: &str) -> usize {
    links.iter().filter(|link| link.0 == relation).count()
}

/// What is stored after all has arrived and a while has passed.
async fn stored_of(arriving: &[(i64, Vec<EventRow>)]) -> Vec<Stored> {
    let folder = tempfile::tempdir().unwrap();
    let mut watching = Watching::begin(folder.path(), &Requests::default(), 0, InLog::default()).await;
    for (second, rows) in arriving {
        watching.arrive(*second, rows).await;
    }
    let stored = stored(&watching);
    let watch = watching.statistics.watch();
    assert_eq!((watch.hours(), watch.late_hours(), watch.skipped_hours()), (2, 0, 0));
    assert!(watch.lag_tests() > 0 && watch.lag_discoveries() > 0 && watch.onsets() >= 18, "{watch:?}");
    assert!(watching.close().await);
    stored
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_of_each_full_hour_are_stored_the_same_whatever_the_order_within_the_lateness() {
    let expected = stored_of(&arriving(0, 0)).await;
    assert_eq!(count(&expected, "lag"), FAILS.len(), "{expected:#?}");
    assert!(count(&expected, "change") > 0, "{expected:#?}");
    let events = events();
    let of = |id: EventId| events.iter().find(|event| event.id() == id).unwrap();
    for (relation, correlation_type, primary, related, time, strength, metadata) in &expected {
        let metadata: Value = serde_json::from_str(metadata).unwrap();
        let (cause, effect) = (of(*primary), of(*related));
        assert_eq!((correlation_type.as_str(), effect.start / 1_000), ("temporal", *time));
        if relation == "lag" {
            assert!(*strength > 0.5, "{metadata}");
            assert_eq!(
                (cause.asset.as_str(), effect.asset.as_str(), metadata["lag_ms"].as_f64()),
                ("orders", "front", Some(15.0))
            );
            assert!(metadata["q"].as_f64().unwrap() <= 0.05, "{metadata}");
        } else {
            assert_eq!((cause.event_type, effect.asset.as_str()), ("deployment", "orders"));
        }
    }
    // An hour later the day has all nine onsets, of which the last three were linked.
    let supports: Vec<i64> = expected
        .iter()
        .filter(|link| link.0 == "lag")
        .map(|link| serde_json::from_str::<Value>(&link.6).unwrap()["support"].as_i64().unwrap())
        .collect();
    assert_eq!(supports, [6, 6, 6, 6, 6, 6, 9, 9, 9]);
    assert_eq!(stored_of(&arriving(8, 1)).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_begins_again_in_the_middle_stores_the_same_links_once() {
    let arriving = arriving(0, 0);
    let expected = stored_of(&arriving).await;
    let folder = tempfile::tempdir().unwrap();
    let requests = Requests::default();
    let mut watching = Watching::begin(folder.path(), &requests, 0, InLog::default()).await;
    // Within the first hour, when its links were stored and not yet committed, and within the second one.
    let (crashes, replacements) = ([FIRST + 1_800, FIRST + HOUR + 60], [FIRST + HOUR + 600, FIRST + HOUR + 2_000]);
    for (second, rows) in &arriving {
        watching.arrive(*second, rows).await;
        if replacements.contains(second) {
            watching.replace(*second).await;
        } else if crashes.contains(second) {
            let before = stored(&watching);
            assert_eq!(count(&before, "lag"), if *second < FIRST + HOUR { 0 } else { 6 });
            let in_log = watching.crash().await;
            watching = Watching::begin(folder.path(), &requests, *second, in_log).await;
            watching.arrive(*second, &[]).await;
            assert_eq!(stored(&watching), before);
        }
    }
    assert_eq!(stored(&watching), expected);
    // Nothing is stored again by another start.
    watching.replace(FIRST + LENGTH + 60).await;
    watching.arrive(FIRST + LENGTH + 60, &[]).await;
    assert_eq!(stored(&watching), expected);
    assert!(watching.close().await);
}
