//! `causal_chain(event_id)`: from an event to its cause, one step per row.
//!
//! 1. Depth 0 is the event itself (`effect`). A log record or span event leads to its span (`log_in_span`,
//!    `span_event`), a metric row to the span of an exemplar (`exemplar`).
//! 2. Down, towards the cause: on the way of a failure, into the failed child that ended last, else into the child
//!    with a failure further below; else into the child that covers at least half of the span's time, unless the span
//!    failed and is no client that may have given up waiting. Across assets a step is a `failure`, `call` or
//!    `message`, within one it is `internal`. Where no child explains the span, it is the cause.
//! 3. Where there is no step down from a span that did not fail, up instead, to what led to it: the parent, and at the
//!    root of a trace the span it links to, perhaps in another trace.
//!
//! `strength` is that of the link of each step, computed as the correlator does from the two spans.

use super::span_tree::{Came, SpanTree, columns};
use super::step::{
    DOMINANT, MOST_TRACES, Reached, Step, edge, is_message, step_schema, steps_to_batch, trace_near, trace_of,
};
use super::{scan, storage};
use crate::columns::{StoredLink, stored_links};
use crate::error::CorrelatorError;
use crate::method::structural::share;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::collections::HashSet;
use whence_schema::{EventId, Relation, TenantId, TraceId, UnixNanos};
use whence_storage::{LinkSide, Payloads, Snapshot};

/// Steps of a chain at most.
const DEEPEST: usize = 64;
const EFFECT: Reached = Reached::surely("effect");

/// Columns of [`causal_chain`].
pub fn causal_chain_schema() -> SchemaRef {
    step_schema()
}

/// From `event` to its cause. No rows for an event that is not known. Blocks on file reads.
///
/// # Errors
///
/// When the store cannot read the traces the chain goes through.
pub fn causal_chain(snapshot: &Snapshot, tenant: &TenantId, event: EventId) -> Result<RecordBatch, CorrelatorError> {
    let mut chain = Chain { snapshot, tenant, steps: Vec::new(), visited: HashSet::new() };
    chain.begin(event)?;
    let steps: Vec<(i32, Step)> = (0..).zip(chain.steps).collect();
    steps_to_batch("a causal chain", &steps)
}

struct Chain<'a> {
    snapshot: &'a Snapshot,
    tenant: &'a TenantId,
    steps: Vec<Step>,
    visited: HashSet<EventId>,
}

impl Chain<'_> {
    /// Finds the event by what its id tells: a span by its halves, what a link names by the link, else by a scan.
    fn begin(&mut self, event: EventId) -> Result<(), CorrelatorError> {
        if let Some(trace) = trace_of(self.snapshot, self.tenant, event, UnixNanos(i64::MIN), UnixNanos(i64::MAX))? {
            return self.follow(trace, event, EFFECT);
        }
        // Links that were found by comparing many events lead into other traces.
        let exact = self.links_to(event)?.into_iter().find(|link| link.relation.is_structural());
        if let Some(link) = exact
            && let Some(trace) = trace_near(self.snapshot, self.tenant, link.primary, link.primary_time)?
        {
            return self.begin_at_link(event, link, trace);
        }
        let Some(row) = scan::find_position(&self.snapshot.events, self.tenant, event)? else { return Ok(()) };
        let batches = [row];
        let columns = columns(&batches)?;
        match columns[0].trace(0) {
            Some(trace) => self.follow(trace, event, EFFECT),
            None => {
                self.push(&SpanTree::new(&columns), 0, EFFECT);
                Ok(())
            }
        }
    }

    /// The event is the effect of a link: a log record, which is in the trace, or a metric row, which is not.
    fn begin_at_link(&mut self, event: EventId, link: StoredLink, trace: TraceId) -> Result<(), CorrelatorError> {
        if link.relation != Relation::Exemplar {
            return self.follow(trace, event, EFFECT);
        }
        self.follow(trace, link.primary, Reached::surely("exemplar"))?;
        if let Some(span) = self.steps.first().cloned() {
            let metric = Step { event, relation: "effect", name: None, event_type: "metric".to_owned(), ..span };
            self.steps.insert(0, Step { status: None, duration: None, detail: None, ..metric });
            self.steps.truncate(DEEPEST);
        }
        Ok(())
    }

    /// Walks from `event` in `trace`, and on through the traces its root links to.
    fn follow(&mut self, trace: TraceId, event: EventId, reached: Reached) -> Result<(), CorrelatorError> {
        let mut next = Some((trace, event, reached));
        for _ in 0..MOST_TRACES {
            let Some((trace, event, reached)) = next.take() else { break };
            let batches =
                self.snapshot.trace_rows(self.tenant, trace, Payloads::Read).map_err(storage("read a trace from"))?;
            let columns = columns(&batches)?;
            let tree = SpanTree::new(&columns);
            let Some(start) = tree.find(event) else { break };
            // A trace that is reached through a link from another one can only be followed up.
            let root =
                if self.steps.is_empty() { self.walk(&tree, start, reached) } else { self.up(&tree, start, reached) };
            let Some(root) = root else { break };
            next = self.link_before(root)?;
        }
        Ok(())
    }

    /// Walks within a trace; the root it ended at, when it went up and may go on in another trace.
    fn walk(&mut self, tree: &SpanTree<'_>, start: usize, reached: Reached) -> Option<EventId> {
        let node = tree.node(start);
        let (span, reached) = match node.came {
            Came::Span => (start, reached),
            came => {
                self.push(tree, start, reached);
                (node.parent?, Reached::surely(if came == Came::Log { "log_in_span" } else { "span_event" }))
            }
        };
        let before = self.steps.len();
        self.down(tree, span, reached);
        let stayed = self.steps.len() == before + 1;
        if !stayed || tree.node(span).failed {
            return None;
        }
        match parent_of(tree, span) {
            Some((parent, reached)) => self.up(tree, parent, reached),
            None => Some(tree.node(span).id),
        }
    }

    fn down(&mut self, tree: &SpanTree<'_>, start: usize, reached: Reached) {
        let failed_below = failed_below(tree);
        let failing = tree.node(start).failed;
        let mut next = Some((start, reached));
        while let Some((span, reached)) = next.take() {
            if !self.push(tree, span, reached) {
                return;
            }
            next = explaining_child(tree, span, failing.then_some(&failed_below))
                .map(|child| (child, edge(tree, span, child, true)));
        }
    }

    /// Walks up to the root of the trace, and tells which it is.
    fn up(&mut self, tree: &SpanTree<'_>, start: usize, reached: Reached) -> Option<EventId> {
        let (mut span, mut reached) = (start, reached);
        loop {
            if !self.push(tree, span, reached) {
                return None;
            }
            match parent_of(tree, span) {
                Some(parent) => (span, reached) = parent,
                None => return Some(tree.node(span).id),
            }
        }
    }

    /// The span that a root span links to, with its trace: of several, the latest.
    fn link_before(&self, root: EventId) -> Result<Option<(TraceId, EventId, Reached)>, CorrelatorError> {
        for link in self.links_to(root)? {
            let crosses =
                matches!(link.relation, Relation::Link | Relation::Message) && !self.visited.contains(&link.primary);
            if crosses && let Some(trace) = trace_near(self.snapshot, self.tenant, link.primary, link.primary_time)? {
                return Ok(Some((trace, link.primary, Reached::surely(link.relation.as_str()))));
            }
        }
        Ok(None)
    }

    /// Adds a row; false when the chain is full or came to this event before.
    fn push(&mut self, tree: &SpanTree<'_>, index: usize, reached: Reached) -> bool {
        if self.steps.len() >= DEEPEST || !self.visited.insert(tree.node(index).id) {
            return false;
        }
        self.steps.push(Step::at(tree, index, reached));
        true
    }

    /// Links whose effect is `event`, the latest cause first.
    fn links_to(&self, event: EventId) -> Result<Vec<StoredLink>, CorrelatorError> {
        let batches = self.snapshot.links(self.tenant, &[event], LinkSide::Related);
        let mut links = Vec::new();
        for batch in batches.map_err(storage("read links from"))? {
            links.extend(stored_links(&batch)?);
        }
        links.sort_by_key(|link| (std::cmp::Reverse(link.primary_time), link.primary));
        Ok(links)
    }
}

/// Per event, whether a span below it failed.
fn failed_below(tree: &SpanTree<'_>) -> Vec<bool> {
    let mut below = vec![false; tree.len()];
    for (index, _) in tree.depth_first().into_iter().rev() {
        let node = tree.node(index);
        if let Some(parent) = node.parent.filter(|parent| !is_message(tree, *parent, index)) {
            below[parent] |= below[index] || node.failed;
        }
    }
    below
}

/// The child that explains `span`. With `failed_below`, failures are followed first.
fn explaining_child(tree: &SpanTree<'_>, span: usize, failed_below: Option<&Vec<bool>>) -> Option<usize> {
    let own = tree.node(span).extent;
    let extent = |child: &usize| tree.node(*child).extent;
    let waited_for = || tree.child_spans(span).filter(|child| !is_message(tree, span, *child));
    let last = |child: &usize| (extent(child).end().min(own.end()), own.overlap(extent(child)), tree.node(*child).id);
    if let Some(below) = failed_below {
        let failed = waited_for().filter(|child| tree.node(*child).failed).max_by_key(last);
        let further = || waited_for().filter(|child| below[*child]).max_by_key(last);
        if let Some(child) = failed.or_else(further) {
            return Some(child);
        }
    }
    // Whoever fails though all it called went well fails by itself, unless it gave up waiting: only a caller does that.
    if tree.node(span).failed && tree.kind(span) != Some("client") {
        return None;
    }
    let dominant = waited_for().filter(|child| share(own, extent(child)) >= DOMINANT);
    dominant.max_by_key(|child| (own.overlap(extent(child)), tree.node(*child).id))
}

fn parent_of(tree: &SpanTree<'_>, span: usize) -> Option<(usize, Reached)> {
    let parent = tree.node(span).parent?;
    Some((parent, edge(tree, parent, span, false)))
}
