//! Attributes to JSON text, without a tree in between.

use crate::otlp::{AnyValue, Attribute, items_of, members_of};
use crate::protobuf::Utf8;

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

    #[inline]
    pub(super) fn key<'t>(&mut self, key: impl Into<Utf8<'t>>) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        write_string(self.out, key.into());
        self.out.push(b':');
        self.out
    }

    pub(super) fn text_unless_empty(&mut self, key: &'static str, value: Utf8<'_>) {
        if !value.is_empty() {
            write_string(self.key(key), value);
        }
    }

    pub(super) fn number_unless_zero(&mut self, key: &'static str, value: u32) {
        if value != 0 {
            write_integer(self.key(key), i64::from(value));
        }
    }

    pub(super) fn members(&mut self, attributes: &[Attribute<'_>]) {
        for attribute in attributes {
            write_value(self.key(attribute.key), attribute.value, 0);
        }
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }
}

/// Appends `attributes` as one JSON object.
pub(super) fn write_object(out: &mut Vec<u8>, attributes: &[Attribute<'_>]) {
    let mut object = ObjectWriter::begin(out);
    object.members(attributes);
    object.end();
}

#[inline]
pub(super) fn write_value(out: &mut Vec<u8>, value: AnyValue<'_>, depth: usize) {
    match value {
        AnyValue::Empty | AnyValue::Index => out.extend_from_slice(b"null"),
        AnyValue::Text(text) => write_string(out, text),
        AnyValue::Boolean(true) => out.extend_from_slice(b"true"),
        AnyValue::Boolean(false) => out.extend_from_slice(b"false"),
        AnyValue::Integer(number) => write_integer(out, number),
        AnyValue::Double(number) => write_double(out, number),
        AnyValue::Bytes(bytes) => {
            out.push(b'"');
            write_base64(out, bytes);
            out.push(b'"');
        }
        AnyValue::Array(_) | AnyValue::List(_) => write_nested(out, value, depth),
    }
}

fn write_nested(out: &mut Vec<u8>, value: AnyValue<'_>, depth: usize) {
    match value {
        AnyValue::Array(values) if depth < MAX_DEPTH => {
            out.push(b'[');
            for (i, item) in items_of(values).enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_value(out, item, depth + 1);
            }
            out.push(b']');
        }
        AnyValue::List(members) if depth < MAX_DEPTH => {
            let mut object = ObjectWriter::begin(out);
            for member in members_of(members) {
                write_value(object.key(member.key), member.value, depth + 1);
            }
            object.end();
        }
        _ => out.extend_from_slice(b"null"),
    }
}

#[inline]
pub(super) fn write_string(out: &mut Vec<u8>, text: Utf8<'_>) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    if needs_escape(bytes) {
        write_escaped(out, bytes);
    } else {
        out.extend_from_slice(bytes);
    }
    out.push(b'"');
}

/// Eight bytes at a time: control characters, quotes and backslashes are what JSON cannot hold as they are.
#[inline]
fn needs_escape(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // The high bit of a byte comes out set if the byte is less than `limit`, which is at most 128.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGH;
    let is = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let special = |word: u64| below(word, 0x20) | is(word, b'"') | is(word, b'\\');
    let (words, rest) = bytes.as_chunks::<8>();
    let mut found = words.iter().fold(0, |found, word| found | special(u64::from_le_bytes(*word)));
    if !rest.is_empty() {
        let mut last = [b' '; 8];
        last[..rest.len()].copy_from_slice(rest);
        found |= special(u64::from_le_bytes(last));
    }
    found != 0
}

#[inline(never)]
fn write_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            8 => out.extend_from_slice(b"\\b"),
            9 => out.extend_from_slice(b"\\t"),
            10 => out.extend_from_slice(b"\\n"),
            12 => out.extend_from_slice(b"\\f"),
            13 => out.extend_from_slice(b"\\r"),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                hex(out, &[*byte]);
            }
            _ => out.push(*byte),
        }
    }
}

/// Writing to memory cannot fail.
fn write_integer(out: &mut Vec<u8>, number: i64) {
    let _ = serde_json::to_writer(out, &number);
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

fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
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
pub(super) fn text<'a>(attributes: &[Attribute<'a>], key: &str) -> Option<Utf8<'a>> {
    match attributes.iter().find(|a| a.key.as_bytes() == key.as_bytes())?.value {
        AnyValue::Text(text) if !text.is_empty() => Some(text),
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
    use crate::protobuf::Fields;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::common::v1::{self as proto, ArrayValue, KeyValue, KeyValueList};
    use prost::Message;

    fn written(value: &proto::AnyValue) -> String {
        let bytes = value.encode_to_vec();
        let mut out = Vec::new();
        write_value(&mut out, AnyValue::read(Fields::of_request(&bytes, "AnyValue")).unwrap(), 0);
        String::from_utf8(out).unwrap()
    }

    fn attribute(key: &str, value: Value) -> KeyValue {
        KeyValue { key: key.into(), value: Some(proto::AnyValue { value: Some(value) }), ..Default::default() }
    }

    #[test]
    fn every_kind_of_value_becomes_valid_json() {
        let list = KeyValueList { values: vec![attribute("k", Value::BoolValue(true))] };
        let array = ArrayValue {
            values: vec![proto::AnyValue { value: Some(Value::IntValue(i64::MIN)) }, proto::AnyValue { value: None }],
        };
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
        let list = KeyValueList { values: attributes.to_vec() };
        let text = written(&proto::AnyValue { value: Some(Value::KvlistValue(list)) });
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
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
        let mut value = proto::AnyValue { value: Some(Value::IntValue(1)) };
        for _ in 0..40 {
            value = proto::AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![value] })) };
        }
        assert_eq!(written(&value), format!("{}null{}", "[".repeat(32), "]".repeat(32)));
    }

    proptest::proptest! {
        /// Text is escaped exactly as `serde_json` does, wherever the character stands that needs it.
        #[test]
        fn texts_are_escaped_as_serde_json_does(text in "(\\PC|[\\x00-\\x7f]|é){0,24}") {
            let mut out = Vec::new();
            write_string(&mut out, Utf8::from(text.as_str()));
            proptest::prop_assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&text).unwrap());
        }
    }
}
