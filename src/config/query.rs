//! `extensions.query`: the doors for SQL, and the limits of queries.

use super::ConfigError;
use super::aggregates::ContinuousAggregates;
use super::units::Age;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// `extensions.query`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    /// `POST /v1/sql`.
    pub http: Door,
    /// PostgreSQL wire protocol.
    pub pgwire: WireDoor,
    /// Results kept for the next time.
    pub cache: Cache,
    /// Longest run of one statement, unless its session sets another.
    pub statement_timeout: Age,
    /// Longest run of one statement, whatever its session sets.
    pub max_statement_timeout: Age,
    /// Memory of all queries together, in MiB (16 to 1,048,576).
    pub memory_mib: usize,
    /// Memory of one query, in MiB (16 to 1,048,576); beyond it sorts, joins and aggregations go to disk, or it fails.
    pub memory_per_query_mib: usize,
    /// Disk that all queries together may take meanwhile, below the data directory, in MiB. 0: none.
    pub spill_mib: usize,
    /// Statements that run at one time (1 to 10,000).
    pub max_statements: usize,
    /// Those of one tenant (1 to 10,000).
    pub max_statements_per_tenant: usize,
    /// How long others wait for their turn (1s to 1h).
    pub queue_timeout: Age,
    /// Statements that take so long are logged.
    pub slow_query: Age,
    /// Connections over the PostgreSQL wire at one time (1 to 100,000).
    pub max_connections: usize,
    /// Continuous aggregates beside the built-in ones, by name.
    pub continuous_aggregates: ContinuousAggregates,
    /// Those that a tenant may declare with statements (0 to 10,000).
    pub max_continuous_aggregates: usize,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            http: Door { endpoint: SocketAddr::from(([127, 0, 0, 1], 4_319)) },
            pgwire: WireDoor::default(),
            cache: Cache::default(),
            statement_timeout: Age::seconds(60),
            max_statement_timeout: Age::seconds(3_600),
            memory_mib: 1_024,
            memory_per_query_mib: 512,
            spill_mib: 4_096,
            max_statements: 32,
            max_statements_per_tenant: 16,
            queue_timeout: Age::seconds(30),
            slow_query: Age::seconds(5),
            max_connections: 200,
            continuous_aggregates: ContinuousAggregates::new(),
            max_continuous_aggregates: 100,
        }
    }
}

/// `extensions.query.cache`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Memory for partial results of queries, in MiB; 0 keeps none.
    pub memory_mib: usize,
    /// A Redis server that keeps them too: `redis://[:PASSWORD@]HOST[:PORT][/DATABASE]`.
    pub redis_url: Option<String>,
}

impl Default for Cache {
    fn default() -> Self {
        Self { memory_mib: 256, redis_url: None }
    }
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Door {
    /// Address to listen on.
    pub endpoint: SocketAddr,
}

/// The listener for PostgreSQL clients.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WireDoor {
    /// Address to listen on.
    pub endpoint: SocketAddr,
    /// Certificate and key. Unset: connections are in plain text.
    pub tls: Option<Tls>,
}

impl Default for WireDoor {
    fn default() -> Self {
        Self { endpoint: SocketAddr::from(([127, 0, 0, 1], 15_432)), tls: None }
    }
}

/// `extensions.query.pgwire.tls`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The server's certificate and those between it and the root, PEM.
    pub cert_file: PathBuf,
    /// The certificate's private key, PEM.
    pub key_file: PathBuf,
    /// Oldest version of TLS that is accepted.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// Refuses connections without TLS.
    #[serde(default)]
    pub required: bool,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V13,
}

impl Query {
    /// Checks what the types cannot say; `range` that a number is within its bounds.
    ///
    /// # Errors
    ///
    /// Names the key, the value and the remedy.
    pub(super) fn validate(
        &self,
        range: impl Fn(&str, usize, usize, usize) -> Result<(), ConfigError>,
    ) -> Result<(), ConfigError> {
        for (key, value, low, high) in [
            ("memory_mib", self.memory_mib, 16, 1 << 20),
            ("memory_per_query_mib", self.memory_per_query_mib, 16, 1 << 20),
            ("spill_mib", self.spill_mib, 0, 1 << 30),
            ("max_statements", self.max_statements, 1, 10_000),
            ("max_statements_per_tenant", self.max_statements_per_tenant, 1, 10_000),
            ("max_connections", self.max_connections, 1, 100_000),
            ("max_continuous_aggregates", self.max_continuous_aggregates, 0, 10_000),
        ] {
            range(&format!("extensions.query.{key}"), value, low, high)?;
        }
        let patience = self.queue_timeout.0.map_or(u64::MAX, |patience| patience.as_secs());
        if !(1..=3_600).contains(&patience) {
            let value = self.queue_timeout.to_string();
            return Err(ConfigError::value(
                "extensions.query.queue_timeout",
                &value,
                "use a span of time from 1s to 1h",
            ));
        }
        Ok(())
    }

    /// `whence.settings`: the limits that users meet, by key.
    pub fn shown(&self) -> [(&'static str, String); 11] {
        [
            ("extensions.query.max_connections", self.max_connections.to_string()),
            ("extensions.query.max_continuous_aggregates", self.max_continuous_aggregates.to_string()),
            ("extensions.query.max_statement_timeout", self.max_statement_timeout.to_string()),
            ("extensions.query.max_statements", self.max_statements.to_string()),
            ("extensions.query.max_statements_per_tenant", self.max_statements_per_tenant.to_string()),
            ("extensions.query.memory_mib", self.memory_mib.to_string()),
            ("extensions.query.memory_per_query_mib", self.memory_per_query_mib.to_string()),
            ("extensions.query.queue_timeout", self.queue_timeout.to_string()),
            ("extensions.query.slow_query", self.slow_query.to_string()),
            ("extensions.query.spill_mib", self.spill_mib.to_string()),
            ("extensions.query.statement_timeout", self.statement_timeout.to_string()),
        ]
    }
}
