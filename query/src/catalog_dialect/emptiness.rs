//! Parts of statements that read tables of the catalog which never have a row here (indexes, constraints, triggers):
//! they have no rows either, whatever else they say, and much of that the engine does not plan.
//!
//! A query without rows becomes its columns, NULL, without a row; a subquery without rows NULL; `EXISTS` of it false.

use super::{column_name, has_aggregate, null};
use crate::provider::pg_supplement::is_empty_here;
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, CastKind, DataType, Expr, FunctionArguments, GroupByExpr, Ident, JoinOperator,
    ObjectName, Query, Select, SelectItem, SetExpr, SetOperator, TableFactor, TableWithJoins, Value, VisitorMut,
};
use std::collections::HashSet;
use std::ops::ControlFlow;

/// Visits every query after what is inside of it.
pub(super) struct Emptiness;

impl VisitorMut for Emptiness {
    type Break = ();

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let named: HashSet<String> = query
            .with
            .iter()
            .flat_map(|with| &with.cte_tables)
            .filter(|cte| is_empty(&cte.query.body))
            .map(|cte| cte.alias.name.value.to_lowercase())
            .collect();
        if fold(&mut query.body, &named) && is_empty(&query.body) {
            query.with = None;
            query.order_by = None;
            query.limit_clause = None;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let folded = match expr {
            Expr::Subquery(query) if is_empty(&query.body) => null(),
            Expr::Subquery(query) => match aggregated(query) {
                Some(value) => value,
                None => return ControlFlow::Continue(()),
            },
            Expr::Exists { subquery, negated } if is_empty(&subquery.body) => boolean(*negated),
            Expr::InSubquery { subquery, negated, .. } if is_empty(&subquery.body) => boolean(*negated),
            Expr::Function(function) => match &function.args {
                FunctionArguments::Subquery(query)
                    if is_empty(&query.body) && function.name.to_string().eq_ignore_ascii_case("array") =>
                {
                    no_texts()
                }
                _ => return ControlFlow::Continue(()),
            },
            _ => return ControlFlow::Continue(()),
        };
        *expr = folded;
        ControlFlow::Continue(())
    }
}

fn boolean(value: bool) -> Expr {
    Expr::Value(Value::Boolean(value).into())
}

/// `'{}'::text[]`.
fn no_texts() -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::Array(datafusion::sql::sqlparser::ast::Array { elem: Vec::new(), named: true })),
        data_type: DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(DataType::Text), None)),
        array: false,
        format: None,
    }
}

/// True once a body was found to have no rows: `WHERE false`.
fn is_empty(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => is_without_rows(select),
        SetExpr::Query(query) => is_empty(&query.body),
        SetExpr::SetOperation { op: SetOperator::Union, left, right, .. } => is_empty(left) && is_empty(right),
        SetExpr::SetOperation { op: SetOperator::Intersect, left, right, .. } => is_empty(left) || is_empty(right),
        SetExpr::SetOperation { left, .. } => is_empty(left),
        _ => false,
    }
}

fn is_without_rows(select: &Select) -> bool {
    matches!(&select.selection, Some(Expr::Value(value)) if value.value == Value::Boolean(false)) && is_plain(select)
}

/// True if a select has one row for each row it reads, or group of them.
fn is_plain(select: &Select) -> bool {
    let grouped = match &select.group_by {
        GroupByExpr::Expressions(by, _) => !by.is_empty(),
        GroupByExpr::All(_) => true,
    };
    let aggregates = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => has_aggregate(expr),
        _ => false,
    };
    grouped || (!select.projection.iter().any(aggregates) && select.having.is_none())
}

/// Takes the parts without rows apart; true if there was one.
fn fold(body: &mut SetExpr, named: &HashSet<String>) -> bool {
    match body {
        SetExpr::Select(select) => {
            let nothing = reads_nothing(&select.from, named) || select.selection.as_ref().is_some_and(is_never);
            let empty = !is_without_rows(select) && nothing && is_plain(select);
            empty && without_rows(select)
        }
        SetExpr::SetOperation { left, right, .. } => {
            let left = fold(left, named);
            fold(right, named) || left
        }
        _ => false,
    }
}

/// True for what no row of the catalog fulfils: columns have the collation of their type, and no relation has a type.
fn is_never(condition: &Expr) -> bool {
    let Expr::BinaryOp { left, op, right } = condition else { return false };
    let names = |first: &str, second: &str| {
        let is = |expr: &Expr, name: &str| column_name(expr).is_some_and(|column| column.value == name);
        (is(left, first) && is(right, second)) || (is(right, first) && is(left, second))
    };
    match op {
        BinaryOperator::And => is_never(left) || is_never(right),
        BinaryOperator::NotEq => names("attcollation", "typcollation"),
        BinaryOperator::Eq => names("reltype", "oid"),
        _ => false,
    }
}

fn reads_nothing(from: &[TableWithJoins], named: &HashSet<String>) -> bool {
    from.iter().any(|table| joined_empty(table, named))
}

fn joined_empty(table: &TableWithJoins, named: &HashSet<String>) -> bool {
    table.joins.iter().fold(factor_empty(&table.relation, named), |left, join| {
        let right = factor_empty(&join.relation, named);
        match join.join_operator {
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => left || right,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) => right,
            JoinOperator::FullOuter(_) => left && right,
            _ => left,
        }
    })
}

fn factor_empty(table: &TableFactor, named: &HashSet<String>) -> bool {
    match table {
        TableFactor::Table { name, args: None, .. } => is_empty_table(name, named),
        // `unnest(c.reloptions)`: no relation has options.
        TableFactor::Table { name, args: Some(arguments), .. } => {
            let of_options = arguments.args.iter().any(|argument| argument.to_string().ends_with("reloptions"));
            name.to_string().eq_ignore_ascii_case("unnest") && of_options
        }
        TableFactor::UNNEST { array_exprs, .. } => {
            array_exprs.iter().any(|array| array.to_string().ends_with("reloptions"))
        }
        TableFactor::Derived { subquery, .. } => is_empty(&subquery.body),
        TableFactor::NestedJoin { table_with_joins, .. } => joined_empty(table_with_joins, named),
        _ => false,
    }
}

fn is_empty_table(name: &ObjectName, named: &HashSet<String>) -> bool {
    let parts: Vec<String> =
        name.0.iter().filter_map(|part| part.as_ident()).map(|part| part.value.to_lowercase()).collect();
    match parts.as_slice() {
        [name] => named.contains(name) || is_empty_here(name),
        [schema, name] => schema == "pg_catalog" && is_empty_here(name),
        _ => false,
    }
}

/// The select's columns without a row; false if they are not listed one by one.
fn without_rows(select: &mut Select) -> bool {
    let mut seen = HashSet::new();
    let mut columns = Vec::new();
    for (position, item) in select.projection.iter().enumerate() {
        let mut alias = match item {
            SelectItem::ExprWithAlias { alias, .. } => alias.clone(),
            SelectItem::UnnamedExpr(expr) => match (column_name(expr), expr) {
                (Some(name), _) => name.clone(),
                (None, Expr::Function(function)) => {
                    Ident::with_quote('"', function.name.to_string().replace('"', "").to_lowercase())
                }
                _ => Ident::with_quote('"', format!("?column {}?", position + 1)),
            },
            _ => return false,
        };
        if !seen.insert(alias.value.to_lowercase()) {
            alias = Ident::with_quote('"', format!("?column {}?", position + 1));
        }
        columns.push(SelectItem::ExprWithAlias { expr: null(), alias });
    }
    select.projection = columns;
    select.from.clear();
    select.selection = Some(boolean(false));
    select.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
    select.having = None;
    select.distinct = None;
    true
}

/// `(SELECT string_agg(...) FROM pg_index ...)` is NULL, and `count` is 0.
fn aggregated(query: &Query) -> Option<Expr> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] = select.projection.as_slice()
    else {
        return None;
    };
    let Expr::Function(function) = value else { return None };
    let nothing = reads_nothing(&select.from, &HashSet::new()) || select.selection.as_ref().is_some_and(is_never);
    if !super::is_aggregate(function) || !nothing {
        return None;
    }
    let counts = function.name.to_string().eq_ignore_ascii_case("count");
    Some(if counts { Expr::Value(Value::Number("0".to_owned(), false).into()) } else { null() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use datafusion::sql::sqlparser::ast::VisitMut;
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    #[test]
    fn what_reads_a_table_without_rows_has_none() {
        let keys = "SELECT NULL AS \"A\", NULL AS b WHERE false";
        for (sql, folded) in [
            ("SELECT i.a AS \"A\", b FROM pg_index i, pg_class c WHERE f(i.x) ORDER BY 1 LIMIT 2", keys),
            ("SELECT \"A\", x.b FROM (SELECT unnest(q) AS \"A\", b FROM pg_catalog.pg_constraint) x, t", keys),
            ("WITH k AS (SELECT a FROM pg_index) SELECT a AS \"A\", b FROM t JOIN k ON t.a = k.a", keys),
            (
                "SELECT c.a, i.b FROM pg_class c LEFT JOIN (SELECT generate_subscripts(x, 1) AS b FROM pg_index) i ON c.a = i.b",
                "SELECT c.a, i.b FROM pg_class c LEFT JOIN (SELECT NULL AS b WHERE false) i ON c.a = i.b",
            ),
            ("SELECT count(*) FROM pg_index", "SELECT count(*) FROM pg_index"),
            ("SELECT a FROM myschema.pg_index", "SELECT a FROM myschema.pg_index"),
            ("SELECT (SELECT d.x FROM pg_attrdef d WHERE d.y = t.y) FROM t", "SELECT NULL FROM t"),
            ("SELECT (SELECT count(*) FROM pg_index i WHERE i.y = t.y) FROM t", "SELECT 0 FROM t"),
            ("SELECT 1 FROM t WHERE NOT EXISTS (SELECT 1 FROM pg_depend d)", "SELECT 1 FROM t WHERE true"),
            ("SELECT 1 FROM t WHERE a IN (SELECT y FROM pg_inherits)", "SELECT 1 FROM t WHERE false"),
            ("SELECT array(SELECT e.l FROM pg_enum e ORDER BY 1)", "SELECT CAST(ARRAY[] AS TEXT[])"),
            ("SELECT a FROM pg_index UNION SELECT b FROM t", "SELECT NULL AS a WHERE false UNION SELECT b FROM t"),
        ] {
            let mut statement = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().remove(0);
            let _ = statement.visit(&mut Emptiness);
            assert_eq!(statement.to_string(), folded, "{sql}");
        }
    }
}
