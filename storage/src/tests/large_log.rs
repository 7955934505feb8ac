//! A log far larger than memory.

use super::world::{Sent, open, options};
use crate::StoreOptions;

const LIMIT: usize = 4 << 20;

/// Each request is some 100 KiB in the log and twice that as rows.
fn logs(number: u64) -> Sent {
    Sent::Logs((0..400).map(|line| (format!("{number} {line} {}", "x".repeat(200)), number as i64 / 100)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_ten_times_larger_than_memory_is_replayed_with_little_more_than_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing is written before the end, however long that takes: the log keeps all.
    let large = StoreOptions { segment_bytes: 8 << 20, memtable_bytes: 512 << 20, ..options(folder.path()) };
    let world = open(large).await.unwrap();
    for number in 0..520 {
        world.append(&logs(number)).await;
    }
    assert!(world.statistics().log_bytes > 10 * LIMIT as u64, "{:?}", world.statistics());
    world.kill().await;

    let small = StoreOptions { memory_bytes: LIMIT, memtable_bytes: LIMIT / 8, ..options(folder.path()) };
    let world = open(small).await.unwrap();
    assert_eq!(world.totals().await.logs, 520 * 400);
    // Requests that are being mapped count twice, as bytes and as rows; without a limit it would be all of the log.
    let peak = world.statistics().memory_peak_bytes;
    assert!(peak < 2 * LIMIT as u64, "{peak} bytes with a limit of {LIMIT}");
    world.close().await;
}
