//! Values that clients bind, text or binary, as parameters of a statement.

use crate::dialect::split_array;
use crate::error::QueryError;
use crate::{Parameter, ParameterType};
use ::pgwire::api::Type;
use ::pgwire::api::portal::Format;
use chrono::{DateTime, NaiveDate, SecondsFormat};
use std::fmt::Write;
use whence_schema::EventId;

const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// Elements of an array parameter.
const MAX_ELEMENTS: usize = 65_536;

/// True if `position` is bound in binary form.
pub(super) fn is_binary(format: &Format, position: usize) -> bool {
    match format {
        Format::UnifiedText => false,
        Format::UnifiedBinary => true,
        Format::Individual(codes) => codes.get(position).is_some_and(|code| *code == 1),
    }
}

/// The value of the parameter at `position` (counted from 0), which is of `wire` type.
pub(super) fn decode(
    position: usize,
    wire: &Type,
    binary: bool,
    value: Option<&[u8]>,
) -> Result<Parameter, QueryError> {
    let Some(bytes) = value else { return Ok(Parameter::Null) };
    let result = if binary { decode_binary(wire, bytes) } else { decode_text(wire, bytes) };
    result.map_err(|problem| QueryError::Parameter { position: position + 1, problem })
}

fn decode_text(wire: &Type, bytes: &[u8]) -> Result<Parameter, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "its bytes are not UTF-8".to_owned())?;
    let bad =
        || format!("invalid input syntax for type {}: \"{}\"", wire.name(), text.chars().take(64).collect::<String>());
    Ok(match *wire {
        Type::BOOL => match text.trim().to_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "on" | "1" => Parameter::Boolean(true),
            "f" | "false" | "n" | "no" | "off" | "0" => Parameter::Boolean(false),
            _ => return Err(bad()),
        },
        Type::INT2 | Type::INT4 | Type::INT8 | Type::OID => Parameter::Integer(text.trim().parse().map_err(|_| bad())?),
        Type::FLOAT4 | Type::FLOAT8 => Parameter::Float(text.trim().parse().map_err(|_| bad())?),
        Type::NUMERIC => {
            let digits = text.trim();
            let number = digits.parse::<f64>().is_ok_and(f64::is_finite);
            let plain = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-'));
            match (number, plain) {
                (true, true) => Parameter::Number(digits.to_owned()),
                (true, false) => Parameter::Float(digits.parse().map_err(|_| bad())?),
                _ => return Err(bad()),
            }
        }
        Type::BYTEA => match text.strip_prefix("\\x") {
            Some(digits) => Parameter::Bytes(hex(digits).ok_or_else(bad)?),
            None => Parameter::Bytes(bytes.to_vec()),
        },
        Type::TIMESTAMPTZ => Parameter::Typed(ParameterType::TimestampTz, text.to_owned()),
        Type::TIMESTAMP => Parameter::Typed(ParameterType::Timestamp, text.to_owned()),
        Type::DATE => Parameter::Typed(ParameterType::Date, text.to_owned()),
        Type::TIME => Parameter::Typed(ParameterType::Time, text.to_owned()),
        Type::INTERVAL => Parameter::Typed(ParameterType::Interval, text.to_owned()),
        _ => match element_type(wire) {
            Some(element) => Parameter::Array(typed(&element, array_of_text(&element, text).ok_or_else(bad)??)),
            None => Parameter::Text(text.to_owned()),
        },
    })
}

fn decode_binary(wire: &Type, bytes: &[u8]) -> Result<Parameter, String> {
    let bad = || format!("{} bytes are no binary {}", bytes.len(), wire.name());
    let text = || std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| bad());
    Ok(match *wire {
        Type::BOOL => Parameter::Boolean(fixed::<1>(bytes).ok_or_else(bad)?[0] != 0),
        Type::INT2 => Parameter::Integer(i16::from_be_bytes(fixed(bytes).ok_or_else(bad)?).into()),
        Type::INT4 => Parameter::Integer(i32::from_be_bytes(fixed(bytes).ok_or_else(bad)?).into()),
        Type::OID => Parameter::Integer(u32::from_be_bytes(fixed(bytes).ok_or_else(bad)?).into()),
        Type::INT8 => Parameter::Integer(i64::from_be_bytes(fixed(bytes).ok_or_else(bad)?)),
        Type::FLOAT4 => Parameter::Float(f32::from_be_bytes(fixed(bytes).ok_or_else(bad)?).into()),
        Type::FLOAT8 => Parameter::Float(f64::from_be_bytes(fixed(bytes).ok_or_else(bad)?)),
        Type::NUMERIC => Parameter::Number(numeric(bytes).ok_or_else(bad)?),
        Type::BYTEA => Parameter::Bytes(bytes.to_vec()),
        Type::UUID => Parameter::Text(EventId(u128::from_be_bytes(fixed(bytes).ok_or_else(bad)?)).to_string()),
        Type::REGCLASS | Type::REGTYPE | Type::REGPROC | Type::REGNAMESPACE | Type::REGROLE if bytes.len() == 4 => {
            Parameter::Integer(u32::from_be_bytes(fixed(bytes).ok_or_else(bad)?).into())
        }
        Type::JSONB => match bytes.split_first() {
            Some((1, rest)) => Parameter::Text(String::from_utf8(rest.to_vec()).map_err(|_| bad())?),
            _ => return Err(bad()),
        },
        Type::TIMESTAMPTZ | Type::TIMESTAMP => {
            let micros = i64::from_be_bytes(fixed(bytes).ok_or_else(bad)?);
            let time = micros.checked_add(EPOCH_MICROS).and_then(DateTime::from_timestamp_micros).ok_or_else(bad)?;
            let kind = if *wire == Type::TIMESTAMP { ParameterType::Timestamp } else { ParameterType::TimestampTz };
            let text = time.to_rfc3339_opts(SecondsFormat::Micros, true);
            Parameter::Typed(kind, if *wire == Type::TIMESTAMP { text.replace('Z', "") } else { text })
        }
        Type::DATE => {
            let days = i32::from_be_bytes(fixed(bytes).ok_or_else(bad)?);
            let start = NaiveDate::from_ymd_opt(2000, 1, 1).ok_or_else(bad)?;
            let day = start.checked_add_signed(chrono::TimeDelta::days(days.into())).ok_or_else(bad)?;
            Parameter::Typed(ParameterType::Date, day.to_string())
        }
        Type::TIME => {
            let mut text = String::new();
            crate::serve::text::time(&mut text, i64::from_be_bytes(fixed(bytes).ok_or_else(bad)?));
            Parameter::Typed(ParameterType::Time, text)
        }
        Type::INTERVAL => {
            let (micros, rest) = bytes.split_first_chunk::<8>().ok_or_else(bad)?;
            let (days, months) = rest.split_first_chunk::<4>().ok_or_else(bad)?;
            let months = i32::from_be_bytes(fixed(months).ok_or_else(bad)?);
            let (days, micros) = (i32::from_be_bytes(*days), i64::from_be_bytes(*micros));
            Parameter::Typed(ParameterType::Interval, format!("{months} months {days} days {micros} microseconds"))
        }
        _ => match element_type(wire) {
            Some(element) => Parameter::Array(typed(&element, binary_array(bytes).ok_or_else(bad)??)),
            None => Parameter::Text(text()?),
        },
    })
}

fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2));
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

fn element_type(wire: &Type) -> Option<Type> {
    Some(match *wire {
        Type::BOOL_ARRAY => Type::BOOL,
        Type::INT2_ARRAY => Type::INT2,
        Type::INT4_ARRAY => Type::INT4,
        Type::INT8_ARRAY => Type::INT8,
        Type::OID_ARRAY => Type::OID,
        Type::FLOAT4_ARRAY => Type::FLOAT4,
        Type::FLOAT8_ARRAY => Type::FLOAT8,
        Type::NUMERIC_ARRAY => Type::NUMERIC,
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::NAME_ARRAY | Type::BPCHAR_ARRAY => Type::TEXT,
        Type::UUID_ARRAY => Type::UUID,
        Type::TIMESTAMPTZ_ARRAY => Type::TIMESTAMPTZ,
        Type::TIMESTAMP_ARRAY => Type::TIMESTAMP,
        Type::DATE_ARRAY => Type::DATE,
        Type::TIME_ARRAY => Type::TIME,
        Type::INTERVAL_ARRAY => Type::INTERVAL,
        Type::BYTEA_ARRAY => Type::BYTEA,
        Type::JSON_ARRAY => Type::JSON,
        Type::JSONB_ARRAY => Type::JSONB,
        _ => return None,
    })
}

/// Elements that are UUIDs say so: a list of texts is not made one of UUIDs later.
fn typed(element: &Type, items: Vec<Parameter>) -> Vec<Parameter> {
    let uuid = |item| match item {
        Parameter::Text(text) => Parameter::Typed(ParameterType::Uuid, text),
        other => other,
    };
    if *element == Type::UUID { items.into_iter().map(uuid).collect() } else { items }
}

/// PostgreSQL's binary numeric: digits of base 10,000.
fn numeric(bytes: &[u8]) -> Option<String> {
    let short = |at: usize| Some(i16::from_be_bytes(fixed(bytes.get(at..at + 2)?)?));
    let (count, weight, sign, scale) = (short(0)?, short(2)?, short(4)? as u16, short(6)?);
    if !(sign == 0 || sign == 0x4000) || !(0..=1_000).contains(&scale) || !(0..=1_000).contains(&count) {
        return None;
    }
    let digit = |index: i32| -> Option<i16> {
        let index = usize::try_from(index).ok();
        index.filter(|i| *i < count as usize).map_or(Some(0), |i| short(8 + i * 2))
    };
    let mut whole = String::new();
    for index in 0..=i32::from(weight) {
        let _ = write!(whole, "{:04}", digit(index)?);
    }
    let whole = whole.trim_start_matches('0');
    let mut text = String::from(if sign == 0 { "" } else { "-" });
    text.push_str(if whole.is_empty() { "0" } else { whole });
    let mut fraction = String::new();
    let mut index = i32::from(weight) + 1;
    while fraction.len() < scale as usize {
        let _ = write!(fraction, "{:04}", if index < 0 { 0 } else { digit(index)? });
        index += 1;
    }
    fraction.truncate(scale as usize);
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(&fraction);
    }
    Some(text)
}

fn array_of_text(element: &Type, text: &str) -> Option<Result<Vec<Parameter>, String>> {
    let item = |item: Option<String>| item.map_or(Ok(Parameter::Null), |item| decode_text(element, item.as_bytes()));
    Some(split_array(text)?.into_iter().map(item).collect())
}

/// One dimension: dimensions, has nulls, element type, length, lower bound, then length and value of each.
fn binary_array(bytes: &[u8]) -> Option<Result<Vec<Parameter>, String>> {
    let int = |at: usize| Some(i32::from_be_bytes(fixed(bytes.get(at..at + 4)?)?));
    let element = Type::from_oid(u32::try_from(int(8)?).ok()?)?;
    match int(0)? {
        0 => return Some(Ok(Vec::new())),
        1 => {}
        _ => return None,
    }
    let count = usize::try_from(int(12)?).ok().filter(|count| *count <= MAX_ELEMENTS)?;
    let mut at = 20;
    let mut items = Vec::new();
    for _ in 0..count {
        let length = int(at)?;
        at += 4;
        match usize::try_from(length) {
            Ok(length) => {
                match decode_binary(&element, bytes.get(at..at.checked_add(length)?)?) {
                    Ok(item) => items.push(item),
                    Err(problem) => return Some(Err(problem)),
                }
                at += length;
            }
            Err(_) => items.push(Parameter::Null),
        }
    }
    Some(Ok(items))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_read_the_same_from_text_and_from_binary() {
        let id = "aaaaaaaa-aaaa-aaaa-0123-456789abcdef";
        let uuid: EventId = id.parse().unwrap();
        assert_eq!(decode_binary(&Type::UUID, &uuid.to_bytes()), Ok(Parameter::Text(id.to_owned())));
        assert_eq!(decode_text(&Type::INT4, b"42"), decode_binary(&Type::INT4, &42_i32.to_be_bytes()));
        assert_eq!(decode_text(&Type::BOOL, b"t"), decode_binary(&Type::BOOL, &[1]));
        let time = decode_binary(&Type::TIMESTAMPTZ, &0_i64.to_be_bytes()).unwrap();
        assert_eq!(time, Parameter::Typed(ParameterType::TimestampTz, "2000-01-01T00:00:00.000000Z".to_owned()));
        // 12345.67: weight 1, digits 1, 2345, 6700, scale 2.
        let digits: Vec<u8> = [3_i16, 1, 0, 2, 1, 2345, 6700].iter().flat_map(|d| d.to_be_bytes()).collect();
        assert_eq!(decode_binary(&Type::NUMERIC, &digits), Ok(Parameter::Number("12345.67".to_owned())));
    }

    #[test]
    fn what_does_not_read_is_an_error_and_never_a_panic() {
        for wire in
            [Type::INT4, Type::UUID, Type::NUMERIC, Type::INTERVAL, Type::TIMESTAMPTZ, Type::INT4_ARRAY, Type::JSONB]
        {
            for length in 0..24 {
                let _ = decode_binary(&wire, &vec![0xff; length]);
                let _ = decode_text(&wire, &vec![b'{'; length]);
            }
        }
        assert!(decode(0, &Type::INT4, false, Some(b"x")).is_err());
    }
}
