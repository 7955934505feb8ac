//! Attributes and their values.

use crate::protobuf::{Field, Fields, MAX_DEPTH, Utf8, WireError};

/// `KeyValue`
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Attribute<'a> {
    pub(crate) key: Utf8<'a>,
    pub(crate) value: AnyValue<'a>,
}

/// `AnyValue`. Lists stay on the wire and are walked by [`items_of`] and [`members_of`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum AnyValue<'a> {
    /// No value at all.
    Empty,
    Text(Utf8<'a>),
    Boolean(bool),
    Integer(i64),
    Double(f64),
    Bytes(&'a [u8]),
    /// The values of an `ArrayValue`.
    Array(&'a [u8]),
    /// The attributes of a `KeyValueList`.
    List(&'a [u8]),
    /// An index into a table of texts that requests do not have.
    Index,
}

impl<'a> Attribute<'a> {
    #[inline]
    pub(crate) fn read(fields: Fields<'a>) -> Result<Self, WireError> {
        Self::read_to::<true>(fields)
    }

    #[inline(always)]
    fn read_to<const WHOLE: bool>(mut fields: Fields<'a>) -> Result<Self, WireError> {
        let (mut key, mut value) = (Utf8::default(), None);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => key = fields.text(field)?,
                2 => {
                    let read = AnyValue::read_to::<WHOLE>(fields.message(field, "AnyValue")?)?;
                    if value.replace(read).is_some() {
                        return Err(fields.parts(field));
                    }
                }
                3 => drop(fields.integer(field)?),
                _ => fields.unknown(field)?,
            }
        }
        Ok(Self { key, value: value.unwrap_or(AnyValue::Empty) })
    }

    /// Reads `field` of `fields` and appends it.
    #[inline]
    pub(crate) fn push(list: &mut Vec<Self>, fields: &Fields<'a>, field: Field<'a>) -> Result<(), WireError> {
        list.push(Self::read(fields.message(field, "KeyValue")?)?);
        Ok(())
    }

    /// Checks an attribute of which nothing is stored.
    pub(crate) fn check(fields: &Fields<'a>, field: Field<'a>) -> Result<(), WireError> {
        Self::read(fields.message(field, "KeyValue")?).map(drop)
    }
}

impl<'a> AnyValue<'a> {
    pub(crate) fn read(fields: Fields<'a>) -> Result<Self, WireError> {
        Self::read_to::<true>(fields)
    }

    /// The `WHOLE` value is checked, or only its outermost level: for what was checked before.
    #[inline(always)]
    fn read_to<const WHOLE: bool>(mut fields: Fields<'a>) -> Result<Self, WireError> {
        let mut value = Self::Empty;
        while let Some(field) = fields.next_field()? {
            let next = match field.number {
                1 => Self::Text(fields.text(field)?),
                2 => Self::Boolean(fields.integer(field)? != 0),
                3 => Self::Integer(fields.integer(field)? as i64),
                4 => Self::Double(fields.double(field)?),
                5 => {
                    let array = fields.message(field, "ArrayValue")?;
                    if WHOLE {
                        check_array(array)?;
                    }
                    Self::Array(array.bytes_left())
                }
                6 => {
                    let list = fields.message(field, "KeyValueList")?;
                    if WHOLE {
                        check_list(list)?;
                    }
                    Self::List(list.bytes_left())
                }
                7 => Self::Bytes(fields.bytes(field)?),
                8 => {
                    fields.integer(field)?;
                    Self::Index
                }
                _ => {
                    fields.unknown(field)?;
                    continue;
                }
            };
            // Of several members the last one counts, but lists of one kind would have to be joined.
            if matches!((value, next), (Self::Array(_), Self::Array(_)) | (Self::List(_), Self::List(_))) {
                return Err(fields.parts(field));
            }
            value = next;
        }
        Ok(value)
    }
}

#[inline(never)]
fn check_array(mut fields: Fields<'_>) -> Result<(), WireError> {
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => drop(AnyValue::read(fields.message(field, "AnyValue")?)?),
            _ => fields.unknown(field)?,
        }
    }
    Ok(())
}

#[inline(never)]
fn check_list(mut fields: Fields<'_>) -> Result<(), WireError> {
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => drop(Attribute::read(fields.message(field, "KeyValue")?)?),
            _ => fields.unknown(field)?,
        }
    }
    Ok(())
}

/// The values of an array that was checked.
pub(crate) fn items_of(array: &[u8]) -> impl Iterator<Item = AnyValue<'_>> {
    fields_one(array).map(|value| AnyValue::read_to::<false>(value).unwrap_or(AnyValue::Empty))
}

/// The attributes of a list that was checked.
pub(crate) fn members_of(list: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    fields_one(list).filter_map(|member| Attribute::read_to::<false>(member).ok())
}

fn fields_one(checked: &[u8]) -> impl Iterator<Item = Fields<'_>> {
    let mut fields = Fields::nested(checked, "list", MAX_DEPTH);
    std::iter::from_fn(move || {
        while let Ok(Some(field)) = fields.next_field() {
            if field.number == 1 {
                return fields.message(field, "item").ok();
            }
        }
        None
    })
}
