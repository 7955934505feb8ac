//! From text to what may run: parsing, and the list of statements that are answered. Everything not on it is refused.
//!
//! ```text
//! text -> parse() -> [Parsed] -> Command: Query | Show | Set | Reset | Declare | Fetch | Copy | Begin | Commit | ...
//! ```

mod aggregate;
mod copy;
mod cursor;

use crate::error::QueryError;
use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, Query, Reset, Select, Set, SetExpr, Statement, TableFactor, UtilityOption, Value, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::ops::ControlFlow;

pub(crate) use aggregate::{RelationName, ViewCommand, ViewOption, relation};
pub use copy::{CopyFormat, Separated};
pub(crate) use cursor::Distance;

/// Longest statement text, in bytes.
pub(crate) const MAX_STATEMENT_BYTES: usize = 1 << 20;

/// A statement that may run.
#[derive(Debug, Clone)]
pub struct Parsed {
    pub(crate) command: Command,
}

#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// SELECT, WITH, VALUES, TABLE, EXPLAIN.
    Query(Box<Statement>),
    /// SHOW of one setting, or of `all`.
    Show(String),
    /// SET of one setting; `None` is DEFAULT.
    Set { name: String, value: Option<String> },
    /// RESET of one setting, or of all.
    Reset(Option<String>),
    /// BEGIN: there is nothing to isolate, each statement has its own snapshot.
    Begin,
    /// COMMIT.
    Commit,
    /// ROLLBACK.
    Rollback,
    /// ROLLBACK TO SAVEPOINT: nothing to undo, but a failed transaction goes on.
    RollbackToSavepoint,
    /// DECLARE CURSOR.
    Declare { name: String, query: Box<Parsed>, hold: bool, scroll: bool },
    /// FETCH, or MOVE, which answers without the rows.
    Fetch { name: String, distance: Distance, moves: bool },
    /// CLOSE of one cursor, or of all.
    Close(Option<String>),
    /// COPY of a query to the client.
    Copy { query: Box<Parsed>, format: CopyFormat },
    /// Of continuous aggregates.
    View(ViewCommand),
    /// What drivers send to tidy up; the tag is the answer.
    NoOperation(&'static str),
}

impl Parsed {
    /// True if the statement answers with rows.
    pub fn has_rows(&self) -> bool {
        matches!(self.command, Command::Query(_) | Command::Show(_) | Command::Fetch { moves: false, .. })
    }

    /// True for what is said about a continuous aggregate.
    pub(crate) fn is_of_a_view(&self) -> bool {
        matches!(self.command, Command::View(_))
    }

    /// True for EXPLAIN, whose tag differs from SELECT's.
    pub fn is_explain(&self) -> bool {
        matches!(&self.command, Command::Query(statement) if matches!(**statement, Statement::Explain { .. }))
    }

    /// True for SHOW.
    pub fn is_show(&self) -> bool {
        matches!(self.command, Command::Show(_))
    }
}

/// Statements of `sql`, in order; none for white space and comments.
///
/// # Errors
///
/// [`QueryError::Syntax`], [`QueryError::ReadOnly`] and [`QueryError::NotSupported`].
pub(crate) fn parse(sql: &str) -> Result<Vec<Parsed>, QueryError> {
    if sql.len() > MAX_STATEMENT_BYTES {
        return Err(QueryError::NotSupported { what: format!("a statement of more than {MAX_STATEMENT_BYTES} bytes") });
    }
    crate::depth::check(sql)?;
    if aggregate::concerns(sql) { aggregate::parse(sql, parse_others) } else { parse_others(sql) }
}

fn parse_others(sql: &str) -> Result<Vec<Parsed>, QueryError> {
    if cursor::concerns(sql) { cursor::parse(sql, parse_text) } else { parse_text(sql) }
}

/// Whether the text has these characters somewhere, in whatever case.
fn mentions(sql: &str, word: &str) -> bool {
    sql.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}

/// The query inside of DECLARE and COPY, by its text.
fn parse_one(sql: &str) -> Result<Parsed, QueryError> {
    let mut statements = parse_text(sql)?;
    match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        _ => Err(QueryError::NotSupported { what: "anything but one query here".to_owned() }),
    }
}

fn parse_text(sql: &str) -> Result<Vec<Parsed>, QueryError> {
    // ABORT is ROLLBACK, and unknown to the parser.
    let abort = sql.trim_start().get(..5).is_some_and(|word| word.eq_ignore_ascii_case("abort"));
    let rollback = abort.then(|| format!("ROLLBACK{}", &sql.trim_start()[5..]));
    let sql = rollback.as_deref().unwrap_or(sql);
    let statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).map_err(QueryError::Syntax)?;
    statements.into_iter().map(allow).collect()
}

fn allow(statement: Statement) -> Result<Parsed, QueryError> {
    let command = match statement {
        Statement::Query(query) => {
            refuse_writes_inside(&query)?;
            Command::Query(Box::new(Statement::Query(query)))
        }
        explain @ Statement::Explain { .. } => Command::Query(Box::new(allow_explain(explain)?)),
        Statement::ShowVariable { variable } => {
            let words: Vec<_> = variable.iter().map(|word| word.value.to_lowercase()).collect();
            Command::Show(match words.join(" ").as_str() {
                "time zone" => "timezone".to_owned(),
                "transaction isolation level" => "transaction_isolation".to_owned(),
                _ => words.join("."),
            })
        }
        Statement::Set(set) => allow_set(set)?,
        Statement::Reset(reset) => match reset.reset {
            Reset::ALL => Command::Reset(None),
            Reset::ConfigurationParameter(name) => Command::Reset(Some(name.to_string().to_lowercase())),
        },
        Statement::StartTransaction { .. } => Command::Begin,
        Statement::Commit { .. } => Command::Commit,
        Statement::Rollback { savepoint: None, .. } => Command::Rollback,
        Statement::Rollback { .. } => Command::RollbackToSavepoint,
        Statement::Savepoint { .. } => Command::NoOperation("SAVEPOINT"),
        Statement::ReleaseSavepoint { .. } => Command::NoOperation("RELEASE"),
        Statement::Discard { .. } => Command::NoOperation("DISCARD ALL"),
        Statement::Deallocate { .. } => Command::NoOperation("DEALLOCATE"),
        Statement::Declare { stmts } => cursor::declare(stmts)?,
        Statement::Close { cursor } => cursor::close(&cursor),
        copied @ Statement::Copy { .. } => copy::copy(copied)?,
        Statement::UNLISTEN { .. } => Command::NoOperation("UNLISTEN"),
        other => match aggregate::view_of(&other) {
            Some(view) => Command::View(view),
            None => return Err(refuse(&other)),
        },
    };
    Ok(Parsed { command })
}

/// EXPLAIN of a query only; PostgreSQL's parenthesised options are turned into the flags DataFusion reads.
fn allow_explain(mut statement: Statement) -> Result<Statement, QueryError> {
    let Statement::Explain { analyze, verbose, statement: inner, options, format, .. } = &mut statement else {
        return Err(refuse(&statement));
    };
    match inner.as_ref() {
        Statement::Query(query) => refuse_writes_inside(query)?,
        other => return Err(refuse(other)),
    }
    for UtilityOption { name, arg } in options.take().unwrap_or_default() {
        let on = arg.is_none_or(|arg| !matches!(arg.to_string().to_lowercase().as_str(), "false" | "off" | "0"));
        match name.value.to_lowercase().as_str() {
            "analyze" => *analyze = on,
            "verbose" => *verbose = on,
            // Sections PostgreSQL adds to its text; ours has none of them.
            "buffers" | "costs" | "timing" | "summary" | "settings" | "wal" | "format" => {}
            other => return Err(QueryError::NotSupported { what: format!("EXPLAIN option {other}") }),
        }
    }
    if *analyze {
        *format = None;
    }
    Ok(statement)
}

fn allow_set(set: Set) -> Result<Command, QueryError> {
    let named = |name: &ObjectName, values: &[Expr]| Command::Set {
        name: name.to_string().to_lowercase().replace('"', ""),
        value: match values {
            [Expr::Identifier(word)] if word.value.eq_ignore_ascii_case("default") => None,
            values => Some(values.iter().map(plain_text).collect::<Vec<_>>().join(", ")),
        },
    };
    Ok(match set {
        Set::SingleAssignment { variable, values, .. } => named(&variable, &values),
        Set::SetTimeZone { value, .. } => Command::Set { name: "timezone".to_owned(), value: Some(plain_text(&value)) },
        Set::SetNames { charset_name, .. } => {
            Command::Set { name: "client_encoding".to_owned(), value: Some(charset_name.value) }
        }
        Set::SetTransaction { .. } | Set::SetNamesDefault {} => Command::NoOperation("SET"),
        Set::SetSessionParam(_) | Set::SetRole { .. } | Set::SetSessionAuthorization(_) => Command::NoOperation("SET"),
        other => return Err(QueryError::NotSupported { what: other.to_string() }),
    })
}

/// The text a literal or a bare word stands for.
fn plain_text(expression: &Expr) -> String {
    match expression {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => text.clone(),
            other => other.to_string(),
        },
        Expr::Identifier(word) => word.value.clone(),
        other => other.to_string(),
    }
}

fn refuse(statement: &Statement) -> QueryError {
    let text = statement.to_string();
    let words: Vec<_> = text.split_whitespace().take(2).collect();
    let (first, all) = (words.first().copied().unwrap_or_default(), words.join(" "));
    const WRITES: [&str; 14] = [
        "INSERT", "UPDATE", "DELETE", "MERGE", "CREATE", "DROP", "ALTER", "TRUNCATE", "COPY", "GRANT", "REVOKE",
        "VACUUM", "COMMENT", "CALL",
    ];
    if WRITES.contains(&first.to_uppercase().as_str()) {
        QueryError::ReadOnly { statement: all.to_uppercase() }
    } else {
        QueryError::NotSupported { what: all }
    }
}

/// A query can carry INSERT, UPDATE, DELETE or SELECT INTO at any depth.
fn refuse_writes_inside(query: &Query) -> Result<(), QueryError> {
    struct Writes;
    impl Writes {
        fn check(body: &SetExpr) -> ControlFlow<QueryError> {
            let write = |statement: &str| ControlFlow::Break(QueryError::ReadOnly { statement: statement.to_owned() });
            match body {
                SetExpr::Insert(_) => write("INSERT"),
                SetExpr::Update(_) => write("UPDATE"),
                SetExpr::Delete(_) => write("DELETE"),
                SetExpr::Merge(_) => write("MERGE"),
                SetExpr::SetOperation { left, right, .. } => {
                    Self::check(left)?;
                    Self::check(right)
                }
                SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) | SetExpr::Table(_) => {
                    ControlFlow::Continue(())
                }
            }
        }
    }
    impl Visitor for Writes {
        type Break = QueryError;
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
            Self::check(&query.body)
        }
        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
            if select.into.is_some() {
                return ControlFlow::Break(QueryError::ReadOnly { statement: "SELECT INTO".to_owned() });
            }
            ControlFlow::Continue(())
        }
        fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<Self::Break> {
            // It would be ignored, and the answer be wrong without a word.
            let sampled = matches!(
                table,
                TableFactor::Table { sample: Some(_), .. } | TableFactor::Derived { sample: Some(_), .. }
            );
            if sampled {
                let what = "TABLESAMPLE (use WHERE random() < 0.1)".to_owned();
                return ControlFlow::Break(QueryError::NotSupported { what });
            }
            ControlFlow::Continue(())
        }
        fn pre_visit_statement(&mut self, _: &Statement) -> ControlFlow<Self::Break> {
            ControlFlow::Break(QueryError::NotSupported { what: "a statement inside a query".to_owned() })
        }
    }
    match query.visit(&mut Writes) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::error::SqlState;

    #[test]
    fn statements_that_would_change_something_are_refused_at_any_depth() {
        for (sql, state) in [
            ("INSERT INTO events VALUES (1)", SqlState::READ_ONLY),
            ("UPDATE events SET name = 'x'", SqlState::READ_ONLY),
            ("DELETE FROM events", SqlState::READ_ONLY),
            ("CREATE TABLE t AS SELECT 1", SqlState::READ_ONLY),
            ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'", SqlState::SYNTAX),
            ("DROP INDEX i", SqlState::READ_ONLY),
            ("COPY events TO '/tmp/x'", SqlState::READ_ONLY),
            ("COPY (SELECT 1) TO '/tmp/x'", SqlState::READ_ONLY),
            ("SELECT * INTO t FROM events", SqlState::READ_ONLY),
            ("WITH x AS (DELETE FROM events RETURNING 1) SELECT * FROM x", SqlState::READ_ONLY),
            ("WITH x AS (INSERT INTO events VALUES (1) RETURNING 1) SELECT * FROM x", SqlState::READ_ONLY),
            ("EXPLAIN ANALYZE DELETE FROM events", SqlState::READ_ONLY),
            ("EXPLAIN INSERT INTO events VALUES (1)", SqlState::READ_ONLY),
            ("PREPARE p AS DELETE FROM events", SqlState::FEATURE_NOT_SUPPORTED),
            ("SELECT * FROM events TABLESAMPLE BERNOULLI (10)", SqlState::FEATURE_NOT_SUPPORTED),
            ("EXECUTE p", SqlState::FEATURE_NOT_SUPPORTED),
            ("LOAD 'x'", SqlState::FEATURE_NOT_SUPPORTED),
            ("SELEC 1", SqlState::SYNTAX),
        ] {
            let error = parse(sql).err();
            assert_eq!(error.as_ref().map(QueryError::sqlstate), Some(state), "{sql}: {error:?}");
        }
    }

    #[test]
    fn questions_and_what_drivers_send_are_allowed() {
        for sql in [
            "SELECT 1",
            "WITH x AS (SELECT 1) SELECT * FROM x",
            "VALUES (1), (2)",
            "EXPLAIN ANALYZE SELECT 1",
            "EXPLAIN (ANALYZE, BUFFERS) SELECT 1",
            "SHOW server_version",
            "SHOW TIME ZONE",
            "SET extra_float_digits = 3",
            "SET TIME ZONE 'UTC'",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "BEGIN",
            "BEGIN READ ONLY",
            "COMMIT",
            "ROLLBACK",
            "abort",
            "DISCARD ALL",
            "RESET ALL",
            "DEALLOCATE ALL",
        ] {
            assert_eq!(parse(sql).unwrap().len(), 1, "{sql}");
        }
        assert_eq!(parse("SELECT 1; SELECT 2;").unwrap().len(), 2);
        assert!(parse("-- nothing\n;").unwrap().is_empty());
    }
}
