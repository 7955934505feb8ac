//! Steps from event to event, which `causal_chain` takes towards the cause and `blast_radius` away from it.

use super::detail::detail;
use super::span_tree::SpanTree;
use super::{Columns, batch, id_field, storage, text_field, time_field};
use crate::columns::optional;
use crate::error::CorrelatorError;
use crate::method::structural::{closeness, share};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::{Arc, LazyLock};
use whence_schema::{EventId, TenantId, TraceId, UnixNanos};
use whence_storage::Snapshot;

/// Traces that one walk may go through.
pub(super) const MOST_TRACES: usize = 16;
/// A child that covers this share of a span's duration explains it.
pub(super) const DOMINANT: f32 = 0.5;

/// Columns of results that are steps.
pub(super) fn step_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("depth", DataType::Int32, false),
            id_field("event_id", false),
            text_field("asset_id", false),
            text_field("relation", false),
            Field::new("strength", DataType::Float32, false),
            text_field("name", true),
            text_field("event_type", false),
            time_field("timestamp"),
            text_field("status", true),
            Field::new("duration_ns", DataType::Int64, true),
            text_field("detail", true),
        ]))
    });
    SCHEMA.clone()
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub(super) event: EventId,
    pub(super) asset: String,
    pub(super) relation: &'static str,
    pub(super) strength: f32,
    pub(super) name: Option<String>,
    pub(super) event_type: String,
    pub(super) timestamp: UnixNanos,
    pub(super) status: Option<String>,
    pub(super) duration: Option<i64>,
    pub(super) detail: Option<String>,
}

impl Step {
    /// The event at `index`.
    pub(super) fn at(tree: &SpanTree<'_>, index: usize, reached: Reached) -> Self {
        let (columns, row) = tree.row(index);
        let node = tree.node(index);
        let text = |text: Option<&str>| text.map(str::to_owned);
        Self {
            event: node.id,
            asset: tree.asset(index).to_owned(),
            relation: reached.relation,
            strength: reached.strength,
            name: text(optional(columns.name, row)),
            event_type: columns.event_type.value(row).to_owned(),
            timestamp: node.extent.start,
            status: text(optional(columns.status, row)),
            duration: columns.has_duration(row).then_some(node.extent.duration),
            detail: detail(tree, index),
        }
    }
}

/// How a step is reached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reached {
    pub(super) relation: &'static str,
    pub(super) strength: f32,
}

impl Reached {
    pub(super) const fn surely(relation: &'static str) -> Self {
        Self { relation, strength: 1.0 }
    }
}

/// Whoever waits for a message does not wait for its consumer.
pub(super) fn is_message(tree: &SpanTree<'_>, parent: usize, child: usize) -> bool {
    tree.kind(parent) == Some("producer") && tree.kind(child) == Some("consumer")
}

/// The relation of a parent and its child. `with_failures`: on a way that failures take, from caller to callee when a
/// cause is looked for, or back.
pub(super) fn edge(tree: &SpanTree<'_>, parent: usize, child: usize, with_failures: bool) -> Reached {
    let (above, below) = (tree.node(parent), tree.node(child));
    let both_failed = with_failures && above.failed && below.failed;
    let strength = if both_failed { closeness(above.extent, below.extent) } else { share(above.extent, below.extent) };
    let relation = match () {
        () if is_message(tree, parent, child) => return Reached::surely("message"),
        () if tree.asset(parent) == tree.asset(child) => "internal",
        () if both_failed => "failure",
        () => "call",
    };
    Reached { relation, strength }
}

/// The trace of a span that a link names with its time, which links keep in microseconds.
pub(super) fn trace_near(
    snapshot: &Snapshot,
    tenant: &TenantId,
    span: EventId,
    time: UnixNanos,
) -> Result<Option<TraceId>, CorrelatorError> {
    trace_of(snapshot, tenant, span, time, UnixNanos(time.0.saturating_add(1_000)))
}

/// The trace of a span that began between two times.
pub(super) fn trace_of(
    snapshot: &Snapshot,
    tenant: &TenantId,
    span: EventId,
    from: UnixNanos,
    to: UnixNanos,
) -> Result<Option<TraceId>, CorrelatorError> {
    let found = snapshot.find_spans(tenant, &[span], from, to).map_err(storage("find a span in"))?;
    Ok(found.get(&span).map(|found| found.trace))
}

/// The rows of steps with their depths.
pub(super) fn steps_to_batch(what: &'static str, rows: &[(i32, Step)]) -> Result<RecordBatch, CorrelatorError> {
    let out = Columns(rows);
    let columns = vec![
        out.int32s(|(depth, _)| *depth),
        out.ids(|(_, step)| Some(step.event)),
        out.texts(|(_, step)| Some(&step.asset)),
        out.texts(|(_, step)| Some(step.relation)),
        out.float32s(|(_, step)| step.strength),
        out.texts(|(_, step)| step.name.as_deref()),
        out.texts(|(_, step)| Some(&step.event_type)),
        out.times(|(_, step)| step.timestamp),
        out.texts(|(_, step)| step.status.as_deref()),
        out.int64s(|(_, step)| step.duration),
        out.texts(|(_, step)| step.detail.as_deref()),
    ];
    batch(what, step_schema(), columns)
}
