//! The store on a disk that fails, fills and forgets, under a sender that repeats what was not acknowledged.
//!
//! The disk is underneath log, duplicate journal and chunk files. Delta Lake and SQLite write by themselves: for them
//! there are the crash points between the steps of a commit.

use super::cases;
use super::faulty_disk::{Fault, FaultyDisk};
use super::log_faults::fault;
use super::world::{Sent, World, open, options, request};
use crate::{CrashPoint, StorageError, StoreOptions, verify};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone)]
enum Operation {
    Append(u8),
    Flush,
    Fault(Fault),
    Space(Option<u64>),
    /// The process ends, and another starts; with a crash point for its commits.
    Restart(Option<CrashPoint>),
    /// The same, and what was not synced is gone.
    PowerLoss(Option<CrashPoint>),
}

fn operation() -> impl Strategy<Value = Operation> {
    let point = || proptest::option::weighted(0.3, (0..CrashPoint::ALL.len()).prop_map(|index| CrashPoint::ALL[index]));
    prop_oneof![
        14 => (0u8..3).prop_map(Operation::Append),
        4 => Just(Operation::Flush),
        3 => fault().prop_map(Operation::Fault),
        1 => proptest::option::of(0u64..40_000).prop_map(Operation::Space),
        1 => point().prop_map(Operation::Restart),
        2 => point().prop_map(Operation::PowerLoss),
    ]
}

/// The number-th request: every one is different, and links to earlier ones.
fn sent(number: u64, kind: u8) -> Sent {
    let second = (number % 50) as i64;
    match kind {
        0 => Sent::Spans((0..3).map(|i| (number * 3 + i + 1, (number * 3 + i) / 2, second)).collect()),
        1 => Sent::Logs(vec![(format!("log {number}"), second)]),
        _ => Sent::Points(vec![(number as u32 % 3, number as f64, number as i64)]),
    }
}

struct Sender {
    /// Not acknowledged, oldest first: sent again before anything new.
    waiting: Vec<Sent>,
    acknowledged: Vec<Sent>,
}

impl Sender {
    async fn send(&mut self, world: &World) {
        while let Some(next) = self.waiting.first() {
            match world.store.append(request(next, 0)).await {
                Ok(_) => self.acknowledged.push(self.waiting.remove(0)),
                Err(error) => {
                    assert!(error.is_retryable(), "{error}");
                    return;
                }
            }
        }
    }
}

/// Starts until it works: a start on a disk that fails may end with an error, and the next one finds everything.
async fn start(options: &StoreOptions, disk: &FaultyDisk) -> World {
    for _ in 0..200 {
        match open(options.clone()).await {
            Ok(world) => return world,
            // The failed start lets go of the directory a moment later.
            Err(StorageError::Locked { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => {
                assert!(matches!(error, StorageError::File { .. } | StorageError::Closed), "{error}");
                disk.set_fault(Fault::None);
                disk.set_space(None);
            }
        }
    }
    panic!("does not start");
}

async fn run(operations: Vec<Operation>, folder: &Path, seed: u64) {
    let disk = FaultyDisk::new(folder, seed);
    let whole = StoreOptions { disk: Arc::new(disk.clone()), ..options(&folder.join("data")) };
    let mut world = start(&whole, &disk).await;
    let mut sender = Sender { waiting: Vec::new(), acknowledged: Vec::new() };
    let mut number = 0;
    for operation in operations {
        match operation {
            Operation::Append(kind) => {
                sender.waiting.push(sent(number, kind));
                number += 1;
                sender.send(&world).await;
            }
            Operation::Flush => match world.store.flush().await {
                Err(StorageError::CrashPoint(_)) => {
                    world.kill().await;
                    world = start(&whole, &disk).await;
                }
                Err(error) => assert!(error.is_retryable() || matches!(error, StorageError::Chunk { .. }), "{error}"),
                Ok(()) => {}
            },
            Operation::Fault(fault) => disk.set_fault(fault),
            Operation::Space(space) => disk.set_space(space),
            Operation::Restart(fail_at) => {
                world.kill().await;
                world = start(&StoreOptions { fail_at, ..whole.clone() }, &disk).await;
            }
            Operation::PowerLoss(fail_at) => {
                world.kill().await;
                disk.crash();
                world = start(&StoreOptions { fail_at, ..whole.clone() }, &disk).await;
            }
        }
    }
    disk.set_fault(Fault::None);
    disk.set_space(None);
    if world.statistics().log_poisoned {
        let error = world.store.append(request(&sent(number, 0), 0)).await.unwrap_err();
        assert!(matches!(error, StorageError::LogPoisoned(_)) && error.is_retryable());
        world.kill().await;
        world = start(&whole, &disk).await;
    }
    sender.send(&world).await;
    assert!(sender.waiting.is_empty(), "service returns with the disk");
    world.kill().await;
    disk.crash();
    let world = start(&whole, &disk).await;
    check(&world, &sender.acknowledged).await;
    world.close().await;
    let world = start(&whole, &disk).await;
    check(&world, &sender.acknowledged).await;
    world.close().await;
    assert_eq!(verify(&folder.join("data"), |_| ()).await.unwrap().problems, Vec::<String>::new());
}

/// Everything acknowledged is there once, and the ledger says so.
async fn check(world: &World, acknowledged: &[Sent]) {
    world.store.flush().await.unwrap();
    let totals = world.totals().await;
    let mut spans = Vec::new();
    let (mut logs, mut points) = (0, 0);
    for sent in acknowledged {
        match sent {
            Sent::Spans(rows) => spans.extend(rows.iter().map(|row| (row.0, row.1))),
            Sent::Logs(rows) => logs += rows.len() as u64,
            Sent::Points(rows) => points += rows.len() as u64,
        }
    }
    let ids: BTreeSet<u64> = spans.iter().map(|span| span.0).collect();
    assert_eq!(totals.spans, ids.iter().copied().collect::<Vec<_>>());
    assert_eq!((totals.logs, totals.points), (logs, points));
    let mut linked: Vec<u64> = spans.iter().filter(|span| ids.contains(&span.1)).map(|span| span.0).collect();
    linked.sort_unstable();
    assert_eq!(totals.links, linked);
    for (signal, stored) in [("traces", ids.len() as u64), ("logs", logs), ("metrics", points)] {
        let counts = totals.ledger.get(signal).copied().unwrap_or_default();
        assert_eq!(counts[1], stored as i64, "{signal}: {counts:?}");
        assert_eq!(counts[0], counts[1] + counts[2] + counts[3] + counts[4], "{signal}: {counts:?}");
        assert_eq!(counts[4], 0, "{signal}: {counts:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 60, ..cases(24) })]

    #[test]
    fn the_store_keeps_what_it_acknowledged_on_a_disk_that_fails_fills_and_forgets(
        operations in vec(operation(), 1..50),
        seed: u64,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        runtime.block_on(run(operations, folder.path(), seed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_for_the_time_being_and_takes_everything_once_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(folder.path(), 1);
    let options = StoreOptions { disk: Arc::new(disk.clone()), ..options(&folder.path().join("data")) };
    let world = open(options).await.unwrap();
    let mut sender = Sender { waiting: Vec::new(), acknowledged: Vec::new() };
    disk.set_space(Some(12_000));
    for number in 0..200 {
        sender.waiting.push(sent(number, (number % 3) as u8));
        sender.send(&world).await;
    }
    let fitted = sender.acknowledged.len();
    assert!(fitted > 10 && sender.waiting.len() > 10, "{fitted}");
    world.store.flush().await.unwrap_err();
    assert!(!world.statistics().log_poisoned);
    disk.set_space(Some(0));
    sender.send(&world).await;
    assert_eq!(sender.acknowledged.len(), fitted);
    assert_eq!(world.totals().await.spans.len() as i64, world.totals().await.ledger["traces"][1], "still answers");
    disk.set_space(None);
    sender.send(&world).await;
    assert_eq!((sender.acknowledged.len(), sender.waiting.len()), (200, 0));
    check(&world, &sender.acknowledged).await;
    world.close().await;
    assert_eq!(verify(&folder.path().join("data"), |_| ()).await.unwrap().problems, Vec::<String>::new());
}

/// On Linux what a failed fsync was for never reaches the disk, though it can still be read.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_fsync_nothing_is_acknowledged_until_a_restart_and_nothing_is_lost_by_repeating() {
    let folder = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(folder.path(), 1);
    let options = StoreOptions { disk: Arc::new(disk.clone()), ..options(&folder.path().join("data")) };
    let world = open(options.clone()).await.unwrap();
    world.append(&sent(0, 0)).await;
    disk.set_fault(Fault::Sync);
    for number in 1..4 {
        let error = world.store.append(request(&sent(number, 0), 0)).await.unwrap_err();
        assert!(matches!(error, StorageError::LogPoisoned(_)) && error.is_retryable());
    }
    assert!(world.statistics().log_poisoned);
    assert_eq!(world.totals().await.spans.len(), 3, "what was refused is not shown");
    world.kill().await;
    let world = open(options.clone()).await.unwrap();
    for number in 0..4 {
        world.append(&sent(number, 0)).await;
    }
    world.kill().await;
    disk.crash();
    let world = open(options).await.unwrap();
    check(&world, &(0..4).map(|number| sent(number, 0)).collect::<Vec<_>>()).await;
    world.close().await;
}
