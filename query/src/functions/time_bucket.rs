//! `time_bucket(width, time [, origin | offset])` with TimescaleDB's meaning: buckets of fixed width are counted from
//! Monday 2000-01-03 00:00 UTC, buckets of months from 2000-01-01. Days are 24 hours: there is no zone but UTC.

use super::is_text;
use crate::error::QueryError;
use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::compute::kernels::cast_utils::{parse_interval_month_day_nano, string_to_timestamp_nanos};
use arrow::datatypes::{
    ArrowTimestampType, DataType, Int64Type, IntervalMonthDayNano, IntervalUnit, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use chrono::{DateTime, Datelike, NaiveDate, Utc};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;
use whence_schema::tables::timestamp_type;

/// 2000-01-03, a Monday, in nanoseconds.
const MONDAY: i128 = 946_857_600_000_000_000;
const DAY: i128 = 86_400_000_000_000;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct TimeBucket {
    signature: Signature,
}

impl Default for TimeBucket {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

/// Width of a bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Width {
    Nanos(i128),
    Months(i32),
}

/// Where buckets are counted from, or by how much they are moved.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Start {
    Default,
    Origin(i128),
    Offset(i128),
}

impl ScalarUDFImpl for TimeBucket {
    fn name(&self) -> &str {
        "time_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [_, time, ..] => Ok(time.clone()),
            _ => plan_err!("time_bucket needs a width and a time"),
        }
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let ([width, time] | [width, time, _]) = arg_types else {
            return plan_err!("No function matches time_bucket with {} arguments", arg_types.len());
        };
        if width.is_integer() && time.is_integer() {
            return Ok(vec![DataType::Int64; arg_types.len()]);
        }
        let width = match width {
            text if is_text(text) => text.clone(),
            DataType::Interval(_) | DataType::Duration(_) | DataType::Null => {
                DataType::Interval(IntervalUnit::MonthDayNano)
            }
            other => return plan_err!("No function matches time_bucket({other}, ..): the width is an interval"),
        };
        let time = match time {
            DataType::Timestamp(..) => time.clone(),
            DataType::Date32 | DataType::Date64 | DataType::Null => timestamp_type(),
            text if is_text(text) => timestamp_type(),
            other => return plan_err!("No function matches time_bucket(.., {other}): the time is a timestamp"),
        };
        let mut types = vec![width, time];
        if let Some(third) = arg_types.get(2) {
            types.push(match third {
                text if is_text(text) => text.clone(),
                DataType::Interval(_) | DataType::Duration(_) => DataType::Interval(IntervalUnit::MonthDayNano),
                _ => DataType::Timestamp(TimeUnit::Nanosecond, Some(Arc::from("UTC"))),
            });
        }
        Ok(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let time = args.args[1].to_array(args.number_rows)?;
        let ColumnarValue::Scalar(width) = &args.args[0] else {
            return exec_err!("time_bucket: the width must be the same for all rows");
        };
        if width.is_null() {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from(time.data_type())?));
        }
        if let ScalarValue::Int64(Some(width)) = width {
            let offset = args.args.get(2).map(integer).transpose()?.unwrap_or(0);
            return integers(&time, *width, offset);
        }
        let width = width_of(width)?;
        let start = args.args.get(2).map(start_of).transpose()?.unwrap_or(Start::Default);
        let result = match time.data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => bucket::<TimestampSecondType>(&time, width, start)?,
            DataType::Timestamp(TimeUnit::Millisecond, _) => bucket::<TimestampMillisecondType>(&time, width, start)?,
            DataType::Timestamp(TimeUnit::Microsecond, _) => bucket::<TimestampMicrosecondType>(&time, width, start)?,
            DataType::Timestamp(TimeUnit::Nanosecond, _) => bucket::<TimestampNanosecondType>(&time, width, start)?,
            other => return exec_err!("time_bucket of {other}"),
        };
        match &args.args[1] {
            ColumnarValue::Scalar(_) => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            ColumnarValue::Array(_) => Ok(ColumnarValue::Array(result)),
        }
    }
}

fn bucket<T: ArrowTimestampType>(time: &ArrayRef, width: Width, start: Start) -> Result<ArrayRef> {
    let unit: i128 = match T::UNIT {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    };
    let times = time.as_primitive::<T>();
    let at = |value: i64| -> Option<i64> {
        let nanos = i128::from(value) * unit;
        let start = match width {
            Width::Nanos(width) => fixed(nanos, width, start),
            Width::Months(months) => calendar(nanos, months, start)?,
        };
        i64::try_from(start.div_euclid(unit)).ok()
    };
    let result: PrimitiveArray<T> = times.unary_opt(at);
    Ok(Arc::new(result.with_data_type(time.data_type().clone())))
}

/// Start of the bucket of fixed width, in nanoseconds.
fn fixed(nanos: i128, width: i128, start: Start) -> i128 {
    let origin = match start {
        Start::Default => MONDAY,
        Start::Origin(origin) => origin,
        Start::Offset(offset) => MONDAY + offset,
    };
    nanos - (nanos - origin).rem_euclid(width)
}

/// Start of the bucket of whole months, in nanoseconds; `None` outside of the calendar.
fn calendar(nanos: i128, months: i32, start: Start) -> Option<i128> {
    let (origin, offset) = match start {
        Start::Default => (None, 0),
        Start::Origin(origin) => (Some(origin), 0),
        Start::Offset(offset) => (None, offset),
    };
    let month_of = |nanos: i128| -> Option<i64> {
        let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
        let day = DateTime::<Utc>::from_timestamp(seconds, 0)?;
        Some(i64::from(day.year()) * 12 + i64::from(day.month0()))
    };
    let origin_month = match origin {
        Some(origin) => month_of(origin)?,
        None => 2000 * 12,
    };
    let month = month_of(nanos - offset)?;
    let first = month - (month - origin_month).rem_euclid(i64::from(months));
    let year = i32::try_from(first.div_euclid(12)).ok()?;
    let day = NaiveDate::from_ymd_opt(year, u32::try_from(first.rem_euclid(12)).ok()? + 1, 1)?;
    let midnight = i128::from(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp()) * 1_000_000_000;
    Some(midnight + offset)
}

fn width_of(value: &ScalarValue) -> Result<Width> {
    let interval = match value {
        ScalarValue::IntervalMonthDayNano(Some(interval)) => *interval,
        text => match text.try_as_str() {
            Some(Some(text)) => interval_of_text(text)?,
            _ => return exec_err!("time_bucket: no interval: {value}"),
        },
    };
    let nanos = i128::from(interval.days) * DAY + i128::from(interval.nanoseconds);
    match (interval.months, nanos) {
        (0, 1..) => Ok(Width::Nanos(nanos)),
        (1.., 0) => Ok(Width::Months(interval.months)),
        (0, _) => exec_err!("period must be greater than 0"),
        (months, _) if months < 0 => exec_err!("period must be greater than 0"),
        _ => exec_err!("month intervals cannot have day or time component"),
    }
}

fn interval_of_text(text: &str) -> Result<IntervalMonthDayNano> {
    parse_interval_month_day_nano(text).map_err(|_| {
        QueryError::InvalidText { problem: format!("invalid input syntax for type interval: \"{text}\"") }.into()
    })
}

fn start_of(value: &ColumnarValue) -> Result<Start> {
    let ColumnarValue::Scalar(value) = value else {
        return exec_err!("time_bucket: the origin must be the same for all rows");
    };
    match value {
        ScalarValue::TimestampNanosecond(Some(nanos), _) => Ok(Start::Origin(i128::from(*nanos))),
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            Ok(Start::Offset(i128::from(interval.days) * DAY + i128::from(interval.nanoseconds)))
        }
        ScalarValue::IntervalMonthDayNano(Some(_)) => exec_err!("time_bucket: an offset has no months"),
        text => match text.try_as_str() {
            Some(Some(text)) if matches!(text.to_uppercase().as_str(), "UTC" | "GMT" | "ETC/UTC") => Ok(Start::Default),
            Some(Some(text)) => match (string_to_timestamp_nanos(text), interval_of_text(text)) {
                (Ok(nanos), _) => Ok(Start::Origin(i128::from(nanos))),
                (_, Ok(i)) if i.months == 0 => Ok(Start::Offset(i128::from(i.days) * DAY + i128::from(i.nanoseconds))),
                _ => exec_err!("time_bucket: '{text}' is no origin, no offset and not the zone UTC"),
            },
            _ => Ok(Start::Default),
        },
    }
}

fn integer(value: &ColumnarValue) -> Result<i64> {
    match value {
        ColumnarValue::Scalar(ScalarValue::Int64(Some(value))) => Ok(*value),
        _ => exec_err!("time_bucket: the offset must be one integer"),
    }
}

fn integers(values: &ArrayRef, width: i64, offset: i64) -> Result<ColumnarValue> {
    if width <= 0 {
        return exec_err!("period must be greater than 0");
    }
    let values = cast(values, &DataType::Int64)?;
    let at = |value: i64| {
        let (value, width, offset) = (i128::from(value), i128::from(width), i128::from(offset));
        i64::try_from(value - (value - offset).rem_euclid(width)).ok()
    };
    let result: PrimitiveArray<Int64Type> = values.as_primitive::<Int64Type>().unary_opt(at);
    Ok(ColumnarValue::Array(Arc::new(result)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(text: &str) -> i128 {
        i128::from(string_to_timestamp_nanos(text).unwrap())
    }

    fn of(width: &str, time: &str, start: Start) -> i128 {
        match width_of(&ScalarValue::from(width)).unwrap() {
            Width::Nanos(width) => fixed(at(time), width, start),
            Width::Months(months) => calendar(at(time), months, start).unwrap(),
        }
    }

    #[test]
    fn buckets_start_where_timescaledb_documents_them() {
        for (width, time, bucket) in [
            ("5 minutes", "2020-01-01T00:07:30Z", "2020-01-01T00:05:00Z"),
            ("1 hour", "1999-12-31T23:59:59Z", "1999-12-31T23:00:00Z"),
            ("1 day", "2018-01-01T13:00:00Z", "2018-01-01T00:00:00Z"),
            // Weeks start on Monday, because the origin is one.
            ("1 week", "2018-01-07T13:00:00Z", "2018-01-01T00:00:00Z"),
            ("7 days", "2018-01-08T00:00:00Z", "2018-01-08T00:00:00Z"),
            ("5 days", "2000-01-04T00:00:00Z", "2000-01-03T00:00:00Z"),
            ("1 month", "2021-08-31T12:00:00Z", "2021-08-01T00:00:00Z"),
            ("3 months", "2021-08-31T12:00:00Z", "2021-07-01T00:00:00Z"),
            ("1 year", "2021-08-31T12:00:00Z", "2021-01-01T00:00:00Z"),
            ("5 years", "1998-02-01T00:00:00Z", "1995-01-01T00:00:00Z"),
            // What Grafana's $__timeGroup writes.
            ("300.000s", "2020-01-01T00:07:30Z", "2020-01-01T00:05:00Z"),
            ("0.020s", "2020-01-01T00:00:00.037Z", "2020-01-01T00:00:00.020Z"),
            ("1036800.000s", "2000-01-15T00:00:00Z", "2000-01-15T00:00:00Z"),
        ] {
            assert_eq!(of(width, time, Start::Default), at(bucket), "time_bucket('{width}', '{time}')");
        }
    }

    #[test]
    fn an_origin_or_an_offset_moves_the_buckets() {
        let origin = Start::Origin(at("2018-01-01T06:00:00Z"));
        assert_eq!(of("1 day", "2018-01-03T05:00:00Z", origin), at("2018-01-02T06:00:00Z"));
        let offset = Start::Offset(at("1970-01-01T00:02:30Z"));
        assert_eq!(of("5 minutes", "2018-01-01T00:01:00Z", offset), at("2017-12-31T23:57:30Z"));
    }

    #[test]
    fn widths_without_meaning_are_refused() {
        for width in ["0 s", "-5 minutes", "1 month 2 days", "soon"] {
            assert!(width_of(&ScalarValue::from(width)).is_err(), "{width}");
        }
    }
}
