//! Memtable of `events`: the batches as they came.

use super::Batches;
use arrow::array::AsArray;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use whence_schema::tables::events::{SIGNAL_LOG, SIGNAL_SPAN, column};

/// Events not yet sealed.
#[derive(Debug, Default)]
pub(crate) struct EventsMemtable {
    pub(crate) batches: Batches,
}

impl EventsMemtable {
    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<(), ArrowError> {
        self.batches.push(batch)
    }
}

/// Spans and log records in a batch of `events`.
pub(crate) fn count_signals(batch: &RecordBatch) -> (u64, u64) {
    let signals = batch.column(column::SIGNAL).as_string_view();
    let (mut spans, mut logs) = (0, 0);
    for signal in signals.iter().flatten() {
        match signal {
            SIGNAL_SPAN => spans += 1,
            SIGNAL_LOG => logs += 1,
            _ => {}
        }
    }
    (spans, logs)
}
