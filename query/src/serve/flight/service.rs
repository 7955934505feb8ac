//! The calls of the Flight SQL protocol.

use super::answer::{self, Messages, flight_info, status};
use super::statements::{Prepared, Statements, read_ticket, ticket};
use super::{information, parameters};
use crate::error::QueryError;
use crate::serve::portable::portable_schema;
use crate::session::Answer;
use crate::{Parsed, QueryEngine, Session};
use arrow::array::StringArray;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::writer::IpcWriteOptions;
use arrow::record_batch::RecordBatch;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any, Command, CommandGetCatalogs,
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo,
    CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementIngest, CommandStatementQuery,
    CommandStatementUpdate, DoPutPreparedStatementResult, ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, IpcMessage, SchemaAsIpc, Ticket,
};
use axum::extract::ConnectInfo;
use bytes::Bytes;
use futures::{Stream, stream};
use prost::Message;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};
use whence_storage::Credentials;

/// Flight SQL over an engine. Cheap to clone.
#[derive(Clone)]
pub(super) struct FlightSql {
    engine: QueryEngine,
    statements: Statements,
}

type Answered = Result<Response<Messages>, Status>;
type Described = Result<Response<FlightInfo>, Status>;

impl FlightSql {
    pub(super) fn new(engine: QueryEngine) -> Self {
        Self { engine, statements: Statements::default() }
    }

    /// A session for whoever makes the call.
    fn session(&self, call: &MetadataMap) -> Result<Session, Status> {
        let header = |name: &str| call.get(name).map(|value| value.as_encoded_bytes());
        self.engine.authenticate(header).map_err(|error| status(&error, ""))
    }

    /// The same, knowing whether it comes from the server's own host.
    fn session_of<T>(&self, request: &Request<T>) -> Result<Session, Status> {
        let session = self.session(request.metadata())?;
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let local = peer.is_some_and(|ConnectInfo(peer)| peer.ip().to_canonical().is_loopback());
        Ok(if local { session.on_this_host() } else { session })
    }

    /// Runs a statement under a name to cancel it by.
    async fn answer(&self, session: &Session, id: [u8; 16], prepared: &Prepared) -> Answered {
        let Prepared { sql, statement, parameters, .. } = prepared;
        let running = self.statements.run(id);
        let started = running.unless_canceled(session.execute(statement, parameters)).await;
        match started.map_err(|error| status(&error, sql))? {
            Answer::Rows(rows) => Ok(answer::rows(rows, sql.clone(), running)),
            Answer::Copy(..) => Err(without_rows("COPY")),
            Answer::Told(tag, notices) => Ok(answer::batch(command(tag, &notices)?)),
            Answer::Done(tag) | Answer::Passed(tag, _) => Err(without_rows(tag)),
        }
    }

    /// Runs a statement that came as an update, which few are; no row is changed by it.
    async fn update(&self, session: &Session, sql: &str) -> Result<i64, Status> {
        let statement = one_statement(session, sql)?;
        if statement.has_rows() {
            let text = "this is a query: execute it as one, not as an update (SQLSTATE 25006)";
            return Err(Status::invalid_argument(text));
        }
        session.execute(&statement, &[]).await.map_err(|error| status(&error, sql))?;
        Ok(0)
    }
}

/// Columns of the answer to a command.
fn command_schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![text("command"), text("notice")]))
}

/// What there is to say about a command that was done: a row for each notice, at least one.
fn command(tag: &str, notices: &[String]) -> Result<RecordBatch, Status> {
    let rows = notices.len().max(1);
    let tags: StringArray = std::iter::repeat_n(Some(tag), rows).collect();
    let notices: StringArray = (0..rows).map(|row| notices.get(row)).collect();
    RecordBatch::try_new(command_schema(), vec![Arc::new(tags), Arc::new(notices)])
        .map_err(|error| Status::internal(error.to_string()))
}

/// The one statement of `sql`, which has rows or is about a continuous aggregate.
fn one_statement(session: &Session, sql: &str) -> Result<Parsed, Status> {
    let mut statements = session.parse(sql).map_err(|error| status(&error, sql))?;
    let (Some(statement), true) = (statements.pop(), statements.is_empty()) else {
        let error = QueryError::NotSupported { what: "anything but one statement in a call".to_owned() };
        return Err(status(&error, sql));
    };
    if !statement.has_rows() && !statement.is_of_a_view() {
        return Err(without_rows(sql.split_whitespace().next().unwrap_or_default()));
    }
    Ok(statement)
}

fn without_rows(what: &str) -> Status {
    Status::unimplemented(format!("{what} has no effect here: every call is a session of its own (SQLSTATE 0A000)"))
}

fn no_transactions() -> Status {
    Status::unimplemented("there are no transactions: every statement sees one moment of the data (SQLSTATE 0A000)")
}

/// The token that stands for the credentials of a handshake: the key itself, which later calls then bring.
fn token_for(call: &MetadataMap) -> Option<String> {
    match Credentials::from_headers(|name| call.get(name).map(|value| value.as_encoded_bytes())) {
        Credentials::Key(key) => Some(key.into_owned()),
        Credentials::Missing | Credentials::Unreadable => None,
    }
}

/// A schema as bytes of an IPC message; empty for no columns.
fn ipc(schema: &Schema) -> Result<Bytes, Status> {
    if schema.fields().is_empty() {
        return Ok(Bytes::new());
    }
    let options = IpcWriteOptions::default();
    let IpcMessage(bytes) =
        SchemaAsIpc::new(schema, &options).try_into().map_err(|error| Status::internal(format!("{error}")))?;
    Ok(bytes)
}

fn command_ticket(command: impl ProstMessageExt) -> Bytes {
    command.as_any().encode_to_vec().into()
}

fn about(schema: SchemaRef, command: impl ProstMessageExt, request: Request<FlightDescriptor>) -> Described {
    flight_info(&schema, command_ticket(command), request.into_inner())
}

#[tonic::async_trait]
impl FlightSqlService for FlightSql {
    type FlightService = Self;

    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>>, Status> {
        self.session(request.metadata())?;
        let token = token_for(request.metadata());
        let payload = token.clone().unwrap_or_default().into();
        let answers: Pin<Box<dyn Stream<Item = _> + Send>> =
            Box::pin(stream::iter([Ok(HandshakeResponse { protocol_version: 0, payload })]));
        let mut response = Response::new(answers);
        if let Some(token) = token {
            let value = format!("Bearer {token}");
            let value = value.parse().map_err(|_| Status::unauthenticated("the key is not a text"))?;
            response.metadata_mut().insert("authorization", value);
        }
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Described {
        let session = self.session(request.metadata())?;
        let statement = one_statement(&session, &query.query)?;
        let described = session.describe(&statement).await.map_err(|error| status(&error, &query.query))?;
        let columns = described.columns.map_or_else(command_schema, |columns| portable_schema(&columns));
        let handle = TicketStatementQuery { statement_handle: ticket(&query.query).into() };
        flight_info(&columns, command_ticket(handle), request.into_inner())
    }

    async fn do_get_statement(&self, query: TicketStatementQuery, request: Request<Ticket>) -> Answered {
        let (id, sql) = read_ticket(&query.statement_handle)?;
        let session = self.session_of(&request)?;
        let tenant = session.tenant().clone();
        let statement = one_statement(&session, &sql)?;
        self.answer(&session, id, &Prepared { tenant, sql, statement, parameters: Vec::new() }).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let session = self.session(request.metadata())?;
        let tenant = session.tenant().clone();
        let statement = one_statement(&session, &query.query)?;
        let described = session.describe(&statement).await.map_err(|error| status(&error, &query.query))?;
        let columns = described.columns.map_or_else(|| Schema::empty().into(), |columns| portable_schema(&columns));
        let prepared = Prepared { tenant, sql: query.query, statement, parameters: Vec::new() };
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: self.statements.prepare(prepared).to_vec().into(),
            dataset_schema: ipc(&columns)?,
            parameter_schema: ipc(&parameters::schema(&described.parameters))?,
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        query: ActionClosePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<(), Status> {
        self.session(request.metadata())?;
        self.statements.close(&query.prepared_statement_handle)
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let session = self.session(request.metadata())?;
        let handle = query.prepared_statement_handle;
        let (id, _) = self.statements.prepared(&handle, session.tenant())?;
        let (parameters, bytes) = parameters::read(request.into_inner()).await?;
        self.statements.bind(id, parameters, bytes)?;
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) })
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Described {
        let session = self.session(request.metadata())?;
        let (_, prepared) = self.statements.prepared(&query.prepared_statement_handle, session.tenant())?;
        let bound = session.describe_bound(&prepared.statement, &prepared.parameters).await;
        let columns = bound.map_err(|error| status(&error, &prepared.sql))?.unwrap_or_else(command_schema);
        about(portable_schema(&columns), query, request)
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Answered {
        let session = self.session_of(&request)?;
        let (id, prepared) = self.statements.prepared(&query.prepared_statement_handle, session.tenant())?;
        self.answer(&session, id, &prepared).await
    }

    async fn do_put_statement_update(
        &self,
        update: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        self.update(&self.session_of(&request)?, &update.query).await
    }

    async fn do_put_prepared_statement_update(
        &self,
        update: CommandPreparedStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let session = self.session_of(&request)?;
        let (_, prepared) = self.statements.prepared(&update.prepared_statement_handle, session.tenant())?;
        self.update(&session, &prepared.sql).await
    }

    async fn do_put_statement_ingest(
        &self,
        _: CommandStatementIngest,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let error = QueryError::ReadOnly { statement: "a bulk ingestion".to_owned() };
        Err(status(&error, ""))
    }

    async fn do_action_begin_transaction(
        &self,
        _: arrow_flight::sql::ActionBeginTransactionRequest,
        _: Request<Action>,
    ) -> Result<arrow_flight::sql::ActionBeginTransactionResult, Status> {
        Err(no_transactions())
    }

    async fn do_action_end_transaction(
        &self,
        _: arrow_flight::sql::ActionEndTransactionRequest,
        _: Request<Action>,
    ) -> Result<(), Status> {
        Err(no_transactions())
    }

    async fn do_action_cancel_query(
        &self,
        query: ActionCancelQueryRequest,
        request: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        self.session(request.metadata())?;
        let info = FlightInfo::decode(query.info).map_err(|_| Status::invalid_argument("no FlightInfo"))?;
        // The older action and the newer one below have the same numbers for results.
        Ok(ActionCancelQueryResult { result: self.cancel(&info)?.into() })
    }

    async fn do_action_fallback(
        &self,
        request: Request<Action>,
    ) -> Result<Response<<Self as FlightService>::DoActionStream>, Status> {
        self.session(request.metadata())?;
        let action = request.into_inner();
        if action.r#type != "CancelFlightInfo" {
            return Err(Status::unimplemented(format!("the action {} is not known", action.r#type)));
        }
        let request = CancelFlightInfoRequest::decode(action.body);
        let info = request.ok().and_then(|request| request.info);
        let info = info.ok_or_else(|| Status::invalid_argument("no FlightInfo"))?;
        let body = CancelFlightInfoResult { status: self.cancel(&info)?.into() }.encode_to_vec().into();
        let result: <Self as FlightService>::DoActionStream =
            Box::pin(stream::iter([Ok(arrow_flight::Result { body })]));
        Ok(Response::new(result))
    }

    async fn list_custom_actions(&self) -> Option<Vec<Result<ActionType, Status>>> {
        let description = "Ends a statement that runs; its reader is told.".to_owned();
        Some(vec![Ok(ActionType { r#type: "CancelFlightInfo".to_owned(), description })])
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Described {
        self.session(request.metadata())?;
        about(query.into_builder().schema(), query, request)
    }

    async fn do_get_catalogs(&self, query: CommandGetCatalogs, request: Request<Ticket>) -> Answered {
        self.session(request.metadata())?;
        Ok(answer::batch(information::catalogs(query)?))
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Described {
        self.session(request.metadata())?;
        about(query.clone().into_builder().schema(), query, request)
    }

    async fn do_get_schemas(&self, query: CommandGetDbSchemas, request: Request<Ticket>) -> Answered {
        let session = self.session(request.metadata())?;
        Ok(answer::batch(information::schemas(&session, query).await?))
    }

    async fn get_flight_info_tables(&self, query: CommandGetTables, request: Request<FlightDescriptor>) -> Described {
        self.session(request.metadata())?;
        about(query.clone().into_builder().schema(), query, request)
    }

    async fn do_get_tables(&self, query: CommandGetTables, request: Request<Ticket>) -> Answered {
        let session = self.session(request.metadata())?;
        Ok(answer::batch(information::tables(&session, query).await?))
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Described {
        self.session(request.metadata())?;
        about(query.into_builder().schema(), query, request)
    }

    async fn do_get_table_types(&self, query: CommandGetTableTypes, request: Request<Ticket>) -> Answered {
        self.session(request.metadata())?;
        let mut types = query.into_builder();
        information::TABLE_TYPES.iter().for_each(|name| types.append(name));
        Ok(answer::batch(types.build().map_err(|error| Status::internal(error.to_string()))?))
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Described {
        self.session(request.metadata())?;
        about(query.clone().into_builder(information::sql_info()?).schema(), query, request)
    }

    async fn do_get_sql_info(&self, query: CommandGetSqlInfo, request: Request<Ticket>) -> Answered {
        self.session(request.metadata())?;
        let told = query.into_builder(information::sql_info()?).build();
        Ok(answer::batch(told.map_err(|error| Status::internal(error.to_string()))?))
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Described {
        self.session(request.metadata())?;
        about(query.into_builder(information::type_info()?).schema(), query, request)
    }

    async fn do_get_xdbc_type_info(&self, query: CommandGetXdbcTypeInfo, request: Request<Ticket>) -> Answered {
        self.session(request.metadata())?;
        let told = query.into_builder(information::type_info()?).build();
        Ok(answer::batch(told.map_err(|error| Status::internal(error.to_string()))?))
    }

    async fn get_flight_info_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Described {
        self.session(request.metadata())?;
        about(information::primary_keys().schema(), query, request)
    }

    async fn do_get_primary_keys(&self, _: CommandGetPrimaryKeys, request: Request<Ticket>) -> Answered {
        self.session(request.metadata())?;
        Ok(answer::batch(information::primary_keys()))
    }

    async fn get_flight_info_exported_keys(
        &self,
        query: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Described {
        self.session(request.metadata())?;
        about(information::foreign_keys().schema(), query, request)
    }

    async fn do_get_exported_keys(&self, _: CommandGetExportedKeys, request: Request<Ticket>) -> Answered {
        self.session(request.metadata())?;
        Ok(answer::batch(information::foreign_keys()))
    }

    async fn get_flight_info_imported_keys(
        &self,
        query: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Described {
        self.session(request.metadata())?;
        about(information::foreign_keys().schema(), query, request)
    }

    async fn do_get_imported_keys(&self, _: CommandGetImportedKeys, request: Request<Ticket>) -> Answered {
        self.session(request.metadata())?;
        Ok(answer::batch(information::foreign_keys()))
    }

    async fn get_flight_info_cross_reference(
        &self,
        query: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Described {
        self.session(request.metadata())?;
        about(information::foreign_keys().schema(), query, request)
    }

    async fn do_get_cross_reference(&self, _: CommandGetCrossReference, request: Request<Ticket>) -> Answered {
        self.session(request.metadata())?;
        Ok(answer::batch(information::foreign_keys()))
    }

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}

impl FlightSql {
    /// Cancels the statement whose rows these are, if it runs.
    fn cancel(&self, info: &FlightInfo) -> Result<CancelStatus, Status> {
        let ticket = info.endpoint.first().and_then(|endpoint| endpoint.ticket.as_ref());
        let ticket = ticket.ok_or_else(|| Status::invalid_argument("the FlightInfo has no ticket"))?;
        let unreadable = |_| Status::invalid_argument("the ticket is not of here");
        let command = Any::decode(ticket.ticket.clone()).map_err(unreadable)?;
        let canceled = match Command::try_from(command) {
            Ok(Command::TicketStatementQuery(query)) => self.statements.cancel(&query.statement_handle)?,
            Ok(Command::CommandPreparedStatementQuery(query)) => {
                self.statements.cancel(&query.prepared_statement_handle)?
            }
            _ => false,
        };
        Ok(if canceled { CancelStatus::Cancelled } else { CancelStatus::NotCancellable })
    }
}
