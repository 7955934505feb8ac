//! How an explanation reads.

use super::Window;
use crate::http_client::Answer;
use whence_schema::UnixNanos;
use whence_storage::{parse_time, time_text};

/// Longest text of an event, in characters.
const LONGEST: usize = 120;

/// The first line.
pub(super) fn window(window: Window) -> String {
    let seconds = (window.to.0 - window.from.0) / 1_000_000_000;
    let length = if seconds < 120 { format!("{seconds} s") } else { format!("{} min", (seconds + 30) / 60) };
    let (from, to) = (time_text(window.from), time_text(window.to));
    format!("From {} to {} UTC ({length})\n", from[..19].replace('T', " "), &to[11..19])
}

/// One row of `root_causes`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cause {
    rank: String,
    /// Empty when no cause was found.
    pub(super) asset: String,
    kind: String,
    confidence: Option<f64>,
    first_seen: Option<UnixNanos>,
    pub(super) evidence: Vec<String>,
    explanation: String,
}

impl Cause {
    pub(super) fn of(answer: &Answer, row: usize) -> Self {
        let text = |column| answer.text(row, column);
        Self {
            rank: text(0),
            asset: text(1),
            kind: text(2),
            confidence: text(4).parse().ok(),
            first_seen: parse_time(&text(5)),
            evidence: answer.rows[row].get(6).map(ids).unwrap_or_default(),
            explanation: text(7),
        }
    }

    pub(super) fn told(&self) -> String {
        if self.asset.is_empty() {
            return format!("\n{}\n", self.explanation);
        }
        let confidence = self.confidence.map(|confidence| format!(", confidence {confidence:.2}")).unwrap_or_default();
        let first = self.first_seen.map(|time| format!(", first seen {}", clock(time))).unwrap_or_default();
        format!("\n{}. {}: {}{confidence}{first}\n   {}\n", self.rank, self.asset, self.kind, self.explanation)
    }
}

/// The ids of an array, which JSON has as PostgreSQL's text of it.
fn ids(array: &serde_json::Value) -> Vec<String> {
    let text = array.as_str().unwrap_or_default().trim_matches(['{', '}']);
    text.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect()
}

/// Events with their times after the first one of the cause: id, time, what, status, milliseconds, body, severity.
pub(super) fn evidence(events: &Answer, cause: &Cause) -> String {
    let mut lines = Vec::new();
    for row in 0..events.rows.len() {
        let time = parse_time(&events.text(row, 1));
        let lag = time.zip(cause.first_seen).map(|(time, first)| lag(time.0 - first.0)).unwrap_or_default();
        let branch = if row + 1 == events.rows.len() { "└─" } else { "├─" };
        let clock = time.map(clock).unwrap_or_default();
        let said = said(&events.text(row, 2), &events.text(row, 3), &events.text(row, 4), &events.text(row, 5));
        lines.push(format!("   {branch} {clock} {lag:>9}  {said}\n"));
    }
    lines.concat()
}

/// A causal chain, effect first: asset, relation, what, time, milliseconds, status, strength, detail.
pub(super) fn way(chain: &Answer) -> String {
    if chain.rows.len() < 2 {
        return String::new();
    }
    let start = parse_time(&chain.text(0, 3));
    let mut lines = vec!["\n   From an effect to this cause:\n".to_owned()];
    for row in 0..chain.rows.len() {
        let text = |column| chain.text(row, column);
        let lag = parse_time(&text(3)).zip(start).map(|(time, start)| lag(time.0 - start.0)).unwrap_or_default();
        let branch = if row == 0 { String::new() } else { format!("{}└─ ", "   ".repeat(row - 1)) };
        let relation = if row == 0 { String::new() } else { format!("  [{}]", text(1)) };
        let said = said(&text(2), &text(5), &text(4), &text(7));
        lines.push(format!("   {branch}{} {said}  {lag}{relation}\n", text(0)));
    }
    lines.concat()
}

/// Changes by time: time, asset, kind, what.
pub(super) fn changes(changes: &Answer) -> String {
    if changes.rows.is_empty() {
        return "\nNo changes were recorded in this time or ten minutes before.\n".to_owned();
    }
    let mut lines = vec!["\nChanges in this time and ten minutes before:\n".to_owned()];
    for row in 0..changes.rows.len() {
        let text = |column| changes.text(row, column);
        let clock = parse_time(&text(0)).map(clock).unwrap_or_default();
        lines.push(format!("   {clock}  {}: {} ({})\n", text(1), shortened(&text(3)), text(2)));
    }
    lines.concat()
}

/// An event in some words: what, how it ended, how long it took, what it says.
fn said(what: &str, status: &str, milliseconds: &str, text: &str) -> String {
    let failed = if status == "error" { ", failed" } else { "" };
    let took = milliseconds.parse::<f64>().map(|value| format!(", {value:.1} ms")).unwrap_or_default();
    let text = if text.is_empty() || text == what { String::new() } else { format!(": {}", shortened(text)) };
    format!("{what}{failed}{took}{text}")
}

/// The first line of a text, cut when it is long.
fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= LONGEST { line.to_owned() } else { line.chars().take(LONGEST).chain(['…']).collect() }
}

fn clock(time: UnixNanos) -> String {
    time_text(time)[11..23].to_owned()
}

fn lag(nanos: i64) -> String {
    let sign = if nanos < 0 { '-' } else { '+' };
    match nanos.unsigned_abs() as f64 / 1e6 {
        ms if ms < 1_000.0 => format!("{sign}{ms:.1} ms"),
        ms => format!("{sign}{:.1} s", ms / 1_000.0),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn answer(rows: Value) -> Answer {
        serde_json::from_value(json!({ "columns": [], "rows": rows })).unwrap()
    }

    #[test]
    fn a_cause_its_evidence_and_the_way_read_as_a_tree() {
        let causes = answer(json!([[
            1,
            "cart",
            "errors",
            0.9,
            0.87,
            "2026-01-31 14:20:01.5+00",
            "a,b",
            "31 % of its spans failed, 0.1 % before"
        ]]));
        let cause = Cause::of(&causes, 0);
        assert_eq!(cause.evidence, ["a", "b"]);
        assert_eq!(
            cause.told(),
            "\n1. cart: errors, confidence 0.87, first seen 14:20:01.500\n   31 % of its spans failed, 0.1 % before\n"
        );
        let events = answer(json!([
            ["a", "2026-01-31 14:20:01.5+00", "GET /cart", "error", 12.25, null, "error"],
            ["b", "2026-01-31 14:20:03+00", "log", null, null, "no connection\nat line 7", "error"]
        ]));
        assert_eq!(
            evidence(&events, &cause),
            "   ├─ 14:20:01.500   +0.0 ms  GET /cart, failed, 12.2 ms\n   └─ 14:20:03.000    +1.5 s  log: no connection\n"
        );
        let chain = answer(json!([
            ["front", "effect", "GET /", "2026-01-31 14:20:01.49+00", 30, "error", 1, null],
            ["cart", "failure", "GET /cart", "2026-01-31 14:20:01.5+00", 12.25, "error", 0.9, "pool is empty"]
        ]));
        assert_eq!(
            way(&chain),
            "\n   From an effect to this cause:\n   front GET /, failed, 30.0 ms  +0.0 ms\n   \
             └─ cart GET /cart, failed, 12.2 ms: pool is empty  +10.0 ms  [failure]\n"
        );
    }

    #[test]
    fn no_cause_and_no_changes_are_said() {
        let causes = answer(json!([[1, null, "none", 0, null, null, "{}", "No cause found: nothing stands out."]]));
        let cause = Cause::of(&causes, 0);
        assert_eq!((cause.asset.as_str(), cause.told().as_str()), ("", "\nNo cause found: nothing stands out.\n"));
        assert_eq!(way(&answer(json!([]))), "");
        assert!(changes(&answer(json!([]))).contains("No changes"));
        let one = answer(json!([["2026-01-31 14:19:00+00", "cart", "deployment", "version 2"]]));
        assert!(changes(&one).ends_with("   14:19:00.000  cart: version 2 (deployment)\n"));
    }
}
