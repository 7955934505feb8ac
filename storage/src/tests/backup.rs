//! Backups, restore points that share files, restoring whole and to a time, and what damage and crashes come to.

use super::world::{MINUTE, START, Sent, Totals, World, map, open, options};
use crate::{StorageError, restore, stage_restore, verify, verify_backup};
use bytes::Bytes;
use std::path::{Path, PathBuf};
use whence_schema::{Encoding, RequestDigest, Signal, TenantId, UnixNanos};

/// Stores `sent` as accepted some seconds after the start.
async fn accept(world: &World, sent: &Sent, seconds: i64) {
    let (tenant, body) = (TenantId::default(), Bytes::from(serde_json::to_vec(&(sent, 0)).unwrap()));
    let signal = match sent {
        Sent::Spans(_) => Signal::Traces,
        Sent::Logs(_) => Signal::Logs,
        Sent::Points(_) => Signal::Metrics,
    };
    let digest = RequestDigest::of(&tenant, signal, &body);
    let received_at = UnixNanos(START + seconds * 1_000_000_000);
    let logged = crate::LoggedRequest { tenant, signal, encoding: Encoding::Json, received_at, digest, body };
    assert_eq!(world.store.append(map(logged).unwrap()).await.unwrap(), crate::Appended::Stored);
}

fn spans(ids: std::ops::Range<u64>) -> Sent {
    Sent::Spans(ids.map(|id| (id, id / 2, (id % 90) as i64)).collect())
}

fn log(text: &str) -> Sent {
    Sent::Logs(vec![(text.to_owned(), 1)])
}

/// What a directory holds once it is opened; it must be whole.
async fn held(data: &Path) -> Totals {
    let world = open(options(data)).await.unwrap();
    let totals = world.totals().await;
    assert_eq!(world.store.verify(|_| ()).await.unwrap().problems, Vec::<String>::new());
    world.close().await;
    assert_eq!(verify(data, |_| ()).await.unwrap().problems, Vec::<String>::new());
    totals
}

fn chunk_files(backup: &Path) -> Vec<PathBuf> {
    let tables = ["events", "metrics", "correlations"];
    let mut files: Vec<_> =
        tables.iter().flat_map(|table| crate::delta::parquet_files(&backup.join(table)).unwrap()).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_holds_what_was_stored_when_it_was_made_and_recognises_retries() {
    let folder = tempfile::tempdir().unwrap();
    let (data, backup, other) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("c"));
    let world = open(options(&data)).await.unwrap();
    accept(&world, &spans(1..40), 60).await;
    accept(&world, &log("one"), 61).await;
    accept(&world, &Sent::Points(vec![(1, 10.0, 0), (1, 14.0, 61)]), 62).await;
    let (tenant, aggregates) = (TenantId::default(), world.store.aggregates().clone());
    aggregates.create(&tenant, "hourly", "SELECT 1", 9).await.unwrap();
    let report = world.store.backup(&backup, None, |_| ()).await.unwrap();
    let then = world.totals().await;
    assert_eq!((report.restore_points, report.copied_bytes), (1, report.bytes));
    aggregates.rename(&tenant, "hourly", "later").await.unwrap();
    accept(&world, &spans(50..60), 63).await;
    world.close().await;

    restore(&backup, &other, None, |_| ()).await.unwrap();
    assert_eq!(held(&other).await, then);
    let world = open(options(&other)).await.unwrap();
    assert!(world.store.aggregates().of(&tenant).named("hourly").is_some(), "as it was declared then");
    assert_eq!(world.append(&log("two")).await, crate::Appended::Stored);
    let again = super::world::request(&spans(1..40), 0);
    assert_eq!(world.store.append(again).await.unwrap(), crate::Appended::Duplicate);
    world.close().await;
    assert_eq!(verify_backup(&backup, |_| ()).await.unwrap().problems, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn restore_points_share_files_and_those_nobody_needs_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let (data, backup, other) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("c"));
    let world = open(options(&data)).await.unwrap();
    let mut then = Vec::new();
    for round in 0..3 {
        accept(&world, &spans(1 + round * 10..11 + round * 10), 60).await;
        let report = world.store.backup(&backup, None, |_| ()).await.unwrap();
        assert!(round == 0 || report.copied_bytes < report.bytes, "{report:?}");
        then.push(world.totals().await);
    }
    let files = chunk_files(&backup).len();
    world.close().await;
    // The oldest and the newest are both whole.
    let first = crate::backup::restore_points(&backup).unwrap().remove(0);
    let taken = crate::backup::read_manifest(&first).unwrap().taken_at;
    restore(&backup, &other, Some(taken), |_| ()).await.unwrap();
    assert_eq!(held(&other).await, then[0]);

    // Compaction puts one chunk in the place of many; of two kept points one still has the many.
    let world = open(crate::StoreOptions { compaction: true, ..options(&data) }).await.unwrap();
    for round in 0..8 {
        accept(&world, &spans(100 + round * 10..110 + round * 10), 61).await;
        world.store.flush().await.unwrap();
    }
    // Eight chunks are joined into one.
    let started = std::time::Instant::now();
    while world.statistics().compactions < 1 {
        assert!(started.elapsed().as_secs() < 60, "{:?}", world.statistics());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let report = world.store.backup(&backup, Some(1), |_| ()).await.unwrap();
    assert_eq!(report.restore_points, 1);
    assert_eq!(chunk_files(&backup).len() as u64, report.chunks, "before there were {files}");
    let now = world.totals().await;
    world.close().await;
    restore(&backup, &other, None, |_| ()).await.unwrap();
    assert_eq!(held(&other).await, now);
    // The directory is a set of Delta tables with the newest rows.
    let access = crate::delta::Access::Read;
    let opened = crate::delta::DeltaLog::open(whence_schema::Table::Events, &backup, None, access).await.unwrap();
    let chunks = opened.chunks;
    assert_eq!(chunks.iter().map(|chunk| chunk.rows).sum::<u64>(), now.spans.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn restoring_to_a_time_leaves_out_what_was_accepted_later_and_the_ledger_balances() {
    let folder = tempfile::tempdir().unwrap();
    let (data, backup, other) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("c"));
    let world = open(options(&data)).await.unwrap();
    accept(&world, &spans(1..40), 60).await;
    accept(&world, &log("before"), 70).await;
    accept(&world, &Sent::Points(vec![(1, 10.0, 0), (1, 14.0, 61)]), 71).await;
    world.store.flush().await.unwrap();
    let then = world.totals().await;
    // The same minute, later ones, a chunk of its own and one that has both.
    accept(&world, &log("in time"), 72).await;
    accept(&world, &spans(50..60), 100).await;
    accept(&world, &log("after"), 200).await;
    world.store.flush().await.unwrap();
    accept(&world, &Sent::Points(vec![(1, 20.0, 62)]), 201).await;
    world.store.backup(&backup, None, |_| ()).await.unwrap();
    world.close().await;

    let to = UnixNanos(START + 80 * 1_000_000_000);
    let report = restore(&backup, &other, Some(to), |_| ()).await.unwrap();
    assert_eq!((report.cut_at, report.left_out[0], report.left_out[1]), (Some(to), 11, 1));
    let held = held(&other).await;
    assert_eq!((&held.spans, held.logs, held.points), (&then.spans, 2, 2));
    assert_eq!(held.ledger["traces"], [39, 39, 0, 0, 0]);
    assert_eq!(held.ledger["logs"], [2, 2, 0, 0, 0]);
    assert_eq!(held.ledger["metrics"], [2, 2, 0, 0, 0]);
    // What was left out may be sent again.
    let world = open(options(&other)).await.unwrap();
    accept(&world, &log("after"), 300).await;
    world.close().await;

    let late = UnixNanos(START + 9 * MINUTE);
    let refused = restore(&backup, &other, Some(late), |_| ()).await.unwrap_err().to_string();
    assert!(refused.contains("newest restore point is of"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_a_backup_is_named_and_the_data_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (data, backup) = (folder.path().join("a"), folder.path().join("b"));
    let world = open(options(&data)).await.unwrap();
    accept(&world, &spans(1..40), 60).await;
    world.store.backup(&backup, None, |_| ()).await.unwrap();
    accept(&world, &spans(40..50), 60).await;
    world.close().await;
    let before = held(&data).await;

    let point = crate::backup::restore_points(&backup).unwrap().remove(0);
    let manifest = crate::backup::list(&point)
        .unwrap()
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "json"));
    for path in [chunk_files(&backup).remove(0), point.join("control.db"), manifest.unwrap()] {
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        std::fs::write(&path, bad).unwrap();
        let problems = verify_backup(&backup, |_| ()).await.unwrap().problems;
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(problems.len() == 1 && problems[0].contains(&name), "{name}: {problems:?}");
        let error = restore(&backup, &data, None, |_| ()).await.unwrap_err().to_string();
        assert!(error.contains(&name), "{error}");
        assert_eq!(held(&data).await, before);
        std::fs::write(&path, good).unwrap();
    }
    restore(&backup, &data, None, |_| ()).await.unwrap();
    assert_eq!(held(&data).await.spans, (1..40).collect::<Vec<_>>());
    let kept = crate::backup::list(&data)
        .unwrap()
        .into_iter()
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("replaced-"));
    assert_eq!(held(&kept.unwrap()).await, before, "what was replaced is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_broken_off_is_no_restore_point_and_the_next_one_takes_up_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let (data, backup, other) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("c"));
    let world = open(options(&data)).await.unwrap();
    accept(&world, &spans(1..40), 60).await;
    world.store.backup(&backup, None, |_| ()).await.unwrap();
    // As a crash before the last rename leaves it, with half a chunk beside.
    let point = crate::backup::restore_points(&backup).unwrap().remove(0);
    std::fs::rename(&point, point.with_extension("partial")).unwrap();
    let half = chunk_files(&backup).remove(0).with_file_name("1-00-1.partial");
    std::fs::write(&half, "half").unwrap();
    let refused = restore(&backup, &other, None, |_| ()).await.unwrap_err().to_string();
    assert!(refused.contains("no restore point"), "{refused}");
    let report = world.store.backup(&backup, None, |_| ()).await.unwrap();
    assert_eq!((report.restore_points, report.copied_bytes), (1, 0), "the chunks were there already");
    assert!(!half.exists() && !point.with_extension("partial").exists());
    let then = world.totals().await;
    world.close().await;
    restore(&backup, &other, None, |_| ()).await.unwrap();
    assert_eq!(held(&other).await, then);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_staged_beside_a_running_store_takes_effect_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let (data, backup) = (folder.path().join("a"), folder.path().join("b"));
    let world = open(options(&data)).await.unwrap();
    accept(&world, &spans(1..40), 60).await;
    world.store.backup(&backup, None, |_| ()).await.unwrap();
    let then = world.totals().await;
    accept(&world, &spans(40..50), 60).await;
    assert!(matches!(restore(&backup, &data, None, |_| ()).await, Err(StorageError::Locked { .. })));
    stage_restore(&backup, &data, None, |_| ()).await.unwrap();
    accept(&world, &spans(50..60), 60).await;
    assert_eq!(world.totals().await.spans.len(), 59);
    world.close().await;
    assert_eq!(held(&data).await, then);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_of_a_running_store_names_the_damaged_file_while_rows_are_added() {
    let folder = tempfile::tempdir().unwrap();
    let world = open(options(folder.path())).await.unwrap();
    accept(&world, &spans(1..40), 60).await;
    let report = world.store.verify(|_| ()).await.unwrap();
    assert_eq!((report.problems, report.spans), (Vec::new(), 39));
    accept(&world, &log("in the log only"), 61).await;
    let chunk = world.store.snapshot().events.chunks[0].path.clone();
    let mut bytes = std::fs::read(&chunk).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle..middle + 20].fill(0x55);
    std::fs::write(&chunk, bytes).unwrap();
    let problems = world.store.verify(|_| ()).await.unwrap().problems;
    let name = chunk.file_name().unwrap().to_string_lossy().into_owned();
    assert!(problems[0].contains(&name) && problems[0].contains("changed"), "{problems:?}");
    assert!(problems.iter().any(|problem| problem.contains("the ledger says 39 stored, the chunks hold 0")));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_neither_empty_nor_a_backup_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("a");
    let world = open(options(&data)).await.unwrap();
    for refused in [folder.path().to_owned(), data.join("backup"), data.clone()] {
        assert!(world.store.backup(&refused, None, |_| ()).await.is_err(), "{}", refused.display());
    }
    let other = folder.path().join("letters");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("letter"), "dear").unwrap();
    let error = world.store.backup(&other, None, |_| ()).await.unwrap_err().to_string();
    assert!(error.contains("neither empty nor a backup"), "{error}");
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 1);
    world.close().await;
}
