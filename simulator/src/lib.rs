//! Simulated systems whose telemetry, faults and root causes are known exactly.
//!
//! ```text
//! (purpose, seed) ─> World (random topology) ─> Plan (faults, changes, decoys, spikes) ─> GroundTruth
//!                        │                          │
//!                        v                          v
//!                    engine: event by event, requests wait for workers, processors, connections, answers
//!                        │
//!                        v
//!                    telemetry: spans, log records, metrics ─> export: OTLP requests in order of time
//! ```
//!
//! # Scenarios
//!
//! ```no_run
//! use whence_simulator::{FaultChoice, FaultKind, Purpose, Scenario, ScenarioOptions};
//!
//! let options = ScenarioOptions { faults: FaultChoice::Kinds(vec![FaultKind::Cpu]), ..Default::default() };
//! let scenario = Scenario::new(Purpose::Evaluation, 7, 1_790_000_000_000_000_000, options);
//! for fault in &scenario.ground_truth().faults {
//!     println!("{} at {} from {}", fault.kind.name(), fault.root.asset, fault.onset_unix_nanos);
//! }
//! for request in scenario.requests() {
//!     // request.signal, request.body: an encoded Export*ServiceRequest
//! }
//! ```
//!
//! [`Purpose`] keeps apart what must not meet: seeds, words, families of topologies and ranges of the parameters of
//! faults of calibration and evaluation are disjoint. [`write_recording`] writes a scenario in the shape of labelled
//! recordings of real systems, and [`Labels`] reads the labels of both.
//!
//! A fault acts by its mechanism: nothing is written into the telemetry that did not come about in the simulation.
//! What a fault reaches ([`InjectedFault::affected`]) follows from the topology alone; a weak fault may be felt by
//! fewer.
//!
//! # The shop
//!
//! [`ShopScenario`] (`whence demo`) and [`LoadTemplates`] (`whence load`) are of a fixed shop without queues, which
//! costs less and tells one story well.
//!
//! Everything is pure: seeds and times are arguments, there is no clock, no network and no global state, and the same
//! arguments give the same bytes. Nothing in here knows of Whence's own tables, and no part of Whence that looks for
//! causes may depend on this crate: what a detector finds is compared with the truth from outside.

mod attributes;
mod data_points;
mod engine;
mod export;
mod fault;
mod load;
mod load_points;
mod purpose;
mod random;
mod recording;
mod restamp;
mod scenario;
mod shop;
mod telemetry;
mod truth;
mod vocabulary;
mod world;

pub use export::{Request, Signal};
pub use fault::FaultChoice;
pub use load::{LoadMix, LoadTemplates};
pub use purpose::{Family, Purpose};
pub use recording::{FaultLabel, Labels, write_recording};
pub use scenario::{Scenario, ScenarioOptions, ScenarioRequests};
pub use shop::fault::{ShopChange, ShopDecoy, ShopFault, ShopTruth};
pub use shop::scenario::{ShopOptions, ShopRequests, ShopScenario};
pub use shop::topology::Topology as ShopTopology;
pub use truth::{AssetKind, Change, ChangeKind, Decoy, FaultKind, Gap, GroundTruth, InjectedFault, Root};
