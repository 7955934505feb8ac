#![allow(clippy::unwrap_used)]

use super::*;
use crate::tests::rows::{EventRow, batch as rows, log, span};
use arrow::datatypes::{Float64Type, Int64Type};
use std::fmt::Write;
use whence_storage::TableSnapshot;

const SECOND: i64 = 1_000_000_000;
const FROM: UnixNanos = UnixNanos(1_000 * SECOND);
const TO: UnixNanos = UnixNanos(2_000 * SECOND);

fn snapshot(events: &[EventRow]) -> Snapshot {
    let table = |batches| Arc::new(TableSnapshot { batches, chunks: Vec::new() });
    let batches = events.chunks(100).map(rows).collect();
    Snapshot { version: 1, events: table(batches), metrics: table(Vec::new()), correlations: table(Vec::new()) }
}

/// Events whose severity is that.
fn severity(is: &'static str) -> RowCondition {
    Arc::new(move |batch| {
        let severities = batch.column(column::SEVERITY).as_string_view();
        Ok(severities.iter().map(|severity| severity.map(|severity| severity == is)).collect())
    })
}

fn lift(events: &[EventRow]) -> Result<RecordBatch, CorrelatorError> {
    let (bad, good) = (severity("error"), severity("info"));
    attribute_lift(&snapshot(events), &TenantId::default(), (&bad, &good), FROM, TO)
}

/// Attribute, value, bad, of_bad, good, of_good, and the figures of each row.
fn told(answer: &RecordBatch) -> Vec<String> {
    let text = |at: usize, row: usize| {
        let texts = answer.column(at).as_string_view();
        if texts.is_valid(row) { texts.value(row).to_owned() } else { "-".to_owned() }
    };
    let line = |row: usize| {
        let mut line = format!("{} {}", text(0, row), text(1, row));
        for at in 2..6 {
            let _ = write!(line, " {}", answer.column(at).as_primitive::<Int64Type>().value(row));
        }
        for at in 6..9 {
            let figures = answer.column(at).as_primitive::<Float64Type>();
            let _ = if figures.is_valid(row) { write!(line, " {:.4}", figures.value(row)) } else { write!(line, " -") };
        }
        line
    };
    (0..answer.num_rows()).map(line).collect()
}

fn event(severity: &'static str, payload: &str) -> EventRow {
    EventRow { severity, payload: payload.to_owned(), ..span(1, 0, "cart") }
}

#[test]
fn the_ratio_is_that_of_dunnings_examples() {
    // Dunning 1993, table 1: "the swiss" and "can be" in 31,777 pairs of words.
    let of = |a: u64, b: u64, c: u64, d: u64| g2(Split { bad: a, good: c }, Split { bad: a + b, good: c + d });
    assert_eq!(format!("{:.2} {:.2}", of(110, 2442, 111, 29114), of(29, 13, 123, 31612)), "270.72 263.90");
    assert_eq!(of(5, 5, 10, 10), 0.0);
    assert!((of(3, 0, 0, 4) - 2.0 * (3.0 * (7.0_f64 / 3.0).ln() + 4.0 * (7.0_f64 / 4.0).ln())).abs() < 1e-12);
}

#[test]
fn values_that_bad_events_have_more_often_come_with_exact_figures_the_most_telling_first() {
    let resource = |version: &str| format!(r#"{{"service.version":"{version}","host.ids":["a"]}}"#);
    let mut events = Vec::new();
    for number in 0..10 {
        // All that is bad is of version 2, and eight of ten are of card 7.
        let card = if number < 8 { 7 } else { 1 };
        let payload = format!(r#"{{"card":{card},"fresh":true,"_otel":{{"dropped":1}},"none":null}}"#);
        events.push(EventRow { resource: resource("2"), ..event("error", &payload) });
    }
    for number in 0..30 {
        let version = if number < 6 { "2" } else { "1" };
        let payload = format!(r#"{{"card":{},"fresh":true}}"#, if number < 3 { 7 } else { 1 });
        events.push(EventRow { resource: resource(version), ..event("info", &payload) });
    }
    // Neither bad nor good, another's, and at another time.
    events.push(event("debug", r#"{"card":7}"#));
    events.push(EventRow { tenant: "other", ..event("error", r#"{"card":9}"#) });
    events.push(EventRow { start: TO.0, ..event("error", r#"{"card":9}"#) });
    events.push(EventRow { start: FROM.0 - 1_000, ..event("error", r#"{"card":9}"#) });
    let expected = [
        // G2 of (10, 0 | 0, 30): 2 (10 ln 4 + 30 ln 4/3).
        "severity error 10 10 0 30 1.0000 4.0000 44.9868",
        "resource.service.version 2 10 10 6 30 0.8000 2.5000 23.8168",
        "payload.card 7 8 10 3 30 0.7000 2.9091 17.5405",
    ];
    assert_eq!(told(&lift(&events).unwrap()), expected);
}

#[test]
fn of_more_values_than_are_counted_the_frequent_ones_are_told_exactly_and_the_others_together() {
    let mut events = Vec::new();
    for number in 0..2_000 {
        let user = if number % 4 == 0 { "robot".to_owned() } else { format!("someone {number}") };
        events.push(event("error", &format!(r#"{{"user":"{user}"}}"#)));
    }
    events.extend((0..1_000).map(|number| event("info", &format!(r#"{{"user":"{number}"}}"#))));
    events.push(event("info", r#"{"user":"robot"}"#));
    let told = told(&lift(&events).unwrap());
    let robot = told.iter().find(|row| row.starts_with("payload.user robot")).unwrap();
    assert!(robot.starts_with("payload.user robot 500 2000 1 1001 0.2490 "), "{robot}");
    assert!(told.len() <= MOST_ROWS);
    let others = told.last().unwrap();
    assert!(others.starts_with("payload.user - ") && others.ends_with(" 2000 1000 1001 - - -"), "{others}");
    let bad: usize = others.split(' ').nth(2).unwrap().parse().unwrap();
    assert!((2_000 - 500 - MOST_VALUES..1_500).contains(&bad), "{bad} of 1500 are not told apart");
}

#[test]
fn attributes_beyond_those_that_are_counted_are_told_as_such() {
    let wide: Vec<String> = (0..300).map(|number| format!(r#""k{number}":1"#)).collect();
    let events = [event("error", &format!("{{{}}}", wide.join(","))), event("info", "{}")];
    let told = told(&lift(&events).unwrap());
    // Columns asset_id, event_type, source_module, severity, name and perhaps environment take places of the 256.
    let others = told.last().unwrap();
    let bad: usize = others.strip_prefix("- - ").unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((300 - 256 + 4..300 - 256 + 7).contains(&bad), "{others}");
    assert_eq!(told.len(), MOST_ROWS);
}

#[test]
fn long_values_are_one_when_they_begin_alike_and_are_cut_between_characters() {
    let long = |end: &str| format!(r#"{{"text":"{}{end}"}}"#, "ä".repeat(LONGEST_VALUE));
    let events = [event("error", &long("x")), event("error", &long("y")), event("info", "{}")];
    let told = told(&lift(&events).unwrap());
    assert!(
        told.iter().any(|row| *row == format!("payload.text {} 2 2 0 1 1.0000 1.5000 3.8191", "ä".repeat(128))),
        "{told:?}"
    );
}

#[test]
fn without_bad_events_there_is_nothing_and_without_good_ones_no_comparison() {
    let (bad, good) = (event("error", "{}"), EventRow { body: None, severity: "info", ..log(1, 2, 3) });
    assert_eq!(lift(&[good]).unwrap().num_rows(), 0);
    let refused = lift(&[bad]).unwrap_err();
    assert!(refused.is_refusal() && refused.to_string().contains("condition good"), "{refused}");
    let failing: RowCondition = Arc::new(|_| Err("division by zero".to_owned()));
    let events = snapshot(&[event("error", "{}")]);
    let refused = attribute_lift(&events, &TenantId::default(), (&failing, &failing), FROM, TO).unwrap_err();
    assert!(refused.is_refusal() && refused.to_string().contains("division by zero"), "{refused}");
    let backwards = attribute_lift(&events, &TenantId::default(), (&severity("x"), &severity("y")), TO, FROM);
    assert!(backwards.unwrap_err().is_refusal());
}
