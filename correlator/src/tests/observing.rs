//! Windows as the methods see them, read from hand-made tables in memory.

use super::rows::{EventRow, batch, log, span};
use crate::functions::scan::Range;
use crate::method::observations::{ChangeKind, SpanKind};
use crate::observe::{Observed, observe};
use crate::{changes, find_incidents, find_root_causes, incidents, log_patterns};
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use std::sync::Arc;
use whence_schema::{EventId, TenantId, UnixNanos};
use whence_storage::{Snapshot, TableSnapshot};

const SECOND: i64 = 1_000_000_000;
/// Start of the window; a whole minute.
const FROM: i64 = 1_000_000 * 60 * SECOND;
const WINDOW: Range = Range { from: UnixNanos(FROM), to: UnixNanos(FROM + 300 * SECOND) };

fn snapshot(events: &[EventRow]) -> Snapshot {
    let table = |batches| Arc::new(TableSnapshot { batches, chunks: Vec::new() });
    let batches = events.chunks(100).map(batch).collect();
    Snapshot { version: 1, events: table(batches), metrics: table(Vec::new()), correlations: table(Vec::new()) }
}

fn observed(events: &[EventRow], most: usize) -> Observed {
    observe(&snapshot(events), &TenantId::default(), WINDOW, most).unwrap()
}

/// A root span of its own trace at a second of the window; negative before it.
fn at(second: i64, asset: &str) -> EventRow {
    let trace = (second + 10_000) as u128 * 1_000_003;
    span(7, 0, asset).trace(trace).at(FROM + second * SECOND, 1_000_000)
}

#[test]
fn spans_logs_and_their_texts_are_read_with_the_hour_before_and_nothing_else() {
    let of_other = EventRow { tenant: "other", ..at(1, "secret") };
    let server = EventRow { kind: Some("server"), ..at(1, "cart").failed() };
    let calls = EventRow { payload: r#"{"server.address":"orders-db"}"#.into(), ..at(2, "cart").kind("client") };
    let event = EventRow {
        signal: "span_event",
        event_type: "exception",
        position: Some((5, 1)),
        body: None,
        payload: r#"{"exception.type":"Oops","exception.message":"no"}"#.into(),
        ..at(2, "cart")
    };
    let logged = EventRow { start: FROM + 3 * SECOND, ..log(7, 5, 2) };
    let too_early = at(-3_601, "cart");
    let seen =
        observed(&[of_other, server, calls, event, logged, at(-3_000, "front"), too_early, at(300, "late")], 1_000);
    let all = &mut seen.observations.clone();
    // The order in which they are read says nothing.
    all.spans.sort_by_key(|span| span.start);
    all.logs.sort_by_key(|log| log.time);
    assert_eq!((seen.baseline_from, seen.thinned, seen.cut), (UnixNanos(FROM - 3_000 * SECOND), 1, false));
    let assets: Vec<&str> = all.spans.iter().map(|span| all.assets[span.asset as usize].as_str()).collect();
    assert_eq!(assets, ["front", "cart", "cart"]);
    assert_eq!((all.spans[1].kind, all.spans[1].failed, all.spans[1].peer), (SpanKind::Server, true, None));
    assert_eq!(all.spans[2].peer.map(|peer| all.assets[peer as usize].as_str()), Some("orders-db"));
    let texts: Vec<(&str, u8)> = all.logs.iter().map(|log| (log.body.as_str(), log.severity)).collect();
    assert_eq!(texts, [("operation Oops", 9), ("line 2", 17)]);
    assert_eq!(all.logs[1].id, EventId::from_halves(5, 2));
    all.assets.sort();
    assert_eq!(all.assets, ["a", "cart", "front", "orders-db"]);
}

#[test]
fn too_many_events_are_thinned_to_whole_traces_and_that_is_said() {
    let traces = (0..1_000).flat_map(|number: i64| {
        let root = at(0, "a").trace(number as u128 * 7_919 + 1);
        [EventRow { span: 1, ..root.clone() }, EventRow { span: 2, parent: 1, ..root }]
    });
    let seen = observed(&traces.collect::<Vec<_>>(), 600);
    assert!(seen.thinned >= 4 && seen.thinned.is_power_of_two(), "{}", seen.thinned);
    let spans = &seen.observations.spans;
    assert!((200..=600).contains(&spans.len()), "{}", spans.len());
    let of = |span: u64| spans.iter().filter(|seen| seen.span == span).map(|seen| seen.trace).collect::<Vec<_>>();
    assert_eq!(of(1), of(2), "both spans of a trace or neither");
}

#[test]
fn a_baseline_that_holds_too_much_is_cut_before_traces_are_left_out() {
    let events: Vec<EventRow> = (-3_600..300).map(|second| at(second, "a")).collect();
    let seen = observed(&events, 2_100);
    assert!(seen.cut && seen.thinned == 1);
    let before = (FROM - seen.baseline_from.0) / SECOND;
    assert!((1_700..=1_800).contains(&before), "{before}");
    let why = &find_root_causes(&snapshot(&events), &TenantId::default(), WINDOW.from, WINDOW.to).unwrap()[0];
    assert_eq!((why.kind, &why.asset), ("none", &None), "{why:?}");
}

#[test]
fn new_versions_and_recorded_changes_are_changes() {
    let version =
        |row: EventRow, version: &str| EventRow { resource: format!(r#"{{"service.version":"{version}"}}"#), ..row };
    let mut events: Vec<EventRow> = (-600..100).map(|second| version(at(second, "pay"), "1.0")).collect();
    events.extend((100..300).map(|second| version(at(second, "pay"), "1.1")));
    let flag = r#"{"feature_flag.key":"fast","feature_flag.result.variant":"on"}"#;
    events.push(EventRow {
        event_type: "feature_flag",
        body: Some("turned on".into()),
        payload: flag.into(),
        start: FROM + 50 * SECOND,
        ..log(0, 9, 1)
    });
    let seen = observed(&events, 10_000).observations;
    let found: Vec<_> = seen.changes.iter().map(|c| (c.kind, c.what.as_str(), (c.time.0 - FROM) / SECOND)).collect();
    assert_eq!(
        found,
        [(ChangeKind::FeatureFlag, "fast=on", 50), (ChangeKind::Deployment, "version 1.1, before 1.0", 100)]
    );
    assert!(seen.logs.is_empty(), "a change is no log record as well");
    let rows = changes(&snapshot(&events), &TenantId::default(), WINDOW.from, WINDOW.to).unwrap();
    assert_eq!((rows.num_rows(), rows.schema()), (2, crate::changes_schema()));
}

#[test]
fn what_failed_more_than_before_is_named_and_a_quiet_window_has_no_cause_with_the_reason() {
    let cart = |second: i64| at(second, "cart");
    let mut events: Vec<EventRow> =
        (-600..300).flat_map(|second| [cart(second), at(second + 50_000_000, "x")]).collect();
    let ask = |events: &[EventRow], from: i64, to: i64| {
        let (from, to) = (UnixNanos(FROM + from * SECOND), UnixNanos(FROM + to * SECOND));
        find_root_causes(&snapshot(events), &TenantId::default(), from, to).unwrap()
    };
    let quiet = &ask(&events, 0, 300)[0];
    assert_eq!((quiet.rank, quiet.kind, quiet.confidence), (1, "none", None));
    assert!(quiet.explanation.contains("nothing stands out from the 10 min before"), "{}", quiet.explanation);
    assert!(ask(&events, 5_000, 5_300)[0].explanation.contains("nothing was received"));
    assert!(ask(&events, -600, 300)[0].explanation.contains("nothing before this time"));

    events
        .iter_mut()
        .filter(|row| row.asset == "cart" && row.start >= FROM + 60 * SECOND)
        .for_each(|row| row.status = "error");
    let causes = ask(&events, 0, 300);
    assert_eq!((causes[0].asset.as_deref(), causes[0].kind), (Some("cart"), "errors"));
    assert!(causes[0].confidence.unwrap() > 0.0 && !causes[0].evidence.is_empty());
    assert!(causes.is_sorted_by(|earlier, later| earlier.confidence >= later.confidence), "{causes:?}");
}

#[test]
fn windows_that_cannot_be_asked_about_are_refused() {
    let ask = |from: i64, to: i64| {
        let error = find_root_causes(&snapshot(&[]), &TenantId::default(), UnixNanos(from), UnixNanos(to)).unwrap_err();
        assert!(error.is_refusal());
        error.to_string()
    };
    assert!(ask(FROM, FROM).contains("before the second"));
    assert!(ask(i64::MIN, i64::MAX).contains("24 hours"));
}

#[test]
fn messages_are_counted_by_their_pattern_now_and_before() {
    let at = |second: i64, body: &str, severity: &'static str| EventRow {
        body: Some(body.to_owned()),
        severity,
        start: FROM + second * SECOND,
        ..log(0, 1, second as i32 + 10_000)
    };
    let mut events: Vec<EventRow> =
        (-600..300).map(|n| at(n, &format!("order {} paid in {n} ms", n * 7), "info")).collect();
    events.extend((100..140).map(|n| at(n, "no connection to the database left", "error")));
    let rows = log_patterns(&snapshot(&events), &TenantId::default(), WINDOW.from, WINDOW.to).unwrap();
    assert_eq!(rows.schema(), crate::log_patterns_schema());
    let text = |column: &str| -> Vec<String> {
        rows.column_by_name(column).unwrap().as_string_view().iter().flatten().map(str::to_owned).collect()
    };
    let number = |column: &str| rows.column_by_name(column).unwrap().as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(text("severity"), ["error", "info"], "the more surprising comes first");
    assert_eq!(text("pattern")[0], "no connection to the database left");
    assert_eq!((number("count"), number("count_before")), (vec![40, 300], vec![0, 600]));
    let later = Range { from: UnixNanos(FROM + 60 * SECOND), ..WINDOW };
    let again = log_patterns(&snapshot(&events), &TenantId::default(), later.from, later.to).unwrap();
    let ids = again.column_by_name("pattern_id").unwrap().as_string_view();
    assert_eq!(ids.value(0), text("pattern_id")[0], "an id does not depend on the window");
}

#[test]
fn an_incident_is_found_without_being_told_when_and_another_tenant_has_none() {
    let server = |second: i64, failed: bool| {
        let row = at(second, "cart").kind("server");
        if failed { row.failed() } else { row }
    };
    // Ten requests a second, of which a third fails for two minutes.
    let events: Vec<EventRow> = (0..12_000)
        .map(|number: i64| {
            let second = number / 10 - 900;
            let failed = (120..240).contains(&second) && number % 3 == 0;
            EventRow { trace: number as u128 + 1, ..server(second, failed) }
        })
        .collect();
    let find = |tenant: &TenantId| find_incidents(&snapshot(&events), tenant, WINDOW.from, WINDOW.to).unwrap();
    let found = find(&TenantId::default());
    let [incident] = &found[..] else { panic!("{found:?}") };
    assert_eq!((incident.asset.as_deref(), incident.affected.as_slice()), (Some("cart"), &["cart".to_owned()][..]));
    assert!(incident.title.ends_with("in cart fails"), "{incident:?}");
    let second = |time: UnixNanos| (time.0 - FROM) / SECOND;
    assert!((90..=150).contains(&second(incident.opened)), "{incident:?}");
    assert!((210..=300).contains(&second(incident.closed)), "{incident:?}");
    assert_eq!(find(&TenantId::new("other")), []);
    let rows = incidents(&snapshot(&events), &TenantId::default(), WINDOW.from, WINDOW.to).unwrap();
    assert_eq!((rows.num_rows(), rows.schema()), (1, crate::incidents_schema()));
}
