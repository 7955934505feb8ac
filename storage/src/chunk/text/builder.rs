//! Words and ids of the rows of a chunk, gathered while it is written.

use super::filter::FilterBuilder;
use super::index::{Group, is_about_text};
use super::tokens::{fold, runs_of_letters, tokens, unescape};
use crate::chunk::layout::ROW_GROUP_ROWS;
use arrow::array::{Array, AsArray, StringViewArray};
use arrow::record_batch::RecordBatch;
use hashbrown::HashSet;
use memchr::{memchr, memchr_iter};
use std::hash::{BuildHasher, RandomState};
use whence_schema::Table;
use whence_schema::tables::events::column;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Parts of texts that are known to have been seen, by the low bits of their hash.
const SEEN: usize = 8_192;
/// Bytes of the words of a row group, beyond which they are no dictionary: real texts in a language or two have less.
const MAX_WORD_BYTES: usize = 1 << 20;
/// Reads the rows of `events` in the order in which they are written. Takes from 0.03 (hardly any
/// attributes) to 1 s (ten attributes, most values unique) of CPU for a million spans.
pub(crate) struct TextIndexBuilder {
    groups: Vec<Group>,
    rows: usize,
    /// Of parts of texts in this row group. Texts of telemetry mostly consist of parts that were there before.
    seen: Box<[u64]>,
    /// What the hashes in `seen` depend on: nobody can send two texts of which one hides the other.
    seed: u64,
    tokens: Tokens,
}

/// Words and ids of a row group.
struct Tokens {
    words: HashSet<Box<[u8]>>,
    word_bytes: usize,
    too_many_words: bool,
    ids: FilterBuilder,
    folded: Vec<u8>,
    unescaped: Vec<u8>,
}

impl TextIndexBuilder {
    /// `None` for a table without texts.
    pub(crate) fn for_table(table: Table) -> Option<Self> {
        is_about_text(table).then(Self::new)
    }

    pub(super) fn new() -> Self {
        Self {
            groups: Vec::new(),
            rows: 0,
            seen: vec![0; SEEN].into_boxed_slice(),
            seed: RandomState::new().hash_one(0),
            tokens: Tokens::new(),
        }
    }

    /// Takes the texts of more rows.
    pub(crate) fn add(&mut self, batch: &RecordBatch) {
        let mut from = 0;
        while from < batch.num_rows() {
            let taken = (ROW_GROUP_ROWS - self.rows).min(batch.num_rows() - from);
            let texts = |position: usize| batch.column(position).slice(from, taken);
            self.add_texts(texts(column::NAME).as_string_view(), None);
            self.add_texts(texts(column::BODY).as_string_view(), Some(b' '));
            self.add_documents(texts(column::PAYLOAD).as_string_view());
            self.rows += taken;
            from += taken;
            if self.rows == ROW_GROUP_ROWS {
                self.end_group();
            }
        }
    }

    /// The row groups with their rows, in order.
    pub(crate) fn finish(mut self) -> Vec<Group> {
        if self.rows > 0 {
            self.end_group();
        }
        self.groups
    }

    fn end_group(&mut self) {
        self.seen.fill(0);
        self.groups.push(self.tokens.take(self.rows));
        self.rows = 0;
    }

    /// `between`: at which byte, which is in no token, a text may be taken apart.
    fn add_texts(&mut self, texts: &StringViewArray, between: Option<u8>) {
        if texts.null_count() == texts.len() {
            return;
        }
        for text in texts.iter().flatten() {
            self.add_parts(text.as_bytes(), between, false);
        }
    }

    fn add_documents(&mut self, documents: &StringViewArray) {
        for document in documents.iter().flatten() {
            let document = document.as_bytes();
            // No escape has a comma.
            self.add_parts(document, Some(b','), memchr(b'\\', document).is_some());
        }
    }

    fn add_parts(&mut self, text: &[u8], between: Option<u8>, escapes: bool) {
        let mut start = 0;
        if let Some(between) = between {
            for end in memchr_iter(between, text) {
                self.add_part(&text[start..end], escapes);
                start = end + 1;
            }
        }
        self.add_part(&text[start..], escapes);
    }

    fn add_part(&mut self, part: &[u8], escapes: bool) {
        let hash = xxh3_64_with_seed(part, self.seed);
        let place = &mut self.seen[hash as usize % SEEN];
        if *place == hash {
            return;
        }
        *place = hash;
        self.tokens.add(part, escapes);
    }
}

impl Tokens {
    fn new() -> Self {
        Self {
            words: HashSet::new(),
            word_bytes: 0,
            too_many_words: false,
            ids: FilterBuilder::new(),
            folded: Vec::new(),
            unescaped: Vec::new(),
        }
    }

    /// Adds the tokens of a part of a text; with `escapes`, of a JSON document, as it stands and as it reads.
    fn add(&mut self, part: &[u8], escapes: bool) {
        self.add_folded(part);
        if escapes && memchr(b'\\', part).is_some() {
            let mut unescaped = std::mem::take(&mut self.unescaped);
            unescaped.clear();
            unescape(part, &mut unescaped);
            self.add_folded(&unescaped);
            self.unescaped = unescaped;
        }
    }

    fn add_folded(&mut self, text: &[u8]) {
        let mut folded = std::mem::take(&mut self.folded);
        folded.clear();
        fold(text, &mut folded);
        for token in tokens(&folded) {
            let bytes = &folded[token.at];
            if !token.has_digit {
                self.add_word(bytes);
                continue;
            }
            self.ids.insert(xxh3_64(bytes));
            let runs = token.has_word.then(|| runs_of_letters(bytes));
            for (run, is_word) in runs.into_iter().flatten() {
                if is_word {
                    self.add_word(&bytes[run]);
                }
            }
        }
        self.folded = folded;
    }

    fn add_word(&mut self, word: &[u8]) {
        if self.too_many_words || self.words.contains(word) {
            return;
        }
        self.word_bytes += word.len() + 1;
        self.words.insert(word.into());
        if self.word_bytes > MAX_WORD_BYTES {
            self.too_many_words = true;
            self.words = HashSet::new();
        }
    }

    /// What was added, for so many rows; then there is nothing.
    fn take(&mut self, rows: usize) -> Group {
        let mut words: Vec<_> = self.words.drain().collect();
        words.sort_unstable();
        let mut dictionary = vec![b'\n'];
        for word in words {
            dictionary.extend_from_slice(&word);
            dictionary.push(b'\n');
        }
        let dictionary = (!self.too_many_words).then_some(dictionary);
        (self.word_bytes, self.too_many_words) = (0, false);
        Group { rows, dictionary, filter: self.ids.take(rows) }
    }
}
