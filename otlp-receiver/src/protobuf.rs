//! Protobuf's wire format, read in place: nothing is copied, nothing is built.
//!
//! What is accepted is what `prost` accepts, for every message and every byte: unknown fields and groups are passed
//! over, a scalar sent twice counts as its last value, nesting ends at [`MAX_DEPTH`]. One thing is left to the caller:
//! a message field sent twice in one message has to be merged, which views cannot. [`WireError::needs_merging`] tells
//! of it, and `decode` then has `prost` write the request anew.

/// Levels of messages within messages, as `prost` bounds them.
pub(crate) const MAX_DEPTH: u8 = 100;

/// The fields of one message, in the order of the wire.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    message: &'static str,
    /// Levels that may still be entered.
    depth: u8,
}

/// One field as it was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    content: Content<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Content<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Group,
    Fixed32(u32),
}

/// Bytes known to be UTF-8. Most texts are only copied and compared, for which a `str` is of no use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Utf8<'a>(&'a [u8]);

/// Where a protobuf message stops making sense.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct WireError(Box<Located>);

#[derive(Debug, thiserror::Error)]
#[error("{problem}, before byte {position} of the body, in field {field} of {message}")]
struct Located {
    /// An address until [`WireError::located`] makes it an offset.
    position: usize,
    message: &'static str,
    field: u32,
    problem: Problem,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("the message ends too early")]
    Truncated,
    #[error("a number of more than 64 bits")]
    Varint,
    #[error("not a field's key")]
    Key,
    #[error("the field's wire type is not what the field needs")]
    WireType,
    #[error("a group's end that does not fit its start")]
    Group,
    #[error("a text that is not UTF-8")]
    Utf8,
    #[error("messages are nested more than {MAX_DEPTH} deep")]
    Depth,
    #[error("a message was sent in parts that cannot be merged")]
    Parts,
}

impl WireError {
    /// The request is valid as far as it was read, but has a message in several parts that have to be merged.
    pub(crate) fn needs_merging(&self) -> bool {
        self.0.problem == Problem::Parts
    }

    /// Positions as offsets in `body`, which the fields were read from.
    pub(crate) fn located(mut self, body: &[u8]) -> Self {
        self.0.position = self.0.position.saturating_sub(body.as_ptr() as usize).min(body.len());
        self
    }
}

impl<'a> Utf8<'a> {
    #[inline]
    fn check(bytes: &'a [u8]) -> Option<Self> {
        (bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()).then_some(Self(bytes))
    }

    pub(crate) fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn as_str(self) -> &'a str {
        std::str::from_utf8(self.0).unwrap_or_default()
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> From<&'a str> for Utf8<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl<'a> Fields<'a> {
    /// The fields of a whole request.
    pub(crate) fn of_request(body: &'a [u8], message: &'static str) -> Self {
        Self::nested(body, message, MAX_DEPTH)
    }

    /// The fields of a message that was cut out of another one before, with `depth` levels left below it.
    pub(crate) fn nested(bytes: &'a [u8], message: &'static str, depth: u8) -> Self {
        Self { rest: bytes, message, depth }
    }

    pub(crate) fn bytes_left(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn depth(&self) -> u8 {
        self.depth
    }

    /// The next field, or `None` after the last.
    #[inline(always)]
    pub(crate) fn next_field(&mut self) -> Result<Option<Field<'a>>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint(0)?;
        let number = (key >> 3) as u32;
        if number == 0 || key > u64::from(u32::MAX) {
            return Err(self.error(number, Problem::Key));
        }
        let content = match key & 7 {
            0 => Content::Varint(self.varint(number)?),
            1 => Content::Fixed64(u64::from_le_bytes(self.array(number)?)),
            2 => Content::Bytes(self.delimited(number)?),
            3 => {
                self.skip_group(number, self.depth)?;
                Content::Group
            }
            5 => Content::Fixed32(u32::from_le_bytes(self.array(number)?)),
            _ => return Err(self.error(number, Problem::Key)),
        };
        Ok(Some(Field { number, content }))
    }

    #[inline(always)]
    fn varint(&mut self, number: u32) -> Result<u64, WireError> {
        match self.rest {
            [first, rest @ ..] if *first < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*first))
            }
            [first, second, rest @ ..] if *second < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*first & 0x7f) | u64::from(*second) << 7)
            }
            _ => self.long_varint(number),
        }
    }

    fn long_varint(&mut self, number: u32) -> Result<u64, WireError> {
        let mut value = 0;
        for (i, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if *byte < 0x80 {
                // The tenth byte has room for one bit.
                if i == 9 && *byte > 1 {
                    break;
                }
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        let problem = if self.rest.len() < 10 { Problem::Truncated } else { Problem::Varint };
        Err(self.error(number, problem))
    }

    #[inline(always)]
    fn array<const N: usize>(&mut self, number: u32) -> Result<[u8; N], WireError> {
        match self.rest.split_first_chunk() {
            Some((array, rest)) => {
                self.rest = rest;
                Ok(*array)
            }
            None => Err(self.error(number, Problem::Truncated)),
        }
    }

    #[inline(always)]
    fn delimited(&mut self, number: u32) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(self.varint(number)?).unwrap_or(usize::MAX);
        match self.rest.split_at_checked(length) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(self.error(number, Problem::Truncated)),
        }
    }

    /// Groups are no longer written by anyone, but still part of the format.
    fn skip_group(&mut self, group: u32, depth: u8) -> Result<(), WireError> {
        loop {
            if depth == 0 {
                return Err(self.error(group, Problem::Depth));
            }
            let key = self.varint(group)?;
            let number = (key >> 3) as u32;
            if number == 0 || key > u64::from(u32::MAX) {
                return Err(self.error(number, Problem::Key));
            }
            match key & 7 {
                4 if number == group => return Ok(()),
                4 => return Err(self.error(number, Problem::Group)),
                _ if depth == 1 => return Err(self.error(number, Problem::Depth)),
                0 => drop(self.varint(number)?),
                1 => drop(self.array::<8>(number)?),
                2 => drop(self.delimited(number)?),
                3 => self.skip_group(number, depth - 1)?,
                5 => drop(self.array::<4>(number)?),
                _ => return Err(self.error(number, Problem::Key)),
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn error(&self, field: u32, problem: Problem) -> WireError {
        WireError(Box::new(Located { position: self.rest.as_ptr() as usize, message: self.message, field, problem }))
    }

    #[cold]
    fn wrong_type(&self, field: Field<'_>) -> WireError {
        self.error(field.number, Problem::WireType)
    }

    /// A message field that occurs a second time.
    #[cold]
    pub(crate) fn parts(&self, field: Field<'_>) -> WireError {
        self.error(field.number, Problem::Parts)
    }

    /// Checks a field that nobody knows here.
    #[inline]
    pub(crate) fn unknown(&self, field: Field<'_>) -> Result<(), WireError> {
        if self.depth == 0 { Err(self.error(field.number, Problem::Depth)) } else { Ok(()) }
    }

    #[inline(always)]
    pub(crate) fn integer(&self, field: Field<'_>) -> Result<u64, WireError> {
        match field.content {
            Content::Varint(value) => Ok(value),
            _ => Err(self.wrong_type(field)),
        }
    }

    #[inline(always)]
    pub(crate) fn fixed64(&self, field: Field<'_>) -> Result<u64, WireError> {
        match field.content {
            Content::Fixed64(value) => Ok(value),
            _ => Err(self.wrong_type(field)),
        }
    }

    #[inline(always)]
    pub(crate) fn double(&self, field: Field<'_>) -> Result<f64, WireError> {
        self.fixed64(field).map(f64::from_bits)
    }

    #[inline(always)]
    pub(crate) fn fixed32(&self, field: Field<'_>) -> Result<u32, WireError> {
        match field.content {
            Content::Fixed32(value) => Ok(value),
            _ => Err(self.wrong_type(field)),
        }
    }

    #[inline(always)]
    pub(crate) fn bytes(&self, field: Field<'a>) -> Result<&'a [u8], WireError> {
        match field.content {
            Content::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wrong_type(field)),
        }
    }

    #[inline(always)]
    pub(crate) fn text(&self, field: Field<'a>) -> Result<Utf8<'a>, WireError> {
        Utf8::check(self.bytes(field)?).ok_or_else(|| self.error(field.number, Problem::Utf8))
    }

    /// Enters a message.
    #[inline(always)]
    pub(crate) fn message(&self, field: Field<'a>, message: &'static str) -> Result<Fields<'a>, WireError> {
        let bytes = self.bytes(field)?;
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { rest: bytes, message, depth }),
            None => Err(self.error(field.number, Problem::Depth)),
        }
    }

    /// Adds the values of a repeated number of eight bytes, packed or not.
    pub(crate) fn fixed64_values(&self, field: Field<'a>, mut add: impl FnMut(u64)) -> Result<(), WireError> {
        match field.content {
            Content::Fixed64(value) => add(value),
            Content::Bytes(packed) => {
                let (values, rest) = packed.as_chunks();
                if !rest.is_empty() {
                    return Err(self.error(field.number, Problem::Truncated));
                }
                values.iter().for_each(|value| add(u64::from_le_bytes(*value)));
            }
            _ => return Err(self.wrong_type(field)),
        }
        Ok(())
    }

    /// Adds the values of a repeated variable-length number, packed or not.
    pub(crate) fn integer_values(&self, field: Field<'a>, mut add: impl FnMut(u64)) -> Result<(), WireError> {
        match field.content {
            Content::Varint(value) => add(value),
            Content::Bytes(packed) => {
                let mut packed = Self { rest: packed, ..*self };
                while !packed.rest.is_empty() {
                    add(packed.varint(field.number)?);
                }
            }
            _ => return Err(self.wrong_type(field)),
        }
        Ok(())
    }
}

/// Protobuf's `sint32`: small numbers of either sign are short.
pub(crate) fn zigzag(value: u64) -> i32 {
    let value = value as u32;
    ((value >> 1) as i32) ^ -((value & 1) as i32)
}
