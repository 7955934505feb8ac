//! Data points to series and values. Putting them into buckets is the store's part, since cumulative values need the
//! series' past.

use super::attributes::{ObjectWriter, write_value};
use super::resource::ResourceRows;
use super::spans::short;
use super::{Mapped, Request};
use crate::rejection::Rejections;
use hashbrown::HashMap;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, SummaryDataPoint,
    exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
};
use whence_schema::{
    EventId, ExemplarLink, ExponentialBuckets, MetricPoint, MetricPoints, MetricType, PointValue, Rows, Series,
    SeriesId, SpanId, TraceId, UnixNanos,
};
use xxhash_rust::xxh3::xxh3_128;

const CUMULATIVE: i32 = 2;
/// `DataPointFlags.NO_RECORDED_VALUE_MASK`: the series has stopped; there is a point but no value.
const NO_RECORDED_VALUE: u32 = 1;

pub(super) fn map(request: &Request<'_>, message: ExportMetricsServiceRequest, rejections: &mut Rejections) -> Mapped {
    let mut mapping = MetricMapping { request, points: MetricPoints::default(), series: HashMap::new() };
    let mut assets = Vec::with_capacity(message.resource_metrics.len());
    let mut received = 0;
    for resource_metrics in message.resource_metrics {
        let resource = ResourceRows::new(resource_metrics.resource);
        let before = mapping.points.points.len();
        for metric in resource_metrics.scope_metrics.into_iter().flat_map(|s| s.metrics) {
            received += mapping.push_metric(&resource, metric, rejections);
        }
        if let Some(last_seen) = mapping.points.points[before..].iter().map(|p| p.timestamp).max() {
            assets.push(resource.sighting(last_seen));
        }
    }
    Mapped { received, rows: Rows::Metrics(mapping.points), assets }
}

struct MetricMapping<'a> {
    request: &'a Request<'a>,
    points: MetricPoints,
    series: HashMap<SeriesId, u32>,
}

/// What the points of one metric share.
struct Described<'a> {
    resource: &'a ResourceRows,
    name: &'a str,
    unit: &'a str,
    metric_type: MetricType,
    cumulative: bool,
}

/// What every kind of point has.
struct Common<'a> {
    attributes: &'a [KeyValue],
    start: u64,
    time: u64,
    exemplars: &'a [Exemplar],
    value: Result<PointValue, String>,
}

impl MetricMapping<'_> {
    /// Number of points the metric has.
    fn push_metric(&mut self, resource: &ResourceRows, metric: Metric, rejections: &mut Rejections) -> u64 {
        let describe = |metric_type, cumulative| Described {
            resource,
            name: &metric.name,
            unit: &metric.unit,
            metric_type,
            cumulative,
        };
        match &metric.data {
            None => 0,
            Some(Data::Gauge(gauge)) => {
                let described = describe(MetricType::Gauge, false);
                self.push_all(&described, gauge.data_points.iter().map(number), rejections)
            }
            Some(Data::Sum(sum)) => {
                // A sum that can fall is a level, and its value is what counts, as with a gauge.
                let cumulative = sum.aggregation_temporality == CUMULATIVE && sum.is_monotonic;
                let described = describe(MetricType::Sum, cumulative);
                self.push_all(&described, sum.data_points.iter().map(number), rejections)
            }
            Some(Data::Histogram(histogram)) => {
                let described = describe(MetricType::Histogram, histogram.aggregation_temporality == CUMULATIVE);
                self.push_all(&described, histogram.data_points.iter().map(explicit_histogram), rejections)
            }
            Some(Data::ExponentialHistogram(histogram)) => {
                let described =
                    describe(MetricType::ExponentialHistogram, histogram.aggregation_temporality == CUMULATIVE);
                self.push_all(&described, histogram.data_points.iter().map(exponential_histogram), rejections)
            }
            Some(Data::Summary(summary)) => {
                let described = describe(MetricType::Summary, false);
                self.push_all(&described, summary.data_points.iter().map(quantile_summary), rejections)
            }
        }
    }

    fn push_all<'p>(
        &mut self,
        described: &Described<'_>,
        points: impl Iterator<Item = Common<'p>>,
        rejections: &mut Rejections,
    ) -> u64 {
        let mut count = 0;
        for point in points {
            count += 1;
            if let Err(reason) = self.push(described, point) {
                rejections.add(|| format!("data point of '{}': {reason}", short(described.name)));
            }
        }
        count
    }

    fn push(&mut self, described: &Described<'_>, point: Common<'_>) -> Result<(), String> {
        let timestamp = self.request.time(point.time, self.request.received_at)?;
        let value = point.value?;
        let series = self.series_index(described, point.attributes);
        let id = self.points.series[series as usize].id;
        for exemplar in point.exemplars {
            let (Some(trace), Some(span)) =
                (TraceId::from_slice(&exemplar.trace_id), SpanId::from_slice(&exemplar.span_id))
            else {
                continue;
            };
            let bucket = timestamp.bucket();
            self.points.exemplars.push(ExemplarLink {
                trace,
                span,
                timestamp: self.request.time(exemplar.time_unix_nano, timestamp).unwrap_or(timestamp),
                metric_row: EventId::of_metric_row(id, bucket.micros()),
                bucket,
            });
        }
        // A start that cannot be right only means that the first point has no known past.
        let start = UnixNanos(i64::try_from(point.start).unwrap_or(0));
        self.points.points.push(MetricPoint { series, timestamp, start, cumulative: described.cumulative, value });
        Ok(())
    }

    fn series_index(&mut self, described: &Described<'_>, attributes: &[KeyValue]) -> u32 {
        let dimensions = dimensions(described.resource, attributes);
        let asset_id = &described.resource.asset_id;
        let mut key = Vec::with_capacity(dimensions.len() + asset_id.len() + described.name.len() + 16);
        for part in [asset_id, described.name, described.unit, described.metric_type.as_str(), &dimensions] {
            key.extend_from_slice(part.as_bytes());
            key.push(0);
        }
        let id = SeriesId(xxh3_128(&key));
        let next = self.points.series.len() as u32;
        *self.series.entry(id).or_insert_with(|| {
            self.points.series.push(Series {
                id,
                asset_id: asset_id.clone(),
                metric_type: described.metric_type,
                metric_name: described.name.to_owned(),
                unit: described.unit.to_owned(),
                dimensions,
            });
            next
        })
    }
}

/// Point attributes and identifying resource attributes with sorted keys, so that their order makes no second series.
fn dimensions(resource: &ResourceRows, attributes: &[KeyValue]) -> String {
    let mut all: Vec<&KeyValue> = attributes.iter().chain(resource.identifying()).collect();
    all.sort_by(|a, b| a.key.cmp(&b.key));
    // A point's own attribute wins over the resource's of the same name: it comes first and the sort is stable.
    all.dedup_by(|later, first| later.key == first.key);
    let mut json = Vec::with_capacity(128);
    let mut object = ObjectWriter::begin(&mut json);
    for attribute in all {
        write_value(object.key(&attribute.key), attribute.value.as_ref(), 0);
    }
    object.end();
    String::from_utf8(json).unwrap_or_default()
}

/// A point that says "no value here" is stored as a point without values.
fn no_value() -> PointValue {
    PointValue::Summary { count: 0, sum: 0.0, quantiles: Vec::new() }
}

fn number(point: &NumberDataPoint) -> Common<'_> {
    let value = match point.value {
        _ if point.flags & NO_RECORDED_VALUE != 0 => Ok(no_value()),
        Some(number_data_point::Value::AsDouble(value)) => finite("value", value).map(PointValue::Number),
        Some(number_data_point::Value::AsInt(value)) => Ok(PointValue::Number(value as f64)),
        None => Err("it has no value".to_owned()),
    };
    Common {
        attributes: &point.attributes,
        start: point.start_time_unix_nano,
        time: point.time_unix_nano,
        exemplars: &point.exemplars,
        value,
    }
}

fn explicit_histogram(point: &HistogramDataPoint) -> Common<'_> {
    let value = || {
        let (bounds, counts) = (&point.explicit_bounds, &point.bucket_counts);
        if !(counts.is_empty() && bounds.is_empty()) && counts.len() != bounds.len() + 1 {
            return Err(format!(
                "it has {} bucket counts for {} bounds, expected one more",
                counts.len(),
                bounds.len()
            ));
        }
        if !bounds.iter().all(|b| b.is_finite()) || bounds.windows(2).any(|w| w[0] >= w[1]) {
            return Err("its bounds are not ascending finite numbers".to_owned());
        }
        Ok(PointValue::Histogram {
            count: point.count,
            sum: finite_option("sum", point.sum)?,
            min: finite_option("min", point.min)?,
            max: finite_option("max", point.max)?,
            bounds: bounds.clone(),
            counts: counts.clone(),
        })
    };
    Common {
        attributes: &point.attributes,
        start: point.start_time_unix_nano,
        time: point.time_unix_nano,
        exemplars: &point.exemplars,
        value: if point.flags & NO_RECORDED_VALUE != 0 { Ok(no_value()) } else { value() },
    }
}

fn exponential_histogram(point: &ExponentialHistogramDataPoint) -> Common<'_> {
    let buckets = |buckets: &Option<Buckets>| {
        let buckets = buckets.as_ref();
        ExponentialBuckets {
            offset: buckets.map_or(0, |b| b.offset),
            counts: buckets.map(|b| b.bucket_counts.clone()).unwrap_or_default(),
        }
    };
    let value = || {
        if !(-10..=20).contains(&point.scale) {
            return Err(format!("its scale {} is outside -10 to 20", point.scale));
        }
        Ok(PointValue::ExponentialHistogram {
            count: point.count,
            sum: finite_option("sum", point.sum)?,
            min: finite_option("min", point.min)?,
            max: finite_option("max", point.max)?,
            scale: point.scale,
            zero_count: point.zero_count,
            positive: buckets(&point.positive),
            negative: buckets(&point.negative),
        })
    };
    Common {
        attributes: &point.attributes,
        start: point.start_time_unix_nano,
        time: point.time_unix_nano,
        exemplars: &point.exemplars,
        value: if point.flags & NO_RECORDED_VALUE != 0 { Ok(no_value()) } else { value() },
    }
}

fn quantile_summary(point: &SummaryDataPoint) -> Common<'_> {
    let value = || {
        let mut quantiles = Vec::with_capacity(point.quantile_values.len());
        for at in &point.quantile_values {
            if !(0.0..=1.0).contains(&at.quantile) {
                return Err(format!("its quantile {} is outside 0 to 1", at.quantile));
            }
            // Prometheus clients send NaN for a quantile without observations.
            if !at.value.is_nan() {
                quantiles.push((at.quantile, finite("quantile value", at.value)?));
            }
        }
        quantiles.sort_by(|a, b| a.0.total_cmp(&b.0));
        Ok(PointValue::Summary { count: point.count, sum: finite("sum", point.sum)?, quantiles })
    };
    Common {
        attributes: &point.attributes,
        start: point.start_time_unix_nano,
        time: point.time_unix_nano,
        exemplars: &[],
        value: if point.flags & NO_RECORDED_VALUE != 0 { Ok(no_value()) } else { value() },
    }
}

fn finite(what: &str, value: f64) -> Result<f64, String> {
    if value.is_finite() { Ok(value) } else { Err(format!("its {what} is {value}, expected a finite number")) }
}

fn finite_option(what: &str, value: Option<f64>) -> Result<Option<f64>, String> {
    value.map(|v| finite(what, v)).transpose()
}
