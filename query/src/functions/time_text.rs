//! Times, dates and times of day as texts, read as PostgreSQL reads them: ISO 8601 with less or more of it, names of
//! months, zones by offset and by name, `infinity`. What depends on the day (`today`, `now`) is refused: answers are
//! kept, and a text does not tell that it means another day tomorrow.

use super::typed_function::{Overload, Type, Value, typed};
use super::zone::{from_local, zone_of};
use super::{is_text, time_pattern::MONTHS};
use crate::error::QueryError;
use arrow::datatypes::{DataType, TimeUnit};
use chrono::{NaiveDate, NaiveDateTime};
use datafusion::common::{DFSchema, Result, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::sqlparser::ast::BinaryOperator;
use datafusion::logical_expr::{Between, Expr, ExprSchemable, ScalarUDF};
use datafusion::scalar::ScalarValue;
use std::sync::{Arc, LazyLock};
use whence_schema::tables::timestamp_type;

const DAY_MICROS: i64 = 86_400_000_000;
const LOCAL: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
const CLOCK: DataType = DataType::Time64(TimeUnit::Microsecond);

/// Abbreviations of zones that PostgreSQL knows without being told, as seconds east of Greenwich.
const ABBREVIATIONS: [(&str, i64); 14] = [
    ("Z", 0),
    ("UTC", 0),
    ("GMT", 0),
    ("ZULU", 0),
    ("EST", -18_000),
    ("EDT", -14_400),
    ("CST", -21_600),
    ("CDT", -18_000),
    ("MST", -25_200),
    ("MDT", -21_600),
    ("PST", -28_800),
    ("PDT", -25_200),
    ("CET", 3_600),
    ("CEST", 7_200),
];

/// Words for a day that is another one tomorrow.
const PASSING: [&str; 5] = ["now", "today", "tomorrow", "yesterday", "current"];

/// What a text says.
#[derive(Debug, Default)]
struct Parts {
    date: Option<NaiveDate>,
    /// Microseconds since midnight.
    clock: Option<i64>,
    zone: Option<Zone>,
    /// -1 and 1 for `-infinity` and `infinity`.
    infinite: i8,
}

#[derive(Debug)]
enum Zone {
    Seconds(i64),
    Named(arrow::array::timezone::Tz),
}

fn invalid(kind: &str, text: &str) -> QueryError {
    QueryError::InvalidDatetime { problem: format!("invalid input syntax for type {kind}: \"{text}\"") }
}

fn out_of_range(text: &str) -> QueryError {
    QueryError::OutOfRange { what: format!("date/time field value: \"{text}\"") }
}

impl Parts {
    fn of(text: &str, kind: &str) -> Result<Self, QueryError> {
        let problem = || invalid(kind, text);
        let trimmed = text.trim();
        match trimmed.to_ascii_lowercase().as_str() {
            "infinity" | "+infinity" => return Ok(Self { infinite: 1, ..Self::default() }),
            "-infinity" => return Ok(Self { infinite: -1, ..Self::default() }),
            "epoch" => {
                let zone = Some(Zone::Seconds(0));
                return Ok(Self { date: NaiveDate::from_ymd_opt(1970, 1, 1), clock: Some(0), zone, infinite: 0 });
            }
            word if PASSING.contains(&word) => {
                let what = format!("the time \"{word}\" (write now(), current_date or now() - interval '1 day')");
                return Err(QueryError::NotSupported { what });
            }
            _ => {}
        }
        let mut parts = Self::default();
        let (mut month, mut numbers, mut before_christ) = (None, Vec::new(), false);
        for word in trimmed.split([' ', ',']).filter(|word| !word.is_empty()) {
            let lower = word.to_ascii_lowercase();
            let is_number = word.len() < 8 && word.bytes().all(|b| b.is_ascii_digit());
            if let Some(zone) = word.strip_prefix(['+', '-']).map(|_| offset_of(word)) {
                parts.zone = Some(Zone::Seconds(zone.ok_or_else(problem)?));
            } else if lower == "bc" || lower == "ad" {
                before_christ = lower == "bc";
            } else if (lower == "am" || lower == "pm") && parts.clock.is_some() {
                parts.clock = Some(of_half(parts.clock.unwrap_or(0), lower == "pm").ok_or_else(|| out_of_range(text))?);
            } else if let Some(found) = month_of(&lower) {
                month = Some(found);
            } else if word.starts_with(|c: char| c.is_ascii_alphabetic()) {
                parts.zone = Some(named_zone(word).ok_or_else(problem)?);
            } else if is_number && (month.is_some() || word.len() < 3) {
                numbers.push(word.parse::<i32>().map_err(|_| problem())?);
            } else if (word.contains(':') && !word.contains(['T', 't'])) || (is_number && parts.date.is_some()) {
                parts.read_clock(word, text, kind)?;
            } else if parts.date.is_none() {
                let (date, clock) = match word.find(['T', 't']) {
                    Some(at) => (&word[..at], Some(&word[at + 1..])),
                    None => (word, None),
                };
                parts.date = Some(iso_date(date).ok_or_else(problem)?.ok_or_else(|| out_of_range(text))?);
                if let Some(clock) = clock {
                    parts.read_clock(clock, text, kind)?;
                }
            } else {
                return Err(problem());
            }
        }
        match (month, numbers.as_slice()) {
            (Some(month), [first, second]) => {
                let (year, day) = if *first > 31 { (*first, *second) } else { (*second, *first) };
                let day = u32::try_from(day).map_err(|_| problem())?;
                parts.date = Some(NaiveDate::from_ymd_opt(year, month, day).ok_or_else(|| out_of_range(text))?);
            }
            (None, []) => {}
            _ => return Err(problem()),
        }
        if before_christ {
            use chrono::Datelike;
            let date = parts.date.ok_or_else(problem)?;
            parts.date = Some(date.with_year(1 - date.year()).ok_or_else(|| out_of_range(text))?);
        }
        Ok(parts)
    }

    /// `14:07:09.5+02`, `1407` after a T, `14:07Z`.
    fn read_clock(&mut self, word: &str, text: &str, kind: &str) -> Result<(), QueryError> {
        let problem = || invalid(kind, text);
        let end = word.find(|c: char| !(c.is_ascii_digit() || matches!(c, ':' | '.'))).unwrap_or(word.len());
        let (clock, mut zone) = word.split_at(end);
        self.clock = Some(clock_of(clock).ok_or_else(problem)?.ok_or_else(|| out_of_range(text))?);
        for (half, afternoon) in [("am", false), ("pm", true)] {
            if zone.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(half)) {
                let clock = of_half(self.clock.unwrap_or(0), afternoon);
                self.clock = Some(clock.ok_or_else(|| out_of_range(text))?);
                zone = &zone[2..];
            }
        }
        if !zone.is_empty() {
            let read = if zone.starts_with(['+', '-']) { offset_of(zone).map(Zone::Seconds) } else { named_zone(zone) };
            self.zone = Some(read.ok_or_else(problem)?);
        }
        Ok(())
    }

    fn local(&self, kind: &str, text: &str) -> Result<i64, QueryError> {
        let date = self.date.ok_or_else(|| invalid(kind, text))?;
        Ok(NaiveDateTime::from(date).and_utc().timestamp_micros() + self.clock.unwrap_or(0))
    }
}

fn month_of(lower: &str) -> Option<u32> {
    let word = lower.trim_end_matches('.');
    let matches = |name: &&&str| word.eq_ignore_ascii_case(name) || word.eq_ignore_ascii_case(&name[..3]);
    let at = MONTHS.iter().position(|name| matches(&name)).or((word == "sept").then_some(8))?;
    u32::try_from(at + 1).ok()
}

fn named_zone(word: &str) -> Option<Zone> {
    let known = ABBREVIATIONS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
    match known {
        Some((_, seconds)) => Some(Zone::Seconds(*seconds)),
        None => zone_of(word).ok().map(Zone::Named),
    }
}

/// The date of `2024-03-05`, `2024/3/5` and `20240305`; `None` within if there is no such day.
fn iso_date(word: &str) -> Option<Option<NaiveDate>> {
    let (year, month, day) = if word.len() == 8 && word.bytes().all(|b| b.is_ascii_digit()) {
        (word.get(..4)?, word.get(4..6)?, word.get(6..)?)
    } else {
        let mut fields = word.split(['-', '/', '.']);
        let fields = (fields.next()?, fields.next()?, fields.next()?, fields.next());
        let (year, month, day, None) = fields else { return None };
        // A day or month first would be read by DateStyle.
        if year.len() < 3 || month.len() > 2 || day.len() > 2 {
            return None;
        }
        (year, month, day)
    };
    Some(NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?))
}

/// Microseconds since midnight of `14`, `14:07`, `14:07:09.5`, `140709`.
fn clock_of(word: &str) -> Option<Option<i64>> {
    let (whole, fraction) = word.split_once('.').unwrap_or((word, ""));
    let fields: Vec<&str> = match whole.len() {
        4 | 6 if !whole.contains(':') => {
            (0..whole.len()).step_by(2).map(|at| whole.get(at..at + 2)).collect::<Option<_>>()?
        }
        _ => whole.split(':').collect(),
    };
    let number = |at: usize| match fields.get(at) {
        Some(field) if field.len() <= 2 => field.parse::<i64>().ok(),
        Some(_) => None,
        None => Some(0),
    };
    if fields.len() > 3 || (!fraction.is_empty() && fields.len() < 3) {
        return None;
    }
    let (hour, minute, second) = (number(0)?, number(1)?, number(2)?);
    let micros = if fraction.is_empty() {
        0
    } else {
        (format!("0.{fraction}").parse::<f64>().ok()? * 1e6).round_ties_even() as i64
    };
    let total = ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros;
    Some((hour <= 24 && minute < 60 && second <= 60 && total <= DAY_MICROS).then_some(total))
}

/// The time of a clock of twelve hours.
fn of_half(clock: i64, afternoon: bool) -> Option<i64> {
    const HOUR: i64 = 3_600_000_000;
    let hour = clock / HOUR;
    let shifted = clock % HOUR + (hour % 12 + if afternoon { 12 } else { 0 }) * HOUR;
    (hour <= 12).then_some(shifted)
}

/// Seconds of `+02`, `-0530`, `+02:30`, `+02:30:15`.
fn offset_of(word: &str) -> Option<i64> {
    let digits = word.get(1..)?;
    let fields: Vec<&str> = match digits.len() {
        4 if !digits.contains(':') => vec![digits.get(..2)?, digits.get(2..)?],
        _ => digits.split(':').collect(),
    };
    if fields.len() > 3 || fields.iter().any(|field| field.is_empty() || field.len() > 2) {
        return None;
    }
    let number = |at: usize| fields.get(at).map_or(Some(0), |field| field.parse::<i64>().ok());
    let (hours, minutes, seconds) = (number(0)?, number(1)?, number(2)?);
    let total = (hours * 60 + minutes) * 60 + seconds;
    (hours <= 15 && minutes < 60 && seconds < 60).then_some(if word.starts_with('-') { -total } else { total })
}

/// Microseconds since 1970 in UTC; without a zone UTC is meant.
pub(crate) fn timestamptz_of(text: &str) -> Result<i64, QueryError> {
    const KIND: &str = "timestamp with time zone";
    let parts = Parts::of(text, KIND)?;
    match parts.infinite {
        1 => return Ok(i64::MAX),
        -1 => return Ok(i64::MIN),
        _ => {}
    }
    let local = parts.local(KIND, text)?;
    match parts.zone {
        None => Ok(local),
        Some(Zone::Seconds(seconds)) => Ok(local - seconds * 1_000_000),
        Some(Zone::Named(zone)) => from_local(local, zone).ok_or_else(|| out_of_range(text)),
    }
}

/// Microseconds since 1970; a zone is read and not used.
pub(crate) fn timestamp_of(text: &str) -> Result<i64, QueryError> {
    const KIND: &str = "timestamp";
    let parts = Parts::of(text, KIND)?;
    match parts.infinite {
        1 => Ok(i64::MAX),
        -1 => Ok(i64::MIN),
        _ => parts.local(KIND, text),
    }
}

/// Days since 1970-01-01.
pub(crate) fn date_of(text: &str) -> Result<i32, QueryError> {
    let parts = Parts::of(text, "date")?;
    match parts.infinite {
        1 => return Ok(i32::MAX),
        -1 => return Ok(i32::MIN),
        _ => {}
    }
    let date = parts.date.ok_or_else(|| invalid("date", text))?;
    i32::try_from(NaiveDateTime::from(date).and_utc().timestamp() / 86_400).map_err(|_| out_of_range(text))
}

/// Microseconds since midnight.
pub(crate) fn time_of(text: &str) -> Result<i64, QueryError> {
    let parts = Parts::of(text, "time")?;
    parts.clock.filter(|_| parts.infinite == 0).ok_or_else(|| invalid("time", text))
}

/// The functions behind casts of texts that are no literals.
static READERS: LazyLock<[Arc<ScalarUDF>; 4]> = LazyLock::new(|| {
    const TO_TIMESTAMPTZ: &[Overload] =
        &[Overload { takes: &[Type::Text], gives: Type::TimestampTz, call: |inputs| read(inputs, timestamptz_of) }];
    const TO_TIMESTAMP: &[Overload] =
        &[Overload { takes: &[Type::Text], gives: Type::Timestamp, call: |inputs| read(inputs, timestamp_of) }];
    const TO_TIME: &[Overload] =
        &[Overload { takes: &[Type::Text], gives: Type::Time, call: |inputs| read(inputs, time_of) }];
    const TO_DATE: &[Overload] = &[Overload {
        takes: &[Type::Text],
        gives: Type::Date,
        call: |inputs| match inputs {
            [Value::Text(text)] => Ok(Value::Days(date_of(text)?)),
            other => internal_err!("a date of {other:?}"),
        },
    }];
    [
        typed("timestamptz_of_text", TO_TIMESTAMPTZ, &[]),
        typed("timestamp_of_text", TO_TIMESTAMP, &[]),
        typed("time_of_text", TO_TIME, &[]),
        typed("date_of_text", TO_DATE, &[]),
    ]
    .map(Arc::new)
});

fn read(inputs: &[Value], reader: fn(&str) -> Result<i64, QueryError>) -> Result<Value> {
    match inputs {
        [Value::Text(text)] => Ok(Value::Micros(reader(text)?)),
        other => internal_err!("a time of {other:?}"),
    }
}

/// `text` as a value of a type of time: at once if it is a literal. `None` for other types.
pub(crate) fn of_text(text: &Expr, target: &DataType) -> Option<Result<Expr>> {
    let literal = match text {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        _ => None,
    };
    let value = |value: Result<ScalarValue, QueryError>| Ok(Expr::Literal(value?, None));
    let call = |at: usize| Ok(Expr::ScalarFunction(ScalarFunction::new_udf(READERS[at].clone(), vec![text.clone()])));
    Some(match (target, literal) {
        (DataType::Timestamp(_, Some(zone)), Some(text)) => value(
            timestamptz_of(text).map(|micros| ScalarValue::TimestampMicrosecond(Some(micros), Some(zone.clone()))),
        ),
        (DataType::Timestamp(_, None), Some(text)) => {
            value(timestamp_of(text).map(|micros| ScalarValue::TimestampMicrosecond(Some(micros), None)))
        }
        (DataType::Date32, Some(text)) => value(date_of(text).map(|days| ScalarValue::Date32(Some(days)))),
        (DataType::Time64(_), Some(text)) => {
            value(time_of(text).map(|micros| ScalarValue::Time64Microsecond(Some(micros))))
        }
        (DataType::Timestamp(_, Some(_)), None) => call(0),
        (DataType::Timestamp(_, None), None) => call(1),
        (DataType::Time64(_), None) => call(2),
        (DataType::Date32, None) => call(3),
        _ => return None,
    })
}

/// The type that a cast to a time of SQL means: microseconds, as in PostgreSQL.
pub(crate) fn type_of(zone: bool) -> DataType {
    if zone { timestamp_type() } else { LOCAL }
}

/// The type of a time of day.
pub(crate) const TIME_OF_DAY: DataType = CLOCK;

/// When a query is planned: a literal beside a time is a time.
#[derive(Debug)]
pub(crate) struct LiteralsAreTimes;

impl ExprPlanner for LiteralsAreTimes {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, Minus, NotEq};
        if !matches!(expr.op, Eq | NotEq | Lt | LtEq | Gt | GtEq | Minus) {
            return Ok(PlannerResult::Original(expr));
        }
        let RawBinaryExpr { op, left, right } = expr;
        let left = beside(left, &right, schema)?;
        let right = beside(right, &left, schema)?;
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }
}

/// `side` as a time if it is a literal text and `other` is a time.
pub(crate) fn beside(side: Expr, other: &Expr, schema: &DFSchema) -> Result<Expr> {
    if !matches!(&side, Expr::Literal(value, _) if value.try_as_str().flatten().is_some()) {
        return Ok(side);
    }
    match other.get_type(schema) {
        Ok(target) if !is_text(&target) => of_text(&side, &target).unwrap_or(Ok(side)),
        _ => Ok(side),
    }
}

/// `time BETWEEN '...' AND '...'` with times.
pub(crate) fn between(between: Between, schema: &DFSchema) -> Result<Between> {
    let Between { expr, negated, low, high } = between;
    let low = Box::new(beside(*low, &expr, schema)?);
    let high = Box::new(beside(*high, &expr, schema)?);
    Ok(Between { expr, negated, low, high })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_read_as_postgresql_reads_them() {
        let moment = 1_709_647_620_000_000;
        for text in [
            "2024-03-05 14:07+00",
            "2024-03-05T14:07:00Z",
            "2024-03-05 14:07",
            "  2024-03-05   14:07:00.000 ",
            "20240305T140700",
            "2024/3/5 2:07 PM",
            "2024-03-05 15:07 CET",
            "2024-03-05 15:07:00 Europe/Berlin",
            "2024-03-05 16:07:00+0200",
            "2024-03-05 08:37:00-05:30",
            "Mar 5 2024 14:07",
            "5 March 2024 14:07",
            "March 5, 2024 14:07 UTC",
        ] {
            assert_eq!(timestamptz_of(text).unwrap(), moment, "{text}");
        }
        assert_eq!(timestamp_of("2024-03-05 14:07+05").unwrap(), moment, "a zone is not used");
        assert_eq!(timestamptz_of("infinity").unwrap(), i64::MAX);
        assert_eq!(date_of("2024-03-05 14:07").unwrap(), 19_787);
        assert_eq!(date_of("0044-03-15 BC").unwrap(), -735_160);
        assert_eq!((time_of("10:30").unwrap(), time_of("24:00").unwrap()), (37_800_000_000, DAY_MICROS));
        for text in
            ["foo", "2024-13-01", "2024-02-30 00:00", "2024-03-05 25:00", "today", "05/03/2024", "", "2024-03-05 x"]
        {
            assert!(timestamptz_of(text).is_err(), "{text}");
        }
    }
}
