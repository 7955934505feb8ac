//! What one metric series did in one bucket: the arithmetic behind a row of `metrics`, mergeable in any order.

use crate::sketch::Sketch;

/// Count, sum, extremes, spread and sketch of the values of one bucket.
///
/// `m2` is the sum of squared distances from the mean, kept by the pairwise update of Chan, Golub and LeVeque
/// ("Updating formulae and a pairwise algorithm for computing sample variances", 1979), which does not cancel the way a
/// sum of squares does.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// Data points that arrived, whether or not they carried a value yet (the baseline of a cumulative sum does not).
    pub points: u64,
    /// Values counted; a histogram point counts as many as it recorded.
    pub count: u64,
    /// Sum of the values.
    pub sum: f64,
    /// Smallest value; infinity while there is none.
    pub min: f64,
    /// Largest value; minus infinity while there is none.
    pub max: f64,
    /// Sum of squared distances from the mean.
    pub m2: f64,
    /// Quantiles.
    pub sketch: Sketch,
}

impl Default for Aggregate {
    fn default() -> Self {
        Self {
            points: 0,
            count: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            m2: 0.0,
            sketch: Sketch::default(),
        }
    }
}

impl Aggregate {
    /// Adds `count` values equal to `value` (which must be finite; others are ignored). Does not count a point.
    pub fn add(&mut self, value: f64, count: u64) {
        if count == 0 || !value.is_finite() {
            return;
        }
        self.merge_moments(count, value * count as f64, 0.0);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sketch.add(value, count);
    }

    /// Adds everything `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        self.points = self.points.saturating_add(other.points);
        self.merge_moments(other.count, other.sum, other.m2);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sketch.merge(&other.sketch);
    }

    /// Replaces the sum of what was added from bucket midpoints by the exact sum that the sender reported.
    pub fn correct_sum(&mut self, exact: f64) {
        if exact.is_finite() {
            self.sum = exact;
        }
    }

    fn merge_moments(&mut self, count: u64, sum: f64, m2: f64) {
        if count == 0 {
            return;
        }
        if self.count > 0 {
            let (n, k) = (self.count as f64, count as f64);
            let distance = sum / k - self.sum / n;
            self.m2 += m2 + distance * distance * n * k / (n + k);
        } else {
            self.m2 = m2;
        }
        self.count = self.count.saturating_add(count);
        self.sum += sum;
    }

    /// Mean; `None` while empty.
    pub fn average(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// Population standard deviation; `None` while empty.
    pub fn standard_deviation(&self) -> Option<f64> {
        (self.count > 0).then(|| (self.m2 / self.count as f64).max(0.0).sqrt())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn merging_parts_gives_what_adding_everything_to_one_gives() {
        let values = [3.0, -1.5, 1e6, 1e6 + 1.0, 0.0, 7.25];
        let (mut whole, mut left, mut right) = (Aggregate::default(), Aggregate::default(), Aggregate::default());
        for (i, value) in values.iter().enumerate() {
            whole.add(*value, 1);
            if i % 2 == 0 { left.add(*value, 1) } else { right.add(*value, 1) }
        }
        left.merge(&right);
        assert_eq!((left.count, left.min, left.max), (whole.count, whole.min, whole.max));
        assert!((left.m2 / whole.m2 - 1.0).abs() < 1e-12);
        assert_eq!(left.sketch, whole.sketch);
    }

    #[test]
    fn standard_deviation_does_not_cancel_far_from_zero() {
        let mut aggregate = Aggregate::default();
        [1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0].iter().for_each(|v| aggregate.add(*v, 1));
        assert!((aggregate.standard_deviation().unwrap() - 22.5f64.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn nan_and_infinities_leave_no_trace() {
        let mut aggregate = Aggregate::default();
        aggregate.add(f64::NAN, 1);
        aggregate.add(f64::INFINITY, 1);
        assert_eq!(aggregate, Aggregate::default());
    }
}
