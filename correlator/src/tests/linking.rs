//! Every relation, whichever end comes first; what left the window; what survives a restart.

use super::rows::{EventRow, batch, log, span, span_id};
use crate::linker::{Arrival, Linker, LinkerLimits, SpanLookup};
use crate::pending::Moment;
use crate::state;
use crate::window::{AssetHash, Marks, Seen};
use std::collections::HashMap;
use std::time::Duration;
use whence_schema::tables::correlations::CorrelationRow;
use whence_schema::{EventId, ExemplarLink, Relation, SpanId, TenantId, TraceId, UnixNanos};

/// A linker and the links it made.
pub(crate) struct Bench {
    pub(crate) linker: Linker,
    pub(crate) rows: Vec<CorrelationRow>,
    /// Every span that arrived: what the store would find.
    stored: HashMap<(&'static str, EventId), EventRow>,
    pub(crate) now: Moment,
}

pub(crate) const LIMITS: LinkerLimits = LinkerLimits {
    window_bytes: 1 << 20,
    pending_bytes: 1 << 20,
    exemplars: 1 << 10,
    look_back: Duration::from_secs(86_400),
    look_ahead: Duration::from_secs(3_600),
};

impl Bench {
    pub(crate) fn new(limits: LinkerLimits) -> Self {
        Self { linker: Linker::new(limits, false), rows: Vec::new(), stored: HashMap::new(), now: Moment(0) }
    }

    /// Lets the store hold `events`: it may be ahead of what came along the tail.
    pub(crate) fn store(&mut self, events: &[EventRow]) {
        for row in events.iter().filter(|row| row.signal == "span") {
            self.stored.entry((row.tenant, row.id())).or_insert_with(|| row.clone());
        }
    }

    pub(crate) fn take(&mut self, events: &[EventRow], emit: bool) {
        self.store(events);
        for events in events.chunk_by(|a, b| a.tenant == b.tenant) {
            let tenant = TenantId::new(events[0].tenant);
            let arrival = Arrival { tenant: &tenant, emit, at: self.now, now: UnixNanos(77) };
            self.linker.events(arrival, &batch(events), &mut self.rows).unwrap();
        }
    }

    pub(crate) fn exemplars(&mut self, links: &[ExemplarLink], emit: bool) {
        let tenant = TenantId::default();
        let arrival = Arrival { tenant: &tenant, emit, at: self.now, now: UnixNanos(77) };
        self.linker.exemplars(arrival, links, &mut self.rows);
    }

    /// Looks up everything due, as the store would answer.
    pub(crate) fn look_up(&mut self) -> Vec<SpanLookup> {
        let due = self.linker.due(self.now, usize::MAX);
        for lookup in &due {
            let found = lookup.ids.iter().filter_map(|id| {
                let (_, row) = self.stored.iter().find(|((t, i), _)| *t == lookup.tenant.as_str() && i == id)?;
                let inside = (lookup.from.0..=lookup.to.0).contains(&row.start);
                inside.then(|| Seen {
                    id: *id,
                    start: UnixNanos(row.start),
                    duration: row.duration,
                    asset: AssetHash::of(&row.asset),
                    tenant: lookup.index,
                    marks: Marks::of_span(Some(row.status), row.kind),
                })
            });
            let found: Vec<Seen> = found.collect();
            let doubtful = self.rows.iter().filter(|row| lookup.doubtful.contains(&row.primary));
            let linked = doubtful.map(|row| (row.relation, row.primary, row.related)).collect();
            let moment = (self.now, UnixNanos(78));
            self.linker.looked_up(moment, lookup, found.into_iter(), &linked, &mut self.rows);
        }
        due
    }

    /// A restart: what is in the window is lost, the saved state is kept.
    pub(crate) fn restart(&mut self) {
        let (bytes, _) = state::save(&self.linker, 1 << 20);
        self.linker = Linker::new(self.linker.limits, true);
        state::restore(&mut self.linker, &bytes).unwrap();
    }

    /// Links so far: relation, primary, related; sorted.
    pub(crate) fn links(&self) -> Vec<(Relation, EventId, EventId)> {
        let mut links: Vec<_> = self.rows.iter().map(|row| (row.relation, row.primary, row.related)).collect();
        links.sort_unstable();
        links
    }
}

/// The links of `events` must be `expected` in any order of arrival, in one batch or one by one.
fn assert_links(events: &[EventRow], expected: &[(Relation, EventId, EventId)]) {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    let reversed: Vec<EventRow> = events.iter().rev().cloned().collect();
    for order in [events, &reversed] {
        for size in [1, order.len()] {
            let mut bench = Bench::new(LIMITS);
            order.chunks(size).for_each(|events| bench.take(events, true));
            assert_eq!(bench.links(), expected, "{size} at a time, first {:?}", order[0].id());
            assert_eq!(bench.linker.pending.len(), 0);
        }
    }
}

#[test]
fn a_child_in_another_asset_is_a_call_and_one_in_the_same_asset_is_not() {
    let events = [span(1, 0, "front"), span(2, 1, "back"), span(3, 2, "back"), span(4, 4, "own parent")];
    assert_links(&events, &[(Relation::Call, span_id(1, 1), span_id(1, 2))]);
}

#[test]
fn a_failed_callee_is_linked_to_its_failed_caller_along_the_call() {
    let events = [span(1, 0, "a").failed(), span(2, 1, "b").failed(), span(3, 1, "b"), span(4, 1, "a").failed()];
    let (caller, callee) = (span_id(1, 1), span_id(1, 2));
    let call = |callee| (Relation::Call, caller, callee);
    assert_links(&events, &[call(callee), call(span_id(1, 3)), (Relation::Failure, callee, caller)]);
}

#[test]
fn a_span_is_linked_to_those_it_names_also_in_another_trace_and_its_own_asset() {
    let events = [span(1, 0, "a"), span(2, 0, "a").trace(2), span(3, 0, "a").trace(3).links(&[(1, 1), (2, 2), (1, 1)])];
    let related = span_id(3, 3);
    assert_links(&events, &[(Relation::Link, span_id(1, 1), related), (Relation::Link, span_id(2, 2), related)]);
}

#[test]
fn producer_and_consumer_are_a_message_by_parent_by_link_and_once_by_both() {
    let sent = span(1, 0, "a").kind("producer").failed();
    let message = |related| (Relation::Message, span_id(1, 1), related);
    let by_parent = span(2, 1, "b").kind("consumer").failed();
    let by_link = span(3, 0, "b").trace(2).kind("consumer").links(&[(1, 1)]);
    let by_both = span(4, 1, "b").kind("consumer").links(&[(1, 1)]);
    let in_one_asset = span(5, 1, "a").kind("consumer").links(&[(1, 1)]);
    let expected = [by_parent.id(), by_link.id(), by_both.id(), in_one_asset.id()].map(message);
    assert_links(&[sent, by_parent, by_link, by_both, in_one_asset], &expected);
}

#[test]
fn a_parent_that_is_linked_as_well_is_a_call_and_a_link() {
    let events = [span(1, 0, "a"), span(2, 1, "b").links(&[(1, 1)])];
    let (primary, related) = (span_id(1, 1), span_id(1, 2));
    assert_links(&events, &[(Relation::Call, primary, related), (Relation::Link, primary, related)]);
}

#[test]
fn logs_of_warning_and_above_are_linked_to_their_span() {
    let severities = ["warning", "error", "critical", "info", "debug", "trace"];
    let logs = severities.iter().enumerate().map(|(at, severity)| EventRow { severity, ..log(1, 9, at as i32) });
    let mut events: Vec<EventRow> = logs.collect();
    events.push(span(1, 0, "a"));
    let link = |at| (Relation::LogInSpan, span_id(1, 1), EventId::from_halves(9, at));
    assert_links(&events, &[link(0), link(1), link(2)]);
}

#[test]
fn an_exemplar_links_a_span_to_a_metric_row_once_however_often_it_is_sent() {
    let exemplar = |row| ExemplarLink {
        trace: TraceId(1_u128.to_be_bytes()),
        span: SpanId(1),
        timestamp: UnixNanos(1_000_000_000_123),
        metric_row: EventId(row),
        bucket: UnixNanos(960_000_000_000),
    };
    for span_first in [true, false] {
        let mut bench = Bench::new(LIMITS);
        if span_first {
            bench.take(&[span(1, 0, "a")], true);
        }
        bench.exemplars(&[exemplar(50), exemplar(50)], true);
        bench.exemplars(&[exemplar(51), exemplar(50)], true);
        bench.take(&[span(1, 0, "a")], true);
        bench.exemplars(&[exemplar(50)], true);
        let link = |row| (Relation::Exemplar, span_id(1, 1), EventId(row));
        assert_eq!(bench.links(), [link(50), link(51)]);
        assert!(bench.rows.iter().all(|row| row.related_timestamp == UnixNanos(960_000_000_000)));
    }
}

#[test]
fn strength_and_times_come_from_the_two_spans_alone() {
    let mut bench = Bench::new(LIMITS);
    let parent = span(1, 0, "a").at(1_000_000, 1_000).failed();
    bench.take(&[span(2, 1, "b").at(1_000_500, 250).failed(), parent], true);
    let [call, failure] = &bench.rows[..] else { panic!("{:?}", bench.rows) };
    assert_eq!((call.strength, call.confidence, call.correlation_type), (0.25, 1.0, "causal"));
    assert_eq!((call.primary_timestamp, call.related_timestamp), (UnixNanos(1_000_000), UnixNanos(1_000_500)));
    assert_eq!(failure.strength, 0.75, "the caller went on for a quarter of its time");
    assert_eq!((failure.primary_timestamp, failure.related_timestamp), (UnixNanos(1_000_500), UnixNanos(1_000_000)));
    assert_eq!(call.created_at, UnixNanos(77));
}

#[test]
fn a_span_sent_again_in_another_request_is_not_linked_again() {
    let mut bench = Bench::new(LIMITS);
    for _ in 0..3 {
        bench.take(&[span(2, 1, "b"), span(1, 0, "a"), span(2, 1, "b"), span(1, 0, "a")], true);
    }
    assert_eq!(bench.links(), [(Relation::Call, span_id(1, 1), span_id(1, 2))]);
    assert_eq!(bench.linker.repeated, 10);
}

#[test]
fn tenants_with_the_same_ids_are_not_linked_with_each_other() {
    let mut bench = Bench::new(LIMITS);
    bench.take(&[span(1, 0, "a")], true);
    bench.take(&[EventRow { tenant: "other", ..span(2, 1, "b") }], true);
    assert_eq!(bench.links(), []);
    bench.take(&[EventRow { tenant: "other", ..span(1, 0, "c") }], true);
    assert_eq!(bench.rows.len(), 1);
    assert_eq!(bench.rows[0].tenant, TenantId::new("other"));
}

#[test]
fn what_was_linked_before_a_restart_is_not_linked_again_and_what_it_left_open_is() {
    let mut bench = Bench::new(LIMITS);
    bench.take(&[span(2, 1, "b")], true);
    let (state, _) = state::save(&bench.linker, 1 << 20);
    let after_the_state = [span(1, 0, "a"), span(3, 1, "c"), log(1, 4, 4), span(6, 5, "f")];
    bench.take(&after_the_state, true);
    bench.linker = Linker::new(LIMITS, true);
    state::restore(&mut bench.linker, &state).unwrap();
    bench.take(&after_the_state, false);
    bench.take(&[span(4, 1, "d"), span(5, 0, "e")], true);
    bench.look_up();
    let call = |caller, callee| (Relation::Call, span_id(1, caller), span_id(1, callee));
    let log = (Relation::LogInSpan, span_id(1, 1), EventId::from_halves(4, 4));
    assert_eq!(bench.links(), [call(1, 2), call(1, 3), call(1, 4), call(5, 6), log]);
}

#[test]
fn a_link_that_a_look_up_wrote_after_the_state_was_saved_is_not_written_again() {
    for parent_comes_again in [false, true] {
        let mut bench = Bench::new(LIMITS);
        bench.linker.had_events = true;
        bench.take(&[span(2, 1, "b").failed()], true);
        let (state, _) = state::save(&bench.linker, 1 << 20);
        bench.store(&[span(1, 0, "a").failed()]);
        bench.look_up();
        assert_eq!(bench.rows.len(), 2, "call and failure");
        bench.linker = Linker::new(LIMITS, true);
        state::restore(&mut bench.linker, &state).unwrap();
        if parent_comes_again {
            bench.take(&[span(1, 0, "a").failed()], true);
        }
        bench.look_up();
        assert_eq!((bench.rows.len(), bench.linker.pending.len()), (2, 0));
    }
}

#[test]
fn a_child_long_after_its_evicted_parent_is_linked_by_one_look_up() {
    let mut bench = Bench::new(LinkerLimits { window_bytes: 0, ..LIMITS });
    bench.take(&[span(1, 0, "a")], true);
    (100..200).for_each(|id| bench.take(&[span(id, 0, "noise")], true));
    bench.take(&[span(2, 1, "b"), span(3, 1, "b"), log(1, 4, 4), span(5, 99, "b")], true);
    assert_eq!(bench.links(), []);
    let lookups = bench.look_up();
    assert_eq!(lookups.len(), 1);
    assert_eq!(lookups[0].ids, [span_id(1, 1), span_id(1, 99)], "each wanted span once");
    let call = |callee| (Relation::Call, span_id(1, 1), span_id(1, callee));
    let expected = [call(2), call(3), (Relation::LogInSpan, span_id(1, 1), EventId::from_halves(4, 4))];
    assert_eq!(bench.links(), expected);
    assert_eq!(bench.look_up(), [], "the end whose span is nowhere waits on without another look-up");
    bench.take(&[span(6, 1, "b")], true);
    assert_eq!(bench.rows.len(), 4, "what was found once need not be looked up again");
}

#[test]
fn nothing_is_looked_up_while_the_window_holds_all_there_ever_was() {
    let mut bench = Bench::new(LIMITS);
    bench.take(&[span(2, 1, "b")], true);
    assert_eq!(bench.look_up(), []);
}

#[test]
fn a_parent_found_in_the_store_before_it_arrives_along_the_tail_is_linked_on_arrival_too() {
    let mut bench = Bench::new(LIMITS);
    bench.linker.had_events = true;
    bench.take(&[span(3, 2, "c")], true);
    bench.store(&[span(2, 1, "b")]);
    bench.look_up();
    bench.take(&[span(1, 0, "a"), span(2, 1, "b")], true);
    let call = |caller, callee| (Relation::Call, span_id(1, caller), span_id(1, callee));
    assert_eq!(bench.links(), [call(1, 2), call(2, 3)]);
}

#[test]
fn ends_that_wait_survive_a_restart_and_older_parents_are_found_after_it() {
    let mut bench = Bench::new(LIMITS);
    bench.take(&[span(1, 0, "a"), span(12, 11, "child first")], true);
    bench.restart();
    bench.take(&[span(2, 1, "b")], true);
    bench.look_up();
    bench.take(&[span(11, 0, "its parent")], true);
    bench.look_up();
    let call = |caller, callee| (Relation::Call, span_id(1, caller), span_id(1, callee));
    assert_eq!(bench.links(), [call(1, 2), call(11, 12)]);
}
