//! `changes(from, to)`: what was deployed, turned over, set or scaled, by time. What counts as a change is listed in
//! `observe/changes.rs`.

use super::{Columns, batch, id_field, text_field, time_field, window};
use crate::error::CorrelatorError;
use crate::method::observations::{ChangeKind, ChangeSeen};
use crate::observe::{Observed, with_observed};
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use std::sync::{Arc, LazyLock};
use whence_schema::{TenantId, UnixNanos};
use whence_storage::Snapshot;

/// Columns of [`changes`].
pub fn changes_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            time_field("timestamp"),
            text_field("asset_id", false),
            text_field("change_kind", false),
            text_field("what", false),
            id_field("event_id", false),
        ]))
    });
    SCHEMA.clone()
}

/// Changes from `from` until before `to`, by time. A version, model or flag value that is new is told by the hour
/// before, which is read as well. Blocks on file reads.
///
/// # Errors
///
/// When the store cannot be read, or the two times are no window.
pub fn changes(
    snapshot: &Snapshot,
    tenant: &TenantId,
    from: UnixNanos,
    to: UnixNanos,
) -> Result<RecordBatch, CorrelatorError> {
    let of_window = |observed: &Observed| {
        let seen = &observed.observations;
        let inside = seen.changes.iter().filter(|change| change.time >= from && change.time < to);
        let named = inside.map(|change| (seen.assets.get(change.asset as usize).cloned(), change.clone()));
        named.collect::<Vec<(Option<String>, ChangeSeen)>>()
    };
    let rows = with_observed(snapshot, tenant, window(from, to)?, of_window)?;
    let out = Columns(&rows);
    let columns = vec![
        out.times(|(_, change)| change.time),
        out.texts(|(asset, _)| asset.as_deref()),
        out.texts(|(_, change)| Some(name(change.kind))),
        out.texts(|(_, change)| Some(&change.what)),
        out.ids(|(_, change)| Some(change.id)),
    ];
    batch("changes", changes_schema(), columns)
}

/// The name of a kind in SQL.
fn name(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Deployment => "deployment",
        ChangeKind::FeatureFlag => "feature_flag",
        ChangeKind::Configuration => "configuration",
        ChangeKind::Scaling => "scaling",
        ChangeKind::Other => "other",
    }
}
