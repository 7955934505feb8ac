//! JSON documents as PostgreSQL's `jsonb` understands them: the last of equal keys counts, keys are in the order of their
//! length and then their bytes, numbers are decimal, and the text form has one space after each colon and comma.

use std::borrow::Cow;
use std::fmt::Write;

/// Arrays and objects inside one another.
const MAX_DEPTH: usize = 256;
/// Digits that a number in scientific notation may be written out to.
const MAX_DIGITS: i64 = 400;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json<'a> {
    Null,
    Boolean(bool),
    /// Digits as written.
    Number(&'a str),
    String(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    /// In the order written.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// The value that `text` is; `None` if it is none.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(0)?;
        reader.space();
        (reader.at == text.len()).then_some(value)
    }

    /// `jsonb_typeof`.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "boolean",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }

    /// The value under `key`, or at the position that `key` is.
    pub(crate) fn step(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(entries) => entries.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value),
            Self::Array(items) => {
                let position: i64 = key.trim().parse().ok()?;
                let from_end = i64::try_from(items.len()).ok()?.checked_add(position)?;
                items.get(usize::try_from(if position < 0 { from_end } else { position }).ok()?)
            }
            _ => None,
        }
    }

    /// The value as text, as `->>` gives it: strings without quotes, null as NULL.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::String(text) => Some(text.as_ref().to_owned()),
            other => Some(other.to_jsonb()),
        }
    }

    /// Entries as `jsonb` has them: each key once, in its order.
    pub(crate) fn sorted(entries: &[(Cow<'a, str>, Self)]) -> Vec<(Cow<'a, str>, Self)> {
        let mut sorted: Vec<(Cow<'a, str>, Self)> = Vec::with_capacity(entries.len());
        for (key, value) in entries.iter().rev() {
            if !sorted.iter().any(|(known, _)| known == key) {
                sorted.push((key.clone(), value.clone()));
            }
        }
        sorted.sort_by(|(left, _), (right, _)| {
            left.len().cmp(&right.len()).then_with(|| left.as_bytes().cmp(right.as_bytes()))
        });
        sorted
    }

    /// Text of a `jsonb`.
    pub(crate) fn to_jsonb(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Boolean(truth) => out.push_str(if *truth { "true" } else { "false" }),
            Self::Number(digits) => out.push_str(&decimal(digits)),
            Self::String(text) => write_string(out, text),
            Self::Array(items) => {
                out.push('[');
                for (position, item) in items.iter().enumerate() {
                    out.push_str(if position == 0 { "" } else { ", " });
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(entries) => {
                out.push('{');
                for (position, (key, value)) in Self::sorted(entries).iter().enumerate() {
                    out.push_str(if position == 0 { "" } else { ", " });
                    write_string(out, key);
                    out.push_str(": ");
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// `jsonb_pretty`.
    pub(crate) fn pretty(&self, out: &mut String, depth: usize) {
        let line = |out: &mut String, depth: usize| {
            out.push('\n');
            out.extend(std::iter::repeat_n("    ", depth));
        };
        match self {
            Self::Array(items) => {
                out.push('[');
                for (position, item) in items.iter().enumerate() {
                    out.push_str(if position == 0 { "" } else { "," });
                    line(out, depth + 1);
                    item.pretty(out, depth + 1);
                }
                line(out, depth);
                out.push(']');
            }
            Self::Object(entries) => {
                out.push('{');
                for (position, (key, value)) in Self::sorted(entries).iter().enumerate() {
                    out.push_str(if position == 0 { "" } else { "," });
                    line(out, depth + 1);
                    write_string(out, key);
                    out.push_str(": ");
                    value.pretty(out, depth + 1);
                }
                line(out, depth);
                out.push('}');
            }
            other => other.write(out),
        }
    }

    /// `self @> other`. An array also contains a bare value, on the outermost level.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Array(items), Self::Array(_) | Self::Object(_)) => self.contains_inside(other, items),
            (Self::Array(items), value) => items.iter().any(|item| item.same(value)),
            _ => self.contains_inside(other, &[]),
        }
    }

    fn contains_inside(&self, other: &Self, items: &[Self]) -> bool {
        match (self, other) {
            (Self::Object(entries), Self::Object(wanted)) => Self::sorted(wanted).iter().all(|(key, value)| {
                entries.iter().rev().find(|(name, _)| name == key).is_some_and(|(_, found)| found.holds(value))
            }),
            (Self::Array(_), Self::Array(wanted)) => {
                wanted.iter().all(|value| items.iter().any(|item| item.holds(value)))
            }
            (left, right) => left.same(right),
        }
    }

    fn holds(&self, other: &Self) -> bool {
        match self {
            Self::Array(items) => matches!(other, Self::Array(_)) && self.contains_inside(other, items),
            _ => self.contains_inside(other, &[]),
        }
    }

    /// Equal as `jsonb`.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => plain_digits(left) == plain_digits(right),
            (Self::Array(left), Self::Array(right)) => {
                left.len() == right.len() && left.iter().zip(right).all(|(left, right)| left.same(right))
            }
            (Self::Object(left), Self::Object(right)) => {
                let (left, right) = (Self::sorted(left), Self::sorted(right));
                let pairs = left.iter().zip(&right);
                left.len() == right.len() && pairs.into_iter().all(|(l, r)| l.0 == r.0 && l.1.same(&r.1))
            }
            (left, right) => left == right,
        }
    }
}

/// A JSON string, with quotes.
pub(crate) fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            control if u32::from(control) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// A number without exponent, and without the sign of zero.
fn decimal(number: &str) -> Cow<'_, str> {
    let Some(at) = number.find(['e', 'E']) else {
        let negative_zero = number.starts_with('-') && number.bytes().all(|b| matches!(b, b'-' | b'0' | b'.'));
        return Cow::Borrowed(if negative_zero { &number[1..] } else { number });
    };
    let Ok(exponent) = number[at + 1..].parse::<i64>() else { return Cow::Borrowed(number) };
    if exponent.abs() > MAX_DIGITS {
        return Cow::Borrowed(number);
    }
    let (sign, digits) = match number[..at].strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", &number[..at]),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    let point = i64::try_from(whole.len()).unwrap_or(0) + exponent;
    let length = i64::try_from(all.len()).unwrap_or(0);
    let text = if point <= 0 {
        format!("0.{}{all}", "0".repeat(usize::try_from(-point).unwrap_or(0)))
    } else if point >= length {
        format!("{all}{}", "0".repeat(usize::try_from(point - length).unwrap_or(0)))
    } else {
        let (left, right) = all.split_at(usize::try_from(point).unwrap_or(0));
        format!("{left}.{right}")
    };
    let (left, right) = text.split_once('.').map_or((text.as_str(), None), |(left, right)| (left, Some(right)));
    let left = left.trim_start_matches('0');
    let left = if left.is_empty() { "0" } else { left };
    Cow::Owned(match right {
        Some(right) => format!("{sign}{left}.{right}"),
        None => format!("{sign}{left}"),
    })
}

/// The digits that decide equality.
fn plain_digits(number: &str) -> Cow<'_, str> {
    let decimal = decimal(number);
    if !decimal.contains('.') {
        return decimal;
    }
    Cow::Owned(decimal.trim_end_matches('0').trim_end_matches('.').to_owned())
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn space(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
    }

    fn peek(&mut self) -> Option<u8> {
        self.space();
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn word(&mut self, word: &str, value: Json<'a>) -> Option<Json<'a>> {
        self.text[self.at..].starts_with(word).then(|| {
            self.at += word.len();
            value
        })
    }

    fn value(&mut self, depth: usize) -> Option<Json<'a>> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.peek()? {
            b'n' => self.word("null", Json::Null),
            b't' => self.word("true", Json::Boolean(true)),
            b'f' => self.word("false", Json::Boolean(false)),
            b'"' => self.string().map(Json::String),
            b'[' => self.array(depth),
            b'{' => self.object(depth),
            _ => self.number(),
        }
    }

    fn array(&mut self, depth: usize) -> Option<Json<'a>> {
        self.take(b'[')?;
        let mut items = Vec::new();
        if self.peek()? == b']' {
            self.at += 1;
            return Some(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            match self.peek()? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Some(Json::Array(items));
                }
                _ => return None,
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Json<'a>> {
        self.take(b'{')?;
        let mut entries = Vec::new();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(Json::Object(entries));
        }
        loop {
            self.space();
            let key = self.string()?;
            self.take(b':')?;
            entries.push((key, self.value(depth + 1)?));
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Some(Json::Object(entries));
                }
                _ => return None,
            }
        }
    }

    fn number(&mut self) -> Option<Json<'a>> {
        let rest = &self.text[self.at..];
        let bytes = rest.as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut length = usize::from(bytes.first() == Some(&b'-'));
        let whole = digits(length);
        if whole == 0 || (whole > 1 && bytes[length] == b'0') {
            return None;
        }
        length += whole;
        if bytes.get(length) == Some(&b'.') {
            let fraction = digits(length + 1);
            if fraction == 0 {
                return None;
            }
            length += 1 + fraction;
        }
        if matches!(bytes.get(length), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
            let exponent = digits((length + 1 + sign).min(bytes.len()));
            if exponent == 0 {
                return None;
            }
            length += 1 + sign + exponent;
        }
        self.at += length;
        Some(Json::Number(&rest[..length]))
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        let rest = self.text[self.at..].strip_prefix('"')?;
        let end = rest.find(['"', '\\'])?;
        if rest.as_bytes()[end] == b'"' {
            self.at += end + 2;
            return (!rest[..end].bytes().any(|byte| byte < 0x20)).then(|| Cow::Borrowed(&rest[..end]));
        }
        let mut out = String::from(&rest[..end]);
        let mut characters = rest[end..].char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.at += end + at + 2;
                    return Some(Cow::Owned(out));
                }
                '\\' => match characters.next()?.1 {
                    'n' => out.push('\n'),
                    't' => out.push('\t'),
                    'r' => out.push('\r'),
                    'b' => out.push('\u{8}'),
                    'f' => out.push('\u{c}'),
                    same @ ('"' | '\\' | '/') => out.push(same),
                    'u' => {
                        let mut unit = || -> Option<u32> {
                            (0..4).try_fold(0, |code, _| Some(code * 16 + characters.next()?.1.to_digit(16)?))
                        };
                        let first = unit()?;
                        let code = if (0xd800..0xdc00).contains(&first) {
                            if characters.next()?.1 != '\\' || characters.next()?.1 != 'u' {
                                return None;
                            }
                            let mut unit = || -> Option<u32> {
                                (0..4).try_fold(0, |code, _| Some(code * 16 + characters.next()?.1.to_digit(16)?))
                            };
                            let second = unit().filter(|second| (0xdc00..0xe000).contains(second))?;
                            0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                        } else {
                            first
                        };
                        out.push(char::from_u32(code).filter(|character| *character != '\0')?);
                    }
                    _ => return None,
                },
                control if u32::from(control) < 0x20 => return None,
                other => out.push(other),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn documents_are_written_as_postgresql_writes_jsonb() {
        for (text, jsonb) in [
            (r#" {"bb":1,"a":[1, 2.50,{}],"a":[true,null]} "#, r#"{"a": [true, null], "bb": 1}"#),
            (r#""tab\tA\u00e9\ud83d\ude00/""#, "\"tab\\tAé😀/\""),
            ("1e2", "100"),
            ("-1.25E-3", "-0.00125"),
            ("-0.0", "0.0"),
            ("[]", "[]"),
        ] {
            assert_eq!(Json::parse(text).unwrap().to_jsonb(), jsonb, "{text}");
        }
        for text in ["", "{", "[1,]", "01", "1.", "\"\\u0000\"", "\"\\ud800\"", "nul", "{\"a\" 1}", "1 2", "'a'"] {
            assert_eq!(Json::parse(text), None, "{text}");
        }
        assert_eq!(Json::parse(&"[".repeat(100_000)), None);
    }

    #[test]
    fn containment_follows_the_examples_of_postgresqls_manual() {
        for (left, right, expected) in [
            (r#"[1, 2, 3]"#, r#"[1, 3]"#, true),
            (r#"[1, 2, 3]"#, r#"[3, 1, 1]"#, true),
            (r#"{"product": "PostgreSQL", "version": 9.4}"#, r#"{"version": 9.40}"#, true),
            (r#"[1, 2, [1, 3]]"#, r#"[1, 3]"#, false),
            (r#"[1, 2, [1, 3]]"#, r#"[[1, 3]]"#, true),
            (r#"{"foo": {"bar": "baz"}}"#, r#"{"bar": "baz"}"#, false),
            (r#"{"foo": {"bar": "baz"}}"#, r#"{"foo": {}}"#, true),
            (r#"["foo", "bar"]"#, r#""bar""#, true),
            (r#""bar""#, r#"["bar"]"#, false),
            (r#"[["foo"]]"#, r#"["foo"]"#, false),
            (r#"[["foo"]]"#, r#"["f", "foo"]"#, false),
        ] {
            assert_eq!(
                Json::parse(left).unwrap().contains(&Json::parse(right).unwrap()),
                expected,
                "{left} @> {right}"
            );
        }
    }
}
