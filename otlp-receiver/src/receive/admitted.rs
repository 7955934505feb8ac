//! Request bodies that count against the memory budget from their first byte.

use crate::ingest::{InFlight, Ingest};
use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::time::Sleep;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body that ends with an [`IngestError`](crate::IngestError) as soon as there is no room for more of it, so that a
/// thousand senders at once cannot take more memory with requests half read than the budget allows. While the store is
/// behind, reading begins after a pause: most senders have a few requests under way and wait for their answers, so they
/// come at the store's pace then instead of being refused.
pub(super) struct AdmittedBody {
    body: Body,
    in_flight: InFlight,
    pause: Option<Pin<Box<Sleep>>>,
}

impl AdmittedBody {
    pub(super) fn new(body: Body, ingest: &Ingest) -> Self {
        let pause = ingest.delay().map(|delay| Box::pin(tokio::time::sleep(delay)));
        Self { body, in_flight: ingest.in_flight(), pause }
    }
}

impl hyper::body::Body for AdmittedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else { return Poll::Ready(None) };
        let frame = frame?;
        if let Some(data) = frame.data_ref() {
            self.in_flight.grow(data.len())?;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
