//! Arithmetic of time buckets with TimescaleDB's meaning: buckets of fixed width are counted from Monday 2000-01-03
//! 00:00, buckets of months from 2000-01-01; in UTC, or by the clocks of a zone.

use super::zone::{from_local, to_local, zone_of};
use crate::error::QueryError;
use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::{parse_interval_month_day_nano, string_to_timestamp_nanos};
use arrow::datatypes::IntervalMonthDayNano;
use chrono::{DateTime, Datelike, NaiveDate, Utc};
use datafusion::common::{Result, exec_err};
use datafusion::scalar::ScalarValue;

/// 2000-01-03, a Monday, in nanoseconds.
const MONDAY: i128 = 946_857_600_000_000_000;
/// A day of 24 hours in nanoseconds.
pub(crate) const DAY: i128 = 86_400_000_000_000;

/// Width of a bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Width {
    Nanos(i128),
    Months(i32),
}

/// All buckets of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Buckets {
    width: Width,
    origin: Option<i128>,
    offset: i128,
    zone: Option<Tz>,
}

impl Buckets {
    /// Buckets of `width`, with whatever else the call says: a zone, an origin, an offset, told apart by their types; a
    /// text is what it reads as.
    ///
    /// # Errors
    ///
    /// If one of them has no meaning.
    pub(crate) fn of(width: &ScalarValue, others: &[ScalarValue]) -> Result<Self> {
        let mut buckets = Self { width: width_of(width)?, origin: None, offset: 0, zone: None };
        for other in others.iter().filter(|other| !other.is_null()) {
            match other {
                ScalarValue::TimestampNanosecond(Some(nanos), _) => buckets.origin = Some(i128::from(*nanos)),
                ScalarValue::TimestampMicrosecond(Some(micros), _) => {
                    buckets.origin = Some(i128::from(*micros) * 1_000);
                }
                ScalarValue::IntervalMonthDayNano(Some(interval)) => buckets.offset = offset_of(*interval)?,
                text => match text.try_as_str().flatten() {
                    Some(text) => buckets.read(text)?,
                    None => return exec_err!("time_bucket: {other} is no origin, no offset and no zone"),
                },
            }
        }
        Ok(buckets)
    }

    fn read(&mut self, text: &str) -> Result<()> {
        if text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            self.zone = Some(zone_of(text)?);
        } else if let Ok(nanos) = string_to_timestamp_nanos(text) {
            self.origin = Some(i128::from(nanos));
        } else {
            self.offset = offset_of(interval_of_text(text)?)?;
        }
        Ok(())
    }

    /// Start of the bucket that a moment lies in, both in nanoseconds; `None` outside of the calendar.
    pub(crate) fn start(&self, nanos: i128) -> Option<i128> {
        match self.zone {
            None => self.local_start(nanos, self.origin),
            Some(zone) => {
                let origin = match self.origin {
                    Some(origin) => Some(shifted(origin, zone, to_local)?),
                    None => None,
                };
                shifted(self.local_start(shifted(nanos, zone, to_local)?, origin)?, zone, from_local)
            }
        }
    }

    /// Start of the bucket after the one that starts at `start`.
    pub(crate) fn next(&self, start: i128) -> Option<i128> {
        let local = match self.zone {
            None => start,
            Some(zone) => shifted(start, zone, to_local)?,
        };
        let next = match self.width {
            Width::Nanos(width) => local + width,
            Width::Months(months) => {
                let base = local - self.offset;
                let first = i64::from(months) + month_of(base)?;
                first_of_month(first)? + self.offset
            }
        };
        let next = match self.zone {
            None => next,
            Some(zone) => shifted(next, zone, from_local)?,
        };
        // Clocks that are put back can show the same time again.
        Some(if next > start { next } else { start + self.least() })
    }

    /// True if moments of one bucket follow one another: not so when a zone's clocks are put back within it.
    pub(crate) fn are_contiguous(&self) -> bool {
        self.zone.is_none()
            || match self.width {
                Width::Nanos(width) => width % DAY == 0,
                Width::Months(_) => true,
            }
    }

    fn least(&self) -> i128 {
        match self.width {
            Width::Nanos(width) => width,
            Width::Months(_) => DAY,
        }
    }

    fn local_start(&self, nanos: i128, origin: Option<i128>) -> Option<i128> {
        match self.width {
            Width::Nanos(width) => {
                let origin = origin.unwrap_or(MONDAY) + self.offset;
                Some(nanos - (nanos - origin).rem_euclid(width))
            }
            Width::Months(months) => {
                let origin = match origin {
                    Some(origin) => month_of(origin)?,
                    None => 2000 * 12,
                };
                let month = month_of(nanos - self.offset)?;
                Some(first_of_month(month - (month - origin).rem_euclid(i64::from(months)))? + self.offset)
            }
        }
    }
}

fn shifted(nanos: i128, zone: Tz, shift: fn(i64, Tz) -> Option<i64>) -> Option<i128> {
    let micros = i64::try_from(nanos.div_euclid(1_000)).ok()?;
    Some(i128::from(shift(micros, zone)?) * 1_000 + nanos.rem_euclid(1_000))
}

/// Months since the year 0.
fn month_of(nanos: i128) -> Option<i64> {
    let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
    let day = DateTime::<Utc>::from_timestamp(seconds, 0)?;
    Some(i64::from(day.year()) * 12 + i64::from(day.month0()))
}

fn first_of_month(month: i64) -> Option<i128> {
    let year = i32::try_from(month.div_euclid(12)).ok()?;
    let day = NaiveDate::from_ymd_opt(year, u32::try_from(month.rem_euclid(12)).ok()? + 1, 1)?;
    Some(i128::from(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp()) * 1_000_000_000)
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

fn offset_of(interval: IntervalMonthDayNano) -> Result<i128> {
    if interval.months != 0 {
        return exec_err!("time_bucket: an offset has no months");
    }
    Ok(i128::from(interval.days) * DAY + i128::from(interval.nanoseconds))
}

/// An interval as it is written.
pub(crate) fn interval_of_text(text: &str) -> Result<IntervalMonthDayNano> {
    parse_interval_month_day_nano(&crate::dialect::with_units(text)).map_err(|_| {
        QueryError::InvalidText { problem: format!("invalid input syntax for type interval: \"{text}\"") }.into()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(text: &str) -> i128 {
        i128::from(string_to_timestamp_nanos(text).unwrap())
    }

    fn buckets(width: &str, others: &[&str]) -> Buckets {
        let others: Vec<_> = others.iter().map(|other| ScalarValue::from(*other)).collect();
        Buckets::of(&ScalarValue::from(width), &others).unwrap()
    }

    #[test]
    fn buckets_start_where_timescaledb_documents_them() {
        for (width, time, bucket, next) in [
            ("5 minutes", "2020-01-01T00:07:30Z", "2020-01-01T00:05:00Z", "2020-01-01T00:10:00Z"),
            ("1 hour", "1999-12-31T23:59:59Z", "1999-12-31T23:00:00Z", "2000-01-01T00:00:00Z"),
            ("1 day", "2018-01-01T13:00:00Z", "2018-01-01T00:00:00Z", "2018-01-02T00:00:00Z"),
            // Weeks start on Monday, because the origin is one.
            ("1 week", "2018-01-07T13:00:00Z", "2018-01-01T00:00:00Z", "2018-01-08T00:00:00Z"),
            ("7 days", "2018-01-08T00:00:00Z", "2018-01-08T00:00:00Z", "2018-01-15T00:00:00Z"),
            ("5 days", "2000-01-04T00:00:00Z", "2000-01-03T00:00:00Z", "2000-01-08T00:00:00Z"),
            ("1 month", "2021-08-31T12:00:00Z", "2021-08-01T00:00:00Z", "2021-09-01T00:00:00Z"),
            ("3 months", "2021-08-31T12:00:00Z", "2021-07-01T00:00:00Z", "2021-10-01T00:00:00Z"),
            ("1 year", "2021-08-31T12:00:00Z", "2021-01-01T00:00:00Z", "2022-01-01T00:00:00Z"),
            ("5 years", "1998-02-01T00:00:00Z", "1995-01-01T00:00:00Z", "2000-01-01T00:00:00Z"),
            // What Grafana's $__timeGroup writes.
            ("300.000s", "2020-01-01T00:07:30Z", "2020-01-01T00:05:00Z", "2020-01-01T00:10:00Z"),
            ("0.020s", "2020-01-01T00:00:00.037Z", "2020-01-01T00:00:00.020Z", "2020-01-01T00:00:00.040Z"),
            ("1036800.000s", "2000-01-15T00:00:00Z", "2000-01-15T00:00:00Z", "2000-01-27T00:00:00Z"),
        ] {
            let buckets = buckets(width, &[]);
            let start = buckets.start(at(time)).unwrap();
            assert_eq!(start, at(bucket), "time_bucket('{width}', '{time}')");
            assert_eq!(buckets.next(start), Some(at(next)), "after time_bucket('{width}', '{time}')");
        }
    }

    #[test]
    fn an_origin_an_offset_or_a_zone_moves_the_buckets() {
        for (width, other, time, bucket, next) in [
            ("1 day", "2018-01-01T06:00:00Z", "2018-01-03T05:00:00Z", "2018-01-02T06:00:00Z", "2018-01-03T06:00:00Z"),
            ("5 minutes", "2.5 minutes", "2018-01-01T00:01:00Z", "2017-12-31T23:57:30Z", "2018-01-01T00:02:30Z"),
            ("1 day", "Europe/Berlin", "2024-03-31T12:00:00Z", "2024-03-30T23:00:00Z", "2024-03-31T22:00:00Z"),
            ("1 month", "Europe/Berlin", "2024-03-31T12:00:00Z", "2024-02-29T23:00:00Z", "2024-03-31T22:00:00Z"),
        ] {
            let buckets = buckets(width, &[other]);
            assert_eq!(buckets.start(at(time)), Some(at(bucket)), "time_bucket('{width}', '{time}', '{other}')");
            assert_eq!(buckets.next(at(bucket)), Some(at(next)), "after time_bucket('{width}', '{time}', '{other}')");
        }
    }

    #[test]
    fn widths_without_meaning_are_refused() {
        for width in ["0 s", "-5 minutes", "1 month 2 days", "soon"] {
            assert!(Buckets::of(&ScalarValue::from(width), &[]).is_err(), "{width}");
        }
    }
}
