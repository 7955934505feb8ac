//! A table as other engines see it: a Delta Lake log over its chunks.
//!
//! One commit per flush carries the log offset up to which the table's rows are in chunks, as the version of the
//! application transaction `whence`. Files under the table's folder that the log does not name were written by a flush
//! that did not get as far as its commit: they are deleted on start, and their rows come back from the write-ahead log.

use crate::StorageError;
use crate::chunk::{Chunk, Facts, day_text};
use crate::files::{fsync_file, fsync_folder, make_folder};
use crate::log::LogOffset;
use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use arrow::datatypes::DataType as ArrowType;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Add, DataType, PrimitiveType, Remove, StructField, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::{DeltaTable, DeltaTableError};
use futures::TryStreamExt;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use whence_schema::{Table, UnixNanos};

const APPLICATION: &str = "whence";
/// Commits after which the Delta log is summed up in a checkpoint.
const CHECKPOINT_COMMITS: &str = "50";

/// The Delta log of one table. Only one process writes it.
#[derive(Debug)]
pub(crate) struct DeltaLog {
    table: Table,
    folder: PathBuf,
    delta: DeltaTable,
    /// Offset of the last commit that added rows.
    offset: LogOffset,
}

impl DeltaLog {
    /// Opens or makes the table below `root`; returns its chunks. With `tidy`, deletes files that are none of them.
    pub(crate) async fn open(table: Table, root: &Path, tidy: bool) -> Result<(Self, Vec<Arc<Chunk>>), StorageError> {
        let folder = root.join(table.name());
        make_folder(&folder)?;
        let folder = folder.canonicalize().map_err(StorageError::file("resolve", &folder))?;
        let failed = StorageError::delta(table);
        let url = deltalake::ensure_table_uri(folder.to_string_lossy()).map_err(&failed)?;
        let delta = if has_commits(&folder) {
            deltalake::open_table(url).await.map_err(&failed)?
        } else {
            let empty = DeltaTable::try_from_url(url).await.map_err(&failed)?;
            let made = create(table, empty).await.map_err(&failed)?;
            sync_log(&folder, 0)?;
            fsync_folder(&folder)?;
            made
        };
        let mut log = Self { table, folder, delta, offset: LogOffset::default() };
        log.offset = log.read_offset().await?;
        let chunks = log.chunks().await?;
        if tidy {
            log.delete_orphans(&chunks)?;
        }
        Ok((log, chunks))
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Up to which record the rows of this table are in chunks.
    pub(crate) fn offset(&self) -> LogOffset {
        self.offset
    }

    /// Publishes new chunks together with the offset up to which rows are now in chunks.
    pub(crate) async fn add(&mut self, chunks: &[Arc<Chunk>], offset: LogOffset) -> Result<(), StorageError> {
        let actions = chunks.iter().map(|chunk| Action::Add(add_action(chunk, true))).collect();
        let properties = CommitProperties::default()
            .with_application_transaction(Transaction::new(APPLICATION, i64::try_from(offset.0).unwrap_or(i64::MAX)));
        let operation =
            DeltaOperation::Write { mode: SaveMode::Append, partition_by: Some(partition_columns()), predicate: None };
        if let Err(error) = self.commit(actions, properties, operation).await {
            // A failure behind the commit itself (checkpoint, clean-up, fsync) must not add the chunks twice.
            self.delta.update_state().await.map_err(StorageError::delta(self.table))?;
            if self.read_offset().await? != offset || offset == self.offset {
                return Err(error);
            }
            self.sync(self.delta.version().unwrap_or_default())?;
        }
        self.offset = offset;
        Ok(())
    }

    /// Takes chunks out and puts others with the same rows (or none) in their place.
    pub(crate) async fn replace(&mut self, old: &[Arc<Chunk>], new: &[Arc<Chunk>]) -> Result<(), StorageError> {
        let same_rows = !new.is_empty();
        let now = UnixNanos::now().0 / 1_000_000;
        let mut actions: Vec<Action> =
            old.iter().map(|chunk| Action::Remove(remove_action(chunk, !same_rows, now))).collect();
        actions.extend(new.iter().map(|chunk| Action::Add(add_action(chunk, false))));
        let operation = if same_rows {
            DeltaOperation::Optimize { predicate: None, target_size: 0 }
        } else {
            DeltaOperation::Delete { predicate: None }
        };
        if let Err(error) = self.commit(actions, CommitProperties::default(), operation).await {
            self.delta.update_state().await.map_err(StorageError::delta(self.table))?;
            let active: HashSet<PathBuf> = self.chunks().await?.iter().map(|chunk| chunk.path.clone()).collect();
            if old.iter().any(|chunk| active.contains(&chunk.path)) {
                return Err(error);
            }
            self.sync(self.delta.version().unwrap_or_default())?;
        }
        Ok(())
    }

    async fn commit(
        &mut self,
        actions: Vec<Action>,
        properties: CommitProperties,
        operation: DeltaOperation,
    ) -> Result<(), StorageError> {
        let failed = StorageError::delta(self.table);
        let finished = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(self.delta.snapshot().map_err(&failed)?), self.delta.log_store(), operation)
            .await
            .map_err(&failed)?;
        let version = finished.version();
        self.delta.state = Some(finished.snapshot());
        self.sync(version)
    }

    fn sync(&self, version: u64) -> Result<(), StorageError> {
        let folder = self.folder.clone();
        // A few small files: not worth a thread of their own.
        sync_log(&folder, version)
    }

    async fn read_offset(&self) -> Result<LogOffset, StorageError> {
        let failed = StorageError::delta(self.table);
        let state = self.delta.snapshot().map_err(&failed)?;
        let log_store = self.delta.log_store();
        let version = state.snapshot().transaction_version(log_store.as_ref(), APPLICATION).await.map_err(&failed)?;
        Ok(LogOffset(version.and_then(|version| u64::try_from(version).ok()).unwrap_or(0)))
    }

    async fn chunks(&self) -> Result<Vec<Arc<Chunk>>, StorageError> {
        let failed = StorageError::delta(self.table);
        let log_store = self.delta.log_store();
        let state = self.delta.snapshot().map_err(&failed)?;
        let mut views = state.snapshot().file_views(log_store.as_ref(), None);
        let mut chunks = Vec::new();
        while let Some(view) = views.try_next().await.map_err(&failed)? {
            let path = self.folder.join(view.path().as_ref());
            let bytes = u64::try_from(view.size()).unwrap_or(0);
            let facts = view
                .stats()
                .and_then(|stats| parse_stats(&stats, bytes))
                .map_or_else(|| facts_of_file(&path, bytes), Ok)?;
            let chunk = Chunk::at(path.clone(), facts).ok_or_else(|| StorageError::Incompatible {
                path,
                reason: "not written by whence: remove it from the Delta table".to_owned(),
            })?;
            chunks.push(Arc::new(chunk));
        }
        chunks.sort_by(|a, b| (a.day, a.bucket, &a.path).cmp(&(b.day, b.bucket, &b.path)));
        Ok(chunks)
    }

    fn delete_orphans(&self, chunks: &[Arc<Chunk>]) -> Result<(), StorageError> {
        let known: HashSet<&Path> = chunks.iter().map(|chunk| chunk.path.as_path()).collect();
        for path in parquet_files(&self.folder)? {
            if !known.contains(path.as_path()) {
                tracing::info!(path = %path.display(), "deleting a chunk that was never published or was replaced");
                std::fs::remove_file(&path).map_err(StorageError::file("delete", &path))?;
            }
        }
        Ok(())
    }
}

/// Chunk files on disk, whole and partial: `day=*/bucket=*/*`. Blocks.
pub(crate) fn parquet_files(table_folder: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let list = |folder: &Path| -> Result<Vec<PathBuf>, StorageError> {
        let entries = std::fs::read_dir(folder).map_err(StorageError::file("list", folder))?;
        entries.map(|entry| entry.map(|entry| entry.path()).map_err(StorageError::file("list", folder))).collect()
    };
    let named = |path: &Path, prefix: &str| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(prefix));
    let mut files = Vec::new();
    for day in list(table_folder)?.iter().filter(|path| named(path, "day=")) {
        for bucket in list(day)?.iter().filter(|path| named(path, "bucket=")) {
            files.extend(
                list(bucket)?
                    .into_iter()
                    .filter(|path| path.extension().is_some_and(|e| e == "parquet" || e == "partial")),
            );
        }
    }
    Ok(files)
}

fn has_commits(folder: &Path) -> bool {
    std::fs::read_dir(folder.join("_delta_log")).is_ok_and(|mut entries| entries.next().is_some())
}

fn partition_columns() -> Vec<String> {
    vec!["day".to_owned(), "bucket".to_owned()]
}

async fn create(table: Table, empty: DeltaTable) -> Result<DeltaTable, DeltaTableError> {
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

fn add_action(chunk: &Chunk, data_change: bool) -> Add {
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

fn remove_action(chunk: &Chunk, data_change: bool, now_millis: i64) -> Remove {
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

fn parse_stats(stats: &str, bytes: u64) -> Option<Facts> {
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
fn facts_of_file(path: &Path, bytes: u64) -> Result<Facts, StorageError> {
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

/// Makes commit `version`, and a checkpoint made with it, durable: object_store does not. Blocks.
fn sync_log(folder: &Path, version: u64) -> Result<(), StorageError> {
    let log = folder.join("_delta_log");
    let prefix = format!("{version:020}.");
    for entry in std::fs::read_dir(&log).map_err(StorageError::file("list", &log))? {
        let entry = entry.map_err(StorageError::file("list", &log))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&prefix) || name == "_last_checkpoint" {
            fsync_file(&entry.path())?;
        }
    }
    fsync_folder(&log)
}
