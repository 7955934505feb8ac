//! Values with a unit in the text.

use serde::de::{Deserialize, Deserializer, Error};
use std::time::Duration;

/// A span of time such as `90d`, `10s`, `500ms`; or `off`, which is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age(pub Option<Duration>);

impl Age {
    /// That many days.
    pub const fn days(days: u64) -> Self {
        Self(Some(Duration::from_secs(days * 86_400)))
    }

    /// That many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Some(Duration::from_secs(seconds)))
    }

    /// Reads a number with `ms`, `s`, `m`, `h` or `d`, or `off`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "off" {
            return Some(Self(None));
        }
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = text[..digits].parse().ok()?;
        let millis: u64 = match &text[digits..] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        Some(Self(Some(Duration::from_millis(number.checked_mul(millis)?))))
    }
}

impl std::fmt::Display for Age {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None => f.write_str("off"),
            Some(span) if span.subsec_millis() == 0 => write!(f, "{}s", span.as_secs()),
            Some(span) => write!(f, "{}ms", span.as_millis()),
        }
    }
}

impl<'de> Deserialize<'de> for Age {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // YAML reads a bare `off` as a text, and some writers as a boolean.
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Written {
            Flag(bool),
            Text(String),
        }
        let wrong = |text: &str| {
            D::Error::custom(format!("'{text}' is no span of time: write 90d, 12h, 5m, 10s, 500ms or off"))
        };
        match Written::deserialize(deserializer) {
            Ok(Written::Flag(false)) => Ok(Self(None)),
            Ok(Written::Text(text)) => Self::parse(&text).ok_or_else(|| wrong(&text)),
            Ok(Written::Flag(true)) => Err(wrong("true")),
            Err(_) => Err(wrong("a value of another kind")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_need_a_unit() {
        assert_eq!(Age::parse("90d"), Some(Age::days(90)));
        assert_eq!(Age::parse("500ms"), Some(Age(Some(Duration::from_millis(500)))));
        assert_eq!(Age::parse("off"), Some(Age(None)));
        for wrong in ["", "90", "d", "1.5h", "-1s", "99999999999999999999d", "18446744073709551615d"] {
            assert_eq!(Age::parse(wrong), None, "{wrong}");
        }
    }
}
