//! What a store does while nothing goes wrong, and what verify finds when something did.

use super::world::{MINUTE, START, Sent, map, open, options, request, rows_of, totals};
use crate::{Appended, Constant, StorageError, Store, StoreOptions, verify};
use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use std::path::PathBuf;
use std::time::Duration;
use whence_schema::tables::events::column;
use whence_schema::{Signal, Table, TenantId, UnixNanos};

fn spans(ids: std::ops::Range<u64>) -> Sent {
    Sent::Spans(ids.map(|id| (id, id / 2, (id % 90) as i64)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_visible_at_once_and_the_same_after_flush_and_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let world = open(options(folder.path())).await.unwrap();
    assert_eq!(world.append(&spans(1..40)).await, Appended::Stored);
    world.append(&Sent::Logs(vec![("started".to_owned(), 1), ("stopped".to_owned(), 2)])).await;
    world.append(&Sent::Points(vec![(1, 10.0, 0), (1, 14.0, 61), (2, 3.0, 5), (2, 3.5, 6)])).await;
    let before = totals(&world.store.snapshot());
    assert_eq!((before.spans.len(), before.logs, before.points, before.growth), (39, 2, 4, 4.5));
    world.store.flush().await.unwrap();
    let flushed = world.totals().await;
    assert_eq!(world.statistics().memtable_rows, 0);
    assert_eq!((&flushed.spans, flushed.logs, flushed.points), (&before.spans, 2, 4));
    assert_eq!(flushed.links, (2..40).collect::<Vec<_>>());
    assert_eq!(flushed.ledger["traces"], [39, 39, 0, 0, 0]);
    world.close().await;

    let world = open(options(folder.path())).await.unwrap();
    assert_eq!(world.report.requests, 0);
    assert_eq!(world.totals().await, flushed);
    let assets = world.store.assets(&TenantId::default()).await.unwrap();
    assert_eq!((assets.num_rows(), assets.column(0).as_string_view().value(0)), (1, "cart"));
    world.append(&Sent::Points(vec![(1, 15.0, 70)])).await;
    assert_eq!(world.totals().await.growth, 5.5, "the last value of a series survives");
    world.close().await;
    assert_eq!(verify(folder.path(), |_| ()).await.unwrap().problems, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_are_sorted_and_partitioned() {
    let folder = tempfile::tempdir().unwrap();
    let world = open(options(folder.path())).await.unwrap();
    world.append(&Sent::Spans((1..200).map(|id| (id, 0, (id as i64 * 7_919) % 200_000)).collect())).await;
    world.store.flush().await.unwrap();
    let snapshot = world.store.snapshot();
    assert!(snapshot.events.chunks.len() >= 3, "200,000 seconds are three days");
    for chunk in &snapshot.events.chunks {
        let rows = crate::chunk::join::read_all(chunk).unwrap().remove(0);
        let times = rows.column(column::TIMESTAMP).as_primitive::<TimestampMicrosecondType>();
        let assets = rows.column(column::ASSET_ID).as_string_view();
        let keys: Vec<_> = (0..rows.num_rows()).map(|row| (assets.value(row), times.value(row))).collect();
        assert!(keys.is_sorted());
        assert!(times.iter().flatten().all(|time| time.div_euclid(86_400_000_000) == i64::from(chunk.day)));
        let (min, max) = (times.iter().flatten().min().unwrap(), times.iter().flatten().max().unwrap());
        assert_eq!((chunk.min_time.micros(), chunk.max_time.micros()), (min, max));
        let constants = chunk.constants().unwrap().unwrap();
        let of = |name: &str| constants.iter().find(|(known, _)| known == name).map(|(_, constant)| constant.clone());
        assert_eq!(of("tenant_id"), Some(Constant::Text("default".into())));
        assert_eq!(of("signal"), Some(Constant::Text("span".into())));
        assert_eq!(of("request_digest"), Some(Constant::Null), "only log records have one");
        assert_eq!((of("timestamp"), of("span_id")), (None, None));
        for (name, constant) in constants {
            let values = rows.column_by_name(name).unwrap();
            match constant {
                Constant::Null => assert_eq!(values.null_count(), rows.num_rows(), "{name}"),
                Constant::Text(text) => {
                    assert!(values.as_string_view().iter().all(|value| value == Some(text)), "{name}");
                }
            }
        }
    }
    world.close().await;
    let world = open(options(folder.path())).await.unwrap();
    let times = |chunks: &[std::sync::Arc<crate::Chunk>]| -> Vec<_> {
        let mut facts: Vec<_> =
            chunks.iter().map(|c| (c.path.clone(), c.rows, c.bytes, c.min_time, c.max_time)).collect();
        facts.sort();
        facts
    };
    assert_eq!(times(&world.store.snapshot().events.chunks), times(&snapshot.events.chunks));
    drop(snapshot);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_sent_twice_is_stored_once_before_and_after_flush_and_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let world = open(options(folder.path())).await.unwrap();
    let sent = spans(1..5);
    let (first, second) = tokio::join!(world.append(&sent), world.append(&sent));
    assert_ne!(first, second);
    world.store.flush().await.unwrap();
    assert_eq!(world.append(&spans(1..5)).await, Appended::Duplicate);
    world.close().await;
    let world = open(options(folder.path())).await.unwrap();
    assert_eq!(world.append(&spans(1..5)).await, Appended::Duplicate);
    let totals = world.totals().await;
    assert_eq!(totals.spans, [1, 2, 3, 4]);
    assert_eq!(totals.ledger["traces"], [16, 4, 12, 0, 0]);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_items_are_in_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let world = open(options(folder.path())).await.unwrap();
    world.store.append(request(&spans(1..3), 5)).await.unwrap();
    world.store.count_refused(&TenantId::default(), Signal::Logs, UnixNanos(START), 9).await.unwrap();
    world.kill().await;
    let world = open(options(folder.path())).await.unwrap();
    let ledger = world.totals().await.ledger;
    assert_eq!((ledger["traces"], ledger["logs"]), ([7, 2, 0, 5, 0], [9, 0, 0, 9, 0]));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn single_row_requests_are_joined_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let world = open(StoreOptions { durability: crate::Durability::Os, ..options(folder.path()) }).await.unwrap();
    for id in 1..2_000 {
        world.append(&spans(id..id + 1)).await;
    }
    let snapshot = world.store.snapshot();
    assert!(snapshot.events.batches.len() < 70, "{} batches", snapshot.events.batches.len());
    assert_eq!(totals(&snapshot).spans.len(), 1_999);
    assert!(world.statistics().memtable_bytes < 3_000_000, "{:?}", world.statistics());
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_memory_limit_requests_are_refused_and_later_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let small = StoreOptions {
        memory_bytes: 400_000,
        commit_interval: Duration::ZERO,
        durability: crate::Durability::Os,
        ..options(folder.path())
    };
    let world = open(small).await.unwrap();
    let mut refused = 0;
    for block in 0..200u64 {
        loop {
            match world.store.append(request(&spans(block * 100 + 1..block * 100 + 101), 0)).await {
                Ok(_) => break,
                Err(error) => {
                    assert!(error.is_retryable() && error.retry_after().is_some(), "{error}");
                    refused += 1;
                    assert!(refused < 2_000, "no room is made");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
    assert!(world.statistics().flushes > 0 && world.statistics().commits > 0);
    assert_eq!(world.totals().await.spans, (1..20_001).collect::<Vec<_>>());
    world.close().await;
    assert_eq!(verify(folder.path(), |_| ()).await.unwrap().problems, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_belongs_to_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let world = open(options(folder.path())).await.unwrap();
    assert!(matches!(Store::open(options(folder.path())).await, Err(StorageError::Locked { .. })));
    assert!(matches!(verify(folder.path(), |_| ()).await, Err(StorageError::Locked { .. })));
    world.close().await;
    open(options(folder.path())).await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_wait_for_recovery_and_a_request_that_cannot_be_mapped_is_dropped_in_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let world = open(options(folder.path())).await.unwrap();
    world.append(&spans(1..4)).await;
    world.kill().await;
    let opened = Store::open(options(folder.path())).await.unwrap();
    let early = opened.store.append(request(&spans(7..9), 0)).await.unwrap_err();
    assert!(early.is_retryable() && matches!(early, StorageError::Recovering { .. }));
    let report = opened.recovery.run(|_| Err("no longer understood".to_owned()), |_| ()).await.unwrap();
    assert_eq!((report.requests, report.dropped_requests), (1, 1));
    let ledger = super::world::ledger(&opened.store).await;
    assert_eq!(ledger["traces"], [3, 0, 0, 0, 3]);
    drop(opened.tail);
    opened.store.close().await.unwrap();
    assert!(matches!(opened.store.append(request(&spans(7..9), 0)).await, Err(StorageError::Closed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_keeps_the_rows_and_the_number_of_files_flat() {
    let folder = tempfile::tempdir().unwrap();
    let joined = StoreOptions { compaction: true, ..options(folder.path()) };
    let world = open(joined.clone()).await.unwrap();
    for block in 0..20u64 {
        world.append(&spans(block * 10 + 1..block * 10 + 11)).await;
        world.append(&Sent::Points(vec![(1, block as f64, block as i64)])).await;
        world.store.flush().await.unwrap();
    }
    let held = world.store.snapshot();
    for _ in 0..100 {
        if world.statistics().compactions >= 6 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let after = world.store.snapshot();
    assert!(after.events.chunks.len() <= 7, "{} files", after.events.chunks.len());
    assert_eq!(totals(&held), totals(&after), "files stay as long as a snapshot holds them");
    let totals = world.totals().await;
    assert_eq!(totals.spans, (1..201).collect::<Vec<_>>());
    drop(held);
    let metric_rows: usize = rows_of(&after, Table::Metrics).iter().map(|batch| batch.num_rows()).sum();
    assert!(metric_rows <= 6, "{metric_rows} rows: parts of one minute are merged");
    let on_disk = crate::delta::parquet_files(&folder.path().join("events")).unwrap().len();
    assert_eq!(on_disk, after.events.chunks.len(), "replaced files are deleted");
    drop(after);
    world.close().await;
    let world = open(joined).await.unwrap();
    assert_eq!(world.totals().await, totals);
    world.close().await;
    assert_eq!(verify(folder.path(), |_| ()).await.unwrap().problems, Vec::<String>::new());
}

#[test]
fn large_chunks_are_joined_by_copying_row_groups() {
    let folder = tempfile::tempdir().unwrap();
    let batch = |seed: u64| match request(&Sent::Spans((1..140_001).map(|id| (seed + id, 0, 5)).collect()), 0).rows {
        whence_schema::Rows::Events(batch) => batch,
        whence_schema::Rows::Metrics(_) => unreachable!(),
    };
    let disk: std::sync::Arc<dyn crate::Disk> = std::sync::Arc::new(crate::RealDisk);
    let mut chunks = Vec::new();
    for seed in [0, 1_000_000] {
        chunks.extend(
            crate::chunk::writer::write_chunks(&disk, Table::Events, folder.path(), &[batch(seed)], 9, 0).unwrap(),
        );
    }
    let joined = crate::chunk::join::join(&disk, Table::Events, folder.path(), &chunks, 1).unwrap();
    let joined: Vec<_> = joined.chunk.into_iter().collect();
    assert_eq!((joined[0].rows, joined[0].level), (280_000, 1));
    assert!(crate::chunk::file::is_intact(&joined[0].path).unwrap());
    let rows = crate::chunk::join::read_all(&joined[0]).unwrap();
    assert_eq!(rows[0].schema(), Table::Events.stored_schema());
    assert_eq!(rows.iter().map(|batch| batch.num_rows()).sum::<usize>(), 280_000);
    let events = crate::TableSnapshot { batches: Vec::new(), chunks: joined };
    let snapshot = crate::Snapshot {
        version: 1,
        events: events.into(),
        metrics: Default::default(),
        correlations: Default::default(),
    };
    let id = super::world::span_event_id(1_139_999);
    let (from, to) = (UnixNanos(START), UnixNanos(START + MINUTE));
    assert!(snapshot.find_spans(&TenantId::default(), &[id], from, to).unwrap().contains_key(&id));
    drop(chunks);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_chunks_are_dropped_and_verify_still_balances() {
    let folder = tempfile::tempdir().unwrap();
    let world = open(options(folder.path())).await.unwrap();
    world.append(&spans(1..30)).await;
    world.append(&Sent::Points(vec![(1, 1.0, 1)])).await;
    world.close().await;
    let mut later = options(folder.path());
    later.clock = || UnixNanos(START + 8 * MINUTE + 40 * 86_400_000_000_000);
    later.retention.events = Some(Duration::from_secs(39 * 86_400));
    let world = open(later).await.unwrap();
    for _ in 0..100 {
        if world.store.snapshot().events.chunks.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let snapshot = world.store.snapshot();
    assert_eq!((rows_of(&snapshot, Table::Events).len(), rows_of(&snapshot, Table::Metrics).len()), (0, 1));
    drop(snapshot);
    world.close().await;
    let report = verify(folder.path(), |_| ()).await.unwrap();
    assert_eq!((report.problems, report.spans), (Vec::new(), 0));
}

async fn damaged(damage: impl FnOnce(PathBuf, PathBuf)) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let world = open(options(folder.path())).await.unwrap();
    world.append(&spans(1..30)).await;
    world.store.flush().await.unwrap();
    let chunk = world.store.snapshot().events.chunks[0].path.clone();
    world.close().await;
    damage(chunk, folder.path().to_owned());
    verify(folder.path(), |_| ()).await.unwrap().problems
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_a_missing_file_a_changed_chunk_and_an_unbalanced_ledger() {
    let problems = damaged(|chunk, _| std::fs::remove_file(chunk).unwrap()).await;
    assert!(problems.iter().any(|problem| problem.contains("parquet")), "{problems:?}");
    assert!(problems.iter().any(|problem| problem.contains("the chunks hold 0")), "{problems:?}");

    let problems = damaged(|chunk, _| {
        let mut bytes = std::fs::read(&chunk).unwrap();
        bytes[40] ^= 4;
        std::fs::write(&chunk, bytes).unwrap();
    })
    .await;
    assert!(!problems.is_empty());

    let folder = tempfile::tempdir().unwrap();
    let world = open(options(folder.path())).await.unwrap();
    world.append(&spans(1..30)).await;
    world.close().await;
    let database = format!("sqlite://{}", folder.path().join("control.db").display());
    let pool = sqlx::SqlitePool::connect(&database).await.unwrap();
    sqlx::query("UPDATE ledger SET stored = stored + 1").execute(&pool).await.unwrap();
    pool.close().await;
    let problems = verify(folder.path(), |_| ()).await.unwrap().problems;
    assert!(problems.iter().any(|problem| problem.contains("does not balance")), "{problems:?}");
    assert!(problems.iter().any(|problem| problem.contains("30 stored, the chunks hold 29")), "{problems:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commits_leave_a_short_delta_log_that_opens_again() {
    let folder = tempfile::tempdir().unwrap();
    let world = open(options(folder.path())).await.unwrap();
    for id in 1..60 {
        world.append(&spans(id..id + 1)).await;
        world.store.flush().await.unwrap();
    }
    world.close().await;
    let log = folder.path().join("events/_delta_log");
    let checkpoints = std::fs::read_dir(&log)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("checkpoint"))
        .count();
    assert!(checkpoints >= 2, "a checkpoint and the pointer to it");
    let opened = Store::open(options(folder.path())).await.unwrap();
    opened.recovery.run(map, |_| ()).await.unwrap();
    assert_eq!(totals(&opened.store.snapshot()).spans, (1..60).collect::<Vec<_>>());
    drop(opened.tail);
    opened.store.close().await.unwrap();
}
