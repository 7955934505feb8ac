//! Which assets are neighbours, so that trouble may go from one to the other: one calls the other, or both run in one pod,
//! on one node or on one host.

use super::observations::Place;
use super::traces::{NONE, Traces};
use hashbrown::HashSet;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Assets of one place of which each is a neighbour of each other one: those with most onsets. A node may run hundreds,
/// and each pair costs all others some of their significance.
const MOST_OF_PLACE: usize = 32;
/// Places that two assets are said to share.
const MOST_SHARED: usize = 5;

/// What makes two assets neighbours: calls, places that they share, or both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tie {
    /// One calls the other.
    pub(crate) calls: bool,
    /// The first places of both, the narrowest kind first.
    pub(crate) shared: Vec<Place>,
}

impl Tie {
    /// In one word, such as `node`; `call` where there are calls.
    pub(crate) fn via(&self) -> Option<&'static str> {
        if self.calls { Some("call") } else { self.shared.first().map(|place| place.kind.name()) }
    }

    /// Names of the places.
    pub(crate) fn shared_names(&self) -> Vec<String> {
        self.shared.iter().map(|place| place.name.clone()).collect()
    }
}

/// Neighbours by their names, both ways.
pub(super) type Neighbours<'a> = BTreeMap<(&'a str, &'a str), Tie>;

/// The pairs of assets of which one calls the other, both ways, in the order of their numbers.
pub(super) fn calling(traces: &Traces) -> Vec<(u32, u32)> {
    let mut pairs = HashSet::new();
    for (index, span) in traces.spans.iter().enumerate() {
        let caller = traces.remote_parent(index).map(|caller| caller.asset);
        let callee = Some(traces.times.callees[index]).filter(|callee| *callee != NONE);
        let others = caller.into_iter().chain(callee).filter(|other| *other != span.asset);
        pairs.extend(others.flat_map(|other| [(span.asset, other), (other, span.asset)]));
    }
    let mut pairs: Vec<(u32, u32)> = pairs.into_iter().collect();
    pairs.sort_unstable();
    pairs
}

/// Neighbours among assets, of which `onsets` says how many onsets they have: by calls, both ways, and by places. What is
/// left out does not depend on what follows on what, so that it biases no test.
pub(super) fn neighbours<'a>(
    calls: impl IntoIterator<Item = (&'a str, &'a str)>,
    placed: impl IntoIterator<Item = (&'a str, Place)>,
    onsets: impl Fn(&str) -> usize,
) -> Neighbours<'a> {
    let mut neighbours = Neighbours::new();
    for pair in calls {
        neighbours.entry(pair).or_default().calls = true;
    }
    let mut places: BTreeMap<Place, Vec<&str>> = BTreeMap::new();
    for (asset, place) in placed {
        places.entry(place).or_default().push(asset);
    }
    for (place, mut assets) in places {
        assets.sort_unstable();
        assets.dedup();
        assets.sort_by_key(|asset| Reverse(onsets(asset)));
        assets.truncate(MOST_OF_PLACE);
        for one in &assets {
            for other in assets.iter().filter(|other| *other != one) {
                let shared = &mut neighbours.entry((one, other)).or_default().shared;
                if shared.len() < MOST_SHARED {
                    shared.push(place.clone());
                }
            }
        }
    }
    neighbours
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::method::observations::PlaceKind;

    fn place(kind: PlaceKind, name: &str) -> Place {
        Place { kind, name: name.to_owned() }
    }

    #[test]
    fn assets_that_call_each_other_or_share_a_place_are_neighbours() {
        let node = |name| place(PlaceKind::Node, name);
        let placed = [
            ("cart", node("n1")),
            ("pay", node("n1")),
            ("cart", node("n0")),
            ("pay", node("n0")),
            ("pay", place(PlaceKind::Pod, "p")),
            ("proxy", place(PlaceKind::Pod, "p")),
            ("alone", node("n2")),
        ];
        let found = neighbours([("cart", "stock"), ("stock", "cart"), ("pay", "proxy")], placed, |_| 5);
        let told: Vec<String> = found
            .iter()
            .map(|((one, other), tie)| format!("{one} {other} {} {:?}", tie.via().unwrap(), tie.shared_names()))
            .collect();
        let expected = [
            r#"cart pay node ["n0", "n1"]"#,
            r#"cart stock call []"#,
            r#"pay cart node ["n0", "n1"]"#,
            r#"pay proxy call ["p"]"#,
            r#"proxy pay pod ["p"]"#,
            r#"stock cart call []"#,
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn of_a_crowded_place_those_with_most_onsets_are_neighbours() {
        let names: Vec<String> = (0..40).map(|number| format!("asset {number:02}")).collect();
        let placed = names.iter().map(|name| (name.as_str(), place(PlaceKind::Host, "h")));
        let found = neighbours([], placed, |name| if name >= "asset 30" { 9 } else { 5 });
        assert_eq!(found.len(), MOST_OF_PLACE * (MOST_OF_PLACE - 1));
        assert!(found.contains_key(&("asset 39", "asset 21")) && !found.contains_key(&("asset 39", "asset 22")));
    }
}
