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
mod incidents;
mod large_log;
mod log_faults;
mod lookup;
mod model;
mod onsets;
mod store;
mod throughput;
mod world;

/// How many cases a property test runs: so many, or `PROPTEST_CASES` for a soak.
fn cases(usual: u32) -> proptest::test_runner::Config {
    let cases = std::env::var("PROPTEST_CASES").map_or(usual, |cases| cases.parse().expect("PROPTEST_CASES: a number"));
    proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() }
}
