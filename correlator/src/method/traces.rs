//! Spans as trees: parents, self times, what calls add to them, and what happens within each span in order.
//!
//! What happens within a span is a sequence of symbols: its start, the templates of its log records and the operations
//! of its children in the order of time, and its end, which is another one when the span failed. Symbols that repeat
//! are written once, since loops vary in length.

use super::observations::{Observations, SpanKind, SpanSeen};
use super::parents::ById;
use super::slots::Slots;
use super::templates::Templates;
use super::threads::both;
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

/// Log records in the order of time, and what they say.
#[derive(Debug, Default)]
pub(super) struct Logs {
    pub(super) all: Vec<Logged>,
    pub(super) templates: Templates,
    /// Highest severity of each template's records.
    severities: Vec<u8>,
    /// Of each log record.
    times: Vec<UnixNanos>,
}

/// How long spans take beyond what they wait for; all lists are of the spans' length.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// Nanoseconds in which no child ran.
    pub(super) own_ns: Vec<u64>,
    /// Of a span whose parent is of another asset, nanoseconds that the parent lasted longer; else 0.
    pub(super) gap_ns: Vec<u64>,
    /// Of a span with a child in another asset that asset, and of a client without one the peer that it names: what it
    /// calls; else [`NONE`].
    pub(super) callees: Vec<u32>,
    /// True for a span with a child in another asset: its self time is the way to that child and back.
    pub(super) has_remote_child: Vec<bool>,
}

/// Spans in the order of their start, and what follows from one another.
#[derive(Debug, Default)]
pub(super) struct Traces {
    pub(super) spans: Vec<SpanSeen>,
    /// Index of the parent of each span, or [`NONE`].
    pub(super) parents: Vec<u32>,
    pub(super) times: Times,
    pub(super) logs: Logs,
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
        let spans = in_order(&observations.spans);
        let by_id = ById::of(&spans);
        let parents = by_id.parents(&spans);
        let read = || {
            let logs = Logs::read(observations, templates, &by_id);
            let (bounds, symbols) = symbols(&spans, &parents, &logs);
            (logs, bounds, symbols)
        };
        let ((logs, bounds, symbols), times) = both(spans.len(), read, || Times::of(&spans, &parents));
        Self { spans, parents, times, logs, bounds, symbols }
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
        self.logs.severities.get(template as usize).is_some_and(|severity| *severity >= ERROR)
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
}

impl Logs {
    /// Reads the log records, with templates that are known already.
    fn read(observations: &Observations, mut templates: Templates, by_id: &ById) -> Self {
        let logs = &observations.logs;
        let mut order: Vec<u32> = (0..logs.len() as u32).collect();
        order.sort_unstable_by_key(|&log| {
            let log = &logs[log as usize];
            (log.time, log.asset, log.id)
        });
        let mut severities: Vec<u8> = Vec::new();
        let mut all = Vec::with_capacity(order.len());
        for log in order {
            let seen = &logs[log as usize];
            let template = templates.of(seen.asset, &seen.body);
            if severities.len() <= template as usize {
                severities.resize(template as usize + 1, 0);
            }
            let severity = &mut severities[template as usize];
            *severity = seen.severity.max(*severity);
            all.push(Logged { log, template, span: by_id.get(seen.trace, seen.span) });
        }
        let times = all.iter().map(|logged| logs[logged.log as usize].time).collect();
        Self { all, templates, severities, times }
    }
}

impl Times {
    /// Measures spans in the order of their start.
    fn of(spans: &[SpanSeen], parents: &[u32]) -> Self {
        let peer = |span: &SpanSeen| match span.peer {
            Some(peer) if span.kind == SpanKind::Client && peer != span.asset => peer,
            _ => NONE,
        };
        let mut times = Self {
            own_ns: spans.iter().map(|span| span.duration_ns).collect(),
            gap_ns: vec![0; spans.len()],
            callees: spans.iter().map(peer).collect(),
            has_remote_child: vec![false; spans.len()],
        };
        // Children come in the order of their start, so that a cursor per parent is enough for the union of them.
        let mut covered_until: Vec<i64> = spans.iter().map(|span| span.start.0).collect();
        for (child, span) in spans.iter().enumerate() {
            let parent = parents[child] as usize;
            let Some(above) = spans.get(parent) else { continue };
            let end = end_of(span).min(end_of(above));
            let begin = span.start.0.max(covered_until[parent]);
            if end > begin {
                times.own_ns[parent] = times.own_ns[parent].saturating_sub((end - begin) as u64);
                covered_until[parent] = end;
            }
            if above.asset != span.asset {
                times.has_remote_child[parent] = true;
                times.callees[parent] = span.asset;
                times.gap_ns[child] = above.duration_ns.saturating_sub(span.duration_ns);
            }
        }
        times
    }
}

/// Spans and logs are both in the order of time: merging them writes each span's symbols in order.
fn symbols(spans: &[SpanSeen], parents: &[u32], logs: &Logs) -> (Vec<u32>, Vec<Symbol>) {
    let count = spans.len();
    let mut room = vec![2_u32; count];
    let owners = parents.iter().copied().chain(logs.all.iter().map(|logged| logged.span));
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
    for (index, span) in spans.iter().enumerate() {
        while log < logs.all.len() && logs.times[log] < span.start {
            put(logs.all[log].span, Symbol::template(logs.all[log].template));
            log += 1;
        }
        put(parents[index], Symbol::child(span.operation));
    }
    for logged in &logs.all[log..] {
        put(logged.span, Symbol::template(logged.template));
    }
    for (index, span) in spans.iter().enumerate() {
        put(index as u32, if span.failed { Symbol::FAILED } else { Symbol::END });
    }
    // Close the room that repeated symbols left.
    let mut bounds = Vec::with_capacity(count + 1);
    let mut write = 0;
    for span in 0..count {
        bounds.push(write as u32);
        let begin = begins[span] as usize;
        symbols.copy_within(begin..begin + used[span] as usize, write);
        write += used[span] as usize;
    }
    bounds.push(write as u32);
    symbols.truncate(write);
    (bounds, symbols)
}

/// Each span once, in the order of time. Their starts are sorted alone: spans are much longer.
fn in_order(seen: &[SpanSeen]) -> Vec<SpanSeen> {
    let mut order: Vec<(UnixNanos, u32)> = (0..).zip(seen).map(|(index, span)| (span.start, index)).collect();
    order.sort_unstable_by(|a, b| {
        let ids = |at: u32| (seen[at as usize].trace, seen[at as usize].span);
        a.0.cmp(&b.0).then_with(|| ids(a.1).cmp(&ids(b.1)))
    });
    let mut spans: Vec<SpanSeen> = order.into_iter().map(|(_, index)| seen[index as usize]).collect();
    spans.dedup_by_key(|span| (span.start, span.trace, span.span));
    spans
}

fn end_of(span: &SpanSeen) -> i64 {
    span.start.0.saturating_add_unsigned(span.duration_ns)
}
