//! Sources of telemetry: the processes of instances, and the agents of nodes.

use super::Recorder;
use super::metrics::PodMetrics;
use crate::attributes::{integer, text};
use crate::export::Origin;
use crate::vocabulary;
use crate::world::{ServiceIndex, World};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;

/// A source of telemetry.
pub(super) struct Pod {
    /// `None` for a node.
    pub(super) service: Option<ServiceIndex>,
    pub(super) skew: i64,
    pub(super) started: u64,
    pub(super) restarts: u32,
    pub(super) origin: Origin,
}

impl Pod {
    pub(super) fn of_node(world: &World, node: usize, start: u64) -> Self {
        let name = world.nodes[node].name.as_str();
        let attributes = vec![
            text("host.name", name),
            text("k8s.node.name", name),
            text("os.type", "linux"),
            text("deployment.environment.name", "production"),
        ];
        let scope = InstrumentationScope { name: "hostmetricsreceiver".into(), ..Default::default() };
        let resource = Resource { attributes, ..Default::default() };
        Pod { service: None, skew: world.nodes[node].skew, started: start, restarts: 0, origin: (resource, scope) }
    }
}

impl Recorder {
    /// Takes down a new process of an instance, and returns its number.
    pub(crate) fn add_pod(
        &mut self,
        world: &World,
        (service, instance): (ServiceIndex, usize),
        (revision, generation, restarts): (u32, u32, u32),
        started: u64,
    ) -> u32 {
        let plan = &world.services[service];
        let node = &world.nodes[plan.instances[instance]];
        let names = world.pod(service, instance, generation, restarts);
        let system = vocabulary::of(world.purpose).system;
        let environment = if plan.old_names { "deployment.environment" } else { "deployment.environment.name" };
        let attributes = vec![
            text("service.name", plan.name.as_str()),
            text("service.namespace", system),
            text("service.version", world.version(service, revision)),
            text("service.instance.id", names.instance_id),
            text(environment, "production"),
            text("k8s.namespace.name", system),
            text("k8s.deployment.name", plan.name.as_str()),
            text("k8s.pod.name", names.name),
            text("k8s.node.name", node.name.as_str()),
            text("host.name", node.name.as_str()),
            integer("process.pid", 1),
            text("telemetry.sdk.name", "opentelemetry"),
            text("telemetry.sdk.language", plan.language),
            text("telemetry.sdk.version", "1.36.0"),
        ];
        let scope = InstrumentationScope {
            name: format!("io.opentelemetry.{}.{}", plan.language, plan.name),
            version: "2.19.0".into(),
            ..Default::default()
        };
        self.pods.push(Pod {
            service: Some(service),
            skew: node.skew,
            started,
            restarts,
            origin: (Resource { attributes, ..Default::default() }, scope),
        });
        self.metrics.push(PodMetrics::default());
        self.pods.len() as u32 - 1
    }
}
