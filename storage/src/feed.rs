//! Events as they are stored, for those who watch. A watcher that falls behind loses rows and is told how many; nobody
//! waits for it.

use crate::memtable::batch_bytes;
use arrow::record_batch::RecordBatch;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use tokio::sync::Notify;
use whence_schema::TenantId;

/// Everyone who watches.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    watchers: Mutex<Vec<Weak<Waiting>>>,
}

/// What one watcher has not taken yet.
#[derive(Debug)]
struct Waiting {
    tenant: TenantId,
    max_bytes: usize,
    queue: Mutex<Queue>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    batches: VecDeque<(RecordBatch, usize)>,
    bytes: usize,
    dropped: u64,
}

impl Feed {
    /// A watcher of the tenant's events that holds `max_bytes` (and one batch) at most.
    pub(crate) fn watch(&self, tenant: TenantId, max_bytes: usize) -> NewEvents {
        let waiting = Waiting { tenant, max_bytes, queue: Mutex::default(), arrived: Notify::new() };
        let events = NewEvents { waiting: Arc::new(waiting) };
        self.watchers.lock().push(Arc::downgrade(&events.waiting));
        events
    }

    /// Shows rows that queries can see now.
    pub(crate) fn publish(&self, tenant: &TenantId, batch: &RecordBatch) {
        let mut watchers = self.watchers.lock();
        if watchers.is_empty() {
            return;
        }
        watchers.retain(|watcher| match watcher.upgrade() {
            Some(watcher) => {
                if watcher.tenant == *tenant {
                    watcher.push(batch);
                }
                true
            }
            None => false,
        });
    }
}

impl Waiting {
    fn push(&self, batch: &RecordBatch) {
        let bytes = batch_bytes(batch);
        let mut queue = self.queue.lock();
        queue.batches.push_back((batch.clone(), bytes));
        queue.bytes += bytes;
        while queue.bytes > self.max_bytes && queue.batches.len() > 1 {
            if let Some((oldest, bytes)) = queue.batches.pop_front() {
                queue.bytes -= bytes;
                queue.dropped += oldest.num_rows() as u64;
            }
        }
        drop(queue);
        self.arrived.notify_one();
    }
}

/// A tenant's events in the order in which they were stored, from the moment on in which it was made.
#[derive(Debug)]
pub struct NewEvents {
    waiting: Arc<Waiting>,
}

/// What has arrived since the last time.
#[derive(Debug)]
pub struct ArrivedEvents {
    /// Stored columns of `events`.
    pub batches: Vec<RecordBatch>,
    /// Rows before these that were dropped, because they waited too long to be taken.
    pub dropped: u64,
}

impl NewEvents {
    /// Waits until there is something.
    pub async fn next(&mut self) -> ArrivedEvents {
        loop {
            let queue = std::mem::take(&mut *self.waiting.queue.lock());
            if !queue.batches.is_empty() {
                let batches = queue.batches.into_iter().map(|(batch, _)| batch).collect();
                return ArrivedEvents { batches, dropped: queue.dropped };
            }
            self.waiting.arrived.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};

    fn batch(rows: i64) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    #[tokio::test]
    async fn a_watcher_gets_its_tenants_rows_in_order_and_hears_of_what_it_was_too_slow_for() {
        let feed = Feed::default();
        let (mine, other) = (TenantId::new("mine"), TenantId::new("other"));
        feed.publish(&mine, &batch(1));
        let size = batch_bytes(&batch(100));
        let mut events = feed.watch(mine.clone(), size * 2);
        feed.publish(&mine, &batch(2));
        feed.publish(&other, &batch(3));
        let arrived = events.next().await;
        assert_eq!((arrived.batches, arrived.dropped), (vec![batch(2)], 0));
        for _ in 0..5 {
            feed.publish(&mine, &batch(100));
        }
        let arrived = events.next().await;
        assert_eq!((arrived.batches.len(), arrived.dropped), (2, 300));
        // One batch stays however large it is.
        feed.publish(&mine, &batch(100_000));
        assert_eq!(events.next().await.batches.len(), 1);
        drop(events);
        feed.publish(&mine, &batch(1));
        assert!(feed.watchers.lock().is_empty());
    }
}
