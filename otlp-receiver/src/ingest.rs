//! The one way in: a request's bytes to durable rows.

use crate::decode::DecodeError;
use crate::map::Mapper;
use crate::rejection::Rejections;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use whence_schema::{Encoding, Signal, TenantId, UnixNanos};
use whence_storage::{AccessError, Admission, Appended, Credentials, Grant, Scope, StorageError, Store};

/// Decodes, maps and appends requests. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ingest {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    mapper: Arc<Mapper>,
    in_flight_limit: u64,
    statistics: IngestStatistics,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ingest").field("statistics", &self.statistics).finish_non_exhaustive()
    }
}

/// Counters since the start, and what is under way.
#[derive(Debug, Default)]
pub struct IngestStatistics {
    /// Requests accepted, duplicates included.
    pub requests: AtomicU64,
    /// Requests recognised as sent before.
    pub duplicate_requests: AtomicU64,
    /// Requests without a key, or with one that is not good or not for sending.
    pub unauthenticated_requests: AtomicU64,
    /// Requests that were no OTLP.
    pub undecodable_requests: AtomicU64,
    /// Requests turned away with a retryable error.
    pub refused_requests: AtomicU64,
    /// Requests that had to wait before they were read, the store being behind.
    pub delayed_requests: AtomicU64,
    /// Items (spans, log records, data points) stored.
    pub items_stored: AtomicU64,
    /// Items refused as wrong.
    pub items_rejected: AtomicU64,
    /// Bytes of requests under way now.
    pub in_flight_bytes: AtomicU64,
}

/// What became of a request that was accepted.
#[derive(Debug)]
pub struct Ingested {
    /// What was sent.
    pub signal: Signal,
    /// Items that were refused, with reasons; empty on full success.
    pub rejections: Rejections,
}

/// Why a request was not accepted; nothing of it is stored.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// Not OTLP: sending it again is of no use.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The store could not take it.
    #[error("the request could not be stored: {0}")]
    Storage(#[from] StorageError),
    /// Too much is under way.
    #[error("{in_flight} bytes of requests are under way, the limit is {limit}; send again in {} ms", retry_after.as_millis())]
    Busy {
        /// Bytes under way.
        in_flight: u64,
        /// How many may be.
        limit: u64,
        /// When to come back.
        retry_after: Duration,
    },
}

impl IngestError {
    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Decode(_) => false,
            Self::Storage(error) => error.is_retryable(),
            Self::Busy { .. } => true,
        }
    }

    /// How long the sender should wait before it tries again.
    pub fn retry_after(&self) -> Duration {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            Self::Storage(error) => error.retry_after().unwrap_or(Duration::from_secs(5)),
            Self::Decode(_) => Duration::ZERO,
        }
    }
}

/// Bytes of a request that is being received or worked on. They count until this is dropped.
pub(crate) struct InFlight {
    ingest: Ingest,
    admission: Admission,
    bytes: u64,
}

impl InFlight {
    /// Counts `bytes` more.
    ///
    /// # Errors
    ///
    /// A retryable one when too much is under way, here or in the store.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), IngestError> {
        let counter = &self.ingest.inner.statistics.in_flight_bytes;
        let limit = self.ingest.inner.in_flight_limit;
        let more = bytes as u64;
        let before = counter.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
        // A single request is always let in, however large its transport allows it to be.
        if before + more > limit && before + more > self.bytes {
            return Err(IngestError::Busy { in_flight: before, limit, retry_after: Duration::from_secs(1) });
        }
        Ok(self.admission.grow(bytes)?)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.ingest.inner.statistics.in_flight_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Ingest {
    /// Appends to `store` what `mapper` makes of requests, with at most `in_flight_limit` bytes under way.
    pub fn new(store: Store, mapper: Arc<Mapper>, in_flight_limit: u64) -> Self {
        let statistics = IngestStatistics::default();
        Self { inner: Arc::new(Inner { store, mapper, in_flight_limit, statistics }) }
    }

    /// Counters of this process.
    pub fn statistics(&self) -> &IngestStatistics {
        &self.inner.statistics
    }

    /// Whose telemetry a request with these headers brings.
    ///
    /// # Errors
    ///
    /// When it may not.
    pub(crate) fn authenticate<'a>(&self, header: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Grant, AccessError> {
        let keyring = self.inner.store.keyring();
        let refused = |error: &AccessError| {
            self.inner.statistics.unauthenticated_requests.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%error, "a sender was not let in");
        };
        keyring.authenticate(&Credentials::from_headers(header), Scope::Write).inspect_err(refused)
    }

    /// A count of bytes under way, at first none.
    pub(crate) fn in_flight(&self) -> InFlight {
        InFlight { ingest: self.clone(), admission: self.inner.store.admission(), bytes: 0 }
    }

    /// How long a request is to wait before it is read; a wait is counted.
    pub(crate) fn delay(&self) -> Option<Duration> {
        let delay = self.inner.store.delay();
        if delay.is_zero() {
            return None;
        }
        self.inner.statistics.delayed_requests.fetch_add(1, Ordering::Relaxed);
        Some(delay)
    }

    /// Counts a request that was turned away before all of it was here.
    pub(crate) fn count_turned_away(&self) {
        self.inner.statistics.refused_requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Accepts one request. When this returns `Ok`, what was not refused is durable and visible to queries.
    ///
    /// # Errors
    ///
    /// See [`IngestError`]; nothing of the request is stored then.
    pub async fn accept(
        &self,
        tenant: TenantId,
        signal: Signal,
        encoding: Encoding,
        body: Bytes,
    ) -> Result<Ingested, IngestError> {
        let statistics = &self.inner.statistics;
        let result = self.accept_counted(tenant, signal, encoding, body).await;
        match &result {
            Ok(_) => statistics.requests.fetch_add(1, Ordering::Relaxed),
            Err(IngestError::Decode(_)) => statistics.undecodable_requests.fetch_add(1, Ordering::Relaxed),
            Err(_) => statistics.refused_requests.fetch_add(1, Ordering::Relaxed),
        };
        result
    }

    async fn accept_counted(
        &self,
        tenant: TenantId,
        signal: Signal,
        encoding: Encoding,
        body: Bytes,
    ) -> Result<Ingested, IngestError> {
        let statistics = &self.inner.statistics;
        let mut in_flight = self.in_flight();
        in_flight.grow(body.len())?;
        let received_at = UnixNanos::now();
        let (mapped, rejections) = self.inner.mapper.map(tenant, signal, encoding, received_at, body)?;
        let (received, rejected) = (mapped.received, mapped.rejected);
        statistics.items_rejected.fetch_add(rejected, Ordering::Relaxed);
        if received == rejected {
            if received > 0 {
                self.inner.store.count_refused(&mapped.tenant, signal, received_at, received).await?;
            }
            return Ok(Ingested { signal, rejections });
        }
        match self.inner.store.append(mapped).await? {
            Appended::Stored => statistics.items_stored.fetch_add(received - rejected, Ordering::Relaxed),
            Appended::Duplicate => statistics.duplicate_requests.fetch_add(1, Ordering::Relaxed),
        };
        Ok(Ingested { signal, rejections })
    }
}
