//! A simulated shop whose telemetry, faults and root causes are known exactly.
//!
//! ```text
//! seed ─> Topology::random ─> FaultPlan (one fault, its change, decoys) ─> GroundTruth
//!             │                    │
//!             v                    v
//!         traffic: walks the call graph, one front-end request at a time
//!             │ spans, logs                │ durations
//!             │                            v
//!             │                     instruments: histograms, gauges, counters
//!             v                            │
//!         export: one OTLP request per service and slice <──┘
//!             │
//!             ├─> Scenario::requests   in order of event time: `whence demo`, `whence eval`
//!             └─> LoadTemplates        encoded once, then restamped in place: `whence load`
//! ```
//!
//! Everything is pure: seeds and times are arguments, there is no clock, no network and no global state, and the same
//! arguments give the same bytes. Nothing in here knows of Whence's own tables, and no part of Whence that looks for
//! causes may depend on this crate: what a detector finds is compared with [`GroundTruth`] from outside.

mod attributes;
mod export;
mod fault;
mod instruments;
mod load;
mod load_points;
mod log_records;
mod random;
mod restamp;
mod scenario;
mod shop;
mod span_attributes;
mod topology;
mod traffic;

pub use export::{Request, Signal};
pub use fault::{ChangeKind, Decoy, FaultKind, GroundTruth};
pub use load::{LoadMix, LoadTemplates};
pub use scenario::{Scenario, ScenarioOptions, ScenarioRequests};
pub use topology::Topology;
