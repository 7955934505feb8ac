//! Start-up: who connects, and which tenant that is.
//!
//! ```text
//! Startup message -> begin (protocol version, database) -> [proof of identity] -> admit (session of a tenant) -> ReadyForQuery
//! ```
//!
//! A connection has no session before [`admit`]: nothing can be asked of it.

use super::connection::Connection;
use crate::error::SqlState;
use crate::provider::information_schema::DATABASE;
use ::pgwire::api::auth::{
    ServerParameterProvider, StartupHandler, finish_authentication, protocol_negotiation,
    save_startup_parameters_to_metadata,
};
use ::pgwire::api::{ClientInfo, ConnectionHandle, PidSecretKeyGenerator, RandomPidSecretKeyGenerator};
use ::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use ::pgwire::messages::startup::Startup;
use ::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use async_trait::async_trait;
use futures::Sink;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, LazyLock};
use whence_storage::Grant;

static KEYS: LazyLock<RandomPidSecretKeyGenerator> = LazyLock::new(RandomPidSecretKeyGenerator::default);

#[async_trait]
impl StartupHandler for Connection {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        match message {
            PgWireFrontendMessage::Startup(startup) => {
                begin(client, &startup, self.tls_required).await?;
                match self.identification.ask(self.engine.keyring(), client).await? {
                    Some(grant) => admit(self, client, grant).await,
                    None => Ok(()),
                }
            }
            PgWireFrontendMessage::PasswordMessageFamily(answer) => {
                match self.identification.answer(self.engine.keyring(), client, answer).await? {
                    Some(grant) => admit(self, client, grant).await,
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

/// Reads the start-up message; what it says is in the client's metadata then.
async fn begin<C>(client: &mut C, startup: &Startup, tls_required: bool) -> PgWireResult<()>
where
    C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    protocol_negotiation(client, startup).await?;
    save_startup_parameters_to_metadata(client, startup);
    if tls_required && !client.is_secure() {
        return Err(fatal(
            "28000",
            "this server accepts connections with TLS only: connect with sslmode=require",
            None,
        ));
    }
    if let Some(name) = client.metadata().get("database").filter(|name| *name != DATABASE) {
        let text = format!("database \"{}\" does not exist", name.chars().take(64).collect::<String>());
        let hint = format!("There is one database: {DATABASE}.");
        return Err(fatal(SqlState::INVALID_DATABASE.0, &text, Some(hint)));
    }
    Ok(())
}

/// An error that ends the connection.
fn fatal(code: &str, message: &str, hint: Option<String>) -> PgWireError {
    let mut info = ErrorInfo::new("FATAL".to_owned(), code.to_owned(), message.to_owned());
    info.severity_nonlocalized = Some("FATAL".to_owned());
    info.hint = hint;
    PgWireError::UserError(Box::new(info))
}

/// Opens the connection's session, which sees the rows of the grant's tenant, and tells the client that it may ask.
async fn admit<C>(connection: &Connection, client: &mut C, grant: Grant) -> PgWireResult<()>
where
    C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let session = connection.open(grant, client.socket_addr())?;
    let parameters = client.metadata().clone();
    for (name, value) in &parameters {
        // What a client wishes for and cannot have is shown to it in the parameters that follow.
        let _ = session.set(name, Some(value));
    }
    let (pid, key) = KEYS.generate(client);
    client.set_pid_and_secret_key(pid, key.clone());
    let user = parameters.get("user").cloned().unwrap_or_default();
    connection.list(session.list(pid, user, client.socket_addr()));
    let (handle, guard) = connection.cancellations.register(pid, key);
    client.session_extensions().insert::<Arc<ConnectionHandle>>(handle);
    client.session_extensions().insert(guard);
    let mut reported: HashMap<_, _> =
        session.settings().reported().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    reported.insert("session_authorization".to_owned(), parameters.get("user").cloned().unwrap_or_default());
    finish_authentication(client, &Reported(reported)).await
}

struct Reported(HashMap<String, String>);

impl ServerParameterProvider for Reported {
    fn server_parameters<C: ClientInfo>(&self, _: &C) -> Option<HashMap<String, String>> {
        Some(self.0.clone())
    }
}
