//! The tail: everything appended, in log order, for the correlator.

use arrow::record_batch::RecordBatch;
use tokio::sync::{mpsc, oneshot};
use whence_schema::{ExemplarLink, TenantId};

/// What was appended, in log order.
#[derive(Debug)]
pub struct Tail {
    pub(crate) receiver: mpsc::UnboundedReceiver<TailItem>,
}

/// One item of the tail.
#[derive(Debug)]
pub enum TailItem {
    /// Rows that are now visible to snapshots.
    Appended {
        /// Owner of the rows.
        tenant: TenantId,
        /// The rows.
        rows: TailRows,
        /// False while replaying records whose links are already in chunks: remember the rows, write no links.
        emit: bool,
    },
    /// A commit has begun. Finish the links of all earlier items (await every
    /// [`append_correlations`](crate::Store::append_correlations)), then answer with the state needed to go on from
    /// here, before taking the next item.
    Seal {
        /// Where to send the state.
        reply: oneshot::Sender<Vec<u8>>,
    },
}

/// Rows of a tail item.
#[derive(Debug, Clone)]
pub enum TailRows {
    /// Stored columns of `events`.
    Events(RecordBatch),
    /// Spans named by metric points.
    Exemplars(Vec<ExemplarLink>),
}

impl Tail {
    /// The next item; `None` once the store is closed.
    pub async fn next(&mut self) -> Option<TailItem> {
        self.receiver.recv().await
    }
}
