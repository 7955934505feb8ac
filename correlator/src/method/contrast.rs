//! What a change changed: what of the changed asset is different after it, if that is not the doing of others.
//!
//! The contrast of after and before decides, not that the change was recent: of two changes at the time of one fault, the
//! one whose asset only suffers, or does as ever, changed nothing.

use super::blame::{Charge, Proof};
use super::causes::{CHANGE_REACH, RARE, begin};
use super::explanation::kind;
use super::findings::Finding;
use super::links::{CHANGED, End, Link};
use super::observations::ChangeSeen;
use super::slots::SLOT_NANOS;
use super::study::{Shown, Study};
use whence_schema::{Relation, UnixNanos};

/// Deviate from which a difference is no chance: in quiet hours the largest one of all is below 4.
const LEAST_DEVIATE: f64 = 4.5;
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

/// The effects of one change, the strongest evidence first.
fn effects(study: &Study<'_>, shown: &Shown, change: &ChangeSeen) -> Vec<Link> {
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
    let starts: Vec<UnixNanos> =
        finding.spans.iter().map(|span| seen(span).start).filter(|start| *start >= change.time).collect();
    let first = if finding.rise.before < RARE { starts.first().copied() } else { begin(&starts) }?;
    let span = finding.spans.iter().map(seen).find(|span| span.start == first)?;
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
        confidence: (1.0 - rise.before / now).clamp(0.0, 1.0),
        support: hits.round() as u32,
        of: rise.of,
        test: None,
    })
}
