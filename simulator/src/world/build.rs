//! Random topologies: layers of services, who calls whom by the rule of the family, peers, and places on nodes.

use crate::purpose::{Family, Purpose};
use crate::random::{MILLISECOND, SECOND, stream};
use crate::vocabulary::{self, Vocabulary};
use crate::world::names::{self, LANGUAGES, log_uniform};
use crate::world::{
    Call, Connection, Missing, MissingSpans, Node, OperationRef, Peer, PeerKind, Protocol, Query, Service,
    ServiceIndex, Step, World,
};
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::ops::RangeInclusive;

/// Number of services of a world.
pub(crate) const SERVICES: RangeInclusive<usize> = 8..=40;
/// A request of a user makes no more spans than this, on average.
const MOST_SPANS: f64 = 60.0;

/// Builds the world of a seed.
pub(crate) fn build(purpose: Purpose, seed: u64) -> World {
    let key = purpose.key(seed);
    let mut rng = stream(key, 1);
    let family = purpose.families().choose(&mut rng).copied().unwrap_or(Family::Tiers);
    let words = vocabulary::of(purpose);
    let layers = layers(&mut rng, family);
    let names = names::services(&mut rng, words, layers.len());
    let nodes = nodes(&mut rng, words, layers.len());
    let mut builder =
        Builder { rng, words, family, layers, nodes: nodes.len(), peers: Vec::new(), services: Vec::new() };
    for (name, noun) in names {
        builder.add_service(name, noun);
    }
    builder.connect();
    builder.add_peers();
    builder.start_background();
    builder.arrange();
    let Builder { mut rng, layers, services, peers, .. } = builder;
    let entries = entries(&mut rng, &services, &layers);
    let mut world = World { purpose, key, family, services, peers, nodes, entries };
    lose_telemetry(&mut rng, &mut world, &layers);
    while world.mean_spans() > MOST_SPANS {
        for probability in probabilities_mut(&mut world) {
            *probability *= 0.85;
        }
    }
    world
}

/// The probabilities of all calls and messages.
fn probabilities_mut(world: &mut World) -> impl Iterator<Item = &mut f64> {
    let operations = world.services.iter_mut().flat_map(|service| &mut service.operations);
    operations.flat_map(|operation| operation.stages.iter_mut().flatten()).filter_map(|step| match step {
        Step::Call(Call { probability, .. }) | Step::Publish { probability, .. } => Some(probability),
        _ => None,
    })
}

/// The layer of each service, ascending; every layer has a service.
fn layers(rng: &mut ChaCha8Rng, family: Family) -> Vec<usize> {
    let (depth, weights): (usize, &[f64]) = match family {
        Family::Tiers => (rng.random_range(4..=5), &[1.0, 3.0, 4.0, 4.0, 3.0]),
        Family::Diamond => (rng.random_range(3..=4), &[1.0, 6.0, 4.0, 2.0]),
        Family::Fan => (3, &[0.0, 6.0, 4.0]),
        Family::Chain => (rng.random_range(6..=8), &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
        Family::Hub => (rng.random_range(4..=5), &[2.0, 0.4, 5.0, 4.0, 2.0]),
        Family::Mesh => (rng.random_range(4..=6), &[1.0, 2.0, 3.0, 3.0, 2.0, 2.0]),
        Family::Gateway => (4, &[0.0, 0.0, 5.0, 4.0]),
    };
    let count = rng.random_range(SERVICES);
    let mut layers: Vec<usize> = (0..depth).collect();
    let total: f64 = weights[..depth].iter().sum();
    while layers.len() < count {
        let mut place = rng.random::<f64>() * total;
        let layer = weights[..depth].iter().position(|weight| {
            place -= weight;
            place < 0.0
        });
        layers.push(layer.unwrap_or(depth - 1));
    }
    layers.sort_unstable();
    layers
}

fn nodes(rng: &mut ChaCha8Rng, words: &Vocabulary, services: usize) -> Vec<Node> {
    let count = rng.random_range(2..=2 + services / 5);
    let zone: u32 = rng.random_range(1..=9);
    let node = |number| {
        let limit = (if rng.random_bool(0.7) { 3 } else { 50 }) * MILLISECOND as i64;
        Node {
            name: format!("{}-node-{zone}{number:02}", words.system),
            processors: *[4.0, 8.0, 8.0, 16.0].choose(rng).unwrap_or(&8.0),
            skew: rng.random_range(-limit..=limit),
        }
    };
    (1..=count).map(node).collect()
}

struct Builder {
    rng: ChaCha8Rng,
    words: &'static Vocabulary,
    family: Family,
    layers: Vec<usize>,
    /// Number of nodes.
    nodes: usize,
    peers: Vec<Peer>,
    services: Vec<Service>,
}

impl Builder {
    fn add_service(&mut self, name: String, noun: &'static str) {
        let layer = self.layers[self.services.len()];
        let (rng, words) = (&mut self.rng, self.words);
        let language = LANGUAGES.choose(rng).copied().unwrap_or("go");
        let protocol = match layer {
            0 => Protocol::Http,
            2.. if rng.random_bool(0.12) => Protocol::Queue,
            _ if rng.random_bool(0.4) => Protocol::Grpc,
            _ => Protocol::Http,
        };
        let count = if layer == 0 { rng.random_range(2..=6) } else { rng.random_range(1..=5) };
        let mut operations = Vec::new();
        for number in 0..count {
            let operation = names::operation(rng, words, noun, protocol, number);
            if operations.iter().all(|known: &super::Operation| known.name != operation.name) {
                operations.push(operation);
            }
        }
        let class = words.exceptions.choose(rng).copied().unwrap_or("Error");
        let exception = match language {
            "java" => format!("org.{}.{}.{class}", words.system, name.replace('-', "_")),
            "dotnet" => format!("{}.{}.{class}", names::camel(words.system), names::camel(&name)),
            "go" => format!("*{}.{class}", noun.replace('-', "_")),
            _ => class.to_string(),
        };
        self.services.push(Service {
            name,
            language,
            exception,
            complaint: words.complaints.choose(rng).copied().unwrap_or("unknown"),
            protocol,
            operations,
            instances: (0..rng.random_range(1..=3)).map(|_| rng.random_range(0..self.nodes)).collect(),
            version: (rng.random_range(1..6), rng.random_range(0..30), rng.random_range(0..10)),
            workers: 0,
            backlog: 0,
            processors: *[1.0, 1.0, 2.0].choose(rng).unwrap_or(&1.0),
            connections: Vec::new(),
            old_names: rng.random_bool(0.3),
            delta: rng.random_bool(0.25),
            span_from_accept: matches!(language, "go" | "nodejs"),
            missing: Missing::default(),
        });
    }

    /// Gives every operation behind the entry points its callers.
    fn connect(&mut self) {
        for service in 0..self.services.len() {
            if self.layers[service] == 0 {
                continue;
            }
            // Some services are hardly ever needed.
            let rarity = if self.rng.random_bool(0.12) { self.rng.random_range(0.03..0.15) } else { 1.0 };
            for operation in 0..self.services[service].operations.len() {
                let target = OperationRef { service, operation };
                for _ in 0..self.caller_count(service) {
                    let caller = self.caller(service);
                    self.add_call(caller, target, rarity);
                }
            }
        }
    }

    fn caller_count(&mut self, service: ServiceIndex) -> usize {
        let last = self.layers.last() == Some(&self.layers[service]);
        match self.family {
            Family::Chain | Family::Fan => 1,
            Family::Diamond if last => self.rng.random_range(2..=4),
            Family::Mesh => self.rng.random_range(1..=3),
            _ => self.rng.random_range(1..=2),
        }
    }

    /// An operation that may call a service, by the rule of the family: of two, the one that does less so far.
    fn caller(&mut self, service: ServiceIndex) -> OperationRef {
        let layer = self.layers[service];
        let past_hub = self.family == Family::Hub && layer > 1 && self.rng.random_bool(0.6);
        let fits = |candidate: usize| match self.family {
            Family::Mesh => candidate < layer,
            Family::Fan => candidate == 0 || (layer == 2 && candidate == 1),
            Family::Hub if past_hub => candidate == 1,
            _ => candidate + 1 == layer,
        };
        let candidates: Vec<usize> = (0..service).filter(|&candidate| fits(self.layers[candidate])).collect();
        let rng = &mut self.rng;
        let mut draw = || {
            let service = candidates.choose(rng).copied().unwrap_or(0);
            OperationRef { service, operation: rng.random_range(0..self.services[service].operations.len()) }
        };
        let (first, second) = (draw(), draw());
        let steps = |run: OperationRef| self.services[run.service].operations[run.operation].steps().count();
        if steps(first) <= steps(second) { first } else { second }
    }

    fn add_call(&mut self, caller: OperationRef, target: OperationRef, rarity: f64) {
        let rng = &mut self.rng;
        let usual = if rng.random_bool(0.5) { 1.0 } else { rng.random_range(0.3..1.0) };
        let probability = usual * rarity;
        let callee = &self.services[target.service];
        let step = if callee.protocol == Protocol::Queue {
            Step::Publish { target, topic: callee.operations[target.operation].route.clone(), probability }
        } else {
            Step::Call(Call {
                target,
                probability,
                timeout: SECOND,
                retries: if rng.random_bool(0.6) { 0 } else { rng.random_range(1..=3) },
                backoff: rng.random_range(20 * MILLISECOND..200 * MILLISECOND),
                fallback: if rng.random_bool(0.7) { 0.0 } else { rng.random_range(0.05..0.9) },
            })
        };
        self.add_step(caller, step);
    }

    fn add_step(&mut self, to: OperationRef, step: Step) {
        let operation = &mut self.services[to.service].operations[to.operation];
        let known = operation.steps().any(|known| match (known, &step) {
            (Step::Call(a), Step::Call(b)) => a.target == b.target,
            (Step::Publish { target: a, .. }, Step::Publish { target: b, .. }) => a == b,
            _ => false,
        });
        if !known {
            operation.stages.push(vec![step]);
        }
    }

    fn add_peers(&mut self) {
        for service in 0..self.services.len() {
            let deep = self.layers[service] > 0;
            let noun = self.services[service].name.clone();
            if self.rng.random_bool(if deep { 0.7 } else { 0.1 }) {
                let databases = self.peers.iter().enumerate().filter(|(_, peer)| peer.address.ends_with("-db"));
                let shared = databases.map(|(index, _)| index).next_back().filter(|_| self.rng.random_bool(0.2));
                let peer = shared.unwrap_or_else(|| {
                    self.peers.push(names::database(&mut self.rng, &noun, false));
                    self.peers.len() - 1
                });
                self.use_peer(service, peer, 0.85);
            }
            if self.rng.random_bool(0.25) {
                self.peers.push(names::database(&mut self.rng, &noun, true));
                self.use_peer(service, self.peers.len() - 1, 0.5);
            }
            if deep && self.rng.random_bool(0.12) {
                let address = self.words.partners.choose(&mut self.rng).copied().unwrap_or("partner.example");
                let known = self.peers.iter().position(|peer| peer.address == address);
                let peer = known.unwrap_or_else(|| {
                    self.peers.push(Peer { address: address.into(), port: 443, kind: PeerKind::External });
                    self.peers.len() - 1
                });
                self.use_peer(service, peer, 0.6);
            }
        }
    }

    /// Connects a service with a peer: each of its operations uses it with a chance, and at least one does.
    fn use_peer(&mut self, service: ServiceIndex, peer: usize, chance: f64) {
        let connection = self.services[service].connections.len();
        let rng = &mut self.rng;
        self.services[service].connections.push(Connection {
            peer,
            limit: 0,
            wait: rng.random_range(SECOND / 2..2 * SECOND),
            timeout: rng.random_range(2 * SECOND..6 * SECOND),
        });
        let kind = self.peers[peer].kind;
        for operation in 0..self.services[service].operations.len() {
            if operation > 0 && !self.rng.random_bool(chance) {
                continue;
            }
            let noun = self.words.nouns.choose(&mut self.rng).copied().unwrap_or("item").replace('-', "_");
            let rng = &mut self.rng;
            let (verb, median_ms): (&str, f64) = match kind {
                PeerKind::Database("redis") => (["GET", "SET", "HGETALL"].choose(rng).unwrap_or(&"GET"), 0.6),
                PeerKind::Database(_) => (
                    ["SELECT", "SELECT", "INSERT", "UPDATE"].choose(rng).unwrap_or(&"SELECT"),
                    log_uniform(rng, 1.0, 12.0),
                ),
                PeerKind::External => ("POST", log_uniform(rng, 20.0, 120.0)),
            };
            let subject = if kind == PeerKind::External { format!("/v2/{noun}") } else { noun };
            let query = Query {
                connection,
                verb,
                subject,
                probability: if rng.random_bool(0.7) { 1.0 } else { rng.random_range(0.3..1.0) },
                median_ms,
                sigma: rng.random_range(0.2..0.5),
            };
            self.services[service].operations[operation].stages.push(vec![Step::Query(query)]);
        }
    }

    /// Some services go on working after they have answered.
    fn start_background(&mut self) {
        for service in 0..self.services.len() {
            if !self.rng.random_bool(0.2) {
                continue;
            }
            let first = &self.services[service].operations[0];
            let work_ms = first.work_ms * self.rng.random_range(3.0..12.0);
            let query = first.stages.iter().find(|stage| matches!(stage[..], [Step::Query(_)])).cloned();
            let background = super::Operation {
                name: format!("after {}", first.done),
                method: "",
                route: String::new(),
                work_ms,
                stages: query.into_iter().collect(),
                background: true,
                ..first.clone()
            };
            let operation = self.services[service].operations.len();
            let probability = self.rng.random_range(0.3..1.0);
            let step = Step::Background { operation, probability };
            self.services[service].operations[0].stages.push(vec![step]);
            self.services[service].operations.push(background);
        }
    }

    /// Brings the steps of all operations into a random order, some calls beside each other.
    fn arrange(&mut self) {
        for operation in self.services.iter_mut().flat_map(|service| &mut service.operations) {
            let mut steps: Vec<Step> = operation.stages.drain(..).flatten().collect();
            steps.shuffle(&mut self.rng);
            for step in steps {
                match operation.stages.last_mut() {
                    Some(stage)
                        if matches!((&stage[0], &step), (Step::Call(_), Step::Call(_)))
                            && self.rng.random_bool(0.3) =>
                    {
                        stage.push(step);
                    }
                    _ => operation.stages.push(vec![step]),
                }
            }
        }
    }
}

fn entries(rng: &mut ChaCha8Rng, services: &[Service], layers: &[usize]) -> Vec<(OperationRef, f64)> {
    let entry_services = (0..services.len()).filter(|&service| layers[service] == 0);
    let operations = entry_services.flat_map(|service| {
        let own = services[service].operations.iter().enumerate().filter(|(_, operation)| !operation.background);
        own.map(move |(operation, _)| OperationRef { service, operation }).collect::<Vec<_>>()
    });
    operations.map(|run| (run, log_uniform(rng, 0.1, 1.0))).collect()
}

/// Services without spans, logs or metrics, and spans that are lost. Entry points keep theirs.
fn lose_telemetry(rng: &mut ChaCha8Rng, world: &mut World, layers: &[usize]) {
    let everywhere = rng.random_bool(0.2).then(|| rng.random_range(0.002..0.02));
    for (service, layer) in world.services.iter_mut().zip(layers) {
        let spans = match rng.random::<f64>() {
            share if *layer > 0 && share < 0.06 => MissingSpans::Uninstrumented,
            share if *layer > 0 && share < 0.12 => MissingSpans::Lost(rng.random_range(0.02..0.3)),
            _ => everywhere.map_or(MissingSpans::None, MissingSpans::Lost),
        };
        service.missing = Missing { spans, logs: rng.random_bool(0.05), metrics: rng.random_bool(0.05) };
    }
}
