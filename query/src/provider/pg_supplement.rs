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
const COLUMNS: [(&str, &[(&str, Fixed)]); 12] = [
    ("pg_type", &[("typacl", NoTexts), ("tableoid", Number(1247))]),
    ("pg_proc", &[("proacl", NoTexts), ("proconfig", NoTexts), ("tableoid", Number(1255))]),
    ("pg_language", &[("lanacl", NoTexts), ("tableoid", Number(2612))]),
    ("pg_tablespace", &[("spcacl", NoTexts), ("spcoptions", NoTexts)]),
    ("pg_operator", &[("tableoid", Number(2617))]),
    ("pg_opclass", &[("tableoid", Number(2616))]),
    ("pg_opfamily", &[("tableoid", Number(2753))]),
    ("pg_am", &[("tableoid", Number(2601))]),
    ("pg_cast", &[("tableoid", Number(2605))]),
    ("pg_collation", &[("tableoid", Number(3456)), ("colliculocale", NoText)]),
    ("pg_conversion", &[("tableoid", Number(2607))]),
    ("pg_ts_config", &[("tableoid", Number(3602))]),
];

/// Types of columns in empty tables that the library takes for text.
const ARRAYS: [(&str, Kind); 25] = [
    ("indkey", Kind::Shorts),
    ("indoption", Kind::Shorts),
    ("indclass", Kind::Integers),
    ("indcollation", Kind::Integers),
    ("conkey", Kind::Shorts),
    ("confkey", Kind::Shorts),
    ("conpfeqop", Kind::Integers),
    ("conppeqop", Kind::Integers),
    ("conffeqop", Kind::Integers),
    ("conexclop", Kind::Integers),
    ("confdelsetcols", Kind::Shorts),
    ("polroles", Kind::Integers),
    ("stxkeys", Kind::Shorts),
    ("stxkind", Kind::Texts),
    ("prattrs", Kind::Shorts),
    ("setconfig", Kind::Texts),
    ("defaclacl", Kind::Texts),
    ("tgattr", Kind::Shorts),
    ("fdwacl", Kind::Texts),
    ("fdwoptions", Kind::Texts),
    ("srvacl", Kind::Texts),
    ("srvoptions", Kind::Texts),
    ("ftoptions", Kind::Texts),
    ("umoptions", Kind::Texts),
    ("subpublications", Kind::Texts),
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Shorts,
    Integers,
    Texts,
}

impl Kind {
    fn arrow(self) -> DataType {
        DataType::new_list(
            match self {
                Self::Shorts => DataType::Int16,
                Self::Integers => DataType::Int32,
                Self::Texts => DataType::Utf8,
            },
            true,
        )
    }
}

/// Tables that the library has rows for, and that have none here: there are no indexes, constraints, rules ...
const WITHOUT_ROWS: [&str; 42] = [
    "pg_attrdef",
    "pg_auth_members",
    "pg_constraint",
    "pg_db_role_setting",
    "pg_default_acl",
    "pg_depend",
    "pg_enum",
    "pg_event_trigger",
    "pg_extension",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_foreign_table",
    "pg_index",
    "pg_inherits",
    "pg_init_privs",
    "pg_largeobject",
    "pg_largeobject_metadata",
    "pg_partitioned_table",
    "pg_policy",
    "pg_publication",
    "pg_publication_namespace",
    "pg_publication_rel",
    "pg_replication_origin",
    "pg_replication_slots",
    "pg_rewrite",
    "pg_seclabel",
    "pg_sequence",
    "pg_shdepend",
    "pg_shdescription",
    "pg_shseclabel",
    "pg_statistic",
    "pg_statistic_ext",
    "pg_statistic_ext_data",
    "pg_subscription",
    "pg_subscription_rel",
    "pg_trigger",
    "pg_user_mapping",
    "pg_indexes",
    "pg_rules",
    "pg_sequences",
    "pg_policies",
    "pg_parameter_acl",
];

/// True for a table of pg_catalog that never has a row here.
pub(crate) fn is_empty_here(name: &str) -> bool {
    WITHOUT_ROWS.contains(&name) || EMPTY.iter().any(|(known, _)| *known == name)
}

const TEXT: DataType = DataType::Utf8;
const INT: DataType = DataType::Int32;
const BOOL: DataType = DataType::Boolean;

/// Tables that are empty here, with the columns clients select.
const EMPTY: [(&str, &[(&str, DataType)]); 14] = [
    (
        "pg_policies",
        &[("schemaname", TEXT), ("tablename", TEXT), ("policyname", TEXT), ("permissive", TEXT), ("cmd", TEXT)],
    ),
    ("pg_parameter_acl", &[("oid", INT), ("parname", TEXT), ("paracl", TEXT)]),
    ("pg_publication_tables", &[("pubname", TEXT), ("schemaname", TEXT), ("tablename", TEXT), ("rowfilter", TEXT)]),
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

/// A table without rows; `columns` are those that the library knows.
pub(crate) fn empty_table(name: &str, columns: Option<SchemaRef>) -> Option<Arc<dyn TableProvider>> {
    let schema = match columns {
        Some(columns) => {
            let field = |field: &Arc<Field>| match ARRAYS.iter().find(|(array, _)| array == field.name()) {
                Some((name, kind)) => Field::new(*name, kind.arrow(), true),
                None => field.as_ref().clone(),
            };
            let tableoid = Field::new("tableoid", INT, true);
            Schema::new(columns.fields().iter().map(field).chain([tableoid]).collect::<Vec<_>>())
        }
        None => {
            let (_, columns) = EMPTY.iter().find(|(known, _)| *known == name)?;
            Schema::new(columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect::<Vec<_>>())
        }
    };
    Some(Arc::new(EmptyTable::new(Arc::new(schema))))
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
