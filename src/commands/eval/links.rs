//! Links of onsets and of changes: how often there are any where there can be none, and whether changes that caused
//! something are told from those that did not.

use serde::Serialize;
use whence_correlator::{CorrelatorError, find_false_discoveries, links_of_window};
use whence_schema::tables::correlations::CorrelationRow;
use whence_schema::{Relation, TenantId, UnixNanos};
use whence_simulator::{Change, Decoy, Labels};
use whence_storage::Snapshot;

/// How often the streams of onsets of one system are turned against each other.
const TURNS: u32 = 20;
/// A change that shows by a new value is found this long after it was made, in nanoseconds: when the value is first seen.
const SHOWS_WITHIN: i64 = 60_000_000_000;

/// What was found in all of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Links {
    /// Times that streams of onsets were turned against each other, with at least one test.
    pub(super) turns: usize,
    /// Those of them in which a link was found, which is a false discovery.
    pub(super) turns_with_links: usize,
    /// Tests of onsets as they are.
    pub(super) tests: usize,
    /// Links of onsets as they are.
    pub(super) of_onsets: usize,
    /// Changes that caused a fault, and those of them that have a link.
    pub(super) guilty: usize,
    pub(super) guilty_with_links: usize,
    /// Changes that caused nothing, and those of them that have a link.
    pub(super) harmless: usize,
    pub(super) harmless_with_links: usize,
}

impl Links {
    /// Asks about all of a recording. Blocks on file reads.
    pub(super) fn judge(
        snapshot: &Snapshot,
        tenant: &TenantId,
        labels: &Labels,
        (from, to): (UnixNanos, UnixNanos),
    ) -> Result<Self, CorrelatorError> {
        let turns = find_false_discoveries(snapshot, tenant, (from, to), TURNS)?;
        let rows = links_of_window(snapshot, tenant, from, to)?;
        let tested = || turns.iter().filter(|(tests, _)| *tests > 0);
        let injected = labels.faults.iter().filter_map(|fault| fault.injected.as_ref()?.change.as_ref());
        let (guilty, guilty_with_links) = with_links(&rows, injected);
        let harmless = labels.decoys.iter().filter_map(|decoy| match decoy {
            Decoy::Change(change) => Some(change),
            _ => None,
        });
        let (harmless, harmless_with_links) = with_links(&rows, harmless);
        Ok(Self {
            turns: tested().count(),
            turns_with_links: tested().filter(|(_, found)| *found > 0).count(),
            // Turning streams changes which onsets of two streams are known at once, but hardly their number.
            tests: turns.iter().map(|(tests, _)| *tests).max().unwrap_or(0),
            of_onsets: rows.iter().filter(|row| row.relation == Relation::Lag).count(),
            guilty,
            guilty_with_links,
            harmless,
            harmless_with_links,
        })
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            turns: self.turns + other.turns,
            turns_with_links: self.turns_with_links + other.turns_with_links,
            tests: self.tests + other.tests,
            of_onsets: self.of_onsets + other.of_onsets,
            guilty: self.guilty + other.guilty,
            guilty_with_links: self.guilty_with_links + other.guilty_with_links,
            harmless: self.harmless + other.harmless,
            harmless_with_links: self.harmless_with_links + other.harmless_with_links,
        }
    }
}

/// How many changes there are, and how many of them have links.
fn with_links<'a>(rows: &[CorrelationRow], changes: impl Iterator<Item = &'a Change>) -> (usize, usize) {
    let (mut all, mut linked) = (0, 0);
    for change in changes {
        let at = change.at_unix_nanos as i64;
        let of_change = |row: &&CorrelationRow| {
            row.relation == Relation::Change && (at..at + SHOWS_WITHIN).contains(&row.primary_timestamp.0)
        };
        all += 1;
        linked += usize::from(rows.iter().any(|row| of_change(&row)));
    }
    (all, linked)
}
