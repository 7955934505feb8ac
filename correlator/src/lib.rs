//! Links between events, made as they arrive, and the table functions that follow them.
//!
//! ```text
//! storage tail --batches in log order--> runner --> linker --> storage::append_correlations
//!                                                     |
//!                         window (spans seen lately)  +  pending (ends whose span has not been seen)
//!                                                     |
//!                    method/structural (pure): what a pair of ends means: call, failure, link, message, ...
//!
//!              linker --what has arrived--> watch: incidents --> storage::put_incidents
//!
//! snapshot --> functions/{trace, causal_chain, blast_radius, critical_path, service_graph} --> one batch of rows
//!          --> observe (a window and its baseline) --> method/causes (pure) --> functions/{root_causes, ...}
//!                                                 --> method/links (pure) --> functions/temporal_links --> rows, or links
//! ```
//!
//! Each link is made once, when the later of its two ends is seen. A span that may have left the window, or was stored
//! before this process started, is looked up in the store when an end has waited for it for a while.
//!
//! Not for: writing files.

mod columns;
mod confidence;
mod error;
mod functions;
mod linker;
mod method;
mod observe;
mod options;
mod pending;
mod quality;
mod recent;
mod runner;
mod span_links;
mod state;
mod statistics;
mod watch;
mod window;

#[cfg(test)]
mod tests;

pub use confidence::{Calibration, Confidence, Curve, LinkConfidence, calibration, fit};
pub use error::CorrelatorError;
pub use functions::{
    Cause, FoundIncident, FoundLink, attribute_lift, attribute_lift_schema, blast_radius, blast_radius_schema,
    causal_chain, causal_chain_schema, changes, changes_schema, critical_path, critical_path_schema,
    find_false_discoveries, find_incidents, find_links, find_root_causes, incidents, incidents_schema, live_red,
    live_red_schema, log_patterns, log_patterns_schema, placements, placements_schema, root_causes, root_causes_schema,
    service_graph, service_graph_schema, temporal_links, temporal_links_schema, trace, trace_schema,
};
pub use options::{CorrelatorOptions, WatchOptions};
pub use quality::{correlation_quality, correlation_quality_schema};
pub use runner::Correlator;
pub use statistics::{CorrelatorStatistics, WatchStatistics};
pub use watch::{LiveRed, Watcher};
