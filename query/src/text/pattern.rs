//! What a text needs to match a pattern.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind, Look};
use whence_storage::TextCondition;

/// What a pattern has from left to right.
enum Piece {
    Text(String),
    /// No letter or digit of ASCII is here.
    Border,
    /// Anything.
    Unknown,
    /// Something of which only this is known.
    Needs(TextCondition),
}

/// Of LIKE and ILIKE.
pub(super) fn like(pattern: &str, escape: char) -> TextCondition {
    let mut pieces = vec![Piece::Border];
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '%' | '_' => pieces.push(Piece::Unknown),
            _ if character == escape => match characters.next() {
                Some(escaped) if matches!(escaped, '%' | '_') || escaped == escape => text(&mut pieces, escaped),
                // Some take the escape character for itself here.
                Some(escaped) => {
                    pieces.push(Piece::Unknown);
                    text(&mut pieces, escaped);
                    pieces.push(Piece::Unknown);
                }
                None => return TextCondition::always(),
            },
            other => text(&mut pieces, other),
        }
    }
    pieces.push(Piece::Border);
    together(pieces)
}

/// Of a regular expression in the words of the `regex` crate, found anywhere in a text.
pub(super) fn regex(pattern: &str, ignore_case: bool) -> TextCondition {
    match ParserBuilder::new().case_insensitive(ignore_case).build().parse(pattern) {
        Ok(pattern) => of_hir(&pattern),
        Err(_) => TextCondition::always(),
    }
}

fn of_hir(pattern: &Hir) -> TextCondition {
    let mut pieces = vec![Piece::Unknown];
    take_apart(pattern, &mut pieces);
    pieces.push(Piece::Unknown);
    together(pieces)
}

fn take_apart(pattern: &Hir, pieces: &mut Vec<Piece>) {
    match pattern.kind() {
        HirKind::Empty => {}
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(literal) => literal.chars().for_each(|character| text(pieces, character)),
            Err(_) => pieces.push(Piece::Unknown),
        },
        HirKind::Class(class) => of_class(class, pieces),
        HirKind::Look(look) => match look {
            Look::WordUnicodeNegate | Look::WordAsciiNegate => {}
            // U+017F is no letter to these, and to the index it is.
            Look::WordAscii | Look::WordStartAscii | Look::WordEndAscii => pieces.push(Piece::Unknown),
            Look::WordStartHalfAscii | Look::WordEndHalfAscii => pieces.push(Piece::Unknown),
            _ => pieces.push(Piece::Border),
        },
        HirKind::Capture(capture) => take_apart(&capture.sub, pieces),
        HirKind::Concat(parts) => parts.iter().for_each(|part| take_apart(part, pieces)),
        HirKind::Alternation(parts) => {
            pieces.push(Piece::Needs(TextCondition::Any(parts.iter().map(of_hir).collect())));
        }
        HirKind::Repetition(repetition) if repetition.min == 0 => pieces.push(Piece::Unknown),
        HirKind::Repetition(repetition) => {
            let mut once = Vec::new();
            take_apart(&repetition.sub, &mut once);
            if matches!(once.as_slice(), [Piece::Border]) {
                pieces.push(Piece::Border);
            } else {
                pieces.push(Piece::Needs(of_hir(&repetition.sub)));
            }
        }
    }
}

/// One of some characters: a letter in both cases is text, and of punctuation it is known that it separates words.
fn of_class(class: &Class, pieces: &mut Vec<Piece>) {
    let Class::Unicode(class) = class else { return pieces.push(Piece::Unknown) };
    let ranges = class.ranges();
    let separates = ranges.iter().all(|range| {
        let has = |from: char, to: char| range.start() <= to && from <= range.end();
        let letters = has('0', '9') || has('A', 'Z') || has('a', 'z');
        !letters
            && !['\u{130}', '\u{17f}', '\u{212a}', '\u{307}'].into_iter().any(|character| has(character, character))
    });
    if separates && !ranges.is_empty() {
        return pieces.push(Piece::Border);
    }
    const MOST_CASES: usize = 4;
    let few = ranges.len() <= MOST_CASES && ranges.iter().all(|range| range.len() == 1);
    let mut letters = ranges.iter().map(|range| folded(range.start()));
    match letters.next().flatten() {
        Some(letter) if few && letters.all(|other| other == Some(letter)) => text(pieces, letter),
        _ => pieces.push(Piece::Unknown),
    }
}

/// The letter of ASCII that a character is in another case.
fn folded(character: char) -> Option<char> {
    match character {
        '\u{17f}' => Some('s'),
        '\u{212a}' => Some('k'),
        _ => character.is_ascii_alphabetic().then(|| character.to_ascii_lowercase()),
    }
}

fn text(pieces: &mut Vec<Piece>, character: char) {
    match pieces.last_mut() {
        Some(Piece::Text(text)) => text.push(character),
        _ => pieces.push(Piece::Text(character.to_string())),
    }
}

fn together(pieces: Vec<Piece>) -> TextCondition {
    let is_open = |at: Option<usize>| match at.and_then(|at| pieces.get(at)) {
        Some(Piece::Border) => false,
        Some(Piece::Text(_) | Piece::Unknown | Piece::Needs(_)) | None => true,
    };
    let needs = pieces.iter().enumerate().filter_map(|(at, piece)| match piece {
        Piece::Text(text) => Some(TextCondition::contains(text, is_open(at.checked_sub(1)), is_open(Some(at + 1)))),
        Piece::Needs(condition) => Some(condition.clone()),
        Piece::Border | Piece::Unknown => None,
    });
    needs.fold(TextCondition::always(), TextCondition::and)
}
