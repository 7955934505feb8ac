//! Rows as Flight data, and errors as gRPC statuses.

use crate::error::{QueryError, SqlState};
use crate::serve::portable::{portable_batch, portable_schema};
use crate::stream::QueryStream;
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use std::pin::Pin;
use tonic::{Code, Response, Status};

use super::statements::Running;

/// Messages of a `DoGet`.
pub(super) type Messages = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send>>;

/// Rows of the query with the text `sql`, until it ends or is canceled.
pub(super) fn rows(rows: QueryStream, sql: String, running: Running) -> Response<Messages> {
    let schema = portable_schema(&rows.schema());
    let columns = schema.clone();
    let batches = stream::unfold(Some((rows, running)), move |open| {
        let (columns, sql) = (columns.clone(), sql.clone());
        async move {
            let (mut rows, running) = open?;
            // What is canceled ends with an error: rows that just stop would look like all of them.
            let next = tokio::select! {
                () = running.canceled() => Some(Err(QueryError::Canceled)),
                next = rows.next() => next,
            };
            match next?.and_then(|batch| portable_batch(&batch, &columns)) {
                Ok(batch) => Some((Ok(batch), Some((rows, running)))),
                Err(error) => Some((Err(status(&error, &sql)), None)),
            }
        }
    });
    let batches = batches.map_err(|status| FlightError::Tonic(Box::new(status)));
    Response::new(messages(FlightDataEncoderBuilder::new().with_schema(schema).build(batches)))
}

/// One batch that is known already.
pub(super) fn batch(batch: RecordBatch) -> Response<Messages> {
    let encoder = FlightDataEncoderBuilder::new().with_schema(batch.schema());
    Response::new(messages(encoder.build(stream::iter([Ok(batch)]))))
}

fn messages(encoded: impl Stream<Item = Result<FlightData, FlightError>> + Send + 'static) -> Messages {
    Box::pin(encoded.map_err(|error| match error {
        FlightError::Tonic(status) => *status,
        other => Status::internal(other.to_string()),
    }))
}

/// Where the rows of an answer are: here, for this ticket.
pub(super) fn flight_info(
    schema: &Schema,
    ticket: Bytes,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(|error| Status::internal(error.to_string()))?
        .with_endpoint(FlightEndpoint::new().with_ticket(Ticket { ticket }))
        .with_descriptor(descriptor);
    Ok(Response::new(info))
}

/// The error of the statement `sql` as clients of gRPC see it: with SQLSTATE, place and hint in its words, and the
/// SQLSTATE as metadata `whence-sqlstate`.
pub(super) fn status(error: &QueryError, sql: &str) -> Status {
    let code = match error {
        QueryError::Timeout(_) => Code::DeadlineExceeded,
        QueryError::Canceled => Code::Cancelled,
        QueryError::Shutdown => Code::Unavailable,
        QueryError::Access(error) if error.is_forbidden() => Code::PermissionDenied,
        QueryError::Access(_) => Code::Unauthenticated,
        QueryError::NotSupported { .. } => Code::Unimplemented,
        error => match error.sqlstate() {
            SqlState::INSUFFICIENT_PRIVILEGE => Code::PermissionDenied,
            SqlState::IO_ERROR => Code::Unavailable,
            SqlState::OUT_OF_MEMORY => Code::ResourceExhausted,
            _ if error.is_callers_fault() => Code::InvalidArgument,
            _ => Code::Internal,
        },
    };
    let state = error.sqlstate().0;
    let place = error.position(sql).map(|position| format!(", at character {position}")).unwrap_or_default();
    let hint = error.hint().map(|hint| format!(". {hint}")).unwrap_or_default();
    let mut status = Status::new(code, format!("{error} (SQLSTATE {state}{place}){hint}"));
    if let Ok(state) = state.parse() {
        status.metadata_mut().insert("whence-sqlstate", state);
    }
    status
}
