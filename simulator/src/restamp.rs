//! Makes an encoded request unique in place: new ids, new times, and cumulative values that went on.
//!
//! All of these have a fixed width in OTLP's protobuf encoding (ids are byte strings of 16 and 8, times, counts and
//! values are fixed64 or double), so changing them moves nothing. The body is walked once, when a template is made.

use crate::random::MILLISECOND;
use bytes::Bytes;

/// The time of the first round of data points; later rounds follow in steps of [`ROUND`]. See [`Scaled`].
pub(crate) const EPOCH: u64 = 1_700_000_000_000_000_000;
/// Time between two rounds of data points in templates.
pub(crate) const ROUND: u64 = MILLISECOND;

/// What a field of a message is to the walk; fields that are not listed are skipped.
#[derive(Clone, Copy)]
enum Field {
    Message(Schema),
    /// A data point, whose time says its round.
    Point(Schema),
    /// A `Sum` or `Histogram`, whose data points are read with the schema of its temporality.
    Aggregation {
        delta: Schema,
        cumulative: Schema,
        monotonic: Schema,
    },
    TraceId,
    SpanId,
    Time,
    /// fixed64 that grows from round to round.
    Count,
    /// Packed fixed64 that grow from round to round.
    Counts,
    /// double that grows from round to round.
    Amount,
}

type Schema = &'static [(u64, Field)];

const TRACES: Schema = &[(1, Field::Message(&[(2, Field::Message(&[(2, Field::Message(SPAN))]))]))];
const LOGS: Schema = &[(1, Field::Message(&[(2, Field::Message(&[(2, Field::Message(LOG_RECORD))]))]))];
const METRICS: Schema = &[(1, Field::Message(&[(2, Field::Message(&[(2, Field::Message(METRIC))]))]))];

const SPAN: Schema = &[
    (1, Field::TraceId),
    (2, Field::SpanId),
    (4, Field::SpanId), // the parent
    (7, Field::Time),
    (8, Field::Time),
    (11, Field::Message(&[(1, Field::Time)])),
    (13, Field::Message(&[(1, Field::TraceId), (2, Field::SpanId)])),
];
const LOG_RECORD: Schema = &[(1, Field::Time), (9, Field::TraceId), (10, Field::SpanId), (11, Field::Time)];
const EXEMPLAR: Field = Field::Message(&[(2, Field::Time), (4, Field::SpanId), (5, Field::TraceId)]);

/// The start time of cumulative points stays what it is: it is when the load began.
const NUMBER: Schema = &[(1, Field::Point(&[(3, Field::Time), (5, EXEMPLAR)]))];
const NUMBER_DELTA: Schema = &[(1, Field::Point(&[(2, Field::Time), (3, Field::Time), (5, EXEMPLAR)]))];
const NUMBER_GROWING: Schema =
    &[(1, Field::Point(&[(3, Field::Time), (4, Field::Amount), (5, EXEMPLAR), (6, Field::Count)]))];
const HISTOGRAM_DELTA: Schema = &[(1, Field::Point(&[(2, Field::Time), (3, Field::Time), (8, EXEMPLAR)]))];
const HISTOGRAM_GROWING: Schema =
    &[(1, Field::Point(&[(3, Field::Time), (4, Field::Count), (5, Field::Amount), (6, Field::Counts), (8, EXEMPLAR)]))];
const METRIC: Schema = &[
    (5, Field::Message(NUMBER)),
    (7, Field::Aggregation { delta: NUMBER_DELTA, cumulative: NUMBER, monotonic: NUMBER_GROWING }),
    (9, Field::Aggregation { delta: HISTOGRAM_DELTA, cumulative: HISTOGRAM_GROWING, monotonic: HISTOGRAM_GROWING }),
];

/// A value that grows: the template has its growth in one round, and a request that times the number of rounds.
#[derive(Clone, Copy)]
struct Scaled {
    offset: u32,
    /// The round of the data point in its cycle, from its time.
    round: u32,
    is_double: bool,
}

/// How a request differs from its template.
pub(crate) struct Stamp {
    pub(crate) trace_mask: [u64; 2],
    pub(crate) span_mask: u64,
    /// The time that the latest event gets.
    pub(crate) base_unix_nanos: u64,
    /// Rounds of data points before this cycle.
    pub(crate) rounds_before: u64,
}

/// An encoded request and the places in it that a stamp changes, as offsets.
#[derive(Default)]
pub(crate) struct Template {
    body: Vec<u8>,
    trace_ids: Vec<u32>,
    span_ids: Vec<u32>,
    times: Vec<u32>,
    growing: Vec<Scaled>,
    latest: u64,
}

impl Template {
    pub(crate) fn traces(body: &[u8]) -> Self {
        Self::new(body, TRACES)
    }

    pub(crate) fn logs(body: &[u8]) -> Self {
        Self::new(body, LOGS)
    }

    pub(crate) fn metrics(body: &[u8]) -> Self {
        Self::new(body, METRICS)
    }

    fn new(body: &[u8], schema: Schema) -> Self {
        let mut template = Template::default();
        let walked = template.walk(Cursor { bytes: body, at: 0, end: body.len() }, schema, 0);
        debug_assert!(walked.is_some(), "an encoder's own output decodes");
        template.latest = template.times.iter().map(|&offset| read(body, offset)).max().unwrap_or(0);
        template.body = body.to_vec();
        template
    }

    /// A copy of the body with everything changed that the stamp says.
    pub(crate) fn restamp(&self, stamp: &Stamp) -> Bytes {
        let mut body = self.body.clone();
        let shift = stamp.base_unix_nanos.wrapping_sub(self.latest);
        for &offset in &self.trace_ids {
            change(&mut body, offset, |half| half ^ stamp.trace_mask[0]);
            change(&mut body, offset + 8, |half| half ^ stamp.trace_mask[1]);
        }
        for &offset in &self.span_ids {
            change(&mut body, offset, |id| id ^ stamp.span_mask);
        }
        for &offset in &self.times {
            change(&mut body, offset, |time| time.wrapping_add(shift));
        }
        for &Scaled { offset, round, is_double } in &self.growing {
            let rounds = stamp.rounds_before + u64::from(round) + 1;
            change(&mut body, offset, |value| {
                if is_double { (f64::from_bits(value) * rounds as f64).to_bits() } else { value.wrapping_mul(rounds) }
            });
        }
        body.into()
    }

    /// Remembers the places in one message. `None` where the bytes are not what the schema says.
    fn walk(&mut self, message: Cursor<'_>, schema: Schema, round: u32) -> Option<()> {
        let mut cursor = message;
        while let Some((number, value)) = cursor.field()? {
            let Some((_, field)) = schema.iter().find(|(listed, _)| *listed == number) else { continue };
            let offset = value.at as u32;
            let grows = |offset, is_double| Scaled { offset, round, is_double };
            match field {
                Field::Message(schema) => self.walk(value, schema, round)?,
                Field::Point(schema) => self.walk(value, schema, value.round()?)?,
                Field::Aggregation { delta, cumulative, monotonic } => {
                    let schema = match (value.integer(2), value.integer(3)) {
                        (Some(2), Some(1)) => monotonic,
                        (Some(2), _) => cumulative,
                        _ => delta,
                    };
                    self.walk(value, schema, round)?;
                }
                Field::TraceId if value.len() == 16 => self.trace_ids.push(offset),
                Field::SpanId if value.len() == 8 => self.span_ids.push(offset),
                Field::Time if value.len() == 8 => self.times.push(offset),
                Field::Count if value.len() == 8 => self.growing.push(grows(offset, false)),
                Field::Amount if value.len() == 8 => self.growing.push(grows(offset, true)),
                Field::Counts => {
                    self.growing.extend((offset..value.end as u32).step_by(8).map(|offset| grows(offset, false)));
                }
                // An empty id: a root span's parent, a record outside spans.
                _ => {}
            }
        }
        Some(())
    }
}

fn read(body: &[u8], offset: u32) -> u64 {
    let bytes = body.get(offset as usize..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn change(body: &mut [u8], offset: u32, to: impl Fn(u64) -> u64) {
    if let Some(bytes) = body.get_mut(offset as usize..).and_then(|rest| rest.first_chunk_mut()) {
        *bytes = to(u64::from_le_bytes(*bytes)).to_le_bytes();
    }
}

/// A message or a value inside an encoded body.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl Cursor<'_> {
    fn len(&self) -> usize {
        self.end - self.at
    }

    /// The next field's number and value, `Some(None)` at the end, `None` if the bytes are not protobuf.
    fn field(&mut self) -> Option<Option<(u64, Self)>> {
        if self.at >= self.end {
            return Some(None);
        }
        let tag = self.varint()?;
        let length = match tag & 7 {
            0 => {
                let mut after = *self;
                after.varint()?;
                after.at - self.at
            }
            1 => 8,
            2 => usize::try_from(self.varint()?).ok()?,
            5 => 4,
            _ => return None,
        };
        let end = self.at.checked_add(length).filter(|end| *end <= self.end)?;
        let value = Cursor { bytes: self.bytes, at: self.at, end };
        self.at = end;
        Some(Some((tag >> 3, value)))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).filter(|_| self.at < self.end)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// The value of a varint field of this message.
    fn integer(mut self, number: u64) -> Option<u64> {
        while let Some((found, mut value)) = self.field()? {
            if found == number {
                return value.varint();
            }
        }
        None
    }

    /// The round of this data point, from its time: field 3 in all kinds of points.
    fn round(mut self) -> Option<u32> {
        while let Some((number, value)) = self.field()? {
            if number == 3 && value.len() == 8 {
                let time = read(self.bytes, value.at as u32);
                return u32::try_from(time.saturating_sub(EPOCH) / ROUND).ok();
            }
        }
        None
    }
}
