//! What PostgreSQL's catalog has and the library's lacks: columns and whole tables that clients name. They are empty,
//! or NULL, where there is nothing to say.

use arrow::array::{ArrayRef, Int32Array, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::{ExecutionPlan, collect};
use std::sync::Arc;

/// A column with one value in all rows.
#[derive(Debug, Clone, Copy)]
enum Fixed {
    /// NULL of type text[].
    NoTexts,
    /// NULL of type text.
    NoText,
    /// A number.
    Number(i32),
}

use Fixed::{NoText, NoTexts, Number};

impl Fixed {
    fn field(self, name: &str) -> Field {
        let data_type = match self {
            NoTexts => DataType::new_list(DataType::Utf8, true),
            NoText => DataType::Utf8,
            Number(_) => DataType::Int32,
        };
        Field::new(name, data_type, true)
    }

    fn column(self, rows: usize) -> ArrayRef {
        match self {
            Number(number) => Arc::new(Int32Array::from_value(number, rows)),
            other => new_null_array(other.field("").data_type(), rows),
        }
    }
}

/// Columns that are added, or that have another type, by table. Access lists and options are arrays in PostgreSQL.
const COLUMNS: [(&str, &[(&str, Fixed)]); 17] = [
    ("pg_class", &[("relacl", NoTexts), ("reloptions", NoTexts), ("tableoid", Number(1259)), ("relhasoids", NoText)]),
    ("pg_namespace", &[("nspacl", NoTexts), ("tableoid", Number(2615))]),
    ("pg_attribute", &[("attacl", NoTexts), ("attoptions", NoTexts), ("attfdwoptions", NoTexts)]),
    ("pg_type", &[("typacl", NoTexts), ("tableoid", Number(1247))]),
    ("pg_proc", &[("proacl", NoTexts), ("proconfig", NoTexts), ("tableoid", Number(1255))]),
    ("pg_language", &[("lanacl", NoTexts), ("tableoid", Number(2612))]),
    ("pg_database", &[("datacl", NoTexts), ("daticulocale", NoText), ("tableoid", Number(1262))]),
    ("pg_tablespace", &[("spcacl", NoTexts), ("spcoptions", NoTexts)]),
    ("pg_default_acl", &[("defaclacl", NoTexts)]),
    ("pg_db_role_setting", &[("setconfig", NoTexts)]),
    ("pg_constraint", &[("tableoid", Number(2606))]),
    ("pg_operator", &[("tableoid", Number(2617))]),
    ("pg_opclass", &[("tableoid", Number(2616))]),
    ("pg_opfamily", &[("tableoid", Number(2753))]),
    ("pg_rewrite", &[("tableoid", Number(2618))]),
    ("pg_trigger", &[("tableoid", Number(2620))]),
    ("pg_roles", &[("rolconfig", NoTexts)]),
];

const TEXT: DataType = DataType::Utf8;
const INT: DataType = DataType::Int32;
const BOOL: DataType = DataType::Boolean;

/// Tables that are empty here, with the columns clients select.
const EMPTY: [(&str, &[(&str, DataType)]); 11] = [
    (
        "pg_indexes",
        &[("schemaname", TEXT), ("tablename", TEXT), ("indexname", TEXT), ("tablespace", TEXT), ("indexdef", TEXT)],
    ),
    ("pg_sequences", &[("schemaname", TEXT), ("sequencename", TEXT), ("sequenceowner", TEXT), ("data_type", TEXT)]),
    ("pg_rules", &[("schemaname", TEXT), ("tablename", TEXT), ("rulename", TEXT), ("definition", TEXT)]),
    (
        "pg_user_mappings",
        &[("umid", INT), ("srvid", INT), ("srvname", TEXT), ("umuser", INT), ("usename", TEXT), ("umoptions", TEXT)],
    ),
    (
        "pg_cursors",
        &[("name", TEXT), ("statement", TEXT), ("is_holdable", BOOL), ("is_binary", BOOL), ("is_scrollable", BOOL)],
    ),
    ("pg_prepared_statements", &[("name", TEXT), ("statement", TEXT), ("from_sql", BOOL)]),
    ("pg_prepared_xacts", &[("transaction", INT), ("gid", TEXT), ("owner", TEXT), ("database", TEXT)]),
    (
        "pg_locks",
        &[("locktype", TEXT), ("database", INT), ("relation", INT), ("pid", INT), ("mode", TEXT), ("granted", BOOL)],
    ),
    (
        "pg_available_extensions",
        &[("name", TEXT), ("default_version", TEXT), ("installed_version", TEXT), ("comment", TEXT)],
    ),
    ("pg_statistic_ext_data", &[("stxoid", INT), ("stxdinherit", BOOL)]),
    ("pg_stats", &[("schemaname", TEXT), ("tablename", TEXT), ("attname", TEXT)]),
];

/// A table that the library does not have.
pub(crate) fn empty_table(name: &str) -> Option<Arc<dyn TableProvider>> {
    let (_, columns) = EMPTY.iter().find(|(known, _)| *known == name)?;
    let fields: Vec<_> = columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect();
    Some(Arc::new(EmptyTable::new(Arc::new(Schema::new(fields)))))
}

/// Names of the tables that are added.
pub(crate) fn empty_tables() -> impl Iterator<Item = &'static str> {
    EMPTY.iter().map(|(name, _)| *name)
}

/// `inner` with the columns PostgreSQL's table `name` has besides.
pub(crate) fn supplemented(name: &str, inner: Arc<dyn TableProvider>) -> Arc<dyn TableProvider> {
    match COLUMNS.iter().find(|(known, _)| *known == name) {
        Some((_, columns)) => Arc::new(Supplemented::new(inner, columns)),
        None => inner,
    }
}

#[derive(Debug)]
struct Supplemented {
    inner: Arc<dyn TableProvider>,
    columns: &'static [(&'static str, Fixed)],
    schema: SchemaRef,
}

impl Supplemented {
    fn new(inner: Arc<dyn TableProvider>, columns: &'static [(&'static str, Fixed)]) -> Self {
        let mut fields: Vec<Field> = inner.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
        for (name, fixed) in columns {
            match fields.iter_mut().find(|field| field.name() == name) {
                Some(field) => *field = fixed.field(name),
                None => fields.push(fixed.field(name)),
            }
        }
        Self { inner, columns, schema: Arc::new(Schema::new(fields)) }
    }

    fn supplement(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let column = |field: &Arc<Field>| match self.columns.iter().find(|(name, _)| name == field.name()) {
            Some((_, fixed)) => Ok(fixed.column(rows.num_rows())),
            None => Ok(rows.column(rows.schema().index_of(field.name())?).clone()),
        };
        let columns = self.schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

#[async_trait]
impl TableProvider for Supplemented {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        self.inner.table_type()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = collect(self.inner.scan(state, None, &[], None).await?, state.task_ctx()).await?;
        let rows = rows.iter().map(|rows| self.supplement(rows)).collect::<Result<Vec<_>>>()?;
        Ok(MemorySourceConfig::try_new_exec(&[rows], self.schema(), projection.cloned())?)
    }
}
