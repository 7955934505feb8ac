//! Texts by number: a column's texts become indices into one list.

use arrow::array::{Array, StringViewArray};
use hashbrown::HashMap;

/// Texts, each once, in the order in which they were first seen.
#[derive(Debug, Default)]
pub(super) struct Names {
    texts: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Names {
    /// Texts that have numbers already.
    pub(super) fn of(texts: Vec<String>) -> Self {
        let numbers = texts.iter().cloned().zip(0..).collect();
        Self { texts, numbers }
    }

    pub(super) fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len() as u32;
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }

    pub(super) fn text(&self, number: u32) -> &str {
        &self.texts[number as usize]
    }

    pub(super) fn into_texts(self) -> Vec<String> {
        self.texts
    }
}

/// Numbers of the texts of one column. Equal views of one array are equal texts, which is all that most rows need:
/// columns with few values keep each of them once.
pub(super) struct Numbered<'a> {
    column: &'a StringViewArray,
    known: HashMap<u128, u32>,
    last: Option<(u128, u32)>,
}

impl<'a> Numbered<'a> {
    pub(super) fn new(column: &'a StringViewArray) -> Self {
        Self { column, known: HashMap::new(), last: None }
    }

    /// The number that `number` has for the text of `row`; a null is the empty text.
    pub(super) fn get(&mut self, row: usize, number: impl FnOnce(&'a str) -> u32) -> u32 {
        let view = if self.column.is_null(row) { 0 } else { self.column.views()[row] };
        if let Some((last, known)) = self.last
            && last == view
        {
            return known;
        }
        let text = if self.column.is_null(row) { "" } else { self.column.value(row) };
        let found = *self.known.entry(view).or_insert_with(|| number(text));
        self.last = Some((view, found));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_have_one_number_in_any_batch_and_null_is_empty() {
        let long = "a text that is too long to be inside of a view";
        let mut names = Names::default();
        let mut numbers = |texts: Vec<Option<&str>>| -> Vec<u32> {
            let column: StringViewArray = texts.into_iter().collect();
            let mut numbered = Numbered::new(&column);
            (0..column.len()).map(|row| numbered.get(row, |text| names.number(text))).collect()
        };
        assert_eq!(numbers(vec![Some("a"), Some(long), Some("a"), None, Some(long)]), [0, 1, 0, 2, 1]);
        assert_eq!(numbers(vec![Some(""), Some(long), Some("b"), Some("a")]), [2, 1, 3, 0]);
        assert_eq!(names.text(1), long);
    }
}
