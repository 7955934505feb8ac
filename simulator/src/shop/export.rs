//! The shop's items as export requests: who sends them.

use crate::attributes::{integer, text};
use crate::export::{self, Origin, Request};
use crate::shop::topology::{Source, Topology};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;

/// Items of several pods, in the order in which they come.
pub(crate) type Items<T> = Vec<(Source, T)>;

pub(crate) fn traces(topology: &Topology, spans: Items<Span>) -> Request {
    export::traces(|source| origin(topology, source), spans)
}

pub(crate) fn logs(topology: &Topology, log_records: Items<LogRecord>) -> Request {
    export::logs(|source| origin(topology, source), log_records)
}

pub(crate) fn metrics(topology: &Topology, metrics: Items<Metric>) -> Request {
    export::metrics(|source| origin(topology, source), metrics)
}

fn origin(topology: &Topology, source: Source) -> Origin {
    (resource(topology, source), scope(topology, source))
}

fn resource(topology: &Topology, source: Source) -> Resource {
    let service = &topology.services[source.service];
    let pod = topology.pod(source);
    let attributes = vec![
        text("service.name", service.name),
        text("service.namespace", "shop"),
        text("service.version", topology.version(source.service, source.revision)),
        text("service.instance.id", pod.instance_id),
        text("deployment.environment.name", "production"),
        text("k8s.cluster.name", "shop-1"),
        text("k8s.namespace.name", "shop"),
        text("k8s.deployment.name", service.name),
        text("k8s.pod.name", pod.name),
        text("k8s.node.name", pod.host.clone()),
        text("host.name", pod.host),
        integer("process.pid", 1),
        text("telemetry.sdk.name", "opentelemetry"),
        text("telemetry.sdk.language", service.language),
        text("telemetry.sdk.version", "1.36.0"),
    ];
    Resource { attributes, ..Default::default() }
}

fn scope(topology: &Topology, source: Source) -> InstrumentationScope {
    let name = format!("io.opentelemetry.shop.{}", topology.services[source.service].name);
    InstrumentationScope { name, version: "1.0.0".into(), ..Default::default() }
}
