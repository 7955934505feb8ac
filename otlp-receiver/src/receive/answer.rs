//! Answers as OTLP wants them: the export response with its partial success, and `google.rpc.Status` for errors.

use crate::ingest::{IngestError, Ingested};
use crate::wire::{AnyMessage, ExportResponse, PartialSuccess, ProtoDuration, RetryInfo, RpcStatus};
use prost::Message;
use std::time::Duration;
use whence_schema::Signal;
use whence_storage::AccessError;

/// Longest error text sent, in bytes: an answer stays far below the 4 MiB that clients accept.
const MAX_MESSAGE_BYTES: usize = 8 * 1024;

/// gRPC status codes used here, as numbers for `google.rpc.Status`.
pub(super) mod code {
    pub(crate) const INVALID_ARGUMENT: i32 = 3;
    pub(crate) const PERMISSION_DENIED: i32 = 7;
    pub(crate) const RESOURCE_EXHAUSTED: i32 = 8;
    pub(crate) const UNIMPLEMENTED: i32 = 12;
    pub(crate) const INTERNAL: i32 = 13;
    pub(crate) const UNAVAILABLE: i32 = 14;
    pub(crate) const UNAUTHENTICATED: i32 = 16;
}

impl ExportResponse {
    pub(crate) fn new(ingested: &Ingested) -> Self {
        let rejected = ingested.rejections.count() as i64;
        let partial_success = (rejected > 0).then(|| PartialSuccess {
            rejected,
            error_message: shortened(ingested.rejections.message(items(ingested.signal))),
        });
        Self { partial_success }
    }

    /// The JSON form; 64-bit integers are texts there.
    pub(crate) fn to_json(&self, signal: Signal) -> Vec<u8> {
        let rejected = match signal {
            Signal::Traces => "rejectedSpans",
            Signal::Logs => "rejectedLogRecords",
            Signal::Metrics => "rejectedDataPoints",
        };
        let value = match &self.partial_success {
            None => serde_json::json!({}),
            Some(partial) => serde_json::json!({
                "partialSuccess": { rejected: partial.rejected.to_string(), "errorMessage": partial.error_message }
            }),
        };
        value.to_string().into_bytes()
    }
}

fn items(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "spans",
        Signal::Logs => "log records",
        Signal::Metrics => "data points",
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > MAX_MESSAGE_BYTES {
        let end = (0..=MAX_MESSAGE_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str(" ...");
    }
    text
}

impl RpcStatus {
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: shortened(message.into()), details: Vec::new() }
    }

    /// The status of a request that was not accepted: INVALID_ARGUMENT, or UNAVAILABLE with the time to wait.
    pub(crate) fn of(error: &IngestError) -> Self {
        if !error.is_retryable() {
            let code = if matches!(error, IngestError::Decode(_)) { code::INVALID_ARGUMENT } else { code::INTERNAL };
            return Self::new(code, error.to_string());
        }
        let wait: Duration = error.retry_after();
        let delay = ProtoDuration { seconds: wait.as_secs() as i64, nanos: wait.subsec_nanos() as i32 };
        let info = RetryInfo { retry_delay: Some(delay) };
        let details =
            AnyMessage { type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(), value: info.encode_to_vec() };
        Self { details: vec![details], ..Self::new(code::UNAVAILABLE, error.to_string()) }
    }

    /// The status of a request whose sender is not let in. Sending it again does not help.
    pub(crate) fn not_let_in(error: &AccessError) -> Self {
        let code = if error.is_forbidden() { code::PERMISSION_DENIED } else { code::UNAUTHENTICATED };
        Self::new(code, error.to_string())
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::json!({ "code": self.code, "message": self.message }).to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender that is told otherwise drops its data.
    #[test]
    fn a_disk_that_fails_or_is_full_and_a_poisoned_log_are_unavailable_with_a_time_to_come_back() {
        use whence_storage::StorageError;
        let file = |kind: std::io::ErrorKind| StorageError::File {
            action: "write",
            path: "00000000000000000001.log".into(),
            source: std::io::Error::from(kind),
        };
        let full = file(std::io::ErrorKind::StorageFull);
        for error in [full, file(std::io::ErrorKind::Other), StorageError::LogPoisoned("EIO".to_owned())] {
            let said = error.to_string();
            let status = RpcStatus::of(&IngestError::Storage(error));
            assert_eq!((status.code, status.details.len()), (code::UNAVAILABLE, 1), "{said}");
            assert!(status.message.contains(&said));
        }
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let text = shortened("é".repeat(MAX_MESSAGE_BYTES));
        assert!(text.len() <= MAX_MESSAGE_BYTES + 4 && text.ends_with("é ..."));
    }
}
