#![allow(clippy::unwrap_used)]
use super::*;
use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type};
use whence_schema::tables::metrics::column;
use whence_schema::{MetricPoint, MetricType, PointValue, SeriesId};

const MINUTE: i64 = 60_000_000_000;
const NOW: UnixNanos = UnixNanos(1_000 * MINUTE);

fn series(id: u128) -> Series {
    Series {
        id: SeriesId(id),
        asset_id: "cart".to_owned(),
        metric_type: MetricType::Sum,
        metric_name: format!("metric {id}"),
        unit: "1".to_owned(),
        dimensions: "{}".to_owned(),
    }
}

fn request(ids: &[u128], points: &[(u32, i64, bool, f64)]) -> MetricPoints {
    let point = |(series, time, cumulative, value): &(u32, i64, bool, f64)| MetricPoint {
        series: *series,
        timestamp: UnixNanos(*time),
        start: UnixNanos(MINUTE),
        cumulative: *cumulative,
        value: PointValue::Number(*value),
    };
    MetricPoints {
        series: ids.iter().map(|id| series(*id)).collect(),
        points: points.iter().map(point).collect(),
        exemplars: Vec::new(),
    }
}

fn add(memtable: &mut MetricsMemtable, points: &MetricPoints) {
    memtable.add(&TenantId::default(), points, NOW, 3, true);
}

/// (name, bucket in minutes, points, count, sum) of every row, in order.
fn rows(memtable: &mut MetricsMemtable) -> Vec<(String, i64, i64, i64, f64)> {
    let mut rows = Vec::new();
    for batch in memtable.batches().unwrap() {
        let times = batch.column(column::TIMESTAMP).as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            rows.push((
                batch.column(column::METRIC_NAME).as_string_view().value(row).to_owned(),
                times.value(row) * 1_000 / MINUTE,
                batch.column(column::POINT_COUNT).as_primitive::<Int64Type>().value(row),
                batch.column(column::VALUE_COUNT).as_primitive::<Int64Type>().value(row),
                batch.column(column::VALUE_SUM).as_primitive::<Float64Type>().value(row),
            ));
        }
    }
    rows.sort_by(|a, b| a.partial_cmp(b).unwrap());
    rows
}

#[test]
fn points_of_one_series_and_minute_are_one_row_and_late_ones_find_their_bucket() {
    let mut memtable = MetricsMemtable::default();
    add(&mut memtable, &request(&[1], &[(0, 60 * MINUTE, false, 2.0), (0, 60 * MINUTE + 5, false, 3.0)]));
    add(&mut memtable, &request(&[1], &[(0, 61 * MINUTE, false, 7.0), (0, 60 * MINUTE + 9, false, -1.0)]));
    let name = "metric 1".to_owned();
    assert_eq!(rows(&mut memtable), [(name.clone(), 60, 3, 3, 4.0), (name, 61, 1, 1, 7.0)]);
}

#[test]
fn a_baseline_is_a_point_without_a_value() {
    let mut memtable = MetricsMemtable::default();
    add(&mut memtable, &request(&[1], &[(0, 60 * MINUTE, true, 100.0), (0, 60 * MINUTE + 1, true, 130.0)]));
    assert_eq!(rows(&mut memtable), [("metric 1".to_owned(), 60, 2, 1, 30.0)]);
}

#[test]
fn series_survive_being_saved_and_replay_without_emitting_rebuilds_them() {
    let mut memtable = MetricsMemtable::default();
    add(&mut memtable, &request(&[1], &[(0, 60 * MINUTE, true, 100.0)]));
    let mut restored = MetricsMemtable::restore(&memtable.registry.save()).unwrap();
    let more = request(&[1], &[(0, 61 * MINUTE, true, 110.0)]);
    restored.add(&TenantId::default(), &more, NOW, 3, false);
    assert_eq!(rows(&mut restored), []);
    add(&mut restored, &request(&[1], &[(0, 62 * MINUTE, true, 111.5)]));
    assert_eq!(rows(&mut restored), [("metric 1".to_owned(), 62, 1, 1, 1.5)]);
}

#[test]
fn series_beyond_the_limit_share_one_row_and_keep_counting_points() {
    let mut memtable = MetricsMemtable::default();
    let points: Vec<_> = (0..5).map(|series| (series, 60 * MINUTE, false, 1.0)).collect();
    add(&mut memtable, &request(&[1, 2, 3, 4, 5], &points));
    let rows = rows(&mut memtable);
    assert_eq!(rows.len(), 4);
    assert_eq!(rows.iter().map(|row| row.2).sum::<i64>(), 5);
    assert!(rows.iter().any(|row| row.0 == "otel.metric.overflow" && row.2 == 2));
}

#[test]
fn histograms_keep_the_senders_sum_and_extremes() {
    let mut memtable = MetricsMemtable::default();
    let mut points = request(&[1], &[(0, 60 * MINUTE, false, 0.0)]);
    points.points[0].value = PointValue::Histogram {
        count: 4,
        sum: Some(41.0),
        min: Some(0.5),
        max: Some(30.0),
        bounds: vec![1.0, 10.0],
        counts: vec![1, 2, 1],
    };
    add(&mut memtable, &points);
    let batch = memtable.batches().unwrap().remove(0);
    let value = |index: usize| batch.column(index).as_primitive::<Float64Type>().value(0);
    assert_eq!((value(column::VALUE_SUM), value(column::VALUE_MIN), value(column::VALUE_MAX)), (41.0, 0.5, 30.0));
    assert_eq!(batch.column(column::VALUE_COUNT).as_primitive::<Int64Type>().value(0), 4);
}
