//! Data points for load generation: the same few thousand series, round after round.

use crate::random::{MILLISECOND, SECOND};
use crate::restamp::{EPOCH, ROUND};
use crate::shop::export::Items;
use crate::shop::fault::FaultPlan;
use crate::shop::instruments::{InstrumentState, Instruments};
use crate::shop::topology::{Source, Topology};
use crate::shop::traffic::Measurement;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, Gauge, Histogram, Metric, NumberDataPoint, Sum,
};
use prost::Message;
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, HashMap};

/// What one delta point covers.
const INTERVAL: u64 = 10 * SECOND;
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// Data points, collected round by round from all pods.
pub(crate) struct Rounds<'a> {
    topology: &'a Topology,
    plan: &'a FaultPlan,
    /// Start time of cumulative series.
    started: u64,
    /// Rounds collected so far.
    pub(crate) count: u64,
    /// The growth of each cumulative series in one round: that of its first round, in all rounds.
    steps: HashMap<(Source, Vec<u8>), Metric>,
    /// Collected, but not yet in a batch: one metric for each data point.
    pub(crate) waiting: Items<Metric>,
}

impl<'a> Rounds<'a> {
    pub(crate) fn new(topology: &'a Topology, plan: &'a FaultPlan, started: u64) -> Self {
        Rounds { topology, plan, started, count: 0, steps: HashMap::new(), waiting: Items::new() }
    }

    /// One round: the points of these measurements, and one of each gauge and counter.
    pub(crate) fn collect(&mut self, rng: &mut ChaCha8Rng, measurements: Vec<Measurement>) {
        let time = EPOCH + self.count * ROUND;
        self.count += 1;
        let mut instruments = Instruments::new(self.topology, self.plan, InstrumentState::new(EPOCH));
        measurements.iter().for_each(|measurement| instruments.record(measurement));
        for (source, metric) in instruments.collect(rng, time) {
            for mut point in single_points(metric) {
                if let Some(key) = key_if_growing(&point) {
                    point = self.steps.entry((source, key)).or_insert(point).clone();
                }
                set_times(&mut point, self.started, time);
                self.waiting.push((source, point));
            }
        }
    }
}

/// The identity of a cumulative series that only grows.
fn key_if_growing(point: &Metric) -> Option<Vec<u8>> {
    let attributes: &[KeyValue] = match &point.data {
        Some(Data::Sum(sum)) if sum.is_monotonic && sum.aggregation_temporality == CUMULATIVE => {
            &sum.data_points.first()?.attributes
        }
        Some(Data::Histogram(histogram)) if histogram.aggregation_temporality == CUMULATIVE => {
            &histogram.data_points.first()?.attributes
        }
        _ => return None,
    };
    let mut key = point.name.clone().into_bytes();
    attributes.iter().for_each(|attribute| key.extend(attribute.encode_length_delimited_to_vec()));
    Some(key)
}

fn single_points(metric: Metric) -> Vec<Metric> {
    let Metric { name, unit, data, .. } = metric;
    let one = |data| Metric { name: name.clone(), unit: unit.clone(), data: Some(data), ..Default::default() };
    match data {
        Some(Data::Gauge(gauge)) => {
            gauge.data_points.into_iter().map(|point| one(Data::Gauge(Gauge { data_points: vec![point] }))).collect()
        }
        Some(Data::Sum(sum)) => {
            let points = sum.data_points.into_iter();
            points.map(|point| one(Data::Sum(Sum { data_points: vec![point], ..sum }))).collect()
        }
        Some(Data::Histogram(Histogram { data_points, aggregation_temporality })) => data_points
            .into_iter()
            .map(|point| one(Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality })))
            .collect(),
        _ => Vec::new(),
    }
}

fn set_times(metric: &mut Metric, started: u64, time: u64) {
    let start = |temporality| if temporality == CUMULATIVE { started } else { time - INTERVAL };
    match &mut metric.data {
        Some(Data::Gauge(gauge)) => set_number_times(&mut gauge.data_points, started, time),
        Some(Data::Sum(sum)) => set_number_times(&mut sum.data_points, start(sum.aggregation_temporality), time),
        Some(Data::Histogram(histogram)) => {
            for point in &mut histogram.data_points {
                point.start_time_unix_nano = start(histogram.aggregation_temporality);
                point.time_unix_nano = time;
                point.exemplars.iter_mut().for_each(|exemplar| set_exemplar_time(exemplar, time));
            }
        }
        _ => {}
    }
}

fn set_number_times(points: &mut [NumberDataPoint], start: u64, time: u64) {
    for point in points {
        point.start_time_unix_nano = start;
        point.time_unix_nano = time;
        point.exemplars.iter_mut().for_each(|exemplar| set_exemplar_time(exemplar, time));
    }
}

/// An exemplar was measured before its point was collected.
fn set_exemplar_time(exemplar: &mut Exemplar, time: u64) {
    exemplar.time_unix_nano = time - MILLISECOND;
}

/// Brings the points of one metric of one pod together, as an SDK sends them.
pub(crate) fn merge(points: Items<Metric>) -> Items<Metric> {
    let mut merged: BTreeMap<(Source, String), Metric> = BTreeMap::new();
    for (source, point) in points {
        let known = merged.entry((source, point.name.clone()));
        known.and_modify(|metric| append(metric, &point)).or_insert(point);
    }
    merged.into_iter().map(|((source, _), metric)| (source, metric)).collect()
}

fn append(metric: &mut Metric, point: &Metric) {
    match (&mut metric.data, &point.data) {
        (Some(Data::Gauge(all)), Some(Data::Gauge(new))) => all.data_points.extend_from_slice(&new.data_points),
        (Some(Data::Sum(all)), Some(Data::Sum(new))) => all.data_points.extend_from_slice(&new.data_points),
        (Some(Data::Histogram(all)), Some(Data::Histogram(new))) => {
            all.data_points.extend_from_slice(&new.data_points);
        }
        // A metric is of one kind wherever it appears.
        _ => {}
    }
}
