//! A mergeable quantile sketch with a relative error of 1%: DDSketch (Masson, Rim, Lee: "DDSketch: a fast and
//! fully-mergeable quantile sketch with relative-error guarantees", VLDB 2019).
//!
//! A positive value `x` falls into bin `ceil(ln x / ln gamma)` with `gamma = (1 + a) / (1 - a)` and `a` = 0.01; the bin's
//! estimate `2 gamma^i / (gamma + 1)` is within `a` of every value in it. Bins are kept sparse and sorted, since a
//! one-minute bucket of one series touches few of them.
//!
//! # Layout in the `sketch` column
//!
//! ```text
//! version (1 byte, = 1) | zero count | bins of positive values | bins of negative values
//! bins = number of bins, then per bin: index minus previous index (zigzag), count        all numbers LEB128 varints
//! ```

/// Relative error of every quantile estimate.
pub const RELATIVE_ERROR: f64 = 0.01;
/// Bins kept per sign. Beyond it the bins nearest to zero are joined: high quantiles keep their bound.
const MAX_BINS: usize = 2_048;
const VERSION: u8 = 1;
/// ln((1 + 0.01) / (1 - 0.01))
const LN_GAMMA: f64 = 0.020_000_666_706_669_44;

/// Counts of values by logarithmic bin.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sketch {
    zero: u64,
    positive: Bins,
    negative: Bins,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Bins(Vec<(i32, u64)>);

impl Bins {
    fn add(&mut self, index: i32, count: u64) {
        match self.0.binary_search_by_key(&index, |bin| bin.0) {
            Ok(at) => self.0[at].1 = self.0[at].1.saturating_add(count),
            Err(at) => {
                self.0.insert(at, (index, count));
                self.collapse();
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
            return;
        }
        for (index, count) in &other.0 {
            self.add(*index, *count);
        }
    }

    fn collapse(&mut self) {
        if self.0.len() > MAX_BINS {
            let (_, lowest) = self.0.remove(0);
            self.0[0].1 = self.0[0].1.saturating_add(lowest);
        }
    }

    fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, bin| sum.saturating_add(bin.1))
    }
}

fn index_of(magnitude: f64) -> i32 {
    (magnitude.ln() / LN_GAMMA).ceil() as i32
}

fn estimate(index: i32) -> f64 {
    let gamma = LN_GAMMA.exp();
    // Beyond the range of f64 the estimate saturates instead of becoming infinite.
    (2.0 * (f64::from(index) * LN_GAMMA).exp() / (gamma + 1.0)).min(f64::MAX)
}

impl Sketch {
    /// Counts `count` values equal to `value`. NaN and infinities are not values and are ignored.
    pub fn add(&mut self, value: f64, count: u64) {
        if count == 0 || !value.is_finite() {
            return;
        }
        if value.abs() < f64::MIN_POSITIVE {
            self.zero = self.zero.saturating_add(count);
        } else if value > 0.0 {
            self.positive.add(index_of(value), count);
        } else {
            self.negative.add(index_of(-value), count);
        }
    }

    /// Adds the counts of `other`: the same sketch as if all values had been added to one.
    pub fn merge(&mut self, other: &Self) {
        self.zero = self.zero.saturating_add(other.zero);
        self.positive.merge(&other.positive);
        self.negative.merge(&other.negative);
    }

    /// Number of values counted.
    pub fn count(&self) -> u64 {
        self.zero.saturating_add(self.positive.total()).saturating_add(self.negative.total())
    }

    /// The value at quantile `q` (0 to 1) within 1%; `None` when empty or `q` is no fraction.
    ///
    /// The rank is `q * (count - 1)`, rounded to nearest as in PostgreSQL's `percentile_disc` up to one rank.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 || !(0.0..=1.0).contains(&q) {
            return None;
        }
        let rank = (q * (count - 1) as f64).round() as u64;
        let mut seen = 0u64;
        for (index, n) in self.negative.0.iter().rev() {
            seen = seen.saturating_add(*n);
            if seen > rank {
                return Some(-estimate(*index));
            }
        }
        seen = seen.saturating_add(self.zero);
        if seen > rank {
            return Some(0.0);
        }
        for (index, n) in &self.positive.0 {
            seen = seen.saturating_add(*n);
            if seen > rank {
                return Some(estimate(*index));
            }
        }
        self.positive.0.last().map(|bin| estimate(bin.0))
    }

    /// Appends the stored form to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        varint(out, self.zero);
        for bins in [&self.positive, &self.negative] {
            varint(out, bins.0.len() as u64);
            let mut previous = 0i64;
            for (index, count) in &bins.0 {
                let step = i64::from(*index) - previous;
                varint(out, ((step << 1) ^ (step >> 63)) as u64);
                varint(out, *count);
                previous = i64::from(*index);
            }
        }
    }

    /// Reads the stored form; `None` when it is not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut at = bytes.strip_prefix(&[VERSION])?;
        let zero = read_varint(&mut at)?;
        let mut read_bins = || {
            let bins = read_varint(&mut at)?;
            let mut previous = 0i64;
            let mut list = Vec::with_capacity(usize::try_from(bins).ok()?.min(MAX_BINS));
            for _ in 0..bins {
                let step = read_varint(&mut at)?;
                previous = previous.checked_add((step >> 1) as i64 ^ -((step & 1) as i64))?;
                let index = i32::try_from(previous).ok()?;
                if list.len() >= MAX_BINS || list.last().is_some_and(|(last, _)| *last >= index) {
                    return None;
                }
                list.push((index, read_varint(&mut at)?));
            }
            Some(Bins(list))
        };
        let (positive, negative) = (read_bins()?, read_bins()?);
        at.is_empty().then_some(Self { zero, positive, negative })
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_varint(at: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = at.split_first()?;
        *at = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn exact(values: &mut [f64], q: f64) -> f64 {
        values.sort_by(f64::total_cmp);
        values[(q * (values.len() - 1) as f64).round() as usize]
    }

    #[test]
    fn quantiles_of_merged_sketches_are_within_one_percent_of_the_raw_values() {
        let mut values: Vec<f64> = (0..10_000u64).map(|i| ((i * 7_919) % 10_007) as f64 * 0.37 - 400.0).collect();
        let mut parts = vec![Sketch::default(); 16];
        for (i, value) in values.iter().enumerate() {
            parts[i % 16].add(*value, 1);
        }
        let mut merged = Sketch::default();
        parts.iter().for_each(|part| merged.merge(part));
        for q in [0.0, 0.01, 0.25, 0.5, 0.95, 0.99, 1.0] {
            let (want, got) = (exact(&mut values, q), merged.quantile(q).unwrap());
            assert!((want - got).abs() <= want.abs() * RELATIVE_ERROR * 1.000_001, "q={q}: {want} against {got}");
        }
        assert_eq!(merged.count(), 10_000);
    }

    #[test]
    fn the_stored_form_reads_back_and_damage_is_refused() {
        let mut sketch = Sketch::default();
        for value in [0.0, -3.5, 1e300, 1e-300, 42.0, 42.0, f64::NAN, f64::INFINITY] {
            sketch.add(value, 1);
        }
        let mut bytes = Vec::new();
        sketch.encode(&mut bytes);
        assert_eq!(Sketch::decode(&bytes), Some(sketch));
        for cut in 0..bytes.len() {
            assert_eq!(Sketch::decode(&bytes[..cut]), None);
        }
        assert_eq!(Sketch::decode(&[VERSION, 0, 255, 255, 255, 255, 15]), None);
    }

    #[test]
    fn many_magnitudes_stay_bounded_and_keep_the_high_quantiles() {
        let mut sketch = Sketch::default();
        (-300..300).for_each(|e| (1..10).for_each(|d| sketch.add(f64::from(d) * 10f64.powi(e), 1)));
        assert!(sketch.positive.0.len() <= MAX_BINS);
        assert_eq!(sketch.count(), 5_400);
        let top = sketch.quantile(1.0).unwrap();
        assert!((top / 9e299 - 1.0).abs() <= 0.011);
    }
}
