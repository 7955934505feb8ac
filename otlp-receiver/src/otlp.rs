//! OTLP's messages as views of a request's bytes. Reading one checks all of it; what it borrows lives as long as the body.
//!
//! The structs are filled anew for every message so that their lists keep their room: after the first few items of a
//! request, reading allocates nothing.

mod data_point;
mod envelope;
mod log_record;
mod metric;
#[cfg(test)]
pub(crate) mod samples;
mod span;
mod value;

pub(crate) use data_point::{Buckets, DataPoint, Number};
pub(crate) use envelope::{Envelope, Layout, ResourceItems, Scope, ScopeItems};
pub(crate) use log_record::LogRecord;
pub(crate) use metric::{Metric, MetricKind};
pub(crate) use span::{Event, Span};
pub(crate) use value::{AnyValue, Attribute, items_of, members_of};
