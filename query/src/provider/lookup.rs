//! Conditions on computed ids, said once more on the columns they are computed from.
//!
//! `event_id(trace_id, span_id, ...) = X` cannot prune a file. `span_id = low half of X` can: there is a bloom filter on
//! it. So each condition on an id adds one that follows from it; the original stays, and decides.

use crate::functions::identity::{Identity, IdentityFunction};
use crate::functions::json::as_text_of;
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::prelude::lit;
use datafusion::scalar::ScalarValue;
use whence_schema::EventId;

/// What follows from `condition` on stored columns, if anything.
pub(crate) fn implied(condition: &Expr) -> Option<Expr> {
    let (call, values) = equalities(condition)?;
    if let Some(relation) = relation_of(call) {
        return Some(one_of(relation, values.into_iter().map(|value| Expr::Literal(value.clone(), None)).collect()));
    }
    let function = call.func.inner().downcast_ref::<IdentityFunction>()?;
    match (function.identity, call.args.as_slice()) {
        (Identity::Event, [_, span, digest, position]) => {
            let ids = values.iter().map(|value| id_of(value)).collect::<Option<Vec<_>>>()?;
            Some(event(&ids, span, digest, position))
        }
        (Identity::ParentEvent, [_, span, parent, digest]) => {
            let lows: Vec<_> = values.iter().map(|v| Some(half(id_of(v)?.low()))).collect::<Option<_>>()?;
            let of_span = digest.clone().is_null().and(one_of(parent, lows.clone()));
            Some(of_span.or(digest.clone().is_not_null().and(one_of(span, lows))))
        }
        (Identity::Halves, [_, low]) => {
            let lows: Vec<_> = values.iter().map(|v| Some(half(id_of(v)?.low()))).collect::<Option<_>>()?;
            Some(one_of(low, lows))
        }
        (Identity::TraceText, [trace]) => {
            let traces = values.iter().map(|value| {
                let id: EventId = digits(value, 32)?.parse().ok()?;
                Some(Expr::Literal(ScalarValue::FixedSizeBinary(16, Some(id.to_bytes().to_vec())), None))
            });
            Some(one_of(trace, traces.collect::<Option<_>>()?))
        }
        (Identity::SpanText, [span]) => {
            let spans = values.iter().map(|value| u64::from_str_radix(digits(value, 16)?, 16).ok().map(half));
            Some(one_of(span, spans.collect::<Option<_>>()?))
        }
        _ => None,
    }
}

/// The stored column behind `metadata->>'relation'` of a correlation.
fn relation_of(call: &ScalarFunction) -> Option<&Expr> {
    let (Expr::ScalarFunction(document), [key]) = as_text_of(call)? else { return None };
    let composed = document.func.inner().downcast_ref::<IdentityFunction>()?.identity == Identity::CorrelationMetadata;
    let asks = literal(key)?.try_as_str()? == Some("relation");
    document.args.first().filter(|_| composed && asks)
}

/// A span's id has its span id below; a log's or span event's has its position there, which is a small number.
fn event(ids: &[EventId], span: &Expr, digest: &Expr, position: &Expr) -> Expr {
    let of_spans = one_of(span, ids.iter().map(|id| half(id.low())).collect()).and(digest.clone().is_null());
    let positions = ids.iter().filter_map(|id| Some((id.high(), i32::try_from(id.low()).ok()?)));
    positions
        .map(|(high, low)| digest.clone().eq(half(high)).and(position.clone().eq(lit(low))))
        .fold(of_spans, Expr::or)
}

/// The call and the literals it is compared with, in `f() = x`, `f() IN (x, y)` and `f() = x OR f() = y`.
fn equalities(condition: &Expr) -> Option<(&ScalarFunction, Vec<&ScalarValue>)> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match (call(left), call(right)) {
            (Some(call), None) => Some((call, vec![literal(right)?])),
            (None, Some(call)) => Some((call, vec![literal(left)?])),
            _ => None,
        },
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let ((one, mut values), (other, more)) = (equalities(left)?, equalities(right)?);
            values.extend(more);
            (one == other).then_some((one, values))
        }
        Expr::InList(InList { expr, list, negated: false }) => {
            Some((call(expr)?, list.iter().map(literal).collect::<Option<_>>()?))
        }
        _ => None,
    }
}

fn call(expr: &Expr) -> Option<&ScalarFunction> {
    match expr {
        Expr::ScalarFunction(call) => Some(call),
        // Text is compared as a view of itself at times.
        Expr::Cast(cast) => call(&cast.expr),
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

fn id_of(value: &ScalarValue) -> Option<EventId> {
    match value {
        ScalarValue::FixedSizeBinary(16, Some(bytes)) => {
            Some(EventId(u128::from_be_bytes(bytes.as_slice().try_into().ok()?)))
        }
        _ => None,
    }
}

fn digits(value: &ScalarValue, length: usize) -> Option<&str> {
    let text = value.try_as_str()??;
    (text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit())).then_some(text)
}

fn half(bits: u64) -> Expr {
    lit(bits as i64)
}

fn one_of(column: &Expr, mut values: Vec<Expr>) -> Expr {
    match values.len() {
        1 => column.clone().eq(values.remove(0)),
        _ => column.clone().in_list(values, false),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::functions::uuid::uuid_literal;
    use datafusion::prelude::col;

    fn event_id() -> Expr {
        Identity::Event.of(vec![col("trace_id"), col("span_id"), col("request_digest"), col("position")])
    }

    fn uuid(id: u128) -> Expr {
        Expr::Literal(uuid_literal(EventId(id)), None)
    }

    #[test]
    fn the_id_of_a_span_becomes_a_condition_on_its_span_id() {
        let id = (7_u128 << 64) | 0x8000_0000_0000_0001;
        let condition = implied(&event_id().eq(uuid(id))).unwrap();
        let expected = col("span_id").eq(half(0x8000_0000_0000_0001)).and(col("request_digest").is_null());
        assert_eq!(condition, expected);
    }

    #[test]
    fn the_id_of_a_log_record_can_be_that_of_a_span_too() {
        let condition = implied(&event_id().eq(uuid((7_u128 << 64) | 3))).unwrap().to_string();
        assert!(condition.contains("request_digest = Int64(7) AND position = Int32(3)"), "{condition}");
        assert!(condition.contains("span_id = Int64(3)"), "{condition}");
    }

    #[test]
    fn texts_that_no_id_can_have_imply_nothing() {
        let trace = Identity::TraceText.of(vec![col("trace_id")]);
        assert_eq!(implied(&trace.clone().eq(lit("xyz"))), None);
        // Ids are shown in lower case: the original condition excludes this one, the implied one need not.
        assert!(implied(&trace.eq(lit("0123456789abcdef0123456789abcdef"))).is_some());
        assert_eq!(implied(&col("name").eq(lit("x"))), None);
    }
}
