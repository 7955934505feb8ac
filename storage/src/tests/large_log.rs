//! A log far larger than memory is replayed within the memory limit and a few requests.

use super::world::{Sent, open, options, request};
use crate::{StoreOptions, verify};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_many_times_the_memory_is_replayed_within_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let roomy = StoreOptions {
        durability: crate::Durability::Os,
        segment_bytes: 256 << 10,
        commit_interval: Duration::from_secs(3_600),
        ..options(folder.path())
    };
    let world = open(roomy.clone()).await.unwrap();
    let blocks = 2_000;
    for block in 0..blocks {
        // Logs, since the correlator of these tests compares every span with every other.
        let logs = Sent::Logs((0..40).map(|item| (format!("{block} {item}"), item % 60)).collect());
        world.store.append(request(&logs, 0)).await.unwrap();
    }
    let in_memory = world.statistics().memory_peak_bytes;
    world.kill().await;

    let limit = in_memory / 10;
    let small = StoreOptions {
        memory_bytes: limit as usize,
        memtable_bytes: limit as usize / 8,
        commit_interval: Duration::ZERO,
        ..roomy
    };
    let world = open(small).await.unwrap();
    let statistics = world.statistics();
    assert_eq!((world.report.requests, world.report.damage.len()), (blocks, 0));
    assert!(statistics.flushes > 4 && statistics.commits > 0, "{statistics:?}");
    // What is read ahead is reckoned from the bodies; the rows of these requests are many times larger.
    assert!(statistics.memory_peak_bytes <= limit + limit / 4, "{statistics:?}");
    assert_eq!(world.totals().await.logs, blocks * 40);
    world.close().await;
    assert_eq!(verify(folder.path(), |_| ()).await.unwrap().problems, Vec::<String>::new());
}
