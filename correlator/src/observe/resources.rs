//! What a resource says of its asset: which version it is, and where it runs.

use super::event_texts::text;
use super::names::Names;
use crate::functions::detail::parse;
use crate::method::observations::{Place, PlaceKind};
use hashbrown::{HashMap, HashSet};
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64;

/// Assets and places that are remembered together, at most; further ones share nothing.
const MOST_PLACED: usize = 100_000;

/// What was learned from resources so far, each of which is parsed once.
#[derive(Debug, Default)]
pub(super) struct Resources {
    /// Numbers of versions by the hash of a resource: most have been seen in another batch.
    versions: HashMap<u64, u32>,
    places: Vec<Place>,
    numbers: HashMap<Place, u32>,
    placed: HashSet<(u32, u32)>,
}

impl Resources {
    /// Takes down where an asset with this resource runs; returns the number of its version among `values`.
    pub(super) fn read(&mut self, values: &mut Names, asset: u32, resource: &str) -> u32 {
        let hash = xxh3_64(resource.as_bytes());
        if let Some(version) = self.versions.get(&hash) {
            return *version;
        }
        let attributes = parse(resource);
        for place in places(&attributes) {
            self.place(asset, place);
        }
        let version = values.number(text(&attributes, &["service.version"]).unwrap_or_default());
        self.versions.insert(hash, version);
        version
    }

    fn place(&mut self, asset: u32, place: Place) {
        if self.placed.len() >= MOST_PLACED {
            return;
        }
        let number = match self.numbers.get(&place) {
            Some(number) => *number,
            None => {
                let number = self.places.len() as u32;
                self.numbers.insert(place.clone(), number);
                self.places.push(place);
                number
            }
        };
        self.placed.insert((asset, number));
    }

    /// Places, and which assets run where.
    pub(super) fn into_places(self) -> (Vec<Place>, Vec<(u32, u32)>) {
        let mut placed: Vec<(u32, u32)> = self.placed.into_iter().collect();
        placed.sort_unstable();
        (self.places, placed)
    }
}

/// Where something with these resource attributes runs. Names of pods are unique within a namespace only.
///
/// In Kubernetes `host.name` may be the name of the pod, of the node, or neither: the same name is not told twice.
pub(crate) fn places(resource: &Map<String, Value>) -> Vec<Place> {
    let [pod, namespace, node] =
        ["k8s.pod.name", "k8s.namespace.name", "k8s.node.name"].map(|key| text(resource, &[key]));
    let host = text(resource, &["host.name", "host.id"]).filter(|host| pod != Some(host) && node != Some(host));
    let pod = pod.map(|pod| namespace.map_or_else(|| pod.to_owned(), |namespace| format!("{namespace}/{pod}")));
    let named =
        [(PlaceKind::Pod, pod), (PlaceKind::Node, node.map(str::to_owned)), (PlaceKind::Host, host.map(str::to_owned))];
    named.into_iter().filter_map(|(kind, name)| Some(Place { kind, name: name? })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(resource: &str) -> Vec<String> {
        places(&parse(resource)).into_iter().map(|place| format!("{} {}", place.kind.name(), place.name)).collect()
    }

    #[test]
    fn a_resource_tells_pod_node_and_host_each_name_once() {
        let pod = r#"{"k8s.pod.name":"cart-7","k8s.namespace.name":"shop","k8s.node.name":"n1","host.name":"cart-7"}"#;
        assert_eq!(told(pod), ["pod shop/cart-7", "node n1"]);
        assert_eq!(told(r#"{"k8s.node.name":"n1","host.name":"n1"}"#), ["node n1"]);
        assert_eq!(told(r#"{"host.name":"vm-3","host.id":"0815"}"#), ["host vm-3"]);
        assert_eq!(told(r#"{"host.id":"0815","service.name":"cart"}"#), ["host 0815"]);
        assert_eq!(told(r#"{"host.name":"","k8s.pod.name":7}"#), Vec::<String>::new());
    }

    #[test]
    fn assets_with_places_in_common_are_known_each_once() {
        let (mut resources, mut values) = (Resources::default(), Names::default());
        let on = |node: &str, version: &str| format!(r#"{{"k8s.node.name":"{node}","service.version":"{version}"}}"#);
        let seen = [(0, "n1", "1.0"), (1, "n2", "1.1"), (0, "n1", "1.1"), (0, "n2", "2"), (0, "n1", "1.0")];
        let versions = seen.map(|(asset, node, version)| resources.read(&mut values, asset, &on(node, version)));
        assert_eq!(versions, [0, 1, 1, 2, 0]);
        let (places, placed) = resources.into_places();
        assert_eq!(places.iter().map(|place| place.name.as_str()).collect::<Vec<_>>(), ["n1", "n2"]);
        assert_eq!(placed, [(0, 0), (0, 1), (1, 1)]);
    }
}
