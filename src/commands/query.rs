//! `whence query`

use crate::http_client::{self, Answer};
use crate::output::print;
use std::fmt::Write;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Query {
    /// The statement.
    pub sql: String,
    /// HTTP query endpoint of the server.
    #[arg(long, default_value = "http://127.0.0.1:4319")]
    pub endpoint: String,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Table,
    Json,
    Csv,
}

impl Query {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.format {
            Format::Table => {
                let answer = http_client::query(&self.endpoint, &self.sql).await?;
                print(table(&answer));
            }
            Format::Json | Format::Csv => {
                let format = if self.format == Format::Json { "json" } else { "csv" };
                let body = http_client::query_text(&self.endpoint, &self.sql, format).await?;
                let text = String::from_utf8_lossy(&body);
                print(format_args!("{text}{}", if text.ends_with('\n') { "" } else { "\n" }));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The answer as psql would print it: numbers to the right, a count below.
pub fn table(answer: &Answer) -> String {
    let columns = answer.columns.len();
    let cells: Vec<Vec<String>> =
        (0..answer.rows.len()).map(|row| (0..columns).map(|column| answer.text(row, column)).collect()).collect();
    let width = |column: usize| {
        let widest = cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        widest.max(answer.columns[column].name.chars().count())
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let numeric: Vec<bool> = (0..columns)
        .map(|column| answer.rows.iter().any(|row| row.get(column).is_some_and(serde_json::Value::is_number)))
        .collect();
    let mut out = String::new();
    for (column, width) in widths.iter().enumerate() {
        let separator = if column == 0 { " " } else { " | " };
        let _ = write!(out, "{separator}{:^width$}", answer.columns[column].name);
    }
    let rules: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
    let _ = writeln!(out, "\n{}", rules.join("+"));
    for row in &cells {
        let mut line = String::new();
        for (column, width) in widths.iter().enumerate() {
            let separator = if column == 0 { " " } else { " | " };
            let _ = match numeric[column] {
                true => write!(line, "{separator}{:>width$}", row[column]),
                false => write!(line, "{separator}{:<width$}", row[column]),
            };
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let rows = cells.len();
    let cut = if answer.truncated { ", cut at the row limit" } else { "" };
    let _ = writeln!(out, "({rows} {}{cut})", if rows == 1 { "row" } else { "rows" });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_client::Column;

    #[test]
    fn numbers_stand_to_the_right_and_texts_to_the_left() {
        let column = |name: &str| Column { name: name.to_owned() };
        let answer = Answer {
            columns: vec![column("asset_id"), column("n")],
            rows: vec![vec!["cart".into(), 7.into()], vec![serde_json::Value::Null, 1234.into()]],
            truncated: false,
        };
        assert_eq!(
            table(&answer),
            " asset_id |  n\n----------+------\n cart     |    7\n          | 1234\n(2 rows)\n"
                .replace(" |  n\n", " |  n  \n")
        );
    }
}
