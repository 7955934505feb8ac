//! What can go wrong with a statement, in PostgreSQL's vocabulary: every error has an SQLSTATE.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use std::fmt;
use std::time::Duration;
use whence_storage::{AccessError, BUCKET_UNAVAILABLE, StorageError};

/// A five-letter error code as PostgreSQL documents it (Appendix A, "PostgreSQL Error Codes").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqlState(pub &'static str);

#[allow(missing_docs)]
impl SqlState {
    pub const PROTOCOL_VIOLATION: Self = Self("08P01");
    pub const FEATURE_NOT_SUPPORTED: Self = Self("0A000");
    pub const DATA_EXCEPTION: Self = Self("22000");
    pub const NUMERIC_VALUE_OUT_OF_RANGE: Self = Self("22003");
    pub const INVALID_DATETIME_FORMAT: Self = Self("22007");
    pub const DATETIME_FIELD_OVERFLOW: Self = Self("22008");
    pub const DIVISION_BY_ZERO: Self = Self("22012");
    pub const INVALID_PARAMETER_VALUE: Self = Self("22023");
    pub const INVALID_TEXT_REPRESENTATION: Self = Self("22P02");
    pub const INVALID_AUTHORIZATION: Self = Self("28000");
    pub const INVALID_PASSWORD: Self = Self("28P01");
    pub const INSUFFICIENT_PRIVILEGE: Self = Self("42501");
    pub const INVALID_REGULAR_EXPRESSION: Self = Self("2201B");
    pub const READ_ONLY: Self = Self("25006");
    pub const INVALID_STATEMENT_NAME: Self = Self("26000");
    pub const INVALID_CURSOR_NAME: Self = Self("34000");
    pub const INVALID_DATABASE: Self = Self("3D000");
    pub const INVALID_SCHEMA_NAME: Self = Self("3F000");
    pub const SYNTAX_OR_ACCESS: Self = Self("42000");
    pub const SYNTAX: Self = Self("42601");
    pub const UNDEFINED_COLUMN: Self = Self("42703");
    pub const UNDEFINED_OBJECT: Self = Self("42704");
    pub const CANNOT_COERCE: Self = Self("42846");
    pub const UNDEFINED_FUNCTION: Self = Self("42883");
    pub const UNDEFINED_TABLE: Self = Self("42P01");
    pub const DUPLICATE_COLUMN: Self = Self("42701");
    pub const DUPLICATE_TABLE: Self = Self("42P07");
    pub const GROUPING: Self = Self("42803");
    pub const WRONG_OBJECT_TYPE: Self = Self("42809");
    pub const RESERVED_NAME: Self = Self("42939");
    pub const NAME_TOO_LONG: Self = Self("42622");
    pub const AMBIGUOUS_COLUMN: Self = Self("42702");
    pub const DUPLICATE_CURSOR: Self = Self("42P03");
    pub const DATATYPE_MISMATCH: Self = Self("42804");
    pub const OUT_OF_MEMORY: Self = Self("53200");
    pub const TOO_MANY_CONNECTIONS: Self = Self("53300");
    pub const STATEMENT_TOO_COMPLEX: Self = Self("54001");
    pub const PROGRAM_LIMIT_EXCEEDED: Self = Self("54000");
    pub const NOT_IN_PREREQUISITE_STATE: Self = Self("55000");
    pub const CANCELED: Self = Self("57014");
    pub const SHUTDOWN: Self = Self("57P01");
    pub const IO_ERROR: Self = Self("58030");
    pub const INTERNAL: Self = Self("XX000");
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Why a statement was not answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The text is no SQL.
    #[error("syntax error: {0}")]
    Syntax(#[source] ParserError),
    /// The statement would change something.
    #[error("cannot execute {statement}: SQL is read-only here")]
    ReadOnly {
        /// First words of the statement.
        statement: String,
    },
    /// The tree of the statement would be too deep for a thread's stack.
    #[error("the statement is too complex: its expressions nest more than {levels} levels")]
    TooComplex {
        /// How many are allowed.
        levels: usize,
    },
    /// Known to PostgreSQL, not to Whence.
    #[error("{what} is not supported")]
    NotSupported {
        /// Statement or feature.
        what: String,
    },
    /// A setting that does not exist.
    #[error("unrecognized configuration parameter \"{name}\"")]
    UnknownSetting {
        /// As written.
        name: String,
    },
    /// A setting's value that cannot be used.
    #[error("invalid value for parameter \"{name}\": \"{value}\"")]
    InvalidSetting {
        /// The setting.
        name: String,
        /// As written.
        value: String,
    },
    /// A parameter (`$1`) that is missing, or that does not read as its type.
    #[error("parameter ${position}: {problem}")]
    Parameter {
        /// Counted from 1.
        position: usize,
        /// What is wrong.
        problem: String,
    },
    /// A text that does not read as the type it is used as.
    #[error("{problem}")]
    InvalidText {
        /// What does not read as what.
        problem: String,
    },
    /// A value that its type cannot have.
    #[error("{what} out of range")]
    OutOfRange {
        /// The value or its type.
        what: String,
    },
    /// A number that its type cannot hold.
    #[error("{what} out of range")]
    NumberOutOfRange {
        /// The type.
        what: &'static str,
    },
    /// A cast that there is none of.
    #[error("{problem}")]
    CannotCast {
        /// From what to what.
        problem: String,
    },
    /// A division by zero.
    #[error("division by zero")]
    DivisionByZero,
    /// A text that is no time by its pattern.
    #[error("{problem}")]
    InvalidDatetime {
        /// What is wrong.
        problem: String,
    },
    /// A function that does not exist, or not with these arguments.
    #[error("{problem}")]
    UndefinedFunction {
        /// What was called how.
        problem: String,
    },
    /// An argument that a function cannot use.
    #[error("{function}, argument {position}: {problem}")]
    InvalidArgument {
        /// The function.
        function: &'static str,
        /// Counted from 1.
        position: usize,
        /// What is wrong.
        problem: String,
    },
    /// Arguments that a function can read and cannot use.
    #[error("{function}: {problem}")]
    RefusedArguments {
        /// The function.
        function: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A name of the catalog that nothing has.
    #[error("{what} \"{name}\" does not exist")]
    UnknownName {
        /// `relation`, `schema`, `function`, `type`, `role`.
        what: &'static str,
        /// As written.
        name: String,
    },
    /// A cursor that does not exist.
    #[error("cursor \"{name}\" does not exist")]
    UnknownCursor {
        /// Its name.
        name: String,
    },
    /// A cursor whose name is taken.
    #[error("cursor \"{name}\" already exists")]
    CursorExists {
        /// Its name.
        name: String,
    },
    /// More of something than a session may have.
    #[error("{what} are not possible")]
    TooMuch {
        /// Of what, with the limit.
        what: String,
    },
    /// A cursor that is to go back, and was not declared for that.
    #[error("cursor can only scan forward")]
    CursorForwardOnly,
    /// A continuous aggregate that cannot be so.
    #[error("{problem}")]
    Definition {
        /// The code.
        state: SqlState,
        /// What is wrong.
        problem: String,
        /// What the user can do about it.
        hint: Option<&'static str>,
    },
    /// The time for a statement has passed.
    #[error("canceling statement due to statement timeout after {0:?}")]
    Timeout(Duration),
    /// No turn came.
    #[error("too many statements at once: {what} were busy for {waited:?}")]
    Busy {
        /// Whose turns are taken.
        what: &'static str,
        /// How long this one waited; zero when the queue was full.
        waited: Duration,
    },
    /// Somebody asked to stop, or went away.
    #[error("canceling statement due to user request")]
    Canceled,
    /// The server is stopping.
    #[error("canceling statement because the server is shutting down")]
    Shutdown,
    /// Planning or execution failed.
    #[error("{}", message_of(.0))]
    Engine(#[source] Box<DataFusionError>),
    /// The client is not let in, or not any more.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The store did not answer.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Anything else, with the place where it happened.
    #[error("{0}")]
    Internal(String),
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::SQL(error, _) => Self::Syntax(*error),
            DataFusionError::External(inner) => match inner.downcast::<QueryError>() {
                Ok(own) => *own,
                Err(inner) => Self::Engine(Box::new(DataFusionError::External(inner))),
            },
            other => Self::Engine(Box::new(other)),
        }
    }
}

impl From<arrow::error::ArrowError> for QueryError {
    fn from(error: arrow::error::ArrowError) -> Self {
        DataFusionError::from(error).into()
    }
}

impl From<QueryError> for DataFusionError {
    fn from(error: QueryError) -> Self {
        Self::External(Box::new(error))
    }
}

impl QueryError {
    /// The code that clients act upon.
    pub fn sqlstate(&self) -> SqlState {
        match self {
            Self::Syntax(_) => SqlState::SYNTAX,
            Self::TooComplex { .. } => SqlState::STATEMENT_TOO_COMPLEX,
            Self::ReadOnly { .. } => SqlState::READ_ONLY,
            Self::NotSupported { .. } => SqlState::FEATURE_NOT_SUPPORTED,
            Self::UnknownSetting { .. } => SqlState::UNDEFINED_OBJECT,
            Self::InvalidSetting { .. } => SqlState::INVALID_PARAMETER_VALUE,
            Self::Parameter { .. } | Self::InvalidText { .. } => SqlState::INVALID_TEXT_REPRESENTATION,
            Self::NumberOutOfRange { .. } => SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            Self::CannotCast { .. } => SqlState::CANNOT_COERCE,
            Self::DivisionByZero => SqlState::DIVISION_BY_ZERO,
            Self::OutOfRange { .. } => SqlState::DATETIME_FIELD_OVERFLOW,
            Self::InvalidDatetime { .. } => SqlState::INVALID_DATETIME_FORMAT,
            Self::UndefinedFunction { .. } => SqlState::UNDEFINED_FUNCTION,
            Self::InvalidArgument { .. } | Self::RefusedArguments { .. } => SqlState::INVALID_PARAMETER_VALUE,
            Self::UnknownName { what, .. } => match *what {
                "relation" => SqlState::UNDEFINED_TABLE,
                "function" => SqlState::UNDEFINED_FUNCTION,
                "schema" => SqlState::INVALID_SCHEMA_NAME,
                _ => SqlState::UNDEFINED_OBJECT,
            },
            Self::UnknownCursor { .. } => SqlState::INVALID_CURSOR_NAME,
            Self::CursorExists { .. } => SqlState::DUPLICATE_CURSOR,
            Self::TooMuch { .. } => SqlState::PROGRAM_LIMIT_EXCEEDED,
            Self::CursorForwardOnly => SqlState::NOT_IN_PREREQUISITE_STATE,
            Self::Definition { state, .. } => *state,
            Self::Timeout(_) | Self::Canceled => SqlState::CANCELED,
            Self::Busy { .. } => SqlState::TOO_MANY_CONNECTIONS,
            Self::Shutdown => SqlState::SHUTDOWN,
            Self::Access(error) if error.is_forbidden() => SqlState::INSUFFICIENT_PRIVILEGE,
            Self::Access(AccessError::Unknown) => SqlState::INVALID_PASSWORD,
            Self::Access(_) => SqlState::INVALID_AUTHORIZATION,
            Self::Engine(error) => state_of(error),
            Self::Storage(error) if error.needs_bucket() => SqlState::IO_ERROR,
            Self::Storage(_) | Self::Internal(_) => SqlState::INTERNAL,
        }
    }

    /// What the user can do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Definition { hint, .. } => *hint,
            Self::ReadOnly { .. } => {
                Some("Data enters through OTLP; SELECT, WITH, VALUES, EXPLAIN and SHOW are answered.")
            }
            Self::InvalidSetting { name, .. } if name.eq_ignore_ascii_case("timezone") => Some(
                "Times are read and shown in UTC; timestamp AT TIME ZONE 'Europe/Berlin' shows one by another zone's clocks.",
            ),
            Self::CursorForwardOnly => Some("Declare it with SCROLL option to enable backward scan."),
            Self::TooComplex { .. } => {
                Some("Write a chain of OR as IN (...), a chain of UNION as VALUES, or send several statements.")
            }
            Self::Timeout(_) => {
                Some("Narrow the time range, or raise statement_timeout (SET statement_timeout = '5min').")
            }
            Self::Busy { .. } => Some(
                "Send it again later; extensions.query.max_statements and max_statements_per_tenant are the bounds.",
            ),
            error if error.sqlstate() == SqlState::IO_ERROR => {
                Some("Rows older than those on local disk are in the bucket, which does not answer: try again later.")
            }
            Self::Engine(error) if state_of(error) == SqlState::OUT_OF_MEMORY => Some(
                "Narrow the time range or the columns; extensions.query.memory_per_query_mib and spill_mib are the bounds.",
            ),
            _ => None,
        }
    }

    /// Where in the statement `sql` the fault was noticed, in characters from 1, where that is known.
    pub fn position(&self, sql: &str) -> Option<usize> {
        let (line, column) = self.place()?;
        let before = sql.split('\n').take(line.checked_sub(1)?).map(|line| line.chars().count() + 1).sum::<usize>();
        (column > 0).then(|| (before + column).min(sql.chars().count() + 1))
    }

    /// The same as line and column, counted from 1.
    pub fn place(&self) -> Option<(usize, usize)> {
        match self {
            Self::Syntax(error) => place_in_words(&error.to_string()),
            Self::Engine(error) => {
                let start = error.diagnostic()?.span?.start;
                Some((usize::try_from(start.line).ok()?, usize::try_from(start.column).ok()?))
            }
            _ => None,
        }
    }

    /// True if the fault is in the statement, not in the server.
    pub fn is_callers_fault(&self) -> bool {
        !matches!(self.sqlstate().0, "XX000" | "53200" | "53300" | "57P01" | "57014" | "58030")
    }
}

/// Line and column, which the parser tells in words only.
fn place_in_words(message: &str) -> Option<(usize, usize)> {
    let (_, place) = message.rsplit_once("at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    let digits = column.find(|c: char| !c.is_ascii_digit()).unwrap_or(column.len());
    Some((line.parse().ok()?, column[..digits].parse().ok()?))
}

/// The innermost error: outer layers add only where DataFusion noticed it.
fn root_of(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => root_of(inner),
        DataFusionError::Shared(inner) => root_of(inner),
        DataFusionError::Collection(errors) => errors.first().map_or(error, root_of),
        DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
            arrow::error::ArrowError::ExternalError(source) => {
                source.downcast_ref::<DataFusionError>().map_or(error, root_of)
            }
            _ => error,
        },
        other => other,
    }
}

/// The store's own error behind one of the engine's, when it is that a bucket does not answer.
fn bucket_error(error: &DataFusionError) -> Option<&StorageError> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        let boxed = || error.downcast_ref::<Box<StorageError>>().map(AsRef::as_ref);
        if let Some(found) = error.downcast_ref::<StorageError>().or_else(boxed) {
            return Some(found).filter(|error| error.needs_bucket());
        }
        next = error.source();
    }
    None
}

/// What is wrong with the bucket, if that is the reason. DataFusion hands on some errors of files as words only.
fn bucket_trouble(error: &DataFusionError) -> Option<String> {
    bucket_error(error).map(ToString::to_string).or_else(|| {
        let text = error.to_string();
        text.split_once(BUCKET_UNAVAILABLE).map(|(_, reason)| reason.trim_start_matches([':', ' ']).to_owned())
    })
}

fn state_of(error: &DataFusionError) -> SqlState {
    use arrow::error::ArrowError;
    if bucket_trouble(error).is_some() {
        return SqlState::IO_ERROR;
    }
    let error = root_of(error);
    if is_of_a_regular_expression(&error.to_string()) {
        return SqlState::INVALID_REGULAR_EXPRESSION;
    }
    match error {
        DataFusionError::SQL(..) => SqlState::SYNTAX,
        DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
            SchemaError::FieldNotFound { .. } => SqlState::UNDEFINED_COLUMN,
            SchemaError::AmbiguousReference { .. } => SqlState::AMBIGUOUS_COLUMN,
            _ => SqlState::SYNTAX_OR_ACCESS,
        },
        DataFusionError::NotImplemented(_) => SqlState::FEATURE_NOT_SUPPORTED,
        DataFusionError::ResourcesExhausted(_) => SqlState::OUT_OF_MEMORY,
        DataFusionError::Plan(message) => state_of_plan_message(message),
        DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
            ArrowError::DivideByZero => SqlState::DIVISION_BY_ZERO,
            other if cast_problem(other).is_some() => {
                cast_problem(other).map_or(SqlState::INTERNAL, |(state, _)| state)
            }
            ArrowError::CastError(_) | ArrowError::ParseError(_) => SqlState::INVALID_TEXT_REPRESENTATION,
            ArrowError::ArithmeticOverflow(_) => SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            ArrowError::ComputeError(_) => SqlState::DATA_EXCEPTION,
            _ => SqlState::INTERNAL,
        },
        DataFusionError::Execution(message)
            if message.starts_with("Unsupported date_trunc") || message.starts_with("Date part") =>
        {
            SqlState::INVALID_PARAMETER_VALUE
        }
        DataFusionError::Execution(_) => SqlState::DATA_EXCEPTION,
        DataFusionError::External(source) => {
            source.downcast_ref::<QueryError>().map_or(SqlState::INTERNAL, QueryError::sqlstate)
        }
        _ => SqlState::INTERNAL,
    }
}

/// The libraries on the way tell it in words only.
fn is_of_a_regular_expression(message: &str) -> bool {
    ["regex parse error", "exceeds size limit", "Regular expression did not compile", "CompiledTooBig"]
        .iter()
        .any(|words| message.contains(words))
}

/// A cast that failed, which Arrow tells in words only, in PostgreSQL's words.
fn cast_problem(error: &arrow::error::ArrowError) -> Option<(SqlState, String)> {
    use arrow::error::ArrowError;
    let (ArrowError::CastError(text) | ArrowError::ComputeError(text) | ArrowError::InvalidArgumentError(text)) = error
    else {
        return None;
    };
    let out_of_range = SqlState::NUMERIC_VALUE_OUT_OF_RANGE;
    let type_named = |name: &str| match name {
        "Int16" => "smallint",
        "Int32" => "integer",
        "Int64" => "bigint",
        "Float32" => "real",
        "Float64" => "double precision",
        "Boolean" => "boolean",
        decimal if decimal.starts_with("Decimal") => "numeric",
        _ => "of its column",
    };
    let quoted = text.strip_prefix("Cannot cast string '").or_else(|| text.strip_prefix("Cannot cast value '"));
    if let Some((value, rest)) = quoted.and_then(|rest| rest.rsplit_once("' to value of ")) {
        let kind = type_named(rest.split(['(', ' ']).next().unwrap_or_default());
        let digits = value.trim().trim_start_matches(['-', '+']);
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        return Some(match is_number && (kind.ends_with("int") || kind == "integer") {
            true => (out_of_range, format!("value \"{value}\" is out of range for type {kind}")),
            false => {
                (SqlState::INVALID_TEXT_REPRESENTATION, format!("invalid input syntax for type {kind}: \"{value}\""))
            }
        });
    }
    if let Some((_, kind)) = text.strip_prefix("Can't cast value ").and_then(|rest| rest.split_once(" to type ")) {
        return Some((out_of_range, format!("{} out of range", type_named(kind))));
    }
    if text.contains("is too large to store in a Decimal") || text.contains("Overflowing on") {
        return Some((out_of_range, "numeric field overflow".to_owned()));
    }
    (text == "integer out of range").then(|| (out_of_range, text.clone()))
}

/// DataFusion tells these apart in words only.
fn state_of_plan_message(message: &str) -> SqlState {
    let is = |part: &str| message.contains(part);
    if message.starts_with("table function") || is("Invalid function") || is("No function matches") {
        SqlState::UNDEFINED_FUNCTION
    } else if message.starts_with("table '") && is("not found") {
        SqlState::UNDEFINED_TABLE
    } else if is("No field named") || is("field not found") {
        SqlState::UNDEFINED_COLUMN
    } else if is("Cannot coerce arithmetic") || is("Cannot infer common argument type") {
        SqlState::UNDEFINED_FUNCTION
    } else if is("coerce") {
        SqlState::DATATYPE_MISMATCH
    } else {
        SqlState::SYNTAX_OR_ACCESS
    }
}

fn message_of(error: &DataFusionError) -> String {
    if let Some(reason) = bucket_trouble(error) {
        return reason;
    }
    let root = root_of(error);
    let text = match root {
        DataFusionError::Plan(text)
        | DataFusionError::Execution(text)
        | DataFusionError::ResourcesExhausted(text)
        | DataFusionError::NotImplemented(text) => text.clone(),
        DataFusionError::SchemaError(schema, _) => schema.to_string(),
        DataFusionError::External(source) => source.to_string(),
        DataFusionError::ArrowError(inner, _) => match cast_problem(inner) {
            Some((_, problem)) => problem,
            None => root.to_string(),
        },
        other => other.to_string(),
    };
    // A backtrace belongs into the log, not to the client.
    text.split("\n\nbacktrace:").next().unwrap_or(&text).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_engine_get_the_codes_clients_expect() {
        let plan = |text: &str| QueryError::from(DataFusionError::Plan(text.to_owned())).sqlstate();
        assert_eq!(plan("table 'whence.public.nope' not found"), SqlState::UNDEFINED_TABLE);
        assert_eq!(plan("Invalid function 'nope'."), SqlState::UNDEFINED_FUNCTION);
        let nested = DataFusionError::Context("x".into(), Box::new(DataFusionError::ResourcesExhausted("pool".into())));
        assert_eq!(QueryError::from(nested).sqlstate(), SqlState::OUT_OF_MEMORY);
    }

    #[test]
    fn a_place_in_a_statement_counts_characters_over_its_lines() {
        let error = |place: &str| QueryError::Syntax(ParserError::ParserError(format!("Expected: x{place}")));
        let sql = "SELECT 'é',\n  FROM t";
        assert_eq!(error(" at Line: 2, Column: 3").position(sql), Some(15));
        assert_eq!(error(" at Line: 1, Column: 1").position(sql), Some(1));
        assert_eq!(error(" at Line: 9, Column: 9").position(sql), Some(21), "the end, not beyond it");
        assert_eq!(error("").position(sql), None);
    }

    #[test]
    fn an_own_error_survives_the_way_through_the_engine() {
        let error = QueryError::from(DataFusionError::from(QueryError::Canceled));
        assert!(matches!(error, QueryError::Canceled));
    }
}
