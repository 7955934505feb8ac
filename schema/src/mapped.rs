//! What mapping makes of one OTLP request: the form in which requests enter the store.

use crate::{EventId, MetricType, RequestDigest, SeriesId, Signal, SpanId, TenantId, TraceId, UnixNanos};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;

/// How the bytes of a request are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Encoding {
    /// OTLP protobuf.
    Protobuf = 0,
    /// OTLP JSON.
    Json = 1,
}

/// One OTLP request, decoded, validated and mapped; with the bytes it came from, which are what the log keeps.
#[derive(Debug, Clone)]
pub struct MappedRequest {
    /// Owner of every row.
    pub tenant: TenantId,
    /// What was sent.
    pub signal: Signal,
    /// When it was accepted: `created_at` of every row. Replay passes the logged time, so that rows come out the same.
    pub received_at: UnixNanos,
    /// Recognises the same request sent twice.
    pub digest: RequestDigest,
    /// The request, decompressed.
    pub body: Bytes,
    /// Encoding of `body`.
    pub encoding: Encoding,
    /// Items (spans, log records, data points) counted when decoding.
    pub received: u64,
    /// Items refused when validating. `received` = items in `rows` + `rejected`.
    pub rejected: u64,
    /// What is stored.
    pub rows: Rows,
    /// Assets this request speaks of.
    pub assets: Vec<AssetSighting>,
}

/// The rows of one request.
#[derive(Debug, Clone)]
pub enum Rows {
    /// Stored columns of `events` (see [`crate::tables::events`]).
    Events(RecordBatch),
    /// Data points, not yet put into buckets.
    Metrics(MetricPoints),
}

/// An asset as a request described it.
#[derive(Debug, Clone, PartialEq)]
pub struct AssetSighting {
    /// `asset_id`.
    pub asset_id: String,
    /// `service`, `host`, `agent`, `model` or `unknown`.
    pub asset_type: &'static str,
    /// `service.version` or its like.
    pub version: Option<String>,
    /// Latest event time seen in the request.
    pub last_seen: UnixNanos,
    /// Identifying resource attributes as a JSON object.
    pub metadata: Option<String>,
}

/// The data points of one request, by series.
#[derive(Debug, Clone, Default)]
pub struct MetricPoints {
    /// Series named by the points; each occurs once.
    pub series: Vec<Series>,
    /// Points in the order of the request.
    pub points: Vec<MetricPoint>,
    /// Exemplars that name a span.
    pub exemplars: Vec<ExemplarLink>,
}

/// One series of a tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Hash of everything below.
    pub id: SeriesId,
    /// `asset_id`.
    pub asset_id: String,
    /// `metric_type`.
    pub metric_type: MetricType,
    /// `metric_name`.
    pub metric_name: String,
    /// Unit in UCUM, or empty.
    pub unit: String,
    /// Point attributes and identifying resource attributes as a JSON object with sorted keys.
    pub dimensions: String,
}

/// One data point.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricPoint {
    /// Index into [`MetricPoints::series`].
    pub series: u32,
    /// When.
    pub timestamp: UnixNanos,
    /// Start of the interval the point covers; 0 when not sent.
    pub start: UnixNanos,
    /// True when the value accumulates since `start`: the store turns it into increases.
    pub cumulative: bool,
    /// What was measured.
    pub value: PointValue,
}

/// Value of a data point. All numbers are finite.
#[derive(Debug, Clone, PartialEq)]
pub enum PointValue {
    /// Gauge or sum.
    Number(f64),
    /// `counts[i]` values lie in `(bounds[i-1], bounds[i]]`; one more count than bounds, or none of both.
    Histogram {
        /// Values recorded.
        count: u64,
        /// Their sum, when sent.
        sum: Option<f64>,
        /// Smallest, when sent.
        min: Option<f64>,
        /// Largest, when sent.
        max: Option<f64>,
        /// Ascending upper bounds.
        bounds: Vec<f64>,
        /// Counts per bucket.
        counts: Vec<u64>,
    },
    /// Base-2 exponential histogram.
    ExponentialHistogram {
        /// Values recorded.
        count: u64,
        /// Their sum, when sent.
        sum: Option<f64>,
        /// Smallest, when sent.
        min: Option<f64>,
        /// Largest, when sent.
        max: Option<f64>,
        /// Resolution: base = 2^(2^-scale).
        scale: i32,
        /// Values that are zero.
        zero_count: u64,
        /// Buckets of positive values.
        positive: ExponentialBuckets,
        /// Buckets of negative values.
        negative: ExponentialBuckets,
    },
    /// Count, sum and client-side quantiles (quantile, value), ascending.
    Summary {
        /// Values recorded.
        count: u64,
        /// Their sum.
        sum: f64,
        /// Quantile and value.
        quantiles: Vec<(f64, f64)>,
    },
}

/// `counts[i]` values lie in `(base^(offset+i), base^(offset+i+1)]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExponentialBuckets {
    /// Index of the first bucket.
    pub offset: i32,
    /// Counts per bucket.
    pub counts: Vec<u64>,
}

/// A metric point's example: the span in which it was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExemplarLink {
    /// The span's trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    /// When the example was recorded.
    pub timestamp: UnixNanos,
    /// The row of `metrics` (series and bucket of the point).
    pub metric_row: EventId,
    /// Start of that row's bucket.
    pub bucket: UnixNanos,
}
