//! What an incident is about: asked of the stored events with the same methods as `root_causes` and `incidents`, so that
//! what is kept and what is asked later agree.

use super::ongoing::{Explained, Unexplained};
use crate::error::CorrelatorError;
use crate::functions::ranked;
use crate::functions::scan::Range;
use crate::method::incidents::{self, UNTITLED};
use crate::observe::{Observed, with_observed};
use whence_schema::{TenantId, UnixNanos};
use whence_storage::Snapshot;

/// Longest time of an incident that is looked at, its end: a day, as with any window that is asked about.
const LONGEST: i64 = 24 * 3_600 * 1_000_000_000;

/// Explains an incident. Blocks on file reads, and on others who ask about a window.
///
/// # Errors
///
/// When the store cannot be read.
pub(crate) fn explain(
    snapshot: &Snapshot,
    tenant: &TenantId,
    asked: &Unexplained,
) -> Result<Explained, CorrelatorError> {
    let from = UnixNanos(asked.from.0.max(asked.to.0.saturating_sub(LONGEST)));
    let window = Range { from, to: asked.to };
    with_observed(snapshot, tenant, window, |observed| explained(observed, window))
}

fn explained(observed: &Observed, window: Range) -> Explained {
    let seen = &observed.observations;
    let name = |asset: u32| seen.assets.get(asset as usize).cloned();
    let mut causes = ranked(observed, window).into_iter();
    let cause = causes.next();
    let inside = incidents::incidents(seen, observed.baseline_from, window.to).into_iter();
    let worst = inside
        .filter(|incident| incident.closed > window.from)
        .max_by(|a, b| a.severity.total_cmp(&b.severity).then(b.opened.cmp(&a.opened)));
    let found = cause.as_ref().filter(|cause| cause.asset.is_some());
    let mut affected: Vec<String> =
        worst.iter().flat_map(|incident| &incident.affected).filter_map(|asset| name(*asset)).collect();
    affected.extend(found.and_then(|cause| cause.asset.clone()));
    affected.sort_unstable();
    affected.dedup();
    Explained {
        title: worst.as_ref().map_or_else(|| UNTITLED.to_owned(), |incident| incident.title.clone()),
        asset: found.and_then(|cause| cause.asset.clone()),
        cause_kind: found.map(|cause| cause.kind.to_owned()),
        confidence: found.and_then(|cause| cause.confidence),
        affected,
        first_symptom: worst.and_then(|incident| incident.first_symptom),
        explanation: cause.map(|cause| cause.explanation).unwrap_or_default(),
    }
}
