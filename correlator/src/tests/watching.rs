//! Incidents found as data arrives, at a real store: in any order within the lateness, across restarts, and none of quiet
//! data.

use super::property::Item;
use super::rows::{EventRow, batch, log, span};
use super::through_store::{Life, Requests};
use crate::find_root_causes;
use crate::options::WatchOptions;
use crate::statistics::CorrelatorStatistics;
use crate::watch::{Arrivals, LiveRed, Watcher};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::path::Path;
use std::sync::Arc;
use whence_schema::{MetricPoints, Rows, Signal, TenantId, UnixNanos};
use whence_storage::{Erasure, Incident, LogTemplate, Store};

pub(super) const SECOND: i64 = 1_000_000_000;
/// When events begin: the start of a slot.
pub(super) const BEGIN: i64 = 1_700_000_010 * SECOND;
/// Seconds of events, and the trouble in them.
const LENGTH: i64 = 1_200;
const TROUBLE: std::ops::Range<i64> = 780..930;

/// Seconds since the beginning.
pub(super) fn at(second: i64) -> UnixNanos {
    UnixNanos(BEGIN + second * SECOND)
}

/// What one request leaves: a server that calls another, which logs. In trouble half of the calls fail.
pub(super) fn request(number: i64, start: i64, fails: bool) -> Vec<EventRow> {
    let trace = number as u128 + 1;
    let front = span(1, 0, "front").trace(trace).at(start, 9_000_000).kind("server");
    let cart = span(2, 1, "cart").trace(trace).at(start + 1_000_000, 5_000_000 + number % 7 * 100_000).kind("server");
    let said = if fails { "no connection to the database left".to_owned() } else { format!("order {number} saved") };
    let logged = EventRow {
        body: Some(said),
        asset: "cart".to_owned(),
        severity: if fails { "error" } else { "info" },
        start: start + 2_000_000,
        ..log(2, number as u64 + 1, 0).trace(trace)
    };
    vec![front, if fails { cart.failed() } else { cart }, logged]
}

/// Seconds in which what arrives is one request.
const STEP: usize = 5;

/// Four requests a second, by the second in which they arrive: up to `late` seconds after they happened.
fn arriving(trouble: std::ops::Range<i64>, late: i64, seed: u64) -> Vec<Vec<EventRow>> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut arriving: Vec<Vec<EventRow>> = vec![Vec::new(); LENGTH as usize + 2 * STEP];
    for number in 0..LENGTH * 4 {
        let second = number / 4;
        let fails = trouble.contains(&second) && number % 2 == 0;
        for row in request(number, at(second).0 + number % 4 * SECOND / 4, fails) {
            let after = if late == 0 { 0 } else { random.random_range(0..=late) };
            arriving[((second + after) as usize).next_multiple_of(STEP)].push(row);
        }
    }
    arriving
}

pub(super) struct Watching {
    pub(super) life: Life,
    requests: Requests,
    arrivals: Arc<Arrivals>,
    watcher: Watcher,
    pub(super) live: Arc<LiveRed>,
    pub(super) statistics: Arc<CorrelatorStatistics>,
    /// What has arrived since the last commit, which the log has.
    in_log: InLog,
}

/// Events, and times of metric points.
#[derive(Default)]
pub(super) struct InLog {
    events: Vec<EventRow>,
    points: Vec<UnixNanos>,
}

impl Watching {
    pub(super) async fn begin(path: &Path, requests: &Requests, now: i64, in_log: InLog) -> Self {
        Self::begin_with(path, requests, now, in_log, options()).await
    }

    pub(super) async fn begin_with(
        path: &Path,
        requests: &Requests,
        now: i64,
        in_log: InLog,
        options: WatchOptions,
    ) -> Self {
        let life = Life::begin(path, requests, None, 1 << 20).await;
        let (arrivals, live, statistics, watcher) = watcher(&life.store, options);
        watcher.recall(at(now)).await;
        if !in_log.events.is_empty() {
            arrivals.note(&TenantId::default(), &batch(&in_log.events), at(now));
        }
        arrivals.note_points(&TenantId::default(), &in_log.points, at(now));
        Self { life, requests: requests.clone(), arrivals, watcher, live, statistics, in_log }
    }

    /// Takes in what arrives at a second, and does all that is due.
    pub(super) async fn arrive(&mut self, second: i64, rows: &[EventRow]) {
        if !rows.is_empty() {
            self.in_log.events.extend_from_slice(rows);
            let items: Vec<Item> = rows.iter().cloned().map(Item::Event).collect();
            self.life.append(&self.requests, &items).await;
            self.arrivals.note(&TenantId::default(), &batch(rows), at(second));
        }
        while self.watcher.step(at(second)).await {}
    }

    /// Takes in events of a tenant that arrive at a second, and does what is due, step by step: after each, `check`.
    pub(super) async fn arrive_of(
        &mut self,
        tenant: &TenantId,
        second: i64,
        rows: &[EventRow],
        check: impl Fn(&CorrelatorStatistics),
    ) {
        if !rows.is_empty() {
            let batch = batch(rows);
            self.life.append_rows(&self.requests, tenant, (Signal::Traces, Rows::Events(batch.clone()))).await;
            self.arrivals.note(tenant, &batch, at(second));
        }
        while self.watcher.step(at(second)).await {
            check(&self.statistics);
        }
    }

    /// Takes in metric points that arrive at a second, to be looked at with what arrives next.
    pub(super) async fn arrive_points(&mut self, second: i64, points: MetricPoints) {
        let times: Vec<UnixNanos> = points.points.iter().map(|point| point.timestamp).collect();
        self.life.append_rows(&self.requests, &TenantId::default(), (Signal::Metrics, Rows::Metrics(points))).await;
        self.arrivals.note_points(&TenantId::default(), &times, at(second));
        self.in_log.points.extend(times);
    }

    pub(super) async fn close(self) -> bool {
        let Self { life, watcher, .. } = self;
        drop(watcher);
        life.close().await
    }

    /// Ends as by a kill; what is in the log.
    pub(super) async fn crash(self) -> InLog {
        let Self { life, watcher, in_log, .. } = self;
        drop(watcher);
        life.crash().await;
        in_log
    }

    /// Another watcher over the same store.
    pub(super) async fn replace(&mut self, now: i64) {
        (self.arrivals, self.live, self.statistics, self.watcher) = watcher(&self.life.store, options());
        self.life.store.flush().await.unwrap();
        self.in_log = InLog::default();
        self.watcher.recall(at(now)).await;
    }

    pub(super) async fn kept(&self) -> (Vec<Incident>, Vec<LogTemplate>) {
        let (store, tenant) = (&self.life.store, TenantId::default());
        let incidents = store.incidents(&tenant).await.unwrap().into_iter();
        let incidents = incidents.map(|incident| Incident { updated_at: UnixNanos(0), ..incident }).collect();
        (incidents, store.log_templates(&tenant).await.unwrap())
    }
}

/// Without rests.
pub(super) fn options() -> WatchOptions {
    WatchOptions { core_share: 1.0, ..WatchOptions::default() }
}

fn watcher(store: &Store, options: WatchOptions) -> (Arc<Arrivals>, Arc<LiveRed>, Arc<CorrelatorStatistics>, Watcher) {
    let (arrivals, statistics) = (Arc::new(Arrivals::default()), Arc::new(CorrelatorStatistics::default()));
    let live = Arc::new(LiveRed::new(store.clone()));
    let watcher = Watcher::new(store.clone(), options, arrivals.clone(), live.clone(), statistics.clone());
    (arrivals, live, statistics, watcher)
}

/// What is kept after all has arrived and a while has passed.
async fn watched(arriving: &[Vec<EventRow>]) -> (Vec<Incident>, Vec<LogTemplate>) {
    let folder = tempfile::tempdir().unwrap();
    let mut watching = Watching::begin(folder.path(), &Requests::default(), 0, InLog::default()).await;
    for (second, rows) in arriving.iter().enumerate() {
        watching.arrive(second as i64, rows).await;
    }
    watching.arrive(LENGTH + 300, &[]).await;
    let kept = watching.kept().await;
    assert!(watching.close().await);
    kept
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_is_one_incident_with_its_cause_whatever_the_order_within_the_lateness() {
    let folder = tempfile::tempdir().unwrap();
    let mut watching = Watching::begin(folder.path(), &Requests::default(), 0, InLog::default()).await;
    let arriving_in_order = arriving(TROUBLE, 0, 0);
    let mut open_at = None;
    for (second, rows) in arriving_in_order.iter().enumerate() {
        watching.arrive(second as i64, rows).await;
        let (incidents, _) = watching.kept().await;
        if let (None, [incident]) = (open_at, &incidents[..]) {
            assert_eq!(incident.closed, None);
            open_at = Some(second as i64);
        }
    }
    let open_at = open_at.unwrap();
    assert!((TROUBLE.start + 10..=TROUBLE.start + 71).contains(&open_at), "seen while it lasts: {open_at}");
    watching.arrive(LENGTH + 300, &[]).await;
    let (incidents, templates) = watching.kept().await;
    let [incident] = &incidents[..] else { panic!("{incidents:#?}") };
    assert_eq!((incident.asset.as_deref(), incident.cause_kind.as_deref()), (Some("cart"), Some("errors")));
    assert!(incident.affected.contains(&"cart".to_owned()) && incident.confidence.is_some(), "{incident:?}");
    let second = |time: UnixNanos| (time.0 - BEGIN) / SECOND;
    assert!((TROUBLE.start - 30..=TROUBLE.start + 30).contains(&second(incident.opened)), "{incident:?}");
    assert!((TROUBLE.end - 30..=TROUBLE.end + 90).contains(&second(incident.closed.unwrap())), "{incident:?}");
    // Asked later the answer is the same.
    let snapshot = watching.life.store.snapshot();
    let (from, to) = (incident.opened, incident.closed.unwrap());
    let asked = find_root_causes(&snapshot, &TenantId::default(), from, to).unwrap().swap_remove(0);
    assert_eq!((&asked.asset, asked.confidence), (&incident.asset, incident.confidence));
    assert_eq!(asked.explanation, incident.explanation);
    let texts: Vec<&str> = templates.iter().map(|template| template.text.as_str()).collect();
    assert_eq!(texts, ["order <*> saved", "no connection to the database left"]);
    let watch = watching.statistics.watch();
    assert_eq!((watch.slots(), watch.late_slots(), watch.skipped_slots()), (LENGTH as u64 / 30, 0, 0));
    assert_eq!((watch.opened(), watch.closed(), watch.waiting_slots()), (1, 1, 0));
    assert!(watch.memory_bytes() > 0 && watch.tests() > 0);
    assert!(watching.close().await);
    for seed in 1..3 {
        assert_eq!(watched(&arriving(TROUBLE, 4, seed)).await, (incidents.clone(), templates.clone()), "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_begins_again_in_the_middle_keeps_the_same_incidents() {
    let arriving = arriving(TROUBLE, 0, 0);
    let expected = watched(&arriving).await;
    assert_eq!(expected.0.len(), 1);
    // Before the trouble, at its beginning, in its middle, when it is over and when that is known.
    let moments = [600, 805, 850, 865, 935, 990, 1_100];
    let folder = tempfile::tempdir().unwrap();
    let requests = Requests::default();
    let mut watching = Watching::begin(folder.path(), &requests, 0, InLog::default()).await;
    for (second, rows) in arriving.iter().enumerate() {
        let second = second as i64;
        watching.arrive(second, rows).await;
        if moments[..4].contains(&second) {
            watching.replace(second).await;
        } else if moments.contains(&second) {
            let in_log = watching.crash().await;
            watching = Watching::begin(folder.path(), &requests, second, in_log).await;
        }
    }
    watching.arrive(LENGTH + 300, &[]).await;
    assert_eq!(watching.kept().await, expected);
    assert!(watching.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quiet_data_has_no_incident_and_a_restart_in_silence_finds_what_was_not_said() {
    assert_eq!(watched(&arriving(0..0, 4, 7)).await.0, []);
    // Everything arrives and nobody watches; the next process finds it although nothing more comes.
    let folder = tempfile::tempdir().unwrap();
    let requests = Requests::default();
    let life = Life::begin(folder.path(), &requests, None, 1 << 20).await;
    let rows: Vec<EventRow> = arriving(LENGTH - 150..LENGTH, 0, 0).concat();
    life.append(&requests, &rows.into_iter().map(Item::Event).collect::<Vec<_>>()).await;
    assert!(life.close().await);
    let mut watching = Watching::begin(folder.path(), &requests, LENGTH + 200, InLog::default()).await;
    watching.arrive(LENGTH + 400, &[]).await;
    let (incidents, _) = watching.kept().await;
    let [incident] = &incidents[..] else { panic!("{incidents:#?}") };
    assert_eq!((incident.asset.as_deref(), incident.closed), (Some("cart"), Some(at(LENGTH))));
    assert!(watching.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_erased_is_neither_known_nor_kept_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut watching = Watching::begin(folder.path(), &Requests::default(), 0, InLog::default()).await;
    for (second, rows) in arriving(TROUBLE, 0, 0)[..900].iter().enumerate() {
        watching.arrive(second as i64, rows).await;
    }
    let (incidents, templates) = watching.kept().await;
    assert_eq!((incidents.len(), templates.len()), (1, 2));
    let everything = Erasure { tenant: TenantId::default(), table: None, condition: None };
    watching.life.store.erase(everything).await.unwrap();
    watching.arrive(1_000, &[]).await;
    assert_eq!(watching.kept().await, (Vec::new(), Vec::new()));
    watching.arrive(1_005, &request(LENGTH * 4, at(1_001).0, false)).await;
    watching.arrive(1_100, &[]).await;
    let (incidents, templates) = watching.kept().await;
    let known: Vec<(i64, &str)> = templates.iter().map(|known| (known.id, known.text.as_str())).collect();
    assert_eq!((incidents.len(), known), (0, vec![(1, "order <*> saved")]));
    assert!(watching.close().await);
}

/// Processor seconds of this process.
#[cfg(target_os = "linux")]
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // User and system time, in hundredths of a second.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Forty requests a second of ten services, with trouble in one. Run it in a release build, alone:
/// `cargo test --release ... what_it_costs -- --ignored --nocapture`.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints processor seconds for a million events, which is nothing to be right or wrong"]
async fn what_it_costs() {
    let folder = tempfile::tempdir().unwrap();
    let mut watching = Watching::begin(folder.path(), &Requests::default(), 0, InLog::default()).await;
    let (mut reading, mut explaining) = (0.0, 0.0);
    for second in (0..LENGTH).step_by(10) {
        let of_second = |second: i64| (0..40).map(move |part| (second * 40 + part, at(second).0 + part * SECOND / 40));
        let rows = (second..second + 10).flat_map(of_second).flat_map(|(number, start)| {
            let fails = TROUBLE.contains(&second) && number % 20 == 0;
            let mut rows = request(number, start, fails);
            rows.iter_mut().for_each(|row| row.asset = format!("{}-{}", row.asset, number % 10));
            rows
        });
        let rows: Vec<EventRow> = rows.collect();
        let items: Vec<Item> = rows.iter().cloned().map(Item::Event).collect();
        watching.life.append(&watching.requests, &items).await;
        watching.arrivals.note(&TenantId::default(), &batch(&rows), at(second + 10));
        loop {
            let (explained, before) = (watching.statistics.watch().explained(), processor_seconds());
            let worked = watching.watcher.step(at(second + 10)).await;
            let spent =
                if watching.statistics.watch().explained() > explained { &mut explaining } else { &mut reading };
            *spent += processor_seconds() - before;
            if !worked {
                break;
            }
        }
    }
    let watch = watching.statistics.watch();
    let (millions, explained) = (LENGTH as f64 * 120.0 / 1e6, watch.explained());
    println!(
        "{:.1} s to read and compare a million events, {:.2} s for each of {explained} explanations of {millions} million; \
         {} bytes of memory, {} comparisons for the last half minute",
        reading / millions,
        explaining / explained.max(1) as f64,
        watch.memory_bytes(),
        watch.tests()
    );
    assert!(watching.close().await);
}
