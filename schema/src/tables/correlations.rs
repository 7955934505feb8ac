//! Stored columns of `correlations`, and the rows the correlator makes.

use super::timestamp_type;
use crate::{EventId, Relation, TenantId, UnixNanos};
use arrow::array::{ArrayRef, Float32Array, Int64Array, StringViewArray, StringViewBuilder, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use std::sync::{Arc, LazyLock};

/// Positions of the stored columns, in order.
#[allow(missing_docs)]
pub mod column {
    pub const TENANT_ID: usize = 0;
    pub const TIMESTAMP: usize = 1;
    pub const CREATED_AT: usize = 2;
    pub const CORRELATION_TYPE: usize = 3;
    pub const RELATION: usize = 4;
    pub const PRIMARY_HIGH: usize = 5;
    pub const PRIMARY_LOW: usize = 6;
    pub const RELATED_HIGH: usize = 7;
    pub const RELATED_LOW: usize = 8;
    pub const PRIMARY_TIMESTAMP: usize = 9;
    pub const STRENGTH: usize = 10;
    pub const CONFIDENCE: usize = 11;
    pub const METADATA: usize = 12;
}

/// Stored columns of `correlations`.
///
/// Event ids are kept in halves: within one trace the high half repeats, so `primary_high` is null when it equals
/// `related_high`. `timestamp` is the related event's; the id of the row is [`EventId::of_correlation`].
pub fn stored_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let text = |name: &str, nullable| Field::new(name, DataType::Utf8View, nullable);
        Arc::new(Schema::new(vec![
            text("tenant_id", false),
            Field::new("timestamp", timestamp_type(), false),
            Field::new("created_at", timestamp_type(), false),
            text("correlation_type", false),
            text("relation", false),
            Field::new("primary_high", DataType::Int64, true),
            Field::new("primary_low", DataType::Int64, false),
            Field::new("related_high", DataType::Int64, false),
            Field::new("related_low", DataType::Int64, false),
            Field::new("primary_timestamp", timestamp_type(), false),
            Field::new("strength", DataType::Float32, false),
            Field::new("confidence", DataType::Float32, false),
            text("metadata", true),
        ]))
    });
    SCHEMA.clone()
}

/// One link: *primary led to related*.
#[derive(Debug, Clone, PartialEq)]
pub struct CorrelationRow {
    /// Owner of both events.
    pub tenant: TenantId,
    /// `causal` for structural links, `temporal` and `anomaly` for those that were found by comparing many events.
    pub correlation_type: &'static str,
    /// How.
    pub relation: Relation,
    /// The cause.
    pub primary: EventId,
    /// The effect.
    pub related: EventId,
    /// When the cause happened.
    pub primary_timestamp: UnixNanos,
    /// When the effect happened.
    pub related_timestamp: UnixNanos,
    /// 0 to 1. Stored in steps of 1/250, so that it takes one byte on disk.
    pub strength: f32,
    /// 0 to 1: probability that the link is real.
    pub confidence: f32,
    /// When the link was found.
    pub created_at: UnixNanos,
    /// Evidence beyond the relation, as a JSON object.
    pub metadata: Option<String>,
}

/// Stored columns of `rows`.
///
/// # Errors
///
/// Only if the columns did not fit the schema, which a test excludes.
pub fn to_batch(rows: &[CorrelationRow]) -> Result<RecordBatch, ArrowError> {
    let times = |of: fn(&CorrelationRow) -> UnixNanos| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| of(r).micros())).with_timezone("UTC"))
    };
    let texts = |of: fn(&CorrelationRow) -> &str| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(rows.iter().map(of)))
    };
    let bits = |of: fn(&CorrelationRow) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| of(r) as i64)))
    };
    let primary_high: Int64Array =
        rows.iter().map(|r| (r.primary.high() != r.related.high()).then_some(r.primary.high() as i64)).collect();
    let step = |value: f32| (value.clamp(0.0, 1.0) * 250.0).round() / 250.0;
    let mut metadata = StringViewBuilder::new();
    rows.iter().for_each(|r| metadata.append_option(r.metadata.as_deref()));
    RecordBatch::try_new(
        stored_schema(),
        vec![
            texts(|r| r.tenant.as_str()),
            times(|r| r.related_timestamp),
            times(|r| r.created_at),
            texts(|r| r.correlation_type),
            texts(|r| r.relation.as_str()),
            Arc::new(primary_high),
            bits(|r| r.primary.low()),
            bits(|r| r.related.high()),
            bits(|r| r.related.low()),
            times(|r| r.primary_timestamp),
            Arc::new(Float32Array::from_iter_values(rows.iter().map(|r| step(r.strength)))),
            Arc::new(Float32Array::from_iter_values(rows.iter().map(|r| step(r.confidence)))),
            Arc::new(metadata.finish()),
        ],
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int64Type;

    #[test]
    fn rows_become_stored_columns_and_the_shared_half_is_not_kept_twice() {
        let row = |primary: u128| CorrelationRow {
            tenant: TenantId::default(),
            correlation_type: "causal",
            relation: Relation::Call,
            primary: EventId(primary),
            related: EventId((7 << 64) | 2),
            primary_timestamp: UnixNanos(1_000),
            related_timestamp: UnixNanos(2_000),
            strength: 0.5,
            confidence: 1.0,
            created_at: UnixNanos(3_000),
            metadata: None,
        };
        let batch = to_batch(&[row((7 << 64) | 1), row((8 << 64) | 1)]).unwrap();
        let high = batch.column(column::PRIMARY_HIGH).as_primitive::<Int64Type>();
        assert!(high.is_null(0));
        assert_eq!(high.value(1), 8);
    }
}
