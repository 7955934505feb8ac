//! `to_char` with PostgreSQL's patterns, for times, intervals and numbers. Names of months and days are English. A
//! pattern that is not known is refused, never copied.

use super::is_text;
use super::number_pattern::NumberPattern;
use super::time_pattern::{DAYS, MONTHS, Piece, ROMAN, pieces_of};
use crate::error::QueryError;
use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    TimeUnit, TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike, NaiveDateTime, Timelike};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use std::fmt::Write;
use std::sync::Arc;
use whence_schema::tables::timestamp_type;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ToChar {
    /// The engine's own function is also found by this name, and would come back with it.
    aliases: Vec<String>,
    signature: Signature,
}

impl Default for ToChar {
    fn default() -> Self {
        let aliases = vec!["date_format".to_owned()];
        Self { aliases, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

impl ScalarUDFImpl for ToChar {
    fn name(&self) -> &str {
        "to_char"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [value, pattern] = arg_types else {
            return plan_err!("No function matches to_char with {} arguments", arg_types.len());
        };
        let value = match value {
            DataType::Timestamp(_, Some(_)) | DataType::Null => timestamp_type(),
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
                DataType::Timestamp(TimeUnit::Microsecond, None)
            }
            DataType::Interval(_) | DataType::Duration(_) => INTERVAL,
            DataType::Decimal128(..) => value.clone(),
            integer if integer.is_integer() => DataType::Int64,
            number if number.is_floating() => DataType::Float64,
            other => return plan_err!("No function matches to_char({other}, text)"),
        };
        if !is_text(pattern) && !pattern.is_null() {
            return plan_err!("No function matches to_char(.., {pattern})");
        }
        Ok(vec![value, DataType::Utf8View])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let all_scalar = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if all_scalar { 1 } else { args.number_rows };
        let values = args.args[0].to_array(rows)?;
        let patterns = args.args[1].to_array(rows)?;
        let patterns = patterns.as_string_view();
        let mut builder = StringBuilder::with_capacity(rows, rows * 20);
        let mut parsed: Option<(&str, Pattern)> = None;
        for row in 0..rows {
            if values.is_null(row) || patterns.is_null(row) {
                builder.append_null();
                continue;
            }
            let text = patterns.value(row);
            if parsed.as_ref().is_none_or(|(known, _)| *known != text) {
                parsed = Some((text, Pattern::of(text, values.data_type())?));
            }
            if let Some((_, pattern)) = &parsed {
                builder.append_value(pattern.apply(&values, row)?);
            }
        }
        let result: ArrayRef = Arc::new(builder.finish());
        match all_scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            false => Ok(ColumnarValue::Array(result)),
        }
    }
}

enum Pattern {
    Time(Vec<Piece>),
    Number(NumberPattern),
}

impl Pattern {
    fn of(text: &str, of: &DataType) -> Result<Self, QueryError> {
        match of {
            DataType::Timestamp(..) | DataType::Interval(_) => pieces_of(text).map(Self::Time),
            _ => NumberPattern::of(text).map(Self::Number),
        }
    }

    fn apply(&self, values: &ArrayRef, row: usize) -> Result<String> {
        match (self, values.data_type()) {
            (Self::Time(parts), DataType::Timestamp(_, zone)) => {
                let micros = values.as_primitive::<TimestampMicrosecondType>().value(row);
                match DateTime::from_timestamp_micros(micros) {
                    Some(time) => Ok(written(parts, &Moment::of(time.naive_utc(), zone.is_some()))),
                    None => exec_err!("timestamp out of range"),
                }
            }
            (Self::Time(parts), _) => {
                let intervals = cast(values, &INTERVAL)?;
                Ok(written(
                    parts,
                    &Moment::of_interval(intervals.as_primitive::<IntervalMonthDayNanoType>().value(row)),
                ))
            }
            (Self::Number(pattern), DataType::Int64) => {
                let value = values.as_primitive::<Int64Type>().value(row);
                Ok(pattern.write(value < 0, &value.unsigned_abs().to_string()))
            }
            (Self::Number(pattern), DataType::Decimal128(..)) => {
                let text = values.as_primitive::<Decimal128Type>().value_as_string(row);
                Ok(pattern.write(text.starts_with('-'), text.trim_start_matches('-')))
            }
            (Self::Number(pattern), _) => {
                let value = cast(values, &DataType::Float64)?.as_primitive::<Float64Type>().value(row);
                // Fifteen digits, as PostgreSQL writes a double precision here.
                let before = if value == 0.0 { 1.0 } else { value.abs().log10().floor() + 1.0 };
                let digits = usize::try_from((15.0 - before).max(0.0) as i64).unwrap_or(0).min(20);
                Ok(pattern.write(value < 0.0, &format!("{:.digits$}", value.abs())))
            }
        }
    }
}

/// A time or an interval in its fields.
struct Moment {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    date: Option<NaiveDateTime>,
    zone: bool,
}

impl Moment {
    fn of(time: NaiveDateTime, zone: bool) -> Self {
        Self {
            year: time.year().into(),
            month: time.month().into(),
            day: time.day().into(),
            hour: time.hour().into(),
            minute: time.minute().into(),
            second: time.second().into(),
            micros: i64::from(time.nanosecond() / 1_000),
            date: Some(time),
            zone,
        }
    }

    fn of_interval(interval: IntervalMonthDayNano) -> Self {
        let micros = interval.nanoseconds / 1_000;
        Self {
            year: i64::from(interval.months / 12),
            month: i64::from(interval.months % 12),
            day: interval.days.into(),
            hour: micros / 3_600_000_000,
            minute: micros / 60_000_000 % 60,
            second: micros / 1_000_000 % 60,
            micros: micros % 1_000_000,
            date: None,
            zone: false,
        }
    }
}

fn written(pieces: &[Piece], moment: &Moment) -> String {
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Separator(character) | Piece::Character(character) => out.push(*character),
            Piece::Exact => {}
            Piece::Field { name, as_written, trimmed, ending } => {
                let start = out.len();
                field(&mut out, name, as_written, *trimmed, moment);
                if let Some(upper) = ending {
                    let number = out[start..].trim().to_owned();
                    let ending = ordinal_ending(&number);
                    out.push_str(&if *upper { ending.to_uppercase() } else { ending.to_owned() });
                }
            }
        }
    }
    out
}

fn field(out: &mut String, name: &str, as_written: &str, trimmed: bool, moment: &Moment) {
    let mut number = |value: i64, width: usize| {
        let sign = if value < 0 { "-" } else { "" };
        let width = if trimmed { 0 } else { width };
        let _ = write!(out, "{sign}{:0width$}", value.abs());
    };
    let year = if moment.date.is_some() && moment.year <= 0 { 1 - moment.year } else { moment.year };
    let iso = moment.date.map(|date| date.iso_week());
    let iso_year = iso.map_or(0, |week| i64::from(week.year()));
    let day_of_week = moment.date.map_or(0, |date| i64::from(date.weekday().num_days_from_sunday()));
    let day_of_year = moment.date.map_or(moment.day, |date| i64::from(date.ordinal()));
    match name {
        "YYYY" => number(year, 4),
        "Y,YYY" => {
            let _ = write!(out, "{},{:03}", year / 1_000, year % 1_000);
        }
        "YYY" => number(year % 1_000, 3),
        "YY" => number(year % 100, 2),
        "Y" => number(year % 10, 1),
        "IYYY" => number(iso_year, 4),
        "IYY" => number(iso_year % 1_000, 3),
        "IY" => number(iso_year % 100, 2),
        "I" => number(iso_year % 10, 1),
        "IW" => number(iso.map_or(0, |week| week.week().into()), 2),
        "IDDD" => number(iso.map_or(0, |week| i64::from(week.week0()) * 7) + (day_of_week + 6) % 7 + 1, 3),
        "ID" => number((day_of_week + 6) % 7 + 1, 1),
        "MM" => number(moment.month, 2),
        "MI" => number(moment.minute, 2),
        "MS" => number(moment.micros / 1_000, 3),
        "US" | "FF6" => number(moment.micros, 6),
        "FF1" => number(moment.micros / 100_000, 1),
        "FF2" => number(moment.micros / 10_000, 2),
        "FF3" => number(moment.micros / 1_000, 3),
        "FF4" => number(moment.micros / 100, 4),
        "FF5" => number(moment.micros / 10, 5),
        "DDD" => number(day_of_year, 3),
        "DD" => number(moment.day, 2),
        "D" => number(day_of_week + 1, 1),
        "HH24" => number(moment.hour, 2),
        "HH12" | "HH" => number(if moment.hour % 12 == 0 { 12 } else { moment.hour % 12 }, 2),
        "SS" => number(moment.second, 2),
        "SSSSS" | "SSSS" => number(moment.hour * 3_600 + moment.minute * 60 + moment.second, 1),
        "CC" => number((year + 99) / 100, 2),
        "WW" => number((day_of_year - 1) / 7 + 1, 2),
        "W" => number((moment.day - 1) / 7 + 1, 1),
        "Q" => number((moment.month + 2) / 3, 1),
        "J" => number(moment.date.map_or(0, |date| i64::from(date.num_days_from_ce()) + 1_721_425), 1),
        _ => out.push_str(&word(name, as_written, trimmed, day_of_week, moment)),
    }
}

/// Fields that are words.
fn word(name: &str, as_written: &str, trimmed: bool, day_of_week: i64, moment: &Moment) -> String {
    let in_case = |word: &str| {
        let mut letters = as_written.chars();
        match (letters.next().is_some_and(char::is_uppercase), letters.next().is_some_and(char::is_uppercase)) {
            (true, true) => word.to_uppercase(),
            (true, false) => word.to_owned(),
            _ => word.to_lowercase(),
        }
    };
    let padded = |word: String, width: usize| if trimmed { word } else { format!("{word:<width$}") };
    let month = usize::try_from(moment.month - 1).unwrap_or(0).min(11);
    let day = usize::try_from(day_of_week).unwrap_or(0);
    let halves =
        |before: &str, after: &str| in_case_of_all(if moment.hour % 24 < 12 { before } else { after }, as_written);
    let eras = |after: &str, before: &str| {
        in_case_of_all(if moment.date.is_some() && moment.year <= 0 { before } else { after }, as_written)
    };
    match name {
        "MONTH" => padded(in_case(MONTHS[month]), 9),
        "MON" => in_case(&MONTHS[month][..3]),
        "DAY" => padded(in_case(DAYS[day]), 9),
        "DY" => in_case(&DAYS[day][..3]),
        "RM" => padded(in_case_of_all(ROMAN[month], as_written), 4),
        "AM" | "PM" => halves("AM", "PM"),
        "A.M." | "P.M." => halves("A.M.", "P.M."),
        "AD" | "BC" => eras("AD", "BC"),
        "A.D." | "B.C." => eras("A.D.", "B.C."),
        "TZ" if moment.zone => in_case_of_all("UTC", as_written),
        "TZH" if moment.zone => "+00".to_owned(),
        "OF" if moment.zone => "+00".to_owned(),
        "TZM" if moment.zone => "00".to_owned(),
        _ => String::new(),
    }
}

fn in_case_of_all(word: &str, as_written: &str) -> String {
    if as_written.starts_with(char::is_uppercase) { word.to_uppercase() } else { word.to_lowercase() }
}

fn ordinal_ending(number: &str) -> &'static str {
    match (number.ends_with("11") || number.ends_with("12") || number.ends_with("13"), number.chars().last()) {
        (false, Some('1')) => "st",
        (false, Some('2')) => "nd",
        (false, Some('3')) => "rd",
        _ => "th",
    }
}
