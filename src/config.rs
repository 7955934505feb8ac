//! The configuration: the shape of the OpenTelemetry Collector's, unknown keys refused, nothing repaired silently.
//!
//! Defaults do not depend on the machine and are those of `config/otel.yaml`, which a test compares with
//! [`Config::default`].

mod aggregates;
mod load;
mod object_store;
mod query;
mod units;

pub use aggregates::configured;
pub use load::{ConfigError, load};
pub use object_store::ObjectStore;
pub use query::{Query, TlsVersion};
pub use units::Age;

use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use whence_otlp_receiver::Rule;

/// Everything `whence serve` is told.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where telemetry comes in.
    pub receivers: Receivers,
    /// Where it goes.
    pub exporters: Exporters,
    /// Health, and the doors queries come through.
    pub extensions: Extensions,
    /// What of the above is used.
    pub service: Service,
}

/// `receivers`
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Receivers {
    /// The OTLP receiver.
    pub otlp: Otlp,
}

/// `receivers.otlp`
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Otlp {
    /// Its transports.
    pub protocols: Protocols,
}

/// `receivers.otlp.protocols`
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Protocols {
    /// OTLP over gRPC.
    pub grpc: Grpc,
    /// OTLP over HTTP.
    pub http: Http,
}

/// `receivers.otlp.protocols.grpc`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grpc {
    /// Address to listen on.
    pub endpoint: SocketAddr,
    /// Largest request, in MiB, as sent and after decompression.
    pub max_recv_msg_size_mib: u32,
}

impl Default for Grpc {
    fn default() -> Self {
        Self { endpoint: SocketAddr::from(([127, 0, 0, 1], 4317)), max_recv_msg_size_mib: 64 }
    }
}

/// `receivers.otlp.protocols.http`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Address to listen on.
    pub endpoint: SocketAddr,
    /// Largest request, in bytes, as sent and after decompression.
    pub max_request_body_size: usize,
}

impl Default for Http {
    fn default() -> Self {
        Self { endpoint: SocketAddr::from(([127, 0, 0, 1], 4318)), max_request_body_size: 64 << 20 }
    }
}

/// `exporters`
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Exporters {
    /// The store.
    pub hypertables: Hypertables,
}

/// Kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageKind {
    /// A directory of Delta Lake tables with a write-ahead log.
    Embedded,
}

/// What an acknowledgement promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Survives loss of power: fsync before the answer.
    Fsync,
    /// Survives a crash of the process, not of the system.
    Os,
}

/// `exporters.hypertables`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hypertables {
    /// Kind of store.
    pub storage: StorageKind,
    /// Its directory, or the bucket its tables are in.
    pub path: PathBuf,
    /// Directory of log, control database and cached chunks when `path` is a bucket; without effect else.
    pub local_path: PathBuf,
    /// How to reach the bucket.
    pub s3: ObjectStore,
    /// When a request is acknowledged.
    pub durability: Durability,
    /// Log buffers, memtable and correlator windows together, in MiB (64 to 1,048,576).
    pub memory_mib: usize,
    /// Disk the data may take, in GiB; beyond it the oldest chunks are dropped. 0 is no cap.
    pub max_disk_gib: usize,
    /// How long rows are kept.
    pub retention: Retention,
    /// How chunks are written anew.
    pub compaction: Compaction,
    /// How long replaced files stay for foreign readers of the Delta tables; one hour at most.
    pub grace: Age,
    /// Series per tenant; further ones are counted in one overflow series.
    pub max_series: usize,
    /// Incidents that are found as data arrives.
    pub incidents: Incidents,
    /// Which events become what; the first matching rule decides. Unset: the OpenTelemetry conventions.
    pub mapping_rules: Option<Vec<Rule>>,
}

impl Default for Hypertables {
    fn default() -> Self {
        Self {
            storage: StorageKind::Embedded,
            path: PathBuf::from("./data"),
            local_path: PathBuf::from("./data"),
            s3: ObjectStore::default(),
            durability: Durability::Fsync,
            memory_mib: 1_024,
            max_disk_gib: 0,
            retention: Retention::default(),
            compaction: Compaction::default(),
            grace: Age::seconds(60),
            max_series: 100_000,
            incidents: Incidents::default(),
            mapping_rules: None,
        }
    }
}

/// `exporters.hypertables.incidents`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Incidents {
    /// Whether incidents are found as data arrives, and kept.
    pub watch: bool,
    /// How long after a half minute its events may come and still count (1s to 5m).
    pub lateness: Age,
    /// Memory for what is known of the last hour, names and templates included, all tenants together, in MiB (1 to 65,536).
    pub memory_mib: usize,
    /// Share of a core for reading what arrives, and again for explaining incidents and for links (0.001 to 1).
    pub core_share: f64,
    /// Whether links of onsets and of changes are stored in `correlations` at the end of each full hour.
    pub links: bool,
}

impl Default for Incidents {
    fn default() -> Self {
        Self { watch: true, lateness: Age::seconds(10), memory_mib: 64, core_share: 0.05, links: true }
    }
}

impl Incidents {
    fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, value: String, remedy: &str| {
            Err(ConfigError::value(&format!("exporters.hypertables.incidents.{key}"), &value, remedy))
        };
        let bounds = Duration::from_secs(1)..=Duration::from_secs(300);
        if !self.lateness.0.is_some_and(|lateness| bounds.contains(&lateness)) {
            return refuse("lateness", self.lateness.to_string(), "use a span of time from 1s to 5m");
        }
        if !(1..=65_536).contains(&self.memory_mib) {
            return refuse("memory_mib", self.memory_mib.to_string(), "use a number from 1 to 65536");
        }
        if !(0.001..=1.0).contains(&self.core_share) {
            return refuse("core_share", self.core_share.to_string(), "use a number from 0.001 to 1");
        }
        Ok(())
    }
}

/// `exporters.hypertables.retention`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Of `events`.
    pub events: Age,
    /// Of `metrics`.
    pub metrics: Age,
    /// Of `correlations`.
    pub correlations: Age,
    /// What is different for single tenants.
    pub tenants: BTreeMap<String, TenantRetention>,
}

impl Default for Retention {
    fn default() -> Self {
        let (events, metrics, correlations) = (Age::days(365), Age::days(365), Age::days(90));
        Self { events, metrics, correlations, tenants: BTreeMap::new() }
    }
}

/// One of `exporters.hypertables.retention.tenants`; what is left out is as for everybody.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantRetention {
    /// Of `events`.
    pub events: Option<Age>,
    /// Of `metrics`.
    pub metrics: Option<Age>,
    /// Of `correlations`.
    pub correlations: Option<Age>,
}

/// `exporters.hypertables.compaction`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compaction {
    /// Age of a day, from its end, at which its chunks are sorted together and compressed best; or `off`.
    pub cold_after: Age,
}

impl Default for Compaction {
    fn default() -> Self {
        Self { cold_after: Age::days(2) }
    }
}

/// `extensions`
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Extensions {
    /// Answers whether the server is ready.
    pub health_check: HealthCheck,
    /// The doors for SQL.
    pub query: Query,
}

/// `extensions.health_check`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthCheck {
    /// Address to listen on.
    pub endpoint: SocketAddr,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self { endpoint: SocketAddr::from(([127, 0, 0, 1], 13_133)) }
    }
}

/// Who may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// Everyone who can reach the address.
    None,
    /// Who has an API key, also before the first was made.
    Keys,
}

/// `service`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// Extensions in use.
    pub extensions: Vec<String>,
    /// Whence's own telemetry.
    pub telemetry: Telemetry,
    /// What flows where, by signal.
    pub pipelines: BTreeMap<String, Pipeline>,
    /// Must be said before an address off loopback is opened. Unset: keys, as soon as there is one.
    pub auth: Option<Auth>,
}

impl Default for Service {
    fn default() -> Self {
        let pipeline = || Pipeline { receivers: vec!["otlp".into()], exporters: vec!["hypertables".into()] };
        Self {
            extensions: vec!["health_check".into(), "query".into()],
            telemetry: Telemetry::default(),
            pipelines: ["traces", "logs", "metrics"].map(|s| (s.to_owned(), pipeline())).into(),
            auth: None,
        }
    }
}

/// `service.telemetry`
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Own metrics.
    pub metrics: OwnMetrics,
}

/// `service.telemetry.metrics`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OwnMetrics {
    /// Address that serves them as Prometheus text.
    pub address: SocketAddr,
}

impl Default for OwnMetrics {
    fn default() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 8_888)) }
    }
}

/// One of `service.pipelines`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Names from `receivers`.
    pub receivers: Vec<String>,
    /// Names from `exporters`.
    pub exporters: Vec<String>,
}

impl Config {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    ///
    /// Names the key, the value and the remedy.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let store = &self.exporters.hypertables;
        let range = |key: &str, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(ConfigError::value(key, &value.to_string(), &format!("use a number from {low} to {high}")))
        };
        range("exporters.hypertables.memory_mib", store.memory_mib, 64, 1 << 20)?;
        range("exporters.hypertables.max_disk_gib", store.max_disk_gib, 0, 1 << 30)?;
        if store.grace.0.is_none_or(|grace| grace > Duration::from_secs(3_600)) {
            let grace = store.grace.0.map_or_else(|| "off".to_owned(), |grace| format!("{}s", grace.as_secs()));
            return Err(ConfigError::value("exporters.hypertables.grace", &grace, "use a span of time up to 1h"));
        }
        range("exporters.hypertables.max_series", store.max_series, 1, 100_000_000)?;
        store.incidents.validate()?;
        self.extensions.query.validate(range)?;
        let protocols = &self.receivers.otlp.protocols;
        let grpc_limit = protocols.grpc.max_recv_msg_size_mib as usize;
        range("receivers.otlp.protocols.grpc.max_recv_msg_size_mib", grpc_limit, 1, 1_024)?;
        let http_limit = protocols.http.max_request_body_size;
        range("receivers.otlp.protocols.http.max_request_body_size", http_limit, 1_024, 1 << 30)?;
        self.validate_service()?;
        self.validate_exposure()
    }

    fn validate_service(&self) -> Result<(), ConfigError> {
        let known = |key: &str, names: &[String], known: &[&str]| match names.iter().find(|n| !known.contains(&&n[..]))
        {
            None => Ok(()),
            Some(name) => Err(ConfigError::value(key, name, &format!("use one of: {}", known.join(", ")))),
        };
        known("service.extensions", &self.service.extensions, &["health_check", "query"])?;
        for (signal, pipeline) in &self.service.pipelines {
            let key = format!("service.pipelines.{signal}");
            known("service.pipelines", std::slice::from_ref(signal), &["traces", "logs", "metrics"])?;
            known(&format!("{key}.receivers"), &pipeline.receivers, &["otlp"])?;
            known(&format!("{key}.exporters"), &pipeline.exporters, &["hypertables"])?;
            if pipeline.receivers.is_empty() || pipeline.exporters.is_empty() {
                return Err(ConfigError::value(&key, "[]", "name a receiver and an exporter, or remove the pipeline"));
            }
        }
        if self.service.pipelines.is_empty() {
            return Err(ConfigError::value("service.pipelines", "{}", "name at least one of traces, logs, metrics"));
        }
        Ok(())
    }

    /// Addresses others can reach need a word about who may come in.
    fn validate_exposure(&self) -> Result<(), ConfigError> {
        if self.service.auth.is_some() {
            return Ok(());
        }
        let protocols = &self.receivers.otlp.protocols;
        let query = &self.extensions.query;
        for (key, address) in [
            ("receivers.otlp.protocols.grpc.endpoint", protocols.grpc.endpoint),
            ("receivers.otlp.protocols.http.endpoint", protocols.http.endpoint),
            ("extensions.query.http.endpoint", query.http.endpoint),
            ("extensions.query.pgwire.endpoint", query.pgwire.endpoint),
        ] {
            if !address.ip().is_loopback() {
                let remedy = "it can be reached from other machines: listen on 127.0.0.1, or say `service: { auth: keys }` to \
                              ask everyone for an API key, or `service: { auth: none }` if everyone who reaches it may \
                              read and write until the first key is made";
                return Err(ConfigError::value(key, &address.to_string(), remedy));
            }
        }
        Ok(())
    }

    /// What is set and has no effect, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let cache = &self.extensions.query.cache;
        if cache.memory_mib == 0 && cache.redis_url.is_some() {
            vec!["extensions.query.cache.redis_url has no effect while memory_mib is 0".to_owned()]
        } else {
            Vec::new()
        }
    }

    /// Whether `name` is listed in `service.extensions`.
    pub fn has_extension(&self, name: &str) -> bool {
        self.service.extensions.iter().any(|e| e == name)
    }
}

#[cfg(test)]
mod tests;
