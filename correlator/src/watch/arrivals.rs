//! Which slots of time events and metric points have arrived of: what the linker tells the watcher, in passing.

use crate::method::slots::GridSlot;
use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use whence_schema::tables::events::column;
use whence_schema::{TenantId, UnixNanos};

/// Slots of one tenant that are noted at most until the watcher takes them, a month's: beyond that, earlier ones go.
const MOST_SLOTS: usize = 100_000;

/// What has arrived of one tenant in one table.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Arrived {
    /// Slots of its rows; of metrics those with which their minutes end.
    pub(crate) slots: BTreeSet<GridSlot>,
    /// Latest time of an event or point that is not after the time at which it arrived; `None` without one.
    pub(crate) newest: Option<UnixNanos>,
    /// When the last of it arrived.
    pub(crate) at: UnixNanos,
    /// Slots that were too many.
    pub(crate) skipped: u64,
}

impl Arrived {
    /// Adds events with these times, in microseconds since 1970, that arrived at `now`.
    pub(crate) fn note(&mut self, micros: impl Iterator<Item = i64>, now: UnixNanos) {
        // Events of one request are near each other: few of them are of another slot than the one before.
        let mut last: Option<(GridSlot, i64, i64)> = None;
        for micros in micros {
            let time = micros.saturating_mul(1_000);
            self.advance(time, now);
            if last.is_none_or(|(_, start, end)| time < start || time >= end) {
                let slot = GridSlot::at(UnixNanos(time));
                self.slots.insert(slot);
                last = Some((slot, slot.start().0, slot.end().0));
            }
        }
        self.end(now);
    }

    /// Adds metric points of these times that arrived at `now`.
    pub(crate) fn note_points(&mut self, times: impl Iterator<Item = UnixNanos>, now: UnixNanos) {
        for time in times {
            self.advance(time.0, now);
            self.slots.insert(GridSlot::last_of_minute(time));
        }
        self.end(now);
    }

    fn advance(&mut self, time: i64, now: UnixNanos) {
        if time <= now.0 && self.newest.is_none_or(|newest| time > newest.0) {
            self.newest = Some(UnixNanos(time));
        }
    }

    fn end(&mut self, now: UnixNanos) {
        self.at = now;
        while self.slots.len() > MOST_SLOTS {
            self.slots.pop_first();
            self.skipped += 1;
        }
    }
}

/// What has arrived of one tenant since the watcher looked last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arriving {
    pub(crate) events: Arrived,
    pub(crate) points: Arrived,
}

/// What has arrived of each tenant since the watcher looked last.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    tenants: Mutex<HashMap<TenantId, Arriving>>,
}

impl Arrivals {
    /// Notes a batch of stored columns of `events`.
    pub(crate) fn note(&self, tenant: &TenantId, batch: &RecordBatch, now: UnixNanos) {
        let times = batch.columns().get(column::TIMESTAMP);
        let times = times.and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
        let Some(times) = times.filter(|times| !times.is_empty()) else { return };
        self.with(tenant, |arriving| arriving.events.note(times.values().iter().copied(), now));
    }

    /// Notes metric points of these times.
    pub(crate) fn note_points(&self, tenant: &TenantId, times: &[UnixNanos], now: UnixNanos) {
        if !times.is_empty() {
            self.with(tenant, |arriving| arriving.points.note_points(times.iter().copied(), now));
        }
    }

    /// Notes that a tenant may have events until `newest`, although none has arrived.
    pub(crate) fn suppose(&self, tenant: &TenantId, newest: UnixNanos, now: UnixNanos) {
        self.with(tenant, |arriving| arriving.events.note(std::iter::once(newest.micros()), now));
    }

    /// Takes what was noted.
    pub(crate) fn take(&self) -> HashMap<TenantId, Arriving> {
        std::mem::take(&mut *self.tenants.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn with(&self, tenant: &TenantId, note: impl FnOnce(&mut Arriving)) {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        match tenants.get_mut(tenant) {
            Some(arriving) => note(arriving),
            None => note(tenants.entry(tenant.clone()).or_default()),
        }
    }
}
