//! The doors: PostgreSQL wire and HTTP.

pub mod http;
pub mod pgwire;
mod text;
