//! What a resource says of the rows below it: asset, environment, and itself as JSON.

use super::attributes;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::resource::v1::Resource;
use whence_schema::{AssetSighting, UnixNanos};

/// Resource attributes that tell instances of one service apart.
const IDENTIFYING: [&str; 6] =
    ["container.id", "host.id", "host.name", "k8s.container.name", "k8s.pod.name", "service.instance.id"];

pub(super) struct ResourceRows {
    pub(super) asset_id: String,
    pub(super) environment: Option<String>,
    pub(super) json: Vec<u8>,
    pub(super) attributes: Vec<KeyValue>,
}

impl ResourceRows {
    pub(super) fn new(resource: Option<Resource>) -> Self {
        let attributes = resource.map(|r| r.attributes).unwrap_or_default();
        let mut json = Vec::with_capacity(256);
        attributes::write_object(&mut json, &attributes);
        let text = |key| attributes::text(&attributes, key).map(str::to_owned);
        Self {
            asset_id: text("service.name").or_else(|| text("host.name")).unwrap_or_else(|| "unknown".to_owned()),
            environment: text("deployment.environment.name").or_else(|| text("deployment.environment")),
            json,
            attributes,
        }
    }

    /// Attributes that belong to a metric series' identity.
    pub(super) fn identifying(&self) -> impl Iterator<Item = &KeyValue> {
        self.attributes.iter().filter(|a| IDENTIFYING.contains(&a.key.as_str()))
    }

    pub(super) fn sighting(&self, last_seen: UnixNanos) -> AssetSighting {
        let has = |key| attributes::text(&self.attributes, key);
        let asset_type = match (has("service.name"), has("host.name")) {
            (Some(_), _) => "service",
            (None, Some(_)) => "host",
            (None, None) => "unknown",
        };
        AssetSighting {
            asset_id: self.asset_id.clone(),
            asset_type,
            version: has("service.version").map(str::to_owned),
            last_seen,
            metadata: self.metadata(),
        }
    }

    /// What all instances of the asset share; instance ids would change with every sighting.
    fn metadata(&self) -> Option<String> {
        const SHARED: [&str; 5] = [
            "service.namespace",
            "telemetry.sdk.language",
            "deployment.environment.name",
            "cloud.provider",
            "k8s.namespace.name",
        ];
        let shared: Vec<KeyValue> =
            self.attributes.iter().filter(|a| SHARED.contains(&a.key.as_str())).cloned().collect();
        if shared.is_empty() {
            return None;
        }
        let mut json = Vec::new();
        attributes::write_object(&mut json, &shared);
        String::from_utf8(json).ok()
    }
}
