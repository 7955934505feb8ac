//! Tables of the schema `whence` that tell of the correlator, as the query engine knows them; see `table_functions.rs`.

use std::sync::Arc;
use whence_correlator::{CorrelatorStatistics, correlation_quality, correlation_quality_schema};
use whence_query::SystemTable;

/// All of them.
pub fn all(correlator: Arc<CorrelatorStatistics>) -> Vec<SystemTable> {
    vec![SystemTable {
        name: "correlation_quality",
        description: "How well links and causes are found: numbers of the whole process.",
        schema: correlation_quality_schema(),
        // The same for every tenant.
        rows: Arc::new(move |_| correlation_quality(&correlator).map_err(|error| error.to_string())),
    }]
}
