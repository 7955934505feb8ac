//! What a statement is answered with, in either protocol.

use super::connection::failure;
use super::copy;
use crate::statement::CopyFormat;
use crate::stream::QueryStream;
use ::pgwire::api::ClientInfo;
use ::pgwire::api::query::send_execution_response;
use ::pgwire::api::results::{QueryResponse, Tag};
use ::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use ::pgwire::messages::PgWireBackendMessage;
use ::pgwire::messages::response::TransactionStatus;
use futures::{Sink, SinkExt};
use std::fmt::Debug;

/// An answer that is ready to be sent.
pub(super) enum Reply {
    /// A result set.
    Rows(QueryResponse),
    /// Done; the status is that of the transaction afterwards.
    Done(Tag, TransactionStatus),
    /// Done, with notices to be sent before.
    Told(Tag, Vec<String>),
    /// Rows that are copied to the client.
    Copy(QueryStream, CopyFormat),
}

impl Reply {
    /// Sends everything but a result set, which is given back: its rows may be read in parts.
    pub(super) async fn send<C>(self, client: &mut C) -> PgWireResult<Option<QueryResponse>>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        match self {
            Self::Rows(rows) => return Ok(Some(rows)),
            Self::Done(tag, status) => {
                send_execution_response(client, tag).await?;
                client.set_transaction_status(status);
            }
            Self::Told(tag, notices) => {
                for notice in notices {
                    let mut info = ErrorInfo::new("NOTICE".to_owned(), "00000".to_owned(), notice);
                    info.severity_nonlocalized = Some("NOTICE".to_owned());
                    client.feed(PgWireBackendMessage::NoticeResponse(info.into())).await?;
                }
                send_execution_response(client, tag).await?;
            }
            Self::Copy(rows, format) => {
                let tag = copy::send(client, rows, &format).await?;
                send_execution_response(client, tag).await?;
            }
        }
        Ok(None)
    }
}

/// Refuses what is for transactions only, outside of one.
pub(super) fn in_transaction(status: TransactionStatus, what: &str) -> PgWireResult<()> {
    if matches!(status, TransactionStatus::Idle) {
        return Err(failure("25P01", &format!("{what} can only be used in transaction blocks")));
    }
    Ok(())
}

/// Refuses inside of a transaction what a rollback could not undo.
pub(super) fn not_in_transaction(status: TransactionStatus, what: &str) -> PgWireResult<()> {
    if matches!(status, TransactionStatus::Idle) {
        return Ok(());
    }
    Err(not_to_be_undone(format!("{what} cannot run inside a transaction block")))
}

/// The refusal of the same between statements of one text, which are one transaction.
pub(super) fn not_among_others(what: &str) -> PgWireError {
    not_to_be_undone(format!("{what} cannot be executed from a multi-command string"))
}

fn not_to_be_undone(text: String) -> PgWireError {
    let mut info = ErrorInfo::new("ERROR".to_owned(), "25001".to_owned(), text);
    info.hint =
        Some("It takes effect at once: send it alone, with autocommit, outside of BEGIN and COMMIT.".to_owned());
    PgWireError::UserError(Box::new(info))
}
