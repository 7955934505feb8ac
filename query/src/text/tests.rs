#![allow(clippy::unwrap_used)]
use super::needed;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::prelude::{col, lit};
use whence_storage::TextCondition;

fn all(parts: &[(&str, bool, bool)]) -> TextCondition {
    parts
        .iter()
        .map(|(text, left, right)| TextCondition::contains(text, *left, *right))
        .fold(TextCondition::always(), TextCondition::and)
}

fn matches(op: Operator, pattern: &str) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(col("body")), op, Box::new(lit(pattern))))
}

#[test]
fn a_pattern_of_like_needs_what_stands_between_its_wildcards() {
    for (pattern, parts) in [
        ("%refused%", &[("refused", true, true)][..]),
        ("refused%", &[("refused", false, true)]),
        ("%connection refused", &[("connection refused", true, false)]),
        ("a_c%10\\%%", &[("a", false, true), ("c", true, true), ("10%", true, true)]),
    ] {
        assert_eq!(needed(&col("body").like(lit(pattern))), all(parts), "{pattern}");
        assert_eq!(needed(&col("body").ilike(lit(pattern))), all(parts), "{pattern}");
        assert!(needed(&col("body").not_like(lit(pattern))).is_always());
        assert!(needed(&col("severity").like(lit(pattern))).is_always());
    }
}

#[test]
fn a_regular_expression_needs_its_literals_and_one_of_its_alternatives() {
    let open = |text: &'static str| (text, true, true);
    for (op, pattern, expected) in [
        (Operator::RegexMatch, "foo.*bar", all(&[open("foo"), open("bar")])),
        (Operator::RegexMatch, "^foo\\s+bar$", all(&[("foo", false, false), ("bar", false, false)])),
        (Operator::RegexMatch, "\\bfoo\\b.bar", all(&[("foo", false, false), open("bar")])),
        (Operator::RegexMatch, "foo(bar)baz", all(&[open("foobarbaz")])),
        (Operator::RegexMatch, "fo+", all(&[open("f"), open("o")])),
        (Operator::RegexMatch, "fo?x*", all(&[open("f")])),
        (Operator::RegexMatch, "(?i)Kill", all(&[open("kill")])),
        (Operator::RegexIMatch, "Kill", all(&[open("kill")])),
        (Operator::RegexMatch, "foo[xX]bar", all(&[open("fooxbar")])),
        (Operator::RegexMatch, "foo[xy]bar", all(&[open("foo"), open("bar")])),
        (Operator::RegexMatch, "foo[^a-z]bar", all(&[open("foo"), open("bar")])),
    ] {
        assert_eq!(needed(&matches(op, pattern)), expected, "{pattern}");
    }
    let either = needed(&matches(Operator::RegexMatch, "foo|bar"));
    assert_eq!(either, TextCondition::All(vec![TextCondition::Any(vec![all(&[open("foo")]), all(&[open("bar")])])]));
    for pattern in [".*", "", "[0-9]+", "(", "foo|"] {
        assert!(needed(&matches(Operator::RegexMatch, pattern)).is_always(), "{pattern}");
    }
    assert!(needed(&matches(Operator::RegexNotMatch, "foo")).is_always());
}
