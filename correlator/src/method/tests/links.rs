//! Links of onsets and of changes in the small system.

use super::*;
use crate::method::links::{Link, false_discoveries, links};
use whence_schema::Relation;

/// When each of six bursts of failures begins, in seconds, at no regular distance.
const BURSTS: [i64; 6] = [330, 905, 1_850, 2_732, 3_414, 4_800];
/// How long systems with bursts last, in seconds: in less, six onsets are too little for a p-value that is small enough.
const LONG: i64 = 5_400;

/// All of the time until so many seconds.
fn until(second: i64) -> Question {
    let to = UnixNanos(second * SECOND);
    Question { from: to, to, baseline_from: UnixNanos(0) }
}

fn links_from(system: &System, second: i64) -> Vec<Link> {
    let last = system.seen.spans.last().map_or(0, |span| span.start.0 / SECOND + 1);
    links(&system.seen, UnixNanos(second * SECOND), &until(last))
}

fn failing_in_bursts() -> System {
    System::lasting(LONG, |second| {
        let fails = BURSTS.iter().any(|start| (*start..start + 45).contains(&second));
        if fails { Wrong::FailedStock } else { Wrong::Nothing }
    })
}

#[test]
fn failures_that_keep_coming_lead_from_the_callee_to_its_caller() {
    let system = failing_in_bursts();
    let found = links_from(&system, 0);
    let of = |cause, effect| {
        let pair = |link: &&Link| (link.cause.asset, link.effect.asset) == (cause, effect);
        found.iter().filter(pair).collect::<Vec<&Link>>()
    };
    for (cause, effect) in [(STOCK, ORDERS), (ORDERS, WEB)] {
        let links = of(cause, effect);
        assert_eq!(links.len(), BURSTS.len(), "{found:#?}");
        for (link, start) in links.iter().zip(BURSTS) {
            assert_eq!((link.relation, link.correlation_type), (Relation::Lag, "temporal"));
            assert_eq!(link.kinds, ("errors", "errors"));
            assert!((start * SECOND..(start + 1) * SECOND).contains(&link.effect.time.0), "{link:?}");
            assert!(link.effect.time < link.cause.time, "the caller's span began first");
            assert!((1..SECOND / 10).contains(&link.lag_nanos), "and failed after the callee's: {link:?}");
            assert_eq!((link.support, link.of, link.score), (6, 6, 7.0 / 8.0));
            let test = link.test.unwrap();
            assert!(test.p <= test.q && test.q <= 0.05 && test.direction_p == 1.0 / 64.0, "{test:?}");
        }
    }
    assert_eq!(found.len(), 2 * BURSTS.len(), "nothing else leads anywhere: {found:#?}");
    let last: Vec<&Link> = found.iter().filter(|link| link.effect.time.0 >= 4_000 * SECOND).collect();
    assert_eq!(links_from(&system, 4_000).iter().collect::<Vec<_>>(), last, "what was before is evidence for it");
}

#[test]
fn two_kinds_of_trouble_of_one_asset_that_go_together_are_an_anomaly() {
    let mut system = System::lasting(LONG, |_| Wrong::Nothing);
    for start in BURSTS {
        for second in 0..40 {
            system.log((0, 0), STOCK, (start + second) * SECOND, 13, "shelves are moved");
            system.log((0, 0), STOCK, (start + second + 12) * SECOND, 17, "shelf is gone");
        }
    }
    let found = links_from(&system, 0);
    assert_eq!(found.len(), BURSTS.len(), "{found:#?}");
    for link in found {
        assert_eq!((link.correlation_type, link.kinds), ("anomaly", ("logs", "errors")));
        assert_eq!((link.cause.asset, link.effect.asset, link.lag_nanos), (STOCK, STOCK, 12 * SECOND));
    }
}

#[test]
fn trouble_goes_to_an_asset_on_the_same_node_and_to_no_other() {
    // A batch job that calls nobody; web and stock do not call each other either.
    let mut system = System::lasting(LONG, |_| Wrong::Nothing);
    for (asset, place) in [("job", "n1"), ("stranger", "n2")] {
        system.seen.assets.push(asset.to_owned());
        system.seen.places.push(Place { kind: PlaceKind::Node, name: place.to_owned() });
    }
    let (job, stranger) = (4, 5);
    system.seen.placed = vec![(job, 0), (STOCK, 0), (stranger, 1), (WEB, 1)];
    for second in (0..LONG).step_by(10) {
        for (asset, body) in [(job, "rows are read"), (stranger, "rows are read"), (STOCK, "shelves are counted")] {
            system.log((0, 0), asset, second * SECOND, 9, body);
        }
    }
    for start in BURSTS {
        for second in 0..40 {
            system.log((0, 0), job, (start + second) * SECOND, 17, "disk is full");
            system.log((0, 0), stranger, (start + second) * SECOND, 17, "disk is full");
            system.log((0, 0), STOCK, (start + second + 9) * SECOND, 17, "no space left");
        }
    }
    let found = links_from(&system, 0);
    assert_eq!(found.len(), BURSTS.len(), "{found:#?}");
    for link in &found {
        assert_eq!((link.cause.asset, link.effect.asset, link.lag_nanos), (job, STOCK, 9 * SECOND));
        assert_eq!((link.correlation_type, link.kinds), ("temporal", ("errors", "errors")));
        let tie = link.tie.as_ref().unwrap();
        assert_eq!((tie.via(), tie.shared_names()), (Some("node"), vec!["n1".to_owned()]));
    }
    system.seen.placed.clear();
    assert_eq!(links_from(&system, 0), [], "nothing makes them neighbours");
}

#[test]
fn a_quiet_system_and_a_single_incident_have_no_links() {
    assert_eq!(links_from(&System::new(|_| Wrong::Nothing), 0), []);
    assert_eq!(links_from(&System::new(then(Wrong::FailedStock)), 0), [], "one of each says nothing of an order");
    assert_eq!(links(&Observations::default(), UnixNanos(0), &until(LONG)), []);
}

#[test]
fn streams_that_are_turned_against_each_other_have_nothing_to_find() {
    let system = failing_in_bursts();
    let turns = false_discoveries(&system.seen, &until(LONG), 40);
    assert!(turns.iter().all(|(tests, _)| *tests == 12), "{turns:?}");
    let wrong = turns.iter().filter(|(_, found)| *found > 0).count();
    assert!(wrong <= 5, "at a rate of 0.05 two of forty: {wrong}");
}

fn change(system: &mut System, id: u128, asset: u32, second: i64) {
    let (kind, time) = (ChangeKind::Deployment, UnixNanos(second * SECOND));
    system.seen.changes.push(ChangeSeen { id: EventId(id), time, asset, kind, what: "changed".into() });
}

#[test]
fn a_change_leads_to_what_is_different_after_it_and_decoys_lead_to_nothing() {
    let mut system = System::new(then(Wrong::SlowOrders));
    change(&mut system, 1, STOCK, WINDOW.0 - 5);
    change(&mut system, 2, ORDERS, WINDOW.0 - 1_000);
    change(&mut system, 3, ORDERS, WINDOW.0 - 10);
    change(&mut system, 4, WEB, WINDOW.0 - 2);
    let found = links_from(&system, 0);
    assert!(!found.is_empty());
    for link in &found {
        assert_eq!((link.cause.event, link.relation, link.kinds.1), (EventId(3), Relation::Change, "latency"));
        assert_eq!(link.effect.asset, ORDERS);
        assert!((10 * SECOND..13 * SECOND).contains(&link.lag_nanos), "{link:?}");
        assert!(link.strength > 0.8 && link.score > 0.8 && link.test.is_none(), "{link:?}");
    }
    assert_eq!(links_from(&system, WINDOW.0), found, "the effects are of this time, though the change was before");
    assert_eq!(links_from(&system, WINDOW.0 + 60), [], "the first effect was before this time");
}

#[test]
fn a_change_of_who_only_suffers_leads_to_nothing() {
    let mut system = System::new(then(Wrong::FailedStock));
    change(&mut system, 1, ORDERS, WINDOW.0 - 3);
    assert_eq!(links_from(&system, 0), []);
    change(&mut system, 2, STOCK, WINDOW.0 - 1);
    let found = links_from(&system, 0);
    assert!(!found.is_empty() && found.iter().all(|link| link.cause.event == EventId(2)), "{found:#?}");
    assert!(found.iter().all(|link| link.effect.asset == STOCK), "{found:#?}");
}

#[test]
fn no_change_of_a_quiet_system_leads_to_anything() {
    let mut system = System::new(|_| Wrong::Nothing);
    for number in 0..20 {
        change(&mut system, u128::from(number as u64) + 1, number as u32 % 4, 300 + 70 * number);
    }
    assert_eq!(links_from(&system, 0), []);
}

/// Part of the requests, one in so many, is served by a new version of orders from the beginning of the window on, and the
/// change is noted; what the new version does to each of its requests, by number.
fn canary(system: &mut System, one_in: u128, does: impl Fn(u128, &mut SpanSeen)) {
    let (mut request, mut number, mut is_new) = (0, 0, false);
    for span in &mut system.seen.spans {
        // The first span of each request is the server's of web.
        if span.asset == WEB && span.kind == SpanKind::Server {
            request += 1;
            is_new = span.start.0 >= WINDOW.0 * SECOND && request % one_in == 0;
            number += u128::from(is_new);
        }
        if span.asset == ORDERS {
            span.version = if is_new { 2 } else { 1 };
        }
        if is_new && span.asset != STOCK {
            does(number, span);
        }
    }
    change(system, 1, ORDERS, WINDOW.0);
}

#[test]
fn a_new_version_that_fails_more_often_than_the_old_one_beside_it_is_linked_with_its_first_failure() {
    // One request in eight is the new version's, and one in six of those fails: two in a hundred of all.
    let mut system = System::new(|_| Wrong::Nothing);
    canary(&mut system, 8, |number, span| span.failed |= number % 6 == 0);
    let found = links_from(&system, 0);
    let [link] = &found[..] else { panic!("{found:#?}") };
    assert_eq!((link.contrast, link.kinds, link.cause.event), (Some("versions"), ("change", "errors"), EventId(1)));
    let first =
        system.seen.spans.iter().filter(|span| span.version == 2 && span.failed).map(SpanSeen::id).next().unwrap();
    assert_eq!((link.effect.event, link.effect.asset), (first, ORDERS));
    assert!((0.1..0.25).contains(&link.strength) && link.support < link.of && link.score > 0.9, "{link:?}");
}

#[test]
fn a_new_version_that_is_slower_than_the_old_one_beside_it_is_linked_also_while_all_are_slow() {
    let wait = |_, span: &mut SpanSeen| span.duration_ns += 40 * MILLISECOND;
    for wrong in [Wrong::Nothing, Wrong::SlowDatabase] {
        let mut system = System::new(then(wrong));
        canary(&mut system, 8, wait);
        let found = links_from(&system, 0);
        let versions: Vec<&Link> = found.iter().filter(|link| link.contrast == Some("versions")).collect();
        assert_eq!(versions.iter().map(|link| link.kinds.1).collect::<Vec<_>>(), ["latency"], "{found:#?}");
        assert!(versions[0].strength > 0.5, "{found:#?}");
    }
}

#[test]
fn a_new_version_that_does_as_the_old_one_is_not_blamed_whatever_others_do() {
    for wrong in [Wrong::Nothing, Wrong::FailedStock, Wrong::SlowDatabase, Wrong::SlowOrders, Wrong::SlowWebAndOrders] {
        let mut system = System::new(then(wrong));
        canary(&mut system, 4, |_, _| {});
        let kinds: Vec<_> = links_from(&system, 0).iter().map(|link| (link.contrast, link.kinds.1)).collect();
        assert_eq!(kinds, [], "both versions are slow, or fail, alike");
    }
}

#[test]
fn a_version_that_takes_over_at_once_is_compared_with_the_time_before() {
    let mut system = System::new(then(Wrong::SlowOrders));
    for span in system.seen.spans.iter_mut().filter(|span| span.asset == ORDERS) {
        span.version = if span.start.0 >= WINDOW.0 * SECOND { 2 } else { 1 };
    }
    change(&mut system, 1, ORDERS, WINDOW.0);
    let found = links_from(&system, 0);
    assert!(!found.is_empty() && found.iter().all(|link| link.contrast == Some("before")), "{found:#?}");
}
