//! Tables of the schema `whence` that whoever builds the engine hands in: what other parts of Whence tell of themselves.

use super::fetched::conform;
use super::user_columns::WHENCE;
use crate::error::QueryError;
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

/// The rows as they are now for a tenant, or why there are none. Must not block.
pub type SystemTableRows = Arc<dyn Fn(&TenantId) -> std::result::Result<RecordBatch, String> + Send + Sync>;

/// A table of the schema `whence`.
#[derive(Clone)]
pub struct SystemTable {
    /// Name in SQL.
    pub name: &'static str,
    /// What it holds in one line, as `\dt+` shows it.
    pub description: &'static str,
    /// Its columns; 16-byte columns are UUIDs.
    pub schema: SchemaRef,
    /// Its rows, with at least those columns.
    pub rows: SystemTableRows,
}

impl fmt::Debug for SystemTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemTable").field("name", &self.name).finish_non_exhaustive()
    }
}

/// One of them, for one tenant.
#[derive(Debug)]
pub(crate) struct SystemTableOf {
    pub(crate) table: SystemTable,
    pub(crate) tenant: TenantId,
}

#[async_trait]
impl TableProvider for SystemTableOf {
    fn schema(&self) -> SchemaRef {
        self.table.schema.clone()
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
        let SystemTable { name, schema, rows, .. } = &self.table;
        let rows = rows(&self.tenant)
            .map_err(|problem| QueryError::Internal(format!("{WHENCE}.{name} cannot be read: {problem}")))?;
        let rows = conform(&rows, schema)?;
        Ok(MemorySourceConfig::try_new_exec(&[vec![rows]], schema.clone(), projection.cloned())?)
    }
}
