//! Table functions: plain blocking functions from a snapshot to one batch of rows. None of them changes anything.
//!
//! ```text
//! trace          one trace, depth first                             span_tree
//! causal_chain   from an event to its cause, step by step           span_tree, links across traces
//! critical_path  which spans decided how long a trace took          span_tree
//! blast_radius   from an event to all that its trouble reached      span_tree, links across traces
//! service_graph  who calls whom, how often, how well                scan of a time range
//! placements     which assets run where                            scan of a time range
//! root_causes    what caused the trouble of a window                observe, method/causes
//! incidents      when something was wrong                           observe, method/incidents
//! temporal_links trouble that keeps following other trouble         observe, method/links
//! changes        deployments, flags and other changes               observe
//! log_patterns   what messages are alike, and how many of each      observe, method/templates
//! attribute_lift which values are over-represented in bad events    two scans of a time range
//! live_red       rate, errors and duration of the last hour          what the watcher keeps
//! ```

mod attribute_lift;
mod blast_radius;
mod causal_chain;
mod changes;
mod critical_path;
pub(crate) mod detail;
mod incidents;
mod live_red;
mod log_patterns;
mod placements;
mod root_causes;
pub(crate) mod scan;
mod service_graph;
mod span_tree;
mod step;
pub(crate) mod temporal_links;
mod trace;

pub use attribute_lift::{attribute_lift, attribute_lift_schema};
pub use blast_radius::{blast_radius, blast_radius_schema};
pub use causal_chain::{causal_chain, causal_chain_schema};
pub use changes::{changes, changes_schema};
pub use critical_path::{critical_path, critical_path_schema};
pub(crate) use incidents::names;
pub use incidents::{FoundIncident, find_incidents, incidents, incidents_schema};
pub use live_red::{live_red, live_red_schema};
pub use log_patterns::{log_patterns, log_patterns_schema};
pub use placements::{placements, placements_schema};
pub(crate) use root_causes::ranked;
pub use root_causes::{Cause, find_root_causes, root_causes, root_causes_schema};
pub use service_graph::{service_graph, service_graph_schema};
pub use temporal_links::{FoundLink, find_false_discoveries, find_links, temporal_links, temporal_links_schema};
pub use trace::{trace, trace_schema};

use crate::error::CorrelatorError;
use crate::functions::scan::Range;
use arrow::array::{
    ArrayRef, FixedSizeBinaryBuilder, Float32Array, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, StringViewArray, TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use std::sync::Arc;
use whence_schema::tables::timestamp_type;
use whence_schema::{EventId, UnixNanos};
use whence_storage::StorageError;

/// Columns of a result, from any rows.
struct Columns<'a, R>(&'a [R]);

impl<R> Columns<'_, R> {
    fn ids(&self, of: impl Fn(&R) -> Option<EventId>) -> ArrayRef {
        let mut builder = FixedSizeBinaryBuilder::with_capacity(self.0.len(), 16);
        for row in self.0 {
            match of(row) {
                // The width is 16 by construction, so appending cannot fail; a null keeps the columns aligned.
                Some(id) if builder.append_value(id.to_bytes()).is_ok() => {}
                _ => builder.append_null(),
            }
        }
        Arc::new(builder.finish())
    }

    fn texts<'t>(&'t self, of: impl Fn(&'t R) -> Option<&'t str>) -> ArrayRef {
        Arc::new(self.0.iter().map(of).collect::<StringViewArray>())
    }

    fn times(&self, of: impl Fn(&R) -> UnixNanos) -> ArrayRef {
        let micros = self.0.iter().map(|row| of(row).micros());
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
    }

    fn optional_times(&self, of: impl Fn(&R) -> Option<UnixNanos>) -> ArrayRef {
        let micros = self.0.iter().map(|row| of(row).map(UnixNanos::micros));
        Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
    }

    /// Lists of ids, none of them null.
    fn id_lists<'t>(&'t self, of: impl Fn(&'t R) -> &'t [EventId]) -> ArrayRef {
        let offsets = OffsetBuffer::from_lengths(self.0.iter().map(|row| of(row).len()));
        let ids: Vec<EventId> = self.0.iter().flat_map(|row| of(row).iter().copied()).collect();
        let items = Columns(&ids).ids(|id| Some(*id));
        Arc::new(ListArray::new(id_item(), offsets, items, None))
    }

    /// Lists of texts, none of them null.
    fn text_lists<'t>(&'t self, of: impl Fn(&'t R) -> &'t [String]) -> ArrayRef {
        let offsets = OffsetBuffer::from_lengths(self.0.iter().map(|row| of(row).len()));
        let texts: StringArray = self.0.iter().flat_map(|row| of(row).iter().map(Some)).collect();
        Arc::new(ListArray::new(text_item(), offsets, Arc::new(texts), None))
    }

    fn int32s(&self, of: impl Fn(&R) -> i32) -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(self.0.iter().map(of)))
    }

    fn int64s(&self, of: impl Fn(&R) -> Option<i64>) -> ArrayRef {
        Arc::new(self.0.iter().map(of).collect::<Int64Array>())
    }

    fn float32s(&self, of: impl Fn(&R) -> f32) -> ArrayRef {
        Arc::new(Float32Array::from_iter_values(self.0.iter().map(of)))
    }

    fn optional_float32s(&self, of: impl Fn(&R) -> Option<f32>) -> ArrayRef {
        Arc::new(self.0.iter().map(of).collect::<Float32Array>())
    }

    fn optional_float64s(&self, of: impl Fn(&R) -> Option<f64>) -> ArrayRef {
        Arc::new(self.0.iter().map(of).collect::<Float64Array>())
    }

    fn float64s(&self, of: impl Fn(&R) -> f64) -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(self.0.iter().map(of)))
    }
}

pub(crate) fn batch(
    what: &'static str,
    schema: SchemaRef,
    columns: Vec<ArrayRef>,
) -> Result<RecordBatch, CorrelatorError> {
    RecordBatch::try_new(schema, columns).map_err(|source| CorrelatorError::Arrow { what, source })
}

fn id_field(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::FixedSizeBinary(16), nullable)
}

fn id_item() -> FieldRef {
    Arc::new(id_field("item", true))
}

fn text_item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Utf8, true))
}

fn text_list_field(name: &str) -> Field {
    Field::new(name, DataType::List(text_item()), false)
}

fn id_list_field(name: &str) -> Field {
    Field::new(name, DataType::List(id_item()), false)
}

fn text_field(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Utf8View, nullable)
}

fn time_field(name: &str) -> Field {
    Field::new(name, timestamp_type(), false)
}

/// Longest window that can be asked about, in nanoseconds.
const LONGEST_WINDOW: i64 = 24 * 3_600 * 1_000_000_000;

/// The window from `from` until before `to`.
fn window(from: UnixNanos, to: UnixNanos) -> Result<Range, CorrelatorError> {
    let refuse = |problem: &str| Err(CorrelatorError::Window { problem: problem.to_owned() });
    if from >= to {
        return refuse(
            "the first time must be before the second: the window is from the first until before the second",
        );
    }
    if to.0.saturating_sub(from.0) > LONGEST_WINDOW {
        return refuse("the window is longer than 24 hours: ask for the time in which the trouble began");
    }
    Ok(Range { from, to })
}

fn storage(what: &'static str) -> impl Fn(StorageError) -> CorrelatorError {
    move |source| CorrelatorError::Storage { what, source: Box::new(source) }
}
