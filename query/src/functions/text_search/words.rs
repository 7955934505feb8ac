//! How PostgreSQL's default parser takes a text apart: words, numbers, hosts, addresses, paths, words with hyphens and
//! their parts.
//!
//! It is a machine that tries: at a character it may follow one reading and, where that leads nowhere, come back for the
//! next one. [`choices`] lists the readings in their order; the first that ends in a token is taken.

use super::readings::Choice::{Again, Fail, Found, Go, Stop, Try};
use super::readings::{Reading, choices};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    AsciiWord,
    Word,
    NumWord,
    Email,
    Url,
    Host,
    Scientific,
    Version,
    NumPart,
    WordPart,
    AsciiPart,
    Blank,
    Tag,
    Protocol,
    NumHyphenated,
    AsciiHyphenated,
    Hyphenated,
    UrlPath,
    File,
    Decimal,
    SignedInt,
    UnsignedInt,
    Entity,
}

/// A token of a text: its kind and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
}

/// A text being taken apart.
struct Parser<'a> {
    text: &'a str,
    at: usize,
    reading: Reading,
    /// A URL was found, and its host comes next, alone.
    wants_host: bool,
    /// Within a script or style sheet, of which nothing counts.
    ignores: bool,
    start: usize,
}

/// A reading to come back to.
struct Tried {
    at: usize,
    reading: Reading,
    choice: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, reading: Reading::Start, wants_host: false, ignores: false, start: 0 }
    }

    /// Length of the token that a parser of its own finds here, if it is one of `kinds`.
    fn found_here(&self, at: usize, reading: Reading, wants_host: bool, kinds: &[Kind]) -> Option<usize> {
        let mut parser = Self { text: &self.text[at..], at: 0, reading, wants_host, ignores: false, start: 0 };
        let token = parser.next()?;
        kinds.contains(&token.kind).then_some(token.text.len())
    }

    /// Within a tag, whether scripts begin or end.
    fn note_tag(&mut self, at: usize) {
        let tag = &self.text[self.start..at];
        if tag.eq_ignore_ascii_case("</script") || tag.eq_ignore_ascii_case("</style") {
            self.ignores = false;
        } else if tag.eq_ignore_ascii_case("<script") || tag.eq_ignore_ascii_case("<style") {
            self.ignores = true;
        }
    }
}

impl<'a> Iterator for Parser<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        if self.at >= self.text.len() {
            return None;
        }
        self.start = self.at;
        let mut tried: Vec<Tried> = Vec::new();
        let (mut at, mut reading, mut choice) = (self.at, self.reading, 0);
        loop {
            // Readings that look further ahead by a parser of their own.
            let nested = match reading {
                Reading::Email if self.wants_host => {
                    self.wants_host = false;
                    None
                }
                Reading::Email => self.found_here(at, Reading::Start, true, &[Kind::Host]).map(|n| (n, Kind::Email)),
                Reading::UrlSlash => self
                    .found_here(at, Reading::UrlPathFirst, false, &[Kind::UrlPath])
                    .map(|length| (length, Kind::Url)),
                _ => None,
            };
            if let Some((length, kind)) = nested {
                let token = Token { kind, text: &self.text[self.start..at + length] };
                if kind == Kind::Url {
                    // Its host and its path come next.
                    self.wants_host = true;
                    self.at = self.start;
                } else {
                    self.at = at + length;
                }
                self.reading = Reading::Start;
                return Some(token);
            }
            if reading == Reading::SecondPoint && self.text[at..].starts_with(|c: char| c.is_ascii_digit()) {
                self.at = self.start + 1;
                self.reading = Reading::Unsigned;
                return Some(Token { kind: Kind::Blank, text: &self.text[self.start..self.at] });
            }
            let next = self.text[at..].chars().next();
            let step = choices(reading, next, self.wants_host, self.ignores).get(choice);
            match step {
                Fail => {
                    let back = tried.pop()?;
                    (at, reading, choice) = (back.at, back.reading, back.choice + 1);
                    continue;
                }
                Stop => {
                    self.at = self.text.len();
                    return None;
                }
                Try(next) => {
                    tried.push(Tried { at, reading, choice });
                    reading = next;
                }
                Go(next) => {
                    if matches!(
                        (reading, next),
                        (Reading::TagName, Reading::Tag | Reading::TagEnd) | (Reading::Tag, Reading::TagEnd)
                    ) {
                        self.note_tag(at);
                    }
                    reading = next;
                }
                Again(next) => {
                    (reading, choice) = (next, 0);
                    continue;
                }
                Found(kind, next) => {
                    if next == Reading::UrlPathAfterHost {
                        self.wants_host = false;
                    }
                    let token = Token { kind, text: &self.text[self.start..at] };
                    self.at = if next == Reading::Parts && kind.is_hyphenated() { self.start } else { at };
                    self.reading = next;
                    return Some(token);
                }
            }
            choice = 0;
            at += self.text[at..].chars().next().map_or(0, char::len_utf8);
        }
    }
}

impl Kind {
    fn is_hyphenated(self) -> bool {
        matches!(self, Self::AsciiHyphenated | Self::Hyphenated | Self::NumHyphenated)
    }

    /// Whether it is something to be found. Blanks, tags, entities and the beginning of a URL are not.
    fn is_indexed(self) -> bool {
        !matches!(self, Self::Blank | Self::Tag | Self::Entity | Self::Protocol)
    }
}

/// Bytes of a word that PostgreSQL finds too long to be indexed.
const TOO_LONG: usize = 2_047;

/// The words of `text` as the configuration `simple` has them: in lower case, without the blanks between them.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> {
    let words = Parser::new(text).filter(|token| token.kind.is_indexed() && token.text.len() < TOO_LONG);
    words.map(|token| token.text.chars().map(lower).collect())
}

/// The lower case that is one character, as the C library has it.
fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}
