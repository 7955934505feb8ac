//! The extended protocol: parse, bind, describe, execute in parts, sync. What is said before rows leaves with them, or
//! when the client asks for it (flush, sync).

use super::connection::{Connection, error, failure, located};
use super::names::PortalState;
use super::parameters::{decode, is_binary};
use super::types::{described, parameter_type};
use crate::Parameter;
use crate::error::QueryError;
use crate::functions::catalog::type_named;
use crate::session::{Description, Session};
use crate::statement::{Command, Distance, Parsed, parse};
use ::pgwire::api::portal::{Format, Portal, PortalExecutionState};
use ::pgwire::api::query::{ExtendedQueryHandler, send_describe_response};
use ::pgwire::api::results::{DescribePortalResponse, DescribeStatementResponse, FieldInfo, QueryResponse, Tag};
use ::pgwire::api::stmt::{QueryParser, StoredStatement};
use ::pgwire::api::store::{Entry, PortalStore};
use ::pgwire::api::{ClientInfo, ClientPortalStore, ConnectionHandle, DEFAULT_NAME, PgWireConnectionState, Type};
use ::pgwire::error::{PgWireError, PgWireResult};
use ::pgwire::messages::PgWireBackendMessage;
use ::pgwire::messages::data::{FieldDescription, RowDescription};
use ::pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, Parse, ParseComplete, PortalSuspended,
    Sync as SyncMessage, TARGET_TYPE_BYTE_PORTAL, TARGET_TYPE_BYTE_STATEMENT,
};
use ::pgwire::messages::response::{EmptyQueryResponse, TransactionStatus};
use async_trait::async_trait;
use futures::{Sink, SinkExt, StreamExt};
use std::fmt::Debug;
use std::ops::DerefMut;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// A statement that was parsed, and described when somebody asked.
pub(super) struct Prepared {
    parsed: Parsed,
    text: String,
    description: OnceCell<Description>,
}

impl Prepared {
    async fn description(&self, session: &Session) -> PgWireResult<&Description> {
        let described = self.description.get_or_try_init(|| session.describe(&self.parsed)).await;
        described.map_err(|fault| located(error(fault), &self.text))
    }
}

/// Parses; describing is asynchronous and done by the handler.
pub(super) struct StatementParser;

#[async_trait]
impl QueryParser for StatementParser {
    type Statement = Arc<Prepared>;

    async fn parse_sql<C>(&self, _: &C, sql: &str, _: &[Option<Type>]) -> PgWireResult<Option<Self::Statement>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let mut statements = parse(sql).map_err(|fault| located(error(fault), sql))?;
        if statements.len() > 1 {
            return Err(failure("42601", "cannot insert multiple commands into a prepared statement"));
        }
        Ok(statements
            .pop()
            .map(|parsed| Arc::new(Prepared { parsed, text: sql.to_owned(), description: OnceCell::new() })))
    }

    fn get_parameter_types(&self, _: &Self::Statement) -> PgWireResult<Vec<Type>> {
        Ok(Vec::new())
    }

    fn get_result_schema(&self, _: &Self::Statement, _: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        Ok(Vec::new())
    }
}

impl Connection {
    /// Types of parameters: the client's word first, then what the statement says.
    async fn parameter_types(
        &self,
        statement: &StoredStatement<Arc<Prepared>>,
        count: usize,
    ) -> PgWireResult<Vec<Type>> {
        let declared = |position: usize| {
            let declared = statement.parameter_types.get(position).cloned().flatten();
            declared.filter(|declared| *declared != Type::UNKNOWN)
        };
        if (0..count).all(|position| declared(position).is_some()) {
            return Ok((0..count).filter_map(declared).collect());
        }
        let description = statement.statement.description(self.session()?).await?;
        let inferred = |position: usize| {
            let written = description.casts.get(&(position + 1)).and_then(|name| type_named(name));
            written.unwrap_or_else(|| parameter_type(description.parameters.get(position).and_then(Option::as_ref)))
        };
        Ok((0..count).map(|position| declared(position).unwrap_or_else(|| inferred(position))).collect())
    }

    async fn bound(&self, portal: &Portal<Arc<Prepared>>) -> PgWireResult<Vec<Parameter>> {
        let types = self.parameter_types(&portal.statement, portal.parameters.len()).await?;
        let values = portal.parameters.iter().zip(&types).enumerate();
        let values = values.map(|(position, (value, wire))| {
            decode(position, wire, is_binary(&portal.parameter_format, position), value.as_deref())
        });
        values.collect::<Result<_, _>>().map_err(error)
    }

    /// Starts the portal's statement; rows stay with the portal, other answers are sent.
    async fn start<C>(&self, client: &mut C, portal: &Portal<Arc<Prepared>>) -> PgWireResult<bool>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let status = client.transaction_status();
        let parameters = self.bound(portal).await?;
        let statement = &portal.statement.statement.parsed;
        let reply = self.respond(statement, &parameters, &portal.result_column_format, status).await?;
        if let Some(rows) = reply.send(client).await? {
            portal.start(rows).await;
            return Ok(true);
        }
        self.report_setting(client, statement).await?;
        Ok(false)
    }
}

#[async_trait]
impl ExtendedQueryHandler for Connection {
    type Statement = Arc<Prepared>;
    type QueryParser = StatementParser;

    fn query_parser(&self) -> Arc<Self::QueryParser> {
        Arc::new(StatementParser)
    }

    async fn on_parse<C>(&self, client: &mut C, message: Parse) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned());
        self.prepared.keep(&name, message.query.len())?;
        match StoredStatement::parse(client, &message, self.query_parser()).await? {
            Some(statement) => client.portal_store().put_statement(Arc::new(statement)),
            None => client.portal_store().put_empty_statement(&name),
        }
        client.feed(PgWireBackendMessage::ParseComplete(ParseComplete::new())).await?;
        Ok(())
    }

    async fn on_bind<C>(&self, client: &mut C, message: Bind) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.statement_name.as_deref().unwrap_or(DEFAULT_NAME);
        let formats = message.parameter_format_codes.len();
        if formats > 1 && formats != message.parameters.len() {
            return Err(failure("08P01", "bind message has another number of parameter formats than of parameters"));
        }
        match client.portal_store().get_statement(name) {
            Some(Entry::Value(statement)) => {
                client.portal_store().put_portal(Arc::new(Portal::try_new(&message, statement)?));
            }
            Some(Entry::Empty) => {
                client.portal_store().put_empty_portal(message.portal_name.as_deref().unwrap_or(DEFAULT_NAME));
            }
            None => return Err(PgWireError::StatementNotFound(name.to_owned())),
        }
        client.feed(PgWireBackendMessage::BindComplete(BindComplete::new())).await?;
        Ok(())
    }

    async fn on_describe<C>(&self, client: &mut C, message: Describe) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        // A cursor is a portal that DECLARE has made.
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        if message.target_type == TARGET_TYPE_BYTE_PORTAL
            && client.portal_store().get_portal(name).is_none()
            && let Some(columns) = self.session()?.cursor_columns(name)
        {
            let response = DescribePortalResponse::new(described(&columns, &Format::UnifiedText));
            return send_describe_response(client, &response).await;
        }
        self._on_describe(client, message).await
    }

    async fn on_execute<C>(&self, client: &mut C, message: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if !matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
            return Err(PgWireError::NotReadyForQuery);
        }
        client.set_state(PgWireConnectionState::QueryInProgress);
        let _busy = self.busy.lock().await;
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME).to_owned();
        match client.portal_store().get_portal(&name) {
            Some(Entry::Value(portal)) => {
                let handle = client.session_extensions().get::<Arc<ConnectionHandle>>().map(|handle| (*handle).clone());
                let rows = usize::try_from(message.max_rows).unwrap_or_default();
                let run = async {
                    if let Command::Fetch { name, distance, moves: true } = &portal.statement.statement.parsed.command
                        && self.session()?.cursor_columns(name).is_none()
                        && let Some(moved) = self.portals.get(name)
                    {
                        return pass(client, &moved, *distance).await;
                    }
                    self.portals.keep(&portal.name, &portal.state());
                    let started = !matches!(*portal.state().lock().await, PortalExecutionState::Initial);
                    if started || self.start(client, &portal).await? {
                        send_part(client, &portal, rows).await?;
                    }
                    Ok(())
                };
                self.running(&portal.statement.statement.text);
                let answered = self.guarded(handle, run).await;
                let status = client.transaction_status();
                self.idle(if answered.is_err() { status.to_error_state() } else { status });
                if let Err(error) = answered {
                    client.portal_store().rm_portal(&name);
                    return Err(located(error, &portal.statement.statement.text));
                }
            }
            Some(Entry::Empty) => {
                client.feed(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await?
            }
            None => return Err(PgWireError::PortalNotFound(name)),
        }
        client.set_state(PgWireConnectionState::ReadyForQuery);
        Ok(())
    }

    async fn on_sync<C>(&self, client: &mut C, _: SyncMessage) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        // Outside of a transaction block a sync ends the transaction, and with it every portal.
        if matches!(client.transaction_status(), TransactionStatus::Idle) {
            client.portal_store().clear_portals();
        } else {
            client.portal_store().rm_portal(DEFAULT_NAME);
        }
        let status = client.transaction_status();
        ::pgwire::api::query::send_ready_for_query(client, status).await
    }

    async fn on_close<C>(&self, client: &mut C, message: Close) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        if message.target_type == TARGET_TYPE_BYTE_STATEMENT {
            self.prepared.forget(name);
            client.portal_store().rm_statement(name);
        } else {
            client.portal_store().rm_portal(name);
        }
        client.feed(PgWireBackendMessage::CloseComplete(CloseComplete::new())).await?;
        Ok(())
    }

    async fn do_describe_statement<C>(
        &self,
        _: &mut C,
        target: &StoredStatement<Self::Statement>,
    ) -> PgWireResult<DescribeStatementResponse>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let description = target.statement.description(self.session()?).await?;
        let count = description.parameters.len().max(target.parameter_types.len());
        let types = self.parameter_types(target, count).await?;
        let columns = description.columns.as_ref();
        let fields = columns.map(|schema| described(schema, &Format::UnifiedText)).unwrap_or_default();
        Ok(DescribeStatementResponse::new(types, fields))
    }

    async fn do_describe_portal<C>(
        &self,
        _: &mut C,
        target: &Portal<Self::Statement>,
    ) -> PgWireResult<DescribePortalResponse>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let prepared = &target.statement.statement;
        if target.parameters.is_empty() && matches!(prepared.parsed.command, Command::Query(_)) {
            // The columns are the statement's, which most drivers have asked for before.
            let columns = prepared.description(self.session()?).await?.columns.as_ref();
            let fields = columns.map(|schema| described(schema, &target.result_column_format)).unwrap_or_default();
            return Ok(DescribePortalResponse::new(fields));
        }
        let parameters = self.bound(target).await?;
        let columns = self.session()?.describe_bound(&prepared.parsed, &parameters).await;
        let columns = columns.map_err(|fault| located(error(fault), &prepared.text))?;
        let fields = columns.map(|schema| described(&schema, &target.result_column_format)).unwrap_or_default();
        Ok(DescribePortalResponse::new(fields))
    }

    async fn do_query<C>(
        &self,
        _: &mut C,
        _: &Portal<Self::Statement>,
        _: usize,
    ) -> PgWireResult<::pgwire::api::results::Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        // on_execute does it all.
        Ok(::pgwire::api::results::Response::EmptyQuery)
    }
}

/// MOVE of a portal that Bind has made, which asyncpg uses for its cursors.
pub(super) async fn pass<C>(client: &mut C, portal: &PortalState, distance: Distance) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let most = match distance {
        Distance::Rows(rows) => rows,
        Distance::Relative(rows) if rows >= 0 => rows.unsigned_abs(),
        Distance::All => u64::MAX,
        Distance::Relative(_) | Distance::Back(_) => return Err(error(QueryError::CursorForwardOnly)),
        Distance::Absolute(_) => return Err(failure("0A000", "MOVE ABSOLUTE of a portal is not supported")),
    };
    let mut state = portal.lock().await;
    let mut passed = 0;
    if let PortalExecutionState::Suspended(response) = state.deref_mut() {
        while passed < most
            && let Some(row) = response.data_rows().next().await
        {
            row?;
            passed += 1;
        }
    }
    let passed = usize::try_from(passed).unwrap_or(usize::MAX);
    client.feed(PgWireBackendMessage::CommandComplete(Tag::new("MOVE").with_rows(passed).into())).await?;
    Ok(())
}

/// Sends up to `max_rows` rows of a started portal (0: all), one at a time: nothing is gathered here.
async fn send_part<C>(client: &mut C, portal: &Portal<Arc<Prepared>>, max_rows: usize) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let state = portal.state();
    let mut state = state.lock().await;
    let PortalExecutionState::Suspended(response) = state.deref_mut() else {
        return finish(client, "SELECT", 0).await;
    };
    let tag = response.command_tag().to_owned();
    let mut sent = 0;
    while max_rows == 0 || sent < max_rows {
        match response.data_rows().next().await {
            Some(row) => {
                client.feed(PgWireBackendMessage::DataRow(row?)).await?;
                sent += 1;
            }
            None => {
                *state = PortalExecutionState::Finished;
                return finish(client, &tag, sent).await;
            }
        }
    }
    client.feed(PgWireBackendMessage::PortalSuspended(PortalSuspended::new())).await?;
    Ok(())
}

/// SELECT and FETCH say how many rows they had.
async fn finish<C>(client: &mut C, tag: &str, rows: usize) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let counted = if matches!(tag, "SELECT" | "FETCH") { Tag::new(tag).with_rows(rows) } else { Tag::new(tag) };
    client.feed(PgWireBackendMessage::CommandComplete(counted.into())).await?;
    Ok(())
}

/// A whole result set with its description, as the simple protocol has it.
pub(super) async fn send_rows<C>(client: &mut C, mut rows: QueryResponse) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let tag = rows.command_tag().to_owned();
    let fields = rows.row_schema().iter().map(FieldDescription::from).collect();
    client.feed(PgWireBackendMessage::RowDescription(RowDescription::new(fields))).await?;
    let mut sent = 0;
    while let Some(row) = rows.data_rows().next().await {
        client.feed(PgWireBackendMessage::DataRow(row?)).await?;
        sent += 1;
    }
    finish(client, &tag, sent).await
}
