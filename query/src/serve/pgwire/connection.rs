//! One connection: its session, and what both protocols share.

use super::encode::RowEncoder;
use super::types::described;
use crate::error::{QueryError, SqlState};
use crate::session::{Answer, QueryStream, Session};
use crate::statement::{Command, Parsed};
use crate::{Parameter, QueryEngine};
use ::pgwire::api::auth::StartupHandler;
use ::pgwire::api::cancel::{CancelHandler, DefaultCancelHandler};
use ::pgwire::api::portal::Format;
use ::pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use ::pgwire::api::results::{FieldInfo, QueryResponse, Response, Tag};
use ::pgwire::api::{ConnectionHandle, ConnectionManager, PgWireServerHandlers};
use ::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use ::pgwire::messages::PgWireBackendMessage;
use ::pgwire::messages::response::TransactionStatus;
use ::pgwire::messages::startup::ParameterStatus;
use futures::{Sink, SinkExt, StreamExt, stream};
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
    pub(super) prepared: super::extended::PreparedBytes,
    pub(super) busy: Arc<Mutex<()>>,
    pub(super) cancellations: Arc<ConnectionManager>,
    shutdown: CancellationToken,
}

impl Connection {
    pub(super) fn new(engine: QueryEngine, cancellations: Arc<ConnectionManager>, shutdown: CancellationToken) -> Self {
        Self {
            engine,
            session: OnceLock::new(),
            identification: super::proof::Identification::default(),
            prepared: super::extended::PreparedBytes::default(),
            busy: Arc::default(),
            cancellations,
            shutdown,
        }
    }

    /// Opens the session; a connection has one, and its tenant never changes.
    pub(super) fn open(&self, grant: Grant) -> PgWireResult<&Session> {
        match self.session.set(self.engine.session(grant)) {
            Ok(()) => self.session(),
            Err(_) => Err(failure("08P01", "this connection is authenticated already")),
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
        Ok(match self.session()?.execute(statement, parameters).await.map_err(error)? {
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
