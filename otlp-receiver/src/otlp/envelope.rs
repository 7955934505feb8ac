//! What the three requests have in common: items in scopes in resources.

use super::value::Attribute;
use crate::protobuf::{Fields, Utf8, WireError};

/// Names of a signal's messages, for errors; their fields have the same numbers.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) request: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) scope: &'static str,
    pub(crate) item: &'static str,
}

/// A request, resource by resource.
#[derive(Debug)]
pub(crate) struct Envelope<'a> {
    fields: Fields<'a>,
    layout: &'static Layout,
}

/// `ResourceSpans` and its sisters: the resource, and its scopes yet to be read.
#[derive(Debug, Default)]
pub(crate) struct ResourceItems<'a> {
    pub(crate) attributes: Vec<Attribute<'a>>,
    pub(crate) scopes: Vec<&'a [u8]>,
    depth: u8,
}

/// `ScopeSpans` and its sisters: the scope, and its items yet to be read.
#[derive(Debug, Default)]
pub(crate) struct ScopeItems<'a> {
    pub(crate) scope: Scope<'a>,
    pub(crate) items: Vec<&'a [u8]>,
    depth: u8,
}

/// `InstrumentationScope`. One without a name is as good as none.
#[derive(Debug, Default)]
pub(crate) struct Scope<'a> {
    pub(crate) name: Utf8<'a>,
    pub(crate) version: Utf8<'a>,
    pub(crate) attributes: Vec<Attribute<'a>>,
}

impl<'a> Envelope<'a> {
    pub(crate) fn new(body: &'a [u8], layout: &'static Layout) -> Self {
        Self { fields: Fields::of_request(body, layout.request), layout }
    }

    /// Reads the next resource; false after the last.
    pub(crate) fn next_resource(&mut self, resource: &mut ResourceItems<'a>) -> Result<bool, WireError> {
        while let Some(field) = self.fields.next_field()? {
            if field.number == 1 {
                resource.read(self.fields.message(field, self.layout.resource)?)?;
                return Ok(true);
            }
            self.fields.unknown(field)?;
        }
        Ok(false)
    }

    pub(crate) fn read_scope(
        &self,
        resource: &ResourceItems<'a>,
        scope: &'a [u8],
        into: &mut ScopeItems<'a>,
    ) -> Result<(), WireError> {
        into.read(Fields::nested(scope, self.layout.scope, resource.depth))
    }

    pub(crate) fn item(&self, scope: &ScopeItems<'a>, item: &'a [u8]) -> Fields<'a> {
        Fields::nested(item, self.layout.item, scope.depth)
    }
}

impl<'a> ResourceItems<'a> {
    fn read(&mut self, mut fields: Fields<'a>) -> Result<(), WireError> {
        self.attributes.clear();
        self.scopes.clear();
        let mut seen = false;
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => {
                    if std::mem::replace(&mut seen, true) {
                        return Err(fields.parts(field));
                    }
                    read_resource(&mut self.attributes, fields.message(field, "Resource")?)?;
                }
                2 => {
                    let scope = fields.message(field, "scope")?;
                    self.depth = scope.depth();
                    self.scopes.push(scope.bytes_left());
                }
                3 => drop(fields.text(field)?),
                _ => fields.unknown(field)?,
            }
        }
        Ok(())
    }
}

fn read_resource<'a>(attributes: &mut Vec<Attribute<'a>>, mut fields: Fields<'a>) -> Result<(), WireError> {
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => Attribute::push(attributes, &fields, field)?,
            2 => drop(fields.integer(field)?),
            3 => check_entity(fields.message(field, "EntityRef")?)?,
            _ => fields.unknown(field)?,
        }
    }
    Ok(())
}

fn check_entity(mut fields: Fields<'_>) -> Result<(), WireError> {
    while let Some(field) = fields.next_field()? {
        match field.number {
            1..=4 => drop(fields.text(field)?),
            _ => fields.unknown(field)?,
        }
    }
    Ok(())
}

impl<'a> ScopeItems<'a> {
    fn read(&mut self, mut fields: Fields<'a>) -> Result<(), WireError> {
        self.scope.clear();
        self.items.clear();
        let mut seen = false;
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => {
                    if std::mem::replace(&mut seen, true) {
                        return Err(fields.parts(field));
                    }
                    self.scope.read(fields.message(field, "InstrumentationScope")?)?;
                }
                2 => {
                    let item = fields.message(field, "item")?;
                    self.depth = item.depth();
                    self.items.push(item.bytes_left());
                }
                3 => drop(fields.text(field)?),
                _ => fields.unknown(field)?,
            }
        }
        Ok(())
    }
}

impl<'a> Scope<'a> {
    fn clear(&mut self) {
        (self.name, self.version) = Default::default();
        self.attributes.clear();
    }

    fn read(&mut self, mut fields: Fields<'a>) -> Result<(), WireError> {
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => self.name = fields.text(field)?,
                2 => self.version = fields.text(field)?,
                3 => Attribute::push(&mut self.attributes, &fields, field)?,
                4 => drop(fields.integer(field)?),
                _ => fields.unknown(field)?,
            }
        }
        Ok(())
    }
}
