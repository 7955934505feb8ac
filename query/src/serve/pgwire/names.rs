//! What a connection has named: prepared statements, within limits, and portals.

use super::connection::failure;
use ::pgwire::api::DEFAULT_NAME;
use ::pgwire::api::portal::PortalExecutionState;
use ::pgwire::error::PgWireResult;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// Statement texts a connection may keep prepared, in bytes and in number.
const MAX_PREPARED_BYTES: usize = 16 << 20;
const MAX_PREPARED: usize = 4_096;

/// Prepared statements by name, with the size of their text.
#[derive(Default)]
pub(super) struct PreparedBytes(Mutex<HashMap<String, usize>>);

impl PreparedBytes {
    pub(super) fn keep(&self, name: &str, bytes: usize) -> PgWireResult<()> {
        let mut prepared = self.0.lock();
        let others: usize = prepared.iter().filter(|(other, _)| *other != name).map(|(_, bytes)| bytes).sum();
        if others + bytes > MAX_PREPARED_BYTES || prepared.len() >= MAX_PREPARED {
            return Err(failure("54000", "too many prepared statements: close some of them"));
        }
        prepared.insert(name.to_owned(), bytes);
        Ok(())
    }

    pub(super) fn forget(&self, name: &str) {
        self.0.lock().remove(name);
    }
}

/// Rows of a portal, and how far they were read.
pub(super) type PortalState = tokio::sync::Mutex<PortalExecutionState>;

/// Portals by name that MOVE may find; they live as long as the protocol keeps them.
#[derive(Default)]
pub(super) struct NamedPortals(Mutex<HashMap<String, Weak<PortalState>>>);

impl NamedPortals {
    pub(super) fn keep(&self, name: &str, state: &Arc<PortalState>) {
        if name != DEFAULT_NAME {
            let mut portals = self.0.lock();
            portals.retain(|_, portal| portal.strong_count() > 0);
            portals.insert(name.to_owned(), Arc::downgrade(state));
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<PortalState>> {
        self.0.lock().get(name)?.upgrade()
    }
}
