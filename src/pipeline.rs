//! All wiring, in the order of the data.
//!
//! ```text
//! recover:  log -> Mapper -> Store -> Tail -> Correlator
//! serve:    OTLP -> Ingest -> Store -> Tail -> Correlator -> Store
//!                                                 Correlator -> Watcher -> Store
//!                              Store -> QueryEngine -> PostgreSQL wire, HTTP, Flight SQL
//! stop:     receivers -> Watcher -> doors -> Store (flush) -> Correlator, which ends with the tail
//! ```

use crate::admin::{self, Admin};
use crate::config::{self, Auth, Config, Durability, StorageKind, TenantRetention};
use crate::health::{Health, Sources, health_router, metrics_router};
use crate::progress::Bar;
use crate::shutdown::{self, Late, Named};
use anyhow::Context;
use axum::serve::ListenerExt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use whence_correlator::{Correlator, CorrelatorOptions, CorrelatorStatistics, LiveRed, WatchOptions, Watcher};
use whence_otlp_receiver::{Ingest, Mapper, ReceiverLimits, ReceiverOptions, default_rules, serve_grpc, serve_http};
use whence_query::serve::pgwire::{Tls, TlsOptions, TlsVersion};
use whence_query::{Additions, QueryEngine, QueryOptions};
use whence_schema::{Signal, TenantId};
use whence_storage::{Keyring, Opened, Recovery, Retention, StorageError, Store, StoreOptions};

/// Bytes of a memtable at most: enough rows for a chunk that compresses well, few enough to stay small beside the rest.
const LARGEST_MEMTABLE: usize = 32 << 20;

/// A server whose ports are open.
pub struct Running {
    health: Arc<Health>,
    store: Store,
    receiving: CancellationToken,
    answering: CancellationToken,
    receivers: Vec<Named>,
    doors: Vec<Named>,
    correlator: Named,
    watcher: Vec<Named>,
    observers: Vec<Named>,
    restart: Arc<Notify>,
}

/// Recovers what is in the data directory, then opens the ports.
///
/// # Errors
///
/// When an address is taken, or the data cannot be read.
pub async fn start(config: &Config) -> anyhow::Result<Running> {
    let health = Arc::new(Health::default());
    let observing = CancellationToken::new();
    let mut observers = Vec::new();
    if config.has_extension("health_check") {
        let listener = listen("extensions.health_check.endpoint", config.extensions.health_check.endpoint).await?;
        observers.push(serve_router("health check", listener, health_router(health.clone()), observing.clone()));
    }
    let metrics = listen("service.telemetry.metrics.address", config.service.telemetry.metrics.address).await?;
    observers.push(serve_router("own metrics", metrics, metrics_router(health.clone()), observing.clone()));
    // Taken addresses are found before the log is replayed; the ports open after it.
    let protocols = &config.receivers.otlp.protocols;
    let grpc = Reserved::new("receivers.otlp.protocols.grpc.endpoint", protocols.grpc.endpoint)?;
    let http = Reserved::new("receivers.otlp.protocols.http.endpoint", protocols.http.endpoint)?;

    let Recovered { store, mapper, correlator, watcher, live, statistics } =
        open_store(config, &health, config.exporters.hypertables.incidents.watch).await?;
    tell_who_comes_in(config, store.keyring());
    let (grpc, http) = (grpc.listen()?, http.listen()?);
    let in_flight = (config.exporters.hypertables.memory_mib as u64) << 18;
    let ingest = Ingest::new(store.clone(), mapper, in_flight);
    let receiving = CancellationToken::new();
    let watcher = watcher.into_iter().map(|watcher| watch(watcher, receiving.clone())).collect();
    let options = |max_request_bytes| receiver_options(config, max_request_bytes);
    let grpc_options = options((protocols.grpc.max_recv_msg_size_mib as usize) << 20);
    let receivers = vec![
        receiver("OTLP/gRPC", serve_grpc(grpc, ingest.clone(), grpc_options, receiving.clone())),
        receiver(
            "OTLP/HTTP",
            serve_http(http, ingest.clone(), options(protocols.http.max_request_body_size), receiving.clone()),
        ),
    ];
    empty_spill_folder(config)?;
    let additions = Additions {
        functions: crate::table_functions::all(),
        tables: crate::system_tables::all(statistics.clone(), live),
    };
    let engine = QueryEngine::new(store.clone(), additions, query_options(config))?;
    let answering = CancellationToken::new();
    let restart = Arc::new(Notify::new());
    let admin = Admin::new(store.clone(), config.exporters.hypertables.folder().to_owned(), restart.clone());
    let doors = open_doors(config, &store, &engine, admin, &answering).await?;
    let keyring = store.keyring().clone();
    observers.push(named("last use of API keys", save_last_use(keyring)));
    health.ready(Sources { ingest, store: store.clone(), correlator: statistics, engine: engine.clone() });
    Ok(Running { health, store, receiving, answering, receivers, doors, correlator, watcher, observers, restart })
}

/// Asks for keys as configured, and says so.
fn tell_who_comes_in(config: &Config, keyring: &Keyring) {
    if config.service.auth == Some(Auth::Keys) {
        keyring.require();
        if keyring.closed_from().is_none() {
            tracing::warn!(
                "service.auth is keys and there is none yet: `whence apikey create` on this host makes the first"
            );
        }
    }
    match keyring.closed_from() {
        _ if keyring.is_closed() => tracing::info!("nobody comes in without an API key"),
        Some(from) => tracing::warn!("nobody comes in without an API key from {} on", whence_storage::time_text(from)),
        None => tracing::info!("everybody who reaches the ports comes in: `whence apikey create` makes the first key"),
    }
}

/// Writes down once a minute when keys were used last.
async fn save_last_use(keyring: Keyring) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        if let Err(error) = keyring.save_last_use().await {
            tracing::warn!(%error, "when API keys were used last was not written down");
        }
    }
}

/// A store that has replayed its log, with its correlator.
struct Recovered {
    store: Store,
    mapper: Arc<Mapper>,
    correlator: Named,
    watcher: Option<Watcher>,
    live: Arc<LiveRed>,
    statistics: Arc<CorrelatorStatistics>,
}

/// Opens the store; `watched` with somebody to find incidents as data arrives.
async fn open_store(config: &Config, health: &Arc<Health>, watched: bool) -> anyhow::Result<Recovered> {
    let rules = config.exporters.hypertables.mapping_rules.clone().unwrap_or_else(default_rules);
    let mapper = Arc::new(Mapper::new(rules));
    let options = store_options(config)?;
    if let Some(bucket) = &options.bucket {
        health.depends_on(bucket.clone());
    }
    let Opened { store, tail, recovery, correlator_state } = Store::open(options).await?;
    let mut correlator = Correlator::new(store.clone(), correlator_state, correlator_options(config));
    let (statistics, live) = (correlator.statistics(), correlator.live_red());
    // Before the log is replayed: what had arrived before counts as well.
    let watcher = watched.then(|| correlator.watcher(watch_options(config)));
    let correlator = named("correlator", async move { Ok(correlator.run(tail).await?) });
    recover(recovery, mapper.clone(), health.clone()).await?;
    Ok(Recovered { store, mapper, correlator, watcher, live, statistics })
}

/// The data of a server that is stopped, opened without ports for as long as a command needs it.
pub struct Stopped {
    store: Store,
    correlator: Named,
}

/// Opens and recovers the data; `None` when a server uses it.
///
/// # Errors
///
/// When there is none, or it cannot be read.
pub async fn open_stopped(config: &Config) -> anyhow::Result<Option<Stopped>> {
    let data = config.exporters.hypertables.folder();
    anyhow::ensure!(
        data.join("control.db").is_file(),
        "{}: there is no data here: name the directory with --data-dir or --config",
        data.display()
    );
    match open_store(config, &Arc::default(), false).await {
        Ok(Recovered { store, correlator, .. }) => Ok(Some(Stopped { store, correlator })),
        Err(error) if matches!(error.downcast_ref(), Some(StorageError::Locked { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Stopped {
    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Leaves the directory to others.
    pub async fn close(self) -> anyhow::Result<()> {
        self.store.close().await?;
        self.correlator.task.await?
    }
}

/// A store with its correlator and without ports, for a command that fills it itself.
pub struct Alone {
    /// The way in.
    pub ingest: Ingest,
    stopped: Stopped,
}

/// Opens or makes the data directory.
///
/// # Errors
///
/// When it cannot be read, or a server uses it.
pub async fn open_alone(config: &Config) -> anyhow::Result<Alone> {
    let Recovered { store, mapper, correlator, .. } = open_store(config, &Arc::default(), false).await?;
    let ingest = Ingest::new(store.clone(), mapper, (config.exporters.hypertables.memory_mib as u64) << 18);
    Ok(Alone { ingest, stopped: Stopped { store, correlator } })
}

impl Alone {
    /// The store.
    pub fn store(&self) -> &Store {
        self.stopped.store()
    }

    /// Leaves the directory.
    ///
    /// # Errors
    ///
    /// When what is in memory cannot be written.
    pub async fn close(self) -> anyhow::Result<()> {
        let Self { ingest, stopped } = self;
        drop(ingest);
        stopped.close().await
    }
}

impl Running {
    /// Ends when staged data waits for the server to be started again.
    pub async fn restart_wanted(&self) {
        self.restart.notified().await;
    }

    /// Ends everything in the order of the data; true when all of it ended well within the deadline.
    pub async fn stop(self) -> bool {
        let deadline = tokio::time::Instant::now() + shutdown::DEADLINE;
        self.health.stopping();
        self.receiving.cancel();
        let mut well = shutdown::finish(self.receivers, deadline, Late::Failed).await;
        well &= shutdown::finish(self.watcher, deadline, Late::Cancelled).await;
        self.answering.cancel();
        let queries_until = tokio::time::Instant::now() + shutdown::QUERY_DEADLINE;
        well &= shutdown::finish(self.doors, queries_until, Late::Cancelled).await;
        if let Err(error) = self.store.keyring().save_last_use().await {
            tracing::warn!(%error, "when API keys were used last was not written down");
        }
        // The flush needs the correlator's last links, so the store closes first and the correlator ends with the tail.
        match tokio::time::timeout_at(deadline, self.store.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!("the store did not close cleanly, its log will be replayed: {error}");
                well = false;
            }
            Err(_) => {
                tracing::error!("the store did not finish its flush in time, its log will be replayed");
                well = false;
            }
        }
        well &= shutdown::finish(vec![self.correlator], deadline, Late::Failed).await;
        for observer in self.observers {
            observer.task.abort();
            // Its port is free only then.
            let _ = observer.task.await;
        }
        well
    }
}

async fn recover(recovery: Recovery, mapper: Arc<Mapper>, health: Arc<Health>) -> anyhow::Result<()> {
    let map = move |logged: whence_storage::LoggedRequest| {
        mapper
            .map(logged.tenant, logged.signal, logged.encoding, logged.received_at, logged.body)
            .map(|(mapped, _)| mapped)
            .map_err(|error| error.to_string())
    };
    let bar = Bar::bytes("replaying the log");
    let show = move |progress: whence_storage::RecoveryProgress| {
        health.recovering(progress.bytes, progress.total_bytes);
        bar.set(progress.bytes, progress.total_bytes);
    };
    let report = recovery.run(map, show).await?;
    if report.requests > 0 {
        tracing::info!("replayed {} requests from the log", report.requests);
    }
    for damage in &report.damage {
        tracing::warn!("{damage}");
    }
    Ok(())
}

async fn open_doors(
    config: &Config,
    store: &Store,
    engine: &QueryEngine,
    admin: Admin,
    answering: &CancellationToken,
) -> anyhow::Result<Vec<Named>> {
    if !config.has_extension("query") {
        return Ok(Vec::new());
    }
    let http = listen("extensions.query.http.endpoint", config.extensions.query.http.endpoint).await?;
    let tls = wire_tls(config)?;
    let pgwire = listen("extensions.query.pgwire.endpoint", config.extensions.query.pgwire.endpoint).await?;
    let router = whence_query::serve::http::router(engine.clone(), answering.clone())
        .merge(whence_query::serve::flight::router(engine.clone()))
        .merge(admin::router(admin))
        .merge(crate::key_door::router(store.keyring().clone()))
        .merge(crate::delete_door::router(store.clone(), engine.clone()));
    let serving = whence_query::serve::pgwire::serve(engine.clone(), pgwire, tls, answering.clone());
    Ok(vec![
        serve_router("HTTP and Flight SQL queries", http, router, answering.clone()),
        named("PostgreSQL wire", async move { Ok(serving.await?) }),
    ])
}

/// TLS of the PostgreSQL wire, if it is configured; what does not work then stops the start.
fn wire_tls(config: &Config) -> anyhow::Result<Option<Tls>> {
    let Some(tls) = &config.extensions.query.pgwire.tls else { return Ok(None) };
    let options = TlsOptions {
        cert_file: tls.cert_file.clone(),
        key_file: tls.key_file.clone(),
        min_version: match tls.min_version {
            config::TlsVersion::V12 => TlsVersion::V12,
            config::TlsVersion::V13 => TlsVersion::V13,
        },
        required: tls.required,
    };
    Ok(Some(Tls::load(&options).context("extensions.query.pgwire.tls")?))
}

async fn listen(key: &'static str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    Reserved::new(key, address)?.listen()
}

/// An address that is ours, although nobody can connect to it yet.
struct Reserved {
    key: &'static str,
    address: SocketAddr,
    socket: TcpSocket,
}

/// Connections that wait to be accepted, at most.
const BACKLOG: u32 = 1_024;

impl Reserved {
    fn new(key: &'static str, address: SocketAddr) -> anyhow::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address).with_context(|| taken(key, address))?;
        Ok(Self { key, address, socket })
    }

    fn listen(self) -> anyhow::Result<TcpListener> {
        self.socket.listen(BACKLOG).with_context(|| taken(self.key, self.address))
    }
}

fn taken(key: &str, address: SocketAddr) -> String {
    format!("cannot listen on {address}: is another server running there? Set another address with {key}")
}

fn named(name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) -> Named {
    Named { name, task: tokio::spawn(task) }
}

fn watch(watcher: Watcher, until: CancellationToken) -> Named {
    named("watcher for incidents", async move {
        watcher.run(until.cancelled_owned()).await;
        Ok(())
    })
}

fn receiver(name: &'static str, task: impl Future<Output = std::io::Result<()>> + Send + 'static) -> Named {
    named(name, async move { Ok(task.await?) })
}

fn serve_router(name: &'static str, listener: TcpListener, router: axum::Router, until: CancellationToken) -> Named {
    let serving: JoinHandle<anyhow::Result<()>> = tokio::spawn(async move {
        // Answers go out at once instead of waiting for more to put into one packet.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        Ok(axum::serve(listener, service).with_graceful_shutdown(until.cancelled_owned()).await?)
    });
    Named { name, task: serving }
}

fn store_options(config: &Config) -> anyhow::Result<StoreOptions> {
    let store = &config.exporters.hypertables;
    let StorageKind::Embedded = store.storage;
    let memory = store.memory_mib << 20;
    Ok(StoreOptions {
        path: store.folder().to_owned(),
        bucket: store.bucket()?,
        durability: match store.durability {
            Durability::Fsync => whence_storage::Durability::Fsync,
            Durability::Os => whence_storage::Durability::Os,
        },
        // The rest of the budget is the correlator's; see `correlator_options`.
        memory_bytes: memory / 4 * 3,
        // Larger ones make no better chunks: compaction sorts their rows once more.
        memtable_bytes: (memory / 10).min(LARGEST_MEMTABLE),
        retention: Retention {
            events: store.retention.events.0,
            metrics: store.retention.metrics.0,
            correlations: store.retention.correlations.0,
            tenants: store
                .retention
                .tenants
                .iter()
                .map(|(name, own)| (TenantId::new(name), own_retention(own)))
                .collect(),
        },
        cold_after: store.compaction.cold_after.0,
        grace: store.grace.0.unwrap_or_default(),
        max_disk_bytes: (store.max_disk_gib > 0).then_some((store.max_disk_gib as u64) << 30),
        series_limit: store.max_series,
        ..StoreOptions::default()
    })
}

fn own_retention(own: &TenantRetention) -> whence_storage::TenantRetention {
    whence_storage::TenantRetention {
        events: own.events.map(|age| age.0),
        metrics: own.metrics.map(|age| age.0),
        correlations: own.correlations.map(|age| age.0),
    }
}

fn correlator_options(config: &Config) -> CorrelatorOptions {
    let memory = config.exporters.hypertables.memory_mib << 20;
    CorrelatorOptions { window_bytes: memory / 16, pending_bytes: memory / 32, ..CorrelatorOptions::default() }
}

fn watch_options(config: &Config) -> WatchOptions {
    let incidents = &config.exporters.hypertables.incidents;
    let defaults = WatchOptions::default();
    WatchOptions {
        lateness: incidents.lateness.0.unwrap_or(defaults.lateness),
        memory_bytes: incidents.memory_mib << 20,
        core_share: incidents.core_share,
        links: incidents.links,
        ..defaults
    }
}

fn receiver_options(config: &Config, max_request_bytes: usize) -> ReceiverOptions {
    let signals = config.service.pipelines.keys().filter_map(|name| Signal::parse(name)).collect();
    let limits = ReceiverLimits { max_request_bytes, ..ReceiverLimits::default() };
    ReceiverOptions { limits, signals }
}

fn query_options(config: &Config) -> QueryOptions {
    let query = &config.extensions.query;
    let cache = &query.cache;
    let defaults = QueryOptions::default();
    QueryOptions {
        // Zero is how the engine spells "off".
        statement_timeout: query.statement_timeout.0.unwrap_or(Duration::ZERO),
        longest_statement_timeout: query.max_statement_timeout.0,
        memory_bytes: query.memory_mib << 20,
        cache_bytes: cache.memory_mib << 20,
        redis_url: cache.redis_url.clone().filter(|_| cache.memory_mib > 0),
        memory_per_query_bytes: query.memory_per_query_mib << 20,
        spill_directory: (query.spill_mib > 0).then(|| spill_folder(config)),
        spill_bytes: (query.spill_mib as u64) << 20,
        concurrent_statements: query.max_statements,
        statements_per_tenant: query.max_statements_per_tenant,
        queue_timeout: query.queue_timeout.0.unwrap_or(defaults.queue_timeout),
        slow_query: query.slow_query.0,
        max_connections: query.max_connections,
        settings: shown_settings(config),
        aggregates: config::configured(&query.continuous_aggregates),
        max_continuous_aggregates: query.max_continuous_aggregates,
        ..defaults
    }
}

fn spill_folder(config: &Config) -> PathBuf {
    config.exporters.hypertables.folder().join("spill")
}

/// What queries of an earlier run have left is of no use.
fn empty_spill_folder(config: &Config) -> anyhow::Result<()> {
    let folder = spill_folder(config);
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot empty {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// `whence.settings`: limits that users meet; no paths, no addresses, no secrets.
fn shown_settings(config: &Config) -> Vec<(String, String)> {
    let store = &config.exporters.hypertables;
    let of_store = [
        ("exporters.hypertables.max_series", store.max_series.to_string()),
        ("exporters.hypertables.retention.correlations", store.retention.correlations.to_string()),
        ("exporters.hypertables.retention.events", store.retention.events.to_string()),
        ("exporters.hypertables.retention.metrics", store.retention.metrics.to_string()),
    ];
    let all = of_store.into_iter().chain(config.extensions.query.shown());
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}
