//! Table functions given by whoever builds the engine: `SELECT * FROM causal_chain('...')`.

use crate::condition::condition_position;
use crate::engine::QueryEngine;
use crate::error::QueryError;
use crate::functions::time_text::timestamptz_of;
use crate::functions::uuid::parse_uuid;
use crate::provider::fetched::conform;
use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl};
use datafusion::common::Result;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::scalar::ScalarValue;
use std::fmt;
use std::sync::Arc;
use whence_schema::{EventId, Table, TenantId, TraceId, UnixNanos};
use whence_storage::{RowCondition, Snapshot};

/// What an argument means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgumentKind {
    /// An id: a uuid, or its text.
    Uuid,
    /// A trace id: 32 hexadecimal digits, or a uuid.
    TraceId,
    /// A point in time: a timestamp, or its text.
    Timestamp,
    /// The text of a condition on the columns of `events`, with the argument's name.
    Condition(&'static str),
}

/// An argument.
#[derive(Clone)]
pub enum Argument {
    /// An id.
    Uuid(EventId),
    /// A trace id.
    TraceId(TraceId),
    /// A point in time.
    Timestamp(UnixNanos),
    /// A condition on stored columns of `events`.
    Condition(RowCondition),
}

/// An argument as it is written.
#[derive(Clone)]
enum Written {
    Value(Argument),
    Condition { name: &'static str, position: usize, text: String },
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("Value"),
            Self::Condition { name, text, .. } => write!(f, "{name}: {text}"),
        }
    }
}

/// Why a table function has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableFunctionError {
    /// The arguments cannot be used: what is wrong with them, and what to ask instead.
    Refused(String),
    /// It failed.
    Failed(String),
}

/// Computes the rows. May block: it runs on a thread for blocking work.
pub type TableFunctionCall =
    Arc<dyn Fn(&Snapshot, &TenantId, &[Argument]) -> Result<RecordBatch, TableFunctionError> + Send + Sync>;

/// A function that answers with rows.
#[derive(Clone)]
pub struct TableFunction {
    /// Name in SQL.
    pub name: &'static str,
    /// What it does in one line, as `\df+` shows it.
    pub description: &'static str,
    /// Arguments, all of them required.
    pub arguments: &'static [ArgumentKind],
    /// Columns of the answer; 16-byte columns are UUIDs.
    pub schema: SchemaRef,
    /// What it does.
    pub call: TableFunctionCall,
}

impl TableFunction {
    /// A function of the time from a first until before a second moment.
    pub fn of_window(
        name: &'static str,
        description: &'static str,
        schema: SchemaRef,
        ask: impl Fn(&Snapshot, &TenantId, UnixNanos, UnixNanos) -> Result<RecordBatch, TableFunctionError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let call: TableFunctionCall = Arc::new(move |snapshot, tenant, arguments| match arguments {
            [Argument::Timestamp(from), Argument::Timestamp(to)] => ask(snapshot, tenant, *from, *to),
            // The engine checks arguments against their kinds before it calls.
            _ => Err(TableFunctionError::Failed("called with something else than two times".to_owned())),
        });
        Self { name, description, arguments: &[ArgumentKind::Timestamp, ArgumentKind::Timestamp], schema, call }
    }
}

impl fmt::Debug for TableFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableFunction").field("name", &self.name).field("arguments", &self.arguments).finish()
    }
}

/// A table function over the snapshot of one statement.
#[derive(Debug)]
pub(crate) struct BoundTableFunction {
    pub(crate) function: TableFunction,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) tenant: TenantId,
    /// Understands conditions.
    pub(crate) engine: QueryEngine,
}

impl TableFunctionImpl for BoundTableFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let TableFunction { name, arguments, .. } = &self.function;
        if args.exprs().len() != arguments.len() {
            let problem = format!("function {name} takes {} arguments, not {}", arguments.len(), args.exprs().len());
            return Err(QueryError::UndefinedFunction { problem }.into());
        }
        let values = args.exprs().iter().zip(*arguments).enumerate();
        let values = values.map(|(position, (value, kind))| {
            read(value, *kind, position + 1).map_err(|problem| QueryError::InvalidArgument {
                function: name,
                position: position + 1,
                problem,
            })
        });
        Ok(Arc::new(CallTable {
            function: self.function.clone(),
            snapshot: self.snapshot.clone(),
            tenant: self.tenant.clone(),
            engine: self.engine.clone(),
            arguments: values.collect::<Result<Option<Vec<_>>, _>>()?,
        }))
    }
}

/// `None` for a parameter that has no value yet: the statement is only described.
fn read(value: &Expr, kind: ArgumentKind, position: usize) -> Result<Option<Written>, String> {
    let value = match value {
        Expr::Literal(value, _) => value,
        Expr::Cast(cast) => return read(&cast.expr, kind, position),
        Expr::Alias(alias) => return read(&alias.expr, kind, position),
        Expr::Placeholder(_) => return Ok(None),
        other => return Err(format!("'{other}' is no constant")),
    };
    let text = value.try_as_str().flatten();
    if let ArgumentKind::Condition(name) = kind {
        let text = text.ok_or_else(|| format!("{name}: {value} is no condition"))?;
        return Ok(Some(Written::Condition { name, position, text: text.to_owned() }));
    }
    let uuid = match (value, text) {
        (ScalarValue::FixedSizeBinary(16, Some(bytes)), _) => bytes.as_slice().try_into().ok().map(u128::from_be_bytes),
        (_, Some(text)) if kind != ArgumentKind::Timestamp => {
            Some(parse_uuid(text).map_err(|error| QueryError::from(error).to_string())?.0)
        }
        _ => None,
    };
    let argument = match kind {
        ArgumentKind::Uuid => uuid.map(|id| Argument::Uuid(EventId(id))),
        ArgumentKind::TraceId => uuid.and_then(|id| TraceId::from_slice(&id.to_be_bytes())).map(Argument::TraceId),
        ArgumentKind::Timestamp => nanos(value, text).map(|nanos| Argument::Timestamp(UnixNanos(nanos))),
        ArgumentKind::Condition(_) => None,
    };
    argument.map(|argument| Some(Written::Value(argument))).ok_or_else(|| format!("{value} is no {kind:?}"))
}

fn nanos(value: &ScalarValue, text: Option<&str>) -> Option<i64> {
    match value {
        ScalarValue::TimestampSecond(Some(value), _) => value.checked_mul(1_000_000_000),
        ScalarValue::TimestampMillisecond(Some(value), _) => value.checked_mul(1_000_000),
        ScalarValue::TimestampMicrosecond(Some(value), _) => value.checked_mul(1_000),
        ScalarValue::TimestampNanosecond(Some(value), _) => Some(*value),
        ScalarValue::Date32(Some(days)) => i64::from(*days).checked_mul(86_400_000_000_000),
        // With nanoseconds, or as PostgreSQL reads times.
        _ => match string_to_timestamp_nanos(text?) {
            Ok(nanos) => Some(nanos),
            Err(_) => timestamptz_of(text?).ok()?.checked_mul(1_000),
        },
    }
}

#[derive(Debug)]
struct CallTable {
    function: TableFunction,
    snapshot: Arc<Snapshot>,
    tenant: TenantId,
    engine: QueryEngine,
    arguments: Option<Vec<Written>>,
}

impl CallTable {
    async fn argument(&self, written: &Written) -> Result<Argument, QueryError> {
        let (name, position, text) = match written {
            Written::Value(argument) => return Ok(argument.clone()),
            Written::Condition { name, position, text } => (name, *position, text),
        };
        let condition = self.engine.row_condition(Table::Events, text).await;
        condition.map(Argument::Condition).map_err(|error| {
            let place = condition_position(&error, text).map(|at| format!(", at character {at} of it"));
            // The parser says where in the statement that the condition became a part of.
            let what = error.to_string();
            let what = what.split(" at Line: ").next().unwrap_or_default();
            let problem = format!("{name}: {what}{}", place.unwrap_or_default());
            QueryError::InvalidArgument { function: self.function.name, position, problem }
        })
    }
}

#[async_trait]
impl TableProvider for CallTable {
    fn schema(&self) -> SchemaRef {
        self.function.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let name = self.function.name;
        let Some(written) = &self.arguments else {
            return Err(QueryError::Internal(format!("{name}: an argument has no value")).into());
        };
        let mut arguments = Vec::with_capacity(written.len());
        for written in written {
            arguments.push(self.argument(written).await?);
        }
        let (call, snapshot, tenant) = (self.function.call.clone(), self.snapshot.clone(), self.tenant.clone());
        let rows = tokio::task::spawn_blocking(move || call(&snapshot, &tenant, &arguments))
            .await
            .map_err(|error| QueryError::Internal(format!("{name}: {error}")))?
            .map_err(|error| match error {
                TableFunctionError::Refused(problem) => QueryError::RefusedArguments { function: name, problem },
                TableFunctionError::Failed(problem) => QueryError::Internal(format!("{name}: {problem}")),
            })?;
        let rows = conform(&rows, &self.function.schema)?;
        Ok(MemorySourceConfig::try_new_exec(&[vec![rows]], self.function.schema.clone(), projection.cloned())?)
    }
}
