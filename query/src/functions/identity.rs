//! Ids computed from stored columns when read: the functions behind `id`, `parent_event_id`, `trace_id` and their like.
//!
//! They are not registered by name: only the views of [`crate::provider`] call them, and
//! [`crate::provider::lookup`] recognises them in filters.

use super::{UUID, json_metadata};
use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, FixedSizeBinaryArray, FixedSizeBinaryBuilder, Int32Array, Int64Array,
    StringBuilder,
};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int32Type, Int64Type, TimestampMicrosecondType};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::fmt::Write;
use std::sync::Arc;
use whence_schema::{EventId, Relation, SeriesId, TraceId, push_hex};

/// Type of [`Identity::SeriesKey`]. Its value is all 128 bits, not a number of 38 digits.
const SERIES_KEY: DataType = DataType::Decimal128(38, 0);

/// Which id, from which stored columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    /// `id` of an event: `trace_id, span_id, request_digest, position`.
    Event,
    /// `parent_event_id`: `trace_id, span_id, parent_span_id, request_digest`.
    ParentEvent,
    /// An id kept in halves: `high, low`.
    Halves,
    /// `id` of a correlation: `correlation_type, relation, primary id, related id`.
    Correlation,
    /// A series as a number of the same 16 bytes: grouping by numbers is faster than by bytes.
    SeriesKey,
    /// `id` of a row of metrics: `series key, timestamp`.
    MetricRow,
    /// 32 hexadecimal digits: `trace_id`.
    TraceText,
    /// 16 hexadecimal digits: `span_id`.
    SpanText,
    /// `metadata` of a correlation: `relation, timestamp, primary_timestamp, metadata`.
    CorrelationMetadata,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct IdentityFunction {
    pub(crate) identity: Identity,
    signature: Signature,
}

impl Identity {
    /// The expression that computes the id from `columns`.
    pub(crate) fn of(self, columns: Vec<Expr>) -> Expr {
        let signature = Signature::any(columns.len(), Volatility::Immutable);
        ScalarUDF::from(IdentityFunction { identity: self, signature }).call(columns)
    }
}

impl ScalarUDFImpl for IdentityFunction {
    fn name(&self) -> &str {
        match self.identity {
            Identity::Event => "event_id",
            Identity::ParentEvent => "parent_event_id",
            Identity::Halves => "id_of_halves",
            Identity::Correlation => "correlation_row_id",
            Identity::SeriesKey => "series_key",
            Identity::MetricRow => "metric_row_id",
            Identity::TraceText => "trace_text",
            Identity::SpanText => "span_text",
            Identity::CorrelationMetadata => "correlation_metadata",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.identity {
            Identity::TraceText | Identity::SpanText | Identity::CorrelationMetadata => DataType::Utf8,
            Identity::SeriesKey => SERIES_KEY,
            _ => UUID,
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = match self.identity {
            Identity::Event
            | Identity::Correlation
            | Identity::SeriesKey
            | Identity::MetricRow
            | Identity::CorrelationMetadata => false,
            Identity::Halves => args.arg_fields.iter().any(|field| field.is_nullable()),
            Identity::ParentEvent | Identity::TraceText | Identity::SpanText => true,
        };
        let field = Field::new(self.name(), self.return_type(&[])?, nullable);
        Ok(Arc::new(match self.identity {
            Identity::CorrelationMetadata => field.with_metadata(json_metadata()),
            _ => field,
        }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let columns = args.args.into_iter().map(|value| value.into_array(rows)).collect::<Result<Vec<ArrayRef>>>()?;
        let array: ArrayRef = match (self.identity, columns.as_slice()) {
            (Identity::Event, [trace, span, digest, position]) => {
                let (trace, span) = (traces(trace)?, span.as_primitive::<Int64Type>());
                let (digest, position) = (digest.as_primitive::<Int64Type>(), position.as_primitive::<Int32Type>());
                ids(rows, |row| Some(event_id(trace, span, digest, position, row)))
            }
            (Identity::ParentEvent, [trace, span, parent, digest]) => {
                let (trace, digest) = (traces(trace)?, digest.as_primitive::<Int64Type>());
                let (span, parent) = (span.as_primitive::<Int64Type>(), parent.as_primitive::<Int64Type>());
                ids(rows, |row| {
                    let cause = if digest.is_null(row) { parent } else { span };
                    let present = trace.is_valid(row) && cause.is_valid(row);
                    present.then(|| EventId::from_halves(low_half(trace, row), cause.value(row) as u64))
                })
            }
            (Identity::Halves, [high, low]) => {
                let (high, low) = (high.as_primitive::<Int64Type>(), low.as_primitive::<Int64Type>());
                ids(rows, |row| {
                    let present = high.is_valid(row) && low.is_valid(row);
                    present.then(|| EventId::from_halves(high.value(row) as u64, low.value(row) as u64))
                })
            }
            (Identity::Correlation, [kind, relation, primary, related]) => {
                let (kind, relation) = (kind.as_string_view(), relation.as_string_view());
                let (primary, related) = (primary.as_fixed_size_binary(), related.as_fixed_size_binary());
                ids(rows, |row| {
                    let (primary, related) = (id_at(primary, row), id_at(related, row));
                    Some(EventId::of_correlation(kind.value(row), relation.value(row), primary, related))
                })
            }
            (Identity::SeriesKey, [series]) => {
                let series = series.as_fixed_size_binary();
                let keys = Decimal128Array::from_iter_values((0..rows).map(|row| id_at(series, row).0 as i128));
                Arc::new(keys.with_data_type(SERIES_KEY))
            }
            (Identity::MetricRow, [series, bucket]) => {
                let (series, bucket) =
                    (series.as_primitive::<Decimal128Type>(), bucket.as_primitive::<TimestampMicrosecondType>());
                ids(rows, |row| Some(EventId::of_metric_row(SeriesId(series.value(row) as u128), bucket.value(row))))
            }
            (Identity::TraceText, [trace]) => {
                let trace = traces(trace)?;
                texts(rows, 32, |row, out| trace.is_valid(row).then(|| push_hex(out, trace.value(row))))
            }
            (Identity::SpanText, [span]) => {
                let span = span.as_primitive::<Int64Type>();
                texts(rows, 16, |row, out| span.is_valid(row).then(|| push_hex(out, &span.value(row).to_be_bytes())))
            }
            (Identity::CorrelationMetadata, [relation, at, primary_at, metadata]) => {
                let (relation, metadata) = (relation.as_string_view(), metadata.as_string_view());
                let (at, primary_at) = (
                    at.as_primitive::<TimestampMicrosecondType>(),
                    primary_at.as_primitive::<TimestampMicrosecondType>(),
                );
                texts(rows, 72, |row, out| {
                    let lag = i128::from(at.value(row)) - i128::from(primary_at.value(row));
                    let relation = relation.value(row);
                    let method = Relation::parse(relation).map_or("unknown", Relation::method);
                    let _ = write!(out, "{{\"relation\":\"{relation}\",\"method\":\"{method}\"");
                    let _ = write!(out, ",\"lag_ns\":{}", lag * 1_000);
                    let evidence = if metadata.is_valid(row) { metadata.value(row).trim() } else { "{}" };
                    match evidence.strip_prefix('{').map(str::trim_start) {
                        Some(rest) if rest.len() > 1 => {
                            out.push(',');
                            out.push_str(rest);
                        }
                        _ => out.push('}'),
                    }
                    Some(())
                })
            }
            (identity, columns) => return exec_err!("{identity:?} of {} columns", columns.len()),
        };
        Ok(ColumnarValue::Array(array))
    }
}

fn event_id(
    trace: &FixedSizeBinaryArray,
    span: &Int64Array,
    digest: &Int64Array,
    position: &Int32Array,
    row: usize,
) -> EventId {
    if digest.is_valid(row) {
        EventId::from_halves(digest.value(row) as u64, u64::from(position.value(row) as u32))
    } else {
        EventId::from_halves(low_half(trace, row), span.value(row) as u64)
    }
}

fn traces(array: &ArrayRef) -> Result<&FixedSizeBinaryArray> {
    match array.as_fixed_size_binary_opt() {
        Some(traces) if traces.value_length() == 16 => Ok(traces),
        _ => exec_err!("trace ids are 16 bytes, not {}", array.data_type()),
    }
}

fn low_half(traces: &FixedSizeBinaryArray, row: usize) -> u64 {
    TraceId::from_slice(traces.value(row)).map_or(0, TraceId::low)
}

fn id_at(ids: &FixedSizeBinaryArray, row: usize) -> EventId {
    ids.value(row).try_into().map_or(EventId(0), |bytes| EventId(u128::from_be_bytes(bytes)))
}

fn ids(rows: usize, id: impl Fn(usize) -> Option<EventId>) -> ArrayRef {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(rows, 16);
    for row in 0..rows {
        match id(row) {
            // The width is right by construction, so appending cannot fail.
            Some(id) => builder.append_value(id.to_bytes()).unwrap_or_default(),
            None => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

fn texts(rows: usize, width: usize, write: impl Fn(usize, &mut String) -> Option<()>) -> ArrayRef {
    let mut builder = StringBuilder::with_capacity(rows, rows * width);
    let mut text = String::with_capacity(width);
    for row in 0..rows {
        text.clear();
        match write(row, &mut text) {
            Some(()) => builder.append_value(&text),
            None => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}
