//! DECLARE, FETCH, MOVE and CLOSE. FETCH and MOVE are read here: the parser knows neither all forms of the one nor the
//! other.

use super::{Command, Parsed};
use crate::error::QueryError;
use datafusion::sql::sqlparser::ast::{CloseCursor, Declare, Ident};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// How far FETCH and MOVE go; cursors go forward only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Distance {
    /// The next so many rows.
    Rows(u64),
    /// All that are left.
    All,
    /// The one row that is so many further on; those before it are passed over.
    Relative(u64),
    /// The row with this number, counted from 1.
    Absolute(u64),
}

/// True if the text may hold FETCH or MOVE, which are not for the parser.
pub(super) fn concerns(sql: &str) -> bool {
    let has = |word: &[u8]| sql.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    has(b"fetch") || has(b"move")
}

/// Statements of a text, where FETCH and MOVE stand between others; `others` parses those.
pub(super) fn parse(
    sql: &str,
    others: impl Fn(&str) -> Result<Vec<Parsed>, QueryError>,
) -> Result<Vec<Parsed>, QueryError> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql)
        .tokenize()
        .map_err(|error| QueryError::Syntax(ParserError::TokenizerError(error.to_string())))?;
    let starts = |part: &[Token]| {
        let first = part.iter().find(|token| !matches!(token, Token::Whitespace(_)));
        matches!(first, Some(Token::Word(word)) if is(&word.value, &["fetch", "move"]))
    };
    let parts: Vec<&[Token]> = tokens.split(|token| *token == Token::SemiColon).collect();
    if !parts.iter().any(|part| starts(part)) {
        return others(sql);
    }
    let mut statements = Vec::new();
    for part in parts {
        if starts(part) {
            statements.push(fetch(part)?);
        } else {
            statements.extend(others(&part.iter().map(ToString::to_string).collect::<String>())?);
        }
    }
    Ok(statements)
}

fn is(word: &str, any: &[&str]) -> bool {
    any.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// `FETCH|MOVE [direction] [FROM|IN] name`.
fn fetch(tokens: &[Token]) -> Result<Parsed, QueryError> {
    let text = || tokens.iter().map(ToString::to_string).collect::<String>();
    let wrong = || QueryError::Syntax(ParserError::ParserError(format!("this is no FETCH or MOVE: {}", text().trim())));
    let mut tokens = tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))).peekable();
    let Some(Token::Word(verb)) = tokens.next() else { return Err(wrong()) };
    let moves = is(&verb.value, &["move"]);
    let mut rest: Vec<&Token> = tokens.collect();
    let name = match rest.pop() {
        Some(Token::Word(word)) => name_of(&Ident {
            value: word.value.clone(),
            quote_style: word.quote_style,
            span: datafusion::sql::sqlparser::tokenizer::Span::empty(),
        }),
        _ => return Err(wrong()),
    };
    if matches!(rest.last(), Some(Token::Word(word)) if word.quote_style.is_none() && is(&word.value, &["from", "in"]))
    {
        rest.pop();
    }
    let words: Vec<String> = rest.iter().map(|token| token.to_string().to_lowercase()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
    let distance = match words.as_slice() {
        [] | ["next" | "forward"] => Distance::Rows(1),
        ["all"] | ["forward", "all"] => Distance::All,
        ["first"] => Distance::Absolute(1),
        ["absolute", count] => Distance::Absolute(number(count)?),
        ["relative", count] => Distance::Relative(number(count)?),
        ["prior" | "last" | "backward", ..] | ["-", _] | [_, "-", _] => {
            return Err(QueryError::CursorCannot { name, what: "go backward: only forward" });
        }
        [count] | ["forward", count] => Distance::Rows(number(count)?),
        _ => return Err(wrong()),
    };
    Ok(Parsed { command: Command::Fetch { name, distance, moves } })
}

/// A name as it is kept: without quotes it is in lower case.
fn name_of(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

/// DECLARE of one cursor for a query.
pub(super) fn declare(mut declared: Vec<Declare>) -> Result<Command, QueryError> {
    let unsupported = || QueryError::NotSupported { what: "DECLARE of anything but one cursor".to_owned() };
    let (Some(one), true) = (declared.pop(), declared.is_empty()) else { return Err(unsupported()) };
    let (Some(name), Some(query)) = (one.names.first(), one.for_query) else { return Err(unsupported()) };
    if one.scroll == Some(true) {
        return Err(QueryError::NotSupported { what: "a SCROLL cursor: cursors go forward only; it".to_owned() });
    }
    if one.binary == Some(true) {
        return Err(QueryError::NotSupported {
            what: "DECLARE ... BINARY: ask for binary results in FETCH; it".to_owned(),
        });
    }
    let query = super::parse_one(&query.to_string())?;
    Ok(Command::Declare { name: name_of(name), query: Box::new(query), hold: one.hold == Some(true) })
}

/// CLOSE of one cursor, or of all.
pub(super) fn close(cursor: &CloseCursor) -> Command {
    match cursor {
        CloseCursor::All => Command::Close(None),
        CloseCursor::Specific { name } => Command::Close(Some(name_of(name))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn distance(sql: &str) -> Option<(String, Distance, bool)> {
        match super::super::parse(sql).ok()?.remove(0).command {
            Command::Fetch { name, distance, moves } => Some((name, distance, moves)),
            _ => None,
        }
    }

    #[test]
    fn fetch_and_move_read_in_all_their_forms() {
        for (sql, name, far, moves) in [
            ("FETCH c", "c", Distance::Rows(1), false),
            ("fetch NEXT from C", "c", Distance::Rows(1), false),
            ("FETCH FORWARD 100 FROM \"All of them\"", "All of them", Distance::Rows(100), false),
            ("FETCH 7 IN c;", "c", Distance::Rows(7), false),
            ("FETCH ALL c", "c", Distance::All, false),
            ("FETCH ABSOLUTE 3 FROM c", "c", Distance::Absolute(3), false),
            ("MOVE FORWARD 2 c", "c", Distance::Rows(2), true),
            ("MOVE RELATIVE 2 FROM c", "c", Distance::Relative(2), true),
        ] {
            assert_eq!(distance(sql), Some((name.to_owned(), far, moves)), "{sql}");
        }
        for sql in ["FETCH PRIOR FROM c", "FETCH BACKWARD 2 FROM c", "FETCH -1 FROM c", "FETCH RELATIVE -1 FROM c"] {
            assert!(matches!(super::super::parse(sql), Err(QueryError::CursorCannot { .. })), "{sql}");
        }
        assert!(super::super::parse("FETCH x y z FROM c").is_err());
        assert_eq!(
            super::super::parse("BEGIN; DECLARE c CURSOR FOR SELECT 1; FETCH 1 FROM c; COMMIT").unwrap().len(),
            4
        );
        assert_eq!(super::super::parse("SELECT 1 FETCH FIRST 1 ROW ONLY").unwrap().len(), 1);
    }
}
