//! Log records: what runs do, what goes wrong, processes that begin and end, and changes.

use super::Recorder;
use super::failures::{seen_by_caller, stack_trace, words};
use crate::attributes::{body, integer, text};
use crate::engine::{Failure, Machine, Run};
use crate::fault::PlannedChange;
use crate::random::{MILLISECOND, SECOND, split_mix};
use crate::truth::ChangeKind;
use crate::world::{Call, World};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use rand::Rng;

/// A run is slow that takes longer.
const SLOW: u64 = SECOND;

/// Severity of a record: the first number of its range in the log data model.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Severity {
    Info = 9,
    Warning = 13,
    Error = 17,
}

impl Recorder {
    /// What a run logs: when it begins and ends, or why it failed.
    pub(super) fn log_run(&mut self, world: &World, run: &Run, end: u64) {
        let service = &world.services[run.operation.service];
        let operation = world.operation(run.operation);
        let millis = (end - run.start) / MILLISECOND;
        if let Some(failure) = run.failure {
            let words = words(world, run, failure);
            let attributes = vec![
                text("exception.type", words.class.as_str()),
                text("exception.message", words.message.as_str()),
                text("exception.stacktrace", stack_trace(service.language, &service.name, &words)),
            ];
            let message = format!("{} failed: {}", operation.name, words.message);
            return self.log(world, run, end, Severity::Error, message, attributes);
        }
        if end - run.start > SLOW && !operation.background {
            let message = format!("{} was slow: {millis} ms", operation.name);
            self.log(world, run, end, Severity::Warning, message, Vec::new());
        }
        if self.rng.random_bool(operation.logged) {
            let begun = format!("{} for user {}", operation.name, run.visit.user);
            self.log(world, run, run.start, Severity::Info, begun, Vec::new());
            let done = format!("{} {} in {millis} ms", operation.done, run.visit.item);
            self.log(world, run, end, Severity::Info, done, Vec::new());
        }
    }

    /// An attempt of a call failed, and there will be another.
    pub(crate) fn retried(&mut self, world: &World, run: &Run, call: &Call, failure: Failure, at: u64) {
        let message = format!("{}: {}, trying again", callee(world, call), seen_by_caller(failure));
        self.log(world, run, at, Severity::Warning, message, Vec::new());
    }

    /// A call failed, and the run goes on without it.
    pub(crate) fn went_on(&mut self, world: &World, run: &Run, call: &Call, failure: Failure, at: u64) {
        let message = format!("continuing without {}: {}", callee(world, call), seen_by_caller(failure));
        self.log(world, run, at, Severity::Warning, message, Vec::new());
    }

    /// An instance was killed for its memory.
    pub(crate) fn killed(&mut self, world: &World, machine: &Machine, at: u64) {
        let pod = world.pod_name(machine.service, machine.instance, machine.generation);
        let attributes = vec![text("k8s.event.reason", "OOMKilling"), text("k8s.pod.name", pod.as_str())];
        let message = format!("Memory limit reached: container of pod {pod} was killed");
        self.log_of(world, machine.pod, at, Severity::Warning, message, attributes);
    }

    /// A process began.
    pub(crate) fn started(&mut self, world: &World, machine: &Machine, at: u64) {
        let service = &world.services[machine.service].name;
        let message = format!("{service} {} started", world.version(machine.service, machine.revision));
        self.log_of(world, machine.pod, at + MILLISECOND, Severity::Info, message, Vec::new());
    }

    /// A change, as the changed service reports it.
    pub(crate) fn change(&mut self, world: &World, change: &PlannedChange, reverted: bool, pod: u32, at: u64) {
        let service = &world.services[change.service];
        let revision = u32::from(!reverted && change.kind == ChangeKind::Deployment);
        let (version, other) = (world.version(change.service, revision), world.version(change.service, 1 - revision));
        let id = split_mix(world.key ^ split_mix(at));
        let (event_name, message, attributes) = match change.kind {
            ChangeKind::Deployment => (
                "deployment",
                format!("deployment of {} {version} succeeded", service.name),
                vec![
                    text("deployment.name", change.name.as_str()),
                    text("deployment.id", format!("{id:016x}")),
                    text("deployment.status", "succeeded"),
                    text("service.version", version.as_str()),
                    text("service.version.previous", other),
                    text("vcs.ref.head.revision", format!("{:016x}{id:016x}{:08x}", split_mix(id), id >> 32)),
                ],
            ),
            ChangeKind::FeatureFlag => {
                let variant = if reverted { "off" } else { "on" };
                (
                    "feature_flag.change",
                    format!("feature flag {} turned {variant}", change.name),
                    vec![
                        text("feature_flag.key", change.name.as_str()),
                        text("feature_flag.provider.name", "flagd"),
                        text("feature_flag.result.variant", variant),
                    ],
                )
            }
            ChangeKind::Scaling => {
                let after = service.instances.len() as i64;
                (
                    "k8s.event",
                    format!("Scaled up replica set of {} to {after}", service.name),
                    vec![
                        text("k8s.event.reason", "ScalingReplicaSet"),
                        text("k8s.deployment.name", service.name.as_str()),
                        integer("k8s.replicaset.desired", after),
                    ],
                )
            }
        };
        let mut record = record(self.clock(pod, at), Severity::Info, message);
        record.event_name = event_name.into();
        record.attributes = attributes;
        record.attributes.push(text("event.name", event_name));
        // Changes are reported by tools of their own, whatever else is missing.
        self.logs.push((pod, record));
    }

    fn log(
        &mut self,
        world: &World,
        run: &Run,
        at: u64,
        severity: Severity,
        message: String,
        attributes: Vec<KeyValue>,
    ) {
        let mut record = record(self.clock(run.pod, at), severity, message);
        record.attributes = attributes;
        record.trace_id = run.context.trace_id.to_vec();
        record.span_id = run.context.span_id.to_vec();
        record.flags = 1;
        self.keep_log(world, run.pod, record);
    }

    fn log_of(
        &mut self,
        world: &World,
        pod: u32,
        at: u64,
        severity: Severity,
        message: String,
        attributes: Vec<KeyValue>,
    ) {
        let mut record = record(self.clock(pod, at), severity, message);
        record.attributes = attributes;
        self.keep_log(world, pod, record);
    }
}

fn callee<'a>(world: &'a World, call: &Call) -> &'a str {
    &world.services[call.target.service].name
}

fn record(at: u64, severity: Severity, message: String) -> LogRecord {
    let severity_text = match severity {
        Severity::Info => "INFO",
        Severity::Warning => "WARN",
        Severity::Error => "ERROR",
    };
    LogRecord {
        time_unix_nano: at,
        observed_time_unix_nano: at + MILLISECOND,
        severity_number: severity as i32,
        severity_text: severity_text.into(),
        body: body(message),
        ..Default::default()
    }
}
