//! Statements between the calls of a client: tickets, prepared statements, and what runs, so that it can be canceled.

use crate::error::QueryError;
use crate::{Parameter, Parsed};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use whence_schema::TenantId;

/// Prepared statements that are kept; beyond it the one that was not used for longest is forgotten.
const MAX_PREPARED: usize = 1_024;
/// Bytes of the parameters of one prepared statement.
const MAX_PARAMETER_BYTES: usize = 1 << 20;
/// Statements nobody uses for so long are forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);

/// Name of a statement that runs or was prepared; whoever does not know it cannot guess it.
pub(super) type StatementId = [u8; 16];

/// A name of its own for a statement.
pub(super) fn new_id() -> StatementId {
    rand::random()
}

/// The id that a handle or ticket starts with.
pub(super) fn id_of(handle: &[u8]) -> Result<(StatementId, &[u8]), Status> {
    let (id, rest) = handle.split_first_chunk().ok_or_else(|| Status::invalid_argument("the handle is not of here"))?;
    Ok((*id, rest))
}

/// A ticket: an id to cancel it by, then the SQL.
pub(super) fn ticket(sql: &str) -> Vec<u8> {
    [&new_id()[..], sql.as_bytes()].concat()
}

/// Id and SQL of a ticket.
pub(super) fn read_ticket(ticket: &[u8]) -> Result<(StatementId, String), Status> {
    let (id, sql) = id_of(ticket)?;
    let sql = std::str::from_utf8(sql).map_err(|_| Status::invalid_argument("the ticket is not of here"))?;
    Ok((id, sql.to_owned()))
}

/// A statement that was prepared.
#[derive(Clone)]
pub(super) struct Prepared {
    pub(super) tenant: TenantId,
    pub(super) sql: String,
    pub(super) statement: Parsed,
    pub(super) parameters: Vec<Parameter>,
}

/// All statements between calls. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Statements {
    prepared: Arc<Mutex<HashMap<StatementId, (Prepared, Instant)>>>,
    running: Arc<Mutex<HashMap<StatementId, CancellationToken>>>,
}

impl Statements {
    /// Keeps a statement for later calls.
    pub(super) fn prepare(&self, prepared: Prepared) -> StatementId {
        let (id, now) = (new_id(), Instant::now());
        let mut kept = self.prepared.lock();
        kept.retain(|_, (_, used)| now.duration_since(*used) < FORGOTTEN_AFTER);
        if kept.len() >= MAX_PREPARED
            && let Some(oldest) = kept.iter().min_by_key(|(_, (_, used))| *used).map(|(id, _)| *id)
        {
            kept.remove(&oldest);
        }
        kept.insert(id, (prepared, now));
        id
    }

    /// A statement prepared before by the same tenant.
    pub(super) fn prepared(&self, handle: &[u8], tenant: &TenantId) -> Result<(StatementId, Prepared), Status> {
        let (id, _) = id_of(handle)?;
        match self.prepared.lock().get_mut(&id) {
            Some((prepared, used)) if prepared.tenant == *tenant => {
                *used = Instant::now();
                Ok((id, prepared.clone()))
            }
            _ => Err(Status::not_found("there is no such prepared statement (any more): prepare it again")),
        }
    }

    /// Sets the parameters of a prepared statement; `bytes` is what they came in.
    pub(super) fn bind(&self, id: StatementId, parameters: Vec<Parameter>, bytes: usize) -> Result<(), Status> {
        if bytes > MAX_PARAMETER_BYTES {
            return Err(Status::invalid_argument(format!("parameters of more than {MAX_PARAMETER_BYTES} bytes")));
        }
        if let Some((prepared, _)) = self.prepared.lock().get_mut(&id) {
            prepared.parameters = parameters;
        }
        Ok(())
    }

    /// Forgets a prepared statement.
    pub(super) fn close(&self, handle: &[u8]) -> Result<(), Status> {
        let (id, _) = id_of(handle)?;
        self.prepared.lock().remove(&id);
        Ok(())
    }

    /// Notes that a statement runs, for as long as the answer lives.
    pub(super) fn run(&self, id: StatementId) -> Running {
        let token = CancellationToken::new();
        self.running.lock().insert(id, token.clone());
        Running { id, token, statements: self.clone() }
    }

    /// Cancels what runs under the name; false if nothing does.
    pub(super) fn cancel(&self, handle: &[u8]) -> Result<bool, Status> {
        let (id, _) = id_of(handle)?;
        let token = self.running.lock().get(&id).cloned();
        if let Some(token) = &token {
            token.cancel();
        }
        Ok(token.is_some())
    }
}

/// A statement that runs.
pub(super) struct Running {
    id: StatementId,
    token: CancellationToken,
    statements: Statements,
}

impl Running {
    /// Returns once somebody cancels the statement.
    pub(super) async fn canceled(&self) {
        self.token.cancelled().await;
    }

    /// `work`, unless the statement is canceled before it ends.
    pub(super) async fn unless_canceled<T>(
        &self,
        work: impl Future<Output = Result<T, QueryError>>,
    ) -> Result<T, QueryError> {
        tokio::select! {
            () = self.canceled() => Err(QueryError::Canceled),
            done = work => done,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.statements.running.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::statement::parse;

    fn prepared(tenant: &str) -> Prepared {
        let statement = parse("SELECT 1").unwrap().remove(0);
        let tenant = TenantId::new(tenant);
        Prepared { tenant, sql: "SELECT 1".to_owned(), statement, parameters: Vec::new() }
    }

    #[test]
    fn a_prepared_statement_is_its_tenants_and_the_oldest_is_forgotten_when_there_are_too_many() {
        let statements = Statements::default();
        let first = statements.prepare(prepared("mine"));
        assert!(statements.prepared(&first, &TenantId::new("mine")).is_ok());
        assert!(statements.prepared(&first, &TenantId::new("other")).is_err());
        assert!(statements.prepared(b"short", &TenantId::new("mine")).is_err());
        assert!(statements.bind(first, vec![Parameter::Null], MAX_PARAMETER_BYTES + 1).is_err());
        statements.bind(first, vec![Parameter::Null], 8).unwrap();
        assert_eq!(statements.prepared(&first, &TenantId::new("mine")).unwrap().1.parameters, [Parameter::Null]);
        for _ in 0..MAX_PREPARED {
            statements.prepare(prepared("mine"));
        }
        assert_eq!(statements.prepared.lock().len(), MAX_PREPARED);
        assert!(statements.prepared(&first, &TenantId::new("mine")).is_err());
    }

    #[test]
    fn what_runs_can_be_canceled_until_it_has_ended() {
        let statements = Statements::default();
        let ticket = ticket("SELECT 1");
        let (id, sql) = read_ticket(&ticket).unwrap();
        assert_eq!(sql, "SELECT 1");
        assert!(!statements.cancel(&ticket).unwrap());
        let running = statements.run(id);
        assert!(statements.cancel(&ticket).unwrap());
        assert!(running.token.is_cancelled());
        drop(running);
        assert!(!statements.cancel(&ticket).unwrap());
    }
}
