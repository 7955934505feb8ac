//! `information_schema` with PostgreSQL's names for types, as Grafana and its like read it.

use super::user_columns::{UserType, catalog};
use arrow::array::{ArrayRef, Int32Array, StringArray};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{MemTable, SchemaProvider};
use datafusion::common::Result;
use datafusion::datasource::TableProvider;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Name of the database.
pub(crate) const DATABASE: &str = "whence";

/// Made once: what it says does not change.
#[derive(Debug)]
pub(crate) struct InformationSchema {
    tables: BTreeMap<&'static str, Arc<dyn TableProvider>>,
}

impl InformationSchema {
    pub(crate) fn new() -> Result<Self> {
        let mut tables: BTreeMap<&'static str, Arc<dyn TableProvider>> = BTreeMap::new();
        for (name, rows) in
            [("columns", columns()?), ("tables", tables_of()?), ("schemata", schemata()?), ("views", views()?)]
        {
            tables.insert(name, Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?));
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

fn texts<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(StringArray::from_iter(values))
}

fn columns() -> Result<RecordBatch> {
    let tables = catalog();
    let rows: Vec<_> = tables
        .iter()
        .flat_map(|table| table.columns.iter().enumerate().map(move |(at, column)| (table, at as i32 + 1, column)))
        .collect();
    let precision = |bits: bool| -> ArrayRef {
        let of = |user: UserType| match (user, bits) {
            (UserType::SmallInt, true) => Some(16),
            (UserType::BigInt, true) => Some(64),
            (UserType::Real, true) => Some(24),
            (UserType::Double, true) => Some(53),
            (UserType::SmallInt | UserType::BigInt, false) => Some(0),
            _ => None,
        };
        Arc::new(rows.iter().map(|(.., column)| of(column.data_type)).collect::<Int32Array>())
    };
    let all = |value: Option<&'static str>| texts(rows.iter().map(|_| value));
    let nothing = || Arc::new(rows.iter().map(|_| None).collect::<Int32Array>()) as ArrayRef;
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("table_catalog", all(Some(DATABASE)), false),
        ("table_schema", texts(rows.iter().map(|(table, ..)| Some(table.schema))), false),
        ("table_name", texts(rows.iter().map(|(table, ..)| Some(table.name))), false),
        ("column_name", texts(rows.iter().map(|(.., column)| Some(column.name.as_str()))), false),
        (
            "ordinal_position",
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|(_, at, _)| *at))) as ArrayRef,
            false,
        ),
        ("column_default", all(None), true),
        ("is_nullable", texts(rows.iter().map(|(.., c)| Some(if c.nullable { "YES" } else { "NO" }))), false),
        ("data_type", texts(rows.iter().map(|(.., column)| Some(column.data_type.names().0))), false),
        ("character_maximum_length", nothing(), true),
        ("character_octet_length", nothing(), true),
        ("numeric_precision", precision(true), true),
        ("numeric_scale", precision(false), true),
        ("datetime_precision", nothing(), true),
        ("udt_catalog", all(Some(DATABASE)), false),
        ("udt_schema", all(Some("pg_catalog")), false),
        ("udt_name", texts(rows.iter().map(|(.., column)| Some(column.data_type.names().1))), false),
        ("is_identity", all(Some("NO")), false),
        ("is_generated", all(Some("NEVER")), false),
        ("is_updatable", all(Some("NO")), false),
    ])?)
}

fn tables_of() -> Result<RecordBatch> {
    let tables = catalog();
    let all = |value: &'static str| texts(tables.iter().map(|_| Some(value)));
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("table_catalog", all(DATABASE), false),
        ("table_schema", texts(tables.iter().map(|table| Some(table.schema))), false),
        ("table_name", texts(tables.iter().map(|table| Some(table.name))), false),
        ("table_type", all("BASE TABLE"), false),
        ("is_insertable_into", all("NO"), false),
        ("is_typed", all("NO"), false),
    ])?)
}

fn schemata() -> Result<RecordBatch> {
    let names = ["public", "whence", "pg_catalog", "information_schema"];
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("catalog_name", texts(names.map(|_| Some(DATABASE))), false),
        ("schema_name", texts(names.map(Some)), false),
        ("schema_owner", texts(names.map(|_| Some("whence"))), false),
    ])?)
}

/// There are none; the columns are what clients select.
fn views() -> Result<RecordBatch> {
    let none = || texts([]);
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("table_catalog", none(), false),
        ("table_schema", none(), false),
        ("table_name", none(), false),
        ("view_definition", none(), true),
    ])?)
}
