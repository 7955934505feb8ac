//! Joins of links with their events, made joins on time as well. A link knows when its two events happened, so
//! `c.primary_event_id = e.id` implies `c.primary_timestamp = e.timestamp`: with that said, a bound on the link's time is
//! one on the event's, and the times of the links found bound what is read of `events`.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{Column, Result, TableReference};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, Join, LogicalPlan, Operator};
use datafusion::optimizer::AnalyzerRule;
use whence_schema::Table;

/// Adds the times to such joins.
#[derive(Debug)]
pub(crate) struct LinksMeetEventsInTime;

impl AnalyzerRule for LinksMeetEventsInTime {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Join(join) => Ok(in_join(join)),
            LogicalPlan::Filter(filter) => in_filter(filter),
            other => Ok(Transformed::no(other)),
        })
        .data()
    }

    fn name(&self) -> &str {
        "links_meet_events_in_time"
    }
}

fn in_join(mut join: Join) -> Transformed<LogicalPlan> {
    let conditions: Vec<Expr> = {
        let inputs = [join.left.as_ref(), join.right.as_ref()];
        let pairs = join.on.iter().filter_map(|(left, right)| same_time(left, right, &inputs));
        let filter = join.filter.iter().flat_map(|filter| split_conjunction(filter));
        pairs.chain(filter.filter_map(|part| implied(part, &inputs))).collect()
    };
    if conditions.is_empty() {
        return Transformed::no(LogicalPlan::Join(join));
    }
    // Times first: what a join learns about one side it asks of each row of the other in this order, and a bound on time
    // leaves few rows of which the id has to be made.
    join.filter = conjunction(conditions.into_iter().chain(join.filter.take()));
    Transformed::yes(LogicalPlan::Join(join))
}

fn in_filter(filter: Filter) -> Result<Transformed<LogicalPlan>> {
    let inputs = [filter.input.as_ref()];
    let conditions: Vec<_> =
        split_conjunction(&filter.predicate).into_iter().filter_map(|part| implied(part, &inputs)).collect();
    if conditions.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    // Times first, as in a join.
    let predicate = conditions.into_iter().rev().fold(filter.predicate, |rest, time| time.and(rest));
    Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
}

fn implied(condition: &Expr, inputs: &[&LogicalPlan]) -> Option<Expr> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => same_time(left, right, inputs),
        _ => None,
    }
}

/// What the equality of the two implies about times.
fn same_time(left: &Expr, right: &Expr, inputs: &[&LogicalPlan]) -> Option<Expr> {
    let (Expr::Column(left), Expr::Column(right)) = (left, right) else { return None };
    let (link, event) = if right.name == "id" { (left, right) } else { (right, left) };
    let time = match link.name.as_str() {
        "primary_event_id" => "primary_timestamp",
        "related_event_id" => "timestamp",
        _ => return None,
    };
    let (link, event) = (link.relation.as_ref()?, event.relation.as_ref().filter(|_| event.name == "id")?);
    let names = |relation, table| inputs.iter().any(|input| is_table(input, relation, table));
    if !names(link, Table::Correlations) || !names(event, Table::Events) {
        return None;
    }
    let column = |relation: &TableReference, name| Expr::Column(Column::new(Some(relation.clone()), name));
    Some(column(link, time).eq(column(event, "timestamp")))
}

/// Whether `relation` in `plan` is `table` itself and all its columns, under whatever alias.
fn is_table(plan: &LogicalPlan, relation: &TableReference, table: Table) -> bool {
    match plan {
        LogicalPlan::SubqueryAlias(alias) if alias.alias == *relation => is_view_of(&alias.input, table),
        LogicalPlan::Join(join) => is_table(&join.left, relation, table) || is_table(&join.right, relation, table),
        LogicalPlan::Filter(filter) => is_table(&filter.input, relation, table),
        _ => false,
    }
}

fn is_view_of(plan: &LogicalPlan, table: Table) -> bool {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => is_view_of(&alias.input, table),
        LogicalPlan::Projection(view) => match view.input.as_ref() {
            LogicalPlan::TableScan(scan) => scan.table_name.table() == format!("{}_stored", table.name()),
            _ => false,
        },
        LogicalPlan::TableScan(scan) => scan.table_name.table() == table.name(),
        _ => false,
    }
}
