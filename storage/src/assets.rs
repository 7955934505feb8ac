//! Assets learned from telemetry: the rows of `asset_metadata`.

use arrow::array::{ArrayRef, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use whence_schema::tables::timestamp_type;
use whence_schema::{AssetSighting, TenantId, UnixNanos};

/// What names an asset within a tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AssetKey {
    pub(crate) tenant: TenantId,
    pub(crate) asset_id: String,
    pub(crate) asset_type: String,
}

/// An asset as known. What people edit (name, owner, team, tags) is not learned from telemetry.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Asset {
    pub(crate) asset_name: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) owner_id: Option<String>,
    pub(crate) team_id: Option<String>,
    pub(crate) tags: Option<String>,
    pub(crate) metadata: Option<String>,
    pub(crate) created_at: UnixNanos,
    pub(crate) updated_at: UnixNanos,
    pub(crate) last_seen: UnixNanos,
}

/// Assets by key.
pub(crate) type Assets = BTreeMap<AssetKey, Asset>;

/// Takes in what a request said about an asset.
pub(crate) fn sight(assets: &mut Assets, tenant: &TenantId, sighting: AssetSighting, at: UnixNanos) {
    let key =
        AssetKey { tenant: tenant.clone(), asset_id: sighting.asset_id, asset_type: sighting.asset_type.to_owned() };
    let seen = Asset {
        version: sighting.version,
        metadata: sighting.metadata,
        created_at: at,
        updated_at: at,
        last_seen: sighting.last_seen,
        ..Asset::default()
    };
    merge(assets, &key, &seen);
}

/// What the later sighting in event time said wins, whichever arrived first; the first creation stays.
pub(crate) fn merge(assets: &mut Assets, key: &AssetKey, newer: &Asset) {
    let Some(known) = assets.get_mut(key) else {
        assets.insert(key.clone(), newer.clone());
        return;
    };
    // Of two sightings at one instant the greater text wins, so that the order of arrival never shows.
    let known_last_seen = known.last_seen;
    let replace = |old: &mut Option<String>, new: &Option<String>| {
        let later = match newer.last_seen.cmp(&known_last_seen) {
            Ordering::Less => old.is_none(),
            Ordering::Equal => *new > *old,
            Ordering::Greater => true,
        };
        if later && new.is_some() && *old != *new {
            old.clone_from(new);
            return true;
        }
        false
    };
    let changed = [
        replace(&mut known.asset_name, &newer.asset_name),
        replace(&mut known.version, &newer.version),
        replace(&mut known.owner_id, &newer.owner_id),
        replace(&mut known.team_id, &newer.team_id),
        replace(&mut known.tags, &newer.tags),
        replace(&mut known.metadata, &newer.metadata),
    ];
    if changed.contains(&true) {
        known.updated_at = known.updated_at.max(newer.updated_at);
    }
    known.created_at = known.created_at.min(newer.created_at);
    known.last_seen = known.last_seen.max(newer.last_seen);
}

/// Rows as `asset_metadata` shows them.
pub(crate) fn to_batch(assets: &Assets) -> Result<RecordBatch, ArrowError> {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8View, nullable);
    let time = |name: &str| Field::new(name, timestamp_type(), false);
    let schema = Schema::new(vec![
        text("asset_id", false),
        text("asset_name", false),
        text("asset_type", false),
        text("version", true),
        text("owner_id", true),
        text("team_id", true),
        text("tenant_id", false),
        text("tags", true),
        text("metadata", true),
        time("created_at"),
        time("updated_at"),
        time("last_seen"),
    ]);
    let keys =
        |of: fn(&AssetKey) -> &str| -> ArrayRef { Arc::new(StringViewArray::from_iter_values(assets.keys().map(of))) };
    let texts =
        |of: fn(&Asset) -> Option<&str>| -> ArrayRef { Arc::new(assets.values().map(of).collect::<StringViewArray>()) };
    let times = |of: fn(&Asset) -> UnixNanos| -> ArrayRef {
        Arc::new(
            TimestampMicrosecondArray::from_iter_values(assets.values().map(|a| of(a).micros())).with_timezone("UTC"),
        )
    };
    let names = assets.iter().map(|(key, asset)| asset.asset_name.as_deref().unwrap_or(&key.asset_id));
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            keys(|key| &key.asset_id),
            Arc::new(StringViewArray::from_iter_values(names)),
            keys(|key| &key.asset_type),
            texts(|asset| asset.version.as_deref()),
            texts(|asset| asset.owner_id.as_deref()),
            texts(|asset| asset.team_id.as_deref()),
            keys(|key| key.tenant.as_str()),
            texts(|asset| asset.tags.as_deref()),
            texts(|asset| asset.metadata.as_deref()),
            times(|asset| asset.created_at),
            times(|asset| asset.updated_at),
            times(|asset| asset.last_seen),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_seen_last_in_event_time_wins_in_whatever_order_sightings_arrive() {
        let tenant = TenantId::default();
        let sighting = |version: &str, last_seen| AssetSighting {
            asset_id: "payment".into(),
            asset_type: "service",
            version: Some(version.into()),
            metadata: None,
            last_seen: UnixNanos(last_seen),
        };
        let sightings = [sighting("1.0", 10), sighting("1.1", 70), sighting("1.0", 60), sighting("1.2", 70)];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
            let mut assets = Assets::new();
            for position in order {
                sight(&mut assets, &tenant, sightings[position].clone(), UnixNanos(100));
            }
            let versions: Vec<_> = assets.values().map(|asset| asset.version.as_deref()).collect();
            assert_eq!(versions, [Some("1.2")], "{order:?}");
        }
    }
}
