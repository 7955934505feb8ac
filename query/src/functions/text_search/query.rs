//! What is looked for in words: a `tsquery`.

use super::vector::{Vector, write_word};
use super::words::words;
use crate::error::QueryError;
use datafusion::common::Result;
use std::fmt;
use std::iter::Peekable;
use std::str::Chars;
use whence_storage::TextCondition;

/// How far groups may nest.
const MAX_DEPTH: usize = 64;

/// A query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Query {
    /// Of no words. It matches nothing.
    Empty,
    Word {
        word: String,
        prefix: bool,
    },
    Not(Box<Query>),
    And(Box<Query>, Box<Query>),
    Or(Box<Query>, Box<Query>),
    /// The second follows the first so many words later.
    Phrase(Box<Query>, Box<Query>, u16),
}

impl Query {
    /// All words of `text`.
    pub(crate) fn of_words(text: &str) -> Self {
        Self::joined(words(text).map(|word| Self::Word { word, prefix: false }), Self::and)
    }

    /// The words of `text`, one after the other.
    pub(crate) fn of_phrase(text: &str) -> Self {
        Self::phrase(text, false)
    }

    fn phrase(text: &str, prefix: bool) -> Self {
        Self::joined(words(text).map(|word| Self::Word { word, prefix }), |left, right| Self::next(left, right, 1))
    }

    /// As people write into search boxes: words, phrases in quotes, `or`, and `-` before what must not be there.
    pub(crate) fn of_web_search(text: &str) -> Self {
        let (mut any, mut all) = (Vec::new(), Vec::new());
        let mut rest = text;
        loop {
            rest = rest.trim_start_matches(is_between);
            if rest.is_empty() {
                break;
            }
            let tail = rest.get(..2).filter(|or| or.eq_ignore_ascii_case("or")).map(|_| &rest[2..]);
            if let Some(tail) = tail.filter(|tail| tail.starts_with(char::is_whitespace) && !tail.trim().is_empty())
                && !all.is_empty()
            {
                any.push(std::mem::take(&mut all));
                rest = tail;
                continue;
            }
            let negated = rest.starts_with('-');
            rest = rest.strip_prefix('-').unwrap_or(rest);
            let (part, after) = match rest.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => rest.split_at(rest.find(|c: char| c == '"' || is_between(c)).unwrap_or(rest.len())),
            };
            rest = after;
            all.push(match Self::of_phrase(part) {
                Self::Empty => Self::Empty,
                part if negated => Self::Not(Box::new(part)),
                part => part,
            });
        }
        any.push(all);
        Self::joined(any.into_iter().map(|all| Self::joined(all.into_iter(), Self::and)), Self::or)
    }

    /// Of the words with `&`, `|`, `!`, `<->`, `:*` and parentheses between them.
    ///
    /// # Errors
    ///
    /// When it is not written that way.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        Reader::of(text, |word, prefix| Self::phrase(&word, prefix)).query()
    }

    /// As it is displayed.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub(crate) fn read(text: &str) -> Result<Self> {
        Reader::of(text, |word, prefix| Self::Word { word, prefix }).query()
    }

    fn joined(parts: impl Iterator<Item = Self>, how: impl Fn(Self, Self) -> Self) -> Self {
        parts.filter(|part| *part != Self::Empty).reduce(how).unwrap_or(Self::Empty)
    }

    fn and(left: Self, right: Self) -> Self {
        Self::And(Box::new(left), Box::new(right))
    }

    fn or(left: Self, right: Self) -> Self {
        Self::Or(Box::new(left), Box::new(right))
    }

    fn next(left: Self, right: Self, distance: u16) -> Self {
        Self::Phrase(Box::new(left), Box::new(right), distance)
    }

    /// Whether `word` matters.
    pub(super) fn asks_for(&self, other: &str) -> bool {
        match self {
            Self::Empty => false,
            Self::Word { word, prefix: false } => word == other,
            Self::Word { word, prefix: true } => other.starts_with(word.as_str()),
            Self::Not(part) => part.asks_for(other),
            Self::And(left, right) | Self::Or(left, right) | Self::Phrase(left, right, _) => {
                left.asks_for(other) || right.asks_for(other)
            }
        }
    }

    /// Whether a text with these words is meant.
    pub(super) fn matches(&self, vector: &Vector) -> bool {
        match self {
            Self::Empty => false,
            Self::Word { word, prefix } => vector.positions(word, *prefix).is_some(),
            Self::Not(part) => !part.matches(vector),
            Self::And(left, right) => left.matches(vector) && right.matches(vector),
            Self::Or(left, right) => left.matches(vector) || right.matches(vector),
            Self::Phrase(..) => !self.places(vector).0.is_empty(),
        }
    }

    /// Where a phrase ends, and how many words before that it begins.
    fn places(&self, vector: &Vector) -> (Vec<u16>, u16) {
        match self {
            Self::Word { word, prefix } => (vector.positions(word, *prefix).unwrap_or_default(), 0),
            Self::Phrase(left, right, distance) => {
                let ((before, left_width), (mut ends, width)) = (left.places(vector), right.places(vector));
                let apart = distance.saturating_add(width);
                ends.retain(|end| end.checked_sub(apart).is_some_and(|begin| before.contains(&begin)));
                (ends, apart.saturating_add(left_width))
            }
            // The reader lets nothing else into a phrase.
            Self::Empty | Self::Not(_) | Self::And(..) | Self::Or(..) => (Vec::new(), 0),
        }
    }

    /// What a text needs to match.
    pub(crate) fn needs(&self) -> TextCondition {
        match self {
            Self::Empty | Self::Not(_) => TextCondition::always(),
            Self::Word { word, .. } => TextCondition::contains(word, true, true),
            Self::And(left, right) | Self::Phrase(left, right, _) => left.needs().and(right.needs()),
            Self::Or(left, right) => TextCondition::Any(vec![left.needs(), right.needs()]),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Or(..) => 1,
            Self::And(..) => 2,
            Self::Phrase(..) => 3,
            Self::Not(_) => 4,
            Self::Empty | Self::Word { .. } => 5,
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, least: u8) -> fmt::Result {
        let grouped = self.rank() < least;
        f.write_str(if grouped { "( " } else { "" })?;
        match self {
            Self::Empty => {}
            Self::Word { word, prefix } => {
                write_word(f, word)?;
                f.write_str(if *prefix { ":*" } else { "" })?;
            }
            Self::Not(part) => {
                f.write_str("!")?;
                part.write(f, self.rank())?;
            }
            Self::And(left, right) | Self::Or(left, right) | Self::Phrase(left, right, _) => {
                left.write(f, self.rank())?;
                match self {
                    Self::And(..) => f.write_str(" & ")?,
                    Self::Phrase(_, _, 1) => f.write_str(" <-> ")?,
                    Self::Phrase(_, _, distance) => write!(f, " <{distance}> ")?,
                    _ => f.write_str(" | ")?,
                }
                // A phrase in a phrase says where it begins.
                right.write(f, self.rank() + u8::from(matches!(self, Self::Phrase(..))))?;
            }
        }
        f.write_str(if grouped { " )" } else { "" })
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

/// What stands between words in a search box.
fn is_between(c: char) -> bool {
    c.is_whitespace() || matches!(c, '&' | '|' | '!' | '(' | ')' | ':' | '*')
}

/// Reads a query from text.
struct Reader<'a, W> {
    text: &'a str,
    rest: Peekable<Chars<'a>>,
    word: W,
    depth: usize,
}

impl<'a, W: Fn(String, bool) -> Query> Reader<'a, W> {
    fn of(text: &'a str, word: W) -> Self {
        Self { text, rest: text.chars().peekable(), word, depth: 0 }
    }

    fn query(mut self) -> Result<Query> {
        self.skip_space();
        if self.rest.peek().is_none() {
            return Ok(Query::Empty);
        }
        let query = self.any()?;
        if self.rest.peek().is_some() { Err(self.syntax()) } else { Ok(query) }
    }

    fn any(&mut self) -> Result<Query> {
        let mut parts = vec![self.all()?];
        while self.takes('|') {
            parts.push(self.all()?);
        }
        Ok(Query::joined(parts.into_iter(), Query::or))
    }

    fn all(&mut self) -> Result<Query> {
        let mut parts = vec![self.sequence()?];
        while self.takes('&') {
            parts.push(self.sequence()?);
        }
        Ok(Query::joined(parts.into_iter(), Query::and))
    }

    fn sequence(&mut self) -> Result<Query> {
        let mut query = self.one()?;
        while let Some(distance) = self.distance()? {
            let next = self.one()?;
            let fits = |part: &Query| matches!(part, Query::Word { .. } | Query::Phrase(..));
            if !fits(&query) || !fits(&next) {
                return Err(unsupported("<-> between other things than words"));
            }
            query = Query::next(query, next, distance);
        }
        Ok(query)
    }

    fn one(&mut self) -> Result<Query> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(unsupported("a tsquery that nests so far"));
        }
        self.skip_space();
        let query = if self.takes('!') {
            match self.one()? {
                Query::Empty => Query::Empty,
                part => Query::Not(Box::new(part)),
            }
        } else if self.takes('(') {
            let query = self.any()?;
            if !self.takes(')') {
                return Err(self.syntax());
            }
            query
        } else {
            self.operand()?
        };
        self.depth -= 1;
        self.skip_space();
        Ok(query)
    }

    fn operand(&mut self) -> Result<Query> {
        let mut word = String::new();
        if self.rest.next_if_eq(&'\'').is_some() {
            loop {
                match self.rest.next() {
                    Some('\'') if self.rest.next_if_eq(&'\'').is_none() => break,
                    Some('\\') => word.extend(self.rest.next()),
                    Some(other) => word.push(other),
                    None => return Err(self.syntax()),
                }
            }
        } else {
            let ends = |c: &char| c.is_whitespace() || matches!(c, '!' | '&' | '|' | '(' | ')' | ':');
            while let Some(next) = self.rest.next_if(|c| !ends(c)) {
                if matches!(next, '\\' | '\'' | '<') {
                    return Err(unsupported("\\, ' or < within a word of a tsquery (put the word into quotes)"));
                }
                word.push(next);
            }
            if word.is_empty() {
                return Err(self.syntax());
            }
        }
        let mut prefix = false;
        if self.rest.next_if_eq(&':').is_some() {
            prefix = self.rest.next_if_eq(&'*').is_some();
            match self.rest.peek() {
                Some('a'..='d' | 'A'..='D') => return Err(unsupported("a weight in a tsquery")),
                _ if !prefix => return Err(self.syntax()),
                _ => {}
            }
        }
        Ok((self.word)(word, prefix))
    }

    /// `<->` or `<3>`, if it comes next.
    fn distance(&mut self) -> Result<Option<u16>> {
        if !self.takes('<') {
            return Ok(None);
        }
        let inside: String = std::iter::from_fn(|| self.rest.next_if(|c| *c != '>')).collect();
        let ended = self.rest.next().is_some();
        let distance = if inside == "-" { Some(1) } else { inside.parse().ok() };
        match distance {
            // In place of one another.
            Some(0) => Err(unsupported("<0> in a tsquery")),
            Some(distance) if ended && distance <= 16_384 => Ok(Some(distance)),
            _ => Err(self.syntax()),
        }
    }

    fn takes(&mut self, sign: char) -> bool {
        self.rest.next_if_eq(&sign).is_some()
    }

    fn skip_space(&mut self) {
        while self.rest.next_if(|c| c.is_whitespace()).is_some() {}
    }

    fn syntax(&self) -> datafusion::error::DataFusionError {
        QueryError::InvalidText { problem: format!("syntax error in tsquery: \"{}\"", self.text) }.into()
    }
}

fn unsupported(what: &str) -> datafusion::error::DataFusionError {
    QueryError::NotSupported { what: what.to_owned() }.into()
}
