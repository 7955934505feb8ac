//! Links that no event tells itself: onsets of trouble that keep following one another, and changes with what they
//! changed.

use super::causes::{CauseKind, Question};
use super::contrast;
use super::lag::{FALSE_DISCOVERY_RATE, FEWEST_ONSETS, Followed, Stream, Tested, followed};
use super::neighbours::{Tie, calling, neighbours};
use super::observations::Observations;
use super::onsets::{Onset, Trouble, troubles};
use super::slots::{SLOT_NANOS, Slots};
use super::study::Study;
use super::traces::Traces;
use std::collections::BTreeMap;
use whence_schema::{EventId, Relation, UnixNanos};

/// `correlation_type` of links between neighbours.
pub(super) const TEMPORAL: &str = "temporal";
/// `correlation_type` of links between different trouble of one asset.
const ANOMALY: &str = "anomaly";
/// `correlation_type` of links between a change and its effects.
pub(super) const CHANGED: &str = TEMPORAL;

/// One end of a link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct End {
    /// Index of its asset.
    pub(crate) asset: u32,
    /// Its row in `events`.
    pub(crate) event: EventId,
    /// The time of that row.
    pub(crate) time: UnixNanos,
}

/// What the tests behind a link of onsets say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Test {
    /// Share of the circular shifts with as many follows or more.
    pub(crate) p: f64,
    /// The false discovery rate at which it is a discovery.
    pub(crate) q: f64,
    /// How likely a coin falls on this order so often.
    pub(crate) direction_p: f64,
    /// Tests that it was one of.
    pub(crate) tests: usize,
}

/// One link.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Link {
    pub(crate) relation: Relation,
    pub(crate) correlation_type: &'static str,
    pub(crate) cause: End,
    pub(crate) effect: End,
    /// What kind of trouble is at the cause and at the effect, such as `errors`.
    pub(crate) kinds: (&'static str, &'static str),
    /// Nanoseconds between the moments at which the two were known: of a span that failed its end.
    pub(crate) lag_nanos: i64,
    /// Of onsets, how much more often the effect begins after the cause than at other times; of a change, how much more
    /// often the effect happens after it. 0 to 1.
    pub(crate) strength: f64,
    /// What confidence is calibrated from. Of onsets, the share of those of the cause that are followed, by the rule of
    /// succession; of a change, the share of the occurrences after it that the level before, or the old version's, does not
    /// explain. 0 to 1.
    pub(crate) score: f64,
    /// Onsets of the cause that the effect followed on; of a change, occurrences after it.
    pub(crate) support: u32,
    /// Onsets of the cause; of a change, how often it could have occurred after it, or with the new version.
    pub(crate) of: u32,
    /// Of a change, what is compared: `versions` that serve side by side, or the time after with the time `before`.
    pub(crate) contrast: Option<&'static str>,
    /// `None` of a change.
    pub(crate) test: Option<Test>,
    /// Of two assets, what makes them neighbours.
    pub(crate) tie: Option<Tie>,
}

/// The links whose effect happened between two instants, by time. What was before, from `baseline_from` on, is evidence
/// as well.
pub(crate) fn links(observations: &Observations, from: UnixNanos, question: &Question) -> Vec<Link> {
    let study = Study::of(observations, question);
    let candidates = Candidates::of(observations, &study.traces, &study.slots);
    let mut links = candidates.links(&candidates.tested(&candidates.streams));
    links.extend(contrast::changed(&study, from, question.to));
    links.retain(|link| link.effect.time >= from && link.effect.time < question.to);
    settle(&mut links);
    links
}

/// Puts links in the order of time, each once.
pub(super) fn settle(links: &mut Vec<Link>) {
    links.sort_by_key(|link| (link.effect.time, link.cause.time, link.effect.event, link.cause.event, link.relation));
    // Two kinds of trouble may begin with the same event: the likelier link is listed once.
    links.dedup_by_key(|link| (link.relation, link.correlation_type, link.cause.event, link.effect.event));
}

/// What may follow on what.
struct Candidates {
    troubles: Vec<Trouble>,
    /// The onsets of each trouble.
    streams: Vec<Stream>,
    /// Indexes of two troubles, of neighbours or of different kinds in one asset.
    pairs: Vec<(usize, usize)>,
    /// What makes the assets of each pair neighbours.
    ties: Vec<Option<Tie>>,
}

impl Candidates {
    fn of(observations: &Observations, traces: &Traces, slots: &Slots) -> Self {
        let troubles = troubles(observations, traces, slots, 0);
        let mut by_asset: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (index, trouble) in troubles.iter().enumerate().filter(|(_, of)| of.onsets.len() >= FEWEST_ONSETS) {
            by_asset.entry(trouble.asset).or_default().push(index);
        }
        let name = |asset: u32| observations.assets.get(asset as usize).map_or("", String::as_str);
        let numbers: BTreeMap<&str, u32> = by_asset.keys().map(|asset| (name(*asset), *asset)).collect();
        let of_name = |name: &str| numbers.get(name).and_then(|asset| by_asset.get(asset));
        let onsets = |name: &str| of_name(name).into_iter().flatten().map(|index| troubles[*index].onsets.len()).sum();
        let is_known = |asset: &u32| by_asset.contains_key(asset);
        let calls = calling(traces).into_iter().filter(|(one, other)| is_known(one) && is_known(other));
        let placed = observations.placed.iter().filter(|(asset, _)| is_known(asset));
        let neighbours = neighbours(
            calls.map(|(one, other)| (name(one), name(other))),
            placed.map(|&(asset, place)| (name(asset), observations.places[place as usize].clone())),
            onsets,
        );
        let (mut pairs, mut ties) = (Vec::new(), Vec::new());
        for ((cause, effect), tie) in &neighbours {
            let effects = || of_name(effect).into_iter().flatten();
            for &cause in of_name(cause).into_iter().flatten() {
                pairs.extend(effects().map(|&effect| (cause, effect)));
                ties.extend(effects().map(|_| Some(tie.clone())));
            }
        }
        for same in by_asset.values() {
            for &first in same {
                pairs.extend(same.iter().filter(|second| **second != first).map(|second| (first, *second)));
            }
        }
        ties.resize(pairs.len(), None);
        let streams = troubles.iter().map(|trouble| stream(trouble, slots)).collect();
        Self { troubles, streams, pairs, ties }
    }

    /// What came of all tests, with these streams in place of those of the troubles.
    fn tested(&self, streams: &[Stream]) -> Tested {
        followed(streams, &self.pairs, FALSE_DISCOVERY_RATE)
    }

    fn links(&self, tested: &Tested) -> Vec<Link> {
        let mut links = Vec::new();
        for found in &tested.followed {
            let (cause, effect) = self.pairs[found.pair];
            let (cause, effect) = (&self.troubles[cause], &self.troubles[effect]);
            for &(first, second) in &found.onsets {
                let end = |trouble: &Trouble, onset: u32| {
                    let Onset { known, event, time } = trouble.onsets[onset as usize];
                    (trouble.kind, known, End { asset: trouble.asset, event, time })
                };
                let (cause, effect) = (end(cause, first), end(effect, second));
                links.push(Link::of_onsets(found, tested.tests, cause, effect, self.ties[found.pair].clone()));
            }
        }
        links
    }
}

fn stream(trouble: &Trouble, slots: &Slots) -> Stream {
    let (from, to) = (i64::from(trouble.slots.start) * SLOT_NANOS, i64::from(trouble.slots.end) * SLOT_NANOS);
    // An onset at the end of the slot before the first one belongs to the first.
    let nanos = trouble.onsets.iter().map(|onset| (onset.known.0 - slots.start(0).0).clamp(from, to - 1));
    Stream { slots: trouble.slots.clone(), onsets: nanos.collect() }
}

/// An end of a link of onsets: the kind of trouble, when it was known, and where.
type Known = (CauseKind, UnixNanos, End);

impl Link {
    /// Of two onsets of a pair that was found in so many tests; `tie` is what makes their assets neighbours.
    pub(super) fn of_onsets(found: &Followed, tests: usize, cause: Known, effect: Known, tie: Option<Tie>) -> Self {
        let ((cause_kind, cause_known, cause), (effect_kind, effect_known, effect)) = (cause, effect);
        let support = found.onsets.len() as u32;
        Self {
            relation: Relation::Lag,
            correlation_type: if cause.asset == effect.asset { ANOMALY } else { TEMPORAL },
            cause,
            effect,
            kinds: (cause_kind.name(), effect_kind.name()),
            lag_nanos: effect_known.0 - cause_known.0,
            strength: found.strength,
            score: f64::from(support + 1) / f64::from(found.of + 2),
            support,
            of: found.of,
            contrast: None,
            test: Some(Test { p: found.p, q: found.q, direction_p: found.direction_p, tests }),
            tie,
        }
    }
}

/// How many tests of onsets there are and how many discoveries, after every stream was turned by a time of its own, so
/// that they have nothing to do with each other: each discovery is a false one. `turn` tells the turns apart.
pub(crate) fn false_discoveries(observations: &Observations, question: &Question, turns: u32) -> Vec<(usize, usize)> {
    let (traces, slots) = (Traces::of(observations), Slots::of(question));
    let candidates = Candidates::of(observations, &traces, &slots);
    let of_turn = |turn: u32| {
        let streams = (0..).zip(&candidates.streams);
        let turned: Vec<Stream> = streams.map(|(number, stream)| turned(stream, number, turn)).collect();
        let tested = candidates.tested(&turned);
        (tested.tests, tested.followed.len())
    };
    (0..turns).map(of_turn).collect()
}

/// A stream turned by a number of slots that looks like chance and is always the same for the same numbers.
fn turned(stream: &Stream, number: u64, turn: u32) -> Stream {
    let length = i64::from(stream.slots.end - stream.slots.start);
    let hash = xxhash_rust::xxh3::xxh3_64_with_seed(&number.to_be_bytes(), u64::from(turn) + 1);
    let by = (hash % length.max(1) as u64) as i64 * SLOT_NANOS;
    let (from, length) = (i64::from(stream.slots.start) * SLOT_NANOS, length.max(1) * SLOT_NANOS);
    let mut onsets: Vec<i64> =
        stream.onsets.iter().map(|onset| from + (onset - from + by).rem_euclid(length)).collect();
    onsets.sort_unstable();
    Stream { slots: stream.slots.clone(), onsets }
}
