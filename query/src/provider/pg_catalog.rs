//! The schema pg_catalog: what the library has of every PostgreSQL, what depends on our tables, and what is empty here.

use super::pg_relations;
use super::pg_supplement::{empty_table, is_empty_here, supplemented};
use super::relations::{INFORMATION_SCHEMA, PG_CATALOG, Relation, Relations};
use crate::functions::listed::{self, OwnFunction};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{MemTable, SchemaProvider};
use datafusion::common::Result;
use datafusion::datasource::TableProvider;
use futures::FutureExt;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Made once, and once more for each tenant that has declared something, whenever that changes.
#[derive(Debug)]
pub(crate) struct PgCatalog {
    tables: BTreeMap<String, Arc<dyn TableProvider>>,
    relations: Arc<Relations>,
}

impl PgCatalog {
    /// From the library's schema; relations are those of `users`, of this schema and of `information_schema`.
    pub(crate) fn new(
        library: &dyn SchemaProvider,
        information_schema: &dyn SchemaProvider,
        users: Vec<Relation>,
        functions: &[OwnFunction],
    ) -> Result<Self> {
        let mut tables: BTreeMap<String, Arc<dyn TableProvider>> = BTreeMap::new();
        for name in library.table_names() {
            if let Some(table) = ready(library, &name)? {
                let table = supplemented(&name, table);
                let table = if is_empty_here(&name) { empty_table(&name, Some(table.schema())) } else { Some(table) };
                tables.extend(table.map(|table| (name, table)));
            }
        }
        for name in super::pg_supplement::empty_tables() {
            if !tables.contains_key(name) {
                tables.extend(empty_table(name, None).map(|table| (name.to_owned(), table)));
            }
        }
        if let Some(rows) = listed::pg_proc(functions)? {
            let functions: Arc<dyn TableProvider> = Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?);
            tables.insert("pg_proc".to_owned(), supplemented("pg_proc", functions));
        }
        // The tables' own columns are known once they are there.
        put(&mut tables, &Relations::new(users.clone(), &[], Vec::new()))?;
        let mut system: Vec<(&'static str, String, SchemaRef)> =
            tables.iter().map(|(name, table)| (PG_CATALOG, name.clone(), table.schema())).collect();
        for name in information_schema.table_names() {
            if let Some(table) = ready(information_schema, &name)? {
                system.push((INFORMATION_SCHEMA, name, table.schema()));
            }
        }
        let relations = Relations::new(users, &system, functions.to_vec());
        put(&mut tables, &relations)?;
        Ok(Self { tables, relations: Arc::new(relations) })
    }

    /// The same with what a tenant has declared.
    pub(crate) fn with(&self, declared: Vec<Relation>) -> Result<Self> {
        let (mut tables, relations) = (self.tables.clone(), self.relations.with(declared));
        put(&mut tables, &relations)?;
        Ok(Self { tables, relations: Arc::new(relations) })
    }

    /// The tables and views it describes.
    pub(crate) fn relations(&self) -> &Arc<Relations> {
        &self.relations
    }
}

/// The tables that depend on which tables and views there are.
fn put(tables: &mut BTreeMap<String, Arc<dyn TableProvider>>, relations: &Relations) -> Result<()> {
    for (name, rows) in pg_relations::tables(relations)? {
        tables.insert(name.to_owned(), Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?));
    }
    Ok(())
}

/// A table of a schema that has them all at hand.
fn ready(schema: &dyn SchemaProvider, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
    schema.table(name).now_or_never().unwrap_or(Ok(None))
}

#[async_trait]
impl SchemaProvider for PgCatalog {
    fn table_names(&self) -> Vec<String> {
        self.tables.keys().cloned().collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.tables.get(name).cloned())
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.contains_key(name)
    }
}
