//! What a chunk says about the texts in it, so that a search skips row groups that cannot hold what it looks for.
//!
//! ```text
//! name, body, payload --tokens.rs--> words, ids --builder.rs--> per row group a dictionary and a filter --> chunk
//! condition --condition.rs--> words and ids that a row needs --------------------------------> row groups to read
//! ```
//!
//! A *token* is a longest run of ASCII letters and digits, in lower case. Telemetry repeats its words and hardly ever its
//! numbers, so they are kept apart, for each row group:
//!
//! * The **dictionary** has every longest run of letters, sorted, and so answers for parts of words too: `%timeou%`.
//!   Left out are runs of `a` to `f` next to a digit, which hexadecimal ids consist of.
//! * The **filter**, a Bloom filter, has every token with a digit in it, whole.
//!
//! Either is left out where it would be too large (the texts of that row group are then read). Both are bytes between the
//! last row group and the footer, where readers of Parquet do not look; the footer's key [`TEXT_INDEX`] says where:
//!
//! ```text
//! "1 " then for each row group, separated by commas:
//!      OFFSET ":" bytes of the dictionary ":" bytes of the filter        in this order in the file; 0 bytes: left out
//! dictionary   XXH3-64 of the rest (little endian), zstd("\n" word "\n" word "\n" ... word "\n")
//! filter       XXH3-64 of the rest (little endian), blocks of 32 bytes: filter.rs
//! ```
//!
//! Chunks without the key are read in full, and so are those with another version before the space.

mod builder;
mod condition;
mod filter;
mod index;
mod tokens;

pub(crate) use builder::TextIndexBuilder;
pub use condition::TextCondition;
pub(crate) use index::{TEXT_INDEX, TextIndex};

#[cfg(test)]
mod tests;
