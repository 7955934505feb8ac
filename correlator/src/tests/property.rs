//! Any events in any order, cut into batches anywhere, sent again, with evictions, look-ups, restarts and crashes in
//! between: the links are those computed directly from all events, each once.

use super::linking::{Bench, LIMITS};
use super::rows::{EventRow, log, span, span_id};
use crate::linker::{Linker, LinkerLimits};
use crate::state;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use std::collections::HashMap;
use whence_schema::{EventId, ExemplarLink, Relation, SpanId, TraceId, UnixNanos};

/// What arrives.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // a few hundred of them, in tests
pub(crate) enum Item {
    Event(EventRow),
    Exemplar(ExemplarLink),
}

/// A random forest of spans in a few traces, with links, messages, failures, missing parents, logs and exemplars.
pub(crate) fn forest(random: &mut StdRng, spans_per_trace: u64) -> Vec<Item> {
    let assets = ["a", "b", "c"];
    let kinds = ["client", "server", "producer", "consumer", "producer", "consumer"];
    let traces = random.random_range(1..5_u128);
    let any_span = |random: &mut StdRng| (random.random_range(1..=traces), random.random_range(1..=spans_per_trace));
    let mut items = Vec::new();
    for trace in 1..=traces {
        for id in 1..=spans_per_trace {
            // Parents beyond the last span never arrive; a parent may also have a larger id, and close a circle.
            let parent = random.random_range(0..=spans_per_trace + 1);
            let start = 1_000_000_000_000 + random.random_range(0..1_000_000);
            let mut row = span(id, parent, assets.choose(random).unwrap()).trace(trace);
            row = row.at(start, random.random_range(0..1_000_000)).kind(kinds.choose(random).unwrap());
            if random.random_bool(0.4) {
                row = row.failed();
            }
            if random.random_bool(0.3) {
                let links = [any_span(random), any_span(random), (trace, parent.max(1))];
                row = row.links(&links[..random.random_range(1..=3)]);
            }
            items.push(Item::Event(row));
        }
    }
    for position in 0..random.random_range(0..20) {
        let (trace, id) = any_span(random);
        items.push(Item::Event(log(id, 0xd1_6e57, position).trace(trace)));
    }
    for row in 0..random.random_range(0..10_u128) {
        let (trace, id) = any_span(random);
        items.push(Item::Exemplar(ExemplarLink {
            trace: TraceId(trace.to_be_bytes()),
            span: SpanId(id),
            timestamp: UnixNanos(1_000_000_000_000),
            metric_row: EventId(row / 2),
            bucket: UnixNanos(960_000_000_000),
        }));
    }
    items
}

/// The links of `items`, from their definitions.
pub(crate) fn expected(items: &[Item]) -> Vec<(Relation, EventId, EventId)> {
    let events = || items.iter().filter_map(|item| if let Item::Event(row) = item { Some(row) } else { None });
    let spans: HashMap<EventId, &EventRow> = events().filter(|r| r.signal == "span").map(|r| (r.id(), r)).collect();
    let mut links = Vec::new();
    for row in events() {
        let owner = spans.get(&span_id(row.trace, row.span));
        if row.signal == "log" {
            links.extend(owner.map(|owner| (Relation::LogInSpan, owner.id(), row.id())));
            continue;
        }
        let is_message = |from: &EventRow| from.kind == Some("producer") && row.kind == Some("consumer");
        let parent = spans.get(&span_id(row.trace, row.parent)).filter(|p| p.id() != row.id() && p.asset != row.asset);
        if let Some(parent) = parent {
            let relation = if is_message(parent) { Relation::Message } else { Relation::Call };
            links.push((relation, parent.id(), row.id()));
            if relation == Relation::Call && parent.status == "error" && row.status == "error" {
                links.push((Relation::Failure, row.id(), parent.id()));
            }
        }
        for id in crate::span_links::linked(&row.payload, row.id()) {
            let Some(from) = spans.get(&id) else { continue };
            links.push((if is_message(from) { Relation::Message } else { Relation::Link }, id, row.id()));
        }
    }
    for item in items {
        let Item::Exemplar(link) = item else { continue };
        let id = EventId::of_span(link.trace, link.span);
        links.extend(spans.contains_key(&id).then_some((Relation::Exemplar, id, link.metric_row)));
    }
    links.sort_unstable();
    links.dedup();
    links
}

fn take(bench: &mut Bench, items: &[Item], emit: bool) {
    for item in items {
        match item {
            Item::Event(row) => bench.take(std::slice::from_ref(row), emit),
            Item::Exemplar(link) => bench.exemplars(&[*link], emit),
        }
    }
}

/// A point up to which everything is committed: the linker's state, the number of links, and how much had arrived.
struct Commit {
    state: Vec<u8>,
    links: usize,
    arrived: usize,
}

impl Commit {
    fn of(bench: &Bench, arrived: usize) -> Self {
        Self { state: state::save(&bench.linker, 1 << 20).0, links: bench.rows.len(), arrived }
    }
}

/// As `kill -9` and a start after it. The links of `links` are there, the state is that of the same or an earlier
/// commit: what came after the state comes again, and its links are not made up to `links`.
fn crash(bench: &mut Bench, state: &Commit, links: &Commit, arrived: &[Item]) {
    bench.linker = Linker::new(bench.linker.limits, true);
    state::restore(&mut bench.linker, &state.state).unwrap();
    bench.rows.truncate(links.links);
    take(bench, &arrived[state.arrived..links.arrived], false);
    take(bench, &arrived[links.arrived..], true);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn links_are_those_of_the_events_whatever_the_order(seed: u64, spans in 1..12_u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut items = forest(&mut random, spans);
        let expected = expected(&items);
        // All spans stay in the window, so that any of them may come again at any time.
        let again: Vec<Item> = items.choose_multiple(&mut random, 5).filter(|i| !is_log(i)).cloned().collect();
        items.extend(again);
        items.shuffle(&mut random);
        let mut bench = Bench::new(LIMITS);
        take(&mut bench, &items, true);
        prop_assert_eq!(bench.links(), expected);
    }

    #[test]
    fn links_are_the_same_with_evictions_restarts_and_crashes(seed: u64, spans in 1..25_u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut items = forest(&mut random, spans);
        let expected = expected(&items);
        items.shuffle(&mut random);
        let mut bench = Bench::new(LinkerLimits { window_bytes: 0, ..LIMITS });
        let (mut state, mut links) = (Commit::of(&bench, 0), Commit::of(&bench, 0));
        let mut arrived = 0;
        while arrived < items.len() {
            let cut = random.random_range(arrived + 1..=items.len().min(arrived + 10));
            take(&mut bench, &items[arrived..cut], true);
            arrived = cut;
            match random.random_range(0..8) {
                0 => {
                    let ahead = items[arrived..].iter().take(random.random_range(0..20));
                    ahead.for_each(|item| if let Item::Event(row) = item { bench.store(std::slice::from_ref(row)) });
                    bench.look_up();
                }
                1 => (state, links) = (Commit::of(&bench, arrived), Commit::of(&bench, arrived)),
                2 => {
                    bench.restart();
                    (state, links) = (Commit::of(&bench, arrived), Commit::of(&bench, arrived));
                }
                3 => {
                    // Links are committed before the state is: a crash in between leaves the state behind.
                    if random.random_bool(0.5) && state.arrived == links.arrived {
                        links = Commit::of(&bench, arrived);
                    }
                    let more = random.random_range(arrived..=items.len().min(arrived + 10));
                    take(&mut bench, &items[arrived..more], true);
                    arrived = more;
                    crash(&mut bench, &state, &links, &items[..arrived]);
                }
                _ => {}
            }
        }
        while !bench.look_up().is_empty() {}
        let links = bench.links();
        let missing: Vec<_> = expected.iter().filter(|link| !links.contains(link)).collect();
        prop_assert!(missing.is_empty(), "missing: {missing:?}");
        prop_assert_eq!(links, expected, "twice");
    }
}

fn is_log(item: &Item) -> bool {
    matches!(item, Item::Event(row) if row.signal == "log")
}
