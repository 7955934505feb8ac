//! What Whence's tables are: ids and units, stored columns and their DDL, and the arithmetic of metric buckets.
//!
//! Every other crate speaks in these types. There is no input or output here, no clock and no runtime.
//!
//! ```text
//! otlp-receiver --MappedRequest--> storage --RecordBatch (stored columns)--> query, correlator
//! ```
//!
//! *Stored* columns are what a chunk file holds; `id`, `parent_event_id` and `correlation_id` are arithmetic on them
//! (see [`ids`]) and are computed when read.

pub mod aggregate;
pub mod ids;
mod mapped;
mod signal;
pub mod sketch;
pub mod tables;
mod time;
mod views;

pub use ids::{EventId, RequestDigest, SeriesId, SpanId, TenantId, TraceId, push_hex};
pub use mapped::{
    AssetSighting, Encoding, ExemplarLink, ExponentialBuckets, MappedRequest, MetricPoint, MetricPoints, PointValue,
    Rows, Series,
};
pub use signal::{MetricType, Relation, Severity, Signal};
pub use tables::Table;
pub use time::{BUCKET_NANOS, UnixNanos};
pub use views::{VIEWS, View};
