//! Regular expressions: PostgreSQL's functions, and `similar_to_escape` behind SIMILAR TO.
//!
//! Patterns are those of the `regex` crate, which takes time linear in the text whatever the pattern is; what it does
//! not know (back references, look-ahead) is an error. As in PostgreSQL, a point also matches the end of a line.

use super::row_function::{Input, Kind, Output, lenient, strict};
use crate::error::QueryError;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use regex::{Captures, Regex, RegexBuilder};
use std::cell::RefCell;
use std::collections::HashMap;

/// Compiled patterns that a thread keeps.
const KEPT: usize = 64;
/// Bytes of a compiled pattern.
const MAX_BYTES: usize = 1 << 20;

/// The functions.
pub(crate) fn functions() -> Vec<ScalarUDF> {
    vec![
        strict("regexp_match", (2, 3), Kind::Texts, |inputs| {
            let (text, pattern, _) = parts(inputs, 2)?;
            Ok(pattern.captures(text).map_or(Output::Null, |captures| Output::Texts(groups(&captures))))
        }),
        lenient("regexp_matches_of", (2, 3), Kind::Lists, |inputs| {
            if inputs.contains(&Input::Null) {
                return Ok(Output::Lists(Vec::new()));
            }
            let (text, pattern, all) = parts(inputs, 2)?;
            let most = if all { usize::MAX } else { 1 };
            Ok(Output::Lists(pattern.captures_iter(text).take(most).map(|captures| groups(&captures)).collect()))
        }),
        strict("regexp_like", (2, 3), Kind::Boolean, |inputs| {
            let (text, pattern, _) = parts(inputs, 2)?;
            Ok(Output::Boolean(pattern.is_match(text)))
        }),
        strict("regexp_replace", (3, 4), Kind::Text, |inputs| {
            let (text, pattern, all) = parts(inputs, 3)?;
            let Input::Text(replacement) = inputs[2] else { return Err(no_match("regexp_replace")) };
            let most = if all { 0 } else { 1 };
            let replaced = pattern.replacen(text, most, |captures: &Captures<'_>| expanded(replacement, captures));
            Ok(Output::Text(replaced.into_owned()))
        }),
        strict("regexp_count", (2, 2), Kind::Integer, |inputs| {
            let (text, pattern, _) = parts(inputs, 2)?;
            Ok(Output::Integer(i64::try_from(pattern.find_iter(text).count()).unwrap_or(i64::MAX)))
        }),
        strict("regexp_substr", (2, 2), Kind::Text, |inputs| {
            let (text, pattern, _) = parts(inputs, 2)?;
            Ok(pattern.find(text).map_or(Output::Null, |found| Output::Text(found.as_str().to_owned())))
        }),
        strict("regexp_instr", (2, 2), Kind::Integer, |inputs| {
            let (text, pattern, _) = parts(inputs, 2)?;
            let position = pattern.find(text).map_or(0, |found| text[..found.start()].chars().count() + 1);
            Ok(Output::Integer(i64::try_from(position).unwrap_or(i64::MAX)))
        }),
        strict("regexp_split_to_array", (2, 3), Kind::Texts, |inputs| {
            let (text, pattern, _) = parts(inputs, 2)?;
            Ok(Output::Texts(split(text, &pattern)))
        }),
        strict("similar_to_escape", (1, 2), Kind::Text, |inputs| match inputs {
            [Input::Text(pattern)] => similar(pattern, Some('\\')).map(Output::Text),
            [Input::Text(pattern), Input::Text(escape)] => similar(pattern, escape.chars().next()).map(Output::Text),
            _ => Err(no_match("similar_to_escape")),
        }),
    ]
}

fn no_match(function: &str) -> datafusion::error::DataFusionError {
    QueryError::UndefinedFunction { problem: format!("function {function} does not take these arguments") }.into()
}

/// The text, the pattern (with the flags at `flags`), and whether flag `g` is among them.
fn parts<'a>(inputs: &'a [Input<'_>], flags: usize) -> Result<(&'a str, Regex, bool)> {
    let (Some(Input::Text(text)), Some(Input::Text(pattern))) = (inputs.first(), inputs.get(1)) else {
        return Err(no_match("of a regular expression"));
    };
    let flags = match inputs.get(flags) {
        None => "",
        Some(Input::Text(flags)) => flags,
        Some(_) => return Err(no_match("of a regular expression")),
    };
    Ok((text, compiled(pattern, flags)?, flags.contains('g')))
}

fn compiled(pattern: &str, flags: &str) -> Result<Regex> {
    thread_local! {
        static COMPILED: RefCell<HashMap<(String, String), Regex>> = RefCell::new(HashMap::new());
    }
    let key = (pattern.to_owned(), flags.to_owned());
    if let Some(known) = COMPILED.with_borrow(|known| known.get(&key).cloned()) {
        return Ok(known);
    }
    let literal = if flags.contains('q') { regex::escape(pattern) } else { in_words_of_the_crate(pattern) };
    let mut builder = RegexBuilder::new(&literal);
    builder.size_limit(MAX_BYTES).dot_matches_new_line(true);
    for flag in flags.chars() {
        match flag {
            'g' | 's' | 't' | 'q' => {}
            'i' => drop(builder.case_insensitive(true)),
            'c' => drop(builder.case_insensitive(false)),
            'n' | 'm' => drop(builder.dot_matches_new_line(false).multi_line(true)),
            'x' => drop(builder.ignore_whitespace(true)),
            other => {
                let problem = format!("invalid regular expression option: \"{other}\"");
                return Err(QueryError::InvalidText { problem }.into());
            }
        }
    }
    let pattern = builder.build().map_err(|error| QueryError::InvalidText {
        problem: format!("invalid regular expression: {}", error.to_string().replace('\n', " ")),
    })?;
    COMPILED.with_borrow_mut(|known| {
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(key, pattern.clone());
    });
    Ok(pattern)
}

/// PostgreSQL's escapes for the borders of words and of the text.
pub(crate) fn in_words_of_the_crate(pattern: &str) -> String {
    if !pattern.contains('\\') {
        return pattern.to_owned();
    }
    let mut out = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('y') => out.push_str("\\b"),
            Some('Y') => out.push_str("\\B"),
            Some('m') => out.push_str("\\b{start}"),
            Some('M') => out.push_str("\\b{end}"),
            Some('Z') => out.push_str("\\z"),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

/// What the groups matched; the whole match if there are none.
fn groups(captures: &Captures<'_>) -> Vec<Option<String>> {
    let text = |group: Option<regex::Match<'_>>| group.map(|group| group.as_str().to_owned());
    match captures.len() {
        1 => vec![text(captures.get(0))],
        _ => captures.iter().skip(1).map(text).collect(),
    }
}

/// `\1` to `\9` are groups, `\&` is the whole match, `\\` a backslash; everything else stands for itself.
fn expanded(replacement: &str, captures: &Captures<'_>) -> String {
    let mut out = String::with_capacity(replacement.len());
    let mut characters = replacement.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('&') => out.push_str(captures.get(0).map_or("", |group| group.as_str())),
            Some('\\') => out.push('\\'),
            Some(digit @ '1'..='9') => {
                let group = digit.to_digit(10).and_then(|digit| captures.get(digit as usize));
                out.push_str(group.map_or("", |group| group.as_str()));
            }
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

/// Empty matches at the ends, or right after another match, separate nothing.
fn split(text: &str, pattern: &Regex) -> Vec<Option<String>> {
    let (mut items, mut from) = (Vec::new(), 0);
    for found in pattern.find_iter(text) {
        if found.is_empty() && (found.start() == from || found.start() == text.len()) {
            continue;
        }
        items.push(Some(text[from..found.start()].to_owned()));
        from = found.end();
    }
    items.push(Some(text[from..].to_owned()));
    items
}

/// A pattern of SIMILAR TO as a regular expression.
fn similar(pattern: &str, escape: Option<char>) -> Result<String> {
    let mut out = String::from("(?s)^(?:");
    let (mut in_brackets, mut characters) = (false, pattern.chars());
    while let Some(character) = characters.next() {
        if Some(character) == escape {
            match characters.next() {
                Some(escaped) => out.push_str(&regex::escape(&escaped.to_string())),
                None => {
                    let problem = "invalid escape sequence: the pattern of SIMILAR TO ends with its escape character";
                    return Err(QueryError::InvalidText { problem: problem.to_owned() }.into());
                }
            }
        } else if in_brackets {
            in_brackets = character != ']';
            out.push_str(if character == '\\' { "\\\\" } else { "" });
            if character != '\\' {
                out.push(character);
            }
        } else {
            match character {
                '%' => out.push_str(".*"),
                '_' => out.push('.'),
                '[' => {
                    in_brackets = true;
                    out.push('[');
                }
                '(' => out.push_str("(?:"),
                '.' | '^' | '$' | '\\' => out.extend(['\\', character]),
                other => out.push(other),
            }
        }
    }
    out.push_str(")$");
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn similar_to_knows_the_wildcards_of_like_and_the_signs_of_regular_expressions() {
        for (pattern, text, expected) in [
            ("%(b|d)%", "abc", true),
            ("(b|c)%", "abc", false),
            ("a.c", "abc", false),
            ("a_c", "a\nc", true),
            ("10\\%", "10%", true),
            ("[0-9]+", "123", true),
        ] {
            let pattern = Regex::new(&similar(pattern, Some('\\')).unwrap()).unwrap();
            assert_eq!(pattern.is_match(text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn replacements_know_groups_and_leave_dollars_alone() {
        let pattern = Regex::new("(a)(b)?").unwrap();
        let captures = pattern.captures("xab").unwrap();
        assert_eq!(expanded("$1 \\2\\1 \\& \\\\ \\x", &captures), "$1 ba ab \\ \\x");
    }

    #[test]
    fn splitting_by_nothing_gives_characters() {
        let items = |text: &str, pattern: &str| -> Vec<String> {
            split(text, &Regex::new(pattern).unwrap()).into_iter().flatten().collect()
        };
        assert_eq!(items("abc", ""), ["a", "b", "c"]);
        assert_eq!(items(",a,,b", ","), ["", "a", "", "b"]);
    }
}
