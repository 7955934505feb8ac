//! The ingest ledger: received = stored + duplicate + rejected + dropped, per tenant, signal and minute.
//!
//! What is in SQLite is added up with the increments that are in memory only. Increments are kept under the log offset
//! up to which they count, so that those that SQLite has taken in are never counted twice.

use crate::log::LogOffset;
use arrow::array::{ArrayRef, Int64Array, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use std::collections::BTreeMap;
use std::sync::Arc;
use whence_schema::tables::timestamp_type;
use whence_schema::{Signal, TenantId, UnixNanos};

/// Items of one minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) received: u64,
    pub(crate) stored: u64,
    pub(crate) duplicate: u64,
    pub(crate) rejected: u64,
    pub(crate) dropped: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.stored += other.stored;
        self.duplicate += other.duplicate;
        self.rejected += other.rejected;
        self.dropped += other.dropped;
    }

    pub(crate) fn balances(&self) -> bool {
        self.received == self.stored + self.duplicate + self.rejected + self.dropped
    }
}

/// Key of a ledger row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LedgerKey {
    pub(crate) tenant: TenantId,
    pub(crate) signal: Signal,
    pub(crate) minute_seconds: i64,
}

/// Ledger rows by key.
pub(crate) type Entries = BTreeMap<LedgerKey, Counts>;

/// Increments not yet in SQLite.
#[derive(Debug, Default)]
pub(crate) struct Increments {
    open: Entries,
    /// Being saved, with the offset they count up to.
    sealed: Vec<(LogOffset, Entries)>,
}

impl Increments {
    pub(crate) fn add(&mut self, tenant: &TenantId, signal: Signal, at: UnixNanos, counts: &Counts) {
        let key = LedgerKey { tenant: tenant.clone(), signal, minute_seconds: at.minute_seconds() };
        self.open.entry(key).or_default().add(counts);
    }

    /// Closes the open increments at `offset` and returns everything that is to be saved with it.
    pub(crate) fn seal(&mut self, offset: LogOffset) -> Entries {
        let open = std::mem::take(&mut self.open);
        self.sealed.push((offset, open));
        let mut all = Entries::new();
        self.sealed.iter().for_each(|(_, entries)| merge(&mut all, entries));
        all
    }

    /// Forgets what SQLite has.
    pub(crate) fn saved(&mut self, offset: LogOffset) {
        self.sealed.retain(|(sealed, _)| *sealed > offset);
    }

    /// The increments in memory: those being saved, by offset, and the open ones.
    pub(crate) fn of(&self, tenant: &TenantId) -> Unsaved {
        let own = |entries: &Entries| -> Entries {
            entries
                .iter()
                .filter(|(key, _)| key.tenant == *tenant)
                .map(|(key, counts)| (key.clone(), *counts))
                .collect()
        };
        Unsaved {
            sealed: self.sealed.iter().map(|(offset, entries)| (*offset, own(entries))).collect(),
            open: own(&self.open),
        }
    }
}

/// A tenant's increments at one moment.
#[derive(Debug)]
pub(crate) struct Unsaved {
    sealed: Vec<(LogOffset, Entries)>,
    open: Entries,
}

impl Unsaved {
    /// Adds to `saved`, which counts up to `offset`, what it lacks. False when `saved` may have taken in more than was
    /// sealed when this was read: read both again.
    pub(crate) fn complete(&self, saved: &mut Entries, offset: LogOffset, offset_before: LogOffset) -> bool {
        let known = self.sealed.iter().map(|(sealed, _)| *sealed).max().unwrap_or(offset_before).max(offset_before);
        if offset > known {
            return false;
        }
        self.sealed.iter().filter(|(sealed, _)| *sealed > offset).for_each(|(_, entries)| merge(saved, entries));
        merge(saved, &self.open);
        true
    }
}

pub(crate) fn merge(into: &mut Entries, from: &Entries) {
    from.iter().for_each(|(key, counts)| into.entry(key.clone()).or_default().add(counts));
}

/// Rows as `whence.ingest_ledger` shows them.
pub(crate) fn to_batch(entries: &Entries) -> Result<RecordBatch, ArrowError> {
    let count = |name: &str| Field::new(name, DataType::Int64, false);
    let schema = Schema::new(vec![
        Field::new("minute", timestamp_type(), false),
        Field::new("tenant_id", DataType::Utf8View, false),
        Field::new("signal", DataType::Utf8View, false),
        count("received"),
        count("stored"),
        count("duplicate"),
        count("rejected"),
        count("dropped"),
    ]);
    let counts = |of: fn(&Counts) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(entries.values().map(|c| i64::try_from(of(c)).unwrap_or(i64::MAX))))
    };
    let minutes = entries.keys().map(|key| key.minute_seconds * 1_000_000);
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(TimestampMicrosecondArray::from_iter_values(minutes).with_timezone("UTC")),
            Arc::new(StringViewArray::from_iter_values(entries.keys().map(|key| key.tenant.as_str()))),
            Arc::new(StringViewArray::from_iter_values(entries.keys().map(|key| key.signal.as_str()))),
            counts(|c| c.received),
            counts(|c| c.stored),
            counts(|c| c.duplicate),
            counts(|c| c.rejected),
            counts(|c| c.dropped),
        ],
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn stored(increments: &Increments, saved: u64, offset: u64, before: u64) -> Option<u64> {
        let tenant = TenantId::default();
        let key = LedgerKey { tenant: tenant.clone(), signal: Signal::Logs, minute_seconds: 0 };
        let mut entries = Entries::from([(key.clone(), Counts { stored: saved, ..Counts::default() })]);
        increments
            .of(&tenant)
            .complete(&mut entries, LogOffset(offset), LogOffset(before))
            .then(|| entries[&key].stored)
    }

    #[test]
    fn increments_count_once_before_during_and_after_they_are_saved() {
        let mut increments = Increments::default();
        let mut add = |n| {
            let counts = Counts { received: n, stored: n, ..Counts::default() };
            increments.add(&TenantId::default(), Signal::Logs, UnixNanos(5), &counts);
        };
        add(3);
        add(4);
        assert_eq!(stored(&increments, 100, 0, 0), Some(107));
        let sealed = increments.seal(LogOffset(9));
        assert_eq!(sealed.values().map(|c| c.stored).sum::<u64>(), 7);
        assert_eq!(stored(&increments, 100, 0, 0), Some(107));
        assert_eq!(stored(&increments, 107, 9, 0), Some(107));
        increments.saved(LogOffset(9));
        assert_eq!(stored(&increments, 107, 9, 9), Some(107));
        // SQLite went further than what was read from memory: no answer, rather than a wrong one.
        assert_eq!(stored(&increments, 200, 20, 9), None);
    }
}
