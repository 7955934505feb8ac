//! Pseudo random numbers: everything derives from the caller's seed.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub(crate) const MILLISECOND: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MILLISECOND;

/// An independent stream of random numbers for one purpose of a seed.
pub(crate) fn stream(seed: u64, purpose: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(split_mix(seed ^ split_mix(purpose)))
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection, so distinct inputs never collide.
pub(crate) fn split_mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A latency in nanoseconds around a median in milliseconds: log-normal with sigma 0.4.
pub(crate) fn latency(rng: &mut impl Rng, median_ms: f64) -> u64 {
    log_normal(rng, median_ms, 0.4)
}

/// A log-normal time in nanoseconds, at least 10 microseconds, around a median in milliseconds, by Box and Muller.
pub(crate) fn log_normal(rng: &mut impl Rng, median_ms: f64, sigma: f64) -> u64 {
    let radius = (-2.0 * rng.random_range(1e-9_f64..1.0).ln()).sqrt();
    let normal = radius * (std::f64::consts::TAU * rng.random::<f64>()).cos();
    (median_ms * (sigma * normal).exp() * MILLISECOND as f64).max(10_000.0) as u64
}

/// A UUID of version 4 layout from two numbers.
pub(crate) fn uuid(high: u64, low: u64) -> String {
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | (low >> 48) & 0x3fff,
        low & 0xffff_ffff_ffff
    )
}

/// Time to the next event of a Poisson process, in nanoseconds, at a rate of events a second.
pub(crate) fn exponential(rng: &mut impl Rng, rate: f64) -> u64 {
    (-rng.random_range(1e-9_f64..1.0).ln() / rate * SECOND as f64) as u64 + 1
}
