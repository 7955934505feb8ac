//! The correlator at a real store: events as requests, commits, restarts and crashes; links read back from its tables.

use super::functions::failing_trace;
use super::property::{Item, expected, forest};
use super::rows::{EventRow, batch, span, span_id};
use crate::functions::scan::{Range, Scan};
use crate::linker::LinkKey;
use crate::{Correlator, CorrelatorOptions, CorrelatorStatistics, causal_chain, service_graph, trace};
use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use whence_schema::tables::correlations::column;
use whence_schema::{
    Encoding, EventId, MappedRequest, MetricPoints, Relation, RequestDigest, Rows, Signal, Table, TenantId, TraceId,
    UnixNanos,
};
use whence_storage::{CrashPoint, Opened, Snapshot, StorageError, Store, StoreOptions};

/// Requests by number, which is their body: mapping a logged request again is looking it up.
pub(super) type Requests = Arc<Mutex<Vec<MappedRequest>>>;

/// A running store with its correlator.
pub(super) struct Life {
    pub(super) store: Store,
    correlator: JoinHandle<()>,
    statistics: Arc<CorrelatorStatistics>,
}

impl Life {
    pub(super) async fn begin(
        path: &Path,
        requests: &Requests,
        fail_at: Option<CrashPoint>,
        window_bytes: usize,
    ) -> Self {
        let options = StoreOptions { path: path.to_owned(), fail_at, compaction: false, ..StoreOptions::default() };
        let Opened { store, tail, recovery, correlator_state } = open(options).await;
        let options = CorrelatorOptions {
            window_bytes,
            pending_bytes: 1 << 20,
            lookup_after: Duration::from_millis(1),
            write_interval: Duration::from_millis(2),
            ..CorrelatorOptions::default()
        };
        let correlator = Correlator::new(store.clone(), correlator_state, options);
        let statistics = correlator.statistics();
        let correlator = tokio::spawn(async move { correlator.run(tail).await.unwrap() });
        let requests = requests.clone();
        let again = move |logged: whence_storage::LoggedRequest| {
            let number = u32::from_be_bytes(logged.body[..].try_into().unwrap());
            Ok(requests.lock().unwrap()[number as usize].clone())
        };
        recovery.run(again, |_| {}).await.unwrap();
        Self { store, correlator, statistics }
    }

    pub(super) async fn append(&self, requests: &Requests, items: &[Item]) {
        let events = items.iter().filter_map(|item| if let Item::Event(row) = item { Some(row.clone()) } else { None });
        let events: Vec<EventRow> = events.collect();
        let exemplars =
            items.iter().filter_map(|item| if let Item::Exemplar(link) = item { Some(*link) } else { None });
        let points = MetricPoints { exemplars: exemplars.collect(), ..MetricPoints::default() };
        let rows = [(Signal::Traces, Rows::Events(batch(&events))), (Signal::Metrics, Rows::Metrics(points))];
        for (signal, rows) in rows {
            self.append_rows(requests, &TenantId::default(), (signal, rows)).await;
        }
    }

    /// Appends a request with these rows.
    pub(super) async fn append_rows(&self, requests: &Requests, tenant: &TenantId, (signal, rows): (Signal, Rows)) {
        let request = {
            let mut requests = requests.lock().unwrap();
            let body = Bytes::copy_from_slice(&(requests.len() as u32).to_be_bytes());
            let (tenant, received_at, encoding) = (tenant.clone(), UnixNanos(5_000), Encoding::Protobuf);
            let digest = RequestDigest::of(&tenant, signal, &body);
            let (received, rejected, assets) = (1, 0, Vec::new());
            requests.push(MappedRequest {
                tenant,
                signal,
                received_at,
                digest,
                body,
                encoding,
                received,
                rejected,
                rows,
                assets,
            });
            requests.last().unwrap().clone()
        };
        self.store.append(request).await.unwrap();
    }

    /// Stops in order; false when that ended at the crash point.
    pub(super) async fn close(self) -> bool {
        let outcome = self.store.close().await;
        self.correlator.await.unwrap();
        outcome.is_ok()
    }

    /// Ends as by a kill: nothing more is written.
    pub(super) async fn crash(self) {
        self.correlator.abort();
        let _ = self.correlator.await;
    }
}

/// A store that was left in a crash lets go of its directory a moment later.
async fn open(options: StoreOptions) -> Opened {
    let begun = Instant::now();
    loop {
        match Store::open(options.clone()).await {
            Ok(opened) => return opened,
            Err(StorageError::Locked { .. }) if begun.elapsed() < Duration::from_secs(20) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

const ALWAYS: Range = Range { from: UnixNanos(i64::MIN + 1_000), to: UnixNanos(i64::MAX) };

/// Every stored link, sorted.
fn links(snapshot: &Snapshot) -> Vec<LinkKey> {
    let columns = [
        column::TENANT_ID,
        column::TIMESTAMP,
        column::RELATION,
        column::PRIMARY_HIGH,
        column::PRIMARY_LOW,
        column::RELATED_HIGH,
        column::RELATED_LOW,
    ];
    let mut links = Vec::new();
    let (tenant, table) = (TenantId::default(), Table::Correlations);
    let scan = Scan { snapshot, table, tenant: &tenant, range: ALWAYS, columns: &columns, only: None };
    scan.run(&mut |batch| {
        let number = |at: usize| batch.column(at).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let high = number(5).value(row) as u64;
            let primary_high = if number(3).is_null(row) { high } else { number(3).value(row) as u64 };
            let relation = Relation::parse(batch.column(2).as_string_view().value(row)).unwrap();
            let primary = EventId::from_halves(primary_high, number(4).value(row) as u64);
            links.push((relation, primary, EventId::from_halves(high, number(6).value(row) as u64)));
        }
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    links.sort_unstable();
    links
}

/// Waits until the links are there, then a while for some too many.
async fn assert_links(store: &Store, expected: &[LinkKey], what: &str) {
    let begun = Instant::now();
    while links(&store.snapshot()).len() < expected.len() && begun.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let found = links(&store.snapshot());
    let missing: Vec<_> = expected.iter().filter(|link| !found.contains(link)).collect();
    assert!(missing.is_empty(), "{what}: missing {missing:?}");
    assert_eq!(found, expected, "{what}: twice");
}

/// What happens between two requests: commits, restarts, and crashes at any step of any commit, also several in a row.
async fn random_life(seed: u64, folder: &Path) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut items = forest(&mut random, 25);
    let expected = expected(&items);
    items.shuffle(&mut random);
    let requests = Requests::default();
    let mut life = Life::begin(folder, &requests, None, 0).await;
    let mut rest = &items[..];
    while !rest.is_empty() {
        let (request, later) = rest.split_at(random.random_range(1..=rest.len().min(20)));
        life.append(&requests, request).await;
        rest = later;
        let fail_at = CrashPoint::ALL.choose(&mut random).copied().filter(|_| random.random_bool(0.8));
        match random.random_range(0..10) {
            0..=2 => {
                if life.store.flush().await.is_err() {
                    life.crash().await;
                    life = Life::begin(folder, &requests, fail_at, 0).await;
                }
            }
            3 => {
                life.close().await;
                life = Life::begin(folder, &requests, fail_at, 0).await;
            }
            4 => {
                life.crash().await;
                life = Life::begin(folder, &requests, fail_at, 0).await;
            }
            _ => tokio::time::sleep(Duration::from_millis(random.random_range(0..10))).await,
        }
    }
    assert_links(&life.store, &expected, &format!("seed {seed}")).await;
    assert_eq!(life.statistics.dropped_ends(), 0);
    life.crash().await;
    let life = Life::begin(folder, &requests, None, 0).await;
    assert_links(&life.store, &expected, &format!("seed {seed} after a last crash")).await;
    assert!(life.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_are_those_of_the_events_through_commits_restarts_and_crashes() {
    for seed in 0..12 {
        let folder = tempfile::tempdir().unwrap();
        random_life(seed, folder.path()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_comes_after_a_restart_is_linked_to_a_parent_in_a_chunk_within_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let requests = Requests::default();
    let event = |row: EventRow| [Item::Event(row)];
    let life = Life::begin(folder.path(), &requests, None, 1 << 20).await;
    life.append(&requests, &event(span(1, 0, "a").failed())).await;
    life.append(&requests, &event(span(12, 11, "its parent comes later"))).await;
    assert!(life.close().await);

    let life = Life::begin(folder.path(), &requests, None, 1 << 20).await;
    life.append(&requests, &event(span(2, 1, "b").failed())).await;
    life.append(&requests, &event(span(11, 0, "a"))).await;
    let (parent, child) = (span_id(1, 1), span_id(1, 2));
    let call = (Relation::Call, span_id(1, 11), span_id(1, 12));
    let expected = [(Relation::Call, parent, child), call, (Relation::Failure, child, parent)];
    let begun = Instant::now();
    assert_links(&life.store, &expected, "after the restart").await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(life.statistics.found_spans() >= 1);
    assert!(life.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn table_functions_answer_the_same_from_memory_and_from_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let requests = Requests::default();
    let life = Life::begin(folder.path(), &requests, None, 1 << 20).await;
    let items: Vec<Item> = failing_trace().into_iter().map(Item::Event).collect();
    life.append(&requests, &items).await;
    let begun = Instant::now();
    while links(&life.store.snapshot()).len() < 7 && begun.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let answers = |snapshot: &Snapshot| {
        let tenant = TenantId::default();
        let chain = |event| causal_chain(snapshot, &tenant, event).unwrap();
        let all = [
            trace(snapshot, &tenant, TraceId(1_u128.to_be_bytes())).unwrap(),
            chain(span_id(1, 1)),
            chain(EventId::from_halves(77, 3)),
            chain(EventId::from_halves(77, 4)),
            service_graph(snapshot, &tenant, ALWAYS.from, ALWAYS.to).unwrap(),
        ];
        assert!(all.iter().all(|rows| rows.num_rows() > 1), "{all:?}");
        all
    };
    let from_memory = answers(&life.store.snapshot());
    life.store.flush().await.unwrap();
    let snapshot = life.store.snapshot();
    assert!(snapshot.events.batches.is_empty() && !snapshot.events.chunks.is_empty());
    assert!(snapshot.correlations.batches.is_empty() && !snapshot.correlations.chunks.is_empty());
    assert_eq!(answers(&snapshot), from_memory);
    assert!(life.close().await);
}
