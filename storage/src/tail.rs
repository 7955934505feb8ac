//! The tail: everything appended, in log order, for the correlator.

use crate::memory::Reservation;
use crate::memtable::batch_bytes;
use crate::state::Shared;
use arrow::record_batch::RecordBatch;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use whence_schema::{ExemplarLink, MetricPoints, Table, TenantId, UnixNanos};

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
    /// What the correlator needs of metric points.
    Metrics {
        /// Times of the points, ascending, each once.
        times: Vec<UnixNanos>,
        /// Spans that they name.
        exemplars: Vec<ExemplarLink>,
    },
}

impl TailRows {
    /// Of metric points; `None` when there are none.
    pub(crate) fn of_points(points: MetricPoints) -> Option<Self> {
        let mut times: Vec<UnixNanos> = points.points.iter().map(|point| point.timestamp).collect();
        times.sort_unstable();
        times.dedup();
        let exemplars = points.exemplars;
        (!times.is_empty() || !exemplars.is_empty()).then_some(Self::Metrics { times, exemplars })
    }

    /// Bytes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Events(batch) => batch_bytes(batch),
            Self::Metrics { times, exemplars } => size_of_val(times.as_slice()) + size_of_val(exemplars.as_slice()),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use whence_schema::{MetricPoint, PointValue};

    #[test]
    fn of_metric_points_each_time_is_told_once_and_of_none_nothing() {
        let point = |time: i64| MetricPoint {
            series: 0,
            timestamp: UnixNanos(time),
            start: UnixNanos(0),
            cumulative: false,
            value: PointValue::Number(1.0),
        };
        let points = MetricPoints { points: [7, 3, 7].map(point).into(), ..MetricPoints::default() };
        let Some(TailRows::Metrics { times, exemplars }) = TailRows::of_points(points) else { panic!("nothing") };
        assert_eq!((times, exemplars), (vec![UnixNanos(3), UnixNanos(7)], vec![]));
        assert!(TailRows::of_points(MetricPoints::default()).is_none());
    }
}
