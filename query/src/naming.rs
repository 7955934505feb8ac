//! Names of result columns that the statement does not name, as PostgreSQL chooses them: the function's for a call, the
//! column's for a cast, else `?column?`.

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, SelectItem, SetExpr, Statement};
use std::sync::Arc;

/// Names for columns of the statement's answer; `None` keeps the one it has.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Of the first columns: all, unless the statement has `*`.
    first: Vec<Option<String>>,
    /// Of the last columns, behind the last `*`.
    last: Option<Vec<Option<String>>>,
}

/// Names PostgreSQL would give.
pub(crate) fn of(statement: &Statement) -> Names {
    match statement {
        Statement::Query(query) => of_query(query),
        _ => Names::default(),
    }
}

fn of_query(query: &Query) -> Names {
    let mut body = query.body.as_ref();
    let select = loop {
        match body {
            SetExpr::Select(select) => break select,
            SetExpr::Query(inner) => return of_query(inner),
            // The first part of a union names the columns of all.
            SetExpr::SetOperation { left, .. } => body = left,
            _ => return Names::default(),
        }
    };
    let name = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) => Some(of_expression(expr)),
        SelectItem::ExprWithAlias { alias, .. } => Some(Some(folded(alias))),
        _ => None,
    };
    let first: Vec<_> = select.projection.iter().map_while(name).collect();
    let last = (first.len() < select.projection.len()).then(|| {
        let mut last: Vec<_> = select.projection.iter().rev().map_while(name).collect();
        last.reverse();
        last
    });
    Names { first, last }
}

/// Name of a column that is this expression; `None` for what PostgreSQL's rules are not known.
pub(crate) fn of_expression(expr: &Expr) -> Option<String> {
    let unknown = || Some("?column?".to_owned());
    match expr {
        Expr::Identifier(word) => Some(folded(word)),
        Expr::CompoundIdentifier(words) => words.last().map(folded),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => of_expression(inner),
        Expr::Function(function) => function.name.0.last().map(|name| name.to_string().replace('"', "").to_lowercase()),
        Expr::Cast { expr, data_type, .. } => match of_expression(expr) {
            Some(name) if name == "?column?" => {
                let kind = data_type.to_string().to_lowercase();
                let kind = kind.split(['(', ' ']).next().unwrap_or_default();
                Some(kind.rsplit('.').next().unwrap_or_default().to_owned())
            }
            name => name,
        },
        Expr::Case { .. } => Some("case".to_owned()),
        Expr::Extract { .. } => Some("extract".to_owned()),
        Expr::Substring { .. } => Some("substring".to_owned()),
        Expr::Trim { .. } => Some("btrim".to_owned()),
        Expr::Position { .. } => Some("position".to_owned()),
        Expr::Ceil { .. } => Some("ceil".to_owned()),
        Expr::Floor { .. } => Some("floor".to_owned()),
        Expr::Exists { .. } => Some("exists".to_owned()),
        Expr::Array(_) => Some("array".to_owned()),
        Expr::Interval(_) => Some("interval".to_owned()),
        Expr::TypedString(typed) => Some(typed.data_type.to_string().to_lowercase()),
        Expr::AtTimeZone { .. } => Some("timezone".to_owned()),
        Expr::Value(_)
        | Expr::BinaryOp { .. }
        | Expr::UnaryOp { .. }
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::InList { .. }
        | Expr::Between { .. }
        | Expr::Like { .. }
        | Expr::AnyOp { .. }
        | Expr::AllOp { .. } => unknown(),
        _ => None,
    }
}

fn folded(word: &Ident) -> String {
    if word.quote_style.is_some() { word.value.clone() } else { word.value.to_lowercase() }
}

/// `schema` with the names; unchanged if it cannot have so many.
pub(crate) fn rename(schema: &Schema, names: Names) -> SchemaRef {
    let count = schema.fields().len();
    let Names { first, last } = names;
    let mut names = match last {
        None if first.len() == count => first,
        Some(last) if first.len() + last.len() <= count => {
            let between = count - first.len() - last.len();
            first.into_iter().chain(std::iter::repeat_n(None, between)).chain(last).collect()
        }
        _ => return Arc::new(schema.clone()),
    }
    .into_iter();
    let fields = schema.fields().iter().map(|field| match names.next().flatten() {
        Some(name) => Arc::new(field.as_ref().clone().with_name(name)),
        None => field.clone(),
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::datatypes::{DataType, Field};
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    #[test]
    fn columns_are_named_as_in_postgresql() {
        let sql = "SELECT count(*), max(a), b, t.c, 1, a + 1, a::int, '1'::int, date_trunc('hour', a), a AS x, a->>'b', \
                   CASE WHEN a THEN 1 END, extract(epoch from a) FROM t";
        let names = of(&Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap()[0]);
        let names: Vec<_> = names.first.iter().map(|name| name.as_deref().unwrap_or("kept")).collect();
        let unknown = "?column?";
        assert_eq!(
            names,
            ["count", "max", "b", "c", unknown, unknown, "a", "int", "date_trunc", "x", unknown, "case", "extract"]
        );
        let star = Parser::parse_sql(&PostgreSqlDialect {}, "SELECT t.a, t.*, count(*) FROM t").unwrap();
        let fields = ["?column 1?", "a", "b", "count(*)"].map(|name| Field::new(name, DataType::Int64, true));
        let renamed = rename(&Schema::new(fields.to_vec()), of(&star[0]));
        let names: Vec<_> = renamed.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["a", "a", "b", "count"]);
    }
}
