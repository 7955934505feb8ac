//! The asynchronous rim: reads the tail, writes links in batches, looks up in the store, saves state at each flush.

use crate::columns::{EventColumns, stored_links};
use crate::error::CorrelatorError;
use crate::linker::{Arrival, LinkKey, Linker, LinkerLimits, SpanLookup};
use crate::options::{CorrelatorOptions, WatchOptions};
use crate::pending::Moment;
use crate::state;
use crate::statistics::CorrelatorStatistics;
use crate::watch::{Arrivals, LiveRed, Watcher};
use crate::window::{AssetHash, Marks, Seen};
use futures::FutureExt;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::MissedTickBehavior;
use whence_schema::tables::correlations::{self, CorrelationRow};
use whence_schema::{EventId, TenantId};
use whence_storage::{FoundSpan, LinkSide, Snapshot, StorageError, Store, Tail, TailItem, TailRows};

/// Spans looked up at once. Most of a look-up's cost is reading, whatever the number.
const LOOKUP_SPANS: usize = 16_384;
/// A look-up that took so long is followed by a rest of nine times that, so that looking up takes a tenth of a core
/// at most, and never longer than this.
const LONGEST_REST: Duration = Duration::from_secs(20);
/// How often a look-up that failed is tried again.
const LOOKUP_RETRIES: u32 = 3;

/// Links events as they are appended. One per store.
pub struct Correlator {
    store: Store,
    options: CorrelatorOptions,
    linker: Linker,
    statistics: Arc<CorrelatorStatistics>,
    /// Told what arrives, if somebody watches.
    arrivals: Option<Arc<Arrivals>>,
    live: Arc<LiveRed>,
    rows: Vec<CorrelationRow>,
    started: Instant,
    next_lookup: Instant,
}

/// A look-up as it comes back: what was asked, how often it failed before, and the answer.
struct Answer {
    lookup: SpanLookup,
    failures: u32,
    found: Result<Found, CorrelatorError>,
}

/// Spans, and the links there are from the doubtful ones among them.
#[derive(Default)]
struct Found {
    spans: HashMap<EventId, FoundSpan>,
    links: HashSet<LinkKey>,
}

/// What runs or is to run again.
#[derive(Default)]
struct Lookups {
    running: Option<(Instant, JoinHandle<Vec<Answer>>)>,
    failed: Vec<(SpanLookup, u32)>,
}

impl Correlator {
    /// A correlator for `store`. `state` is what the last one answered to the last committed seal; if it cannot be
    /// read, links that waited for their later end at that time will be missing, and a warning says so.
    pub fn new(store: Store, state: Option<Vec<u8>>, options: CorrelatorOptions) -> Self {
        let events = store.snapshot().events;
        let had_events = state.is_some() || !events.chunks.is_empty() || !events.batches.is_empty();
        let limits = LinkerLimits {
            window_bytes: options.window_bytes,
            pending_bytes: options.pending_bytes,
            exemplars: options.exemplars,
            look_back: options.look_back,
            look_ahead: options.look_ahead,
        };
        let mut linker = Linker::new(limits, had_events);
        if let Some(Err(_)) = state.map(|bytes| state::restore(&mut linker, &bytes)) {
            tracing::warn!(
                "correlator state of another version or damaged: links that waited for an end may be missing"
            );
        }
        let statistics = Arc::new(CorrelatorStatistics::default());
        let started = Instant::now();
        let (arrivals, rows, live) = (None, Vec::new(), Arc::new(LiveRed::new(store.clone())));
        Self { store, options, linker, statistics, arrivals, live, rows, started, next_lookup: started }
    }

    /// Numbers about this correlator, current as long as it runs.
    pub fn statistics(&self) -> Arc<CorrelatorStatistics> {
        self.statistics.clone()
    }

    /// Rate, errors and duration as they are counted when data arrives; empty when nobody watches.
    pub fn live_red(&self) -> Arc<LiveRed> {
        self.live.clone()
    }

    /// Who finds incidents in what this one links; to be run beside it.
    pub fn watcher(&mut self, options: WatchOptions) -> Watcher {
        let arrivals = self.arrivals.get_or_insert_default().clone();
        Watcher::new(self.store.clone(), options, arrivals, self.live.clone(), self.statistics.clone())
    }

    /// Links everything that comes along `tail`; returns when it ends.
    ///
    /// # Errors
    ///
    /// When the store does not take links for good, or a batch of the tail is not one of `events`.
    pub async fn run(mut self, mut tail: Tail) -> Result<(), CorrelatorError> {
        let mut tick = tokio::time::interval(self.options.write_interval.max(Duration::from_millis(1)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lookups = Lookups::default();
        let mut sealed = false;
        loop {
            // Asking for the item behind a seal closes the links before it: nothing may be written in between, or it
            // would be committed with a state that still waits for it.
            let ready = if sealed { tail.next().now_or_never() } else { None };
            sealed = false;
            if let Some(item) = ready {
                let Some(item) = item else { break };
                sealed = self.take(item).await?;
                continue;
            }
            tokio::select! {
                item = tail.next() => match item {
                    Some(item) => sealed = self.take(item).await?,
                    None => break,
                },
                _ = tick.tick() => {
                    self.write().await?;
                    self.start_lookup(&mut lookups);
                }
                (took, answers) = finished(&mut lookups.running) => {
                    lookups.running = None;
                    self.next_lookup = Instant::now() + (9 * took).min(LONGEST_REST);
                    match answers {
                        Ok(answers) => self.looked_up(answers, &mut lookups.failed),
                        Err(error) => tracing::error!(%error, "a look-up of spans ended early; their links may be missing"),
                    }
                    self.write().await?;
                }
            }
        }
        self.write().await
    }

    /// Links or saves; true when the item was a seal.
    async fn take(&mut self, item: TailItem) -> Result<bool, CorrelatorError> {
        match item {
            TailItem::Appended { tenant, rows, emit } => {
                self.link(&tenant, &rows, emit)?;
                if self.rows.len() >= self.options.write_rows {
                    self.write().await?;
                }
                Ok(false)
            }
            TailItem::Seal { reply } => {
                self.write().await?;
                let (bytes, cut) = state::save(&self.linker, self.options.state_bytes);
                CorrelatorStatistics::set(&self.statistics.cut, cut as u64);
                // A store that no longer wants the answer has given up this flush; the next one asks again.
                let _ = reply.send(bytes);
                Ok(true)
            }
        }
    }

    fn link(&mut self, tenant: &TenantId, rows: &TailRows, emit: bool) -> Result<(), CorrelatorError> {
        let now = (self.options.clock)();
        let arrival = Arrival { tenant, emit, at: self.now(), now };
        match rows {
            TailRows::Events(batch) => {
                self.linker.events(arrival, batch, &mut self.rows)?;
                if let Some(arrivals) = &self.arrivals {
                    arrivals.note(tenant, batch, now);
                }
                let columns = EventColumns::of(batch)?;
                if columns.rows() > 0 {
                    let lag = now.0.saturating_sub(columns.created_at(0).0).max(0);
                    CorrelatorStatistics::set(&self.statistics.lag_nanos, lag as u64);
                }
            }
            TailRows::Metrics { times, exemplars } => {
                self.linker.exemplars(arrival, exemplars, &mut self.rows);
                if let Some(arrivals) = &self.arrivals {
                    arrivals.note_points(tenant, times, now);
                }
            }
        }
        self.publish();
        Ok(())
    }

    /// Writes the links made so far; waits while the store asks to. A store that is closed takes none: what was made
    /// since its last commit is made again after the next start.
    async fn write(&mut self) -> Result<(), CorrelatorError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let batch =
            correlations::to_batch(&self.rows).map_err(|source| CorrelatorError::Arrow { what: "links", source })?;
        while let Err(error) = self.store.append_correlations(batch.clone()).await {
            if matches!(error, StorageError::Closed) {
                break;
            }
            let Some(wait) = error.retry_after() else {
                return Err(CorrelatorError::Storage { what: "write links to", source: Box::new(error) });
            };
            tokio::time::sleep(wait).await;
        }
        self.statistics.count_links(&self.rows);
        self.rows.clear();
        self.rows.shrink_to(4 * self.options.write_rows);
        Ok(())
    }

    /// Starts to look up what has waited long enough, unless a look-up runs or rests.
    fn start_lookup(&mut self, lookups: &mut Lookups) {
        if lookups.running.is_some() || Instant::now() < self.next_lookup {
            return;
        }
        let Some(waited) = self.started.elapsed().checked_sub(self.options.lookup_after) else { return };
        // While look-ups fail, further ends wait where their number is bounded.
        let spans = if lookups.failed.is_empty() { LOOKUP_SPANS } else { 0 };
        let due = self.linker.due(Moment(waited.as_millis() as u64), spans);
        let asked: u64 = due.iter().map(|lookup| lookup.ids.len() as u64).sum();
        CorrelatorStatistics::add(&self.statistics.looked_up, asked);
        let mut due: Vec<(SpanLookup, u32)> = due.into_iter().map(|lookup| (lookup, 0)).collect();
        due.append(&mut lookups.failed);
        if due.is_empty() {
            return;
        }
        let snapshot = self.store.snapshot();
        let job = tokio::task::spawn_blocking(move || {
            let answer = |(lookup, failures): (SpanLookup, u32)| {
                let found = find(&snapshot, &lookup);
                Answer { lookup, failures, found }
            };
            due.into_iter().map(answer).collect()
        });
        lookups.running = Some((Instant::now(), job));
    }

    fn looked_up(&mut self, answers: Vec<Answer>, failed: &mut Vec<(SpanLookup, u32)>) {
        let moment = (self.now(), (self.options.clock)());
        for Answer { lookup, failures, found } in answers {
            let found = found.unwrap_or_else(|error| {
                // A bucket that does not answer is waited for.
                let failures = if error.needs_bucket() { 0 } else { failures };
                tracing::warn!(%error, spans = lookup.ids.len(), "cannot look up spans in the store");
                CorrelatorStatistics::add(&self.statistics.lookup_failures, 1);
                if failures < LOOKUP_RETRIES {
                    failed.push((lookup.clone(), failures + 1));
                }
                Found::default()
            });
            if failed.last().is_some_and(|(again, _)| *again == lookup) {
                continue;
            }
            CorrelatorStatistics::add(&self.statistics.found, found.spans.len() as u64);
            let mut spans: Vec<Seen> = found.spans.into_iter().map(|(id, span)| seen(id, &span, &lookup)).collect();
            spans.sort_unstable_by_key(|span| span.id);
            self.linker.looked_up(moment, &lookup, spans.into_iter(), &found.links, &mut self.rows);
        }
        self.publish();
    }

    fn now(&self) -> Moment {
        Moment(self.started.elapsed().as_millis() as u64)
    }

    fn publish(&self) {
        let (statistics, linker) = (&self.statistics, &self.linker);
        CorrelatorStatistics::set(&statistics.window, linker.window.len() as u64);
        CorrelatorStatistics::set(&statistics.evicted, linker.window.evicted());
        CorrelatorStatistics::set(&statistics.pending, linker.pending.len() as u64);
        CorrelatorStatistics::set(&statistics.dropped, linker.pending.dropped());
        CorrelatorStatistics::set(&statistics.repeated, linker.repeated);
    }
}

/// Waits for the running look-up, for ever if there is none.
async fn finished(
    running: &mut Option<(Instant, JoinHandle<Vec<Answer>>)>,
) -> (Duration, Result<Vec<Answer>, JoinError>) {
    match running {
        Some((started, job)) => {
            let answers = job.await;
            (started.elapsed(), answers)
        }
        None => std::future::pending().await,
    }
}

/// Blocks on file reads.
fn find(snapshot: &Snapshot, lookup: &SpanLookup) -> Result<Found, CorrelatorError> {
    let failed = |source| CorrelatorError::Storage { what: "look up in", source: Box::new(source) };
    let spans = snapshot.find_spans(&lookup.tenant, &lookup.ids, lookup.from, lookup.to).map_err(failed)?;
    let doubtful: Vec<EventId> = lookup.doubtful.iter().copied().filter(|id| spans.contains_key(id)).collect();
    let mut links = HashSet::new();
    if !doubtful.is_empty() {
        for batch in snapshot.links(&lookup.tenant, &doubtful, LinkSide::Primary).map_err(failed)? {
            links.extend(stored_links(&batch)?.into_iter().map(|link| (link.relation, link.primary, link.related)));
        }
    }
    Ok(Found { spans, links })
}

fn seen(id: EventId, span: &FoundSpan, lookup: &SpanLookup) -> Seen {
    let status = span.failed.then_some("error");
    Seen {
        id,
        start: span.start,
        duration: span.duration_ns.max(0),
        asset: AssetHash::of(&span.asset_id),
        tenant: lookup.index,
        marks: Marks::of_span(status, span.kind.as_deref()),
    }
}
