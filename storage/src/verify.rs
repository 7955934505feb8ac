//! Proof that data is whole and that it is what the ledger says: of a directory that no server uses, or of a running
//! store, which is pinned at one log offset for that while ingest goes on.
//!
//! ```text
//! ledger `stored` (SQLite, up to O) + items of log records behind O that a table has already
//!     = rows in chunks + rows that retention dropped
//! ```
//!
//! Every fault is named with its file and, where that can be known, its place in the file: the byte offset of a damaged
//! log record, the bytes of the damaged column of a chunk.

use crate::chunk::counts::count_rows;
use crate::chunk::file::has_its_checksum;
use crate::chunk::join::batches;
use crate::control::{Control, RowCounts};
use crate::delta::{Access, DeltaLog, OpenedTable};
use crate::flush::blocking;
use crate::jobs::JobKind;
use crate::ledger::Entries;
use crate::log::{LogOffset, Record, Segment, list_segments, scan};
use crate::progress::{Meter, Progress};
use crate::remote::refuse_without_bucket;
use crate::store::lock_directory;
use crate::{Chunk, RealDisk, StorageError, Store, format};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use whence_schema::{Signal, Table};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct VerifyReport {
    /// Chunks read in full.
    pub chunks: u64,
    /// Log records with good checksums.
    pub log_records: u64,
    /// Rows of `events` with signal `span`.
    pub spans: u64,
    /// Rows of `events` with signal `log`.
    pub logs: u64,
    /// Sum of `point_count` of `metrics`.
    pub points: u64,
    /// Everything that is wrong, one sentence each. Empty: all is well.
    pub problems: Vec<String>,
    /// What is worth knowing and not wrong, such as the end of a log whose server was killed.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What is to be looked at, all of one log offset.
#[derive(Debug)]
struct Evidence {
    chunks: [Vec<Arc<Chunk>>; 3],
    ledger: Entries,
    expired: Vec<(String, RowCounts)>,
    saved: LogOffset,
    /// Up to which record each table has the rows.
    offsets: [LogOffset; 3],
    segments: Vec<Segment>,
    /// Segments may be deleted meanwhile, for their rows are in chunks by then.
    running: bool,
    problems: Vec<String>,
}

/// Reads everything in the data directory `path`, which no server may be using; no row of it is changed. Takes as long
/// as reading every file does.
///
/// # Errors
///
/// When the directory is in use or is no data directory; damage is no error but part of the report.
pub async fn verify(
    path: &Path,
    report: impl Fn(Progress) + Send + Sync + 'static,
) -> Result<VerifyReport, StorageError> {
    if !path.join("control.db").is_file() {
        let reason = "no data directory: there is no control.db in it".to_owned();
        return Err(StorageError::Incompatible { path: path.to_owned(), reason });
    }
    // Its chunks are elsewhere; a running store verifies them.
    refuse_without_bucket(path)?;
    let root = path.to_owned();
    let (lock, segments) = blocking("verify", move || {
        let lock = lock_directory(&root)?;
        format::check(&root)?;
        Ok((lock, list_segments(&RealDisk, &root.join("log"))?))
    })
    .await?;
    let control = Control::open_as_it_is(path).await?;
    let (ledger, saved) = control.ledger(None).await?;
    let expired = control.expired().await?;
    control.close().await;
    let mut evidence = Evidence {
        chunks: [const { Vec::new() }; 3],
        ledger,
        expired,
        saved,
        offsets: [saved; 3],
        segments,
        running: false,
        problems: Vec::new(),
    };
    for table in Table::ALL {
        if !path.join(table.name()).join("_delta_log").is_dir() {
            evidence.problems.push(format!("{}/_delta_log: the Delta log is missing", table.name()));
            continue;
        }
        match DeltaLog::open(table, path, None, Access::Read).await {
            Ok(OpenedTable { log, chunks, .. }) => {
                evidence.offsets[table as usize] = log.offset().max(saved);
                evidence.chunks[table as usize] = chunks;
            }
            Err(error) => evidence.problems.push(error.to_string()),
        }
    }
    let found = blocking("verify", move || examine(&evidence, &report)).await;
    drop(lock);
    found
}

impl Store {
    /// Commits, then proves what was committed to be whole while ingest goes on: every file is read, the Delta logs are
    /// read again from disk. Takes as long as that does.
    ///
    /// # Errors
    ///
    /// When the commit fails or the store is closed; damage is no error but part of the report.
    pub async fn verify(
        &self,
        report: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<VerifyReport, StorageError> {
        let run = self.shared().begin_job(JobKind::Verify);
        let outcome = self.verify_pinned(report).await;
        let told = |report: &VerifyReport| match report.problems.first() {
            None => format!("{} chunks are whole", report.chunks),
            Some(first) => format!("{} problems, the first: {first}", report.problems.len()),
        };
        self.shared().end_job(&run, outcome.as_ref().map(told));
        outcome
    }

    async fn verify_pinned(
        &self,
        report: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<VerifyReport, StorageError> {
        let pinned = self.pin(None).await?;
        let segments = self.log_segments().await?;
        let mut problems = Vec::new();
        for table in Table::ALL {
            let chunks = &pinned.chunks[table as usize];
            let (log, version) = &pinned.tables[table as usize];
            match log.files_at(*version).await {
                Ok(listed) => problems.extend(differences(table, *version, &listed, chunks)),
                Err(error) => problems.push(error.to_string()),
            }
        }
        let evidence = Evidence {
            chunks: pinned.chunks,
            ledger: pinned.ledger,
            expired: pinned.expired,
            saved: pinned.offset,
            offsets: [pinned.offset; 3],
            segments,
            running: true,
            problems,
        };
        blocking("verify", move || examine(&evidence, &report)).await
    }
}

/// Where the Delta log on disk and the chunks in use are not the same.
fn differences(table: Table, version: u64, listed: &HashSet<String>, chunks: &[Arc<Chunk>]) -> Vec<String> {
    let used: HashSet<String> = chunks.iter().map(|chunk| chunk.relative_path()).collect();
    let name = table.name();
    let missing =
        used.difference(listed).map(|file| format!("{name}/{file}: not in version {version} of the Delta log"));
    let unknown = listed
        .difference(&used)
        .map(|file| format!("{name}/{file}: in version {version} of the Delta log, but the server does not use it"));
    missing.chain(unknown).collect()
}

/// Blocks.
fn examine(evidence: &Evidence, report: &(dyn Fn(Progress) + Send + Sync)) -> Result<VerifyReport, StorageError> {
    let chunk_bytes: u64 = evidence.chunks.iter().flatten().map(|chunk| chunk.bytes).sum();
    let log_bytes: u64 = evidence.segments.iter().map(|segment| segment.bytes).sum();
    let mut meter = Meter::new(chunk_bytes + log_bytes, report);
    let mut report = VerifyReport { problems: evidence.problems.clone(), ..VerifyReport::default() };
    let mut expected = RowCounts::default();
    for (key, counts) in &evidence.ledger {
        if !counts.balances() {
            report.problems.push(format!(
                "ledger of tenant {}, {}, minute {}: does not balance: {counts:?}",
                key.tenant.as_str(),
                key.signal,
                key.minute_seconds
            ));
        }
        *of_signal(&mut expected, key.signal) += counts.stored;
    }
    let mut found = RowCounts::default();
    let mut active = HashSet::new();
    for table in Table::ALL {
        for chunk in &evidence.chunks[table as usize] {
            active.insert(expired_name(table, chunk));
            match read_chunk(table, chunk) {
                Ok(counts) => {
                    add(&mut found, &counts);
                    report.chunks += 1;
                }
                Err(problem) => report.problems.push(problem),
            }
            meter.add(chunk.bytes);
        }
    }
    (report.spans, report.logs, report.points) = (found.spans, found.logs, found.points);
    evidence.expired.iter().filter(|(name, _)| !active.contains(name)).for_each(|(_, counts)| add(&mut found, counts));
    for (position, segment) in evidence.segments.iter().enumerate() {
        let is_last = position + 1 == evidence.segments.len();
        let committed = read_segment(evidence, segment, is_last, &mut report)?;
        add(&mut expected, &committed);
        meter.add(segment.bytes);
    }
    for signal in Signal::ALL {
        let (expected, found) = (*of_signal(&mut expected, *signal), *of_signal(&mut found, *signal));
        if expected != found {
            report.problems.push(format!("{signal}: the ledger says {expected} stored, the chunks hold {found}"));
        }
    }
    Ok(report)
}

fn expired_name(table: Table, chunk: &Chunk) -> String {
    format!("{}/{}", table.name(), chunk.relative_path())
}

fn add(total: &mut RowCounts, counts: &RowCounts) {
    total.spans += counts.spans;
    total.logs += counts.logs;
    total.points += counts.points;
}

fn of_signal(counts: &mut RowCounts, signal: Signal) -> &mut u64 {
    match signal {
        Signal::Traces => &mut counts.spans,
        Signal::Logs => &mut counts.logs,
        Signal::Metrics => &mut counts.points,
    }
}

/// Rows of a chunk, all of which are decoded; or what is wrong with it.
fn read_chunk(table: Table, chunk: &Chunk) -> Result<RowCounts, String> {
    let path = chunk.path.display();
    if !has_its_checksum(&chunk.path, chunk.open().map_err(|error| error.to_string())?)
        .map_err(|error| error.to_string())?
    {
        let place = damaged_place(chunk).unwrap_or_else(|| "every column can still be read".to_owned());
        return Err(format!("{path}: the content has changed since it was written: {place}"));
    }
    let (mut counts, mut rows) = (RowCounts::default(), 0);
    for batch in batches(chunk).map_err(|error| error.to_string())? {
        let batch = batch.map_err(|error| format!("{path}: {error}"))?;
        rows += batch.num_rows() as u64;
        add(&mut counts, &count_rows(table, &batch));
    }
    if rows == chunk.rows { Ok(counts) } else { Err(format!("{path}: has {rows} rows, not {}", chunk.rows)) }
}

/// The first column of the first row group that cannot be read.
fn damaged_place(chunk: &Chunk) -> Option<String> {
    let open = || {
        let file = chunk.open().map_err(|error| error.to_string())?;
        ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string())
    };
    let metadata = match open() {
        Ok(builder) => builder.metadata().clone(),
        Err(error) => return Some(format!("the footer cannot be read, at the end of {} bytes: {error}", chunk.bytes)),
    };
    for (group, row_group) in metadata.row_groups().iter().enumerate() {
        for (index, column) in row_group.columns().iter().enumerate() {
            let read = open().and_then(|builder| {
                let mask = ProjectionMask::leaves(builder.parquet_schema(), [index]);
                let reader = builder.with_row_groups(vec![group]).with_projection(mask).build();
                reader
                    .map_err(|error| error.to_string())?
                    .try_for_each(|batch| batch.map(drop))
                    .map_err(|e| e.to_string())
            });
            if let Err(error) = read {
                let (start, length) = column.byte_range();
                let name = column.column_path().string();
                return Some(format!("column {name}, bytes {start} to {}: {error}", start + length));
            }
        }
    }
    None
}

/// Counts good records; returns the items of those that a table has although SQLite does not count them yet.
fn read_segment(
    evidence: &Evidence,
    segment: &Segment,
    is_last: bool,
    report: &mut VerifyReport,
) -> Result<RowCounts, StorageError> {
    let mut committed = RowCounts::default();
    let read = scan(&RealDisk, segment, |offset, record, _| {
        report.log_records += 1;
        if let Record::Request(request) = record {
            let table = if request.signal == Signal::Metrics { Table::Metrics } else { Table::Events };
            if offset > evidence.saved && offset <= evidence.offsets[table as usize] {
                *of_signal(&mut committed, request.signal) += request.received.saturating_sub(request.rejected);
            }
        }
        ControlFlow::Continue(())
    });
    match read {
        Ok(read) => {
            let (notes, problems): (Vec<_>, Vec<_>) =
                read.damage.iter().partition(|damage| is_last && damage.is_unfinished_write());
            report.problems.extend(problems.iter().map(|damage| damage.sentence(segment)));
            report.notes.extend(notes.iter().map(|damage| {
                let path = segment.path.display();
                format!("{path}: an unfinished write at byte {}, which was not acknowledged", damage.at)
            }));
        }
        Err(StorageError::File { source, .. }) if evidence.running && source.kind() == std::io::ErrorKind::NotFound => {
        }
        Err(error) => return Err(error),
    }
    Ok(committed)
}
