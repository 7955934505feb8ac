//! Statements about continuous aggregates: CREATE, ALTER, DROP and REFRESH MATERIALIZED VIEW. CREATE, ALTER and REFRESH
//! are read here: the parser does not know all of their forms.

use super::{Command, Parsed, mentions};
use crate::error::{QueryError, SqlState};
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, ObjectType, Statement, Value,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

/// A relation as a statement names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RelationName {
    pub(crate) schema: Option<String>,
    pub(crate) name: String,
}

/// An option of WITH or SET: its name in lower case, and its value as written, if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ViewOption {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

/// What is to be done with a continuous aggregate.
#[derive(Debug, Clone)]
pub(crate) enum ViewCommand {
    /// CREATE MATERIALIZED VIEW. `query` is the text after AS, without WITH [NO] DATA.
    Create { name: RelationName, if_not_exists: bool, options: Vec<ViewOption>, query: String },
    /// DROP MATERIALIZED VIEW.
    Drop { names: Vec<RelationName>, if_exists: bool },
    /// DROP of what is said to be a table or a view, which continuous aggregates are not.
    DropOther { kind: &'static str, names: Vec<RelationName> },
    /// ALTER MATERIALIZED VIEW ... RENAME TO.
    Rename { name: RelationName, to: RelationName, if_exists: bool },
    /// ALTER MATERIALIZED VIEW ... SET (...).
    Set { name: RelationName, options: Vec<ViewOption>, if_exists: bool },
    /// REFRESH MATERIALIZED VIEW, `CALL refresh_continuous_aggregate`.
    Refresh { name: RelationName, tag: &'static str },
}

impl ViewCommand {
    /// Whether it changes what there is.
    pub(crate) fn changes(&self) -> bool {
        matches!(self, Self::Create { .. } | Self::Drop { .. } | Self::Rename { .. })
    }

    /// Tag of the command once it is done, which is also what people call it.
    pub(crate) fn tag(&self) -> &'static str {
        match self {
            Self::Create { .. } => "CREATE MATERIALIZED VIEW",
            Self::Drop { .. } => "DROP MATERIALIZED VIEW",
            Self::DropOther { kind: "view", .. } => "DROP VIEW",
            Self::DropOther { .. } => "DROP TABLE",
            Self::Rename { .. } | Self::Set { .. } => "ALTER MATERIALIZED VIEW",
            Self::Refresh { tag, .. } => tag,
        }
    }
}

/// True if the text may hold a statement that is read here.
pub(super) fn concerns(sql: &str) -> bool {
    mentions(sql, "materialized")
}

/// Statements of a text, where those of this file stand between others; `others` parses those.
pub(super) fn parse(
    sql: &str,
    others: impl Fn(&str) -> Result<Vec<Parsed>, QueryError>,
) -> Result<Vec<Parsed>, QueryError> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql)
        .tokenize_with_location()
        .map_err(|error| QueryError::Syntax(ParserError::TokenizerError(error.to_string())))?;
    let parts: Vec<Words<'_>> =
        tokens.split(|part| part.token == Token::SemiColon).map(|tokens| Words::of(sql, tokens)).collect();
    if !parts.iter().any(Words::is_of_a_view) {
        return others(sql);
    }
    let mut statements = Vec::new();
    for mut words in parts {
        if words.is_of_a_view() {
            statements.push(Parsed { command: Command::View(words.statement()?) });
        } else if let Some(text) = words.rest() {
            statements.extend(others(&text)?);
        }
    }
    Ok(statements)
}

/// DROP of a table or view and `CALL refresh_continuous_aggregate`, which the parser reads.
pub(super) fn view_of(statement: &Statement) -> Option<ViewCommand> {
    if let Statement::Call(function) = statement {
        return call_of(function);
    }
    let Statement::Drop { object_type, if_exists, names, .. } = statement else { return None };
    let names = names.iter().map(relation).collect::<Option<Vec<_>>>()?;
    Some(match object_type {
        ObjectType::MaterializedView => ViewCommand::Drop { names, if_exists: *if_exists },
        ObjectType::View => ViewCommand::DropOther { kind: "view", names },
        ObjectType::Table => ViewCommand::DropOther { kind: "table", names },
        _ => return None,
    })
}

/// `CALL refresh_continuous_aggregate('name', from, to)`.
fn call_of(function: &Function) -> Option<ViewCommand> {
    if !function.name.0.last()?.to_string().eq_ignore_ascii_case("refresh_continuous_aggregate") {
        return None;
    }
    let FunctionArguments::List(arguments) = &function.args else { return None };
    let (FunctionArg::Unnamed(FunctionArgExpr::Expr(first))
    | FunctionArg::Named { arg: FunctionArgExpr::Expr(first), .. }) = arguments.args.first()?
    else {
        return None;
    };
    let text = text_of(first)?;
    let mut parts = text.rsplitn(2, '.');
    let name = parts.next()?.trim_matches('"').to_owned();
    let schema = parts.next().map(|schema| schema.trim_matches('"').to_owned());
    Some(ViewCommand::Refresh { name: RelationName { schema, name }, tag: "CALL" })
}

fn text_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        Expr::Cast { expr, .. } => text_of(expr),
        _ => None,
    }
}

/// The name, unless it has more parts than schema and relation.
pub(crate) fn relation(name: &ObjectName) -> Option<RelationName> {
    let part = |at: usize| name.0.get(at)?.as_ident().map(folded);
    match name.0.len() {
        1 => Some(RelationName { schema: None, name: part(0)? }),
        2 => Some(RelationName { schema: part(0), name: part(1)? }),
        _ => None,
    }
}

fn folded(word: &Ident) -> String {
    if word.quote_style.is_some() { word.value.clone() } else { word.value.to_lowercase() }
}

/// Whether a token is this word, unquoted.
fn is_word(token: Option<&&TokenWithSpan>, expected: &str) -> bool {
    matches!(token, Some(TokenWithSpan { token: Token::Word(word), .. })
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected))
}

/// Words of one statement, from the left.
struct Words<'a> {
    sql: &'a str,
    tokens: Vec<&'a TokenWithSpan>,
    at: usize,
}

impl<'a> Words<'a> {
    fn of(sql: &'a str, tokens: &'a [TokenWithSpan]) -> Self {
        let spoken = |part: &&TokenWithSpan| !matches!(part.token, Token::Whitespace(_) | Token::EOF);
        Self { sql, tokens: tokens.iter().filter(spoken).collect(), at: 0 }
    }

    fn is_of_a_view(&self) -> bool {
        let verb = ["create", "alter", "refresh"].iter().any(|verb| self.is(0, verb));
        verb && self.is(1, "materialized") && self.is(2, "view")
    }

    /// Whether the word so many places further on is this one, unquoted.
    fn is(&self, ahead: usize, expected: &str) -> bool {
        is_word(self.tokens.get(self.at + ahead), expected)
    }

    fn token(&self) -> Option<&'a Token> {
        self.tokens.get(self.at).map(|part| &part.token)
    }

    /// Passes these words if they come next.
    fn accept(&mut self, words: &[&str]) -> bool {
        let all = words.iter().enumerate().all(|(ahead, word)| self.is(ahead, word));
        if all {
            self.at += words.len();
        }
        all
    }

    fn accept_token(&mut self, token: &Token) -> bool {
        let is_next = self.token() == Some(token);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, word: &str) -> Result<(), QueryError> {
        if self.accept(&[word]) { Ok(()) } else { Err(self.unexpected(&word.to_uppercase())) }
    }

    fn expect_token(&mut self, token: &Token) -> Result<(), QueryError> {
        if self.accept_token(token) { Ok(()) } else { Err(self.unexpected(&token.to_string())) }
    }

    fn unexpected(&self, expected: &str) -> QueryError {
        let found = self.tokens.get(self.at);
        let words = found.map_or_else(|| "end of statement".to_owned(), |part| part.token.to_string());
        let (line, column) =
            found.or(self.tokens.last()).map_or((1, 1), |part| (part.span.start.line, part.span.start.column));
        QueryError::Syntax(ParserError::ParserError(format!(
            "Expected: {expected}, found: {words} at Line: {line}, Column: {column}"
        )))
    }

    fn end(&self) -> Result<(), QueryError> {
        if self.at == self.tokens.len() { Ok(()) } else { Err(self.unexpected("end of statement")) }
    }

    fn word(&mut self) -> Result<String, QueryError> {
        let Some(Token::Word(word)) = self.token() else { return Err(self.unexpected("a name")) };
        self.at += 1;
        Ok(if word.quote_style.is_some() { word.value.clone() } else { word.value.to_lowercase() })
    }

    fn name(&mut self) -> Result<RelationName, QueryError> {
        let first = self.word()?;
        if !self.accept_token(&Token::Period) {
            return Ok(RelationName { schema: None, name: first });
        }
        Ok(RelationName { schema: Some(first), name: self.word()? })
    }

    fn statement(&mut self) -> Result<ViewCommand, QueryError> {
        if self.accept(&["create", "materialized", "view"]) {
            return self.create();
        }
        if self.accept(&["refresh", "materialized", "view"]) {
            self.accept(&["concurrently"]);
            let name = self.name()?;
            self.accept(&["with", "no", "data"]);
            self.accept(&["with", "data"]);
            self.end()?;
            return Ok(ViewCommand::Refresh { name, tag: "REFRESH MATERIALIZED VIEW" });
        }
        self.at += 3;
        let if_exists = self.accept(&["if", "exists"]);
        let name = self.name()?;
        let command = if self.accept(&["rename", "to"]) {
            ViewCommand::Rename { name, to: self.name()?, if_exists }
        } else if self.accept(&["set"]) {
            ViewCommand::Set { name, options: self.options()?, if_exists }
        } else {
            return Err(QueryError::NotSupported {
                what: "ALTER MATERIALIZED VIEW other than RENAME TO and SET (...)".to_owned(),
            });
        };
        self.end()?;
        Ok(command)
    }

    fn create(&mut self) -> Result<ViewCommand, QueryError> {
        let if_not_exists = self.accept(&["if", "not", "exists"]);
        let name = self.name()?;
        if self.token() == Some(&Token::LParen) {
            return Err(QueryError::Definition {
                state: SqlState::FEATURE_NOT_SUPPORTED,
                problem: "a list of columns in CREATE MATERIALIZED VIEW is not supported".to_owned(),
                hint: Some("Name the columns in the query: SELECT time_bucket('1 hour', timestamp) AS bucket, ..."),
            });
        }
        for clause in ["using", "tablespace"] {
            if self.accept(&[clause]) {
                self.word()?;
            }
        }
        let options = if self.accept(&["with"]) { self.options()? } else { Vec::new() };
        if self.accept(&["tablespace"]) {
            self.word()?;
        }
        self.expect("as")?;
        for data in [&["with", "no", "data"][..], &["with", "data"]] {
            let before = self.tokens.len().saturating_sub(data.len());
            let ends_so = data.iter().enumerate().all(|(at, word)| is_word(self.tokens.get(before + at), word));
            if before > self.at && ends_so {
                self.tokens.truncate(before);
            }
        }
        if self.at == self.tokens.len() {
            return Err(self.unexpected("a query"));
        }
        let query = self.slice().trim().to_owned();
        // Checked here so that an error has its place in the whole statement.
        let text = self.rest().unwrap_or_default();
        let is_query = matches!(&super::parse_one(&text)?.command,
            Command::Query(statement) if matches!(**statement, Statement::Query(_)));
        if !is_query {
            return Err(QueryError::NotSupported { what: "a materialized view of anything but a query".to_owned() });
        }
        Ok(ViewCommand::Create { name, if_not_exists, options, query })
    }

    /// `(name [= value], ...)`.
    fn options(&mut self) -> Result<Vec<ViewOption>, QueryError> {
        self.expect_token(&Token::LParen)?;
        let mut options = Vec::new();
        loop {
            let mut name = self.word()?;
            while self.accept_token(&Token::Period) {
                name = format!("{name}.{}", self.word()?);
            }
            let value = if self.accept_token(&Token::Eq) { Some(self.value()?) } else { None };
            options.push(ViewOption { name, value });
            if !self.accept_token(&Token::Comma) {
                break;
            }
        }
        self.expect_token(&Token::RParen)?;
        Ok(options)
    }

    fn value(&mut self) -> Result<String, QueryError> {
        let value = match self.token() {
            Some(Token::Word(word)) => word.value.to_lowercase(),
            Some(Token::SingleQuotedString(text)) => text.clone(),
            Some(Token::Number(digits, _)) => digits.clone(),
            _ => return Err(self.unexpected("a value")),
        };
        self.at += 1;
        Ok(value)
    }

    /// The text from here on.
    fn slice(&self) -> &'a str {
        let (Some(first), Some(last)) = (self.tokens.get(self.at), self.tokens.last()) else { return "" };
        self.sql.get(offset(self.sql, first.span.start)..offset(self.sql, last.span.end)).unwrap_or_default()
    }

    /// The same at its place: what comes before is blank, so that errors are told of where they are.
    fn rest(&self) -> Option<String> {
        let start = offset(self.sql, self.tokens.get(self.at)?.span.start);
        let blank = self.sql[..start].chars().map(|c| if c == '\n' { '\n' } else { ' ' });
        Some(blank.chain(self.slice().chars()).collect())
    }
}

/// Byte of a place that is told in lines and characters, from 1.
fn offset(sql: &str, place: Location) -> usize {
    let skipped = usize::try_from(place.line).unwrap_or_default().saturating_sub(1);
    let line_start: usize = sql.split_inclusive('\n').take(skipped).map(str::len).sum();
    let characters = usize::try_from(place.column).unwrap_or_default().saturating_sub(1);
    let rest = &sql[line_start..];
    line_start + rest.char_indices().nth(characters).map_or(rest.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn views(sql: &str) -> Vec<ViewCommand> {
        let view = |parsed: Parsed| match parsed.command {
            Command::View(view) => Some(view),
            _ => None,
        };
        super::super::parse(sql).unwrap().into_iter().filter_map(view).collect()
    }

    #[test]
    fn a_declaration_is_read_with_its_options_and_its_query_as_written() {
        let sql = "CREATE MATERIALIZED VIEW IF NOT EXISTS public.\"Él\" WITH (timescaledb.continuous, \
                   timescaledb.materialized_only = false)\nAS SELECT 'it''s; é', -- as written\n  1 FROM é WITH NO DATA;";
        let [ViewCommand::Create { name, if_not_exists: true, options, query }] = &views(sql)[..] else { panic!() };
        assert_eq!((name.schema.as_deref(), name.name.as_str()), (Some("public"), "Él"));
        let option =
            |name: &str, value: Option<&str>| ViewOption { name: name.to_owned(), value: value.map(str::to_owned) };
        let expected = [option("timescaledb.continuous", None), option("timescaledb.materialized_only", Some("false"))];
        assert_eq!(options[..], expected);
        assert_eq!(query, "SELECT 'it''s; é', -- as written\n  1 FROM é");
    }

    #[test]
    fn other_statements_stand_between_those_about_views() {
        let sql = "SELECT ';'; REFRESH MATERIALIZED VIEW CONCURRENTLY A; ALTER MATERIALIZED VIEW IF EXISTS a RENAME TO \"B\";
                   DROP MATERIALIZED VIEW IF EXISTS a, public.b CASCADE; CALL refresh_continuous_aggregate('b', NULL, NULL);
                   ALTER MATERIALIZED VIEW b SET (timescaledb.materialized_only = 'false'); FETCH 1 FROM c; ;";
        assert_eq!(super::super::parse(sql).unwrap().len(), 7);
        let tags: Vec<_> = views(sql).iter().map(ViewCommand::tag).collect();
        let alter = "ALTER MATERIALIZED VIEW";
        assert_eq!(tags, ["REFRESH MATERIALIZED VIEW", alter, "DROP MATERIALIZED VIEW", "CALL", alter]);
    }

    #[test]
    fn an_error_has_its_place_in_the_whole_text() {
        for (sql, at) in [
            ("CREATE MATERIALIZED VIEW v WITH (continuous) SELECT 1", 46),
            ("SELECT 1;\nCREATE MATERIALIZED VIEW v WITH (continuous) AS\n SELECT (1 FROM t", 70),
            ("CREATE MATERIALIZED VIEW", 21),
        ] {
            let error = super::super::parse(sql).unwrap_err();
            assert_eq!((error.sqlstate(), error.position(sql)), (SqlState::SYNTAX, Some(at)), "{sql}: {error}");
        }
        assert!(
            super::super::parse("CREATE MATERIALIZED VIEW v WITH (continuous) AS INSERT INTO t VALUES (1)").is_err()
        );
    }
}
