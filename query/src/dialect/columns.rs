//! Columns that PostgreSQL lets have one name, and the engine does not: `SELECT a, a`, `SELECT '1'::int, '1'::bigint`.

use crate::naming;
use datafusion::sql::sqlparser::ast::{Expr, GroupByExpr, Ident, Select, SelectItem, VisitMut, VisitorMut};
use std::collections::HashSet;
use std::ops::ControlFlow;

/// Gives all columns names of their own, those of PostgreSQL where they differ from one another. Only where nothing else
/// of the query can mean a column by its expression.
pub(super) fn name_all(select: &mut Select) {
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(list, _) if list.is_empty());
    let named = |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
    if grouped || select.distinct.is_some() || !select.projection.iter().all(named) {
        return;
    }
    let is_only = select.projection.len() == 1;
    let mut seen = HashSet::new();
    for (position, item) in select.projection.iter_mut().enumerate() {
        let (expr, name) = match item {
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(folded(alias))),
            SelectItem::UnnamedExpr(expr) => {
                let name = naming::of_expression(expr).filter(|name| name != "?column?");
                (expr, name)
            }
            _ => continue,
        };
        let is_column = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
        if name.is_none() && is_only {
            return;
        }
        let name = name.filter(|name| seen.insert(name.clone()));
        if is_column && name.is_some() && matches!(item, SelectItem::UnnamedExpr(_)) {
            continue;
        }
        let name = name.unwrap_or_else(|| format!("?column {}?", position + 1));
        let expr = match item {
            SelectItem::ExprWithAlias { expr, .. } | SelectItem::UnnamedExpr(expr) => expr.clone(),
            _ => continue,
        };
        *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) };
    }
}

/// A name as it is looked for: in small letters unless it is quoted.
pub(super) fn folded(word: &Ident) -> String {
    if word.quote_style.is_some() { word.value.clone() } else { word.value.to_lowercase() }
}

/// Gives repeated columns names of their own; [`crate::naming`] gives the answer's columns those of PostgreSQL.
pub(super) fn tell_apart(select: &mut Select) {
    if select.projection.len() < 2 {
        return;
    }
    // Any column may be among those of `*`.
    let all = select
        .projection
        .iter()
        .any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
    let is_column = |expr: &Expr| matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
    let mut seen = HashSet::new();
    for (position, item) in select.projection.iter_mut().enumerate() {
        if let SelectItem::UnnamedExpr(expr) = item
            && (!seen.insert(name_of(expr)) || all && is_column(expr))
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
