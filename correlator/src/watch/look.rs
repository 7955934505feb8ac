//! What an incident is about: asked of the stored events with the same methods as `root_causes`, so that
//! what is kept and what is asked later agree.

use super::ongoing::{Explained, Unexplained};
use crate::error::CorrelatorError;
use crate::functions::scan::Range;
use crate::functions::{names, ranked};
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
    let (causes, symptoms) = ranked(observed, window);
    let cause = causes.into_iter().next();
    let found = cause.as_ref().filter(|cause| cause.asset.is_some());
    Explained {
        title: symptoms.title,
        asset: found.and_then(|cause| cause.asset.clone()),
        cause_kind: found.map(|cause| cause.kind.to_owned()),
        confidence: found.and_then(|cause| cause.confidence),
        affected: names(&observed.observations, &symptoms.affected),
        first_symptom: symptoms.first_symptom,
        explanation: cause.map(|cause| cause.explanation).unwrap_or_default(),
    }
}
