//! `information_schema` with PostgreSQL's names for types, as Grafana and its like read it.

use super::pg_rows::Rows;
use super::relations::{NAMESPACES, OWNER};
use super::user_columns::{CatalogTable, UserColumn, UserType, catalog};
use crate::functions::listed::OwnFunction;
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

/// Made once: what it says does not change.
#[derive(Debug)]
pub(crate) struct InformationSchema {
    tables: BTreeMap<&'static str, Arc<dyn TableProvider>>,
}

impl InformationSchema {
    pub(crate) fn new(functions: &[OwnFunction]) -> Result<Self> {
        let mut tables: BTreeMap<&'static str, Arc<dyn TableProvider>> = BTreeMap::new();
        let listed = catalog();
        let granted: Vec<_> = listed.iter().collect();
        for (name, rows) in [
            ("columns", columns(&listed)?),
            ("tables", tables_of(&listed)?),
            ("schemata", schemata()?),
            ("views", views(&listed)?),
            ("table_privileges", privileges(&granted)?),
            ("role_table_grants", privileges(&granted)?),
            ("column_privileges", column_privileges(&listed)?),
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

/// Bits of a number, and its decimals.
fn precision(user: UserType) -> (Option<i32>, Option<i32>) {
    match user {
        UserType::SmallInt => (Some(16), Some(0)),
        UserType::BigInt => (Some(64), Some(0)),
        UserType::Real => (Some(24), None),
        UserType::Double => (Some(53), None),
        _ => (None, None),
    }
}

fn all_columns(tables: &[CatalogTable]) -> Vec<(&CatalogTable, i32, &UserColumn)> {
    tables
        .iter()
        .flat_map(|table: &CatalogTable| (1..).zip(&table.columns).map(move |(at, column)| (table, at, column)))
        .collect()
}

fn columns(tables: &[CatalogTable]) -> Result<RecordBatch> {
    let rows = all_columns(tables);
    let is_time = |user| matches!(user, UserType::Timestamp | UserType::Interval);
    Rows::of(&rows)
        .text("table_catalog", DATABASE)
        .texts("table_schema", |(table, ..)| name(table.schema))
        .texts("table_name", |(table, ..)| name(table.name))
        .texts("column_name", |(.., column)| name(&column.name))
        .integers("ordinal_position", |(_, at, _)| *at)
        .nulls(&["column_default"], TEXT)
        .texts("is_nullable", |(.., column)| yes_or_no(column.nullable))
        .texts("data_type", |(.., column)| name(column.data_type.names().0))
        .nulls(&["character_maximum_length"], INTEGER)
        .some_integers("character_octet_length", |(.., column)| {
            (column.data_type == UserType::Text).then_some(TEXT_BYTES)
        })
        .some_integers("numeric_precision", |(.., column)| precision(column.data_type).0)
        .some_integers("numeric_precision_radix", |(.., column)| precision(column.data_type).0.map(|_| 2))
        .some_integers("numeric_scale", |(.., column)| precision(column.data_type).1)
        .some_integers("datetime_precision", |(.., column)| is_time(column.data_type).then_some(6))
        .nulls(&["interval_type"], TEXT)
        .nulls(&["interval_precision"], INTEGER)
        .nulls(&["character_set_catalog", "character_set_schema", "character_set_name"], TEXT)
        .nulls(&["collation_catalog", "collation_schema", "collation_name"], TEXT)
        .nulls(&["domain_catalog", "domain_schema", "domain_name"], TEXT)
        .text("udt_catalog", DATABASE)
        .text("udt_schema", "pg_catalog")
        .texts("udt_name", |(.., column)| name(column.data_type.names().1))
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

fn tables_of(tables: &[CatalogTable]) -> Result<RecordBatch> {
    Rows::of(tables)
        .text("table_catalog", DATABASE)
        .texts("table_schema", |table| name(table.schema))
        .texts("table_name", |table| name(table.name))
        .texts("table_type", |table| name(if table.definition.is_some() { "VIEW" } else { "BASE TABLE" }))
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

fn views(tables: &[CatalogTable]) -> Result<RecordBatch> {
    let views: Vec<_> = tables.iter().filter(|table| table.definition.is_some()).collect();
    Rows::of(&views)
        .text("table_catalog", DATABASE)
        .texts("table_schema", |view| name(view.schema))
        .texts("table_name", |view| name(view.name))
        .texts("view_definition", |view| view.definition.map(|query| format!(" {};", query.trim())))
        .text("check_option", "NONE")
        .text("is_updatable", "NO")
        .text("is_insertable_into", "NO")
        .text("is_trigger_updatable", "NO")
        .text("is_trigger_deletable", "NO")
        .text("is_trigger_insertable_into", "NO")
        .build()
}

/// Everybody who comes in may read everything that there is of their tenant.
fn privileges(tables: &[&CatalogTable]) -> Result<RecordBatch> {
    Rows::of(tables)
        .text("grantor", OWNER)
        .text("grantee", "PUBLIC")
        .text("table_catalog", DATABASE)
        .texts("table_schema", |table| name(table.schema))
        .texts("table_name", |table| name(table.name))
        .text("privilege_type", "SELECT")
        .text("is_grantable", "NO")
        .text("with_hierarchy", "YES")
        .build()
}

fn column_privileges(tables: &[CatalogTable]) -> Result<RecordBatch> {
    Rows::of(&all_columns(tables))
        .text("grantor", OWNER)
        .text("grantee", "PUBLIC")
        .text("table_catalog", DATABASE)
        .texts("table_schema", |(table, ..)| name(table.schema))
        .texts("table_name", |(table, ..)| name(table.name))
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
