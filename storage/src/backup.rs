//! Backups: several restore points in one directory, sharing the chunk files they have in common.
//!
//! ```text
//! <backup>/whence-backup                                    marks the directory, holds the version of this layout: 1
//! <backup>/{events,metrics,correlations}/                   Delta tables with the rows of the newest restore point
//! <backup>/restore-points/<id>/manifest-<XXH3-64>.json      which chunks, with their sizes; written last
//! <backup>/restore-points/<id>/control.db, digests/*        the control database and duplicate journal of that offset
//! <backup>/restore-points/<id>.partial/                     a backup that did not end; deleted by the next one
//! ```
//!
//! ```text
//! pin (commit at offset O; ingest goes on) -> copy control.db, journal -> copy chunks the directory lacks
//!     -> fsync -> Delta commit in the directory -> manifest -> rename the restore point -> drop old ones
//! ```
//!
//! Chunk files never change and have their checksum in their name: what is there under its final name is whole, and is
//! not copied again. Every byte that is copied is checked on the way. A crash leaves a restore point that is not there
//! and files that the next backup takes up or deletes.

mod manifest;

pub(crate) use manifest::{ChunkEntry, FileEntry, Manifest, read_manifest, restore_points};

use crate::chunk::file::checksum_in_name;
use crate::delta::{Access, DeltaLog, OpenedTable, parquet_files};
use crate::files::{fsync_folder, make_folder, write_durably};
use crate::flush::blocking;
use crate::jobs::JobKind;
use crate::pin::Pinned;
use crate::progress::{Meter, Progress};
use crate::store::lock_directory;
use crate::{Chunk, StorageError, Store, format};
use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use whence_schema::{Table, UnixNanos};
use xxhash_rust::xxh3::Xxh3;

const MARK: &str = "whence-backup";
/// Version of the layout above.
const LAYOUT: &str = "1";
pub(crate) const RESTORE_POINTS: &str = "restore-points";
const PARTIAL: &str = ".partial";

/// What a backup did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BackupReport {
    /// Name of the new restore point: when it was made (UTC).
    pub restore_point: String,
    /// Chunks in it.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that were not in the directory yet.
    pub copied_bytes: u64,
    /// Restore points in the directory now.
    pub restore_points: u64,
}

impl Store {
    /// Makes a restore point of everything acknowledged so far in `folder`, while ingest goes on; with `keep`, deletes
    /// all but that many restore points afterwards. `folder` is empty, new, or holds earlier backups.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or written, a chunk is damaged, or `folder` holds anything but backups; the restore
    /// points that were there stay.
    pub async fn backup(
        &self,
        folder: &Path,
        keep: Option<u32>,
        report: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<BackupReport, StorageError> {
        let run = self.shared().begin_job(JobKind::Backup);
        let outcome = self.make_restore_point(folder.to_owned(), keep, report).await;
        let told = |report: &BackupReport| {
            format!(
                "restore point {} with {} bytes, {} of them new",
                report.restore_point, report.bytes, report.copied_bytes
            )
        };
        self.shared().end_job(&run, outcome.as_ref().map(told));
        outcome
    }

    async fn make_restore_point(
        &self,
        folder: PathBuf,
        keep: Option<u32>,
        report: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<BackupReport, StorageError> {
        let data = self.shared().options.path.clone();
        let (lock, folder) = blocking("backup", move || prepare(&folder, &data)).await?;
        let id = free_id(&folder, (self.shared().options.clock)());
        let point = folder.join(RESTORE_POINTS).join(format!("{id}{PARTIAL}"));
        let made = point.clone();
        blocking("backup", move || make_folder(&made)).await?;
        let pinned = Arc::new(self.pin(Some(point.clone())).await?);

        let (to, copying) = (folder.clone(), pinned.clone());
        let copied_bytes = blocking("backup", move || copy_chunks(&copying, &to, &report)).await?;
        for table in Table::ALL {
            publish(table, &folder, &pinned).await?;
        }
        let kept = folder.clone();
        let finish = move || {
            let manifest = Manifest::new(&id, &pinned, manifest::files_of(&point)?);
            manifest.write(&point)?;
            let path = kept.join(RESTORE_POINTS).join(&id);
            std::fs::rename(&point, &path).map_err(StorageError::file("rename", &point))?;
            fsync_folder(&kept.join(RESTORE_POINTS))?;
            let points = prune(&kept, keep)?;
            Ok(BackupReport {
                restore_point: id,
                chunks: manifest.chunks().count() as u64,
                bytes: manifest.chunks().map(|(_, chunk)| chunk.bytes).sum(),
                copied_bytes,
                restore_points: points,
            })
        };
        let report = blocking("backup", finish).await;
        drop(lock);
        report
    }
}

/// Name of a restore point made at `time`, or, when that is taken, a millisecond later: sorts as the times do, and is a
/// file name everywhere.
fn free_id(folder: &Path, time: UnixNanos) -> String {
    let id = |millis: i64| time_text(UnixNanos(time.0.saturating_add(millis * 1_000_000))).replace(':', "-");
    (0..).map(id).find(|id| !folder.join(RESTORE_POINTS).join(id).exists()).unwrap_or_else(|| id(0))
}

/// A time for people, such as `2026-11-23T15:40:00.123Z`.
pub fn time_text(time: UnixNanos) -> String {
    let millis = time.0.div_euclid(1_000_000);
    let (day, rest) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (hours, minutes, seconds) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60);
    let day = crate::chunk::day_text(i32::try_from(day).unwrap_or(i32::MAX));
    format!("{day}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", rest % 1_000)
}

fn refused(path: &Path, reason: &str) -> StorageError {
    StorageError::Incompatible { path: path.to_owned(), reason: reason.to_owned() }
}

/// Takes the directory for one backup at a time and clears what an interrupted one left.
fn prepare(folder: &Path, data: &Path) -> Result<(File, PathBuf), StorageError> {
    make_folder(folder)?;
    let folder = folder.canonicalize().map_err(StorageError::file("resolve", folder))?;
    let data = data.canonicalize().map_err(StorageError::file("resolve", data))?;
    if folder.starts_with(&data) || data.starts_with(&folder) {
        return Err(refused(&folder, "a backup must be outside of the data directory: name another directory"));
    }
    let mark = folder.join(MARK);
    if mark.is_file() {
        check_mark(&folder)?;
    } else {
        let mut entries = std::fs::read_dir(&folder).map_err(StorageError::file("list", &folder))?;
        if entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != "lock")) {
            return Err(refused(&folder, "is neither empty nor a backup: name another directory"));
        }
    }
    let lock = lock_directory(&folder)?;
    write_durably(&mark, format!("{LAYOUT}\n").as_bytes())?;
    let points = folder.join(RESTORE_POINTS);
    make_folder(&points)?;
    for path in list(&points)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "partial")) {
        tracing::info!(path = %path.display(), "deleting a backup that did not end");
        std::fs::remove_dir_all(&path).map_err(StorageError::file("delete", &path))?;
    }
    Ok((lock, folder))
}

/// Refuses what is no backup, or one of a newer layout. Blocks.
pub(crate) fn check_mark(folder: &Path) -> Result<(), StorageError> {
    let mark = folder.join(MARK);
    let layout = std::fs::read_to_string(&mark)
        .map_err(|_| refused(folder, "is no backup: `whence backup` makes one (there is no file whence-backup)"))?;
    if layout.trim() == LAYOUT {
        return Ok(());
    }
    let reason =
        format!("is a backup of layout {}, this whence knows {LAYOUT}: use the one that made it", layout.trim());
    Err(refused(folder, &reason))
}

pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let entries = std::fs::read_dir(folder).map_err(StorageError::file("list", folder))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(StorageError::file("list", folder)));
    paths.collect()
}

/// Copies the chunks that are not there yet; returns their bytes. Blocks.
fn copy_chunks(pinned: &Pinned, folder: &Path, report: &(dyn Fn(Progress) + Send + Sync)) -> Result<u64, StorageError> {
    let mut missing = Vec::new();
    for table in Table::ALL {
        make_folder(&folder.join(table.name()))?;
        for chunk in &pinned.chunks[table as usize] {
            let target = folder.join(table.name()).join(chunk.relative_path());
            if std::fs::metadata(&target).map(|metadata| metadata.len()).ok() != Some(chunk.bytes) {
                missing.push((chunk, target));
            }
        }
    }
    let total = missing.iter().map(|(chunk, _)| chunk.bytes).sum();
    let mut meter = Meter::new(total, report);
    let mut folders = HashSet::new();
    for (chunk, target) in &missing {
        copy_chunk(&chunk.path, chunk.open()?, target, &mut meter)?;
        folders.extend(target.parent().map(Path::to_owned));
    }
    folders.iter().try_for_each(|folder| fsync_folder(folder))?;
    Ok(total)
}

/// Copies a chunk file, comparing its content with the checksum in its name; under another name until it is whole and
/// on disk. Blocks.
pub(crate) fn copy_chunk(from: &Path, mut source: File, to: &Path, meter: &mut Meter<'_>) -> Result<(), StorageError> {
    to.parent().map_or(Ok(()), make_folder)?;
    let partial = to.with_extension("partial");
    let mut target = File::create(&partial).map_err(StorageError::file("create", &partial))?;
    let mut hasher = Xxh3::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = source.read(&mut buffer).map_err(StorageError::file("read", from))?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        target.write_all(&buffer[..read]).map_err(StorageError::file("write", &partial))?;
        meter.add(read as u64);
    }
    if checksum_in_name(from) != Some(hasher.digest()) {
        let _ = std::fs::remove_file(&partial);
        return Err(StorageError::Damaged { path: from.to_owned() });
    }
    target.sync_all().map_err(StorageError::file("fsync", &partial))?;
    std::fs::rename(&partial, to).map_err(StorageError::file("rename", &partial))
}

/// Moves the directory's Delta table to the pinned chunks.
async fn publish(table: Table, folder: &Path, pinned: &Pinned) -> Result<(), StorageError> {
    let OpenedTable { log, chunks: there, .. } = DeltaLog::open(table, folder, None, Access::Read).await?;
    let wanted = &pinned.chunks[table as usize];
    let names = |chunks: &[Arc<Chunk>]| chunks.iter().map(|chunk| chunk.relative_path()).collect::<HashSet<_>>();
    let (known, kept) = (names(&there), names(wanted));
    let without = |chunks: &[Arc<Chunk>], others: &HashSet<String>| -> Vec<Arc<Chunk>> {
        chunks.iter().filter(|chunk| !others.contains(&chunk.relative_path())).cloned().collect()
    };
    let (gone, new) = (without(&there, &kept), without(wanted, &known));
    if gone.is_empty() && new.is_empty() {
        return Ok(());
    }
    log.publish(&gone, &new, pinned.offset).await
}

/// Deletes all but the newest `keep` restore points, and the chunk files that no restore point has; returns how many
/// restore points there are. Blocks.
fn prune(folder: &Path, keep: Option<u32>) -> Result<u64, StorageError> {
    let mut points = restore_points(folder)?;
    let surplus = keep.map_or(0, |keep| points.len().saturating_sub(keep.max(1) as usize));
    for point in points.drain(..surplus) {
        // Without its manifest it is none, whatever a crash leaves of the rest.
        let gone = point.with_extension("partial");
        std::fs::rename(&point, &gone).map_err(StorageError::file("rename", &point))?;
        fsync_folder(&folder.join(RESTORE_POINTS))?;
        std::fs::remove_dir_all(&gone).map_err(StorageError::file("delete", &gone))?;
    }
    let mut needed = HashSet::new();
    for point in &points {
        let manifest = read_manifest(point)?;
        needed.extend(manifest.chunks().map(|(table, chunk)| folder.join(table.name()).join(&chunk.path)));
    }
    for table in Table::ALL {
        for path in parquet_files(&folder.join(table.name()))? {
            if !needed.contains(&path) {
                std::fs::remove_file(&path).map_err(StorageError::file("delete", &path))?;
            }
        }
    }
    Ok(points.len() as u64)
}

impl Manifest {
    fn new(id: &str, pinned: &Pinned, files: Vec<FileEntry>) -> Self {
        let entries = |table: Table| -> Vec<ChunkEntry> {
            pinned.chunks[table as usize].iter().map(|chunk| ChunkEntry::of(chunk)).collect()
        };
        Self {
            whence: env!("CARGO_PKG_VERSION").to_owned(),
            format: format::FORMAT,
            restore_point: id.to_owned(),
            taken_at: pinned.taken_at,
            offset: pinned.offset.0,
            events: entries(Table::Events),
            metrics: entries(Table::Metrics),
            correlations: entries(Table::Correlations),
            files,
        }
    }
}
