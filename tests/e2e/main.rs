//! End to end: the real binary, real clients, real recordings. One test binary, so that nothing links twice; it knows
//! Whence only from outside (HTTP, the command line, files).
//!
//! `server` starts Whence, `http` and `protobuf` speak to it, `recording` counts a recording without it; each other
//! module is one topic.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod aggregates;
mod backup;
mod cache;
mod catalog;
mod causes;
mod clients;
mod crash;
mod delete;
mod demo;
mod drivers;
mod flight;
mod foreign;
mod full_disk;
mod golden;
mod grafana;
mod hostile;
mod hours;
mod http;
mod incidents;
mod keys;
mod kills;
mod links;
mod machine;
mod object_store;
mod operation;
mod overload;
mod postgres;
mod protobuf;
mod protocol;
mod recording;
mod recordings;
mod redis;
mod s3;
mod server;
mod sql;
mod tail;
