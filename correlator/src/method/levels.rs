//! What processes used in the last hour, minute by minute, by their metrics, and the runs of slots that stand out by that
//! or by what spans and logs show.
//!
//! What is looked at is what `series` looks at in points: only the points come minute by minute.

use super::explanation::shift_title;
use super::history::{HISTORY_SLOTS, Heard, LoudRun, Sign};
use super::names::{AllNames, Used};
use super::observations::Observations;
use super::scan::{LONGEST, Loud, MOST_QUIET, Run};
use super::series::{loud, sorted};
use super::slots::GridSlot;
use hashbrown::HashMap;

/// Slots that are kept: the hour that a level is compared with, and before it the longest run.
const KEPT_SLOTS: i32 = HISTORY_SLOTS + (LONGEST + MOST_QUIET) as i32 + 2;
/// Series at most; others are not kept.
const MOST_SERIES: usize = 100_000;
/// Bytes that a series takes beside its levels, about.
const SERIES_BYTES: usize = 64;

/// Of an asset, one of its metrics.
type SeriesKey = (u32, u32);

/// Levels of one tenant's processes.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    series: HashMap<SeriesKey, Vec<(GridSlot, f64)>>,
    /// The first slots of the minutes that were added and not forgotten, in the order of time.
    minutes: Vec<GridSlot>,
    bytes: usize,
}

impl Levels {
    /// Adds the points of a later minute than those before, one of each series; returns how many of them were too many.
    pub(crate) fn add(&mut self, seen: &Observations) -> u64 {
        let points = sorted(seen);
        let mut dropped = 0;
        for point in &points {
            let (key, slot) = ((point.asset, point.metric), GridSlot::at(point.time));
            if self.series.len() >= MOST_SERIES && !self.series.contains_key(&key) {
                dropped += 1;
                continue;
            }
            self.series.entry(key).or_default().push((slot, point.value));
        }
        self.minutes.extend(points.iter().map(|point| GridSlot::at(point.time)).max());
        self.measure();
        dropped
    }

    /// Forgets what is too long ago to be compared with the minute that ends with `last`.
    pub(crate) fn forget_old(&mut self, last: GridSlot) {
        self.forget_before(last.later(1 - KEPT_SLOTS));
    }

    /// Forgets minutes before `first`; returns how many there were.
    pub(crate) fn forget_before(&mut self, first: GridSlot) -> u64 {
        let before = self.minutes.partition_point(|minute| *minute < first);
        if before == 0 {
            return 0;
        }
        self.minutes.drain(..before);
        self.series.retain(|_, levels| {
            levels.drain(..levels.partition_point(|(slot, _)| *slot < first));
            levels.shrink_to(2 * levels.len());
            !levels.is_empty()
        });
        self.measure();
        before as u64
    }

    /// The first of the newer half of the minutes.
    pub(crate) fn middle(&self) -> Option<GridSlot> {
        self.minutes.get(self.minutes.len().div_ceil(2)).copied()
    }

    /// Marks the names in use.
    pub(crate) fn mark(&self, used: &mut Used) {
        used.assets.extend(self.series.keys().map(|(asset, _)| *asset));
        used.metrics.extend(self.series.keys().map(|(_, metric)| *metric));
    }

    /// Bytes of memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Comparisons that [`Levels::runs`] makes.
    pub(crate) fn tests(&self) -> u64 {
        self.series.values().map(|levels| levels.len() as u64).sum()
    }

    /// The runs that stand out, by that or by what was heard in events; the last slot that was read is `last`.
    pub(crate) fn runs(&self, heard: &Heard, last: GridSlot, names: &AllNames) -> Vec<LoudRun> {
        let first = last.later(1 - KEPT_SLOTS);
        let mut all = Loud::new(KEPT_SLOTS as u32);
        if let Some(heard_from) = heard.first {
            all.copy(&heard.loud, i64::from(heard_from.0) - i64::from(first.0));
        }
        let mut keys: Vec<SeriesKey> = self.series.keys().copied().collect();
        keys.sort_unstable();
        let mut values = Vec::new();
        for (place, key) in keys.iter().enumerate() {
            let inside = self.series[key].iter().filter(|(slot, _)| *slot >= first && *slot <= last);
            values.clear();
            values.extend(inside.map(|(slot, value)| ((slot.0 - first.0) as u32, *value)));
            for (slots, score) in loud(&values, names.metrics.text(key.1)) {
                all.add(heard.series + place, slots, score);
            }
        }
        let absolute = |slot: u32| first.later(slot as i32);
        let told = |run: Run| {
            let sign = all.loudest_in(&run).and_then(|series| match (series as usize).checked_sub(heard.series) {
                None => heard.signs.get(&series).cloned(),
                Some(place) => keys.get(place).map(|key| sign(*key, names)),
            });
            LoudRun { slots: absolute(run.slots.start)..absolute(run.slots.end), deviate: run.deviate, sign }
        };
        all.runs().into_iter().map(told).collect()
    }

    fn measure(&mut self) {
        let levels = |levels: &Vec<(GridSlot, f64)>| SERIES_BYTES + levels.capacity() * size_of::<(GridSlot, f64)>();
        self.bytes = self.series.values().map(levels).sum();
    }
}

fn sign((asset, metric): SeriesKey, names: &AllNames) -> Sign {
    let asset = names.assets.text(asset);
    Sign { title: shift_title(names.metrics.text(metric), asset), asset: asset.to_owned() }
}
