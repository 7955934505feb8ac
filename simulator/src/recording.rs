//! Scenarios as files: OTLP/JSON, one request a line, and labels beside it.

use crate::export::{Request, Signal};
use crate::scenario::Scenario;
use crate::truth::{Decoy, Gap, InjectedFault};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};

/// What is known of a recording: the file `NAME.labels.json` beside `NAME.otlp.jsonl[.zst]`.
///
/// Recordings of real systems have only what is not optional or defaulted here, and the pod of the cause.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Labels {
    /// Name of the recorded system.
    pub system: String,
    /// Day of the recording, such as `2023-01-29`.
    pub date: String,
    /// Number of spans in it.
    pub spans: u64,
    /// Number of log records in it.
    pub logs: u64,
    /// Number of data points in it.
    pub metric_points: u64,
    /// Length of a fault, where the fault itself does not say when it ends.
    pub fault_seconds: u64,
    /// Faults in order of their onset.
    pub faults: Vec<FaultLabel>,
    /// What happened beside them and caused nothing.
    #[serde(default)]
    pub decoys: Vec<Decoy>,
    /// Telemetry that does not arrive.
    #[serde(default)]
    pub missing: Vec<Gap>,
}

/// One labelled fault.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FaultLabel {
    /// Onset as text, RFC 3339.
    pub time: String,
    /// Onset in nanoseconds since the Unix epoch.
    pub time_unix_nano: u64,
    /// `k8s.pod.name` of the only instance at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_cause_pod: Option<String>,
    /// `service.name` at fault, or `server.address` of a dependency without telemetry.
    pub root_cause_service: String,
    /// Kind of the fault: one of [`crate::FaultKind`]'s names, or a name of the recording's own.
    pub fault_type: String,
    /// End in nanoseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_unix_nano: Option<u64>,
    /// The whole truth, of a simulated fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub injected: Option<InjectedFault>,
}

/// Writes all requests of a scenario as lines of OTLP/JSON, uncompressed, and returns the labels that go with them.
///
/// # Errors
///
/// What the writer reports.
pub fn write_recording(scenario: &Scenario, out: &mut impl Write) -> io::Result<Labels> {
    let mut items = [0_u64; 3];
    for request in scenario.requests() {
        items[request.signal as usize] += request.items as u64;
        request.write_json(out)?;
        out.write_all(b"\n")?;
    }
    let truth = scenario.ground_truth();
    let label = |fault: &InjectedFault| FaultLabel {
        time: rfc3339(fault.onset_unix_nanos),
        time_unix_nano: fault.onset_unix_nanos,
        root_cause_pod: if let [pod] = &fault.root.instances[..] { Some(pod.clone()) } else { None },
        root_cause_service: fault.root.asset.clone(),
        fault_type: fault.kind.name().into(),
        end_unix_nano: Some(fault.end_unix_nanos),
        injected: Some(fault.clone()),
    };
    let longest = truth.faults.iter().map(|fault| fault.end_unix_nanos - fault.onset_unix_nanos).max();
    Ok(Labels {
        system: format!("simulated-{}", truth.seed),
        date: rfc3339(truth.start_unix_nanos)[..10].into(),
        spans: items[Signal::Traces as usize],
        logs: items[Signal::Logs as usize],
        metric_points: items[Signal::Metrics as usize],
        fault_seconds: longest.unwrap_or(0) / 1_000_000_000,
        faults: truth.faults.iter().map(label).collect(),
        decoys: truth.decoys.clone(),
        missing: truth.missing.clone(),
    })
}

impl Request {
    /// Writes the request as OTLP/JSON, on one line without its end.
    ///
    /// # Errors
    ///
    /// What the writer reports.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        match self.signal {
            Signal::Traces => write_message::<ExportTraceServiceRequest>(self, out),
            Signal::Logs => write_message::<ExportLogsServiceRequest>(self, out),
            Signal::Metrics => write_message::<ExportMetricsServiceRequest>(self, out),
        }
    }
}

fn write_message<M: Message + Default + Serialize>(request: &Request, out: &mut impl Write) -> io::Result<()> {
    let message = M::decode(request.body.clone()).map_err(io::Error::other)?;
    serde_json::to_writer(out, &message).map_err(io::Error::from)
}

/// An instant as `2023-01-29T08:43:04+00:00`.
fn rfc3339(unix_nanos: u64) -> String {
    let seconds = unix_nanos / 1_000_000_000;
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}+00:00")
}

/// Year, month and day of a number of days since 1970-01-01 (Howard Hinnant, chrono-compatible date algorithms).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn instants_are_written_as_the_recordings_write_them() {
        assert_eq!(rfc3339(1_674_981_784_000_000_000), "2023-01-29T08:43:04+00:00");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00+00:00");
        assert_eq!(rfc3339(1_709_164_800_000_000_000), "2024-02-29T00:00:00+00:00");
    }
}
