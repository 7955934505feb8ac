//! Cumulative values into increases: resets, first points, points out of order.

use whence_schema::{ExponentialBuckets, MetricPoint, PointValue, UnixNanos};

/// Age up to which a first point's start proves that the series is new, so that its value counts in full.
const RECENT_START_NANOS: i64 = 5 * 60 * 1_000_000_000;

/// The last cumulative value of a series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Last {
    pub(crate) start: UnixNanos,
    pub(crate) timestamp: UnixNanos,
    pub(crate) value: PointValue,
}

/// What a series grew by between two points.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Increase {
    Number(f64),
    Histogram {
        count: u64,
        sum: Option<f64>,
        bounds: Vec<f64>,
        counts: Vec<u64>,
    },
    Exponential {
        count: u64,
        sum: Option<f64>,
        scale: i32,
        zero_count: u64,
        positive: ExponentialBuckets,
        negative: ExponentialBuckets,
    },
    Summary {
        count: u64,
        sum: f64,
        quantiles: Vec<(f64, f64)>,
    },
}

/// What a cumulative point says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Growth {
    /// The series grew by this much.
    By(Increase),
    /// The series began or was reset: the point's value is what happened since.
    Whole,
    /// Nothing to compare with, or older than what is known: the point counts, its value does not.
    Unknown,
}

/// Compares a cumulative point with the last one and remembers it.
pub(crate) fn advance(last: &mut Option<Last>, point: &MetricPoint) -> Growth {
    let growth = match &*last {
        None => first(point),
        Some(known) if point.timestamp <= known.timestamp => return Growth::Unknown,
        // A start after everything known: the sender began anew.
        Some(known) if point.start > known.start && point.start >= known.timestamp => Growth::Whole,
        Some(known) => match difference(&known.value, &point.value) {
            Difference::Grown(increase) => Growth::By(increase),
            Difference::Shrunk => Growth::Whole,
            Difference::NotComparable => Growth::Unknown,
        },
    };
    *last = Some(Last { start: point.start, timestamp: point.timestamp, value: point.value.clone() });
    growth
}

fn first(point: &MetricPoint) -> Growth {
    let age = point.timestamp.0.saturating_sub(point.start.0);
    if point.start.0 != 0 && (0..=RECENT_START_NANOS).contains(&age) { Growth::Whole } else { Growth::Unknown }
}

enum Difference {
    Grown(Increase),
    Shrunk,
    NotComparable,
}

fn difference(before: &PointValue, now: &PointValue) -> Difference {
    use PointValue::{ExponentialHistogram, Histogram, Number, Summary};
    let grown = |increase: Option<Increase>| increase.map_or(Difference::Shrunk, Difference::Grown);
    match (before, now) {
        (Number(before), Number(now)) => grown((now >= before).then(|| Increase::Number(now - before))),
        (
            Histogram { count: before, sum: before_sum, bounds: before_bounds, counts: before_counts, .. },
            Histogram { count, sum, bounds, counts, .. },
        ) => {
            if before_bounds != bounds || before_counts.len() != counts.len() {
                return Difference::NotComparable;
            }
            grown(count.checked_sub(*before).zip(subtract(counts, before_counts)).map(|(count, counts)| {
                Increase::Histogram { count, sum: minus(*sum, *before_sum), bounds: bounds.clone(), counts }
            }))
        }
        (before @ ExponentialHistogram { .. }, now @ ExponentialHistogram { .. }) => grown(exponential(before, now)),
        (Summary { count: before, sum: before_sum, .. }, Summary { count, sum, quantiles }) => {
            grown(count.checked_sub(*before).map(|count| Increase::Summary {
                count,
                sum: sum - before_sum,
                quantiles: quantiles.clone(),
            }))
        }
        _ => Difference::NotComparable,
    }
}

fn minus(now: Option<f64>, before: Option<f64>) -> Option<f64> {
    now.zip(before).map(|(now, before)| now - before)
}

/// `None` when any count went down.
fn subtract(now: &[u64], before: &[u64]) -> Option<Vec<u64>> {
    now.iter().zip(before).map(|(now, before)| now.checked_sub(*before)).collect()
}

fn exponential(before: &PointValue, now: &PointValue) -> Option<Increase> {
    let (
        PointValue::ExponentialHistogram {
            count: before_count,
            sum: before_sum,
            scale: before_scale,
            zero_count: before_zero,
            positive: before_positive,
            negative: before_negative,
            ..
        },
        PointValue::ExponentialHistogram { count, sum, scale, zero_count, positive, negative, .. },
    ) = (before, now)
    else {
        return None;
    };
    // Scales only ever become coarser while a series lives; the coarser of the two can express both.
    let common = (*scale).min(*before_scale);
    let side = |now: &ExponentialBuckets, before: &ExponentialBuckets| {
        subtract_aligned(&coarser(now, *scale, common), &coarser(before, *before_scale, common))
    };
    Some(Increase::Exponential {
        count: count.checked_sub(*before_count)?,
        sum: minus(*sum, *before_sum),
        scale: common,
        zero_count: zero_count.checked_sub(*before_zero)?,
        positive: side(positive, before_positive)?,
        negative: side(negative, before_negative)?,
    })
}

/// The same counts at a lower scale: each step joins two neighbouring buckets.
fn coarser(buckets: &ExponentialBuckets, from: i32, to: i32) -> ExponentialBuckets {
    let shift = from.saturating_sub(to).clamp(0, 31) as u32;
    if shift == 0 || buckets.counts.is_empty() {
        return buckets.clone();
    }
    let offset = buckets.offset >> shift;
    let mut counts = Vec::new();
    for (index, count) in buckets.counts.iter().enumerate() {
        let at = ((i64::from(buckets.offset) + index as i64) >> shift) - i64::from(offset);
        let at = usize::try_from(at).unwrap_or(0);
        if counts.len() <= at {
            counts.resize(at + 1, 0u64);
        }
        counts[at] = counts[at].saturating_add(*count);
    }
    ExponentialBuckets { offset, counts }
}

fn subtract_aligned(now: &ExponentialBuckets, before: &ExponentialBuckets) -> Option<ExponentialBuckets> {
    let mut counts = now.counts.clone();
    for (index, count) in before.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let at = i64::from(before.offset) + index as i64 - i64::from(now.offset);
        let slot = usize::try_from(at).ok().and_then(|at| counts.get_mut(at))?;
        *slot = slot.checked_sub(*count)?;
    }
    Some(ExponentialBuckets { offset: now.offset, counts })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MINUTE: i64 = 60_000_000_000;

    fn point(start: i64, timestamp: i64, value: PointValue) -> MetricPoint {
        MetricPoint { series: 0, timestamp: UnixNanos(timestamp), start: UnixNanos(start), cumulative: true, value }
    }

    fn number(start: i64, timestamp: i64, value: f64) -> MetricPoint {
        point(start, timestamp, PointValue::Number(value))
    }

    #[test]
    fn increases_follow_from_the_last_value_and_a_smaller_one_is_a_reset() {
        let mut last = None;
        assert_eq!(advance(&mut last, &number(MINUTE, 60 * MINUTE, 100.0)), Growth::Unknown);
        assert_eq!(advance(&mut last, &number(MINUTE, 61 * MINUTE, 107.0)), Growth::By(Increase::Number(7.0)));
        assert_eq!(advance(&mut last, &number(MINUTE, 62 * MINUTE, 107.0)), Growth::By(Increase::Number(0.0)));
        assert_eq!(advance(&mut last, &number(MINUTE, 63 * MINUTE, 3.0)), Growth::Whole);
        assert_eq!(advance(&mut last, &number(MINUTE, 64 * MINUTE, 5.0)), Growth::By(Increase::Number(2.0)));
    }

    #[test]
    fn a_new_start_is_a_reset_even_if_the_value_is_larger() {
        let mut last = None;
        advance(&mut last, &number(MINUTE, 60 * MINUTE, 1.0));
        assert_eq!(advance(&mut last, &number(60 * MINUTE + 1, 61 * MINUTE, 50.0)), Growth::Whole);
    }

    #[test]
    fn a_first_point_counts_only_when_its_start_is_recent() {
        assert_eq!(advance(&mut None, &number(58 * MINUTE, 60 * MINUTE, 9.0)), Growth::Whole);
        assert_eq!(advance(&mut None, &number(50 * MINUTE, 60 * MINUTE, 9.0)), Growth::Unknown);
        assert_eq!(advance(&mut None, &number(0, MINUTE, 9.0)), Growth::Unknown);
    }

    #[test]
    fn a_late_point_changes_nothing() {
        let mut last = None;
        advance(&mut last, &number(MINUTE, 60 * MINUTE, 10.0));
        assert_eq!(advance(&mut last, &number(MINUTE, 59 * MINUTE, 4.0)), Growth::Unknown);
        assert_eq!(advance(&mut last, &number(MINUTE, 61 * MINUTE, 12.0)), Growth::By(Increase::Number(2.0)));
    }

    #[test]
    fn exponential_histograms_of_two_scales_are_compared_at_the_coarser() {
        let histogram = |scale, offset, counts: &[u64]| PointValue::ExponentialHistogram {
            count: counts.iter().sum(),
            sum: Some(1.0),
            min: None,
            max: None,
            scale,
            zero_count: 0,
            positive: ExponentialBuckets { offset, counts: counts.to_vec() },
            negative: ExponentialBuckets::default(),
        };
        let mut last = None;
        advance(&mut last, &point(MINUTE, 60 * MINUTE, histogram(1, -3, &[1, 2, 3, 4])));
        // At scale 0 the four buckets -3..=0 become -2 (1), -1 (2+3) and 0 (4).
        let growth = advance(&mut last, &point(MINUTE, 61 * MINUTE, histogram(0, -2, &[1, 6, 4, 2])));
        let Growth::By(Increase::Exponential { count, positive, .. }) = growth else { panic!("{growth:?}") };
        assert_eq!((count, positive.offset, positive.counts), (3, -2, vec![0, 1, 0, 2]));
    }
}
