//! Erasing: what goes, what stays, and that nothing comes back.

use super::world::{START, Sent, World, map, open, options, request, rows_of, span_event_id};
use crate::{CrashPoint, Erasure, RowCondition, StoreOptions, verify};
use arrow::array::{AsArray, BooleanArray};
use arrow::datatypes::Int64Type;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use whence_schema::tables::events;
use whence_schema::{MappedRequest, RequestDigest, Table, TenantId, UnixNanos};

/// Spans with an odd id.
pub(super) fn odd() -> RowCondition {
    Arc::new(|batch| {
        let ids = batch.column(events::column::SPAN_ID).as_primitive::<Int64Type>();
        Ok(ids.iter().map(|id| id.map(|id| id % 2 == 1)).collect::<BooleanArray>())
    })
}

pub(super) fn of_default(table: Option<Table>, condition: Option<RowCondition>) -> Erasure {
    Erasure { tenant: TenantId::default(), table, condition }
}

/// The same request of another tenant.
fn of_acme(sent: &Sent) -> MappedRequest {
    let acme = TenantId::new("acme");
    let mut request = request(sent, 0);
    request.digest = RequestDigest::of(&acme, request.signal, &request.body);
    let logged = crate::LoggedRequest {
        tenant: acme,
        signal: request.signal,
        encoding: request.encoding,
        received_at: request.received_at,
        digest: request.digest,
        body: request.body,
    };
    map(logged).unwrap()
}

async fn fill(world: &World) {
    world.append(&Sent::Spans((1..=20).map(|id| (id, id / 2, id as i64)).collect())).await;
    world.append(&Sent::Logs(vec![("kept".to_owned(), 1)])).await;
    world.store.flush().await.unwrap();
    world.append(&Sent::Spans((21..=40).map(|id| (id, id / 2, id as i64)).collect())).await;
    world.append(&Sent::Points(vec![(1, 1.0, 1), (1, 4.0, 70)])).await;
}

fn even(from: u64, to: u64) -> Vec<u64> {
    (from..=to).filter(|id| id % 2 == 0).collect()
}

pub(super) fn files_holding(folder: &Path, marker: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_holding(&path, marker));
        } else if std::fs::read(&path).unwrap().windows(marker.len()).any(|window| window == marker) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_under_a_condition_go_from_memory_log_and_chunks_with_the_links_that_name_them() {
    let folder = tempfile::tempdir().unwrap();
    let world = open(options(folder.path())).await.unwrap();
    fill(&world).await;
    let erasure = of_default(Some(Table::Events), Some(odd()));
    assert_eq!(world.store.count_erasure(erasure.clone()).await.unwrap(), [20, 0, 0]);
    let erased = world.store.erase(erasure.clone()).await.unwrap();
    assert_eq!((erased.rows[0], erased.remaining), (20, 0));
    let totals = world.totals().await;
    assert_eq!((totals.spans, totals.logs, totals.points), (even(1, 40), 1, 2));
    // A link stays when both its ends do.
    assert_eq!(totals.links, (1..=40).filter(|id| id % 4 == 0).collect::<Vec<u64>>());
    assert_eq!(totals.ledger["traces"], [40, 40, 0, 0, 0]);
    let again = world.store.erase(erasure).await.unwrap();
    assert_eq!((again.rows, again.chunks), ([0; 3], 0));
    world.kill().await;
    let world = open(options(folder.path())).await.unwrap();
    assert_eq!(world.report.requests, 0, "no request is left in the log");
    assert_eq!(world.totals().await.spans, even(1, 40));
    let snapshot = world.store.snapshot();
    let (from, to) = (UnixNanos(START), UnixNanos(START + 100_000_000_000));
    assert!(snapshot.find_spans(&TenantId::default(), &[span_event_id(7)], from, to).unwrap().is_empty());
    drop(snapshot);
    world.close().await;
    assert_eq!(verify(folder.path(), |_| ()).await.unwrap().problems, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_of_a_tenant_goes_and_the_other_tenants_rows_stay() {
    let folder = tempfile::tempdir().unwrap();
    let world = open(options(folder.path())).await.unwrap();
    let marker = "a-text-nobody-may-find-again";
    fill(&world).await;
    world.append(&Sent::Logs(vec![(marker.to_owned(), 2)])).await;
    world.store.append(of_acme(&Sent::Spans(vec![(500, 0, 1), (501, 0, 1)]))).await.unwrap();
    assert!(!files_holding(folder.path(), marker.as_bytes()).is_empty());
    let erased = world.store.erase(of_default(None, None)).await.unwrap();
    assert_eq!((erased.rows[0], erased.remaining), (42, 0));
    assert_eq!(files_holding(folder.path(), marker.as_bytes()), Vec::<String>::new());
    let snapshot = world.store.snapshot();
    let tenants: Vec<_> = rows_of(&snapshot, Table::Events)
        .iter()
        .flat_map(|batch| batch.column(0).as_string_view().iter().flatten().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(tenants, ["acme", "acme"]);
    assert!(rows_of(&snapshot, Table::Metrics).is_empty() && rows_of(&snapshot, Table::Correlations).is_empty());
    drop(snapshot);
    assert_eq!(world.store.assets(&TenantId::default()).await.unwrap().num_rows(), 0);
    assert_eq!(world.store.assets(&TenantId::new("acme")).await.unwrap().num_rows(), 1);
    // What was sent before is not stored again when a client repeats it; what is new is.
    assert_eq!(world.append(&Sent::Logs(vec![(marker.to_owned(), 2)])).await, crate::Appended::Duplicate);
    assert_eq!(world.append(&Sent::Logs(vec![("new".to_owned(), 3)])).await, crate::Appended::Stored);
    assert_eq!(world.totals().await.logs, 1);
    world.close().await;
    assert_eq!(verify(folder.path(), |_| ()).await.unwrap().problems, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_erasing_brings_nothing_back_and_erasing_again_does_the_rest() {
    for point in CrashPoint::OF_REPLACEMENT {
        let folder = tempfile::tempdir().unwrap();
        let world = open(options(folder.path())).await.unwrap();
        fill(&world).await;
        world.close().await;
        let patient = StoreOptions { grace: Duration::from_secs(60), ..options(folder.path()) };
        let world = open(StoreOptions { fail_at: Some(point), ..patient.clone() }).await.unwrap();
        let erasure = of_default(Some(Table::Events), Some(odd()));
        world.store.erase(erasure.clone()).await.unwrap_err();
        world.kill().await;
        assert_eq!(verify(folder.path(), |_| ()).await.unwrap().problems, Vec::<String>::new(), "{point:?}");
        let world = open(patient).await.unwrap();
        let on_disk = crate::delta::parquet_files(&folder.path().join("events")).unwrap().len();
        assert_eq!(on_disk, world.store.snapshot().events.chunks.len(), "erased files have no grace: {point:?}");
        assert_eq!(world.store.erase(erasure).await.unwrap().remaining, 0);
        assert_eq!(world.totals().await.spans, even(1, 40), "{point:?}");
        world.close().await;
        assert_eq!(verify(folder.path(), |_| ()).await.unwrap().problems, Vec::<String>::new(), "{point:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_a_retention_of_its_own_loses_its_rows_alone_from_a_shared_chunk() {
    let folder = tempfile::tempdir().unwrap();
    let world = open(options(folder.path())).await.unwrap();
    // Both tenants' rows in one chunk: whatever their buckets are, written under the first one's.
    world.append(&Sent::Spans(vec![(1, 0, 1), (2, 0, 1)])).await;
    world.store.append(of_acme(&Sent::Spans(vec![(500, 0, 1)]))).await.unwrap();
    world.close().await;
    let mut later = options(folder.path());
    later.clock = || UnixNanos(START + 40 * 86_400_000_000_000);
    let month = Some(Some(Duration::from_secs(30 * 86_400)));
    let own = crate::TenantRetention { events: month, ..crate::TenantRetention::default() };
    later.retention.tenants.insert(TenantId::new("acme"), own);
    let world = open(later).await.unwrap();
    for _ in 0..100 {
        if world.statistics().removed_by_retention > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(world.totals().await.spans, [1, 2]);
    world.close().await;
    assert_eq!(verify(folder.path(), |_| ()).await.unwrap().problems, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_disk_cap_the_oldest_days_go_and_the_newest_chunk_stays() {
    let folder = tempfile::tempdir().unwrap();
    let world = open(options(folder.path())).await.unwrap();
    for day in 0..4i64 {
        let ids = day as u64 * 1_000 + 1..day as u64 * 1_000 + 800;
        world.append(&Sent::Spans(ids.map(|id| (id, 0, day * 86_400)).collect())).await;
        world.store.flush().await.unwrap();
    }
    world.close().await;
    let all = crate::disk_cap::bytes_below(folder.path());
    let capped = |bytes| StoreOptions { max_disk_bytes: Some(bytes), ..options(folder.path()) };
    let world = open(capped(all - 1_000)).await.unwrap();
    for _ in 0..100 {
        if world.statistics().removed_by_disk_cap > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let spans = world.totals().await.spans;
    assert!(spans.len() < 4 * 799 && spans.first() > Some(&800), "the oldest day went first");
    world.close().await;
    assert_eq!(verify(folder.path(), |_| ()).await.unwrap().problems, Vec::<String>::new());
    let world = open(capped(1)).await.unwrap();
    for _ in 0..100 {
        if world.statistics().chunks == 1 && world.statistics().disk_over_cap_bytes > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let spans = world.totals().await.spans;
    assert_eq!((spans.len(), spans.first()), (799, Some(&3_001)));
    assert!(world.statistics().disk_over_cap_bytes > 0);
    world.close().await;
    assert_eq!(verify(folder.path(), |_| ()).await.unwrap().problems, Vec::<String>::new());
}
