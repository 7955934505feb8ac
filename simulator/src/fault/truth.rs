//! A plan in the words of the ground truth.

use crate::fault::plan::Period;
use crate::fault::{Fault, Harm, Mechanism, Plan, PlannedChange};
use crate::truth::{AssetKind, Change, ChangeKind, Decoy, Gap, GroundTruth, InjectedFault, Root};
use crate::world::{MissingSpans, OperationRef, PeerKind, ServiceIndex, Step, World};

impl World {
    /// The services that a mechanism is at (of a peer: none), and those that wait for it.
    pub(super) fn footprint(&self, mechanism: &Mechanism) -> (Vec<ServiceIndex>, Vec<ServiceIndex>) {
        let all_of = |service: ServiceIndex| self.operations().filter(move |run| run.service == service);
        let one_or_all = |service, operation: Option<usize>| -> Vec<OperationRef> {
            all_of(service).filter(|run| operation.is_none_or(|operation| operation == run.operation)).collect()
        };
        let (root, runs): (Option<ServiceIndex>, Vec<OperationRef>) = match *mechanism {
            Mechanism::Delay { service, operation, .. }
            | Mechanism::Throw { service, operation, .. }
            | Mechanism::Deployment { service, operation, .. } => (Some(service), one_or_all(service, operation)),
            Mechanism::Flag { service, operation, .. } => (Some(service), one_or_all(service, Some(operation))),
            Mechanism::Stress { service, .. } | Mechanism::Leak { service, .. } | Mechanism::Storm { service, .. } => {
                (Some(service), one_or_all(service, None))
            }
            Mechanism::Drain { service, connection, .. } => {
                let waiting = self.waiting_for(&[], |of, query| (of, query.connection) == (service, connection));
                return footprint(Some(service), &waiting);
            }
            Mechanism::SlowPeer { peer, .. } => {
                let waiting =
                    self.waiting_for(&[], |of, query| self.services[of].connections[query.connection].peer == peer);
                return footprint(None, &waiting);
            }
            Mechanism::Burn { service, node, .. } => {
                let here = |run: &OperationRef| self.services[run.service].instances.contains(&node);
                (Some(service), self.operations().filter(here).collect())
            }
        };
        footprint(root, &self.waiting_for(&runs, |_, _| false))
    }

    /// `service.version` at a revision.
    pub(crate) fn version(&self, service: ServiceIndex, revision: u32) -> String {
        let (major, minor, patch) = self.services[service].version;
        if revision == 0 { format!("{major}.{minor}.{patch}") } else { format!("{major}.{}.0", minor + revision) }
    }
}

fn footprint(root: Option<ServiceIndex>, waiting: &[OperationRef]) -> (Vec<ServiceIndex>, Vec<ServiceIndex>) {
    let mut reached: Vec<ServiceIndex> = waiting.iter().map(|run| run.service).collect();
    reached.sort_unstable();
    reached.dedup();
    reached.retain(|service| Some(*service) != root);
    (root.into_iter().collect(), reached)
}

impl Plan {
    /// The truth about a scenario of this plan.
    pub(crate) fn ground_truth(&self, world: &World, seed: u64, period: Period) -> GroundTruth {
        let of_faults: Vec<usize> = self.faults.iter().filter_map(|fault| fault.change).collect();
        let harmless = (0..self.changes.len()).filter(|change| !of_faults.contains(change));
        let changes = harmless.map(|index| Decoy::Change(self.change(world, &self.changes[index])));
        let spikes = self.spikes.iter().map(|spike| Decoy::Spike {
            start_unix_nanos: spike.start,
            end_unix_nanos: spike.end,
            factor: spike.factor,
        });
        GroundTruth {
            purpose: world.purpose,
            seed,
            family: world.family,
            start_unix_nanos: period.start,
            end_unix_nanos: period.end,
            services: world.services.iter().map(|service| service.name.clone()).collect(),
            calls: calls(world),
            faults: self.faults.iter().map(|fault| self.fault(world, fault)).collect(),
            decoys: changes.chain(spikes).collect(),
            missing: world.services.iter().flat_map(gaps).collect(),
        }
    }

    fn fault(&self, world: &World, fault: &Fault) -> InjectedFault {
        let (magnitude, unit) = magnitude(&fault.mechanism);
        let (_, reached) = world.footprint(&fault.mechanism);
        InjectedFault {
            kind: fault.kind,
            root: root(world, &fault.mechanism, fault.change.map(|change| &self.changes[change])),
            onset_unix_nanos: fault.onset,
            end_unix_nanos: fault.end,
            ramp_nanos: fault.ramp,
            trigger_end_unix_nanos: match fault.mechanism {
                Mechanism::Storm { trigger_end, .. } => Some(trigger_end),
                _ => None,
            },
            magnitude,
            unit: unit.into(),
            change: fault.change.map(|change| self.change(world, &self.changes[change])),
            affected: reached.into_iter().map(|service| world.services[service].name.clone()).collect(),
        }
    }

    fn change(&self, world: &World, change: &PlannedChange) -> Change {
        let version_before = world.version(change.service, 0);
        let deployed = change.kind == ChangeKind::Deployment;
        Change {
            kind: change.kind,
            asset: world.services[change.service].name.clone(),
            name: change.name.clone(),
            at_unix_nanos: change.at,
            reverted_unix_nanos: change.reverted,
            version_after: if deployed { world.version(change.service, 1) } else { version_before.clone() },
            version_before,
        }
    }
}

fn magnitude(mechanism: &Mechanism) -> (f64, &'static str) {
    match *mechanism {
        Mechanism::Delay { millis, .. }
        | Mechanism::SlowPeer { millis, .. }
        | Mechanism::Deployment { harm: Harm::Delay { millis }, .. }
        | Mechanism::Flag { harm: Harm::Delay { millis }, .. } => (millis, "ms"),
        Mechanism::Throw { share, .. }
        | Mechanism::Deployment { harm: Harm::Throw { share }, .. }
        | Mechanism::Flag { harm: Harm::Throw { share }, .. } => (share, "share"),
        Mechanism::Stress { threads, .. } | Mechanism::Burn { threads, .. } => (threads, "threads"),
        Mechanism::Leak { period, .. } => (period as f64 / 1e9, "seconds"),
        Mechanism::Drain { limit, hold, .. } => (hold as f64 / 1e9 / limit as f64, "seconds"),
        Mechanism::Storm { factor, .. } => (factor, "times"),
    }
}

fn root(world: &World, mechanism: &Mechanism, change: Option<&PlannedChange>) -> Root {
    let of_service = |service: ServiceIndex| Root {
        asset: world.services[service].name.clone(),
        kind: AssetKind::Service,
        operation: None,
        instances: Vec::new(),
        node: None,
        pool: None,
        clients: Vec::new(),
    };
    let with_operation = |service: ServiceIndex, operation: Option<usize>| Root {
        operation: operation.map(|operation| world.services[service].operations[operation].name.clone()),
        ..of_service(service)
    };
    // All instances are none in particular.
    let pods = |service: ServiceIndex, instances: &[usize], revision: u32| {
        if instances.len() == world.services[service].instances.len() {
            return Vec::new();
        }
        instances.iter().map(|&instance| world.pod_name(service, instance, revision)).collect()
    };
    match mechanism {
        Mechanism::Delay { service, operation, .. } | Mechanism::Throw { service, operation, .. } => {
            with_operation(*service, *operation)
        }
        Mechanism::Deployment { service, operation, .. } => Root {
            instances: change.map(|change| pods(*service, &change.instances, 1)).unwrap_or_default(),
            ..with_operation(*service, *operation)
        },
        Mechanism::Flag { service, operation, .. } => with_operation(*service, Some(*operation)),
        Mechanism::Stress { service, instances, .. } | Mechanism::Leak { service, instances, .. } => {
            Root { instances: pods(*service, instances, 0), ..of_service(*service) }
        }
        Mechanism::Drain { service, connection, .. } => {
            let peer = world.services[*service].connections[*connection].peer;
            Root { pool: Some(world.peers[peer].address.clone()), ..of_service(*service) }
        }
        Mechanism::SlowPeer { peer, .. } => of_peer(world, *peer),
        Mechanism::Storm { service, .. } => of_service(*service),
        Mechanism::Burn { service, instance, node, .. } => Root {
            instances: vec![world.pod_name(*service, *instance, 0)],
            node: Some(world.nodes[*node].name.clone()),
            ..of_service(*service)
        },
    }
}

fn of_peer(world: &World, peer: usize) -> Root {
    let uses = |service: &&crate::world::Service| service.connections.iter().any(|connection| connection.peer == peer);
    Root {
        asset: world.peers[peer].address.clone(),
        kind: match world.peers[peer].kind {
            PeerKind::Database(_) => AssetKind::Database,
            PeerKind::External => AssetKind::External,
        },
        operation: None,
        instances: Vec::new(),
        node: None,
        pool: None,
        clients: world.services.iter().filter(uses).map(|service| service.name.clone()).collect(),
    }
}

fn calls(world: &World) -> Vec<(String, String)> {
    let name = |service: ServiceIndex| world.services[service].name.clone();
    let mut pairs: Vec<(String, String)> = Vec::new();
    for run in world.operations() {
        for step in world.operation(run).steps() {
            if let Step::Call(call) = step {
                pairs.push((name(run.service), name(call.target.service)));
            }
        }
    }
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

fn gaps(service: &crate::world::Service) -> Vec<Gap> {
    let gap = |signal: &str, share| Gap { asset: service.name.clone(), signal: signal.into(), share };
    let spans = match service.missing.spans {
        MissingSpans::None => None,
        MissingSpans::Uninstrumented => Some(gap("spans", 1.0)),
        MissingSpans::Lost(share) => Some(gap("spans", share)),
    };
    let logs = service.missing.logs.then(|| gap("logs", 1.0));
    let metrics = service.missing.metrics.then(|| gap("metrics", 1.0));
    spans.into_iter().chain(logs).chain(metrics).collect()
}
