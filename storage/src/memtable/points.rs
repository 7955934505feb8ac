//! What one data point adds to the row of its bucket.

use super::increase::Increase;
use whence_schema::aggregate::Aggregate;
use whence_schema::{ExponentialBuckets, PointValue};

/// Adds a value that stands for itself: a gauge, a delta, or a cumulative value counted in full.
pub(crate) fn add_value(into: &mut Aggregate, value: &PointValue) {
    match value {
        PointValue::Number(number) => into.add(*number, 1),
        PointValue::Histogram { count, sum, min, max, bounds, counts } => {
            let mut part = Aggregate::default();
            let edges = Edges { min: *min, max: *max };
            add_buckets(&mut part, bounds, counts, &edges);
            finish(into, part, *count, *sum, &edges);
        }
        PointValue::ExponentialHistogram { count, sum, min, max, scale, zero_count, positive, negative } => {
            let mut part = Aggregate::default();
            part.add(0.0, *zero_count);
            add_exponential(&mut part, *scale, positive, 1.0);
            add_exponential(&mut part, *scale, negative, -1.0);
            finish(into, part, *count, *sum, &Edges { min: *min, max: *max });
        }
        PointValue::Summary { count, sum, quantiles } => add_summary(into, *count, *sum, quantiles),
    }
}

/// Adds what a cumulative series grew by.
pub(crate) fn add_increase(into: &mut Aggregate, increase: &Increase) {
    let none = Edges { min: None, max: None };
    let mut part = Aggregate::default();
    match increase {
        Increase::Number(number) => into.add(*number, 1),
        Increase::Histogram { count, sum, bounds, counts } => {
            add_buckets(&mut part, bounds, counts, &none);
            finish(into, part, *count, *sum, &none);
        }
        Increase::Exponential { count, sum, scale, zero_count, positive, negative } => {
            part.add(0.0, *zero_count);
            add_exponential(&mut part, *scale, positive, 1.0);
            add_exponential(&mut part, *scale, negative, -1.0);
            finish(into, part, *count, *sum, &none);
        }
        Increase::Summary { count, sum, quantiles } => add_summary(into, *count, *sum, quantiles),
    }
}

struct Edges {
    min: Option<f64>,
    max: Option<f64>,
}

/// Values of a bucket are taken to lie in its middle; of the open buckets at both ends, at the known extreme or bound.
fn add_buckets(into: &mut Aggregate, bounds: &[f64], counts: &[u64], edges: &Edges) {
    for (index, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let lower = index.checked_sub(1).and_then(|below| bounds.get(below)).copied();
        let upper = bounds.get(index).copied();
        // The known extremes narrow the buckets they lie in.
        let lowest = edges.min.filter(|min| upper.is_none_or(|upper| *min <= upper));
        let lower = lower.into_iter().chain(lowest).reduce(f64::max);
        let highest = edges.max.filter(|max| lower.is_none_or(|lower| lower <= *max));
        let upper = upper.into_iter().chain(highest).reduce(f64::min);
        let middle = match (lower, upper) {
            (Some(lower), Some(upper)) => lower / 2.0 + upper / 2.0,
            // Most of what is measured is not negative: the first bucket then begins at zero.
            (None, Some(upper)) if upper > 0.0 => upper / 2.0,
            (None, Some(edge)) | (Some(edge), None) => edge,
            (None, None) => 0.0,
        };
        into.add(clamped(middle, edges), *count);
    }
}

fn add_exponential(into: &mut Aggregate, scale: i32, buckets: &ExponentialBuckets, sign: f64) {
    let growth = (-f64::from(scale)).exp2();
    for (index, count) in buckets.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let exponent = (f64::from(buckets.offset) + index as f64 + 0.5) * growth;
        into.add(sign * exponent.exp2().clamp(f64::MIN_POSITIVE, f64::MAX), *count);
    }
}

/// Shares out `count` between the quantiles: what lies between two of them is taken to lie at the upper.
fn add_summary(into: &mut Aggregate, count: u64, sum: f64, quantiles: &[(f64, f64)]) {
    let mut part = Aggregate::default();
    let mut given = 0;
    for (quantile, value) in quantiles {
        let up_to = ((quantile.clamp(0.0, 1.0) * count as f64).round() as u64).min(count);
        part.add(*value, up_to.saturating_sub(given));
        given = given.max(up_to);
    }
    if let Some((_, value)) = quantiles.last() {
        part.add(*value, count.saturating_sub(given));
    }
    // Quantiles 0 and 1 are the smallest and the largest value.
    let at = |wanted: f64| quantiles.iter().find(|(quantile, _)| *quantile == wanted).map(|(_, value)| *value);
    finish(into, part, count, Some(sum), &Edges { min: at(0.0), max: at(1.0) });
}

fn clamped(value: f64, edges: &Edges) -> f64 {
    let value = edges.min.map_or(value, |min| value.max(min));
    edges.max.map_or(value, |max| value.min(max))
}

/// Puts the sender's exact numbers in place of those from bucket middles.
fn finish(into: &mut Aggregate, mut part: Aggregate, count: u64, sum: Option<f64>, edges: &Edges) {
    if part.count == 0 && count > 0 {
        part.add(sum.map_or(0.0, |sum| sum / count as f64), count);
    }
    if part.count > 0 {
        if let Some(sum) = sum {
            part.correct_sum(sum);
        }
        part.min = edges.min.unwrap_or(part.min);
        part.max = edges.max.unwrap_or(part.max);
        into.merge(&part);
    }
}
