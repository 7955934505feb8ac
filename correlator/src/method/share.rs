//! How much more often something happens in a window than before it, against what it varies by anyway.

/// Occurrences in one slot of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Slot {
    /// Number of the slot, in the order of time.
    pub(super) slot: u32,
    /// How often it happened.
    pub(super) hits: u32,
    /// How often it could have happened; at least `hits`.
    pub(super) of: u32,
}

/// A share that has risen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rise {
    /// Normal deviate of the rise: how unlikely so many occurrences are, had nothing changed.
    pub(super) deviate: f64,
    /// Share before.
    pub(super) before: f64,
    /// Share in all of the baseline.
    pub(super) long_run: f64,
    /// Share in the window.
    pub(super) now: f64,
    /// How often it could have happened in the window.
    pub(super) of: u32,
}

impl Rise {
    /// Share of the occurrences in the window that the earlier share does not explain (the attributable fraction of
    /// epidemiology).
    pub(super) fn attributable(&self) -> f64 {
        if self.now > 0.0 { (1.0 - self.before / self.now).max(0.0) } else { 0.0 }
    }
}

/// Trials that make a block of the baseline large enough to compare with the next one.
const BLOCK: u32 = 8;
/// Blocks that are enough to tell how much a share varies.
const ENOUGH_BLOCKS: usize = 6;
/// Overdispersion where it cannot be told: between none (1) and what is common (2).
const UNKNOWN_DISPERSION: f64 = 1.5;
/// Slots that make the local level, four minutes: load and mix drift over longer times.
const LOCAL_SLOTS: usize = 8;
/// Trials that the long-run level counts for beside the local one.
const PRIOR: f64 = 4.0;
/// Quantile of the differences between successive blocks that tells the dispersion: above the median, since rare
/// occurrences leave most differences at 0, and below what earlier incidents within the baseline reach.
const DISPERSION_QUANTILE: f64 = 0.8;
/// The same quantile of the absolute value of a standard normal variable.
const NORMAL_QUANTILE: f64 = 1.281_551_565_544_6;
/// Trials at which evidence has reached half of what endless trials of the same share give: beyond that, what is
/// unlike a coin in the world outweighs chance.
const SATURATION: f64 = 1_000.0;
/// Trials from which the normal approximation replaces the sum.
const MANY: f64 = 300.0;

/// How often something happens, learned slot by slot.
#[derive(Debug, Clone)]
pub(super) struct Level {
    hits: f64,
    of: f64,
    /// The last slots, oldest first from `next` on.
    local: [(u32, u32); LOCAL_SLOTS],
    next: usize,
    dispersion: f64,
}

impl Level {
    /// A level of which only the dispersion is known, from slots in the order of time: it may be told from all slots,
    /// since it hardly depends on a few that stand out.
    pub(super) fn new(slots: &[Slot]) -> Self {
        let dispersion = dispersion(&blocks(slots));
        Self { hits: 0.0, of: 0.0, local: [(0, 0); LOCAL_SLOTS], next: 0, dispersion }
    }

    /// Learns the next slot.
    pub(super) fn add(&mut self, slot: Slot) {
        self.hits += f64::from(slot.hits);
        self.of += f64::from(slot.of);
        self.local[self.next] = (slot.hits, slot.of);
        self.next = (self.next + 1) % LOCAL_SLOTS;
    }

    /// The rise to a window after the slots that were learned; `None` without one.
    ///
    /// The predictive distribution of the occurrences in the window is beta-binomial, with the local level shrunk to
    /// the long-run level, and all counts divided by the dispersion.
    pub(super) fn rise(&self, hits: u32, of: u32) -> Option<Rise> {
        if hits == 0 || of == 0 || self.of == 0.0 {
            return None;
        }
        let long_run = (self.hits + 0.5) / (self.of + 1.0);
        let local_hits = f64::from(self.local.iter().map(|(hits, _)| hits).sum::<u32>());
        let local = f64::from(self.local.iter().map(|(_, of)| of).sum::<u32>());
        // Half an occurrence and half a miss keep the level off 0 and 1 (Jeffreys' prior).
        let level = (local_hits + PRIOR * long_run + 0.25) / (local + PRIOR + 0.5);
        let now = f64::from(hits) / f64::from(of);
        if now <= level {
            return None;
        }
        let trials = f64::from(of) / (1.0 + f64::from(of) / SATURATION) / self.dispersion;
        let known = (local + PRIOR + 1.0) / self.dispersion;
        let deviate = predictive_deviate(now * trials, trials, level * known, (1.0 - level) * known);
        (deviate > 0.0).then_some(Rise { deviate, before: level, long_run, now, of })
    }
}

/// The rise of a share from the slots of a baseline, in the order of time, to a window; `None` without one.
pub(super) fn rise(before: &[Slot], hits: u32, of: u32) -> Option<Rise> {
    let mut level = Level::new(before);
    before.iter().for_each(|slot| level.add(*slot));
    level.rise(hits, of)
}

fn blocks(slots: &[Slot]) -> Vec<Slot> {
    let mut blocks = Vec::with_capacity(slots.len());
    let mut open = Slot::default();
    for slot in slots {
        open.hits += slot.hits;
        open.of += slot.of;
        if open.of >= BLOCK {
            blocks.push(std::mem::take(&mut open));
        }
    }
    if open.of > 0 {
        blocks.push(open);
    }
    blocks
}

/// Variance of the share between successive blocks in relation to the binomial one, at least 1.
fn dispersion(blocks: &[Slot]) -> f64 {
    if blocks.len() < ENOUGH_BLOCKS {
        return UNKNOWN_DISPERSION;
    }
    let share = |block: &Slot| f64::from(block.hits) / f64::from(block.of);
    let mut differences: Vec<f64> = blocks
        .windows(2)
        .map(|pair| {
            let error = (1.0 / f64::from(pair[0].of) + 1.0 / f64::from(pair[1].of)).sqrt();
            (angle(share(&pair[0])) - angle(share(&pair[1]))).abs() / error
        })
        .collect();
    let middle = ((differences.len() as f64 * DISPERSION_QUANTILE) as usize).min(differences.len() - 1);
    let (_, quantile, _) = differences.select_nth_unstable_by(middle, f64::total_cmp);
    (*quantile / NORMAL_QUANTILE).powi(2).max(1.0)
}

/// The variance-stabilising transform of a share (Cohen's h is a difference of two).
fn angle(share: f64) -> f64 {
    2.0 * share.clamp(0.0, 1.0).sqrt().asin()
}

/// Normal deviate of the upper tail of a beta-binomial distribution: `hits` or more of `trials`, with the parameters
/// `alpha` and `beta`. Counts need not be whole.
fn predictive_deviate(hits: f64, trials: f64, alpha: f64, beta: f64) -> f64 {
    let level = alpha / (alpha + beta);
    if hits / trials <= level {
        return 0.0;
    }
    let whole = trials.round().max(1.0);
    if whole > MANY {
        let variance = level * (1.0 - level) / trials * (1.0 + trials / (alpha + beta + 1.0));
        let by_variance = (hits / trials - level) / variance.sqrt();
        let by_angle = (angle(hits / trials) - angle(level)) / (1.0 / trials + 1.0 / (alpha + beta)).sqrt();
        return by_variance.min(by_angle);
    }
    let (alpha, beta) = (alpha.max(1e-3), beta.max(1e-3));
    let first = hits.round().clamp(1.0, whole);
    let constant = ln_gamma(whole + 1.0) - ln_beta(alpha, beta);
    let ln_point =
        |x: f64| constant - ln_gamma(x + 1.0) - ln_gamma(whole - x + 1.0) + ln_beta(x + alpha, whole - x + beta);
    // Each point follows from the one before it; half of the first keeps the tail of few trials from being too long
    // (mid-p).
    let mut point = ln_point(first).exp();
    let mut tail = 0.5 * point;
    let mut x = first;
    while x < whole {
        point *= (whole - x) / (x + 1.0) * (x + alpha) / (whole - x - 1.0 + beta);
        tail += point;
        x += 1.0;
        if point < tail * 1e-9 {
            break;
        }
    }
    upper_deviate(tail.clamp(1e-300, 1.0))
}

fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// Stirling's series, shifted to where it is exact to nine digits.
fn ln_gamma(x: f64) -> f64 {
    const HALF_LN_TAU: f64 = 0.918_938_533_204_672_7;
    let (mut x, mut product) = (x, 1.0);
    while x < 8.0 {
        product *= x;
        x += 1.0;
    }
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1_260.0 * x.powi(5));
    (x - 0.5) * x.ln() - x + HALF_LN_TAU + series - product.ln()
}

/// The normal deviate above which `tail` lies (Abramowitz and Stegun, 26.2.23); 0 from one half on.
pub(super) fn upper_deviate(tail: f64) -> f64 {
    if tail >= 0.5 {
        return 0.0;
    }
    let t = (-2.0 * tail.ln()).sqrt();
    t - (2.515_517 + 0.802_853 * t + 0.010_328 * t * t)
        / (1.0 + 1.432_788 * t + 0.189_269 * t * t + 0.001_308 * t * t * t)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(shares: &[(u32, u32)]) -> Vec<Slot> {
        shares.iter().enumerate().map(|(slot, &(hits, of))| Slot { slot: slot as u32, hits, of }).collect()
    }

    #[test]
    fn gamma_and_normal_tail_are_those_of_the_tables() {
        assert!((ln_gamma(5.0) - 24_f64.ln()).abs() < 1e-9);
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-8);
        assert!((upper_deviate(0.025) - 1.96).abs() < 1e-3);
        assert!((upper_deviate(0.001_349_9) - 3.0).abs() < 1e-3);
        assert_eq!(upper_deviate(0.7), 0.0);
    }

    #[test]
    fn the_tail_is_that_of_a_uniform_when_nothing_is_known() {
        // With alpha = beta = 1 each number of hits has the same probability: 10 of 10 has 1/11, of which half counts.
        assert!((predictive_deviate(10.0, 10.0, 1.0, 1.0) - upper_deviate(0.5 / 11.0)).abs() < 1e-9);
    }

    #[test]
    fn a_share_that_stays_has_no_rise_and_one_that_never_was_has_a_large_one() {
        let steady = slots(&[(2, 20); 40]);
        assert!(rise(&steady, 10, 100).is_none_or(|rise| rise.deviate < 0.5));
        let never = slots(&[(0, 20); 40]);
        let risen = rise(&never, 50, 100).map(|rise| (rise.deviate > 8.0, rise.attributable() > 0.99));
        assert_eq!(risen, Some((true, true)));
        assert_eq!(rise(&never, 0, 100), None);
        assert_eq!(rise(&[], 5, 5), None);
    }

    #[test]
    fn what_varies_anyway_rises_less() {
        let varying: Vec<(u32, u32)> = (0..40).map(|slot| if slot % 3 == 0 { (12, 20) } else { (0, 20) }).collect();
        let steady: Vec<(u32, u32)> = (0..40).map(|_| (4, 20)).collect();
        let deviate = |shares: &[(u32, u32)]| rise(&slots(shares), 12, 20).map_or(0.0, |rise| rise.deviate);
        assert!(deviate(&varying) < deviate(&steady) / 1.8, "{} {}", deviate(&varying), deviate(&steady));
    }
}
