//! One connection: startup, simple queries, and what both protocols share.

use super::encode::RowEncoder;
use super::types::described;
use crate::error::{QueryError, SqlState};
use crate::provider::information_schema::DATABASE;
use crate::session::{Answer, QueryStream, Session};
use crate::statement::{Command, Parsed};
use crate::{Parameter, QueryEngine};
use ::pgwire::api::auth::{
    ServerParameterProvider, StartupHandler, finish_authentication, protocol_negotiation,
    save_startup_parameters_to_metadata,
};
use ::pgwire::api::cancel::{CancelHandler, DefaultCancelHandler};
use ::pgwire::api::portal::Format;
use ::pgwire::api::query::{
    ExtendedQueryHandler, SimpleQueryHandler, send_execution_response, send_query_response, send_ready_for_query,
};
use ::pgwire::api::results::{FieldInfo, QueryResponse, Response, Tag};
use ::pgwire::api::store::PortalStore;
use ::pgwire::api::{
    ClientInfo, ClientPortalStore, ConnectionHandle, ConnectionManager, PgWireConnectionState, PgWireServerHandlers,
    PidSecretKeyGenerator, RandomPidSecretKeyGenerator,
};
use ::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use ::pgwire::messages::response::{EmptyQueryResponse, TransactionStatus};
use ::pgwire::messages::simplequery::Query;
use ::pgwire::messages::startup::ParameterStatus;
use ::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use async_trait::async_trait;
use futures::{Sink, SinkExt, StreamExt, stream};
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// Time for the last message to a client before its connection is closed.
const FAREWELL: Duration = Duration::from_millis(200);

static KEYS: LazyLock<RandomPidSecretKeyGenerator> = LazyLock::new(RandomPidSecretKeyGenerator::default);

/// State and handlers of one connection.
pub(super) struct Connection {
    pub(super) session: Session,
    pub(super) prepared: super::extended::PreparedBytes,
    pub(super) busy: Arc<Mutex<()>>,
    cancellations: Arc<ConnectionManager>,
    shutdown: CancellationToken,
}

impl Connection {
    pub(super) fn new(engine: QueryEngine, cancellations: Arc<ConnectionManager>, shutdown: CancellationToken) -> Self {
        Self {
            session: engine.session(engine.keyring().anonymous()),
            prepared: super::extended::PreparedBytes::default(),
            busy: Arc::default(),
            cancellations,
            shutdown,
        }
    }

    /// Resolves when no statement runs and its last message had time to leave.
    pub(super) fn finished(&self) -> impl Future<Output = ()> + Send + use<> {
        let busy = self.busy.clone();
        async move {
            drop(busy.lock().await);
            tokio::time::sleep(FAREWELL).await;
        }
    }

    /// `work`, unless a cancel request, the end of the server or `deadline` comes first.
    pub(super) async fn guarded<T>(
        &self,
        handle: Option<Arc<ConnectionHandle>>,
        work: impl Future<Output = PgWireResult<T>>,
    ) -> PgWireResult<T> {
        let canceled = async {
            match handle {
                Some(handle) => {
                    // The sender is kept by the handle; if it is replaced, nobody cancels this statement any more.
                    if handle.start_query().await.await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            result = work => result,
            () = canceled => Err(error(QueryError::Canceled)),
            () = self.shutdown.cancelled() => Err(error(QueryError::Shutdown)),
        }
    }

    /// Runs a statement; rows are ready to be sent.
    pub(super) async fn respond(
        &self,
        statement: &Parsed,
        parameters: &[Parameter],
        format: &Format,
        status: TransactionStatus,
    ) -> PgWireResult<Response> {
        let ends = matches!(statement.command, Command::Commit | Command::Rollback);
        if matches!(status, TransactionStatus::Error) && !ends {
            return Err(failure(
                "25P02",
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        Ok(match self.session.execute(statement, parameters).await.map_err(error)? {
            Answer::Rows(rows) => {
                let fields = Arc::new(described(&rows.schema(), format));
                let mut response = QueryResponse::new(fields.clone(), encoded(rows, fields));
                if statement.is_explain() {
                    response.set_command_tag("EXPLAIN");
                } else if statement.is_show() {
                    response.set_command_tag("SHOW");
                }
                Response::Query(response)
            }
            Answer::Done("BEGIN") => Response::TransactionStart(Tag::new("BEGIN")),
            Answer::Done("COMMIT") if matches!(status, TransactionStatus::Error) => {
                Response::TransactionEnd(Tag::new("ROLLBACK"))
            }
            Answer::Done(tag @ ("COMMIT" | "ROLLBACK")) => Response::TransactionEnd(Tag::new(tag)),
            Answer::Done(tag) => Response::Execution(Tag::new(tag)),
        })
    }

    /// Tells the client about settings it follows.
    pub(super) async fn report_setting<C>(&self, client: &mut C, statement: &Parsed) -> PgWireResult<()>
    where
        C: Sink<PgWireBackendMessage> + Unpin + Send,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = match &statement.command {
            Command::Set { name, .. } | Command::Reset(Some(name)) => name,
            _ => return Ok(()),
        };
        if let Some((name, value)) = self.session.settings().report(name) {
            let status = ParameterStatus::new(name.to_owned(), value);
            client.feed(PgWireBackendMessage::ParameterStatus(status)).await?;
        }
        Ok(())
    }
}

/// Rows as messages, encoded as they are asked for.
fn encoded(
    rows: QueryStream,
    fields: Arc<Vec<FieldInfo>>,
) -> impl futures::Stream<Item = PgWireResult<::pgwire::messages::data::DataRow>> + Send {
    rows.map(move |batch| {
        let rows = batch.map_err(error).and_then(|batch| RowEncoder::new(&batch, fields.clone()));
        match rows {
            Ok(rows) => stream::iter(rows).left_stream(),
            Err(error) => stream::iter([Err(error)]).right_stream(),
        }
    })
    .flatten()
}

/// An error as the client gets it.
pub(super) fn error(error: QueryError) -> PgWireError {
    let state = error.sqlstate();
    if state == SqlState::INTERNAL {
        tracing::error!(error = ?error, "a statement failed");
    }
    let severity = if state == SqlState::SHUTDOWN { "FATAL" } else { "ERROR" };
    let mut info = ErrorInfo::new(severity.to_owned(), state.to_string(), error.to_string());
    info.severity_nonlocalized = Some(severity.to_owned());
    info.hint = error.hint().map(str::to_owned);
    PgWireError::UserError(Box::new(info))
}

/// An error of the protocol's own.
pub(super) fn failure(code: &str, message: &str) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new("ERROR".to_owned(), code.to_owned(), message.to_owned())))
}

/// Answers a connection that is one too many, and closes it.
pub(super) fn refuse(mut socket: TcpStream) {
    let text = format!("SFATAL\0VFATAL\0C{}\0Msorry, too many clients already\0\0", SqlState::TOO_MANY_CONNECTIONS);
    let mut message = vec![b'E'];
    message.extend_from_slice(&u32::try_from(text.len() + 4).unwrap_or(4).to_be_bytes());
    message.extend_from_slice(text.as_bytes());
    // Its buffer takes so little at once: no task, and no time, for those who are refused.
    let _ = socket.try_write(&message);
    drop(socket.shutdown());
}

struct Reported(HashMap<String, String>);

impl ServerParameterProvider for Reported {
    fn server_parameters<C: ClientInfo>(&self, _: &C) -> Option<HashMap<String, String>> {
        Some(self.0.clone())
    }
}

#[async_trait]
impl StartupHandler for Connection {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let PgWireFrontendMessage::Startup(startup) = &message else { return Ok(()) };
        protocol_negotiation(client, startup).await?;
        save_startup_parameters_to_metadata(client, startup);
        let parameters = client.metadata().clone();
        if let Some(name) = parameters.get("database").filter(|name| *name != DATABASE) {
            let mut info = ErrorInfo::new(
                "FATAL".to_owned(),
                SqlState::INVALID_DATABASE.to_string(),
                format!("database \"{}\" does not exist", name.chars().take(64).collect::<String>()),
            );
            info.hint = Some(format!("There is one database: {DATABASE}."));
            return Err(PgWireError::UserError(Box::new(info)));
        }
        for (name, value) in &parameters {
            // What a client wishes for and cannot have is shown to it in the parameters that follow.
            let _ = self.session.set(name, Some(value));
        }
        let (pid, key) = KEYS.generate(client);
        client.set_pid_and_secret_key(pid, key.clone());
        let (handle, guard) = self.cancellations.register(pid, key);
        client.session_extensions().insert::<Arc<ConnectionHandle>>(handle);
        client.session_extensions().insert(guard);
        let mut reported: HashMap<_, _> =
            self.session.settings().reported().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        reported.insert("session_authorization".to_owned(), parameters.get("user").cloned().unwrap_or_default());
        finish_authentication(client, &Reported(reported)).await
    }
}

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
        let statements = self.session.parse(&query.query).map_err(error)?;
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

/// What the library asks for: the one connection in all its roles.
#[derive(Clone)]
pub(super) struct Handlers(pub(super) Arc<Connection>);

impl PgWireServerHandlers for Handlers {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        self.0.clone()
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        self.0.clone()
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        self.0.clone()
    }

    fn cancel_handler(&self) -> Arc<impl CancelHandler> {
        Arc::new(DefaultCancelHandler::new(self.0.cancellations.clone()))
    }
}
