//! How much memory rows take on their way to chunks. Beyond the limit appends are refused.

use crate::StorageError;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Time a client is told to wait while memory is full: about what writing a chunk takes.
pub(crate) const OVERLOAD_PAUSE: Duration = Duration::from_millis(500);

/// Time a request is made to wait at most before it is read; well below what senders allow for an answer.
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// Bytes in use, by where they are.
#[derive(Debug)]
pub(crate) struct Memory {
    limit: usize,
    /// Requests waiting for the log, and rows the correlator has not taken yet.
    reserved: AtomicUsize,
    /// Memtables, and rows being written to chunks.
    tables: AtomicUsize,
    /// Most there ever was of both.
    peak: AtomicUsize,
}

impl Memory {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, reserved: AtomicUsize::new(0), tables: AtomicUsize::new(0), peak: AtomicUsize::new(0) })
    }

    pub(crate) fn used(&self) -> usize {
        self.reserved.load(Ordering::Relaxed).saturating_add(self.tables.load(Ordering::Relaxed))
    }

    pub(crate) fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn set_tables(&self, bytes: usize) {
        self.tables.store(bytes, Ordering::Relaxed);
        self.peak.fetch_max(self.used(), Ordering::Relaxed);
    }

    /// Counts `bytes` until the reservation is dropped, whatever the limit.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: usize) -> Reservation {
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        self.peak.fetch_max(self.used(), Ordering::Relaxed);
        Reservation { memory: self.clone(), bytes }
    }

    /// Counts `bytes` if there is room. A single request larger than the limit is let in when nothing else is there,
    /// for it would be refused for ever.
    pub(crate) fn try_reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        self.fits(bytes).then(|| self.reserve(bytes))
    }

    /// How long the next request should wait, so that senders which wait for their answers slow down to the pace at
    /// which rows become chunks long before any is refused: nothing up to `unhurried` bytes in use, from there in
    /// proportion.
    pub(crate) fn delay(&self, unhurried: usize) -> Duration {
        let over = self.used().saturating_sub(unhurried);
        if over == 0 {
            return Duration::ZERO;
        }
        let room = self.limit.saturating_sub(unhurried).max(1);
        LONGEST_DELAY.mul_f64((over as f64 / room as f64).min(1.0))
    }

    fn fits(&self, bytes: usize) -> bool {
        let used = self.used();
        used.saturating_add(bytes) <= self.limit || used < self.limit / 16
    }
}

/// Memory that a request takes before it is appended: its bytes as they are received, decoded and mapped.
#[derive(Debug)]
pub struct Admission(pub(crate) Reservation);

impl Admission {
    /// Counts `bytes` more.
    ///
    /// # Errors
    ///
    /// [`StorageError::Overloaded`] when there is no room for them.
    pub fn grow(&mut self, bytes: usize) -> Result<(), StorageError> {
        let Reservation { memory, bytes: held } = &mut self.0;
        // As much as was let in for this request may not turn it away: nothing else would ever free it.
        if !memory.fits(bytes) && memory.used() > *held {
            return Err(StorageError::Overloaded { retry_after: OVERLOAD_PAUSE, limit: memory.limit() });
        }
        memory.reserved.fetch_add(bytes, Ordering::Relaxed);
        *held += bytes;
        Ok(())
    }
}

/// Bytes counted as in use.
#[derive(Debug)]
pub(crate) struct Reservation {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_wait_in_proportion_to_what_is_in_use_beyond_the_unhurried_part() {
        let memory = Memory::new(1000);
        let _unhurried = memory.reserve(200);
        assert_eq!(memory.delay(200), Duration::ZERO);
        let _behind = memory.reserve(400);
        assert_eq!(memory.delay(200), LONGEST_DELAY / 2);
        let _beyond = memory.reserve(4000);
        assert_eq!(memory.delay(200), LONGEST_DELAY);
        assert_eq!(memory.delay(usize::MAX), Duration::ZERO);
    }
}
