//! `COPY (query) TO STDOUT` and its options.

use super::{Command, Parsed};
use crate::error::QueryError;
use datafusion::sql::sqlparser::ast::{
    CopyLegacyCsvOption, CopyLegacyOption, CopyOption, CopySource, CopyTarget, Ident, Statement,
};

/// How rows of COPY are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyFormat {
    /// Columns between delimiters, special characters escaped with a backslash.
    Text(Separated),
    /// As in RFC 4180.
    Csv {
        /// Delimiter, text of NULL, header.
        separated: Separated,
        /// Around values that need it.
        quote: char,
        /// Before a quote inside of a value.
        escape: char,
        /// Quotes around every value but NULL.
        quote_all: bool,
    },
    /// PostgreSQL's binary format, version 1.
    Binary,
}

/// What text and csv have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Separated {
    /// Between columns.
    pub delimiter: char,
    /// What stands for NULL.
    pub null: String,
    /// Column names in the first line.
    pub header: bool,
}

/// Options as they were written; `None` is the default of the format.
#[derive(Default)]
struct Written {
    format: Option<String>,
    delimiter: Option<char>,
    null: Option<String>,
    header: bool,
    quote: Option<char>,
    escape: Option<char>,
    quote_all: bool,
}

/// COPY of a query, or of a table's columns, to the client; refused in every other direction.
pub(super) fn copy(statement: Statement) -> Result<Command, QueryError> {
    let Statement::Copy { source, to, target, options, legacy_options, .. } = &statement else {
        return Err(super::refuse(&statement));
    };
    if !to || *target != CopyTarget::Stdout {
        return Err(super::refuse(&statement));
    }
    let text = match source {
        CopySource::Query(query) => query.to_string(),
        CopySource::Table { table_name, columns } if columns.is_empty() => format!("SELECT * FROM {table_name}"),
        CopySource::Table { table_name, columns } => {
            let columns: Vec<_> = columns.iter().map(Ident::to_string).collect();
            format!("SELECT {} FROM {table_name}", columns.join(", "))
        }
    };
    let query = super::parse_one(&text)?;
    if !matches!(query.command, Command::Query(_)) {
        return Err(super::refuse(&statement));
    }
    let format = written(options, legacy_options)?.format()?;
    Ok(Command::Copy { query: Box::new(query), format })
}

fn written(options: &[CopyOption], legacy: &[CopyLegacyOption]) -> Result<Written, QueryError> {
    let unsupported =
        |option: &dyn ToString| QueryError::NotSupported { what: format!("COPY option {}", option.to_string()) };
    let mut written = Written::default();
    for option in options {
        match option {
            CopyOption::Format(name) => written.format = Some(name.value.to_lowercase()),
            CopyOption::Delimiter(delimiter) => written.delimiter = Some(*delimiter),
            CopyOption::Null(null) => written.null = Some(null.clone()),
            CopyOption::Header(header) => written.header = *header,
            CopyOption::Quote(quote) => written.quote = Some(*quote),
            CopyOption::Escape(escape) => written.escape = Some(*escape),
            CopyOption::ForceQuote(columns) if columns.iter().any(|column| column.value == "*") => {
                written.quote_all = true;
            }
            CopyOption::Encoding(name) if matches!(name.to_uppercase().as_str(), "UTF8" | "UTF-8") => {}
            other => return Err(unsupported(other)),
        }
    }
    for option in legacy {
        match option {
            CopyLegacyOption::Binary => written.format = Some("binary".to_owned()),
            CopyLegacyOption::Delimiter(delimiter) => written.delimiter = Some(*delimiter),
            CopyLegacyOption::Null(null) => written.null = Some(null.clone()),
            CopyLegacyOption::Header => written.header = true,
            CopyLegacyOption::Csv(options) => {
                written.format = Some("csv".to_owned());
                for option in options {
                    match option {
                        CopyLegacyCsvOption::Header => written.header = true,
                        CopyLegacyCsvOption::Quote(quote) => written.quote = Some(*quote),
                        CopyLegacyCsvOption::Escape(escape) => written.escape = Some(*escape),
                        other => return Err(unsupported(other)),
                    }
                }
            }
            other => return Err(unsupported(other)),
        }
    }
    Ok(written)
}

impl Written {
    fn format(self) -> Result<CopyFormat, QueryError> {
        let separated = |delimiter, null: &str| Separated {
            delimiter: self.delimiter.unwrap_or(delimiter),
            null: self.null.clone().unwrap_or_else(|| null.to_owned()),
            header: self.header,
        };
        match self.format.as_deref().unwrap_or("text") {
            "text" => Ok(CopyFormat::Text(separated('\t', "\\N"))),
            "csv" => {
                let quote = self.quote.unwrap_or('"');
                let escape = self.escape.unwrap_or(quote);
                Ok(CopyFormat::Csv { separated: separated(',', ""), quote, escape, quote_all: self.quote_all })
            }
            "binary" => Ok(CopyFormat::Binary),
            other => {
                Err(QueryError::NotSupported { what: format!("COPY format \"{other}\": text, csv and binary are; it") })
            }
        }
    }
}

impl Parsed {
    /// True for COPY, whose rows are not a result set.
    pub fn is_copy(&self) -> bool {
        matches!(self.command, Command::Copy { .. })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn format(sql: &str) -> Option<CopyFormat> {
        match super::super::parse(sql).ok()?.remove(0).command {
            Command::Copy { format, .. } => Some(format),
            _ => None,
        }
    }

    #[test]
    fn options_read_in_both_notations() {
        let separated = Separated { delimiter: ';', null: "nil".to_owned(), header: true };
        let csv = CopyFormat::Csv { separated, quote: '"', escape: '"', quote_all: false };
        for sql in [
            "COPY (SELECT 1) TO STDOUT WITH (FORMAT csv, HEADER, DELIMITER ';', NULL 'nil')",
            "COPY (SELECT 1) TO STDOUT WITH DELIMITER ';' NULL 'nil' CSV HEADER",
        ] {
            assert_eq!(format(sql), Some(csv.clone()), "{sql}");
        }
        assert_eq!(format("COPY (SELECT 1) TO STDOUT (FORMAT binary)"), Some(CopyFormat::Binary));
        let text = Separated { delimiter: '\t', null: "\\N".to_owned(), header: false };
        assert_eq!(format("COPY events (name, id) TO STDOUT"), Some(CopyFormat::Text(text)));
        for sql in ["COPY events FROM STDIN", "COPY events TO '/tmp/x'", "COPY (SELECT 1) TO PROGRAM 'cat'"] {
            assert!(super::super::parse(sql).is_err(), "{sql}");
        }
    }
}
