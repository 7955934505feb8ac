//! A session of one tenant: settings, and statements that each see one snapshot.
//!
//! ```text
//! parse -> (parameters put in) -> task on the query threads: plan -> execute -> batches, a few at a time -> QueryStream
//! ```

use crate::cache::levels::bytes_of;
use crate::cache::results::{KeptResult, ResultKey, is_repeatable};
use crate::dialect::adapt;
use crate::engine::QueryEngine;
use crate::error::QueryError;
use crate::gap_fill::fill;
use crate::lateral::unfold;
use crate::naming::{self, Names, rename};
use crate::parameter::{Parameter, mentions, substitute};
use crate::progress::{Progress, RunningPlan};
use crate::settings::Settings;
use crate::statement::{Command, Parsed, parse};
use crate::statements::Running;
use arrow::array::StringArray;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as PlannedStatement;
use datafusion::sql::sqlparser::ast::Statement;
use futures::{Stream, StreamExt, stream};
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep};
use whence_schema::TenantId;
use whence_storage::Grant;

/// Time after a statement's own in which its reader hears of it.
const GRACE: Duration = Duration::from_secs(1);
/// Batches that wait for a slow reader.
const BATCHES_IN_FLIGHT: usize = 2;

/// One client's dealings with the engine. Cheap to clone; clones share their settings.
#[derive(Clone)]
pub struct Session {
    engine: QueryEngine,
    grant: Grant,
    settings: Arc<Mutex<Settings>>,
}

/// Answer to a statement.
pub enum Answer {
    /// Rows.
    Rows(QueryStream),
    /// Done, with the tag of the command.
    Done(&'static str),
}

/// What is known about a statement without running it.
#[derive(Debug, Clone)]
pub struct Description {
    /// Type of each parameter, where it follows from the statement.
    pub parameters: Vec<Option<DataType>>,
    /// Columns of the answer; `None` if it has no rows.
    pub columns: Option<SchemaRef>,
}

impl Session {
    pub(crate) fn new(engine: QueryEngine, grant: Grant) -> Self {
        let options = engine.options();
        let settings = Settings::new(options.statement_timeout).with_longest_timeout(options.longest_statement_timeout);
        Self { engine, grant, settings: Arc::new(Mutex::new(settings)) }
    }

    /// Whose rows it sees.
    pub fn tenant(&self) -> &TenantId {
        self.grant.tenant()
    }

    /// That the client may still ask.
    ///
    /// # Errors
    ///
    /// [`QueryError::Access`], once its key is revoked or has expired.
    pub fn check(&self) -> Result<(), QueryError> {
        Ok(self.grant.check()?)
    }

    /// Settings as they are now.
    pub fn settings(&self) -> Settings {
        self.settings.lock().clone()
    }

    /// Sets a setting; `None` sets it back.
    ///
    /// # Errors
    ///
    /// If it does not exist, or cannot have this value.
    pub fn set(&self, name: &str, value: Option<&str>) -> Result<(), QueryError> {
        self.settings.lock().set(name, value)
    }

    /// Statements of `sql` that may run.
    ///
    /// # Errors
    ///
    /// If it is no SQL, or asks for something that is not answered here.
    pub fn parse(&self, sql: &str) -> Result<Vec<Parsed>, QueryError> {
        parse(sql)
    }

    /// Runs the one statement of `sql`.
    ///
    /// # Errors
    ///
    /// If it cannot be answered, or is not one statement with rows.
    pub async fn query(&self, sql: &str) -> Result<QueryStream, QueryError> {
        let mut statements = self.parse(sql)?;
        let (Some(statement), true) = (statements.pop(), statements.is_empty()) else {
            return Err(QueryError::NotSupported { what: "anything but one statement".to_owned() });
        };
        match self.execute(&statement, &[]).await? {
            Answer::Rows(rows) => Ok(rows),
            Answer::Done(tag) => {
                QueryStream::of(RecordBatch::try_from_iter([("command", Arc::new(StringArray::from(vec![tag])) as _)])?)
            }
        }
    }

    /// Parameters and columns of a statement.
    ///
    /// # Errors
    ///
    /// If it cannot be planned.
    pub async fn describe(&self, statement: &Parsed) -> Result<Description, QueryError> {
        let mut ast = match &statement.command {
            Command::Query(ast) => (**ast).clone(),
            Command::Show(name) => {
                let columns = Some(show(name, &self.settings())?.schema());
                return Ok(Description { parameters: Vec::new(), columns });
            }
            _ => return Ok(Description { parameters: Vec::new(), columns: None }),
        };
        let names = naming::of(&ast);
        let mentions = mentions(&mut ast);
        let plan = self.logical_plan(ast).await?;
        let types = plan.get_parameter_types()?;
        let parameter = |position: usize| {
            if mentions.row_counts.contains(&position) {
                return Some(DataType::Int64);
            }
            let of_value = types.get(&format!("${position}")).cloned().flatten();
            if mentions.arrays.contains(&position) {
                return Some(DataType::new_list(of_value.unwrap_or(DataType::Utf8), true));
            }
            of_value
        };
        let parameters = (1..=mentions.count).map(parameter).collect();
        Ok(Description { parameters, columns: Some(rename(plan.schema().as_arrow(), names)) })
    }

    /// Columns of the answer once parameters have their values.
    ///
    /// # Errors
    ///
    /// If it cannot be planned.
    pub async fn describe_bound(
        &self,
        statement: &Parsed,
        parameters: &[Parameter],
    ) -> Result<Option<SchemaRef>, QueryError> {
        let Command::Query(ast) = &statement.command else {
            return Ok(self.describe(statement).await?.columns);
        };
        let mut ast = (**ast).clone();
        let names = naming::of(&ast);
        substitute(&mut ast, parameters)?;
        Ok(Some(rename(self.logical_plan(ast).await?.schema().as_arrow(), names)))
    }

    async fn logical_plan(&self, ast: Statement) -> Result<LogicalPlan, QueryError> {
        self.grant.check()?;
        let (engine, tenant, settings) = (self.engine.clone(), self.tenant().clone(), self.settings());
        let limit = settings.statement_timeout();
        let planning = async move {
            // Held by the task: planning that goes on after its client has left still counts.
            let _turn = engine.turn(&tenant).await?;
            let context = engine.statement_context(engine.snapshot(), &tenant, Arc::new(settings))?;
            plan(&context, ast).await
        };
        let handle = self.engine.handle().ok_or(QueryError::Shutdown)?;
        let task = handle.spawn(planning);
        let _stop = AbortOnDrop(task.abort_handle());
        match limit {
            Some(limit) => {
                let planned = tokio::time::timeout(limit, task).await;
                planned.map_err(|_| QueryError::Timeout(limit))?.map_err(joined)?
            }
            None => task.await.map_err(joined)?,
        }
    }

    /// Runs a statement on a snapshot of its own.
    ///
    /// # Errors
    ///
    /// If it cannot be planned or started; later errors come with the rows.
    pub async fn execute(&self, statement: &Parsed, parameters: &[Parameter]) -> Result<Answer, QueryError> {
        self.grant.check()?;
        let done = match &statement.command {
            Command::Query(ast) => {
                let mut ast = (**ast).clone();
                let names = naming::of(&ast);
                substitute(&mut ast, parameters)?;
                return Ok(Answer::Rows(self.run(ast, names).await?));
            }
            Command::Show(name) => return Ok(Answer::Rows(QueryStream::of(show(name, &self.settings())?)?)),
            Command::Set { name, value } => {
                self.set(name, value.as_deref())?;
                "SET"
            }
            Command::Reset(name) => {
                match name {
                    Some(name) => self.set(name, None)?,
                    None => self.settings.lock().reset(),
                }
                "RESET"
            }
            Command::Begin => "BEGIN",
            Command::Commit => "COMMIT",
            Command::Rollback => "ROLLBACK",
            Command::NoOperation(tag) => {
                if *tag == "DISCARD ALL" {
                    self.settings.lock().reset();
                }
                tag
            }
        };
        Ok(Answer::Done(done))
    }

    async fn run(&self, ast: Statement, names: Names) -> Result<QueryStream, QueryError> {
        let mut running = self.engine.statements().begin(self.tenant(), &ast);
        match self.start(ast, names).await {
            Ok(stream) => Ok(QueryStream { running: Some(running), ..stream }),
            Err(error) => {
                running.failed();
                Err(error)
            }
        }
    }

    async fn start(&self, ast: Statement, names: Names) -> Result<QueryStream, QueryError> {
        let settings = Arc::new(self.settings());
        let limit = settings.statement_timeout();
        let deadline = limit.map(|limit| (Instant::now() + limit, limit));
        let (started, start) = oneshot::channel();
        let (batches, receiver) = mpsc::channel(BATCHES_IN_FLIGHT);
        let (engine, tenant) = (self.engine.clone(), self.tenant().clone());
        let running = RunningPlan::default();
        let watched = running.clone();
        let work = async move {
            let outcome = run_to_channel(engine, tenant, settings, ast, started, (&batches, watched)).await;
            if let Err((error, started)) = outcome {
                match started {
                    Some(started) => drop(started.send(Err(error))),
                    None => drop(batches.send(Err(error)).await),
                }
            }
        };
        // A reader that has stopped reading must not keep a place among the statements for ever. The reader's own clock
        // comes first: rows that just end would look like all of them.
        let work = async move {
            match deadline {
                Some((at, _)) => drop(tokio::time::timeout_at(at + GRACE, work).await),
                None => work.await,
            }
        };
        let handle = self.engine.handle().ok_or(QueryError::Shutdown)?;
        let stop = AbortOnDrop(handle.spawn(work).abort_handle());
        // The clock runs here, not on the threads of queries: they may be busy.
        let started =
            async { start.await.unwrap_or(Err(QueryError::Internal("the query's task has died".to_owned()))) };
        let schema = match deadline {
            Some((at, limit)) => {
                tokio::time::timeout_at(at, started).await.unwrap_or(Err(QueryError::Timeout(limit)))?
            }
            None => started.await?,
        };
        let timer = deadline.map(|(at, limit)| (Box::pin(tokio::time::sleep_until(at)), limit));
        Ok(QueryStream {
            schema: rename(&schema, names),
            receiver,
            timer,
            stop: Some(stop),
            first: None,
            running: None,
            plan: running,
        })
    }
}

type Started = oneshot::Sender<Result<SchemaRef, QueryError>>;

/// Plans and runs; an error comes with the way to report it if rows have not started.
async fn run_to_channel(
    engine: QueryEngine,
    tenant: TenantId,
    settings: Arc<Settings>,
    ast: Statement,
    started: Started,
    (batches, running): (&mpsc::Sender<Result<RecordBatch, QueryError>>, RunningPlan),
) -> Result<(), (QueryError, Option<Started>)> {
    let prepared = async {
        let turn = engine.turn(&tenant).await?;
        let snapshot = engine.snapshot();
        let key = settings.keeps_answers().then(|| ResultKey {
            tenant: tenant.clone(),
            version: snapshot.version,
            sql: ast.to_string().into(),
        });
        if let Some(answer) = key.as_ref().and_then(|key| engine.answers().get(key)) {
            let rows: Vec<_> = answer.batches.iter().cloned().map(Ok).collect();
            return Ok((turn, snapshot, answer.schema, stream::iter(rows).boxed(), None));
        }
        let context = engine.statement_context(snapshot.clone(), &tenant, settings)?;
        let plan = plan(&context, ast).await?;
        let schema = Arc::new(plan.schema().as_arrow().clone());
        let keeps = key.filter(|_| is_repeatable(&plan));
        let state = context.state();
        let physical = state.create_physical_plan(&plan).await?;
        running.started(physical.clone());
        let rows = execute_stream(physical, Arc::new(TaskContext::from(&state)))?;
        Ok((turn, snapshot, schema, rows.boxed(), keeps))
    };
    // The snapshot is held to the end: files it names stay readable as long as it lives.
    let (_turn, _snapshot, schema, mut rows, mut keeps) = match prepared.await {
        Ok(prepared) => prepared,
        Err(error) => return Err((error, Some(started))),
    };
    if started.send(Ok(schema.clone())).is_err() {
        return Ok(());
    }
    let mut kept = Vec::new();
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(|error| (QueryError::from(error), None))?;
        if batch.num_rows() == 0 {
            continue;
        }
        if keeps.is_some() {
            kept.push(batch.clone());
            if bytes_of(&kept) > engine.answers().most_bytes() {
                (keeps, kept) = (None, Vec::new());
            }
        }
        if batches.send(Ok(batch)).await.is_err() {
            return Ok(());
        }
    }
    if let Some(key) = keeps {
        engine.answers().put(key, KeptResult { schema, batches: Arc::new(kept) });
    }
    Ok(())
}

/// A plan that does nothing but read.
pub(crate) async fn plan(context: &SessionContext, mut ast: Statement) -> Result<LogicalPlan, QueryError> {
    adapt(&mut ast);
    let state = context.state();
    let plan = state.statement_to_plan(PlannedStatement::Statement(Box::new(ast))).await?;
    let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    read_only.verify_plan(&plan)?;
    Ok(fill(unfold(plan)?)?)
}

fn joined(error: tokio::task::JoinError) -> QueryError {
    if error.is_cancelled() {
        QueryError::Canceled
    } else {
        QueryError::Internal(format!("the query's task has died: {error}"))
    }
}

fn show(name: &str, settings: &Settings) -> Result<RecordBatch, QueryError> {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    if name == "all" {
        let (names, values): (Vec<_>, Vec<_>) = settings.all().into_iter().unzip();
        let schema = Arc::new(Schema::new(vec![text("name"), text("setting")]));
        let columns = vec![Arc::new(StringArray::from(names)) as _, Arc::new(StringArray::from(values)) as _];
        return Ok(RecordBatch::try_new(schema, columns)?);
    }
    let value = settings.get(name)?;
    let title = settings.all().into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    let title = title.map_or_else(|| name.to_owned(), |(known, _)| known);
    let schema = Arc::new(Schema::new(vec![text(&title)]));
    Ok(RecordBatch::try_new(schema, vec![Arc::new(StringArray::from(vec![value])) as _])?)
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Rows of an answer. Dropping it ends the query.
pub struct QueryStream {
    schema: SchemaRef,
    receiver: mpsc::Receiver<Result<RecordBatch, QueryError>>,
    timer: Option<(Pin<Box<Sleep>>, Duration)>,
    stop: Option<AbortOnDrop>,
    first: Option<RecordBatch>,
    /// What it costs; counted when the stream is dropped.
    running: Option<Running>,
    plan: RunningPlan,
}

impl QueryStream {
    /// Columns; batches may hold text as `Utf8` where this says `Utf8View`, and the other way round.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// How far the query has come.
    pub fn progress(&self) -> Progress {
        self.plan.progress()
    }

    /// All rows at once.
    ///
    /// # Errors
    ///
    /// The first that comes with the rows.
    pub async fn collect_batches(mut self) -> Result<Vec<RecordBatch>, QueryError> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }

    fn of(batch: RecordBatch) -> Result<Self, QueryError> {
        let (_, receiver) = mpsc::channel(1);
        Ok(Self {
            schema: batch.schema(),
            receiver,
            timer: None,
            stop: None,
            first: Some(batch),
            running: None,
            plan: RunningPlan::default(),
        })
    }
}

impl Stream for QueryStream {
    type Item = Result<RecordBatch, QueryError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(batch) = self.first.take() {
            return Poll::Ready(Some(Ok(batch)));
        }
        if let Some((timer, limit)) = &mut self.timer
            && timer.as_mut().poll(context).is_ready()
        {
            let limit = *limit;
            self.timer = None;
            self.stop = None;
            self.receiver.close();
            self.running.iter_mut().for_each(Running::failed);
            return Poll::Ready(Some(Err(QueryError::Timeout(limit))));
        }
        match self.receiver.poll_recv(context) {
            Poll::Ready(None) => {
                self.timer = None;
                // A cursor may stay open long after its last row.
                self.running = None;
                Poll::Ready(None)
            }
            Poll::Ready(Some(batch)) => {
                if let Some(running) = &mut self.running {
                    match &batch {
                        Ok(batch) => running.rows(batch.num_rows()),
                        Err(_) => running.failed(),
                    }
                }
                Poll::Ready(Some(batch))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
