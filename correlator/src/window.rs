//! The spans seen lately, within a fixed amount of memory.
//!
//! A ring holds them in the order of arrival and an index finds them by tenant and id; when the ring is full, the
//! oldest arrival makes room. Both are allocated once, at their full size (the system backs the pages as they fill).
//! Whether a span is still there when another one arrives depends on nothing but the spans that arrived in between: a
//! replay after a restart finds what was found before.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;
use whence_schema::{EventId, UnixNanos};

/// A tenant, by its number in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TenantIndex(pub(crate) u32);

/// An asset, by the hash of its name: links only ask whether two assets differ, so names need not be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AssetHash(pub(crate) u64);

impl AssetHash {
    /// Of an `asset_id`. The hash is part of what survives a restart, so it must not change.
    pub(crate) fn of(asset_id: &str) -> Self {
        Self(xxhash_rust::xxh3::xxh3_64(asset_id.as_bytes()))
    }
}

/// What a link needs to know of a span beyond its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Marks(pub(crate) u8);

impl Marks {
    /// Its status is error.
    pub(crate) const FAILED: u8 = 1;
    /// It sent a message.
    pub(crate) const PRODUCER: u8 = 2;
    /// It received a message.
    pub(crate) const CONSUMER: u8 = 4;
    /// Its span link names its own parent.
    pub(crate) const LINKS_PARENT: u8 = 8;
    /// Of a waiting end that came again after a restart: a look-up before the restart may have linked it.
    pub(crate) const REPLAYED: u8 = 16;
    /// Of a waiting end that was restored: a look-up after its state was saved may have linked it.
    pub(crate) const RESTORED: u8 = 32;
    /// Of a waiting end that may have been linked: it is linked only once that was looked up.
    pub(crate) const DOUBTFUL: u8 = Self::REPLAYED | Self::RESTORED;

    /// Marks of a span with these columns.
    pub(crate) fn of_span(status: Option<&str>, kind: Option<&str>) -> Self {
        let failed = if status == Some("error") { Self::FAILED } else { 0 };
        let role = match kind {
            Some("producer") => Self::PRODUCER,
            Some("consumer") => Self::CONSUMER,
            _ => 0,
        };
        Self(failed | role)
    }

    /// True when `mark` is set; of several, any.
    pub(crate) fn has(self, mark: u8) -> bool {
        self.0 & mark != 0
    }

    /// These marks and `mark`.
    pub(crate) fn with(self, mark: u8) -> Self {
        Self(self.0 | mark)
    }
}

/// A span as linking remembers it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) id: EventId,
    pub(crate) start: UnixNanos,
    /// Nanoseconds, never negative.
    pub(crate) duration: i64,
    pub(crate) asset: AssetHash,
    pub(crate) tenant: TenantIndex,
    pub(crate) marks: Marks,
}

/// Bytes one span takes at worst: itself, and up to 4.6 index buckets of five bytes (the index stays under half full,
/// so that it never has to grow to shed the traces of evictions).
const BYTES_PER_SPAN: usize = size_of::<Seen>() + 24;

/// The spans seen lately.
pub(crate) struct Window {
    ring: Vec<Seen>,
    oldest: usize,
    capacity: usize,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    evicted: u64,
}

impl Window {
    /// A window of at most `bytes` bytes, and at least 16 spans.
    pub(crate) fn new(bytes: usize) -> Self {
        let capacity = (bytes / BYTES_PER_SPAN).clamp(16, u32::MAX as usize / 4);
        Self {
            ring: Vec::with_capacity(capacity),
            oldest: 0,
            capacity,
            index: HashTable::with_capacity(2 * capacity),
            hasher: DefaultHashBuilder::default(),
            evicted: 0,
        }
    }

    /// Remembers `seen`; false when it was remembered already, which leaves the first sighting as it is.
    pub(crate) fn insert(&mut self, seen: Seen) -> bool {
        let hash = self.hasher.hash_one((seen.tenant, seen.id));
        if self.index.find(hash, |&slot| self.is_at(slot, seen.tenant, seen.id)).is_some() {
            return false;
        }
        let slot = if self.ring.len() < self.capacity {
            self.ring.push(seen);
            self.ring.len() - 1
        } else {
            self.replace_oldest(seen)
        };
        let (ring, hasher) = (&self.ring, &self.hasher);
        self.index.insert_unique(hash, slot as u32, |&slot| {
            let seen = &ring[slot as usize];
            hasher.hash_one((seen.tenant, seen.id))
        });
        true
    }

    /// The span `id` of `tenant`, if it is remembered.
    pub(crate) fn get(&self, tenant: TenantIndex, id: EventId) -> Option<&Seen> {
        let hash = self.hasher.hash_one((tenant, id));
        let slot = self.index.find(hash, |&slot| self.is_at(slot, tenant, id))?;
        self.ring.get(*slot as usize)
    }

    /// Spans remembered.
    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }

    /// Spans forgotten so far.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    fn is_at(&self, slot: u32, tenant: TenantIndex, id: EventId) -> bool {
        let seen = &self.ring[slot as usize];
        seen.id == id && seen.tenant == tenant
    }

    fn replace_oldest(&mut self, seen: Seen) -> usize {
        let slot = self.oldest;
        let leaving = self.ring[slot];
        let hash = self.hasher.hash_one((leaving.tenant, leaving.id));
        if let Ok(entry) = self.index.find_entry(hash, |&at| at as usize == slot) {
            entry.remove();
        }
        self.ring[slot] = seen;
        self.oldest = (slot + 1) % self.capacity;
        self.evicted += 1;
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(tenant: u32, id: u128) -> Seen {
        Seen {
            id: EventId(id),
            start: UnixNanos(id as i64),
            duration: 1,
            asset: AssetHash::of("a"),
            tenant: TenantIndex(tenant),
            marks: Marks::default(),
        }
    }

    #[test]
    fn the_first_sighting_counts_and_tenants_do_not_see_each_other() {
        let mut window = Window::new(0);
        assert!(window.insert(seen(0, 1)));
        assert!(!window.insert(Seen { duration: 9, ..seen(0, 1) }));
        assert_eq!(window.get(TenantIndex(0), EventId(1)).map(|s| s.duration), Some(1));
        assert!(window.get(TenantIndex(1), EventId(1)).is_none());
        assert!(window.insert(seen(1, 1)));
    }

    #[test]
    fn a_full_window_forgets_the_oldest_arrivals_and_counts_them() {
        let mut window = Window::new(0);
        for id in 0..100_000 {
            assert!(window.insert(seen(0, id)));
        }
        assert_eq!((window.len(), window.evicted()), (16, 99_984));
        for id in 99_900..100_000 {
            assert_eq!(window.get(TenantIndex(0), EventId(id)).is_some(), id >= 99_984, "{id}");
        }
        assert_eq!(window.index.len(), 16);
    }
}
