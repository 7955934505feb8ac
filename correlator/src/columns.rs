//! Typed access to the stored columns of `events` and `correlations`.

use crate::error::CorrelatorError;
use arrow::array::{
    Array, ArrowPrimitiveType, AsArray, FixedSizeBinaryArray, Int16Array, Int32Array, Int64Array, PrimitiveArray,
    RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Int16Type, Int32Type, Int64Type, TimestampMicrosecondType};
use whence_schema::tables::correlations::column as link_column;
use whence_schema::tables::events::column;
use whence_schema::{EventId, Relation, SpanId, TraceId, UnixNanos};

/// The columns of one batch that linking and the table functions read.
pub(crate) struct EventColumns<'a> {
    timestamp: &'a TimestampMicrosecondArray,
    nanos: &'a Int16Array,
    created_at: &'a TimestampMicrosecondArray,
    trace_id: &'a FixedSizeBinaryArray,
    span_id: &'a Int64Array,
    parent_span_id: &'a Int64Array,
    request_digest: &'a Int64Array,
    position: &'a Int32Array,
    duration: &'a Int64Array,
    pub(crate) signal: &'a StringViewArray,
    pub(crate) event_type: &'a StringViewArray,
    pub(crate) asset_id: &'a StringViewArray,
    pub(crate) severity: &'a StringViewArray,
    pub(crate) name: &'a StringViewArray,
    pub(crate) kind: &'a StringViewArray,
    pub(crate) status: &'a StringViewArray,
    pub(crate) body: &'a StringViewArray,
    pub(crate) payload: &'a StringViewArray,
}

impl<'a> EventColumns<'a> {
    /// The columns of `batch`, which must have the stored columns of `events` in their order.
    pub(crate) fn of(batch: &'a RecordBatch) -> Result<Self, CorrelatorError> {
        Ok(Self {
            timestamp: events::<TimestampMicrosecondType>(batch, column::TIMESTAMP, "timestamp")?,
            nanos: events::<Int16Type>(batch, column::TIMESTAMP_NANOS, "timestamp_nanos")?,
            created_at: events::<TimestampMicrosecondType>(batch, column::CREATED_AT, "created_at")?,
            trace_id: batch
                .columns()
                .get(column::TRACE_ID)
                .and_then(|array| array.as_fixed_size_binary_opt())
                .filter(|array| array.value_length() == 16)
                .ok_or(CorrelatorError::Columns { table: "events", column: "trace_id" })?,
            span_id: events::<Int64Type>(batch, column::SPAN_ID, "span_id")?,
            parent_span_id: events::<Int64Type>(batch, column::PARENT_SPAN_ID, "parent_span_id")?,
            request_digest: events::<Int64Type>(batch, column::REQUEST_DIGEST, "request_digest")?,
            position: events::<Int32Type>(batch, column::POSITION, "position")?,
            duration: events::<Int64Type>(batch, column::DURATION_NS, "duration_ns")?,
            signal: text(batch, column::SIGNAL, "events", "signal")?,
            event_type: text(batch, column::EVENT_TYPE, "events", "event_type")?,
            asset_id: text(batch, column::ASSET_ID, "events", "asset_id")?,
            severity: text(batch, column::SEVERITY, "events", "severity")?,
            name: text(batch, column::NAME, "events", "name")?,
            kind: text(batch, column::KIND, "events", "kind")?,
            status: text(batch, column::STATUS, "events", "status")?,
            body: text(batch, column::BODY, "events", "body")?,
            payload: text(batch, column::PAYLOAD, "events", "payload")?,
        })
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.timestamp.len()
    }

    /// When the event happened, to the nanosecond.
    pub(crate) fn time(&self, row: usize) -> UnixNanos {
        let nanos = self.timestamp.value(row).saturating_mul(1_000).saturating_add(i64::from(self.nanos.value(row)));
        UnixNanos(nanos)
    }

    /// When the event was accepted.
    pub(crate) fn created_at(&self, row: usize) -> UnixNanos {
        UnixNanos(self.created_at.value(row).saturating_mul(1_000))
    }

    /// Duration of a span in nanoseconds, never negative; 0 for what has none.
    pub(crate) fn duration(&self, row: usize) -> i64 {
        if self.duration.is_null(row) { 0 } else { self.duration.value(row).max(0) }
    }

    /// True when the row has a duration.
    pub(crate) fn has_duration(&self, row: usize) -> bool {
        self.duration.is_valid(row)
    }

    /// The trace the row belongs to.
    pub(crate) fn trace(&self, row: usize) -> Option<TraceId> {
        if self.trace_id.is_null(row) { None } else { TraceId::from_slice(self.trace_id.value(row)) }
    }

    /// The span the row is, or belongs to.
    pub(crate) fn span(&self, row: usize) -> Option<SpanId> {
        span_id(self.span_id, row)
    }

    /// The parent of a span.
    pub(crate) fn parent_span(&self, row: usize) -> Option<SpanId> {
        span_id(self.parent_span_id, row)
    }

    /// Id of a log record or span event.
    pub(crate) fn position_id(&self, row: usize) -> Option<EventId> {
        if self.request_digest.is_null(row) || self.position.is_null(row) {
            return None;
        }
        let position = u64::from(self.position.value(row) as u32);
        Some(EventId::from_halves(self.request_digest.value(row) as u64, position))
    }
}

/// The text of `row`, unless it is null.
pub(crate) fn optional(array: &StringViewArray, row: usize) -> Option<&str> {
    array.is_valid(row).then(|| array.value(row))
}

fn span_id(array: &Int64Array, row: usize) -> Option<SpanId> {
    let valid = array.is_valid(row) && array.value(row) != 0;
    valid.then(|| SpanId(array.value(row) as u64))
}

/// A row of `correlations`, as far as following it needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredLink {
    pub(crate) relation: Relation,
    pub(crate) primary: EventId,
    pub(crate) related: EventId,
    /// When the cause happened, to the microsecond.
    pub(crate) primary_time: UnixNanos,
    /// When the effect happened, to the microsecond.
    pub(crate) related_time: UnixNanos,
}

/// The links of a batch of stored columns; those of relations this version does not know are left out.
pub(crate) fn stored_links(batch: &RecordBatch) -> Result<Vec<StoredLink>, CorrelatorError> {
    let number = |index, column| primitive::<Int64Type>(batch, index, "correlations", column);
    let primary_high = number(link_column::PRIMARY_HIGH, "primary_high")?;
    let primary_low = number(link_column::PRIMARY_LOW, "primary_low")?;
    let related_high = number(link_column::RELATED_HIGH, "related_high")?;
    let related_low = number(link_column::RELATED_LOW, "related_low")?;
    let time = link_column::PRIMARY_TIMESTAMP;
    let times = primitive::<TimestampMicrosecondType>(batch, time, "correlations", "primary_timestamp")?;
    let effects = primitive::<TimestampMicrosecondType>(batch, link_column::TIMESTAMP, "correlations", "timestamp")?;
    let relations = text(batch, link_column::RELATION, "correlations", "relation")?;
    let link = |row: usize| {
        let high = related_high.value(row) as u64;
        let primary_high = if primary_high.is_null(row) { high } else { primary_high.value(row) as u64 };
        Some(StoredLink {
            relation: Relation::parse(relations.value(row))?,
            primary: EventId::from_halves(primary_high, primary_low.value(row) as u64),
            related: EventId::from_halves(high, related_low.value(row) as u64),
            primary_time: UnixNanos(times.value(row).saturating_mul(1_000)),
            related_time: UnixNanos(effects.value(row).saturating_mul(1_000)),
        })
    };
    Ok((0..batch.num_rows()).filter_map(link).collect())
}

fn events<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    index: usize,
    column: &'static str,
) -> Result<&'a PrimitiveArray<T>, CorrelatorError> {
    primitive(batch, index, "events", column)
}

fn primitive<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    index: usize,
    table: &'static str,
    column: &'static str,
) -> Result<&'a PrimitiveArray<T>, CorrelatorError> {
    let array = batch.columns().get(index).and_then(|array| array.as_primitive_opt::<T>());
    array.ok_or(CorrelatorError::Columns { table, column })
}

fn text<'a>(
    batch: &'a RecordBatch,
    index: usize,
    table: &'static str,
    column: &'static str,
) -> Result<&'a StringViewArray, CorrelatorError> {
    let array = batch.columns().get(index).and_then(|array| array.as_string_view_opt());
    array.ok_or(CorrelatorError::Columns { table, column })
}
