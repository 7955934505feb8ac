//! Hours with their onsets and links: their links are in the table once whenever the process ends, and they go with what
//! they tell of.

use super::erase::{odd, of_default};
use super::world::{START, Sent, World, open, options, rows_of};
use crate::{KeptOnset, OnsetAsset, OnsetHour, StorageError};
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use whence_schema::tables::correlations::{self, CorrelationRow};
use whence_schema::{EventId, Relation, Table, TenantId, UnixNanos};

const HOUR: i64 = 3_600_000_000_000;
const SECOND: i64 = 1_000_000_000;
/// The hour in which the events of [`Sent`] are.
const FIRST: i64 = START / HOUR;

/// So many onsets of each of two assets that call each other.
fn hour(number: i64, onsets: usize) -> OnsetHour {
    let asset = |name: &str| OnsetAsset {
        asset: name.to_owned(),
        from: UnixNanos(number * HOUR),
        to: UnixNanos((number + 1) * HOUR),
        onsets: (0..onsets as i64)
            .map(|onset| KeptOnset {
                kind: "errors".to_owned(),
                known: UnixNanos(number * HOUR + onset * SECOND),
                event: EventId(u128::MAX - onset as u128),
                time: UnixNanos(number * HOUR + onset * SECOND - 7),
            })
            .collect(),
        places: vec![("node".to_owned(), "n1".to_owned())],
    };
    let neighbours = vec![("cart".to_owned(), "pay".to_owned()), ("pay".to_owned(), "cart".to_owned())];
    OnsetHour { hour: UnixNanos(number * HOUR), assets: vec![asset("cart"), asset("pay")], neighbours }
}

/// Links of an hour, to effects with these numbers.
fn links(number: i64, effects: &[u64]) -> RecordBatch {
    let row = |effect: &u64| CorrelationRow {
        tenant: TenantId::default(),
        correlation_type: "temporal",
        relation: Relation::Lag,
        primary: EventId(9 << 64 | 1),
        related: EventId(8 << 64 | u128::from(*effect)),
        primary_timestamp: UnixNanos(number * HOUR),
        related_timestamp: UnixNanos(number * HOUR + *effect as i64 * SECOND),
        strength: 0.5,
        confidence: 0.5,
        created_at: UnixNanos((number + 1) * HOUR),
        metadata: Some("{\"p\":0.01}".to_owned()),
    };
    correlations::to_batch(&effects.iter().map(row).collect::<Vec<_>>()).unwrap()
}

fn stored(world: &World) -> Vec<i64> {
    let batches = rows_of(&world.store.snapshot(), Table::Correlations);
    let effects = batches.iter().flat_map(|batch| {
        batch.column(correlations::column::RELATED_LOW).as_primitive::<Int64Type>().values().to_vec()
    });
    let mut effects: Vec<i64> = effects.collect();
    effects.sort_unstable();
    effects
}

async fn kept(world: &World, tenant: &TenantId) -> Vec<i64> {
    world.store.onset_hours(tenant).await.unwrap().iter().map(|hour| hour.hour.0 / HOUR).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn links_of_an_hour_are_in_the_table_once_wherever_the_process_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mine = TenantId::default();
    let world = open(options(folder.path())).await.unwrap();
    assert_eq!(world.store.put_onset_hour(&mine, &hour(FIRST, 2), links(FIRST, &[1, 2])).await.unwrap(), 0);
    assert_eq!(stored(&world), [1, 2]);
    // Killed before a commit: the rows are lost, and come back once.
    world.kill().await;
    let world = open(options(folder.path())).await.unwrap();
    assert_eq!(stored(&world), [] as [i64; 0]);
    assert_eq!(world.store.onset_hours(&mine).await.unwrap(), [hour(FIRST, 2)]);
    assert_eq!(world.store.restore_links_of_onset_hours().await.unwrap(), 2);
    assert_eq!(world.store.restore_links_of_onset_hours().await.unwrap(), 0);
    // Killed after it: they are there, and none is added; nor when the hour is put again with one more.
    world.store.flush().await.unwrap();
    world.kill().await;
    let world = open(options(folder.path())).await.unwrap();
    assert_eq!(world.store.restore_links_of_onset_hours().await.unwrap(), 0);
    world.store.put_onset_hour(&mine, &hour(FIRST, 2), links(FIRST, &[2, 3])).await.unwrap();
    assert_eq!(stored(&world), [1, 2, 3]);
    let other = TenantId::new("other");
    assert_eq!((kept(&world, &mine).await, kept(&world, &other).await), (vec![FIRST], vec![]));
    let store = world.store.clone();
    world.close().await;
    let closed = store.put_onset_hour(&mine, &hour(FIRST, 0), links(FIRST, &[])).await;
    assert!(matches!(closed, Err(StorageError::Closed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_hours_is_kept_and_of_onsets_the_latest() {
    let folder = tempfile::tempdir().unwrap();
    let mine = TenantId::default();
    let world = open(options(folder.path())).await.unwrap();
    for number in 0..26 {
        world.store.put_onset_hour(&mine, &hour(number, 1), links(number, &[])).await.unwrap();
    }
    assert_eq!(kept(&world, &mine).await, (2..26).collect::<Vec<_>>());
    let evicted = world.store.put_onset_hour(&mine, &hour(26, 9_990), links(26, &[])).await.unwrap();
    // 20,000 with two of each of the ten hours before it.
    assert_eq!(evicted, 2 * 13);
    let counts: Vec<usize> = world.store.onset_hours(&mine).await.unwrap().iter().map(OnsetHour::onsets).collect();
    assert_eq!(counts, [vec![0; 13], vec![2; 10], vec![19_980]].concat());
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_takes_onsets_with_it_and_its_links_do_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let (mine, other) = (TenantId::default(), TenantId::new("other"));
    let world = open(options(folder.path())).await.unwrap();
    // The rows that `odd` erases are of asset "cart", in the first hour.
    world.append(&Sent::Spans((1..=40).map(|id| (id, 0, id as i64)).collect())).await;
    for tenant in [&mine, &other] {
        for number in [FIRST - 1, FIRST, FIRST + 1] {
            world.store.put_onset_hour(tenant, &hour(number, 1), links(number, &[])).await.unwrap();
        }
    }
    world.store.put_onset_hour(&mine, &hour(FIRST + 2, 1), links(FIRST + 2, &[5, 6])).await.unwrap();
    world.store.erase(of_default(Some(Table::Correlations), None)).await.unwrap();
    assert_eq!(kept(&world, &mine).await.len(), 4, "what was looked at is not looked at again");
    assert_eq!(world.store.restore_links_of_onset_hours().await.unwrap(), 0);
    assert_eq!(stored(&world), [] as [i64; 0]);
    world.store.erase(of_default(Some(Table::Events), Some(odd()))).await.unwrap();
    let left = world.store.onset_hours(&mine).await.unwrap();
    let names = |hour: &OnsetHour| hour.assets.iter().map(|asset| asset.asset.clone()).collect::<Vec<_>>();
    assert_eq!(
        left.iter().map(names).collect::<Vec<_>>(),
        [vec!["cart", "pay"], vec!["pay"], vec!["cart", "pay"], vec!["cart", "pay"]]
    );
    assert_eq!((left[0].neighbours.len(), left[1].neighbours.len()), (2, 0));
    let closed = world.store.conclusions().close(&mine).await;
    let refused = world.store.put_onset_hour(&mine, &hour(FIRST, 1), links(FIRST, &[])).await;
    assert!(matches!(refused, Err(StorageError::Erasing)));
    drop(closed);
    let erased = world.store.erase(of_default(None, None)).await.unwrap();
    assert_eq!((erased.remaining, kept(&world, &mine).await), (0, vec![]));
    assert_eq!(kept(&world, &other).await.len(), 3);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_to_a_time_leaves_out_hours_put_later_and_the_links_of_others_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (data, backup) = (folder.path().join("data"), folder.path().join("backup"));
    let mine = TenantId::default();
    let mut early = options(&data);
    early.clock = || UnixNanos((START / HOUR + 1) * HOUR + SECOND);
    let world = open(early).await.unwrap();
    world.append(&Sent::Spans(vec![(1, 0, 1)])).await;
    world.store.put_onset_hour(&mine, &hour(FIRST, 1), links(FIRST, &[1])).await.unwrap();
    world.close().await;
    let mut later = options(&data);
    later.clock = || UnixNanos((START / HOUR + 3) * HOUR);
    let world = open(later).await.unwrap();
    world.store.put_onset_hour(&mine, &hour(FIRST + 1, 1), links(FIRST + 1, &[2])).await.unwrap();
    world.store.backup(&backup, None, |_| ()).await.unwrap();
    world.close().await;
    let cut = UnixNanos((START / HOUR + 1) * HOUR + 2 * SECOND);
    for (to, hours) in [(None, vec![1, 2]), (Some(cut), vec![1])] {
        let target = folder.path().join(format!("restored-{}", to.is_some()));
        crate::restore(&backup, &target, to, |_| ()).await.unwrap();
        let world = open(options(&target)).await.unwrap();
        let first: Vec<i64> = hours.iter().map(|hour| FIRST - 1 + hour).collect();
        assert_eq!(kept(&world, &mine).await, first);
        assert_eq!(world.store.restore_links_of_onset_hours().await.unwrap(), 0);
        assert_eq!(stored(&world), hours);
        world.close().await;
    }
}

#[test]
fn hours_that_were_kept_before_there_were_places_are_read() {
    let (now, places) = (serde_json::to_string(&hour(7, 2)).unwrap(), r#","places":[["node","n1"]]"#);
    assert_eq!(now.matches(places).count(), 2, "{now}");
    let mut read: OnsetHour = serde_json::from_str(&now.replace(places, "")).unwrap();
    assert!(read.assets.iter().all(|asset| asset.places.is_empty()));
    for asset in &mut read.assets {
        asset.places = vec![("node".to_owned(), "n1".to_owned())];
    }
    assert_eq!(read, hour(7, 2));
}
