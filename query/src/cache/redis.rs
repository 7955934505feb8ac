//! The level of the cache that servers share: a Redis server, which may be away, slow, full or wrong. None of that
//! changes an answer; it costs time, and after an error the server is left alone for a while.

use super::levels::{Partial, PartialKey};
use crate::error::QueryError;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{OnceCell, Semaphore};
use whence_schema::TenantId;
use xxhash_rust::xxh3::xxh3_64;

/// Time for one answer.
const PATIENCE: Duration = Duration::from_millis(200);
const CONNECT_PATIENCE: Duration = Duration::from_millis(500);
/// Time in which the server is not asked again after an error, doubled from one to the next.
const REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// Seconds for which a partial is kept that nobody asks for.
const KEPT_SECONDS: u64 = 86_400;
/// Partials on their way to the server at one time; more are not sent.
const WRITES: usize = 32;
/// Keys named in one call when a tenant's are removed.
const KEYS_AT_ONCE: usize = 1_000;
/// Of the checksum before the value.
const CHECKSUM_BYTES: usize = 8;

/// A Redis server.
pub(crate) struct SharedLevel {
    client: Client,
    connection: OnceCell<ConnectionManager>,
    rest: Mutex<Rest>,
    writes: Arc<Semaphore>,
    errors: AtomicU64,
}

#[derive(Debug)]
struct Rest {
    until: Option<Instant>,
    next: Duration,
}

impl std::fmt::Debug for SharedLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client's own text has the password.
        f.debug_struct("SharedLevel").field("errors", &self.errors).finish_non_exhaustive()
    }
}

impl SharedLevel {
    /// The server at `url` (`redis://[:PASSWORD@]HOST[:PORT][/DATABASE]`). It is asked only when it is needed.
    pub(crate) fn new(url: &str) -> Result<Self, QueryError> {
        let client = Client::open(url).map_err(|error| QueryError::Internal(format!("redis_url: {error}")))?;
        Ok(Self {
            client,
            connection: OnceCell::new(),
            rest: Mutex::new(Rest { until: None, next: REST }),
            writes: Arc::new(Semaphore::new(WRITES)),
            errors: AtomicU64::new(0),
        })
    }

    /// Calls that failed, ever.
    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    pub(crate) async fn get(&self, key: &PartialKey, schema: &SchemaRef) -> Option<Partial> {
        let mut connection = self.connection().await?;
        let mut command = redis::cmd("GETEX");
        command.arg(key.text()).arg("EX").arg(KEPT_SECONDS);
        let value: Option<Vec<u8>> = self.noted(command.query_async(&mut connection).await)?;
        decode(&value?, schema)
    }

    /// Sends a partial on its way; whether it arrives makes no difference.
    pub(crate) fn put(self: &Arc<Self>, key: &PartialKey, partial: &Partial) {
        let Ok(permit) = self.writes.clone().try_acquire_owned() else { return };
        if self.rests() {
            return;
        }
        let (level, key, partial) = (self.clone(), key.text(), partial.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let (Some(mut connection), Ok(value)) = (level.connection().await, encode(&partial)) else { return };
            let mut command = redis::cmd("SET");
            command.arg(key).arg(value).arg("EX").arg(KEPT_SECONDS);
            let _: Option<()> = level.noted(command.query_async(&mut connection).await);
        });
    }

    /// Removes everything of a tenant.
    pub(crate) async fn forget(&self, tenant: &TenantId) -> Result<(), QueryError> {
        let failed = |error: RedisError| {
            QueryError::Internal(format!("partial results of tenant {} stay in Redis: {error}", tenant.as_str()))
        };
        let mut connection =
            ConnectionManager::new_with_config(self.client.clone(), manager()).await.map_err(failed)?;
        let pattern = format!("{}*", escaped(&prefix(tenant)));
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(KEYS_AT_ONCE);
            let (next, keys): (u64, Vec<String>) = scan.query_async(&mut connection).await.map_err(failed)?;
            if !keys.is_empty() {
                let mut unlink = redis::cmd("UNLINK");
                unlink.arg(keys);
                let () = unlink.query_async(&mut connection).await.map_err(failed)?;
            }
            cursor = next;
            if cursor == 0 {
                return Ok(());
            }
        }
    }

    fn rests(&self) -> bool {
        self.rest.lock().until.is_some_and(|until| Instant::now() < until)
    }

    async fn connection(&self) -> Option<ConnectionManager> {
        if self.rests() {
            return None;
        }
        let connect = || ConnectionManager::new_with_config(self.client.clone(), manager());
        let connected = self.connection.get_or_try_init(connect).await;
        self.noted(connected.cloned())
    }

    /// Remembers whether the server works.
    fn noted<T>(&self, outcome: Result<T, RedisError>) -> Option<T> {
        let mut rest = self.rest.lock();
        match outcome {
            Ok(value) => {
                *rest = Rest { until: None, next: REST };
                Some(value)
            }
            Err(error) => {
                self.errors.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, rest_seconds = rest.next.as_secs(), "the cache in Redis is left alone for a while");
                let next = (rest.next * 2).min(LONGEST_REST);
                *rest = Rest { until: Some(Instant::now() + rest.next), next };
                None
            }
        }
    }
}

fn manager() -> ConnectionManagerConfig {
    ConnectionManagerConfig::new()
        .set_number_of_retries(0)
        .set_response_timeout(Some(PATIENCE))
        .set_connection_timeout(Some(CONNECT_PATIENCE))
}

/// What the keys of a tenant begin with.
fn prefix(tenant: &TenantId) -> String {
    format!("cache:partial:{}:", tenant.as_str())
}

/// Without wildcards.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

impl PartialKey {
    fn text(&self) -> String {
        format!("{}{}:{:032x}", prefix(&self.tenant), self.chunk, self.computation)
    }
}

fn encode(partial: &[RecordBatch]) -> Result<Vec<u8>, arrow::error::ArrowError> {
    let mut bytes = vec![0; CHECKSUM_BYTES];
    if let Some(first) = partial.first() {
        let mut writer = StreamWriter::try_new(&mut bytes, first.schema_ref())?;
        for batch in partial {
            writer.write(batch)?;
        }
        writer.finish()?;
    }
    let checksum = xxh3_64(&bytes[CHECKSUM_BYTES..]);
    bytes[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// `None` for what was not written by [`encode`] with this schema.
fn decode(bytes: &[u8], schema: &SchemaRef) -> Option<Partial> {
    let (checksum, content) = bytes.split_first_chunk::<CHECKSUM_BYTES>()?;
    if u64::from_le_bytes(*checksum) != xxh3_64(content) {
        return None;
    }
    if content.is_empty() {
        return Some(Arc::new(Vec::new()));
    }
    let reader = StreamReader::try_new(content, None).ok()?;
    // Metadata of fields may be written in another order; names and types are what counts.
    let same = |batch: RecordBatch| RecordBatch::try_new(schema.clone(), batch.columns().to_vec()).ok();
    reader.map(|batch| batch.ok().and_then(same)).collect::<Option<Vec<_>>>().map(Arc::new)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringViewArray};

    #[test]
    fn what_is_not_whole_or_of_another_schema_is_not_taken() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("asset", Arc::new(StringViewArray::from(vec![Some("a service of a long name"), None]))),
            ("count", Arc::new(Int64Array::from(vec![3, 4]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let schema = batch.schema();
        let bytes = encode(&[batch.clone(), batch.slice(1, 1)]).unwrap();
        assert_eq!(*decode(&bytes, &schema).unwrap(), vec![batch.clone(), batch.slice(1, 1)]);
        assert_eq!(decode(&encode(&[]).unwrap(), &schema).unwrap().len(), 0);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert!(decode(&damaged, &schema).is_none(), "flip at {at}");
            assert!(decode(&bytes[..at], &schema).is_none(), "cut at {at}");
        }
        let other = batch.project(&[0]).unwrap().schema();
        assert!(decode(&bytes, &other).is_none());
    }

    #[test]
    fn keys_of_a_tenant_are_found_by_no_other_tenants_pattern() {
        assert_eq!(escaped("cache:partial:a*[b]:"), r"cache:partial:a\*\[b\]:");
    }
}
