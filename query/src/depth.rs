//! How deep the tree of a statement becomes, told from its words before there is a tree. Each operator of a chain
//! (`1 + 1 + 1 ...`, `a OR b OR ...`, `SELECT ... UNION SELECT ...`) is a level of it, whatever reads, copies or drops the
//! tree calls itself for each level, and a thread whose stack is used up takes the whole server with it. Parentheses,
//! which the parser counts itself, are added up with what is around them.

use crate::error::QueryError;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// Levels that the stack of our threads ([`crate::STACK_BYTES`]) holds many times.
const DEEPEST: usize = 500;

/// Refuses statements whose tree would be deeper than that.
///
/// # Errors
///
/// [`QueryError::TooComplex`]. What is no SQL is left to the parser.
pub(crate) fn check(sql: &str) -> Result<(), QueryError> {
    // One operator takes two bytes at least, its operand included.
    if sql.len() <= DEEPEST {
        return Ok(());
    }
    let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize() else { return Ok(()) };
    if deepest(&tokens) > DEEPEST {
        return Err(QueryError::TooComplex { levels: DEEPEST });
    }
    Ok(())
}

/// Operators inside one pair of parentheses.
#[derive(Default)]
struct Level {
    /// Of the expression under way; a comma ends it.
    chain: usize,
    /// The parenthesis itself, UNION and the like, and joins: nothing but the closing parenthesis ends these.
    queries: usize,
}

fn deepest(tokens: &[Token]) -> usize {
    let mut levels = vec![Level::default()];
    // What the open levels add up to.
    let (mut sum, mut most) = (0_usize, 0);
    for token in tokens {
        let Some(level) = levels.last_mut() else { break };
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                sum += 1;
                levels.push(Level { chain: 0, queries: 1 });
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                if levels.len() > 1
                    && let Some(closed) = levels.pop()
                {
                    sum -= closed.chain + closed.queries;
                }
            }
            Token::Comma => sum -= std::mem::take(&mut level.chain),
            Token::SemiColon => {
                levels = vec![Level::default()];
                sum = 0;
            }
            Token::Word(word) => match word.keyword {
                Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::JOIN => {
                    level.queries += 1;
                    sum += 1;
                }
                Keyword::AND
                | Keyword::OR
                | Keyword::XOR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::NOTNULL
                | Keyword::IN
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::SIMILAR
                | Keyword::BETWEEN
                | Keyword::AT
                | Keyword::COLLATE
                | Keyword::OVERLAPS
                | Keyword::CASE => {
                    level.chain += 1;
                    sum += 1;
                }
                _ => {}
            },
            Token::Whitespace(_)
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Placeholder(_)
            | Token::Period
            | Token::EOF => {}
            // Whatever else there is, is an operator, or rare.
            _ => {
                level.chain += 1;
                sum += 1;
            }
        }
        most = most.max(sum);
    }
    most
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn chains_of_operators_are_counted_however_they_are_written() {
        for chain in [
            format!("SELECT 1{}", " + 1".repeat(2_000)),
            format!("SELECT 1{}", "-1".repeat(2_000)),
            format!("SELECT a{}", "::text".repeat(2_000)),
            format!("SELECT a{} FROM t", " -> 'b'".repeat(2_000)),
            format!("SELECT 1 WHERE a{}", " OR a".repeat(2_000)),
            format!("SELECT {} a", "NOT ".repeat(2_000)),
            format!("SELECT a{}", " AT TIME ZONE 'UTC'".repeat(2_000)),
            format!("SELECT 1{}", " UNION ALL SELECT 1, 2".repeat(2_000)),
            format!("SELECT 1 FROM t{}", " CROSS JOIN t".repeat(2_000)),
            format!("SELECT {}1{}", "1 + 1 + (".repeat(400), ")".repeat(400)),
            format!("SELECT {}1{}", "f(1, ".repeat(2_000), ")".repeat(2_000)),
        ] {
            let error = check(&chain).unwrap_err();
            assert_eq!(error.sqlstate().0, "54001", "{}", &chain[..40]);
        }
    }

    #[test]
    fn what_is_long_and_flat_is_left_alone() {
        let list: Vec<_> = (0..5_000).map(|n| format!("'v + {n}'")).collect();
        let rows: Vec<_> = (0..5_000).map(|n| format!("({n} + 1, -{n})")).collect();
        for flat in [
            format!("SELECT * FROM t WHERE a IN ({})", list.join(", ")),
            format!("VALUES {}", rows.join(", ")),
            format!("SELECT {}", rows.join(", ")),
            "SELECT 1 + 1 - 1 FROM t JOIN u USING (a); ".repeat(500),
        ] {
            check(&flat).unwrap();
        }
    }
}
