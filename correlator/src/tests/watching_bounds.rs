//! What the watcher keeps of the last hour: rate, errors and duration that can be asked for, and a bound on all of it.

use super::rows::{EventRow, log, span};
use super::through_store::Requests;
use super::watching::{InLog, SECOND, Watching, at, options, request};
use crate::live_red;
use crate::options::WatchOptions;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use std::collections::BTreeMap;
use whence_schema::{TenantId, UnixNanos};
use whence_storage::Erasure;

/// By half minute, caller, asset and operation: requests, errors and the sorted durations in milliseconds.
type Told = BTreeMap<(i64, String, String, String), (i64, i64, Vec<f64>)>;

/// What `service_red` and `edge_red` say, by half minute.
fn counted(rows: &[EventRow]) -> Told {
    let mut told = Told::new();
    let mut count = |row: &EventRow, caller: &str, operation: &str| {
        let bucket = UnixNanos(row.start).micros().div_euclid(30_000_000) * 30_000_000;
        let key = (bucket, caller.to_owned(), row.asset.clone(), operation.to_owned());
        let (requests, errors, durations) = told.entry(key).or_default();
        *requests += 1;
        *errors += i64::from(row.status == "error");
        durations.push(row.duration as f64 / 1e6);
    };
    for row in rows.iter().filter(|row| row.signal == "span") {
        if matches!(row.kind, Some("server" | "consumer")) {
            count(row, "", &row.name);
        }
        let parent = rows.iter().find(|parent| {
            parent.signal == "span"
                && (parent.trace, parent.span) == (row.trace, row.parent)
                && parent.asset != row.asset
        });
        let is_message = |parent: &EventRow| parent.kind == Some("producer") && row.kind == Some("consumer");
        if let Some(parent) = parent.filter(|parent| !is_message(parent)) {
            count(row, &parent.asset, "");
        }
    }
    told.values_mut().for_each(|(.., durations)| durations.sort_by(f64::total_cmp));
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rate_errors_and_duration_are_those_of_the_views_and_of_one_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let mut watching = Watching::begin(folder.path(), &Requests::default(), 0, InLog::default()).await;
    let mut rows = Vec::new();
    for number in 0..600 {
        let start = at(number / 5).0 + number % 5 * SECOND / 5;
        rows.extend(request(number, start, number % 9 == 0));
        // A message, which is no call, and a call within an asset, which is none either.
        let message =
            |id, parent, asset| span(id, parent, asset).trace(number as u128 + 1).at(start, 1_000_000 + number);
        rows.push(message(11, 1, "front").kind("producer"));
        rows.push(message(12, 11, "mail").kind("consumer"));
        rows.push(EventRow { name: format!("work {}", number % 3), ..message(13, 12, "mail").kind("server") });
    }
    let (tenant, other) = (TenantId::default(), TenantId::new("other"));
    watching.arrive(125, &rows).await;
    watching.arrive(200, &[]).await;
    let told = live_red(&watching.live, &tenant).unwrap();
    let text = |at: usize, row: usize| {
        let column = told.column(at).as_string_view();
        if column.is_null(row) { String::new() } else { column.value(row).to_owned() }
    };
    let number = |at: usize, row: usize| told.column(at).as_primitive::<Float64Type>().value(row);
    let expected = counted(&rows);
    assert_eq!((told.num_rows(), expected.len()), (expected.len(), 4 * (2 + 1 + 1 + 3)));
    for row in 0..told.num_rows() {
        let bucket = told.column(0).as_primitive::<TimestampMicrosecondType>().value(row);
        let (caller, asset, operation) = (text(2, row), text(3, row), text(4, row));
        assert_eq!(text(1, row), if operation.is_empty() { "edge" } else { "operation" });
        let (requests, errors, durations) = &expected[&(bucket, caller, asset, operation)];
        let count = |at: usize| told.column(at).as_primitive::<Int64Type>().value(row);
        assert_eq!((count(5), count(6)), (*requests, *errors));
        let mean = durations.iter().sum::<f64>() / durations.len() as f64;
        let rank = |share: f64| durations[((durations.len() - 1) as f64 * share).round() as usize];
        assert!((number(7, row) - mean).abs() < 1e-9);
        assert_eq!([8, 9, 10, 11].map(|at| number(at, row)), [rank(0.5), rank(0.95), rank(0.99), rank(1.0)]);
    }
    assert_eq!(live_red(&watching.live, &other).unwrap().num_rows(), 0, "of another tenant");
    let everything = Erasure { tenant: tenant.clone(), table: None, condition: None };
    watching.life.store.erase(everything).await.unwrap();
    assert_eq!(live_red(&watching.live, &tenant).unwrap().num_rows(), 0, "of what was erased, at once");
    assert!(watching.close().await);
}

/// A half minute in which nearly everything has a name of its own: operations, callers, metrics and messages.
fn varied(tenant: (usize, &'static str), slot: i64) -> Vec<EventRow> {
    let mut rows = Vec::new();
    for number in 0..300_i64 {
        let unique = (tenant.0 as i64 * 1_000 + slot) * 1_000 + number;
        let trace = unique as u128 + 1;
        let start = at(slot * 30).0 + number * SECOND / 10;
        let caller = span(1, 0, &format!("service-{}", number % 100)).trace(trace).at(start, 9_000_000);
        let callee = span(2, 1, &format!("backend-{}", unique % 700)).trace(trace).at(start + 1_000, 5_000_000);
        rows.push(EventRow { name: format!("GET /orders/{unique:x}/lines"), ..caller.kind("server") });
        rows.push(EventRow { name: format!("SELECT {unique:x} FROM orders"), ..callee.kind("server") });
        let body = format!("{} begins {} {}", letters(unique), letters(unique * 3 + 2), letters(unique * 7 + 1));
        rows.push(EventRow {
            body: Some(body),
            asset: format!("service-{}", number % 100),
            severity: "info",
            start: start + 2_000,
            ..log(2, unique as u64 + 1, 0).trace(trace)
        });
    }
    rows.iter_mut().for_each(|row| row.tenant = tenant.1);
    rows
}

/// A word without digits for each number.
fn letters(number: i64) -> String {
    let digit = |power: u32| char::from(b'a' + (number / 26_i64.pow(power) % 26) as u8);
    (0..6).map(digit).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_within_its_bound_whatever_names_there_are_and_what_goes_is_counted() {
    const MOST: usize = 4 << 20;
    let folder = tempfile::tempdir().unwrap();
    let bounded = WatchOptions { memory_bytes: MOST, ..options() };
    let mut watching = Watching::begin_with(folder.path(), &Requests::default(), 0, InLog::default(), bounded).await;
    let tenants = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for slot in 0..24 {
        for tenant in tenants.into_iter().enumerate() {
            let rows = varied(tenant, slot);
            watching
                .arrive_of(&TenantId::new(tenant.1), slot * 30 + 31, &rows, |statistics| {
                    let bytes = statistics.watch().memory_bytes();
                    assert!(bytes <= MOST as u64, "{bytes} bytes");
                })
                .await;
        }
    }
    let watch = watching.statistics.watch();
    assert!(watch.memory_bytes() > MOST as u64 / 4, "the bound is used: {}", watch.memory_bytes());
    assert!(watch.slots() >= 8 * 22, "{}", watch.slots());
    for evicted in [watch.evicted_slots(), watch.evicted_names(), watch.evicted_templates()] {
        assert!(evicted > 0, "{} {} {}", watch.evicted_slots(), watch.evicted_names(), watch.evicted_templates());
    }
    // What is asked for is bounded as well, and of each tenant its own.
    let told = live_red(&watching.live, &TenantId::new(tenants[7])).unwrap();
    assert!(told.num_rows() > 0 && told.num_rows() < 24 * 3 * 600, "{}", told.num_rows());
    assert!(watching.close().await);
}
