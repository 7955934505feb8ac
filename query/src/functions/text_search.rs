//! Full-text search as PostgreSQL does it with the configuration `simple`: words in lower case, none left out.
//!
//! ```text
//! to_tsvector('simple', body) @@ plainto_tsquery('simple', 'connection refused')
//!   -> ts_match('simple', body, '''connection'' & ''refused''')
//! ```
//!
//! A `tsvector` and a `tsquery` are texts here, in the form in which PostgreSQL shows them; `@@` is planned where it
//! stands right between two calls, so nobody takes one for another. Other configurations stem words by dictionaries of
//! their own, and the default one depends on the database: they are refused.

mod query;
mod readings;
mod vector;
mod words;

pub(crate) use query::Query;

use super::is_json;
use super::json::document::Json;
use super::row_function::{Input, Kind, Output, strict};
use crate::error::QueryError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{Expr, ExprSchemable, ScalarUDF};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use vector::Vector;

const TO_TSVECTOR: &str = "to_tsvector";
const TO_TSVECTOR_OF_JSON: &str = "to_tsvector_of_json";
/// `to_tsvector(config, text) @@ query`.
pub(crate) const MATCH: &str = "ts_match";
/// The same over the texts of a JSON document.
pub(crate) const MATCH_OF_JSON: &str = "ts_match_of_json";
const QUERIES: [&str; 4] = ["to_tsquery", "plainto_tsquery", "phraseto_tsquery", "websearch_to_tsquery"];
/// Queries that a thread keeps.
const KEPT: usize = 64;

static BY_NAME: LazyLock<HashMap<&'static str, Arc<ScalarUDF>>> = LazyLock::new(|| {
    [
        (
            TO_TSVECTOR,
            strict(TO_TSVECTOR, (1, 2), Kind::Text, |inputs| {
                Ok(Output::Text(Vector::of_text(argument(inputs, 1)?).to_string()))
            }),
        ),
        (
            TO_TSVECTOR_OF_JSON,
            strict(TO_TSVECTOR_OF_JSON, (1, 2), Kind::Text, |inputs| {
                Ok(Output::Text(Vector::of_texts(texts_of(argument(inputs, 1)?)?).to_string()))
            }),
        ),
        (
            MATCH,
            strict(MATCH, (3, 3), Kind::Boolean, |inputs| {
                let query = kept(argument(inputs, 2)?)?;
                Ok(Output::Boolean(query.matches(&Vector::of_text_for(argument(inputs, 1)?, &query))))
            }),
        ),
        (
            MATCH_OF_JSON,
            strict(MATCH_OF_JSON, (3, 3), Kind::Boolean, |inputs| {
                let query = kept(argument(inputs, 2)?)?;
                Ok(Output::Boolean(query.matches(&Vector::of_texts(texts_of(argument(inputs, 1)?)?))))
            }),
        ),
        ("to_tsquery", strict("to_tsquery", (1, 2), Kind::Text, |inputs| written(Query::parse(argument(inputs, 1)?)?))),
        (
            "plainto_tsquery",
            strict("plainto_tsquery", (1, 2), Kind::Text, |inputs| written(Query::of_words(argument(inputs, 1)?))),
        ),
        (
            "phraseto_tsquery",
            strict("phraseto_tsquery", (1, 2), Kind::Text, |inputs| written(Query::of_phrase(argument(inputs, 1)?))),
        ),
        (
            "websearch_to_tsquery",
            strict("websearch_to_tsquery", (1, 2), Kind::Text, |inputs| {
                written(Query::of_web_search(argument(inputs, 1)?))
            }),
        ),
    ]
    .into_iter()
    .map(|(name, function)| (name, Arc::new(function)))
    .collect()
});

/// The functions.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    BY_NAME.values().cloned().collect()
}

fn written(query: Query) -> Result<Output> {
    Ok(Output::Text(query.to_string()))
}

/// The text at `position`, after the configuration in front.
fn argument<'a>(inputs: &'a [Input<'_>], position: usize) -> Result<&'a str> {
    match (inputs.first(), inputs.get(position)) {
        (Some(Input::Text(configuration)), Some(Input::Text(text))) => {
            check_configuration(configuration)?;
            Ok(text)
        }
        _ => Err(without_configuration()),
    }
}

fn check_configuration(name: &str) -> Result<()> {
    if matches!(name.to_ascii_lowercase().as_str(), "simple" | "pg_catalog.simple") {
        return Ok(());
    }
    let what = format!("the text search configuration \"{name}\" (write 'simple', which takes words as they are)");
    Err(QueryError::NotSupported { what }.into())
}

fn without_configuration() -> DataFusionError {
    let what = "text search in the default configuration, which depends on the database (write 'simple' as the first \
                argument: to_tsvector('simple', body) @@ plainto_tsquery('simple', 'connection refused'))";
    QueryError::NotSupported { what: what.to_owned() }.into()
}

/// A query in its written form, read once.
fn kept(written: &str) -> Result<Arc<Query>> {
    thread_local! {
        static QUERIES: RefCell<HashMap<String, Arc<Query>>> = RefCell::new(HashMap::new());
    }
    if let Some(query) = QUERIES.with_borrow(|kept| kept.get(written).cloned()) {
        return Ok(query);
    }
    let query = Arc::new(Query::read(written)?);
    QUERIES.with_borrow_mut(|kept| {
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(written.to_owned(), query.clone());
    });
    Ok(query)
}

/// The texts among the values of a JSON document, in their order.
fn texts_of(document: &str) -> Result<Vec<String>> {
    let Some(document) = Json::parse(document) else {
        return Err(QueryError::InvalidText { problem: "invalid input syntax for type json".to_owned() }.into());
    };
    let mut texts = Vec::new();
    collect(&document, &mut texts);
    Ok(texts)
}

fn collect(value: &Json<'_>, texts: &mut Vec<String>) {
    match value {
        Json::String(text) => texts.push(text.as_ref().to_owned()),
        Json::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Json::Object(entries) => entries.iter().for_each(|(_, value)| collect(value, texts)),
        Json::Null | Json::Boolean(_) | Json::Number(_) => {}
    }
}

/// `left @@ right`.
///
/// # Errors
///
/// When it is not `to_tsvector` on one side and a function that makes a query on the other.
pub(crate) fn matching(left: &Expr, right: &Expr) -> Result<Expr> {
    let (vector, query) = match (call_of(left), call_of(right)) {
        (Some(vector), Some(query)) if vector.func.name() == TO_TSVECTOR => (vector, right_query(query, right)?),
        (Some(query), Some(vector)) if vector.func.name() == TO_TSVECTOR => (vector, right_query(query, left)?),
        _ => return Err(unknown_operands()),
    };
    let [configuration, text] = vector.args.as_slice() else { return Err(without_configuration()) };
    let arguments = vec![configuration.clone(), text.clone(), query];
    Ok(Expr::ScalarFunction(ScalarFunction::new_udf(BY_NAME[MATCH].clone(), arguments)))
}

fn right_query(call: &ScalarFunction, expr: &Expr) -> Result<Expr> {
    if QUERIES.contains(&call.func.name()) { Ok(expr.clone()) } else { Err(unknown_operands()) }
}

fn unknown_operands() -> DataFusionError {
    let what = "@@ other than between to_tsvector('simple', ...) and to_tsquery, plainto_tsquery, phraseto_tsquery or \
                websearch_to_tsquery (in JSON documents, use ->, ->>, @> or LIKE)";
    QueryError::NotSupported { what: what.to_owned() }.into()
}

fn call_of(expr: &Expr) -> Option<&ScalarFunction> {
    match expr {
        Expr::Alias(alias) => call_of(&alias.expr),
        Expr::ScalarFunction(call) => Some(call),
        _ => None,
    }
}

/// Tells JSON documents from texts, and refuses the default configuration.
#[derive(Debug)]
pub(crate) struct TextSearchRewrite;

impl FunctionRewrite for TextSearchRewrite {
    fn name(&self) -> &str {
        "text_search"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let Expr::ScalarFunction(call) = &expr else { return Ok(Transformed::no(expr)) };
        let name = call.func.name();
        if call.args.len() == 1 && (name == TO_TSVECTOR || QUERIES.contains(&name)) {
            return Err(without_configuration());
        }
        let of_json = match name {
            TO_TSVECTOR => TO_TSVECTOR_OF_JSON,
            MATCH => MATCH_OF_JSON,
            _ => return Ok(Transformed::no(expr)),
        };
        let is_document = call.args.get(1).is_some_and(|text| text.to_field(schema).is_ok_and(|(_, f)| is_json(&f)));
        if !is_document {
            return Ok(Transformed::no(expr));
        }
        let call = ScalarFunction::new_udf(BY_NAME[of_json].clone(), call.args.clone());
        Ok(Transformed::yes(Expr::ScalarFunction(call)))
    }
}

#[cfg(test)]
mod tests;
