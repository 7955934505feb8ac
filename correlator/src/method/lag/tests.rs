//! Streams made by hand or by chance, of which it is known what follows what.
#![allow(clippy::unwrap_used)]

use super::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const SECOND: i64 = 1_000_000_000;
/// A day.
const SLOTS: u32 = 2_880;

fn stream(mut onsets: Vec<i64>) -> Stream {
    onsets.retain(|onset| (0..i64::from(SLOTS) * SLOT_NANOS).contains(onset));
    onsets.sort_unstable();
    onsets.dedup();
    Stream { slots: 0..SLOTS, onsets }
}

/// So many onsets at any time, seen in the first seconds of a slot.
fn chance(random: &mut StdRng, count: usize) -> Vec<i64> {
    (0..count)
        .map(|_| i64::from(random.random_range(0..SLOTS)) * SLOT_NANOS + random.random_range(0..4_000) * SECOND / 1_000)
        .collect()
}

/// Onsets every two minutes or so for half an hour, then none for some hours.
fn bursts(random: &mut StdRng) -> Vec<i64> {
    let mut onsets = Vec::new();
    let mut at = random.random_range(0..10_000);
    while at < i64::from(SLOTS) * 30 {
        for _ in 0..15 {
            at += random.random_range(60..180);
            onsets.push(at * SECOND);
        }
        at += random.random_range(7_200..21_600);
    }
    onsets
}

/// What follows the onsets of `causes` by `lag` seconds, give or take a second, with some that follow nothing.
fn effects(random: &mut StdRng, causes: &[i64], lag: i64, share: f64, others: usize) -> Vec<i64> {
    let mut follow = |cause: &i64| {
        let after = cause + lag * SECOND + random.random_range(-1_000..1_000) * SECOND / 1_000;
        random.random_bool(share).then_some(after)
    };
    let mut onsets: Vec<i64> = causes.iter().filter_map(&mut follow).collect();
    onsets.extend(chance(random, others));
    onsets
}

fn found(streams: &[Stream], pairs: &[(usize, usize)]) -> Tested {
    followed(streams, pairs, FALSE_DISCOVERY_RATE)
}

#[test]
fn a_known_lag_is_found_in_its_direction_with_its_excess_probability() {
    let random = &mut StdRng::seed_from_u64(3);
    let causes = chance(random, 40);
    let effects = effects(random, &causes, 20, 0.8, 10);
    let streams = [stream(causes), stream(effects)];
    let tested = found(&streams, &[(0, 1), (1, 0)]);
    assert_eq!(tested.tests, 6);
    let [followed] = &tested.followed[..] else { panic!("{tested:?}") };
    assert_eq!(followed.pair, 0);
    assert!((followed.strength - 0.8).abs() < 0.15, "{followed:?}");
    assert!(followed.p <= 2.0 / f64::from(SLOTS) && followed.q <= 0.01 && followed.direction_p < 1e-6, "{followed:?}");
    for (first, second) in &followed.onsets {
        let lag = streams[1].onsets[*second as usize] - streams[0].onsets[*first as usize];
        assert!((15 * SECOND..25 * SECOND).contains(&lag), "each follow is one of the lag: {lag}");
    }
}

#[test]
fn four_follows_say_nothing_of_their_order_and_are_not_even_tested() {
    let streams = [1, 2].map(|second| stream((0..4).map(|hour| (hour * 3_600 + second) * SECOND).collect()));
    assert_eq!(found(&streams, &[(0, 1), (1, 0)]), Tested::default());
    let streams = [1, 2].map(|second| stream((0..5).map(|hour| (hour * hour * 3_600 + second) * SECOND).collect()));
    let tested = found(&streams, &[(0, 1), (1, 0)]);
    assert_eq!(tested.followed.iter().map(|followed| followed.pair).collect::<Vec<_>>(), [0], "five do: {tested:?}");
    assert_eq!(tested.followed[0].direction_p, 1.0 / 32.0);
}

#[test]
fn a_common_cause_makes_streams_go_together_and_neither_leads() {
    let mut claimed = 0;
    const SEEDS: u64 = 200;
    for seed in 0..SEEDS {
        let random = &mut StdRng::seed_from_u64(seed);
        let causes = chance(random, 40);
        let mut after =
            || causes.iter().map(|cause| cause + random.random_range(0..20_000) * SECOND / 1_000).collect::<Vec<_>>();
        let streams = [stream(after()), stream(after())];
        let both = Both::of(&streams[0], &streams[1]).unwrap();
        assert!(both.p(LIMITS[1]) < 0.01, "they do go together");
        claimed += usize::from(!found(&streams, &[(0, 1), (1, 0)]).followed.is_empty());
    }
    println!("a common cause: in {claimed} of {SEEDS} one of two is said to lead");
    // Both directions are tested at 0.05; four standard deviations above the tenth of them.
    assert!(claimed as f64 <= SEEDS as f64 * 0.1 + 4.0 * (SEEDS as f64 * 0.09).sqrt(), "{claimed}");
}

#[test]
fn streams_with_bursts_that_have_nothing_to_do_with_each_other_are_not_found_though_textbooks_say_so() {
    const SEEDS: u64 = 300;
    const LIMIT: i64 = LIMITS[2];
    let (mut by_shift, mut by_textbook) = (0, 0);
    for seed in 0..SEEDS {
        let random = &mut StdRng::seed_from_u64(seed);
        let (first, second) = (stream(bursts(random)), stream(bursts(random)));
        let both = Both::of(&first, &second).unwrap();
        by_shift += usize::from(both.p(LIMIT) <= 0.05);
        // As if onsets came independently at a constant rate: each is followed with the same probability.
        let rate = second.onsets.len() as f64 / both.length() as f64;
        let probability = 1.0 - (-rate * LIMIT as f64).exp();
        let (n, hits) = (first.onsets.len() as f64, both.follows(LIMIT).len() as f64);
        by_textbook += usize::from((hits - n * probability) / (n * probability * (1.0 - probability)).sqrt() > 1.644_9);
    }
    let share = |count: usize| count as f64 / SEEDS as f64;
    println!("p <= 0.05 of independent bursts: {:.3} by shift, {:.3} by textbook", share(by_shift), share(by_textbook));
    assert!(share(by_shift) <= 0.05 + 3.0 * (0.05_f64 * 0.95 / SEEDS as f64).sqrt());
    assert!(share(by_textbook) > 0.15, "the test shows what it is about");
}

/// Of many systems, in which some pairs follow each other and others do not, the mean share of false discoveries; and of
/// those in which none does, how many have any.
#[test]
fn the_share_of_false_discoveries_is_below_the_accepted_rate() {
    const SEEDS: u64 = 60;
    const PAIRS: usize = 12;
    for (truly, of_kind) in [(4, "some pairs follow each other"), (0, "none does")] {
        let (mut proportions, mut undirected, mut power) = (Vec::new(), Vec::new(), 0);
        for seed in 0..SEEDS {
            let random = &mut StdRng::seed_from_u64(seed);
            let mut streams = Vec::new();
            for pair in 0..PAIRS {
                let first = if pair % 2 == 0 { chance(random, 30) } else { bursts(random) };
                let second = if pair < truly { effects(random, &first, 10, 0.5, 15) } else { bursts(random) };
                streams.extend([stream(first), stream(second)]);
            }
            let pairs: Vec<(usize, usize)> =
                (0..PAIRS).flat_map(|pair| [(2 * pair, 2 * pair + 1), (2 * pair + 1, 2 * pair)]).collect();
            let tested = found(&streams, &pairs);
            let is_false = |pair: usize| pair % 2 == 1 || pair / 2 >= truly;
            let wrong = tested.followed.iter().filter(|followed| is_false(followed.pair)).count();
            power += tested.followed.len() - wrong;
            proportions.push(wrong as f64 / tested.followed.len().max(1) as f64);
            undirected.push(false_share_without_direction(&streams, &pairs, |pair| pair / 2 >= truly));
        }
        let (mean, error) = mean_and_error(&proportions);
        let (before, error_before) = mean_and_error(&undirected);
        println!(
            "false discoveries where {of_kind}: {mean:.4} (standard error {error:.4}), without asking for a direction \
             {before:.4} ({error_before:.4}), at a rate of {FALSE_DISCOVERY_RATE}; {:.2} of the true ones found",
            power as f64 / (SEEDS as usize * truly).max(1) as f64
        );
        assert!(mean <= 1.2 * FALSE_DISCOVERY_RATE + 2.0 * error, "{mean}");
        assert!(before <= 1.2 * FALSE_DISCOVERY_RATE + 2.0 * error_before, "{before}");
        assert!(truly == 0 || power > SEEDS as usize * truly * 9 / 10);
    }
}

/// The share of pairs that have nothing to do with each other among all that go together.
fn false_share_without_direction(
    streams: &[Stream],
    pairs: &[(usize, usize)],
    is_false: impl Fn(usize) -> bool,
) -> f64 {
    let p = |(first, second): &(usize, usize)| {
        let both = Both::of(&streams[*first], &streams[*second]);
        LIMITS.map(|limit| both.as_ref().map_or(1.0, |both| both.p(limit)))
    };
    let p_values: Vec<f64> = pairs.iter().flat_map(p).collect();
    let q_values = q_values(&p_values);
    let discovered: Vec<usize> =
        (0..q_values.len()).filter(|test| q_values[*test] <= FALSE_DISCOVERY_RATE).map(|test| test / 3).collect();
    let wrong = discovered.iter().filter(|pair| is_false(**pair)).count();
    wrong as f64 / discovered.len().max(1) as f64
}

fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, (variance / count).sqrt())
}

#[test]
fn counts_of_all_shifts_are_those_of_shifted_streams() {
    for seed in 0..20 {
        let random = &mut StdRng::seed_from_u64(seed);
        let short = |random: &mut StdRng| {
            let mut onsets: Vec<i64> = (0..9).map(|_| random.random_range(0..40 * SLOT_NANOS)).collect();
            onsets.sort_unstable();
            Stream { slots: 0..40, onsets }
        };
        let (first, second) = (short(random), short(random));
        let both = Both::of(&first, &second).unwrap();
        for limit in LIMITS {
            let by_hand = |shift: i64| {
                let turned: Vec<i64> = second.onsets.iter().map(|onset| onset + shift * SLOT_NANOS).collect();
                let follows = |first: &i64| {
                    turned.iter().any(|second| (1..=limit).contains(&(second - first).rem_euclid(40 * SLOT_NANOS)))
                };
                first.onsets.iter().filter(|first| follows(first)).count() as u32
            };
            assert_eq!(both.follows_by_shift(limit), (0..40).map(by_hand).collect::<Vec<_>>(), "seed {seed}");
        }
    }
}

#[test]
fn only_the_time_in_which_both_are_known_counts() {
    let at = |slots: &[i64], offset: i64| slots.iter().map(|slot| slot * SLOT_NANOS + offset).collect::<Vec<_>>();
    let slots = [101, 120, 150, 161, 190, 230];
    let first = Stream { slots: 100..300, onsets: at(&slots, 0) };
    let second = Stream { slots: 0..240, onsets: [at(&[3, 50], 0), at(&slots, SECOND)].concat() };
    let tested = found(&[first.clone(), second], &[(0, 1)]);
    let [followed] = &tested.followed[..] else { panic!("{tested:?}") };
    assert_eq!(followed.onsets, [(0, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7)]);
    assert_eq!((followed.of, followed.strength, followed.p), (6, 1.0, 1.0 / 140.0));
    let brief = Stream { slots: 280..310, onsets: at(&[281, 283, 285, 287, 289], 0) };
    assert_eq!(found(&[first, brief], &[(0, 1)]).tests, 0, "ten slots are no time");
}

#[test]
fn the_tail_of_a_coin_is_that_of_the_textbook() {
    assert_eq!(upper_binomial_tail(5, 5), 1.0 / 32.0);
    assert_eq!(upper_binomial_tail(0, 5), 1.0);
    assert!((upper_binomial_tail(8, 10) - 56.0 / 1_024.0).abs() < 1e-12);
    assert_eq!(upper_binomial_tail(0, 0), 1.0);
    assert!(upper_binomial_tail(1_100, 2_000) < 0.01 && upper_binomial_tail(1_000, 2_000) > 0.4);
}
