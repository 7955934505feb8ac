//! One line of a recording: an OTLP request in JSON, as the Collector's file exporter writes it.

use crate::decode::{DecodeError, Messages};
use bytes::Bytes;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use whence_schema::{Encoding, Signal, UnixNanos};

/// A request read from a recording.
#[derive(Debug)]
pub struct RecordedRequest {
    signal: Signal,
    message: Messages,
}

/// A line that is no OTLP request.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// Not a JSON object with `resourceSpans`, `resourceLogs` or `resourceMetrics`.
    #[error("expected a JSON object that begins with resourceSpans, resourceLogs or resourceMetrics")]
    UnknownSignal,
    /// The object is no valid request.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl RecordedRequest {
    /// Reads one line.
    ///
    /// # Errors
    ///
    /// When it is no OTLP request in JSON.
    pub fn parse(line: &[u8]) -> Result<Self, RecordingError> {
        let start = &line[..line.len().min(64)];
        let has = |key: &[u8]| start.windows(key.len()).any(|window| window == key);
        let signal = if has(b"\"resourceSpans\"") {
            Signal::Traces
        } else if has(b"\"resourceLogs\"") {
            Signal::Logs
        } else if has(b"\"resourceMetrics\"") {
            Signal::Metrics
        } else {
            return Err(RecordingError::UnknownSignal);
        };
        Ok(Self { signal, message: Messages::from_json(signal, line)? })
    }

    /// What the request carries.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// Earliest and latest start or point time in the request; `None` when it has none.
    pub fn time_range(&mut self) -> Option<(UnixNanos, UnixNanos)> {
        let mut range: Option<(u64, u64)> = None;
        self.each_time(&mut |time: &mut u64| {
            let (first, last) = range.unwrap_or((*time, *time));
            range = Some((first.min(*time), last.max(*time)));
        });
        let nanos = |time: u64| UnixNanos(i64::try_from(time).unwrap_or(i64::MAX));
        range.map(|(first, last)| (nanos(first), nanos(last)))
    }

    /// Moves every time by `delta` nanoseconds.
    pub fn shift(&mut self, delta: i64) {
        self.each_time(&mut |time: &mut u64| *time = time.saturating_add_signed(delta));
    }

    /// The request in protobuf or JSON.
    pub fn encode(&self, encoding: Encoding) -> Bytes {
        match (encoding, &self.message) {
            (Encoding::Protobuf, message) => message.to_protobuf().into(),
            (Encoding::Json, Messages::Traces(m)) => json(m),
            (Encoding::Json, Messages::Logs(m)) => json(m),
            (Encoding::Json, Messages::Metrics(m)) => json(m),
        }
    }

    /// Calls `visit` on every time that is set.
    fn each_time(&mut self, visit: &mut impl FnMut(&mut u64)) {
        let mut set = |time: &mut u64| {
            if *time != 0 {
                visit(time);
            }
        };
        match &mut self.message {
            Messages::Traces(m) => {
                let scopes = m.resource_spans.iter_mut().flat_map(|r| &mut r.scope_spans);
                for span in scopes.flat_map(|s| &mut s.spans) {
                    set(&mut span.start_time_unix_nano);
                    set(&mut span.end_time_unix_nano);
                    span.events.iter_mut().for_each(|e| set(&mut e.time_unix_nano));
                }
            }
            Messages::Logs(m) => {
                let scopes = m.resource_logs.iter_mut().flat_map(|r| &mut r.scope_logs);
                for record in scopes.flat_map(|s| &mut s.log_records) {
                    set(&mut record.time_unix_nano);
                    set(&mut record.observed_time_unix_nano);
                }
            }
            Messages::Metrics(m) => {
                let scopes = m.resource_metrics.iter_mut().flat_map(|r| &mut r.scope_metrics);
                for metric in scopes.flat_map(|s| &mut s.metrics) {
                    each_point_time(metric.data.as_mut(), &mut set);
                }
            }
        }
    }
}

fn each_point_time(data: Option<&mut Data>, set: &mut impl FnMut(&mut u64)) {
    macro_rules! points {
        ($metric:expr) => {
            for point in &mut $metric.data_points {
                set(&mut point.start_time_unix_nano);
                set(&mut point.time_unix_nano);
            }
        };
    }
    match data {
        Some(Data::Gauge(metric)) => points!(metric),
        Some(Data::Sum(metric)) => points!(metric),
        Some(Data::Histogram(metric)) => points!(metric),
        Some(Data::ExponentialHistogram(metric)) => points!(metric),
        Some(Data::Summary(metric)) => points!(metric),
        None => {}
    }
}

/// Serialising messages to memory cannot fail: they have text keys only.
fn json(message: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(message).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_is_read_shifted_and_written_in_both_encodings() {
        let line = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1000"},{"timeUnixNano":"3000"},{}]}]}]}"#;
        let mut request = RecordedRequest::parse(line).unwrap();
        request.shift(500);
        assert_eq!(request.time_range(), Some((UnixNanos(1_500), UnixNanos(3_500))));
        let again = Messages::from_protobuf(Signal::Logs, &request.encode(Encoding::Protobuf)).unwrap();
        assert_eq!(again, Messages::from_json(Signal::Logs, &request.encode(Encoding::Json)).unwrap());
        assert!(matches!(RecordedRequest::parse(b"{}"), Err(RecordingError::UnknownSignal)));
    }
}
