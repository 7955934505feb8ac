//! Days of onsets of two services that call each other.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::method::links::TEMPORAL;
use whence_schema::EventId;

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 24;

/// An hour in which both services were seen from a minute on, with onsets of errors at these seconds of it.
fn hour(number: i64, front: &[i64], orders: &[i64]) -> OnsetHour {
    let asset = |name: &str, id: u128, seconds: &[i64]| {
        let onset = |second: &i64| {
            let known = UnixNanos(number * HOUR + second * SECOND);
            let event = EventId(id << 64 | (number * 10_000 + second) as u128);
            KeptOnset { kind: "errors".to_owned(), known, event, time: UnixNanos(known.0 - SECOND) }
        };
        OnsetAsset {
            asset: name.to_owned(),
            from: UnixNanos(number * HOUR),
            to: UnixNanos((number + 1) * HOUR),
            onsets: seconds.iter().map(onset).collect(),
            places: Vec::new(),
        }
    };
    let neighbours = vec![("front".to_owned(), "orders".to_owned()), ("orders".to_owned(), "front".to_owned())];
    let assets = vec![asset("front", 1, front), asset("orders", 2, orders)];
    OnsetHour { hour: UnixNanos(number * HOUR), assets, neighbours }
}

/// When the onset of orders begins in each hour: at another time in each.
fn second(number: i64) -> i64 {
    number * 7_919 % 3_500
}

/// Hours in each of which the front end follows on orders after three seconds.
fn following(hours: Range<i64>) -> Vec<OnsetHour> {
    hours.map(|number| hour(number, &[second(number) + 3], &[second(number)])).collect()
}

#[test]
fn what_follows_in_every_hour_is_found_over_a_day_and_its_effects_of_the_last_hour_are_linked() {
    assert_eq!(followed_in(&following(0..4)), Followed::default(), "four onsets are too few");
    let found = followed_in(&following(0..8));
    assert_eq!((found.tests, found.discoveries), (6, 1), "{found:?}");
    let [link] = &found.links[..] else { panic!("{found:?}") };
    let last = &following(7..8)[0];
    assert_eq!((link.cause.event, link.effect.event), (last.assets[1].onsets[0].event, last.assets[0].onsets[0].event));
    assert_eq!((link.lag_nanos, link.support, link.of), (3 * SECOND, 8, 8));
    assert_eq!((link.correlation_type, link.kinds), (TEMPORAL, ("errors", "errors")));
    let quiet = [following(0..8), vec![hour(8, &[], &[])]].concat();
    assert_eq!(followed_in(&quiet).links, []);
    assert_eq!(followed_in(&quiet).discoveries, 1);
}

#[test]
fn assets_on_one_node_are_linked_without_calling_each_other() {
    let node = |name: &str| vec![("node".to_owned(), name.to_owned())];
    let placed = |places: [&str; 2]| -> Vec<OnsetHour> {
        let mut hours = following(0..8);
        for hour in &mut hours {
            hour.neighbours.clear();
            hour.assets.iter_mut().zip(places).for_each(|(asset, place)| asset.places = node(place));
        }
        hours
    };
    let found = followed_in(&placed(["n1", "n1"]));
    let [link] = &found.links[..] else { panic!("{found:?}") };
    let tie = link.tie.as_ref().unwrap();
    assert_eq!((tie.via(), tie.shared_names()), (Some("node"), vec!["n1".to_owned()]));
    assert_eq!(followed_in(&placed(["n1", "n2"])), Followed::default());
}

#[test]
fn of_an_hour_the_places_of_several_assets_are_kept() {
    let place = |kind, name: &str| Place { kind, name: name.to_owned() };
    let places = vec![place(PlaceKind::Node, "n1"), place(PlaceKind::Pod, "p"), place(PlaceKind::Host, "alone")];
    let placed = vec![(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 2)];
    let observations = Observations { places, placed, ..Observations::default() };
    let kept = shared_places(&observations, |asset| asset < 2);
    let both = vec![("pod".to_owned(), "p".to_owned()), ("node".to_owned(), "n1".to_owned())];
    assert_eq!(kept.into_iter().collect::<Vec<_>>(), [(0, both.clone()), (1, both)]);
}

#[test]
fn only_the_last_day_counts_and_order_that_is_a_coins_is_no_link() {
    let old = [following(0..8), (8..7 + DAY + 1).map(|number| hour(number, &[], &[])).collect()].concat();
    assert_eq!(followed_in(&old).tests, 0, "they are of a day ago");
    let tossed = (0..20).map(|number| {
        let at = second(number);
        hour(number, &[at + if number % 2 == 0 { 3 } else { -3 }], &[at])
    });
    assert_eq!(followed_in(&tossed.collect::<Vec<_>>()).links, []);
}

#[test]
fn a_follower_across_the_end_of_an_hour_is_one_and_across_a_gap_in_what_was_seen_none() {
    // Orders begins ten seconds before the end of hours, the front end at the beginning of the next ones.
    let across = |step: i64| -> Vec<OnsetHour> {
        (0..8)
            .flat_map(|pair| [hour(pair * 2 * step, &[], &[3_590]), hour(pair * 2 * step + step, &[2], &[])])
            .collect()
    };
    let found = followed_in(&across(1));
    assert_eq!((found.discoveries, found.links.len()), (1, 1), "{found:?}");
    assert_eq!(found.links[0].lag_nanos, 12 * SECOND);
    let apart: Vec<OnsetHour> = across(1)
        .into_iter()
        .map(|hour| {
            let later = UnixNanos(hour.hour.0 * 3 / 2);
            let shift = later.0 - hour.hour.0;
            let assets = hour.assets.into_iter().map(|asset| OnsetAsset {
                from: UnixNanos(asset.from.0 + shift),
                to: UnixNanos(asset.to.0 + shift),
                onsets: asset
                    .onsets
                    .into_iter()
                    .map(|onset| KeptOnset { known: UnixNanos(onset.known.0 + shift), ..onset })
                    .collect(),
                ..asset
            });
            OnsetHour { hour: later, assets: assets.collect(), neighbours: hour.neighbours }
        })
        .collect();
    assert_eq!(followed_in(&apart).links, []);
}

#[test]
fn onsets_beyond_what_is_kept_of_an_hour_are_dropped_and_counted() {
    let seconds: Vec<i64> = (0..3_000).collect();
    let mut full = hour(0, &seconds, &seconds);
    assert_eq!(bound(&mut full), 1_000);
    assert_eq!(full.assets.iter().map(|asset| asset.onsets.len()).collect::<Vec<_>>(), [3_000, 2_000]);
}
