//! Answers over a real store: rows in memory, the same rows in chunks, and through both doors.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod answers;
mod conclusions;
mod continuous;
mod declared;
mod fixture;
mod flight;
mod http;
mod limits;
mod partials;
mod plans;
mod texts;
mod wire;
