//! Columns that PostgreSQL lets have one name, and the engine does not: `SELECT a, a`, `SELECT '1'::int, '1'::bigint`.

use datafusion::sql::sqlparser::ast::{Expr, Ident, Select, SelectItem, VisitMut, VisitorMut};
use std::collections::HashSet;
use std::ops::ControlFlow;

/// Gives repeated columns names of their own; [`crate::naming`] gives the answer's columns those of PostgreSQL.
pub(super) fn tell_apart(select: &mut Select) {
    if select.projection.len() < 2 {
        return;
    }
    let mut seen = HashSet::new();
    for (position, item) in select.projection.iter_mut().enumerate() {
        if let SelectItem::UnnamedExpr(expr) = item
            && !seen.insert(name_of(expr))
        {
            let alias = Ident::with_quote('"', format!("?column {}?", position + 1));
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// The name that the engine gives: casts are not in it, and functions have the engine's names.
fn name_of(expr: &Expr) -> String {
    struct WithoutCasts;
    impl VisitorMut for WithoutCasts {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            while let Expr::Cast { expr: inner, .. } | Expr::Nested(inner) = expr {
                *expr = (**inner).clone();
            }
            if let Expr::Function(function) = expr
                && let Some(translated) = super::calls::translated(function)
            {
                *expr = translated;
            }
            ControlFlow::Continue(())
        }
    }
    let mut bare = expr.clone();
    let _ = bare.visit(&mut WithoutCasts);
    bare.to_string()
}
