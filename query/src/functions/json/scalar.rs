//! Functions and operators over JSON documents, row by row.

use super::document::{Json, write_string};
use crate::error::QueryError;
use crate::functions::row_function::{Input, Kind, Output, lenient, strict};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

/// As many arguments as a statement may have.
const ANY: usize = usize::MAX;

/// The functions, by the names of `jsonb`. Where those of `json` differ, it is in the text they keep as it was sent.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let mut all = vec![
        strict("to_jsonb_of_text", (1, 1), Kind::Json, |inputs| Ok(Output::Text(document(inputs)?.to_jsonb()))),
        strict("to_json_of_text", (1, 1), Kind::Json, |inputs| {
            document(inputs)?;
            Ok(text(inputs, 0).map_or(Output::Null, |text| Output::Text(text.to_owned())))
        }),
        strict("jsonb_pretty", (1, 1), Kind::Text, |inputs| {
            let mut out = String::new();
            document(inputs)?.pretty(&mut out, 0);
            Ok(Output::Text(out))
        }),
        strict("jsonb_strip_nulls", (1, 1), Kind::Json, |inputs| {
            Ok(Output::Text(without_nulls(document(inputs)?).to_jsonb()))
        }),
        strict("jsonb_contains", (2, 2), Kind::Boolean, |inputs| contains(inputs, 0, 1)),
        strict("jsonb_contained", (2, 2), Kind::Boolean, |inputs| contains(inputs, 1, 0)),
        strict("jsonb_exists", (2, 2), Kind::Boolean, |inputs| {
            let document = document(inputs)?;
            Ok(Output::Boolean(text(inputs, 1).is_some_and(|key| exists(&document, key))))
        }),
        strict("jsonb_exists_any", (2, 2), Kind::Boolean, |inputs| {
            let document = document(inputs)?;
            Ok(Output::Boolean(keys(inputs)?.iter().flatten().any(|key| exists(&document, key))))
        }),
        strict("jsonb_exists_all", (2, 2), Kind::Boolean, |inputs| {
            let document = document(inputs)?;
            Ok(Output::Boolean(keys(inputs)?.iter().flatten().all(|key| exists(&document, key))))
        }),
        strict("jsonb_concat", (2, 2), Kind::Json, |inputs| {
            let (left, right) = (document(inputs)?, document(&inputs[1..])?);
            Ok(Output::Text(concatenated(left, right)?.to_jsonb()))
        }),
        strict("jsonb_delete", (2, 2), Kind::Json, |inputs| {
            Ok(Output::Text(without(document(inputs)?, &inputs[1])?.to_jsonb()))
        }),
        strict("jsonb_delete_path", (2, 2), Kind::Json, |inputs| {
            let path: Vec<String> = keys(inputs)?.into_iter().flatten().collect();
            Ok(Output::Text(without_path(document(inputs)?, &path).to_jsonb()))
        }),
        lenient("jsonb_keys", (1, 1), Kind::Texts, |inputs| {
            entries(inputs, "jsonb_object_keys", true, |key, _| Some(key.to_owned()))
        }),
        lenient("json_keys", (1, 1), Kind::Texts, |inputs| {
            entries(inputs, "json_object_keys", false, |key, _| Some(key.to_owned()))
        }),
        lenient("jsonb_values", (1, 1), Kind::Jsons, |inputs| {
            entries(inputs, "jsonb_each", true, |_, value| Some(value.to_jsonb()))
        }),
        lenient("json_values", (1, 1), Kind::Jsons, |inputs| {
            entries(inputs, "json_each", false, |_, value| Some(value.to_jsonb()))
        }),
        lenient("jsonb_values_text", (1, 1), Kind::Texts, |inputs| {
            entries(inputs, "jsonb_each_text", true, |_, value| value.text())
        }),
        lenient("json_values_text", (1, 1), Kind::Texts, |inputs| {
            entries(inputs, "json_each_text", false, |_, value| value.text())
        }),
        lenient("jsonb_elements", (1, 1), Kind::Jsons, |inputs| {
            elements(inputs, "jsonb_array_elements", |value| Some(value.to_jsonb()))
        }),
        lenient("json_elements", (1, 1), Kind::Jsons, |inputs| {
            elements(inputs, "json_array_elements", |value| Some(value.to_jsonb()))
        }),
        lenient("jsonb_elements_text", (1, 1), Kind::Texts, |inputs| {
            elements(inputs, "jsonb_array_elements_text", |value| value.text())
        }),
        strict("jsonb_array_of", (1, 1), Kind::Json, array_of),
        strict("json_array_of", (1, 1), Kind::Json, array_of),
        strict("jsonb_object_of", (2, 2), Kind::Json, |inputs| {
            let object = object_of(inputs, ": ", ", ", ("{", "}"))?;
            Ok(Json::parse(&object).map_or(Output::Null, |object| Output::Text(object.to_jsonb())))
        }),
        strict("json_object_of", (2, 2), Kind::Json, |inputs| {
            Ok(Output::Text(object_of(inputs, " : ", ", ", ("{ ", " }"))?))
        }),
    ];
    for (of_jsonb, of_json) in [
        ("jsonb_typeof", "json_typeof"),
        ("jsonb_array_length", "json_array_length"),
        ("jsonb_extract_path", "json_extract_path"),
        ("jsonb_extract_path_text", "json_extract_path_text"),
    ] {
        for name in [of_jsonb, of_json] {
            all.push(match of_jsonb {
                "jsonb_typeof" => strict(name, (1, 1), Kind::Text, |inputs| {
                    Ok(Output::Text(document(inputs)?.type_name().to_owned()))
                }),
                "jsonb_array_length" => strict(name, (1, 1), Kind::Integer, length),
                "jsonb_extract_path" => {
                    strict(name, (1, ANY), Kind::Json, |inputs| at_path(inputs, |value| Some(value.to_jsonb())))
                }
                _ => strict(name, (1, ANY), Kind::Text, |inputs| at_path(inputs, |value| value.text())),
            });
        }
    }
    all
}

fn text<'a>(inputs: &'a [Input<'_>], position: usize) -> Option<&'a str> {
    match inputs.get(position) {
        Some(Input::Text(text)) => Some(text),
        _ => None,
    }
}

/// The first argument as a document.
fn document<'a>(inputs: &'a [Input<'_>]) -> Result<Json<'a>> {
    let text = text(inputs, 0).unwrap_or_default();
    Json::parse(text).ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        QueryError::InvalidText { problem: format!("invalid input syntax for type json: \"{shown}\"") }.into()
    })
}

fn invalid(function: &'static str, problem: &str) -> datafusion::error::DataFusionError {
    QueryError::InvalidArgument { function, position: 1, problem: problem.to_owned() }.into()
}

/// The second argument as keys: an array, or the text of one.
fn keys(inputs: &[Input<'_>]) -> Result<Vec<Option<String>>> {
    match &inputs[1] {
        Input::Texts(keys) => Ok(keys.clone()),
        Input::Text(text) => crate::dialect::split_array(text)
            .ok_or_else(|| QueryError::InvalidText { problem: format!("malformed array literal: \"{text}\"") }.into()),
        _ => Ok(Vec::new()),
    }
}

fn exists(document: &Json<'_>, key: &str) -> bool {
    match document {
        Json::Object(entries) => entries.iter().any(|(name, _)| name == key),
        Json::Array(items) => items.iter().any(|item| matches!(item, Json::String(text) if text == key)),
        Json::String(text) => text == key,
        _ => false,
    }
}

fn contains(inputs: &[Input<'_>], left: usize, right: usize) -> Result<Output> {
    Ok(Output::Boolean(document(&inputs[left..])?.contains(&document(&inputs[right..])?)))
}

fn length(inputs: &[Input<'_>]) -> Result<Output> {
    match document(inputs)? {
        Json::Array(items) => Ok(Output::Integer(i64::try_from(items.len()).unwrap_or(i64::MAX))),
        Json::Object(_) => Err(invalid("jsonb_array_length", "cannot get array length of a non-array")),
        _ => Err(invalid("jsonb_array_length", "cannot get array length of a scalar")),
    }
}

/// What is at a path of texts, or of one array of them.
fn at_path(inputs: &[Input<'_>], result: impl Fn(&Json<'_>) -> Option<String>) -> Result<Output> {
    let document = document(inputs)?;
    let mut steps: Vec<String> = Vec::new();
    for (position, input) in inputs.iter().enumerate().skip(1) {
        match input {
            Input::Text(text) if inputs.len() == 2 && text.starts_with('{') => {
                steps.extend(keys(inputs)?.into_iter().flatten());
                debug_assert_eq!(position, 1);
            }
            Input::Text(text) => steps.push((*text).to_owned()),
            Input::Texts(items) => steps.extend(items.iter().flatten().cloned()),
            Input::Integer(number) => steps.push(number.to_string()),
            _ => return Ok(Output::Null),
        }
    }
    let found = steps.iter().try_fold(&document, |value, key| value.step(key));
    Ok(found.and_then(result).map_or(Output::Null, Output::Text))
}

fn entries(
    inputs: &[Input<'_>],
    function: &'static str,
    sorted: bool,
    item: impl Fn(&str, &Json<'_>) -> Option<String>,
) -> Result<Output> {
    if matches!(inputs[0], Input::Null) {
        return Ok(Output::Texts(Vec::new()));
    }
    let Json::Object(entries) = document(inputs)? else {
        return Err(invalid(function, "cannot call it on a non-object"));
    };
    let entries = if sorted { Json::sorted(&entries) } else { entries };
    Ok(Output::Texts(entries.iter().map(|(key, value)| item(key, value)).collect()))
}

fn elements(
    inputs: &[Input<'_>],
    function: &'static str,
    item: impl Fn(&Json<'_>) -> Option<String>,
) -> Result<Output> {
    if matches!(inputs[0], Input::Null) {
        return Ok(Output::Texts(Vec::new()));
    }
    match document(inputs)? {
        Json::Array(items) => Ok(Output::Texts(items.iter().map(item).collect())),
        Json::Object(_) => Err(invalid(function, "cannot extract elements from an object")),
        _ => Err(invalid(function, "cannot extract elements from a scalar")),
    }
}

fn without_nulls(value: Json<'_>) -> Json<'_> {
    match value {
        Json::Object(entries) => {
            let kept = entries.into_iter().filter(|(_, value)| *value != Json::Null);
            Json::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Json::Array(items) => Json::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

fn concatenated<'a>(left: Json<'a>, right: Json<'a>) -> Result<Json<'a>> {
    Ok(match (left, right) {
        (Json::Object(mut left), Json::Object(right)) => {
            left.extend(right);
            Json::Object(left)
        }
        (Json::Array(mut left), Json::Array(right)) => {
            left.extend(right);
            Json::Array(left)
        }
        (Json::Array(mut left), right) => {
            left.push(right);
            Json::Array(left)
        }
        (left, Json::Array(right)) => Json::Array(std::iter::once(left).chain(right).collect()),
        (Json::Object(_), _) | (_, Json::Object(_)) => {
            return Err(invalid("jsonb_concat", "an object and a scalar cannot be put together"));
        }
        (left, right) => Json::Array(vec![left, right]),
    })
}

fn without<'a>(document: Json<'a>, what: &Input<'_>) -> Result<Json<'a>> {
    let drop_keys = |document: Json<'a>, keys: &[&str]| match document {
        Json::Object(mut entries) => {
            entries.retain(|(key, _)| !keys.contains(&key.as_ref()));
            Ok(Json::Object(entries))
        }
        Json::Array(mut items) => {
            items.retain(|item| !matches!(item, Json::String(text) if keys.contains(&text.as_ref())));
            Ok(Json::Array(items))
        }
        _ => Err(invalid("jsonb_delete", "cannot delete from scalar")),
    };
    match what {
        Input::Text(key) => drop_keys(document, &[key]),
        Input::Texts(keys) => drop_keys(document, &keys.iter().flatten().map(String::as_str).collect::<Vec<_>>()),
        Input::Integer(position) => match document {
            Json::Array(mut items) => {
                let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let position = if *position < 0 { position + length } else { *position };
                if let Some(position) = usize::try_from(position).ok().filter(|position| *position < items.len()) {
                    items.remove(position);
                }
                Ok(Json::Array(items))
            }
            Json::Object(_) => Err(invalid("jsonb_delete", "cannot delete from object using integer index")),
            _ => Err(invalid("jsonb_delete", "cannot delete from scalar")),
        },
        _ => Ok(document),
    }
}

fn without_path<'a>(document: Json<'a>, path: &[String]) -> Json<'a> {
    let Some((first, rest)) = path.split_first() else { return document };
    let within = |value: Json<'a>| if rest.is_empty() { None } else { Some(without_path(value, rest)) };
    match document {
        Json::Object(entries) => {
            let entries = entries.into_iter().filter_map(|(key, value)| {
                let value = if key.as_ref() == first { within(value)? } else { value };
                Some((key, value))
            });
            Json::Object(entries.collect())
        }
        Json::Array(items) => {
            let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let position = first.parse::<i64>().ok().map(|at| if at < 0 { at + length } else { at });
            let items = items
                .into_iter()
                .zip(0_i64..)
                .filter_map(|(item, at)| if Some(at) == position { within(item) } else { Some(item) });
            Json::Array(items.collect())
        }
        other => other,
    }
}

/// `[a, b]` of documents; NULL is null.
fn array_of(inputs: &[Input<'_>]) -> Result<Output> {
    let Some(Input::Texts(items)) = inputs.first() else { return Ok(Output::Null) };
    let items: Vec<&str> = items.iter().map(|item| item.as_deref().unwrap_or("null")).collect();
    Ok(Output::Text(format!("[{}]", items.join(", "))))
}

/// `{"key": value}` of keys and documents.
fn object_of(inputs: &[Input<'_>], colon: &str, comma: &str, braces: (&str, &str)) -> Result<String> {
    let (Some(Input::Texts(keys)), Some(Input::Texts(values))) = (inputs.first(), inputs.get(1)) else {
        return Ok("{}".to_owned());
    };
    let mut out = String::from(braces.0);
    for (position, (key, value)) in keys.iter().zip(values).enumerate() {
        let Some(key) = key else { return Err(invalid("jsonb_object_agg", "field name must not be null")) };
        out.push_str(if position == 0 { "" } else { comma });
        write_string(&mut out, key);
        out.push_str(colon);
        out.push_str(value.as_deref().unwrap_or("null"));
    }
    out.push_str(braces.1);
    Ok(out)
}
