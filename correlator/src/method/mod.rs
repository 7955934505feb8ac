//! Correlation methods: pure functions, one file each.
//!
//! ```text
//! observations ─> traces (trees, self times, symbols; templates) ─┬─> steps  ─┬─> findings (share) ─> blame ─┐
//!                                                                 └─> delays ─┤                              ├─> study
//!                 points ────────────────────────────────────────> series ────┼──────────────────────────────┘     │
//!                                                                             └─> scan: when something was wrong   v
//!                                          one slot: digest ─> history: the last hour ─┘
//!                                                                                        causes, incidents (explanation)
//! ```
//!
//! The files of the figure say when something was wrong and what caused it; `structural` says what two linked events
//! mean.

mod blame;
pub(crate) mod causes;
mod delays;
pub(crate) mod digest;
mod explanation;
mod findings;
pub(crate) mod history;
pub(crate) mod incidents;
pub(crate) mod observations;
mod scan;
mod series;
mod share;
pub(crate) mod slots;
mod steps;
pub(crate) mod structural;
mod study;
pub(crate) mod templates;
mod traces;

#[cfg(test)]
mod tests;
