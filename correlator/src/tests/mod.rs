//! Tests across the modules: linking in any order, against a model, through a real store; and the table functions.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod functions;
mod hours;
mod linking;
mod observing;
mod property;
pub(crate) mod rows;
mod temporal;
mod through_store;
mod watching;
mod watching_bounds;
mod watching_metrics;
