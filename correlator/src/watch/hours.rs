//! Links of full hours: which hours of a tenant are over and were not looked at, and looking at one.

use super::Watcher;
use crate::error::CorrelatorError;
use crate::functions::scan::Range;
use crate::functions::temporal_links::row;
use crate::method::hours::{Followed, HOUR, Shown, followed_in, shown};
use crate::method::slots::GridSlot;
use crate::observe::with_hour;
use crate::statistics::CorrelatorStatistics;
use arrow::error::ArrowError;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use whence_schema::tables::correlations::{self, CorrelationRow};
use whence_schema::{TenantId, UnixNanos};
use whence_storage::{OnsetHour, Snapshot, StorageError};

/// How often an hour that cannot be read is tried.
const ATTEMPTS: u32 = 3;
/// Hours remembered as too late, so that each is counted once.
const MOST_LATE: usize = 1_000;

/// The full hours of one tenant, by number since 1970.
#[derive(Debug, Default)]
pub(crate) struct Hours {
    /// Looked at, of the last day.
    done: BTreeSet<i64>,
    /// With events, and not looked at.
    waiting: BTreeSet<i64>,
    late: BTreeSet<i64>,
    failures: u32,
}

impl Hours {
    /// From what is kept of a tenant.
    pub(crate) fn restore(kept: &[OnsetHour]) -> Self {
        Self { done: kept.iter().map(|hour| hour.hour.0.div_euclid(HOUR)).collect(), ..Self::default() }
    }

    /// Notes a slot with events that was read; true when its hour is found to be too late: a later one was looked at.
    pub(crate) fn note(&mut self, slot: GridSlot) -> bool {
        let hour = slot.start().0.div_euclid(HOUR);
        if self.done.contains(&hour) {
            return false;
        }
        if self.done.last().is_none_or(|last| *last < hour) {
            self.waiting.insert(hour);
            return false;
        }
        if self.late.len() >= MOST_LATE {
            self.late.pop_first();
        }
        self.late.insert(hour)
    }

    /// When the earliest hour that waits begins, if it is over: all its slots were read, and nothing more comes.
    pub(crate) fn due(&self, is_over: impl Fn(UnixNanos) -> bool) -> Option<UnixNanos> {
        let hour = *self.waiting.first()?;
        is_over(UnixNanos((hour + 1) * HOUR)).then_some(UnixNanos(hour * HOUR))
    }

    /// True when none waits.
    pub(crate) fn is_settled(&self) -> bool {
        self.waiting.is_empty()
    }

    fn done(&mut self, hour: UnixNanos) {
        let hour = hour.0.div_euclid(HOUR);
        self.waiting.remove(&hour);
        self.done.insert(hour);
        self.failures = 0;
        while self.done.first().is_some_and(|first| *first <= hour - 24) {
            self.done.pop_first();
        }
    }

    /// True when an hour that cannot be read is left out from now on.
    fn failed(&mut self, hour: UnixNanos, counts: bool) -> bool {
        self.failures += u32::from(counts);
        let given_up = self.failures >= ATTEMPTS;
        if given_up {
            self.done(hour);
        }
        given_up
    }
}

/// What looking at an hour brought.
#[derive(Debug)]
struct Looked {
    hour: OnsetHour,
    links: Vec<CorrelationRow>,
    tests: usize,
    discoveries: usize,
    dropped: u64,
    thinned: bool,
}

/// Looks at the hour that begins at `hour`; `kept` are the hours before it. Blocks on file reads, and on others who ask
/// about a window.
fn look(
    snapshot: &Snapshot,
    tenant: &TenantId,
    hour: UnixNanos,
    mut kept: Vec<OnsetHour>,
    lateness: Duration,
) -> Result<Looked, CorrelatorError> {
    let window = Range { from: hour, to: UnixNanos(hour.0 + HOUR) };
    let looked = |observed: &crate::observe::Observed| (shown(&observed.observations, hour), observed.thinned > 1);
    let (Shown { hour: found, changed, dropped }, thinned) = with_hour(snapshot, tenant, window, lateness, looked)?;
    kept.retain(|other| other.hour < hour);
    kept.push(found.clone());
    let Followed { tests, discoveries, links } = followed_in(&kept);
    let links = links.iter().chain(&changed).map(|link| row(tenant, link, window.to)).collect();
    Ok(Looked { hour: found, links, tests, discoveries, dropped, thinned })
}

impl Watcher {
    /// The hour to be looked at next: of the tenant who was served longest ago.
    pub(super) fn due_hour(&self, now: UnixNanos) -> Option<(TenantId, UnixNanos)> {
        let patience = self.patience();
        let due = self.tenants.iter().filter_map(|(tenant, watched)| {
            let is_over = |end| watched.events().is_read_until(end) && watched.events().has_passed(end, now, patience);
            let hour = watched.hours.due(is_over)?;
            Some(((watched.served, tenant), hour))
        });
        due.min_by_key(|(served, _)| *served).map(|((_, tenant), hour)| (tenant.clone(), hour))
    }

    /// Looks at an hour, keeps its onsets and stores its links.
    pub(super) async fn link(&mut self, tenant: TenantId, hour: UnixNanos) -> Result<(), StorageError> {
        let kept = self.store.onset_hours(&tenant).await?;
        let (snapshot, owner, lateness) = (self.store.snapshot(), tenant.clone(), self.options.lateness);
        let begun = Instant::now();
        let outcome = tokio::task::spawn_blocking(move || look(&snapshot, &owner, hour, kept, lateness)).await;
        let took = begun.elapsed();
        self.next_explanation = Instant::now() + self.rest(took);
        let statistics = self.statistics.clone();
        CorrelatorStatistics::add(&statistics.watch.busy_nanos, took.as_nanos() as u64);
        let looked = match outcome {
            Ok(Ok(looked)) => looked,
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot look for links of an hour");
                self.leave(&tenant, hour, !error.needs_bucket());
                return Ok(());
            }
            Err(error) => {
                tracing::error!(%error, "looking for links of an hour ended early");
                self.leave(&tenant, hour, true);
                return Ok(());
            }
        };
        let links = correlations::to_batch(&looked.links).map_err(|error: ArrowError| StorageError::Arrow(error))?;
        let evicted = match self.store.put_onset_hour(&tenant, &looked.hour, links).await {
            // What is known of the tenant is forgotten after that.
            Err(StorageError::Erasing) => {
                self.next_explanation = Instant::now() + super::AFTER_FAILURE;
                return Ok(());
            }
            evicted => evicted?,
        };
        statistics.count_links(&looked.links);
        let watch = &statistics.watch;
        CorrelatorStatistics::add(&watch.hours, 1);
        CorrelatorStatistics::add(&watch.thinned_hours, u64::from(looked.thinned));
        CorrelatorStatistics::set(&watch.hour_nanos, took.as_nanos() as u64);
        CorrelatorStatistics::set(&watch.lag_tests, looked.tests as u64);
        CorrelatorStatistics::set(&watch.lag_discoveries, looked.discoveries as u64);
        CorrelatorStatistics::add(&watch.onsets, looked.hour.onsets() as u64);
        CorrelatorStatistics::add(&watch.evicted_onsets, evicted + looked.dropped);
        if let Some(watched) = self.tenants.get_mut(&tenant) {
            watched.hours.done(hour);
        }
        Ok(())
    }

    fn leave(&mut self, tenant: &TenantId, hour: UnixNanos, counts: bool) {
        self.next_explanation = Instant::now() + super::AFTER_FAILURE;
        let given_up = self.tenants.get_mut(tenant).is_some_and(|watched| watched.hours.failed(hour, counts));
        CorrelatorStatistics::add(&self.statistics.watch.skipped_hours, u64::from(given_up));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn slot(hour: i64, minute: i64) -> GridSlot {
        GridSlot((hour * 120 + minute * 2) as i32)
    }

    fn start(hour: i64) -> UnixNanos {
        UnixNanos(hour * HOUR)
    }

    #[test]
    fn hours_with_events_are_due_in_order_when_they_are_over_and_once() {
        let mut hours = Hours::restore(&[]);
        assert_eq!(hours.due(|_| true), None);
        assert!(!hours.note(slot(8, 0)) && !hours.note(slot(7, 59)) && !hours.note(slot(8, 1)));
        assert_eq!(hours.due(|end| end <= start(7)), None);
        assert_eq!(hours.due(|end| end <= start(8)), Some(start(7)));
        hours.done(start(7));
        assert_eq!(hours.due(|_| true), Some(start(8)));
        assert!(!hours.note(slot(7, 3)), "it was looked at");
        hours.done(start(8));
        assert!(hours.is_settled());
        assert!(hours.note(slot(5, 3)), "a later one was");
        assert!(!hours.note(slot(5, 4)), "and is counted once");
        assert!(hours.is_settled());
    }

    #[test]
    fn what_is_kept_was_looked_at_and_what_cannot_be_read_is_left_out() {
        let kept = OnsetHour { hour: start(7), ..OnsetHour::default() };
        let mut hours = Hours::restore(&[kept]);
        hours.note(slot(7, 1));
        assert!(hours.is_settled());
        hours.note(slot(9, 1));
        assert!(!hours.failed(start(9), false) && !hours.failed(start(9), true) && !hours.failed(start(9), true));
        assert_eq!(hours.due(|_| true), Some(start(9)));
        assert!(hours.failed(start(9), true) && hours.is_settled());
    }
}
