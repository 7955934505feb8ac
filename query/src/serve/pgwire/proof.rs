//! Who a client is: without keys anybody, else whoever proves by SCRAM-SHA-256 that it has one. The key is the password;
//! the user name means nothing, except during a grace (`Keyring::wants_proof`).
//!
//! ```text
//! Startup    -> Identification::ask    -> Grant | AuthenticationSASL
//! first 'p'  -> Identification::answer -> AuthenticationSASLContinue
//! second 'p' -> Identification::answer -> AuthenticationSASLFinal, Grant
//! ```

use super::scram::{Exchange, MECHANISM, Malformed, Proof, server_final};
use crate::error::QueryError;
use ::pgwire::api::{ClientInfo, PgWireConnectionState};
use ::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use ::pgwire::messages::PgWireBackendMessage;
use ::pgwire::messages::startup::{Authentication, PasswordMessageFamily};
use futures::{Sink, SinkExt};
use parking_lot::Mutex;
use std::fmt::Debug;
use whence_storage::{AccessError, Grant, Keyring, Scope};

/// How far a connection's identification is.
#[derive(Debug, Default)]
pub(super) struct Identification(Mutex<Stage>);

#[derive(Debug, Default)]
enum Stage {
    /// Nothing was asked, or it has ended either way.
    #[default]
    Idle,
    /// The client was told how to prove that it has a key.
    Asked,
    /// It has begun to.
    Begun(Exchange),
}

impl Identification {
    /// Lets the client in, or asks it for its key: then `None`.
    pub(super) async fn ask<C>(&self, keyring: &Keyring, client: &mut C) -> PgWireResult<Option<Grant>>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let user = client.metadata().get("user").cloned().unwrap_or_default();
        if !keyring.wants_proof(&user) {
            return Ok(Some(keyring.anonymous()));
        }
        if keyring.scram().is_none() {
            // No key was ever made, so none can be good.
            return Err(refused(AccessError::Missing));
        }
        *self.0.lock() = Stage::Asked;
        client.set_state(PgWireConnectionState::AuthenticationInProgress);
        let ways = Authentication::SASL(vec![MECHANISM.to_owned()]);
        client.send(PgWireBackendMessage::Authentication(ways)).await?;
        Ok(None)
    }

    /// Reads what the client sends of its proof; the grant once it is complete and good.
    pub(super) async fn answer<C>(
        &self,
        keyring: &Keyring,
        client: &mut C,
        message: PasswordMessageFamily,
    ) -> PgWireResult<Option<Grant>>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        // Whatever goes wrong from here on, a proof is not asked for twice on one connection.
        let stage = std::mem::take(&mut *self.0.lock());
        match stage {
            Stage::Idle => Err(violation(Malformed("nothing was asked"))),
            Stage::Asked => {
                let first = message.into_sasl_initial_response()?;
                if first.auth_method != MECHANISM {
                    return Err(violation(Malformed("another mechanism than was offered")));
                }
                let parameters = keyring.scram().ok_or_else(|| refused(AccessError::Missing))?;
                let nonce = keyring.nonce().map_err(refused)?;
                let data = first.data.unwrap_or_default();
                let exchange = Exchange::begin(&data, &parameters, &nonce).map_err(violation)?;
                let next = Authentication::SASLContinue(exchange.server_first().to_owned().into());
                *self.0.lock() = Stage::Begun(exchange);
                client.send(PgWireBackendMessage::Authentication(next)).await?;
                Ok(None)
            }
            Stage::Begun(exchange) => {
                let last = message.into_sasl_response()?;
                let Proof { auth_message, proof } = exchange.proof(&last.data).map_err(violation)?;
                let (grant, signature) =
                    keyring.authenticate_proof(auth_message.as_bytes(), &proof, Scope::Read).map_err(refused)?;
                let end = Authentication::SASLFinal(server_final(&signature).into());
                client.feed(PgWireBackendMessage::Authentication(end)).await?;
                Ok(Some(grant))
            }
        }
    }
}

fn refused(error: AccessError) -> PgWireError {
    tracing::debug!(%error, "PostgreSQL wire: a client was not let in");
    let error = QueryError::from(error);
    fatal(error.sqlstate().0, error.to_string())
}

fn violation(Malformed(reason): Malformed) -> PgWireError {
    fatal("08P01", format!("SCRAM-SHA-256: {reason}"))
}

fn fatal(code: &str, message: String) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new("FATAL".to_owned(), code.to_owned(), message)))
}
