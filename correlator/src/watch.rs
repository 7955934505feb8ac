//! Finds incidents as data arrives.
//!
//! ```text
//! linker --slots that have rows--> arrivals --> calendar: which slots are complete          (per tenant)
//!                                                  |
//!          snapshot --one slot, once--> reader --digest--> history: the last hour --scan--> runs
//!                                        | |  \--points--> levels: the last hour ---scan----/ |
//!                                        | red --> whence.live_red                           |
//!                                       messages                              ongoing: opens, grows, closes
//!                                          |                                                 |
//!                                 Store::put_log_templates                        Store::put_incidents <-- look
//!
//!          slots of a full hour were read --> hours: onsets, links --> Store::put_onset_hour
//! ```
//!
//! `look` explains an incident that is new or has changed, from the stored events. All but this file is without a
//! runtime.
//!
//! Works one slot or one explanation at a time, and rests after each so long that it takes a small share of a core; what
//! waits meanwhile are numbers of slots. Nothing is waited for by ingest or linking. After a start the hour before what
//! arrives is read again, so that nothing has to be saved but what was found.

mod arrivals;
mod calendar;
mod hours;
mod live_red;
mod look;
mod messages;
mod ongoing;
mod reader;
mod tenant;

pub(crate) use arrivals::Arrivals;
pub use live_red::LiveRed;
pub(crate) use live_red::RedRow;

use crate::error::CorrelatorError;
use crate::options::WatchOptions;
use crate::statistics::CorrelatorStatistics;
use calendar::{Due, Patience};
use hours::Hours;
use ongoing::Unexplained;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tenant::{Evicted, Looked, Part, Watched};
use whence_schema::{BUCKET_NANOS, Table, TenantId, UnixNanos};
use whence_storage::{LogTemplate, Snapshot, StorageError, Store};

/// How often a slot that cannot be read is tried.
const ATTEMPTS: u32 = 3;
/// Rest after the store could not be read or written.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// Seconds in which chunks were written of which some events may not have been read.
const WRITTEN_LATELY: i64 = 3_600;
/// A tenant of whom nothing has come for so long is forgotten, until something comes: two hours.
const FORGOTTEN_AFTER: i64 = 7_200_000_000_000;

/// Watches what arrives and keeps incidents. One per store.
pub struct Watcher {
    store: Store,
    options: WatchOptions,
    arrivals: Arc<Arrivals>,
    live: Arc<LiveRed>,
    statistics: Arc<CorrelatorStatistics>,
    tenants: HashMap<TenantId, Watched>,
    /// When the next slot may be read, and the next incident be explained.
    next_slot: Instant,
    next_explanation: Instant,
    steps: u64,
    /// True when links that a crash kept out of their table are in it again.
    restored: bool,
}

impl Watcher {
    pub(crate) fn new(
        store: Store,
        options: WatchOptions,
        arrivals: Arc<Arrivals>,
        live: Arc<LiveRed>,
        statistics: Arc<CorrelatorStatistics>,
    ) -> Self {
        let (now, tenants, restored) = (Instant::now(), HashMap::new(), !options.links);
        Self {
            store,
            options,
            arrivals,
            live,
            statistics,
            tenants,
            next_slot: now,
            next_explanation: now,
            steps: 0,
            restored,
        }
    }

    /// Watches until `until` ends; what it is at then is begun again by the next start.
    pub async fn run(mut self, until: impl Future<Output = ()>) {
        let mut until = std::pin::pin!(until);
        tokio::select! {
            () = &mut until => return,
            () = self.recall((self.options.clock)()) => {}
        }
        loop {
            let step = async {
                if !self.step((self.options.clock)()).await {
                    tokio::time::sleep(self.pause()).await;
                }
            };
            tokio::select! {
                () = &mut until => return,
                () = step => {}
            }
        }
    }

    /// Finds the tenants that had rows before this process started: slots of theirs may have been complete and not read.
    pub(crate) async fn recall(&self, now: UnixNanos) {
        let snapshot = self.store.snapshot();
        match tokio::task::spawn_blocking(move || lately(&snapshot)).await {
            Ok(Ok((events, points))) => {
                for (tenant, newest) in events {
                    self.arrivals.suppose(&tenant, newest.min(now), now);
                }
                for (tenant, newest) in points {
                    self.arrivals.note_points(&tenant, &[newest.min(now)], now);
                }
            }
            Ok(Err(error)) => tracing::warn!(%error, "which tenants sent something lately is not known"),
            Err(error) => tracing::error!(%error, "looking for tenants that sent something lately ended early"),
        }
    }

    /// Does one thing that is due at `now`; false when there was none.
    pub(crate) async fn step(&mut self, now: UnixNanos) -> bool {
        self.steps += 1;
        match self.try_step(now).await {
            Ok(worked) => worked,
            Err(StorageError::Closed) => false,
            Err(error) => {
                tracing::warn!(%error, "incidents cannot be kept");
                self.next_slot = Instant::now() + AFTER_FAILURE;
                self.next_explanation = self.next_slot;
                false
            }
        }
    }

    async fn try_step(&mut self, now: UnixNanos) -> Result<bool, StorageError> {
        if !self.restored {
            let links = self.store.restore_links_of_onset_hours().await?;
            self.restored = true;
            if links > 0 {
                tracing::info!(links, "stored links of onsets and changes that a crash had kept out of their table");
            }
        }
        self.take_arrivals().await?;
        self.forget(now);
        self.bound();
        self.pass(now);
        self.keep().await?;
        self.publish(now);
        if Instant::now() >= self.next_slot
            && let Some((tenant, due)) = self.due(now)
        {
            self.read(tenant, due, now).await;
            self.bound();
            self.keep().await?;
            return Ok(true);
        }
        if Instant::now() >= self.next_explanation
            && let Some((tenant, asked)) = self.unexplained(now)
        {
            self.explain(tenant, asked, now).await;
            self.keep().await?;
            return Ok(true);
        }
        if Instant::now() >= self.next_explanation
            && let Some((tenant, hour)) = self.due_hour(now)
        {
            self.link(tenant, hour).await?;
            return Ok(true);
        }
        Ok(false)
    }

    fn patience(&self) -> Patience {
        Patience { lateness: self.options.lateness, idle: self.options.idle }
    }

    /// Notes what has arrived; of a tenant that is new here, what is kept is read.
    async fn take_arrivals(&mut self) -> Result<(), StorageError> {
        for (tenant, arriving) in self.arrivals.take() {
            let erasures = self.store.erasures(&tenant);
            let known = self.tenants.get(&tenant).is_some_and(|watched| watched.erasures == erasures);
            if !known {
                let incidents = self.store.incidents(&tenant).await?;
                let templates = self.store.log_templates(&tenant).await?;
                let hours = Hours::restore(&self.store.onset_hours(&tenant).await?);
                let watched = Watched::begin(&arriving, incidents, templates, hours, erasures);
                self.tenants.insert(tenant.clone(), watched);
            }
            if let Some(watched) = self.tenants.get_mut(&tenant) {
                let (late, skipped) = watched.note(arriving);
                CorrelatorStatistics::add(&self.statistics.watch.late_slots, late);
                CorrelatorStatistics::add(&self.statistics.watch.skipped_slots, skipped);
            }
        }
        Ok(())
    }

    /// Forgets tenants whose rows were erased, and those that are silent.
    fn forget(&mut self, now: UnixNanos) {
        let (store, known) = (&self.store, self.tenants.len());
        self.tenants.retain(|tenant, watched| {
            let is_silent = now.0.saturating_sub(watched.arrived_at().0) >= FORGOTTEN_AFTER
                && watched.is_settled()
                && watched.hours.is_settled();
            !is_silent && store.erasures(tenant) == watched.erasures
        });
        if self.tenants.len() < known {
            self.live.retain(|tenant| self.tenants.contains_key(tenant));
        }
    }

    /// Forgets what is too much, of whoever has most.
    fn bound(&mut self) {
        let statistics = &self.statistics.watch;
        loop {
            let bytes: usize = self.tenants.values().map(Watched::bytes).sum();
            CorrelatorStatistics::set(&statistics.memory_bytes, bytes as u64);
            let largest = self.tenants.iter_mut().max_by_key(|(_, watched)| watched.recollection.bytes());
            let Some((tenant, largest)) = largest.filter(|_| bytes > self.options.memory_bytes) else { return };
            let evicted = largest.recollection.evict();
            CorrelatorStatistics::add(&statistics.evicted_slots, evicted.slots);
            CorrelatorStatistics::add(&statistics.evicted_minutes, evicted.minutes);
            CorrelatorStatistics::add(&statistics.evicted_names, evicted.names);
            CorrelatorStatistics::add(&statistics.evicted_templates, evicted.templates);
            self.live.put(tenant, largest.erasures, largest.recollection.red());
            if evicted == Evicted::default() {
                return;
            }
        }
    }

    /// Closes incidents after which nothing came.
    fn pass(&mut self, now: UnixNanos) {
        let patience = self.patience();
        let closed = self.tenants.values_mut().map(|watched| watched.pass(now, patience)).sum();
        CorrelatorStatistics::add(&self.statistics.watch.closed, closed);
    }

    /// Writes what has changed into the store. What is refused while rows are erased is forgotten after that.
    async fn keep(&mut self) -> Result<(), StorageError> {
        for (tenant, watched) in &mut self.tenants {
            let incidents = watched.ongoing.unkept();
            if !incidents.is_empty() {
                match self.store.put_incidents(tenant, &incidents).await {
                    Err(StorageError::Erasing) => {}
                    kept => kept.map(|()| watched.ongoing.kept())?,
                }
            }
            if !watched.templates.is_empty() {
                let templates: Vec<LogTemplate> = watched.templates.values().cloned().collect();
                match self.store.put_log_templates(tenant, &templates).await {
                    Err(StorageError::Erasing) => {}
                    kept => kept.map(|()| watched.templates.clear())?,
                }
            }
        }
        Ok(())
    }

    /// The slot to be read next: that of the tenant who was served longest ago.
    fn due(&self, now: UnixNanos) -> Option<(TenantId, (Part, Due))> {
        let patience = self.patience();
        let due = self.tenants.iter().filter_map(|(tenant, watched)| {
            let due = watched.due(now, patience)?;
            Some(((watched.served, tenant), due))
        });
        due.min_by_key(|(served, _)| *served).map(|((_, tenant), due)| (tenant.clone(), due))
    }

    async fn read(&mut self, tenant: TenantId, due: (Part, Due), now: UnixNanos) {
        let Some(watched) = self.tenants.get_mut(&tenant) else { return };
        watched.served = self.steps;
        let mut recollection = std::mem::take(&mut watched.recollection);
        let (snapshot, owner, lateness) = (self.store.snapshot(), tenant.clone(), self.options.lateness);
        let begun = Instant::now();
        let job = tokio::task::spawn_blocking(move || {
            let looked = recollection.look(&snapshot, &owner, due, lateness);
            (recollection, looked)
        });
        let outcome = job.await;
        let took = begun.elapsed();
        self.next_slot = Instant::now() + self.rest(took);
        CorrelatorStatistics::add(&self.statistics.watch.busy_nanos, took.as_nanos() as u64);
        let Some(watched) = self.tenants.get_mut(&tenant) else { return };
        let Ok((recollection, looked)) = outcome else {
            tracing::error!("reading half a minute ended early; what was known of the last hour is read again");
            self.tenants.remove(&tenant);
            return;
        };
        watched.recollection = recollection;
        match looked {
            Ok(looked) => self.looked(&tenant, due, looked, took, now),
            Err(error) => self.failed(&tenant, due, &error),
        }
    }

    fn looked(&mut self, tenant: &TenantId, (part, due): (Part, Due), looked: Looked, took: Duration, now: UnixNanos) {
        let Some(watched) = self.tenants.get_mut(tenant) else { return };
        watched.failures = 0;
        watched.done(part, due, looked.rows > 0);
        let is_late = self.options.links && part == Part::Events && looked.rows > 0 && watched.hours.note(due.slot);
        CorrelatorStatistics::add(&self.statistics.watch.late_hours, u64::from(is_late));
        let statistics = &self.statistics.watch;
        let (read, rows) = match part {
            Part::Events => (&statistics.slots, &statistics.events),
            Part::Points => (&statistics.minutes, &statistics.points),
        };
        CorrelatorStatistics::add(read, u64::from(looked.rows > 0));
        CorrelatorStatistics::add(rows, looked.rows);
        if part == Part::Events && looked.rows > 0 {
            self.live.put(tenant, watched.erasures, watched.recollection.red());
        }
        CorrelatorStatistics::add(&statistics.thinned_slots, u64::from(looked.thinned > 1));
        CorrelatorStatistics::add(&statistics.dropped, looked.dropped);
        if let Some(scanned) = looked.scanned {
            CorrelatorStatistics::set(&statistics.tests, scanned.tests);
            CorrelatorStatistics::set(&statistics.slot_nanos, took.as_nanos() as u64);
            let changed = watched.take(tenant, part, due, &scanned.runs, now);
            CorrelatorStatistics::add(&statistics.opened, changed.opened);
            CorrelatorStatistics::add(&statistics.closed, changed.closed);
        }
        watched.templates.extend(looked.templates.into_iter().map(|template| (template.id, template)));
    }

    /// A slot that cannot be read is tried again, and left out when that goes on; a bucket is waited for.
    fn failed(&mut self, tenant: &TenantId, (part, due): (Part, Due), error: &CorrelatorError) {
        tracing::warn!(%error, "cannot read what arrived, to look for incidents");
        self.next_slot = Instant::now() + AFTER_FAILURE;
        let Some(watched) = self.tenants.get_mut(tenant) else { return };
        watched.failures += u32::from(!error.needs_bucket());
        if watched.failures >= ATTEMPTS {
            watched.failures = 0;
            watched.done(part, due, true);
            CorrelatorStatistics::add(&self.statistics.watch.skipped_slots, 1);
        }
    }

    /// What is to be explained next: what is over, or may not change with what already waits to be read.
    fn unexplained(&self, now: UnixNanos) -> Option<(TenantId, Unexplained)> {
        let patience = self.patience();
        let asked = self.tenants.iter().filter_map(|(tenant, watched)| {
            let asked = watched.ongoing.unexplained(watched.due(now, patience).is_none())?;
            Some(((watched.served, tenant), asked))
        });
        asked.min_by_key(|(served, _)| *served).map(|((_, tenant), asked)| (tenant.clone(), asked))
    }

    async fn explain(&mut self, tenant: TenantId, asked: Unexplained, now: UnixNanos) {
        let (snapshot, owner, question) = (self.store.snapshot(), tenant.clone(), asked.clone());
        let begun = Instant::now();
        let told = tokio::task::spawn_blocking(move || look::explain(&snapshot, &owner, &question)).await;
        let took = begun.elapsed();
        self.next_explanation = Instant::now() + self.rest(took);
        CorrelatorStatistics::add(&self.statistics.watch.busy_nanos, took.as_nanos() as u64);
        let told = match told {
            Ok(Ok(told)) => Some(told),
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot look for the cause of an incident");
                None
            }
            Err(error) => {
                tracing::error!(%error, "looking for the cause of an incident ended early");
                None
            }
        };
        CorrelatorStatistics::add(&self.statistics.watch.explained, 1);
        if let Some(watched) = self.tenants.get_mut(&tenant) {
            watched.ongoing.explain(&asked, told, now);
        }
    }

    /// How long there is nothing to do: until a rest is over, or else until something may have come.
    fn pause(&self) -> Duration {
        let now = Instant::now();
        let rests = [self.next_slot, self.next_explanation].map(|at| at.saturating_duration_since(now));
        let rest = rests.into_iter().filter(|rest| !rest.is_zero()).min();
        rest.unwrap_or(self.options.interval).min(self.options.interval).max(Duration::from_millis(1))
    }

    /// How long to rest after so much work.
    fn rest(&self, took: Duration) -> Duration {
        took.mul_f64((1.0 / self.options.core_share.clamp(0.001, 1.0)) - 1.0)
    }

    fn publish(&self, now: UnixNanos) {
        let patience = self.patience();
        let waiting = self.tenants.values().map(|watched| watched.waiting(now, patience));
        let (slots, lag) = waiting.fold((0, 0), |(slots, lag), (more, late)| (slots + more, late.max(lag)));
        CorrelatorStatistics::set(&self.statistics.watch.waiting_slots, slots);
        CorrelatorStatistics::set(&self.statistics.watch.lag_nanos, lag);
    }
}

/// Until when tenants may have rows of one table.
type Lately = HashMap<TenantId, UnixNanos>;

/// The tenants in chunks that were written in the last hour of writing, and until when they may have events, and metric
/// points. Blocks on file reads.
fn lately(snapshot: &Snapshot) -> Result<(Lately, Lately), StorageError> {
    let tenants_of = |table: Table| -> Result<Lately, StorageError> {
        let chunks = || snapshot.table(table).chunks.iter();
        let newest = chunks().map(|chunk| chunk.created_seconds).max().unwrap_or(0);
        let mut tenants = Lately::new();
        for chunk in chunks().filter(|chunk| newest - chunk.created_seconds <= WRITTEN_LATELY) {
            for tenant in chunk.tenants()? {
                let until = tenants.entry(TenantId::new(tenant)).or_insert(chunk.max_time);
                *until = chunk.max_time.max(*until);
            }
        }
        Ok(tenants)
    };
    let (events, mut points) = (tenants_of(Table::Events)?, tenants_of(Table::Metrics)?);
    // The time of a row of metrics is that at which its minute begins.
    points.values_mut().for_each(|until| until.0 = until.0.saturating_add(BUCKET_NANOS - 1));
    Ok((events, points))
}
