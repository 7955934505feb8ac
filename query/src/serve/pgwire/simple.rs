//! The simple protocol: a text of statements, answered one after the other.

use super::connection::{Connection, error};
use crate::error::QueryError;
use ::pgwire::api::portal::Format;
use ::pgwire::api::query::{SimpleQueryHandler, send_execution_response, send_query_response, send_ready_for_query};
use ::pgwire::api::results::Response;
use ::pgwire::api::store::PortalStore;
use ::pgwire::api::{ClientInfo, ClientPortalStore, ConnectionHandle, PgWireConnectionState};
use ::pgwire::error::{PgWireError, PgWireResult};
use ::pgwire::messages::PgWireBackendMessage;
use ::pgwire::messages::response::{EmptyQueryResponse, TransactionStatus};
use ::pgwire::messages::simplequery::Query;
use async_trait::async_trait;
use futures::{Sink, SinkExt};
use std::fmt::Debug;
use std::sync::Arc;

#[async_trait]
impl SimpleQueryHandler for Connection {
    async fn on_query<C>(&self, client: &mut C, query: Query) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if !matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
            return Err(PgWireError::NotReadyForQuery);
        }
        client.set_state(PgWireConnectionState::QueryInProgress);
        let _busy = self.busy.lock().await;
        let statements = self.session()?.parse(&query.query).map_err(error)?;
        if statements.is_empty() {
            client.feed(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await?;
        }
        for statement in statements {
            let handle = client.session_extensions().get::<Arc<ConnectionHandle>>().map(|handle| (*handle).clone());
            let status = client.transaction_status();
            let answer = async {
                let response = self.respond(&statement, &[], &Format::UnifiedText, status).await?;
                let status = send(client, response, status).await?;
                self.report_setting(client, &statement).await?;
                Ok(status)
            };
            let status = self.guarded(handle, answer).await?;
            client.set_transaction_status(status);
        }
        client.set_state(PgWireConnectionState::ReadyForQuery);
        let status = client.transaction_status();
        send_ready_for_query(client, status).await
    }

    async fn do_query<C>(&self, _: &mut C, _: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        // on_query does it all.
        Ok(Vec::new())
    }
}

/// Sends an answer of the simple protocol; the status is that after it.
async fn send<C>(client: &mut C, response: Response, status: TransactionStatus) -> PgWireResult<TransactionStatus>
where
    C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    match response {
        Response::Query(rows) => {
            let tag = rows.command_tag().to_owned();
            if tag == "SELECT" {
                send_query_response(client, rows, true).await?;
            } else {
                super::extended::send_untold(client, rows, &tag).await?;
            }
            Ok(status)
        }
        Response::TransactionStart(tag) => {
            send_execution_response(client, tag).await?;
            Ok(status.to_in_transaction_state())
        }
        Response::TransactionEnd(tag) => {
            send_execution_response(client, tag).await?;
            Ok(status.to_idle_state())
        }
        Response::Execution(tag) => {
            send_execution_response(client, tag).await?;
            Ok(status)
        }
        _ => Err(error(QueryError::Internal("an answer of no known kind".to_owned()))),
    }
}
