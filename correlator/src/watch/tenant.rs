//! One tenant, as the watcher knows it: what waits, what the last hour was like, and what goes on.

use super::arrivals::Arrived;
use super::calendar::{Calendar, Due, last_stretch, look_from};
use super::hours::Hours;
use super::messages::Messages;
use super::ongoing::Ongoing;
use super::reader::SlotReader;
use crate::error::CorrelatorError;
use crate::method::history::{HISTORY_SLOTS, History, Scanned};
use std::collections::BTreeMap;
use std::time::Duration;
use whence_schema::{TenantId, UnixNanos};
use whence_storage::{Incident, LogTemplate, Snapshot};

/// What is remembered of the tenant's events; goes along with each job that reads a slot.
#[derive(Debug, Default)]
pub(crate) struct Recollection {
    reader: SlotReader,
    messages: Messages,
    pub(crate) history: History,
}

/// One tenant.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) calendar: Calendar,
    pub(crate) recollection: Recollection,
    pub(crate) ongoing: Ongoing,
    /// Full hours, of which links are stored.
    pub(crate) hours: Hours,
    /// Templates that the store has not, or not as they are now, by number.
    pub(crate) templates: BTreeMap<i64, LogTemplate>,
    /// How often rows of the tenant had been erased when this was read.
    pub(crate) erasures: u64,
    /// How often the slot that is due could not be read.
    pub(crate) failures: u32,
    /// When it was served last, in steps of the watcher.
    pub(crate) served: u64,
}

/// What reading a slot brought.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// Events of the slot and around it; 0 when there was nothing in it.
    pub(crate) events: u64,
    /// Of how many traces one was read: 1 when all were.
    pub(crate) thinned: u64,
    /// Steps, values and templates that were too many.
    pub(crate) dropped: u64,
    /// What stands out; `None` when the slot is history only.
    pub(crate) scanned: Option<Scanned>,
    /// Templates to be kept.
    pub(crate) templates: Vec<LogTemplate>,
}

impl Watched {
    /// A tenant of which this has arrived and that is kept.
    pub(crate) fn begin(
        arrived: &Arrived,
        incidents: Vec<Incident>,
        templates: Vec<LogTemplate>,
        hours: Hours,
        erasures: u64,
    ) -> Self {
        let again = last_stretch(&arrived.slots).map(|first| look_from(first).start());
        let mut recollection = Recollection::default();
        recollection.messages = Messages::restore(templates, &mut recollection.reader);
        Self {
            calendar: Calendar::begin(arrived),
            recollection,
            ongoing: Ongoing::restore(incidents, again.unwrap_or(UnixNanos(i64::MAX))),
            hours,
            templates: BTreeMap::new(),
            erasures,
            failures: 0,
            served: 0,
        }
    }
}

impl Recollection {
    /// Reads a slot, remembers it, and looks at the hour up to it. Blocks on file reads.
    ///
    /// # Errors
    ///
    /// When a chunk cannot be read; nothing is remembered then.
    pub(crate) fn look(
        &mut self,
        snapshot: &Snapshot,
        tenant: &TenantId,
        due: Due,
        lateness: Duration,
    ) -> Result<Looked, CorrelatorError> {
        let Some(read) = self.reader.read(snapshot, tenant, due.slot, lateness)? else { return Ok(Looked::default()) };
        self.history.forget_before(due.slot.later(1 - HISTORY_SLOTS));
        let dropped = read.digest.dropped + self.history.add(&read.digest);
        let templates = self.messages.take(&read.digest, &self.reader);
        let scanned = due.look.then(|| self.history.scan(due.slot));
        Ok(Looked { events: read.events, thinned: read.thinned, dropped, scanned, templates })
    }
}
