//! Words of a text with their positions: a `tsvector`.

use super::query::Query;
use super::words::words;
use std::collections::BTreeMap;
use std::fmt;

/// Positions from here on are one.
const LAST_POSITION: u16 = 16_383;
/// Positions of a word that are remembered.
const MOST_POSITIONS: usize = 255;

/// Words, each with its positions in rising order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Vector {
    words: BTreeMap<String, Vec<u16>>,
    position: u16,
}

impl Vector {
    /// All words of a text.
    pub(crate) fn of_text(text: &str) -> Self {
        let mut vector = Self::default();
        vector.append(text, |_| true);
        vector
    }

    /// The words of a text that `query` asks for.
    pub(crate) fn of_text_for(text: &str, query: &Query) -> Self {
        let mut vector = Self::default();
        vector.append(text, |word| query.asks_for(word));
        vector
    }

    /// All words of several texts, which no phrase spans.
    pub(crate) fn of_texts(texts: Vec<String>) -> Self {
        let mut vector = Self::default();
        for text in texts {
            let before = vector.position;
            vector.append(&text, |_| true);
            if vector.position > before {
                vector.position = vector.position.saturating_add(1);
            }
        }
        vector
    }

    fn append(&mut self, text: &str, wanted: impl Fn(&str) -> bool) {
        for word in words(text) {
            self.position = self.position.saturating_add(1);
            if !wanted(&word) {
                continue;
            }
            let position = self.position.min(LAST_POSITION);
            let positions = self.words.entry(word).or_default();
            if positions.len() < MOST_POSITIONS && positions.last() != Some(&position) {
                positions.push(position);
            }
        }
    }

    /// Positions of a word, or of all that begin with it; `None` if there is none.
    pub(super) fn positions(&self, word: &str, prefix: bool) -> Option<Vec<u16>> {
        if !prefix {
            return self.words.get(word).cloned();
        }
        let mut found = self.words.range(word.to_owned()..).take_while(|(other, _)| other.starts_with(word)).peekable();
        found.peek()?;
        let mut positions: Vec<u16> = found.flat_map(|(_, positions)| positions.iter().copied()).collect();
        positions.sort_unstable();
        positions.dedup();
        Some(positions)
    }
}

impl fmt::Display for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (word, positions)) in self.words.iter().enumerate() {
            f.write_str(if number == 0 { "" } else { " " })?;
            write_word(f, word)?;
            let positions: Vec<String> = positions.iter().map(u16::to_string).collect();
            write!(f, ":{}", positions.join(","))?;
        }
        Ok(())
    }
}

/// A word in quotes.
pub(super) fn write_word(f: &mut fmt::Formatter<'_>, word: &str) -> fmt::Result {
    write!(f, "'{}'", word.replace('\\', "\\\\").replace('\'', "''"))
}
