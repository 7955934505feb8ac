//! Whether a query can be a continuous aggregate, and what its columns are. Tables are empty here, so that no store is
//! needed and no row is read.

use super::shape::{hypertable, unsupported};
use crate::cache::signature::is_mergeable;
use crate::engine::{QueryOptions, planning_state};
use crate::error::{QueryError, SqlState};
use crate::functions::percentile;
use crate::naming;
use crate::provider::information_schema::DATABASE;
use crate::provider::user_columns::PUBLIC;
use crate::provider::views;
use crate::statement::{Command, parse};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::view::ViewTable;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider,
    SchemaProvider,
};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Volatility};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::Statement;
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use whence_schema::{Table, TenantId};
use whence_storage::{Snapshot, TableSnapshot};

/// Bytes of a declaration's query.
const MAX_QUERY_BYTES: usize = 64 << 10;

/// A query that can be a continuous aggregate.
#[derive(Debug, Clone)]
pub struct CheckedAggregate {
    /// Its columns.
    pub schema: SchemaRef,
    /// What it aggregates.
    pub table: Table,
    /// Its aggregates that cannot be put together from partial results: it is computed from all rows whenever it is read.
    pub not_mergeable: Vec<String>,
}

/// Checks declarations. Made once: it holds every function.
pub(crate) struct Checker {
    context: SessionContext,
}

impl std::fmt::Debug for Checker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checker").finish_non_exhaustive()
    }
}

/// Checks one declaration, without a server.
///
/// # Errors
///
/// What is wrong with it; [`QueryError::hint`] has the remedy where that is known.
pub async fn check_aggregate(query: &str) -> Result<CheckedAggregate, QueryError> {
    Checker::shared()?.check(query).await
}

impl Checker {
    /// The one of this process.
    pub(crate) fn shared() -> Result<Arc<Self>, QueryError> {
        static SHARED: OnceLock<Arc<Checker>> = OnceLock::new();
        match SHARED.get() {
            Some(shared) => Ok(shared.clone()),
            None => Ok(SHARED
                .get_or_init({
                    let made = Arc::new(Self::new()?);
                    move || made
                })
                .clone()),
        }
    }

    fn new() -> Result<Self, QueryError> {
        let options = QueryOptions { threads: 1, spill_directory: None, ..QueryOptions::default() };
        let empty = || Arc::new(TableSnapshot::default());
        let snapshot = Snapshot { version: 0, events: empty(), metrics: empty(), correlations: empty() };
        let schema = MemorySchemaProvider::new();
        for table in Table::ALL {
            let plan = views::plan(table, &snapshot, &TenantId::default())?;
            schema.register_table(table.name().to_owned(), Arc::new(ViewTable::new(plan, None)))?;
        }
        let database = MemoryCatalogProvider::new();
        database.register_schema(PUBLIC, Arc::new(schema))?;
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(DATABASE.to_owned(), Arc::new(database));
        let state = SessionStateBuilder::new_from_existing(planning_state(&options)?)
            .with_catalog_list(Arc::new(catalogs))
            .build();
        Ok(Self { context: SessionContext::new_with_state(state) })
    }

    /// The same where nothing can wait: all that planning needs is at hand here.
    pub(crate) fn check_now(&self, query: &str) -> Result<CheckedAggregate, QueryError> {
        futures::executor::block_on(self.check(query))
    }

    /// Checks the query of a declaration.
    pub(crate) async fn check(&self, query: &str) -> Result<CheckedAggregate, QueryError> {
        if query.len() > MAX_QUERY_BYTES {
            let problem = format!("the query of a continuous aggregate has more than {MAX_QUERY_BYTES} bytes");
            return Err(QueryError::Definition { state: SqlState::PROGRAM_LIMIT_EXCEEDED, problem, hint: None });
        }
        let statement = only_query(query)?;
        let table = hypertable(&statement)?;
        let names = naming::of(&statement);
        let plan = crate::planning::plan(&self.context, statement).await?;
        let aggregate = first_aggregate(&plan)
            .ok_or_else(|| unsupported("a continuous aggregate needs an aggregate function or GROUP BY", None))?;
        has_bucket(aggregate)?;
        always_the_same(&plan)?;
        let schema = naming::rename(plan.schema().as_arrow(), names);
        columns_differ(&schema)?;
        let not_mergeable = not_mergeable(aggregate);
        // Types that do not go together are found only now.
        self.context.state().create_physical_plan(&plan).await?;
        Ok(CheckedAggregate { schema, table, not_mergeable })
    }
}

/// The one query of a text.
pub(crate) fn only_query(query: &str) -> Result<Statement, QueryError> {
    let mut statements = parse(query)?;
    match (statements.pop().map(|parsed| parsed.command), statements.is_empty()) {
        (Some(Command::Query(statement)), true) => Ok(*statement),
        _ => Err(unsupported("a continuous aggregate is declared by one query", None)),
    }
}

/// The outermost aggregation: what is below belongs to the hypertable.
fn first_aggregate(plan: &LogicalPlan) -> Option<&Aggregate> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => Some(aggregate),
        other => other.inputs().into_iter().find_map(first_aggregate),
    }
}

fn has_bucket(aggregate: &Aggregate) -> Result<(), QueryError> {
    let is_time = |expr: &Expr| match bare(expr) {
        Expr::Column(column) => column.name == "timestamp",
        _ => false,
    };
    let is_bucket = |expr: &Expr| match bare(expr) {
        Expr::ScalarFunction(function) if function.func.name() == "time_bucket" => {
            function.args.get(1).is_some_and(is_time)
        }
        _ => false,
    };
    if aggregate.group_expr.iter().any(is_bucket) {
        return Ok(());
    }
    Err(QueryError::Definition {
        state: SqlState::GROUPING,
        problem: "a continuous aggregate needs a time_bucket of timestamp in GROUP BY".to_owned(),
        hint: Some("Group by time_bucket('1 hour', timestamp); bounds on it are what spares readers the other rows."),
    })
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => bare(&alias.expr),
        Expr::Cast(cast) => bare(&cast.expr),
        other => other,
    }
}

/// Refuses what has another value the next time.
fn always_the_same(plan: &LogicalPlan) -> Result<(), QueryError> {
    let mut changing = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                if let Expr::ScalarFunction(function) = part
                    && function.func.signature().volatility != Volatility::Immutable
                {
                    changing = Some(function.func.name().to_owned());
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    let Some(name) = changing else { return Ok(()) };
    Err(unsupported(
        format!("{name}() in a continuous aggregate is not supported: its value changes from one time to the next"),
        Some("Put conditions such as timestamp > now() - INTERVAL '1 day' on the bucket in the query that reads it."),
    ))
}

fn columns_differ(schema: &Schema) -> Result<(), QueryError> {
    let mut seen = BTreeSet::new();
    match schema.fields().iter().find(|field| !seen.insert(field.name())) {
        None => Ok(()),
        Some(field) => Err(QueryError::Definition {
            state: SqlState::DUPLICATE_COLUMN,
            problem: format!("column \"{}\" specified more than once", field.name()),
            hint: Some("Give each column a name of its own with AS."),
        }),
    }
}

fn not_mergeable(aggregate: &Aggregate) -> Vec<String> {
    let mut names = BTreeSet::new();
    for expr in &aggregate.aggr_expr {
        if let Expr::AggregateFunction(AggregateFunction { func, params }) = bare(expr)
            && !is_mergeable(func.name(), params.distinct)
        {
            let name = if func.name() == percentile::NAME { "percentile_cont" } else { func.name() };
            names.insert(if params.distinct { format!("{name}(DISTINCT)") } else { name.to_owned() });
        }
    }
    names.into_iter().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::datatypes::DataType;

    #[tokio::test]
    async fn a_declaration_is_checked_and_its_columns_are_known_without_rows() {
        let checker = Checker::new().unwrap();
        let sql = "SELECT time_bucket('1 hour', timestamp) AS bucket, asset_id, count(*), avg(duration_ns) / 1e6 AS ms, \
                   approx_percentile(0.95, percentile_agg(duration_ns)) AS p95, bool_or(status = 'error') AS failed \
                   FROM events WHERE signal = 'span' GROUP BY bucket, asset_id HAVING count(*) > 1";
        let checked = checker.check(sql).await.unwrap();
        let columns: Vec<_> = checked.schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(columns, ["bucket", "asset_id", "count", "ms", "p95", "failed"]);
        assert_eq!(*checked.schema.field(5).data_type(), DataType::Boolean);
        assert_eq!((checked.table, checked.not_mergeable.len()), (Table::Events, 0));
        let sql = "SELECT time_bucket('1 day', m.timestamp), metric_name, sum(value_sum), count(DISTINCT asset_id) AS assets, \
                   percentile_cont(0.5) WITHIN GROUP (ORDER BY value_avg) FROM public.metrics m GROUP BY 1, 2";
        let checked = checker.check(sql).await.unwrap();
        assert_eq!(checked.not_mergeable, ["count(DISTINCT)", "percentile_cont"]);
    }

    #[tokio::test]
    async fn what_would_not_stay_right_is_refused_with_the_remedy() {
        let checker = Checker::new().unwrap();
        let bucket = "SELECT time_bucket('1 hour', timestamp) AS bucket, count(*) FROM";
        for (sql, state) in [
            ("SELECT count(*) FROM events", "42803"),
            ("SELECT date_trunc('hour', timestamp), count(*) FROM events GROUP BY 1", "42803"),
            ("SELECT time_bucket('1 hour', created_at), count(*) FROM events GROUP BY 1", "42803"),
            ("SELECT time_bucket_gapfill('1 hour', timestamp), count(*) FROM events GROUP BY 1", "42803"),
            ("SELECT asset_id, count(*) FROM events GROUP BY 1", "42803"),
            (&format!("{bucket} events GROUP BY ROLLUP(1)"), "42803"),
            (&format!("{bucket} events WHERE timestamp > now() GROUP BY 1"), "0A000"),
            (&format!("{bucket} events WHERE random() < 0.5 GROUP BY 1"), "0A000"),
            (&format!("{bucket} service_red GROUP BY 1"), "0A000"),
            (&format!("{bucket} asset_metadata GROUP BY 1"), "0A000"),
            (&format!("{bucket} whence.jobs GROUP BY 1"), "0A000"),
            (&format!("{bucket} events, metrics GROUP BY 1"), "0A000"),
            (&format!("{bucket} events JOIN metrics USING (asset_id) GROUP BY 1"), "0A000"),
            (&format!("{bucket} (SELECT * FROM events) GROUP BY 1"), "0A000"),
            (&format!("{bucket} events WHERE asset_id IN (SELECT asset_id FROM metrics) GROUP BY 1"), "0A000"),
            (&format!("{bucket} events WHERE asset_id = $1 GROUP BY 1"), "0A000"),
            (&format!("{bucket} events GROUP BY 1 ORDER BY 1"), "0A000"),
            (&format!("{bucket} events GROUP BY 1 LIMIT 5"), "0A000"),
            (&format!("WITH x AS (SELECT 1) {bucket} events GROUP BY 1"), "0A000"),
            (&format!("{bucket} events GROUP BY 1 UNION ALL {bucket} events GROUP BY 1"), "0A000"),
            ("SELECT DISTINCT time_bucket('1 hour', timestamp) FROM events GROUP BY 1", "0A000"),
            ("SELECT time_bucket('1 hour', timestamp), sum(count(*)) OVER () FROM events GROUP BY 1", "0A000"),
            ("SELECT time_bucket('1 hour', timestamp), count(*), count(name) FROM events GROUP BY 1", "42701"),
            ("SELECT time_bucket('1 hour', timestamp), sum(nope) FROM events GROUP BY 1", "42703"),
            ("SELECT time_bucket('1 hour', timestamp), nope(name) FROM events GROUP BY 1, name", "42883"),
            ("SELECT time_bucket('1 hour', timestamp), name FROM events GROUP BY 1", "42000"),
            ("VALUES (1)", "0A000"),
            ("SHOW timezone", "0A000"),
        ] {
            let error = checker.check(sql).await.err().unwrap_or_else(|| panic!("{sql}: accepted"));
            assert_eq!(error.sqlstate().0, state, "{sql}: {error}");
            assert!(!error.to_string().is_empty());
        }
    }
}
