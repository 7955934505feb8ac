//! Joining, duplicates, cold chunks, the grace of replaced files, and the length of the Delta log.

use super::world::{MINUTE, START, Sent, World, open, options, request, rows_of};
use crate::chunk::COLD_LEVEL;
use crate::chunk::join::{join, read_all};
use crate::chunk::writer::write_chunks;
use crate::compaction::candidates;
use crate::{Chunk, CrashPoint, JobKind, StorageError, StoreOptions, verify};
use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use whence_schema::tables::{events, metrics};
use whence_schema::{Rows, Table, UnixNanos};

async fn wait_for(world: &World, what: impl Fn(&World) -> bool) {
    for _ in 0..400 {
        if what(world) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited in vain: {:?} {:?}", world.statistics(), world.store.jobs());
}

fn failures(world: &World) -> u64 {
    world.store.jobs().iter().filter(|job| job.kind == JobKind::Compaction).map(|job| job.failures).sum()
}

/// Eight flushes, in which spans 1 to 20 come twice, in requests that are not the same.
async fn send_copies(world: &World) {
    for part in 0..8u64 {
        let from = if part == 5 { 1 } else { part * 20 + 1 };
        let more = if part == 5 { 500 } else { from + 19 };
        let ids = (from..from + 19).chain([more]);
        world.append(&Sent::Spans(ids.map(|id| (id, 0, id as i64)).collect())).await;
        world.append(&Sent::Points(vec![(1, part as f64, part as i64)])).await;
        world.store.flush().await.unwrap();
    }
}

fn compacting(path: &Path) -> StoreOptions {
    StoreOptions { compaction: true, ..options(path) }
}

fn distinct() -> Vec<u64> {
    (1..=160).filter(|id| !(101..=120).contains(id)).chain([500]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_copy_of_a_span_stays_and_the_ledger_moves_the_other_to_duplicate() {
    let folder = tempfile::tempdir().unwrap();
    let world = open(compacting(folder.path())).await.unwrap();
    send_copies(&world).await;
    wait_for(&world, |world| world.statistics().compactions >= 2).await;
    let totals = world.totals().await;
    assert_eq!(totals.spans, distinct());
    assert_eq!(totals.ledger["traces"], [160, 141, 19, 0, 0]);
    assert_eq!(world.statistics().removed_duplicates, 19);
    let metric_rows: usize = rows_of(&world.store.snapshot(), Table::Metrics).iter().map(RecordBatch::num_rows).sum();
    assert_eq!((metric_rows, totals.points), (1, 8));
    world.close().await;
    assert_eq!(verify(folder.path(), |_| ()).await.unwrap().problems, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_point_of_a_replacement_moves_duplicates_in_the_ledger_once() {
    for point in CrashPoint::OF_REPLACEMENT {
        let folder = tempfile::tempdir().unwrap();
        let world = open(options(folder.path())).await.unwrap();
        send_copies(&world).await;
        world.close().await;
        let world = open(StoreOptions { fail_at: Some(point), ..compacting(folder.path()) }).await.unwrap();
        wait_for(&world, |world| failures(world) > 0).await;
        world.kill().await;
        assert_eq!(verify(folder.path(), |_| ()).await.unwrap().problems, Vec::<String>::new(), "{point:?}");
        let world = open(compacting(folder.path())).await.unwrap();
        wait_for(&world, |world| world.store.snapshot().events.chunks.len() == 1).await;
        let mut totals = world.totals().await;
        for _ in 0..100 {
            if totals.ledger["traces"][2] > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            totals = world.totals().await;
        }
        assert_eq!((totals.spans, totals.ledger["traces"]), (distinct(), [160, 141, 19, 0, 0]), "{point:?}");
        world.close().await;
        assert_eq!(verify(folder.path(), |_| ()).await.unwrap().problems, Vec::<String>::new(), "{point:?}");
    }
}

fn span_batch(spans: Vec<(u64, u64, i64)>) -> RecordBatch {
    match request(&Sent::Spans(spans), 0).rows {
        Rows::Events(batch) => batch,
        Rows::Metrics(_) => unreachable!(),
    }
}

#[test]
fn more_chunks_than_are_read_at_a_time_become_one_sorted_whole_without_copies() {
    let folder = tempfile::tempdir().unwrap();
    let mut chunks = Vec::new();
    for part in 0..60u64 {
        // Every third span of a part is in the next one as well.
        let ids = (part * 300..part * 300 + 400).filter(|id| *id < part * 300 + 300 || id % 3 == 0);
        let spans = span_batch(ids.map(|id| (id + 1, 0, (id * 7_919 % 5_000) as i64)).collect());
        chunks.extend(write_chunks(&disk(), Table::Events, folder.path(), &[spans], 9 + part as i64, 0).unwrap());
    }
    let merged = join(&disk(), Table::Events, folder.path(), &chunks, COLD_LEVEL).unwrap();
    let chunk = merged.chunk.unwrap();
    let rows: Vec<RecordBatch> = read_all(&chunk).unwrap();
    let mut keys = Vec::new();
    let mut ids = Vec::new();
    for batch in &rows {
        let assets = batch.column(events::column::ASSET_ID).as_string_view();
        let times = batch.column(events::column::TIMESTAMP).as_primitive::<TimestampMicrosecondType>();
        keys.extend((0..batch.num_rows()).map(|row| (assets.value(row).to_owned(), times.value(row))));
        ids.extend(batch.column(events::column::SPAN_ID).as_primitive::<Int64Type>().values().iter().copied());
    }
    assert!(keys.is_sorted());
    ids.sort_unstable();
    let expected: Vec<i64> =
        (0..60 * 300).chain((60 * 300..60 * 300 + 100).filter(|id| id % 3 == 0)).map(|id| id + 1).collect();
    assert_eq!(ids, expected);
    assert_eq!((chunk.level, chunk.rows, chunk.created_seconds), (COLD_LEVEL, ids.len() as u64, 68));
    assert_eq!(merged.removed.values().sum::<u64>(), merged.removed_rows);
    let times = || keys.iter().map(|key| key.1);
    assert_eq!(chunk.min_time.micros(), times().min().unwrap());
    assert_eq!(chunk.max_time.micros(), times().max().unwrap());
    let on_disk = crate::delta::parquet_files(folder.path()).unwrap().len();
    assert_eq!(on_disk, chunks.len() + 1, "what was written on the way is deleted");
}

#[test]
fn parts_of_a_metric_row_are_put_together_however_many_rows_stand_between_them() {
    let folder = tempfile::tempdir().unwrap();
    let rows = |part: i64| -> Vec<RecordBatch> {
        let mut memtable = crate::memtable::metrics::MetricsMemtable::default();
        let sent = Sent::Points((0..3_000).flat_map(|series| [(series, 0.0, part), (series, 2.0, part + 1)]).collect());
        let request = request(&sent, 0);
        let Rows::Metrics(points) = &request.rows else { unreachable!() };
        memtable.add(&request.tenant, points, request.received_at, 100_000, true);
        memtable.batches().unwrap()
    };
    let mut chunks = Vec::new();
    for part in 0..5 {
        chunks.extend(write_chunks(&disk(), Table::Metrics, folder.path(), &rows(part * 2), 9, 0).unwrap());
    }
    let merged = join(&disk(), Table::Metrics, folder.path(), &chunks, 1).unwrap();
    let batches = read_all(&merged.chunk.unwrap()).unwrap();
    let (mut count, mut points, mut sum) = (0, 0, 0.0);
    for batch in &batches {
        count += batch.num_rows();
        points += batch.column(metrics::column::POINT_COUNT).as_primitive::<Int64Type>().values().iter().sum::<i64>();
        sum += batch.column(metrics::column::VALUE_SUM).as_primitive::<Float64Type>().values().iter().sum::<f64>();
    }
    assert_eq!((count, points, sum), (3_000, 30_000, 30_000.0));
}

fn disk() -> Arc<dyn crate::Disk> {
    Arc::new(crate::RealDisk)
}

fn chunk_of(day: &str, created: i64, level: u8, number: u32, bytes: u64) -> Arc<Chunk> {
    let path = PathBuf::from(format!("/t/events/day={day}/bucket=1/{created}-{level:02}-{number:04x}-00.parquet"));
    let facts = crate::chunk::Facts { rows: 10, bytes, min_micros: 0, max_micros: 0 };
    Arc::new(Chunk::at(path, facts).unwrap())
}

#[test]
fn eight_chunks_of_a_level_are_joined_fewer_large_ones_and_a_cold_day_once() {
    let day = 20_000 * 86_400;
    let now = |seconds: i64| UnixNanos((day + seconds) * 1_000_000_000);
    let today = "2024-10-04";
    let small = |count| (0..count).map(|n| chunk_of(today, day + i64::from(n), 0, n, 1_000)).collect::<Vec<_>>();
    let two_days = Some(Duration::from_secs(2 * 86_400));
    assert!(candidates(&small(7), two_days, now(100)).is_none());
    let found = candidates(&small(9), two_days, now(100)).unwrap();
    assert_eq!((found.chunks.len(), found.level), (8, 1));
    let large: Vec<_> = (0..4).map(|n| chunk_of(today, day + i64::from(n), 1, n, 400 << 20)).collect();
    let found = candidates(&large, two_days, now(100)).unwrap();
    assert_eq!((found.chunks.len(), found.level), (2, 2));
    // Two days after its end, and an hour after the last of it was written.
    let end = 3 * 86_400;
    assert!(candidates(&small(3), two_days, now(end - 1)).is_none());
    assert!(candidates(&small(3), None, now(end)).is_none());
    let found = candidates(&small(3), two_days, now(end)).unwrap();
    assert_eq!((found.chunks.len(), found.level), (3, COLD_LEVEL));
    assert!(candidates(&[chunk_of(today, day + end - 10, 0, 1, 1_000)], two_days, now(end)).is_none());
    assert!(candidates(&[chunk_of(today, day, COLD_LEVEL, 1, 1_000)], two_days, now(end)).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_day_is_written_anew_once() {
    let folder = tempfile::tempdir().unwrap();
    let world = open(options(folder.path())).await.unwrap();
    for part in 0..3u64 {
        world.append(&Sent::Spans((part * 50..part * 50 + 60).map(|id| (id + 1, 0, id as i64)).collect())).await;
        world.store.flush().await.unwrap();
    }
    world.close().await;
    let later = StoreOptions { clock: || UnixNanos(START + 4 * 86_400_000_000_000), ..compacting(folder.path()) };
    let world = open(later).await.unwrap();
    wait_for(&world, |world| world.statistics().compactions > 0).await;
    let chunks = world.store.snapshot().events.chunks.clone();
    assert_eq!((chunks.len(), chunks[0].level), (1, COLD_LEVEL));
    assert_eq!(world.totals().await.spans, (1..=160).collect::<Vec<_>>());
    let done = world.statistics().compactions;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(world.statistics().compactions, done, "nothing is left to do");
    world.close().await;
    assert_eq!(verify(folder.path(), |_| ()).await.unwrap().problems, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_files_stay_for_their_grace_also_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let on_disk = || crate::delta::parquet_files(&folder.path().join("events")).unwrap().len();
    let patient = StoreOptions { grace: Duration::from_secs(60), ..compacting(folder.path()) };
    let world = open(patient.clone()).await.unwrap();
    send_copies(&world).await;
    wait_for(&world, |world| world.store.snapshot().events.chunks.len() == 1).await;
    assert_eq!(on_disk(), 9);
    world.close().await;
    let world = open(patient.clone()).await.unwrap();
    assert_eq!(on_disk(), 9, "the grace has not ended");
    world.close().await;
    let world = open(StoreOptions { clock: || UnixNanos(START + 10 * MINUTE), ..patient }).await.unwrap();
    assert_eq!(on_disk(), 1);
    assert_eq!(world.totals().await.spans, distinct());
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_delta_log_stays_short_and_a_garbled_checkpoint_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let world = open(options(folder.path())).await.unwrap();
    for id in 1..90 {
        world.append(&Sent::Spans(vec![(id, 0, 1)])).await;
        world.store.flush().await.unwrap();
    }
    world.close().await;
    let log = folder.path().join("events/_delta_log");
    let names = || {
        let entries = std::fs::read_dir(&log).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let checkpoints: Vec<_> = names().into_iter().filter(|name| name.ends_with(".checkpoint.parquet")).collect();
    assert_eq!(checkpoints.len(), 2, "{:?}", names());
    assert!(names().len() <= 44, "{:?}", names());
    for checkpoint in checkpoints.iter().rev() {
        let path = log.join(checkpoint);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.iter_mut().for_each(|byte| *byte ^= 0x5a);
        std::fs::write(&path, bytes).unwrap();
        let opened = open(options(folder.path())).await;
        if checkpoint == &checkpoints[1] {
            let world = opened.unwrap();
            assert_eq!(world.totals().await.spans, (1..90).collect::<Vec<_>>());
            world.close().await;
        } else {
            // The commits before it are gone: nothing may be made up.
            assert!(matches!(opened.err(), Some(StorageError::Delta { .. })));
        }
    }
}
