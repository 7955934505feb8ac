//! Incidents and log templates: kept, bounded, apart by tenant, and gone with what they tell of.

use super::erase::{odd, of_default};
use super::world::{MINUTE, START, Sent, open, options};
use crate::{Erasure, Incident, LogTemplate, StorageError, Store, StoreOptions};
use arrow::array::AsArray;
use std::sync::Arc;
use std::time::Duration;
use whence_schema::{EventId, Table, TenantId, UnixNanos};

const SECOND: i64 = 1_000_000_000;

fn at(seconds: i64) -> UnixNanos {
    UnixNanos(START + seconds * SECOND)
}

/// Open from so many seconds after the start, and about `asset`.
fn incident(id: u128, opened: i64, asset: &str) -> Incident {
    Incident {
        id,
        opened: at(opened),
        closed: Some(at(opened + 60)),
        severity: 7.5,
        title: format!("errors of {asset}"),
        asset: Some(asset.to_owned()),
        cause_kind: Some("errors".to_owned()),
        confidence: Some(0.7),
        affected: vec![asset.to_owned(), "a \"quoted\" one".to_owned()],
        first_symptom: Some(EventId(u128::MAX - id)),
        explanation: format!("{asset} failed more often"),
        updated_at: at(opened + 61),
    }
}

fn template(id: i64, seen: i64, asset: &str) -> LogTemplate {
    LogTemplate {
        id,
        asset: asset.to_owned(),
        text: "took <n> ms".to_owned(),
        first_seen: at(seen),
        last_seen: at(seen + 1),
    }
}

/// Incidents and templates by number.
async fn kept(store: &Store, tenant: &TenantId) -> (Vec<u128>, Vec<i64>) {
    let incidents = store.incidents(tenant).await.unwrap();
    let templates = store.log_templates(tenant).await.unwrap();
    (incidents.iter().map(|one| one.id).collect(), templates.iter().map(|one| one.id).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_is_there_again_after_reopening_replaced_by_number_and_a_tenants_own() {
    let folder = tempfile::tempdir().unwrap();
    let (mine, other) = (TenantId::default(), TenantId::new("other"));
    let world = open(options(folder.path())).await.unwrap();
    let late = Incident { closed: None, asset: None, cause_kind: None, confidence: None, ..incident(1, 500, "cart") };
    let bare =
        Incident { affected: vec![], first_symptom: None, severity: f64::INFINITY, ..incident(u128::MAX, 5, "x") };
    world.store.put_incidents(&mine, &[late.clone(), bare.clone()]).await.unwrap();
    world.store.put_incidents(&other, &[incident(1, 7, "theirs")]).await.unwrap();
    world.store.put_log_templates(&mine, &[template(-5, 1, "cart"), template(9, 2, "cart")]).await.unwrap();
    world.store.put_log_templates(&other, &[template(9, 3, "theirs")]).await.unwrap();
    world.kill().await;
    let world = open(options(folder.path())).await.unwrap();
    assert_eq!(world.store.incidents(&mine).await.unwrap(), [bare.clone(), late.clone()]);
    assert_eq!(world.store.incidents(&other).await.unwrap(), [incident(1, 7, "theirs")]);
    let closed = Incident { closed: Some(at(900)), title: "it is over".to_owned(), confidence: Some(0.25), ..late };
    world.store.put_incidents(&mine, std::slice::from_ref(&closed)).await.unwrap();
    let seen_again = LogTemplate { last_seen: at(40), ..template(9, 2, "cart") };
    world.store.put_log_templates(&mine, std::slice::from_ref(&seen_again)).await.unwrap();
    assert_eq!(world.store.incidents(&mine).await.unwrap(), [bare, closed]);
    assert_eq!(world.store.log_templates(&mine).await.unwrap(), [template(-5, 1, "cart"), seen_again]);
    assert_eq!(world.store.log_templates(&other).await.unwrap(), [template(9, 3, "theirs")]);
    let unknown = Incident { severity: f64::NAN, ..incident(4, 1, "x") };
    world.store.put_incidents(&other, &[unknown]).await.unwrap();
    assert!(world.store.incidents(&other).await.unwrap()[0].severity.is_nan());
    let store = world.store.clone();
    world.close().await;
    assert!(matches!(store.put_incidents(&mine, &[]).await, Err(StorageError::Closed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_each_tenant_the_newest_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (mine, other) = (TenantId::default(), TenantId::new("other"));
    let world = open(options(folder.path())).await.unwrap();
    world.store.put_incidents(&other, &[incident(1, 0, "x")]).await.unwrap();
    world.store.put_log_templates(&other, &[template(1, 0, "x")]).await.unwrap();
    // The one with the lowest number opened last.
    let many: Vec<_> = (0..10_003).map(|id| incident(id, 20_000 - id as i64, "cart")).collect();
    world.store.put_incidents(&mine, &many).await.unwrap();
    let many: Vec<_> = (0..50_002).map(|id| template(id, 60_000 - id, "cart")).collect();
    world.store.put_log_templates(&mine, &many).await.unwrap();
    let (incidents, templates) = kept(&world.store, &mine).await;
    assert_eq!((incidents.len(), incidents.first(), incidents.last()), (10_000, Some(&9_999), Some(&0)));
    assert_eq!((templates.len(), templates.first(), templates.last()), (50_000, Some(&0), Some(&49_999)));
    assert_eq!(kept(&world.store, &other).await, (vec![1], vec![1]));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_everything_of_a_tenant_all_go_and_nothing_is_put_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let (mine, other) = (TenantId::default(), TenantId::new("other"));
    let world = open(options(folder.path())).await.unwrap();
    let marker = "a-text-nobody-may-find-again";
    world.append(&Sent::Spans(vec![(1, 0, 1)])).await;
    for tenant in [&mine, &other] {
        world.store.put_incidents(tenant, &[incident(1, 0, "cart"), incident(2, 9_999_999, "pay")]).await.unwrap();
        world.store.put_log_templates(tenant, &[template(1, 0, "cart")]).await.unwrap();
    }
    let secret = Incident { title: marker.to_owned(), ..incident(3, 5, "cart") };
    world.store.put_incidents(&mine, &[secret]).await.unwrap();
    let closed = world.store.conclusions().close(&mine).await;
    let refused = world.store.put_incidents(&mine, &[incident(4, 0, "cart")]).await;
    assert!(matches!(refused, Err(StorageError::Erasing)));
    let refused = world.store.put_log_templates(&mine, &[template(4, 0, "cart")]).await;
    assert!(matches!(refused, Err(StorageError::Erasing)));
    world.store.put_incidents(&other, &[]).await.unwrap();
    drop(closed);
    let before = world.store.erasures(&mine);
    let erased = world.store.erase(of_default(None, None)).await.unwrap();
    assert_eq!((erased.rows, erased.remaining), ([1, 0, 0], 0));
    assert_eq!(kept(&world.store, &mine).await, (vec![], vec![]));
    assert_eq!(kept(&world.store, &other).await, (vec![1, 2], vec![1]));
    assert_eq!((world.store.erasures(&mine), world.store.erasures(&other)), (before + 1, 0));
    assert_eq!(super::erase::files_holding(folder.path(), marker.as_bytes()), Vec::<String>::new());
    world.store.put_incidents(&mine, &[incident(4, 0, "cart")]).await.unwrap();
    assert_eq!(kept(&world.store, &mine).await.0, [4]);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_rows_under_a_condition_go_those_that_may_tell_of_them_and_no_others() {
    // The rows of asset "cart" that `odd` erases are of 3 to 39 seconds after the start.
    let folder = tempfile::tempdir().unwrap();
    let (mine, other) = (TenantId::default(), TenantId::new("other"));
    let world = open(options(folder.path())).await.unwrap();
    world.append(&Sent::Spans((1..=40).map(|id| (id, 0, id as i64)).collect())).await;
    let hour = 3_600;
    let quoting = Incident { affected: vec![], explanation: "waits for cart".to_owned(), ..incident(5, 0, "pay") };
    let put = [
        incident(1, 0, "cart"),
        incident(2, hour, "cart"),
        incident(3, hour + 60, "cart"),
        incident(4, -120, "cart"),
        quoting,
        incident(6, 0, "pay"),
        Incident { closed: None, ..incident(7, -9 * hour, "cart") },
    ];
    let templates = [template(1, 2, "cart"), template(2, 40, "cart"), template(3, 2, "pay"), template(4, -5, "cart")];
    for tenant in [&mine, &other] {
        world.store.put_incidents(tenant, &put).await.unwrap();
        world.store.put_log_templates(tenant, &templates).await.unwrap();
    }
    let nothing = of_default(Some(Table::Correlations), Some(any()));
    world.store.erase(nothing).await.unwrap();
    assert_eq!(kept(&world.store, &mine).await.0.len(), 7);
    world.store.erase(of_default(Some(Table::Events), Some(odd()))).await.unwrap();
    assert_eq!(kept(&world.store, &mine).await, (vec![4, 6, 3], vec![2, 3, 4]));
    assert_eq!(kept(&world.store, &other).await.0.len(), 7);
    world.store.erase(of_default(Some(Table::Correlations), None)).await.unwrap();
    assert_eq!(kept(&world.store, &mine).await, (vec![], vec![2, 3, 4]));
    world.store.erase(of_default(Some(Table::Events), None)).await.unwrap();
    assert_eq!(kept(&world.store, &mine).await, (vec![], vec![]));
    world.close().await;
}

/// A condition that every row meets.
fn any() -> crate::RowCondition {
    Arc::new(|batch| Ok(std::iter::repeat_n(Some(true), batch.num_rows()).collect()))
}

#[tokio::test(flavor = "multi_thread")]
async fn with_metrics_go_those_that_name_their_assets() {
    let folder = tempfile::tempdir().unwrap();
    let mine = TenantId::default();
    let world = open(options(folder.path())).await.unwrap();
    world.append(&Sent::Points(vec![(1, 1.0, 1)])).await;
    let asset = {
        world.store.flush().await.unwrap();
        let snapshot = world.store.snapshot();
        let batch = &super::world::rows_of(&snapshot, Table::Metrics)[0];
        batch.column(whence_schema::tables::metrics::column::ASSET_ID).as_string_view().value(0).to_owned()
    };
    world.store.put_incidents(&mine, &[incident(1, 0, &asset), incident(2, 0, "pay")]).await.unwrap();
    world.store.erase(Erasure { tenant: mine.clone(), table: Some(Table::Metrics), condition: None }).await.unwrap();
    assert_eq!(kept(&world.store, &mine).await.0, [2]);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_kept_as_long_as_links_counted_from_the_later_of_their_time_and_when_they_were_put() {
    let folder = tempfile::tempdir().unwrap();
    let (mine, short) = (TenantId::default(), TenantId::new("short"));
    let day = 86_400;
    let mut early = options(folder.path());
    early.clock = || UnixNanos(START);
    let world = open(early).await.unwrap();
    let long = Incident { closed: Some(at(20 * day)), ..incident(2, 0, "cart") };
    for tenant in [&mine, &short] {
        world.store.put_incidents(tenant, &[incident(1, 0, "cart"), long.clone()]).await.unwrap();
        world.store.put_log_templates(tenant, &[template(1, 0, "cart"), template(2, 20 * day, "cart")]).await.unwrap();
    }
    world.close().await;
    let mut later = options(folder.path());
    later.clock = || UnixNanos(START + 40 * 24 * 60 * MINUTE);
    later.retention.correlations = None;
    let own = crate::TenantRetention {
        correlations: Some(Some(Duration::from_secs(30 * day as u64))),
        ..crate::TenantRetention::default()
    };
    later.retention.tenants.insert(short.clone(), own);
    // Of before the time that is kept, and put just now.
    let world = open(StoreOptions { retention: crate::Retention::default(), ..later.clone() }).await.unwrap();
    world.store.put_incidents(&short, &[incident(3, -90 * day, "cart")]).await.unwrap();
    world.close().await;
    let world = open(later).await.unwrap();
    for _ in 0..2_000 {
        if kept(&world.store, &short).await.0.len() < 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(kept(&world.store, &short).await, (vec![3, 2], vec![2]));
    assert_eq!(kept(&world.store, &mine).await, (vec![1, 2], vec![1, 2]));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_has_them_and_a_restore_to_a_time_leaves_out_those_put_later() {
    let folder = tempfile::tempdir().unwrap();
    let (data, backup) = (folder.path().join("data"), folder.path().join("backup"));
    let mine = TenantId::default();
    let mut early = options(&data);
    early.clock = || UnixNanos(START);
    let world = open(early).await.unwrap();
    world.append(&Sent::Spans(vec![(1, 0, 1)])).await;
    world.store.put_incidents(&mine, &[incident(1, 0, "cart")]).await.unwrap();
    world.store.put_log_templates(&mine, &[template(1, 0, "cart")]).await.unwrap();
    world.close().await;
    let mut later = options(&data);
    later.clock = || UnixNanos(START + 60 * MINUTE);
    let world = open(later).await.unwrap();
    world.store.put_incidents(&mine, &[incident(2, -5, "cart")]).await.unwrap();
    world.store.put_log_templates(&mine, &[template(2, -5, "cart")]).await.unwrap();
    world.store.backup(&backup, None, |_| ()).await.unwrap();
    world.close().await;
    for (to, expected) in [(None, (vec![2, 1], vec![1, 2])), (Some(at(1_800)), (vec![1], vec![1]))] {
        let target = folder.path().join(format!("restored-{}", to.is_some()));
        crate::restore(&backup, &target, to, |_| ()).await.unwrap();
        let world = open(options(&target)).await.unwrap();
        assert_eq!(kept(&world.store, &mine).await, expected);
        world.close().await;
    }
}
