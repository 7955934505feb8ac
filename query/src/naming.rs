//! Names of result columns that the statement does not name, as PostgreSQL chooses them: the function's for a call, the
//! column's for a cast, else `?column?`.

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, SelectItem, SetExpr, Statement};
use std::sync::Arc;

/// A name for each column of the statement's answer; `None` keeps the one it has.
pub(crate) type Names = Option<Vec<Option<String>>>;

/// Names PostgreSQL would give; `None` if the statement does not list its columns one by one.
pub(crate) fn of(statement: &Statement) -> Names {
    match statement {
        Statement::Query(query) => of_query(query),
        _ => None,
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
            _ => return None,
        }
    };
    let name = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) => Some(of_expression(expr)),
        SelectItem::ExprWithAlias { alias, .. } => Some(Some(folded(alias))),
        _ => None,
    };
    select.projection.iter().map(name).collect()
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
                Some(data_type.to_string().to_lowercase().split(['(', ' ']).next().unwrap_or_default().to_owned())
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

/// `schema` with the names; unchanged if they are not as many as its columns.
pub(crate) fn rename(schema: &Schema, names: Names) -> SchemaRef {
    let Some(names) = names.filter(|names| names.len() == schema.fields().len()) else {
        return Arc::new(schema.clone());
    };
    let fields = schema.fields().iter().zip(names).map(|(field, name)| match name {
        Some(name) => Arc::new(field.as_ref().clone().with_name(name)),
        None => field.clone(),
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    #[test]
    fn columns_are_named_as_in_postgresql() {
        let sql = "SELECT count(*), max(a), b, t.c, 1, a + 1, a::int, '1'::int, date_trunc('hour', a), a AS x, a->>'b', \
                   CASE WHEN a THEN 1 END, extract(epoch from a) FROM t";
        let names = of(&Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap()[0]).unwrap();
        let names: Vec<_> = names.iter().map(|name| name.as_deref().unwrap_or("kept")).collect();
        let unknown = "?column?";
        assert_eq!(
            names,
            ["count", "max", "b", "c", unknown, unknown, "a", "int", "date_trunc", "x", unknown, "case", "extract"]
        );
        let star = Parser::parse_sql(&PostgreSqlDialect {}, "SELECT *, count(*) FROM t").unwrap();
        assert_eq!(of(&star[0]), None);
    }
}
