//! Data points of all kinds.

use super::metric::MetricKind;
use super::value::Attribute;
use crate::protobuf::{Field, Fields, WireError, zigzag};

/// A data point: the fields that all kinds have, and those of its kind.
#[derive(Debug, Default)]
pub(crate) struct DataPoint<'a> {
    pub(crate) attributes: Vec<Attribute<'a>>,
    /// Nanoseconds since 1970; 0 when not sent.
    pub(crate) start: u64,
    /// Nanoseconds since 1970; 0 when not sent.
    pub(crate) time: u64,
    pub(crate) flags: u32,
    pub(crate) exemplars: Vec<Exemplar<'a>>,
    pub(crate) number: Option<Number>,
    pub(crate) count: u64,
    pub(crate) sum: Option<f64>,
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    pub(crate) bounds: Vec<f64>,
    pub(crate) counts: Vec<u64>,
    pub(crate) scale: i32,
    pub(crate) zero_count: u64,
    pub(crate) positive: Buckets,
    pub(crate) negative: Buckets,
    /// Quantile and value.
    pub(crate) quantiles: Vec<(f64, f64)>,
}

/// `NumberDataPoint.value`
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Double(f64),
    Integer(i64),
}

/// `ExponentialHistogramDataPoint.Buckets`
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    pub(crate) offset: i32,
    pub(crate) counts: Vec<u64>,
    seen: bool,
}

/// `Exemplar`, as far as it names a span.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Exemplar<'a> {
    pub(crate) trace_id: &'a [u8],
    pub(crate) span_id: &'a [u8],
    /// Nanoseconds since 1970; 0 when not sent.
    pub(crate) time: u64,
}

impl Buckets {
    fn clear(&mut self) {
        (self.offset, self.seen) = (0, false);
        self.counts.clear();
    }

    fn read(&mut self, point: &Fields<'_>, field: Field<'_>) -> Result<(), WireError> {
        if std::mem::replace(&mut self.seen, true) {
            return Err(point.parts(field));
        }
        let mut fields = point.message(field, "Buckets")?;
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => self.offset = zigzag(fields.integer(field)?),
                2 => fields.integer_values(field, |count| self.counts.push(count))?,
                _ => fields.unknown(field)?,
            }
        }
        Ok(())
    }
}

impl<'a> DataPoint<'a> {
    fn clear(&mut self) {
        (self.start, self.time, self.flags, self.count) = (0, 0, 0, 0);
        (self.number, self.sum, self.min, self.max) = (None, None, None, None);
        (self.scale, self.zero_count) = (0, 0);
        self.attributes.clear();
        self.exemplars.clear();
        self.bounds.clear();
        self.counts.clear();
        self.positive.clear();
        self.negative.clear();
        self.quantiles.clear();
    }

    /// Becomes the point of a metric of `kind` that `fields` are of.
    pub(crate) fn read(&mut self, kind: MetricKind, mut fields: Fields<'a>) -> Result<(), WireError> {
        self.clear();
        while let Some(field) = fields.next_field()? {
            match (field.number, kind) {
                // The same in all kinds.
                (2, _) => self.start = fields.fixed64(field)?,
                (3, _) => self.time = fields.fixed64(field)?,
                (_, MetricKind::Gauge | MetricKind::Sum) => self.read_number(&fields, field)?,
                (_, MetricKind::Histogram) => self.read_histogram(&fields, field)?,
                (_, MetricKind::ExponentialHistogram) => self.read_exponential(&fields, field)?,
                (_, MetricKind::Summary) => self.read_summary(&fields, field)?,
            }
        }
        Ok(())
    }

    fn read_number(&mut self, fields: &Fields<'a>, field: Field<'a>) -> Result<(), WireError> {
        match field.number {
            4 => self.number = Some(Number::Double(fields.double(field)?)),
            5 => self.read_exemplar(fields.message(field, "Exemplar")?)?,
            6 => self.number = Some(Number::Integer(fields.fixed64(field)? as i64)),
            7 => Attribute::push(&mut self.attributes, fields, field)?,
            8 => self.flags = fields.integer(field)? as u32,
            _ => fields.unknown(field)?,
        }
        Ok(())
    }

    fn read_histogram(&mut self, fields: &Fields<'a>, field: Field<'a>) -> Result<(), WireError> {
        match field.number {
            4 => self.count = fields.fixed64(field)?,
            5 => self.sum = Some(fields.double(field)?),
            6 => fields.fixed64_values(field, |count| self.counts.push(count))?,
            7 => fields.fixed64_values(field, |bound| self.bounds.push(f64::from_bits(bound)))?,
            8 => self.read_exemplar(fields.message(field, "Exemplar")?)?,
            9 => Attribute::push(&mut self.attributes, fields, field)?,
            10 => self.flags = fields.integer(field)? as u32,
            11 => self.min = Some(fields.double(field)?),
            12 => self.max = Some(fields.double(field)?),
            _ => fields.unknown(field)?,
        }
        Ok(())
    }

    fn read_exponential(&mut self, fields: &Fields<'a>, field: Field<'a>) -> Result<(), WireError> {
        match field.number {
            1 => Attribute::push(&mut self.attributes, fields, field)?,
            4 => self.count = fields.fixed64(field)?,
            5 => self.sum = Some(fields.double(field)?),
            6 => self.scale = zigzag(fields.integer(field)?),
            7 => self.zero_count = fields.fixed64(field)?,
            8 => self.positive.read(fields, field)?,
            9 => self.negative.read(fields, field)?,
            10 => self.flags = fields.integer(field)? as u32,
            11 => self.read_exemplar(fields.message(field, "Exemplar")?)?,
            12 => self.min = Some(fields.double(field)?),
            13 => self.max = Some(fields.double(field)?),
            14 => drop(fields.double(field)?),
            _ => fields.unknown(field)?,
        }
        Ok(())
    }

    fn read_summary(&mut self, fields: &Fields<'a>, field: Field<'a>) -> Result<(), WireError> {
        match field.number {
            4 => self.count = fields.fixed64(field)?,
            5 => self.sum = Some(fields.double(field)?),
            6 => {
                let mut at = (0.0, 0.0);
                let mut fields = fields.message(field, "ValueAtQuantile")?;
                while let Some(field) = fields.next_field()? {
                    match field.number {
                        1 => at.0 = fields.double(field)?,
                        2 => at.1 = fields.double(field)?,
                        _ => fields.unknown(field)?,
                    }
                }
                self.quantiles.push(at);
            }
            7 => Attribute::push(&mut self.attributes, fields, field)?,
            8 => self.flags = fields.integer(field)? as u32,
            _ => fields.unknown(field)?,
        }
        Ok(())
    }

    fn read_exemplar(&mut self, mut fields: Fields<'a>) -> Result<(), WireError> {
        let mut exemplar = Exemplar::default();
        while let Some(field) = fields.next_field()? {
            match field.number {
                2 => exemplar.time = fields.fixed64(field)?,
                3 | 6 => drop(fields.fixed64(field)?),
                4 => exemplar.span_id = fields.bytes(field)?,
                5 => exemplar.trace_id = fields.bytes(field)?,
                7 => Attribute::check(&fields, field)?,
                _ => fields.unknown(field)?,
            }
        }
        self.exemplars.push(exemplar);
        Ok(())
    }
}
