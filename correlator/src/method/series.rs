//! Metrics: series whose level in a window is far from where it was.

use super::observations::{Observations, PointSeen};
use super::scan::{LONGEST, Loud};
use super::slots::{HOUR, Slots};
use hashbrown::HashMap;
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
    /// How much it matters, 0 to 1: the difference as a part of what the same metric is at in other assets. One that uses
    /// next to nothing uses twice that at times, and troubles nobody.
    pub(super) relevance: f64,
}

/// Points of a series before the window that are enough to know its range.
const LEAST_BEFORE: usize = 8;
/// Points in the window that make a level.
const LEAST_NOW: usize = 2;
/// Slots that two successive points lie apart at most, two minutes.
const MOST_APART: u32 = 4;
/// A change by less than this share of the level is none, however steady the series was.
const LEAST_CHANGE: f64 = 0.05;
/// Interquartile range of a normal distribution in standard deviations.
const NORMAL_IQR: f64 = 1.349;
/// Series of a metric that tell what is usual.
const FEWEST: usize = 3;
/// Score from which a series stands out.
const STANDS_OUT: f64 = 4.5;
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
    deviate.powf(2.0 * COMPRESSION) * shift.effect() * share * shift.relevance
}

/// True for what a process or its runtime uses, by the names that OpenTelemetry's conventions give; traffic and what
/// is shared by a node is not a process's own.
fn is_own_resource(metric: &str) -> bool {
    const OWN: [&str; 6] = ["cpu", "memory", ".gc.", "heap", "restart", "thread"];
    const SHARED: [&str; 3] = ["network", "node", "system."];
    let name = name(metric);
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

/// The series that are elsewhere in a window of slots than in the quiet slots of the hour before it, by asset and
/// series.
pub(super) fn shifts(points: &[PointSeen], slots: &Slots, window: &Range<u32>) -> Vec<Shift> {
    let mut shifts = Vec::new();
    let (mut before, mut now) = (Vec::new(), Vec::new());
    for points in series(points) {
        before.clear();
        now.clear();
        let PointSeen { asset, metric, .. } = points[0];
        for point in points {
            match slots.at(point.time) {
                Some(slot) if window.contains(&slot) => now.push(point.value),
                Some(slot) if slots.is_baseline(window, [asset; 2], slot) => before.push(point.value),
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
            shifts.push(Shift { asset, metric, before: level, now, deviate, relevance: 1.0 });
        }
    }
    shifts
}

/// Sets the relevance of shifts, from what the metric of each is at in all assets in the hour before a window.
pub(super) fn relate(
    shifts: &mut [Shift],
    points: &[PointSeen],
    metrics: &[String],
    slots: &Slots,
    window: &Range<u32>,
) {
    let name = |metric: u32| name(metrics.get(metric as usize).map_or("", String::as_str));
    let mut levels: HashMap<&str, Vec<f64>> = shifts.iter().map(|shift| (name(shift.metric), Vec::new())).collect();
    for points in series(points) {
        let Some(levels) = levels.get_mut(name(points[0].metric)) else { continue };
        let before = |point: &&PointSeen| slots.at(point.time).is_some_and(|slot| slots.is_hour_before(window, slot));
        let mut values: Vec<f64> = points.iter().filter(before).map(|point| point.value.abs()).collect();
        if !values.is_empty() {
            levels.push(median(&mut values));
        }
    }
    let usual: HashMap<&str, f64> = levels
        .into_iter()
        .filter(|(_, levels)| levels.len() >= FEWEST)
        .map(|(name, mut levels)| (name, median(&mut levels)))
        .collect();
    for shift in shifts {
        let part = usual.get(name(shift.metric)).map_or(1.0, |usual| (shift.now - shift.before).abs() / usual);
        // Of nothing that is usual, anything is much.
        shift.relevance = if part.is_finite() { part.min(1.0) } else { 1.0 };
    }
}

/// The name of a metric, of which a series may have dimensions.
fn name(series: &str) -> &str {
    series.split(['{', ' ']).next().unwrap_or_default()
}

/// The points of each series, in the order of asset and metric.
fn series(points: &[PointSeen]) -> impl Iterator<Item = &[PointSeen]> {
    points.chunk_by(|a, b| (a.asset, a.metric) == (b.asset, b.metric))
}

/// Adds to `found` when a process uses much more than it did, for two points or more, on the scale of what it weighs;
/// the series are numbered from `first` on.
pub(super) fn stand_out(points: &[PointSeen], metrics: &[String], slots: &Slots, first: usize, found: &mut Loud) {
    for (number, points) in (first..).zip(series(points)) {
        let metric = metrics.get(points[0].metric as usize).map_or("", String::as_str);
        if !may_stand_out(metric) {
            continue;
        }
        let before =
            |point: &PointSeen| Some((slots.at(point.time).filter(|slot| slots.is_before(*slot))?, point.value));
        let values: Vec<(u32, f64)> = points.iter().filter_map(before).collect();
        for (loud, score) in loud(&values, metric) {
            found.add(number, loud, score);
        }
    }
}

/// True for series whose levels are looked at to find when something was wrong.
pub(crate) fn may_stand_out(metric: &str) -> bool {
    // A count of restarts stays what it is when the trouble is over.
    is_own_resource(metric) && !metric.contains("restart")
}

/// The slots between two successive points, of slot and value, that are both much higher than those before them, and
/// their score. What has stayed higher for the longest time that a run lasts is the level from then on.
pub(super) fn loud(values: &[(u32, f64)], metric: &str) -> Vec<(Range<u32>, f64)> {
    let mut found: Vec<(Range<u32>, f64)> = Vec::new();
    if !varies(values, metric) {
        return found;
    }
    let mut is_loud = vec![false; values.len()];
    // Where the level begins, and where what is louder now began.
    let (mut level_from, mut loud_from) = (0, None);
    for last in 1..values.len() {
        let [(first_slot, first), (slot, value)] = [values[last - 1], values[last]];
        let earlier = level_from..last - 1;
        let known = |at: &usize| !is_loud[*at] && values[*at].0 + HOUR >= slot;
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

/// False when not even the highest value stands out from the lowest one: most processes use what they always use.
fn varies(values: &[(u32, f64)], metric: &str) -> bool {
    let values = || values.iter().map(|(_, value)| *value);
    let (lowest, highest) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    // Of levels below 0 the nearest to 0 has the smallest scale.
    lowest <= 0.0 || score_of(lowest, highest, 0.0, metric) >= STANDS_OUT
}

/// How far `now` stands out from a level, in units of at least `scale`, as the square root of its weight.
fn score_of(level: f64, now: f64, scale: f64, metric: &str) -> f64 {
    let deviate = deviate(level, now, scale);
    let shift = Shift { asset: 0, metric: 0, before: level, now, deviate, relevance: 1.0 };
    weight(&shift, metric, true).sqrt()
}

/// How far `now` stands out from the values before it, as the square root of its weight.
fn score(before: &[f64], now: f64, metric: &str) -> f64 {
    if before.len() < LEAST_BEFORE {
        return 0.0;
    }
    let level = median(&mut before.to_vec());
    let score = |scale: f64| score_of(level, now, scale, metric);
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
    use crate::method::slots::SLOT_NANOS;
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
    fn what_is_little_beside_what_others_use_matters_little() {
        let slots = Slots::of(&Question {
            baseline_from: UnixNanos(0),
            from: UnixNanos(30 * SLOT_NANOS),
            to: UnixNanos(36 * SLOT_NANOS),
        });
        // One uses twice a little; others use much, one of them twice as much at last.
        let usual = [1.0, 100.0, 80.0, 100.0];
        let grows = [true, true, false, false];
        let mut points = Vec::new();
        for (asset, (usual, grows)) in (0..).zip(usual.into_iter().zip(grows)) {
            for slot in 0..36 {
                let value = if grows && slot >= 30 { 2.0 * usual } else { usual };
                points.push(PointSeen { time: UnixNanos(slot * SLOT_NANOS), asset, metric: asset, value });
            }
        }
        let metrics: Vec<String> = (0..4).map(|pod| format!("k8s.pod.memory.usage {{\"pod\":{pod}}}")).collect();
        let window = slots.window..slots.end;
        let mut found = shifts(&points, &slots, &window);
        relate(&mut found, &points, &metrics, &slots, &window);
        let relevance: Vec<(u32, f64)> = found.iter().map(|shift| (shift.asset, shift.relevance)).collect();
        assert_eq!(relevance, [(0, 0.01), (1, 1.0)]);
    }

    #[test]
    fn only_what_a_process_uses_itself_weighs_in_full() {
        let shift = Shift { asset: 0, metric: 0, before: 1.0, now: 2.0, deviate: 20.0, relevance: 1.0 };
        let weight = |metric, has_spans| weight(&shift, metric, has_spans);
        assert!(weight("k8s.pod.cpu.usage{} pod-1", true) > 10.0);
        assert_eq!(weight("k8s.node.cpu.utilization", true), 0.0);
        assert_eq!(weight("k8s.pod.network.io{direction=receive,of=memory}", true), 0.0);
        assert_eq!(weight("http.server.request.duration", true), 0.0);
        assert!(weight("http.server.request.duration", false) > 0.0);
        assert_eq!(super::weight(&Shift { deviate: -20.0, ..shift }, "process.cpu.time", true), 0.0);
        let half = super::weight(&Shift { relevance: 0.5, ..shift }, "process.cpu.time", true);
        assert_eq!(half * 2.0, weight("process.cpu.time", true));
    }
}
