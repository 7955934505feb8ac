//! Functions that answer with rows of their own for each row: `FROM events, jsonb_each(payload)`.
//!
//! Each is a function that answers with an array, and `unnest` of it. In FROM it becomes a lateral subquery, whose
//! columns have the names PostgreSQL gives them.

use super::build::{bare_name, call, plain};
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Function, Ident, Query, Select, SelectItem, SetExpr, Statement, TableAlias,
    TableAliasColumnDef, TableFactor, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::ops::ControlFlow;

/// Functions of one column: name, the function with the array, and the column's name where it is not the function's.
const COLUMNS: [(&str, &str, Option<&str>); 11] = [
    ("jsonb_array_elements", "jsonb_elements", Some("value")),
    ("json_array_elements", "json_elements", Some("value")),
    ("jsonb_array_elements_text", "jsonb_elements_text", Some("value")),
    ("json_array_elements_text", "jsonb_elements_text", Some("value")),
    ("jsonb_object_keys", "jsonb_keys", None),
    ("json_object_keys", "json_keys", None),
    ("regexp_matches", "regexp_matches_of", None),
    ("regexp_split_to_table", "regexp_split_to_array", None),
    ("string_to_table", "string_to_array", None),
    ("unnest", "rows_of_array", None),
    (SERIES, "series_of", None),
];

/// In FROM it is a table function of the engine's.
const SERIES: &str = "generate_series";

/// Functions of two columns, `key` and `value`.
const PAIRS: [(&str, &str, &str); 4] = [
    ("jsonb_each", "jsonb_keys", "jsonb_values"),
    ("json_each", "json_keys", "json_values"),
    ("jsonb_each_text", "jsonb_keys", "jsonb_values_text"),
    ("json_each_text", "json_keys", "json_values_text"),
];

/// The call as one that the engine makes rows of, where it stands in a list of columns.
pub(super) fn in_columns(function: &Function) -> Option<Expr> {
    let name = bare_name(&function.name);
    let (_, array, _) = COLUMNS.iter().find(|(known, ..)| *known == name)?;
    let values = super::build::arguments(&function.args)?;
    let done = |value: &Expr| matches!(value, Expr::Function(inner) if is_array_function(&bare_name(&inner.name)));
    if name == "unnest" && (values.len() != 1 || values.iter().any(done)) {
        return None;
    }
    Some(call("unnest", vec![call(array, values)]))
}

fn is_array_function(name: &str) -> bool {
    let pair = |(_, keys, values): &(&str, &str, &str)| name == *keys || name == *values;
    name == "ordinals_of" || COLUMNS.iter().any(|(_, array, _)| *array == name) || PAIRS.iter().any(pair)
}

/// The call as a lateral subquery, where it stands in FROM.
pub(super) fn in_from(table: &TableFactor) -> Option<TableFactor> {
    let (name, values, alias, ordinality) = match table {
        TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } => {
            (bare_name(name), plain(&args.args)?, alias, *with_ordinality)
        }
        TableFactor::Function { name, alias, args, .. } => (bare_name(name), plain(args)?, alias, false),
        TableFactor::UNNEST { alias, array_exprs, with_offset: false, with_ordinality, .. } => {
            ("unnest".to_owned(), array_exprs.clone(), alias, *with_ordinality)
        }
        _ => return None,
    };
    let mut columns: Vec<(String, Expr)> = Vec::new();
    if let Some((_, keys, texts)) = PAIRS.iter().find(|(known, ..)| *known == name) {
        columns.push(("key".to_owned(), call(keys, values.clone())));
        columns.push(("value".to_owned(), call(texts, values)));
    } else {
        let is_table = name == SERIES && !values.iter().any(|value| names_columns(value) || is_time(value));
        let (_, array, column) = COLUMNS.iter().find(|(known, ..)| *known == name && !is_table)?;
        let named_by = alias.as_ref().map_or(name.as_str(), |alias| alias.name.value.as_str());
        let column = column.unwrap_or(named_by).to_owned();
        if name == "unnest" {
            columns.extend(values.into_iter().map(|value| (column.clone(), call(array, vec![value]))));
        } else {
            columns.push((column, call(array, with_interval(&name, values))));
        }
    }
    if ordinality {
        let (_, rows) = columns.first()?;
        columns.push(("ordinality".to_owned(), call("ordinals_of", vec![rows.clone()])));
    }
    let renamed = alias.as_ref().map(|alias| alias.columns.clone()).unwrap_or_default();
    let projection = columns.into_iter().enumerate().map(|(position, (name, array))| {
        let name = renamed.get(position).map_or(Ident::with_quote('"', name), |column| column.name.clone());
        SelectItem::ExprWithAlias { expr: call("unnest", vec![array]), alias: name }
    });
    let mut query = empty_query()?;
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = projection.collect();
    }
    let name = alias.as_ref().map_or(Ident::new(name), |alias| alias.name.clone());
    let alias = TableAlias { explicit: true, name, columns: Vec::<TableAliasColumnDef>::new(), at: None };
    Some(TableFactor::Derived { lateral: true, subquery: Box::new(query), alias: Some(alias), sample: None })
}

/// The step of a series of times, which may be written as a text.
fn with_interval(name: &str, mut values: Vec<Expr>) -> Vec<Expr> {
    if let (SERIES, [start, _, step]) = (name, values.as_mut_slice())
        && is_time(start)
        && matches!(step, Expr::Value(_))
    {
        *step = Expr::Cast {
            kind: CastKind::DoubleColon,
            expr: Box::new(step.clone()),
            data_type: DataType::Interval { fields: None, precision: None },
            array: false,
            format: None,
        };
    }
    values
}

/// True for a literal of a type of time: in arguments of table functions its text would be read by the engine.
fn is_time(expr: &Expr) -> bool {
    match expr {
        Expr::TypedString(_) | Expr::Interval(_) => true,
        Expr::Cast { data_type, .. } => {
            matches!(data_type, DataType::Timestamp(..) | DataType::Date | DataType::Interval { .. })
        }
        _ => false,
    }
}

/// True for an expression that takes something from a table.
fn names_columns(expr: &Expr) -> bool {
    struct Names;
    impl Visitor for Names {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    datafusion::sql::sqlparser::ast::Visit::visit(expr, &mut Names).is_break()
}

/// In `SELECT tag FROM jsonb_array_elements(..) AS tag` the table's name means its one value, which is in the column
/// `value`; so it is for `generate_series`.
pub(super) fn name_whole_rows(select: &mut Select) {
    let tables = select
        .from
        .iter()
        .flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)));
    let values: Vec<String> = tables
        .filter_map(|table| match table {
            TableFactor::Table { name, alias: Some(alias), args: Some(_), .. }
            | TableFactor::Function { name, alias: Some(alias), .. }
                if alias.columns.is_empty() =>
            {
                let name = bare_name(name);
                let known = COLUMNS.iter().find(|(known, ..)| *known == name)?;
                (known.2.is_some() || known.0 == SERIES).then(|| alias.name.value.clone())
            }
            _ => None,
        })
        .collect();
    if values.is_empty() {
        return;
    }
    struct Rename(Vec<String>);
    impl VisitorMut for Rename {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Identifier(word) = expr
                && self.0.iter().any(|name| word.value.eq_ignore_ascii_case(name))
            {
                *expr = Expr::CompoundIdentifier(vec![word.clone(), Ident::new("value")]);
            }
            ControlFlow::Continue(())
        }
    }
    let mut rename = Rename(values);
    for item in &mut select.projection {
        // The column keeps the name of the table.
        if let SelectItem::UnnamedExpr(Expr::Identifier(word)) = item {
            let word = word.clone();
            *item = SelectItem::ExprWithAlias { expr: Expr::Identifier(word.clone()), alias: word };
        }
        let _ = item.visit(&mut rename);
    }
    let _ = select.selection.visit(&mut rename);
    let _ = select.group_by.visit(&mut rename);
    let _ = select.having.visit(&mut rename);
}

fn empty_query() -> Option<Query> {
    match Parser::parse_sql(&PostgreSqlDialect {}, "SELECT 1").ok()?.pop()? {
        Statement::Query(query) => Some(*query),
        _ => None,
    }
}
