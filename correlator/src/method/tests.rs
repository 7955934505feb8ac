//! Small systems whose cause is known by hand: `web` calls `orders`, `orders` calls `stock`, and `stock` asks a
//! database that sends no spans.
#![allow(clippy::unwrap_used)]

mod links;

use super::causes::{CauseKind, Question, RootCause, root_causes};
use super::digest::Digest;
use super::history::History;
use super::incidents::incidents;
use super::levels::Levels;
use super::names::AllNames;
use super::observations::{
    ChangeKind, ChangeSeen, LogSeen, Observations, Place, PlaceKind, PointSeen, SpanKind, SpanSeen,
};
use super::slots::GridSlot;
use super::templates::Templates;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use whence_schema::{EventId, UnixNanos};

const SECOND: i64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;
const ASSETS: [&str; 4] = ["web", "orders", "stock", "stock-db"];
const WEB: u32 = 0;
const ORDERS: u32 = 1;
const STOCK: u32 = 2;
const DATABASE: u32 = 3;
/// The window of all questions, in seconds since the first request.
const WINDOW: (i64, i64) = (1_800, 1_980);

/// What is wrong with a request.
#[derive(Clone, Copy, PartialEq)]
enum Wrong {
    Nothing,
    /// `orders` computes longer.
    SlowOrders,
    /// The database answers late.
    SlowDatabase,
    /// `stock` throws, `orders` and `web` fail by that.
    FailedStock,
    /// `stock` does not answer: `orders` gives up, says so, and fails, and `web` by that.
    SilentStock,
    /// `stock` says something new, and nothing fails.
    OtherMessage,
    /// The same, and `orders` computes longer.
    SlowOrdersAndOtherMessage,
    /// `web` and `orders` compute longer.
    SlowWebAndOrders,
}

struct System {
    seen: Observations,
    random: StdRng,
    next: u64,
}

impl System {
    /// Two requests a second, each with what is wrong at its second.
    fn new(wrong: impl Fn(i64) -> Wrong) -> Self {
        Self::lasting(WINDOW.1, wrong)
    }

    /// For so many seconds.
    fn lasting(seconds: i64, wrong: impl Fn(i64) -> Wrong) -> Self {
        let mut system = Self { seen: Observations::default(), random: StdRng::seed_from_u64(7), next: 1 };
        system.seen.assets = ASSETS.map(String::from).to_vec();
        system.seen.operations = ["GET /", "POST /orders", "POST /stock", "SELECT stock"].map(String::from).to_vec();
        system.seen.metrics = vec!["process.cpu.utilization".into(), "http.server.request.duration".into()];
        for half in 0..seconds * 2 {
            system.request(half * SECOND / 2, wrong(half / 2));
        }
        system
    }

    fn request(&mut self, at: i64, wrong: Wrong) {
        let mut own = |usual: u64, slow: bool| {
            let usual = self.random.random_range(usual * 8 / 10..usual * 12 / 10);
            if slow { usual + 60 * MILLISECOND } else { usual }
        };
        let silent = wrong == Wrong::SilentStock;
        let query = own(3 * MILLISECOND, wrong == Wrong::SlowDatabase);
        let stock = own(2 * MILLISECOND, false) + query;
        let slow = matches!(wrong, Wrong::SlowOrders | Wrong::SlowWebAndOrders | Wrong::SlowOrdersAndOtherMessage);
        let orders = own(5 * MILLISECOND, slow) + stock + MILLISECOND;
        let web = own(4 * MILLISECOND, wrong == Wrong::SlowWebAndOrders) + orders + MILLISECOND;
        let failed = silent || wrong == Wrong::FailedStock;
        let trace = u128::from(self.next) << 8;
        let top = self.span((trace, 0), (WEB, 0, SpanKind::Server), (at, web), failed);
        let call = self.span((trace, top), (WEB, 1, SpanKind::Client), (at + 1, orders + MILLISECOND), failed);
        let middle = self.span((trace, call), (ORDERS, 1, SpanKind::Server), (at + 2, orders), failed);
        let call = self.span((trace, middle), (ORDERS, 2, SpanKind::Client), (at + 3, stock + MILLISECOND), failed);
        if silent {
            self.seen.spans.last_mut().unwrap().peer = Some(STOCK);
            self.log((trace, middle), ORDERS, at + 12, 17, "no answer from stock");
            return;
        }
        let low = self.span((trace, call), (STOCK, 2, SpanKind::Server), (at + 4, stock), failed);
        self.span((trace, low), (STOCK, 3, SpanKind::Client), (at + 5, query), false);
        self.log((trace, middle), ORDERS, at + 10, 9, "order taken");
        match wrong {
            Wrong::FailedStock => self.log((trace, low), STOCK, at + 11, 17, "no shelf for article 12"),
            Wrong::OtherMessage | Wrong::SlowOrdersAndOtherMessage => {
                self.log((trace, low), STOCK, at + 11, 9, "shelf is taken from elsewhere")
            }
            _ => self.log((trace, low), STOCK, at + 11, 9, "shelf 12 found"),
        }
    }

    fn span(
        &mut self,
        (trace, parent): (u128, u64),
        (asset, operation, kind): (u32, u32, SpanKind),
        (start, duration_ns): (i64, u64),
        failed: bool,
    ) -> u64 {
        let span = self.next;
        self.next += 1;
        let peer = (operation == 3).then_some(DATABASE);
        let start = UnixNanos(start);
        self.seen.spans.push(SpanSeen {
            trace,
            span,
            parent,
            asset,
            operation,
            kind,
            start,
            duration_ns,
            failed,
            peer,
            version: 0,
        });
        span
    }

    fn log(&mut self, (trace, span): (u128, u64), asset: u32, time: i64, severity: u8, body: &str) {
        let id = EventId(u128::from(self.next) | 1 << 100);
        self.next += 1;
        let time = UnixNanos(time);
        self.seen.logs.push(LogSeen { id, time, asset, trace, span, severity, body: body.into() });
    }

    /// A point each half minute.
    fn metric(&mut self, asset: u32, metric: u32, value: impl Fn(i64) -> f64) {
        for time in (0..WINDOW.1).step_by(30) {
            let noise = self.random.random_range(0.98..1.02);
            let point = PointSeen { time: UnixNanos(time * SECOND), asset, metric, value: value(time) * noise };
            self.seen.points.push(point);
        }
    }

    fn causes(&self) -> Vec<RootCause> {
        root_causes(&self.seen, &question()).causes
    }
}

fn question() -> Question {
    let at = |seconds: i64| UnixNanos(seconds * SECOND);
    Question { from: at(WINDOW.0), to: at(WINDOW.1), baseline_from: at(0) }
}

/// What is wrong in the window, and nothing before it.
fn then(wrong: Wrong) -> impl Fn(i64) -> Wrong {
    move |second| if second >= WINDOW.0 { wrong } else { Wrong::Nothing }
}

/// The score of the strongest cause but the first.
fn second_score(causes: &[RootCause]) -> f64 {
    causes.iter().skip(1).map(|cause| cause.evidence_score).fold(0.0, f64::max)
}

fn first(causes: &[RootCause]) -> (u32, CauseKind) {
    causes.first().map(|cause| (cause.asset, cause.kind)).unwrap()
}

#[test]
fn a_quiet_system_has_neither_strong_causes_nor_incidents() {
    let system = System::new(|_| Wrong::Nothing);
    assert!(system.causes().iter().all(|cause| cause.evidence_score < 1.0), "{:#?}", system.causes());
    assert_eq!(incidents(&system.seen, UnixNanos(0), UnixNanos(WINDOW.1 * SECOND)), []);
    assert_eq!(root_causes(&Observations::default(), &question()).causes, []);
}

#[test]
fn who_computes_longer_is_the_cause_and_not_who_waits_for_it() {
    let causes = System::new(then(Wrong::SlowOrders)).causes();
    assert_eq!(first(&causes), (ORDERS, CauseKind::Latency));
    let cause = &causes[0];
    assert!(cause.strength > 0.8, "{cause:#?}");
    assert!(cause.first_seen >= UnixNanos(WINDOW.0 * SECOND), "{cause:#?}");
    assert!(cause.first_seen <= UnixNanos((WINDOW.0 + 2) * SECOND), "{cause:#?}");
    assert!(cause.explanation.contains("POST /orders in orders take more than"), "{}", cause.explanation);
    assert!((1..=10).contains(&cause.evidence.len()));
}

#[test]
fn a_database_without_spans_is_named_by_its_clients() {
    let causes = System::new(then(Wrong::SlowDatabase)).causes();
    assert_eq!(first(&causes), (DATABASE, CauseKind::Latency));
}

#[test]
fn the_deepest_failure_is_the_cause_of_those_above_it() {
    let causes = System::new(then(Wrong::FailedStock)).causes();
    assert_eq!(first(&causes), (STOCK, CauseKind::Errors));
    assert!(second_score(&causes) < causes[0].evidence_score / 3.0, "{causes:#?}");
    let shares: Vec<f64> = causes.iter().map(|cause| cause.evidence_share).collect();
    assert!(shares[0] > 0.8 && shares.iter().sum::<f64>() < 1.0, "{shares:?}");
}

#[test]
fn who_does_not_answer_is_the_cause_and_not_who_gives_up() {
    let causes = System::new(then(Wrong::SilentStock)).causes();
    assert_eq!(first(&causes), (STOCK, CauseKind::Errors));
    assert!(second_score(&causes) < causes[0].evidence_score / 2.0, "{causes:#?}");
    let explanation = &causes[0].explanation;
    assert!(explanation.contains(" in orders ") && explanation.ends_with("; they call stock"), "{explanation}");
}

#[test]
fn another_message_is_a_cause_though_nothing_fails() {
    let causes = System::new(then(Wrong::OtherMessage)).causes();
    assert_eq!(first(&causes), (STOCK, CauseKind::Logs));
    assert!(causes[0].explanation.contains("'shelf is taken from elsewhere'"), "{}", causes[0].explanation);
}

#[test]
fn a_fault_that_happened_before_is_found_again() {
    let repeated = |second: i64| match second {
        600..780 | 1_200..1_380 | 1_800.. => Wrong::OtherMessage,
        _ => Wrong::Nothing,
    };
    let once = System::new(then(Wrong::OtherMessage)).causes();
    let again = System::new(repeated).causes();
    assert_eq!(first(&again), (STOCK, CauseKind::Logs));
    assert!(
        again[0].evidence_score > 0.9 * once[0].evidence_score,
        "{} {}",
        again[0].evidence_score,
        once[0].evidence_score
    );
}

#[test]
fn what_a_process_uses_is_evidence_and_how_long_requests_take_is_little() {
    let mut system = System::new(|_| Wrong::Nothing);
    system.metric(ORDERS, 0, |second| if second >= WINDOW.0 { 0.9 } else { 0.2 });
    system.metric(DATABASE, 1, |second| if second >= WINDOW.0 { 0.9 } else { 0.2 });
    let causes = system.causes();
    assert_eq!(first(&causes), (ORDERS, CauseKind::Metric));
    assert!(causes[0].explanation.starts_with("process.cpu.utilization of orders is 0."), "{}", causes[0].explanation);
    let database = causes.iter().find(|cause| cause.asset == DATABASE).map(|cause| cause.evidence_score);
    assert!(database.is_some_and(|score| score < causes[0].evidence_score / 2.0), "{causes:#?}");
}

#[test]
fn a_change_of_the_cause_is_evidence_and_a_change_elsewhere_is_none() {
    let mut system = System::new(then(Wrong::SlowOrders));
    let mut change = |id, asset, second: i64, what: &str| {
        let (kind, time) = (ChangeKind::Deployment, UnixNanos(second * SECOND));
        system.seen.changes.push(ChangeSeen { id: EventId(id), time, asset, kind, what: what.into() });
    };
    change(1, STOCK, WINDOW.0 - 5, "stock 1.1");
    change(2, ORDERS, WINDOW.0 - 1_000, "orders 2.3");
    change(3, ORDERS, WINDOW.0 - 40, "orders 2.4");
    let causes = system.causes();
    assert_eq!(first(&causes), (ORDERS, CauseKind::Change));
    assert_eq!(causes[0].evidence[0], EventId(3));
    assert!(causes[0].explanation.ends_with("before: orders 2.4"), "{}", causes[0].explanation);
}

#[test]
fn an_incident_opens_with_the_fault_and_closes_soon_after_it() {
    let system = System::new(|second| if (900..1_200).contains(&second) { Wrong::SlowOrders } else { Wrong::Nothing });
    let found = incidents(&system.seen, UnixNanos(0), UnixNanos(WINDOW.1 * SECOND));
    let [incident] = &found[..] else { panic!("{found:#?}") };
    assert_eq!(incident.symptoms.asset, Some(ORDERS));
    assert!((870..=930).contains(&(incident.opened.0 / SECOND)), "{incident:#?}");
    assert!((1_170..=1_320).contains(&(incident.closed.0 / SECOND)), "{incident:#?}");
    assert!(incident.symptoms.first_symptom.is_some());
}

#[test]
fn what_was_wrong_before_and_comes_again_is_still_found() {
    let again = |second| (900..1_080).contains(&second) || second >= WINDOW.0;
    let system = System::new(|second| if again(second) { Wrong::SlowWebAndOrders } else { Wrong::Nothing });
    assert_eq!(first(&system.causes()), (ORDERS, CauseKind::Latency));
}

#[test]
fn what_has_gone_on_for_most_of_the_hour_is_not_the_cause_of_what_begins() {
    // `stock` says something new from the fourth minute on.
    let system = System::new(|second| match second {
        0..240 => Wrong::Nothing,
        240..1_700 => Wrong::OtherMessage,
        _ => Wrong::SlowOrdersAndOtherMessage,
    });
    let found = incidents(&system.seen, UnixNanos(0), UnixNanos(WINDOW.1 * SECOND));
    assert_eq!(found.first().and_then(|incident| incident.symptoms.asset), Some(STOCK), "{found:#?}");
    assert_eq!(found.last().and_then(|incident| incident.symptoms.asset), Some(ORDERS), "{found:#?}");
    assert_eq!(first(&system.causes()), (ORDERS, CauseKind::Latency));
}

#[test]
fn another_trouble_after_a_quiet_minute_is_another_incident() {
    let system = System::new(|second| match second {
        900..960 => Wrong::SlowOrders,
        1_020..1_140 => Wrong::FailedStock,
        _ => Wrong::Nothing,
    });
    let found = incidents(&system.seen, UnixNanos(0), UnixNanos(WINDOW.1 * SECOND)).into_iter();
    let found: Vec<_> = found.map(|incident| (incident.opened.0 / SECOND, incident.symptoms.asset)).collect();
    assert_eq!(found, [(900, Some(ORDERS)), (1_020, Some(STOCK))]);
}

#[test]
fn spans_whose_ids_lead_in_a_circle_are_survived() {
    let mut system = System::new(then(Wrong::SlowOrders));
    let (trace, first, second) = (1, 900_001, 900_002);
    for (span, parent) in [(first, second), (second, first), (900_003, 900_003)] {
        let start = UnixNanos((WINDOW.0 + 1) * SECOND);
        let template = system.seen.spans[0];
        system.seen.spans.push(SpanSeen { trace, span, parent, start, duration_ns: u64::MAX, ..template });
    }
    assert_eq!(first_asset(&system), ORDERS);
}

fn first_asset(system: &System) -> u32 {
    system.causes()[0].asset
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn the_order_of_observations_does_not_matter(seed: u64) {
        let mut system = System::new(then(Wrong::FailedStock));
        system.metric(ORDERS, 0, |second| second as f64);
        let causes = system.causes();
        let mut random = StdRng::seed_from_u64(seed);
        system.seen.spans.shuffle(&mut random);
        system.seen.logs.shuffle(&mut random);
        system.seen.points.shuffle(&mut random);
        prop_assert_eq!(system.causes(), causes);
    }
}

/// What began in a slot, and shortly before and after it.
fn around(seen: &Observations, slot: GridSlot) -> Observations {
    let inside = |time: UnixNanos| time.0 >= slot.start().0 - 10 * SECOND && time.0 < slot.end().0 + 10 * SECOND;
    let mut seen = seen.clone();
    seen.spans.retain(|span| inside(span.start));
    seen.logs.retain(|log| inside(log.time));
    seen
}

#[test]
fn digests_of_slots_have_the_same_runs_as_their_events() {
    for wrong in [Wrong::FailedStock, Wrong::SlowDatabase, Wrong::SlowOrders, Wrong::Nothing] {
        let seen = System::new(|second| if (1_200..1_290).contains(&second) { wrong } else { Wrong::Nothing }).seen;
        let slots = 0..60;
        let end = GridSlot(slots.end).start();
        let found = incidents(&seen, UnixNanos(0), end).into_iter().map(|incident| (incident.opened, incident.closed));
        let found: Vec<(UnixNanos, UnixNanos)> = found.collect();
        assert_eq!(found.len(), usize::from(wrong != Wrong::Nothing), "{found:?}");
        let (mut history, mut templates) = (History::default(), Templates::default());
        for slot in slots.clone().map(GridSlot) {
            assert_eq!(history.add(&Digest::of(&around(&seen, slot), slot, &mut templates)), 0);
        }
        let mut names = AllNames::default();
        seen.assets.iter().for_each(|name| assert_eq!(seen.assets[names.assets.number(name) as usize], *name));
        seen.operations.iter().for_each(|name| _ = names.operations.number(name));
        let last = GridSlot(slots.end - 1);
        let runs_of = |history: &History| Levels::default().runs(&history.scan(last, &names), last, &names);
        let runs = runs_of(&history);
        let times: Vec<_> = runs.iter().map(|run| (run.slots.start.start(), run.slots.end.start())).collect();
        assert_eq!(times, found);
        for run in &runs {
            let sign = run.sign.as_ref().unwrap();
            assert!(seen.assets.contains(&sign.asset) && sign.title.contains(&sign.asset), "{sign:?}");
        }
        let bytes = history.bytes();
        let middle = history.middle().unwrap();
        assert_eq!((history.forget_before(middle), history.bytes() < bytes), (30, true));
        assert_eq!(runs_of(&history).len(), runs.len(), "the trouble is in the half that stays");
        history.forget_before(GridSlot(i32::MAX));
        assert_eq!((history.bytes(), history.middle()), (0, None));
    }
}
