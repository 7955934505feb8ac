#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use whence_schema::tables::events::column;
use whence_schema::{EventId, MappedRequest, MetricType, PointValue, Rows};

const NOW: UnixNanos = UnixNanos(1_700_000_000_000_000_000);

fn map(signal: Signal, json: serde_json::Value) -> (MappedRequest, Rejections) {
    let mapper = Mapper::new(default_rules());
    let body = Bytes::from(json.to_string());
    let mapped = mapper.map(TenantId::default(), signal, Encoding::Json, NOW, body);
    mapped.unwrap()
}

fn events(request: &MappedRequest) -> &RecordBatch {
    match &request.rows {
        Rows::Events(batch) => batch,
        Rows::Metrics(_) => panic!("expected events"),
    }
}

fn text(batch: &RecordBatch, column: usize, row: usize) -> Option<&str> {
    let array = batch.column(column).as_string_view();
    array.is_valid(row).then(|| array.value(row))
}

fn traces(spans: serde_json::Value) -> serde_json::Value {
    serde_json::json!({"resourceSpans": [{
        "resource": {"attributes": [
            {"key": "service.name", "value": {"stringValue": "checkout"}},
            {"key": "deployment.environment.name", "value": {"stringValue": "production"}},
            {"key": "service.version", "value": {"stringValue": "1.2"}}
        ]},
        "scopeSpans": [{"scope": {"name": "http"}, "spans": spans}]
    }]})
}

#[test]
fn a_span_becomes_a_row_with_its_own_attributes_flat_and_the_rest_under_otel() {
    let (request, rejections) = map(
        Signal::Traces,
        traces(serde_json::json!([{
            "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "eee19b7ec3c1b174",
            "parentSpanId": "eee19b7ec3c1b173", "name": "GET /cart", "kind": 2,
            "startTimeUnixNano": "1700000000000000123", "endTimeUnixNano": 1_700_000_000_500_000_123u64,
            "attributes": [{"key": "http.route", "value": {"stringValue": "/cart"}},
                           {"key": "size", "value": {"intValue": "7"}}],
            "status": {"code": 2, "message": "no"},
            "links": [{"traceId": "5b8efff798038103d269b633813fc60d", "spanId": "eee19b7ec3c1b175"}],
            "events": [{"name": "exception", "timeUnixNano": "1700000000100000000",
                        "attributes": [{"key": "exception.type", "value": {"stringValue": "E"}}]}]
        }])),
    );
    assert_eq!((request.received, request.rejected, rejections.count()), (1, 0, 0));
    let batch = events(&request);
    assert_eq!(batch.num_rows(), 2);
    assert_eq!(text(batch, column::ASSET_ID, 0), Some("checkout"));
    assert_eq!(text(batch, column::ENVIRONMENT, 0), Some("production"));
    assert_eq!(text(batch, column::SEVERITY, 0), Some("error"));
    assert_eq!(text(batch, column::KIND, 0), Some("server"));
    assert_eq!(text(batch, column::STATUS, 0), Some("error"));
    assert_eq!(batch.column(column::DURATION_NS).as_primitive::<Int64Type>().value(0), 500_000_000);
    let micros = batch.column(column::TIMESTAMP).as_primitive::<TimestampMicrosecondType>().value(0);
    assert_eq!(micros, 1_700_000_000_000_000);
    let payload: serde_json::Value = serde_json::from_str(text(batch, column::PAYLOAD, 0).unwrap()).unwrap();
    assert_eq!(payload["http.route"], "/cart");
    assert_eq!(payload["size"], 7);
    assert_eq!(payload["_otel"]["status_message"], "no");
    assert_eq!(payload["_otel"]["links"][0]["span_id"], "eee19b7ec3c1b175");
    let resource: serde_json::Value = serde_json::from_str(text(batch, column::RESOURCE, 1).unwrap()).unwrap();
    assert_eq!(resource["service.version"], "1.2");
    assert_eq!(text(batch, column::SIGNAL, 1), Some("span_event"));
    assert_eq!(text(batch, column::EVENT_TYPE, 1), Some("exception"));
    assert_eq!(text(batch, column::METADATA, 1), Some("{\"rule\":\"exception\"}"));
    assert_eq!(request.assets[0].version.as_deref(), Some("1.2"));
}

#[test]
fn wrong_spans_are_refused_with_reasons_and_the_rest_is_stored() {
    let good = "eee19b7ec3c1b174";
    let trace = "5b8efff798038103d269b633813fc60c";
    let (request, rejections) = map(
        Signal::Traces,
        traces(serde_json::json!([
            {"traceId": trace, "spanId": good, "name": "kept", "startTimeUnixNano": "1", "endTimeUnixNano": "0"},
            {"traceId": "00", "spanId": good, "name": "short trace"},
            {"traceId": trace, "spanId": "0000000000000000", "name": "zero span"},
            {"traceId": trace, "spanId": good, "name": "future", "startTimeUnixNano": "1800000000000000000"},
            {"traceId": trace, "spanId": good, "name": "beyond", "startTimeUnixNano": "18446744073709551615"}
        ])),
    );
    assert_eq!((request.received, request.rejected), (5, 4));
    assert_eq!(events(&request).num_rows(), 1);
    let message = rejections.message("spans");
    for part in ["4 spans refused", "'short trace'", "trace_id must be 16 bytes", "span_id", "24 h ahead"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_time_of_zero_becomes_the_receive_time_and_an_end_before_the_start_no_duration() {
    let (request, _) = map(
        Signal::Traces,
        traces(serde_json::json!([
            {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "a"},
            {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b175", "name": "b",
             "startTimeUnixNano": "2000", "endTimeUnixNano": "1000"}
        ])),
    );
    let batch = events(&request);
    let micros = batch.column(column::TIMESTAMP).as_primitive::<TimestampMicrosecondType>();
    assert_eq!((micros.value(0), micros.value(1)), (NOW.micros(), 2));
    assert_eq!(batch.column(column::DURATION_NS).as_primitive::<Int64Type>().value(1), 0);
}

#[test]
fn log_severity_module_and_ids_follow_number_text_and_rules() {
    let record = |extra: serde_json::Value| {
        let mut record = serde_json::json!({"timeUnixNano": "1699999999000000000", "body": {"stringValue": "b"}});
        record.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        record
    };
    let (request, rejections) = map(
        Signal::Logs,
        serde_json::json!({"resourceLogs": [{
            "resource": {"attributes": [{"key": "host.name", "value": {"stringValue": "node-1"}}]},
            "scopeLogs": [{"logRecords": [
                record(serde_json::json!({"severityNumber": 17})),
                record(serde_json::json!({"severityText": "WARN"})),
                record(serde_json::json!({"attributes": [{"key": "deployment.id", "value": {"stringValue": "d"}}]})),
                record(serde_json::json!({"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174"})),
                record(serde_json::json!({"traceId": "ff", "spanId": "ee", "body": {"kvlistValue": {"values": []}}})),
                record(serde_json::json!({"attributes": [{"key": "event.name", "value": {"stringValue": "gen_ai.guardrail.hit"}}]})),
            ]}]
        }]}),
    );
    assert_eq!(rejections.count(), 0, "{}", rejections.message("log records"));
    let batch = events(&request);
    let at = |column, row| text(batch, column, row);
    assert_eq!((at(column::SEVERITY, 0), at(column::SEVERITY, 1)), (Some("error"), Some("warning")));
    assert_eq!((at(column::EVENT_TYPE, 2), at(column::EVENT_TYPE, 0)), (Some("deployment"), Some("log")));
    assert_eq!(at(column::SOURCE_MODULE, 5), Some("security"));
    assert_eq!(at(column::ASSET_ID, 0), Some("node-1"));
    assert_eq!(at(column::BODY, 4), Some("{}"));
    let spans = batch.column(column::SPAN_ID).as_primitive::<Int64Type>();
    assert!(spans.is_valid(3) && spans.is_null(4));
    let digests = batch.column(column::REQUEST_DIGEST).as_primitive::<Int64Type>();
    assert_eq!(digests.value(3) as u64, request.digest.short());
}

#[test]
fn points_of_all_kinds_find_their_series_and_wrong_numbers_are_refused() {
    let number = |value: serde_json::Value| {
        let mut point = serde_json::json!({"timeUnixNano": "1699999990000000000"});
        point.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        point
    };
    let (request, rejections) = map(
        Signal::Metrics,
        serde_json::json!({"resourceMetrics": [{
            "resource": {"attributes": [
                {"key": "service.name", "value": {"stringValue": "checkout"}},
                {"key": "k8s.pod.name", "value": {"stringValue": "pod-1"}}
            ]},
            "scopeMetrics": [{"metrics": [
                {"name": "g", "unit": "1", "gauge": {"dataPoints": [
                    number(serde_json::json!({"asDouble": 1.5})), number(serde_json::json!({"asInt": "3"})),
                    number(serde_json::json!({"asDouble": "NaN"})), number(serde_json::json!({}))]}},
                {"name": "s", "sum": {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [
                    number(serde_json::json!({"asInt": 3, "attributes": [{"key": "b", "value": {"stringValue": "2"}},
                        {"key": "a", "value": {"stringValue": "1"}}],
                        "exemplars": [{"timeUnixNano": "1699999990000000000", "asDouble": 1.0,
                            "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174"}]}))]}},
                {"name": "h", "histogram": {"aggregationTemporality": 1, "dataPoints": [
                    number(serde_json::json!({"count": "3", "sum": 6.0, "bucketCounts": ["1", "2"], "explicitBounds": [1.0]})),
                    number(serde_json::json!({"count": 3, "bucketCounts": [1], "explicitBounds": [1.0]}))]}},
                {"name": "e", "exponentialHistogram": {"aggregationTemporality": 1, "dataPoints": [
                    number(serde_json::json!({"count": "2", "sum": 3.0, "scale": 1, "zeroCount": "0",
                        "positive": {"offset": 0, "bucketCounts": ["1", "1"]}}))]}},
                {"name": "q", "summary": {"dataPoints": [
                    number(serde_json::json!({"count": "2", "sum": 3.0, "quantileValues": [{"quantile": 0.5, "value": 1.0}]}))]}}
            ]}]
        }]}),
    );
    let Rows::Metrics(points) = &request.rows else { panic!("expected points") };
    assert_eq!((request.received, request.rejected), (9, 3), "{}", rejections.message("data points"));
    assert_eq!(points.points.len(), 6);
    assert_eq!(points.points[1].value, PointValue::Number(3.0));
    let sum = points.series.iter().find(|s| s.metric_name == "s").unwrap();
    assert_eq!(sum.dimensions, r#"{"a":"1","b":"2","k8s.pod.name":"pod-1"}"#);
    assert_eq!((sum.metric_type, points.points[2].cumulative), (MetricType::Sum, true));
    let exemplar = points.exemplars[0];
    assert_eq!(exemplar.metric_row, EventId::of_metric_row(sum.id, exemplar.bucket.micros()));
}

#[test]
fn replay_with_the_logged_time_gives_the_same_rows() {
    let json = traces(serde_json::json!([
        {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "a"}]));
    let ((first, _), (second, _)) = (map(Signal::Traces, json.clone()), map(Signal::Traces, json));
    assert_eq!(events(&first), events(&second));
    assert_eq!(first.digest, second.digest);
}

#[test]
fn a_body_that_is_not_otlp_is_an_error_and_an_empty_one_is_not() {
    let mapper = Mapper::new(Vec::new());
    let map = |encoding, body: &'static [u8]| {
        mapper.map(TenantId::default(), Signal::Traces, encoding, NOW, Bytes::from_static(body))
    };
    assert!(map(Encoding::Protobuf, b"\xff\xff\xff").is_err());
    assert!(map(Encoding::Json, b"[1").is_err());
    assert!(map(Encoding::Json, br#"{"resourceSpans": 7}"#).is_err());
    assert_eq!(map(Encoding::Protobuf, b"").unwrap().0.received, 0);
    assert_eq!(map(Encoding::Json, b" {} ").unwrap().0.received, 0);
}

proptest::proptest! {
    /// Whatever arrives, decoding and mapping end with rows or an error.
    #[test]
    fn no_bytes_make_mapping_panic(body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..512)) {
        let mapper = Mapper::new(default_rules());
        for signal in Signal::ALL {
            for encoding in [Encoding::Protobuf, Encoding::Json] {
                let _ = mapper.map(TenantId::default(), *signal, encoding, NOW, Bytes::from(body.clone()));
            }
        }
    }
}
