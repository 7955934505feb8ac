//! Proof that a data directory holds what its ledger says.
//!
//! ```text
//! ledger `stored` (SQLite, up to O) + items of log records behind O that a table has already
//!     = rows in chunks + rows that retention dropped
//! ```

use crate::chunk::file::is_intact;
use crate::chunk::join::read_all;
use crate::control::{Control, RowCounts};
use crate::delta::DeltaLog;
use crate::flush::blocking;
use crate::log::{LogOffset, Record, list_segments, scan};
use crate::retention::count_rows;
use crate::store::lock_directory;
use crate::{Chunk, RealDisk, StorageError};
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use whence_schema::{Signal, Table};

/// What [`verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
}

/// Reads everything in the data directory `path`, which no server may be using; no row of it is changed. Takes as long
/// as reading every file does.
///
/// # Errors
///
/// When the directory is in use or is no data directory; damage is no error but part of the report.
pub async fn verify(path: &Path) -> Result<VerifyReport, StorageError> {
    if !path.join("control.db").is_file() {
        let reason = "no data directory: there is no control.db in it".to_owned();
        return Err(StorageError::Incompatible { path: path.to_owned(), reason });
    }
    let root = path.to_owned();
    let lock = blocking("verify", move || lock_directory(&root)).await?;
    let control = Control::open(path).await?;
    let mut report = VerifyReport::default();
    let (ledger, saved) = control.ledger(None).await?;
    let mut expected = RowCounts::default();
    for (key, counts) in &ledger {
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
    let mut offsets = [saved; 3];
    let mut found = RowCounts::default();
    let mut active = HashSet::new();
    for table in Table::ALL {
        match DeltaLog::open(table, path, None, false).await {
            Ok((log, chunks)) => {
                offsets[table as usize] = log.offset().max(saved);
                active.extend(chunks.iter().map(|chunk| expired_name(table, chunk)));
                let (counts, read, problems) = blocking("verify", move || Ok(read_chunks(table, &chunks))).await?;
                add(&mut found, &counts);
                report.chunks += read;
                report.problems.extend(problems);
            }
            Err(error) => report.problems.push(error.to_string()),
        }
    }
    (report.spans, report.logs, report.points) = (found.spans, found.logs, found.points);
    for (name, counts) in control.expired().await? {
        if !active.contains(&name) {
            add(&mut found, &counts);
        }
    }
    let log = path.join("log");
    let (records, committed, problems) = blocking("verify", move || read_log(&log, saved, offsets)).await?;
    report.log_records = records;
    report.problems.extend(problems);
    add(&mut expected, &committed);
    for signal in Signal::ALL {
        let (expected, found) = (*of_signal(&mut expected, *signal), *of_signal(&mut found, *signal));
        if expected != found {
            report.problems.push(format!("{signal}: the ledger says {expected} stored, the chunks hold {found}"));
        }
    }
    control.close().await;
    drop(lock);
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

fn read_chunks(table: Table, chunks: &[Arc<Chunk>]) -> (RowCounts, u64, Vec<String>) {
    let (mut total, mut read, mut problems) = (RowCounts::default(), 0, Vec::new());
    for chunk in chunks {
        match is_intact(&chunk.path).and_then(|intact| Ok((intact, read_all(chunk)?))) {
            Ok((false, _)) => {
                problems.push(format!("{}: the content has changed since it was written", chunk.path.display()))
            }
            Ok((true, batches)) => {
                let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
                if rows as u64 != chunk.rows {
                    problems.push(format!("{}: has {rows} rows, not {}", chunk.path.display(), chunk.rows));
                }
                batches.iter().for_each(|batch| add(&mut total, &count_rows(table, batch)));
                read += 1;
            }
            Err(error) => problems.push(error.to_string()),
        }
    }
    (total, read, problems)
}

/// Records with good checksums, and the items of those that a table has although SQLite does not count them yet.
fn read_log(
    folder: &Path,
    saved: LogOffset,
    offsets: [LogOffset; 3],
) -> Result<(u64, RowCounts, Vec<String>), StorageError> {
    let (mut records, mut committed, mut problems) = (0, RowCounts::default(), Vec::new());
    for segment in list_segments(&RealDisk, folder)? {
        let read = scan(&RealDisk, &segment, |offset, record, _| {
            records += 1;
            if let Record::Request(request) = record {
                let table = if request.signal == Signal::Metrics { Table::Metrics } else { Table::Events };
                if offset > saved && offset <= offsets[table as usize] {
                    *of_signal(&mut committed, request.signal) += request.received.saturating_sub(request.rejected);
                }
            }
            ControlFlow::Continue(())
        })?;
        problems.extend(read.damage.iter().map(|damage| damage.sentence(&segment)));
    }
    Ok((records, committed, problems))
}
