//! Metrics: a description, and data points yet to be read.

use super::value::Attribute;
use crate::protobuf::{Fields, Utf8, WireError};

/// `Metric`, with the kind of data it has.
#[derive(Debug, Default)]
pub(crate) struct Metric<'a> {
    pub(crate) name: Utf8<'a>,
    pub(crate) unit: Utf8<'a>,
    /// `None` when there is no data, and so no point.
    pub(crate) kind: Option<MetricKind>,
    pub(crate) aggregation_temporality: i32,
    pub(crate) is_monotonic: bool,
    points: Vec<&'a [u8]>,
    depth: u8,
}

/// Which member of `Metric.data` was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetricKind {
    Gauge,
    Sum,
    Histogram,
    ExponentialHistogram,
    Summary,
}

impl MetricKind {
    fn of_field(number: u32) -> Option<Self> {
        Some(match number {
            5 => Self::Gauge,
            7 => Self::Sum,
            9 => Self::Histogram,
            10 => Self::ExponentialHistogram,
            11 => Self::Summary,
            _ => return None,
        })
    }

    fn message(self) -> &'static str {
        match self {
            Self::Gauge => "Gauge",
            Self::Sum => "Sum",
            Self::Histogram => "Histogram",
            Self::ExponentialHistogram => "ExponentialHistogram",
            Self::Summary => "Summary",
        }
    }

    /// Whether points are totals since a start or of an interval is part of the data.
    fn has_temporality(self) -> bool {
        matches!(self, Self::Sum | Self::Histogram | Self::ExponentialHistogram)
    }
}

impl<'a> Metric<'a> {
    /// Becomes the metric that `fields` are of.
    pub(crate) fn read(&mut self, mut fields: Fields<'a>) -> Result<(), WireError> {
        let mut points = std::mem::take(&mut self.points);
        points.clear();
        *self = Self { points, ..Self::default() };
        while let Some(field) = fields.next_field()? {
            match (field.number, MetricKind::of_field(field.number)) {
                (1, _) => self.name = fields.text(field)?,
                (2, _) => drop(fields.text(field)?),
                (3, _) => self.unit = fields.text(field)?,
                (12, _) => Attribute::check(&fields, field)?,
                (_, Some(kind)) => {
                    // Of two kinds the last one counts and of one kind sent twice the points are joined, neither of
                    // which anybody does.
                    if self.kind.replace(kind).is_some() {
                        return Err(fields.parts(field));
                    }
                    self.read_data(kind, fields.message(field, kind.message())?)?;
                }
                _ => fields.unknown(field)?,
            }
        }
        Ok(())
    }

    fn read_data(&mut self, kind: MetricKind, mut fields: Fields<'a>) -> Result<(), WireError> {
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => {
                    let point = fields.message(field, "data point")?;
                    self.depth = point.depth();
                    self.points.push(point.bytes_left());
                }
                2 if kind.has_temporality() => self.aggregation_temporality = fields.integer(field)? as i32,
                3 if kind == MetricKind::Sum => self.is_monotonic = fields.integer(field)? != 0,
                _ => fields.unknown(field)?,
            }
        }
        Ok(())
    }

    pub(crate) fn points(&self) -> impl Iterator<Item = Fields<'a>> {
        self.points.iter().map(|point| Fields::nested(point, "data point", self.depth))
    }
}
