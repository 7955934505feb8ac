//! Plans of statements that come again with other times, as those of dashboards do. All of such a plan but the reading of
//! rows depends on the statement's text alone, so it is made once:
//!
//! ```text
//! SELECT .. FROM events WHERE timestamp BETWEEN 'T1' AND 'T2' GROUP BY ..
//!   text without times, tenant  ->  KeptPlan: everything above the aggregation, and what is below with T1 and T2 in it
//!   T1', T2', snapshot          ->  what is below planned anew, everything above put on top
//! ```
//!
//! The plan that is kept is one for times that nobody would write. It is kept only if each of them stands in one place of
//! it, and that is a comparison with the timestamp of stored rows; and if it is the plan for still other times, too, once
//! these are put in their places: then nothing else of the plan follows from them.

use crate::error::QueryError;
use crate::provider::raw::{RawTable, time_bound};
use arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;
use arrow::datatypes::SchemaRef;
use chrono::DateTime;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, TableScan};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::sanity_checker::SanityCheckPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateInputMode, AggregateMode};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr as SqlExpr, FunctionArguments, Statement, Value, visit_expressions_mut, visit_relations,
};
use moka::sync::Cache;
use rand::Rng;
use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;
use whence_schema::{Table, TenantId};
use whence_storage::Snapshot;

/// Plans that are kept at most.
const MOST_PLANS: u64 = 256;

/// Plans, by tenant and text without times.
pub(crate) struct KeptPlans(Cache<(TenantId, Arc<str>), Kept>);

/// What is known of a statement's plan.
#[derive(Clone)]
pub(crate) enum Kept {
    /// It came once: most statements do not come again.
    Seen,
    /// It cannot be kept.
    Unfit,
    /// It is kept.
    Plan(Arc<KeptPlan>),
}

impl KeptPlans {
    pub(crate) fn new() -> Self {
        Self(Cache::new(MOST_PLANS))
    }

    /// `None` for a statement that never came.
    pub(crate) fn get(&self, tenant: &TenantId, statement: &Timed) -> Option<Kept> {
        self.0.get(&(tenant.clone(), statement.text.clone()))
    }

    pub(crate) fn put(&self, tenant: &TenantId, statement: &Timed, kept: Kept) {
        self.0.insert((tenant.clone(), statement.text.clone()), kept);
    }
}

/// A statement about the hypertables whose times are told apart from the rest of its text.
pub(crate) struct Timed {
    /// With [`MARK`] for the times.
    statement: Statement,
    text: Arc<str>,
    /// In microseconds, in the order of the text.
    times: Vec<i64>,
    /// True when one of them is when the statement is run: its answer is another one each time.
    pub(crate) says_now: bool,
}

/// Stands for a time.
const MARK: &str = "\u{1}";

impl Timed {
    /// `None` for statements without such times, or that name anything else than hypertables. `now` is when it is run, in
    /// microseconds.
    pub(crate) fn of(statement: &Statement, now: i64) -> Option<Self> {
        let foreign = visit_relations(statement, |name| {
            let known = Table::ALL.iter().any(|table| name.to_string() == table.name());
            if known { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        // A text that is the mark would be taken for a time.
        if foreign.is_break() || statement.to_string().contains(MARK) {
            return None;
        }
        let (mut statement, mut times) = (statement.clone(), Vec::new());
        let says_now = write_out_now(&mut statement, now);
        each_text(&mut statement, |text| {
            if let Some(micros) = micros_of(text) {
                times.push(micros);
                MARK.clone_into(text);
            }
        });
        (!times.is_empty()).then(|| Self { text: statement.to_string().into(), statement, times, says_now })
    }

    /// The same statement with times that are in no other place of any plan, moved by some seconds.
    pub(crate) fn with_other_times(&self, moved: i64) -> (Statement, Vec<i64>) {
        let mut random = rand::rng();
        let second = |time: i64| (time.div_euclid(1_000_000) + moved) * 1_000_000;
        let times: Vec<i64> = self.times.iter().map(|time| second(*time) + random.random_range(1..1_000_000)).collect();
        let (mut statement, mut next) = (self.statement.clone(), times.iter());
        each_text(&mut statement, |text| {
            if text == MARK
                && let Some(time) = next.next().and_then(|time| DateTime::from_timestamp_micros(*time))
            {
                *text = time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
            }
        });
        (statement, times)
    }
}

/// Writes the time out where something is compared with `now()`, or with so much before or after it; says whether there
/// is such a place. That what is compared is a time is for the plan to show.
fn write_out_now(statement: &mut Statement, now: i64) -> bool {
    let mut found = false;
    let mut write = |side: &mut SqlExpr| {
        if let Some(time) = moment(side, now).and_then(DateTime::from_timestamp_micros) {
            let text = time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
            *side = SqlExpr::value(Value::SingleQuotedString(text));
            found = true;
        }
    };
    let _ = visit_expressions_mut(statement, |expression| {
        match expression {
            SqlExpr::BinaryOp {
                left,
                op: BinaryOperator::Gt | BinaryOperator::GtEq | BinaryOperator::Lt | BinaryOperator::LtEq,
                right,
            } => {
                write(left);
                write(right);
            }
            SqlExpr::Between { low, high, .. } => {
                write(low);
                write(high);
            }
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    found
}

/// Microseconds of `now()`, or of so much time before or after it.
fn moment(expression: &SqlExpr, now: i64) -> Option<i64> {
    match expression {
        SqlExpr::Nested(inner) => moment(inner, now),
        SqlExpr::Function(function) => {
            let name = function.name.to_string().to_ascii_lowercase();
            let bare = function.over.is_none() && function.filter.is_none() && function.within_group.is_empty();
            let arguments = match &function.args {
                FunctionArguments::None => name == "current_timestamp",
                FunctionArguments::List(list) => name == "now" && list.args.is_empty() && list.clauses.is_empty(),
                FunctionArguments::Subquery(_) => false,
            };
            (bare && arguments).then_some(now)
        }
        SqlExpr::BinaryOp { left, op: BinaryOperator::Minus, right } => moment(left, now)?.checked_sub(span_of(right)?),
        SqlExpr::BinaryOp { left, op: BinaryOperator::Plus, right } => moment(left, now)?.checked_add(span_of(right)?),
        _ => None,
    }
}

/// Microseconds of an interval that is as long at all times.
fn span_of(expression: &SqlExpr) -> Option<i64> {
    let SqlExpr::Interval(interval) = expression else { return None };
    let SqlExpr::Value(value) = interval.value.as_ref() else { return None };
    let Value::SingleQuotedString(text) = &value.value else { return None };
    // A number alone has a unit by the rules of whoever reads it.
    let says_units = interval.leading_field.is_none() && text.chars().any(|c| c.is_ascii_alphabetic());
    let interval = says_units.then(|| parse_interval_month_day_nano(text).ok()).flatten()?;
    if interval.months != 0 || interval.nanoseconds % 1_000 != 0 {
        return None;
    }
    i64::from(interval.days).checked_mul(86_400_000_000)?.checked_add(interval.nanoseconds / 1_000)
}

fn each_text(statement: &mut Statement, mut each: impl FnMut(&mut String)) {
    let _ = visit_expressions_mut(statement, |expression| {
        if let SqlExpr::Value(value) = expression
            && let Value::SingleQuotedString(text) = &mut value.value
        {
            each(text);
        }
        ControlFlow::<()>::Continue(())
    });
}

/// Microseconds of a time as `2026-01-31T10:00:00Z`, with up to six digits of the second.
fn micros_of(text: &str) -> Option<i64> {
    let form: Vec<u8> = text.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte }).collect();
    let fraction = form.strip_prefix(b"0000-00-00T00:00:00")?.strip_suffix(b"Z")?;
    let plain = fraction.is_empty()
        || fraction
            .strip_prefix(b".")
            .is_some_and(|digits| (1..=6).contains(&digits.len()) && digits.iter().all(|digit| *digit == b'0'));
    let time = plain.then(|| DateTime::parse_from_rfc3339(text).ok()).flatten()?;
    // The engine knows no 61st second.
    text.get(17..19).filter(|second| *second < "60").map(|_| time.timestamp_micros())
}

/// A plan with a gap where rows are read.
pub(crate) struct KeptPlan {
    /// Columns of the answer.
    pub(crate) schema: SchemaRef,
    /// Below the aggregation, over no rows.
    input: LogicalPlan,
    /// Those in `input`.
    times: Vec<i64>,
    /// Above it, and the aggregation itself.
    plan: Arc<dyn ExecutionPlan>,
}

impl KeptPlan {
    /// Of an optimized plan with [other times](Timed::with_other_times), and a second one with still others; `None` if it
    /// cannot be kept. `planner` has no rules of its own.
    pub(crate) async fn of(
        (times, optimized): (Vec<i64>, LogicalPlan),
        (second_times, second): (Vec<i64>, LogicalPlan),
        schema: SchemaRef,
        planner: &SessionState,
    ) -> Result<Option<Self>> {
        let Some(input) = input_of_aggregation(&optimized) else { return Ok(None) };
        let exchanged: Vec<_> = times.iter().copied().zip(second_times).collect();
        if !stand_in_one_place(&times, &optimized)? || over_rows(&optimized, &exchanged, None)? != second {
            return Ok(None);
        }
        let input = over_rows(input, &[], None)?;
        let plan = planner.query_planner().create_physical_plan(&optimized, planner).await?;
        let mut aggregations = 0;
        plan.apply(|node| {
            aggregations += usize::from(is_first_step(node));
            Ok(TreeNodeRecursion::Continue)
        })?;
        if aggregations != 1 {
            return Ok(None);
        }
        // The chunks of now are not held.
        let plan = with_input(plan, |first| {
            let none: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(first.input().schema()));
            Ok(Some(none))
        });
        let Some(plan) = plan? else { return Ok(None) };
        Ok(Some(Self { schema, input, times, plan }))
    }

    /// The plan with other times, over the rows of a snapshot; `None` if it does not fit them.
    pub(crate) async fn over(
        &self,
        statement: &Timed,
        (snapshot, tenant): (&Snapshot, &TenantId),
        planner: &SessionState,
        rules: &[Arc<dyn PhysicalOptimizerRule + Send + Sync>],
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let times: Vec<_> = self.times.iter().copied().zip(statement.times.iter().copied()).collect();
        let input = over_rows(&self.input, &times, Some((snapshot, tenant)))?;
        let input = planner.query_planner().create_physical_plan(&input, planner).await?;
        let plan = reset_plan_states(Arc::clone(&self.plan))?;
        let plan = with_input(plan, |first| {
            let gathered =
                *first.mode() == AggregateMode::Partial || input.output_partitioning().partition_count() == 1;
            Ok(Some(Arc::clone(&input)).filter(|input| gathered && input.schema() == first.input().schema()))
        })?;
        let Some(mut plan) = plan else { return Ok(None) };
        // What is above was made for another input.
        plan = SanityCheckPlan::new().optimize(plan, planner.config_options())?;
        for rule in rules {
            plan = rule.optimize(plan, planner.config_options())?;
        }
        Ok(Some(plan))
    }
}

fn is_first_step(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.downcast_ref::<AggregateExec>()
        .is_some_and(|aggregate| aggregate.mode().input_mode() == AggregateInputMode::Raw)
}

/// The plan with another input of its aggregation's first step; `None` if there is none for it.
fn with_input(
    plan: Arc<dyn ExecutionPlan>,
    input: impl Fn(&AggregateExec) -> Result<Option<Arc<dyn ExecutionPlan>>>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let mut found = false;
    let plan = plan.transform_down(|node| {
        let Some(first) = node.downcast_ref::<AggregateExec>().filter(|_| is_first_step(&node)) else {
            return Ok(Transformed::no(node));
        };
        let Some(input) = input(first)? else { return Ok(Transformed::new(node, false, TreeNodeRecursion::Stop)) };
        found = true;
        let schema = input.schema();
        let first = AggregateExec::try_new(
            *first.mode(),
            first.group_expr().clone(),
            first.aggr_expr().to_vec(),
            first.filter_expr().to_vec(),
            input,
            schema,
        )?;
        Ok(Transformed::new(Arc::new(first) as Arc<dyn ExecutionPlan>, true, TreeNodeRecursion::Stop))
    });
    let plan = plan.data()?;
    Ok(found.then_some(plan))
}

/// What is below the one aggregation of a plan that is a chain down to the stored rows of one table.
fn input_of_aggregation(plan: &LogicalPlan) -> Option<&LogicalPlan> {
    let (mut node, mut input) = (plan, None);
    loop {
        match node {
            LogicalPlan::Aggregate(aggregate) if input.is_none() => {
                input = Some(aggregate.input.as_ref());
            }
            LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => {}
            // Rows are all read before they are sorted or counted off.
            LogicalPlan::Sort(_) | LogicalPlan::Limit(_) if input.is_none() => {}
            LogicalPlan::TableScan(scan) if scan.fetch.is_none() => return raw_table(scan).and(input),
            _ => return None,
        }
        let inputs = node.inputs();
        let [below] = inputs.as_slice() else { return None };
        node = below;
    }
}

fn raw_table(scan: &TableScan) -> Option<RawTable> {
    let provider = source_as_provider(&scan.source).ok()?;
    (provider.as_ref() as &dyn Any).downcast_ref::<RawTable>().cloned()
}

/// Whether each of the times is in one place of the plan: a comparison with the timestamp where rows are read.
fn stand_in_one_place(times: &[i64], plan: &LogicalPlan) -> Result<bool> {
    let (mut anywhere, mut compared, mut apt) = (vec![0; times.len()], vec![0; times.len()], true);
    let place = |micros: i64| times.iter().position(|time| *time == micros);
    plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let bounds = scan.filters.iter().filter_map(time_bound);
            let micros = bounds.filter(|(_, nanos)| nanos % 1_000 == 0).map(|(_, nanos)| nanos / 1_000);
            micros.filter_map(place).for_each(|place| compared[place] += 1);
        }
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                match part {
                    Expr::Literal(value, _) => match of_literal(value) {
                        Some(micros) => place(micros).into_iter().for_each(|place| anywhere[place] += 1),
                        None => apt &= value.try_as_str().flatten().is_none_or(|text| micros_of(text).is_none()),
                    },
                    Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => apt = false,
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(apt && anywhere.iter().chain(&compared).all(|count| *count == 1))
}

/// A literal time in microseconds, rounded down.
fn of_literal(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::TimestampSecond(Some(value), _) => value.checked_mul(1_000_000),
        ScalarValue::TimestampMillisecond(Some(value), _) => value.checked_mul(1_000),
        ScalarValue::TimestampMicrosecond(Some(value), _) => Some(*value),
        ScalarValue::TimestampNanosecond(Some(value), _) => Some(value.div_euclid(1_000)),
        _ => None,
    }
}

/// The same plan with other times, over the rows of a snapshot, or over none.
fn over_rows(plan: &LogicalPlan, times: &[(i64, i64)], rows: Option<(&Snapshot, &TenantId)>) -> Result<LogicalPlan> {
    plan.clone()
        .transform_down(|node| {
            let LogicalPlan::TableScan(scan) = node else { return Ok(Transformed::no(node)) };
            let Some(table) = raw_table(&scan) else {
                return Err(QueryError::Internal("a kept plan reads a table of another kind".to_owned()).into());
            };
            let filters = scan.filters.into_iter().map(|filter| moved(filter, times)).collect::<Result<_>>()?;
            let source = provider_as_source(Arc::new(table.over(rows)));
            Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, filters, ..scan })))
        })
        .data()
}

/// A condition on the timestamp with its time exchanged; others as they are.
fn moved(filter: Expr, times: &[(i64, i64)]) -> Result<Expr> {
    let Some((_, nanos)) = time_bound(&filter) else { return Ok(filter) };
    let Some((_, to)) = times.iter().find(|(from, _)| from.checked_mul(1_000) == Some(nanos)) else {
        return Ok(filter);
    };
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return Ok(filter) };
    let time = |side: Box<Expr>| -> Result<Box<Expr>> {
        Ok(match *side {
            Expr::Literal(value, metadata) => {
                let micros = ScalarValue::TimestampMicrosecond(Some(*to), None);
                Box::new(Expr::Literal(micros.cast_to(&value.data_type())?, metadata))
            }
            other => Box::new(other),
        })
    };
    Ok(Expr::BinaryExpr(BinaryExpr { left: time(left)?, op, right: time(right)? }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::statement::{Command, parse};

    /// 2026-01-03T00:00:00Z
    const NOW: i64 = 1_767_398_400_000_000;

    fn timed(sql: &str) -> Option<Timed> {
        let Command::Query(ast) = parse(sql).unwrap().remove(0).command else { panic!("{sql}") };
        Timed::of(&ast, NOW)
    }

    #[test]
    fn statements_that_differ_in_times_only_have_one_text() {
        let of = |from: &str| {
            format!("SELECT count(*) FROM events WHERE timestamp BETWEEN '{from}' AND '2026-01-02T00:00:00Z'")
        };
        let one = timed(&of("2026-01-01T00:00:00Z")).unwrap();
        let other = timed(&of("2026-01-01T00:00:30.5Z")).unwrap();
        assert_eq!(one.text, other.text);
        assert_eq!(other.times[0] - one.times[0], 30_500_000);
        for no_time in ["2026-01-01 00:00:00Z", "2026-01-01T00:00:00.1234567Z", "2026-01-01T00:00:60Z", "yesterday"] {
            assert_eq!(timed(&of(no_time)).unwrap().times.len(), 1, "{no_time}");
        }
        let (statement, times) = other.with_other_times(60);
        let again = Timed::of(&statement, NOW).unwrap();
        assert_eq!((&again.text, &again.times), (&other.text, &times));
        assert!((60_000_001..61_000_000).contains(&(times[1] - other.times[1])), "{times:?}");
        assert!(timed(&format!("{} AND name = '{MARK}'", of("2026-01-01T00:00:00Z"))).is_none());
    }

    #[test]
    fn the_time_of_the_statement_is_one_of_its_times() {
        let of = |bound: &str| timed(&format!("SELECT count(*) FROM events WHERE timestamp >= {bound}"));
        let written = of("'2026-01-01T00:00:00Z'").unwrap();
        for (bound, hours) in [
            ("now()", 0),
            ("CURRENT_TIMESTAMP", 0),
            ("(now() - INTERVAL '1 day 2 hours')", -26),
            ("NOW() + INTERVAL '90 minutes' - INTERVAL '30 min'", 1),
        ] {
            let said = of(bound).unwrap();
            assert!(said.says_now && said.text == written.text, "{bound}");
            assert_eq!(said.times, [NOW + hours * 3_600_000_000], "{bound}");
        }
        assert!(!written.says_now);
        // Months differ, and what is asked of the time is not known.
        for bound in ["now() - INTERVAL '1 month'", "now() - INTERVAL '5'", "date_trunc('day', now())", "upper('now')"]
        {
            assert!(of(bound).is_none(), "{bound}");
        }
    }

    #[test]
    fn statements_about_other_tables_have_none() {
        let time = "timestamp > '2026-01-01T00:00:00Z'";
        assert!(timed(&format!("SELECT 1 FROM events WHERE {time}")).is_some());
        assert!(timed(&format!("SELECT 1 FROM service_red WHERE {time}")).is_none());
        assert!(timed(&format!("SELECT 1 FROM events, whence.jobs WHERE {time}")).is_none());
        assert!(timed("SELECT 1 FROM events").is_none());
    }
}
