//! Where partials are kept: in memory, and in Redis when there is one.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use moka::sync::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use whence_schema::TenantId;
use xxhash_rust::xxh3::xxh3_128;

/// Bytes beside the columns that an entry takes.
const ENTRY_BYTES: usize = 256;

/// Which partial.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PartialKey {
    pub(crate) tenant: TenantId,
    /// Name of the chunk, which says its content.
    chunk: Arc<str>,
    /// Digest of what is computed.
    computation: u128,
}

impl PartialKey {
    /// `chunk` is a name of content that never changes, `computation` the whole text of what is done with it.
    pub(crate) fn new(tenant: &TenantId, chunk: &str, computation: &str) -> Self {
        Self { tenant: tenant.clone(), chunk: chunk.into(), computation: xxh3_128(computation.as_bytes()) }
    }
}

/// Partial results: what an aggregation hands to its last step.
pub(crate) type Partial = Arc<Vec<RecordBatch>>;

/// All levels.
#[derive(Debug)]
pub(crate) struct PartialCache {
    memory: Cache<PartialKey, Partial>,
    most_bytes: usize,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl PartialCache {
    /// A cache of `memory_bytes`; of zero keeps nothing.
    pub(crate) fn new(memory_bytes: usize) -> Self {
        let memory = Cache::builder()
            .max_capacity(memory_bytes as u64)
            .weigher(|_, partial: &Partial| u32::try_from(bytes_of(partial) + ENTRY_BYTES).unwrap_or(u32::MAX))
            .build();
        Self { memory, most_bytes: memory_bytes / 16, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// Bytes that one partial may have.
    pub(crate) fn most_bytes(&self) -> usize {
        self.most_bytes
    }

    /// Partials that were found, ever.
    pub(crate) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    pub(crate) fn get(&self, key: &PartialKey, schema: &SchemaRef) -> Option<Partial> {
        let found = self.memory.get(key).filter(|partial| partial.iter().all(|batch| batch.schema_ref() == schema));
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    pub(crate) fn put(&self, key: PartialKey, partial: Partial) {
        self.memory.insert(key, partial);
    }
}

pub(crate) fn bytes_of(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::get_array_memory_size).sum()
}
