//! Rate, errors and duration in each half minute of the last hour, as the watcher found them, for whoever asks.

use crate::method::digest::Digest;
use crate::method::names::AllNames;
use crate::method::red::{Answered, Red};
use crate::method::slots::GridSlot;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use whence_schema::TenantId;
use whence_storage::Store;

/// Rows of one slot.
#[derive(Debug)]
pub(crate) struct RedSlot {
    pub(crate) slot: GridSlot,
    pub(crate) rows: Vec<RedRow>,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct RedRow {
    /// Who called; `None` for an operation, whoever called it.
    pub(crate) caller: Option<Arc<str>>,
    /// Who answered.
    pub(crate) asset: Arc<str>,
    /// Which operation; `None` for an edge, which is all that one asset asks of another.
    pub(crate) operation: Option<Arc<str>>,
    pub(crate) red: Red,
}

impl RedSlot {
    /// Of a digest whose numbers have these names.
    pub(crate) fn of(digest: &Digest, names: &AllNames) -> Self {
        let asset = |number| names.assets.shared(number);
        let row = |red: &Red| match red.answered {
            Answered::Operation { asset: of, operation } => {
                let operation = Some(names.operations.shared(operation));
                RedRow { caller: None, asset: asset(of), operation, red: *red }
            }
            Answered::Edge { caller, callee } => {
                RedRow { caller: Some(asset(caller)), asset: asset(callee), operation: None, red: *red }
            }
        };
        Self { slot: digest.slot, rows: digest.red.iter().map(row).collect() }
    }

    /// Bytes of memory, about; texts are counted with the names.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.rows.capacity() * size_of::<RedRow>()
    }
}

/// The last hour of each tenant who is watched.
#[derive(Debug)]
pub struct LiveRed {
    store: Store,
    tenants: Mutex<HashMap<TenantId, Hour>>,
}

#[derive(Debug)]
struct Hour {
    /// How often rows of the tenant had been erased.
    erasures: u64,
    slots: Vec<Arc<RedSlot>>,
}

impl LiveRed {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, tenants: Mutex::default() }
    }

    /// What is known of a tenant, by time; nothing of what was erased.
    pub(crate) fn slots(&self, tenant: &TenantId) -> Vec<Arc<RedSlot>> {
        let erasures = self.store.erasures(tenant);
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let hour = tenants.get(tenant).filter(|hour| hour.erasures == erasures);
        hour.map(|hour| hour.slots.clone()).unwrap_or_default()
    }

    /// Takes in what is known of a tenant now.
    pub(crate) fn put(&self, tenant: &TenantId, erasures: u64, slots: Vec<Arc<RedSlot>>) {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.insert(tenant.clone(), Hour { erasures, slots });
    }

    /// Forgets tenants who are not watched any more.
    pub(crate) fn retain(&self, is_watched: impl Fn(&TenantId) -> bool) {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.retain(|tenant, _| is_watched(tenant));
    }
}
