//! The tail: everything appended, in log order, for the correlator.

use crate::memory::Reservation;
use crate::state::Shared;
use arrow::record_batch::RecordBatch;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use whence_schema::{ExemplarLink, Table, TenantId};

/// What was appended, in log order.
///
/// Links of records up to a [`TailItem::Seal`] and links of later ones must not end up in one commit. So the reader of
/// the tail is also the one that appends correlations which follow from records, and asking for the item behind a seal is what closes the
/// correlations that belong before it.
#[derive(Debug)]
pub struct Tail {
    pub(crate) receiver: mpsc::UnboundedReceiver<TailMessage>,
    pub(crate) shared: Arc<Shared>,
    /// To be told when the links before the last seal are complete.
    pub(crate) sealing: Option<oneshot::Sender<()>>,
}

/// What goes through the channel.
#[derive(Debug)]
pub(crate) enum TailMessage {
    Appended { tenant: TenantId, rows: TailRows, emit: bool, reservation: Reservation },
    Seal { reply: oneshot::Sender<Vec<u8>>, complete: oneshot::Sender<()> },
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
        self.complete_seal();
        match self.receiver.recv().await? {
            TailMessage::Appended { tenant, rows, emit, reservation } => {
                drop(reservation);
                Some(TailItem::Appended { tenant, rows, emit })
            }
            TailMessage::Seal { reply, complete } => {
                self.sealing = Some(complete);
                Some(TailItem::Seal { reply })
            }
        }
    }

    fn complete_seal(&mut self) {
        if let Some(complete) = self.sealing.take() {
            let now = (self.shared.options.clock)();
            if let Err(error) = self.shared.change(|state| state.seal(Table::Correlations, now)) {
                tracing::error!(%error, "correlations cannot be sealed");
            }
            let _ = complete.send(());
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.complete_seal();
    }
}
