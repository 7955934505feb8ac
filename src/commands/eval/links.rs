//! Links of onsets and of changes: how often there are any where there can be none, whether changes that caused something are
//! told from those that did not, and which links are right.
//!
//! A link is right when it lies on the true path of a simulated fault:
//!
//! * `lag`: both its ends are in assets that the fault is at or reaches, both happened while it lasted (or up to
//!   [`DRAINS`] later, as queues drain), and the effect's asset is the cause's or waits for it, directly or through others.
//! * `change`: its cause is the change that caused the fault, and its effect happened in such an asset at such a time.
//!
//! All others are wrong: at quiet times, against the direction, of harmless changes.

use serde::Serialize;
use std::collections::HashSet;
use whence_correlator::{CorrelatorError, FoundLink, find_false_discoveries, find_links};
use whence_schema::tables::correlations::CorrelationRow;
use whence_schema::{Relation, TenantId, UnixNanos};
use whence_simulator::{Change, Decoy, InjectedFault, Labels};
use whence_storage::Snapshot;

/// How often the streams of onsets of one system are turned against each other.
const TURNS: u32 = 20;
/// A change that shows by a new value is found this long after it was made, in nanoseconds: when the value is first seen.
const SHOWS_WITHIN: i64 = 60_000_000_000;
/// What a fault did may show this long after its end, in nanoseconds.
const DRAINS: i64 = 60_000_000_000;
/// A span begins so long before what it waits for goes wrong, at most, in nanoseconds.
const BEGAN_BEFORE: i64 = 30_000_000_000;

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
    ) -> Result<(Self, Vec<FoundLink>), CorrelatorError> {
        let turns = find_false_discoveries(snapshot, tenant, (from, to), TURNS)?;
        let links = find_links(snapshot, tenant, from, to)?;
        let rows: Vec<CorrelationRow> = links.iter().map(|link| link.row.clone()).collect();
        let tested = || turns.iter().filter(|(tests, _)| *tests > 0);
        let injected = labels.faults.iter().filter_map(|fault| fault.injected.as_ref()?.change.as_ref());
        let (guilty, guilty_with_links) = with_links(&rows, injected);
        let harmless = labels.decoys.iter().filter_map(|decoy| match decoy {
            Decoy::Change(change) => Some(change),
            _ => None,
        });
        let (harmless, harmless_with_links) = with_links(&rows, harmless);
        let counts = Self {
            turns: tested().count(),
            turns_with_links: tested().filter(|(_, found)| *found > 0).count(),
            // Turning streams changes which onsets of two streams are known at once, but hardly their number.
            tests: turns.iter().map(|(tests, _)| *tests).max().unwrap_or(0),
            of_onsets: rows.iter().filter(|row| row.relation == Relation::Lag).count(),
            guilty,
            guilty_with_links,
            harmless,
            harmless_with_links,
        };
        Ok((counts, links))
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

/// A link of a simulated system, and whether it is right.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct JudgedLink {
    pub(super) source: String,
    pub(super) relation: Relation,
    pub(super) score: f64,
    pub(super) right: bool,
}

impl JudgedLink {
    /// Of a system with these pairs of caller and callee.
    pub(super) fn new(source: &str, link: &FoundLink, labels: &Labels, calls: &[(String, String)]) -> Self {
        let faults = labels.faults.iter().filter_map(|fault| fault.injected.as_ref());
        let right = faults.into_iter().any(|fault| is_right(link, fault, calls));
        Self { source: source.to_owned(), relation: link.row.relation, score: link.score, right }
    }
}

fn is_right(link: &FoundLink, fault: &InjectedFault, calls: &[(String, String)]) -> bool {
    let (from, to) = (fault.onset_unix_nanos as i64, fault.end_unix_nanos as i64);
    let during = |time: UnixNanos| time.0 >= from - BEGAN_BEFORE && time.0 < to + DRAINS;
    let reached = |asset: &String| {
        *asset == fault.root.asset || fault.root.clients.contains(asset) || fault.affected.contains(asset)
    };
    let burns_node = |asset: &String| fault.root.node.is_some() && *asset == fault.root.asset;
    if !during(link.row.related_timestamp) || !reached(&link.effect_asset) {
        return false;
    }
    if link.row.relation == Relation::Change {
        let is_cause = |change: &Change| {
            let at = change.at_unix_nanos as i64;
            change.asset == link.cause_asset && (at..at + SHOWS_WITHIN).contains(&link.row.primary_timestamp.0)
        };
        return fault.change.as_ref().is_some_and(is_cause);
    }
    during(link.row.primary_timestamp)
        && reached(&link.cause_asset)
        && (waits_for(&link.effect_asset, &link.cause_asset, calls) || burns_node(&link.cause_asset))
}

/// Whether one asset is another one, or calls it, directly or through others.
fn waits_for(one: &str, other: &str, calls: &[(String, String)]) -> bool {
    let (mut known, mut next) = (HashSet::from([one]), vec![one]);
    while let Some(caller) = next.pop() {
        if caller == other {
            return true;
        }
        let callees = calls.iter().filter(|(from, _)| from == caller).map(|(_, callee)| callee.as_str());
        next.extend(callees.filter(|callee| known.insert(callee)));
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use whence_schema::EventId;
    use whence_simulator::{FaultChoice, FaultKind, Purpose, Scenario, ScenarioOptions};

    /// From `cause` to `effect`, which both happened then.
    fn link(relation: Relation, cause: &str, effect: &str, at: u64) -> FoundLink {
        let time = UnixNanos(at as i64);
        let row = CorrelationRow {
            tenant: TenantId::default(),
            correlation_type: "temporal",
            relation,
            primary: EventId(1),
            related: EventId(2),
            primary_timestamp: time,
            related_timestamp: time,
            strength: 1.0,
            confidence: 1.0,
            created_at: time,
            metadata: None,
        };
        FoundLink { cause_asset: cause.to_owned(), effect_asset: effect.to_owned(), score: 1.0, row }
    }

    #[test]
    fn a_link_is_right_on_the_way_of_a_fault_while_it_lasts_and_only_its_own_change_is_its_cause() {
        let truth = |kind| {
            let options = ScenarioOptions { faults: FaultChoice::Kinds(vec![kind]), ..ScenarioOptions::default() };
            let seeds =
                (1..).map(|seed| Scenario::new(Purpose::Calibration, seed, 1_790_000_000_000_000_000, options.clone()));
            let found = seeds.map(|scenario| scenario.ground_truth().clone());
            found.into_iter().find(|truth| truth.faults.iter().any(|fault| !fault.affected.is_empty())).unwrap()
        };
        let of_errors = truth(FaultKind::Errors);
        let fault = &of_errors.faults[0];
        let (root, caller) = (fault.root.asset.as_str(), fault.affected[0].as_str());
        let judge = |link: &FoundLink| is_right(link, fault, &of_errors.calls);
        let during = fault.onset_unix_nanos + 5_000_000_000;
        assert!(judge(&link(Relation::Lag, root, caller, during)) && judge(&link(Relation::Lag, root, root, during)));
        assert!(!judge(&link(Relation::Lag, caller, root, during)), "against the direction");
        assert!(!judge(&link(Relation::Lag, root, caller, fault.onset_unix_nanos - 60_000_000_000)), "before");
        assert!(
            !judge(&link(Relation::Lag, root, "somebody", during))
                && !judge(&link(Relation::Change, root, root, during))
        );
        let deployed = truth(FaultKind::BadDeployment);
        let fault = &deployed.faults[0];
        let change = fault.change.as_ref().unwrap();
        let mut guilty = link(Relation::Change, &change.asset, &change.asset, fault.onset_unix_nanos + 1_000_000_000);
        guilty.row.primary_timestamp = UnixNanos(change.at_unix_nanos as i64);
        assert!(is_right(&guilty, fault, &deployed.calls));
        guilty.row.primary_timestamp = UnixNanos(change.at_unix_nanos as i64 - 1);
        assert!(!is_right(&guilty, fault, &deployed.calls), "another change");
    }

    #[test]
    fn a_caller_waits_for_what_its_callees_wait_for_and_not_the_other_way() {
        let calls = [("web", "cart"), ("cart", "db"), ("db", "cart"), ("web", "mail")];
        let calls = calls.map(|(from, to)| (from.to_owned(), to.to_owned()));
        assert!(waits_for("web", "db", &calls) && waits_for("mail", "mail", &calls));
        assert!(!waits_for("db", "web", &calls) && !waits_for("mail", "db", &calls));
    }
}
