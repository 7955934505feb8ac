//! Just enough protobuf to write OTLP messages byte by byte (also wrong ones) and to read a `google.rpc.Status`.
//!
//! Field numbers are those of `opentelemetry/proto/*/v1/*.proto`, version 1.11.

/// A message under construction.
#[derive(Default, Clone)]
pub(crate) struct Message(pub Vec<u8>);

impl Message {
    /// A length-delimited field: bytes, text or a message.
    pub(crate) fn bytes(mut self, field: u32, value: impl AsRef<[u8]>) -> Self {
        self.varint_raw(u64::from(field << 3 | 2));
        self.varint_raw(value.as_ref().len() as u64);
        self.0.extend_from_slice(value.as_ref());
        self
    }

    /// A message as a field.
    pub(crate) fn message(self, field: u32, value: &Message) -> Self {
        self.bytes(field, &value.0)
    }

    /// An integer or enum field.
    pub(crate) fn varint(mut self, field: u32, value: u64) -> Self {
        self.varint_raw(u64::from(field << 3));
        self.varint_raw(value);
        self
    }

    /// A `fixed64` field.
    pub(crate) fn fixed(mut self, field: u32, value: u64) -> Self {
        self.varint_raw(u64::from(field << 3 | 1));
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A `double` field.
    pub(crate) fn double(self, field: u32, value: f64) -> Self {
        self.fixed(field, value.to_bits())
    }

    fn varint_raw(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// `KeyValue` with a text value.
pub(crate) fn attribute(key: &str, value: &str) -> Message {
    Message::default().bytes(1, key).message(2, &Message::default().bytes(1, value))
}

/// `Span` with the given ids (of any length), from `start` for a millisecond.
pub(crate) fn span(trace: &[u8], id: &[u8], name: &str, start: u64) -> Message {
    Message::default()
        .bytes(1, trace)
        .bytes(2, id)
        .bytes(5, name)
        .varint(6, 2)
        .fixed(7, start)
        .fixed(8, start + 1_000_000)
}

/// `LogRecord` of severity INFO.
pub(crate) fn log(body: &str, time: u64) -> Message {
    Message::default().fixed(1, time).varint(2, 9).message(5, &Message::default().bytes(1, body)).fixed(11, time)
}

/// A gauge `Metric` with one point for each value.
pub(crate) fn gauge(name: &str, values: &[f64], time: u64) -> Message {
    let points = values.iter().fold(Message::default(), |points, value| {
        points.message(1, &Message::default().fixed(3, time).double(4, *value))
    });
    Message::default().bytes(1, name).message(5, &points)
}

/// An `Export*ServiceRequest` with one resource, one scope and the given spans, log records or metrics.
pub(crate) fn export_request(service: &str, items: &[Message]) -> Vec<u8> {
    let resource = Message::default().message(1, &attribute("service.name", service));
    let scope =
        items.iter().fold(Message::default().message(1, &Message::default().bytes(1, "test")), |scope, item| {
            scope.message(2, item)
        });
    Message::default().message(1, &Message::default().message(1, &resource).message(2, &scope)).0
}

/// The value of one field.
#[derive(Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, in order; `None` when the bytes are not protobuf.
pub(crate) fn fields(mut bytes: &[u8]) -> Option<Vec<(u32, Value<'_>)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = take_varint(&mut bytes)?;
        let value = match tag & 7 {
            0 => Value::Number(take_varint(&mut bytes)?),
            1 => Value::Number(u64::from_le_bytes(take(&mut bytes, 8)?.try_into().ok()?)),
            2 => {
                let length = take_varint(&mut bytes)?;
                Value::Bytes(take(&mut bytes, length as usize)?)
            }
            _ => return None,
        };
        fields.push(((tag >> 3) as u32, value));
    }
    Some(fields)
}

/// Code and message of a `google.rpc.Status`.
pub(crate) fn status(bytes: &[u8]) -> Option<(u64, String)> {
    let fields = fields(bytes)?;
    let code = fields.iter().find_map(|(field, value)| match value {
        Value::Number(code) if *field == 1 => Some(*code),
        _ => None,
    });
    Some((code?, text_field(&fields, 2)?))
}

/// Rejected count and message of the `partial_success` of an `Export*ServiceResponse`; `None` when it is not set.
pub(crate) fn partial_success(bytes: &[u8]) -> Option<(u64, String)> {
    let outer = fields(bytes)?;
    let inner = outer.iter().find_map(|(field, value)| match value {
        Value::Bytes(bytes) if *field == 1 => fields(bytes),
        _ => None,
    })?;
    let rejected = inner.iter().find_map(|(field, value)| match value {
        Value::Number(number) if *field == 1 => Some(*number),
        _ => None,
    });
    Some((rejected.unwrap_or(0), text_field(&inner, 2).unwrap_or_default()))
}

fn text_field(fields: &[(u32, Value<'_>)], wanted: u32) -> Option<String> {
    fields.iter().find_map(|(field, value)| match value {
        Value::Bytes(bytes) if *field == wanted => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    })
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.first()?;
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(length)?;
    *bytes = tail;
    Some(head)
}
