//! Files, environment and command line to one [`Config`].
//!
//! ```text
//! each --config file: text -> ${env:NAME:-default} replaced -> checked alone (so that errors have lines) -> tree
//! trees merged in order -> --set key=value applied -> Config -> validate
//! ```

use super::Config;
use serde::Deserialize;
use serde_norway::{Mapping, Value};
use std::path::PathBuf;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A key is unknown or a value has the wrong form.
    #[error("{place}: {key}: {message}")]
    Key {
        /// File and line, or the command line.
        place: String,
        /// Path of the key.
        key: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// A value cannot work.
    #[error("{key} is '{value}': {remedy}")]
    Value {
        /// Path of the key.
        key: String,
        /// What it is set to.
        value: String,
        /// What would work.
        remedy: String,
    },
    /// An environment variable is missing.
    #[error("{place}: the environment variable {name} is not set: set it, or write ${{env:{name}:-default}}")]
    Environment {
        /// File and line.
        place: String,
        /// The variable.
        name: String,
    },
}

impl ConfigError {
    pub(super) fn value(key: &str, value: &str, remedy: &str) -> Self {
        Self::Value { key: key.to_owned(), value: value.to_owned(), remedy: remedy.to_owned() }
    }
}

/// Reads `files` in order, later ones over earlier ones, then applies `sets` (`key.path=value`).
///
/// # Errors
///
/// See [`ConfigError`].
pub fn load(files: &[PathBuf], sets: &[String]) -> Result<Config, ConfigError> {
    let mut tree = Value::Mapping(Mapping::new());
    for path in files {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        let place = path.display().to_string();
        let text = replace_environment(&place, &text, |name| std::env::var(name).ok())?;
        let part = parse_checked(&place, &text)?;
        merge(&mut tree, part);
    }
    for set in sets {
        let (key, value) = set.split_once('=').ok_or_else(|| ConfigError::Key {
            place: "--set".to_owned(),
            key: set.clone(),
            message: "expected key=value, for example exporters.hypertables.path=./data".to_owned(),
        })?;
        let value: Value = serde_norway::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        let part = key
            .rsplit('.')
            .fold(value, |value, name| Value::Mapping(Mapping::from_iter([(Value::String(name.to_owned()), value)])));
        to_config(&format!("--set {set}"), part.clone())?;
        merge(&mut tree, part);
    }
    let config = to_config("the merged configuration", tree)?;
    config.validate()?;
    Ok(config)
}

/// The file's tree, once it was found to be a valid configuration by itself; all keys have defaults.
fn parse_checked(place: &str, text: &str) -> Result<Value, ConfigError> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Value::Mapping(Mapping::new()));
    }
    let checked: Result<Config, _> = serde_path_to_error::deserialize(serde_norway::Deserializer::from_str(text));
    if let Err(error) = checked {
        let place = match error.inner().location() {
            Some(at) => format!("{place}, line {}", at.line()),
            None => place.to_owned(),
        };
        return Err(key_error(place, &error));
    }
    Value::deserialize(serde_norway::Deserializer::from_str(text)).map_err(|error| ConfigError::Key {
        place: place.to_owned(),
        key: String::new(),
        message: error.to_string(),
    })
}

fn to_config(place: &str, tree: Value) -> Result<Config, ConfigError> {
    serde_path_to_error::deserialize(tree).map_err(|error| key_error(place.to_owned(), &error))
}

fn key_error(place: String, error: &serde_path_to_error::Error<serde_norway::Error>) -> ConfigError {
    let message = error.inner().to_string();
    let hint = nearest_key(&message).map(|key| format!("; did you mean `{key}`?")).unwrap_or_default();
    ConfigError::Key { place, key: error.path().to_string(), message: format!("{message}{hint}") }
}

/// For "unknown field `a`, expected one of `b`, `c`": the expected key that is nearest to the one written.
fn nearest_key(message: &str) -> Option<&str> {
    let rest = message.split_once("unknown field `")?.1;
    let (written, rest) = rest.split_once('`')?;
    let expected = rest.split('`').skip(1).step_by(2);
    expected.map(|key| (edit_distance(written, key), key)).filter(|(d, key)| *d <= key.len() / 2).min().map(|(_, k)| k)
}

/// Levenshtein distance.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Maps are merged key by key; everything else is replaced.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Mapping(into), Value::Mapping(from)) => {
            for (key, value) in from {
                match into.get_mut(&key) {
                    Some(existing) => merge(existing, value),
                    None => {
                        into.insert(key, value);
                    }
                }
            }
        }
        (into, from) => *into = from,
    }
}

/// Replaces `${env:NAME}` and `${env:NAME:-default}` outside comments; `$$` is a plain `$`.
fn replace_environment(
    place: &str,
    text: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<String, ConfigError> {
    let mut out = String::with_capacity(text.len());
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let mut rest = if line.trim_start().starts_with('#') { "" } else { line };
        if rest.is_empty() {
            out.push_str(line);
        }
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let after = &rest[at..];
            if let Some(tail) = after.strip_prefix("$$") {
                out.push('$');
                rest = tail;
                continue;
            }
            let Some((name, tail)) = after.strip_prefix("${env:").and_then(|r| r.split_once('}')) else {
                out.push('$');
                rest = &after[1..];
                continue;
            };
            let (name, default) = name.split_once(":-").map_or((name, None), |(n, d)| (n, Some(d)));
            let value = variable(name).or_else(|| default.map(str::to_owned)).ok_or_else(|| {
                ConfigError::Environment { place: format!("{place}, line {}", number + 1), name: name.to_owned() }
            })?;
            out.push_str(&value);
            rest = tail;
        }
        out.push_str(rest);
    }
    Ok(out)
}

/// The configuration of one file's text, for tests.
#[cfg(test)]
pub(super) fn from_text(place: &std::path::Path, text: &str) -> Result<Config, ConfigError> {
    let place = place.display().to_string();
    let text = replace_environment(&place, text, |_| None)?;
    let config = to_config(&place, parse_checked(&place, &text)?)?;
    config.validate()?;
    Ok(config)
}
