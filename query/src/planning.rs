//! From a statement to what can be run.

use crate::activity::now_micros;
use crate::cache::results::{ResultKey, is_repeatable};
use crate::catalog_dialect;
use crate::dialect::adapt;
use crate::error::QueryError;
use crate::gap_fill::fill;
use crate::kept_plans::{Kept, KeptPlan, Timed};
use crate::lateral::unfold;
use crate::session::Session;
use crate::settings::Settings;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNode;
use datafusion::execution::SessionState;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as PlannedStatement;
use datafusion::sql::sqlparser::ast::Statement;
use std::sync::Arc;
use whence_storage::Snapshot;

/// Seconds, such that a time is on another day, at another hour and minute.
const SECOND_PLAN_LATER: i64 = 40 * 86_400 + 5 * 3_600 + 7 * 60 + 11;

/// The plan of a statement that comes again with other times, the columns of its answer, and whether that may be kept.
pub(crate) async fn kept_plan(
    session: &Session,
    snapshot: &Arc<Snapshot>,
    settings: &Arc<Settings>,
    ast: &Statement,
) -> Option<(SchemaRef, Arc<dyn ExecutionPlan>, bool)> {
    let (engine, tenant) = (session.engine(), session.tenant());
    let statement = settings.caches().then(|| Timed::of(ast, now_micros())).flatten()?;
    let kept = match engine.plans().get(tenant, &statement) {
        None => {
            engine.plans().put(tenant, &statement, Kept::Seen);
            return None;
        }
        Some(Kept::Unfit) => return None,
        Some(Kept::Plan(kept)) => kept,
        Some(Kept::Seen) => {
            let kept = to_keep(session, snapshot, settings, &statement).await.ok().flatten().map(Arc::new);
            engine.plans().put(tenant, &statement, kept.clone().map_or(Kept::Unfit, Kept::Plan));
            kept?
        }
    };
    // Whatever is wrong with it is said by the statement's own plan.
    let plan = engine.kept_plan_over(&kept, &statement, (snapshot, tenant)).await.ok().flatten()?;
    Some((kept.schema.clone(), plan, !statement.says_now))
}

async fn to_keep(
    session: &Session,
    snapshot: &Arc<Snapshot>,
    settings: &Arc<Settings>,
    statement: &Timed,
) -> Result<Option<KeptPlan>, QueryError> {
    let context = session.context(snapshot.clone(), settings.clone())?;
    let mut plans = Vec::new();
    for moved in [0, SECOND_PLAN_LATER] {
        // A state counts the names it gives to common parts: each plan has those of a first one.
        let state = context.state();
        let (ast, times) = statement.with_other_times(moved);
        let plan = plan_in(&state, ast).await?;
        if !is_repeatable(&plan) {
            return Ok(None);
        }
        plans.push((times, state.optimize(&plan)?, Arc::new(plan.schema().as_arrow().clone())));
    }
    let (Some((second_times, second, second_schema)), Some((times, first, schema))) = (plans.pop(), plans.pop()) else {
        return Ok(None);
    };
    if schema != second_schema {
        return Ok(None);
    }
    let plain = session.engine().plain_state();
    Ok(KeptPlan::of((times, first), (second_times, second), schema, plain).await?)
}

/// The plan of a statement, the columns of its answer, and under which key that may be kept.
pub(crate) async fn planned(
    session: &Session,
    snapshot: &Arc<Snapshot>,
    settings: Arc<Settings>,
    ast: Statement,
    key: Option<ResultKey>,
) -> Result<(SchemaRef, Arc<dyn ExecutionPlan>, Option<ResultKey>), QueryError> {
    let context = session.context(snapshot.clone(), settings)?;
    let state = context.state();
    let plan = plan_in(&state, ast).await?;
    let schema = Arc::new(plan.schema().as_arrow().clone());
    let key = key.filter(|_| is_repeatable(&plan));
    let physical = state.create_physical_plan(&plan).await?;
    Ok((schema, physical, key))
}

/// A plan that does nothing but read.
pub(crate) async fn plan(context: &SessionContext, ast: Statement) -> Result<LogicalPlan, QueryError> {
    plan_in(&context.state(), ast).await
}

/// The same with a copy of the context's state, which takes a while to make.
async fn plan_in(state: &SessionState, mut ast: Statement) -> Result<LogicalPlan, QueryError> {
    catalog_dialect::adapt(&mut ast);
    adapt(&mut ast)?;
    let plan = state.statement_to_plan(PlannedStatement::Statement(Box::new(ast))).await?;
    let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    read_only.verify_plan(&plan)?;
    Ok(typed_as_one(state, fill(unfold(plan)?)?))
}

/// The engine gives a union the types of its first part until it is analysed, and clients are told of types before.
fn typed_as_one(state: &SessionState, plan: LogicalPlan) -> LogicalPlan {
    if !plan.exists(|part| Ok(matches!(part, LogicalPlan::Union(_)))).unwrap_or_default() {
        return plan;
    }
    // What cannot be analysed, such as a parameter without a type, is refused when it is run.
    state.analyzer().execute_and_check(plan.clone(), state.config_options(), |_, _| {}).unwrap_or(plan)
}
