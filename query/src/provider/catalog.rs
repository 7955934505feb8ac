//! The catalog of one statement: every name in it means the same snapshot.

use super::continuous::{ContinuousAggregate, StatementState};
use super::fetched::{Fetched, FetchedTable};
use super::information_schema::{DATABASE, InformationSchema};
use super::pg_catalog::PgCatalog;
use super::relations::{self, INFORMATION_SCHEMA, PG_CATALOG, Relation, Relations};
use super::shown::continuous_aggregates;
use super::system::SystemTableOf;
use super::user_columns::{
    ASSET_METADATA, CHUNKS, CONTINUOUS_AGGREGATES, INCIDENTS, INGEST_LEDGER, JOBS, LOG_TEMPLATES, PUBLIC, QUERIES,
    SETTINGS, TABLES, TIMESCALEDB_INFORMATION, WHENCE, arrow_schema, catalog, columns_of_view,
};
use super::views;
use crate::activity::Activity;
use crate::aggregates::declared::TenantAggregates;
use crate::engine::Additions;
use crate::functions::listed::own_functions;
use crate::settings::Settings;
use crate::statements::Statements;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::view::ViewTable;
use datafusion::catalog::{CatalogProvider, MemTable, MemoryCatalogProvider, SchemaProvider};
use datafusion::common::Result;
use datafusion::datasource::TableProvider;
use datafusion::prelude::SessionContext;
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::pg_catalog::setup_pg_catalog;
use std::fmt;
use std::sync::Arc;
use whence_schema::{Table, TenantId, VIEWS};
use whence_storage::{Snapshot, Store};

/// Schemas that describe, and do not depend on the snapshot.
#[derive(Debug, Clone)]
pub(crate) struct DescribingSchemas {
    pg_catalog: Arc<PgCatalog>,
    information_schema: Arc<InformationSchema>,
}

impl DescribingSchemas {
    /// Registers the library's functions in `context`; those that know of our tables come later and replace some.
    pub(crate) fn install(context: &SessionContext, additions: &Additions) -> Result<Self> {
        let database = Arc::new(MemoryCatalogProvider::new());
        context.register_catalog(DATABASE, database.clone());
        setup_pg_catalog(context, DATABASE, EmptyContextProvider).map_err(|error| *error)?;
        let library = database
            .schema(PG_CATALOG)
            .ok_or_else(|| crate::error::QueryError::Internal("pg_catalog was not registered".to_owned()))?;
        let functions = own_functions(&additions.functions);
        let users = relations::of_users(&additions.tables);
        let information_schema = InformationSchema::new(&users.iter().collect::<Vec<_>>(), &functions)?;
        let pg_catalog = PgCatalog::new(library.as_ref(), &information_schema, users, &functions)?;
        Ok(Self { pg_catalog: Arc::new(pg_catalog), information_schema: Arc::new(information_schema) })
    }

    /// The same with what a tenant has declared.
    pub(crate) fn with(&self, declared: Vec<Relation>) -> Result<Self> {
        let pg_catalog = self.pg_catalog.with(declared)?;
        let relations = pg_catalog.relations();
        let users: Vec<_> = relations.users().collect();
        let information_schema = InformationSchema::new(&users, relations.functions())?;
        Ok(Self { information_schema: Arc::new(information_schema), pg_catalog: Arc::new(pg_catalog) })
    }

    /// Whether pg_catalog has a table of this name.
    pub(crate) fn has_catalog_table(&self, name: &str) -> bool {
        self.pg_catalog.table_exist(name)
    }
}

/// What describes, for one statement: what its tenant has declared is put to it when somebody asks.
#[derive(Debug, Clone)]
pub(crate) struct Describing {
    pub(crate) for_all: DescribingSchemas,
    /// `None`: of nobody.
    pub(crate) aggregates: Option<Arc<TenantAggregates>>,
}

impl Describing {
    fn schemas(&self) -> Result<DescribingSchemas> {
        match &self.aggregates {
            Some(aggregates) => aggregates.describing(&self.for_all),
            None => Ok(self.for_all.clone()),
        }
    }

    /// The tables and views there are.
    pub(crate) fn relations(&self) -> Result<Arc<Relations>> {
        Ok(self.schemas()?.pg_catalog.relations().clone())
    }
}

/// `information_schema` of one statement.
#[derive(Debug)]
struct StatementInformationSchema(Describing);

#[async_trait]
impl SchemaProvider for StatementInformationSchema {
    fn table_names(&self) -> Vec<String> {
        self.0.for_all.information_schema.table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        self.0.schemas()?.information_schema.table(name).await
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.for_all.information_schema.table_exist(name)
    }
}

/// The database as one statement sees it.
pub(crate) struct StatementCatalog {
    pub(crate) store: Store,
    pub(crate) additions: Arc<Additions>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) tenant: TenantId,
    pub(crate) describing: Describing,
    pub(crate) aggregates: Arc<TenantAggregates>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) statements: Arc<Statements>,
    pub(crate) state: StatementState,
}

impl fmt::Debug for StatementCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatementCatalog").field("version", &self.snapshot.version).finish_non_exhaustive()
    }
}

impl StatementCatalog {
    fn pg_catalog(&self) -> Arc<dyn SchemaProvider> {
        Arc::new(StatementPgCatalog {
            describing: self.describing.clone(),
            activity: self.activity.clone(),
            settings: self.settings.clone(),
            tenant: self.tenant.clone(),
        })
    }
}

impl CatalogProvider for StatementCatalog {
    fn schema_names(&self) -> Vec<String> {
        [PUBLIC, WHENCE, TIMESCALEDB_INFORMATION, PG_CATALOG, INFORMATION_SCHEMA].map(str::to_owned).to_vec()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            PG_CATALOG => Some(self.pg_catalog()),
            INFORMATION_SCHEMA => Some(Arc::new(StatementInformationSchema(self.describing.clone()))),
            PUBLIC | WHENCE | TIMESCALEDB_INFORMATION => Some(Arc::new(StatementSchema {
                name: match name {
                    PUBLIC => PUBLIC,
                    WHENCE => WHENCE,
                    _ => TIMESCALEDB_INFORMATION,
                },
                aggregates: self.aggregates.clone(),
                store: self.store.clone(),
                additions: self.additions.clone(),
                snapshot: self.snapshot.clone(),
                tenant: self.tenant.clone(),
                pg_catalog: self.pg_catalog(),
                statements: self.statements.clone(),
                state: self.state.clone(),
            })),
            _ => None,
        }
    }
}

/// What describes, and who is connected now.
#[derive(Debug)]
struct StatementPgCatalog {
    describing: Describing,
    activity: Arc<Activity>,
    settings: Arc<Settings>,
    tenant: TenantId,
}

const PG_STAT_ACTIVITY: &str = "pg_stat_activity";
const PG_SETTINGS: &str = "pg_settings";

#[async_trait]
impl SchemaProvider for StatementPgCatalog {
    fn table_names(&self) -> Vec<String> {
        let mut names = self.describing.for_all.pg_catalog.table_names();
        names.push(PG_STAT_ACTIVITY.to_owned());
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if name == PG_SETTINGS {
            let rows = self.settings.table()?;
            return Ok(Some(Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?)));
        }
        if name == PG_STAT_ACTIVITY {
            let rows = self.activity.table(&self.tenant, DATABASE)?;
            return Ok(Some(Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?)));
        }
        if !self.describing.for_all.has_catalog_table(name) {
            return Ok(None);
        }
        self.describing.schemas()?.pg_catalog.table(name).await
    }

    fn table_exist(&self, name: &str) -> bool {
        name == PG_STAT_ACTIVITY || self.describing.for_all.has_catalog_table(name)
    }
}

struct StatementSchema {
    name: &'static str,
    aggregates: Arc<TenantAggregates>,
    store: Store,
    additions: Arc<Additions>,
    snapshot: Arc<Snapshot>,
    tenant: TenantId,
    pg_catalog: Arc<dyn SchemaProvider>,
    statements: Arc<Statements>,
    state: StatementState,
}

impl fmt::Debug for StatementSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatementSchema").field("name", &self.name).finish_non_exhaustive()
    }
}

impl StatementSchema {
    fn build(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let fetched = |which| {
            Arc::new(FetchedTable::new(which, self.store.clone(), self.tenant.clone(), self.statements.clone()))
        };
        Ok(match (self.name, name) {
            (WHENCE, INGEST_LEDGER) => Some(fetched(Fetched::Ledger)),
            (WHENCE, CHUNKS) => Some(fetched(Fetched::Chunks)),
            (WHENCE, JOBS) => Some(fetched(Fetched::Jobs)),
            (WHENCE, QUERIES) => Some(fetched(Fetched::Queries)),
            (WHENCE, TABLES) => Some(fetched(Fetched::Tables)),
            (WHENCE, SETTINGS) => Some(fetched(Fetched::Settings)),
            (TIMESCALEDB_INFORMATION, CONTINUOUS_AGGREGATES) => {
                let rows = continuous_aggregates(&self.aggregates)?;
                Some(Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?))
            }
            (WHENCE, name) => {
                let given = self.additions.tables.iter().find(|table| table.name == name).cloned();
                given.map(|table| -> Arc<dyn TableProvider> {
                    Arc::new(SystemTableOf { table, tenant: self.tenant.clone() })
                })
            }
            (PUBLIC, ASSET_METADATA) => Some(fetched(Fetched::Assets)),
            (PUBLIC, INCIDENTS) => Some(fetched(Fetched::Incidents)),
            (PUBLIC, LOG_TEMPLATES) => Some(fetched(Fetched::LogTemplates)),
            (PUBLIC, name) => match Table::ALL.into_iter().find(|table| table.name() == name) {
                Some(table) => {
                    let plan = views::plan(table, &self.snapshot, &self.tenant)?;
                    Some(Arc::new(ViewTable::new(plan, Some(table.ddl().to_owned()))))
                }
                None => None,
            },
            _ => None,
        })
    }

    /// Query and columns of a continuous aggregate. Those that are built in come first.
    fn aggregate(&self, name: &str) -> Result<Option<(String, SchemaRef)>> {
        if let Some(view) = VIEWS.iter().find(|view| view.name == name) {
            return Ok(Some((view.query().to_owned(), arrow_schema(&columns_of_view(view)))));
        }
        let Some(declared) = self.aggregates.named(name) else { return Ok(None) };
        Ok(Some((declared.query.clone(), declared.checked()?.schema.clone())))
    }
}

#[async_trait]
impl SchemaProvider for StatementSchema {
    fn table_names(&self) -> Vec<String> {
        let tables = catalog().into_iter().filter(|table| table.schema == self.name);
        let declared = self.aggregates.list.iter().filter(|_| self.name == PUBLIC);
        let given = self.additions.tables.iter().filter(|_| self.name == WHENCE);
        let names = tables.map(|table| table.name).chain(given.map(|table| table.name)).map(str::to_owned);
        names.chain(declared.map(|known| known.name.clone())).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = self.build(name)? {
            return Ok(Some(table));
        }
        if self.name != PUBLIC {
            return Ok(None);
        }
        if let Some((query, columns)) = self.aggregate(name)? {
            return Ok(Some(Arc::new(ContinuousAggregate::new(name, &query, columns, &self.state).await?)));
        }
        // PostgreSQL looks for names without a schema in pg_catalog, too.
        self.pg_catalog.table(name).await
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|table| table == name) || self.name == PUBLIC && self.pg_catalog.table_exist(name)
    }
}
