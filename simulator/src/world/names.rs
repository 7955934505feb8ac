//! Names of services, operations and peers, from the words of the purpose.

use crate::random::{split_mix, uuid};
use crate::vocabulary::Vocabulary;
use crate::world::{Operation, Peer, PeerKind, Protocol, ServiceIndex, World};
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

const METHODS: [(&str, bool); 5] = [("GET", true), ("GET", false), ("POST", false), ("PUT", true), ("DELETE", true)];
pub(super) const LANGUAGES: [&str; 5] = ["java", "go", "python", "nodejs", "dotnet"];

/// As many different names of services as wanted.
pub(super) fn services(rng: &mut ChaCha8Rng, words: &Vocabulary, count: usize) -> Vec<(String, &'static str)> {
    let mut nouns = words.nouns.to_vec();
    nouns.shuffle(rng);
    let with_role = rng.random_bool(0.7);
    nouns
        .into_iter()
        .take(count)
        .map(|noun| match words.roles.choose(rng) {
            Some(role) if with_role || rng.random_bool(0.3) => (format!("{noun}-{role}"), noun),
            _ => (noun.to_string(), noun),
        })
        .collect()
}

/// An operation that is named, and does nothing yet.
pub(super) fn operation(
    rng: &mut ChaCha8Rng,
    words: &Vocabulary,
    noun: &'static str,
    protocol: Protocol,
    number: usize,
) -> Operation {
    let about = if number == 0 { noun } else { words.nouns.choose(rng).copied().unwrap_or(noun) };
    let (verb, done) = words.verbs.choose(rng).copied().unwrap_or(("Run", "run"));
    let (method, route, name) = match protocol {
        Protocol::Http => {
            let (method, of_one) = METHODS.choose(rng).copied().unwrap_or(("GET", true));
            let mut route = format!("/{noun}s");
            if number > 0 {
                route = format!("{route}/{about}-{}", verb.to_lowercase());
            }
            if of_one {
                route.push_str("/{id}");
            }
            let name = format!("{method} {route}");
            (method, route, name)
        }
        Protocol::Grpc => {
            let route = format!("{verb}{}", camel(about));
            ("grpc", route.clone(), format!("{}.{}/{route}", words.system, camel(noun)))
        }
        Protocol::Queue => ("", format!("{noun}.{about}.{done}"), format!("process {noun}.{about}.{done}")),
    };
    Operation {
        name,
        method,
        route,
        work_ms: log_uniform(rng, 0.8, 12.0),
        sigma: rng.random_range(0.2..0.6),
        error_rate: if rng.random_bool(0.5) { log_uniform(rng, 0.0002, 0.006) } else { 0.0 },
        stages: Vec::new(),
        done: format!("{about} {done}"),
        logged: rng.random_range(0.1..0.9),
        background: false,
    }
}

/// A value whose logarithm is uniform.
pub(super) fn log_uniform(rng: &mut ChaCha8Rng, low: f64, high: f64) -> f64 {
    low * (high / low).powf(rng.random::<f64>())
}

/// `telemetry-bed` as `TelemetryBed`.
pub(super) fn camel(word: &str) -> String {
    let parts = word.split('-').map(|part| {
        let (first, rest) = part.split_at(1.min(part.len()));
        first.to_uppercase() + rest
    });
    parts.collect()
}

/// Database of a service, or with `cache` a cache.
pub(super) fn database(rng: &mut ChaCha8Rng, noun: &str, cache: bool) -> Peer {
    const DATABASES: [(&str, i64); 4] =
        [("postgresql", 5432), ("mysql", 3306), ("mongodb", 27017), ("microsoft.sql_server", 1433)];
    let (system, port) = if cache { ("redis", 6379) } else { *DATABASES.choose(rng).unwrap_or(&DATABASES[0]) };
    let address = format!("{noun}-{}", if cache { "cache" } else { "db" });
    Peer { address, port, kind: PeerKind::Database(system) }
}

/// Names of one process of an instance.
pub(crate) struct PodNames {
    pub(crate) name: String,
    pub(crate) instance_id: String,
}

impl World {
    /// Name of the pod of an instance; every deployment makes a new pod.
    pub(crate) fn pod_name(&self, service: ServiceIndex, instance: usize, generation: u32) -> String {
        let replica_set = split_mix(self.key ^ ((service as u64) << 48 | u64::from(generation)));
        let pod = split_mix(replica_set ^ (instance as u64) << 32);
        format!("{}-{:010x}-{:05x}", self.services[service].name, replica_set & 0xff_ffff_ffff, pod & 0xf_ffff)
    }

    /// Names of the process of an instance after so many restarts of its pod.
    pub(crate) fn pod(&self, service: ServiceIndex, instance: usize, generation: u32, restarts: u32) -> PodNames {
        let place =
            (service as u64) << 48 | (instance as u64) << 32 | u64::from(generation) << 16 | u64::from(restarts);
        let identity = split_mix(self.key.rotate_left(7) ^ place);
        PodNames {
            name: self.pod_name(service, instance, generation),
            instance_id: uuid(identity, split_mix(identity)),
        }
    }
}
