//! The fixed shop of `whence demo` and `whence load`: one plan of services that a seed varies, one fault at a time,
//! and no queues, so that a trace costs little.

pub(crate) mod export;
pub(crate) mod fault;
pub(crate) mod instruments;
mod log_records;
mod plan;
pub(crate) mod scenario;
mod span_attributes;
pub(crate) mod topology;
pub(crate) mod traffic;
