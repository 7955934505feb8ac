//! Where partials are kept: in memory, and in Redis when there is one.

use super::redis::SharedLevel;
use crate::error::QueryError;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use moka::sync::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use whence_schema::TenantId;
use xxhash_rust::xxh3::xxh3_128;

/// Bytes beside the columns that an entry takes.
const ENTRY_BYTES: usize = 256;

/// How many partials are known to be too large.
const TOO_LARGE_REMEMBERED: u64 = 10_000;

/// Which partial.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PartialKey {
    pub(super) tenant: TenantId,
    /// Name of the chunk, which says its content.
    pub(super) chunk: Arc<str>,
    /// Digest of what is computed.
    pub(super) computation: u128,
}

impl PartialKey {
    /// `chunk` is a name of content that never changes, `computation` the whole text of what is done with it.
    pub(crate) fn new(tenant: &TenantId, chunk: &str, computation: &str) -> Self {
        Self { tenant: tenant.clone(), chunk: chunk.into(), computation: xxh3_128(computation.as_bytes()) }
    }

    /// Of one hour of the chunk, counted from 1970.
    pub(super) fn of_hour(&self, hour: i64) -> Self {
        let computation = xxh3_128(&[&self.computation.to_be_bytes()[..], &hour.to_be_bytes()[..]].concat());
        Self { computation, ..self.clone() }
    }
}

/// Partial results: what an aggregation hands to its last step.
pub(crate) type Partial = Arc<Vec<RecordBatch>>;

/// Where a partial was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Memory,
    Redis,
}

/// How well the cache does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStatistics {
    /// Whole answers given again.
    pub answer_hits: u64,
    /// Partials found in memory.
    pub memory_hits: u64,
    /// Partials found in Redis.
    pub redis_hits: u64,
    /// Partials that had to be worked out.
    pub misses: u64,
    /// Calls of Redis that failed.
    pub redis_errors: u64,
    /// Partials in memory.
    pub entries: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// All levels.
#[derive(Debug)]
pub(crate) struct PartialCache {
    memory: Cache<PartialKey, Partial>,
    /// What turned out too large to keep.
    too_large: Cache<PartialKey, ()>,
    shared: Option<Arc<SharedLevel>>,
    most_bytes: usize,
    memory_hits: AtomicU64,
    redis_hits: AtomicU64,
    misses: AtomicU64,
}

impl PartialCache {
    /// A cache of `memory_bytes`, and behind it the Redis server at `redis_url`.
    pub(crate) fn new(memory_bytes: usize, redis_url: Option<&str>) -> Result<Self, QueryError> {
        let memory = Cache::builder()
            .max_capacity(memory_bytes as u64)
            .weigher(|_, partial: &Partial| u32::try_from(bytes_of(partial) + ENTRY_BYTES).unwrap_or(u32::MAX))
            .support_invalidation_closures()
            .build();
        Ok(Self {
            memory,
            too_large: Cache::new(TOO_LARGE_REMEMBERED),
            shared: redis_url.map(SharedLevel::new).transpose()?.map(Arc::new),
            most_bytes: memory_bytes / 16,
            memory_hits: AtomicU64::new(0),
            redis_hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        })
    }

    /// Bytes that one partial may have.
    pub(crate) fn most_bytes(&self) -> usize {
        self.most_bytes
    }

    pub(crate) fn statistics(&self) -> CacheStatistics {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheStatistics {
            answer_hits: 0,
            memory_hits: of(&self.memory_hits),
            redis_hits: of(&self.redis_hits),
            misses: of(&self.misses),
            redis_errors: self.shared.as_ref().map_or(0, |shared| shared.errors()),
            entries: self.memory.entry_count(),
            bytes: self.memory.weighted_size(),
        }
    }

    pub(crate) async fn get(&self, key: &PartialKey, schema: &SchemaRef) -> Option<(Partial, Level)> {
        let fits = |partial: &Partial| partial.iter().all(|batch| batch.schema_ref() == schema);
        if let Some(partial) = self.memory.get(key).filter(fits) {
            self.memory_hits.fetch_add(1, Ordering::Relaxed);
            return Some((partial, Level::Memory));
        }
        if let Some(shared) = &self.shared
            && let Some(partial) = shared.get(key, schema).await
        {
            self.redis_hits.fetch_add(1, Ordering::Relaxed);
            self.memory.insert(key.clone(), partial.clone());
            return Some((partial, Level::Redis));
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// The same without asking Redis.
    pub(crate) fn get_in_memory(&self, key: &PartialKey, schema: &SchemaRef) -> Option<Partial> {
        let found = self.memory.get(key).filter(|kept| kept.iter().all(|batch| batch.schema_ref() == schema));
        let counter = if found.is_some() { &self.memory_hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Keeps what is quicker read again than sent to Redis and back.
    pub(crate) fn put_in_memory(&self, key: PartialKey, partial: Partial) {
        self.memory.insert(key, partial);
    }

    /// Remembers that a partial is too large to be kept.
    pub(crate) fn put_too_large(&self, key: PartialKey) {
        self.too_large.insert(key, ());
    }

    pub(crate) fn is_too_large(&self, key: &PartialKey) -> bool {
        self.too_large.contains_key(key)
    }

    pub(crate) fn put(&self, key: PartialKey, partial: Partial) {
        if let Some(shared) = &self.shared {
            shared.put(&key, &partial);
        }
        self.memory.insert(key, partial);
    }

    /// Removes everything of a tenant, so that nothing of rows that were erased is left.
    pub(crate) async fn forget(&self, tenant: &TenantId) -> Result<(), QueryError> {
        let gone = tenant.clone();
        // Entries are looked at again when they are read, so from now on none of them is found.
        let _ = self.memory.invalidate_entries_if(move |key, _| key.tenant == gone);
        self.memory.run_pending_tasks();
        match &self.shared {
            Some(shared) => shared.forget(tenant).await,
            None => Ok(()),
        }
    }
}

pub(crate) fn bytes_of(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::get_array_memory_size).sum()
}
