//! Attributes to JSON text, without a tree in between.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use std::io::Write;

/// Values nested deeper than this are written as null: no sender needs it, and a reader's stack is finite.
const MAX_DEPTH: usize = 32;

/// Writes a JSON object member by member.
pub(super) struct ObjectWriter<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> ObjectWriter<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    pub(super) fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        write_string(self.out, key);
        self.out.push(b':');
        self.out
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        write_string(self.key(key), value);
    }

    pub(super) fn text_unless_empty(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.text(key, value);
        }
    }

    pub(super) fn number_unless_zero(&mut self, key: &str, value: u64) {
        if value != 0 {
            write_integer(self.key(key), value);
        }
    }

    pub(super) fn members(&mut self, attributes: &[KeyValue]) {
        for attribute in attributes {
            let out = self.key(&attribute.key);
            write_value(out, attribute.value.as_ref(), 0);
        }
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }
}

/// Appends `attributes` as one JSON object.
pub(super) fn write_object(out: &mut Vec<u8>, attributes: &[KeyValue]) {
    let mut object = ObjectWriter::begin(out);
    object.members(attributes);
    object.end();
}

pub(super) fn write_value(out: &mut Vec<u8>, value: Option<&AnyValue>, depth: usize) {
    match value.and_then(|v| v.value.as_ref()) {
        None | Some(Value::StringValueStrindex(_)) => out.extend_from_slice(b"null"),
        Some(Value::StringValue(text)) => write_string(out, text),
        Some(Value::BoolValue(true)) => out.extend_from_slice(b"true"),
        Some(Value::BoolValue(false)) => out.extend_from_slice(b"false"),
        Some(Value::IntValue(number)) => write_integer(out, *number),
        Some(Value::DoubleValue(number)) => write_double(out, *number),
        Some(Value::BytesValue(bytes)) => {
            out.push(b'"');
            write_base64(out, bytes);
            out.push(b'"');
        }
        Some(Value::ArrayValue(_) | Value::KvlistValue(_)) if depth >= MAX_DEPTH => out.extend_from_slice(b"null"),
        Some(Value::ArrayValue(array)) => {
            out.push(b'[');
            for (i, item) in array.values.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_value(out, Some(item), depth + 1);
            }
            out.push(b']');
        }
        Some(Value::KvlistValue(list)) => {
            let mut object = ObjectWriter::begin(out);
            for item in &list.values {
                write_value(object.key(&item.key), item.value.as_ref(), depth + 1);
            }
            object.end();
        }
    }
}

/// Writing to memory cannot fail.
pub(super) fn write_string(out: &mut Vec<u8>, text: &str) {
    let _ = serde_json::to_writer(out, text);
}

fn write_integer(out: &mut Vec<u8>, number: impl std::fmt::Display) {
    let _ = write!(out, "{number}");
}

/// JSON has no NaN and no infinities: they become the texts that OTLP's own JSON mapping uses.
fn write_double(out: &mut Vec<u8>, number: f64) {
    if number.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if number.is_infinite() {
        out.extend_from_slice(if number > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" });
    } else {
        let _ = serde_json::to_writer(out, &number);
    }
}

pub(super) fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0u32, |word, (i, byte)| word | u32::from(*byte) << (16 - 8 * i));
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() { digit } else { b'=' });
        }
    }
}

/// The text of attribute `key`, when it is there and a text.
pub(super) fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    match attributes.iter().find(|a| a.key == key)?.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

pub(super) fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};

    fn attribute(key: &str, value: Value) -> KeyValue {
        KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
    }

    #[test]
    fn every_kind_of_value_becomes_valid_json() {
        let list = KeyValueList { values: vec![attribute("k", Value::BoolValue(true))] };
        let array =
            ArrayValue { values: vec![AnyValue { value: Some(Value::IntValue(i64::MIN)) }, AnyValue { value: None }] };
        let attributes = [
            attribute("text \"quoted\"\n", Value::StringValue("\u{0}\u{1f600}".into())),
            attribute("nan", Value::DoubleValue(f64::NAN)),
            attribute("inf", Value::DoubleValue(f64::NEG_INFINITY)),
            attribute("double", Value::DoubleValue(0.1)),
            attribute("bytes", Value::BytesValue(b"light w".to_vec())),
            attribute("array", Value::ArrayValue(array)),
            attribute("list", Value::KvlistValue(list)),
            KeyValue { key: "empty".into(), ..Default::default() },
        ];
        let mut out = Vec::new();
        write_object(&mut out, &attributes);
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            read,
            serde_json::json!({
                "text \"quoted\"\n": "\u{0}\u{1f600}", "nan": "NaN", "inf": "-Infinity", "double": 0.1,
                "bytes": "bGlnaHQgdw==", "array": [i64::MIN, null], "list": {"k": true}, "empty": null
            })
        );
    }

    #[test]
    fn nesting_beyond_the_limit_is_cut_not_followed() {
        let mut value = AnyValue { value: Some(Value::IntValue(1)) };
        for _ in 0..100 {
            value = AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![value] })) };
        }
        let mut out = Vec::new();
        write_value(&mut out, Some(&value), 0);
        let text = format!("{}null{}", "[".repeat(32), "]".repeat(32));
        assert_eq!(out, text.as_bytes());
    }
}
