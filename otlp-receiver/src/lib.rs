//! OTLP in: from bytes on a socket to rows in the store.
//!
//! ```text
//! receive::grpc, receive::http      one request, decompressed, within its size limits
//!   -> decode, otlp                 JSON to protobuf; views of the messages, which borrow from the bytes
//!   -> map::{spans,logs,metrics}    validated, mapped to stored columns once; what is wrong is refused with its reason
//!   -> Store::append                duplicate check, log, fsync, memtable
//!   -> answer                       success, partial success, or an error the sender can act on
//! ```
//!
//! [`ingest::Ingest::accept`] is the one function all transports call. `map` has no runtime and no clock: replay of the
//! log calls it with the logged receive time and gets the same rows.
//!
//! Not for: queries, links between events, or anything that reads the store.

mod decode;
#[cfg(feature = "transport")]
pub mod export;
#[cfg(feature = "transport")]
mod ingest;
mod map;
mod otlp;
mod protobuf;
#[cfg(feature = "transport")]
mod receive;
mod rejection;
#[cfg(feature = "transport")]
mod wire;

pub use decode::DecodeError;
#[cfg(feature = "transport")]
pub use ingest::{Ingest, IngestError, IngestStatistics, Ingested};
pub use map::{Mapper, Rule, default_rules};
pub use protobuf::WireError;
#[cfg(feature = "transport")]
pub use receive::{ReceiverLimits, ReceiverOptions, serve_grpc, serve_http};
pub use rejection::Rejections;
