//! Spans and log records of one asset whose trouble begins at known times.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::method::causes::Question;
use crate::method::neighbours::calling;
use crate::method::observations::{LogSeen, SpanSeen};

const SECOND: i64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;
/// Two hours.
const LENGTH: i64 = 7_200;

/// One request each half second: a caller's span and its callee's below it.
struct System(Observations);

impl System {
    /// `slow` and `failed` say what of the callee's is at which half second.
    fn new(slow: impl Fn(i64) -> bool, failed: impl Fn(i64) -> bool) -> Self {
        let assets = ["caller", "callee"].map(String::from).to_vec();
        let mut seen = Observations { assets, operations: vec!["work".to_owned()], ..Observations::default() };
        for half in 0..LENGTH * 2 {
            let trace = half as u128 + 1;
            let start = half * SECOND / 2;
            let varying = (half * 7_919 % 1_000) as u64 * MILLISECOND / 1_000;
            let own = 20 * MILLISECOND + varying + if slow(half) { 300 * MILLISECOND } else { 0 };
            let failed = failed(half);
            let span = |span, parent, asset, start, duration_ns| SpanSeen {
                trace,
                span,
                parent,
                asset,
                operation: 0,
                kind: SpanKind::Server,
                start: UnixNanos(start),
                duration_ns,
                failed,
                peer: None,
                version: 0,
            };
            seen.spans.push(span(1, 0, 0, start, own + 2 * MILLISECOND));
            seen.spans.push(span(2, 1, 1, start + 1_000_000, own));
            seen.logs.push(LogSeen {
                id: EventId(trace << 32),
                time: UnixNanos(start + 2_000_000),
                asset: 1,
                trace,
                span: 2,
                severity: 9,
                body: "work is done".to_owned(),
            });
        }
        Self(seen)
    }

    fn log(mut self, at: i64, severity: u8, body: &str) -> Self {
        let id = EventId(at as u128);
        let body = body.to_owned();
        self.0.logs.push(LogSeen { id, time: UnixNanos(at), asset: 1, trace: 0, span: 0, severity, body });
        self
    }

    fn troubles(&self) -> Vec<Trouble> {
        let to = UnixNanos(LENGTH * SECOND);
        let question = Question { from: to, to, baseline_from: UnixNanos(0) };
        troubles(&self.0, &Traces::of(&self.0), &Slots::of(&question), 0)
    }
}

/// Seconds at which onsets of a stream were known.
fn known(troubles: &[Trouble], asset: u32, kind: CauseKind) -> Vec<f64> {
    let stream = troubles.iter().find(|trouble| (trouble.asset, trouble.kind) == (asset, kind));
    let seconds = |onset: &Onset| onset.known.0 as f64 / SECOND as f64;
    stream.map_or(Vec::new(), |stream| stream.onsets.iter().map(seconds).collect())
}

/// For two minutes from each of these seconds on.
fn during(starts: &'static [i64]) -> impl Fn(i64) -> bool {
    |half| starts.iter().any(|start| (start * 2..(start + 120) * 2).contains(&half))
}

#[test]
fn failures_begin_with_the_first_one_and_are_known_when_spans_end() {
    let system = System::new(|_| false, during(&[1_000, 3_007, 5_555]));
    let troubles = system.troubles();
    let callee = known(&troubles, 1, CauseKind::Errors);
    let caller = known(&troubles, 0, CauseKind::Errors);
    assert_eq!(callee.iter().map(|at| at.floor()).collect::<Vec<_>>(), [1_000.0, 3_007.0, 5_555.0]);
    assert_eq!(caller.len(), 3);
    for (callee, caller) in callee.iter().zip(&caller) {
        assert!(callee < caller && caller - callee < 0.01, "the callee's is known first: {callee} {caller}");
    }
    let onset = troubles.iter().find(|t| (t.asset, t.kind) == (1, CauseKind::Errors)).unwrap().onsets[0];
    assert_eq!(onset.event, system.0.spans[2 * 2_000 + 1].id());
    assert_eq!(onset.time, system.0.spans[2 * 2_000 + 1].start);
}

#[test]
fn slowness_begins_where_it_becomes_dense_and_is_known_before_slow_spans_end() {
    // One request in fifty is slow anyway.
    let dense = during(&[2_000, 4_010]);
    let system = System::new(move |half| half % 50 == 0 || dense(half) && half % 3 > 0, |_| false);
    let troubles = system.troubles();
    for asset in [0, 1] {
        let onsets = known(&troubles, asset, CauseKind::Latency);
        let near = |start: f64| onsets.iter().any(|at| (start..start + 2.0).contains(at));
        assert!(onsets.len() <= 4 && near(2_000.0) && near(4_010.0), "{onsets:?}");
        for at in onsets {
            assert!(at.fract() % 0.5 < 0.2, "known before it has lasted for 320 ms: {at}");
        }
    }
    assert!(known(&troubles, 1, CauseKind::Errors).is_empty());
}

#[test]
fn unusual_messages_are_onsets_and_those_of_severity_error_are_errors() {
    let mut system = System::new(|_| false, |_| false);
    for start in [1_800, 4_200] {
        for second in 0..40 {
            system = system.log((start + second) * SECOND + 5, 13, "queue is nearly full").log(
                (start + second + 900) * SECOND + 7,
                17,
                "queue is full",
            );
        }
    }
    let troubles = system.troubles();
    let whole = |kind| known(&troubles, 1, kind).iter().map(|at| at.floor()).collect::<Vec<_>>();
    assert_eq!(whole(CauseKind::Logs), [1_800.0, 4_200.0]);
    assert_eq!(whole(CauseKind::Errors), [2_700.0, 5_100.0]);
}

#[test]
fn quiet_has_no_onsets_and_the_order_of_observations_says_nothing() {
    let quiet = System::new(|_| false, |_| false).troubles();
    assert!(quiet.iter().all(|trouble| trouble.onsets.is_empty()), "{quiet:?}");
    let mut system = System::new(during(&[1_500]), during(&[3_000]));
    let before = system.troubles();
    system.0.spans.reverse();
    system.0.logs.reverse();
    assert_eq!(before, system.troubles());
}

#[test]
fn a_share_begins_to_rise_where_hits_become_dense() {
    let trials: Vec<Trial> = (0..100)
        .map(|at| {
            let hit = at == 3 || at == 40 || (70..100).contains(&at) && at % 4 != 1;
            let onset = Onset { known: UnixNanos(at), event: EventId(at as u128), time: UnixNanos(at) };
            Trial { hit, onset }
        })
        .collect();
    assert_eq!(begin(&trials, 0.02, 0.8).map(|trial| trial.onset.known.0), Some(70));
    assert_eq!(begin(&trials[..3], 0.02, 0.8).map(|trial| trial.onset.known), None);
    assert_eq!(begin(&trials[3..5], 0.0, 1.0).map(|trial| trial.onset.known.0), Some(3));
}

#[test]
fn neighbours_are_both_ends_of_calls() {
    let system = System::new(|_| false, |_| false);
    assert_eq!(calling(&Traces::of(&system.0)), [(0, 1), (1, 0)]);
}
