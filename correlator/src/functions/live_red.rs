//! `whence.live_red`: rate, errors and duration of operations and edges by half minute, as they were counted when data
//! arrived.

use super::{Columns, batch, text_field, time_field};
use crate::error::CorrelatorError;
use crate::watch::{LiveRed, RedRow};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::{Arc, LazyLock};
use whence_schema::{TenantId, UnixNanos};

/// Columns of [`live_red`]. `kind` is `operation` or `edge`: the one has an `operation` and no `caller`, the other a
/// `caller` and no `operation`. The others are those of the views `service_red` and `edge_red`, with half minutes in place of
/// minutes and percentiles that are exact.
pub fn live_red_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let number = |name| Field::new(name, DataType::Float64, false);
        Arc::new(Schema::new(vec![
            time_field("bucket"),
            text_field("kind", false),
            text_field("caller", true),
            text_field("asset_id", false),
            text_field("operation", true),
            Field::new("requests", DataType::Int64, false),
            Field::new("errors", DataType::Int64, false),
            number("avg_ms"),
            number("p50_ms"),
            number("p95_ms"),
            number("p99_ms"),
            number("max_ms"),
        ]))
    });
    SCHEMA.clone()
}

/// The last hour of one tenant, by time.
///
/// # Errors
///
/// Never, unless the columns are not those of the schema.
pub fn live_red(live: &LiveRed, tenant: &TenantId) -> Result<RecordBatch, CorrelatorError> {
    let slots = live.slots(tenant);
    let rows: Vec<(UnixNanos, &RedRow)> =
        slots.iter().flat_map(|slot| slot.rows.iter().map(|row| (slot.slot.start(), row))).collect();
    let out = Columns(&rows);
    let millis = |nanos: u64| nanos as f64 / 1e6;
    let columns = vec![
        out.times(|(time, _)| *time),
        out.texts(|(_, row)| Some(if row.caller.is_some() { "edge" } else { "operation" })),
        out.texts(|(_, row)| row.caller.as_deref()),
        out.texts(|(_, row)| Some(&row.asset)),
        out.texts(|(_, row)| row.operation.as_deref()),
        out.int64s(|(_, row)| i64::try_from(row.red.requests).ok()),
        out.int64s(|(_, row)| i64::try_from(row.red.errors).ok()),
        out.float64s(|(_, row)| row.red.mean_ns / 1e6),
        out.float64s(|(_, row)| millis(row.red.p50_ns)),
        out.float64s(|(_, row)| millis(row.red.p95_ns)),
        out.float64s(|(_, row)| millis(row.red.p99_ns)),
        out.float64s(|(_, row)| millis(row.red.max_ns)),
    ];
    batch("live_red", live_red_schema(), columns)
}
