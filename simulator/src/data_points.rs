//! Metrics and their data points: histograms of durations with exemplars, gauges, counters.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::exemplar::Value as ExemplarValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};

/// Bucket boundaries that the semantic conventions give for durations in seconds.
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// A histogram of durations since its start.
#[derive(Clone, Default)]
pub(crate) struct Distribution {
    pub(crate) start: u64,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    buckets: [u64; BOUNDS.len() + 1],
    /// The slowest and the latest measurement since the last collection, for exemplars.
    slowest: Option<Sample>,
    latest: Option<Sample>,
}

#[derive(Clone, Copy)]
struct Sample {
    seconds: f64,
    end: u64,
    trace_id: [u8; 16],
    span_id: [u8; 8],
}

impl Sample {
    fn exemplar(self) -> Exemplar {
        Exemplar {
            time_unix_nano: self.end,
            span_id: self.span_id.to_vec(),
            trace_id: self.trace_id.to_vec(),
            value: Some(ExemplarValue::AsDouble(self.seconds)),
            ..Default::default()
        }
    }
}

impl Distribution {
    /// An empty series that starts at an instant.
    pub(crate) fn since(start: u64) -> Self {
        Distribution { start, ..Default::default() }
    }

    /// Adds a duration that ended at an instant, perhaps in a span (trace id and span id).
    pub(crate) fn record(&mut self, seconds: f64, end: u64, span: Option<([u8; 16], [u8; 8])>) {
        self.min = if self.count == 0 { seconds } else { self.min.min(seconds) };
        self.max = self.max.max(seconds);
        self.count += 1;
        self.sum += seconds;
        self.buckets[BOUNDS.partition_point(|&bound| bound < seconds)] += 1;
        let Some((trace_id, span_id)) = span else { return };
        let sample = Sample { seconds, end, trace_id, span_id };
        if self.slowest.is_none_or(|slowest| seconds > slowest.seconds) {
            self.slowest = Some(sample);
        } else {
            self.latest = Some(sample);
        }
    }

    /// The series as a data point.
    pub(crate) fn point(&mut self, time: u64, attributes: Vec<KeyValue>, cumulative: bool) -> HistogramDataPoint {
        let exemplars = self.slowest.take().into_iter().chain(self.latest.take()).map(Sample::exemplar).collect();
        HistogramDataPoint {
            attributes,
            start_time_unix_nano: self.start,
            time_unix_nano: time,
            count: self.count,
            sum: Some(self.sum),
            bucket_counts: self.buckets.to_vec(),
            explicit_bounds: BOUNDS.to_vec(),
            exemplars,
            // The extremes of all time say little: SDKs leave them out of cumulative points.
            min: (!cumulative).then_some(self.min),
            max: (!cumulative).then_some(self.max),
            ..Default::default()
        }
    }
}

pub(crate) fn histogram(name: &str, data_points: Vec<HistogramDataPoint>, cumulative: bool) -> Metric {
    let temporality = if cumulative { AggregationTemporality::Cumulative } else { AggregationTemporality::Delta };
    let data = Data::Histogram(Histogram { data_points, aggregation_temporality: temporality as i32 });
    metric(name, "s", data)
}

pub(crate) fn gauge(name: &str, unit: &str, point: NumberDataPoint) -> Metric {
    metric(name, unit, Data::Gauge(Gauge { data_points: vec![point] }))
}

pub(crate) fn up_down_counter(name: &str, unit: &str, point: NumberDataPoint) -> Metric {
    metric(name, unit, sum(point, false))
}

pub(crate) fn sum(point: NumberDataPoint, is_monotonic: bool) -> Data {
    let aggregation_temporality = AggregationTemporality::Cumulative as i32;
    Data::Sum(Sum { data_points: vec![point], aggregation_temporality, is_monotonic })
}

pub(crate) fn number(value: Value, start: u64, time: u64, attributes: Vec<KeyValue>) -> NumberDataPoint {
    NumberDataPoint {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: time,
        value: Some(value),
        ..Default::default()
    }
}

pub(crate) fn metric(name: &str, unit: &str, data: Data) -> Metric {
    Metric { name: name.into(), unit: unit.into(), data: Some(data), ..Default::default() }
}
