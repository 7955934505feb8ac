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
    pub(crate) watch: WatchStatistics,
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

    /// What was done to find incidents as data arrives.
    pub fn watch(&self) -> &WatchStatistics {
        &self.watch
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

/// Counters of the watcher for incidents since the start, and the current sizes of what it keeps.
#[derive(Debug, Default)]
pub struct WatchStatistics {
    pub(crate) slots: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) thinned_slots: AtomicU64,
    pub(crate) late_slots: AtomicU64,
    pub(crate) skipped_slots: AtomicU64,
    pub(crate) evicted_slots: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) opened: AtomicU64,
    pub(crate) closed: AtomicU64,
    pub(crate) explained: AtomicU64,
    pub(crate) tests: AtomicU64,
    pub(crate) slot_nanos: AtomicU64,
    pub(crate) busy_nanos: AtomicU64,
    pub(crate) waiting_slots: AtomicU64,
    pub(crate) lag_nanos: AtomicU64,
    pub(crate) memory_bytes: AtomicU64,
    pub(crate) minutes: AtomicU64,
    pub(crate) points: AtomicU64,
    pub(crate) evicted_minutes: AtomicU64,
    pub(crate) evicted_names: AtomicU64,
    pub(crate) evicted_templates: AtomicU64,
    pub(crate) hours: AtomicU64,
    pub(crate) thinned_hours: AtomicU64,
    pub(crate) late_hours: AtomicU64,
    pub(crate) skipped_hours: AtomicU64,
    pub(crate) hour_nanos: AtomicU64,
    pub(crate) lag_tests: AtomicU64,
    pub(crate) lag_discoveries: AtomicU64,
    pub(crate) onsets: AtomicU64,
    pub(crate) evicted_onsets: AtomicU64,
}

impl WatchStatistics {
    /// Half minutes of tenants that were read and had events.
    pub fn slots(&self) -> u64 {
        read(&self.slots)
    }

    /// Events read; those near the border of two half minutes twice.
    pub fn events(&self) -> u64 {
        read(&self.events)
    }

    /// Half minutes with so many events that not all traces were read.
    pub fn thinned_slots(&self) -> u64 {
        read(&self.thinned_slots)
    }

    /// Times that events came of half minutes that had been read already; they are not counted.
    pub fn late_slots(&self) -> u64 {
        read(&self.late_slots)
    }

    /// Half minutes that were not read, being too far behind or unreadable.
    pub fn skipped_slots(&self) -> u64 {
        read(&self.skipped_slots)
    }

    /// Half minutes of the last hour that were forgotten for want of memory.
    pub fn evicted_slots(&self) -> u64 {
        read(&self.evicted_slots)
    }

    /// Steps, values, names, messages and series of half minutes that were too many different ones to count.
    pub fn dropped_entries(&self) -> u64 {
        read(&self.dropped)
    }

    /// Incidents opened.
    pub fn opened(&self) -> u64 {
        read(&self.opened)
    }

    /// Incidents closed.
    pub fn closed(&self) -> u64 {
        read(&self.closed)
    }

    /// Times that the cause of an incident was looked for.
    pub fn explained(&self) -> u64 {
        read(&self.explained)
    }

    /// Comparisons made for the last half minute: series times half minutes of the last hour.
    pub fn tests(&self) -> u64 {
        read(&self.tests)
    }

    /// Nanoseconds that reading and comparing the last half minute took.
    pub fn slot_nanos(&self) -> u64 {
        read(&self.slot_nanos)
    }

    /// Nanoseconds of work in all, by the clock: it works on one core.
    pub fn busy_nanos(&self) -> u64 {
        read(&self.busy_nanos)
    }

    /// Half minutes that are complete and wait to be read.
    pub fn waiting_slots(&self) -> u64 {
        read(&self.waiting_slots)
    }

    /// Nanoseconds by which the newest event is later than the earliest half minute that waits.
    pub fn lag_nanos(&self) -> u64 {
        read(&self.lag_nanos)
    }

    /// Bytes of what is known of the last hour, about: counts, names and templates.
    pub fn memory_bytes(&self) -> u64 {
        read(&self.memory_bytes)
    }

    /// Minutes of tenants whose metric points were read and had some of a process's own.
    pub fn minutes(&self) -> u64 {
        read(&self.minutes)
    }

    /// Points of them that were read.
    pub fn points(&self) -> u64 {
        read(&self.points)
    }

    /// Minutes of metric points of the last hour that were forgotten for want of memory.
    pub fn evicted_minutes(&self) -> u64 {
        read(&self.evicted_minutes)
    }

    /// Names of assets, operations and series that were forgotten for want of memory: those not in use any more.
    pub fn evicted_names(&self) -> u64 {
        read(&self.evicted_names)
    }

    /// Log templates that were forgotten for want of memory, likewise; those that were kept are still in the store.
    pub fn evicted_templates(&self) -> u64 {
        read(&self.evicted_templates)
    }

    /// Full hours of tenants whose links were stored.
    pub fn hours(&self) -> u64 {
        read(&self.hours)
    }

    /// Full hours with so many events that not all traces were read.
    pub fn thinned_hours(&self) -> u64 {
        read(&self.thinned_hours)
    }

    /// Full hours with events that came when a later one had been looked at; they have no links.
    pub fn late_hours(&self) -> u64 {
        read(&self.late_hours)
    }

    /// Full hours that could not be read.
    pub fn skipped_hours(&self) -> u64 {
        read(&self.skipped_hours)
    }

    /// Nanoseconds that the last hour took.
    pub fn hour_nanos(&self) -> u64 {
        read(&self.hour_nanos)
    }

    /// Tests of the last hour: pairs of streams of onsets of a day, times limits.
    pub fn lag_tests(&self) -> u64 {
        read(&self.lag_tests)
    }

    /// Pairs of streams of which one was found to follow on the other, of the last hour.
    pub fn lag_discoveries(&self) -> u64 {
        read(&self.lag_discoveries)
    }

    /// Onsets of trouble that were kept.
    pub fn onsets(&self) -> u64 {
        read(&self.onsets)
    }

    /// Onsets that were too many of a tenant to be kept for a day.
    pub fn evicted_onsets(&self) -> u64 {
        read(&self.evicted_onsets)
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
