//! Texts by number, for as long as something uses them.

use hashbrown::{HashMap, HashSet};
use std::sync::Arc;

/// Texts of one kind at most; the others share the number of the empty one.
const MOST_NAMES: usize = 100_000;
/// Bytes that a name takes beside its text, about.
const NAME_BYTES: usize = 80;

/// Texts, each once. What is no longer used can be forgotten; its number is given to another text then.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// The text of each number; empty for one that is free.
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    free: Vec<u32>,
    bytes: usize,
    /// Texts that were too many, each time they were met.
    pub(crate) refused: u64,
}

impl Names {
    /// The number of a text.
    pub(crate) fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        if self.numbers.len() >= MOST_NAMES && !text.is_empty() {
            self.refused += 1;
            return self.number("");
        }
        let text: Arc<str> = text.into();
        self.bytes += text.len() + NAME_BYTES;
        let number = match self.free.pop() {
            Some(number) => {
                self.texts[number as usize] = text.clone();
                number
            }
            None => {
                self.texts.push(text.clone());
                self.texts.len() as u32 - 1
            }
        };
        self.numbers.insert(text, number);
        number
    }

    /// The text of a number.
    pub(crate) fn text(&self, number: u32) -> &str {
        self.texts.get(number as usize).map_or("", |text| text)
    }

    /// The same, to be kept.
    pub(crate) fn shared(&self, number: u32) -> Arc<str> {
        self.texts.get(number as usize).cloned().unwrap_or_default()
    }

    /// Forgets all that is not among `used`; returns how many.
    pub(crate) fn retain(&mut self, used: &HashSet<u32>) -> u64 {
        let before = self.numbers.len();
        let Self { texts, numbers, free, bytes, .. } = self;
        numbers.retain(|text, number| {
            let stays = used.contains(number);
            if !stays {
                *bytes -= text.len() + NAME_BYTES;
                texts[*number as usize] = Arc::default();
                free.push(*number);
            }
            stays
        });
        if numbers.is_empty() {
            (*texts, *free) = (Vec::new(), Vec::new());
        }
        // In the order of numbers, so that they do not depend on that of the table.
        free.sort_unstable_by(|a, b| b.cmp(a));
        numbers.shrink_to(2 * numbers.len());
        (before - self.numbers.len()) as u64
    }

    /// Bytes of memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.free.len() * (size_of::<Arc<str>>() + size_of::<u32>())
    }
}

/// Names of each kind.
#[derive(Debug, Default)]
pub(crate) struct AllNames {
    /// Of assets.
    pub(crate) assets: Names,
    /// Of operations.
    pub(crate) operations: Names,
    /// Of series within an asset.
    pub(crate) metrics: Names,
}

/// Numbers that are used.
#[derive(Debug, Default)]
pub(crate) struct Used {
    /// Of assets.
    pub(crate) assets: HashSet<u32>,
    /// Of operations.
    pub(crate) operations: HashSet<u32>,
    /// Of series within an asset.
    pub(crate) metrics: HashSet<u32>,
    /// Of log templates.
    pub(crate) templates: HashSet<u32>,
}

impl AllNames {
    /// Forgets all that is not used; returns how many.
    pub(crate) fn retain(&mut self, used: &Used) -> u64 {
        self.assets.retain(&used.assets) + self.operations.retain(&used.operations) + self.metrics.retain(&used.metrics)
    }

    /// Bytes of memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.assets.bytes() + self.operations.bytes() + self.metrics.bytes()
    }

    /// Names that were too many, each time they were met.
    pub(crate) fn refused(&self) -> u64 {
        self.assets.refused + self.operations.refused + self.metrics.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_forgotten_texts_are_given_to_others_and_the_rest_stay() {
        let mut names = Names::default();
        let [a, b, c] = ["a", "b", "c"].map(|text| names.number(text));
        let bytes = names.bytes();
        assert_eq!(names.retain(&[b].into()), 2);
        assert!(names.bytes() < bytes);
        assert_eq!((names.text(b), names.text(a)), ("b", ""));
        assert_eq!(names.number("b"), b);
        let (d, e) = (names.number("d"), names.number("e"));
        assert_eq!(([d, e], names.text(c)), ([a, c], "e"));
        assert_eq!(names.number("a"), 3);
        assert_eq!((names.retain(&HashSet::new()), names.bytes()), (4, 0));
    }

    #[test]
    fn texts_beyond_the_most_share_one_number_and_are_counted() {
        let mut names = Names::default();
        for text in 0..MOST_NAMES + 2 {
            names.number(&text.to_string());
        }
        assert_eq!(names.refused, 2);
        assert_eq!(names.number("another"), names.number(""));
    }
}
