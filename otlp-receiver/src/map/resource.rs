//! What a resource says of the rows below it: asset, environment, and itself as JSON.

use super::attributes;
use crate::otlp::Attribute;
use crate::protobuf::Utf8;
use whence_schema::{AssetSighting, UnixNanos};

/// Resource attributes that tell instances of one service apart.
const IDENTIFYING: [&str; 6] =
    ["container.id", "host.id", "host.name", "k8s.container.name", "k8s.pod.name", "service.instance.id"];

/// What all instances of an asset share; instance ids would change with every sighting.
const SHARED: [&str; 5] = [
    "service.namespace",
    "telemetry.sdk.language",
    "deployment.environment.name",
    "cloud.provider",
    "k8s.namespace.name",
];

pub(super) struct ResourceRows<'a, 'body> {
    pub(super) asset_id: Utf8<'body>,
    asset_type: &'static str,
    pub(super) environment: Option<Utf8<'body>>,
    attributes: &'a [Attribute<'body>],
}

impl<'a, 'body> ResourceRows<'a, 'body> {
    pub(super) fn new(attributes: &'a [Attribute<'body>]) -> Self {
        let text = |key| attributes::text(attributes, key);
        let (asset_id, asset_type) = match (text("service.name"), text("host.name")) {
            (Some(service), _) => (service, "service"),
            (None, Some(host)) => (host, "host"),
            (None, None) => (Utf8::from("unknown"), "unknown"),
        };
        let environment = text("deployment.environment.name").or_else(|| text("deployment.environment"));
        Self { asset_id, asset_type, environment, attributes }
    }

    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        attributes::write_object(out, self.attributes);
    }

    /// Attributes that belong to a metric series' identity.
    pub(super) fn identifying(&self) -> impl Iterator<Item = &'a Attribute<'body>> + use<'a, 'body> {
        self.attributes.iter().filter(|a| is_one_of(a, &IDENTIFYING))
    }

    pub(super) fn sighting(&self, last_seen: UnixNanos) -> AssetSighting {
        AssetSighting {
            asset_id: self.asset_id.as_str().to_owned(),
            asset_type: self.asset_type,
            version: attributes::text(self.attributes, "service.version").map(|version| version.as_str().to_owned()),
            last_seen,
            metadata: self.metadata(),
        }
    }

    fn metadata(&self) -> Option<String> {
        let shared: Vec<Attribute<'_>> = self.attributes.iter().filter(|a| is_one_of(a, &SHARED)).copied().collect();
        if shared.is_empty() {
            return None;
        }
        let mut json = Vec::with_capacity(128);
        attributes::write_object(&mut json, &shared);
        String::from_utf8(json).ok()
    }
}

fn is_one_of(attribute: &Attribute<'_>, keys: &[&str]) -> bool {
    keys.iter().any(|key| attribute.key.as_bytes() == key.as_bytes())
}
