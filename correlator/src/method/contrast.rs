//! What a change changed: what of the changed asset is different after it, if that is not the doing of others.
//!
//! Where the new version serves beside the old one, the two are compared with each other (`versions.rs`), and that decides:
//! what both do alike is not the change's doing, however bad it is, and a difference is, however small it is beside what
//! others do. All else is compared with the time before.
//!
//! The contrast of after and before decides, not that the change was recent: of two changes at the time of one fault, the
//! one whose asset only suffers, or does as ever, changed nothing.

use super::blame::{Charge, Proof};
use super::causes::{CHANGE_REACH, RARE, begin};
use super::explanation::kind;
use super::findings::Finding;
use super::links::{CHANGED, End, Link};
use super::observations::{ChangeSeen, SpanSeen};
use super::slots::SLOT_NANOS;
use super::study::{Shown, Study};
use super::versions::{Difference, SideBySide, side_by_side};
use whence_schema::{Relation, UnixNanos};

/// Deviate from which a difference is no chance: in quiet hours the largest one of all is below 4.
pub(super) const LEAST_DEVIATE: f64 = 4.5;
/// Evidence below this is none, as among the suspects of an incident.
const LEAST_EVIDENCE: f64 = 2.0;
/// Share of the heaviest charge against anybody at that time that the charge against the changed asset must have: with
/// less, somebody else is likelier.
const LEAST_SHARE: f64 = 0.5;
/// Events that one change is linked with at most: each shows another difference.
const MOST_EFFECTS: usize = 3;
/// Changes that are looked at, at most: the latest ones.
const MOST_CHANGES: usize = 200;

/// The links of changes with the first events that show what they changed, of those changes that can have had an effect
/// between two instants.
pub(super) fn changed(study: &Study<'_>, from: UnixNanos, to: UnixNanos) -> Vec<Link> {
    let from = UnixNanos(from.0.saturating_sub(CHANGE_REACH));
    let inside = |change: &&ChangeSeen| change.time >= from && change.time < to;
    let mut changes: Vec<&ChangeSeen> = study.observations.changes.iter().filter(inside).collect();
    changes.sort_unstable_by_key(|change| (change.time, change.id));
    let first = changes.len().saturating_sub(MOST_CHANGES);
    let slot = |change: &&ChangeSeen| study.slots.at(change.time);
    let mut links = Vec::new();
    for at_once in changes[first..].chunk_by(|a, b| slot(a) == slot(b)) {
        let Some(slot) = slot(&at_once[0]) else { continue };
        let reach = (CHANGE_REACH / SLOT_NANOS) as u32;
        let shown = study.shown(&(slot..study.slots.end.min(slot + reach)));
        for change in at_once {
            links.extend(effects(study, &shown, change));
        }
    }
    links
}

/// The effects of one change, the strongest evidence first: differences between versions, then those from before.
fn effects(study: &Study<'_>, shown: &Shown, change: &ChangeSeen) -> Vec<Link> {
    let beside = side_by_side(study, change);
    let worse = beside.iter().flat_map(|beside| &beside.worse);
    let mut links: Vec<Link> = worse.map(|difference| of_versions(study, change, difference)).collect();
    let said = |link: &Link| beside.as_ref().is_some_and(|beside| is_said(study, beside, link));
    links.extend(since(study, shown, change).into_iter().filter(|link| !said(link)));
    links.truncate(MOST_EFFECTS);
    links
}

/// Whether versions side by side say all that there is to say of a difference from before: that it is between them, or
/// that it is none.
fn is_said(study: &Study<'_>, beside: &SideBySide, link: &Link) -> bool {
    let is_same = beside.same.iter().any(|kind| kind.name() == link.kinds.1);
    let at_that_time = study.slots.at(link.effect.time).is_some_and(|slot| beside.slots.contains(&slot));
    beside.worse.iter().any(|worse| worse.kind.name() == link.kinds.1) || is_same && at_that_time
}

fn of_versions(study: &Study<'_>, change: &ChangeSeen, difference: &Difference) -> Link {
    let span = &study.traces.spans[difference.first as usize];
    let (hits, of) = (f64::from(difference.hits), f64::from(difference.of));
    Link {
        relation: Relation::Change,
        correlation_type: CHANGED,
        cause: End { asset: change.asset, event: change.id, time: change.time },
        effect: End { asset: span.asset, event: span.id(), time: span.start },
        kinds: ("change", difference.kind.name()),
        lag_nanos: span.start.0 - change.time.0,
        strength: difference.new - difference.old,
        score: (1.0 - difference.old / ((hits + 1.0) / (of + 2.0))).clamp(0.0, 1.0),
        support: difference.hits,
        of: difference.of,
        contrast: Some("versions"),
        test: None,
        tie: None,
    }
}

/// What is different from before, the strongest evidence first.
fn since(study: &Study<'_>, shown: &Shown, change: &ChangeSeen) -> Vec<Link> {
    let accused = shown.by_asset();
    let heaviest = accused.first().map_or(0.0, |charges| charges[0].weight);
    let Some(charges) = accused.iter().find(|charges| charges[0].asset == change.asset) else { return Vec::new() };
    let counts = |charge: &&Charge| charge.weight.sqrt() >= LEAST_EVIDENCE && charge.weight >= LEAST_SHARE * heaviest;
    let shows = charges.iter().filter(counts).filter_map(|charge| match charge.proof {
        Proof::Finding(finding) => Some(&shown.findings[finding as usize]),
        Proof::Shift(_) => None,
    });
    let sure = shows.filter(|finding| finding.rise.deviate >= LEAST_DEVIATE);
    let mut links: Vec<Link> = sure.take(MOST_EFFECTS).filter_map(|finding| effect(study, change, finding)).collect();
    links.dedup_by_key(|link| link.effect.event);
    links
}

fn effect(study: &Study<'_>, change: &ChangeSeen, finding: &Finding) -> Option<Link> {
    let seen = |span: &u32| &study.traces.spans[*span as usize];
    // A value that shows by itself is a change whose event may be a span.
    let after = |span: &&SpanSeen| span.start >= change.time && span.id() != change.id;
    let starts: Vec<UnixNanos> = finding.spans.iter().map(seen).filter(after).map(|span| span.start).collect();
    let first = if finding.rise.before < RARE { starts.first().copied() } else { begin(&starts) }?;
    let span = finding.spans.iter().map(seen).filter(after).find(|span| span.start == first)?;
    let rise = finding.rise;
    // With half an occurrence in each, a single one is no proof.
    let (hits, of) = (rise.now * f64::from(rise.of), f64::from(rise.of));
    let now = (hits + 1.0) / (of + 2.0);
    Some(Link {
        relation: Relation::Change,
        correlation_type: CHANGED,
        cause: End { asset: change.asset, event: change.id, time: change.time },
        effect: End { asset: span.asset, event: span.id(), time: span.start },
        kinds: ("change", kind(&study.traces, finding).name()),
        lag_nanos: span.start.0 - change.time.0,
        strength: rise.now - rise.before,
        score: (1.0 - rise.before / now).clamp(0.0, 1.0),
        support: hits.round() as u32,
        of: rise.of,
        contrast: Some("before"),
        test: None,
        tie: None,
    })
}
