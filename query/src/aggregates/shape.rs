//! What a declaration has to look like: one SELECT over one hypertable, with GROUP BY and nothing that would make a
//! bound on the bucket mean something else below the aggregation than above it.

use crate::error::{QueryError, SqlState};
use crate::statement::relation;
use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Query, Select, SetExpr, Statement, TableFactor, TableWithJoins, Value, Visit, Visitor,
};
use std::ops::ControlFlow;
use whence_schema::{Table, VIEWS};

/// Where conditions and orders that do not belong into a declaration go.
const IN_THE_READER: Option<&'static str> = Some("Put it into the query that reads the aggregate.");
const GAP_FILL: &str = "time_bucket_gapfill";
const ONE_SELECT: Option<&'static str> =
    Some("Declare SELECT time_bucket('1 hour', timestamp) AS bucket, ... FROM events WHERE ... GROUP BY 1, ...");

/// An error of the code for what is not supported.
pub(super) fn unsupported(problem: impl Into<String>, hint: Option<&'static str>) -> QueryError {
    QueryError::Definition { state: SqlState::FEATURE_NOT_SUPPORTED, problem: problem.into(), hint }
}

/// The hypertable of a declaration of the right shape.
///
/// # Errors
///
/// [`QueryError::Definition`] with what has to be different.
pub(super) fn hypertable(statement: &Statement) -> Result<Table, QueryError> {
    let Statement::Query(query) = statement else {
        return Err(unsupported("a continuous aggregate is declared by a query", ONE_SELECT));
    };
    let select = only_select(query)?;
    let table = table_of(select)?;
    grouping(select)?;
    nothing_inside(query)?;
    Ok(table)
}

fn only_select(query: &Query) -> Result<&Select, QueryError> {
    let Query {
        with, order_by, limit_clause, fetch, locks, for_clause, settings, format_clause, pipe_operators, ..
    } = query;
    let reader =
        |what: &str| Err(unsupported(format!("{what} in a continuous aggregate is not supported"), IN_THE_READER));
    if with.is_some() {
        return Err(unsupported("WITH in a continuous aggregate is not supported", ONE_SELECT));
    }
    if order_by.is_some() {
        return reader("ORDER BY");
    }
    if limit_clause.is_some() || fetch.is_some() {
        return reader("LIMIT");
    }
    let others = for_clause.is_some() || settings.is_some() || format_clause.is_some() || !pipe_operators.is_empty();
    if others || !locks.is_empty() {
        return Err(unsupported("this form of query in a continuous aggregate is not supported", ONE_SELECT));
    }
    let SetExpr::Select(select) = query.body.as_ref() else {
        return Err(unsupported("UNION, VALUES and TABLE in a continuous aggregate are not supported", ONE_SELECT));
    };
    if select.distinct.is_some() {
        return reader("DISTINCT");
    }
    let others = select.top.is_some()
        || select.prewhere.is_some()
        || select.qualify.is_some()
        || !select.named_window.is_empty()
        || !select.lateral_views.is_empty()
        || !select.connect_by.is_empty()
        || !select.cluster_by.is_empty()
        || !select.distribute_by.is_empty()
        || !select.sort_by.is_empty();
    if others {
        return reader("QUALIFY, WINDOW and what other databases add to SELECT");
    }
    Ok(select)
}

fn table_of(select: &Select) -> Result<Table, QueryError> {
    let one = "a continuous aggregate is over one hypertable: events, metrics or correlations";
    let [TableWithJoins { relation: TableFactor::Table { name, args: None, sample: None, .. }, joins }] =
        select.from.as_slice()
    else {
        return Err(unsupported(one, ONE_SELECT));
    };
    if !joins.is_empty() {
        return Err(unsupported(format!("{one}; joins are not supported"), IN_THE_READER));
    }
    let found = relation(name).filter(|name| name.schema.as_deref().is_none_or(|schema| schema == "public"));
    let found = found.and_then(|named| Table::ALL.into_iter().find(|table| table.name() == named.name));
    found.ok_or_else(|| {
        let is_view = VIEWS.iter().any(|view| view.name == name.to_string());
        let hint = if is_view {
            Some("Aggregate over the hypertable, or read the aggregate with GROUP BY.")
        } else {
            ONE_SELECT
        };
        unsupported(format!("{one}, not over {name}"), hint)
    })
}

fn grouping(select: &Select) -> Result<(), QueryError> {
    let fault = |problem: &str| {
        let hint = Some("Write GROUP BY time_bucket('1 hour', timestamp), ..., or the positions of these columns.");
        Err(QueryError::Definition { state: SqlState::GROUPING, problem: problem.to_owned(), hint })
    };
    let GroupByExpr::Expressions(groups, modifiers) = &select.group_by else {
        return fault("GROUP BY ALL in a continuous aggregate is not supported");
    };
    if groups.is_empty() {
        return fault("a continuous aggregate has GROUP BY with a time_bucket of timestamp");
    }
    let of_sets = |expr: &Expr| matches!(expr, Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_));
    if !modifiers.is_empty() || groups.iter().any(of_sets) {
        return fault("GROUPING SETS, CUBE and ROLLUP in a continuous aggregate are not supported");
    }
    Ok(())
}

/// No queries, windows and parameters within.
fn nothing_inside(query: &Query) -> Result<(), QueryError> {
    struct Inside(usize);
    impl Visitor for Inside {
        type Break = QueryError;
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<QueryError> {
            self.0 += 1;
            match self.0 {
                1 => ControlFlow::Continue(()),
                _ => ControlFlow::Break(unsupported(
                    "subqueries in a continuous aggregate are not supported",
                    ONE_SELECT,
                )),
            }
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<QueryError> {
            match expr {
                Expr::Function(function) if function.over.is_some() => ControlFlow::Break(unsupported(
                    "window functions in a continuous aggregate are not supported",
                    IN_THE_READER,
                )),
                Expr::Function(function) if relation(&function.name).is_some_and(|name| name.name == GAP_FILL) => {
                    ControlFlow::Break(QueryError::Definition {
                        state: SqlState::GROUPING,
                        problem: format!("{GAP_FILL} in a continuous aggregate is not supported"),
                        hint: Some("Declare it with time_bucket, and fill the gaps in the query that reads it."),
                    })
                }
                Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => ControlFlow::Break(unsupported(
                    "parameters in a continuous aggregate are not supported",
                    Some("Write the value itself."),
                )),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    match query.visit(&mut Inside(0)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}
