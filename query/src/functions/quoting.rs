//! Texts put together and taken apart: `format`, `quote_literal`, `to_number`.

use super::row_function::{Input, Kind, Output, lenient, strict};
use super::typed_function::{Overload, Type, Value, typed};
use crate::dialect::with_backslashes;
use crate::error::QueryError;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::ScalarUDF;

/// Characters that `format` pads a value to, at most.
const MAX_WIDTH: usize = 1 << 20;

/// The functions. `format_of(template, texts)` is behind `format(template, value, ...)`.
pub(crate) fn functions() -> Vec<ScalarUDF> {
    const QUOTE_LITERAL: &[Overload] =
        &[Overload { takes: &[Type::AnyAsText], gives: Type::Text, call: quote_literal }];
    const QUOTE_IDENT: &[Overload] = &[Overload { takes: &[Type::AnyAsText], gives: Type::Text, call: quote_ident }];
    const TO_NUMBER: &[Overload] =
        &[Overload { takes: &[Type::Text, Type::Text], gives: Type::Float, call: to_number }];
    vec![
        typed("quote_literal", QUOTE_LITERAL, &[]),
        typed("quote_ident", QUOTE_IDENT, &[]),
        typed("to_number", TO_NUMBER, &[]),
        strict("like_escape", (2, 2), Kind::Text, |inputs| match inputs {
            [Input::Text(pattern), Input::Text(escape)] if escape.chars().count() <= 1 => {
                Ok(Output::Text(with_backslashes(pattern, escape.chars().next())))
            }
            _ => Err(QueryError::InvalidText { problem: "invalid escape string".to_owned() }.into()),
        }),
        lenient("format_of", (2, 2), Kind::Text, |inputs| match inputs {
            [Input::Text(template), Input::Texts(values)] => Ok(Output::Text(formatted(template, values)?)),
            [Input::Text(template), Input::Null] => Ok(Output::Text(formatted(template, &[])?)),
            _ => Ok(Output::Null),
        }),
    ]
}

fn quote_literal(inputs: &[Value]) -> Result<Value> {
    match inputs {
        [Value::Text(text)] => Ok(Value::Text(quoted(text))),
        other => internal_err!("quote_literal of {other:?}"),
    }
}

fn quote_ident(inputs: &[Value]) -> Result<Value> {
    match inputs {
        [Value::Text(name)] => Ok(Value::Text(quoted_ident(name))),
        other => internal_err!("quote_ident of {other:?}"),
    }
}

/// The text as a literal that reads as itself.
fn quoted(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

/// The name as SQL reads it as itself.
fn quoted_ident(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let starts_as_name = name.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    match starts_as_name && name.bytes().all(plain) && !KEYWORDS.contains(&name) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// Words that PostgreSQL 16 does not take for a name everywhere (`pg_get_keywords()`, all but the unreserved).
const KEYWORDS: [&str; 156] = [
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "bigint",
    "binary",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "json_array",
    "json_arrayagg",
    "json_object",
    "json_objectagg",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "national",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "real",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "smallint",
    "some",
    "substring",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
];

/// `template` with its places, `%[position$][-][width]type`, filled. Types: `s` text, `I` identifier, `L` literal.
fn formatted(template: &str, values: &[Option<String>]) -> Result<String, QueryError> {
    let problem =
        |problem: &str| QueryError::InvalidArgument { function: "format", position: 1, problem: problem.to_owned() };
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    let mut next = 0;
    let mut take = |position: Option<usize>| {
        let at = position.unwrap_or(next);
        next = at + 1;
        values.get(at).cloned().ok_or_else(|| problem("too few arguments for format()"))
    };
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let position = positional(&mut rest)?;
        let flags = rest.bytes().take_while(|byte| *byte == b'-').count();
        rest = &rest[flags..];
        let mut to_the_left = flags > 0;
        let width = if let Some(after) = rest.strip_prefix('*') {
            rest = after;
            let of_width = positional(&mut rest)?;
            match take(of_width)?.map(|text| text.parse::<i64>()) {
                Some(Ok(width)) => {
                    to_the_left |= width < 0;
                    usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX)
                }
                Some(Err(_)) => return Err(problem("the width is no whole number")),
                None => 0,
            }
        } else {
            number(&mut rest).unwrap_or(0)
        };
        if width > MAX_WIDTH {
            return Err(problem("the width is too large"));
        }
        let mut characters = rest.chars();
        let kind = characters.next().ok_or_else(|| problem("unterminated format() type specifier"))?;
        rest = characters.as_str();
        if !matches!(kind, 's' | 'I' | 'L') {
            return Err(problem(&format!("unrecognized format() type specifier \"{kind}\"")));
        }
        let value = match (kind, take(position)?) {
            ('s', value) => value.unwrap_or_default(),
            ('L', value) => value.map_or_else(|| "NULL".to_owned(), |text| quoted(&text)),
            (_, Some(name)) => quoted_ident(&name),
            (_, None) => return Err(problem("null values cannot be formatted as an SQL identifier")),
        };
        let padding = " ".repeat(width.saturating_sub(value.chars().count()));
        match to_the_left {
            true => out.extend([value.as_str(), &padding]),
            false => out.extend([padding.as_str(), &value]),
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// `n$`, counted from 1, as a position counted from 0.
fn positional(rest: &mut &str) -> Result<Option<usize>, QueryError> {
    let mut ahead = *rest;
    match (number(&mut ahead), ahead.strip_prefix('$')) {
        (Some(0), Some(_)) => Err(QueryError::InvalidArgument {
            function: "format",
            position: 1,
            problem: "format specifies argument 0, but arguments are numbered from 1".to_owned(),
        }),
        (Some(position), Some(after)) => {
            *rest = after;
            Ok(Some(position - 1))
        }
        _ => Ok(None),
    }
}

fn number(rest: &mut &str) -> Option<usize> {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let number = rest[..digits].parse().ok()?;
    *rest = &rest[digits..];
    Some(number)
}

/// The number that a text shows by a pattern of `to_char`.
fn to_number(inputs: &[Value]) -> Result<Value> {
    let [Value::Text(text), Value::Text(pattern)] = inputs else { return internal_err!("to_number of {inputs:?}") };
    let mut digits = String::new();
    let mut negative = false;
    let mut places = pattern.chars().peekable();
    let mut characters = text.trim().chars().peekable();
    let sign = |characters: &mut std::iter::Peekable<std::str::Chars<'_>>| {
        characters.next_if(|c| matches!(c, '-' | '+' | '<' | '>')).is_some_and(|sign| matches!(sign, '-' | '<'))
    };
    while let Some(place) = places.next() {
        if !matches!(place, 'M' | 'm' | 'P' | 'p' | 'F' | 'f') {
            negative |= sign(&mut characters);
        }
        match place {
            '9' | '0' => {
                characters.next_if_eq(&' ');
                digits.extend(characters.next_if(char::is_ascii_digit));
            }
            '.' | 'D' | 'd' => digits.extend(characters.next_if_eq(&'.')),
            ',' | 'G' | 'g' => drop(characters.next_if_eq(&',')),
            'L' | 'l' | '$' => drop(characters.next_if(|c| !c.is_ascii_digit())),
            'S' | 's' => drop(places.next_if(|c| matches!(c, 'G' | 'g'))),
            'M' | 'm' | 'P' | 'p' => {
                places.next();
                negative |= sign(&mut characters);
            }
            'F' | 'f' => drop(places.next_if(|c| matches!(c, 'M' | 'm'))),
            other if other.is_ascii_alphanumeric() => {
                let what = format!("\"{other}\" in the number pattern of to_number (use 9 0 . , D G L S MI PL FM)");
                return Err(QueryError::NotSupported { what }.into());
            }
            _ => drop(characters.next()),
        }
    }
    negative |= sign(&mut characters);
    let number: f64 = digits.parse().map_err(|_| QueryError::InvalidText {
        problem: format!("invalid input syntax for type numeric: \"{text}\""),
    })?;
    Ok(Value::Float(if negative { -number } else { number }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn templates_take_values_in_order_and_by_position() {
        let values = [Some("a b".to_owned()), None, Some("it's".to_owned())];
        let format = |template: &str| formatted(template, &values);
        assert_eq!(
            format("%s %I %L|%%").map_err(|error| error.to_string()),
            Err("format, argument 1: null values cannot be formatted as an SQL identifier".to_owned())
        );
        assert_eq!(format("%1$I %3$L %2$L %2$s|").unwrap(), "\"a b\" 'it''s' NULL |");
        assert_eq!(format("%5s|%-5s|%s").unwrap(), "  a b|     |it's");
        assert!(
            format("%s%s%s%s").is_err() && format("%x").is_err() && format("%").is_err() && format("%0$s").is_err()
        );
        assert!(formatted("%99999999s", &values).is_err());
    }
}
