//! What really happened in a scenario, to compare answers with.

use crate::purpose::{Family, Purpose};
use serde::{Deserialize, Serialize};

/// What is wrong. Each kind acts by its mechanism; what it looks like from outside follows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// One operation of a service, all of them, or the network before it takes longer.
    Latency,
    /// A share of the runs of one operation, or of all of a service, throw an exception.
    Errors,
    /// Other threads compete for the processors of a service's instances.
    Cpu,
    /// Memory of a service's instances grows until they are killed and restarted; collecting garbage takes longer.
    MemoryLeak,
    /// Few connections of a pool are left, and they come back late: runs wait for one, or give up.
    PoolExhaustion,
    /// A database or a partner outside, which sends no telemetry, answers slowly.
    SlowDependency,
    /// A new version on some or all instances is slower or fails.
    BadDeployment,
    /// The requests that get a flag's new variant are slower or fail.
    Flag,
    /// A service slows down for a moment; retries of its callers keep it overloaded after that.
    RetryStorm,
    /// A service burns the processors of the node that it shares with others.
    NoisyNeighbour,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [FaultKind; 10] = [
        FaultKind::Latency,
        FaultKind::Errors,
        FaultKind::Cpu,
        FaultKind::MemoryLeak,
        FaultKind::PoolExhaustion,
        FaultKind::SlowDependency,
        FaultKind::BadDeployment,
        FaultKind::Flag,
        FaultKind::RetryStorm,
        FaultKind::NoisyNeighbour,
    ];

    /// The name in JSON, such as `memory_leak`.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Latency => "latency",
            FaultKind::Errors => "errors",
            FaultKind::Cpu => "cpu",
            FaultKind::MemoryLeak => "memory_leak",
            FaultKind::PoolExhaustion => "pool_exhaustion",
            FaultKind::SlowDependency => "slow_dependency",
            FaultKind::BadDeployment => "bad_deployment",
            FaultKind::Flag => "flag",
            FaultKind::RetryStorm => "retry_storm",
            FaultKind::NoisyNeighbour => "noisy_neighbour",
        }
    }
}

/// What kind of thing is at fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssetKind {
    /// A service of the system, by its `service.name`.
    Service,
    /// A database or cache, by its `server.address`: only spans of its clients show it.
    Database,
    /// Somebody else's service, by its `server.address`: only spans of its clients show it.
    External,
}

/// What a fault begins at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Root {
    /// `service.name`, or `server.address` of a dependency without telemetry.
    pub asset: String,
    /// What the asset is.
    pub kind: AssetKind,
    /// Name of the spans of the only operation at fault; `None` if all operations are.
    pub operation: Option<String>,
    /// `k8s.pod.name` of the instances at fault when it begins; empty if all instances are.
    pub instances: Vec<String>,
    /// `k8s.node.name`, for a noisy neighbour.
    pub node: Option<String>,
    /// `server.address` of what the pool leads to, for an exhausted pool.
    pub pool: Option<String>,
    /// Services that use a dependency without telemetry: naming the dependency of one of them is right as well.
    pub clients: Vec<String>,
}

/// The kind of a change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A new version of a service.
    Deployment,
    /// A flag turned over; the version stays.
    FeatureFlag,
    /// One more instance.
    Scaling,
}

/// A change that telemetry reports as an event of the changed service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Change {
    /// What changed.
    pub kind: ChangeKind,
    /// `service.name` of the changed service.
    pub asset: String,
    /// `deployment.name` or `feature_flag.key`.
    pub name: String,
    /// When, in nanoseconds since the Unix epoch.
    pub at_unix_nanos: u64,
    /// When it was taken back, if it was.
    pub reverted_unix_nanos: Option<u64>,
    /// `service.version` before.
    pub version_before: String,
    /// `service.version` after; the same if only a flag or the number of instances changed.
    pub version_after: String,
}

/// One fault.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InjectedFault {
    /// What is wrong.
    pub kind: FaultKind,
    /// Where it begins.
    pub root: Root,
    /// When it begins, in nanoseconds since the Unix epoch.
    pub onset_unix_nanos: u64,
    /// When its cause ends, in nanoseconds since the Unix epoch; queues may take some seconds more to drain.
    pub end_unix_nanos: u64,
    /// How long it takes to reach its full strength; 0 for a step.
    pub ramp_nanos: u64,
    /// When the trigger of a retry storm ends, in nanoseconds since the Unix epoch.
    pub trigger_end_unix_nanos: Option<u64>,
    /// How strong it is, in the unit of [`InjectedFault::unit`].
    pub magnitude: f64,
    /// `ms` added to a run, `share` of the runs that fail, `threads` for each processor, `seconds` until memory is full
    /// or that a connection is held (divided by those that are left), or `times` as slow.
    pub unit: String,
    /// The change that is its cause.
    pub change: Option<Change>,
    /// Services that wait for the root, directly or through others, the root not among them: what it can reach.
    pub affected: Vec<String>,
}

/// What caused nothing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "decoy", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decoy {
    /// A harmless change.
    Change(Change),
    /// More requests than usual, and enough capacity for them.
    Spike {
        /// When it begins, in nanoseconds since the Unix epoch.
        start_unix_nanos: u64,
        /// When it ends, in nanoseconds since the Unix epoch.
        end_unix_nanos: u64,
        /// Traffic in relation to the usual.
        factor: f64,
    },
}

/// Telemetry that does not arrive.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Gap {
    /// `service.name`.
    pub asset: String,
    /// `spans`, `logs` or `metrics`.
    pub signal: String,
    /// Share that is lost: 1 for all of it.
    pub share: f64,
}

/// What really happens in a scenario.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GroundTruth {
    /// What the scenario is for.
    pub purpose: Purpose,
    /// Its seed, of the purpose's seeds.
    pub seed: u64,
    /// How its services are connected.
    pub family: Family,
    /// First instant, in nanoseconds since the Unix epoch.
    pub start_unix_nanos: u64,
    /// Last instant, in nanoseconds since the Unix epoch.
    pub end_unix_nanos: u64,
    /// All services by `service.name`, callers before callees.
    pub services: Vec<String>,
    /// Pairs of caller and callee by `service.name`, each once, sorted; synchronous calls only.
    pub calls: Vec<(String, String)>,
    /// Faults in order of their onset; none in a quiet scenario.
    pub faults: Vec<InjectedFault>,
    /// What happened beside them and caused nothing.
    pub decoys: Vec<Decoy>,
    /// Telemetry that does not arrive.
    pub missing: Vec<Gap>,
}
