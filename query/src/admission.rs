//! Turns: how many statements run at one time, of one tenant and in all. Others wait in the order they came, for a while.

use crate::error::QueryError;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use whence_schema::TenantId;

/// Statements that may wait for every one that may run: whoever comes later is told at once.
const WAITING_PER_RUNNING: usize = 16;

/// Gives out turns.
#[derive(Debug)]
pub(crate) struct Admission {
    all: Arc<Semaphore>,
    of_tenants: Mutex<HashMap<TenantId, Arc<Semaphore>>>,
    per_tenant: usize,
    /// Places of those that run or wait, by tenant, so that one tenant's queue takes no bounds of another.
    places: Mutex<HashMap<TenantId, usize>>,
    patience: Duration,
}

/// A turn, given back when dropped: by the task that runs the statement, so that one that computes on after its client
/// has left still counts.
#[derive(Debug)]
pub(crate) struct Turn {
    _all: OwnedSemaphorePermit,
    _of_tenant: OwnedSemaphorePermit,
    _place: Place,
}

#[derive(Debug)]
struct Place {
    admission: Arc<Admission>,
    tenant: TenantId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.admission.places.lock();
        let left = places.get(&self.tenant).map_or(0, |count| count.saturating_sub(1));
        if left > 0 {
            places.insert(self.tenant.clone(), left);
            return;
        }
        places.remove(&self.tenant);
        // Nobody of this tenant runs or waits: nobody holds a permit of it either, this turn's excepted.
        self.admission.of_tenants.lock().remove(&self.tenant);
    }
}

impl Admission {
    /// At most `all` statements, `per_tenant` of one tenant; others wait up to `patience`.
    pub(crate) fn new(all: usize, per_tenant: usize, patience: Duration) -> Arc<Self> {
        let (all, per_tenant) = (all.max(1), per_tenant.max(1));
        Arc::new(Self {
            all: Arc::new(Semaphore::new(all)),
            of_tenants: Mutex::default(),
            per_tenant,
            places: Mutex::default(),
            patience,
        })
    }

    /// Waits for a turn.
    ///
    /// # Errors
    ///
    /// [`QueryError::Busy`] when none comes in time, or too many wait already.
    pub(crate) async fn turn(self: &Arc<Self>, tenant: &TenantId) -> Result<Turn, QueryError> {
        let place = self.place(tenant)?;
        let own = {
            let mut of_tenants = self.of_tenants.lock();
            of_tenants.entry(tenant.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.per_tenant))).clone()
        };
        let busy = |what| QueryError::Busy { what, waited: self.patience };
        let until = tokio::time::Instant::now() + self.patience;
        let waited = tokio::time::timeout_at(until, own.acquire_owned()).await;
        let of_tenant = waited.map_err(|_| busy("this tenant's statements"))?.map_err(|_| QueryError::Shutdown)?;
        let waited = tokio::time::timeout_at(until, self.all.clone().acquire_owned()).await;
        let all = waited.map_err(|_| busy("all statements"))?.map_err(|_| QueryError::Shutdown)?;
        Ok(Turn { _all: all, _of_tenant: of_tenant, _place: place })
    }

    fn place(self: &Arc<Self>, tenant: &TenantId) -> Result<Place, QueryError> {
        let mut places = self.places.lock();
        let taken = places.entry(tenant.clone()).or_insert(0);
        if *taken >= self.per_tenant.saturating_mul(1 + WAITING_PER_RUNNING) {
            return Err(QueryError::Busy { what: "this tenant's statements", waited: Duration::ZERO });
        }
        *taken += 1;
        Ok(Place { admission: self.clone(), tenant: tenant.clone() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_tenant_waits_for_its_own_turns_and_leaves_those_of_others() {
        let admission = Admission::new(3, 2, Duration::ZERO);
        let (a, b) = (TenantId::new("a"), TenantId::new("b"));
        let (first, second) = (admission.turn(&a).await.unwrap(), admission.turn(&a).await.unwrap());
        let error = admission.turn(&a).await.unwrap_err();
        assert!(matches!(error, QueryError::Busy { what: "this tenant's statements", .. }));
        assert_eq!(error.sqlstate().0, "53300");
        let other = admission.turn(&b).await.unwrap();
        assert!(matches!(admission.turn(&b).await, Err(QueryError::Busy { what: "all statements", .. })));
        drop(first);
        drop(admission.turn(&a).await.unwrap());
        drop((second, other));
        assert!(admission.places.lock().is_empty() && admission.of_tenants.lock().is_empty(), "nothing is kept");
        assert_eq!(admission.all.available_permits(), 3);
    }

    #[tokio::test]
    async fn who_waits_gets_the_next_turn_and_a_queue_that_is_full_is_told_at_once() {
        let admission = Admission::new(1, 1, Duration::from_secs(3_600));
        let tenant = TenantId::new("a");
        let running = admission.turn(&tenant).await.unwrap();
        let wait = || {
            let (admission, tenant) = (admission.clone(), tenant.clone());
            tokio::spawn(async move { admission.turn(&tenant).await.map(drop) })
        };
        let waiting: Vec<_> = (0..WAITING_PER_RUNNING).map(|_| wait()).collect();
        while admission.places.lock()[&tenant] <= WAITING_PER_RUNNING {
            tokio::task::yield_now().await;
        }
        let error = admission.turn(&tenant).await.unwrap_err();
        assert!(matches!(error, QueryError::Busy { waited: Duration::ZERO, .. }));
        drop(running);
        for task in waiting {
            task.await.unwrap().unwrap();
        }
    }
}
