//! What clients ask about the server: its abilities, catalog, tables and types.

use crate::error::QueryError;
use crate::provider::information_schema::DATABASE;
use crate::serve::portable::portable_schema;
use crate::session::Session;
use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{CommandGetCatalogs, CommandGetDbSchemas, CommandGetTables};
use arrow_flight::sql::{Nullable, Searchable, SqlInfo, SqlSupportedTransaction, XdbcDataType};
use std::sync::{Arc, LazyLock};
use tonic::Status;

/// What the server can do.
pub(super) fn sql_info() -> Result<&'static SqlInfoData, Status> {
    static DATA: LazyLock<Option<SqlInfoData>> = LazyLock::new(|| {
        let mut info = SqlInfoDataBuilder::new();
        info.append(SqlInfo::FlightSqlServerName, "Whence");
        info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
        info.append(SqlInfo::FlightSqlServerArrowVersion, "1.3");
        info.append(SqlInfo::FlightSqlServerReadOnly, true);
        info.append(SqlInfo::FlightSqlServerSql, true);
        info.append(SqlInfo::FlightSqlServerSubstrait, false);
        info.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
        info.append(SqlInfo::FlightSqlServerCancel, true);
        info.append(SqlInfo::FlightSqlServerBulkIngestion, false);
        info.append(SqlInfo::SqlDdlCatalog, false);
        info.append(SqlInfo::SqlDdlSchema, false);
        info.append(SqlInfo::SqlDdlTable, false);
        info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
        info.append(SqlInfo::SqlAllTablesAreSelectable, true);
        info.append(SqlInfo::SqlSchemaTerm, "schema");
        info.append(SqlInfo::SqlCatalogTerm, "database");
        info.append(SqlInfo::SqlSupportsColumnAliasing, true);
        info.build().ok()
    });
    DATA.as_ref().ok_or_else(|| Status::internal("the server's abilities cannot be told"))
}

/// The types that columns have, under PostgreSQL's names.
pub(super) fn type_info() -> Result<&'static XdbcTypeInfoData, Status> {
    use XdbcDataType as X;
    const TYPES: [(&str, XdbcDataType, i32, bool); 12] = [
        ("bool", X::XdbcBit, 1, false),
        ("int2", X::XdbcSmallint, 5, false),
        ("int4", X::XdbcInteger, 10, false),
        ("int8", X::XdbcBigint, 19, false),
        ("float4", X::XdbcReal, 24, false),
        ("float8", X::XdbcDouble, 53, false),
        ("text", X::XdbcVarchar, i32::MAX, true),
        ("json", X::XdbcLongvarchar, i32::MAX, true),
        ("uuid", X::XdbcBinary, 16, true),
        ("bytea", X::XdbcVarbinary, i32::MAX, true),
        ("date", X::XdbcDate, 10, true),
        ("timestamptz", X::XdbcTimestamp, 32, true),
    ];
    static DATA: LazyLock<Option<XdbcTypeInfoData>> = LazyLock::new(|| {
        let mut types = XdbcTypeInfoDataBuilder::new();
        for (name, data_type, size, quoted) in TYPES {
            let quote = quoted.then(|| "'".to_owned());
            types.append(XdbcTypeInfo {
                type_name: name.to_owned(),
                data_type,
                column_size: Some(size),
                literal_prefix: quote.clone(),
                literal_suffix: quote,
                nullable: Nullable::NullabilityNullable,
                case_sensitive: matches!(name, "text" | "json"),
                searchable: Searchable::Full,
                local_type_name: Some(name.to_owned()),
                sql_data_type: data_type,
                ..XdbcTypeInfo::default()
            });
        }
        types.build().ok()
    });
    DATA.as_ref().ok_or_else(|| Status::internal("the types cannot be told"))
}

fn failed(error: impl std::fmt::Display) -> Status {
    Status::internal(format!("the catalog cannot be told: {error}"))
}

/// The one database.
pub(super) fn catalogs(query: CommandGetCatalogs) -> Result<RecordBatch, Status> {
    let mut rows = query.into_builder();
    rows.append(DATABASE);
    rows.build().map_err(failed)
}

/// Schemas that match.
pub(super) async fn schemas(session: &Session, query: CommandGetDbSchemas) -> Result<RecordBatch, Status> {
    let names = texts(session, "SELECT schema_name FROM information_schema.schemata").await.map_err(failed)?;
    let mut rows = query.into_builder();
    for row in names {
        rows.append(DATABASE, &row[0]);
    }
    rows.build().map_err(failed)
}

/// Kinds of tables.
pub(super) const TABLE_TYPES: [&str; 2] = ["TABLE", "VIEW"];

/// Tables that match, with their columns if asked for.
pub(super) async fn tables(session: &Session, query: CommandGetTables) -> Result<RecordBatch, Status> {
    let sql = "SELECT table_schema, table_name, table_type FROM information_schema.tables";
    let names = texts(session, sql).await.map_err(failed)?;
    let include_schema = query.include_schema;
    // The patterns are applied by the builder; this saves planning what it throws away.
    let wanted = |name: &str, pattern: &Option<String>| match pattern {
        Some(pattern) if !pattern.contains(['%', '_', '\\']) => pattern == name,
        _ => true,
    };
    let (of_schema, of_table) = (query.db_schema_filter_pattern.clone(), query.table_name_filter_pattern.clone());
    let mut rows = query.into_builder();
    for row in names {
        let [schema, table, kind] = &row[..] else { continue };
        if !wanted(schema, &of_schema) || !wanted(table, &of_table) {
            continue;
        }
        let columns = match include_schema {
            true => columns(session, schema, table).await.map_err(failed)?,
            false => Arc::new(Schema::empty()),
        };
        let kind = TABLE_TYPES[usize::from(kind == "VIEW")];
        rows.append(DATABASE, schema, table, kind, &columns).map_err(failed)?;
    }
    rows.build().map_err(failed)
}

async fn columns(session: &Session, schema: &str, table: &str) -> Result<SchemaRef, QueryError> {
    let statement = session.parse(&format!("SELECT * FROM \"{schema}\".\"{table}\""))?;
    let Some(statement) = statement.first() else { return Ok(Arc::new(Schema::empty())) };
    let columns = session.describe(statement).await?.columns;
    Ok(columns.map_or_else(|| Arc::new(Schema::empty()), |columns| portable_schema(&columns)))
}

/// Rows of an answer of few texts.
async fn texts(session: &Session, sql: &str) -> Result<Vec<Vec<String>>, QueryError> {
    let mut rows = Vec::new();
    for batch in session.query(sql).await?.collect_batches().await? {
        let columns = batch.columns().iter().map(|column| cast(column, &DataType::Utf8));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        rows.extend((0..batch.num_rows()).map(|row| {
            columns.iter().map(|column| column.as_string::<i32>().value(row).to_owned()).collect::<Vec<_>>()
        }));
    }
    Ok(rows)
}

/// Primary keys: none are declared.
pub(super) fn primary_keys() -> RecordBatch {
    RecordBatch::new_empty(Arc::new(Schema::new(vec![
        text("catalog_name", true),
        text("db_schema_name", true),
        text("table_name", false),
        text("column_name", false),
        text("key_name", true),
        Field::new("key_sequence", DataType::Int32, false),
    ])))
}

/// Foreign keys, by either end: none are declared.
pub(super) fn foreign_keys() -> RecordBatch {
    RecordBatch::new_empty(Arc::new(Schema::new(vec![
        text("pk_catalog_name", true),
        text("pk_db_schema_name", true),
        text("pk_table_name", false),
        text("pk_column_name", false),
        text("fk_catalog_name", true),
        text("fk_db_schema_name", true),
        text("fk_table_name", false),
        text("fk_column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text("fk_key_name", true),
        text("pk_key_name", true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ])))
}

fn text(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Utf8, nullable)
}
