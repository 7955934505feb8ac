//! Incidents that only the metrics of a process show, found as data arrives: the same as when asked later.

use super::rows::EventRow;
use super::through_store::Requests;
use super::watching::{InLog, SECOND, Watching, at, request};
use crate::find_incidents;
use whence_schema::{MetricPoint, MetricPoints, MetricType, PointValue, Series, SeriesId, TenantId};
use whence_storage::Incident;

/// Seconds of data, and those in which a process is busy.
const LENGTH: i64 = 2_400;
const BUSY: std::ops::Range<i64> = 1_600..1_840;
/// Seconds between two points of a process.
const INTERVAL: i64 = 15;

/// What three processes measure at a second.
fn points(second: i64) -> MetricPoints {
    let of = |(number, asset): (usize, &str), metric: &str| Series {
        id: SeriesId((number as u128) << 8 | metric.len() as u128),
        asset_id: asset.to_owned(),
        metric_type: MetricType::Gauge,
        metric_name: metric.to_owned(),
        unit: "1".to_owned(),
        dimensions: "{}".to_owned(),
    };
    let assets = ["front", "cart", "stock"];
    let mut all = MetricPoints::default();
    for asset in assets.into_iter().enumerate() {
        let usual = 0.2 + (second / INTERVAL * 7 + asset.0 as i64) as f64 % 5.0 * 0.01;
        let cpu = if asset.1 == "cart" && BUSY.contains(&second) { 0.9 } else { usual };
        for (metric, value) in [("process.cpu.utilization", cpu), ("http.server.active_requests", second as f64)] {
            let series = all.series.len() as u32;
            all.series.push(of(asset, metric));
            let (timestamp, value) = (at(second), PointValue::Number(value));
            all.points.push(MetricPoint { series, timestamp, start: at(0), cumulative: false, value });
        }
    }
    all
}

/// Requests of a second that say nothing of it.
fn requests_at(second: i64) -> Vec<EventRow> {
    (0..2).flat_map(|half| request(second * 2 + half, at(second).0 + half * SECOND / 2, false)).collect()
}

/// Data as it arrives, up to `late` seconds late and with or without events; kills at some of the seconds.
async fn kept(with_events: bool, late: i64, kills: &[i64]) -> (Vec<Incident>, u64) {
    let folder = tempfile::tempdir().unwrap();
    let requests = Requests::default();
    let mut watching = Watching::begin(folder.path(), &requests, 0, InLog::default()).await;
    for second in 0..LENGTH + 60 {
        if second % INTERVAL == late && second - late < LENGTH {
            watching.arrive_points(second, points(second - late)).await;
        }
        let rows = if with_events && second < LENGTH { requests_at(second) } else { Vec::new() };
        if second % 5 == 0 || !rows.is_empty() {
            watching.arrive(second, &rows).await;
        }
        if kills.contains(&second) && second % 2 == 0 {
            watching.replace(second).await;
        } else if kills.contains(&second) {
            let in_log = watching.crash().await;
            watching = Watching::begin(folder.path(), &requests, second, in_log).await;
        }
    }
    watching.arrive(LENGTH + 300, &[]).await;
    let (incidents, _) = watching.kept().await;
    let minutes = watching.statistics.watch().minutes();
    if kills.is_empty() {
        asked_the_same(&watching, &incidents);
    }
    assert!(watching.close().await);
    (incidents, minutes)
}

/// What is asked later is what was found.
fn asked_the_same(watching: &Watching, found: &[Incident]) {
    let snapshot = watching.life.store.snapshot();
    let asked = find_incidents(&snapshot, &TenantId::default(), at(0), at(LENGTH + 30)).unwrap();
    let asked: Vec<_> = asked
        .iter()
        .map(|incident| (incident.opened, Some(incident.closed), incident.severity, incident.asset.as_deref()))
        .collect();
    let found: Vec<_> = found
        .iter()
        .map(|incident| (incident.opened, incident.closed, incident.severity, incident.asset.as_deref()))
        .collect();
    assert_eq!(found, asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_metrics_show_is_the_same_incident_live_and_asked_without_any_event() {
    let (incidents, minutes) = kept(false, 0, &[]).await;
    let [incident] = &incidents[..] else { panic!("{incidents:#?}") };
    assert_eq!(incident.asset.as_deref(), Some("cart"), "{incident:?}");
    assert!(incident.title.starts_with("process.cpu.utilization"), "{incident:?}");
    assert_eq!(minutes, (LENGTH + 30) as u64 / 60 + 1);
    assert_eq!(kept(false, 4, &[]).await.0, incidents, "a little later");
    // Before it, when it has begun, in its middle, and when it is over: by another watcher, or after a kill.
    assert_eq!(kept(false, 0, &[1_500, 1_741, 1_801, 1_860, 1_961]).await.0, incidents, "begun again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_metrics_show_is_the_same_incident_live_and_asked_beside_events() {
    let (incidents, _) = kept(true, 0, &[]).await;
    let [incident] = &incidents[..] else { panic!("{incidents:#?}") };
    assert_eq!(incident.asset.as_deref(), Some("cart"), "{incident:?}");
    assert_eq!(kept(true, 7, &[]).await.0, incidents, "points come later");
    assert_eq!(kept(true, 0, &[1_741, 1_860]).await.0, incidents, "begun again");
}
