//! SQL over the store: sessions of one tenant, the tables and functions they see, and the doors they come through.
//!
//! ```text
//! serve::{pgwire, http, flight} -> Session::execute -> statement (parse, allow-list) -> one snapshot
//!   -> provider::catalog (views over stored columns) -> DataFusion, on threads of its own -> QueryStream -> encoded rows
//! ```
//!
//! Reading only: rows enter through `whence_storage::Store::append`, never through SQL. The correlator's table functions and
//! tables are handed in by whoever builds the engine.

mod activity;
mod admission;
mod aggregates;
mod bounded;
mod cache;
mod catalog_dialect;
mod condition;
mod cursor;
mod depth;
mod dialect;
mod engine;
mod error;
mod functions;
mod gap_fill;
mod group_runs;
mod kept_plans;
mod lateral;
mod leaf;
mod link_times;
mod memory;
mod metric_parts;
mod naming;
mod parameter;
mod pause;
mod planning;
mod progress;
mod provider;
pub mod serve;
mod session;
mod settings;
mod statement;
mod statements;
mod stream;
#[cfg(test)]
mod tests;
mod text;
mod times_first;
mod watch;

pub use aggregates::{CheckedAggregate, ConfiguredAggregate, check_aggregate, check_aggregate_name};
pub use cache::levels::CacheStatistics;
pub use engine::{Additions, QueryEngine, QueryOptions, STACK_BYTES};
pub use error::{QueryError, SqlState};
pub use functions::table::{Argument, ArgumentKind, TableFunction, TableFunctionCall, TableFunctionError};
pub use parameter::{Parameter, ParameterType};
pub use progress::Progress;
pub use provider::system::{SystemTable, SystemTableRows};
pub use session::{Answer, Description, Session};
pub use settings::Settings;
pub use statement::{CopyFormat, Parsed, Separated};
pub use stream::QueryStream;
