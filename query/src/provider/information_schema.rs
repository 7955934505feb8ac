//! `information_schema` with PostgreSQL's names for types, as Grafana and its like read it.

use super::pg_rows::Rows;
use super::pg_static::known;
use super::relations::{Attribute, Kind, NAMESPACES, OWNER, Relation};
use crate::functions::listed::OwnFunction;
use ::pgwire::api::Type;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{MemTable, SchemaProvider};
use datafusion::common::Result;
use datafusion::datasource::TableProvider;
use datafusion::datasource::empty::EmptyTable;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Name of the database.
pub(crate) const DATABASE: &str = "whence";
const TEXT: &DataType = &DataType::Utf8;
const INTEGER: &DataType = &DataType::Int32;
/// The longest text, as PostgreSQL says it.
const TEXT_BYTES: i32 = 1 << 30;

/// Views without a row: there are no constraints, sequences, triggers. All their columns are texts here.
const EMPTY: [(&str, &[&str]); 13] = [
    (
        "table_constraints",
        &[
            "constraint_catalog",
            "constraint_schema",
            "constraint_name",
            "table_catalog",
            "table_schema",
            "table_name",
            "constraint_type",
            "is_deferrable",
            "initially_deferred",
            "enforced",
            "nulls_distinct",
        ],
    ),
    (
        "key_column_usage",
        &[
            "constraint_catalog",
            "constraint_schema",
            "constraint_name",
            "table_catalog",
            "table_schema",
            "table_name",
            "column_name",
            "ordinal_position",
            "position_in_unique_constraint",
        ],
    ),
    (
        "constraint_column_usage",
        &[
            "table_catalog",
            "table_schema",
            "table_name",
            "column_name",
            "constraint_catalog",
            "constraint_schema",
            "constraint_name",
        ],
    ),
    (
        "constraint_table_usage",
        &["table_catalog", "table_schema", "table_name", "constraint_catalog", "constraint_schema", "constraint_name"],
    ),
    (
        "referential_constraints",
        &[
            "constraint_catalog",
            "constraint_schema",
            "constraint_name",
            "unique_constraint_catalog",
            "unique_constraint_schema",
            "unique_constraint_name",
            "match_option",
            "update_rule",
            "delete_rule",
        ],
    ),
    ("check_constraints", &["constraint_catalog", "constraint_schema", "constraint_name", "check_clause"]),
    ("sequences", &["sequence_catalog", "sequence_schema", "sequence_name", "data_type", "start_value", "increment"]),
    (
        "triggers",
        &[
            "trigger_catalog",
            "trigger_schema",
            "trigger_name",
            "event_manipulation",
            "event_object_schema",
            "event_object_table",
            "action_statement",
        ],
    ),
    ("domains", &["domain_catalog", "domain_schema", "domain_name", "data_type", "udt_name"]),
    ("element_types", &["object_schema", "object_name", "object_type", "collection_type_identifier", "data_type"]),
    ("applicable_roles", &["grantee", "role_name", "is_grantable"]),
    (
        "parameters",
        &["specific_schema", "specific_name", "ordinal_position", "parameter_mode", "parameter_name", "data_type"],
    ),
    ("view_table_usage", &["view_catalog", "view_schema", "view_name", "table_catalog", "table_schema", "table_name"]),
];

/// Made once, and once more for each tenant that has declared something, whenever that changes.
#[derive(Debug)]
pub(crate) struct InformationSchema {
    tables: BTreeMap<&'static str, Arc<dyn TableProvider>>,
}

impl InformationSchema {
    /// Of the tables and views of users. Materialized views are listed as views, where PostgreSQL lists none: tools read
    /// here what there is to choose from, and TimescaleDB's continuous aggregates are views, too.
    pub(crate) fn new(listed: &[&Relation], functions: &[OwnFunction]) -> Result<Self> {
        let mut tables: BTreeMap<&'static str, Arc<dyn TableProvider>> = BTreeMap::new();
        for (name, rows) in [
            ("columns", columns(listed)?),
            ("tables", tables_of(listed)?),
            ("schemata", schemata()?),
            ("views", views(listed)?),
            ("table_privileges", privileges(listed)?),
            ("role_table_grants", privileges(listed)?),
            ("column_privileges", column_privileges(listed)?),
            ("routines", routines(functions)?),
            ("enabled_roles", Rows::of(&[OWNER]).text("role_name", OWNER).build()?),
            ("information_schema_catalog_name", Rows::of(&[DATABASE]).text("catalog_name", DATABASE).build()?),
        ] {
            tables.insert(name, Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?));
        }
        for (name, columns) in EMPTY {
            let fields: Vec<_> = columns.iter().map(|column| Field::new(*column, TEXT.clone(), true)).collect();
            tables.insert(name, Arc::new(EmptyTable::new(Arc::new(Schema::new(fields)))));
        }
        Ok(Self { tables })
    }
}

#[async_trait]
impl SchemaProvider for InformationSchema {
    fn table_names(&self) -> Vec<String> {
        self.tables.keys().map(|name| (*name).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.tables.get(name).cloned())
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.contains_key(name)
    }
}

fn yes_or_no(yes: bool) -> Option<String> {
    Some(if yes { "YES" } else { "NO" }.to_owned())
}

fn name(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Digits of a number, their base, and how many of them are behind the point.
fn digits(column: &Attribute) -> (Option<i32>, Option<i32>, Option<i32>) {
    match type_of(column) {
        Type::INT2 => (Some(16), Some(2), Some(0)),
        Type::INT4 => (Some(32), Some(2), Some(0)),
        Type::INT8 => (Some(64), Some(2), Some(0)),
        Type::FLOAT4 => (Some(24), Some(2), None),
        Type::FLOAT8 => (Some(53), Some(2), None),
        Type::NUMERIC => (None, Some(10), None),
        _ => (None, None, None),
    }
}

fn type_of(column: &Attribute) -> Type {
    u32::try_from(column.type_oid).ok().and_then(Type::from_oid).unwrap_or(Type::TEXT)
}

fn time_digits(column: &Attribute) -> Option<i32> {
    match type_of(column) {
        Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::TIME | Type::INTERVAL => Some(6),
        Type::DATE => Some(0),
        _ => None,
    }
}

/// The name of the SQL standard.
fn formal_name(column: &Attribute) -> Option<String> {
    let text = known().type_text(column.type_oid, None);
    Some(if text.ends_with("[]") { "ARRAY".to_owned() } else { text })
}

fn all_columns<'a>(tables: &[&'a Relation]) -> Vec<(&'a Relation, i32, &'a Attribute)> {
    let numbered = |table: &&'a Relation| {
        let table: &'a Relation = table;
        (1..).zip(&table.columns).map(move |(at, column)| (table, at, column))
    };
    tables.iter().flat_map(numbered).collect()
}

fn columns(tables: &[&Relation]) -> Result<RecordBatch> {
    let rows = all_columns(tables);
    Rows::of(&rows)
        .text("table_catalog", DATABASE)
        .texts("table_schema", |(table, ..)| name(table.schema))
        .texts("table_name", |(table, ..)| name(&table.name))
        .texts("column_name", |(.., column)| name(&column.name))
        .integers("ordinal_position", |(_, at, _)| *at)
        .nulls(&["column_default"], TEXT)
        .texts("is_nullable", |(.., column)| yes_or_no(column.nullable))
        .texts("data_type", |(.., column)| formal_name(column))
        .nulls(&["character_maximum_length"], INTEGER)
        .some_integers("character_octet_length", |(.., column)| {
            matches!(type_of(column), Type::TEXT | Type::VARCHAR).then_some(TEXT_BYTES)
        })
        .some_integers("numeric_precision", |(.., column)| digits(column).0)
        .some_integers("numeric_precision_radix", |(.., column)| digits(column).1)
        .some_integers("numeric_scale", |(.., column)| digits(column).2)
        .some_integers("datetime_precision", |(.., column)| time_digits(column))
        .nulls(&["interval_type"], TEXT)
        .nulls(&["interval_precision"], INTEGER)
        .nulls(&["character_set_catalog", "character_set_schema", "character_set_name"], TEXT)
        .nulls(&["collation_catalog", "collation_schema", "collation_name"], TEXT)
        .nulls(&["domain_catalog", "domain_schema", "domain_name"], TEXT)
        .text("udt_catalog", DATABASE)
        .text("udt_schema", "pg_catalog")
        .texts("udt_name", |(.., column)| name(type_of(column).name()))
        .nulls(&["scope_catalog", "scope_schema", "scope_name"], TEXT)
        .nulls(&["maximum_cardinality"], INTEGER)
        .texts("dtd_identifier", |(_, at, _)| Some(at.to_string()))
        .text("is_self_referencing", "NO")
        .text("is_identity", "NO")
        .nulls(&["identity_generation", "identity_start", "identity_increment"], TEXT)
        .nulls(&["identity_maximum", "identity_minimum"], TEXT)
        .text("identity_cycle", "NO")
        .text("is_generated", "NEVER")
        .nulls(&["generation_expression"], TEXT)
        .text("is_updatable", "NO")
        .build()
}

fn tables_of(tables: &[&Relation]) -> Result<RecordBatch> {
    Rows::of(tables)
        .text("table_catalog", DATABASE)
        .texts("table_schema", |table| name(table.schema))
        .texts("table_name", |table| name(&table.name))
        .texts("table_type", |table| name(if table.kind == Kind::Table { "BASE TABLE" } else { "VIEW" }))
        .nulls(&["self_referencing_column_name", "reference_generation"], TEXT)
        .nulls(&["user_defined_type_catalog", "user_defined_type_schema", "user_defined_type_name"], TEXT)
        .text("is_insertable_into", "NO")
        .text("is_typed", "NO")
        .nulls(&["commit_action"], TEXT)
        .build()
}

fn schemata() -> Result<RecordBatch> {
    Rows::of(&NAMESPACES)
        .text("catalog_name", DATABASE)
        .texts("schema_name", |(schema, ..)| name(schema))
        .text("schema_owner", OWNER)
        .nulls(
            &[
                "default_character_set_catalog",
                "default_character_set_schema",
                "default_character_set_name",
                "sql_path",
            ],
            TEXT,
        )
        .build()
}

fn views(tables: &[&Relation]) -> Result<RecordBatch> {
    let views: Vec<_> = tables.iter().copied().filter(|table| table.kind != Kind::Table).collect();
    Rows::of(&views)
        .text("table_catalog", DATABASE)
        .texts("table_schema", |view| name(view.schema))
        .texts("table_name", |view| name(&view.name))
        .texts("view_definition", |view| view.shown_definition())
        .text("check_option", "NONE")
        .text("is_updatable", "NO")
        .text("is_insertable_into", "NO")
        .text("is_trigger_updatable", "NO")
        .text("is_trigger_deletable", "NO")
        .text("is_trigger_insertable_into", "NO")
        .build()
}

/// Everybody who comes in may read everything that there is of their tenant.
fn privileges(tables: &[&Relation]) -> Result<RecordBatch> {
    Rows::of(tables)
        .text("grantor", OWNER)
        .text("grantee", "PUBLIC")
        .text("table_catalog", DATABASE)
        .texts("table_schema", |table| name(table.schema))
        .texts("table_name", |table| name(&table.name))
        .text("privilege_type", "SELECT")
        .text("is_grantable", "NO")
        .text("with_hierarchy", "YES")
        .build()
}

fn column_privileges(tables: &[&Relation]) -> Result<RecordBatch> {
    Rows::of(&all_columns(tables))
        .text("grantor", OWNER)
        .text("grantee", "PUBLIC")
        .text("table_catalog", DATABASE)
        .texts("table_schema", |(table, ..)| name(table.schema))
        .texts("table_name", |(table, ..)| name(&table.name))
        .texts("column_name", |(.., column)| name(&column.name))
        .text("privilege_type", "SELECT")
        .text("is_grantable", "NO")
        .build()
}

fn routines(functions: &[OwnFunction]) -> Result<RecordBatch> {
    Rows::of(functions)
        .text("specific_catalog", DATABASE)
        .text("specific_schema", "public")
        .texts("specific_name", |function| Some(format!("{}_{}", function.name, function.oid)))
        .text("routine_catalog", DATABASE)
        .text("routine_schema", "public")
        .texts("routine_name", |function| name(function.name))
        .texts("routine_type", |function| (!function.is_aggregate()).then(|| "FUNCTION".to_owned()))
        .texts("data_type", |function| {
            function.row().result.map(|result| result.split('(').next().unwrap_or_default().replace("TABLE", "record"))
        })
        .nulls(&["routine_definition"], TEXT)
        .text("external_language", "INTERNAL")
        .build()
}
