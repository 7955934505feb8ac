//! The simple protocol: a text of statements, answered one after the other.

use super::connection::{Connection, error, located};
use super::extended::{pass, send_rows};
use super::reply::not_among_others;
use crate::statement::Command;
use ::pgwire::api::portal::Format;
use ::pgwire::api::query::{SimpleQueryHandler, send_ready_for_query};
use ::pgwire::api::results::Response;
use ::pgwire::api::store::PortalStore;
use ::pgwire::api::{ClientInfo, ClientPortalStore, ConnectionHandle, PgWireConnectionState};
use ::pgwire::error::{PgWireError, PgWireResult};
use ::pgwire::messages::PgWireBackendMessage;
use ::pgwire::messages::response::EmptyQueryResponse;
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
        let statements = self.session()?.parse(&query.query).map_err(|fault| located(error(fault), &query.query))?;
        if statements.is_empty() {
            client.feed(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await?;
        }
        let several = statements.len() > 1;
        for statement in statements {
            let handle = client.session_extensions().get::<Arc<ConnectionHandle>>().map(|handle| (*handle).clone());
            let status = client.transaction_status();
            let answer = async {
                if let Command::Fetch { name, distance, moves: true } = &statement.command
                    && self.session()?.cursor_columns(name).is_none()
                    && let Some(portal) = self.portals.get(name)
                {
                    return pass(client, &portal, *distance).await;
                }
                if let Command::View(view) = &statement.command
                    && several
                    && view.changes()
                {
                    return Err(not_among_others(view.tag()));
                }
                let reply = self.respond(&statement, &[], &Format::UnifiedText, status).await?;
                if let Some(rows) = reply.send(client).await? {
                    send_rows(client, rows).await?;
                }
                self.report_setting(client, &statement).await
            };
            self.running(&query.query);
            let answered = self.guarded(handle, answer).await;
            self.idle(if answered.is_err() { status.to_error_state() } else { client.transaction_status() });
            answered.map_err(|error| located(error, &query.query))?;
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
