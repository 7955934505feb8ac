//! Tables and views as pg_catalog knows them: one model, from which its tables and its functions answer.

use super::system::SystemTable;
use super::user_columns::{CatalogTable, PUBLIC, TIMESCALEDB_INFORMATION, WHENCE, catalog};
use crate::functions::listed::OwnFunction;
use crate::serve::pgwire::wire_type;
use arrow::datatypes::{FieldRef, SchemaRef};
use arrow_pg::datatypes::field_into_pg_type;
use std::collections::HashMap;

/// Schemas with their numbers; those of PostgreSQL are the same everywhere.
pub(crate) const NAMESPACES: [(&str, i32, &str); 5] = [
    (PG_CATALOG, 11, "system catalog schema"),
    (PUBLIC, 2200, "standard public schema"),
    (INFORMATION_SCHEMA, 13_000, "views of the catalog that the SQL standard names"),
    (WHENCE, FIRST_OWN, "what Whence tells about itself"),
    (TIMESCALEDB_INFORMATION, 16_999, "continuous aggregates as TimescaleDB lists them"),
];
/// The system's schema.
pub(crate) const PG_CATALOG: &str = "pg_catalog";
/// The standard's schema.
pub(crate) const INFORMATION_SCHEMA: &str = "information_schema";
/// Whose everything is.
pub(crate) const OWNER: &str = "whence";
/// Their number.
pub(crate) const OWNER_OID: i32 = 10;
/// PostgreSQL's first number of an object that is not its own.
const FIRST_OWN: i32 = 16_384;
/// First number of a system relation whose number clients do not know by heart.
const FIRST_SYSTEM: i32 = 12_000;
/// Number of the type text.
const TEXT: i32 = 25;

/// Numbers that descriptions and clients refer to.
const KNOWN: [(&str, i32); 34] = [
    ("pg_type", 1247),
    ("pg_attribute", 1249),
    ("pg_proc", 1255),
    ("pg_class", 1259),
    ("pg_authid", 1260),
    ("pg_auth_members", 1261),
    ("pg_database", 1262),
    ("pg_foreign_server", 1417),
    ("pg_user_mapping", 1418),
    ("pg_tablespace", 1213),
    ("pg_sequence", 2224),
    ("pg_foreign_data_wrapper", 2328),
    ("pg_shdescription", 2396),
    ("pg_aggregate", 2600),
    ("pg_am", 2601),
    ("pg_attrdef", 2604),
    ("pg_cast", 2605),
    ("pg_constraint", 2606),
    ("pg_conversion", 2607),
    ("pg_depend", 2608),
    ("pg_description", 2609),
    ("pg_index", 2610),
    ("pg_inherits", 2611),
    ("pg_language", 2612),
    ("pg_namespace", 2615),
    ("pg_opclass", 2616),
    ("pg_operator", 2617),
    ("pg_rewrite", 2618),
    ("pg_statistic", 2619),
    ("pg_trigger", 2620),
    ("pg_opfamily", 2753),
    ("pg_extension", 3079),
    ("pg_collation", 3456),
    ("pg_enum", 3501),
];

/// As in `pg_class.relkind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Table,
    View,
    MaterializedView,
}

/// A table or a view.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    pub(crate) oid: i32,
    pub(crate) schema: &'static str,
    pub(crate) name: String,
    pub(crate) comment: Option<String>,
    pub(crate) columns: Vec<Attribute>,
    /// The query of a view.
    pub(crate) definition: Option<String>,
    pub(crate) kind: Kind,
}

/// One of its columns.
#[derive(Debug, Clone)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    pub(crate) type_oid: i32,
    pub(crate) nullable: bool,
    pub(crate) comment: Option<String>,
}

impl Relation {
    /// As in `pg_class.relkind`.
    pub(crate) fn letter(&self) -> &'static str {
        match self.kind {
            Kind::Table => "r",
            Kind::View => "v",
            Kind::MaterializedView => "m",
        }
    }

    /// The query of a view as PostgreSQL shows it.
    pub(crate) fn shown_definition(&self) -> Option<String> {
        self.definition.as_deref().map(|query| format!(" {};", query.trim()))
    }

    /// A continuous aggregate that a tenant has declared.
    pub(crate) fn declared(oid: i32, name: &str, query: &str, columns: &SchemaRef) -> Self {
        let column = |field: &FieldRef| Attribute { nullable: true, ..attribute(field) };
        Self {
            oid,
            schema: PUBLIC,
            name: name.to_owned(),
            comment: None,
            columns: columns.fields().iter().map(column).collect(),
            definition: Some(query.to_owned()),
            kind: Kind::MaterializedView,
        }
    }

    /// A table that whoever builds the engine gives.
    fn given(oid: i32, table: &SystemTable) -> Self {
        Self {
            oid,
            schema: WHENCE,
            name: table.name.to_owned(),
            comment: Some(table.description.to_owned()),
            columns: table.schema.fields().iter().map(attribute).collect(),
            definition: None,
            kind: Kind::Table,
        }
    }

    pub(crate) fn is_system(&self) -> bool {
        matches!(self.schema, PG_CATALOG | INFORMATION_SCHEMA)
    }

    /// True if its name alone finds it.
    pub(crate) fn is_visible(&self) -> bool {
        matches!(self.schema, PUBLIC | PG_CATALOG)
    }

    /// As `oid::regclass` shows it.
    pub(crate) fn display(&self) -> String {
        let name = quoted(&self.name);
        if self.is_visible() { name } else { format!("{}.{name}", self.schema) }
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Relations {
    all: Vec<Relation>,
    by_oid: HashMap<i32, usize>,
    functions: Vec<OwnFunction>,
}

fn attribute(field: &FieldRef) -> Attribute {
    Attribute {
        name: field.name().clone(),
        type_oid: i32::try_from(wire_type(field).oid()).unwrap_or(TEXT),
        nullable: field.is_nullable(),
        comment: None,
    }
}

/// The tables and views that every user has, with those given.
pub(crate) fn of_users(given: &[SystemTable]) -> Vec<Relation> {
    let relation = |(table, oid): (CatalogTable, i32)| Relation {
        oid,
        schema: table.schema,
        name: table.name.to_owned(),
        comment: Some(table.comment).filter(|comment| !comment.is_empty()),
        kind: if table.definition.is_some() { Kind::View } else { Kind::Table },
        definition: table.definition.map(str::to_owned),
        columns: table
            .columns
            .into_iter()
            .map(|column| Attribute {
                type_oid: column.data_type.oid(),
                name: column.name,
                nullable: column.nullable,
                comment: column.comment,
            })
            .collect(),
    };
    let mut users: Vec<Relation> = catalog().into_iter().zip(FIRST_OWN + 1..).map(relation).collect();
    let next = users.last().map_or(FIRST_OWN, |last| last.oid) + 1;
    users.extend(given.iter().zip(next..).map(|(table, oid)| Relation::given(oid, table)));
    users
}

impl Relations {
    /// The tables and views of users, then those of the system, given with their schemas and columns.
    pub(crate) fn new(
        users: Vec<Relation>,
        system: &[(&'static str, String, SchemaRef)],
        functions: Vec<OwnFunction>,
    ) -> Self {
        let system = system.iter().zip(FIRST_SYSTEM..).map(|((schema, name, columns), oid)| Relation {
            oid: KNOWN.iter().find(|(known, _)| known == name).map_or(oid, |(_, oid)| *oid),
            schema,
            name: name.clone(),
            comment: None,
            kind: if *schema == INFORMATION_SCHEMA { Kind::View } else { Kind::Table },
            definition: None,
            columns: columns.fields().iter().map(system_column).collect(),
        });
        Self::of(users.into_iter().chain(system).collect(), functions)
    }

    fn of(all: Vec<Relation>, functions: Vec<OwnFunction>) -> Self {
        let by_oid = all.iter().enumerate().map(|(at, relation)| (relation.oid, at)).collect();
        Self { all, by_oid, functions }
    }

    /// These, and what a tenant has declared.
    pub(crate) fn with(&self, declared: Vec<Relation>) -> Self {
        Self::of(self.all.iter().cloned().chain(declared).collect(), self.functions.clone())
    }

    /// Those that are not the system's.
    pub(crate) fn users(&self) -> impl Iterator<Item = &Relation> {
        self.all.iter().filter(|relation| !relation.is_system())
    }

    /// Functions that PostgreSQL does not have.
    pub(crate) fn functions(&self) -> &[OwnFunction] {
        &self.functions
    }

    pub(crate) fn all(&self) -> &[Relation] {
        &self.all
    }

    pub(crate) fn with_oid(&self, oid: i32) -> Option<&Relation> {
        self.by_oid.get(&oid).and_then(|at| self.all.get(*at))
    }

    /// The relation of a name as SQL writes it, with a schema or without.
    pub(crate) fn named(&self, name: &str) -> Option<&Relation> {
        let parts = identifiers(name)?;
        let find = |schema: &str, name: &str| {
            self.all.iter().find(|relation| relation.schema == schema && relation.name == name)
        };
        match parts.as_slice() {
            [name] => find(PUBLIC, name).or_else(|| find(PG_CATALOG, name)),
            [schema, name] | [_, schema, name] => find(schema, name),
            _ => None,
        }
    }
}

fn system_column(field: &FieldRef) -> Attribute {
    let wire = field_into_pg_type(field).map_or(TEXT, |wire| i32::try_from(wire.oid()).unwrap_or(TEXT));
    Attribute { name: field.name().clone(), type_oid: wire, nullable: field.is_nullable(), comment: None }
}

/// The parts of `schema."Name"`; words without quotes are in lower case.
pub(crate) fn identifiers(name: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = name.trim();
    loop {
        if let Some(inside) = rest.strip_prefix('"') {
            let mut part = String::new();
            let mut characters = inside.char_indices().peekable();
            let end = loop {
                match characters.next()? {
                    (_, '"') if characters.next_if(|(_, next)| *next == '"').is_some() => part.push('"'),
                    (at, '"') => break at,
                    (_, other) => part.push(other),
                }
            };
            parts.push(part);
            rest = &inside[end + 1..];
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            parts.push(rest[..end].trim().to_lowercase());
            rest = &rest[end..];
        }
        match rest.trim_start().strip_prefix('.') {
            Some(more) => rest = more.trim_start(),
            None => break,
        }
    }
    (rest.trim().is_empty() && parts.iter().all(|part| !part.is_empty())).then_some(parts)
}

/// An identifier, in quotes where it needs them.
pub(crate) fn quoted(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn relations_are_found_by_every_form_of_their_name() {
        let relations = Relations::new(of_users(&[]), &[], Vec::new());
        let oid = relations.named("events").unwrap().oid;
        for name in ["public.events", "\"events\"", "whence.public.events", "Public . EVENTS"] {
            assert_eq!(relations.named(name).map(|found| found.oid), Some(oid), "{name}");
        }
        assert!(relations.named("\"Events\"").is_none() && relations.named("jobs").is_none());
        assert_eq!(relations.named("whence.jobs").unwrap().display(), "whence.jobs");
        assert_eq!(relations.with_oid(oid).unwrap().display(), "events");
        assert_eq!(relations.named("service_red").unwrap().letter(), "v");
        assert_eq!(identifiers("\"a\"\"b\".c"), Some(vec!["a\"b".to_owned(), "c".to_owned()]));
        assert_eq!((identifiers("a."), identifiers("\"a")), (None, None));
    }
}
