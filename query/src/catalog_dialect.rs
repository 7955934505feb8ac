//! What clients' questions about the catalog say in a way DataFusion does not read, put right in the parsed statement.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, OrderByKind, Query, SelectItem, SetExpr, Statement,
    TableFactor, TableWithJoins, Value, VisitMut, VisitorMut,
};
use std::ops::ControlFlow;

/// Columns of `pg_type` that name a function; 0 is none in PostgreSQL's numbers, and `-` in its names.
const FUNCTION_NAMES: [&str; 7] =
    ["typreceive", "typsend", "typinput", "typoutput", "typmodin", "typmodout", "typanalyze"];

/// How drivers take the columns of keys and indexes apart. There are no keys and no indexes.
const KEY_COLUMNS: [&str; 3] = ["_pg_expandarray", "con.conkey[", "unnest(pg_catalog.pg_constraint.conkey)"];

/// Puts the statement right.
pub(crate) fn adapt(statement: &mut Statement) {
    if let Statement::Query(query) = statement
        && asks_for_keys(query)
    {
        no_rows(query);
        return;
    }
    let _ = statement.visit(&mut Adapt);
}

fn asks_for_keys(query: &Query) -> bool {
    let text = query.to_string();
    KEY_COLUMNS.iter().any(|mark| text.contains(mark))
}

/// The query's columns without a row.
fn no_rows(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    for item in &mut select.projection {
        let alias = match &*item {
            SelectItem::ExprWithAlias { alias, .. } => alias.clone(),
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => name.clone(),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => match names.last() {
                Some(name) => name.clone(),
                None => return,
            },
            _ => return,
        };
        let expr = Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(Expr::Value(Value::Null.into())),
            data_type: DataType::Text,
            array: false,
            format: None,
        };
        *item = SelectItem::ExprWithAlias { expr, alias };
    }
    select.from.clear();
    select.selection = Some(Expr::Value(Value::Boolean(false).into()));
    query.with = None;
    query.order_by = None;
}

struct Adapt;

impl VisitorMut for Adapt {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let of_catalog = match &*expr {
            Expr::Identifier(name) if name.quote_style.is_none() => name.value.eq_ignore_ascii_case("current_catalog"),
            Expr::Function(function) => function.name.to_string().eq_ignore_ascii_case("current_catalog"),
            _ => false,
        };
        if of_catalog {
            *expr = call("current_database", Vec::new());
        }
        // The catalog library puts '' in the place of the query by which Grafana finds the schemas of the search path.
        if let Expr::InList { expr: schema, list, .. } = expr
            && schema.to_string() == "quote_ident(table_schema)"
            && matches!(list.as_slice(), [Expr::Value(only)] if only.value == Value::SingleQuotedString(String::new()))
        {
            *list = vec![Expr::Value(Value::SingleQuotedString("public".to_owned()).into())];
        }
        if let Expr::Subquery(query) = expr {
            one_row(query);
        }
        if let Expr::BinaryOp { left, op: BinaryOperator::Eq | BinaryOperator::NotEq, right } = expr
            && names_a_function(left)
            && matches!(right.as_ref(), Expr::Value(value) if matches!(&value.value, Value::Number(digits, _) if digits == "0"))
        {
            **right = Expr::Value(Value::SingleQuotedString("-".to_owned()).into());
        }
        if let Expr::BinaryOp { left, op: BinaryOperator::Eq | BinaryOperator::NotEq, right } = expr
            && names_a_function(left)
            && let Some(name) = named_function(right)
        {
            **right = Expr::Value(Value::SingleQuotedString(name).into());
        }
        if let Some(aggregated) = array_of_query(expr) {
            *expr = aggregated;
        }
        ControlFlow::Continue(())
    }
}

/// The name in `'pg_catalog.array_in'::regproc`, which the catalog library has turned into a query of pg_proc.
fn named_function(expr: &Expr) -> Option<String> {
    let text = expr.to_string();
    if !matches!(expr, Expr::Subquery(_) | Expr::Cast { .. }) || !(text.contains("pg_proc") || text.contains("regproc"))
    {
        return None;
    }
    let name = text.split('\'').nth(1)?;
    Some(name.strip_prefix("pg_catalog.").unwrap_or(name).to_owned())
}

/// `x = ANY(array)` again, which the catalog library has turned into a function: parameters are found in the one only.
pub(crate) fn restore_membership(statement: &mut Statement) {
    struct Restore;
    impl VisitorMut for Restore {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            let Expr::Function(function) = &*expr else { return ControlFlow::Continue(()) };
            let name = function.name.to_string();
            let FunctionArguments::List(arguments) = &function.args else { return ControlFlow::Continue(()) };
            if let [
                FunctionArg::Unnamed(FunctionArgExpr::Expr(array)),
                FunctionArg::Unnamed(FunctionArgExpr::Expr(item)),
            ] = arguments.args.as_slice()
                && matches!(name.as_str(), "array_contains" | "array_has")
                && is_given(array)
            {
                *expr = Expr::AnyOp {
                    left: Box::new(item.clone()),
                    compare_op: BinaryOperator::Eq,
                    right: Box::new(array.clone()),
                    is_some: false,
                };
            }
            ControlFlow::Continue(())
        }
    }
    let _ = statement.visit(&mut Restore);
}

/// A parameter, a literal, or a cast of one.
fn is_given(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) => true,
        Expr::Cast { expr, .. } | Expr::Nested(expr) => is_given(expr),
        _ => false,
    }
}

fn names_a_function(expr: &Expr) -> bool {
    let name = match expr {
        Expr::Identifier(name) => name,
        Expr::CompoundIdentifier(names) => match names.last() {
            Some(name) => name,
            None => return false,
        },
        _ => return false,
    };
    FUNCTION_NAMES.iter().any(|known| name.value.eq_ignore_ascii_case(known))
}

fn call(name: &str, args: Vec<FunctionArg>) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// `(SELECT x FROM pg_class c WHERE c.oid = t.oid)` has one row at most, which the engine believes of an aggregate only.
fn one_row(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let of_catalog = |table: &TableWithJoins| {
        table.joins.is_empty()
            && matches!(&table.relation, TableFactor::Table { name, args: None, .. }
                if name.0.last().is_some_and(|part| part.to_string().starts_with("pg_")))
    };
    if select.from.is_empty() || !select.from.iter().all(of_catalog) || select.selection.is_none() {
        return;
    }
    let [item] = select.projection.as_mut_slice() else { return };
    let (SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }) = &*item else { return };
    if query.limit_clause.is_some() || matches!(value, Expr::Function(_)) {
        return;
    }
    let argument = FunctionArg::Unnamed(FunctionArgExpr::Expr(value.clone()));
    *item = SelectItem::UnnamedExpr(call("first_value", vec![argument]));
}

/// `ARRAY(SELECT x ... ORDER BY y)` as `(SELECT array_agg(x ORDER BY y) ...)`.
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
    let call = Function {
        name: ObjectName::from(vec![Ident::new("array_agg")]),
        args: FunctionArguments::List(arguments),
        ..function.clone()
    };
    *item = SelectItem::UnnamedExpr(Expr::Function(call));
    Some(Expr::Subquery(query))
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
                "SELECT (SELECT array_agg(a ORDER BY a) FROM t WHERE t.x = u.x)",
            ),
            ("SELECT 1 FROM pg_type WHERE t.typreceive <> 0", "SELECT 1 FROM pg_type WHERE t.typreceive <> '-'"),
            ("SELECT ARRAY[1, 2]", "SELECT ARRAY[1, 2]"),
            ("SELECT current_catalog", "SELECT current_database()"),
            (
                "SELECT (SELECT c.relkind = 'c' FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid)",
                "SELECT (SELECT first_value(c.relkind = 'c') FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid)",
            ),
            (
                "SELECT r.a AS \"A\", b FROM (SELECT information_schema._pg_expandarray(x) FROM t) r ORDER BY 1",
                "SELECT CAST(NULL AS TEXT) AS \"A\", CAST(NULL AS TEXT) AS b WHERE false",
            ),
        ] {
            let mut statement = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().remove(0);
            adapt(&mut statement);
            assert_eq!(statement.to_string(), adapted);
        }
    }
}
