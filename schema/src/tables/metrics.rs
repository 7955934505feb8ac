//! Stored columns of `metrics`: one row per series and bucket, mergeable.

use super::timestamp_type;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::{Arc, LazyLock};

/// Positions of the stored columns, in order.
#[allow(missing_docs)]
pub mod column {
    pub const TENANT_ID: usize = 0;
    pub const TIMESTAMP: usize = 1;
    pub const CREATED_AT: usize = 2;
    pub const ASSET_ID: usize = 3;
    pub const METRIC_TYPE: usize = 4;
    pub const METRIC_NAME: usize = 5;
    pub const UNIT: usize = 6;
    pub const SERIES: usize = 7;
    pub const POINT_COUNT: usize = 8;
    pub const VALUE_COUNT: usize = 9;
    pub const VALUE_SUM: usize = 10;
    pub const VALUE_MIN: usize = 11;
    pub const VALUE_MAX: usize = 12;
    pub const VALUE_M2: usize = 13;
    pub const SKETCH: usize = 14;
    pub const DIMENSIONS: usize = 15;
}

/// Stored columns of `metrics`.
///
/// Several rows of one `(series, timestamp)` are parts of one logical row: counts and sums add up, extremes and sketches
/// merge, `value_m2` merges as in [`crate::aggregate::Aggregate`]. `value_min` and `value_max` are null while
/// `value_count` is 0.
pub fn stored_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let text = |name: &str, nullable| Field::new(name, DataType::Utf8View, nullable);
        Arc::new(Schema::new(vec![
            text("tenant_id", false),
            Field::new("timestamp", timestamp_type(), false),
            Field::new("created_at", timestamp_type(), false),
            text("asset_id", false),
            text("metric_type", false),
            text("metric_name", false),
            text("unit", false),
            Field::new("series", DataType::FixedSizeBinary(16), false),
            Field::new("point_count", DataType::Int64, false),
            Field::new("value_count", DataType::Int64, false),
            Field::new("value_sum", DataType::Float64, false),
            Field::new("value_min", DataType::Float64, true),
            Field::new("value_max", DataType::Float64, true),
            Field::new("value_m2", DataType::Float64, false),
            Field::new("sketch", DataType::Binary, false),
            text("dimensions", false),
        ]))
    });
    SCHEMA.clone()
}
