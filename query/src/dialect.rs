//! What PostgreSQL says one way and DataFusion another, put right in the parsed statement, after parameters have their
//! values and before it is planned.

pub(crate) mod build;
mod calls;
mod columns;
mod forms;
mod rows;
mod set_returning;
mod using;

use crate::error::QueryError;
use build::call;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType as SqlType, Expr, FunctionArg, FunctionArgExpr, Query, Select, SetExpr, Statement,
    TableFactor, UnaryOperator, Value, VisitMut, VisitorMut,
};
pub(crate) use rows::with_backslashes;
use std::ops::ControlFlow;

/// Elements of an array literal.
const MAX_ELEMENTS: usize = 65_536;

/// Puts the statement right.
///
/// # Errors
///
/// [`QueryError::NotSupported`] for what the engine would answer in another way than PostgreSQL.
pub(crate) fn adapt(statement: &mut Statement) -> Result<(), QueryError> {
    match statement.visit(&mut Adapt) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Adapt;

impl VisitorMut for Adapt {
    type Break = QueryError;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<QueryError> {
        if let Some(list) = membership(expr) {
            *expr = list;
        }
        if let Some(other) = rows::compared(expr).or_else(|| rows::like(expr)) {
            *expr = other;
        }
        match forms::translated(expr) {
            Ok(Some(other)) => *expr = other,
            Ok(None) => {}
            Err(error) => return ControlFlow::Break(error),
        }
        match expr {
            Expr::Interval(interval) => spell_out(&mut interval.value),
            Expr::Cast { expr, data_type: SqlType::Interval { .. }, .. } => spell_out(expr),
            Expr::Function(function) => {
                let translated = calls::translated(function).or_else(|| set_returning::in_columns(function));
                if let Some(translated) = translated {
                    *expr = translated;
                }
            }
            Expr::SimilarTo { negated, expr: text, pattern, escape_char } => {
                let mut values = vec![(**pattern).clone()];
                values.extend(escape_char.clone().map(Expr::Value));
                *expr = matches(text, call("similar_to_escape", values), *negated);
            }
            Expr::BinaryOp { op, right, .. } if is_regex(op) => {
                if let Expr::Value(pattern) = right.as_mut()
                    && let Value::SingleQuotedString(pattern) | Value::EscapedStringLiteral(pattern) =
                        &mut pattern.value
                {
                    *pattern = regex_of(pattern);
                }
            }
            Expr::AtTimeZone { timestamp, time_zone } => {
                *expr = call("at_time_zone", vec![(**timestamp).clone(), (**time_zone).clone()]);
            }
            _ => {}
        }
        if let Some(bytes) = bytes_of_text(expr) {
            *expr = bytes;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<QueryError> {
        if let Some(number) = forms::folded(expr) {
            *expr = number;
        }
        if let Expr::Array(array) = expr {
            build::type_nulls(&mut array.elem);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<QueryError> {
        let ordered = query.order_by.is_some();
        if let Err(error) = forms::query(query) {
            return ControlFlow::Break(error);
        }
        if let (false, SetExpr::Select(select)) = (ordered, query.body.as_mut()) {
            // Before names are given: they are among what is looked at.
            if let Err(error) = forms::select(select) {
                return ControlFlow::Break(error);
            }
            columns::name_all(select);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<QueryError> {
        if let Err(error) = forms::select(select) {
            return ControlFlow::Break(error);
        }
        set_returning::name_whole_rows(select);
        using::qualify(select);
        columns::tell_apart(select);
        ControlFlow::Continue(())
    }

    /// `trace('...'::uuid)` as `trace('...')`: casts in arguments of table functions are computed before anybody can
    /// say how to read a uuid, and these functions read texts as well.
    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<QueryError> {
        if let Some(lateral) = set_returning::in_from(table) {
            *table = lateral;
        }
        if let TableFactor::Table { args: Some(arguments), .. } = table {
            for argument in &mut arguments.args {
                if let FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) = argument
                    && let Expr::Cast { expr, data_type: SqlType::Uuid, .. } = value
                {
                    *value = (**expr).clone();
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// `x = ANY(ARRAY[a, b])` as `x IN (a, b)`, and `x <> ALL(...)` as `x NOT IN (...)`: those reach the files.
fn membership(expr: &Expr) -> Option<Expr> {
    let (left, right, negated) = match expr {
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => (left, right, false),
        Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => (left, right, true),
        _ => return None,
    };
    let list = elements(right)?;
    if list.is_empty() {
        return Some(Expr::Value(Value::Boolean(negated).into()));
    }
    Some(Expr::InList { expr: left.clone(), list, negated })
}

fn elements(array: &Expr) -> Option<Vec<Expr>> {
    match array {
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => elements(inner),
        Expr::Array(array) => Some(array.elem.clone()),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => {
                let item =
                    |item: Option<String>| Expr::Value(item.map_or(Value::Null, Value::SingleQuotedString).into());
                Some(split_array(text)?.into_iter().map(item).collect())
            }
            _ => None,
        },
        _ => None,
    }
}

/// Items of `{a,"b c",NULL}`, an array of one dimension as PostgreSQL writes it; `None` if it is none.
pub(crate) fn split_array(text: &str) -> Option<Vec<Option<String>>> {
    let inside = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut items = Vec::new();
    let mut characters = inside.chars().peekable();
    while characters.peek().is_some() {
        let (mut item, mut quoted) = (String::new(), false);
        while characters.next_if(|c| c.is_whitespace()).is_some() {}
        if characters.peek() == Some(&'"') {
            quoted = true;
            characters.next();
            loop {
                match characters.next()? {
                    '"' => break,
                    '\\' => item.push(characters.next()?),
                    other => item.push(other),
                }
            }
        }
        while let Some(next) = characters.next_if(|c| *c != ',') {
            if next == '{' {
                return None;
            }
            // Space around items is no part of them.
            if !(quoted && next.is_whitespace()) {
                item.push(next);
            }
        }
        if !quoted {
            item.truncate(item.trim_end().len());
        }
        characters.next();
        items.push((quoted || !item.eq_ignore_ascii_case("null")).then_some(item));
        if items.len() > MAX_ELEMENTS {
            return None;
        }
    }
    Some(items)
}

/// `'\x00ff'::bytea`, whose escapes DataFusion would take for text.
fn bytes_of_text(expr: &Expr) -> Option<Expr> {
    let Expr::Cast { expr, data_type: SqlType::Bytea, .. } = expr else { return None };
    let Expr::Value(value) = expr.as_ref() else { return None };
    let Value::SingleQuotedString(text) = &value.value else { return None };
    let digits = text.strip_prefix("\\x").filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    Some(Expr::Value(Value::HexStringLiteral(digits.to_owned()).into()))
}

fn is_regex(op: &BinaryOperator) -> bool {
    use BinaryOperator::{PGRegexIMatch, PGRegexMatch, PGRegexNotIMatch, PGRegexNotMatch};
    matches!(op, PGRegexMatch | PGRegexIMatch | PGRegexNotMatch | PGRegexNotIMatch)
}

/// A pattern in the words of the engine: a point also matches the end of a line, as in PostgreSQL.
fn regex_of(pattern: &str) -> String {
    let pattern = crate::functions::regex::in_words_of_the_crate(pattern);
    if pattern.contains('.') && !pattern.starts_with("(?s)") { format!("(?s){pattern}") } else { pattern }
}

/// `text ~ pattern`.
fn matches(text: &Expr, pattern: Expr, negated: bool) -> Expr {
    let matches =
        Expr::BinaryOp { left: Box::new(text.clone()), op: BinaryOperator::PGRegexMatch, right: Box::new(pattern) };
    match negated {
        true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(Expr::Nested(Box::new(matches))) },
        false => matches,
    }
}

fn spell_out(value: &mut Expr) {
    if let Expr::Value(value) = value
        && let Value::SingleQuotedString(text) = &mut value.value
    {
        *text = with_units(text);
    }
}

/// An interval's text with units for its clock: `1 day, 2:03:04.5` is `1 day 2 hours 3 minutes 4.5 seconds`.
pub(crate) fn with_units(text: &str) -> String {
    let part = |word: &str| -> String {
        let (sign, clock) = match word.strip_prefix('-') {
            Some(rest) => ("-", rest),
            None => ("", word.strip_prefix('+').unwrap_or(word)),
        };
        let numbers: Vec<&str> = clock.split(':').collect();
        let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        match numbers.as_slice() {
            [hours, minutes, rest @ ..] if rest.len() <= 1 && numbers.iter().all(is_number) => {
                let seconds = rest.first().copied().unwrap_or("0");
                format!("{sign}{hours} hours {sign}{minutes} minutes {sign}{seconds} seconds")
            }
            _ => word.to_owned(),
        }
    };
    if !text.contains(':') {
        return text.to_owned();
    }
    text.split([' ', ',']).filter(|word| !word.is_empty()).map(part).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    #[test]
    fn statements_say_the_same_in_the_words_of_the_engine() {
        for (sql, adapted) in [
            ("SELECT a = ANY('{x,\"y z\"}')", "SELECT a IN ('x', 'y z')"),
            ("SELECT a <> ALL(ARRAY[1, 2])", "SELECT a NOT IN (1, 2)"),
            ("SELECT a = ANY('{}'::TEXT[])", "SELECT false"),
            ("SELECT a = ANY(b)", "SELECT a = ANY(b)"),
            (
                "SELECT INTERVAL '1 day, 01:02:03.5'",
                "SELECT INTERVAL '1 day 01 hours 02 minutes 03.5 seconds' AS \"interval\"",
            ),
            ("SELECT '-1:00'::INTERVAL", "SELECT '-1 hours -00 minutes -0 seconds'::INTERVAL AS \"interval\""),
            ("SELECT INTERVAL '1 minute'", "SELECT INTERVAL '1 minute' AS \"interval\""),
            ("SELECT * FROM f('x'::UUID)", "SELECT * FROM f('x')"),
            (
                "SELECT first(a, b) FILTER (WHERE c)",
                "SELECT first_value(a ORDER BY b ASC NULLS LAST) FILTER (WHERE (c) AND (b) IS NOT NULL) AS \"first\"",
            ),
            ("SELECT a ~ 'x.\\y'", "SELECT a ~ '(?s)x.\\b'"),
            ("SELECT a, a, b::INT", "SELECT a, a AS \"?column 2?\", b::INT AS \"b\""),
            ("SELECT mode() WITHIN GROUP (ORDER BY a DESC)", "SELECT mode(a, true) AS \"mode\""),
            ("SELECT a NOT SIMILAR TO 'x%'", "SELECT NOT (a ~ similar_to_escape('x%'))"),
            (
                "SELECT tag FROM t, jsonb_array_elements(t.a) AS tag",
                "SELECT tag.value AS tag FROM t, LATERAL (SELECT unnest(jsonb_elements(t.a)) AS \"value\") AS tag",
            ),
            ("SELECT (a, b) > (1, 2)", "SELECT (((a) > (1)) OR (((a) = (1)) AND ((b) > (2))))"),
            ("SELECT a LIKE '5#%' ESCAPE '#'", "SELECT a LIKE '5\\%'"),
            ("SELECT 0.1 + 0.2 * 3", "SELECT 0.7"),
            ("SELECT -2 ^ 2", "SELECT (-2) ^ 2"),
            ("SELECT a FROM t FETCH FIRST 3 ROWS ONLY", "SELECT a FROM t LIMIT 3"),
            (
                "SELECT k FROM a JOIN b AS c USING (k) WHERE k = 1 AND c.k IN (SELECT k FROM d) HAVING K > 0",
                "SELECT k FROM a JOIN b AS c USING(k) WHERE a.k = 1 AND c.k IN (SELECT k FROM d) HAVING a.K > 0",
            ),
            (
                "SELECT DISTINCT k, k + 1 AS n FROM a RIGHT JOIN b USING (k) WHERE k = 1 GROUP BY k",
                "SELECT DISTINCT b.k AS k, b.k + 1 AS n FROM a RIGHT JOIN b USING(k) WHERE b.k = 1 GROUP BY b.k",
            ),
            (
                "SELECT 1 FROM a JOIN b USING (i) JOIN c USING (k) LEFT JOIN d USING (i) WHERE k = i",
                "SELECT 1 FROM a JOIN b USING(i) JOIN c USING(k) LEFT JOIN d USING(i) WHERE c.k = a.i",
            ),
            ("SELECT '\\x00ff'::BYTEA", "SELECT X'00ff' AS \"bytea\""),
        ] {
            let mut statement = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().remove(0);
            adapt(&mut statement).unwrap();
            assert_eq!(statement.to_string(), adapted);
        }
    }

    #[test]
    fn arrays_keep_nulls_and_quotes() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            split_array(r#"{a,"b, \"c\"",NULL,"NULL"}"#),
            Some(vec![some("a"), some("b, \"c\""), None, some("NULL")])
        );
        assert_eq!(split_array("{}"), Some(Vec::new()));
        assert_eq!(split_array("{{1},{2}}"), None);
        assert_eq!(split_array("x"), None);
    }
}
