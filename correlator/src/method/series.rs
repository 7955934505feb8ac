//! Metrics: series whose level in a window is far from where it was.

use super::observations::{Observations, PointSeen};
use super::slots::Slots;
use std::ops::Range;

/// A series that left its range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shift {
    pub(super) asset: u32,
    pub(super) metric: u32,
    /// Medians before and in the window, in the metric's unit.
    pub(super) before: f64,
    pub(super) now: f64,
    /// The difference, positive when it rose, in units of what the series varies by.
    pub(super) deviate: f64,
}

/// Points of a series before the window that are enough to know its range.
const LEAST_BEFORE: usize = 8;
/// Points in the window that make a level.
const LEAST_NOW: usize = 2;
/// A change by less than this share of the level is none, however steady the series was.
const LEAST_CHANGE: f64 = 0.05;
/// Interquartile range of a normal distribution in standard deviations.
const NORMAL_IQR: f64 = 1.349;
/// Shifts below this many deviates are chance.
const LEAST_SHIFT: f64 = 3.0;

/// What grows faster than the evidence of a shift: shifts have no bound and heavy tails, and hundreds of deviates are
/// not ten times as sure as tens.
const COMPRESSION: f64 = 0.6;
/// Weight of how long the requests to an asset take that sends no spans: what its callees do is in it as well.
const OF_REQUESTS: f64 = 0.25;
/// Deviates of such durations beyond this count no more: a single request in an idle minute makes hundreds.
const MOST_OF_REQUESTS: f64 = 10.0;

impl Shift {
    /// The difference as a share of the larger level, 0 to 1.
    pub(super) fn effect(&self) -> f64 {
        let largest = self.now.abs().max(self.before.abs());
        if largest > 0.0 { ((self.now - self.before).abs() / largest).min(1.0) } else { 0.0 }
    }
}

/// How much a shift speaks against its asset, on the scale of squared deviates.
///
/// What a process itself uses more of is its own doing: its callees do not make it rise. Durations and counts of
/// requests are of callees and callers as well; they count little, and not at all where spans tell more.
pub(super) fn weight(shift: &Shift, metric: &str, has_spans: bool) -> f64 {
    let (deviate, share) = match is_own_resource(metric) {
        true if shift.deviate > 0.0 => (shift.deviate, 1.0),
        false if shift.deviate > 0.0 && !has_spans && is_duration_of_requests(metric) => {
            (shift.deviate.min(MOST_OF_REQUESTS), OF_REQUESTS)
        }
        _ => return 0.0,
    };
    deviate.powf(2.0 * COMPRESSION) * shift.effect() * share
}

/// True for what a process or its runtime uses, by the names that OpenTelemetry's conventions give; traffic and what
/// is shared by a node is not a process's own.
fn is_own_resource(metric: &str) -> bool {
    const OWN: [&str; 6] = ["cpu", "memory", ".gc.", "heap", "restart", "thread"];
    const SHARED: [&str; 3] = ["network", "node", "system."];
    let name = metric.split(['{', ' ']).next().unwrap_or_default();
    OWN.iter().any(|part| name.contains(part)) && !SHARED.iter().any(|part| name.contains(part))
}

/// True for how long an asset takes to answer or to process.
fn is_duration_of_requests(metric: &str) -> bool {
    let has = |parts: [&str; 2]| parts.iter().any(|part| metric.contains(part));
    has(["duration", "latency"]) && has(["server", "process"])
}

/// Points in the order of asset, series and time.
pub(super) fn sorted(observations: &Observations) -> Vec<PointSeen> {
    let mut points: Vec<PointSeen> =
        observations.points.iter().filter(|point| point.value.is_finite()).copied().collect();
    points.sort_unstable_by(|a, b| {
        (a.asset, a.metric, a.time).cmp(&(b.asset, b.metric, b.time)).then(a.value.total_cmp(&b.value))
    });
    points
}

/// The series that are elsewhere in a window of slots than in the quiet slots before it, by asset and series.
pub(super) fn shifts(points: &[PointSeen], slots: &Slots, window: &Range<u32>) -> Vec<Shift> {
    let mut shifts = Vec::new();
    let (mut before, mut now) = (Vec::new(), Vec::new());
    for series in points.chunk_by(|a, b| (a.asset, a.metric) == (b.asset, b.metric)) {
        before.clear();
        now.clear();
        let asset = series[0].asset;
        for point in series {
            match slots.at(point.time) {
                Some(slot) if window.contains(&slot) => now.push(point.value),
                Some(slot) if slot < window.start && slots.is_quiet_for([asset; 2], slot) => before.push(point.value),
                _ => {}
            }
        }
        if before.len() < LEAST_BEFORE || now.len() < LEAST_NOW {
            continue;
        }
        let scale = scale(&before, now.len());
        let (level, now) = (median(&mut before), median(&mut now));
        let scale = scale.max(LEAST_CHANGE * level.abs()).max(LEAST_CHANGE * LEAST_CHANGE * now.abs());
        let deviate = if scale > 0.0 { (now - level) / scale } else { 0.0 };
        if deviate.abs() >= LEAST_SHIFT {
            shifts.push(Shift { asset, metric: series[0].metric, before: level, now, deviate });
        }
    }
    shifts
}

/// What medians of so many successive values vary by: the larger of what single values say and what windows of the
/// baseline themselves show, since successive values are alike.
fn scale(before: &[f64], window: usize) -> f64 {
    let mut sorted = before.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
    let level = at(0.5);
    let mut windows: Vec<f64> =
        before.chunks(window).map(|chunk| (median(&mut chunk.to_vec()) - level).abs()).collect();
    windows.sort_unstable_by(f64::total_cmp);
    let of_windows = windows[((windows.len() - 1) as f64 * 0.9).round() as usize] / 1.645;
    ((at(0.75) - at(0.25)) / NORMAL_IQR).max(of_windows)
}

fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    let (_, median, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    *median
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::causes::Question;
    use whence_schema::UnixNanos;

    /// A point each half minute, the last six of which are the window.
    fn shift(values: &[f64]) -> Option<Shift> {
        let at = |slot: usize| UnixNanos(slot as i64 * 30_000_000_000);
        let window = values.len() - 6;
        let to = at(values.len());
        let slots = Slots::of(&Question { from: at(window), to, baseline_from: at(0) });
        let point = |(slot, value): (usize, &f64)| PointSeen { time: at(slot), asset: 0, metric: 0, value: *value };
        let observations =
            Observations { points: values.iter().enumerate().map(point).collect(), ..Default::default() };
        shifts(&sorted(&observations), &slots, &(slots.window..slots.end)).first().copied()
    }

    #[test]
    fn a_level_that_moves_shifts_and_one_that_swings_anyway_does_not() {
        let mut steady = [10.0; 36];
        assert_eq!(shift(&steady), None);
        steady[30..].fill(20.0);
        let shifted = shift(&steady).map(|shift| (shift.before, shift.now, shift.deviate, shift.effect()));
        assert_eq!(shifted, Some((10.0, 20.0, 20.0, 0.5)));
        let swinging: Vec<f64> = (0..36).map(|slot| if slot / 6 % 2 == 1 { 20.0 } else { 10.0 }).collect();
        assert_eq!(shift(&swinging), None);
        assert_eq!(shift(&[1.0, 1.0, 1.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0]), None, "three points are no baseline");
    }

    #[test]
    fn only_what_a_process_uses_itself_weighs_in_full() {
        let shift = Shift { asset: 0, metric: 0, before: 1.0, now: 2.0, deviate: 20.0 };
        let weight = |metric, has_spans| weight(&shift, metric, has_spans);
        assert!(weight("k8s.pod.cpu.usage{} pod-1", true) > 10.0);
        assert_eq!(weight("k8s.node.cpu.utilization", true), 0.0);
        assert_eq!(weight("k8s.pod.network.io{direction=receive,of=memory}", true), 0.0);
        assert_eq!(weight("http.server.request.duration", true), 0.0);
        assert!(weight("http.server.request.duration", false) > 0.0);
        assert_eq!(super::weight(&Shift { deviate: -20.0, ..shift }, "process.cpu.time", true), 0.0);
    }
}
