//! What clients' questions about the catalog say in a way DataFusion does not read, put right in the parsed statement.
//!
//! ```text
//! names       schemas of functions and operators, current_user, x::regclass
//! emptiness   parts that read tables which never have rows here: indexes, constraints, triggers, ...
//! subqueries  those with one row or none, ARRAY(SELECT ...)
//! ```

mod emptiness;
mod names;
mod subqueries;

use datafusion::sql::sqlparser::ast::{Expr, Function, Ident, Statement, Value, VisitMut};

/// Puts the statement right.
pub(crate) fn adapt(statement: &mut Statement) {
    names::name_shown_oids(statement);
    let _ = statement.visit(&mut names::Names);
    let _ = statement.visit(&mut emptiness::Emptiness);
    let _ = statement.visit(&mut subqueries::Subqueries);
}

fn text(value: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.to_owned()).into())
}

fn null() -> Expr {
    Expr::Value(Value::Null.into())
}

/// The last word of a column's name.
fn column_name(expr: &Expr) -> Option<&Ident> {
    match expr {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(names) => names.last(),
        Expr::Nested(inner) => column_name(inner),
        _ => None,
    }
}

/// True for a call of a function that makes one value of many rows.
fn is_aggregate(function: &Function) -> bool {
    const AGGREGATES: [&str; 16] = [
        "array_agg",
        "avg",
        "bool_and",
        "bool_or",
        "count",
        "every",
        "first_value",
        "json_agg",
        "json_object_agg",
        "jsonb_agg",
        "jsonb_object_agg",
        "max",
        "min",
        "string_agg",
        "sum",
        "last_value",
    ];
    let name = function.name.0.last().map(|part| part.to_string().to_lowercase()).unwrap_or_default();
    function.over.is_none() && AGGREGATES.contains(&name.as_str())
}

/// True if an aggregate is anywhere in it, subqueries apart.
fn has_aggregate(expr: &Expr) -> bool {
    use datafusion::sql::sqlparser::ast::{Query, Visit, Visitor};
    use std::ops::ControlFlow;
    #[derive(Default)]
    struct Aggregates {
        depth: usize,
    }
    impl Visitor for Aggregates {
        type Break = ();
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Function(function) if self.depth == 0 && is_aggregate(function) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    expr.visit(&mut Aggregates::default()).is_break()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    #[test]
    fn questions_about_the_catalog_are_put_in_other_words() {
        for (sql, adapted) in [
            (
                "SELECT ARRAY(SELECT a FROM t WHERE t.x = u.x ORDER BY 1)",
                "SELECT rows_of_array((SELECT array_agg(a ORDER BY a) FROM t WHERE t.x = u.x))",
            ),
            ("SELECT 1 FROM pg_type WHERE t.typreceive <> 0", "SELECT 1 FROM pg_type WHERE t.typreceive <> '-'"),
            (
                "SELECT 1 FROM pg_type WHERE typinput = 'pg_catalog.array_in'::regproc",
                "SELECT 1 FROM pg_type WHERE typinput = 'array_in'",
            ),
            ("SELECT ARRAY[1, 2]", "SELECT ARRAY[1, 2]"),
            ("SELECT current_catalog, pg_catalog.now()", "SELECT current_database(), now()"),
            ("SELECT a OPERATOR(pg_catalog.~) 'x' FROM t", "SELECT a ~ 'x' FROM t"),
            ("SELECT c.oid::pg_catalog.regclass", "SELECT name_of_oid('regclass', c.oid)"),
            ("SELECT 'x'::regclass::oid", "SELECT oid_of('oid', oid_of('regclass', 'x'))"),
            (
                "SELECT 1 WHERE a = $1::regtype::text",
                "SELECT 1 WHERE a = name_of_oid('regtype', oid_of('regtype', $1))",
            ),
            (
                "SELECT (SELECT c.relkind = 'c' FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid)",
                "SELECT (SELECT first_value(c.relkind = 'c') FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid)",
            ),
            (
                "SELECT (SELECT l.a FROM pg_l l, pg_t t WHERE l.oid = o.x AND t.oid = o.y AND o.x <> t.z) FROM o",
                "SELECT (SELECT first_value(l.a) FROM pg_l l, pg_t t WHERE l.oid = o.x AND t.oid = o.y AND l.oid <> t.z) FROM o",
            ),
            (
                "SELECT (WITH RECURSIVE b(oid, d) AS (SELECT p.typbasetype AS oid, 0 FROM pg_type p WHERE p.oid = t.oid \
                 UNION ALL SELECT p.typbasetype, b.d + 1 FROM pg_type p, b WHERE b.oid = p.oid AND p.typbasetype <> 0) \
                 SELECT oid FROM b ORDER BY d DESC LIMIT 1) FROM pg_type t",
                "SELECT t.typbasetype FROM pg_type t",
            ),
        ] {
            let mut statement = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().remove(0);
            adapt(&mut statement);
            assert_eq!(statement.to_string(), adapted);
        }
    }
}
