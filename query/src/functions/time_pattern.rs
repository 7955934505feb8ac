//! Patterns of times, which `to_char` writes by and `to_date` and `to_timestamp` read by. Names of months and days are
//! English. A pattern that is not known is refused, never copied.

use crate::error::QueryError;

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    /// FX: what follows is read exactly.
    Exact,
    /// White space or a sign that is not quoted.
    Separator(char),
    /// Text that is copied, or passed over.
    Character(char),
    /// A field, as its keyword in upper case; without padding (FM); with an ordinal's ending (TH, th).
    Field { name: &'static str, as_written: String, trimmed: bool, ending: Option<bool> },
}

/// Keywords; a longer one before each that it starts with.
const FIELDS: [&str; 53] = [
    "Y,YYY", "YYYY", "YYY", "YY", "Y", "IYYY", "IYY", "IY", "IW", "IDDD", "ID", "I", "MONTH", "MON", "MM", "MI", "MS",
    "US", "FF1", "FF2", "FF3", "FF4", "FF5", "FF6", "DAY", "DDD", "DD", "DY", "D", "HH24", "HH12", "HH", "SSSSS",
    "SSSS", "SS", "A.M.", "A.D.", "AM", "AD", "P.M.", "PM", "B.C.", "BC", "CC", "WW", "W", "Q", "J", "TZH", "TZM",
    "TZ", "OF", "RM",
];

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
pub(super) const ROMAN: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// The pieces of a pattern.
///
/// # Errors
///
/// If letters are no field: PostgreSQL would copy them, which is most often a slip, such as `yyyy-mm-dd hh:nn`. T and Z
/// are those of ISO 8601.
pub(super) fn pieces_of(pattern: &str) -> Result<Vec<Piece>, QueryError> {
    let mut pieces = Vec::new();
    let mut rest = pattern;
    let mut trimmed = false;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = strip(rest, "FM") {
            trimmed = true;
            rest = after;
        } else if let Some(after) = strip(rest, "FX") {
            pieces.push(Piece::Exact);
            rest = after;
        } else if let Some(after) = strip(rest, "TM") {
            // Names in the locale's language, which is English here, and without padding.
            trimmed = true;
            rest = after;
        } else if first == '"' {
            let (quoted, after) = rest[1..].split_once('"').unwrap_or((&rest[1..], ""));
            pieces.extend(quoted.chars().map(Piece::Character));
            rest = after;
        } else if let Some(name) = FIELDS.iter().find(|name| strip(rest, name).is_some()) {
            let as_written = rest[..name.len()].to_owned();
            rest = &rest[name.len()..];
            let upper = rest.starts_with("TH");
            let ending = (upper || rest.starts_with("th")).then_some(upper);
            if ending.is_some() {
                rest = &rest[2..];
            }
            pieces.push(Piece::Field { name, as_written, trimmed, ending });
            trimmed = false;
        } else if first.is_ascii_alphabetic() && !matches!(first, 'T' | 't' | 'Z') {
            let what = format!("the pattern \"{rest}\" (put text that is to be copied between \"\")");
            return Err(QueryError::NotSupported { what });
        } else {
            let separates = first.is_ascii_whitespace() || first.is_ascii_punctuation();
            pieces.push(if separates { Piece::Separator(first) } else { Piece::Character(first) });
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok(pieces)
}

fn strip<'a>(text: &'a str, keyword: &str) -> Option<&'a str> {
    let start = text.get(..keyword.len())?;
    start.eq_ignore_ascii_case(keyword).then(|| &text[keyword.len()..])
}
