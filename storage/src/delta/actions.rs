//! What chunks look like in a Delta log: schema, actions, statistics.

use crate::StorageError;
use crate::chunk::{Chunk, Facts, day_text};
use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use arrow::datatypes::DataType as ArrowType;
use deltalake::kernel::{Add, DataType, PrimitiveType, Remove, StructField};
use deltalake::{DeltaTable, DeltaTableError};
use std::collections::HashMap;
use std::path::Path;
use whence_schema::{Table, UnixNanos};

/// Commits after which the Delta log is summed up in a checkpoint.
const CHECKPOINT_COMMITS: &str = "50";

pub(super) fn partition_columns() -> Vec<String> {
    vec!["day".to_owned(), "bucket".to_owned()]
}

pub(super) async fn create(table: Table, empty: DeltaTable) -> Result<DeltaTable, DeltaTableError> {
    let primitive = |kind| DataType::Primitive(kind);
    let mut columns: Vec<StructField> = table
        .stored_schema()
        .fields()
        .iter()
        .map(|field| StructField::new(field.name(), primitive(delta_type(field.data_type())), field.is_nullable()))
        .collect();
    columns.push(StructField::new("day", primitive(PrimitiveType::Date), true));
    columns.push(StructField::new("bucket", primitive(PrimitiveType::Integer), true));
    let properties = [
        ("delta.checkpointInterval", CHECKPOINT_COMMITS),
        ("delta.logRetentionDuration", "interval 1 hours"),
        ("delta.deletedFileRetentionDuration", "interval 1 hours"),
        ("delta.enableExpiredLogCleanup", "true"),
        ("delta.dataSkippingStatsColumns", "timestamp"),
    ];
    empty
        .create()
        .with_table_name(table.name())
        .with_columns(columns)
        .with_partition_columns(partition_columns())
        .with_configuration(properties.map(|(key, value)| (key.to_owned(), Some(value.to_owned()))))
        .await
}

fn delta_type(arrow: &ArrowType) -> PrimitiveType {
    match arrow {
        ArrowType::Timestamp(_, _) => PrimitiveType::Timestamp,
        ArrowType::Int16 => PrimitiveType::Short,
        ArrowType::Int32 => PrimitiveType::Integer,
        ArrowType::Int64 => PrimitiveType::Long,
        ArrowType::Float32 => PrimitiveType::Float,
        ArrowType::Float64 => PrimitiveType::Double,
        ArrowType::FixedSizeBinary(_) | ArrowType::Binary => PrimitiveType::Binary,
        _ => PrimitiveType::String,
    }
}

fn partition_values(chunk: &Chunk) -> HashMap<String, Option<String>> {
    HashMap::from([
        ("day".to_owned(), Some(day_text(chunk.day))),
        ("bucket".to_owned(), Some(chunk.bucket.to_string())),
    ])
}

pub(super) fn add_action(chunk: &Chunk, data_change: bool) -> Add {
    let time = |nanos: UnixNanos| {
        let micros = nanos.micros();
        let (day, rest) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
        let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        format!("{}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z", day_text(day as i32))
    };
    let stats = serde_json::json!({
        "numRecords": chunk.rows,
        "minValues": { "timestamp": time(chunk.min_time) },
        "maxValues": { "timestamp": time(chunk.max_time) },
        "nullCount": { "timestamp": 0 },
    });
    Add {
        path: chunk.relative_path(),
        partition_values: partition_values(chunk),
        size: i64::try_from(chunk.bytes).unwrap_or(i64::MAX),
        modification_time: chunk.created_seconds.saturating_mul(1_000),
        data_change,
        stats: Some(stats.to_string()),
        tags: None,
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
        clustering_provider: None,
    }
}

pub(super) fn remove_action(chunk: &Chunk, data_change: bool, now_millis: i64) -> Remove {
    Remove {
        path: chunk.relative_path(),
        data_change,
        deletion_timestamp: Some(now_millis),
        extended_file_metadata: Some(true),
        partition_values: Some(partition_values(chunk)),
        size: Some(i64::try_from(chunk.bytes).unwrap_or(i64::MAX)),
        ..Remove::default()
    }
}

pub(super) fn parse_stats(stats: &str, bytes: u64) -> Option<Facts> {
    let stats: serde_json::Value = serde_json::from_str(stats).ok()?;
    let micros = |key: &str| {
        let nanos = string_to_timestamp_nanos(stats.get(key)?.get("timestamp")?.as_str()?).ok()?;
        Some(nanos.div_euclid(1_000))
    };
    Some(Facts {
        rows: stats.get("numRecords")?.as_u64()?,
        bytes,
        min_micros: micros("minValues")?,
        max_micros: micros("maxValues")?,
    })
}

/// For chunks whose statistics the Delta log does not have (or not within the range of nanoseconds).
pub(super) fn facts_of_file(path: &Path, bytes: u64) -> Result<Facts, StorageError> {
    use parquet::file::reader::FileReader;
    use parquet::file::statistics::Statistics;
    let file = std::fs::File::open(path).map_err(StorageError::file("open", path))?;
    let reader =
        parquet::file::serialized_reader::SerializedFileReader::new(file).map_err(StorageError::chunk(path))?;
    let metadata = reader.metadata();
    let mut facts = Facts {
        rows: metadata.file_metadata().num_rows().unsigned_abs(),
        bytes,
        min_micros: i64::MAX,
        max_micros: i64::MIN,
    };
    for group in metadata.row_groups() {
        match group.column(whence_schema::tables::events::column::TIMESTAMP).statistics() {
            Some(Statistics::Int64(values)) => {
                facts.min_micros = facts.min_micros.min(values.min_opt().copied().unwrap_or(i64::MIN));
                facts.max_micros = facts.max_micros.max(values.max_opt().copied().unwrap_or(i64::MAX));
            }
            _ => (facts.min_micros, facts.max_micros) = (i64::MIN, i64::MAX),
        }
    }
    Ok(facts)
}
