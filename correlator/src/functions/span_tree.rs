//! The events of one trace as a tree: spans below their parents, log records and span events below their spans.

use crate::columns::{EventColumns, optional};
use crate::error::CorrelatorError;
use crate::method::structural::Extent;
use arrow::array::RecordBatch;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use whence_schema::EventId;
use whence_schema::tables::events::{SIGNAL_LOG, SIGNAL_SPAN};

/// What an event came in as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    Span,
    SpanEvent,
    Log,
}

/// One event: where its row is, and what walking the tree needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    pub(crate) id: EventId,
    pub(crate) came: Came,
    pub(crate) extent: Extent,
    pub(crate) failed: bool,
    /// The event it belongs below, whether or not that is known.
    pub(crate) parent_id: Option<EventId>,
    /// The same as an index, when it is known.
    pub(crate) parent: Option<usize>,
    batch: u32,
    row: u32,
}

/// Typed columns of every batch of a trace.
pub(crate) fn columns(batches: &[RecordBatch]) -> Result<Vec<EventColumns<'_>>, CorrelatorError> {
    batches.iter().map(EventColumns::of).collect()
}

/// The events of one trace.
pub(crate) struct SpanTree<'a> {
    columns: &'a [EventColumns<'a>],
    nodes: Vec<Node>,
    by_id: HashMap<EventId, usize>,
    /// Per node, the nodes below it, by time.
    children: Vec<Vec<usize>>,
}

impl<'a> SpanTree<'a> {
    /// The tree of the events in `columns`. Of events with one id the first counts.
    pub(crate) fn new(columns: &'a [EventColumns<'a>]) -> Self {
        let mut nodes: Vec<Node> =
            columns.iter().enumerate().flat_map(|(batch, c)| nodes_of(batch as u32, c)).collect();
        nodes.sort_by_key(|node| (node.extent.start, node.id));
        let mut by_id = HashMap::with_capacity(nodes.len());
        nodes.retain(|node| match by_id.entry(node.id) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(0);
                true
            }
        });
        by_id.extend(nodes.iter().enumerate().map(|(index, node)| (node.id, index)));
        let mut children = vec![Vec::new(); nodes.len()];
        for (index, node) in nodes.iter_mut().enumerate() {
            node.parent = node.parent_id.and_then(|id| by_id.get(&id).copied()).filter(|at| *at != index);
            if let Some(parent) = node.parent {
                children[parent].push(index);
            }
        }
        Self { columns, nodes, by_id, children }
    }

    /// Events in the tree.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The event at `index`.
    pub(crate) fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// Where the event `id` is.
    pub(crate) fn find(&self, id: EventId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// What is directly below `index`, by time.
    pub(crate) fn below(&self, index: usize) -> &[usize] {
        &self.children[index]
    }

    /// The spans directly below `index`, by time.
    pub(crate) fn child_spans(&self, index: usize) -> impl Iterator<Item = usize> {
        self.children[index].iter().copied().filter(|child| self.nodes[*child].came == Came::Span)
    }

    /// The columns and the row of an event.
    pub(crate) fn row(&self, index: usize) -> (&'a EventColumns<'a>, usize) {
        let node = &self.nodes[index];
        (&self.columns[node.batch as usize], node.row as usize)
    }

    /// `asset_id` of an event.
    pub(crate) fn asset(&self, index: usize) -> &'a str {
        let (columns, row) = self.row(index);
        columns.asset_id.value(row)
    }

    /// `kind` of an event.
    pub(crate) fn kind(&self, index: usize) -> Option<&'a str> {
        let (columns, row) = self.row(index);
        optional(columns.kind, row)
    }

    /// Every event once, parents before what is below them, with its depth. Events whose parent is not known begin at
    /// depth 0; so does one event of every circle of parents, which only broken data has.
    pub(crate) fn depth_first(&self) -> Vec<(usize, i32)> {
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut visited = vec![false; self.nodes.len()];
        let roots = (0..self.nodes.len()).filter(|index| self.nodes[*index].parent.is_none());
        for root in roots.chain(0..self.nodes.len()) {
            let mut stack = vec![(root, 0)];
            while let Some((index, depth)) = stack.pop() {
                if std::mem::replace(&mut visited[index], true) {
                    continue;
                }
                order.push((index, depth));
                stack.extend(self.children[index].iter().rev().map(|child| (*child, depth + 1)));
            }
        }
        order
    }

    /// Nanoseconds of a span in which none of its child spans ran.
    pub(crate) fn self_time(&self, index: usize) -> i64 {
        let own = self.nodes[index].extent;
        // Children are in order of their start, so one pass joins what overlaps.
        let (mut covered, mut until) = (0_i64, own.start.0);
        for child in self.child_spans(index) {
            let extent = self.nodes[child].extent;
            let (start, end) = (extent.start.0.max(until), extent.end().min(own.end()));
            covered += end.saturating_sub(start).max(0);
            until = until.max(end);
        }
        own.duration - covered
    }
}

fn nodes_of(batch: u32, columns: &EventColumns<'_>) -> Vec<Node> {
    let node = |row: usize| {
        let span = columns.trace(row).zip(columns.span(row)).map(|(trace, span)| EventId::of_span(trace, span));
        let (came, id, parent_id) = match columns.signal.value(row) {
            SIGNAL_SPAN => {
                let parent = columns.trace(row).zip(columns.parent_span(row));
                (Came::Span, span?, parent.map(|(trace, span)| EventId::of_span(trace, span)))
            }
            SIGNAL_LOG => (Came::Log, columns.position_id(row)?, span),
            _ => (Came::SpanEvent, columns.position_id(row)?, span),
        };
        let extent = Extent { start: columns.time(row), duration: columns.duration(row) };
        let failed = came == Came::Span && optional(columns.status, row) == Some("error");
        Some(Node { id, came, extent, failed, parent_id, parent: None, batch, row: row as u32 })
    };
    (0..columns.rows()).filter_map(node).collect()
}
