//! Log records: requests, trouble, and change events.

use crate::attributes::{body, integer, text};
use crate::random::{MILLISECOND, split_mix};
use crate::shop::fault::{Change, REJECTING_SETTING, ShopChange};
use crate::shop::topology::Topology;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::LogRecord;

/// Severity of a record: the first number of its range in the log data model.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    Info = 9,
    Warning = 13,
    Error = 17,
}

/// A record of code that runs in a span.
pub(crate) fn in_span(
    at: u64,
    severity: Severity,
    trace_id: &[u8],
    span_id: &[u8],
    message: String,
    attributes: Vec<KeyValue>,
) -> LogRecord {
    LogRecord {
        trace_id: trace_id.to_vec(),
        span_id: span_id.to_vec(),
        flags: 1,
        attributes,
        ..record(at, severity, message)
    }
}

fn record(at: u64, severity: Severity, message: String) -> LogRecord {
    let severity_text = match severity {
        Severity::Info => "INFO",
        Severity::Warning => "WARN",
        Severity::Error => "ERROR",
    };
    LogRecord {
        time_unix_nano: at,
        observed_time_unix_nano: at + MILLISECOND,
        severity_number: severity as i32,
        severity_text: severity_text.into(),
        body: body(message),
        ..Default::default()
    }
}

/// The record of a change, as the changed service reports it right after.
pub(crate) fn change(topology: &Topology, change: &Change, version_before: &str, version: &str) -> LogRecord {
    let service = topology.services[change.service].name;
    let name = change.name(topology);
    let id = split_mix(topology.seed ^ split_mix(change.at));
    let (event_name, message, mut attributes) = match change.kind {
        ShopChange::Deployment => (
            "deployment",
            format!("deployment of {service} {version} succeeded"),
            vec![
                text("service.version.previous", version_before),
                text("vcs.ref.head.revision", format!("{:016x}{:016x}{:08x}", split_mix(id), id, id >> 32)),
            ],
        ),
        ShopChange::Configuration => (
            "deployment",
            format!("configuration {name} of {service} rolled out: {REJECTING_SETTING} = 0"),
            vec![
                text("config.key", REJECTING_SETTING),
                integer("config.value.before", 256),
                integer("config.value.after", 0),
            ],
        ),
        ShopChange::FeatureFlag => (
            "feature_flag.change",
            format!("feature flag {name} of {service} turned on"),
            vec![
                text("feature_flag.key", name.as_str()),
                text("feature_flag.provider.name", "flagd"),
                text("feature_flag.result.variant", "on"),
                text("feature_flag.result.reason", "static"),
            ],
        ),
    };
    if change.kind != ShopChange::FeatureFlag {
        attributes.push(text("deployment.name", name));
        attributes.push(text("deployment.id", format!("{id:016x}")));
        attributes.push(text("deployment.status", "succeeded"));
    }
    attributes.push(text("event.name", event_name));
    attributes.push(text("service.version", version));
    LogRecord { event_name: event_name.into(), attributes, ..record(change.at, Severity::Info, message) }
}
