//! Tables of the schema `whence` that tell of the correlator, as the query engine knows them; see `table_functions.rs`.

use std::sync::Arc;
use whence_correlator::{
    CorrelatorStatistics, LiveRed, correlation_quality, correlation_quality_schema, live_red, live_red_schema,
};
use whence_query::SystemTable;

/// All of them.
pub fn all(correlator: Arc<CorrelatorStatistics>, live: Arc<LiveRed>) -> Vec<SystemTable> {
    vec![
        SystemTable {
            name: "correlation_quality",
            description: "How well links and causes are found: numbers of the whole process.",
            schema: correlation_quality_schema(),
            // The same for every tenant.
            rows: Arc::new(move |_| correlation_quality(&correlator).map_err(|error| error.to_string())),
        },
        SystemTable {
            name: "live_red",
            description: "Rate, errors and duration of operations and edges in the last hour, by half minute.",
            schema: live_red_schema(),
            rows: Arc::new(move |tenant| live_red(&live, tenant).map_err(|error| error.to_string())),
        },
    ]
}
