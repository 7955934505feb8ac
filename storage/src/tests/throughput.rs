//! How fast the store takes events and points: run with `--ignored --nocapture`, alone and with optimisation.

use super::world::{Sent, options, request};
use crate::StoreOptions;
use std::time::{Duration, Instant};
use whence_schema::MappedRequest;

async fn run(name: &str, requests: Vec<MappedRequest>, items: usize) {
    let folder = tempfile::tempdir().unwrap();
    let fast =
        StoreOptions { segment_bytes: 64 << 20, commit_interval: Duration::from_secs(3), ..options(folder.path()) };
    let opened = crate::Store::open(fast).await.unwrap();
    drop(opened.tail);
    opened.recovery.run(super::world::map, |_| ()).await.unwrap();
    let store = opened.store;
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for request in requests {
        let store = store.clone();
        tasks.spawn(async move {
            while store.append(request.clone()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        if tasks.len() >= 32 {
            tasks.join_next().await;
        }
    }
    while tasks.join_next().await.is_some() {}
    let appended = started.elapsed();
    let before = store.statistics();
    let started = Instant::now();
    store.flush().await.unwrap();
    let after = store.statistics();
    println!(
        "{name}: {items} in {appended:?} = {:.0}/s; {} groups, {} flushes; last flush of {} rows {:?}; {:.1} bytes a row",
        items as f64 / appended.as_secs_f64(),
        before.log_groups,
        before.flushes,
        before.memtable_rows,
        started.elapsed(),
        after.chunk_bytes as f64 / after.chunk_rows as f64,
    );
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, not a check: its figure depends on the machine"]
async fn events_and_points_per_second() {
    let spans = |block: u64| Sent::Spans((0..1_000).map(|id| (block * 1_000 + id + 1, id, (id % 60) as i64)).collect());
    run("events", (0..500).map(|block| request(&spans(block), 0)).collect(), 500_000).await;
    let points = |block: u64| Sent::Points((0..1_000).map(|id| (id, block as f64 * 3.5, block as i64)).collect());
    run("points", (0..300).map(|block| request(&points(block), 0)).collect(), 300_000).await;
}
