//! Session settings that PostgreSQL clients set, show and ask for with `current_setting`.

use crate::error::QueryError;
use arrow::array::{ArrayRef, BooleanArray, StringArray};
use arrow::record_batch::RecordBatch;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The PostgreSQL version whose behaviour clients may expect.
pub(crate) const SERVER_VERSION: &str = "16.6";
const SERVER_VERSION_NUM: &str = "160006";

/// What `version()` answers.
pub(crate) fn version_text() -> String {
    format!("PostgreSQL {SERVER_VERSION} (Whence {})", env!("CARGO_PKG_VERSION"))
}

/// Known settings: name as reported, default, and whether a client may change it.
const KNOWN: [(&str, &str, bool); 47] = [
    ("application_name", "", true),
    ("autovacuum", "off", false),
    ("backslash_quote", "safe_encoding", true),
    ("bytea_output", "hex", true),
    ("client_encoding", "UTF8", true),
    ("client_min_messages", "notice", true),
    ("DateStyle", "ISO, MDY", true),
    ("default_table_access_method", "heap", true),
    ("default_tablespace", "", true),
    ("default_transaction_isolation", "repeatable read", true),
    ("default_transaction_read_only", "on", true),
    ("escape_string_warning", "on", true),
    ("extra_float_digits", "1", true),
    ("idle_in_transaction_session_timeout", "0", true),
    ("idle_session_timeout", "0", true),
    ("in_hot_standby", "off", false),
    ("integer_datetimes", "on", false),
    ("IntervalStyle", "postgres", true),
    ("is_superuser", "off", false),
    ("jit", "off", true),
    ("lc_collate", "C", false),
    ("lc_ctype", "C.UTF-8", false),
    ("lc_messages", "C", true),
    ("lc_monetary", "C", true),
    ("lc_numeric", "C", true),
    ("lc_time", "C", true),
    ("lock_timeout", "0", true),
    ("max_connections", "200", false),
    ("max_identifier_length", "63", false),
    ("max_index_keys", "32", false),
    ("max_parallel_workers_per_gather", "2", true),
    ("password_encryption", "scram-sha-256", false),
    ("row_security", "off", true),
    ("search_path", "public", true),
    ("server_encoding", "UTF8", false),
    ("server_version", SERVER_VERSION, false),
    ("server_version_num", SERVER_VERSION_NUM, false),
    ("session_authorization", "whence", false),
    ("standard_conforming_strings", "on", true),
    ("statement_timeout", "60s", true),
    ("synchronize_seqscans", "on", true),
    ("TimeZone", "UTC", true),
    ("transaction_isolation", "repeatable read", true),
    ("transaction_read_only", "on", true),
    ("transaction_deferrable", "off", true),
    ("whence.cache", "on", true),
    ("work_mem", "4MB", true),
];

/// Settings whose change the server reports to the client (ParameterStatus).
const REPORTED: [&str; 12] = [
    "application_name",
    "client_encoding",
    "datestyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "intervalstyle",
    "is_superuser",
    "server_encoding",
    "server_version",
    "standard_conforming_strings",
    "timezone",
];

/// Settings of one session; names are found whatever their case.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    changed: BTreeMap<String, String>,
    default_timeout: Duration,
    longest_timeout: Option<Duration>,
}

impl Settings {
    /// Defaults, with the configured time for a statement.
    pub fn new(default_timeout: Duration) -> Self {
        Self { changed: BTreeMap::new(), default_timeout, longest_timeout: None }
    }

    /// The same, with a time that no session's own can exceed.
    pub fn with_longest_timeout(self, longest_timeout: Option<Duration>) -> Self {
        Self { longest_timeout, ..self }
    }

    /// Value of `name`.
    ///
    /// # Errors
    ///
    /// [`QueryError::UnknownSetting`].
    pub fn get(&self, name: &str) -> Result<String, QueryError> {
        let lower = name.to_lowercase();
        if let Some(value) = self.changed.get(&lower) {
            return Ok(value.clone());
        }
        if lower == "statement_timeout" {
            return Ok(format!("{}s", self.default_timeout.as_secs()));
        }
        known(&lower).map(|(_, value, _)| value.to_owned()).ok_or(QueryError::UnknownSetting { name: name.to_owned() })
    }

    /// Sets `name`; `None` sets it back to its default. Names with a dot are the client's own.
    ///
    /// # Errors
    ///
    /// [`QueryError::UnknownSetting`] and [`QueryError::InvalidSetting`].
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), QueryError> {
        let lower = name.to_lowercase();
        let own = lower.contains('.') && self.changed.len() < 256;
        if !own && known(&lower).is_none() {
            return Err(QueryError::UnknownSetting { name: name.to_owned() });
        }
        let Some(value) = value else {
            self.changed.remove(&lower);
            return Ok(());
        };
        let invalid = || QueryError::InvalidSetting { name: name.to_owned(), value: value.chars().take(64).collect() };
        let valid = match lower.as_str() {
            "statement_timeout" => parse_duration(value).is_some(),
            "whence.cache" => is_true(value) || is_false(value) || value.eq_ignore_ascii_case("partials"),
            "timezone" => matches!(value.to_uppercase().as_str(), "UTC" | "ETC/UTC" | "GMT" | "Z" | "+00:00" | "0"),
            "client_encoding" => matches!(value.to_uppercase().as_str(), "UTF8" | "UTF-8" | "UNICODE" | "SQL_ASCII"),
            _ => value.len() <= 1024 && known(&lower).is_none_or(|(_, fixed, free)| free || value == fixed),
        };
        if !valid {
            return Err(invalid());
        }
        // Times are shown in UTC only: the zone's names mean the same, so one of them is kept.
        let kept = if lower == "timezone" { "UTC" } else { value };
        self.changed.insert(lower, kept.to_owned());
        Ok(())
    }

    /// Back to the defaults.
    pub fn reset(&mut self) {
        self.changed.clear();
    }

    /// Time a statement may take; `None` is no limit.
    pub fn statement_timeout(&self) -> Option<Duration> {
        let wished = self.wished_timeout();
        match (wished, self.longest_timeout) {
            (Some(wished), Some(longest)) => Some(wished.min(longest)),
            (wished, longest) => wished.or(longest),
        }
    }

    fn wished_timeout(&self) -> Option<Duration> {
        match self.changed.get("statement_timeout").and_then(|text| parse_duration(text)) {
            Some(Duration::ZERO) => None,
            Some(limit) => Some(limit),
            None => (!self.default_timeout.is_zero()).then_some(self.default_timeout),
        }
    }

    /// Whether answers may be put together from what is kept of earlier ones.
    pub(crate) fn caches(&self) -> bool {
        self.changed.get("whence.cache").is_none_or(|value| !is_false(value))
    }

    /// Whether whole answers may be given again.
    pub(crate) fn keeps_answers(&self) -> bool {
        self.changed.get("whence.cache").is_none_or(|value| is_true(value))
    }

    /// Every setting by name.
    pub fn all(&self) -> Vec<(String, String)> {
        KNOWN.iter().map(|(name, ..)| ((*name).to_owned(), self.get(name).unwrap_or_default())).collect()
    }

    /// `pg_settings`.
    pub(crate) fn table(&self) -> datafusion::common::Result<RecordBatch> {
        let text = |of: &dyn Fn(&str, &str, bool) -> Option<String>| -> ArrayRef {
            Arc::new(KNOWN.iter().map(|(name, value, free)| of(name, value, *free)).collect::<StringArray>())
        };
        let current = |name: &str| self.get(name).ok();
        let default = |name: &str, value: &str| match name {
            "statement_timeout" => Some(format!("{}s", self.default_timeout.as_secs())),
            _ => Some(value.to_owned()),
        };
        let nothing = || text(&|_, _, _| None);
        let changed = |name: &str| self.changed.contains_key(&name.to_lowercase());
        let columns: [(&str, ArrayRef); 17] = [
            ("name", text(&|name, _, _| Some(name.to_owned()))),
            ("setting", text(&|name, _, _| current(name))),
            ("unit", nothing()),
            ("category", nothing()),
            ("short_desc", nothing()),
            ("extra_desc", nothing()),
            ("context", text(&|_, _, free| Some(if free { "user" } else { "internal" }.to_owned()))),
            ("vartype", text(&|_, _, _| Some("string".to_owned()))),
            ("source", text(&|name, _, _| Some(if changed(name) { "session" } else { "default" }.to_owned()))),
            ("min_val", nothing()),
            ("max_val", nothing()),
            ("enumvals", nothing()),
            ("boot_val", text(&|name, value, _| default(name, value))),
            ("reset_val", text(&|name, value, _| default(name, value))),
            ("sourcefile", nothing()),
            ("sourceline", nothing()),
            ("pending_restart", Arc::new(BooleanArray::from(vec![false; KNOWN.len()]))),
        ];
        let columns = columns.into_iter().map(|(name, column)| (name, column, true));
        Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
    }

    /// Settings the client is told about when it connects.
    pub fn reported(&self) -> Vec<(&'static str, String)> {
        let reported = KNOWN.iter().filter(|(name, ..)| is_reported(name));
        reported.map(|(name, ..)| (*name, self.get(name).unwrap_or_default())).collect()
    }

    /// Name and value to report after `name` was set, if clients follow it.
    pub fn report(&self, name: &str) -> Option<(&'static str, String)> {
        let (name, ..) = known(&name.to_lowercase())?;
        is_reported(name).then(|| (name, self.get(name).unwrap_or_default()))
    }
}

fn is_reported(name: &str) -> bool {
    REPORTED.contains(&name.to_lowercase().as_str())
}

fn known(lower: &str) -> Option<(&'static str, &'static str, bool)> {
    KNOWN.iter().find(|(name, ..)| name.eq_ignore_ascii_case(lower)).copied()
}

fn is_true(text: &str) -> bool {
    matches!(text.to_lowercase().as_str(), "on" | "true" | "yes" | "1")
}

fn is_false(text: &str) -> bool {
    matches!(text.to_lowercase().as_str(), "off" | "false" | "no" | "0")
}

/// PostgreSQL's notation: a number of milliseconds, or a number with a unit.
fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..at].parse().ok()?;
    let millis = match text[at..].trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn unknown_settings_are_errors_and_known_ones_keep_what_was_set() {
        let mut settings = Settings::new(Duration::from_secs(60));
        assert_eq!(settings.get("statement_timeout").unwrap(), "60s");
        settings.set("DATESTYLE", Some("ISO")).unwrap();
        assert_eq!(settings.get("DateStyle").unwrap(), "ISO");
        assert_eq!(settings.report("datestyle"), Some(("DateStyle", "ISO".to_owned())));
        settings.set("datestyle", None).unwrap();
        assert_eq!(settings.get("datestyle").unwrap(), "ISO, MDY");
        assert!(settings.get("nope").is_err());
        assert!(settings.set("nope", Some("1")).is_err());
        assert!(settings.set("server_version", Some("9")).is_err());
        assert!(settings.set("timezone", Some("Europe/Berlin")).is_err());
    }

    #[test]
    fn timeouts_read_as_in_postgresql() {
        let mut settings = Settings::new(Duration::from_secs(60));
        for (text, limit) in [
            ("0", None),
            ("5000", Some(Duration::from_secs(5))),
            ("250ms", Some(Duration::from_millis(250))),
            ("5min", Some(Duration::from_secs(300))),
        ] {
            settings.set("statement_timeout", Some(text)).unwrap();
            assert_eq!(settings.statement_timeout(), limit, "{text}");
        }
        assert!(settings.set("statement_timeout", Some("soon")).is_err());
        let mut bounded = Settings::new(Duration::ZERO).with_longest_timeout(Some(Duration::from_secs(90)));
        for (text, limit) in [("0", 90), ("5min", 90), ("30s", 30)] {
            bounded.set("statement_timeout", Some(text)).unwrap();
            assert_eq!(bounded.statement_timeout(), Some(Duration::from_secs(limit)), "{text}");
        }
    }
}
