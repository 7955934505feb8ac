//! One fault with its ground truth: who did it, after which change, and what it does to each request.

use crate::random::{MILLISECOND, SECOND, stream};
use crate::shop::topology::{FRONTEND, Protocol, ServiceIndex, Step, Topology};
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// A culprit is behind at least this share of the front end's requests.
const LEAST_REACH: f64 = 0.2;
/// At least this share of the requests that run the culprit's operation cannot succeed without it.
const LEAST_ESSENTIAL: f64 = 0.8;
/// A caller waits this long for a service that calls no other one.
const BASE_TIMEOUT: u64 = SECOND;

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShopFault {
    /// The database behind the culprit is slow first, and then fails its queries.
    SlowThenFailingDatabase,
    /// One operation of the culprit throws an exception since a deployment.
    Exception,
    /// The culprit lacks CPU since a deployment: its spans succeed, but so late that callers time out.
    CpuContention,
    /// A configuration value or a feature flag makes one operation of the culprit reject requests.
    BadConfiguration,
}

impl ShopFault {
    const ALL: [ShopFault; 4] = [
        ShopFault::SlowThenFailingDatabase,
        ShopFault::Exception,
        ShopFault::CpuContention,
        ShopFault::BadConfiguration,
    ];
}

/// The kind of change that set the fault off.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShopChange {
    /// A new version of the service.
    Deployment,
    /// A new value of a setting; the version stays.
    Configuration,
    /// A flag turned over; the version stays.
    FeatureFlag,
}

/// A harmless deployment near the fault.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ShopDecoy {
    /// Name of the deployed service, never the culprit.
    pub service: String,
    /// When it was deployed, in nanoseconds since the Unix epoch.
    pub change_unix_nanos: u64,
    /// `service.version` before.
    pub version_before: String,
    /// `service.version` after.
    pub version_after: String,
}

/// What really happened, to compare an answer with.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ShopTruth {
    /// Seed of topology and fault.
    pub seed: u64,
    /// What is wrong.
    pub kind: ShopFault,
    /// `service.name` of the service at fault, at least two calls away from the front end.
    pub culprit_service: String,
    /// Name of the culprit's server spans that suffer, or of the most needed ones if all its operations do.
    pub culprit_operation: String,
    /// `server.address` of the database at fault, for [`ShopFault::SlowThenFailingDatabase`].
    pub database: Option<String>,
    /// What kind of change set the fault off.
    pub change: ShopChange,
    /// `deployment.name`, or `feature_flag.key` of the change.
    pub change_name: String,
    /// When the change happened, in nanoseconds since the Unix epoch: some seconds before the fault.
    pub change_unix_nanos: u64,
    /// The culprit's `service.version` before the change.
    pub version_before: String,
    /// The culprit's `service.version` after the change; the same if only a setting or a flag changed.
    pub version_after: String,
    /// When the fault begins, in nanoseconds since the Unix epoch.
    pub start_unix_nanos: u64,
    /// When the fault ends, in nanoseconds since the Unix epoch.
    pub end_unix_nanos: u64,
    /// `exception.type` that the culprit reports, if it reports one.
    pub exception_type: Option<String>,
    /// The most frequented way of calls from the front end to the culprit, as service names, both included.
    pub path: Vec<String>,
    /// Share of front-end requests that cannot succeed without the culprit's operation.
    pub reach: f64,
    /// Harmless deployments of other services.
    pub decoys: Vec<ShopDecoy>,
}

/// A change event of some service.
#[derive(Clone, Copy)]
pub(crate) struct Change {
    pub(crate) service: ServiceIndex,
    pub(crate) at: u64,
    pub(crate) kind: ShopChange,
}

impl Change {
    /// The value of `deployment.name` or `feature_flag.key`.
    pub(crate) fn name(&self, topology: &Topology) -> String {
        let service = topology.services[self.service].name;
        match self.kind {
            ShopChange::Deployment => service.to_string(),
            ShopChange::Configuration => format!("{service}-config"),
            ShopChange::FeatureFlag => format!("{service}-new-backend"),
        }
    }
}

/// What the fault does to one run of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    None,
    /// Takes this many nanoseconds more.
    Delay(u64),
    Throw,
    Reject,
}

/// What the fault does to one query.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum QueryEffect {
    None,
    /// Takes this many nanoseconds.
    Slow(u64),
    /// Fails after this many nanoseconds.
    Fail(u64),
}

struct Fault {
    kind: ShopFault,
    service: ServiceIndex,
    operation: usize,
    start: u64,
    /// A database is slow before this and fails after it.
    failing_from: u64,
    end: u64,
    /// Share of the affected runs that fail.
    strength: f64,
    timeout: u64,
}

/// All that goes wrong or changes during a simulation.
pub(crate) struct FaultPlan {
    fault: Option<Fault>,
    /// In order of time.
    pub(crate) changes: Vec<Change>,
    /// Share of front-end requests in which something fails by chance.
    pub(crate) background_error_rate: f64,
}

/// Period of a simulation and of the fault in it, in nanoseconds since the Unix epoch.
#[derive(Clone, Copy)]
pub(crate) struct Period {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl FaultPlan {
    /// Nothing but the background errors.
    pub(crate) fn quiet() -> Self {
        FaultPlan { fault: None, changes: Vec::new(), background_error_rate: 0.003 }
    }

    /// One fault in the second half of a period, of the wanted kind if the topology has a culprit for it.
    pub(crate) fn random(topology: &Topology, period: Period, wanted: Option<ShopFault>) -> (Self, ShopTruth) {
        let mut rng = stream(topology.seed, 2);
        let mut kinds = ShopFault::ALL;
        kinds.shuffle(&mut rng);
        let mut culprits = wanted.into_iter().chain(kinds).filter_map(|kind| choose_culprit(&mut rng, topology, kind));
        // Every topology has a culprit for an exception: checkout always needs payment.
        let (kind, service, operation) =
            culprits.next().unwrap_or((ShopFault::Exception, topology.services.len() - 2, 0));
        let length = period.end - period.start;
        let start = period.start + (length as f64 * rng.random_range(0.55..0.65)) as u64;
        let change = Change {
            service,
            at: start - rng.random_range(2 * SECOND..8 * SECOND),
            kind: match kind {
                ShopFault::BadConfiguration if rng.random_bool(0.5) => ShopChange::FeatureFlag,
                ShopFault::BadConfiguration => ShopChange::Configuration,
                _ => ShopChange::Deployment,
            },
        };
        let fault = Fault {
            kind,
            service,
            operation,
            start,
            failing_from: start + (period.end - start) / 6,
            end: period.end,
            strength: rng.random_range(0.88..0.97),
            timeout: timeout(topology, service),
        };
        let mut changes = decoys(&mut rng, topology, &fault, period);
        changes.push(change);
        changes.sort_by_key(|change| change.at);
        let background_error_rate = rng.random_range(0.001..0.005);
        let mut plan = FaultPlan { fault: None, changes, background_error_rate };
        let truth = plan.ground_truth(topology, &fault, change);
        plan.fault = Some(fault);
        (plan, truth)
    }

    fn ground_truth(&self, topology: &Topology, fault: &Fault, change: Change) -> ShopTruth {
        let culprit = &topology.services[fault.service];
        let version_at = |service, at| topology.version(service, self.revision(service, at));
        let decoys = self.changes.iter().filter(|change| change.service != fault.service).map(|change| ShopDecoy {
            service: topology.services[change.service].name.into(),
            change_unix_nanos: change.at,
            version_before: version_at(change.service, change.at - 1),
            version_after: version_at(change.service, change.at),
        });
        let of_database = fault.kind == ShopFault::SlowThenFailingDatabase;
        ShopTruth {
            seed: topology.seed,
            kind: fault.kind,
            culprit_service: culprit.name.into(),
            culprit_operation: culprit.span_name(fault.operation),
            database: culprit.database.as_ref().filter(|_| of_database).map(|database| database.address.clone()),
            change: change.kind,
            change_name: change.name(topology),
            change_unix_nanos: change.at,
            version_before: version_at(fault.service, change.at - 1),
            version_after: version_at(fault.service, change.at),
            start_unix_nanos: fault.start,
            end_unix_nanos: fault.end,
            exception_type: match fault.kind {
                ShopFault::SlowThenFailingDatabase => Some(database_exception(culprit.language).into()),
                ShopFault::Exception => Some(culprit.exception.into()),
                ShopFault::CpuContention => None,
                ShopFault::BadConfiguration => Some(REJECTION.into()),
            },
            path: topology.path(fault.service, fault.operation),
            reach: topology.reach(fault.service, fault.operation, true),
            decoys: decoys.collect(),
        }
    }

    /// Number of deployments of a service up to a time.
    pub(crate) fn revision(&self, service: ServiceIndex, at: u64) -> usize {
        let deployed = |change: &&Change| change.service == service && change.kind == ShopChange::Deployment;
        self.changes.iter().filter(deployed).filter(|change| change.at <= at).count()
    }

    /// When a service was deployed for the `revision`-th time, counted from 1.
    pub(crate) fn deployed_at(&self, service: ServiceIndex, revision: usize) -> Option<u64> {
        let deployed = |change: &&Change| change.service == service && change.kind == ShopChange::Deployment;
        self.changes.iter().filter(deployed).nth(revision.checked_sub(1)?).map(|change| change.at)
    }

    fn active(&self, service: ServiceIndex, at: u64) -> Option<&Fault> {
        self.fault.as_ref().filter(|fault| fault.service == service && (fault.start..fault.end).contains(&at))
    }

    pub(crate) fn effect(&self, rng: &mut ChaCha8Rng, service: ServiceIndex, operation: usize, at: u64) -> Effect {
        let Some(fault) = self.active(service, at) else { return Effect::None };
        let here = fault.operation == operation;
        match fault.kind {
            ShopFault::CpuContention if rng.random_bool(fault.strength) => {
                Effect::Delay((fault.timeout as f64 * rng.random_range(1.02..1.8)) as u64)
            }
            ShopFault::CpuContention => Effect::Delay((fault.timeout as f64 * rng.random_range(0.3..0.8)) as u64),
            ShopFault::Exception if here && rng.random_bool(fault.strength) => Effect::Throw,
            ShopFault::BadConfiguration if here && rng.random_bool(fault.strength) => Effect::Reject,
            _ => Effect::None,
        }
    }

    pub(crate) fn query_effect(&self, rng: &mut ChaCha8Rng, service: ServiceIndex, at: u64) -> QueryEffect {
        match self.active(service, at) {
            Some(fault) if fault.kind == ShopFault::SlowThenFailingDatabase => {
                let slow = rng.random_range(250 * MILLISECOND..600 * MILLISECOND);
                let fails = at >= fault.failing_from && rng.random_bool(fault.strength);
                if fails { QueryEffect::Fail(slow) } else { QueryEffect::Slow(slow) }
            }
            _ => QueryEffect::None,
        }
    }

    /// True while a service lacks CPU.
    pub(crate) fn lacks_cpu(&self, service: ServiceIndex, at: u64) -> bool {
        self.active(service, at).is_some_and(|fault| fault.kind == ShopFault::CpuContention)
    }

    /// The reason that a rejecting service gives.
    pub(crate) fn rejection(&self, topology: &Topology, service: ServiceIndex) -> String {
        match self.changes.iter().find(|change| change.service == service) {
            Some(change) if change.kind == ShopChange::FeatureFlag => {
                format!("request rejected: feature flag {} selects a variant without a backend", change.name(topology))
            }
            _ => format!("request rejected: setting {REJECTING_SETTING} = 0 allows no request"),
        }
    }
}

/// `exception.type` of a service that rejects requests.
pub(crate) const REJECTION: &str = "ConfigurationError";
/// The setting that a bad configuration sets to 0.
pub(crate) const REJECTING_SETTING: &str = "server.max_concurrent_requests";

/// The exception that a language's database driver throws.
pub(crate) fn database_exception(language: &str) -> &'static str {
    match language {
        "java" => "java.sql.SQLTransientConnectionException",
        "go" => "*net.OpError",
        "python" => "psycopg.OperationalError",
        "dotnet" => "System.TimeoutException",
        _ => "DatabaseError",
    }
}

/// How long callers wait for a service: longer for one that waits for others itself.
pub(crate) fn timeout(topology: &Topology, service: ServiceIndex) -> u64 {
    BASE_TIMEOUT + topology.height(service) as u64 * 3 * BASE_TIMEOUT / 2
}

/// A service that can be at fault, and its operation that most requests need.
fn choose_culprit(
    rng: &mut ChaCha8Rng,
    topology: &Topology,
    kind: ShopFault,
) -> Option<(ShopFault, ServiceIndex, usize)> {
    let fits = |service: ServiceIndex, operation: usize| {
        let queries =
            topology.services[service].operations[operation].steps.iter().any(|s| matches!(s, Step::Query { .. }));
        let essential = topology.reach(service, operation, true);
        (queries || kind != ShopFault::SlowThenFailingDatabase)
            && essential >= LEAST_REACH
            && essential >= LEAST_ESSENTIAL * topology.reach(service, operation, false)
    };
    let candidates: Vec<(ShopFault, ServiceIndex, usize)> = (0..topology.services.len())
        .filter(|&service| topology.services[service].protocol != Protocol::Queue)
        .filter(|&service| topology.depth(service).is_some_and(|depth| depth >= 2))
        .filter_map(|service| {
            let operations =
                (0..topology.services[service].operations.len()).filter(|&operation| fits(service, operation));
            let reach = |&operation: &usize| topology.reach(service, operation, true);
            Some((kind, service, operations.max_by(|a, b| reach(a).total_cmp(&reach(b)))?))
        })
        .collect();
    candidates.choose(rng).copied()
}

/// One or two harmless deployments: one shortly before the fault, the other one anywhere in the period.
fn decoys(rng: &mut ChaCha8Rng, topology: &Topology, fault: &Fault, period: Period) -> Vec<Change> {
    let mut others: Vec<ServiceIndex> =
        (0..topology.services.len()).filter(|&service| service != FRONTEND && service != fault.service).collect();
    others.shuffle(rng);
    let tenth = (period.end - period.start) / 10;
    let near = fault.start - rng.random_range(tenth / 6..tenth);
    let anywhere = rng.random_range(period.start + tenth..period.end - tenth);
    let count = rng.random_range(1..=2);
    let planned = others.into_iter().zip([near, anywhere]).take(count);
    planned.map(|(service, at)| Change { service, at, kind: ShopChange::Deployment }).collect()
}
