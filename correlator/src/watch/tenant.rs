//! One tenant, as the watcher knows it: what waits, what the last hour was like, and what goes on.

use super::arrivals::Arriving;
use super::calendar::{Calendar, Due, Patience, last_stretch, look_from};
use super::hours::Hours;
use super::live_red::RedSlot;
use super::messages::Messages;
use super::ongoing::{Changed, Ongoing};
use super::reader::SlotReader;
use crate::error::CorrelatorError;
use crate::method::history::{HISTORY_SLOTS, Heard, History, LoudRun, Scanned};
use crate::method::levels::Levels;
use crate::method::names::Used;
use crate::method::slots::GridSlot;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use whence_schema::{TenantId, UnixNanos};
use whence_storage::{Incident, LogTemplate, Snapshot};

/// Slots of events that are read before the minute of points that ended before them, so that what is found depends on no
/// order of arrival: points of a minute come later than events, and incidents that show in events do not wait for them.
const POINTS_AFTER: i32 = 1;
/// Slots that incidents stay open for longer where there are points: those of the next minute may prolong them.
const POINTS_SETTLE: i32 = 2;
/// Bytes that a tenant takes beside what is remembered, about.
const TENANT_BYTES: usize = 16 << 10;

/// What is read of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Spans and logs that began in it.
    Events,
    /// Metric points of the minute that ends with it.
    Points,
}

/// What is remembered of the tenant's events and points; goes along with each job that reads a slot.
#[derive(Debug, Default)]
pub(crate) struct Recollection {
    reader: SlotReader,
    messages: Messages,
    history: History,
    levels: Levels,
    red: VecDeque<Arc<RedSlot>>,
    /// What stood out in events when they were looked at last.
    heard: Heard,
    /// The last slot of either that was looked at.
    last: Option<GridSlot>,
}

/// One tenant.
#[derive(Debug)]
pub(crate) struct Watched {
    events: Calendar,
    points: Calendar,
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
    /// Events of the slot and around it, or points of the minute; 0 when there was nothing in it.
    pub(crate) rows: u64,
    /// Of how many traces one was read: 1 when all were.
    pub(crate) thinned: u64,
    /// Steps, values, names and messages that were too many.
    pub(crate) dropped: u64,
    /// What stands out; `None` when the slot is history only.
    pub(crate) scanned: Option<Scanned>,
    /// Templates to be kept.
    pub(crate) templates: Vec<LogTemplate>,
}

/// What was forgotten for want of memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Evicted {
    pub(crate) slots: u64,
    pub(crate) minutes: u64,
    pub(crate) names: u64,
    pub(crate) templates: u64,
}

impl Watched {
    /// A tenant of which this has arrived first and that is kept.
    pub(crate) fn begin(
        arriving: &Arriving,
        incidents: Vec<Incident>,
        templates: Vec<LogTemplate>,
        hours: Hours,
        erasures: u64,
    ) -> Self {
        let again = [&arriving.events, &arriving.points].into_iter().filter_map(|of| last_stretch(&of.slots)).min();
        let again = again.map(|first| look_from(first).later(-POINTS_SETTLE).start());
        let mut recollection = Recollection::default();
        recollection.messages = Messages::restore(templates, &mut recollection.reader);
        Self {
            events: Calendar::new(1),
            points: Calendar::new(2),
            recollection,
            ongoing: Ongoing::restore(incidents, again.unwrap_or(UnixNanos(i64::MAX))),
            hours,
            templates: BTreeMap::new(),
            erasures,
            failures: 0,
            served: 0,
        }
    }

    /// Adds what has arrived; returns how many slots of it were read before, and how many are skipped.
    pub(crate) fn note(&mut self, arriving: Arriving) -> (u64, u64) {
        let mut noted = (0, 0);
        for (calendar, arrived) in [(&mut self.events, arriving.events), (&mut self.points, arriving.points)] {
            if arrived.newest.is_some() || !arrived.slots.is_empty() {
                let (late, skipped) = calendar.note(arrived);
                noted = (noted.0 + late, noted.1 + skipped);
            }
        }
        noted
    }

    /// What is to be read next of what is complete: slots of events and minutes of points in one order, whichever came
    /// first.
    pub(crate) fn due(&self, now: UnixNanos, patience: Patience) -> Option<(Part, Due)> {
        let points = self.points.due(now, patience).filter(|due| {
            let until = due.slot.later(POINTS_AFTER);
            self.events.first_waiting().is_none_or(|slot| slot > until)
                && self.events.has_passed(until.end(), now, patience)
        });
        if let Some(due) = points {
            return Some((Part::Points, due));
        }
        let due = self.events.due(now, patience)?;
        let minute = self.points.first_waiting();
        minute.is_none_or(|minute| minute.later(POINTS_AFTER) >= due.slot).then_some((Part::Events, due))
    }

    /// Takes a slot out that was read, and says whether there was something in it.
    pub(crate) fn done(&mut self, part: Part, due: Due, had_rows: bool) {
        match part {
            Part::Events => self.events.done(due.slot, had_rows),
            Part::Points => self.points.done(due.slot, had_rows),
        }
    }

    /// Takes in what stands out up to a slot.
    pub(crate) fn take(
        &mut self,
        tenant: &TenantId,
        part: Part,
        due: Due,
        runs: &[LoudRun],
        now: UnixNanos,
    ) -> Changed {
        let slot = match part {
            Part::Events => due.slot,
            Part::Points => due.slot.later(POINTS_AFTER),
        };
        let settled = if self.points.has_begun() { slot.later(-POINTS_SETTLE) } else { slot };
        self.ongoing.take(tenant, (slot, settled), runs, now)
    }

    /// Closes incidents after which nothing came; says how many.
    pub(crate) fn pass(&mut self, now: UnixNanos, patience: Patience) -> u64 {
        if !self.ongoing.is_open() || self.due(now, patience).is_some() {
            return 0;
        }
        let Self { events, points, ongoing, .. } = self;
        let passed = |calendar: &Calendar, time| !calendar.has_begun() || calendar.has_passed(time, now, patience);
        ongoing.pass(|time| passed(events, time) && passed(points, time), now)
    }

    /// How many slots are complete and wait, and by how many nanoseconds the earliest is behind.
    pub(crate) fn waiting(&self, now: UnixNanos, patience: Patience) -> (u64, u64) {
        let calendars = [&self.events, &self.points];
        let waiting = calendars.map(|calendar| calendar.complete(now, patience) as u64);
        let lag = calendars.map(|calendar| calendar.lag_nanos(now, patience));
        (waiting.into_iter().sum(), lag.into_iter().max().unwrap_or(0))
    }

    /// Which slots of events wait and which were read.
    pub(crate) fn events(&self) -> &Calendar {
        &self.events
    }

    /// When something arrived last.
    pub(crate) fn arrived_at(&self) -> UnixNanos {
        self.events.arrived_at().max(self.points.arrived_at())
    }

    /// True when nothing waits and nothing goes on.
    pub(crate) fn is_settled(&self) -> bool {
        self.events.is_settled() && self.points.is_settled() && !self.ongoing.is_open()
    }

    /// Bytes of memory, about.
    pub(crate) fn bytes(&self) -> usize {
        TENANT_BYTES + self.recollection.bytes()
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
        (part, due): (Part, Due),
        lateness: Duration,
    ) -> Result<Looked, CorrelatorError> {
        let refused = self.reader.refused();
        let mut looked = match part {
            Part::Events => self.look_at_events(snapshot, tenant, due, lateness)?,
            Part::Points => self.look_at_points(snapshot, tenant, due)?,
        };
        looked.dropped += self.reader.refused() - refused;
        Ok(looked)
    }

    fn look_at_events(
        &mut self,
        snapshot: &Snapshot,
        tenant: &TenantId,
        due: Due,
        lateness: Duration,
    ) -> Result<Looked, CorrelatorError> {
        let Some(read) = self.reader.read(snapshot, tenant, due.slot, lateness)? else { return Ok(Looked::default()) };
        let first = due.slot.later(1 - HISTORY_SLOTS);
        self.history.forget_before(first);
        self.red.retain(|red| red.slot >= first);
        let dropped = read.digest.dropped + self.history.add(&read.digest);
        self.red.push_back(Arc::new(RedSlot::of(&read.digest, &self.reader.names)));
        let templates = self.messages.take(&read.digest, &self.reader);
        let scanned = due.look.then(|| {
            self.heard = self.history.scan(due.slot, &self.reader.names);
            Scanned { runs: self.runs(due.slot), tests: self.heard.tests }
        });
        Ok(Looked { rows: read.events, thinned: read.thinned, dropped, scanned, templates })
    }

    fn look_at_points(&mut self, snapshot: &Snapshot, tenant: &TenantId, due: Due) -> Result<Looked, CorrelatorError> {
        let seen = self.reader.read_levels(snapshot, tenant, due.slot)?;
        let rows = seen.points.len() as u64;
        if rows == 0 {
            return Ok(Looked::default());
        }
        self.levels.forget_old(due.slot);
        let dropped = self.levels.add(&seen);
        let scanned = due.look.then(|| Scanned { runs: self.runs(due.slot), tests: self.levels.tests() });
        Ok(Looked { rows, thinned: 1, dropped, scanned, templates: Vec::new() })
    }

    /// What stands out in the hour up to `slot`, or to what was looked at before.
    fn runs(&mut self, slot: GridSlot) -> Vec<LoudRun> {
        let last = *self.last.insert(self.last.map_or(slot, |last| last.max(slot)));
        self.levels.runs(&self.heard, last, &self.reader.names)
    }

    /// Forgets what is not used any more, and the older half of the hour where that is little.
    pub(crate) fn evict(&mut self) -> Evicted {
        let before = self.bytes();
        let mut evicted = self.forget_unused();
        if self.bytes() > before - before / 8 {
            let first = self.history.middle().or_else(|| self.levels.middle()).unwrap_or(GridSlot(i32::MAX));
            evicted.slots = self.history.forget_before(first);
            evicted.minutes = self.levels.forget_before(first);
            self.red.retain(|red| red.slot >= first);
            let unused = self.forget_unused();
            evicted.names += unused.names;
            evicted.templates += unused.templates;
        }
        evicted
    }

    fn forget_unused(&mut self) -> Evicted {
        let mut used = Used::default();
        self.history.mark(&mut used);
        self.levels.mark(&mut used);
        self.messages.retain(&used.templates);
        let (names, templates) = self.reader.retain(used);
        Evicted { names, templates, ..Evicted::default() }
    }

    /// Rate, errors and duration in each slot of the last hour.
    pub(crate) fn red(&self) -> Vec<Arc<RedSlot>> {
        self.red.iter().cloned().collect()
    }

    /// Bytes of memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let red: usize = self.red.iter().map(|red| red.bytes()).sum();
        self.history.bytes() + self.levels.bytes() + self.reader.bytes() + self.messages.bytes() + red
    }
}
