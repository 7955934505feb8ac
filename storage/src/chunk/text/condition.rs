//! What a search needs of the texts of a row.

use super::tokens::{fold, runs_of_letters, tokens};
use xxhash_rust::xxh3::xxh3_64;

/// A condition on the texts of a row: on what is in `name`, in `body`, or in keys and values of `payload`. It follows from
/// what is asked, and says less: a row that it holds for may still not be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextCondition {
    /// All hold; of none, that is always so.
    All(Vec<TextCondition>),
    /// One holds at least.
    Any(Vec<TextCondition>),
    /// The row has this.
    #[doc(hidden)]
    Has(Wanted),
}

/// Something that the index can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A part of the dictionary: letters, with a line feed where the word begins or ends.
    Word(String),
    /// Hash of a token with digits.
    Id(u64),
}

impl TextCondition {
    /// Holds for every row.
    pub fn always() -> Self {
        Self::All(Vec::new())
    }

    /// Some text has `literal` in it, in whatever case. `open_left` and `open_right` say whether a letter or digit may come
    /// right before or after it.
    pub fn contains(literal: &str, open_left: bool, open_right: bool) -> Self {
        let mut folded = Vec::with_capacity(literal.len());
        fold(literal.as_bytes(), &mut folded);
        let mut all = Vec::new();
        for token in tokens(&folded) {
            let begins = token.at.start > 0 || !open_left;
            let ends = token.at.end < folded.len() || !open_right;
            let text = &folded[token.at];
            if token.has_digit && begins && ends {
                all.push(Self::Has(Wanted::Id(xxh3_64(text))));
            }
            for (run, is_word) in runs_of_letters(text) {
                // What may be digits of a hexadecimal number is in no dictionary.
                if is_word || (!token.has_digit && begins && ends) {
                    let border = |here: bool| if here { "\n" } else { "" };
                    let (first, last) = (run.start > 0 || begins, run.end < text.len() || ends);
                    let letters = String::from_utf8_lossy(&text[run]).into_owned();
                    all.push(Self::Has(Wanted::Word(format!("{}{letters}{}", border(first), border(last)))));
                }
            }
        }
        Self::All(all)
    }

    /// Both hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All(mut left), Self::All(right)) => {
                left.extend(right);
                Self::All(left)
            }
            (Self::All(mut all), one) | (one, Self::All(mut all)) => {
                all.push(one);
                Self::All(all)
            }
            (left, right) => Self::All(vec![left, right]),
        }
    }

    /// True when it says nothing.
    pub fn is_always(&self) -> bool {
        match self {
            Self::All(all) => all.iter().all(Self::is_always),
            Self::Any(any) => any.iter().any(Self::is_always),
            Self::Has(_) => false,
        }
    }

    /// Whether it asks for words, and for ids.
    pub(super) fn asks_for(&self) -> (bool, bool) {
        match self {
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().map(Self::asks_for).fold((false, false), |all, part| (all.0 || part.0, all.1 || part.1))
            }
            Self::Has(Wanted::Word(_)) => (true, false),
            Self::Has(Wanted::Id(_)) => (false, true),
        }
    }

    pub(super) fn may_hold(&self, has: &dyn Fn(&Wanted) -> bool) -> bool {
        match self {
            Self::All(all) => all.iter().all(|part| part.may_hold(has)),
            Self::Any(any) => any.iter().any(|part| part.may_hold(has)),
            Self::Has(wanted) => has(wanted),
        }
    }
}
