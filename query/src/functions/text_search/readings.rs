//! The grammar of PostgreSQL's default parser: what each reading does at each character.

use super::words::Kind;
use regex_syntax::hir::{Class, ClassUnicode, HirKind};
use std::sync::LazyLock;

/// Where a reading stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    Start,
    Blank,
    AsciiWord,
    Word,
    NumWord,
    Unsigned,
    Sign,
    Signed,
    /// After the point of a number; `true` if it has a sign.
    Point(bool),
    Decimal(bool),
    /// After the second point of a signed number, which is none then.
    SecondPoint,
    VersionPoint,
    Version,
    Exponent,
    ExponentSign,
    ExponentDigits,
    Ampersand,
    EntityName,
    EntityNumber,
    EntityDecimal,
    EntityFirstHex,
    EntityHex,
    EntityEnd,
    Less,
    LessSlash,
    LessQuestion,
    LessExclamation,
    TagName,
    TagSlash,
    Tag,
    /// Within quotes of a tag.
    TagQuoted(char),
    TagEscape(char),
    /// After an escaped character. Here another escape is none, and the end of the text is lost.
    TagEscaped(char),
    TagEnd,
    CommentDash,
    Comment,
    CommentEndDash,
    CommentEndDashes,
    HostLabel,
    HostHyphen,
    DomainFirst,
    DomainSecond,
    Domain,
    PortFirst,
    Port,
    Email,
    Slash,
    Tilde,
    PathPoint,
    FirstPoint,
    TwoPoints,
    File,
    FilePoint,
    UrlPathFirst,
    UrlPath,
    /// After a host that a URL was found to begin with.
    UrlPathAfterHost,
    UrlSlash,
    Colon,
    ColonSlash,
    ProtocolEnd,
    /// Right after a hyphen: what the word was before it.
    HyphenAfter(Letters),
    HyphenWord(Letters),
    HyphenDigits,
    /// At the parts of a hyphenated word.
    Parts,
    PartHyphen,
    PartDigits,
    Part(Letters),
}

/// What a word consists of so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Letters {
    Ascii,
    Any,
    WithDigits,
}

/// What to do at a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// Read on this way, and come back if it leads nowhere.
    Try(Reading),
    /// Read on this way.
    Go(Reading),
    /// Look at the same character in another way.
    Again(Reading),
    /// This way leads nowhere.
    Fail,
    /// The text ends here, whatever it was.
    Stop,
    /// The token ends before this character, and the next begins in this reading.
    Found(Kind, Reading),
}

use Choice::{Again, Fail, Found, Go, Stop, Try};

/// Beyond ASCII, what PostgreSQL takes for a letter depends on the locale of its database. This is what the C library of
/// GNU does in those with UTF-8: digits of other scripts are letters.
fn is_letter(c: char) -> bool {
    static DIGITS: LazyLock<ClassUnicode> = LazyLock::new(|| class(r"\p{Nd}"));
    if c.is_ascii() { c.is_ascii_alphabetic() } else { c.is_alphabetic() || is_in(&DIGITS, c) }
}

/// Does not end a word, though it is no letter: marks that are put on letters.
fn is_mark(c: char) -> bool {
    static MARKS: LazyLock<ClassUnicode> = LazyLock::new(|| class(r"\p{M}"));
    !c.is_ascii() && is_in(&MARKS, c)
}

fn class(pattern: &str) -> ClassUnicode {
    match regex_syntax::parse(pattern).map(|parsed| parsed.into_kind()) {
        Ok(HirKind::Class(Class::Unicode(class))) => class,
        _ => ClassUnicode::empty(),
    }
}

fn is_in(class: &ClassUnicode, c: char) -> bool {
    let ranges = class.ranges();
    let at = ranges.partition_point(|range| range.end() < c);
    ranges.get(at).is_some_and(|range| range.start() <= c)
}

fn may_be_in_url(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}')
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r') || (!c.is_ascii() && c.is_whitespace())
}

impl Letters {
    fn hyphenated(self) -> Kind {
        match self {
            Self::Ascii => Kind::AsciiHyphenated,
            Self::Any => Kind::Hyphenated,
            Self::WithDigits => Kind::NumHyphenated,
        }
    }

    fn part(self) -> Kind {
        match self {
            Self::Ascii => Kind::AsciiPart,
            Self::Any => Kind::WordPart,
            Self::WithDigits => Kind::NumPart,
        }
    }
}

/// Choices in their order, the last of which always can be made.
pub(super) struct Choices {
    list: [Choice; Self::MOST],
    count: usize,
}

impl Choices {
    const MOST: usize = 16;

    fn push(&mut self, choice: Choice) {
        self.list[self.count] = choice;
        self.count += 1;
    }

    pub(super) fn get(&self, number: usize) -> Choice {
        if number < self.count { self.list[number] } else { Fail }
    }
}

/// What to do in `reading` at the character `next` (`None`: the end), the first choice first.
pub(super) fn choices(reading: Reading, next: Option<char>, wants_host: bool, ignores: bool) -> Choices {
    let mut choices = Choices { list: [Fail; Choices::MOST], count: 0 };
    let Some(c) = next else {
        choices.push(at_end(reading));
        return choices;
    };
    let mut when = |holds: bool, choice: Choice| {
        if holds {
            choices.push(choice);
        }
    };
    let ascii = c.is_ascii_alphabetic();
    let (letter, digit) = (is_letter(c), c.is_ascii_digit());
    let either = ascii || digit;
    let mark = is_mark(c);
    let last = match reading {
        Reading::Start => {
            when(c == '<', Try(Reading::Less));
            when(ignores, Go(Reading::Blank));
            when(ascii, Go(Reading::AsciiWord));
            when(letter, Go(Reading::Word));
            when(digit, Go(Reading::Unsigned));
            when(c == '-' || c == '+', Try(Reading::Sign));
            when(c == '&', Try(Reading::Ampersand));
            when(c == '~', Try(Reading::Tilde));
            when(c == '/', Try(Reading::Slash));
            when(c == '.', Try(Reading::FirstPoint));
            Go(Reading::Blank)
        }
        Reading::Blank => {
            when(c == '<', Found(Kind::Blank, Reading::Start));
            when(ignores, Go(Reading::Blank));
            when(matches!(c, '-' | '+' | '&' | '/'), Found(Kind::Blank, Reading::Start));
            when(!letter && !digit, Go(Reading::Blank));
            Found(Kind::Blank, Reading::Start)
        }
        Reading::AsciiWord => {
            when(ascii, Go(Reading::AsciiWord));
            when(c == '.', Try(Reading::DomainFirst));
            when(c == '.', Try(Reading::FilePoint));
            when(c == '-', Try(Reading::HostHyphen));
            when(c == '-', Try(Reading::HyphenAfter(Letters::Ascii)));
            when(c == '_', Try(Reading::HostHyphen));
            when(c == '@', Try(Reading::Email));
            when(c == ':', Try(Reading::Colon));
            when(c == '/', Try(Reading::Slash));
            when(digit, Try(Reading::HostLabel));
            when(digit, Go(Reading::NumWord));
            when(letter || mark, Go(Reading::Word));
            Found(Kind::AsciiWord, Reading::Start)
        }
        Reading::Word => {
            when(letter || mark, Go(Reading::Word));
            when(digit, Go(Reading::NumWord));
            when(c == '-', Try(Reading::HyphenAfter(Letters::Any)));
            Found(Kind::Word, Reading::Start)
        }
        Reading::NumWord => {
            when(letter || digit || mark, Go(Reading::NumWord));
            when(c == '@', Try(Reading::Email));
            when(c == '/', Try(Reading::Slash));
            when(c == '.', Try(Reading::FilePoint));
            when(c == '-', Try(Reading::HyphenAfter(Letters::WithDigits)));
            Found(Kind::NumWord, Reading::Start)
        }
        Reading::Unsigned => {
            when(digit, Go(Reading::Unsigned));
            when(c == '.', Try(Reading::DomainFirst));
            when(c == '.', Try(Reading::Point(false)));
            when(c == 'e' || c == 'E', Try(Reading::Exponent));
            when(c == '-', Try(Reading::HostHyphen));
            when(c == '_', Try(Reading::HostHyphen));
            when(c == '@', Try(Reading::Email));
            when(ascii, Try(Reading::HostLabel));
            when(letter || mark, Go(Reading::NumWord));
            when(c == '/', Try(Reading::Slash));
            Found(Kind::UnsignedInt, Reading::Start)
        }
        Reading::Sign => {
            when(digit, Go(Reading::Signed));
            Fail
        }
        Reading::Signed => {
            when(digit, Go(Reading::Signed));
            when(c == '.', Try(Reading::Point(true)));
            when(c == 'e' || c == 'E', Try(Reading::Exponent));
            Found(Kind::SignedInt, Reading::Start)
        }
        Reading::Point(signed) => {
            when(digit, Go(Reading::Decimal(signed)));
            Fail
        }
        Reading::Decimal(signed) => {
            when(digit, Go(reading));
            when(c == '.', Try(if signed { Reading::SecondPoint } else { Reading::VersionPoint }));
            when(c == 'e' || c == 'E', Try(Reading::Exponent));
            Found(Kind::Decimal, Reading::Start)
        }
        // The whole is a version after a sign: see `next`.
        Reading::SecondPoint => Fail,
        Reading::VersionPoint => {
            when(digit, Go(Reading::Version));
            Fail
        }
        Reading::Version => {
            when(digit, Go(Reading::Version));
            when(c == '.', Try(Reading::VersionPoint));
            Found(Kind::Version, Reading::Start)
        }
        Reading::Exponent => {
            when(digit, Go(Reading::ExponentDigits));
            when(c == '+' || c == '-', Go(Reading::ExponentSign));
            Fail
        }
        Reading::ExponentSign => {
            when(digit, Go(Reading::ExponentDigits));
            Fail
        }
        Reading::ExponentDigits => {
            when(digit, Go(Reading::ExponentDigits));
            Found(Kind::Scientific, Reading::Start)
        }
        Reading::Ampersand => {
            when(c == '#', Go(Reading::EntityNumber));
            when(ascii || c == ':' || c == '_', Go(Reading::EntityName));
            Fail
        }
        Reading::EntityName => {
            when(letter || digit || matches!(c, ':' | '_' | '.' | '-'), Go(Reading::EntityName));
            when(c == ';', Go(Reading::EntityEnd));
            Fail
        }
        Reading::EntityNumber => {
            when(c == 'x' || c == 'X', Go(Reading::EntityFirstHex));
            when(digit, Go(Reading::EntityDecimal));
            Fail
        }
        Reading::EntityDecimal => {
            when(digit, Go(Reading::EntityDecimal));
            when(c == ';', Go(Reading::EntityEnd));
            Fail
        }
        Reading::EntityFirstHex => {
            when(c.is_ascii_hexdigit(), Go(Reading::EntityHex));
            Fail
        }
        Reading::EntityHex => {
            when(c.is_ascii_hexdigit(), Go(Reading::EntityHex));
            when(c == ';', Go(Reading::EntityEnd));
            Fail
        }
        Reading::EntityEnd => Found(Kind::Entity, Reading::Start),
        Reading::Less => {
            when(c == '/', Try(Reading::LessSlash));
            when(c == '!', Try(Reading::LessExclamation));
            when(c == '?', Try(Reading::LessQuestion));
            when(ascii || c == ':' || c == '_', Try(Reading::TagName));
            Fail
        }
        Reading::LessSlash => {
            when(ascii, Go(Reading::TagName));
            Fail
        }
        Reading::LessQuestion => {
            when(c == 'x', Go(Reading::Tag));
            Fail
        }
        Reading::LessExclamation => {
            when(c == '-', Go(Reading::CommentDash));
            when(c == 'D' || c == 'd', Go(Reading::Tag));
            Fail
        }
        Reading::TagName => {
            when(c == '/', Go(Reading::TagSlash));
            when(c == '>', Go(Reading::TagEnd));
            when(is_space(c), Go(Reading::Tag));
            when(letter || digit || matches!(c, ':' | '_' | '.' | '-'), Go(Reading::TagName));
            Fail
        }
        Reading::TagSlash => {
            when(c == '>', Go(Reading::TagEnd));
            Fail
        }
        Reading::Tag => {
            when(c == '>', Go(Reading::TagEnd));
            when(c == '\'' || c == '"', Go(Reading::TagQuoted(c)));
            let passes = either || is_space(c) || "=-_#/:.&?%~".contains(c);
            when(passes, Go(Reading::Tag));
            Fail
        }
        Reading::TagQuoted(quote) => {
            when(c == '\\', Go(Reading::TagEscape(quote)));
            when(c == quote, Go(Reading::Tag));
            Go(reading)
        }
        Reading::TagEscape(quote) => Go(Reading::TagEscaped(quote)),
        Reading::TagEscaped(quote) => {
            when(c == quote, Go(Reading::Tag));
            Go(Reading::TagQuoted(quote))
        }
        Reading::TagEnd => Found(Kind::Tag, Reading::Start),
        Reading::CommentDash => {
            when(c == '-', Go(Reading::Comment));
            Fail
        }
        Reading::Comment => {
            when(c == '-', Go(Reading::CommentEndDash));
            Go(Reading::Comment)
        }
        Reading::CommentEndDash => {
            when(c == '-', Go(Reading::CommentEndDashes));
            Go(Reading::Comment)
        }
        Reading::CommentEndDashes => {
            when(c == '-', Go(Reading::CommentEndDashes));
            when(c == '>', Go(Reading::TagEnd));
            Go(Reading::Comment)
        }
        Reading::HostLabel => {
            when(either, Go(Reading::HostLabel));
            when(c == '@', Try(Reading::Email));
            when(c == '.', Try(Reading::DomainFirst));
            when(c == '-' || c == '_', Try(Reading::HostHyphen));
            Fail
        }
        Reading::HostHyphen => {
            when(either, Go(Reading::HostLabel));
            Fail
        }
        Reading::DomainFirst => {
            when(ascii, Go(Reading::DomainSecond));
            when(digit, Go(Reading::HostLabel));
            Fail
        }
        Reading::DomainSecond => {
            when(ascii, Go(Reading::Domain));
            when(digit, Try(Reading::HostLabel));
            when(c == '-', Try(Reading::HostHyphen));
            when(c == '_', Try(Reading::HostHyphen));
            when(c == '.', Try(Reading::DomainFirst));
            when(c == '@', Try(Reading::Email));
            Fail
        }
        Reading::Domain => {
            when(ascii, Go(Reading::Domain));
            when(digit, Try(Reading::HostLabel));
            when(c == ':', Try(Reading::PortFirst));
            when(c == '-', Try(Reading::HostHyphen));
            when(c == '_', Try(Reading::HostHyphen));
            when(c == '.', Try(Reading::DomainFirst));
            when(c == '@', Try(Reading::Email));
            when(digit, Fail);
            when(wants_host, Found(Kind::Host, Reading::UrlPathAfterHost));
            when(c == '/', Try(Reading::UrlSlash));
            Found(Kind::Host, Reading::Start)
        }
        Reading::PortFirst => {
            when(digit, Go(Reading::Port));
            Fail
        }
        Reading::Port => {
            when(digit, Go(Reading::Port));
            when(wants_host, Found(Kind::Host, Reading::UrlPathAfterHost));
            when(c == '/', Try(Reading::UrlSlash));
            Found(Kind::Host, Reading::Start)
        }
        Reading::Email | Reading::UrlSlash => Fail,
        Reading::Slash => {
            when(either || c == '_', Go(Reading::File));
            when(c == '.', Go(Reading::PathPoint));
            when(c == '~', Try(Reading::Tilde));
            Fail
        }
        Reading::Tilde => {
            when(either || c == '_', Go(Reading::File));
            when(c == '/', Go(Reading::Slash));
            Fail
        }
        Reading::PathPoint => {
            when(either || c == '_', Go(Reading::File));
            when(c == '.', Go(Reading::TwoPoints));
            when(c == '/', Go(Reading::Slash));
            Fail
        }
        Reading::FirstPoint => {
            when(c == '.', Go(Reading::TwoPoints));
            when(c == '/', Go(Reading::Slash));
            Fail
        }
        Reading::TwoPoints => {
            when(c == '/', Try(Reading::Slash));
            when(c == '/' || is_space(c), Found(Kind::File, Reading::Start));
            Fail
        }
        Reading::File => {
            when(either || c == '_' || c == '-', Go(Reading::File));
            when(c == '.', Try(Reading::FilePoint));
            when(c == '/', Try(Reading::Slash));
            Found(Kind::File, Reading::Start)
        }
        Reading::FilePoint => {
            when(either || c == '_', Go(Reading::File));
            Fail
        }
        Reading::UrlPathFirst => {
            when(may_be_in_url(c), Go(Reading::UrlPath));
            Fail
        }
        Reading::UrlPathAfterHost => Go(Reading::UrlPath),
        Reading::UrlPath => {
            when(may_be_in_url(c), Go(Reading::UrlPath));
            Found(Kind::UrlPath, Reading::Start)
        }
        Reading::Colon => {
            when(c == '/', Go(Reading::ColonSlash));
            Fail
        }
        Reading::ColonSlash => {
            when(c == '/', Go(Reading::ProtocolEnd));
            Fail
        }
        Reading::ProtocolEnd => Found(Kind::Protocol, Reading::Start),
        Reading::HyphenAfter(before) => {
            when(ascii && before == Letters::Ascii, Go(Reading::HyphenWord(Letters::Ascii)));
            let word = if before == Letters::WithDigits { before } else { Letters::Any };
            when(letter, Go(Reading::HyphenWord(word)));
            when(digit, Go(Reading::HyphenDigits));
            Fail
        }
        Reading::HyphenWord(letters) => {
            when(ascii && letters == Letters::Ascii, Go(reading));
            let word = if letters == Letters::WithDigits { letters } else { Letters::Any };
            when(letter || mark, Go(Reading::HyphenWord(word)));
            when(digit, Go(Reading::HyphenWord(Letters::WithDigits)));
            when(c == '-', Try(Reading::HyphenAfter(letters)));
            Found(letters.hyphenated(), Reading::Parts)
        }
        Reading::HyphenDigits => {
            when(digit, Go(Reading::HyphenDigits));
            when(letter || mark, Go(Reading::HyphenWord(Letters::WithDigits)));
            Fail
        }
        Reading::Parts => {
            when(ascii, Go(Reading::Part(Letters::Ascii)));
            when(letter, Go(Reading::Part(Letters::Any)));
            when(digit, Try(Reading::PartDigits));
            when(c == '-', Try(Reading::PartHyphen));
            Again(Reading::Start)
        }
        Reading::PartHyphen => {
            when(letter || digit || mark, Found(Kind::Blank, Reading::Parts));
            Fail
        }
        Reading::PartDigits => {
            when(digit, Go(Reading::PartDigits));
            when(letter || mark, Go(Reading::Part(Letters::WithDigits)));
            Fail
        }
        Reading::Part(letters) => {
            when(ascii && letters == Letters::Ascii, Go(reading));
            let word = if letters == Letters::WithDigits { letters } else { Letters::Any };
            when(letter || mark, Go(Reading::Part(word)));
            when(digit, Go(Reading::Part(Letters::WithDigits)));
            Found(letters.part(), Reading::Parts)
        }
    };
    choices.push(last);
    choices
}

fn at_end(reading: Reading) -> Choice {
    let kind = match reading {
        Reading::Blank => Kind::Blank,
        Reading::AsciiWord => Kind::AsciiWord,
        Reading::Word => Kind::Word,
        Reading::NumWord => Kind::NumWord,
        Reading::Unsigned => Kind::UnsignedInt,
        Reading::Signed => Kind::SignedInt,
        Reading::Decimal(_) => Kind::Decimal,
        Reading::Version => Kind::Version,
        Reading::ExponentDigits => Kind::Scientific,
        Reading::EntityEnd => Kind::Entity,
        Reading::TagEnd => Kind::Tag,
        Reading::Domain | Reading::Port => Kind::Host,
        Reading::TwoPoints | Reading::File => Kind::File,
        Reading::UrlPath => Kind::UrlPath,
        Reading::ProtocolEnd => Kind::Protocol,
        Reading::HyphenWord(letters) => return Found(letters.hyphenated(), Reading::Parts),
        Reading::Part(letters) => letters.part(),
        Reading::TagEscaped(_) => return Stop,
        _ => return Fail,
    };
    Found(kind, Reading::Start)
}
