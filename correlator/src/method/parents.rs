//! Which span is the parent of which: span ids looked up among a million others.

use super::observations::SpanSeen;
use super::threads::both;
use super::traces::NONE;
use hashbrown::HashMap;
use whence_schema::{EventId, SpanId, TraceId};

/// Index of each span by its id, in two halves that two threads fill.
pub(super) struct ById([HashMap<EventId, u32>; 2]);

impl ById {
    pub(super) fn of(spans: &[SpanSeen]) -> Self {
        let half = |which: usize| {
            let mut by_id = HashMap::with_capacity(spans.len() / 2);
            for (index, span) in spans.iter().enumerate().filter(|(_, span)| half_of(span.span) == which) {
                by_id.insert(span.id(), index as u32);
            }
            by_id
        };
        let (even, odd) = both(spans.len(), || half(0), || half(1));
        Self([even, odd])
    }

    /// Index of the span with these ids; [`NONE`] when it is not here, or `span` is 0.
    pub(super) fn get(&self, trace: u128, span: u64) -> u32 {
        if span == 0 {
            return NONE;
        }
        let id = EventId::of_span(TraceId(trace.to_be_bytes()), SpanId(span));
        self.0[half_of(span)].get(&id).copied().unwrap_or(NONE)
    }

    /// Index of the parent of each span, or [`NONE`].
    pub(super) fn parents(&self, spans: &[SpanSeen]) -> Vec<u32> {
        let of = |from: usize, spans: &[SpanSeen]| -> Vec<u32> {
            let parent =
                |(index, span): (usize, &SpanSeen)| not_itself(from + index, self.get(span.trace, span.parent));
            spans.iter().enumerate().map(parent).collect()
        };
        let (first, second) = spans.split_at(spans.len() / 2);
        let (mut parents, rest) = both(spans.len(), || of(0, first), || of(first.len(), second));
        parents.extend(rest);
        parents
    }
}

fn half_of(span: u64) -> usize {
    (span & 1) as usize
}

fn not_itself(index: usize, parent: u32) -> u32 {
    if parent as usize == index { NONE } else { parent }
}
