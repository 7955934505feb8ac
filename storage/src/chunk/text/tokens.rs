//! Where texts fall apart, for those that are stored and those that are looked for alike.

use std::ops::Range;

/// What a byte is to a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Also every byte of a character beyond ASCII.
    Between,
    /// `a` to `f`, which are digits of hexadecimal numbers.
    HexLetter,
    Letter,
    Digit,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Between; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'0'..=b'9' => Class::Digit,
            b'a'..=b'f' | b'A'..=b'F' => Class::HexLetter,
            b'g'..=b'z' | b'G'..=b'Z' => Class::Letter,
            _ => Class::Between,
        };
        byte += 1;
    }
    classes
};

/// A longest run of letters and digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) at: Range<usize>,
    pub(super) has_digit: bool,
    /// Whether it has a letter that hexadecimal numbers do not.
    pub(super) has_word: bool,
}

/// The tokens of `text`.
pub(super) fn tokens(text: &[u8]) -> impl Iterator<Item = Token> {
    let mut next = 0;
    std::iter::from_fn(move || {
        while next < text.len() && CLASSES[text[next] as usize] == Class::Between {
            next += 1;
        }
        let start = next;
        let (mut has_digit, mut has_word) = (false, false);
        while let Some(byte) = text.get(next) {
            match CLASSES[*byte as usize] {
                Class::Between => break,
                Class::Digit => has_digit = true,
                Class::Letter => has_word = true,
                Class::HexLetter => {}
            }
            next += 1;
        }
        (start < next).then_some(Token { at: start..next, has_digit, has_word })
    })
}

/// The longest runs of letters within a token, each with whether it has a letter that hexadecimal numbers do not.
pub(super) fn runs_of_letters(token: &[u8]) -> impl Iterator<Item = (Range<usize>, bool)> {
    let mut next = 0;
    std::iter::from_fn(move || {
        while next < token.len() && CLASSES[token[next] as usize] == Class::Digit {
            next += 1;
        }
        let start = next;
        let mut is_word = false;
        while let Some(byte) = token.get(next) {
            match CLASSES[*byte as usize] {
                Class::Digit | Class::Between => break,
                Class::Letter => is_word = true,
                Class::HexLetter => {}
            }
            next += 1;
        }
        (start < next).then_some((start..next, is_word))
    })
}

/// Appends `text` in lower case. Of characters beyond ASCII four matter: comparisons that ignore case take U+017F for `s`
/// and U+212A for `k`, and the lower case of U+0130 is `i` and the mark U+0307, or `i` alone.
pub(super) fn fold(text: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    if text.is_ascii() {
        out.extend_from_slice(text);
    } else {
        let mut rest = text;
        while let Some((first, after)) = rest.split_first() {
            if let Some(after) = rest.strip_prefix("\u{17f}".as_bytes()) {
                out.push(b's');
                rest = after;
            } else if let Some(after) = rest.strip_prefix("\u{212a}".as_bytes()) {
                out.push(b'k');
                rest = after;
            } else if let Some(after) = rest.strip_prefix("\u{130}".as_bytes()) {
                out.push(b'i');
                rest = after;
            } else if let Some(after) = rest.strip_prefix("\u{307}".as_bytes()) {
                rest = after;
            } else {
                out.push(*first);
                rest = after;
            }
        }
    }
    out[start..].make_ascii_lowercase();
}

/// Appends a part of a JSON document with its escapes undone, as far as tokens need it: what is no letter or digit becomes
/// a space.
pub(super) fn unescape(json: &[u8], out: &mut Vec<u8>) {
    let mut rest = json;
    while let Some((first, after)) = rest.split_first() {
        if *first != b'\\' {
            out.push(*first);
            rest = after;
            continue;
        }
        let code = after.strip_prefix(b"u").and_then(|digits| digits.get(..4));
        let code = code.and_then(|digits| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        let character = code.and_then(char::from_u32);
        match character {
            Some(character) if !character.is_control() => {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => out.push(b' '),
        }
        let escape = if code.is_some() { 5 } else { 1 };
        rest = after.get(escape..).unwrap_or_default();
    }
}
