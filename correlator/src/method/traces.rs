//! Spans as trees: parents, self times, what calls add to them, and what happens within each span in order.
//!
//! What happens within a span is a sequence of symbols: its start, the templates of its log records and the operations
//! of its children in the order of time, and its end, which is another one when the span failed. Symbols that repeat
//! are written once, since loops vary in length.

use super::observations::{Observations, SpanKind, SpanSeen};
use super::slots::Slots;
use super::templates::Templates;
use hashbrown::HashMap;
use std::ops::Range;
use whence_schema::UnixNanos;

/// No span.
pub(super) const NONE: u32 = u32::MAX;

/// Ancestors of a span that are looked at; deeper traces are rare, and ids that lead in a circle must end somewhere.
pub(super) const MOST_ANCESTORS: usize = 128;

/// Severity number of an error in OpenTelemetry's log data model.
const ERROR: u8 = 17;

/// What happens within a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Symbol(u32);

impl Symbol {
    pub(super) const END: Self = Self(0);
    pub(super) const FAILED: Self = Self(1);
    pub(super) const START: Self = Self(2);

    fn template(template: u32) -> Self {
        Self(3 + 2 * template)
    }

    fn child(operation: u32) -> Self {
        Self(4 + 2 * operation)
    }

    /// The template of a log record.
    pub(super) fn as_template(self) -> Option<u32> {
        (self.0 >= 3 && self.0 % 2 == 1).then(|| (self.0 - 3) / 2)
    }

    /// The operation of a child.
    pub(super) fn as_child(self) -> Option<u32> {
        (self.0 >= 4 && self.0.is_multiple_of(2)).then(|| (self.0 - 4) / 2)
    }

    /// A number that is another one for each symbol.
    pub(super) fn number(self) -> u32 {
        self.0
    }
}

/// A log record, as the tree of spans knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Logged {
    /// Index in the observations.
    pub(super) log: u32,
    pub(super) template: u32,
    /// Index of its span, or [`NONE`].
    pub(super) span: u32,
}

/// Spans in the order of their start, and what follows from one another; all lists are of the spans' length.
#[derive(Debug, Default)]
pub(super) struct Traces {
    pub(super) spans: Vec<SpanSeen>,
    /// Index of the parent, or [`NONE`].
    pub(super) parents: Vec<u32>,
    /// Nanoseconds in which no child ran.
    pub(super) own_ns: Vec<u64>,
    /// Of a span whose parent is of another asset, nanoseconds that the parent lasted longer; else 0.
    pub(super) gap_ns: Vec<u64>,
    /// Of a span with a child in another asset that asset, and of a client without one the peer that it names: what it
    /// calls; else [`NONE`].
    pub(super) callees: Vec<u32>,
    /// True for a span with a child in another asset: its self time is the way to that child and back.
    pub(super) has_remote_child: Vec<bool>,
    /// Log records in the order of time.
    pub(super) logs: Vec<Logged>,
    pub(super) templates: Templates,
    /// Highest severity of each template's records.
    severities: Vec<u8>,
    /// Of each log record.
    log_times: Vec<UnixNanos>,
    /// Where the symbols of each span begin, and the end of the last.
    bounds: Vec<u32>,
    symbols: Vec<Symbol>,
}

impl Traces {
    /// Of all spans and log records.
    pub(super) fn of(observations: &Observations) -> Self {
        Self::with(observations, Templates::default())
    }

    /// Likewise, with templates that are known already.
    pub(super) fn with(observations: &Observations, templates: Templates) -> Self {
        let mut spans = observations.spans.clone();
        spans.sort_unstable_by_key(|span| (span.start, span.trace, span.span));
        spans.dedup_by_key(|span| (span.start, span.trace, span.span));
        let mut by_id = HashMap::with_capacity(spans.len());
        for (index, span) in spans.iter().enumerate() {
            by_id.insert(span.id(), index as u32);
        }
        let parent_of = |span: &SpanSeen| match span.parent {
            0 => NONE,
            parent => by_id.get(&SpanSeen { span: parent, ..*span }.id()).copied().unwrap_or(NONE),
        };
        let parents: Vec<u32> =
            spans.iter().enumerate().map(|(index, span)| not_itself(index, parent_of(span))).collect();
        let mut traces = Self { spans, parents, templates, ..Self::default() };
        traces.read_logs(observations, |trace, span| {
            let seen = SpanSeen { trace, span, ..EMPTY };
            if span == 0 { NONE } else { by_id.get(&seen.id()).copied().unwrap_or(NONE) }
        });
        traces.measure();
        traces.write_symbols();
        traces
    }

    /// What happens in a span.
    pub(super) fn symbols(&self, span: usize) -> &[Symbol] {
        &self.symbols[self.bounds[span] as usize..self.bounds[span + 1] as usize]
    }

    /// True for the end of a failed span, and for messages of severity error.
    pub(super) fn is_trouble(&self, symbol: Symbol) -> bool {
        symbol == Symbol::FAILED || symbol.as_template().is_some_and(|template| self.is_error(template))
    }

    /// True for a template of messages of severity error.
    pub(super) fn is_error(&self, template: u32) -> bool {
        self.severities.get(template as usize).is_some_and(|severity| *severity >= ERROR)
    }

    /// How long the topmost span above a span, or the span itself, lasts, in nanoseconds.
    pub(super) fn root_duration(&self, span: u32) -> u64 {
        let mut root = span as usize;
        for _ in 0..MOST_ANCESTORS {
            match self.parents[root] {
                NONE => break,
                parent => root = parent as usize,
            }
        }
        self.spans[root].duration_ns
    }

    /// The caller of a span whose parent is of another asset.
    pub(super) fn remote_parent(&self, span: usize) -> Option<&SpanSeen> {
        let parent = self.spans.get(self.parents[span] as usize)?;
        (parent.asset != self.spans[span].asset).then_some(parent)
    }

    /// Index of the first span that starts within a range of slots, and the one after the last.
    pub(super) fn spans_in(&self, slots: &Slots, window: &Range<u32>) -> (usize, usize) {
        let first = |slot: u32| self.spans.partition_point(|span| span.start < slots.start(slot));
        (first(window.start), first(window.end))
    }

    fn read_logs(&mut self, observations: &Observations, span_of: impl Fn(u128, u64) -> u32) {
        let logs = &observations.logs;
        let mut order: Vec<u32> = (0..logs.len() as u32).collect();
        order.sort_unstable_by_key(|&log| {
            let log = &logs[log as usize];
            (log.time, log.asset, log.id)
        });
        self.logs.reserve(order.len());
        for log in order {
            let seen = &logs[log as usize];
            let template = self.templates.of(seen.asset, &seen.body);
            if self.severities.len() <= template as usize {
                self.severities.resize(template as usize + 1, 0);
            }
            let severity = &mut self.severities[template as usize];
            *severity = seen.severity.max(*severity);
            self.logs.push(Logged { log, template, span: span_of(seen.trace, seen.span) });
        }
        self.log_times = self.logs.iter().map(|logged| logs[logged.log as usize].time).collect();
    }

    fn measure(&mut self) {
        let count = self.spans.len();
        self.own_ns = self.spans.iter().map(|span| span.duration_ns).collect();
        self.gap_ns = vec![0; count];
        self.has_remote_child = vec![false; count];
        let peer = |span: &SpanSeen| match span.peer {
            Some(peer) if span.kind == SpanKind::Client && peer != span.asset => peer,
            _ => NONE,
        };
        self.callees = self.spans.iter().map(peer).collect();
        // Children come in the order of their start, so that a cursor per parent is enough for the union of them.
        let mut covered_until: Vec<i64> = self.spans.iter().map(|span| span.start.0).collect();
        for child in 0..count {
            let parent = self.parents[child] as usize;
            let Some(above) = self.spans.get(parent).copied() else { continue };
            let span = self.spans[child];
            let end = end_of(&span).min(end_of(&above));
            let begin = span.start.0.max(covered_until[parent]);
            if end > begin {
                self.own_ns[parent] = self.own_ns[parent].saturating_sub((end - begin) as u64);
                covered_until[parent] = end;
            }
            if above.asset != span.asset {
                self.has_remote_child[parent] = true;
                self.callees[parent] = span.asset;
                self.gap_ns[child] = above.duration_ns.saturating_sub(span.duration_ns);
            }
        }
    }

    /// Spans and logs are both in the order of time: merging them writes each span's symbols in order.
    fn write_symbols(&mut self) {
        let count = self.spans.len();
        let mut room = vec![2_u32; count];
        let owners = self.parents.iter().copied().chain(self.logs.iter().map(|logged| logged.span));
        for owner in owners.filter(|owner| *owner != NONE) {
            room[owner as usize] += 1;
        }
        let mut begins = Vec::with_capacity(count + 1);
        let mut next = 0_u32;
        for room in &room {
            begins.push(next);
            next += room;
        }
        let mut symbols = vec![Symbol::END; next as usize];
        let mut used = vec![1_u32; count];
        for span in 0..count {
            symbols[begins[span] as usize] = Symbol::START;
        }
        let mut put = |owner: u32, symbol: Symbol| {
            if owner == NONE {
                return;
            }
            let (begin, used) = (begins[owner as usize], &mut used[owner as usize]);
            if symbols[(begin + *used - 1) as usize] != symbol {
                symbols[(begin + *used) as usize] = symbol;
                *used += 1;
            }
        };
        let mut log = 0;
        for (index, span) in self.spans.iter().enumerate() {
            while log < self.logs.len() && self.log_times[log] < span.start {
                put(self.logs[log].span, Symbol::template(self.logs[log].template));
                log += 1;
            }
            put(self.parents[index], Symbol::child(span.operation));
        }
        for logged in &self.logs[log..] {
            put(logged.span, Symbol::template(logged.template));
        }
        for (index, span) in self.spans.iter().enumerate() {
            put(index as u32, if span.failed { Symbol::FAILED } else { Symbol::END });
        }
        // Close the room that repeated symbols left.
        self.bounds = Vec::with_capacity(count + 1);
        let mut write = 0;
        for span in 0..count {
            self.bounds.push(write as u32);
            let begin = begins[span] as usize;
            symbols.copy_within(begin..begin + used[span] as usize, write);
            write += used[span] as usize;
        }
        self.bounds.push(write as u32);
        symbols.truncate(write);
        self.symbols = symbols;
    }
}

const EMPTY: SpanSeen = SpanSeen {
    trace: 0,
    span: 0,
    parent: 0,
    asset: 0,
    operation: 0,
    kind: SpanKind::Internal,
    start: UnixNanos(0),
    duration_ns: 0,
    failed: false,
    peer: None,
    version: 0,
};

fn end_of(span: &SpanSeen) -> i64 {
    span.start.0.saturating_add_unsigned(span.duration_ns)
}

fn not_itself(index: usize, parent: u32) -> u32 {
    if parent as usize == index { NONE } else { parent }
}
