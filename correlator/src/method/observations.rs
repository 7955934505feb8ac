//! What the methods that look for causes are given: events as plain numbers, without storage behind them.
//!
//! Names are kept once, in lists; everything else is an index into one of them. The order of spans, logs, points and
//! changes says nothing: the same observations in any order have the same causes.

use whence_schema::{EventId, SpanId, TraceId, UnixNanos};

/// Everything seen in a baseline and the window after it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observations {
    /// Names of the assets, and of those that spans name as their peers; `asset` and `peer` below are indices into them.
    pub assets: Vec<String>,
    /// Names of operations, which are names of spans; `operation` below is an index into them.
    pub operations: Vec<String>,
    /// Names of series within an asset, each a metric's name and its dimensions; `metric` below is an index into them.
    pub metrics: Vec<String>,
    /// Spans that started in the baseline or the window. Traces should be whole: a span whose parent is not here counts
    /// as called from outside.
    pub spans: Vec<SpanSeen>,
    /// Log records and span events.
    pub logs: Vec<LogSeen>,
    /// Points of gauges, and of sums the increase per second.
    pub points: Vec<PointSeen>,
    /// Deployments, flags turned over and other changes.
    pub changes: Vec<ChangeSeen>,
    /// Where assets run, each place once.
    pub places: Vec<Place>,
    /// Which assets run where, by their indices; each pair once.
    pub placed: Vec<(u32, u32)>,
}

/// What several assets may run in or on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum PlaceKind {
    /// Containers of one Kubernetes pod.
    Pod,
    /// Pods of one Kubernetes node.
    Node,
    /// Processes of one machine, real or virtual, or of one container.
    Host,
}

impl PlaceKind {
    const ALL: [Self; 3] = [Self::Pod, Self::Node, Self::Host];

    /// The name in SQL and JSON, such as `node`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Node => "node",
            Self::Host => "host",
        }
    }

    /// The kind with a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A pod, node or host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// What it is.
    pub kind: PlaceKind,
    /// Its name.
    pub name: String,
}

/// A span's kind, as OpenTelemetry has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) enum SpanKind {
    /// Work inside an asset, or not told.
    #[default]
    Internal,
    /// Answers a caller that waits.
    Server,
    /// Waits for an answer.
    Client,
    /// Sends a message.
    Producer,
    /// Receives a message.
    Consumer,
}

/// One span.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpanSeen {
    /// Trace id, big-endian.
    pub trace: u128,
    /// Span id, not 0.
    pub span: u64,
    /// The parent's span id; 0 for none.
    pub parent: u64,
    /// Index of the asset that emitted it.
    pub asset: u32,
    /// Index of its name.
    pub operation: u32,
    /// Its kind.
    pub kind: SpanKind,
    /// When it began.
    pub start: UnixNanos,
    /// How long it took, in nanoseconds.
    pub duration_ns: u64,
    /// True when its status is error.
    pub failed: bool,
    /// Of a client or producer: index of the asset that it says it calls, by `server.address`, `net.peer.name`,
    /// `peer.service` or `messaging.destination.name`. Names databases and others that send no spans of their own;
    /// where the callee's span is here as well, that span's asset counts.
    pub peer: Option<u32>,
    /// Number of the version of its asset; 0 when it tells none.
    pub version: u32,
}

impl SpanSeen {
    /// Its row in `events`.
    pub(crate) fn id(&self) -> EventId {
        EventId::of_span(TraceId(self.trace.to_be_bytes()), SpanId(self.span))
    }
}

/// One log record or span event.
#[derive(Debug, Clone)]
pub(crate) struct LogSeen {
    /// Its row in `events`.
    pub id: EventId,
    /// When it happened.
    pub time: UnixNanos,
    /// Index of the asset that emitted it.
    pub asset: u32,
    /// Trace id, big-endian; 0 for none.
    pub trace: u128,
    /// Span id; 0 for none.
    pub span: u64,
    /// OTLP severity number, 1 to 24; 0 when not told.
    pub severity: u8,
    /// The message; of a span event its name, and of an exception its type after that.
    pub body: String,
}

/// One value of one series.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PointSeen {
    /// When it was measured, or the start of its bucket.
    pub time: UnixNanos,
    /// Index of the asset.
    pub asset: u32,
    /// Index of the series.
    pub metric: u32,
    /// The value in the metric's unit.
    pub value: f64,
}

/// What was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ChangeKind {
    /// A new version.
    Deployment,
    /// A flag got another value.
    FeatureFlag,
    /// A setting.
    Configuration,
    /// The number of instances.
    Scaling,
    /// Anything else somebody recorded as a change.
    Other,
}

/// A recorded change of an asset.
#[derive(Debug, Clone)]
pub(crate) struct ChangeSeen {
    /// Its row in `events`.
    pub id: EventId,
    /// When it happened.
    pub time: UnixNanos,
    /// Index of the changed asset.
    pub asset: u32,
    /// What kind of change.
    pub kind: ChangeKind,
    /// A short text for people: the version, or the flag and its value.
    pub what: String,
}
