//! New events as they are stored, filtered by a condition, with the columns users know.
//!
//! ```text
//! Store::watch_events -> condition on stored columns (as a deletion's) -> SELECT columns FROM those rows
//! ```

use crate::engine::QueryEngine;
use crate::error::QueryError;
use crate::planning::plan;
use crate::session::Session;
use crate::settings::Settings;
use crate::statement::{Command, parse};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::record_batch::RecordBatch;
use std::sync::Arc;
use whence_schema::{Table, TenantId};
use whence_storage::{ArrivedEvents, NewEvents, RowCondition, Snapshot, TableSnapshot};

/// Bytes of events that wait for a slow watcher.
const MAX_WAITING_BYTES: usize = 8 << 20;
/// What is shown of an event unless the watcher says otherwise.
const COLUMNS: &str = "timestamp, event_type, severity, asset_id, name, kind, status, duration_ns, body, payload, id, \
                       correlation_id, parent_event_id, trace_id, span_id, environment, source_module, created_at";

/// One tenant's new events that satisfy a condition.
pub(crate) struct Watch {
    engine: QueryEngine,
    session: Session,
    tenant: TenantId,
    condition: Option<RowCondition>,
    select: String,
    events: NewEvents,
}

/// What has arrived.
pub(crate) struct Arrived {
    /// Rows that satisfy the condition, in the order in which they were stored.
    pub(crate) rows: Vec<RecordBatch>,
    /// Events dropped before these because the watcher was too slow; whether they satisfy it is not known.
    pub(crate) dropped: u64,
}

impl QueryEngine {
    /// New events that the session's client may see, from now on. `columns` are names with commas between them.
    pub(crate) async fn watch(
        &self,
        session: &Session,
        condition: Option<&str>,
        columns: Option<&str>,
    ) -> Result<Watch, QueryError> {
        let condition = match condition.map(str::trim).filter(|condition| !condition.is_empty()) {
            Some(condition) => Some(self.row_condition(Table::Events, condition).await?),
            None => None,
        };
        let select = select(columns.unwrap_or(COLUMNS))?;
        let tenant = session.tenant().clone();
        if let [statement] = &session.parse(&select)?[..] {
            session.describe(statement).await?;
        }
        let events = self.store().watch_events(tenant.clone(), MAX_WAITING_BYTES);
        Ok(Watch { engine: self.clone(), session: session.clone(), tenant, condition, select, events })
    }
}

fn select(columns: &str) -> Result<String, QueryError> {
    let name = |name: &str| {
        let name = name.trim();
        let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let quoted = format!("\"{name}\"");
        plain.then_some(quoted).ok_or_else(|| QueryError::InvalidText { problem: format!("\"{name}\" is no column") })
    };
    let names = columns.split(',').map(name).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("SELECT {} FROM events", names.join(", ")))
}

impl Watch {
    /// Waits until something is stored. Nothing is lost when this is dropped before it is ready.
    pub(crate) async fn arrival(&mut self) -> ArrivedEvents {
        self.events.next().await
    }

    /// What of it satisfies the condition.
    pub(crate) async fn matching(&self, arrived: ArrivedEvents) -> Result<Arrived, QueryError> {
        self.session.check()?;
        let found = Found {
            engine: self.engine.clone(),
            tenant: self.tenant.clone(),
            condition: self.condition.clone(),
            select: self.select.clone(),
        };
        let handle = self.engine.handle().ok_or(QueryError::Shutdown)?;
        let rows = handle.spawn(found.rows(arrived.batches)).await;
        let rows = rows.map_err(|error| QueryError::Internal(format!("the watch's task has died: {error}")))??;
        Ok(Arrived { rows, dropped: arrived.dropped })
    }
}

struct Found {
    engine: QueryEngine,
    tenant: TenantId,
    condition: Option<RowCondition>,
    select: String,
}

impl Found {
    async fn rows(self, batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>, QueryError> {
        let mut matching = Vec::new();
        for batch in batches {
            let rows = match &self.condition {
                Some(condition) => {
                    let wanted = condition(&batch).map_err(QueryError::Internal)?;
                    filter_record_batch(&batch, &wanted)?
                }
                None => batch,
            };
            if rows.num_rows() > 0 {
                matching.push(rows);
            }
            tokio::task::yield_now().await;
        }
        let Some(first) = matching.first() else { return Ok(Vec::new()) };
        // As one batch, which stays in order.
        let stored = concat_batches(&first.schema(), &matching)?;
        self.shown(stored).await
    }

    async fn shown(self, stored: RecordBatch) -> Result<Vec<RecordBatch>, QueryError> {
        let none = || Arc::new(TableSnapshot::default());
        let events = Arc::new(TableSnapshot { batches: vec![stored], chunks: Vec::new() });
        let snapshot = Arc::new(Snapshot { version: 0, events, metrics: none(), correlations: none() });
        let settings = Arc::new(Settings::new(self.engine.options().statement_timeout));
        let context = self.engine.statement_context(snapshot, &self.tenant, settings)?;
        let statement = parse(&self.select)?.pop();
        let Some(Command::Query(ast)) = statement.map(|parsed| parsed.command) else { return Ok(Vec::new()) };
        let plan = plan(&context, *ast).await?;
        Ok(context.execute_logical_plan(plan).await?.collect().await?)
    }
}
