//! What can be set.

use std::time::Duration;
use whence_schema::UnixNanos;

/// What finding incidents as data arrives may take. Defaults do not depend on the machine.
#[derive(Debug, Clone)]
pub struct WatchOptions {
    /// How long after the end of a half minute its events may come and still count; default 10 s.
    pub lateness: Duration,
    /// How long nothing has to arrive before time is taken to pass without events; default 20 s.
    pub idle: Duration,
    /// Bytes for what is known of the last hour of all tenants: counts, names and templates; default 64 MiB.
    pub memory_bytes: usize,
    /// Share of a core that it takes at most for reading, and again for explaining and for links, 0.001 to 1; default a
    /// twentieth.
    pub core_share: f64,
    /// Whether links of onsets and changes are stored at the end of each full hour; default true.
    pub links: bool,
    /// How often it looks whether something is to be done; default 1 s.
    pub interval: Duration,
    /// The time; default the system clock.
    pub clock: fn() -> UnixNanos,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            lateness: Duration::from_secs(10),
            idle: Duration::from_secs(20),
            memory_bytes: 64 << 20,
            core_share: 0.05,
            links: true,
            interval: Duration::from_secs(1),
            clock: UnixNanos::now,
        }
    }
}

/// Memory, times and the clock of the correlator. Defaults do not depend on the machine.
#[derive(Debug, Clone)]
pub struct CorrelatorOptions {
    /// Bytes for the spans seen lately; default 96 MiB, about 1.4 million spans.
    pub window_bytes: usize,
    /// Bytes for ends that wait for a span; default 64 MiB, about half a million ends.
    pub pending_bytes: usize,
    /// Bytes of the state that survives a restart, written at each flush; default 8 MiB, about 129,000 waiting ends.
    pub state_bytes: usize,
    /// Exemplars remembered to recognise those sent again; default 131,072, about 6 MiB.
    pub exemplars: usize,
    /// How long an end waits before its span is looked up in the store; default 2 s.
    pub lookup_after: Duration,
    /// Look up spans that started up to so long before the end that wants them; default 24 h.
    pub look_back: Duration,
    /// Look up spans that started up to so long after the end that wants them; default 1 h.
    pub look_ahead: Duration,
    /// Longest time a link is kept back to be written with others; default 200 ms.
    pub write_interval: Duration,
    /// Links written at once; default 4,096.
    pub write_rows: usize,
    /// `created_at` of links; default the system clock.
    pub clock: fn() -> UnixNanos,
}

impl Default for CorrelatorOptions {
    fn default() -> Self {
        Self {
            window_bytes: 96 << 20,
            pending_bytes: 64 << 20,
            state_bytes: 8 << 20,
            exemplars: 1 << 17,
            lookup_after: Duration::from_secs(2),
            look_back: Duration::from_secs(24 * 60 * 60),
            look_ahead: Duration::from_secs(60 * 60),
            write_interval: Duration::from_millis(200),
            write_rows: 4_096,
            clock: UnixNanos::now,
        }
    }
}
