//! The simulated system as data: services with operations that call each other, what they depend on, and where they
//! run.

mod build;
mod names;
mod size;

pub(crate) use build::build;

use crate::purpose::{Family, Purpose};

/// Index of a service. Calls only ever lead to a higher index, which keeps the graph acyclic.
pub(crate) type ServiceIndex = usize;

/// An operation of a service. Within a service, background operations follow those that start them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct OperationRef {
    pub(crate) service: ServiceIndex,
    pub(crate) operation: usize,
}

/// A synchronous call of an operation of another service.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) target: OperationRef,
    /// Share of the runs that make this call.
    pub(crate) probability: f64,
    /// How long the caller waits for one attempt, in nanoseconds.
    pub(crate) timeout: u64,
    /// Attempts after the first.
    pub(crate) retries: u32,
    /// Pause before the first retry, doubled before each further one, in nanoseconds.
    pub(crate) backoff: u64,
    /// Share of the failed calls without which the caller goes on.
    pub(crate) fallback: f64,
}

/// A statement or request to a peer, through a pool of connections.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    /// Index into the service's connections.
    pub(crate) connection: usize,
    /// SQL verb, or HTTP method.
    pub(crate) verb: &'static str,
    /// Table, key or path.
    pub(crate) subject: String,
    pub(crate) probability: f64,
    pub(crate) median_ms: f64,
    pub(crate) sigma: f64,
}

/// What an operation does between its own work. Steps of one stage run at the same time.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Calls another service and waits.
    Call(Call),
    /// Asks a peer and waits.
    Query(Query),
    /// Sends a message, which another service takes from the queue later.
    Publish { target: OperationRef, topic: String, probability: f64 },
    /// Starts an operation of its own service that nobody waits for.
    Background { operation: usize, probability: f64 },
}

#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// Name of the span.
    pub(crate) name: String,
    /// HTTP method, name of the gRPC service, or empty.
    pub(crate) method: &'static str,
    /// HTTP route, name of the gRPC method, or topic.
    pub(crate) route: String,
    /// Median of the processor time of a run.
    pub(crate) work_ms: f64,
    /// Sigma of the log-normal processor time.
    pub(crate) sigma: f64,
    /// Share of the runs that fail for no reason.
    pub(crate) error_rate: f64,
    pub(crate) stages: Vec<Vec<Step>>,
    /// Message that a run logs, past tense of what it does.
    pub(crate) done: String,
    /// Share of the runs that log how they went.
    pub(crate) logged: f64,
    /// Runs beside a request, in an INTERNAL span.
    pub(crate) background: bool,
}

impl Operation {
    pub(crate) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.stages.iter().flatten()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    Http,
    Grpc,
    Queue,
}

/// A pool of connections that each instance of a service has to one peer.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) peer: usize,
    /// Connections of one instance.
    pub(crate) limit: usize,
    /// How long a run waits for a free connection, in nanoseconds.
    pub(crate) wait: u64,
    /// How long a statement may take, in nanoseconds.
    pub(crate) timeout: u64,
}

/// What of a service's telemetry does not arrive.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Missing {
    pub(crate) spans: MissingSpans,
    pub(crate) logs: bool,
    pub(crate) metrics: bool,
}

#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) enum MissingSpans {
    #[default]
    None,
    /// The service is not instrumented, but hands on the context that it was given.
    Uninstrumented,
    /// Spans are made, and lost with a probability: their children point to nothing.
    Lost(f64),
}

#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) language: &'static str,
    /// Exception class of its own code.
    pub(crate) exception: String,
    pub(crate) complaint: &'static str,
    pub(crate) protocol: Protocol,
    pub(crate) operations: Vec<Operation>,
    /// Index into the world's nodes for each instance.
    pub(crate) instances: Vec<usize>,
    pub(crate) version: (u32, u32, u32),
    /// Requests that one instance serves at the same time, and that may wait for it.
    pub(crate) workers: usize,
    pub(crate) backlog: usize,
    /// Processors that an instance may use.
    pub(crate) processors: f64,
    pub(crate) connections: Vec<Connection>,
    /// Uses the attribute names of before the stable semantic conventions.
    pub(crate) old_names: bool,
    /// Exports histograms as deltas.
    pub(crate) delta: bool,
    /// The server span begins when a request is accepted, not when a worker takes it.
    pub(crate) span_from_accept: bool,
    pub(crate) missing: Missing,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PeerKind {
    /// A database or cache: `db.system.name`.
    Database(&'static str),
    /// An HTTP service of somebody else.
    External,
}

/// Something that services depend on and that sends no telemetry of its own.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// `server.address`.
    pub(crate) address: String,
    pub(crate) port: i64,
    pub(crate) kind: PeerKind,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) processors: f64,
    /// How far its clock is off, in nanoseconds.
    pub(crate) skew: i64,
}

/// A random system.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) purpose: Purpose,
    pub(crate) key: u64,
    pub(crate) family: Family,
    pub(crate) services: Vec<Service>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) nodes: Vec<Node>,
    /// Operations that users call, and how often in relation to each other.
    pub(crate) entries: Vec<(OperationRef, f64)>,
}

impl World {
    pub(crate) fn operation(&self, run: OperationRef) -> &Operation {
        &self.services[run.service].operations[run.operation]
    }

    /// All operations in order of the calls.
    pub(crate) fn operations(&self) -> impl DoubleEndedIterator<Item = OperationRef> + '_ {
        self.services.iter().enumerate().flat_map(|(service, plan)| {
            (0..plan.operations.len()).map(move |operation| OperationRef { service, operation })
        })
    }

    /// Mean number of runs of each operation for one request of a user.
    pub(crate) fn visits(&self) -> PerOperation {
        let mut visits = PerOperation::new(self);
        let total: f64 = self.entries.iter().map(|(_, weight)| weight).sum();
        for (entry, weight) in &self.entries {
            *visits.get_mut(*entry) += weight / total;
        }
        for run in self.operations() {
            let own = visits.get(run);
            for step in self.operation(run).steps() {
                let (target, probability) = match step {
                    Step::Call(call) => (call.target, call.probability),
                    Step::Publish { target, probability, .. } => (*target, *probability),
                    Step::Background { operation, probability } => {
                        (OperationRef { service: run.service, operation: *operation }, *probability)
                    }
                    Step::Query(_) => continue,
                };
                *visits.get_mut(target) += own * probability;
            }
        }
        visits
    }

    /// Mean number of spans of one request of a user, if all of them arrive.
    pub(crate) fn mean_spans(&self) -> f64 {
        let visits = self.visits();
        let spans = |run: OperationRef| {
            let of_steps = self.operation(run).steps().map(|step| match step {
                Step::Call(Call { probability, .. })
                | Step::Query(Query { probability, .. })
                | Step::Publish { probability, .. } => *probability,
                Step::Background { .. } => 0.0,
            });
            visits.get(run) * (1.0 + of_steps.sum::<f64>())
        };
        self.operations().map(spans).sum()
    }

    /// Operations that wait for one of `roots`, directly or through others, roots included. `queried` says of a query
    /// whether it is a root by itself.
    pub(crate) fn waiting_for(
        &self,
        roots: &[OperationRef],
        queried: impl Fn(ServiceIndex, &Query) -> bool,
    ) -> Vec<OperationRef> {
        let mut waiting: Vec<OperationRef> = Vec::new();
        for run in self.operations().rev() {
            let waits = |step: &Step| match step {
                Step::Call(call) => waiting.contains(&call.target),
                Step::Query(query) => queried(run.service, query),
                Step::Publish { .. } | Step::Background { .. } => false,
            };
            if roots.contains(&run) || self.operation(run).steps().any(waits) {
                waiting.push(run);
            }
        }
        waiting
    }
}

/// A number for each operation of a world.
pub(crate) struct PerOperation(Vec<Vec<f64>>);

impl PerOperation {
    pub(crate) fn new(world: &World) -> Self {
        PerOperation(world.services.iter().map(|service| vec![0.0; service.operations.len()]).collect())
    }

    pub(crate) fn get(&self, run: OperationRef) -> f64 {
        self.0[run.service][run.operation]
    }

    pub(crate) fn get_mut(&mut self, run: OperationRef) -> &mut f64 {
        &mut self.0[run.service][run.operation]
    }

    pub(crate) fn of_service(&self, service: ServiceIndex) -> f64 {
        self.0[service].iter().sum()
    }
}
