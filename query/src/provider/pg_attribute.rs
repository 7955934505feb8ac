//! pg_catalog knows Arrow types only. The tables it lists use stand-ins for `uuid`, `json` and `interval`, and this
//! module puts the right type into `pg_attribute` (and so into `\d`).

use super::pg_supplement::{empty_table, empty_tables, supplemented};
use super::user_columns::{UserColumn, UserType};
use arrow::array::{ArrayRef, AsArray, Int32Array};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, Session};
use datafusion::common::Result;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::{ExecutionPlan, collect};
use std::sync::Arc;

/// Type in `pg_attribute` of the stand-in, and of what it stands for. No table has columns of the stand-ins' types.
const TYPES: [(i32, UserType); 3] = [(1083, UserType::Uuid), (1082, UserType::Json), (1700, UserType::Interval)];

/// Arrow type that makes pg_catalog write a type we can tell: `time`, `date` and `numeric` stand in.
fn stand_in(user: UserType) -> DataType {
    match user {
        UserType::Uuid => DataType::Time64(TimeUnit::Microsecond),
        UserType::Json => DataType::Date32,
        UserType::Interval => DataType::Decimal128(38, 0),
        other => other.arrow(),
    }
}

/// Columns as pg_catalog is to see them.
pub(crate) fn described(columns: &[UserColumn]) -> SchemaRef {
    let field = |column: &UserColumn| Field::new(&column.name, stand_in(column.data_type), column.nullable);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// pg_catalog with `pg_attribute` put right, and what is missing added.
#[derive(Debug)]
pub(crate) struct PgCatalog(pub(crate) Arc<dyn SchemaProvider>);

#[async_trait]
impl SchemaProvider for PgCatalog {
    fn table_names(&self) -> Vec<String> {
        let mut names = self.0.table_names();
        names.extend(empty_tables().map(str::to_owned));
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let table: Option<Arc<dyn TableProvider>> = match (name, self.0.table(name).await?) {
            ("pg_attribute", Some(inner)) => Some(Arc::new(PgAttribute(inner))),
            (_, table) => table,
        };
        Ok(table.map(|table| supplemented(name, table)).or_else(|| empty_table(name)))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.table_exist(name) || empty_tables().any(|table| table == name)
    }
}

#[derive(Debug)]
struct PgAttribute(Arc<dyn TableProvider>);

#[async_trait]
impl TableProvider for PgAttribute {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        self.0.table_type()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = collect(self.0.scan(state, None, &[], None).await?, state.task_ctx()).await?;
        let rows = rows.iter().map(put_right).collect::<Result<Vec<_>>>()?;
        Ok(MemorySourceConfig::try_new_exec(&[rows], self.schema(), projection.cloned())?)
    }
}

fn put_right(rows: &RecordBatch) -> Result<RecordBatch> {
    let index = rows.schema().index_of("atttypid")?;
    let types = rows.column(index).as_primitive::<Int32Type>();
    let real = |oid: i32| TYPES.iter().find(|(stand_in, _)| *stand_in == oid).map_or(oid, |(_, user)| user.oid());
    let types: Int32Array = types.unary(real);
    let mut columns = rows.columns().to_vec();
    columns[index] = Arc::new(types) as ArrayRef;
    Ok(RecordBatch::try_new(rows.schema(), columns)?)
}
