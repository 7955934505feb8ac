//! Metrics: series whose level in a window is far from where it was.

use super::observations::{Observations, PointSeen};
use super::scan::{LONGEST, STANDS_OUT};
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
/// Slots that two successive points lie apart at most, two minutes, and slots before them that make the level, an hour.
const MOST_APART: u32 = 4;
const MOST_BEFORE: u32 = 120;
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
        let deviate = deviate(level, now, scale);
        if deviate.abs() >= LEAST_SHIFT {
            shifts.push(Shift { asset, metric: series[0].metric, before: level, now, deviate });
        }
    }
    shifts
}

/// Makes the deviates of slots of the baseline larger in which a process uses much more than it did, for two points or
/// more, on the scale of what it weighs.
pub(super) fn stand_out(points: &[PointSeen], metrics: &[String], slots: &Slots, deviates: &mut [f64]) {
    for series in points.chunk_by(|a, b| (a.asset, a.metric) == (b.asset, b.metric)) {
        let metric = metrics.get(series[0].metric as usize).map_or("", String::as_str);
        // A count of restarts stays what it is when the trouble is over.
        if !is_own_resource(metric) || metric.contains("restart") {
            continue;
        }
        let before =
            |point: &PointSeen| Some((slots.at(point.time).filter(|slot| slots.is_before(*slot))?, point.value));
        let values: Vec<(u32, f64)> = series.iter().filter_map(before).collect();
        for (loud, score) in loud(&values, metric) {
            for deviate in &mut deviates[loud.start as usize..loud.end as usize] {
                *deviate = deviate.max(score);
            }
        }
    }
}

/// The slots between two successive points, of slot and value, that are both much higher than those before them, and
/// their score. What has stayed higher for the longest time that a run lasts is the level from then on.
fn loud(values: &[(u32, f64)], metric: &str) -> Vec<(Range<u32>, f64)> {
    let mut found: Vec<(Range<u32>, f64)> = Vec::new();
    let mut is_loud = vec![false; values.len()];
    // Where the level begins, and where what is louder now began.
    let (mut level_from, mut loud_from) = (0, None);
    for last in 1..values.len() {
        let [(first_slot, first), (slot, value)] = [values[last - 1], values[last]];
        let earlier = level_from..last - 1;
        let known = |at: &usize| !is_loud[*at] && values[*at].0 + MOST_BEFORE >= slot;
        let before: Vec<f64> = earlier.filter(known).map(|at| values[at].1).collect();
        let score = if slot - first_slot <= MOST_APART { score(&before, first.min(value), metric) } else { 0.0 };
        if score < STANDS_OUT {
            loud_from = None;
            continue;
        }
        let begun = *loud_from.get_or_insert(last - 1);
        if slot - values[begun].0 >= LONGEST {
            (level_from, loud_from) = (begun, None);
            is_loud[begun..last].fill(false);
            continue;
        }
        is_loud[last - 1..=last].fill(true);
        found.push((first_slot..slot + 1, score));
    }
    found
}

/// How far `now` stands out from the values before it, as the square root of its weight.
fn score(before: &[f64], now: f64, metric: &str) -> f64 {
    if before.len() < LEAST_BEFORE {
        return 0.0;
    }
    let level = median(&mut before.to_vec());
    let score = |scale: f64| {
        let shift = Shift { asset: 0, metric: 0, before: level, now, deviate: deviate(level, now, scale) };
        weight(&shift, metric, true).sqrt()
    };
    // The scale costs more than all else, and hardly any value is so high that it must be known.
    if score(0.0) < STANDS_OUT { 0.0 } else { score(scale(before, LEAST_NOW)) }
}

/// The difference of two levels in units of what the series varies by, but at least of a share of the level.
fn deviate(before: f64, now: f64, scale: f64) -> f64 {
    let scale = scale.max(LEAST_CHANGE * before.abs()).max(LEAST_CHANGE * LEAST_CHANGE * now.abs());
    if scale > 0.0 { (now - before) / scale } else { 0.0 }
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
    fn a_process_that_uses_more_for_some_minutes_stands_out_and_what_stays_is_its_level() {
        // A point each minute.
        let scan = |value: &dyn Fn(u32) -> f64| {
            let values: Vec<(u32, f64)> = (0..60).map(|minute| (2 * minute, value(minute))).collect();
            let found = loud(&values, "process.cpu.utilization");
            found.first().zip(found.last()).map(|((first, _), (last, _))| first.start..last.end)
        };
        let usual = |minute: u32| 0.2 + f64::from(minute % 3) * 0.01;
        assert_eq!(scan(&usual), None);
        assert_eq!(scan(&|minute| if minute == 30 { 0.9 } else { usual(minute) }), None, "a single point");
        assert_eq!(scan(&|minute| if (30..34).contains(&minute) { 0.9 } else { usual(minute) }), Some(60..67));
        assert_eq!(scan(&|minute| if minute >= 30 { 0.9 } else { usual(minute) }), Some(60..79), "for ten minutes");
        assert_eq!(scan(&|minute| if minute < 7 { usual(minute) } else { 0.9 }), None, "too little before it");
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
