//! Times and intervals from their fields, and intervals between times: `make_date`, `make_interval`, `age`,
//! `justify_days` and their relatives.

use super::typed_function::{Overload, Type, Value, typed};
use super::zone::{from_local, zone_of};
use crate::error::QueryError;
use arrow::datatypes::IntervalMonthDayNano;
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, Timelike};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::ScalarUDF;

const DAY_MICROS: i64 = 86_400_000_000;

use Type::{Date, Float, Integer, Interval, Text, Time, Timestamp, TimestampTz};

/// The functions.
pub(crate) fn functions() -> Vec<ScalarUDF> {
    const AGE: &[Overload] = &[
        Overload { takes: &[TimestampTz, TimestampTz], gives: Interval, call: age },
        Overload { takes: &[Timestamp, Timestamp], gives: Interval, call: age },
    ];
    const MAKE_DATE: &[Overload] = &[Overload { takes: &[Integer, Integer, Integer], gives: Date, call: make_date }];
    const MAKE_TIME: &[Overload] = &[Overload { takes: &[Integer, Integer, Float], gives: Time, call: make_time }];
    const MAKE_TIMESTAMP: &[Overload] = &[Overload {
        takes: &[Integer, Integer, Integer, Integer, Integer, Float],
        gives: Timestamp,
        call: make_timestamp,
    }];
    const MAKE_TIMESTAMPTZ: &[Overload] = &[
        Overload {
            takes: &[Integer, Integer, Integer, Integer, Integer, Float],
            gives: TimestampTz,
            call: make_timestamp,
        },
        Overload {
            takes: &[Integer, Integer, Integer, Integer, Integer, Float, Text],
            gives: TimestampTz,
            call: make_timestamp,
        },
    ];
    const MAKE_INTERVAL: &[Overload] = &[Overload {
        takes: &[Integer, Integer, Integer, Integer, Integer, Integer, Float],
        gives: Interval,
        call: make_interval,
    }];
    const JUSTIFY_DAYS: &[Overload] = &[Overload { takes: &[Interval], gives: Interval, call: justify_days }];
    const JUSTIFY_HOURS: &[Overload] = &[Overload { takes: &[Interval], gives: Interval, call: justify_hours }];
    const JUSTIFY_INTERVAL: &[Overload] = &[Overload { takes: &[Interval], gives: Interval, call: justify_interval }];
    vec![
        typed("age", AGE, &[]),
        typed("make_date", MAKE_DATE, &[]),
        typed("make_time", MAKE_TIME, &[]),
        typed("make_timestamp", MAKE_TIMESTAMP, &[]),
        typed("make_timestamptz", MAKE_TIMESTAMPTZ, &[]),
        typed("make_interval", MAKE_INTERVAL, &[]),
        typed("justify_days", JUSTIFY_DAYS, &[]),
        typed("justify_hours", JUSTIFY_HOURS, &[]),
        typed("justify_interval", JUSTIFY_INTERVAL, &[]),
    ]
}

fn out_of_range(what: impl Into<String>) -> QueryError {
    QueryError::OutOfRange { what: what.into() }
}

fn day_of(year: i64, month: i64, day: i64) -> Result<NaiveDate, QueryError> {
    // There is no year 0: -1 is 1 BC.
    let counted = if year < 0 { year + 1 } else { year };
    let date = || {
        let (year, month, day) = (i32::try_from(counted).ok()?, u32::try_from(month).ok()?, u32::try_from(day).ok()?);
        NaiveDate::from_ymd_opt(year, month, day).filter(|_| counted != 0 || year < 0)
    };
    date().ok_or_else(|| out_of_range(format!("date field value: {year}-{month:02}-{day:02}")))
}

fn clock_of(hour: i64, minute: i64, second: f64) -> Result<i64, QueryError> {
    let micros = (second * 1e6).round_ties_even();
    let whole_day = hour == 24 && minute == 0 && micros == 0.0;
    let in_day = (0..24).contains(&hour) && (0..60).contains(&minute) && (0.0..=6e7).contains(&micros);
    if !(whole_day || in_day) {
        return Err(out_of_range(format!("time field value: {hour:02}:{minute:02}:{second:02}")));
    }
    Ok((hour * 60 + minute) * 60_000_000 + micros as i64)
}

fn make_date(inputs: &[Value]) -> Result<Value> {
    let [Value::Integer(year), Value::Integer(month), Value::Integer(day)] = inputs else {
        return internal_err!("make_date of {inputs:?}");
    };
    let date = day_of(*year, *month, *day)?;
    Ok(Value::Days(date.num_days_from_ce() - 719_163))
}

fn make_time(inputs: &[Value]) -> Result<Value> {
    let [Value::Integer(hour), Value::Integer(minute), Value::Float(second)] = inputs else {
        return internal_err!("make_time of {inputs:?}");
    };
    Ok(Value::Micros(clock_of(*hour, *minute, *second)?))
}

/// Also with a zone, whose clocks are meant.
fn make_timestamp(inputs: &[Value]) -> Result<Value> {
    let [
        Value::Integer(year),
        Value::Integer(month),
        Value::Integer(day),
        Value::Integer(hour),
        Value::Integer(minute),
        Value::Float(second),
        zone @ ..,
    ] = inputs
    else {
        return internal_err!("make_timestamp of {inputs:?}");
    };
    let midnight = NaiveDateTime::from(day_of(*year, *month, *day)?).and_utc().timestamp_micros();
    let local = midnight + clock_of(*hour, *minute, *second)?;
    match zone {
        [Value::Text(zone)] => {
            let moment = from_local(local, zone_of(zone)?);
            Ok(Value::Micros(moment.ok_or_else(|| out_of_range("timestamp"))?))
        }
        _ => Ok(Value::Micros(local)),
    }
}

fn make_interval(inputs: &[Value]) -> Result<Value> {
    let whole = |at: usize| match inputs.get(at) {
        Some(Value::Integer(number)) => i128::from(*number),
        _ => 0,
    };
    let seconds = match inputs.get(6) {
        Some(Value::Float(seconds)) => *seconds,
        _ => 0.0,
    };
    let problem = || out_of_range("interval");
    let months = i32::try_from(whole(0) * 12 + whole(1)).map_err(|_| problem())?;
    let days = i32::try_from(whole(2) * 7 + whole(3)).map_err(|_| problem())?;
    let micros = (seconds * 1e6).round_ties_even();
    if !micros.is_finite() || micros.abs() > 9e15 {
        return Err(problem().into());
    }
    let nanos = ((whole(4) * 60 + whole(5)) * 60_000_000 + micros as i128) * 1_000;
    Ok(Value::Interval(IntervalMonthDayNano::new(months, days, i64::try_from(nanos).map_err(|_| problem())?)))
}

/// The interval between two times in calendar units: whole months first, then days, then time.
fn age(inputs: &[Value]) -> Result<Value> {
    let [Value::Micros(to), Value::Micros(from)] = inputs else { return internal_err!("age of {inputs:?}") };
    let moment = |micros: i64| {
        DateTime::from_timestamp_micros(micros).map(|time| time.naive_utc()).ok_or_else(|| out_of_range("timestamp"))
    };
    let (to_time, from_time) = (moment(*to)?, moment(*from)?);
    let (late, early, sign) = if to >= from { (to_time, from_time, 1) } else { (from_time, to_time, -1) };
    let micros_of_day = |time: NaiveDateTime| {
        i64::from(time.num_seconds_from_midnight()) * 1_000_000 + i64::from(time.nanosecond() / 1_000)
    };
    let mut micros = micros_of_day(late) - micros_of_day(early);
    let mut days = i64::from(late.day()) - i64::from(early.day());
    let mut months =
        (i64::from(late.year()) - i64::from(early.year())) * 12 + i64::from(late.month()) - i64::from(early.month());
    if micros < 0 {
        micros += DAY_MICROS;
        days -= 1;
    }
    // A month that is borrowed has the days of the second time's month, whichever is later.
    let borrowed = if sign < 0 { to_time } else { from_time };
    while days < 0 {
        days += days_in_month(borrowed.date());
        months -= 1;
    }
    let narrow = |value: i64| i32::try_from(value * sign).map_err(|_| out_of_range("interval"));
    Ok(Value::Interval(IntervalMonthDayNano::new(narrow(months)?, narrow(days)?, micros * sign * 1_000)))
}

fn days_in_month(date: NaiveDate) -> i64 {
    let first = date.with_day(1).unwrap_or(date);
    let next = first.checked_add_months(Months::new(1)).and_then(|next| next.checked_sub_days(Days::new(1)));
    next.map_or(31, |last| i64::from(last.day()))
}

fn fields(inputs: &[Value]) -> Result<(i64, i64, i64)> {
    match inputs {
        [Value::Interval(interval)] => Ok((interval.months.into(), interval.days.into(), interval.nanoseconds / 1_000)),
        other => internal_err!("an interval that is {other:?}"),
    }
}

fn interval_of(months: i64, days: i64, micros: i64) -> Result<Value> {
    let narrow = |value: i64| i32::try_from(value).map_err(|_| out_of_range("interval"));
    Ok(Value::Interval(IntervalMonthDayNano::new(narrow(months)?, narrow(days)?, micros * 1_000)))
}

/// Moves `from` into the next larger unit, and lets both have the same sign.
fn carry(from: &mut i64, into: &mut i64, size: i64) {
    *into += *from / size;
    *from %= size;
    same_sign(from, into, size);
}

fn same_sign(from: &mut i64, into: &mut i64, size: i64) {
    if *into > 0 && *from < 0 {
        *from += size;
        *into -= 1;
    } else if *into < 0 && *from > 0 {
        *from -= size;
        *into += 1;
    }
}

fn justify_days(inputs: &[Value]) -> Result<Value> {
    let (mut months, mut days, micros) = fields(inputs)?;
    carry(&mut days, &mut months, 30);
    interval_of(months, days, micros)
}

fn justify_hours(inputs: &[Value]) -> Result<Value> {
    let (months, mut days, mut micros) = fields(inputs)?;
    carry(&mut micros, &mut days, DAY_MICROS);
    interval_of(months, days, micros)
}

fn justify_interval(inputs: &[Value]) -> Result<Value> {
    let (mut months, mut days, mut micros) = fields(inputs)?;
    days += micros / DAY_MICROS;
    micros %= DAY_MICROS;
    months += days / 30;
    days %= 30;
    if months > 0 && (days < 0 || (days == 0 && micros < 0)) {
        (days, months) = (days + 30, months - 1);
    } else if months < 0 && (days > 0 || (days == 0 && micros > 0)) {
        (days, months) = (days - 30, months + 1);
    }
    same_sign(&mut micros, &mut days, DAY_MICROS);
    interval_of(months, days, micros)
}
