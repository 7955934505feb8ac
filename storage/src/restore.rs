//! Restoring a backup into a data directory, whether or not a server is using that directory.
//!
//! ```text
//! stage    <data>/restoring.partial/   copied and checked, Delta logs written anew, cut at a time if asked for
//!          rename to <data>/restoring  from here on the restore will be completed, whatever happens
//! switch   everything else in <data>   -> <data>/replaced-<restore point>-<n>/
//!          rename restoring to restored
//!          <data>/restored/*           -> <data>/
//! ```
//!
//! Staging needs no lock: a running server goes on meanwhile. The switch happens when the directory is opened the next
//! time, before anything else, and each of its steps can be repeated. A directory in which staging was interrupted
//! opens with the data it had; if it had none, it is refused, for an empty store would be taken for the restored one.
//! What was replaced is kept until somebody deletes it.
//!
//! Restoring to a time takes the first restore point made at or after it and leaves out the rows accepted
//! (`created_at`) later: see `restore/cut.rs`.

mod cut;
mod switch;

pub(crate) use switch::{complete, complete_on_open};

use crate::backup::{Manifest, check_mark, copy_chunk, read_manifest, restore_points, time_text};
use crate::control::Control;
use crate::delta::{Access, DeltaLog, OpenedTable};
use crate::files::{fsync_folder, make_folder};
use crate::flush::blocking;
use crate::log::LogOffset;
use crate::pin::copy_folder;
use crate::progress::{Meter, Progress};
use crate::store::lock_directory;
use crate::{Chunk, StorageError, VerifyReport, format};
use cut::Cut;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use whence_schema::{Table, UnixNanos};

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RestoreReport {
    /// The restore point that was used.
    pub restore_point: String,
    /// When that was made.
    pub taken_at: UnixNanos,
    /// Rows accepted later were left out.
    pub cut_at: Option<UnixNanos>,
    /// How many those were, by table: events, metrics, correlations.
    pub left_out: [u64; 3],
    /// Chunks restored.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A point in time written as RFC 3339; without a zone it is in UTC.
pub fn parse_time(text: &str) -> Option<UnixNanos> {
    arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(text).ok().map(UnixNanos)
}

/// Puts a backup into the data directory `data`, which no server may be using; what was there is kept beside it.
///
/// # Errors
///
/// When the directory is in use, or the backup is damaged or has no restore point for `to`. The data is as it was then.
pub async fn restore(
    backup: &Path,
    data: &Path,
    to: Option<UnixNanos>,
    report: impl Fn(Progress) + Send + Sync + 'static,
) -> Result<RestoreReport, StorageError> {
    let root = data.to_owned();
    let lock = blocking("restore", move || make_folder(&root).and_then(|()| lock_directory(&root))).await?;
    let restored = stage_restore(backup, data, to, report).await?;
    let root = data.to_owned();
    blocking("restore", move || complete(&root)).await?;
    drop(lock);
    Ok(restored)
}

/// Prepares a restore into `data`, whose server may go on running: the data changes when the directory is opened the
/// next time.
///
/// # Errors
///
/// As [`restore`].
pub async fn stage_restore(
    backup: &Path,
    data: &Path,
    to: Option<UnixNanos>,
    report: impl Fn(Progress) + Send + Sync + 'static,
) -> Result<RestoreReport, StorageError> {
    let staged = stage(backup.to_owned(), data.to_owned(), to, report).await;
    if staged.is_err() {
        let data = data.to_owned();
        blocking("restore", move || switch::abandon(&data)).await?;
    }
    staged
}

async fn stage(
    backup: PathBuf,
    data: PathBuf,
    to: Option<UnixNanos>,
    report: impl Fn(Progress) + Send + Sync + 'static,
) -> Result<RestoreReport, StorageError> {
    let folder = backup.clone();
    let (point, manifest) = blocking("restore", move || choose(&folder, to)).await?;
    // A time after everything in the restore point leaves nothing out.
    let cut_at = to.filter(|to| *to < manifest.taken_at);
    let staging = switch::begin(&data)?;

    let manifest = Arc::new(manifest);
    let cut = Arc::new(Mutex::new(Cut::new(cut_at)));
    let copying = (backup.clone(), staging.clone(), manifest.clone(), cut.clone());
    let chunks = blocking("restore", move || {
        let (backup, staging, manifest, cut) = copying;
        copy_all(&backup, &staging, &manifest, &mut cut.lock(), &report)
    })
    .await?;
    let offset = LogOffset(manifest.offset);
    for (table, chunks) in Table::ALL.into_iter().zip(&chunks) {
        let OpenedTable { log, .. } = DeltaLog::open(table, &staging, None, Access::Read).await?;
        if !chunks.is_empty() {
            log.publish(&[], chunks, offset).await?;
        }
    }
    let (from, to_folder, checked) = (point.clone(), staging.clone(), manifest.clone());
    blocking("restore", move || copy_state(&from, &to_folder, &checked, cut_at.is_some())).await?;
    let control = Control::open(&staging).await?;
    let left_out = std::mem::take(&mut *cut.lock());
    left_out.apply(&control).await?;
    if data.join("control.db").is_file() {
        control.adopt_keys(&data.join("control.db")).await?;
    }
    control.remember_restore(&manifest.restore_point, manifest.taken_at, cut_at).await?;
    control.close().await;
    let restored = RestoreReport {
        restore_point: manifest.restore_point.clone(),
        taken_at: manifest.taken_at,
        cut_at,
        left_out: left_out.rows(),
        chunks: chunks.iter().map(|chunks| chunks.len() as u64).sum(),
        bytes: chunks.iter().flatten().map(|chunk| chunk.bytes).sum(),
    };
    blocking("restore", move || {
        format::write(&staging, format::FORMAT)?;
        switch::decide(&data, &staging, &restored.restore_point)?;
        Ok(restored)
    })
    .await
}

/// Reads everything in a backup and compares it with its checksums.
///
/// # Errors
///
/// When `backup` is no backup or cannot be listed; damage is no error but part of the report.
pub async fn verify_backup(
    backup: &Path,
    report: impl Fn(Progress) + Send + Sync + 'static,
) -> Result<VerifyReport, StorageError> {
    let backup = backup.to_owned();
    blocking("verify", move || check_backup(&backup, &report)).await
}

fn check_backup(backup: &Path, report: &(dyn Fn(Progress) + Send + Sync)) -> Result<VerifyReport, StorageError> {
    check_mark(backup)?;
    let mut found = VerifyReport::default();
    let mut chunks = std::collections::BTreeMap::new();
    for point in restore_points(backup)? {
        match read_manifest(&point).and_then(|manifest| manifest.check_files(&point).map(|()| manifest)) {
            Ok(manifest) => chunks.extend(
                manifest.chunks().map(|(table, chunk)| (backup.join(table.name()).join(&chunk.path), chunk.bytes)),
            ),
            Err(error) => found.problems.push(error.to_string()),
        }
    }
    let mut meter = Meter::new(chunks.values().sum(), report);
    for (path, bytes) in chunks {
        match crate::chunk::file::is_intact(&path) {
            Ok(true) => found.chunks += 1,
            Ok(false) => found.problems.push(StorageError::Damaged { path }.to_string()),
            Err(error) => found.problems.push(error.to_string()),
        }
        meter.add(bytes);
    }
    Ok(found)
}

/// The restore point for `to`: the first that was made at or after it; without a time, the newest. Blocks.
fn choose(backup: &Path, to: Option<UnixNanos>) -> Result<(PathBuf, Manifest), StorageError> {
    check_mark(backup)?;
    let points = restore_points(backup)?;
    let none = |reason: String| StorageError::Incompatible { path: backup.to_owned(), reason };
    let Some(newest) = points.last() else {
        return Err(none("has no restore point: the first `whence backup` into it did not end".to_owned()));
    };
    let Some(to) = to else { return Ok((newest.clone(), read_manifest(newest)?)) };
    for point in &points {
        let manifest = read_manifest(point)?;
        if manifest.taken_at >= to {
            return Ok((point.clone(), manifest));
        }
    }
    let newest = read_manifest(newest)?.taken_at;
    Err(none(format!(
        "the newest restore point is of {}, before {}: leave out --to to restore it",
        time_text(newest),
        time_text(to)
    )))
}

/// Copies the chunks, rows that are to be left out excepted. Blocks.
fn copy_all(
    backup: &Path,
    staging: &Path,
    manifest: &Manifest,
    cut: &mut Cut,
    report: &(dyn Fn(Progress) + Send + Sync),
) -> Result<[Vec<Arc<Chunk>>; 3], StorageError> {
    let mut meter = Meter::new(manifest.chunks().map(|(_, chunk)| chunk.bytes).sum(), report);
    let mut chunks = [const { Vec::new() }; 3];
    for table in Table::ALL {
        let (from, to) = (backup.join(table.name()), staging.join(table.name()));
        make_folder(&to)?;
        for entry in manifest.of(table) {
            let source = entry.chunk(&from)?;
            if cut.keeps_all(table, &source)? {
                copy_chunk(&source.path, source.open()?, &to.join(&entry.path), &mut meter)?;
                to.join(&entry.path).parent().map_or(Ok(()), fsync_folder)?;
                chunks[table as usize].push(Arc::new(entry.chunk(&to)?));
            } else {
                chunks[table as usize].extend(cut.copy_part(table, &source, &to)?);
                meter.add(entry.bytes);
            }
        }
    }
    Ok(chunks)
}

/// Copies control database and journal. Blocks.
fn copy_state(point: &Path, staging: &Path, manifest: &Manifest, cut: bool) -> Result<(), StorageError> {
    manifest.check_files(point)?;
    let control = staging.join("control.db");
    std::fs::copy(point.join("control.db"), &control).map_err(StorageError::file("copy", point))?;
    crate::files::fsync_file(&control)?;
    // Requests that are left out are not known any more: whoever still has them may send them again. The journal does
    // not say when a request came, so with a time it is left out as a whole.
    if !cut {
        copy_folder(&point.join("digests"), &staging.join("digests"))?;
    } else {
        make_folder(&staging.join("digests"))?;
    }
    make_folder(&staging.join("log"))
}

/// Name of a folder for what a restore replaces.
fn replaced_name(data: &Path, restore_point: &str) -> PathBuf {
    let name = |n: u32| data.join(format!("replaced-{restore_point}-{n}"));
    (1..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0))
}
