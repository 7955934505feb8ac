//! Table functions: plain blocking functions from a snapshot to one batch of rows. None of them changes anything.
//!
//! ```text
//! trace          one trace, depth first                             span_tree
//! causal_chain   from an event to its cause, step by step           span_tree, links across traces
//! service_graph  who calls whom, how often, how well                scan of a time range
//! ```

mod causal_chain;
mod detail;
pub(crate) mod scan;
mod service_graph;
mod span_tree;
mod trace;

pub use causal_chain::{causal_chain, causal_chain_schema};
pub use service_graph::{service_graph, service_graph_schema};
pub use trace::{trace, trace_schema};

use crate::error::CorrelatorError;
use arrow::array::{
    ArrayRef, FixedSizeBinaryBuilder, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, SchemaRef};
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

    fn int32s(&self, of: impl Fn(&R) -> i32) -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(self.0.iter().map(of)))
    }

    fn int64s(&self, of: impl Fn(&R) -> Option<i64>) -> ArrayRef {
        Arc::new(self.0.iter().map(of).collect::<Int64Array>())
    }

    fn float32s(&self, of: impl Fn(&R) -> f32) -> ArrayRef {
        Arc::new(Float32Array::from_iter_values(self.0.iter().map(of)))
    }

    fn float64s(&self, of: impl Fn(&R) -> f64) -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(self.0.iter().map(of)))
    }
}

fn batch(what: &'static str, schema: SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch, CorrelatorError> {
    RecordBatch::try_new(schema, columns).map_err(|source| CorrelatorError::Arrow { what, source })
}

fn id_field(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::FixedSizeBinary(16), nullable)
}

fn text_field(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Utf8View, nullable)
}

fn time_field(name: &str) -> Field {
    Field::new(name, timestamp_type(), false)
}

fn storage(what: &'static str) -> impl Fn(StorageError) -> CorrelatorError {
    move |source| CorrelatorError::Storage { what, source: Box::new(source) }
}
