//! The tables: stored columns as Arrow schemas, with the DDL that users see beside each (`tables/*.sql`).

pub mod correlations;
pub mod events;
pub mod metrics;

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use std::sync::Arc;

/// The hypertables: partitioned by day and hash of the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Spans, span events and log records.
    Events,
    /// Values per series and bucket.
    Metrics,
    /// Directed links between events.
    Correlations,
}

impl Table {
    /// Every hypertable.
    pub const ALL: [Self; 3] = [Self::Events, Self::Metrics, Self::Correlations];

    /// Name in SQL and of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Metrics => "metrics",
            Self::Correlations => "correlations",
        }
    }

    /// Stored columns. Every table has `tenant_id` first and `timestamp` second.
    pub fn stored_schema(self) -> SchemaRef {
        match self {
            Self::Events => events::stored_schema(),
            Self::Metrics => metrics::stored_schema(),
            Self::Correlations => correlations::stored_schema(),
        }
    }

    /// The table as its users know it.
    pub fn ddl(self) -> &'static str {
        match self {
            Self::Events => include_str!("tables/events.sql"),
            Self::Metrics => include_str!("tables/metrics.sql"),
            Self::Correlations => include_str!("tables/correlations.sql"),
        }
    }
}

/// Type of every point in time in the tables: microseconds, as in PostgreSQL, in UTC.
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")))
}
