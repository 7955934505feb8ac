//! Spans, their events and links.

use super::value::Attribute;
use crate::protobuf::{Field, Fields, Utf8, WireError};
use std::ops::Range;

/// `Span`
#[derive(Debug, Default)]
pub(crate) struct Span<'a> {
    pub(crate) trace_id: &'a [u8],
    pub(crate) span_id: &'a [u8],
    pub(crate) trace_state: Utf8<'a>,
    pub(crate) parent_span_id: &'a [u8],
    pub(crate) flags: u32,
    pub(crate) name: Utf8<'a>,
    pub(crate) kind: i32,
    /// Nanoseconds since 1970; 0 when not sent.
    pub(crate) start: u64,
    /// Nanoseconds since 1970; 0 when not sent.
    pub(crate) end: u64,
    pub(crate) attributes: Vec<Attribute<'a>>,
    pub(crate) dropped_attributes: u32,
    pub(crate) events: Vec<Event<'a>>,
    pub(crate) dropped_events: u32,
    pub(crate) links: Vec<Link<'a>>,
    pub(crate) dropped_links: u32,
    pub(crate) status_message: Utf8<'a>,
    pub(crate) status_code: i32,
    /// Attributes of all events and links.
    inner: Vec<Attribute<'a>>,
}

/// `Span.Event`
#[derive(Debug, Clone, Default)]
pub(crate) struct Event<'a> {
    /// Nanoseconds since 1970; 0 when not sent.
    pub(crate) time: u64,
    pub(crate) name: Utf8<'a>,
    attributes: Range<usize>,
}

/// `Span.Link`
#[derive(Debug, Clone, Default)]
pub(crate) struct Link<'a> {
    pub(crate) trace_id: &'a [u8],
    pub(crate) span_id: &'a [u8],
    pub(crate) trace_state: Utf8<'a>,
    attributes: Range<usize>,
}

impl<'a> Span<'a> {
    pub(crate) fn event_attributes(&self, event: &Event<'a>) -> &[Attribute<'a>] {
        self.inner.get(event.attributes.clone()).unwrap_or_default()
    }

    pub(crate) fn link_attributes(&self, link: &Link<'a>) -> &[Attribute<'a>] {
        self.inner.get(link.attributes.clone()).unwrap_or_default()
    }

    fn clear(&mut self) {
        let [attributes, inner] = [&mut self.attributes, &mut self.inner].map(std::mem::take);
        let (events, links) = (std::mem::take(&mut self.events), std::mem::take(&mut self.links));
        *self = Self { attributes, inner, events, links, ..Self::default() };
        self.attributes.clear();
        self.inner.clear();
        self.events.clear();
        self.links.clear();
    }

    /// Becomes the span that `fields` are of.
    pub(crate) fn read(&mut self, mut fields: Fields<'a>) -> Result<(), WireError> {
        self.clear();
        let mut has_status = false;
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => self.trace_id = fields.bytes(field)?,
                2 => self.span_id = fields.bytes(field)?,
                3 => self.trace_state = fields.text(field)?,
                4 => self.parent_span_id = fields.bytes(field)?,
                5 => self.name = fields.text(field)?,
                6 => self.kind = fields.integer(field)? as i32,
                7 => self.start = fields.fixed64(field)?,
                8 => self.end = fields.fixed64(field)?,
                9 => Attribute::push(&mut self.attributes, &fields, field)?,
                10 => self.dropped_attributes = fields.integer(field)? as u32,
                11 => self.read_event(&fields, field)?,
                12 => self.dropped_events = fields.integer(field)? as u32,
                13 => self.read_link(&fields, field)?,
                14 => self.dropped_links = fields.integer(field)? as u32,
                15 => {
                    if std::mem::replace(&mut has_status, true) {
                        return Err(fields.parts(field));
                    }
                    self.read_status(fields.message(field, "Status")?)?;
                }
                16 => self.flags = fields.fixed32(field)?,
                _ => fields.unknown(field)?,
            }
        }
        Ok(())
    }

    fn read_status(&mut self, mut fields: Fields<'a>) -> Result<(), WireError> {
        while let Some(field) = fields.next_field()? {
            match field.number {
                2 => self.status_message = fields.text(field)?,
                3 => self.status_code = fields.integer(field)? as i32,
                _ => fields.unknown(field)?,
            }
        }
        Ok(())
    }

    fn read_event(&mut self, span: &Fields<'a>, field: Field<'a>) -> Result<(), WireError> {
        let mut fields = span.message(field, "Event")?;
        let mut event = Event::default();
        let first = self.inner.len();
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => event.time = fields.fixed64(field)?,
                2 => event.name = fields.text(field)?,
                3 => Attribute::push(&mut self.inner, &fields, field)?,
                4 => drop(fields.integer(field)?),
                _ => fields.unknown(field)?,
            }
        }
        event.attributes = first..self.inner.len();
        self.events.push(event);
        Ok(())
    }

    fn read_link(&mut self, span: &Fields<'a>, field: Field<'a>) -> Result<(), WireError> {
        let mut fields = span.message(field, "Link")?;
        let mut link = Link::default();
        let first = self.inner.len();
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => link.trace_id = fields.bytes(field)?,
                2 => link.span_id = fields.bytes(field)?,
                3 => link.trace_state = fields.text(field)?,
                4 => Attribute::push(&mut self.inner, &fields, field)?,
                5 => drop(fields.integer(field)?),
                6 => drop(fields.fixed32(field)?),
                _ => fields.unknown(field)?,
            }
        }
        link.attributes = first..self.inner.len();
        self.links.push(link);
        Ok(())
    }
}
