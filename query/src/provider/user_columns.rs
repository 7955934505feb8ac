//! What the DDL says about columns: one source for views, `\d` and `information_schema`.

use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef};
use std::sync::{Arc, LazyLock};
use whence_schema::tables::timestamp_type;
use whence_schema::{Table, VIEWS, View};

/// A column type as PostgreSQL names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum UserType {
    Uuid,
    Timestamp,
    Text,
    Json,
    SmallInt,
    BigInt,
    Real,
    Double,
    Interval,
    Bytes,
    Boolean,
    TextList,
}

/// A column as users know it.
#[derive(Debug, Clone)]
pub(crate) struct UserColumn {
    pub(crate) name: String,
    pub(crate) data_type: UserType,
    pub(crate) nullable: bool,
    /// What the DDL says about it, behind its line.
    pub(crate) comment: Option<String>,
}

impl UserType {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "uuid" => Self::Uuid,
            "timestamptz" => Self::Timestamp,
            "text" => Self::Text,
            "json" => Self::Json,
            "smallint" => Self::SmallInt,
            "bigint" => Self::BigInt,
            "real" => Self::Real,
            "double precision" => Self::Double,
            "interval" => Self::Interval,
            "bytea" => Self::Bytes,
            "boolean" => Self::Boolean,
            "text[]" => Self::TextList,
            _ => return None,
        })
    }

    /// Object id in `pg_type`.
    pub(crate) fn oid(self) -> i32 {
        match self {
            Self::Uuid => 2950,
            Self::Timestamp => 1184,
            Self::Text => 25,
            Self::Json => 114,
            Self::SmallInt => 21,
            Self::BigInt => 20,
            Self::Real => 700,
            Self::Double => 701,
            Self::Interval => 1186,
            Self::Bytes => 17,
            Self::Boolean => 16,
            Self::TextList => 1009,
        }
    }

    /// Arrow type inside.
    pub(crate) fn arrow(self) -> DataType {
        match self {
            Self::Uuid => crate::functions::UUID,
            Self::Timestamp => timestamp_type(),
            Self::Text | Self::Json => DataType::Utf8View,
            Self::SmallInt => DataType::Int16,
            Self::BigInt => DataType::Int64,
            Self::Real => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Self::Bytes => DataType::Binary,
            Self::Boolean => DataType::Boolean,
            Self::TextList => DataType::new_list(DataType::Utf8View, true),
        }
    }
}

/// Columns of a hypertable, as its DDL lists them.
pub(crate) fn columns_of(table: Table) -> Vec<UserColumn> {
    static COLUMNS: LazyLock<[Vec<UserColumn>; 3]> = LazyLock::new(|| Table::ALL.map(|table| read_ddl(table.ddl())));
    COLUMNS[table as usize].clone()
}

/// Columns of a continuous aggregate, as its declaration lists them.
pub(crate) fn columns_of_view(view: &View) -> Vec<UserColumn> {
    read_ddl(view.columns())
}

fn read_ddl(ddl: &str) -> Vec<UserColumn> {
    let column = |line: &str| {
        let (line, comment) = match line.split_once("--") {
            Some((line, comment)) => (line, Some(comment.trim().to_owned())),
            None => (line, None),
        };
        let (name, rest) = line.trim().trim_end_matches(',').split_once(char::is_whitespace)?;
        let rest = rest.trim();
        let (kind, nullable) = match rest.strip_suffix("NOT NULL") {
            Some(kind) => (kind.trim(), false),
            None => (rest, true),
        };
        Some(UserColumn { name: name.to_owned(), data_type: UserType::parse(kind)?, nullable, comment })
    };
    ddl.lines().filter_map(column).collect()
}

/// What the DDL says about the whole, above its first statement.
fn comment_of(ddl: &'static str) -> String {
    let lines = ddl.lines().map_while(|line| line.strip_prefix("--"));
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

/// A table or view of the catalog.
pub(crate) struct CatalogTable {
    pub(crate) schema: &'static str,
    pub(crate) name: &'static str,
    pub(crate) columns: Vec<UserColumn>,
    pub(crate) comment: String,
    /// The query of a view.
    pub(crate) definition: Option<&'static str>,
}

/// Schema of the tables users work with.
pub(crate) const PUBLIC: &str = "public";
/// Schema of what Whence tells about itself.
pub(crate) const WHENCE: &str = "whence";
/// The ledger of received and stored items.
pub(crate) const INGEST_LEDGER: &str = "ingest_ledger";
/// The files of the tables.
pub(crate) const CHUNKS: &str = "chunks";
/// What the store does in the background.
pub(crate) const JOBS: &str = "jobs";
/// What statements have cost.
pub(crate) const QUERIES: &str = "queries";
/// The tables with their sizes.
pub(crate) const TABLES: &str = "tables";
/// The limits that hold here.
pub(crate) const SETTINGS: &str = "settings";
/// Schema of what TimescaleDB tells about itself, as far as it is told here.
pub(crate) const TIMESCALEDB_INFORMATION: &str = "timescaledb_information";
/// The continuous aggregates.
pub(crate) const CONTINUOUS_AGGREGATES: &str = "continuous_aggregates";
/// One row per asset.
pub(crate) const ASSET_METADATA: &str = "asset_metadata";
/// When something was wrong, as the correlator keeps it.
pub(crate) const INCIDENTS: &str = "incidents";
/// What messages of an asset have in common.
pub(crate) const LOG_TEMPLATES: &str = "log_templates";

/// Every table users can name.
pub(crate) fn catalog() -> Vec<CatalogTable> {
    let of_whence = |name, columns, comment: &str| CatalogTable {
        schema: WHENCE,
        name,
        columns,
        comment: comment.to_owned(),
        definition: None,
    };
    let hypertables = Table::ALL.into_iter().map(|table| CatalogTable {
        schema: PUBLIC,
        name: table.name(),
        columns: columns_of(table),
        comment: comment_of(table.ddl()),
        definition: None,
    });
    let views = VIEWS.iter().map(|view| CatalogTable {
        schema: PUBLIC,
        name: view.name,
        columns: columns_of_view(view),
        comment: comment_of(view.ddl),
        definition: Some(view.query()),
    });
    let of_public = |name, columns, comment: &str| CatalogTable {
        schema: PUBLIC,
        name,
        columns,
        comment: comment.to_owned(),
        definition: None,
    };
    let assets = of_public(ASSET_METADATA, asset_columns(), "One row for each asset: what telemetry says about it.");
    // Last, since numbers of tables follow from their order.
    let conclusions = [
        of_public(INCIDENTS, incident_columns(), "When something was wrong, found as data arrived."),
        of_public(LOG_TEMPLATES, log_template_columns(), "What messages of an asset have in common."),
    ];
    let ledger = "Items of each minute: received = stored + duplicate + rejected + dropped.";
    let others = [
        of_whence(INGEST_LEDGER, ledger_columns(), ledger),
        of_whence(CHUNKS, chunk_columns(), "The files of the tables."),
        of_whence(JOBS, job_columns(), "What the store does in the background, with the last run of each."),
        of_whence(QUERIES, query_columns(), "What statements have cost, without their literals."),
        of_whence(TABLES, table_columns(), "The tables with their sizes."),
        of_whence(SETTINGS, setting_columns(), "The limits that hold here."),
    ];
    let aggregates = CatalogTable {
        schema: TIMESCALEDB_INFORMATION,
        name: CONTINUOUS_AGGREGATES,
        columns: continuous_aggregate_columns(),
        comment: "The continuous aggregates, built in and declared.".to_owned(),
        definition: None,
    };
    hypertables.chain(views).chain([assets]).chain(others).chain([aggregates]).chain(conclusions).collect()
}

fn column(name: &str, data_type: UserType, nullable: bool) -> UserColumn {
    UserColumn { name: name.to_owned(), data_type, nullable, comment: None }
}

/// Columns of `asset_metadata`.
pub(crate) fn asset_columns() -> Vec<UserColumn> {
    use UserType::{Json, Text, Timestamp};
    vec![
        column("asset_id", Text, false),
        column("asset_name", Text, true),
        column("asset_type", Text, false),
        column("version", Text, true),
        column("owner_id", Text, true),
        column("team_id", Text, true),
        column("tenant_id", Text, false),
        column("tags", Json, true),
        column("metadata", Json, true),
        column("created_at", Timestamp, false),
        column("updated_at", Timestamp, false),
        column("last_seen", Timestamp, false),
    ]
}

/// Columns of `incidents`.
pub(crate) fn incident_columns() -> Vec<UserColumn> {
    use UserType::{Double, Real, Text, TextList, Timestamp, Uuid};
    vec![
        column("id", Uuid, false),
        column("opened", Timestamp, false),
        column("closed", Timestamp, true),
        column("severity", Double, false),
        column("title", Text, false),
        column("asset_id", Text, true),
        column("cause_kind", Text, true),
        column("confidence", Real, true),
        column("affected_assets", TextList, false),
        column("first_symptom", Uuid, true),
        column("explanation", Text, false),
        column("updated_at", Timestamp, false),
    ]
}

/// Columns of `log_templates`.
pub(crate) fn log_template_columns() -> Vec<UserColumn> {
    use UserType::{BigInt, Text, Timestamp};
    vec![
        column("template_id", BigInt, false),
        column("asset_id", Text, false),
        column("template", Text, false),
        column("first_seen", Timestamp, false),
        column("last_seen", Timestamp, false),
    ]
}

/// Columns of `whence.ingest_ledger`.
pub(crate) fn ledger_columns() -> Vec<UserColumn> {
    use UserType::{BigInt, Text, Timestamp};
    let mut columns =
        vec![column("minute", Timestamp, false), column("tenant_id", Text, false), column("signal", Text, false)];
    let counts = ["received", "stored", "duplicate", "rejected", "dropped"];
    columns.extend(counts.map(|name| column(name, BigInt, false)));
    columns
}

/// Columns of `whence.chunks`.
pub(crate) fn chunk_columns() -> Vec<UserColumn> {
    use UserType::{BigInt, Double, SmallInt, Text, Timestamp};
    vec![
        column("table_name", Text, false),
        column("day", Text, false),
        column("partition", SmallInt, false),
        column("file", Text, false),
        column("rows", BigInt, false),
        column("bytes", BigInt, false),
        column("uncompressed_bytes", BigInt, true),
        column("compression_ratio", Double, true),
        column("min_time", Timestamp, false),
        column("max_time", Timestamp, false),
        column("level", SmallInt, false),
        column("created_at", Timestamp, false),
    ]
}

/// Columns of `whence.jobs`.
pub(crate) fn job_columns() -> Vec<UserColumn> {
    use UserType::{BigInt, Double, Text, Timestamp};
    vec![
        column("job", Text, false),
        column("last_started_at", Timestamp, false),
        column("last_duration_ms", Double, true),
        column("last_result", Text, false),
        column("details", Text, false),
        column("runs", BigInt, false),
        column("failures", BigInt, false),
    ]
}

/// Columns of `whence.queries`.
pub(crate) fn query_columns() -> Vec<UserColumn> {
    use UserType::{BigInt, Double, Text, Timestamp};
    vec![
        column("fingerprint", Text, false),
        column("query", Text, false),
        column("calls", BigInt, false),
        column("total_ms", Double, false),
        column("mean_ms", Double, false),
        column("max_ms", Double, false),
        column("rows", BigInt, false),
        column("errors", BigInt, false),
        column("last_at", Timestamp, false),
    ]
}

/// Columns of `whence.tables`.
pub(crate) fn table_columns() -> Vec<UserColumn> {
    use UserType::{BigInt, Double, Text, Timestamp};
    vec![
        column("table_name", Text, false),
        column("chunks", BigInt, false),
        column("rows", BigInt, false),
        column("bytes", BigInt, false),
        column("uncompressed_bytes", BigInt, true),
        column("compression_ratio", Double, true),
        column("min_time", Timestamp, true),
        column("max_time", Timestamp, true),
    ]
}

/// Columns of `whence.settings`.
pub(crate) fn setting_columns() -> Vec<UserColumn> {
    vec![column("name", UserType::Text, false), column("setting", UserType::Text, false)]
}

/// Columns of `timescaledb_information.continuous_aggregates`, as in TimescaleDB.
pub(crate) fn continuous_aggregate_columns() -> Vec<UserColumn> {
    use UserType::{Boolean, Text};
    vec![
        column("hypertable_schema", Text, true),
        column("hypertable_name", Text, true),
        column("view_schema", Text, true),
        column("view_name", Text, true),
        column("view_owner", Text, true),
        column("materialized_only", Boolean, true),
        column("compression_enabled", Boolean, true),
        column("materialization_hypertable_schema", Text, true),
        column("materialization_hypertable_name", Text, true),
        column("view_definition", Text, true),
        column("finalized", Boolean, true),
    ]
}

/// Columns as an Arrow schema; JSON columns are marked as such.
pub(crate) fn arrow_schema(columns: &[UserColumn]) -> SchemaRef {
    let field = |column: &UserColumn| {
        let field = Field::new(&column.name, column.data_type.arrow(), column.nullable);
        if column.data_type == UserType::Json { field.with_metadata(crate::functions::json_metadata()) } else { field }
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_line_of_the_ddl_is_a_column() {
        for table in Table::ALL {
            let lines = table.ddl().lines().filter(|line| line.starts_with("    ") && !line.contains("PRIMARY KEY"));
            let expected = lines.filter(|line| !line.trim().starts_with("--")).count();
            assert_eq!(columns_of(table).len(), expected, "{}", table.name());
        }
        let events = columns_of(Table::Events);
        assert_eq!((events[0].name.as_str(), events[0].data_type, events[0].nullable), ("id", UserType::Uuid, false));
        assert!(events.iter().any(|c| c.name == "duration_ns" && c.nullable && c.data_type == UserType::BigInt));
        assert_eq!(events[4].comment.as_deref(), Some("the trace id"));
        assert!(comment_of(Table::Events.ddl()).starts_with("Every span, span event and log record"));
    }
}
