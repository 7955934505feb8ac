//! Stored columns of `events`.

use super::timestamp_type;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::{Arc, LazyLock};

/// `signal` of a row that came as a span.
pub const SIGNAL_SPAN: &str = "span";
/// `signal` of a row that came as an event of a span.
pub const SIGNAL_SPAN_EVENT: &str = "span_event";
/// `signal` of a row that came as a log record.
pub const SIGNAL_LOG: &str = "log";

/// Positions of the stored columns, in order.
#[allow(missing_docs)]
pub mod column {
    pub const TENANT_ID: usize = 0;
    pub const TIMESTAMP: usize = 1;
    pub const TIMESTAMP_NANOS: usize = 2;
    pub const CREATED_AT: usize = 3;
    pub const SIGNAL: usize = 4;
    pub const SOURCE_MODULE: usize = 5;
    pub const EVENT_TYPE: usize = 6;
    pub const TRACE_ID: usize = 7;
    pub const SPAN_ID: usize = 8;
    pub const PARENT_SPAN_ID: usize = 9;
    pub const REQUEST_DIGEST: usize = 10;
    pub const POSITION: usize = 11;
    pub const ASSET_ID: usize = 12;
    pub const SEVERITY: usize = 13;
    pub const ENVIRONMENT: usize = 14;
    pub const NAME: usize = 15;
    pub const KIND: usize = 16;
    pub const DURATION_NS: usize = 17;
    pub const STATUS: usize = 18;
    pub const BODY: usize = 19;
    pub const AGENT: usize = 20;
    pub const MODEL: usize = 21;
    pub const RESOURCE: usize = 22;
    pub const PAYLOAD: usize = 23;
    pub const METADATA: usize = 24;
}

/// Stored columns of `events`.
///
/// * `timestamp_nanos`: nanoseconds (0 to 999) below the microsecond of `timestamp`.
/// * `span_id`: of a log record or span event, the span it belongs to; `Int64` holds the id's 64 bits.
/// * `request_digest`, `position`: set for log records and span events only; together they are the row's id.
pub fn stored_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let text = |name: &str, nullable| Field::new(name, DataType::Utf8View, nullable);
        Arc::new(Schema::new(vec![
            text("tenant_id", false),
            Field::new("timestamp", timestamp_type(), false),
            Field::new("timestamp_nanos", DataType::Int16, false),
            Field::new("created_at", timestamp_type(), false),
            text("signal", false),
            text("source_module", false),
            text("event_type", false),
            Field::new("trace_id", DataType::FixedSizeBinary(16), true),
            Field::new("span_id", DataType::Int64, true),
            Field::new("parent_span_id", DataType::Int64, true),
            Field::new("request_digest", DataType::Int64, true),
            Field::new("position", DataType::Int32, true),
            text("asset_id", false),
            text("severity", false),
            text("environment", true),
            text("name", true),
            text("kind", true),
            Field::new("duration_ns", DataType::Int64, true),
            text("status", true),
            text("body", true),
            text("agent", true),
            text("model", true),
            text("resource", false),
            text("payload", false),
            text("metadata", true),
        ]))
    });
    SCHEMA.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_name_the_columns_they_say() {
        let schema = stored_schema();
        assert_eq!(schema.field(column::TRACE_ID).name(), "trace_id");
        assert_eq!(schema.field(column::ASSET_ID).name(), "asset_id");
        assert_eq!(schema.field(column::METADATA).name(), "metadata");
        assert_eq!(schema.fields().len(), column::METADATA + 1);
    }
}
