//! Times in zones: `at_time_zone(time, zone)` behind AT TIME ZONE, and `date_trunc_in_zone(unit, time, zone)` behind
//! `date_trunc` of three arguments. Zones have names of the IANA database.

use super::is_text;
use crate::error::QueryError;
use arrow::array::timezone::Tz;
use arrow::array::{ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, MappedLocalTime, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;
use whence_schema::tables::timestamp_type;

/// The zone of a name.
///
/// # Errors
///
/// If there is none; offsets are refused, because PostgreSQL counts theirs the other way round.
pub(crate) fn zone_of(name: &str) -> Result<Tz, QueryError> {
    let by_name = name.trim();
    let known = match by_name.to_uppercase().as_str() {
        "Z" | "ZULU" | "GMT" | "UTC" => "UTC",
        _ if by_name.starts_with(|c: char| c.is_ascii_alphabetic()) => by_name,
        _ => {
            let what = format!("the time zone \"{name}\" (use a name such as 'Europe/Berlin')");
            return Err(QueryError::NotSupported { what });
        }
    };
    let problem = || QueryError::InvalidText { problem: format!("time zone \"{name}\" not recognized") };
    known.parse().map_err(|_| problem())
}

/// Time on the zone's clocks, in microseconds.
pub(crate) fn to_local(micros: i64, zone: Tz) -> Option<i64> {
    let time = DateTime::from_timestamp_micros(micros)?;
    let offset = zone.offset_from_utc_datetime(&time.naive_utc()).fix().local_minus_utc();
    micros.checked_add(i64::from(offset) * 1_000_000)
}

/// The moment at which the zone's clocks show a time. Of two, the later one (standard time); a time that clocks skip is
/// read as if they had not.
pub(crate) fn from_local(micros: i64, zone: Tz) -> Option<i64> {
    let local = DateTime::from_timestamp_micros(micros)?.naive_utc();
    let offset = match zone.offset_from_local_datetime(&local) {
        MappedLocalTime::Single(offset) | MappedLocalTime::Ambiguous(_, offset) => offset,
        MappedLocalTime::None => {
            let before = local.checked_sub_signed(TimeDelta::hours(6))?;
            zone.offset_from_local_datetime(&before).earliest()?
        }
    };
    micros.checked_sub(i64::from(offset.fix().local_minus_utc()) * 1_000_000)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    AtTimeZone,
    TruncateInZone,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct InZone {
    operation: Operation,
    signature: Signature,
}

/// The functions.
pub(crate) fn functions() -> Vec<ScalarUDF> {
    [Operation::AtTimeZone, Operation::TruncateInZone]
        .map(|operation| {
            ScalarUDF::from(InZone { operation, signature: Signature::user_defined(Volatility::Immutable) })
        })
        .into()
}

const LOCAL: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

impl ScalarUDFImpl for InZone {
    fn name(&self) -> &str {
        match self.operation {
            Operation::AtTimeZone => "at_time_zone",
            Operation::TruncateInZone => "date_trunc_in_zone",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let time = |time: &DataType| match time {
            DataType::Timestamp(_, None) if self.operation == Operation::AtTimeZone => Ok(LOCAL),
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 | DataType::Null => Ok(timestamp_type()),
            text if is_text(text) => Ok(timestamp_type()),
            other => plan_err!("No function matches {} of {other}", self.name()),
        };
        match (self.operation, arg_types) {
            (Operation::AtTimeZone, [at, zone]) if is_text(zone) || zone.is_null() => {
                Ok(vec![time(at)?, DataType::Utf8])
            }
            (Operation::TruncateInZone, [unit, at, zone]) if is_text(unit) && is_text(zone) => {
                Ok(vec![DataType::Utf8, time(at)?, DataType::Utf8])
            }
            (Operation::AtTimeZone, [_, other]) => plan_err!(
                "No function matches {} with a zone of type {other}: use a name such as 'Europe/Berlin'",
                self.name()
            ),
            _ => plan_err!("No function matches {} with {} arguments", self.name(), arg_types.len()),
        }
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match (self.operation, arg_types) {
            (Operation::AtTimeZone, [DataType::Timestamp(_, Some(_)), _]) => Ok(LOCAL),
            _ => Ok(timestamp_type()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let text = |value: &ColumnarValue, what: &str| match value {
            ColumnarValue::Scalar(value) => Ok(value.try_as_str().flatten().map(str::to_owned)),
            ColumnarValue::Array(_) => exec_err!("{}: the {what} must be the same for all rows", self.name()),
        };
        let (unit, time, zone) = match args.args.as_slice() {
            [time, zone] => (None, time, zone),
            [unit, time, zone] => (text(unit, "unit")?, time, zone),
            _ => return exec_err!("{} of {} arguments", self.name(), args.args.len()),
        };
        let result_type = args.return_field.data_type();
        let Some(zone) = text(zone, "zone")? else {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from(result_type)?));
        };
        let zone = zone_of(&zone)?;
        let has_zone = matches!(time.data_type(), DataType::Timestamp(_, Some(_)));
        let times = cast(&time.to_array(args.number_rows)?, &if has_zone { timestamp_type() } else { LOCAL })?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let result: TimestampMicrosecondArray = match (self.operation, unit) {
            (Operation::AtTimeZone, _) if has_zone => times.unary_opt(|micros| to_local(micros, zone)),
            (Operation::AtTimeZone, _) => times.unary_opt(|micros| from_local(micros, zone)),
            (Operation::TruncateInZone, Some(unit)) => {
                let unit = Unit::of(&unit)?;
                times.unary_opt(|micros| from_local(unit.truncate(to_local(micros, zone)?)?, zone))
            }
            (Operation::TruncateInZone, None) => times.unary_opt(|_| None),
        };
        let result: ArrayRef = Arc::new(result.with_data_type(result_type.clone()));
        match time {
            ColumnarValue::Scalar(_) => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            ColumnarValue::Array(_) => Ok(ColumnarValue::Array(result)),
        }
    }
}

/// What `date_trunc` cuts to.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Micros(i64),
    Week,
    Months(u32),
    Years(i32),
}

impl Unit {
    fn of(name: &str) -> Result<Self, QueryError> {
        Ok(match name.to_lowercase().trim_end_matches('s') {
            "microsecond" => Self::Micros(1),
            "millisecond" => Self::Micros(1_000),
            "second" => Self::Micros(1_000_000),
            "minute" => Self::Micros(60_000_000),
            "hour" => Self::Micros(3_600_000_000),
            "day" => Self::Micros(86_400_000_000),
            "week" => Self::Week,
            "month" => Self::Months(1),
            "quarter" => Self::Months(3),
            "year" => Self::Months(12),
            "decade" => Self::Years(10),
            "century" | "centurie" => Self::Years(100),
            "millennium" | "millennia" => Self::Years(1_000),
            _ => return Err(QueryError::InvalidText { problem: format!("unit \"{name}\" not recognized") }),
        })
    }

    /// Start of the unit that a local time, in microseconds, lies in.
    fn truncate(self, micros: i64) -> Option<i64> {
        let day = || DateTime::from_timestamp_micros(micros).map(|time| time.naive_utc().date());
        let midnight = |day: NaiveDate| Some(NaiveDateTime::from(day).and_utc().timestamp_micros());
        match self {
            Self::Micros(width) => Some(micros - micros.rem_euclid(width)),
            Self::Week => {
                let day = day()?;
                midnight(day - TimeDelta::days(day.weekday().num_days_from_monday().into()))
            }
            Self::Months(months) => {
                let day = day()?;
                midnight(NaiveDate::from_ymd_opt(day.year(), day.month0() / months * months + 1, 1)?)
            }
            Self::Years(years) => {
                // Decades start with a year that ends in 0, centuries and millennia with one that ends in 1.
                let first = i32::from(years > 10);
                let year = (day()?.year() - first).div_euclid(years) * years + first;
                midnight(NaiveDate::from_ymd_opt(year, 1, 1)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn micros(text: &str) -> i64 {
        text.parse::<DateTime<chrono::Utc>>().unwrap().timestamp_micros()
    }

    #[test]
    fn clocks_that_are_put_forward_or_back_are_read_as_in_postgresql() {
        let zone = zone_of("Europe/Berlin").unwrap();
        for (local, moment) in [
            ("2024-07-01T12:00:00Z", "2024-07-01T10:00:00Z"),
            ("2024-01-01T12:00:00Z", "2024-01-01T11:00:00Z"),
            // Skipped: clocks go from 02:00 to 03:00.
            ("2024-03-31T02:30:00Z", "2024-03-31T01:30:00Z"),
            // Twice: standard time counts.
            ("2024-10-27T02:30:00Z", "2024-10-27T01:30:00Z"),
        ] {
            assert_eq!(from_local(micros(local), zone), Some(micros(moment)), "{local}");
        }
        assert_eq!(to_local(micros("2024-07-01T10:00:00Z"), zone), Some(micros("2024-07-01T12:00:00Z")));
        assert!(zone_of("Mars/Olympus").is_err() && zone_of("+02").is_err());
    }

    #[test]
    fn units_start_where_the_calendar_says() {
        for (unit, start) in [
            ("week", "2024-08-26T00:00:00Z"),
            ("quarter", "2024-07-01T00:00:00Z"),
            ("decade", "2020-01-01T00:00:00Z"),
            ("century", "2001-01-01T00:00:00Z"),
        ] {
            assert_eq!(Unit::of(unit).unwrap().truncate(micros("2024-09-01T23:59:59Z")), Some(micros(start)), "{unit}");
        }
    }
}
