//! Arrow types as PostgreSQL types.

use crate::functions::{UUID, is_json};
use ::pgwire::api::Type;
use ::pgwire::api::portal::Format;
use ::pgwire::api::results::{FieldFormat, FieldInfo};
use arrow::datatypes::{DataType, Field, Schema};
use arrow_pg::datatypes::field_into_pg_type;
use std::sync::Arc;

/// Type of a column on the wire.
pub(crate) fn wire_type(field: &Field) -> Type {
    match field.data_type() {
        _ if is_json(field) => Type::JSON,
        &UUID => Type::UUID,
        // PostgreSQL calls a column of untyped NULLs text.
        DataType::Null => Type::TEXT,
        DataType::List(item) | DataType::LargeList(item) if *item.data_type() == UUID => Type::UUID_ARRAY,
        DataType::Dictionary(_, values) => wire_type(&Field::new(field.name(), values.as_ref().clone(), true)),
        DataType::Struct(_) | DataType::Union(..) | DataType::Map(..) => Type::TEXT,
        _ => field_into_pg_type(&Arc::new(field.clone())).unwrap_or(Type::TEXT),
    }
}

/// Type of a parameter on the wire.
pub(super) fn parameter_type(data_type: Option<&DataType>) -> Type {
    data_type.map_or(Type::TEXT, |data_type| match data_type {
        DataType::Null => Type::TEXT,
        DataType::UInt64 => Type::INT8,
        other => wire_type(&Field::new("", other.clone(), true)),
    })
}

/// Columns as they are described to the client.
pub(super) fn described(schema: &Schema, format: &Format) -> Vec<FieldInfo> {
    let field = |(position, field): (usize, &Arc<Field>)| {
        let wire = wire_type(field);
        let size = size_of_type(&wire);
        FieldInfo::new(field.name().clone(), None, None, wire, format_of(format, position)).with_type_size(size)
    };
    schema.fields().iter().enumerate().map(field).collect()
}

/// Format of a column; what the client leaves open is text.
fn format_of(format: &Format, position: usize) -> FieldFormat {
    match format {
        Format::UnifiedText => FieldFormat::Text,
        Format::UnifiedBinary => FieldFormat::Binary,
        Format::Individual(codes) => FieldFormat::from(codes.get(position).copied().unwrap_or_default()),
    }
}

/// `pg_type.typlen`; -1 is variable.
fn size_of_type(wire: &Type) -> i16 {
    match *wire {
        Type::BOOL | Type::CHAR => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::FLOAT4 | Type::DATE | Type::OID | Type::REGCLASS | Type::REGTYPE | Type::REGPROC => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::TIME => 8,
        Type::UUID | Type::INTERVAL => 16,
        _ => -1,
    }
}
