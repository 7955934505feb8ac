//! All wiring, in the order of the data.
//!
//! ```text
//! recover:  log -> Mapper -> Store -> Tail -> Correlator
//! serve:    OTLP -> Ingest -> Store -> Tail -> Correlator -> Store
//!                              Store -> QueryEngine -> PostgreSQL wire, HTTP
//! stop:     receivers -> doors -> Store (flush) -> Correlator, which ends with the tail
//! ```

use crate::config::{Config, Durability, StorageKind};
use crate::health::{Health, Sources, health_router, metrics_router};
use crate::shutdown::{self, Late, Named};
use anyhow::Context;
use axum::serve::ListenerExt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use whence_correlator::{Correlator, CorrelatorOptions};
use whence_otlp_receiver::{Ingest, Mapper, ReceiverLimits, ReceiverOptions, default_rules, serve_grpc, serve_http};
use whence_query::{QueryEngine, QueryOptions};
use whence_schema::{Signal, TenantId};
use whence_storage::{Opened, Recovery, Retention, Store, StoreOptions};

/// A server whose ports are open.
pub struct Running {
    health: Arc<Health>,
    store: Store,
    receiving: CancellationToken,
    answering: CancellationToken,
    receivers: Vec<Named>,
    doors: Vec<Named>,
    correlator: Named,
    observers: Vec<Named>,
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
    // Taken addresses are found before the log is replayed; nobody is answered until then.
    let protocols = &config.receivers.otlp.protocols;
    let grpc = listen("receivers.otlp.protocols.grpc.endpoint", protocols.grpc.endpoint).await?;
    let http = listen("receivers.otlp.protocols.http.endpoint", protocols.http.endpoint).await?;

    let rules = config.exporters.hypertables.mapping_rules.clone().unwrap_or_else(default_rules);
    let mapper = Arc::new(Mapper::new(rules));
    let options = store_options(config)?;
    if let Some(bucket) = &options.bucket {
        health.depends_on(bucket.clone());
    }
    let Opened { store, tail, recovery, correlator_state } = Store::open(options).await?;
    let correlator = Correlator::new(store.clone(), correlator_state, correlator_options(config));
    let statistics = correlator.statistics();
    let correlator = named("correlator", async move { Ok(correlator.run(tail).await?) });
    recover(recovery, mapper.clone(), health.clone()).await?;

    let in_flight = (config.exporters.hypertables.memory_mib as u64) << 18;
    let ingest = Ingest::new(store.clone(), mapper, in_flight);
    let receiving = CancellationToken::new();
    let options = |max_request_bytes| receiver_options(config, max_request_bytes);
    let grpc_options = options((protocols.grpc.max_recv_msg_size_mib as usize) << 20);
    let receivers = vec![
        receiver("OTLP/gRPC", serve_grpc(grpc, ingest.clone(), grpc_options, receiving.clone())),
        receiver(
            "OTLP/HTTP",
            serve_http(http, ingest.clone(), options(protocols.http.max_request_body_size), receiving.clone()),
        ),
    ];
    let engine = QueryEngine::new(store.clone(), crate::table_functions::all(), query_options(config))?;
    let answering = CancellationToken::new();
    let doors = open_doors(config, &engine, &answering).await?;
    health.ready(Sources { ingest, store: store.clone(), correlator: statistics });
    Ok(Running { health, store, receiving, answering, receivers, doors, correlator, observers })
}

impl Running {
    /// Ends everything in the order of the data; true when all of it ended well within the deadline.
    pub async fn stop(self) -> bool {
        let deadline = tokio::time::Instant::now() + shutdown::DEADLINE;
        self.health.stopping();
        self.receiving.cancel();
        let mut well = shutdown::finish(self.receivers, deadline, Late::Failed).await;
        self.answering.cancel();
        let queries_until = tokio::time::Instant::now() + shutdown::QUERY_DEADLINE;
        well &= shutdown::finish(self.doors, queries_until, Late::Cancelled).await;
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
    let report = recovery.run(map, move |progress| health.recovering(progress.bytes, progress.total_bytes)).await?;
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
    engine: &QueryEngine,
    answering: &CancellationToken,
) -> anyhow::Result<Vec<Named>> {
    if !config.has_extension("query") {
        return Ok(Vec::new());
    }
    let http = listen("extensions.query.http.endpoint", config.extensions.query.http.endpoint).await?;
    let pgwire = listen("extensions.query.pgwire.endpoint", config.extensions.query.pgwire.endpoint).await?;
    let router = whence_query::serve::http::router(engine.clone());
    let serving = whence_query::serve::pgwire::serve(engine.clone(), pgwire, answering.clone());
    Ok(vec![
        serve_router("HTTP queries", http, router, answering.clone()),
        named("PostgreSQL wire", async move { Ok(serving.await?) }),
    ])
}

async fn listen(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: is another server running there? Set another address with {key}")
    })
}

fn named(name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) -> Named {
    Named { name, task: tokio::spawn(task) }
}

fn receiver(name: &'static str, task: impl Future<Output = std::io::Result<()>> + Send + 'static) -> Named {
    named(name, async move { Ok(task.await?) })
}

fn serve_router(name: &'static str, listener: TcpListener, router: axum::Router, until: CancellationToken) -> Named {
    let serving: JoinHandle<anyhow::Result<()>> = tokio::spawn(async move {
        // Answers go out at once instead of waiting for more to put into one packet.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        Ok(axum::serve(listener, router).with_graceful_shutdown(until.cancelled_owned()).await?)
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
        memtable_bytes: memory / 10,
        retention: Retention {
            events: store.retention.events.0,
            metrics: store.retention.metrics.0,
            correlations: store.retention.correlations.0,
        },
        series_limit: store.max_series,
        ..StoreOptions::default()
    })
}

fn correlator_options(config: &Config) -> CorrelatorOptions {
    let memory = config.exporters.hypertables.memory_mib << 20;
    CorrelatorOptions { window_bytes: memory / 8, pending_bytes: memory / 16, ..CorrelatorOptions::default() }
}

fn receiver_options(config: &Config, max_request_bytes: usize) -> ReceiverOptions {
    let signals = config.service.pipelines.keys().filter_map(|name| Signal::parse(name)).collect();
    let limits = ReceiverLimits { max_request_bytes, ..ReceiverLimits::default() };
    ReceiverOptions { tenant: TenantId::default(), limits, signals }
}

fn query_options(config: &Config) -> QueryOptions {
    let query = &config.extensions.query;
    // Zero is how the engine spells "off".
    let statement_timeout = query.statement_timeout.0.unwrap_or(Duration::ZERO);
    QueryOptions { statement_timeout, memory_bytes: query.memory_mib << 20, ..QueryOptions::default() }
}
