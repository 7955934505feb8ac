//! Small tables that the store keeps beside the rows: fetched whole when scanned.

use super::conclusions::{incident_rows, log_template_rows};
use super::table_sizes::table_sizes;
use super::user_columns::{
    arrow_schema, asset_columns, chunk_columns, incident_columns, job_columns, ledger_columns, log_template_columns,
    query_columns, setting_columns, table_columns,
};
use crate::error::QueryError;
use crate::statements::Statements;
use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use std::fmt;
use std::sync::Arc;
use whence_schema::TenantId;
use whence_storage::Store;

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// `whence.ingest_ledger`.
    Ledger,
    /// `asset_metadata`.
    Assets,
    /// `incidents`.
    Incidents,
    /// `log_templates`.
    LogTemplates,
    /// `whence.chunks`.
    Chunks,
    /// `whence.jobs`: the same for every tenant.
    Jobs,
    /// `whence.queries`.
    Queries,
    /// `whence.tables`.
    Tables,
    /// `whence.settings`: the same for every tenant.
    Settings,
}

/// One of the tables, for one tenant.
pub(crate) struct FetchedTable {
    which: Fetched,
    schema: SchemaRef,
    store: Store,
    tenant: TenantId,
    statements: Arc<Statements>,
}

impl FetchedTable {
    pub(crate) fn new(which: Fetched, store: Store, tenant: TenantId, statements: Arc<Statements>) -> Self {
        let columns = match which {
            Fetched::Ledger => ledger_columns(),
            Fetched::Assets => asset_columns(),
            Fetched::Incidents => incident_columns(),
            Fetched::LogTemplates => log_template_columns(),
            Fetched::Chunks => chunk_columns(),
            Fetched::Jobs => job_columns(),
            Fetched::Queries => query_columns(),
            Fetched::Tables => table_columns(),
            Fetched::Settings => setting_columns(),
        };
        Self { which, schema: arrow_schema(&columns), store, tenant, statements }
    }
}

impl fmt::Debug for FetchedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchedTable").field("which", &self.which).field("tenant", &self.tenant).finish()
    }
}

#[async_trait]
impl TableProvider for FetchedTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = match self.which {
            Fetched::Ledger => self.store.ledger(&self.tenant).await.map_err(QueryError::from)?,
            Fetched::Assets => self.store.assets(&self.tenant).await.map_err(QueryError::from)?,
            Fetched::Incidents => incident_rows(&self.store.incidents(&self.tenant).await.map_err(QueryError::from)?)?,
            Fetched::LogTemplates => {
                log_template_rows(&self.store.log_templates(&self.tenant).await.map_err(QueryError::from)?)?
            }
            Fetched::Chunks => self.store.chunk_rows(&self.tenant).await.map_err(QueryError::from)?,
            Fetched::Jobs => self.store.job_rows().map_err(QueryError::from)?,
            Fetched::Queries => self.statements.rows(&self.tenant)?,
            Fetched::Tables => table_sizes(&self.store.chunk_rows(&self.tenant).await.map_err(QueryError::from)?)?,
            Fetched::Settings => self.statements.settings()?,
        };
        let rows = conform(&rows, &self.schema)?;
        Ok(MemorySourceConfig::try_new_exec(&[vec![rows]], self.schema.clone(), projection.cloned())?)
    }
}

/// `rows` with the columns of `schema`, found by name.
pub(crate) fn conform(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |name: &String| -> Result<ArrayRef> {
        let field = schema.field_with_name(name)?;
        let column = rows.column_by_name(name).ok_or_else(|| {
            QueryError::Internal(format!("the store's answer has no column {name}: {}", rows.schema()))
        })?;
        Ok(cast(column, field.data_type())?)
    };
    let columns = schema.fields().iter().map(|field| column(field.name())).collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}
