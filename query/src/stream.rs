//! Rows of an answer, as they come from the threads of queries.

use crate::error::QueryError;
use crate::progress::{Progress, RunningPlan};
use crate::statements::Running;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Sleep;

/// Ends a task with whoever waits for it.
pub(crate) struct AbortOnDrop(pub(crate) AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Rows of an answer. Dropping it ends the query.
pub struct QueryStream {
    pub(crate) schema: SchemaRef,
    pub(crate) receiver: mpsc::Receiver<Result<RecordBatch, QueryError>>,
    pub(crate) timer: Option<(Pin<Box<Sleep>>, Duration)>,
    pub(crate) stop: Option<AbortOnDrop>,
    pub(crate) first: Option<RecordBatch>,
    /// What it costs; counted when the stream is dropped.
    pub(crate) running: Option<Running>,
    pub(crate) plan: RunningPlan,
    pub(crate) parts: Option<BoxStream<'static, Result<RecordBatch, QueryError>>>,
}

impl QueryStream {
    /// Columns; batches may hold text as `Utf8` where this says `Utf8View`, and the other way round.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// How far the query has come.
    pub fn progress(&self) -> Progress {
        self.plan.progress()
    }

    /// All rows at once.
    ///
    /// # Errors
    ///
    /// The first that comes with the rows.
    pub async fn collect_batches(mut self) -> Result<Vec<RecordBatch>, QueryError> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }

    /// Rows that are there already.
    pub(crate) fn of(batch: RecordBatch) -> Result<Self, QueryError> {
        let (_, receiver) = mpsc::channel(1);
        Ok(Self {
            schema: batch.schema(),
            receiver,
            timer: None,
            stop: None,
            first: Some(batch),
            parts: None,
            running: None,
            plan: RunningPlan::default(),
        })
    }

    /// Rows from elsewhere, within their own time.
    pub(crate) fn of_parts(
        schema: SchemaRef,
        parts: BoxStream<'static, Result<RecordBatch, QueryError>>,
        timer: Option<(Pin<Box<Sleep>>, Duration)>,
    ) -> Self {
        let (_, receiver) = mpsc::channel(1);
        Self {
            schema,
            receiver,
            timer,
            stop: None,
            first: None,
            parts: Some(parts),
            running: None,
            plan: RunningPlan::default(),
        }
    }
}

impl Stream for QueryStream {
    type Item = Result<RecordBatch, QueryError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(batch) = self.first.take() {
            return Poll::Ready(Some(Ok(batch)));
        }
        if let Some((timer, limit)) = &mut self.timer
            && timer.as_mut().poll(context).is_ready()
        {
            let limit = *limit;
            self.timer = None;
            self.stop = None;
            self.receiver.close();
            self.running.iter_mut().for_each(Running::failed);
            self.parts = None;
            return Poll::Ready(Some(Err(QueryError::Timeout(limit))));
        }
        if let Some(parts) = &mut self.parts {
            return parts.as_mut().poll_next(context);
        }
        match self.receiver.poll_recv(context) {
            Poll::Ready(None) => {
                self.timer = None;
                // A cursor may stay open long after its last row.
                self.running = None;
                Poll::Ready(None)
            }
            Poll::Ready(Some(batch)) => {
                if let Some(running) = &mut self.running {
                    match &batch {
                        Ok(batch) => running.rows(batch.num_rows()),
                        Err(_) => running.failed(),
                    }
                }
                Poll::Ready(Some(batch))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
