//! Log records.

use super::value::{AnyValue, Attribute};
use crate::protobuf::{Fields, Utf8, WireError};

/// `LogRecord`
#[derive(Debug, Default)]
pub(crate) struct LogRecord<'a> {
    /// Nanoseconds since 1970; 0 when not sent.
    pub(crate) time: u64,
    /// Nanoseconds since 1970; 0 when not sent.
    pub(crate) observed: u64,
    pub(crate) severity_number: i32,
    pub(crate) severity_text: Utf8<'a>,
    pub(crate) body: Option<AnyValue<'a>>,
    pub(crate) attributes: Vec<Attribute<'a>>,
    pub(crate) dropped_attributes: u32,
    pub(crate) flags: u32,
    pub(crate) trace_id: &'a [u8],
    pub(crate) span_id: &'a [u8],
    pub(crate) event_name: Utf8<'a>,
}

impl<'a> LogRecord<'a> {
    /// Becomes the log record that `fields` are of.
    pub(crate) fn read(&mut self, mut fields: Fields<'a>) -> Result<(), WireError> {
        let mut attributes = std::mem::take(&mut self.attributes);
        attributes.clear();
        *self = Self { attributes, ..Self::default() };
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => self.time = fields.fixed64(field)?,
                2 => self.severity_number = fields.integer(field)? as i32,
                3 => self.severity_text = fields.text(field)?,
                5 => {
                    let body = AnyValue::read(fields.message(field, "AnyValue")?)?;
                    if self.body.replace(body).is_some() {
                        return Err(fields.parts(field));
                    }
                }
                6 => Attribute::push(&mut self.attributes, &fields, field)?,
                7 => self.dropped_attributes = fields.integer(field)? as u32,
                8 => self.flags = fields.fixed32(field)?,
                9 => self.trace_id = fields.bytes(field)?,
                10 => self.span_id = fields.bytes(field)?,
                11 => self.observed = fields.fixed64(field)?,
                12 => self.event_name = fields.text(field)?,
                _ => fields.unknown(field)?,
            }
        }
        Ok(())
    }
}
