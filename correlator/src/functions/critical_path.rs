//! `critical_path(trace_id)`: the spans that decided how long a trace took, from its beginning to its end.
//!
//! Walked back from the end of the root span, always into the child that finished last before the point reached, and on
//! from where that child began (Zhang et al., "CRISP: Critical Path Analysis of Large-Scale Microservice Architectures",
//! USENIX ATC 2022). A child that still ran when the next one on the path began ran beside it, and is not on the path. A
//! child that outlives its parent counts until its parent's end: nobody waited for the rest. One that lies wholly outside
//! of its parent is passed over. What is left of a span on the path is its own, so that the own times of all steps add up
//! to the root's duration.

use super::span_tree::{Came, SpanTree, columns};
use super::{Columns, batch, id_field, storage, text_field, time_field};
use crate::columns::optional;
use crate::error::CorrelatorError;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::{Arc, LazyLock};
use whence_schema::{TenantId, TraceId};
use whence_storage::{Payloads, Snapshot};

/// Columns of [`critical_path`]: `self_ms` is the part of the path that is in the span and in none of its children on the
/// path, and `share` is its share of the root span's duration.
pub fn critical_path_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("step", DataType::Int32, false),
            id_field("event_id", false),
            text_field("asset_id", false),
            text_field("name", true),
            time_field("started"),
            Field::new("self_ms", DataType::Float64, false),
            Field::new("share", DataType::Float64, false),
        ]))
    });
    SCHEMA.clone()
}

/// The critical path of `trace`, in the order in which it enters its spans: a span comes before those below it. Of
/// several roots the longest counts, of these the first. No rows for a trace that is not known. Blocks on file reads.
///
/// # Errors
///
/// When the store cannot read the trace.
pub fn critical_path(snapshot: &Snapshot, tenant: &TenantId, trace: TraceId) -> Result<RecordBatch, CorrelatorError> {
    let batches = snapshot.trace_rows(tenant, trace, Payloads::Unread).map_err(storage("read a trace from"))?;
    let columns = columns(&batches)?;
    let tree = SpanTree::new(&columns);
    let steps: Vec<(i32, OnPath)> = (1..).zip(path(&tree)).collect();
    let whole = steps.first().map_or(0, |(_, root)| tree.node(root.span).extent.duration);
    let row = |step: &OnPath| tree.row(step.span);
    let out = Columns(&steps);
    let columns = vec![
        out.int32s(|(number, _)| *number),
        out.ids(|(_, step)| Some(tree.node(step.span).id)),
        out.texts(|(_, step)| Some(tree.asset(step.span))),
        out.texts(|(_, step)| optional(row(step).0.name, row(step).1)),
        out.times(|(_, step)| tree.node(step.span).extent.start),
        out.float64s(|(_, step)| step.own as f64 / 1e6),
        out.float64s(|(_, step)| if whole > 0 { step.own as f64 / whole as f64 } else { 0.0 }),
    ];
    batch("a critical path", critical_path_schema(), columns)
}

/// A span on the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OnPath {
    /// Index in the tree.
    span: usize,
    /// Nanoseconds of it that are on the path and in no child on the path.
    own: i64,
}

/// The path: each span once, before those below it.
fn path(tree: &SpanTree<'_>) -> Vec<OnPath> {
    let Some(root) = root(tree) else { return Vec::new() };
    let mut visited = vec![false; tree.len()];
    visited[root] = true;
    let extent = tree.node(root).extent;
    let mut steps = Vec::new();
    // Spans with the part of them that is on the path. Later ones are put in first, so that they come out last.
    let mut open = vec![(root, extent.start.0, extent.end())];
    while let Some((span, from, to)) = open.pop() {
        let (mut own, mut reached) = (to.saturating_sub(from), to);
        for (child, start, end) in children(tree, span, from, to).into_iter().rev() {
            if end <= reached && !std::mem::replace(&mut visited[child], true) {
                own -= end - start;
                reached = start;
                open.push((child, start, end));
            }
        }
        steps.push(OnPath { span, own });
    }
    steps
}

/// The span without a known parent that lasts longest; of several the first. Where parents lead in a circle one span of
/// it counts as without a parent.
fn root(tree: &SpanTree<'_>) -> Option<usize> {
    let roots = tree.depth_first().into_iter().filter(|(index, depth)| *depth == 0 && is_span(tree, *index));
    roots.map(|(root, _)| root).max_by_key(|root| (tree.node(*root).extent.duration, std::cmp::Reverse(*root)))
}

fn is_span(tree: &SpanTree<'_>, index: usize) -> bool {
    tree.node(index).came == Came::Span
}

/// The child spans by their end, as far as they lie between two instants, with their start and end there. Of those that
/// end at the same time the one that began first comes last.
fn children(tree: &SpanTree<'_>, span: usize, from: i64, to: i64) -> Vec<(usize, i64, i64)> {
    let clamped = |child: usize| {
        let extent = tree.node(child).extent;
        (child, extent.start.0.max(from), extent.end().min(to))
    };
    let inside = |(_, start, end): &(usize, i64, i64)| start < end;
    let mut children: Vec<(usize, i64, i64)> = tree.child_spans(span).map(clamped).filter(inside).collect();
    children.sort_by_key(|&(child, start, end)| (end, std::cmp::Reverse(start), tree.node(child).id));
    children
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tests::rows::{EventRow, batch, log, span};
    use proptest::prelude::*;

    const T0: i64 = 1_000_000_000_000;

    /// Span, start and end in units that are added to a start.
    fn at(number: u64, parent: u64, start: i64, end: i64) -> EventRow {
        span(number, parent, "a").at(T0 + start, end - start)
    }

    /// The spans on the path, each with its own time.
    fn path_of(rows: &[EventRow]) -> Vec<(u64, i64)> {
        let batches: Vec<RecordBatch> = rows.chunks(2).map(batch).collect();
        let columns = columns(&batches).unwrap();
        let tree = SpanTree::new(&columns);
        path(&tree).into_iter().map(|step| (tree.node(step.span).id.low(), step.own)).collect()
    }

    #[test]
    fn children_one_after_another_are_all_on_the_path_in_their_order() {
        let rows = [at(1, 0, 0, 100), at(2, 1, 10, 40), at(3, 1, 50, 90), at(4, 3, 60, 90), log(3, 77, 1)];
        assert_eq!(path_of(&rows), [(1, 30), (2, 30), (3, 10), (4, 30)]);
    }

    #[test]
    fn of_children_beside_each_other_only_the_one_that_finished_last_is() {
        let rows = [at(1, 0, 0, 100), at(2, 1, 10, 80), at(3, 1, 10, 90), at(4, 1, 85, 89), at(5, 1, 0, 9)];
        assert_eq!(path_of(&rows), [(1, 11), (5, 9), (3, 80)]);
        let overlapping = [at(1, 0, 0, 100), at(2, 1, 0, 60), at(3, 1, 50, 100)];
        assert_eq!(path_of(&overlapping), [(1, 50), (3, 50)], "the third did not wait for the second");
    }

    #[test]
    fn who_outlives_its_parent_counts_until_its_end_and_who_lies_outside_not_at_all() {
        let asynchronous = [at(1, 0, 0, 100), at(2, 1, 40, 500), at(3, 2, 45, 480), at(4, 2, 200, 500)];
        assert_eq!(path_of(&asynchronous), [(1, 40), (2, 5), (3, 55)]);
        // The clock of the callee is behind, or far ahead.
        let skewed = [at(1, 0, 0, 100), at(2, 1, -20, 60), at(3, 2, -15, 70), at(4, 1, 300, 350)];
        assert_eq!(path_of(&skewed), [(1, 40), (2, 0), (3, 60)]);
    }

    #[test]
    fn the_longest_of_several_roots_counts_whether_or_not_its_parent_was_seen() {
        let rows = [at(1, 0, 0, 10), at(2, 99, 0, 50), at(3, 2, 20, 30), at(4, 98, 100, 150)];
        assert_eq!(path_of(&rows), [(2, 40), (3, 10)]);
        assert_eq!(path_of(&[log(1, 77, 1)]), []);
        assert_eq!(path_of(&[]), []);
        assert_eq!(path_of(&[at(1, 0, 5, 5), at(2, 1, 5, 5)]), [(1, 0)]);
    }

    #[test]
    fn parents_that_lead_in_a_circle_end() {
        let circle = [at(1, 3, 0, 100), at(2, 1, 10, 90), at(3, 2, 20, 80)];
        assert_eq!(path_of(&circle), [(1, 20), (2, 20), (3, 60)]);
        assert_eq!(path_of(&[at(1, 1, 0, 100)]), [(1, 100)]);
    }

    proptest! {
        #[test]
        fn own_times_add_up_to_the_root_and_the_order_of_arrival_says_nothing(
            spans in prop::collection::vec((0..12_u64, 0..200_i64, 0..150_i64), 1..12),
            seed in any::<u64>(),
        ) {
            let numbered = (1..).zip(&spans);
            let rows: Vec<EventRow> =
                numbered.map(|(number, (parent, start, long))| at(number, *parent, *start, start + long)).collect();
            let steps = path_of(&rows);
            let root = rows.iter().find(|row| row.span == steps[0].0).unwrap();
            prop_assert_eq!(steps.iter().map(|(_, own)| own).sum::<i64>(), root.duration);
            prop_assert!(steps.iter().all(|(_, own)| *own >= 0));
            let mut others = rows.clone();
            others.rotate_left(seed as usize % rows.len());
            prop_assert_eq!(path_of(&others), steps);
        }
    }
}
