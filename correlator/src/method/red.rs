//! Rate, errors and duration of what was answered in one slot, by operation and by edge: what the views `service_red` and
//! `edge_red` say of a minute.

use super::observations::SpanKind;
use super::slots::GridSlot;
use super::traces::Traces;
use hashbrown::HashMap;

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Answered {
    /// An operation of an asset, by its server and consumer spans.
    Operation { asset: u32, operation: u32 },
    /// An asset that another one called, by its spans whose parents are the caller's.
    Edge { caller: u32, callee: u32 },
}

/// How often, how well and how fast; durations in nanoseconds, of the span of whoever answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Red {
    pub(crate) answered: Answered,
    pub(crate) requests: u64,
    /// Of them those whose span has status error.
    pub(crate) errors: u64,
    pub(crate) mean_ns: f64,
    pub(crate) p50_ns: u64,
    pub(crate) p95_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) max_ns: u64,
}

/// Of the spans that began in `slot`, by who answered.
pub(super) fn red(traces: &Traces, slot: GridSlot) -> Vec<Red> {
    let (from, to) = (slot.start(), slot.end());
    let first = traces.spans.partition_point(|span| span.start < from);
    let mut all: HashMap<Answered, (u64, Vec<u64>)> = HashMap::new();
    for (index, span) in traces.spans.iter().enumerate().skip(first).take_while(|(_, span)| span.start < to) {
        let mut count = |answered| {
            let (errors, durations) = all.entry(answered).or_default();
            *errors += u64::from(span.failed);
            durations.push(span.duration_ns);
        };
        if matches!(span.kind, SpanKind::Server | SpanKind::Consumer) {
            count(Answered::Operation { asset: span.asset, operation: span.operation });
        }
        // A message is no call.
        let is_message = |caller: SpanKind| caller == SpanKind::Producer && span.kind == SpanKind::Consumer;
        if let Some(caller) = traces.remote_parent(index).filter(|caller| !is_message(caller.kind)) {
            count(Answered::Edge { caller: caller.asset, callee: span.asset });
        }
    }
    let mut red: Vec<Red> =
        all.into_iter().map(|(answered, (errors, durations))| of(answered, errors, durations)).collect();
    red.sort_unstable_by_key(|red| red.answered);
    red
}

fn of(answered: Answered, errors: u64, mut durations: Vec<u64>) -> Red {
    durations.sort_unstable();
    // As `approx_percentile` counts ranks.
    let rank = |share: f64| durations[((durations.len() - 1) as f64 * share).round() as usize];
    let sum: u128 = durations.iter().map(|nanos| u128::from(*nanos)).sum();
    Red {
        answered,
        requests: durations.len() as u64,
        errors,
        mean_ns: sum as f64 / durations.len() as f64,
        p50_ns: rank(0.5),
        p95_ns: rank(0.95),
        p99_ns: rank(0.99),
        max_ns: rank(1.0),
    }
}
