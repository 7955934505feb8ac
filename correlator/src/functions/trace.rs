//! `trace(trace_id)`: the events of one trace, depth first.

use super::span_tree::{Came, SpanTree, columns};
use super::{Columns, batch, id_field, storage, text_field, time_field};
use crate::columns::optional;
use crate::error::CorrelatorError;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::{Arc, LazyLock};
use whence_schema::{TenantId, TraceId};
use whence_storage::{Payloads, Snapshot};

/// Columns of [`trace`].
///
/// `depth` counts from 0; `self_time_ns` is the part of a span's duration in which none of its child spans ran.
pub fn trace_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("depth", DataType::Int32, false),
            id_field("event_id", false),
            id_field("parent_event_id", true),
            text_field("asset_id", false),
            text_field("name", true),
            text_field("signal", false),
            text_field("event_type", false),
            text_field("kind", true),
            text_field("severity", false),
            text_field("status", true),
            time_field("timestamp"),
            Field::new("duration_ns", DataType::Int64, true),
            Field::new("self_time_ns", DataType::Int64, true),
            text_field("body", true),
        ]))
    });
    SCHEMA.clone()
}

/// The events of `trace`: each before what is below it, siblings by time. No rows for a trace that is not known.
/// Blocks on file reads.
///
/// # Errors
///
/// When the store cannot read the trace.
pub fn trace(snapshot: &Snapshot, tenant: &TenantId, trace: TraceId) -> Result<RecordBatch, CorrelatorError> {
    let batches = snapshot.trace_rows(tenant, trace, Payloads::Unread).map_err(storage("read a trace from"))?;
    rows(&batches)
}

fn rows(batches: &[RecordBatch]) -> Result<RecordBatch, CorrelatorError> {
    let columns = columns(batches)?;
    let tree = SpanTree::new(&columns);
    let order = tree.depth_first();
    let span = |index: usize| tree.node(index).came == Came::Span;
    let duration = |index: usize| {
        let (columns, row) = tree.row(index);
        columns.has_duration(row).then(|| columns.duration(row))
    };
    let row = |index: usize| tree.row(index);
    let out = Columns(&order);
    let columns = vec![
        out.int32s(|(_, depth)| *depth),
        out.ids(|(index, _)| Some(tree.node(*index).id)),
        out.ids(|(index, _)| tree.node(*index).parent_id),
        out.texts(|(index, _)| Some(tree.asset(*index))),
        out.texts(|(index, _)| optional(row(*index).0.name, row(*index).1)),
        out.texts(|(index, _)| Some(row(*index).0.signal.value(row(*index).1))),
        out.texts(|(index, _)| Some(row(*index).0.event_type.value(row(*index).1))),
        out.texts(|(index, _)| tree.kind(*index)),
        out.texts(|(index, _)| Some(row(*index).0.severity.value(row(*index).1))),
        out.texts(|(index, _)| optional(row(*index).0.status, row(*index).1)),
        out.times(|(index, _)| tree.node(*index).extent.start),
        out.int64s(|(index, _)| duration(*index)),
        out.int64s(|(index, _)| span(*index).then(|| tree.self_time(*index))),
        out.texts(|(index, _)| optional(row(*index).0.body, row(*index).1)),
    ];
    batch("a trace", trace_schema(), columns)
}
