//! The simulated shop as data: services, operations, and the acyclic graph of calls between them.

use crate::random::{split_mix, uuid};

/// Index of a service in its topology. Calls only ever lead to a higher index, which keeps the graph acyclic.
pub(crate) type ServiceIndex = usize;

/// The front end is the first service of every topology.
pub(crate) const FRONTEND: ServiceIndex = 0;

/// What an operation does while it runs, in order.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Calls an operation of another service and waits for the answer.
    Call(Call),
    /// Runs one statement on the service's own database.
    Query { statement: &'static str, verb: &'static str, table: &'static str, median_ms: f64 },
    /// Publishes a message, which an operation of another service consumes later.
    Publish { topic: &'static str, service: ServiceIndex, operation: usize },
}

/// A synchronous call to another service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) service: ServiceIndex,
    pub(crate) operation: usize,
    /// Share of the runs of the operation that make this call.
    pub(crate) probability: f64,
    /// A caller fails with an essential callee; without another one it goes on.
    pub(crate) essential: bool,
}

/// An endpoint of a service.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// HTTP method, or the gRPC service.
    pub(crate) method: String,
    /// HTTP route, the gRPC method, or the topic.
    pub(crate) route: String,
    pub(crate) self_ms: f64,
    pub(crate) steps: Vec<Step>,
}

/// How the operations of a service are reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    Http,
    Grpc,
    Queue,
}

/// The database behind one service.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    /// Value of `db.system.name`.
    pub(crate) system: &'static str,
    /// Value of `server.address`, such as `orders-db`.
    pub(crate) address: String,
    pub(crate) port: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) name: &'static str,
    pub(crate) language: &'static str,
    /// Exception class that code of this service throws by itself.
    pub(crate) exception: &'static str,
    pub(crate) protocol: Protocol,
    pub(crate) database: Option<Database>,
    pub(crate) pods: usize,
    /// Major, minor and patch number of the first revision.
    pub(crate) version: (u32, u32, u32),
    pub(crate) operations: Vec<Operation>,
}

impl Service {
    /// The name that server spans of the operation have.
    pub(crate) fn span_name(&self, operation: usize) -> String {
        let Operation { method, route, .. } = &self.operations[operation];
        match self.protocol {
            Protocol::Http => format!("{method} {route}"),
            Protocol::Grpc => format!("{method}/{route}"),
            Protocol::Queue => format!("process {route}"),
        }
    }

    /// The value of `http.route`: for gRPC the path of the HTTP/2 request.
    pub(crate) fn http_route(&self, operation: usize) -> String {
        let Operation { method, route, .. } = &self.operations[operation];
        if self.protocol == Protocol::Grpc { format!("/{method}/{route}") } else { route.clone() }
    }
}

/// A pod of a service, at one revision of that service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Source {
    pub(crate) service: ServiceIndex,
    pub(crate) revision: usize,
    pub(crate) pod: usize,
}

/// Names of a pod; a deployment replaces the pods of its service.
pub(crate) struct Pod {
    pub(crate) instance_id: String,
    pub(crate) name: String,
    pub(crate) host: String,
}

/// A shop of 15 or 16 services: who calls whom, who has a database, how fast they are.
#[derive(Clone, Debug)]
pub struct Topology {
    pub(crate) seed: u64,
    pub(crate) services: Vec<Service>,
    /// Relative frequency of the front end's operations.
    pub(crate) entry_weights: Vec<f64>,
    pub(crate) hosts: usize,
}

impl Topology {
    /// The shop of a seed. Its front end is always `frontend`, and a `checkout` and a `payment` always exist.
    pub fn random(seed: u64) -> Self {
        crate::shop::plan::build(seed)
    }

    /// Names of all services, front end first, callers before callees.
    pub fn service_names(&self) -> Vec<&str> {
        self.services.iter().map(|service| service.name).collect()
    }

    /// Pairs (caller, callee) of services that call each other synchronously, each once, sorted.
    pub fn calls(&self) -> Vec<(&str, &str)> {
        let mut pairs: Vec<(&str, &str)> = self
            .services
            .iter()
            .flat_map(|service| calls_of(service).map(|call| (service.name, self.services[call.service].name)))
            .collect();
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    }

    /// Pairs (service, `server.address` of its database).
    pub fn databases(&self) -> Vec<(&str, &str)> {
        let with_database = |service: &'_ Service| service.database.is_some();
        self.services
            .iter()
            .filter(|service| with_database(service))
            .filter_map(|service| Some((service.name, service.database.as_ref()?.address.as_str())))
            .collect()
    }

    /// Number of calls on the shortest way from the front end, or `None` if only messages lead there.
    pub(crate) fn depth(&self, target: ServiceIndex) -> Option<usize> {
        let mut depths = vec![None; self.services.len()];
        depths[FRONTEND] = Some(0);
        // Indexes are in topological order, but a shorter way may come from any of the callers.
        for (index, service) in self.services.iter().enumerate() {
            let Some(depth) = depths[index] else { continue };
            for call in calls_of(service) {
                let known: &mut Option<usize> = &mut depths[call.service];
                *known = Some(known.map_or(depth + 1, |old| old.min(depth + 1)));
            }
        }
        depths[target]
    }

    /// Number of calls on the longest way down from a service. Callers wait longer for what is higher.
    pub(crate) fn height(&self, service: ServiceIndex) -> usize {
        calls_of(&self.services[service]).map(|call| 1 + self.height(call.service)).max().unwrap_or(0)
    }

    /// Share of front-end requests that run `operation` of `service`, or with `essential` only those that cannot
    /// succeed without it. Calls are taken as independent.
    pub(crate) fn reach(&self, service: ServiceIndex, operation: usize, essential: bool) -> f64 {
        let target = (service, operation);
        let total: f64 = self.entry_weights.iter().sum();
        let reached = self.entry_weights.iter().enumerate();
        reached.map(|(entry, weight)| weight * self.reach_from((FRONTEND, entry), target, essential)).sum::<f64>()
            / total
    }

    fn reach_from(&self, from: (ServiceIndex, usize), target: (ServiceIndex, usize), essential: bool) -> f64 {
        if from == target {
            return 1.0;
        }
        if from.0 >= target.0 {
            return 0.0;
        }
        let mut missed = 1.0;
        for step in &self.services[from.0].operations[from.1].steps {
            if let Step::Call(call) = step
                && (call.essential || !essential)
            {
                missed *= 1.0 - call.probability * self.reach_from((call.service, call.operation), target, essential);
            }
        }
        1.0 - missed
    }

    /// The most frequented way of essential calls from the front end to an operation, as service names.
    pub(crate) fn path(&self, service: ServiceIndex, operation: usize) -> Vec<String> {
        let mut path = vec![FRONTEND];
        let target = (service, operation);
        let by_share = |a: &(f64, usize, usize), b: &(f64, usize, usize)| a.0.total_cmp(&b.0);
        let entries = self.entry_weights.iter().enumerate();
        let entry = entries.map(|(i, weight)| (weight * self.reach_from((FRONTEND, i), target, true), FRONTEND, i));
        let mut at = entry.max_by(by_share).map_or((FRONTEND, 0), |(_, s, o)| (s, o));
        while at != target {
            let next = self.services[at.0].operations[at.1].steps.iter().filter_map(|step| match step {
                Step::Call(call) if call.essential => {
                    let share = call.probability * self.reach_from((call.service, call.operation), target, true);
                    Some((share, call.service, call.operation))
                }
                _ => None,
            });
            match next.max_by(by_share) {
                Some((share, s, o)) if share > 0.0 => at = (s, o),
                _ => break,
            }
            path.push(at.0);
        }
        path.into_iter().map(|index| self.services[index].name.to_string()).collect()
    }

    /// Version number of a service after a number of deployments.
    pub(crate) fn version(&self, service: ServiceIndex, revision: usize) -> String {
        let (major, minor, patch) = self.services[service].version;
        if revision == 0 {
            format!("{major}.{minor}.{patch}")
        } else {
            format!("{major}.{}.0", minor as usize + revision)
        }
    }

    /// Names of a pod, derived from the seed so that they need no storage.
    pub(crate) fn pod(&self, source: Source) -> Pod {
        let name = self.services[source.service].name;
        let place = split_mix(self.seed ^ ((source.service as u64) << 32 | source.pod as u64));
        let identity = split_mix(place ^ (source.revision as u64) << 16);
        let replica_set =
            split_mix(self.seed ^ ((source.service as u64) << 48 | source.revision as u64)) & 0xff_ffff_ffff;
        Pod {
            instance_id: uuid(identity, split_mix(identity)),
            name: format!("{name}-{replica_set:010x}-{:05x}", identity & 0xf_ffff),
            host: format!("node-{}", 1 + place % self.hosts as u64),
        }
    }
}

fn calls_of(service: &Service) -> impl Iterator<Item = &Call> {
    service.operations.iter().flat_map(|operation| &operation.steps).filter_map(|step| match step {
        Step::Call(call) => Some(call),
        _ => None,
    })
}
