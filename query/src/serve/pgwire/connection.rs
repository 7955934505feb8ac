//! One connection: its session, and what both protocols share.

use super::encode::RowEncoder;
use super::reply::{Reply, in_transaction, not_in_transaction};
use super::types::described;
use crate::activity::{Listed, State};
use crate::error::{QueryError, SqlState};
use crate::session::{Answer, Session};
use crate::statement::{Command, Parsed};
use crate::stream::QueryStream;
use crate::{Parameter, QueryEngine};
use ::pgwire::api::auth::StartupHandler;
use ::pgwire::api::cancel::{CancelHandler, DefaultCancelHandler};
use ::pgwire::api::portal::Format;
use ::pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use ::pgwire::api::results::{FieldInfo, QueryResponse, Tag};
use ::pgwire::api::{ConnectionHandle, ConnectionManager, PgWireServerHandlers};
use ::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use ::pgwire::messages::PgWireBackendMessage;
use ::pgwire::messages::response::TransactionStatus;
use ::pgwire::messages::startup::ParameterStatus;
use futures::{Sink, SinkExt, StreamExt, stream};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use whence_storage::Grant;

/// Time for the last message to a client before its connection is closed.
const FAREWELL: Duration = Duration::from_millis(200);

/// State and handlers of one connection.
pub(super) struct Connection {
    pub(super) engine: QueryEngine,
    session: OnceLock<Session>,
    pub(super) identification: super::proof::Identification,
    listed: OnceLock<Listed>,
    pub(super) prepared: super::names::PreparedBytes,
    pub(super) portals: super::names::NamedPortals,
    pub(super) busy: Arc<Mutex<()>>,
    pub(super) cancellations: Arc<ConnectionManager>,
    shutdown: CancellationToken,
    pub(super) tls_required: bool,
}

impl Connection {
    pub(super) fn new(
        engine: QueryEngine,
        cancellations: Arc<ConnectionManager>,
        shutdown: CancellationToken,
        tls_required: bool,
    ) -> Self {
        Self {
            engine,
            session: OnceLock::new(),
            identification: super::proof::Identification::default(),
            listed: OnceLock::new(),
            prepared: super::names::PreparedBytes::default(),
            portals: super::names::NamedPortals::default(),
            busy: Arc::default(),
            cancellations,
            shutdown,
            tls_required,
        }
    }

    /// Opens the session; a connection has one, and its tenant never changes.
    pub(super) fn open(&self, grant: Grant, peer: SocketAddr) -> PgWireResult<&Session> {
        let session = self.engine.session(grant);
        let local = peer.ip().to_canonical().is_loopback();
        match self.session.set(if local { session.on_this_host() } else { session }) {
            Ok(()) => self.session(),
            Err(_) => Err(failure("08P01", "this connection is authenticated already")),
        }
    }

    /// Keeps the connection's place among those that are shown.
    pub(super) fn list(&self, listed: Listed) {
        let _ = self.listed.set(listed);
    }

    /// A statement starts; `pg_stat_activity` shows it from now on.
    pub(super) fn running(&self, statement: &str) {
        if let Some(listed) = self.listed.get() {
            listed.begin(statement);
        }
    }

    /// The statement has ended, and the transaction is in `status`.
    pub(super) fn idle(&self, status: TransactionStatus) {
        if let Some(listed) = self.listed.get() {
            listed.end(match status {
                TransactionStatus::Idle => State::Idle,
                TransactionStatus::Transaction => State::IdleInTransaction,
                TransactionStatus::Error => State::IdleInFailedTransaction,
            });
        }
    }

    /// The session, once the client is authenticated.
    pub(super) fn session(&self) -> PgWireResult<&Session> {
        self.session.get().ok_or_else(|| failure("28000", "not authenticated"))
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
        let by_function = async {
            match self.listed.get() {
                Some(listed) => listed.canceled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            result = work => result,
            () = by_function => Err(error(QueryError::Canceled)),
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
    ) -> PgWireResult<Reply> {
        match &statement.command {
            Command::Commit | Command::Rollback => {}
            Command::RollbackToSavepoint => in_transaction(status, "ROLLBACK TO SAVEPOINT")?,
            _ if matches!(status, TransactionStatus::Error) => {
                let text = "current transaction is aborted, commands ignored until end of transaction block";
                return Err(failure("25P02", text));
            }
            Command::Declare { hold: false, .. } => in_transaction(status, "DECLARE CURSOR")?,
            Command::View(view) if view.changes() => not_in_transaction(status, view.tag())?,
            _ => {}
        }
        Ok(match self.session()?.execute(statement, parameters).await.map_err(error)? {
            Answer::Rows(rows) => {
                let fields = Arc::new(described(&rows.schema(), format));
                let mut response = QueryResponse::new(fields.clone(), encoded(rows, fields));
                response.set_command_tag(match &statement.command {
                    Command::Fetch { .. } => "FETCH",
                    _ if statement.is_explain() => "EXPLAIN",
                    _ if statement.is_show() => "SHOW",
                    _ => "SELECT",
                });
                Reply::Rows(response)
            }
            Answer::Copy(rows, format) => Reply::Copy(rows, format),
            Answer::Passed(tag, rows) => {
                Reply::Done(Tag::new(tag).with_rows(usize::try_from(rows).unwrap_or(usize::MAX)), status)
            }
            Answer::Told(tag, notices) => Reply::Told(Tag::new(tag), notices),
            Answer::Done(tag) => {
                // A transaction that has failed is not committed, and says so.
                let failed = matches!(status, TransactionStatus::Error) && tag == "COMMIT";
                let tag = Tag::new(if failed { "ROLLBACK" } else { tag });
                Reply::Done(
                    tag,
                    match &statement.command {
                        Command::Begin | Command::RollbackToSavepoint => TransactionStatus::Transaction,
                        Command::Commit | Command::Rollback => TransactionStatus::Idle,
                        _ => status,
                    },
                )
            }
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
        if let Some((name, value)) = self.session()?.settings().report(name) {
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

/// Remembers the place of an error in the client's text, for [`located`].
fn place(error: &QueryError, info: &mut ErrorInfo) {
    info.where_context = error.place().map(|(line, column)| format!("line {line}, column {column}"));
}

/// An error with its place as PostgreSQL tells it: the number of the character in the text.
pub(super) fn located(error: PgWireError, text: &str) -> PgWireError {
    let PgWireError::UserError(mut info) = error else { return error };
    if let Some(place) = info.where_context.take() {
        info.position = position(&place, text).map(|position| position.to_string());
    }
    PgWireError::UserError(info)
}

fn position(place: &str, text: &str) -> Option<usize> {
    let (line, column) = place.strip_prefix("line ")?.split_once(", column ")?;
    let (line, column) = (line.parse::<usize>().ok()?, column.parse::<usize>().ok()?);
    let before: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(|line| line.chars().count()).sum();
    Some(before + column).filter(|position| *position <= text.chars().count() + 1)
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
    place(&error, &mut info);
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
