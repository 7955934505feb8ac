//! What a condition of a statement needs of the texts of a row, so that chunks are asked whether they have it.
//!
//! ```text
//! body ILIKE '%connection refused%'   ->   some text has a word that ends in "connection", and one that begins with "refused"
//! payload->>'http.route' = '/cart'    ->   the words "http", "route" and "cart"
//! body ~ 'foo.*(bar|baz)'             ->   a part "foo", and a part "bar" or "baz"
//! ```
//!
//! It follows from the condition and says less: the condition stays, and decides. What is not understood here needs
//! nothing, and everything is read.

mod pattern;

use crate::functions::json::as_text_of;
use crate::functions::json::document::Json;
use crate::functions::text_search::{MATCH, MATCH_OF_JSON, Query};
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Like, Operator};
use datafusion::scalar::ScalarValue;
use whence_storage::TextCondition;

/// Stored columns that the chunks know the words of.
const NAME: &str = "name";
const TEXTS: [&str; 3] = [NAME, "body", "payload"];

/// What rows need for `condition` to hold.
pub(crate) fn needed(condition: &Expr) -> TextCondition {
    match condition {
        Expr::Alias(alias) => needed(&alias.expr),
        Expr::IsTrue(condition) => needed(condition),
        Expr::IsNotNull(text) => source(text).map_or(TextCondition::always(), |source| source.keys),
        Expr::Like(like) if !like.negated => of_like(like),
        Expr::InList(InList { expr, list, negated: false }) => {
            TextCondition::Any(list.iter().map(|value| of_equality(expr, value)).collect())
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::And => needed(left).and(needed(right)),
            Operator::Or => TextCondition::Any(vec![needed(left), needed(right)]),
            Operator::Eq if literal(left).is_some() => of_equality(right, left),
            Operator::Eq => of_equality(left, right),
            Operator::RegexMatch => of_pattern(left, right, |pattern| pattern::regex(pattern, false)),
            Operator::RegexIMatch => of_pattern(left, right, |pattern| pattern::regex(pattern, true)),
            Operator::LikeMatch | Operator::ILikeMatch => of_pattern(left, right, |like| pattern::like(like, '\\')),
            _ => TextCondition::always(),
        },
        Expr::ScalarFunction(call) => of_call(call),
        _ => TextCondition::always(),
    }
}

fn of_like(like: &Like) -> TextCondition {
    of_pattern(&like.expr, &like.pattern, |pattern| pattern::like(pattern, like.escape_char.unwrap_or('\\')))
}

fn of_equality(text: &Expr, value: &Expr) -> TextCondition {
    if matches!(text, Expr::Column(column) if column.name == NAME) {
        // Few names repeat: comparing them costs less than asking.
        return TextCondition::always();
    }
    of_pattern(text, value, |value| TextCondition::contains(value, false, false))
}

/// What `text` needs to match the literal `pattern`.
fn of_pattern(text: &Expr, pattern: &Expr, needs: impl Fn(&str) -> TextCondition) -> TextCondition {
    match (source(text), literal(pattern)) {
        (Some(source), Some(pattern)) if source.as_stored => source.keys.and(needs(pattern)),
        (Some(source), _) => source.keys,
        _ => TextCondition::always(),
    }
}

fn of_call(call: &ScalarFunction) -> TextCondition {
    let part = |text: &str| TextCondition::contains(text, true, true);
    let key = |key: &str| TextCondition::contains(key, false, false);
    match (call.func.name(), call.args.as_slice()) {
        ("contains", [text, literal]) => of_pattern(text, literal, part),
        ("starts_with", [text, literal]) => {
            of_pattern(text, literal, |start| TextCondition::contains(start, false, true))
        }
        ("regexp_like", [text, pattern]) => of_pattern(text, pattern, |pattern| {
            pattern::regex(&crate::functions::regex::in_words_of_the_crate(pattern), false)
        }),
        ("jsonb_contains", [document, part]) | ("jsonb_contained", [part, document]) => {
            of_pattern(document, part, |part| Json::parse(part).map_or(TextCondition::always(), |part| inside(&part)))
        }
        ("jsonb_exists", [document, name]) => of_pattern(document, name, key),
        ("jsonb_exists_all", [document, names]) => of_keys(document, names, TextCondition::All),
        ("jsonb_exists_any", [document, names]) => of_keys(document, names, TextCondition::Any),
        (MATCH | MATCH_OF_JSON, [_, text, query]) => {
            of_pattern(text, query, |query| Query::read(query).map_or(TextCondition::always(), |query| query.needs()))
        }
        _ => TextCondition::always(),
    }
}

fn of_keys(document: &Expr, names: &Expr, how: fn(Vec<TextCondition>) -> TextCondition) -> TextCondition {
    let Some(source) = source(document) else { return TextCondition::always() };
    let names: Option<Vec<String>> = match names {
        Expr::Literal(ScalarValue::List(list), _) => {
            let items = list.values();
            let text = |row| ScalarValue::try_from_array(items, row).ok()?.try_as_str()?.map(str::to_owned);
            (list.value_length(0) as usize == items.len()).then(|| (0..items.len()).map(text).collect()).flatten()
        }
        other => literal(other).and_then(crate::dialect::split_array).and_then(|names| names.into_iter().collect()),
    };
    match names {
        Some(names) => source.keys.and(how(names.iter().map(|n| TextCondition::contains(n, false, false)).collect())),
        None => source.keys,
    }
}

/// Keys and texts of a document that another contains.
fn inside(document: &Json<'_>) -> TextCondition {
    let text = |text: &str| TextCondition::contains(text, false, false);
    match document {
        Json::String(value) => text(value),
        Json::Array(items) => TextCondition::All(items.iter().map(inside).collect()),
        Json::Object(entries) => {
            TextCondition::All(entries.iter().map(|(key, value)| text(key).and(inside(value))).collect())
        }
        // Numbers are compared as numbers.
        Json::Null | Json::Boolean(_) | Json::Number(_) => TextCondition::always(),
    }
}

/// Where a text comes from that the chunks know about.
struct Source {
    /// What is needed for there to be one: keys on its path.
    keys: TextCondition,
    /// Whether it is as it is stored; else it is written anew, numbers perhaps in another way.
    as_stored: bool,
}

fn source(text: &Expr) -> Option<Source> {
    match text {
        Expr::Column(column) => {
            TEXTS.contains(&column.name.as_str()).then(|| Source { keys: TextCondition::always(), as_stored: true })
        }
        Expr::Alias(alias) => source(&alias.expr),
        Expr::Cast(cast) if crate::functions::is_text(cast.field.data_type()) => source(&cast.expr),
        Expr::ScalarFunction(call) => {
            if let Some((document, path)) = as_text_of(call) {
                return at(document, path, true);
            }
            match (call.func.name(), call.args.as_slice()) {
                ("json_part", [document, path @ ..]) => at(document, path, true),
                ("jsonb_extract_path" | "jsonb_extract_path_text", [document, path @ ..]) => at(document, path, false),
                ("lower", [text]) => source(text),
                // A text with words in it is not the empty one.
                ("coalesce", [text, instead]) if literal(instead) == Some("") => {
                    source(text).map(|source| Source { keys: TextCondition::always(), ..source })
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn at(document: &Expr, path: &[Expr], as_stored: bool) -> Option<Source> {
    let document = source(document)?;
    // A number may be the position in an array.
    let keys = path.iter().filter_map(literal).filter(|key| !key.starts_with('{') && key.parse::<i64>().is_err());
    let keys = keys.map(|key| TextCondition::contains(key, false, false)).fold(document.keys, TextCondition::and);
    Some(Source { keys, as_stored: as_stored && document.as_stored })
}

fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        Expr::Alias(alias) => literal(&alias.expr),
        Expr::Cast(cast) if crate::functions::is_text(cast.field.data_type()) => literal(&cast.expr),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
