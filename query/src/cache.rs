//! Partial aggregates of chunks, kept. A chunk never changes, so what an aggregation makes of one is worked out once.
//!
//! ```text
//! AggregateExec(Final)                     AggregateExec(Final)
//!   AggregateExec(Partial)       =>          UnionExec
//!     memtable + all chunks                    AggregateExec(Partial)   memtable + chunks that a time bound cuts
//!                                              ChunkPartialsExec        chunks whole within the time bounds
//! ```
//!
//! [`KeepPartials`](partials::KeepPartials) changes plans so, [`split`] decides what of a plan can be worked out chunk by
//! chunk, [`ChunkPartialsExec`](chunks::ChunkPartialsExec) looks up and keeps, [`levels`] holds, in memory and in [`redis`]. A partial is known by
//! the chunk's name (which says its content), the tenant, and everything in the plan but the time bounds: a dashboard
//! that moves forward finds all but the newest ones again.
//!
//! [`results`] keeps whole answers, for as long as the snapshot they were given over is the newest.

pub(crate) mod chunks;
mod hour_rows;
mod hours;
pub(crate) mod levels;
pub(crate) mod newest;
pub(crate) mod partials;
mod redis;
pub(crate) mod results;
pub(crate) mod signature;
pub(crate) mod split;
