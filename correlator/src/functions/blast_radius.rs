//! `blast_radius(event_id)`: what an event's failure or delay reached, the other way than `causal_chain`.
//!
//! 1. Depth 0 is the event itself (`cause`); a log record or span event leads to its span (`log_in_span`,
//!    `span_event`).
//! 2. Up, to whoever waited. A failure reaches a caller that failed as well (`failure`, within one asset `internal`); a
//!    delay reaches a caller of whose time the span covers at least half (`call`). A caller that went on without the
//!    failed call, or made up for the delay, is where it ends.
//! 3. On, through messages and links, to spans that began because of one that was reached, also in other traces, and
//!    from there up again.
//!
//! Nearest first. What waits outside of traces, such as a queue that grew, is not in them.

use super::span_tree::{Came, SpanTree, columns};
use super::step::{
    DOMINANT, MOST_TRACES, Reached, Step, edge, is_message, step_schema, steps_to_batch, trace_near, trace_of,
};
use super::{scan, storage};
use crate::columns::stored_links;
use crate::error::CorrelatorError;
use crate::method::structural::share;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::collections::{HashSet, VecDeque};
use whence_schema::{EventId, Relation, TenantId, TraceId, UnixNanos};
use whence_storage::{LinkSide, Payloads, Snapshot};

/// Events in an answer at most.
const MOST: usize = 1_000;
const CAUSE: Reached = Reached::surely("cause");

/// Columns of [`blast_radius`]: those of a causal chain.
pub fn blast_radius_schema() -> SchemaRef {
    step_schema()
}

/// What the failure or delay of `event` reached, nearest first. No rows for an event that is not known. Blocks on file
/// reads.
///
/// # Errors
///
/// When the store cannot read the traces it goes through.
pub fn blast_radius(snapshot: &Snapshot, tenant: &TenantId, event: EventId) -> Result<RecordBatch, CorrelatorError> {
    let mut walk = Walk { snapshot, tenant, steps: Vec::new(), visited: HashSet::new(), traces: VecDeque::new() };
    walk.begin(event)?;
    walk.go_on()?;
    let mut steps = walk.steps;
    steps.sort_by_key(|(depth, step)| (*depth, step.timestamp, step.event));
    steps_to_batch("a blast radius", &steps)
}

/// A span in a trace that has not been read yet.
struct Entrance {
    trace: TraceId,
    event: EventId,
    depth: i32,
    reached: Reached,
}

struct Walk<'a> {
    snapshot: &'a Snapshot,
    tenant: &'a TenantId,
    steps: Vec<(i32, Step)>,
    visited: HashSet<EventId>,
    traces: VecDeque<Entrance>,
}

impl Walk<'_> {
    fn begin(&mut self, event: EventId) -> Result<(), CorrelatorError> {
        let always = (UnixNanos(i64::MIN), UnixNanos(i64::MAX));
        let mut trace = trace_of(self.snapshot, self.tenant, event, always.0, always.1)?;
        if trace.is_none() {
            let Some(row) = scan::find_position(&self.snapshot.events, self.tenant, event)? else { return Ok(()) };
            let batches = [row];
            let columns = columns(&batches)?;
            trace = columns[0].trace(0);
            if trace.is_none() {
                self.push(&SpanTree::new(&columns), 0, 0, CAUSE);
            }
        }
        self.traces.extend(trace.map(|trace| Entrance { trace, event, depth: 0, reached: CAUSE }));
        Ok(())
    }

    /// Walks the traces that were reached.
    fn go_on(&mut self) -> Result<(), CorrelatorError> {
        for _ in 0..MOST_TRACES {
            let Some(Entrance { trace, event, depth, reached }) = self.traces.pop_front() else { break };
            let batches =
                self.snapshot.trace_rows(self.tenant, trace, Payloads::Read).map_err(storage("read a trace from"))?;
            let columns = columns(&batches)?;
            let tree = SpanTree::new(&columns);
            let Some(start) = tree.find(event) else { continue };
            let spans = self.up(&tree, start, depth, reached);
            self.follow_links(&spans)?;
        }
        Ok(())
    }

    /// From an event up to all that waited for it; the spans on the way, and those they sent messages with, by depth.
    fn up(&mut self, tree: &SpanTree<'_>, start: usize, depth: i32, reached: Reached) -> Vec<(EventId, i32)> {
        let (mut at, mut depth, mut reached) = (start, depth, reached);
        let mut spans = Vec::new();
        while self.push(tree, at, depth, reached) {
            if tree.node(at).came == Came::Span {
                spans.extend(senders(tree, at).map(|span| (tree.node(span).id, depth)));
            }
            let Some(parent) = tree.node(at).parent else { break };
            let next = match tree.node(at).came {
                Came::Span => onward(tree, parent, at),
                Came::Log => Some(Reached::surely("log_in_span")),
                Came::SpanEvent => Some(Reached::surely("span_event")),
            };
            let Some(next) = next else { break };
            (at, depth, reached) = (parent, depth + 1, next);
        }
        spans
    }

    /// Notes the spans in other traces that began because of one of `spans`.
    fn follow_links(&mut self, spans: &[(EventId, i32)]) -> Result<(), CorrelatorError> {
        let ids: Vec<EventId> = spans.iter().map(|(id, _)| *id).collect();
        let batches = self.snapshot.links(self.tenant, &ids, LinkSide::Primary).map_err(storage("read links from"))?;
        let mut links = Vec::new();
        for batch in &batches {
            links.extend(stored_links(batch)?);
        }
        links.retain(|link| matches!(link.relation, Relation::Link | Relation::Message));
        links.sort_by_key(|link| (link.primary_time, link.related));
        for link in links.into_iter().take(MOST) {
            if self.visited.contains(&link.related) || self.traces.len() >= MOST_TRACES {
                continue;
            }
            let Some((_, depth)) = spans.iter().find(|(id, _)| *id == link.primary) else { continue };
            let trace = trace_near(self.snapshot, self.tenant, link.related, link.related_time)?;
            let reached = Reached::surely(link.relation.as_str());
            let entrance = trace.map(|trace| Entrance { trace, event: link.related, depth: depth + 1, reached });
            self.traces.extend(entrance);
        }
        Ok(())
    }

    /// Adds a row; false when the answer is full or came to this event before.
    fn push(&mut self, tree: &SpanTree<'_>, index: usize, depth: i32, reached: Reached) -> bool {
        if self.steps.len() >= MOST || !self.visited.insert(tree.node(index).id) {
            return false;
        }
        self.steps.push((depth, Step::at(tree, index, reached)));
        true
    }
}

/// How what is wrong with `span` gets to its parent, if it does.
fn onward(tree: &SpanTree<'_>, parent: usize, span: usize) -> Option<Reached> {
    if is_message(tree, parent, span) {
        return None;
    }
    let (above, below) = (tree.node(parent), tree.node(span));
    let failure = above.failed && below.failed;
    let delay = share(above.extent, below.extent) >= DOMINANT;
    (failure || delay).then(|| edge(tree, parent, span, true))
}

/// A span and the spans below it that send messages, which are its doing.
fn senders<'t>(tree: &'t SpanTree<'_>, span: usize) -> impl Iterator<Item = usize> + 't {
    std::iter::once(span).chain(tree.child_spans(span).filter(|child| tree.kind(*child) == Some("producer")))
}
