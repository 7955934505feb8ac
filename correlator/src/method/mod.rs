//! Correlation methods: pure functions, one file each.
//!
//! ```text
//! observations ─> traces (trees, self times, symbols; templates) ─┬─> steps  ─┬─> findings (share) ─> blame ─┐
//!                                                                 └─> delays ─┤                              ├─> study
//!                 points ────────────────────────────────────────> series ────┼──────────────────────────────┘     │
//!                                                                             └─> scan: when something was wrong   v
//!                                          one slot: digest ─> history: the last hour ─┤
//!                          one minute of points ────────────> levels: the last hour ──┘
//!                                          one slot: red, of operations and edges, to be asked for
//!                                                                                        causes, incidents (explanation)
//!
//! traces, observations ─> onsets (of trouble, by asset and kind) ─┬─> lag (which follow one another; discovery) ─┐
//!                      ─> neighbours (by calls, by places) ───────┘                                           │
//! study, changes ─> contrast (what a change changed; versions that serve side by side) ────────────────────────┴─> links
//!                 `─> the same hour by hour, with onsets that are kept for a day: hours
//! ```
//!
//! The files of the first figure say when something was wrong and what caused it; those of the second link single events
//! that say nothing of each other; `structural` says what two linked events mean. `parents` looks up ids of spans for
//! `traces`; where there are many spans, `threads` does two steps at once that do not wait for each other.

mod blame;
pub(crate) mod causes;
mod contrast;
mod delays;
pub(crate) mod digest;
mod discovery;
mod explanation;
mod findings;
pub(crate) mod history;
pub(crate) mod hours;
pub(crate) mod incidents;
mod lag;
pub(crate) mod levels;
pub(crate) mod links;
pub(crate) mod names;
pub(crate) mod neighbours;
pub(crate) mod observations;
mod onsets;
mod parents;
pub(crate) mod red;
mod scan;
pub(crate) mod series;
mod share;
pub(crate) mod slots;
mod steps;
pub(crate) mod structural;
mod study;
pub(crate) mod templates;
mod threads;
mod traces;
mod versions;

#[cfg(test)]
mod tests;
