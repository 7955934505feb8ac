//! Incidents as they go on: which runs of slots are the same incident, when one opens, changes and closes.

use crate::method::history::{ENDING_SLOTS, LoudRun, Sign};
use crate::method::incidents::UNTITLED;
use crate::method::slots::GridSlot;
use whence_schema::{TenantId, UnixNanos};
use whence_storage::Incident;
use xxhash_rust::xxh3::xxh3_128;

/// Incidents that are remembered in memory after they closed, so that what is seen again is known.
const MOST_CLOSED: usize = 64;

/// One incident and the slots it covers.
#[derive(Debug, Clone)]
struct Known {
    incident: Incident,
    first: GridSlot,
    /// After its last slot that stands out.
    end: GridSlot,
    /// True of one that was open when an earlier process ended, until the next slot is looked at: it may have gone on.
    end_unknown: bool,
    /// True when what it says is older than what is known.
    to_explain: bool,
    /// True when the store has it as it was before.
    to_keep: bool,
}

/// The incidents of one tenant that are open or closed lately, in the order of time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ongoing {
    known: Vec<Known>,
}

/// How many incidents have opened and closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) opened: u64,
    pub(crate) closed: u64,
}

/// What is to be explained: an incident and its time so far.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unexplained {
    pub(crate) id: u128,
    pub(crate) from: UnixNanos,
    pub(crate) to: UnixNanos,
}

/// What an incident is about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Explained {
    pub(crate) title: String,
    pub(crate) asset: Option<String>,
    pub(crate) cause_kind: Option<String>,
    pub(crate) confidence: Option<f32>,
    pub(crate) affected: Vec<String>,
    pub(crate) first_symptom: Option<whence_schema::EventId>,
    pub(crate) explanation: String,
}

impl Ongoing {
    /// From what is kept of a tenant. Those that are open, or closed after `since`, may be seen again; what they say may
    /// be older than what was known when the process ended.
    pub(crate) fn restore(kept: Vec<Incident>, since: UnixNanos) -> Self {
        let recent = |incident: &Incident| incident.closed.is_none_or(|closed| closed >= since);
        let known = kept.into_iter().filter(recent).map(|incident| {
            let first = GridSlot::at(incident.opened);
            let end = incident.closed.map_or(first.later(1), GridSlot::at);
            let end_unknown = incident.closed.is_none();
            Known { incident, first, end, end_unknown, to_explain: true, to_keep: false }
        });
        let mut ongoing = Self { known: known.collect() };
        ongoing.forget_old();
        ongoing
    }

    /// Takes in the runs up to `slot`, which was looked at at `now`; all that has happened up to `settled` is known.
    pub(crate) fn take(
        &mut self,
        tenant: &TenantId,
        (slot, settled): (GridSlot, GridSlot),
        runs: &[LoudRun],
        now: UnixNanos,
    ) -> Changed {
        let mut changed = Changed::default();
        let after = slot.later(1);
        for known in self.known.iter_mut().filter(|known| known.end_unknown && known.first <= slot) {
            let last = runs.iter().map(|run| run.slots.end).filter(|end| *end > known.first).max();
            (known.end, known.end_unknown) = (last.unwrap_or(known.end), false);
            known.update(now);
        }
        for run in runs.iter().filter(|run| run.slots.end.later(ENDING_SLOTS) > after) {
            let near = |known: &&mut Known| {
                run.slots.start < known.end.later(ENDING_SLOTS) && run.slots.end.later(ENDING_SLOTS) > known.first
            };
            match self.known.iter_mut().rev().find(near) {
                Some(known) => {
                    let goes_on = run.slots.end > known.end;
                    if !goes_on && run.deviate <= known.incident.severity {
                        continue;
                    }
                    if goes_on {
                        known.end = run.slots.end;
                        known.incident.closed = None;
                    }
                    known.incident.severity = known.incident.severity.max(run.deviate);
                    known.update(now);
                }
                None => {
                    changed.opened += 1;
                    self.known.push(Known::open(tenant, run, now));
                }
            }
        }
        changed.closed = self.close(|end| end.later(ENDING_SLOTS) <= settled.later(1), now);
        changed
    }

    /// Closes those after whose end enough time has passed in which nothing came; says how many.
    pub(crate) fn pass(&mut self, has_passed: impl Fn(UnixNanos) -> bool, now: UnixNanos) -> u64 {
        self.close(|end| has_passed(end.later(ENDING_SLOTS).start()), now)
    }

    /// Those that the store has not, or not as they are now.
    pub(crate) fn unkept(&self) -> Vec<Incident> {
        self.known.iter().filter(|known| known.to_keep).map(|known| known.incident.clone()).collect()
    }

    /// All of them are in the store now.
    pub(crate) fn kept(&mut self) {
        self.known.iter_mut().for_each(|known| known.to_keep = false);
        self.forget_old();
    }

    /// True when one goes on.
    pub(crate) fn is_open(&self) -> bool {
        self.known.iter().any(|known| known.incident.closed.is_none())
    }

    /// The next one to be explained, an open one first; without `open` one that is over.
    pub(crate) fn unexplained(&self, open: bool) -> Option<Unexplained> {
        let wanted =
            |known: &&Known| known.to_explain && !known.end_unknown && (open || known.incident.closed.is_some());
        let next = self.known.iter().filter(wanted);
        let next = next.max_by_key(|known| (known.incident.closed.is_none(), known.first))?;
        let to = next.incident.closed.unwrap_or_else(|| next.end.start());
        Some(Unexplained { id: next.incident.id, from: next.incident.opened, to })
    }

    /// Takes in what one is about. `None` when that could not be told: it is not asked again until it changes.
    pub(crate) fn explain(&mut self, asked: &Unexplained, told: Option<Explained>, now: UnixNanos) {
        let Some(known) = self.known.iter_mut().find(|known| known.incident.id == asked.id) else { return };
        known.to_explain = false;
        let Some(told) = told else { return };
        let before = known.incident.clone();
        let Explained { title, asset, cause_kind, confidence, affected, first_symptom, explanation } = told;
        let incident = &mut known.incident;
        (incident.title, incident.asset, incident.cause_kind) = (title, asset, cause_kind);
        (incident.confidence, incident.affected, incident.explanation) = (confidence, affected, explanation);
        incident.first_symptom = first_symptom;
        if *incident != before {
            incident.updated_at = now;
            known.to_keep = true;
        }
    }

    fn close(&mut self, is_over: impl Fn(GridSlot) -> bool, now: UnixNanos) -> u64 {
        let mut closed = 0;
        let is_over = |known: &&mut Known| known.incident.closed.is_none() && !known.end_unknown && is_over(known.end);
        for known in self.known.iter_mut().filter(is_over) {
            known.incident.closed = Some(known.end.start());
            known.update(now);
            closed += 1;
        }
        closed
    }

    fn forget_old(&mut self) {
        let closed = self.known.iter().filter(|known| known.incident.closed.is_some()).count();
        let mut too_many = closed.saturating_sub(MOST_CLOSED);
        self.known.retain(|known| {
            let goes = too_many > 0 && known.incident.closed.is_some();
            too_many -= usize::from(goes);
            !goes
        });
    }
}

impl Known {
    fn open(tenant: &TenantId, run: &LoudRun, now: UnixNanos) -> Self {
        let opened = run.slots.start.start();
        // Until it is explained; the cause may be elsewhere.
        let Sign { title, asset } =
            run.sign.clone().unwrap_or_else(|| Sign { title: UNTITLED.to_owned(), asset: String::new() });
        let asset = (!asset.is_empty()).then_some(asset);
        let incident = Incident {
            id: incident_id(tenant, run.slots.start),
            opened,
            closed: None,
            severity: run.deviate,
            title,
            affected: asset.clone().into_iter().collect(),
            asset,
            cause_kind: None,
            confidence: None,
            first_symptom: None,
            explanation: String::new(),
            updated_at: now,
        };
        let (first, end) = (run.slots.start, run.slots.end);
        Self { incident, first, end, end_unknown: false, to_explain: true, to_keep: true }
    }

    fn update(&mut self, now: UnixNanos) {
        self.incident.updated_at = now;
        (self.to_explain, self.to_keep) = (true, true);
    }
}

/// The same for the same tenant and time: an incident that is found again is no second one.
fn incident_id(tenant: &TenantId, opened: GridSlot) -> u128 {
    xxh3_128(&[&opened.0.to_be_bytes(), tenant.as_str().as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: UnixNanos = UnixNanos(7);

    fn run(slots: std::ops::Range<i32>, deviate: f64) -> LoudRun {
        let sign = Sign { title: "checkout in cart fails".to_owned(), asset: "cart".to_owned() };
        LoudRun { slots: GridSlot(slots.start)..GridSlot(slots.end), deviate, sign: Some(sign) }
    }

    /// What has changed, and what is to be kept of it.
    fn take(ongoing: &mut Ongoing, slot: i32, runs: &[LoudRun]) -> (Changed, Vec<Incident>) {
        let changed = ongoing.take(&TenantId::default(), (GridSlot(slot), GridSlot(slot)), runs, NOW);
        let unkept = ongoing.unkept();
        ongoing.kept();
        (changed, unkept)
    }

    /// When the incidents began and ended, in slots.
    fn slots(incidents: &[Incident]) -> Vec<(i32, Option<i32>)> {
        let slot = |time| GridSlot::at(time).0;
        incidents.iter().map(|incident| (slot(incident.opened), incident.closed.map(slot))).collect()
    }

    const OPENED: Changed = Changed { opened: 1, closed: 0 };
    const CLOSED: Changed = Changed { opened: 0, closed: 1 };
    const NOTHING: Changed = Changed { opened: 0, closed: 0 };

    #[test]
    fn an_incident_opens_grows_and_closes_after_three_quiet_slots() {
        let mut ongoing = Ongoing::default();
        let (changed, first) = take(&mut ongoing, 100, &[run(20..30, 9.0), run(100..101, 5.0)]);
        assert_eq!((slots(&first), changed), (vec![(100, None)], OPENED), "what is long over is not new");
        assert_eq!((first[0].title.as_str(), first[0].asset.as_deref()), ("checkout in cart fails", Some("cart")));
        assert_eq!((first[0].affected.as_slice(), first[0].cause_kind.as_deref()), (&["cart".to_owned()][..], None));
        let (changed, second) = take(&mut ongoing, 101, &[run(99..102, 8.0)]);
        assert_eq!((slots(&second), changed), (vec![(100, None)], NOTHING));
        assert_eq!((second[0].id, second[0].severity), (first[0].id, 8.0));
        assert_eq!(take(&mut ongoing, 103, &[run(99..102, 7.0)]), (NOTHING, vec![]));
        let (changed, last) = take(&mut ongoing, 104, &[run(99..102, 7.0)]);
        assert_eq!((slots(&last), changed), (vec![(100, Some(102))], CLOSED));
        assert!(!ongoing.is_open());
        let (changed, other) = take(&mut ongoing, 105, &[run(99..102, 7.0), run(105..106, 6.0)]);
        assert_eq!((slots(&other), changed), (vec![(105, None)], OPENED));
        assert_ne!(other[0].id, first[0].id);
    }

    #[test]
    fn what_lasts_longer_than_a_run_is_one_incident_and_what_closed_too_early_is_open_again() {
        let mut ongoing = Ongoing::default();
        take(&mut ongoing, 100, &[run(100..101, 5.0)]);
        let (changed, later) = take(&mut ongoing, 121, &[run(100..120, 9.0), run(120..122, 6.0)]);
        assert_eq!((slots(&later), changed), (vec![(100, None)], NOTHING));
        assert_eq!(ongoing.pass(|_| true, NOW), 1);
        assert_eq!(slots(&ongoing.unkept()), [(100, Some(122))]);
        let (changed, again) = take(&mut ongoing, 123, &[run(120..124, 6.0)]);
        assert_eq!((slots(&again), changed), (vec![(100, None)], NOTHING));
    }

    #[test]
    fn after_a_restart_the_same_runs_are_the_same_incidents_and_open_ones_go_on() {
        let mut ongoing = Ongoing::default();
        take(&mut ongoing, 50, &[run(50..51, 9.0)]);
        let (_, mut kept) = take(&mut ongoing, 54, &[run(50..51, 9.0)]);
        kept.extend(take(&mut ongoing, 60, &[run(60..61, 6.0)]).1);
        assert_eq!(slots(&kept), [(50, Some(51)), (60, None)]);
        let mut again = Ongoing::restore(kept.clone(), UnixNanos(0));
        for slot in 50..60 {
            assert_eq!(take(&mut again, slot, &[run(50..51, 9.0)]), (NOTHING, vec![]), "{slot}");
        }
        assert!(again.unexplained(true).is_some_and(|asked| asked.id == kept[0].id), "the other may have gone on");
        let (changed, on) = take(&mut again, 66, &[run(50..51, 9.0), run(60..65, 6.0)]);
        assert_eq!((slots(&on), changed, on[0].id), (vec![(60, None)], NOTHING, kept[1].id));
        assert_eq!(again.pass(|time| time <= GridSlot(68).start(), NOW), 1);
        assert_eq!(slots(&again.unkept()), [(60, Some(65))]);
        assert_eq!(Ongoing::restore(kept, GridSlot(52).start()).known.len(), 1, "what closed long ago is forgotten");
    }

    #[test]
    fn what_was_explained_is_asked_again_only_when_it_has_changed() {
        let mut ongoing = Ongoing::default();
        take(&mut ongoing, 100, &[run(100..101, 5.0)]);
        assert_eq!(ongoing.unexplained(false), None);
        let asked = ongoing.unexplained(true).unwrap();
        assert_eq!((asked.from, asked.to), (GridSlot(100).start(), GridSlot(101).start()));
        let told = Explained {
            title: "calls of cart fail".to_owned(),
            asset: Some("cart".to_owned()),
            cause_kind: Some("errors".to_owned()),
            confidence: Some(0.5),
            affected: vec!["cart".to_owned()],
            first_symptom: None,
            explanation: "because".to_owned(),
        };
        ongoing.explain(&asked, Some(told.clone()), NOW);
        let kept = ongoing.unkept();
        assert_eq!((kept[0].asset.as_deref(), kept[0].severity), (Some("cart"), 5.0));
        assert_eq!(ongoing.unexplained(true), None);
        take(&mut ongoing, 101, &[run(100..102, 5.0)]);
        assert_eq!(ongoing.unexplained(true).map(|asked| asked.to), Some(GridSlot(102).start()));
        ongoing.explain(&asked, Some(told), NOW);
        assert_eq!(ongoing.unkept(), [], "nothing new");
        take(&mut ongoing, 104, &[]);
        assert_eq!(ongoing.unexplained(false).map(|asked| asked.to), Some(GridSlot(102).start()), "the last word");
    }
}
