//! What the correlator concludes about a tenant and has to know again after a restart: incidents and log templates; onsets and
//! links of hours are in `onsets.rs`.
//!
//! They are rows of the control database, not of chunks: few, and changed while they last. What they say comes from
//! events, so they go with them:
//!
//! | what is erased | what goes with it |
//! |---|---|
//! | everything of a tenant, or all its events | all its incidents, templates and onsets |
//! | events under a condition, metrics | incidents, templates and onsets that name an asset of an erased row and are of its time |
//! | all its correlations | all its incidents |
//! | correlations under a condition | nothing |
//!
//! The correlator may hold in memory what was erased here. While rows of a tenant are being erased nothing is taken for
//! it, and [`Store::erasures`] tells the correlator afterwards that it has to forget what it knows.

use crate::{Erasure, StorageError, Store};
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use whence_schema::{EventId, Table, TenantId, UnixNanos};

/// Incidents of one tenant that are kept, the newest.
pub(crate) const MOST_INCIDENTS: i64 = 10_000;
/// Log templates of one tenant that are kept, those last seen.
pub(crate) const MOST_TEMPLATES: i64 = 50_000;
/// An incident is what it is by comparison with the time before it, this much of it (nanoseconds).
const COMPARED: i64 = 3_600_000_000_000;

/// One incident of a tenant, as the correlator keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    /// Its number, given by the correlator: the same when it is kept again.
    pub id: u128,
    /// When it began.
    pub opened: UnixNanos,
    /// When it ended; `None` while it is open.
    pub closed: Option<UnixNanos>,
    /// How far the worst of it is from what is usual, in standard deviations.
    pub severity: f64,
    /// What is wrong, in a few words.
    pub title: String,
    /// The asset with the strongest evidence against it.
    pub asset: Option<String>,
    /// What kind of cause that is.
    pub cause_kind: Option<String>,
    /// How sure that is, 0 to 1.
    pub confidence: Option<f32>,
    /// The assets in which something was different. An asset that is not named here is not spoken of anywhere: that is
    /// how an incident is found when rows of an asset are erased.
    pub affected: Vec<String>,
    /// The first event that shows the evidence.
    pub first_symptom: Option<EventId>,
    /// Why, in sentences.
    pub explanation: String,
    /// When the correlator last changed it.
    pub updated_at: UnixNanos,
}

/// One log template: what messages of an asset have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTemplate {
    /// Its number, given by the correlator and stable.
    pub id: i64,
    /// Whose messages.
    pub asset: String,
    /// The message with what varies masked.
    pub text: String,
    /// When the first such message was written.
    pub first_seen: UnixNanos,
    /// When the latest was.
    pub last_seen: UnixNanos,
}

/// The first and the last time of erased rows, by asset.
pub(crate) type ErasedAssets = BTreeMap<String, (UnixNanos, UnixNanos)>;

impl Incident {
    /// Whether it may speak of rows of those assets and times.
    pub(crate) fn may_tell_of(&self, erased: &ErasedAssets) -> bool {
        let (from, to) = (self.opened.0.saturating_sub(COMPARED), self.closed.map_or(i64::MAX, |closed| closed.0));
        let names = |asset: &String| {
            self.asset.as_ref() == Some(asset)
                || self.affected.contains(asset)
                || [&self.title, &self.explanation].iter().any(|text| text.contains(asset.as_str()))
        };
        erased.iter().any(|(asset, (first, last))| first.0 <= to && last.0 >= from && names(asset))
    }
}

impl LogTemplate {
    /// Whether it may be made of rows of those assets and times.
    pub(crate) fn may_tell_of(&self, erased: &ErasedAssets) -> bool {
        erased.get(&self.asset).is_some_and(|(first, last)| *first <= self.last_seen && *last >= self.first_seen)
    }
}

/// Who may put what the correlator concludes: nobody for a tenant whose rows are being erased.
#[derive(Debug, Clone, Default)]
pub(crate) struct Conclusions {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Held while something is put, so that an erasure begins before or after it.
    putting: tokio::sync::Mutex<()>,
    erasures: parking_lot::Mutex<HashMap<TenantId, Erasures>>,
}

#[derive(Debug, Default)]
struct Erasures {
    running: u32,
    ended: u64,
}

/// Nothing is put for the tenant as long as this lives.
#[derive(Debug)]
pub(crate) struct Closed {
    conclusions: Conclusions,
    tenant: TenantId,
}

impl Conclusions {
    /// Waits for what is being put, and lets nothing more be put for the tenant.
    pub(crate) async fn close(&self, tenant: &TenantId) -> Closed {
        let _nobody_puts = self.inner.putting.lock().await;
        self.inner.erasures.lock().entry(tenant.clone()).or_default().running += 1;
        Closed { conclusions: self.clone(), tenant: tenant.clone() }
    }

    pub(crate) async fn open(&self, tenant: &TenantId) -> Result<tokio::sync::MutexGuard<'_, ()>, StorageError> {
        let putting = self.inner.putting.lock().await;
        let running = self.inner.erasures.lock().get(tenant).is_some_and(|erasures| erasures.running > 0);
        if running { Err(StorageError::Erasing) } else { Ok(putting) }
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        if let Some(erasures) = self.conclusions.inner.erasures.lock().get_mut(&self.tenant) {
            erasures.running -= 1;
            erasures.ended += 1;
        }
    }
}

impl Store {
    /// Keeps incidents; one with the id of a kept one takes its place. Of a tenant, the 10,000 that opened last are kept.
    /// Fsyncs.
    ///
    /// # Errors
    ///
    /// When the control database fails or the store is closed. [`StorageError::Erasing`] while rows of the tenant are
    /// being erased: see [`erasures`](Self::erasures).
    pub async fn put_incidents(&self, tenant: &TenantId, incidents: &[Incident]) -> Result<(), StorageError> {
        self.check_running()?;
        let _putting = self.conclusions().open(tenant).await?;
        self.control().put_incidents(tenant, incidents, (self.shared().options.clock)()).await
    }

    /// The incidents of a tenant, in the order in which they opened.
    ///
    /// # Errors
    ///
    /// When the control database fails.
    pub async fn incidents(&self, tenant: &TenantId) -> Result<Vec<Incident>, StorageError> {
        self.control().incidents(tenant).await
    }

    /// Keeps log templates; one with the id of a kept one takes its place. Of a tenant, the 50,000 that were last seen are
    /// kept. Fsyncs.
    ///
    /// # Errors
    ///
    /// As [`put_incidents`](Self::put_incidents).
    pub async fn put_log_templates(&self, tenant: &TenantId, templates: &[LogTemplate]) -> Result<(), StorageError> {
        self.check_running()?;
        let _putting = self.conclusions().open(tenant).await?;
        self.control().put_log_templates(tenant, templates, (self.shared().options.clock)()).await
    }

    /// The log templates of a tenant, by number.
    ///
    /// # Errors
    ///
    /// When the control database fails.
    pub async fn log_templates(&self, tenant: &TenantId) -> Result<Vec<LogTemplate>, StorageError> {
        self.control().log_templates(tenant).await
    }

    /// How many times rows of the tenant were erased since the store was opened. Who keeps incidents or templates in
    /// memory and finds another number than before forgets those and reads again what is left.
    pub fn erasures(&self, tenant: &TenantId) -> u64 {
        self.conclusions().inner.erasures.lock().get(tenant).map_or(0, |erasures| erasures.ended)
    }

    /// Erases what goes with all rows that are named, after all links were committed; what goes with rows under a condition is found with them.
    pub(crate) async fn erase_conclusions(&self, erasure: &Erasure) -> Result<(), StorageError> {
        // What is in the table now is not to come back from here.
        self.control().forget_links_of_onset_hours(&erasure.tenant).await?;
        match (erasure.table, &erasure.condition) {
            (None | Some(Table::Events), None) => {
                self.control().forget_onset_hours(&erasure.tenant).await?;
                self.control().forget_conclusions(&erasure.tenant).await
            }
            (Some(Table::Correlations), None) => self.control().forget_incidents(&erasure.tenant).await,
            _ => Ok(()),
        }
    }

    /// Erases what may tell of rows that are erased.
    pub(crate) async fn erase_conclusions_about(
        &self,
        tenant: &TenantId,
        erased: &ErasedAssets,
    ) -> Result<(), StorageError> {
        let control = self.control();
        let incidents = control.incidents(tenant).await?;
        let incidents: Vec<u128> = incidents.iter().filter(|one| one.may_tell_of(erased)).map(|one| one.id).collect();
        let templates = control.log_templates(tenant).await?;
        let templates: Vec<i64> = templates.iter().filter(|one| one.may_tell_of(erased)).map(|one| one.id).collect();
        control.forget(tenant, &incidents, &templates).await?;
        control.forget_onsets_about(tenant, erased).await
    }
}
