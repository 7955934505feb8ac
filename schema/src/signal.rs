//! The closed vocabularies that appear as text in the tables.

macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The text the tables show.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The value shown as `text`, if there is one.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

text_enum! {
    /// The OTLP signal a request carries; also the `signal` column of the ingest ledger.
    Signal {
        /// Spans, counted in spans.
        Traces => "traces",
        /// Log records.
        Logs => "logs",
        /// Data points.
        Metrics => "metrics",
    }
}

text_enum! {
    /// How bad an event is; ordered.
    Severity {
        /// Finer than debug.
        Trace => "trace",
        /// For developers.
        Debug => "debug",
        /// Normal operation.
        Info => "info",
        /// Something to look at.
        Warning => "warning",
        /// Something failed.
        Error => "error",
        /// The process or the system is going down.
        Critical => "critical",
    }
}

text_enum! {
    /// `metadata.relation` of a correlation: how *primary led to related*.
    Relation {
        /// A caller's span to the span it called in another asset.
        Call => "call",
        /// A linked span to the span that names it in a span link.
        Link => "link",
        /// A span to a log record of severity warning or above written in it.
        LogInSpan => "log_in_span",
        /// A span to the metric bucket that names it as an exemplar.
        Exemplar => "exemplar",
        /// A producer to a consumer of its message.
        Message => "message",
        /// A callee's failure to its caller's.
        Failure => "failure",
        /// The beginning of trouble to the beginning of other trouble that keeps following it.
        Lag => "lag",
        /// A change to what was different after it.
        Change => "change",
    }
}

impl Relation {
    /// `metadata.method` of a correlation: what it was found by.
    pub fn method(self) -> &'static str {
        match self {
            Self::Call | Self::Link | Self::LogInSpan | Self::Exemplar | Self::Message | Self::Failure => "structural",
            Self::Lag => "lag",
            Self::Change => "contrast",
        }
    }

    /// True when the two events say themselves that one led to the other; else it was found by comparing many.
    pub fn is_structural(self) -> bool {
        self.method() == "structural"
    }
}

text_enum! {
    /// `metric_type` of a row of `metrics`.
    MetricType {
        /// Last values of something.
        Gauge => "gauge",
        /// Increases; cumulative sums are turned into increases, resets detected.
        Sum => "sum",
        /// Explicit-bucket histogram.
        Histogram => "histogram",
        /// Base-2 exponential histogram.
        ExponentialHistogram => "exponential_histogram",
        /// Client-side quantiles.
        Summary => "summary",
    }
}

impl Severity {
    /// OpenTelemetry severity number (1 to 24) to severity; 0 and out of range are `None`.
    pub fn from_otlp(number: i32) -> Option<Self> {
        Some(match number {
            1..=4 => Self::Trace,
            5..=8 => Self::Debug,
            9..=12 => Self::Info,
            13..=16 => Self::Warning,
            17..=20 => Self::Error,
            21..=24 => Self::Critical,
            _ => return None,
        })
    }
}
