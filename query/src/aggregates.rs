//! Continuous aggregates that users declare, in the configuration or with CREATE MATERIALIZED VIEW.
//!
//! ```text
//! CREATE MATERIALIZED VIEW -> statement::ViewCommand -> define::run: right, name, limit
//!   -> check: shape of the statement, plan over empty tables => columns          (shape.rs, check.rs)
//!   -> storage's Aggregates: the control database
//! a statement -> Declared::of(tenant): what it may name, one list throughout     (declared.rs)
//!   -> provider: ContinuousAggregate reads it, pg_catalog and information_schema show it
//! ```

pub(crate) mod check;
pub(crate) mod declared;
pub(crate) mod define;
mod shape;

pub use check::{CheckedAggregate, check_aggregate};
pub use declared::ConfiguredAggregate;
pub use define::check_aggregate_name;
