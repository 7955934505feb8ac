//! The table functions over small hand-made tables in memory.

use super::rows::{EventRow, batch, log, span, span_id};
use crate::linker::{Arrival, Linker};
use crate::pending::Moment;
use crate::{causal_chain, placements, service_graph, trace};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use std::sync::Arc;
use whence_schema::tables::correlations;
use whence_schema::{EventId, ExemplarLink, SpanId, TenantId, TraceId, UnixNanos};
use whence_storage::{Snapshot, TableSnapshot};

/// A snapshot of `events` and of the links between them.
fn snapshot(events: &[EventRow], exemplars: &[ExemplarLink]) -> Snapshot {
    let mut linker = Linker::new(super::linking::LIMITS, false);
    let tenant = TenantId::default();
    let arrival = Arrival { tenant: &tenant, emit: true, at: Moment(0), now: UnixNanos(0) };
    let mut links = Vec::new();
    let batches: Vec<RecordBatch> = events.chunks(3).map(batch).collect();
    batches.iter().for_each(|batch| linker.events(arrival, batch, &mut links).unwrap());
    linker.exemplars(arrival, exemplars, &mut links);
    let table = |batches| Arc::new(TableSnapshot { batches, chunks: Vec::new() });
    Snapshot {
        version: 1,
        events: table(batches),
        metrics: table(Vec::new()),
        correlations: table(vec![correlations::to_batch(&links).unwrap()]),
    }
}

fn texts(batch: &RecordBatch, column: &str) -> Vec<Option<String>> {
    batch.column_by_name(column).unwrap().as_string_view().iter().map(|text| text.map(str::to_owned)).collect()
}

/// Depth, span (the low half of the id), asset and relation of each step.
fn steps(chain: &RecordBatch) -> Vec<(i32, u64, String, String)> {
    let ids = chain.column_by_name("event_id").unwrap().as_fixed_size_binary();
    let low = |row: usize| u64::from_be_bytes(ids.value(row)[8..].try_into().unwrap());
    let depths = chain.column_by_name("depth").unwrap().as_primitive::<Int32Type>();
    let (assets, relations) = (texts(chain, "asset_id"), texts(chain, "relation"));
    (0..chain.num_rows())
        .map(|row| (depths.value(row), low(row), assets[row].clone().unwrap(), relations[row].clone().unwrap()))
        .collect()
}

fn assert_chain(snapshot: &Snapshot, event: EventId, expected: &[(u64, &str, &str)]) -> RecordBatch {
    let chain = causal_chain(snapshot, &TenantId::default(), event).unwrap();
    let expected: Vec<_> = (0..)
        .zip(expected)
        .map(|(depth, (id, asset, relation))| (depth, *id, (*asset).to_owned(), (*relation).to_owned()))
        .collect();
    assert_eq!(steps(&chain), expected);
    chain
}

const T0: i64 = 1_000_000_000_000;

/// front end -> checkout -> (mail, recovered failure | payment -> internal span -> database call that failed).
pub(crate) fn failing_trace() -> Vec<EventRow> {
    let ms = 1_000_000;
    vec![
        span(1, 0, "frontend").at(T0, 100 * ms).kind("server").failed(),
        span(2, 1, "frontend").at(T0 + 5 * ms, 90 * ms).kind("client").failed(),
        span(3, 2, "checkout").at(T0 + 6 * ms, 88 * ms).kind("server").failed(),
        span(4, 3, "mail").at(T0 + 10 * ms, 5 * ms).kind("server").failed(),
        span(5, 3, "payment").at(T0 + 20 * ms, 70 * ms).kind("server").failed(),
        span(6, 5, "payment").at(T0 + 21 * ms, 60 * ms),
        span(7, 6, "payment")
            .at(T0 + 22 * ms, 50 * ms)
            .kind("client")
            .failed()
            .payload(r#"{"db.system.name":"postgresql","server.address":"payment-db","_otel":{"status_message":"too many connections"}}"#),
        span(8, 3, "stock").at(T0 + 30 * ms, 20 * ms).kind("server"),
        log(1, 77, 3),
        EventRow { severity: "info", ..log(8, 77, 4) },
    ]
}

#[test]
fn the_chain_of_a_failure_goes_to_the_callee_that_explains_it_and_says_why() {
    let snapshot = snapshot(&failing_trace(), &[]);
    let down = [
        (2, "frontend", "internal"),
        (3, "checkout", "failure"),
        (5, "payment", "failure"),
        (6, "payment", "internal"),
        (7, "payment", "internal"),
    ];
    let from_front: Vec<_> = [(1, "frontend", "effect")].into_iter().chain(down).collect();
    let chain = assert_chain(&snapshot, span_id(1, 1), &from_front);
    let details = texts(&chain, "detail");
    assert_eq!(details.last().unwrap().as_deref(), Some("too many connections (postgresql at payment-db)"));
    let strengths = chain.column_by_name("strength").unwrap().as_primitive::<Float32Type>();
    assert_eq!(strengths.value(0), 1.0);
    assert!((strengths.value(3) - (1.0 - 4.0 / 88.0)).abs() < 1e-6, "{strengths:?}");

    let head = [(3, "a", "effect"), (1, "frontend", "log_in_span")];
    let from_log: Vec<_> = head.into_iter().chain(down).collect();
    let chain = assert_chain(&snapshot, EventId::from_halves(77, 3), &from_log);
    assert_eq!(texts(&chain, "detail")[0].as_deref(), Some("line 3"));
}

#[test]
fn a_log_that_no_link_names_is_found_and_its_span_that_did_not_fail_leads_up() {
    let chain = [
        (4, "a", "effect"),
        (8, "stock", "log_in_span"),
        (3, "checkout", "call"),
        (2, "frontend", "call"),
        (1, "frontend", "internal"),
    ];
    assert_chain(&snapshot(&failing_trace(), &[]), EventId::from_halves(77, 4), &chain);
}

#[test]
fn a_slow_span_leads_to_the_child_that_takes_most_of_its_time() {
    let events = [
        span(1, 0, "a").at(T0, 1_000_000),
        span(2, 1, "b").at(T0 + 1_000, 400_000),
        span(3, 1, "c").at(T0 + 402_000, 550_000),
        span(4, 3, "d").at(T0 + 402_000, 200_000),
    ];
    let chain = assert_chain(&snapshot(&events, &[]), span_id(1, 1), &[(1, "a", "effect"), (3, "c", "call")]);
    let strengths = chain.column_by_name("strength").unwrap().as_primitive::<Float32Type>();
    assert!((strengths.value(1) - 0.55).abs() < 1e-6);
}

#[test]
fn what_led_to_an_event_is_followed_through_messages_into_other_traces() {
    let events = [
        span(1, 0, "shop").at(T0, 1_000_000),
        span(2, 1, "shop").at(T0 + 1_000, 1_000).kind("producer"),
        span(3, 0, "mail").trace(2).at(T0 + 5_000_000, 1_000_000).kind("consumer").links(&[(1, 2)]),
        span(4, 3, "mail").trace(2).at(T0 + 5_000_000, 10),
    ];
    let chain = [(4, "mail", "effect"), (3, "mail", "internal"), (2, "shop", "message"), (1, "shop", "internal")];
    assert_chain(&snapshot(&events, &[]), span_id(2, 4), &chain);
}

#[test]
fn a_metric_row_leads_through_its_exemplar_to_the_span() {
    let exemplar = ExemplarLink {
        trace: TraceId(1_u128.to_be_bytes()),
        span: SpanId(5),
        timestamp: UnixNanos(T0),
        metric_row: EventId(0xabc),
        bucket: UnixNanos(T0).bucket(),
    };
    let chain = [
        (0xabc, "payment", "effect"),
        (5, "payment", "exemplar"),
        (6, "payment", "internal"),
        (7, "payment", "internal"),
    ];
    assert_chain(&snapshot(&failing_trace(), &[exemplar]), EventId(0xabc), &chain);
}

#[test]
fn unknown_ids_other_tenants_and_circles_of_parents_end() {
    let circle = [span(1, 2, "a").failed(), span(2, 1, "b").failed()];
    let snapshot = snapshot(&circle, &[]);
    assert_chain(&snapshot, span_id(1, 1), &[(1, "a", "effect"), (2, "b", "failure")]);
    assert_chain(&snapshot, EventId(12), &[]);
    let other = TenantId::new("other");
    assert_eq!(causal_chain(&snapshot, &other, span_id(1, 1)).unwrap().num_rows(), 0);
    assert_eq!(trace(&snapshot, &TenantId::default(), TraceId(1_u128.to_be_bytes())).unwrap().num_rows(), 2);
    assert_eq!(trace(&snapshot, &TenantId::default(), TraceId(9_u128.to_be_bytes())).unwrap().num_rows(), 0);
}

#[test]
fn a_trace_is_shown_depth_first_with_the_time_spans_spent_themselves() {
    let events = [
        span(3, 1, "c").at(T0 + 50, 30),
        span(1, 0, "a").at(T0, 100),
        span(2, 1, "b").at(T0 + 10, 50),
        span(4, 2, "b").at(T0 + 20, 500),
        EventRow { start: T0 + 40, ..log(2, 7, 1) },
        span(9, 8, "lost parent").at(T0 + 90, 1),
    ];
    let rows = trace(&snapshot(&events, &[]), &TenantId::default(), TraceId(1_u128.to_be_bytes())).unwrap();
    assert_eq!(rows.schema(), crate::trace_schema());
    let ids = rows.column_by_name("event_id").unwrap().as_fixed_size_binary();
    let low: Vec<u8> = ids.iter().map(|id| id.unwrap()[15]).collect();
    assert_eq!(low, [1, 2, 4, 1, 3, 9]);
    let depths = rows.column_by_name("depth").unwrap().as_primitive::<Int32Type>();
    assert_eq!(depths.values(), &[0, 1, 2, 2, 1, 0]);
    let own = rows.column_by_name("self_time_ns").unwrap().as_primitive::<Int64Type>();
    let own: Vec<Option<i64>> = own.iter().collect();
    assert_eq!(own, [Some(30), Some(10), Some(500), None, Some(30), Some(1)]);
    let parents = rows.column_by_name("parent_event_id").unwrap();
    assert!(parents.is_null(0) && parents.is_valid(5), "a parent that is not known is still named");
}

#[test]
fn the_service_graph_counts_calls_errors_and_times_of_callees() {
    let ms = 1_000_000;
    let mut events = vec![span(1, 0, "front").at(T0 - 1_000, 100 * ms).kind("server")];
    for call in 0..20 {
        let row = span(100 + call, 1, "back").at(T0 + 10, (call as i64 + 1) * ms).kind("server");
        events.push(if call < 5 { row.failed() } else { row });
    }
    let database = r#"{"db.system.name":"postgresql","server.address":"orders-db"}"#;
    events.push(span(200, 100, "back").at(T0 + 20, 4 * ms).kind("client").payload(database).failed());
    events.push(span(201, 100, "back").at(T0 + 20, 4 * ms).kind("client").payload(r#"{"db.system":"redis"}"#));
    events.push(span(202, 100, "back").at(T0 + 20, 4 * ms).kind("client").payload(database));
    events.push(span(203, 202, "instrumented db").at(T0 + 21, 3 * ms).kind("server"));
    events.push(span(300, 0, "front").at(T0 + 30, 6 * ms).kind("server"));
    events.push(span(301, 999, "edge").at(T0 + 30, 6 * ms).kind("server"));
    events.push(span(302, 0, "too late").at(T0 + 1_000 * ms, ms).kind("server"));
    let graph = service_graph(&snapshot(&events, &[]), &TenantId::default(), UnixNanos(T0), UnixNanos(T0 + 1_000 * ms))
        .unwrap();
    assert_eq!(graph.schema(), crate::service_graph_schema());
    let (callers, callees, relations) = (texts(&graph, "caller"), texts(&graph, "callee"), texts(&graph, "relation"));
    let number = |name: &str| graph.column_by_name(name).unwrap().as_primitive::<Float64Type>().clone();
    let count = |name: &str| graph.column_by_name(name).unwrap().as_primitive::<Int64Type>().clone();
    let rows: Vec<String> = (0..graph.num_rows())
        .map(|row| {
            let text = |texts: &[Option<String>]| texts[row].clone().unwrap_or_default();
            let (calls, errors) = (count("calls").value(row), count("errors").value(row));
            let (rate, avg, p95) =
                (number("error_rate").value(row), number("avg_ms").value(row), number("p95_ms").value(row));
            let edge = format!("{} {} {}", text(&callers), text(&callees), text(&relations));
            format!("{edge} {calls} {errors} {rate} {avg} {p95}")
        })
        .collect();
    let expected = [
        " edge entry 1 0 0 6 6",
        " front entry 1 0 0 6 6",
        "back instrumented db call 1 0 0 3 3",
        "back orders-db database 1 1 1 4 4",
        "back redis database 1 0 0 4 4",
        "front back call 20 5 0.25 10.5 19",
    ];
    assert_eq!(rows, expected);
}

#[test]
fn placements_say_which_assets_ran_where_and_when() {
    let ms = 1_000_000;
    let on = |id: u64, asset: &str, at: i64, resource: &str| {
        let row = span(id, 0, asset).at(T0 + at * ms, ms);
        EventRow { resource: resource.to_owned(), ..row }
    };
    let events = [
        on(1, "cart", 0, r#"{"k8s.node.name":"n1","k8s.pod.name":"cart-1","service.version":"1"}"#),
        on(2, "cart", 9, r#"{"k8s.node.name":"n1","k8s.pod.name":"cart-2","service.version":"2"}"#),
        on(3, "pay", 4, r#"{"k8s.node.name":"n1","k8s.pod.name":"pay-1"}"#),
        on(4, "pay", 6, r#"{"k8s.node.name":"n1","k8s.pod.name":"pay-1"}"#),
        on(5, "mail", 5, r#"{"host.name":"vm-1"}"#),
        on(6, "late", 11, r#"{"k8s.node.name":"n1"}"#),
        on(7, "nowhere", 5, "{}"),
    ];
    let snapshot = snapshot(&events, &[]);
    let (from, to) = (UnixNanos(T0), UnixNanos(T0 + 10 * ms));
    let found = placements(&snapshot, &TenantId::default(), from, to).unwrap();
    assert_eq!(found.schema(), crate::placements_schema());
    let text = |name: &str| texts(&found, name).into_iter().map(Option::unwrap).collect::<Vec<String>>();
    let millis = |name: &str| -> Vec<i64> {
        let times = found.column_by_name(name).unwrap().as_primitive::<TimestampMicrosecondType>();
        times.values().iter().map(|micros| micros / 1_000 - T0 / ms).collect()
    };
    let (kinds, places, assets) = (text("kind"), text("place"), text("asset_id"));
    let (first, last) = (millis("first_seen"), millis("last_seen"));
    let events = found.column_by_name("events").unwrap().as_primitive::<Int64Type>();
    let rows: Vec<String> = (0..found.num_rows())
        .map(|row| {
            let (first, last, events) = (first[row], last[row], events.value(row));
            format!("{} {} {} {first} {last} {events}", kinds[row], places[row], assets[row])
        })
        .collect();
    let expected = [
        "pod cart-1 cart 0 0 1",
        "pod cart-2 cart 9 9 1",
        "pod pay-1 pay 4 6 2",
        "node n1 cart 0 9 2",
        "node n1 pay 4 6 2",
        "host vm-1 mail 5 5 1",
    ];
    assert_eq!(rows, expected);
    let other = TenantId::new("other");
    assert_eq!(placements(&snapshot, &other, from, to).unwrap().num_rows(), 0);
}
