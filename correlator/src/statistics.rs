//! What the correlator did so far, readable from anywhere at any time.

use std::sync::atomic::{AtomicU64, Ordering};
use whence_schema::Relation;
use whence_schema::tables::correlations::CorrelationRow;

/// Counters since the start, and the current sizes of what is kept.
#[derive(Debug, Default)]
pub struct CorrelatorStatistics {
    links: [AtomicU64; Relation::ALL.len()],
    pub(crate) repeated: AtomicU64,
    pub(crate) window: AtomicU64,
    pub(crate) evicted: AtomicU64,
    pub(crate) pending: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) cut: AtomicU64,
    pub(crate) looked_up: AtomicU64,
    pub(crate) found: AtomicU64,
    pub(crate) lookup_failures: AtomicU64,
    pub(crate) lag_nanos: AtomicU64,
}

impl CorrelatorStatistics {
    /// Links stored, of one relation.
    pub fn links(&self, relation: Relation) -> u64 {
        read(&self.links[relation as usize])
    }

    /// Spans that came again and were not linked again.
    pub fn repeated_spans(&self) -> u64 {
        read(&self.repeated)
    }

    /// Spans in the window now.
    pub fn window_spans(&self) -> u64 {
        read(&self.window)
    }

    /// Spans that left the window; they are looked up in the store when wanted.
    pub fn evicted_spans(&self) -> u64 {
        read(&self.evicted)
    }

    /// Ends that wait for a span now.
    pub fn pending_ends(&self) -> u64 {
        read(&self.pending)
    }

    /// Waiting ends dropped for want of memory: should their span arrive, the link will be missing.
    pub fn dropped_ends(&self) -> u64 {
        read(&self.dropped)
    }

    /// Waiting ends that did not fit into the state that survives a restart, when it was last saved.
    pub fn unsaved_ends(&self) -> u64 {
        read(&self.cut)
    }

    /// Spans looked up in the store.
    pub fn looked_up_spans(&self) -> u64 {
        read(&self.looked_up)
    }

    /// Spans found by looking up.
    pub fn found_spans(&self) -> u64 {
        read(&self.found)
    }

    /// Look-ups the store did not answer; each is tried again a few times.
    pub fn lookup_failures(&self) -> u64 {
        read(&self.lookup_failures)
    }

    /// Nanoseconds from accepting to linking, of the last batch.
    pub fn lag_nanos(&self) -> u64 {
        read(&self.lag_nanos)
    }

    pub(crate) fn count_links(&self, rows: &[CorrelationRow]) {
        for row in rows {
            self.links[row.relation as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn add(counter: &AtomicU64, value: u64) {
        counter.fetch_add(value, Ordering::Relaxed);
    }

    pub(crate) fn set(gauge: &AtomicU64, value: u64) {
        gauge.store(value, Ordering::Relaxed);
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
