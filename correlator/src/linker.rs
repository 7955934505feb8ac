//! Links ends as they arrive: the window holds the spans seen, pending holds the ends whose span has not been seen.
//!
//! Each link is made when the later of its two ends is seen. An end looks into the window once, on arrival, and waits
//! if its span is not there; a span takes the ends that wait for it once, on its first arrival. So a link cannot be
//! made twice, whichever end comes first. What may have left the window is looked up in the store, once per end.
//!
//! After a restart the linker is at the moment its state was saved, and the records since then come again. Those whose
//! links are committed already go the same way, only that the links are not written (`emit` false). What cannot be
//! repeated are look-ups: ends that one may have linked are marked doubtful, and are linked only after a look-up that
//! also asks for the links there are.

use crate::columns::{EventColumns, optional};
use crate::error::CorrelatorError;
use crate::method::structural;
use crate::pending::{End, Lookup, Moment, Pending, Wait, Wanted};
use crate::recent::RecentKeys;
use crate::span_links;
use crate::window::{AssetHash, Marks, Seen, TenantIndex, Window};
use arrow::array::RecordBatch;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use whence_schema::tables::correlations::CorrelationRow;
use whence_schema::tables::events::{SIGNAL_LOG, SIGNAL_SPAN};
use whence_schema::{EventId, ExemplarLink, Relation, SpanId, TenantId, TraceId, UnixNanos};

/// One part in so many of the window's memory is for spans that were looked up.
const FOUND_SHARE: usize = 16;

/// Memory the linker may take, and how it looks back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinkerLimits {
    pub(crate) window_bytes: usize,
    pub(crate) pending_bytes: usize,
    pub(crate) exemplars: usize,
    pub(crate) look_back: Duration,
    pub(crate) look_ahead: Duration,
}

/// Spans of one tenant to look up in the store.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SpanLookup {
    pub(crate) tenant: TenantId,
    pub(crate) index: TenantIndex,
    pub(crate) ids: Vec<EventId>,
    /// Those of `ids` whose links have to be read as well.
    pub(crate) doubtful: Vec<EventId>,
    pub(crate) from: UnixNanos,
    pub(crate) to: UnixNanos,
}

/// A stored link: relation, primary, related.
pub(crate) type LinkKey = (Relation, EventId, EventId);

/// Where an item stands: who owns it, when it came, and whether its links are still to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival<'a> {
    pub(crate) tenant: &'a TenantId,
    /// False for what was linked before a restart: its links are not written again.
    pub(crate) emit: bool,
    pub(crate) at: Moment,
    /// `created_at` of the links.
    pub(crate) now: UnixNanos,
}

/// All state of structural linking.
pub(crate) struct Linker {
    pub(crate) limits: LinkerLimits,
    pub(crate) tenants: Tenants,
    pub(crate) window: Window,
    /// Spans that came from look-ups, so that further ends that want them need none. Apart from the window: they may
    /// yet arrive for the first time, and they do not come again in a replay.
    found: Window,
    pub(crate) pending: Pending,
    pub(crate) exemplars: RecentKeys,
    /// True when the store had events before this process saw any: they are not in the window.
    pub(crate) had_events: bool,
    /// Spans that came again.
    pub(crate) repeated: u64,
    taken: Vec<End>,
}

impl Linker {
    /// A linker that has seen nothing.
    pub(crate) fn new(limits: LinkerLimits, had_events: bool) -> Self {
        Self {
            limits,
            tenants: Tenants::default(),
            window: Window::new(limits.window_bytes - limits.window_bytes / FOUND_SHARE),
            found: Window::new(limits.window_bytes / FOUND_SHARE),
            pending: Pending::new(limits.pending_bytes),
            exemplars: RecentKeys::new(limits.exemplars),
            had_events,
            repeated: 0,
            taken: Vec::new(),
        }
    }

    /// Links a batch of events.
    pub(crate) fn events(
        &mut self,
        arrival: Arrival<'_>,
        batch: &RecordBatch,
        rows: &mut Vec<CorrelationRow>,
    ) -> Result<(), CorrelatorError> {
        let columns = EventColumns::of(batch)?;
        let tenant = self.tenants.index(arrival.tenant);
        let written = rows.len();
        for row in 0..columns.rows() {
            let (Some(trace), Some(span)) = (columns.trace(row), columns.span(row)) else { continue };
            let signal = columns.signal.value(row);
            if signal == SIGNAL_SPAN {
                self.span(arrival, tenant, &columns, row, trace, span, rows);
            } else if signal == SIGNAL_LOG && is_notable(columns.severity.value(row)) {
                let Some(own) = columns.position_id(row) else { continue };
                let end = End {
                    wanted: EventId::of_span(trace, span),
                    own,
                    start: columns.time(row),
                    duration: 0,
                    asset: AssetHash(0),
                    tenant,
                    marks: Marks::default(),
                    wait: Wait::LogSpan,
                };
                self.link_or_wait(arrival, end, rows);
            }
        }
        if !arrival.emit {
            rows.truncate(written);
        }
        Ok(())
    }

    /// Links exemplars: each span to each metric row once, however often the exemplar is sent.
    pub(crate) fn exemplars(&mut self, arrival: Arrival<'_>, links: &[ExemplarLink], rows: &mut Vec<CorrelationRow>) {
        let tenant = self.tenants.index(arrival.tenant);
        let written = rows.len();
        for link in links {
            let wanted = EventId::of_span(link.trace, link.span);
            let key = EventId::of_correlation(arrival.tenant.as_str(), "exemplar", wanted, link.metric_row);
            if !self.exemplars.insert(key.0) {
                continue;
            }
            let end = End {
                wanted,
                own: link.metric_row,
                start: link.bucket,
                duration: 0,
                asset: AssetHash(0),
                tenant,
                marks: Marks::default(),
                wait: Wait::ExemplarSpan,
            };
            self.link_or_wait(arrival, end, rows);
        }
        if !arrival.emit {
            rows.truncate(written);
        }
    }

    /// Up to `limit` spans to look up for ends that arrived before `before`, by tenant.
    pub(crate) fn due(&mut self, before: Moment, limit: usize) -> Vec<SpanLookup> {
        let mut lookups: HashMap<TenantIndex, SpanLookup> = HashMap::new();
        let back = i64::try_from(self.limits.look_back.as_nanos()).unwrap_or(i64::MAX);
        let ahead = i64::try_from(self.limits.look_ahead.as_nanos()).unwrap_or(i64::MAX);
        for Wanted { tenant, id, near, doubtful } in self.pending.due(before, limit) {
            let from = UnixNanos(near.0.saturating_sub(back));
            let to = UnixNanos(near.0.saturating_add(ahead));
            let lookup = lookups.entry(tenant).or_insert_with(|| SpanLookup {
                tenant: self.tenants.name(tenant),
                index: tenant,
                ids: Vec::new(),
                doubtful: Vec::new(),
                from,
                to,
            });
            lookup.ids.push(id);
            lookup.doubtful.extend(doubtful.then_some(id));
            lookup.from = lookup.from.min(from);
            lookup.to = lookup.to.max(to);
        }
        let mut lookups: Vec<SpanLookup> = lookups.into_values().collect();
        for ids in lookups.iter_mut().flat_map(|lookup| [&mut lookup.ids, &mut lookup.doubtful]) {
            ids.sort_unstable();
            ids.dedup();
        }
        lookups.sort_by_key(|lookup| lookup.index);
        lookups
    }

    /// Takes the answer to a look-up: links the ends that wait for the spans `found`, and lets the others wait on.
    /// `linked` are the links there are from the doubtful ones among them.
    pub(crate) fn looked_up(
        &mut self,
        (at, now): (Moment, UnixNanos),
        lookup: &SpanLookup,
        found: impl Iterator<Item = Seen>,
        linked: &HashSet<LinkKey>,
        rows: &mut Vec<CorrelationRow>,
    ) {
        for span in found {
            let span = Seen { tenant: lookup.index, ..span };
            self.found.insert(span);
            let links_known = lookup.doubtful.binary_search(&span.id).is_ok();
            self.pending.take(span.tenant, span.id, &mut self.taken);
            for end in self.taken.drain(..) {
                let doubtful = end.marks.has(Marks::DOUBTFUL);
                if doubtful && !links_known {
                    // Not among the ends this look-up was for.
                    self.pending.push(end, at, Lookup::Due);
                    continue;
                }
                let before = rows.len();
                structural::links(&lookup.tenant, &span, &end, now, rows);
                let known = |row: &CorrelationRow| linked.contains(&(row.relation, row.primary, row.related));
                // The links of one end are written together, so one that is known speaks for all.
                if doubtful && rows[before..].iter().any(known) {
                    rows.truncate(before);
                }
            }
        }
        for id in &lookup.ids {
            self.pending.settle(lookup.index, *id);
        }
    }

    #[allow(clippy::too_many_arguments)] // one call, in the loop over rows
    fn span(
        &mut self,
        arrival: Arrival<'_>,
        tenant: TenantIndex,
        columns: &EventColumns<'_>,
        row: usize,
        trace: TraceId,
        span: SpanId,
        rows: &mut Vec<CorrelationRow>,
    ) {
        let seen = Seen {
            id: EventId::of_span(trace, span),
            start: columns.time(row),
            duration: columns.duration(row),
            asset: AssetHash::of(columns.asset_id.value(row)),
            tenant,
            marks: Marks::of_span(optional(columns.status, row), optional(columns.kind, row)),
        };
        if !self.window.insert(seen) {
            self.repeated += 1;
            return;
        }
        let end = |wanted, wait| End {
            wanted,
            own: seen.id,
            start: seen.start,
            duration: seen.duration,
            asset: seen.asset,
            tenant,
            marks: seen.marks,
            wait,
        };
        let parent = columns.parent_span(row).map(|parent| EventId::of_span(trace, parent));
        if let Some(parent) = parent.filter(|parent| *parent != seen.id) {
            self.link_or_wait(arrival, end(parent, Wait::Parent), rows);
        }
        for linked in span_links::linked(columns.payload.value(row), seen.id) {
            let mut end = end(linked, Wait::Linked);
            if Some(linked) == parent {
                end.marks = end.marks.with(Marks::LINKS_PARENT);
            }
            self.link_or_wait(arrival, end, rows);
        }
        self.link_waiting(arrival, &seen, rows);
    }

    fn link_or_wait(&mut self, arrival: Arrival<'_>, mut end: End, rows: &mut Vec<CorrelationRow>) {
        let found = || if arrival.emit { self.found.get(end.tenant, end.wanted) } else { None };
        if let Some(span) = self.window.get(end.tenant, end.wanted).or_else(found) {
            structural::links(arrival.tenant, span, &end, arrival.now, rows);
            return;
        }
        if !arrival.emit {
            end.marks = end.marks.with(Marks::REPLAYED);
        }
        let may_have_left = self.had_events || self.window.evicted() > 0;
        let lookup = if may_have_left { Lookup::Due } else { Lookup::Settled };
        self.pending.push(end, arrival.at, lookup);
    }

    fn link_waiting(&mut self, arrival: Arrival<'_>, span: &Seen, rows: &mut Vec<CorrelationRow>) {
        self.pending.take(span.tenant, span.id, &mut self.taken);
        // What is replayed was linked at this point before the restart, unless it was in doubt even then.
        let doubted = if arrival.emit { Marks::DOUBTFUL } else { Marks::RESTORED };
        for end in self.taken.drain(..) {
            if end.marks.has(doubted) {
                self.pending.push(end, arrival.at, Lookup::Due);
            } else {
                structural::links(arrival.tenant, span, &end, arrival.now, rows);
            }
        }
    }
}

/// Severities of log records worth a link: warning and above.
fn is_notable(severity: &str) -> bool {
    matches!(severity, "warning" | "error" | "critical")
}

/// Tenants by the number they have in this process.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    names: Vec<TenantId>,
    numbers: HashMap<TenantId, TenantIndex>,
}

impl Tenants {
    /// The tenant's number, a new one when it is seen for the first time.
    pub(crate) fn index(&mut self, tenant: &TenantId) -> TenantIndex {
        if let Some(index) = self.numbers.get(tenant) {
            return *index;
        }
        let index = TenantIndex(self.names.len() as u32);
        self.names.push(tenant.clone());
        self.numbers.insert(tenant.clone(), index);
        index
    }

    /// The tenant with this number.
    pub(crate) fn name(&self, index: TenantIndex) -> TenantId {
        self.names.get(index.0 as usize).cloned().unwrap_or_default()
    }

    /// Every tenant, in the order of its number.
    pub(crate) fn names(&self) -> &[TenantId] {
        &self.names
    }
}
