//! DECLARE, FETCH, MOVE and CLOSE. FETCH and MOVE are read here: the parser knows neither all forms of the one nor the
//! other.

use super::{Command, Parsed, mentions};
use crate::error::QueryError;
use datafusion::sql::sqlparser::ast::{CloseCursor, Declare, Ident};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// How far FETCH and MOVE go. Only a SCROLL cursor goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Distance {
    /// The next so many rows.
    Rows(u64),
    /// All that are left.
    All,
    /// So many rows before this one, the nearest first.
    Back(u64),
    /// The one row that is so many further on, or back; those between are passed over. 0 is this row again.
    Relative(i64),
    /// The row with this number, counted from 1; from the end, backward, if negative. 0 is before the first.
    Absolute(i64),
}

/// True if the text may hold FETCH or MOVE, which are not for the parser.
pub(super) fn concerns(sql: &str) -> bool {
    mentions(sql, "fetch") || mentions(sql, "move")
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
    let distance = direction(&words).ok_or_else(wrong)?;
    Ok(Parsed { command: Command::Fetch { name, distance, moves } })
}

/// What the words between FETCH and the cursor say; `None` if they are no direction.
fn direction(words: &[&str]) -> Option<Distance> {
    let number = |digits: &str| digits.parse::<u64>().ok();
    let signed = |words: &[&str]| match words {
        ["-", digits] => number(digits).and_then(|number| 0_i64.checked_sub_unsigned(number)),
        [digits] | ["+", digits] => number(digits).and_then(|number| i64::try_from(number).ok()),
        _ => None,
    };
    let along = |rows: i64| match rows {
        0 => Distance::Relative(0),
        rows if rows > 0 => Distance::Rows(rows.unsigned_abs()),
        rows => Distance::Back(rows.unsigned_abs()),
    };
    Some(match words {
        [] | ["next" | "forward"] => Distance::Rows(1),
        ["prior" | "backward"] => Distance::Back(1),
        ["all"] | ["forward", "all"] => Distance::All,
        ["backward", "all"] => Distance::Back(u64::MAX),
        ["first"] => Distance::Absolute(1),
        ["last"] => Distance::Absolute(-1),
        ["absolute", count @ ..] => Distance::Absolute(signed(count)?),
        ["relative", count @ ..] => Distance::Relative(signed(count)?),
        ["backward", count @ ..] => along(signed(count)?.checked_neg()?),
        ["forward", count @ ..] | count => along(signed(count)?),
    })
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
    if one.binary == Some(true) {
        return Err(QueryError::NotSupported {
            what: "DECLARE ... BINARY: ask for binary results in FETCH; it".to_owned(),
        });
    }
    let query = super::parse_one(&query.to_string())?;
    let (hold, scroll) = (one.hold == Some(true), one.scroll == Some(true));
    Ok(Command::Declare { name: name_of(name), query: Box::new(query), hold, scroll })
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
        for (sql, far) in [
            ("FETCH PRIOR FROM c", Distance::Back(1)),
            ("FETCH BACKWARD 2 FROM c", Distance::Back(2)),
            ("FETCH BACKWARD ALL IN c", Distance::Back(u64::MAX)),
            ("FETCH -1 FROM c", Distance::Back(1)),
            ("FETCH BACKWARD -3 FROM c", Distance::Rows(3)),
            ("FETCH RELATIVE -1 FROM c", Distance::Relative(-1)),
            ("FETCH 0 FROM c", Distance::Relative(0)),
            ("FETCH LAST c", Distance::Absolute(-1)),
            ("MOVE ABSOLUTE -2 IN c", Distance::Absolute(-2)),
        ] {
            assert_eq!(distance(sql).map(|(_, far, _)| far), Some(far), "{sql}");
        }
        assert!(super::super::parse("FETCH x y z FROM c").is_err());
        assert_eq!(
            super::super::parse("BEGIN; DECLARE c CURSOR FOR SELECT 1; FETCH 1 FROM c; COMMIT").unwrap().len(),
            4
        );
        assert_eq!(super::super::parse("SELECT 1 FETCH FIRST 1 ROW ONLY").unwrap().len(), 1);
    }
}
