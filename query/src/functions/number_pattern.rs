//! Patterns of `to_char` for numbers: digits `9` and `0`, `.` or `D`, `,` or `G`, `S`, `MI`, `PL`, `SG`, `FM`.

use crate::error::QueryError;

/// A pattern, read once and applied to many numbers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NumberPattern {
    /// Before the point, then after it.
    whole: Vec<Mark>,
    fraction: Vec<Mark>,
    has_point: bool,
    trimmed: bool,
    sign: Sign,
}

#[derive(Debug, Clone, PartialEq)]
enum Mark {
    Nine,
    Zero,
    Comma,
    Literal(char),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Sign {
    /// A minus right before the digits, else a space.
    Default,
    /// `S` in front: plus or minus.
    Before,
    /// `S` behind.
    After,
    /// `MI` behind: minus or a space.
    MinusAfter,
    /// `MI` in front.
    MinusBefore,
}

impl NumberPattern {
    /// # Errors
    ///
    /// If there is something in it that is not known here.
    pub(crate) fn of(pattern: &str) -> Result<Self, QueryError> {
        let mut parsed =
            Self { whole: Vec::new(), fraction: Vec::new(), has_point: false, trimmed: false, sign: Sign::Default };
        let mut rest = pattern;
        let starts = |text: &str, keyword: &str| {
            text.get(..keyword.len()).is_some_and(|start| start.eq_ignore_ascii_case(keyword))
        };
        while let Some(first) = rest.chars().next() {
            let mut length = first.len_utf8();
            let digits_before = !parsed.whole.is_empty() || parsed.has_point;
            let mark = match first {
                '9' => Some(Mark::Nine),
                '0' => Some(Mark::Zero),
                ',' | 'G' | 'g' => Some(Mark::Comma),
                '.' | 'D' | 'd' if !parsed.has_point => {
                    parsed.has_point = true;
                    None
                }
                _ if starts(rest, "FM") => {
                    length = 2;
                    parsed.trimmed = true;
                    None
                }
                _ if starts(rest, "MI") => {
                    length = 2;
                    parsed.sign = if digits_before { Sign::MinusAfter } else { Sign::MinusBefore };
                    None
                }
                'S' | 's' if !starts(rest, "SG") => {
                    parsed.sign = if digits_before { Sign::After } else { Sign::Before };
                    None
                }
                '"' => {
                    let quoted = rest[1..].split('"').next().unwrap_or_default();
                    length = (quoted.len() + 2).min(rest.len());
                    let target = if parsed.has_point { &mut parsed.fraction } else { &mut parsed.whole };
                    target.extend(quoted.chars().map(Mark::Literal));
                    None
                }
                other if !other.is_ascii_alphanumeric() && other != '.' => Some(Mark::Literal(other)),
                _ => {
                    let what = format!("\"{rest}\" in the number pattern of to_char (use 9 0 . , D G S MI FM)");
                    return Err(QueryError::NotSupported { what });
                }
            };
            if let Some(mark) = mark {
                if parsed.has_point { parsed.fraction.push(mark) } else { parsed.whole.push(mark) }
            }
            rest = &rest[length..];
        }
        Ok(parsed)
    }

    /// The number of these digits.
    pub(crate) fn write(&self, negative: bool, digits: &str) -> String {
        let is_digit = |mark: &&Mark| matches!(mark, Mark::Nine | Mark::Zero);
        let places = self.fraction.iter().filter(is_digit).count();
        let (whole, fraction) = rounded(digits, places);
        let negative = negative && (whole.bytes().any(|b| b != b'0') || fraction.bytes().any(|b| b != b'0'));
        let width = self.whole.iter().filter(is_digit).count();
        let whole = whole.trim_start_matches('0');
        let fits = whole.len() <= width;
        let mut out = self.whole_part(whole, width, fits);
        if self.has_point {
            out.push('.');
        }
        let mut digits = fraction.chars();
        let mut after = String::new();
        for mark in &self.fraction {
            match mark {
                Mark::Nine | Mark::Zero if !fits => after.push('#'),
                Mark::Nine | Mark::Zero => after.push(digits.next().unwrap_or('0')),
                Mark::Comma => after.push(','),
                Mark::Literal(literal) => after.push(*literal),
            }
        }
        if self.trimmed {
            // FM takes away zeros that only nines ask for.
            let kept = self.fraction.iter().rposition(|mark| *mark != Mark::Nine).map_or(0, |last| last + 1);
            while after.len() > kept && after.ends_with('0') {
                after.pop();
            }
        }
        out.push_str(&after);
        self.signed(&out, negative)
    }

    fn whole_part(&self, whole: &str, width: usize, fits: bool) -> String {
        // From the first zero of the pattern on there are digits always.
        let digits: Vec<&Mark> = self.whole.iter().filter(|mark| matches!(mark, Mark::Nine | Mark::Zero)).collect();
        let from_zero = digits.iter().position(|mark| **mark == Mark::Zero).unwrap_or(width);
        // A zero alone is shown in the last place, unless there are places after the point.
        let lone_zero = whole.is_empty() && !self.fraction.iter().any(|m| matches!(m, Mark::Nine | Mark::Zero));
        let from_zero = if lone_zero { from_zero.min(width.saturating_sub(1)) } else { from_zero };
        let missing = width.saturating_sub(whole.len());
        let mut value = whole.chars();
        let mut out = String::new();
        let mut position = 0;
        for mark in &self.whole {
            match mark {
                Mark::Nine | Mark::Zero => {
                    if !fits {
                        out.push('#');
                    } else if position >= missing {
                        out.push(value.next().unwrap_or('0'));
                    } else if position >= from_zero {
                        out.push('0');
                    } else if !self.trimmed {
                        out.push(' ');
                    }
                    position += 1;
                }
                Mark::Comma if !fits || position > missing.min(from_zero) => out.push(','),
                Mark::Comma if !self.trimmed => out.push(' '),
                Mark::Comma => {}
                Mark::Literal(literal) => out.push(*literal),
            }
        }
        out
    }

    fn signed(&self, number: &str, negative: bool) -> String {
        let sign = match (self.sign, negative) {
            (Sign::Before | Sign::After, false) => "+",
            (_, true) => "-",
            (_, false) if self.trimmed => "",
            _ => " ",
        };
        match self.sign {
            Sign::After | Sign::MinusAfter => format!("{number}{sign}"),
            Sign::MinusBefore => format!("{sign}{number}"),
            // The sign stands next to the first digit.
            Sign::Default | Sign::Before => {
                let digits = number.trim_start_matches(' ');
                let spaces = " ".repeat(number.len() - digits.len());
                format!("{spaces}{sign}{digits}")
            }
        }
    }
}

/// Whole part and `places` of a fraction, rounded half away from zero.
fn rounded(digits: &str, places: usize) -> (String, String) {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut all: Vec<u8> = whole.bytes().chain(fraction.bytes().chain(std::iter::repeat(b'0')).take(places)).collect();
    if fraction.as_bytes().get(places).is_some_and(|digit| *digit >= b'5') {
        let mut carried = true;
        for digit in all.iter_mut().rev() {
            if *digit == b'9' {
                *digit = b'0';
            } else {
                *digit += 1;
                carried = false;
                break;
            }
        }
        if carried {
            all.insert(0, b'1');
        }
    }
    let fraction = all.split_off(all.len() - places);
    let text = |digits: Vec<u8>| digits.into_iter().map(char::from).collect();
    (text(all), text(fraction))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_are_written_as_in_the_examples_of_postgresqls_manual() {
        for (pattern, negative, digits, text) in [
            ("99.99", true, "0.1", "  -.10"),
            ("FM9.99", true, "0.1", "-.1"),
            ("0.9", false, "0.1", " 0.1"),
            ("9990999.9", false, "12", "    0012.0"),
            ("FM9990999.9", false, "12", "0012."),
            ("999", false, "485", " 485"),
            ("999", true, "485", "-485"),
            ("9,999", false, "1485", " 1,485"),
            ("9,999", false, "485", "   485"),
            ("999.999", false, "148.5", " 148.500"),
            ("FM999.999", false, "148.5", "148.5"),
            ("FM999.990", false, "148.5", "148.500"),
            ("999S", true, "485", "485-"),
            ("999MI", true, "485", "485-"),
            ("999MI", false, "485", "485 "),
            ("S999", false, "485", "+485"),
            ("99", false, "485", " ##"),
            ("9", false, "0", " 0"),
        ] {
            assert_eq!(NumberPattern::of(pattern).unwrap().write(negative, digits), text, "{pattern} {digits}");
        }
        assert!(NumberPattern::of("999th").is_err());
    }
}
