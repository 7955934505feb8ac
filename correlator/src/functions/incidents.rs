//! `incidents(from, to)`: when something was wrong, found without being told.

use super::{Columns, batch, id_field, text_field, text_list_field, time_field, window};
use crate::error::CorrelatorError;
use crate::method::incidents::{self, Incident};
use crate::method::observations::Observations;
use crate::observe::{Observed, with_observed};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::{Arc, LazyLock};
use whence_schema::{EventId, TenantId, UnixNanos};
use whence_storage::Snapshot;

/// Columns of [`incidents`]. `severity` is how far the worst of it is from what is usual, in standard deviations;
/// `asset_id` is the asset with the strongest evidence against it, as far as the incident alone shows it, and
/// `affected_assets` are all in which something was different.
pub fn incidents_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            time_field("opened"),
            time_field("closed"),
            Field::new("severity", DataType::Float64, false),
            text_field("title", false),
            text_field("asset_id", true),
            text_list_field("affected_assets"),
            id_field("first_symptom", true),
        ]))
    });
    SCHEMA.clone()
}

/// A stretch of time in which something was wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundIncident {
    /// When it began.
    pub opened: UnixNanos,
    /// When it ended, or the end of what was asked about.
    pub closed: UnixNanos,
    /// How far the worst of it is from what is usual, in standard deviations.
    pub severity: f64,
    /// What is wrong, in a few words.
    pub title: String,
    /// The asset with the strongest evidence against it.
    pub asset: Option<String>,
    /// The assets in which something was different, by name.
    pub affected: Vec<String>,
    /// The first event that shows that evidence.
    pub first_symptom: Option<EventId>,
}

/// The incidents from `from` until before `to`, by time. Blocks on file reads.
///
/// # Errors
///
/// When the store cannot be read, or the two times are no window.
pub fn incidents(
    snapshot: &Snapshot,
    tenant: &TenantId,
    from: UnixNanos,
    to: UnixNanos,
) -> Result<RecordBatch, CorrelatorError> {
    let incidents = find_incidents(snapshot, tenant, from, to)?;
    let out = Columns(&incidents);
    let columns = vec![
        out.times(|incident| incident.opened),
        out.times(|incident| incident.closed),
        out.float64s(|incident| incident.severity),
        out.texts(|incident| Some(&incident.title)),
        out.texts(|incident| incident.asset.as_deref()),
        out.text_lists(|incident| &incident.affected),
        out.ids(|incident| incident.first_symptom),
    ];
    batch("incidents", incidents_schema(), columns)
}

/// The names of assets, in alphabetical order.
pub(crate) fn names(seen: &Observations, assets: &[u32]) -> Vec<String> {
    let mut names: Vec<String> = assets.iter().filter_map(|asset| seen.assets.get(*asset as usize)).cloned().collect();
    names.sort_unstable();
    names
}

/// The rows of [`incidents`]. The hour before `from` is what the first of them are compared with.
///
/// # Errors
///
/// As [`incidents`].
pub fn find_incidents(
    snapshot: &Snapshot,
    tenant: &TenantId,
    from: UnixNanos,
    to: UnixNanos,
) -> Result<Vec<FoundIncident>, CorrelatorError> {
    let found = |observed: &Observed| {
        let seen = &observed.observations;
        let all = incidents::incidents(seen, observed.baseline_from, to).into_iter();
        let inside = all.filter(|incident| incident.closed > from);
        let named = inside.map(|Incident { opened, closed, severity, symptoms }| FoundIncident {
            opened,
            closed,
            severity,
            title: symptoms.title,
            affected: names(seen, &symptoms.affected),
            asset: symptoms.asset.and_then(|asset| seen.assets.get(asset as usize).cloned()),
            first_symptom: symptoms.first_symptom,
        });
        named.collect()
    };
    with_observed(snapshot, tenant, window(from, to)?, found)
}
