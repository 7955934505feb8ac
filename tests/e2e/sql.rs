//! Rows of an answer of `POST /v1/sql`, and waiting for them.

use serde_json::Value;
use std::time::{Duration, Instant};

/// What `POST /v1/sql` answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rows {
    /// Name and type of each column.
    pub columns: Vec<(String, String)>,
    pub rows: Vec<Vec<Value>>,
}

impl Rows {
    /// From the JSON answer.
    pub(crate) fn from_json(answer: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned();
        assert_ne!(answer["truncated"], true, "the row limit cut the answer");
        let columns = answer["columns"].as_array().unwrap_or_else(|| panic!("no columns in {answer}"));
        Self {
            columns: columns.iter().map(|column| (text(&column["name"]), text(&column["type"]))).collect(),
            rows: answer["rows"]
                .as_array()
                .unwrap_or_else(|| panic!("no rows in {answer}"))
                .iter()
                .map(|row| row.as_array().expect("a row is an array").clone())
                .collect(),
        }
    }

    /// The one value of an answer of one row and one column, as a whole number. NULL (a sum of nothing) is 0.
    pub(crate) fn number(&self) -> i64 {
        whole(self.only())
    }

    /// The one value of an answer of one row and one column.
    pub(crate) fn only(&self) -> &Value {
        match self.rows.as_slice() {
            [row] if row.len() == 1 => &row[0],
            _ => panic!("expected one value, got {self:?}"),
        }
    }

    /// The rows as one JSON value.
    pub(crate) fn json(&self) -> Value {
        self.rows.iter().cloned().map(Value::from).collect()
    }

    /// The first column, as texts.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.rows.iter().map(|row| row[0].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// A whole number, which JSON may carry as a number or, beyond 2^53, as text. NULL is 0.
pub(crate) fn whole(value: &Value) -> i64 {
    match value {
        Value::Null => 0,
        Value::String(text) => text.parse().unwrap_or_else(|_| panic!("not a whole number: {text:?}")),
        other => other
            .as_i64()
            .or_else(|| other.as_f64().filter(|number| number.fract() == 0.0).map(|number| number as i64))
            .unwrap_or_else(|| panic!("not a whole number: {other}")),
    }
}

/// Asks again every few milliseconds until the answer satisfies, and says how long that took.
pub(crate) fn eventually<T: std::fmt::Debug>(
    within: Duration,
    mut ask: impl FnMut() -> T,
    satisfies: impl Fn(&T) -> bool,
) -> (T, Duration) {
    let start = Instant::now();
    loop {
        let answer = ask();
        let elapsed = start.elapsed();
        if satisfies(&answer) {
            return (answer, elapsed);
        }
        assert!(elapsed < within, "not within {within:?}; the last answer was {answer:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
