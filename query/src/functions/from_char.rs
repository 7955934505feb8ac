//! Times read by a pattern: `to_date(text, pattern)` and `to_timestamp(text, pattern)`, with the patterns of `to_char`.
//!
//! Follows PostgreSQL's `DCH_from_char` and `do_to_timestamp` (`formatting.c`): separators match any separator or none,
//! a number takes as many digits as it finds unless the next field is a number, too.

use super::time_pattern::{DAYS, MONTHS, Piece, ROMAN, pieces_of};
use super::typed_function::{Overload, Type, Value, typed};
use crate::error::QueryError;
use chrono::{NaiveDate, NaiveDateTime, TimeDelta, Weekday};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::ScalarUDF;

/// The functions.
pub(crate) fn functions() -> Vec<ScalarUDF> {
    const TO_DATE: &[Overload] = &[Overload { takes: &[Type::Text, Type::Text], gives: Type::Date, call: to_date }];
    const TO_TIMESTAMP: &[Overload] = &[
        Overload { takes: &[Type::Float], gives: Type::TimestampTz, call: of_seconds },
        Overload { takes: &[Type::Text, Type::Text], gives: Type::TimestampTz, call: to_timestamp },
    ];
    vec![typed("to_date", TO_DATE, &[]), typed("to_timestamp", TO_TIMESTAMP, &[])]
}

fn of_seconds(inputs: &[Value]) -> Result<Value> {
    let [Value::Float(seconds)] = inputs else { return internal_err!("to_timestamp of {inputs:?}") };
    // The years that PostgreSQL's timestamps have, in seconds since 1970.
    if !(-210_866_803_200.0..9_224_318_016_000.0).contains(seconds) {
        return Err(QueryError::OutOfRange { what: format!("timestamp: \"{seconds}\"") }.into());
    }
    let whole = seconds.floor();
    let micros = ((seconds - whole) * 1e6).round_ties_even();
    Ok(Value::Micros(whole as i64 * 1_000_000 + micros as i64))
}

fn to_timestamp(inputs: &[Value]) -> Result<Value> {
    let [Value::Text(text), Value::Text(pattern)] = inputs else { return internal_err!("to_timestamp of {inputs:?}") };
    let fields = Fields::read(text, pattern)?;
    let local =
        fields.date()?.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros() + fields.micros_of_day()?;
    Ok(Value::Micros(local - fields.offset_seconds()? * 1_000_000))
}

fn to_date(inputs: &[Value]) -> Result<Value> {
    let [Value::Text(text), Value::Text(pattern)] = inputs else { return internal_err!("to_date of {inputs:?}") };
    let fields = Fields::read(text, pattern)?;
    fields.micros_of_day()?;
    let days = NaiveDateTime::from(fields.date()?).and_utc().timestamp().div_euclid(86_400);
    match i32::try_from(days) {
        Ok(days) => Ok(Value::Days(days)),
        Err(_) => internal_err!("a date beyond all dates"),
    }
}

/// What a text says, by its pattern.
#[derive(Debug, Default)]
struct Fields {
    year: Option<i64>,
    /// Digits of the year's field.
    year_digits: usize,
    century: Option<i64>,
    before_christ: bool,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    /// From 1, Sunday, to 7.
    day_of_week: Option<i64>,
    week: Option<i64>,
    week_of_month: Option<i64>,
    julian_day: Option<i64>,
    iso: Option<bool>,
    hour: Option<i64>,
    afternoon: Option<bool>,
    twelve_hours: bool,
    minute: Option<i64>,
    second: Option<i64>,
    second_of_day: Option<i64>,
    millis: Option<i64>,
    micros: Option<i64>,
    zone_sign: Option<i64>,
    zone_hours: Option<i64>,
    zone_minutes: Option<i64>,
}

/// Where reading is in the text.
struct Reader<'a> {
    rest: &'a str,
    /// The character before `rest`.
    before: Option<char>,
    /// White space that was skipped beyond what the pattern has.
    skipped: i32,
    exact: bool,
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        while self.rest.starts_with(|c: char| c.is_ascii_whitespace()) {
            self.skip_one();
            self.skipped += 1;
        }
    }

    fn skip_one(&mut self) {
        let mut characters = self.rest.chars();
        if let Some(character) = characters.next() {
            self.before = Some(character);
            self.rest = characters.as_str();
        }
    }

    fn skip_bytes(&mut self, count: usize) {
        self.before = self.rest[..count].chars().last();
        self.rest = &self.rest[count..];
    }

    /// A whole number of at most `width` digits, or of any if `greedy`; with the number of characters it took.
    fn number(&mut self, field: &str, width: usize, greedy: bool) -> Result<(i64, usize), QueryError> {
        let invalid =
            |value: &str| QueryError::InvalidDatetime { problem: format!("invalid value \"{value}\" for \"{field}\"") };
        let spaces = self.rest.len() - self.rest.trim_start_matches(|c: char| c.is_ascii_whitespace()).len();
        let after_space = &self.rest[spaces..];
        let signed = usize::from(after_space.starts_with(['+', '-']));
        let digits = after_space[signed..].bytes().take_while(u8::is_ascii_digit).count();
        let mut taken = if digits == 0 { 0 } else { signed + digits };
        if !greedy {
            let available = after_space.chars().count();
            if available < width {
                let problem = format!("source string too short for \"{field}\" formatting field");
                return Err(QueryError::InvalidDatetime { problem });
            }
            taken = taken.min(width);
            if taken < width {
                return Err(invalid(&after_space.chars().take(width).collect::<String>()));
            }
        }
        if taken == 0 {
            return Err(invalid(&after_space.chars().take(width).collect::<String>()));
        }
        let number = after_space[..taken]
            .parse::<i32>()
            .map_err(|_| QueryError::OutOfRange { what: format!("value for \"{field}\" in source string") })?;
        self.skip_bytes(spaces + taken);
        Ok((number.into(), spaces + taken))
    }

    /// Position of the word that comes next, whatever its case.
    fn word(&mut self, field: &str, words: &[&str]) -> Result<usize, QueryError> {
        let matches = |word: &&str| self.rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        match words.iter().position(matches) {
            Some(at) => {
                self.skip_bytes(words[at].len());
                Ok(at)
            }
            None => {
                let end = self.rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(self.rest.len());
                let problem = format!("invalid value \"{}\" for \"{field}\"", &self.rest[..end]);
                Err(QueryError::InvalidDatetime { problem })
            }
        }
    }
}

fn set(slot: &mut Option<i64>, value: i64, field: &str) -> Result<(), QueryError> {
    match *slot {
        Some(before) if before != value => {
            let problem = format!("conflicting values for \"{field}\" field in formatting string");
            Err(QueryError::InvalidDatetime { problem })
        }
        _ => {
            *slot = Some(value);
            Ok(())
        }
    }
}

/// Fields whose value is no number, after which a number ends.
fn is_word(name: &str) -> bool {
    matches!(
        name,
        "MONTH" | "MON" | "DAY" | "DY" | "AM" | "PM" | "A.M." | "P.M." | "AD" | "BC" | "A.D." | "B.C." | "RM" | "TZH"
    ) || name.starts_with("FF")
}

impl Fields {
    fn read(text: &str, pattern: &str) -> Result<Self, QueryError> {
        if pattern.contains('%') {
            let what = "a pattern with % (write one of PostgreSQL's, such as 'YYYY-MM-DD HH24:MI:SS')";
            return Err(QueryError::NotSupported { what: what.to_owned() });
        }
        let pieces = pieces_of(pattern)?;
        let mut fields = Self::default();
        let mut reader = Reader { rest: text, before: None, skipped: 0, exact: false };
        for (at, piece) in pieces.iter().enumerate() {
            if reader.rest.is_empty() {
                break;
            }
            if !reader.exact && !matches!(piece, Piece::Exact) && (matches!(piece, Piece::Field { .. }) || at == 0) {
                reader.skip_space();
            }
            match piece {
                Piece::Exact => reader.exact = true,
                Piece::Separator(_) if reader.exact => reader.skip_one(),
                Piece::Separator(_) => {
                    reader.skipped -= 1;
                    let separates = |c: char| c.is_ascii_whitespace() || c.is_ascii_punctuation();
                    if reader.rest.starts_with(separates) {
                        reader.skip_one();
                        reader.skipped += 1;
                    }
                }
                Piece::Character(_) if !reader.exact && reader.skipped > 0 => reader.skipped -= 1,
                Piece::Character(_) => reader.skip_one(),
                Piece::Field { name, trimmed, ending, .. } => {
                    let greedy = *trimmed || ending.is_some() || ends_number(pieces.get(at + 1));
                    fields.field(&mut reader, name, greedy)?;
                    if ending.is_some() {
                        reader.skip_one();
                        reader.skip_one();
                    }
                    if !reader.exact {
                        reader.skipped = 0;
                        reader.skip_space();
                    }
                }
            }
        }
        Ok(fields)
    }

    fn field(&mut self, reader: &mut Reader<'_>, name: &'static str, greedy: bool) -> Result<(), QueryError> {
        let mut iso = None;
        let mut number = |slot: &mut Option<i64>, width: usize| {
            let (value, taken) = reader.number(name, width, greedy)?;
            set(slot, value, name)?;
            Ok::<_, QueryError>((value, taken))
        };
        match name {
            "HH" | "HH12" => {
                self.twelve_hours = true;
                number(&mut self.hour, 2)?;
            }
            "HH24" => drop(number(&mut self.hour, 2)?),
            "MI" => drop(number(&mut self.minute, 2)?),
            "SS" => drop(number(&mut self.second, 2)?),
            "SSSS" | "SSSSS" => drop(number(&mut self.second_of_day, name.len())?),
            "MS" => self.millis = Some(fraction(number(&mut None, 3)?, 3)),
            "US" => self.micros = Some(fraction(number(&mut None, 6)?, 6)),
            _ if name.starts_with("FF") => {
                let width = name[2..].parse().unwrap_or(6);
                self.micros = Some(fraction(number(&mut None, width)?, 6));
            }
            "MM" => {
                iso = Some(false);
                number(&mut self.month, 2)?;
            }
            "DD" => {
                iso = Some(false);
                number(&mut self.day, 2)?;
            }
            "DDD" | "IDDD" => {
                iso = Some(name == "IDDD");
                number(&mut self.day_of_year, 3)?;
            }
            "D" => {
                iso = Some(false);
                number(&mut self.day_of_week, 1)?;
            }
            "ID" => {
                iso = Some(true);
                let (day, _) = number(&mut None, 1)?;
                set(&mut self.day_of_week, day % 7 + 1, name)?;
            }
            "WW" | "IW" => {
                iso = Some(name == "IW");
                number(&mut self.week, 2)?;
            }
            "W" => {
                iso = Some(false);
                number(&mut self.week_of_month, 1)?;
            }
            "Q" => drop(number(&mut None, 1)?),
            "CC" => drop(number(&mut self.century, 2)?),
            "J" => drop(number(&mut self.julian_day, 1)?),
            "TZM" => {
                self.zone_sign = self.zone_sign.or(Some(1));
                number(&mut self.zone_minutes, 2)?;
            }
            "YYYY" | "IYYY" | "YYY" | "IYY" | "YY" | "IY" | "Y" | "I" => {
                iso = Some(name.starts_with('I'));
                let width = name.trim_start_matches('I').len().max(if iso == Some(true) { name.len() } else { 1 });
                let (year, taken) = number(&mut None, width)?;
                set(&mut self.year, if width < 4 && taken < 4 { near_2020(year) } else { year }, name)?;
                self.year_digits = width;
            }
            other => return self.word(reader, other, greedy),
        }
        self.dated(iso)
    }

    /// Fields that do not start with a digit.
    fn word(&mut self, reader: &mut Reader<'_>, name: &'static str, greedy: bool) -> Result<(), QueryError> {
        let position = |at: usize| i64::try_from(at).unwrap_or(0);
        match name {
            "MONTH" | "MON" => {
                let short = MONTHS.map(|month| &month[..3]);
                let at = reader.word(name, if name == "MON" { &short } else { &MONTHS })?;
                set(&mut self.month, position(at) + 1, name)?;
                return self.dated(Some(false));
            }
            "RM" => {
                // A longer numeral before each that it starts with.
                let mut numerals: Vec<(usize, &str)> = ROMAN.into_iter().enumerate().collect();
                numerals.sort_by_key(|(_, numeral)| std::cmp::Reverse(numeral.len()));
                let words: Vec<&str> = numerals.iter().map(|(_, numeral)| *numeral).collect();
                let at = reader.word(name, &words)?;
                set(&mut self.month, position(numerals[at].0) + 1, name)?;
                return self.dated(Some(false));
            }
            "DAY" | "DY" => {
                let short = DAYS.map(|day| &day[..3]);
                let at = reader.word(name, if name == "DY" { &short } else { &DAYS })?;
                set(&mut self.day_of_week, position(at) + 1, name)?;
            }
            "AM" | "PM" | "A.M." | "P.M." => {
                self.twelve_hours = true;
                let words: [&str; 2] = if name.contains('.') { ["A.M.", "P.M."] } else { ["AM", "PM"] };
                self.afternoon = Some(reader.word(name, &words)? == 1);
            }
            "AD" | "BC" | "A.D." | "B.C." => {
                let words: [&str; 2] = if name.contains('.') { ["A.D.", "B.C."] } else { ["AD", "BC"] };
                self.before_christ = reader.word(name, &words)? == 1;
            }
            "TZH" => {
                // Its sign may have been taken for a separator.
                let sign = match reader.rest.chars().next() {
                    Some(sign @ ('+' | '-' | ' ')) => {
                        reader.skip_one();
                        if sign == '-' { -1 } else { 1 }
                    }
                    _ if reader.skipped > 0 && reader.before == Some('-') => -1,
                    _ => 1,
                };
                self.zone_sign = Some(sign);
                self.zone_hours = Some(reader.number(name, 2, greedy)?.0);
            }
            "Y,YYY" => {
                let (thousands, _) = reader.number(name, 1, true)?;
                let rest = reader.rest.strip_prefix(',').map(str::len);
                if rest.is_none() {
                    let problem = "invalid input string for \"Y,YYY\"".to_owned();
                    return Err(QueryError::InvalidDatetime { problem });
                }
                reader.skip_one();
                let (year, _) = reader.number(name, 3, false)?;
                set(&mut self.year, thousands * 1_000 + year, name)?;
                self.year_digits = 4;
                return self.dated(Some(false));
            }
            other => {
                let what = format!("the field \"{other}\" of a pattern by which a text is read");
                return Err(QueryError::NotSupported { what });
            }
        }
        Ok(())
    }

    /// Calendar dates and ISO weeks cannot be mixed.
    fn dated(&mut self, iso: Option<bool>) -> Result<(), QueryError> {
        match (self.iso, iso) {
            (Some(before), Some(now)) if before != now => {
                let problem = "invalid combination of date conventions: use a Gregorian or an ISO week date".to_owned();
                Err(QueryError::InvalidDatetime { problem })
            }
            (_, Some(now)) => {
                self.iso = Some(now);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The year as calendars count it, with a year 0 before the first; 0 where none is given.
    fn counted_year(&self) -> i64 {
        let era = |year: i64| if self.before_christ { 1 - year } else { year };
        match (self.year.filter(|year| *year != 0), self.century) {
            (Some(year), Some(century)) if self.year_digits <= 2 => {
                let year = year % 100;
                let ad = if year == 0 { century * 100 } else { (century - 1) * 100 + year };
                if self.before_christ { 1 - ad } else { ad }
            }
            (Some(year), _) => {
                let year = if self.before_christ { -year } else { year };
                if year < 0 { year + 1 } else { year }
            }
            (None, Some(century)) => era((century - 1) * 100 + 1),
            (None, None) => 0,
        }
    }

    fn date(&self) -> Result<NaiveDate, QueryError> {
        let problem = || QueryError::OutOfRange { what: "date/time field value".to_owned() };
        let year = i32::try_from(self.counted_year()).map_err(|_| problem())?;
        if let Some(day) = self.julian_day {
            let days = i32::try_from(day - 1_721_425).map_err(|_| problem())?;
            return NaiveDate::from_num_days_from_ce_opt(days).ok_or_else(problem);
        }
        let given = |field: Option<i64>| field.filter(|value| *value != 0);
        let mut day_of_year = given(self.day_of_year);
        let mut day = given(self.day);
        if let Some(week) = given(self.week) {
            if self.iso == Some(true) {
                let weekday = match self.day_of_week {
                    Some(day) => Weekday::try_from(u8::try_from((day + 5) % 7).unwrap_or(0)).unwrap_or(Weekday::Mon),
                    None => Weekday::Mon,
                };
                let week = u32::try_from(week).map_err(|_| problem())?;
                return NaiveDate::from_isoywd_opt(year, week, weekday).ok_or_else(problem);
            }
            day_of_year = Some((week - 1) * 7 + 1);
        }
        if let Some(week) = given(self.week_of_month) {
            day = Some((week - 1) * 7 + 1);
        }
        if let Some(ordinal) = day_of_year.filter(|_| self.month.unwrap_or(1) <= 1 || day.unwrap_or(1) <= 1) {
            if self.year.is_none() && self.century.is_none() {
                let problem = "cannot calculate day of year without year information".to_owned();
                return Err(QueryError::InvalidDatetime { problem });
            }
            let first = match self.iso {
                Some(true) => NaiveDate::from_isoywd_opt(year, 1, Weekday::Mon),
                _ => NaiveDate::from_ymd_opt(year, 1, 1),
            };
            let date = first.and_then(|first| first.checked_add_signed(TimeDelta::try_days(ordinal - 1)?));
            let same_year = |date: &NaiveDate| self.iso == Some(true) || chrono::Datelike::year(date) == year;
            return date.filter(same_year).ok_or_else(problem);
        }
        let narrow = |field: Option<i64>| u32::try_from(field.unwrap_or(1)).map_err(|_| problem());
        NaiveDate::from_ymd_opt(year, narrow(given(self.month))?, narrow(day)?).ok_or_else(problem)
    }

    fn micros_of_day(&self) -> Result<i64, QueryError> {
        let of_day = self.second_of_day.unwrap_or(0);
        let mut hour = self.hour.filter(|hour| *hour != 0).unwrap_or(of_day / 3_600);
        if self.twelve_hours {
            if !(1..=12).contains(&hour) {
                let problem = format!("hour \"{hour}\" is invalid for the 12-hour clock");
                return Err(QueryError::InvalidDatetime { problem });
            }
            hour = hour % 12 + if self.afternoon == Some(true) { 12 } else { 0 };
        }
        let minute = self.minute.filter(|minute| *minute != 0).unwrap_or(of_day / 60 % 60);
        let second = self.second.filter(|second| *second != 0).unwrap_or(of_day % 60);
        if !((0..24).contains(&hour) && (0..60).contains(&minute) && (0..60).contains(&second)) {
            return Err(QueryError::OutOfRange { what: "date/time field value".to_owned() });
        }
        let fraction = self.millis.unwrap_or(0) * 1_000 + self.micros.unwrap_or(0);
        Ok(((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction)
    }

    fn offset_seconds(&self) -> Result<i64, QueryError> {
        let (hours, minutes) = (self.zone_hours.unwrap_or(0), self.zone_minutes.unwrap_or(0));
        if !((0..=15).contains(&hours) && (0..60).contains(&minutes)) {
            return Err(QueryError::OutOfRange { what: "time zone displacement".to_owned() });
        }
        Ok(self.zone_sign.unwrap_or(1) * (hours * 3_600 + minutes * 60))
    }
}

/// A number of fewer digits than the field has, as the start of a fraction: 5 is 500 thousandths.
fn fraction((value, taken): (i64, usize), digits: usize) -> i64 {
    value * 10_i64.pow(u32::try_from(digits.saturating_sub(taken)).unwrap_or(0))
}

/// The year closest to 2020 that ends in the digits given.
fn near_2020(year: i64) -> i64 {
    match year {
        0..70 => year + 2_000,
        70..100 => year + 1_900,
        100..520 => year + 2_000,
        520..1_000 => year + 1_000,
        other => other,
    }
}

/// Whether a number that stands before `next` may be as long as it is.
fn ends_number(next: Option<&Piece>) -> bool {
    match next {
        None | Some(Piece::Exact) => true,
        Some(Piece::Field { name, .. }) => is_word(name),
        Some(Piece::Separator(character) | Piece::Character(character)) => !character.is_ascii_digit(),
    }
}
