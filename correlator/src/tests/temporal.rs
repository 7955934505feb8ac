//! Links of onsets and of changes as rows and as links to be stored, read from hand-made tables in memory.

use super::rows::{EventRow, batch, span};
use crate::{causal_chain, find_links, temporal_links, temporal_links_schema};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use std::sync::Arc;
use whence_schema::tables::correlations::{self, CorrelationRow};
use whence_schema::{EventId, Relation, TenantId, UnixNanos};
use whence_storage::{Snapshot, TableSnapshot};

const SECOND: i64 = 1_000_000_000;
/// A whole minute.
const FROM: i64 = 1_000_000 * 60 * SECOND;
const HOUR: i64 = 3_600;

/// A front end that calls orders every two seconds; orders fails at some times, and the front end by that.
fn events() -> Vec<EventRow> {
    let fails =
        |second: i64| [500, 1_110, 1_495, 2_040, 2_800, 3_300].iter().any(|at| (*at..at + 40).contains(&second));
    let call = |second: i64| {
        let start = FROM + second * SECOND;
        let failed = |row: EventRow| if fails(second) { row.failed() } else { row };
        let trace = second as u128 + 1;
        [
            failed(span(1, 0, "front").trace(trace).at(start, 40_000_000).kind("server")),
            failed(span(2, 1, "orders").trace(trace).at(start + 5_000_000, 20_000_000).kind("server")),
        ]
    };
    let mut events: Vec<EventRow> = (0..HOUR).step_by(2).flat_map(call).collect();
    events.push(EventRow {
        signal: "log",
        event_type: "deployment",
        position: Some((9, 1)),
        span: 0,
        trace: 0,
        body: Some("deployed".to_owned()),
        ..span(0, 0, "orders").at(FROM + 3_290 * SECOND, 0)
    });
    events
}

fn snapshot(events: &[EventRow], links: &[CorrelationRow]) -> Snapshot {
    let table = |batches| Arc::new(TableSnapshot { batches, chunks: Vec::new() });
    Snapshot {
        version: 1,
        events: table(events.chunks(500).map(batch).collect()),
        metrics: table(Vec::new()),
        correlations: table(vec![correlations::to_batch(links).unwrap()]),
    }
}

fn of_seconds(from: i64, to: i64) -> (UnixNanos, UnixNanos) {
    (UnixNanos(FROM + from * SECOND), UnixNanos(FROM + to * SECOND))
}

fn stored(snapshot: &Snapshot, (from, to): (UnixNanos, UnixNanos)) -> Vec<CorrelationRow> {
    find_links(snapshot, &TenantId::default(), from, to).unwrap().into_iter().map(|link| link.row).collect()
}

fn texts(batch: &RecordBatch, column: &str) -> Vec<String> {
    let column = batch.column_by_name(column).unwrap().as_string_view();
    column.iter().map(|text| text.unwrap_or_default().to_owned()).collect()
}

#[test]
fn rows_say_what_followed_what_and_links_to_be_stored_say_the_same() {
    let snapshot = snapshot(&events(), &[]);
    let (from, to) = of_seconds(0, HOUR);
    let rows = temporal_links(&snapshot, &TenantId::default(), from, to).unwrap();
    assert_eq!(rows.schema(), temporal_links_schema());
    let (causes, effects, relations) =
        (texts(&rows, "cause_asset"), texts(&rows, "effect_asset"), texts(&rows, "relation"));
    let number = |column: &str| rows.column_by_name(column).unwrap().as_primitive::<Float64Type>().clone();
    let lags: Vec<usize> = (0..rows.num_rows()).filter(|row| relations[*row] == "lag").collect();
    assert_eq!(lags.len(), 6, "{rows:?}");
    for &row in &lags {
        assert_eq!((causes[row].as_str(), effects[row].as_str()), ("orders", "front"));
        // The front end's span ends 15 ms after that of orders.
        assert_eq!(number("lag_ms").value(row), 15.0);
        assert!(number("p").value(row) <= number("q").value(row) && number("q").value(row) <= 0.05);
    }
    let supports = rows.column_by_name("support").unwrap().as_primitive::<Int64Type>();
    assert!(lags.iter().all(|row| supports.value(*row) == 6));
    let change = relations.iter().position(|relation| relation == "change").unwrap();
    assert_eq!((causes[change].as_str(), effects[change].as_str()), ("orders", "orders"));
    assert!(number("q").is_null(change) && number("lag_ms").value(change) >= 10_000.0);

    let links = stored(&snapshot, (from, to));
    let ids = |column: &str| {
        let column = rows.column_by_name(column).unwrap().as_fixed_size_binary();
        column.iter().map(|id| EventId(u128::from_be_bytes(id.unwrap().try_into().unwrap()))).collect::<Vec<_>>()
    };
    assert_eq!(ids("primary_event_id"), links.iter().map(|link| link.primary).collect::<Vec<_>>());
    assert_eq!(ids("related_event_id"), links.iter().map(|link| link.related).collect::<Vec<_>>());
    let first = &links[lags[0]];
    let metadata: serde_json::Value = serde_json::from_str(first.metadata.as_deref().unwrap()).unwrap();
    assert_eq!((metadata["lag_ms"].as_f64(), metadata["support"].as_i64()), (Some(15.0), Some(6)), "{metadata}");
    assert!(metadata["p"].is_f64() && metadata["q"].is_f64() && metadata["direction_p"].is_f64(), "{metadata}");
    assert!(metadata.get("relation").is_none() && metadata.get("method").is_none(), "written when read: {metadata}");
    assert!(events().iter().any(|event| event.id() == first.related && event.start == first.related_timestamp.0));
}

#[test]
fn a_part_of_the_time_has_its_links_of_that_time_with_the_hour_before_as_evidence() {
    let snapshot = snapshot(&events(), &[]);
    let all = stored(&snapshot, of_seconds(0, HOUR));
    let last = stored(&snapshot, of_seconds(3_240, HOUR));
    let pairs = |links: &[CorrelationRow]| {
        links.iter().map(|link| (link.relation, link.primary, link.related)).collect::<Vec<_>>()
    };
    let since = |link: &&CorrelationRow| link.related_timestamp.0 >= FROM + 3_240 * SECOND;
    assert_eq!(pairs(&last), pairs(&all.iter().filter(since).cloned().collect::<Vec<_>>()));
    assert_eq!(last.iter().filter(|link| link.relation == Relation::Lag).count(), 1);
    assert_eq!(stored(&snapshot, of_seconds(100, 400)), [], "before anything happened");
    let backwards = of_seconds(400, 100);
    assert!(find_links(&snapshot, &TenantId::default(), backwards.0, backwards.1).unwrap_err().is_refusal());
    let other = TenantId::new("other");
    let (from, to) = of_seconds(0, HOUR);
    assert_eq!(find_links(&snapshot, &other, from, to).unwrap(), []);
}

/// Orders is called every second; from half an hour on every sixth call is served by a new version, of which one in three
/// fails with `fails`, as every twentieth call does all the time.
fn canary(fails: bool) -> Vec<EventRow> {
    let call = |second: i64| {
        let is_new = second >= 1_800 && second % 6 == 0;
        let version = if is_new { r#"{"service.version":"2"}"# } else { r#"{"service.version":"1"}"# };
        let row = span(1, 0, "orders").trace(second as u128 + 1).at(FROM + second * SECOND, 20_000_000).kind("server");
        let row = EventRow { resource: version.to_owned(), ..row };
        if second % 20 == 7 || fails && is_new && second % 18 == 0 { row.failed() } else { row }
    };
    (0..2_700).map(call).collect()
}

#[test]
fn a_version_that_shows_beside_another_one_is_the_cause_of_what_it_alone_does() {
    let (from, to) = of_seconds(0, 2_700);
    let events = canary(true);
    let found = stored(&snapshot(&events, &[]), (from, to));
    let [change] = &found[..] else { panic!("{found:#?}") };
    assert_eq!(change.relation, Relation::Change);
    let at = |second: usize| events[second].id();
    assert_eq!((change.primary, change.related), (at(1_800), at(1_818)), "its first span, and the next that fails");
    let metadata: serde_json::Value = serde_json::from_str(change.metadata.as_deref().unwrap()).unwrap();
    assert_eq!((metadata["contrast"].as_str(), metadata["effect_kind"].as_str()), (Some("versions"), Some("errors")));
    assert_eq!(stored(&snapshot(&canary(false), &[]), (from, to)), [], "it does as the old one");
}

#[test]
fn chains_of_causes_do_not_leave_a_trace_through_what_only_went_together() {
    let mut events = events();
    let logged = EventRow { trace: 501, ..super::rows::log(2, 70_001, 1) };
    let logged = EventRow { start: FROM + 500 * SECOND + 10_000_000, ..logged };
    events.push(logged.clone());
    let elsewhere = events[0].clone();
    let link = |relation, primary: &EventRow, at| CorrelationRow {
        tenant: TenantId::default(),
        correlation_type: "temporal",
        relation,
        primary: primary.id(),
        related: logged.id(),
        primary_timestamp: UnixNanos(at),
        related_timestamp: UnixNanos(logged.start),
        strength: 1.0,
        confidence: 1.0,
        created_at: UnixNanos(0),
        metadata: None,
    };
    let span_of_log = events.iter().find(|row| row.trace == 501 && row.span == 2).unwrap().clone();
    let links =
        [link(Relation::LogInSpan, &span_of_log, span_of_log.start), link(Relation::Lag, &elsewhere, logged.start - 1)];
    let snapshot = snapshot(&events, &links);
    let chain = causal_chain(&snapshot, &TenantId::default(), logged.id()).unwrap();
    assert_eq!(texts(&chain, "relation"), ["effect", "log_in_span"], "{chain:?}");
    assert_eq!(texts(&chain, "asset_id"), ["a", "orders"]);
}
