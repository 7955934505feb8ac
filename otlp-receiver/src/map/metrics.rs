//! Data points to series and values. Putting them into buckets is the store's part, since cumulative values need the
//! series' past.

use super::attributes::{ObjectWriter, write_value};
use super::resource::ResourceRows;
use super::spans::short;
use super::{Mapped, Request};
use crate::otlp::{
    Attribute, Buckets, DataPoint, Envelope, Layout, Metric, MetricKind, Number, ResourceItems, ScopeItems,
};
use crate::protobuf::{Utf8, WireError};
use crate::rejection::Rejections;
use hashbrown::HashMap;
use whence_schema::{
    EventId, ExemplarLink, ExponentialBuckets, MetricPoint, MetricPoints, MetricType, PointValue, Rows, Series,
    SeriesId, SpanId, TraceId, UnixNanos,
};
use xxhash_rust::xxh3::xxh3_128;

const CUMULATIVE: i32 = 2;
/// `DataPointFlags.NO_RECORDED_VALUE_MASK`: the series has stopped; there is a point but no value.
const NO_RECORDED_VALUE: u32 = 1;

const LAYOUT: Layout = Layout {
    request: "ExportMetricsServiceRequest",
    resource: "ResourceMetrics",
    scope: "ScopeMetrics",
    item: "Metric",
};

pub(super) fn map(request: &Request<'_>, body: &[u8], rejections: &mut Rejections) -> Result<Mapped, WireError> {
    let mut mapping = MetricMapping {
        request,
        points: MetricPoints::default(),
        series: HashMap::new(),
        key: Vec::with_capacity(512),
        sorted: Vec::new(),
    };
    let mut envelope = Envelope::new(body, &LAYOUT);
    let (mut resource, mut scope) = (ResourceItems::default(), ScopeItems::default());
    let (mut metric, mut point) = (Metric::default(), DataPoint::default());
    let (mut assets, mut received) = (Vec::new(), 0);
    while envelope.next_resource(&mut resource)? {
        let described = ResourceRows::new(&resource.attributes);
        let identifying: Vec<Attribute<'_>> = described.identifying().copied().collect();
        let before = mapping.points.points.len();
        for scope_fields in &resource.scopes {
            envelope.read_scope(&resource, scope_fields, &mut scope)?;
            for item in &scope.items {
                metric.read(envelope.item(&scope, item))?;
                let Some(described) = Described::new(&described, &identifying, &metric) else { continue };
                mapping.begin_metric(&described);
                for point_fields in metric.points() {
                    point.read(described.kind, point_fields)?;
                    received += 1;
                    if let Err(reason) = mapping.push(&described, &point) {
                        rejections.add(|| format!("data point of '{}': {reason}", short(metric.name)));
                    }
                }
            }
        }
        if let Some(last_seen) = mapping.points.points[before..].iter().map(|p| p.timestamp).max() {
            assets.push(described.sighting(last_seen));
        }
    }
    mapping.points.points.shrink_to_fit();
    Ok(Mapped { received, rows: Rows::Metrics(mapping.points), assets })
}

struct MetricMapping<'a, 'body> {
    request: &'a Request<'a>,
    points: MetricPoints,
    series: HashMap<SeriesId, u32>,
    /// What the next series' id is the hash of, part by part behind one another.
    key: Vec<u8>,
    sorted: Vec<Attribute<'body>>,
}

/// What the points of one metric share.
struct Described<'a, 'body> {
    asset_id: Utf8<'body>,
    /// Resource attributes that are dimensions of each point.
    identifying: &'a [Attribute<'body>],
    name: Utf8<'body>,
    unit: Utf8<'body>,
    kind: MetricKind,
    metric_type: MetricType,
    cumulative: bool,
}

impl<'a, 'body> Described<'a, 'body> {
    /// `None` for a metric without data.
    fn new(
        resource: &ResourceRows<'_, 'body>,
        identifying: &'a [Attribute<'body>],
        metric: &Metric<'body>,
    ) -> Option<Self> {
        let kind = metric.kind?;
        let total = metric.aggregation_temporality == CUMULATIVE;
        let (metric_type, cumulative) = match kind {
            MetricKind::Gauge => (MetricType::Gauge, false),
            // A sum that can fall is a level, and its value is what counts, as with a gauge.
            MetricKind::Sum => (MetricType::Sum, total && metric.is_monotonic),
            MetricKind::Histogram => (MetricType::Histogram, total),
            MetricKind::ExponentialHistogram => (MetricType::ExponentialHistogram, total),
            MetricKind::Summary => (MetricType::Summary, false),
        };
        let (name, unit) = (metric.name, metric.unit);
        Some(Self { asset_id: resource.asset_id, identifying, name, unit, kind, metric_type, cumulative })
    }

    /// The parts of a series' key that its points share.
    fn parts(&self) -> [&'body [u8]; 4] {
        [self.asset_id.as_bytes(), self.name.as_bytes(), self.unit.as_bytes(), self.metric_type.as_str().as_bytes()]
    }
}

impl<'body> MetricMapping<'_, 'body> {
    fn begin_metric(&mut self, described: &Described<'_, 'body>) {
        self.key.clear();
        for part in described.parts() {
            self.key.extend_from_slice(part);
            self.key.push(0);
        }
    }

    fn push(&mut self, described: &Described<'_, 'body>, point: &DataPoint<'body>) -> Result<(), String> {
        let timestamp = self.request.time(point.time, self.request.received_at)?;
        let value = value(described.kind, point)?;
        let series = self.series_index(described, &point.attributes);
        let id = self.points.series[series as usize].id;
        for exemplar in &point.exemplars {
            let (Some(trace), Some(span)) =
                (TraceId::from_slice(exemplar.trace_id), SpanId::from_slice(exemplar.span_id))
            else {
                continue;
            };
            let bucket = timestamp.bucket();
            self.points.exemplars.push(ExemplarLink {
                trace,
                span,
                timestamp: self.request.time(exemplar.time, timestamp).unwrap_or(timestamp),
                metric_row: EventId::of_metric_row(id, bucket.micros()),
                bucket,
            });
        }
        // A start that cannot be right only means that the first point has no known past.
        let start = UnixNanos(i64::try_from(point.start).unwrap_or(0));
        self.points.points.push(MetricPoint { series, timestamp, start, cumulative: described.cumulative, value });
        Ok(())
    }

    /// The series of a point with these attributes; the parts of its key that the metric shares are in place.
    fn series_index(&mut self, described: &Described<'_, 'body>, attributes: &[Attribute<'body>]) -> u32 {
        let shared = self.key.len();
        self.write_dimensions(described.identifying, attributes);
        self.key.push(0);
        let id = SeriesId(xxh3_128(&self.key));
        let next = self.points.series.len() as u32;
        let series = *self.series.entry(id).or_insert_with(|| {
            let dimensions = std::str::from_utf8(&self.key[shared..self.key.len() - 1]).unwrap_or_default();
            self.points.series.push(Series {
                id,
                asset_id: described.asset_id.as_str().to_owned(),
                metric_type: described.metric_type,
                metric_name: described.name.as_str().to_owned(),
                unit: described.unit.as_str().to_owned(),
                dimensions: dimensions.to_owned(),
            });
            next
        });
        self.key.truncate(shared);
        series
    }

    /// Point attributes and identifying resource attributes with sorted keys, so that their order makes no second series.
    fn write_dimensions(&mut self, identifying: &[Attribute<'body>], attributes: &[Attribute<'body>]) {
        self.sorted.clear();
        self.sorted.extend_from_slice(attributes);
        self.sorted.extend_from_slice(identifying);
        self.sorted.sort_by(|a, b| a.key.cmp(&b.key));
        // A point's own attribute wins over the resource's of the same name: it comes first and the sort is stable.
        self.sorted.dedup_by(|later, first| later.key == first.key);
        let mut object = ObjectWriter::begin(&mut self.key);
        for attribute in &self.sorted {
            write_value(object.key(attribute.key), attribute.value, 0);
        }
        object.end();
    }
}

/// What the point says, or why that cannot be.
fn value(kind: MetricKind, point: &DataPoint<'_>) -> Result<PointValue, String> {
    if point.flags & NO_RECORDED_VALUE != 0 {
        // A point that says "no value here" is stored as a point without values.
        return Ok(PointValue::Summary { count: 0, sum: 0.0, quantiles: Vec::new() });
    }
    match kind {
        MetricKind::Gauge | MetricKind::Sum => match point.number {
            Some(Number::Double(value)) => finite("value", value).map(PointValue::Number),
            Some(Number::Integer(value)) => Ok(PointValue::Number(value as f64)),
            None => Err("it has no value".to_owned()),
        },
        MetricKind::Histogram => explicit_histogram(point),
        MetricKind::ExponentialHistogram => exponential_histogram(point),
        MetricKind::Summary => quantile_summary(point),
    }
}

fn explicit_histogram(point: &DataPoint<'_>) -> Result<PointValue, String> {
    let (bounds, counts) = (&point.bounds, &point.counts);
    if !(counts.is_empty() && bounds.is_empty()) && counts.len() != bounds.len() + 1 {
        let (counts, bounds) = (counts.len(), bounds.len());
        return Err(format!("it has {counts} bucket counts for {bounds} bounds, expected one more"));
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
}

fn exponential_histogram(point: &DataPoint<'_>) -> Result<PointValue, String> {
    if !(-10..=20).contains(&point.scale) {
        return Err(format!("its scale {} is outside -10 to 20", point.scale));
    }
    let buckets = |b: &Buckets| ExponentialBuckets { offset: b.offset, counts: b.counts.clone() };
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
}

fn quantile_summary(point: &DataPoint<'_>) -> Result<PointValue, String> {
    let mut quantiles = Vec::with_capacity(point.quantiles.len());
    for (quantile, value) in &point.quantiles {
        if !(0.0..=1.0).contains(quantile) {
            return Err(format!("its quantile {quantile} is outside 0 to 1"));
        }
        // Prometheus clients send NaN for a quantile without observations.
        if !value.is_nan() {
            quantiles.push((*quantile, finite("quantile value", *value)?));
        }
    }
    quantiles.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(PointValue::Summary { count: point.count, sum: finite("sum", point.sum.unwrap_or(0.0))?, quantiles })
}

fn finite(what: &str, value: f64) -> Result<f64, String> {
    if value.is_finite() { Ok(value) } else { Err(format!("its {what} is {value}, expected a finite number")) }
}

fn finite_option(what: &str, value: Option<f64>) -> Result<Option<f64>, String> {
    value.map(|v| finite(what, v)).transpose()
}
