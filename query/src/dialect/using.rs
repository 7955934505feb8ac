//! The column that `JOIN ... USING (k)` merges from both sides. The engine takes the left side's in the lists of SELECT and
//! GROUP BY, also where it is `RIGHT JOIN` and has none, and calls it ambiguous in conditions: `WHERE k = 1`.

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Ident, JoinConstraint, JoinOperator, Query, Select, SelectItem, TableFactor, VisitMut,
    VisitorMut,
};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Names the side whose value the merged column has: in WHERE, HAVING and the conditions of later joins, and of a right
/// join in the lists as well.
pub(super) fn qualify(select: &mut Select) {
    for from in &mut select.from {
        let first = name(&from.relation);
        let mut merged = Merged::default();
        for (position, join) in from.joins.iter_mut().enumerate() {
            let left = if position == 0 { first.clone() } else { None };
            let right = name(&join.relation);
            let columns = match constraint_of(&mut join.join_operator) {
                Some(JoinConstraint::On(condition)) => {
                    merged.qualify(condition);
                    continue;
                }
                Some(JoinConstraint::Using(columns)) => columns.clone(),
                _ => continue,
            };
            for column in columns.iter().filter_map(|column| column.0.last()?.as_ident()) {
                merged.add(column, left.as_ref(), right.as_ref(), &join.join_operator);
            }
        }
        for condition in select.selection.iter_mut().chain(&mut select.having) {
            merged.qualify(condition);
        }
        merged.0.retain(|_, side| side.is_right);
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(Expr::Identifier(column)) = item
                && let Some(side) = merged.0.get(&super::columns::folded(column))
            {
                let (expr, alias) = (side.of(column), column.clone());
                *item = SelectItem::ExprWithAlias { expr, alias };
            } else if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                merged.qualify(expr);
            }
        }
        if let GroupByExpr::Expressions(list, _) = &mut select.group_by {
            list.iter_mut().for_each(|expr| merged.qualify(expr));
        }
        if let Some(Distinct::On(list)) = &mut select.distinct {
            list.iter_mut().for_each(|expr| merged.qualify(expr));
        }
    }
}

/// The merged columns by their folded names.
#[derive(Default)]
struct Merged(HashMap<String, Side>);

/// Whose value a merged column has.
#[derive(Clone)]
struct Side {
    table: Ident,
    is_right: bool,
}

impl Side {
    /// The column of this side.
    fn of(&self, column: &Ident) -> Expr {
        Expr::CompoundIdentifier(vec![self.table.clone(), column.clone()])
    }
}

impl Merged {
    /// Adds a column of a join whose left side is one table, or several that have no such name.
    fn add(&mut self, column: &Ident, left: Option<&Ident>, right: Option<&Ident>, operator: &JoinOperator) {
        use JoinOperator::{Inner, Join, Left, LeftOuter, Right, RightOuter};
        let key = super::columns::folded(column);
        let side = |table: Option<&Ident>, is_right| table.cloned().map(|table| Side { table, is_right });
        let known = || self.0.get(&key).cloned().or_else(|| side(left, false));
        let side = match operator {
            // Both have the same value.
            Join(_) | Inner(_) => known().or_else(|| side(right, false)),
            Left(_) | LeftOuter(_) => known(),
            Right(_) | RightOuter(_) => side(right, true),
            _ => None,
        };
        match side {
            Some(side) => self.0.insert(key, side),
            None => self.0.remove(&key),
        };
    }

    fn qualify(&self, condition: &mut Expr) {
        if !self.0.is_empty() {
            let _ = condition.visit(&mut Qualify { merged: self, subqueries: 0 });
        }
    }
}

/// Names the table of merged columns; names within subqueries are looked for there first.
struct Qualify<'a> {
    merged: &'a Merged,
    subqueries: usize,
}

impl VisitorMut for Qualify<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.subqueries += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.subqueries -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.subqueries == 0
            && let Expr::Identifier(column) = expr
            && let Some(side) = self.merged.0.get(&super::columns::folded(column))
        {
            *expr = side.of(column);
        }
        ControlFlow::Continue(())
    }
}

/// What a table is called in the query.
fn name(table: &TableFactor) -> Option<Ident> {
    match table {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::Function { alias: Some(alias), .. }
        | TableFactor::UNNEST { alias: Some(alias), .. } => Some(alias.name.clone()),
        TableFactor::Table { name, alias: None, .. } | TableFactor::Function { name, alias: None, .. } => {
            name.0.last()?.as_ident().cloned()
        }
        _ => None,
    }
}

fn constraint_of(operator: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    use JoinOperator::{FullOuter, Inner, Join, Left, LeftOuter, Right, RightOuter};
    match operator {
        Join(constraint)
        | Inner(constraint)
        | Left(constraint)
        | LeftOuter(constraint)
        | Right(constraint)
        | RightOuter(constraint)
        | FullOuter(constraint) => Some(constraint),
        _ => None,
    }
}
