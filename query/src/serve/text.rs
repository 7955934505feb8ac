//! Values in PostgreSQL's text form.

use crate::error::QueryError;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, UInt64Type,
};
use chrono::{DateTime, Datelike, Timelike};
use std::fmt::{Display, Write};
use whence_schema::EventId;

/// Few types to encode: times in microseconds, no dictionaries.
pub(crate) fn plain(column: &ArrayRef) -> Result<ArrayRef, QueryError> {
    let to = match column.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => return Ok(column.clone()),
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Dictionary(_, values) => values.as_ref().clone(),
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Date64 => DataType::Date32,
        DataType::Duration(_) => DataType::Duration(TimeUnit::Microsecond),
        DataType::Interval(_) => DataType::Interval(IntervalUnit::MonthDayNano),
        // Arrays of no type have no marks for their nulls.
        DataType::Null => DataType::Utf8,
        DataType::LargeUtf8 => DataType::Utf8View,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Float16 => DataType::Float32,
        _ => return Ok(column.clone()),
    };
    Ok(cast(column, &to)?)
}

/// The value at `row`, which is not null, of a [`plain`] column; false if its type is not one of the common ones.
pub(crate) fn value(out: &mut String, column: &ArrayRef, row: usize) -> bool {
    match column.data_type() {
        DataType::Utf8 => out.push_str(column.as_string::<i32>().value(row)),
        DataType::Utf8View => out.push_str(column.as_string_view().value(row)),
        DataType::UInt64 => integer(out, column.as_primitive::<UInt64Type>().value(row)),
        DataType::Boolean => out.push(if column.as_boolean().value(row) { 't' } else { 'f' }),
        DataType::Int8 => integer(out, column.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => integer(out, column.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => integer(out, column.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => integer(out, column.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => {
            let value = column.as_primitive::<Float32Type>().value(row);
            float(out, f64::from(value), |out, scientific| {
                if scientific { append(out, format_args!("{value:e}")) } else { append(out, value) }
            });
        }
        DataType::Float64 => {
            let value = column.as_primitive::<Float64Type>().value(row);
            float(
                out,
                value,
                |out, scientific| {
                    if scientific { append(out, format_args!("{value:e}")) } else { append(out, value) }
                },
            );
        }
        DataType::Timestamp(_, zone) => {
            timestamp(out, column.as_primitive::<TimestampMicrosecondType>().value(row), zone.is_some());
        }
        DataType::Date32 => date(out, column.as_primitive::<Date32Type>().value(row)),
        DataType::Time64(_) => time(out, column.as_primitive::<Time64MicrosecondType>().value(row)),
        DataType::Interval(_) => interval(out, column.as_primitive::<IntervalMonthDayNanoType>().value(row)),
        DataType::Duration(_) => interval(out, of_duration(column, row)),
        DataType::FixedSizeBinary(_) => {
            let value = column.as_fixed_size_binary().value(row);
            match <[u8; 16]>::try_from(value) {
                Ok(id) => EventId(u128::from_be_bytes(id)).push_to(out),
                Err(_) => bytes(out, value),
            }
        }
        DataType::Binary => bytes(out, column.as_binary::<i32>().value(row)),
        DataType::List(_) => return plain(&column.as_list::<i32>().value(row)).is_ok_and(|items| array(out, &items)),
        _ => return false,
    }
    true
}

/// An array as `{a,"b c",NULL}`; false if its items are not of the common types.
fn array(out: &mut String, items: &ArrayRef) -> bool {
    let start = out.len();
    let mut text = String::new();
    out.push('{');
    for position in 0..items.len() {
        out.push_str(if position == 0 { "" } else { "," });
        if items.is_null(position) {
            out.push_str("NULL");
            continue;
        }
        text.clear();
        if !value(&mut text, items, position) {
            out.truncate(start);
            return false;
        }
        let nested = matches!(items.data_type(), DataType::List(_));
        let special = |c: char| matches!(c, '{' | '}' | ',' | '"' | '\\') || c.is_whitespace();
        if nested || !(text.is_empty() || text.eq_ignore_ascii_case("null") || text.contains(special)) {
            out.push_str(&text);
        } else {
            let _ = write!(out, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        }
    }
    out.push('}');
    true
}

fn integer(out: &mut String, value: impl itoa::Integer) {
    out.push_str(itoa::Buffer::new().format(value));
}

/// Writing to a text cannot fail.
fn append(out: &mut String, value: impl Display) {
    let _ = write!(out, "{value}");
}

/// A duration as an interval: whole days, then hours, as the difference of two times is in PostgreSQL.
pub(super) fn of_duration(column: &ArrayRef, row: usize) -> IntervalMonthDayNano {
    const DAY: i64 = 86_400_000_000;
    let micros = column.as_primitive::<DurationMicrosecondType>().value(row);
    let days = i32::try_from(micros / DAY).unwrap_or(if micros > 0 { i32::MAX } else { i32::MIN });
    IntervalMonthDayNano::new(0, days, micros % DAY * 1_000)
}

/// A point in time; `zone` adds `+00`.
fn timestamp(out: &mut String, micros: i64, zone: bool) {
    match DateTime::from_timestamp_micros(micros) {
        Some(time) => {
            let (year, era) = if time.year() > 0 { (time.year(), "") } else { (1 - time.year(), " BC") };
            match year {
                ..10_000 => digits::<4>(out, i64::from(year)),
                _ => append(out, year),
            }
            out.push('-');
            digits::<2>(out, time.month().into());
            out.push('-');
            digits::<2>(out, time.day().into());
            out.push(' ');
            clock(
                out,
                time.hour().into(),
                time.minute().into(),
                time.second().into(),
                time.timestamp_subsec_micros().into(),
            );
            out.push_str(if zone { "+00" } else { "" });
            out.push_str(era);
        }
        None => out.push_str(if micros > 0 { "infinity" } else { "-infinity" }),
    }
}

/// A time of day.
pub(super) fn time(out: &mut String, micros: i64) {
    let seconds = micros / 1_000_000;
    clock(out, seconds / 3_600, seconds / 60 % 60, seconds % 60, micros % 1_000_000);
}

fn clock(out: &mut String, hours: i64, minutes: i64, seconds: i64, micros: i64) {
    match hours {
        0..100 => digits::<2>(out, hours),
        _ => append(out, hours),
    }
    out.push(':');
    digits::<2>(out, minutes);
    out.push(':');
    digits::<2>(out, seconds);
    if micros != 0 {
        out.push('.');
        digits::<6>(out, micros);
        out.truncate(out.trim_end_matches('0').len());
    }
}

/// The last `N` decimal digits of a number that is not negative. Times are written by the thousand, and formatting
/// takes its time.
fn digits<const N: usize>(out: &mut String, mut number: i64) {
    let mut text = [b'0'; N];
    for digit in text.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    out.push_str(std::str::from_utf8(&text).unwrap_or_default());
}

/// A day, counted from 1970-01-01.
fn date(out: &mut String, days: i32) {
    if matches!(days, i32::MAX | i32::MIN) {
        return out.push_str(if days > 0 { "infinity" } else { "-infinity" });
    }
    let mut text = String::new();
    timestamp(&mut text, i64::from(days) * 86_400_000_000, false);
    out.push_str(&text.replacen(" 00:00:00", "", 1));
}

/// An interval, in the style `postgres`.
fn interval(out: &mut String, interval: IntervalMonthDayNano) {
    let start = out.len();
    // What follows something negative says that it is positive.
    let mut after_negative = false;
    let mut part = |count: i32, one: &str, many: &str| {
        if count != 0 {
            let space = if out.len() > start { " " } else { "" };
            let sign = if after_negative && count > 0 { "+" } else { "" };
            let _ = write!(out, "{space}{sign}{count} {}", if count == 1 { one } else { many });
            after_negative = count < 0;
        }
    };
    part(interval.months / 12, "year", "years");
    part(interval.months % 12, "mon", "mons");
    part(interval.days, "day", "days");
    let micros = interval.nanoseconds / 1_000;
    if micros != 0 || out.len() == start {
        if out.len() > start {
            out.push(' ');
        }
        if micros < 0 {
            out.push('-');
        } else if after_negative {
            out.push('+');
        }
        time(out, micros.saturating_abs());
    }
}

/// A floating-point number: the shortest digits that read back the same.
fn float(out: &mut String, value: f64, shortest: impl Fn(&mut String, bool)) {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    } else {
        let magnitude = value.abs();
        let scientific = magnitude != 0.0 && !(1e-4..1e15).contains(&magnitude);
        let start = out.len();
        shortest(out, scientific);
        if scientific && let Some(at) = out[start..].find('e').map(|at| start + at) {
            let exponent: i32 = out[at + 1..].parse().unwrap_or_default();
            out.truncate(at);
            let _ = write!(out, "e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
        }
    }
}

/// Bytes as `\x0123`.
fn bytes(out: &mut String, bytes: &[u8]) {
    out.push_str("\\x");
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl Fn(&mut String)) -> String {
        let mut out = String::new();
        write(&mut out);
        out
    }

    #[test]
    fn values_look_as_postgresql_shows_them() {
        assert_eq!(text(|o| timestamp(o, 1_674_981_669_120_000, true)), "2023-01-29 08:41:09.12+00");
        assert_eq!(text(|o| timestamp(o, -1, false)), "1969-12-31 23:59:59.999999");
        assert_eq!(text(|o| date(o, 19_386)), "2023-01-29");
        assert_eq!(text(|o| time(o, 3_723_000_001)), "01:02:03.000001");
        let of = |months, days, nanos| text(|o| interval(o, IntervalMonthDayNano::new(months, days, nanos)));
        assert_eq!(of(0, 0, 60_000_000_000), "00:01:00");
        assert_eq!(of(14, 3, 14_706_789_000_000), "1 year 2 mons 3 days 04:05:06.789");
        assert_eq!(of(0, -1, -1_000_000_000), "-1 days -00:00:01");
        assert_eq!(of(0, 0, 0), "00:00:00");
        let number = |value: f64| {
            text(|o| {
                float(o, value, |o, scientific| {
                    let _ = if scientific { write!(o, "{value:e}") } else { write!(o, "{value}") };
                });
            })
        };
        assert_eq!(
            [0.1, 1.0, 1e300, 1.5e-7, f64::NAN, -f64::INFINITY, 0.0].map(number),
            ["0.1", "1", "1e+300", "1.5e-07", "NaN", "-Infinity", "0"]
        );
        assert_eq!(text(|o| bytes(o, &[0, 255])), "\\x00ff");
    }
}
