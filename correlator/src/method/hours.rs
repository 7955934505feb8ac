//! Links hour by hour, as data arrives: what an hour alone shows, and what shows only over the hours of a day.
//!
//! ```text
//! an hour and the one before it ─> onsets (kept for a day), links of changes
//! onsets of a day ─> streams of each pair, for the time in which both were seen ─> lag ─> links with an effect in the last hour
//! ```
//!
//! An hour has too few onsets for an order to show. A day has enough of them, and onsets are all that the tests need.
//! Every hour all pairs are tested again, with one correction for all tests of that hour.

use super::causes::{CauseKind, Question};
use super::contrast;
use super::lag::{FALSE_DISCOVERY_RATE, FEWEST_ONSETS, Stream, followed};
use super::links::{End, Link, settle};
use super::neighbours::{Neighbours, calling, neighbours};
use super::observations::{Observations, Place, PlaceKind};
use super::onsets::{Onset, active, troubles};
use super::slots::SLOT_NANOS;
use super::study::Study;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use whence_schema::UnixNanos;
use whence_storage::{KeptOnset, OnsetAsset, OnsetHour};

/// An hour, in nanoseconds.
pub(crate) const HOUR: i64 = 3_600_000_000_000;
/// Hours whose onsets are tested together, the last one among them.
const TESTED_HOURS: i64 = 24;
/// Onsets of one hour that are kept, at most: those of the assets whose names come first.
const MOST_ONSETS: usize = 5_000;
/// Places of one asset that are kept of an hour, at most: those that come first.
const MOST_PLACES: usize = 100;
/// Slots between two times in which a pair was seen, in the time that is made of them: more than any limit within which
/// onsets follow on one another.
const BETWEEN: i64 = 5;

/// What one hour shows.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    pub(crate) hour: OnsetHour,
    /// Links of changes.
    pub(crate) changed: Vec<Link>,
    /// Onsets that were too many.
    pub(crate) dropped: u64,
}

/// What the hour that begins at `hour` shows. `observations` are of that hour and of the one before it.
pub(crate) fn shown(observations: &Observations, hour: UnixNanos) -> Shown {
    let to = UnixNanos(hour.0 + HOUR);
    let question = Question { from: to, to, baseline_from: UnixNanos(hour.0 - HOUR) };
    let study = Study::of(observations, &question);
    let (traces, slots) = (&study.traces, &study.slots);
    let since = slots.at(hour).unwrap_or(slots.end);
    let name = |asset: u32| observations.assets.get(asset as usize).cloned().unwrap_or_default();
    let mut assets: BTreeMap<u32, OnsetAsset> = BTreeMap::new();
    for (asset, range) in active(observations, traces, slots) {
        let range = range.start.max(since)..range.end;
        if range.start < range.end {
            let (from, to) = (slots.start(range.start), slots.start(range.end));
            assets.insert(asset, OnsetAsset { asset: name(asset), from, to, ..OnsetAsset::default() });
        }
    }
    for trouble in troubles(observations, traces, slots, since) {
        let Some(asset) = assets.get_mut(&trouble.asset) else { continue };
        asset.onsets.extend(trouble.onsets.iter().map(|onset| kept(trouble.kind, onset)));
    }
    for (asset, places) in shared_places(observations, |asset| assets.contains_key(&asset)) {
        if let Some(asset) = assets.get_mut(&asset) {
            asset.places = places;
        }
    }
    let is_seen = |(one, other): &(u32, u32)| assets.contains_key(one) && assets.contains_key(other);
    let pairs = calling(traces).into_iter().filter(is_seen).map(|(one, other)| (name(one), name(other)));
    let mut neighbours: Vec<(String, String)> = pairs.collect();
    neighbours.sort_unstable();
    let mut found = OnsetHour { hour, assets: assets.into_values().collect(), neighbours };
    found.assets.sort_unstable_by(|a, b| a.asset.cmp(&b.asset));
    let mut changed = contrast::changed(&study, hour, to);
    changed.retain(|link| link.effect.time >= hour && link.effect.time < to);
    settle(&mut changed);
    Shown { dropped: bound(&mut found), hour: found, changed }
}

fn kept(kind: CauseKind, onset: &Onset) -> KeptOnset {
    KeptOnset { kind: kind.name().to_owned(), known: onset.known, event: onset.event, time: onset.time }
}

/// By asset the places that another one of those `seen` is at as well, by kind and name.
fn shared_places(observations: &Observations, seen: impl Fn(u32) -> bool) -> BTreeMap<u32, Vec<(String, String)>> {
    let placed = || observations.placed.iter().filter(|(asset, _)| seen(*asset));
    let mut tenants = vec![0_u32; observations.places.len()];
    placed().for_each(|(_, place)| tenants[*place as usize] += 1);
    let mut by_asset: BTreeMap<u32, Vec<&Place>> = BTreeMap::new();
    for (asset, place) in placed().filter(|(_, place)| tenants[*place as usize] > 1) {
        by_asset.entry(*asset).or_default().push(&observations.places[*place as usize]);
    }
    let written = |mut places: Vec<&Place>| {
        places.sort_unstable();
        places.truncate(MOST_PLACES);
        places.into_iter().map(|place| (place.kind.name().to_owned(), place.name.clone())).collect()
    };
    by_asset.into_iter().map(|(asset, places)| (asset, written(places))).collect()
}

/// Drops onsets that are too many; returns how many.
fn bound(hour: &mut OnsetHour) -> u64 {
    let (mut room, mut dropped) = (MOST_ONSETS, 0);
    for asset in &mut hour.assets {
        asset.onsets.sort_unstable_by(|a, b| (a.known, a.event, &a.kind).cmp(&(b.known, b.event, &b.kind)));
        dropped += asset.onsets.len().saturating_sub(room) as u64;
        asset.onsets.truncate(room);
        room -= asset.onsets.len();
    }
    dropped
}

/// What came of all tests of onsets of a day.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Followed {
    /// Number of tests.
    pub(crate) tests: usize,
    /// Pairs of streams of which one follows on the other.
    pub(crate) discoveries: usize,
    /// The links whose effect began in the last hour. Assets are numbered anew, and their numbers say nothing.
    pub(crate) links: Vec<Link>,
}

/// The kinds of trouble of one asset, each a stream of onsets.
type Kinds<'a> = BTreeMap<&'a str, BTreeSet<CauseKind>>;

/// Tests the onsets of a day, `hours` in the order of time, of which the last one is the hour that is looked at.
pub(crate) fn followed_in(hours: &[OnsetHour]) -> Followed {
    let Some(last) = hours.last() else { return Followed::default() };
    let first = hours.partition_point(|hour| hour.hour.0 <= last.hour.0 - TESTED_HOURS * HOUR);
    let hours = &hours[first..];
    let kinds = kinds(hours);
    let ties = ties(hours, &kinds);
    let kinds_of = |asset: &str| kinds.get(asset).into_iter().flatten().copied();
    let mut pairs: Vec<Pair<'_>> = Vec::new();
    for &(cause, effect) in ties.keys() {
        for kind in kinds_of(cause) {
            pairs.extend(kinds_of(effect).map(|other| Pair::of(hours, (cause, kind), (effect, other))));
        }
    }
    for (&asset, of_asset) in &kinds {
        for &kind in of_asset {
            let others = of_asset.iter().filter(|other| **other != kind);
            pairs.extend(others.map(|&other| Pair::of(hours, (asset, kind), (asset, other))));
        }
    }
    let streams: Vec<Stream> = pairs.iter().flat_map(|pair| pair.streams.clone()).collect();
    let indexes: Vec<(usize, usize)> = (0..pairs.len()).map(|pair| (2 * pair, 2 * pair + 1)).collect();
    let tested = followed(&streams, &indexes, FALSE_DISCOVERY_RATE);
    let numbers: BTreeMap<&str, u32> = kinds.keys().copied().zip(0..).collect();
    let mut links = Vec::new();
    for found in &tested.followed {
        let pair = &pairs[found.pair];
        for &(first, second) in &found.onsets {
            let ((_, cause), (hour, effect)) = (pair.onsets[0][first as usize], pair.onsets[1][second as usize]);
            if hour + 1 != hours.len() {
                continue;
            }
            let end = |(name, kind): (&str, CauseKind), onset: &KeptOnset| {
                (kind, onset.known, End { asset: numbers[name], event: onset.event, time: onset.time })
            };
            let tie = ties.get(&(pair.cause.0, pair.effect.0)).cloned();
            links.push(Link::of_onsets(found, tested.tests, end(pair.cause, cause), end(pair.effect, effect), tie));
        }
    }
    settle(&mut links);
    Followed { tests: tested.tests, discoveries: tested.followed.len(), links }
}

/// The neighbours of a day among the assets with enough onsets to test any.
fn ties<'a>(hours: &'a [OnsetHour], kinds: &Kinds<'a>) -> Neighbours<'a> {
    let is_tested = |asset: &str| kinds.contains_key(asset);
    let calls = hours.iter().flat_map(|hour| &hour.neighbours).map(|(one, other)| (one.as_str(), other.as_str()));
    let assets = || hours.iter().flat_map(|hour| &hour.assets).filter(|asset| is_tested(&asset.asset));
    let placed = assets().flat_map(|asset| {
        let place = |(kind, name): &(String, String)| Some(Place { kind: PlaceKind::named(kind)?, name: name.clone() });
        asset.places.iter().filter_map(place).map(|place| (asset.asset.as_str(), place))
    });
    let mut onsets: BTreeMap<&str, usize> = BTreeMap::new();
    for asset in assets() {
        *onsets.entry(&asset.asset).or_default() += asset.onsets.len();
    }
    let calls = calls.filter(|(one, other)| is_tested(one) && is_tested(other));
    neighbours(calls, placed, |asset| onsets.get(asset).copied().unwrap_or(0))
}

/// The kinds of trouble of each asset of which there are enough onsets to test any.
fn kinds(hours: &[OnsetHour]) -> Kinds<'_> {
    let mut counts: BTreeMap<(&str, CauseKind), usize> = BTreeMap::new();
    for asset in hours.iter().flat_map(|hour| &hour.assets) {
        for onset in &asset.onsets {
            if let Some(kind) = CauseKind::named(&onset.kind) {
                *counts.entry((&asset.asset, kind)).or_default() += 1;
            }
        }
    }
    let mut kinds = Kinds::new();
    for ((asset, kind), _) in counts.into_iter().filter(|(_, onsets)| *onsets >= FEWEST_ONSETS) {
        kinds.entry(asset).or_default().insert(kind);
    }
    kinds
}

/// Two streams in the time in which both assets were seen: times in which one was not are taken out, since nothing could
/// have followed on anything, and turning streams against each other over such times would make chance look like order.
#[derive(Debug)]
struct Pair<'a> {
    cause: (&'a str, CauseKind),
    effect: (&'a str, CauseKind),
    streams: [Stream; 2],
    /// Of each stream, in its order: number of the hour, and the onset.
    onsets: [Vec<(usize, &'a KeptOnset)>; 2],
}

impl<'a> Pair<'a> {
    fn of(hours: &'a [OnsetHour], cause: (&'a str, CauseKind), effect: (&'a str, CauseKind)) -> Self {
        let mut placed: [Vec<(i64, usize, &KeptOnset)>; 2] = [Vec::new(), Vec::new()];
        // Where the last time in which both were seen ends: in the time made of them, and in that of the world.
        let mut end: Option<(i64, UnixNanos)> = None;
        for (number, hour) in hours.iter().enumerate() {
            let asset = |name: &str| hour.assets.iter().find(|asset| asset.asset == name);
            let (Some(one), Some(other)) = (asset(cause.0), asset(effect.0)) else { continue };
            let seen = one.from.0.max(other.from.0)..one.to.0.min(other.to.0);
            if seen.start >= seen.end {
                continue;
            }
            let begin = match end {
                None => 0,
                Some((slot, time)) if time.0 == seen.start => slot,
                Some((slot, _)) => slot + BETWEEN,
            };
            for (placed, (asset, kind)) in placed.iter_mut().zip([(one, cause.1), (other, effect.1)]) {
                placed.extend(place(asset, kind, &seen, begin).map(|(at, onset)| (at, number, onset)));
            }
            end = Some((begin + (seen.end - seen.start) / SLOT_NANOS, UnixNanos(seen.end)));
        }
        let slots = 0..end.map_or(0, |(slot, _)| slot as u32);
        let mut pair = Self { cause, effect, streams: Default::default(), onsets: Default::default() };
        for (at, mut placed) in placed.into_iter().enumerate() {
            placed.sort_unstable_by_key(|(time, _, onset)| (*time, onset.event));
            pair.streams[at] = Stream { slots: slots.clone(), onsets: placed.iter().map(|(time, ..)| *time).collect() };
            pair.onsets[at] = placed.into_iter().map(|(_, hour, onset)| (hour, onset)).collect();
        }
        pair
    }
}

/// The onsets of a kind in a part of an hour, where they are in a time in which that part begins with a slot.
fn place<'a>(
    asset: &'a OnsetAsset,
    kind: CauseKind,
    seen: &Range<i64>,
    begin: i64,
) -> impl Iterator<Item = (i64, &'a KeptOnset)> {
    let seen = seen.clone();
    asset.onsets.iter().filter_map(move |onset| {
        // What begins with a slot may have been known at the end of the slot before it.
        let inside = onset.known.0 >= seen.start - SLOT_NANOS && onset.known.0 < seen.end;
        let at = (begin * SLOT_NANOS + onset.known.0 - seen.start).max(0);
        (inside && onset.kind == kind.name()).then_some((at, onset))
    })
}

#[cfg(test)]
mod tests;
