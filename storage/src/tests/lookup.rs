//! Look-ups find the same rows in memory and in chunks.

use super::world::{MINUTE, START, Sent, open, options, span_event_id, trace_of};
use crate::{LinkSide, Payloads, Snapshot};
use arrow::array::Array;
use whence_schema::tables::events;
use whence_schema::{EventId, TenantId, UnixNanos};

fn check(snapshot: &Snapshot) {
    let (tenant, other) = (TenantId::default(), TenantId::new("other"));
    let (from, to) = (UnixNanos(START), UnixNanos(START + 10 * MINUTE));
    let ids = [span_event_id(10), span_event_id(31), EventId(99)];
    let found = snapshot.find_spans(&tenant, &ids, from, to).unwrap();
    assert_eq!(found.len(), 2);
    let span = &found[&span_event_id(10)];
    assert_eq!((span.asset_id.as_str(), span.failed, span.trace), ("checkout", true, trace_of(10)));
    assert_eq!((span.start, span.parent_span_id.unwrap().0), (UnixNanos(START + 10_000_000_005), 5));
    assert!(snapshot.find_spans(&other, &ids, from, to).unwrap().is_empty());
    assert!(snapshot.find_spans(&tenant, &ids, UnixNanos(START + 11_000_000_000), to).unwrap().len() == 1);

    let rows = |tenant, payloads| -> usize {
        let found = snapshot.trace_rows(tenant, trace_of(3), payloads).unwrap();
        for payload in found.iter().map(|rows| rows.column(events::column::PAYLOAD)) {
            assert!(payloads == Payloads::Unread || payload.null_count() == 0, "{payloads:?}");
        }
        found.iter().map(|rows| rows.num_rows()).sum()
    };
    for payloads in [Payloads::Read, Payloads::Unread] {
        assert_eq!((rows(&tenant, payloads), rows(&other, payloads)), (3, 0), "spans 3, 19 and 35");
    }

    let links = |ids: &[EventId], side| -> usize {
        snapshot.links(&tenant, ids, side).unwrap().iter().map(|b| b.num_rows()).sum()
    };
    assert_eq!(links(&[span_event_id(7)], LinkSide::Primary), 2, "7 led to 14 and 15");
    assert_eq!(links(&[span_event_id(7), span_event_id(9)], LinkSide::Related), 2);
    assert_eq!(links(&[EventId(7)], LinkSide::Related), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_traces_and_links_are_found_in_memory_and_in_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let world = open(options(folder.path())).await.unwrap();
    world.append(&Sent::Spans((1..40).map(|id| (id, id / 2, id as i64)).collect())).await;
    for _ in 0..200 {
        if world.statistics().memtable_rows == 39 + 38 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    check(&world.store.snapshot());
    world.store.flush().await.unwrap();
    check(&world.store.snapshot());
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_are_found_in_every_page_of_a_chunk() {
    const SPANS: u64 = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let world = open(options(folder.path())).await.unwrap();
    world.append(&Sent::Spans((1..=SPANS).map(|id| (id, 0, id as i64)).collect())).await;
    world.store.flush().await.unwrap();
    let snapshot = world.store.snapshot();
    let ids: Vec<EventId> = (1..=SPANS).step_by(997).map(span_event_id).collect();
    let found = snapshot.find_spans(&TenantId::default(), &ids, UnixNanos(0), UnixNanos(i64::MAX)).unwrap();
    assert_eq!(found.len(), ids.len());
    for (id, span) in found {
        assert_eq!(id, span_event_id((span.start.0 - START) as u64 / 1_000_000_000), "of another row");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_are_known_not_to_have_an_id_are_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let world = open(options(folder.path())).await.unwrap();
    world.append(&Sent::Spans((1..40).map(|id| (id, 0, id as i64)).collect())).await;
    world.store.flush().await.unwrap();
    let snapshot = world.store.snapshot();
    let find = |id| snapshot.find_spans(&TenantId::default(), &[id], UnixNanos(0), UnixNanos(i64::MAX));
    // Some ids look as if they were there.
    let absent: Vec<EventId> =
        (1_000..1_100).map(span_event_id).filter(|id| find(*id).is_ok_and(|found| found.is_empty())).collect();
    assert_eq!(absent.len(), 100);
    for chunk in &snapshot.events.chunks {
        std::fs::rename(&chunk.path, chunk.path.with_extension("elsewhere")).unwrap();
    }
    let unopened = absent.iter().filter(|id| find(**id).is_ok()).count();
    assert!(unopened > 80, "{unopened}");
    assert!(find(span_event_id(7)).is_err(), "what is there is read");
    let stranger =
        snapshot.find_spans(&TenantId::new("stranger"), &[span_event_id(7)], UnixNanos(0), UnixNanos(i64::MAX));
    assert!(stranger.unwrap().is_empty(), "those of another bucket are not even asked");
    for chunk in &snapshot.events.chunks {
        std::fs::rename(chunk.path.with_extension("elsewhere"), &chunk.path).unwrap();
    }
    world.close().await;
}
