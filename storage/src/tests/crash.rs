//! A crash between any two steps of a commit neither loses nor doubles anything.

use super::world::{Sent, Totals, World, open, options};
use crate::{CrashPoint, StorageError, StoreOptions, verify};

/// Requests whose links and increases reach across the moments of commit and crash.
fn part(number: u64) -> Vec<Sent> {
    let base = number * 100;
    vec![
        Sent::Spans((base + 1..base + 8).map(|id| (id, id.saturating_sub(100), 1)).collect()),
        Sent::Points(
            (0..6)
                .map(|step| (step % 2, (base + u64::from(step) * 3) as f64, (base / 2 + u64::from(step)) as i64))
                .collect(),
        ),
        Sent::Logs(vec![(format!("part {number}"), 3)]),
        // Parents that come after their children.
        Sent::Spans(vec![(base + 50, base + 51, 2)]),
        Sent::Spans(vec![(base + 51, 0, 1)]),
    ]
}

pub(super) async fn append(world: &World, number: u64) {
    for sent in part(number) {
        world.append(&sent).await;
    }
}

pub(super) async fn expected(parts: u64) -> Totals {
    let folder = tempfile::tempdir().unwrap();
    let world = open(options(folder.path())).await.unwrap();
    for number in 0..parts {
        append(&world, number).await;
    }
    world.store.flush().await.unwrap();
    let totals = world.totals().await;
    world.close().await;
    totals
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_point_of_a_commit_loses_and_doubles_nothing() {
    let expected = expected(4).await;
    for point in CrashPoint::ALL {
        let folder = tempfile::tempdir().unwrap();
        let world = open(options(folder.path())).await.unwrap();
        append(&world, 0).await;
        world.store.flush().await.unwrap();
        world.close().await;

        let world = open(StoreOptions { fail_at: Some(point), ..options(folder.path()) }).await.unwrap();
        append(&world, 1).await;
        assert!(matches!(world.store.flush().await, Err(StorageError::CrashPoint(at)) if at == point));
        append(&world, 2).await;
        world.kill().await;
        let report = verify(folder.path(), |_| ()).await.unwrap();
        assert_eq!(report.problems, Vec::<String>::new(), "{point:?}");

        // The second crash comes while the consequences of the first are being dealt with.
        let world = open(StoreOptions { fail_at: Some(point), ..options(folder.path()) }).await.unwrap();
        assert!(matches!(world.store.flush().await, Err(StorageError::CrashPoint(_))), "{point:?}");
        world.kill().await;

        let world = open(options(folder.path())).await.unwrap();
        append(&world, 3).await;
        for number in 0..4 {
            for sent in part(number) {
                assert_eq!(world.append(&sent).await, crate::Appended::Duplicate, "{point:?}");
            }
        }
        world.store.flush().await.unwrap();
        let mut totals = world.totals().await;
        for counts in totals.ledger.values_mut() {
            assert_eq!(counts[2], counts[1], "{point:?}: everything was sent twice");
            counts[0] -= counts[2];
            counts[2] = 0;
        }
        assert_eq!(totals, expected, "{point:?}");
        world.close().await;
        assert_eq!(verify(folder.path(), |_| ()).await.unwrap().problems, Vec::<String>::new(), "{point:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_failed_is_taken_up_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let world = open(options(folder.path())).await.unwrap();
    append(&world, 0).await;
    let away = folder.path().join("away");
    std::fs::rename(folder.path().join("metrics"), &away).unwrap();
    std::fs::write(folder.path().join("metrics"), "in the way").unwrap();
    world.store.flush().await.unwrap_err();
    append(&world, 1).await;
    std::fs::remove_file(folder.path().join("metrics")).unwrap();
    std::fs::rename(&away, folder.path().join("metrics")).unwrap();
    world.store.flush().await.unwrap();
    assert_eq!(world.totals().await, expected(2).await);
    world.close().await;
    assert_eq!(verify(folder.path(), |_| ()).await.unwrap().problems, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_log_keeps_every_request_before_the_tear() {
    let folder = tempfile::tempdir().unwrap();
    let world = open(StoreOptions { segment_bytes: 1 << 20, ..options(folder.path()) }).await.unwrap();
    for id in 1..20 {
        world.append(&Sent::Spans(vec![(id, 0, 1)])).await;
    }
    world.kill().await;
    let log = folder.path().join("log");
    let segment = std::fs::read_dir(&log).unwrap().next().unwrap().unwrap().path();
    let length = std::fs::metadata(&segment).unwrap().len();
    std::fs::File::options().write(true).open(&segment).unwrap().set_len(length - 5).unwrap();
    let world = open(options(folder.path())).await.unwrap();
    assert_eq!((world.report.requests, world.report.damage.len()), (18, 1));
    let totals = world.totals().await;
    assert_eq!((totals.spans.len(), totals.ledger["traces"]), (18, [18, 18, 0, 0, 0]));
    world.close().await;
}
