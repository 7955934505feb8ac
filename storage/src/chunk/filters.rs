//! Bloom filters of chunks, kept in memory once they were read: a look-up by id asks those of all chunks, and opening a file
//! takes longer than all the rest of it.

use super::Chunk;
use crate::StorageError;
use moka::sync::Cache;
use parquet::bloom_filter::Sbbf;
use std::sync::{Arc, LazyLock};

/// Bytes of filters that are kept, of all stores of a process: those of one column of some 30 million rows.
const MOST_BYTES: u64 = 32 << 20;
/// Bytes of an entry beside its filters, roughly.
const ENTRY_BYTES: usize = 128;
/// Bytes of a block, the unit of a filter.
const BLOCK_BYTES: usize = 32;

/// Those of one column, by row group; `None` where there is none.
pub(crate) type Filters = Arc<[Option<Sbbf>]>;

/// By the number of the chunk and the position of the column.
static KEPT: LazyLock<Cache<(u64, usize), Filters>> =
    LazyLock::new(|| Cache::builder().max_capacity(MOST_BYTES).weigher(|_, filters: &Filters| weight(filters)).build());

fn weight(filters: &Filters) -> u32 {
    let blocks: usize = filters.iter().flatten().map(Sbbf::num_blocks).sum();
    u32::try_from(ENTRY_BYTES + blocks * BLOCK_BYTES).unwrap_or(u32::MAX)
}

impl Chunk {
    /// The bloom filters of a column. Blocks when they are not in memory.
    pub(crate) fn filters(&self, column: usize) -> Result<Filters, StorageError> {
        let key = (self.number, column);
        if let Some(filters) = KEPT.get(&key) {
            return Ok(filters);
        }
        let groups = self.footer()?.metadata().row_groups();
        let file = self.open()?;
        let read = |group: &parquet::file::metadata::RowGroupMetaData| {
            Sbbf::read_from_column_chunk(group.column(column), &file).map_err(StorageError::chunk(&self.path))
        };
        let filters: Filters = groups.iter().map(read).collect::<Result<_, _>>()?;
        KEPT.insert(key, Arc::clone(&filters));
        Ok(filters)
    }
}
