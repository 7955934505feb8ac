//! Structural links: what spans, logs and exemplars say themselves about what led to what.
//!
//! | relation | primary | related | strength |
//! |---|---|---|---|
//! | `call` | parent span | child span in another asset | share of the parent's duration the child covers |
//! | `failure` | failed child span | failed parent span in another asset | how close to the parent's end the child ended |
//! | `link` | linked span | span that names it | 1 |
//! | `message` | producer span | consumer span that is its child in another asset, or links to it | 1 |
//! | `log_in_span` | span | log record | 1 |
//! | `exemplar` | span | metric row | 1 |
//!
//! The strength of a `failure` is no share of time: a callee that fails at once covers nothing of its caller and still
//! explains its failure. What the two rows can tell is whether the caller went on for long afterwards: a failed call
//! that was retried with success, or made up for, is followed by more of the caller's work.

use crate::pending::{End, Wait};
use crate::window::{Marks, Seen};
use whence_schema::tables::correlations::CorrelationRow;
use whence_schema::{EventId, Relation, TenantId, UnixNanos};

/// `correlation_type` of every structural link.
pub(crate) const CAUSAL: &str = "causal";

/// Start and duration of a span, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: UnixNanos,
    /// Never negative.
    pub(crate) duration: i64,
}

impl Extent {
    /// When the span ended.
    pub(crate) fn end(self) -> i64 {
        self.start.0.saturating_add(self.duration)
    }

    /// Nanoseconds both spans last at once.
    pub(crate) fn overlap(self, other: Self) -> i64 {
        self.end().min(other.end()).saturating_sub(self.start.0.max(other.start.0)).max(0)
    }
}

/// Share of the parent's duration that the child covers, 0 to 1; 0 for a parent without duration.
pub(crate) fn share(parent: Extent, child: Extent) -> f32 {
    ratio(parent.overlap(child), parent.duration, 0.0)
}

/// How close to its caller's end a failed callee ended, 0 to 1: 1 when nothing came after it, also for a caller
/// without duration.
pub(crate) fn closeness(parent: Extent, child: Extent) -> f32 {
    1.0 - ratio(parent.end().saturating_sub(child.end()).max(0), parent.duration, 0.0)
}

fn ratio(part: i64, whole: i64, without_whole: f32) -> f32 {
    if whole <= 0 {
        return without_whole;
    }
    ((part as f64 / whole as f64) as f32).clamp(0.0, 1.0)
}

/// Adds the links between `span` and `end`, which wants it, to `rows`.
pub(crate) fn links(tenant: &TenantId, span: &Seen, end: &End, created_at: UnixNanos, rows: &mut Vec<CorrelationRow>) {
    let primary = (span.id, span.start);
    let related = (end.own, end.start);
    let mut push = |relation, primary: (EventId, UnixNanos), related: (EventId, UnixNanos), strength| {
        rows.push(CorrelationRow {
            tenant: tenant.clone(),
            correlation_type: CAUSAL,
            relation,
            primary: primary.0,
            related: related.0,
            primary_timestamp: primary.1,
            related_timestamp: related.1,
            strength,
            confidence: 1.0,
            created_at,
            metadata: None,
        });
    };
    let is_message = span.marks.has(Marks::PRODUCER) && end.marks.has(Marks::CONSUMER);
    let assets_differ = span.asset != end.asset;
    match end.wait {
        Wait::Parent if !assets_differ => {}
        Wait::Parent if is_message => push(Relation::Message, primary, related, 1.0),
        Wait::Parent => {
            let parent = Extent { start: span.start, duration: span.duration };
            let child = Extent { start: end.start, duration: end.duration };
            push(Relation::Call, primary, related, share(parent, child));
            if span.marks.has(Marks::FAILED) && end.marks.has(Marks::FAILED) {
                push(Relation::Failure, related, primary, closeness(parent, child));
            }
        }
        // A consumer that is its producer's child and links to it as well has one message, not two.
        Wait::Linked if is_message && assets_differ && end.marks.has(Marks::LINKS_PARENT) => {}
        Wait::Linked if is_message => push(Relation::Message, primary, related, 1.0),
        Wait::Linked => push(Relation::Link, primary, related, 1.0),
        Wait::LogSpan => push(Relation::LogInSpan, primary, related, 1.0),
        Wait::ExemplarSpan => push(Relation::Exemplar, primary, related, 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(start: i64, duration: i64) -> Extent {
        Extent { start: UnixNanos(start), duration }
    }

    #[test]
    fn the_share_counts_only_what_lies_inside_the_parent() {
        assert_eq!(share(extent(0, 100), extent(50, 100)), 0.5);
        assert_eq!(share(extent(0, 100), extent(-50, 1_000)), 1.0);
        assert_eq!(share(extent(0, 100), extent(200, 10)), 0.0);
        assert_eq!(share(extent(0, 0), extent(0, 10)), 0.0);
        assert_eq!(share(extent(i64::MIN, i64::MAX), extent(i64::MAX, i64::MAX)), 0.0);
    }

    #[test]
    fn a_failure_that_the_caller_outlives_explains_it_less() {
        assert_eq!(closeness(extent(0, 100), extent(10, 90)), 1.0);
        assert_eq!(closeness(extent(0, 100), extent(10, 500)), 1.0);
        assert_eq!(closeness(extent(0, 100), extent(10, 15)), 0.25);
        assert_eq!(closeness(extent(0, 0), extent(0, 0)), 1.0);
    }
}
