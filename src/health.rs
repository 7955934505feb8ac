//! Readiness at the health endpoint, own metrics as Prometheus text.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::fmt::Write;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use whence_correlator::CorrelatorStatistics;
use whence_otlp_receiver::Ingest;
use whence_query::QueryEngine;
use whence_schema::Relation;
use whence_storage::{Bucket, Store};

/// Where the numbers of the own metrics come from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The receivers' counters.
    pub ingest: Ingest,
    /// The store's.
    pub store: Store,
    /// The correlator's.
    pub correlator: Arc<CorrelatorStatistics>,
    /// Of queries.
    pub engine: QueryEngine,
}

/// What stage the server is in.
#[derive(Debug, Default)]
pub struct Health {
    stage: AtomicU8,
    replayed_bytes: AtomicU64,
    total_bytes: AtomicU64,
    sources: OnceLock<Sources>,
    bucket: OnceLock<Bucket>,
}

const RECOVERING: u8 = 0;
const READY: u8 = 1;

impl Health {
    /// The log is being replayed.
    pub fn recovering(&self, replayed_bytes: u64, total_bytes: u64) {
        self.replayed_bytes.store(replayed_bytes, Ordering::Relaxed);
        self.total_bytes.store(total_bytes, Ordering::Relaxed);
    }

    /// The tables are in this bucket.
    pub fn depends_on(&self, bucket: Bucket) {
        let _ = self.bucket.set(bucket);
    }

    /// All ports are open.
    pub fn ready(&self, sources: Sources) {
        let _ = self.sources.set(sources);
        self.stage.store(READY, Ordering::Release);
    }

    /// The server is ending.
    pub fn stopping(&self) {
        self.stage.store(READY + 1, Ordering::Release);
    }
}

/// `GET /`: 200 when ready, else 503 with the reason, and while the log is replayed how far that is: `replayed_bytes`
/// of `total_bytes`, `percent`.
pub fn health_router(health: Arc<Health>) -> Router {
    Router::new().fallback(get(show_health)).with_state(health)
}

async fn show_health(State(health): State<Arc<Health>>) -> Response {
    let (status, mut body) = match health.stage.load(Ordering::Acquire) {
        RECOVERING => {
            let (done, total) =
                (health.replayed_bytes.load(Ordering::Relaxed), health.total_bytes.load(Ordering::Relaxed));
            // Nothing is known of the log before it was opened.
            let percent = (total > 0).then(|| crate::progress::percent(done, total));
            let body = serde_json::json!({
                "status": "recovering", "replayed_bytes": done, "total_bytes": total, "percent": percent
            });
            (StatusCode::SERVICE_UNAVAILABLE, body)
        }
        READY => (StatusCode::OK, serde_json::json!({"status": "ready"})),
        _ => (StatusCode::SERVICE_UNAVAILABLE, serde_json::json!({"status": "stopping"})),
    };
    // Ready all the same: what is accepted is in the log and in local chunks, and goes to the bucket once it answers.
    if let Some(bucket) = health.bucket.get() {
        body["bucket"] =
            bucket.trouble().map_or_else(|| "answers".to_owned(), |error| format!("fails: {error}")).into();
    }
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// `GET /metrics`
pub fn metrics_router(health: Arc<Health>) -> Router {
    Router::new().route("/metrics", get(show_metrics)).with_state(health)
}

async fn show_metrics(State(health): State<Arc<Health>>) -> Response {
    let Some(sources) = health.sources.get() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the log is being replayed\n").into_response();
    };
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics_text(sources)).into_response()
}

fn metrics_text(sources: &Sources) -> String {
    let ingest = sources.ingest.statistics();
    let store = sources.store.statistics();
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let correlator = &sources.correlator;
    let mut out = String::with_capacity(4_096);
    let mut metric = |name: &str, kind: &str, help: &str, value: u64| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    };
    let (c, g) = ("counter", "gauge");
    metric("whence_receiver_requests_total", c, "OTLP requests accepted.", of(&ingest.requests));
    metric("whence_receiver_duplicate_requests_total", c, "Requests sent before.", of(&ingest.duplicate_requests));
    metric(
        "whence_receiver_undecodable_requests_total",
        c,
        "Requests that were no OTLP.",
        of(&ingest.undecodable_requests),
    );
    let unauthenticated = of(&ingest.unauthenticated_requests);
    metric("whence_receiver_unauthenticated_requests_total", c, "Requests without a good API key.", unauthenticated);
    metric("whence_receiver_refused_requests_total", c, "Requests told to come back.", of(&ingest.refused_requests));
    metric("whence_receiver_stored_items_total", c, "Spans, log records and points stored.", of(&ingest.items_stored));
    metric(
        "whence_receiver_delayed_requests_total",
        c,
        "Requests made to wait, chunks being behind.",
        of(&ingest.delayed_requests),
    );
    metric("whence_receiver_rejected_items_total", c, "Items refused as wrong.", of(&ingest.items_rejected));
    metric("whence_receiver_in_flight_bytes", g, "Bytes of requests under way.", of(&ingest.in_flight_bytes));
    metric("whence_log_bytes", g, "Bytes of the write-ahead log.", store.log_bytes);
    metric("whence_log_poisoned", g, "1 after an fsync failed; restart needed.", store.log_poisoned.into());
    metric("whence_memory_bytes", g, "Rows and requests held in memory.", store.memory_bytes);
    metric("whence_memory_limit_bytes", g, "Limit of the above.", store.memory_limit_bytes);
    metric("whence_memtable_rows", g, "Rows not yet in chunks.", store.memtable_rows);
    metric("whence_series", g, "Metric series known.", store.series);
    metric("whence_chunks", g, "Chunk files.", store.chunks);
    metric("whence_chunk_rows", g, "Rows in chunk files.", store.chunk_rows);
    metric("whence_chunk_bytes", g, "Bytes of chunk files.", store.chunk_bytes);
    metric("whence_flushes_total", c, "Memtables written to chunks.", store.flushes);
    metric("whence_commits_total", c, "Delta Lake commits.", store.commits);
    metric("whence_commit_failures_total", c, "Delta Lake commits that failed.", store.commit_failures);
    metric("whence_compactions_total", c, "Chunk files joined.", store.compactions);
    metric("whence_duplicate_rows_removed_total", c, "Rows stored twice, removed.", store.removed_duplicates);
    metric("whence_retention_dropped_items_total", c, "Items beyond retention, dropped.", store.removed_by_retention);
    metric("whence_disk_cap_dropped_items_total", c, "Items dropped for want of disk.", store.removed_by_disk_cap);
    metric("whence_erased_items_total", c, "Items deleted by request.", store.removed_by_erasure);
    metric("whence_disk_bytes", g, "Bytes of the data directory, if it has a cap.", store.disk_bytes);
    metric("whence_disk_over_cap_bytes", g, "Bytes beyond the cap.", store.disk_over_cap_bytes);
    metric(
        "whence_correlator_window_spans",
        g,
        "Spans whose ends can be linked from memory.",
        correlator.window_spans(),
    );
    metric("whence_correlator_evicted_spans_total", c, "Spans that left the window.", correlator.evicted_spans());
    metric("whence_correlator_pending_ends", g, "Ends that wait for a span.", correlator.pending_ends());
    metric(
        "whence_correlator_dropped_ends_total",
        c,
        "Waiting ends dropped for want of memory.",
        correlator.dropped_ends(),
    );
    metric("whence_correlator_looked_up_spans_total", c, "Spans looked up in the store.", correlator.looked_up_spans());
    metric("whence_correlator_lag_nanoseconds", g, "From accepting to linking.", correlator.lag_nanos());
    let watch = correlator.watch();
    metric("whence_incidents_opened_total", c, "Incidents found as data arrived.", watch.opened());
    metric("whence_incidents_closed_total", c, "Incidents that are over.", watch.closed());
    metric("whence_incidents_explained_total", c, "Times that a cause was looked for.", watch.explained());
    metric("whence_watch_slots_total", c, "Half minutes of tenants read.", watch.slots());
    metric("whence_watch_events_total", c, "Events in them and around them.", watch.events());
    metric("whence_watch_thinned_slots_total", c, "Half minutes with too many events.", watch.thinned_slots());
    metric("whence_watch_late_slots_total", c, "Times that events came of one that was read.", watch.late_slots());
    metric("whence_watch_skipped_slots_total", c, "Half minutes that were not read.", watch.skipped_slots());
    metric("whence_watch_minutes_total", c, "Minutes of metric points read.", watch.minutes());
    metric("whence_watch_points_total", c, "Metric points in them.", watch.points());
    metric("whence_watch_evicted_slots_total", c, "Half minutes forgotten for want of memory.", watch.evicted_slots());
    metric("whence_watch_evicted_minutes_total", c, "Minutes forgotten likewise.", watch.evicted_minutes());
    metric("whence_watch_evicted_names_total", c, "Names forgotten likewise.", watch.evicted_names());
    metric("whence_watch_evicted_templates_total", c, "Log templates forgotten likewise.", watch.evicted_templates());
    metric("whence_watch_dropped_entries_total", c, "Steps, names and others too many.", watch.dropped_entries());
    metric("whence_watch_tests", g, "Comparisons made for the last half minute.", watch.tests());
    metric("whence_watch_slot_nanoseconds", g, "Reading and comparing the last half minute.", watch.slot_nanos());
    metric("whence_watch_busy_nanoseconds_total", c, "Time spent on finding incidents.", watch.busy_nanos());
    metric("whence_watch_waiting_slots", g, "Half minutes that are complete and not read.", watch.waiting_slots());
    metric("whence_watch_lag_nanoseconds", g, "How far they are behind what has arrived.", watch.lag_nanos());
    metric("whence_watch_memory_bytes", g, "What is known of the last hour.", watch.memory_bytes());
    metric("whence_watch_hours_total", c, "Full hours whose links were stored.", watch.hours());
    metric("whence_watch_thinned_hours_total", c, "Full hours with too many events.", watch.thinned_hours());
    metric("whence_watch_late_hours_total", c, "Full hours that came too late to have links.", watch.late_hours());
    metric("whence_watch_skipped_hours_total", c, "Full hours that could not be read.", watch.skipped_hours());
    metric("whence_watch_hour_nanoseconds", g, "Reading and testing the last full hour.", watch.hour_nanos());
    metric("whence_watch_lag_tests", g, "Tests of what follows what, of the last hour.", watch.lag_tests());
    metric("whence_watch_lag_discoveries", g, "Those that found something.", watch.lag_discoveries());
    metric("whence_watch_onsets_total", c, "Onsets of trouble kept for a day.", watch.onsets());
    metric("whence_watch_evicted_onsets_total", c, "Onsets too many to be kept.", watch.evicted_onsets());
    let cache = sources.engine.cache_statistics();
    metric("whence_query_cache_answer_hits_total", c, "Whole answers given again.", cache.answer_hits);
    metric("whence_query_cache_memory_hits_total", c, "Partial results found in memory.", cache.memory_hits);
    metric("whence_query_cache_redis_hits_total", c, "Partial results found in Redis.", cache.redis_hits);
    metric("whence_query_cache_misses_total", c, "Partial results worked out.", cache.misses);
    metric("whence_query_cache_redis_errors_total", c, "Calls of Redis that failed.", cache.redis_errors);
    metric("whence_query_cache_entries", g, "Partial results in memory.", cache.entries);
    metric("whence_query_cache_bytes", g, "Bytes of them.", cache.bytes);
    if let Some(bucket) = sources.store.bucket_statistics() {
        metric("whence_bucket_available", g, "1 while the bucket answers.", bucket.available.into());
        metric("whence_bucket_requests_total", c, "Requests to the bucket, retries not counted.", bucket.requests);
        metric("whence_bucket_failed_requests_total", c, "Those that failed after all retries.", bucket.failures);
        metric("whence_bucket_uploaded_bytes_total", c, "Bytes of chunks uploaded.", bucket.uploaded_bytes);
        metric("whence_bucket_downloaded_bytes_total", c, "Bytes of chunks fetched again.", bucket.downloaded_bytes);
        metric("whence_bucket_cached_bytes", g, "Bytes of the bucket's chunks on local disk.", bucket.cached_bytes);
    }
    let name = "whence_correlator_links_total";
    let _ = writeln!(out, "# HELP {name} Links stored, by relation.\n# TYPE {name} counter");
    for relation in Relation::ALL {
        let _ = writeln!(out, "{name}{{relation=\"{relation}\"}} {}", correlator.links(*relation));
    }
    out
}
