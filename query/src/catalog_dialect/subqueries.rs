//! Subqueries over the catalog with one row or none, which the engine believes of aggregates only, and `ARRAY(SELECT ...)`.

use super::{column_name, has_aggregate};
use crate::dialect::build::call;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, OrderByKind, Query, Select, SelectItem, SetExpr, TableFactor, TableWithJoins,
    Value, VisitMut, VisitorMut,
};
use std::ops::ControlFlow;

/// Visits every expression.
pub(super) struct Subqueries;

impl VisitorMut for Subqueries {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Subquery(query) = expr {
            if let Some(base) = base_of_domain(query) {
                *expr = base;
                return ControlFlow::Continue(());
            }
            one_row(query);
        }
        if let Some(aggregated) = array_of_query(expr) {
            *expr = aggregated;
        }
        ControlFlow::Continue(())
    }
}

/// Names of the tables of a FROM; `None` if one is not of the catalog.
fn catalog_tables(from: &[TableWithJoins]) -> Option<Vec<String>> {
    let name = |table: &TableFactor| match table {
        TableFactor::Table { name, alias, args: None, .. } => {
            let last = name.0.last()?.as_ident()?.value.to_lowercase();
            last.starts_with("pg_").then(|| alias.as_ref().map_or(last, |alias| alias.name.value.to_lowercase()))
        }
        _ => None,
    };
    let all =
        from.iter().flat_map(|table| std::iter::once(&table.relation).chain(table.joins.iter().map(|j| &j.relation)));
    all.map(name).collect()
}

/// `(SELECT x FROM pg_class c WHERE c.oid = t.oid)` has one row at most.
fn one_row(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let Some(tables) = catalog_tables(&select.from).filter(|tables| !tables.is_empty()) else { return };
    if select.selection.is_none() || query.limit_clause.is_some() {
        return;
    }
    say_with_own_columns(select, &tables);
    let [item] = select.projection.as_mut_slice() else { return };
    let (SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }) = &*item else { return };
    if !has_aggregate(value) {
        *item = SelectItem::UnnamedExpr(call("first_value", vec![value.clone()]));
    }
}

/// `(WITH RECURSIVE bases(oid, depth) AS (SELECT t2.typbasetype, 0 FROM pg_type t2 WHERE t2.oid = t.oid UNION ALL ...) ...)`,
/// which asks for the type below a domain step by step, is `t.typbasetype`: all domains here (those of information_schema)
/// are one step above it. For other types the clients do not ask.
fn base_of_domain(query: &Query) -> Option<Expr> {
    let with = query.with.as_ref().filter(|with| with.recursive)?;
    let [bases] = with.cte_tables.as_slice() else { return None };
    let SetExpr::SetOperation { left, .. } = bases.query.body.as_ref() else { return None };
    let SetExpr::Select(first) = left.as_ref() else { return None };
    let [TableWithJoins { relation: TableFactor::Table { name, .. }, joins }] = first.from.as_slice() else {
        return None;
    };
    let is_types = name.0.last().and_then(|part| part.as_ident()).is_some_and(|part| part.value == "pg_type");
    let (SelectItem::UnnamedExpr(shown) | SelectItem::ExprWithAlias { expr: shown, .. }) = first.projection.first()?
    else {
        return None;
    };
    let Some(Expr::BinaryOp { left: own, op: BinaryOperator::Eq, right: outer }) = &first.selection else {
        return None;
    };
    let Expr::CompoundIdentifier(outer) = outer.as_ref() else { return None };
    let is = |expr: &Expr, column: &str| column_name(expr).is_some_and(|name| name.value == column);
    let asked = is_types && joins.is_empty() && is(shown, "typbasetype") && is(own, "oid");
    let [of, column] = outer.as_slice() else { return None };
    (asked && column.value == "oid").then(|| Expr::CompoundIdentifier(vec![of.clone(), Ident::new("typbasetype")]))
}

/// Where a condition says that a column of the subquery equals one of the query around it, everything else in the
/// subquery is said with its own: the engine takes such conditions out, and nothing else.
fn say_with_own_columns(select: &mut Select, tables: &[String]) {
    let mut conditions = Vec::new();
    if let Some(selection) = &select.selection {
        conjuncts(selection, &mut conditions);
    }
    let is_own = |expr: &Expr| match expr {
        Expr::CompoundIdentifier(parts) => parts
            .len()
            .checked_sub(2)
            .and_then(|at| parts.get(at))
            .is_some_and(|table| tables.contains(&table.value.to_lowercase())),
        _ => false,
    };
    let is_outer = |expr: &Expr| matches!(expr, Expr::CompoundIdentifier(_)) && !is_own(expr);
    let mut same: Vec<(Expr, Expr)> = Vec::new();
    for condition in &conditions {
        if let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = condition {
            if is_own(left) && is_outer(right) {
                same.push(((**right).clone(), (**left).clone()));
            } else if is_own(right) && is_outer(left) {
                same.push(((**left).clone(), (**right).clone()));
            }
        }
    }
    struct Replace<'a>(&'a [(Expr, Expr)]);
    impl VisitorMut for Replace<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Some((_, own)) = self.0.iter().find(|(outer, _)| outer == expr) {
                *expr = own.clone();
            }
            ControlFlow::Continue(())
        }
    }
    let says_it = |condition: &Expr| match condition {
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => same
            .iter()
            .any(|(outer, own)| (**left == *outer && **right == *own) || (**left == *own && **right == *outer)),
        _ => false,
    };
    let conditions = conditions.into_iter().map(|mut condition| {
        if !says_it(&condition) {
            let _ = condition.visit(&mut Replace(&same));
        }
        condition
    });
    select.selection = conditions.reduce(|left, right| Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::And,
        right: Box::new(right),
    });
    let _ = select.projection.visit(&mut Replace(&same));
}

fn conjuncts(expr: &Expr, into: &mut Vec<Expr>) {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            conjuncts(left, into);
            conjuncts(right, into);
        }
        other => into.push(other.clone()),
    }
}

/// `ARRAY(SELECT x ... ORDER BY y)` as an array of `(SELECT array_agg(x ORDER BY y) ...)`.
fn array_of_query(expr: &Expr) -> Option<Expr> {
    let Expr::Function(function) = expr else { return None };
    let FunctionArguments::Subquery(query) = &function.args else { return None };
    if !function.name.to_string().eq_ignore_ascii_case("array") {
        return None;
    }
    let mut query = query.clone();
    let order = match query.order_by.take().map(|order| order.kind) {
        Some(OrderByKind::Expressions(order)) => order,
        Some(OrderByKind::All(_)) => return None,
        None => Vec::new(),
    };
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    let [item] = select.projection.as_mut_slice() else { return None };
    let value = match item {
        SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. } => value.clone(),
        _ => return None,
    };
    if query.limit_clause.is_some() || select.distinct.is_some() {
        return None;
    }
    // An order by position means the one column.
    let order = order.into_iter().map(|mut by| {
        if matches!(&by.expr, Expr::Value(position) if matches!(position.value, Value::Number(..))) {
            by.expr = value.clone();
        }
        by
    });
    let order: Vec<_> = order.collect();
    let clauses = if order.is_empty() { Vec::new() } else { vec![FunctionArgumentClause::OrderBy(order)] };
    let arguments = FunctionArgumentList {
        duplicate_treatment: None,
        args: vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(value))],
        clauses,
    };
    let aggregate = Function {
        name: ObjectName::from(vec![Ident::new("array_agg")]),
        args: FunctionArguments::List(arguments),
        ..function.clone()
    };
    *item = SelectItem::UnnamedExpr(Expr::Function(aggregate));
    // Of no rows it is an empty array, where array_agg is NULL.
    Some(call("rows_of_array", vec![Expr::Subquery(query)]))
}
