//! The store against a model, over crashes, reopening, duplicates and damage.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod backup;
mod bucket;
mod compaction;
mod crash;
mod erase;
mod faults;
mod faulty_disk;
mod fixtures;
mod log_faults;
mod lookup;
mod model;
mod store;
mod throughput;
mod world;
