//! Tables as SQL sees them, over one snapshot of the store.
//!
//! ```text
//! raw::RawTable          stored columns: memtable batches + chunk files, tenant filter always, chunks pruned by time
//!   -> chunk_reader      reads files, at once where the system has them in memory
//!   -> lookup            conditions on ids become conditions on stored columns (bloom filters, statistics)
//!   -> selection         chunks and row groups that have no such texts are left out
//! views::events ...      projections (metrics: aggregation) over it: the columns users know; inlined when planned
//! continuous           named aggregations over these, current through partial results of chunks
//! fetched, system        small tables: what the store keeps beside the rows, what others tell of themselves
//! catalog                schemas public, whence, timescaledb_information, information_schema, pg_catalog
//! relations, pg_*        one model of tables and views, with what the tenant has declared
//! ```

pub(crate) mod catalog;
mod chunk_reader;
mod conclusions;
pub(crate) mod continuous;
pub(crate) mod fetched;
pub(crate) mod information_schema;
pub(crate) mod lookup;
pub(crate) mod pg_catalog;
pub(crate) mod pg_relations;
pub(crate) mod pg_rows;
pub(crate) mod pg_static;
pub(crate) mod pg_supplement;
pub(crate) mod raw;
pub(crate) mod relations;
mod selection;
pub(crate) mod shown;
pub(crate) mod system;
pub(crate) mod table_sizes;
pub(crate) mod user_columns;
pub(crate) mod views;
