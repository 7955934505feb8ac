//! A session of one tenant: settings, and statements that each see one snapshot.
//!
//! ```text
//! parse -> (parameters put in) -> task on the query threads: plan -> execute -> batches, a few at a time -> QueryStream
//! ```

use crate::activity::{CancelBackend, Listed};
use crate::aggregates::define;
use crate::cache::levels::bytes_of;
use crate::cache::results::{KeptResult, ResultKey};
use crate::cursor::Cursors;
use crate::engine::QueryEngine;
use crate::error::QueryError;
use crate::functions::session::{BackendPid, SessionUser, SetConfig};
use crate::naming::{self, Names, rename};
use crate::parameter::{Parameter, mentions, substitute};
use crate::planning::{kept_plan, plan, planned};
use crate::progress::RunningPlan;
use crate::provider::relations::OWNER;
use crate::settings::Settings;
use crate::statement::{Command, CopyFormat, Parsed, ViewCommand, parse};
use crate::stream::{AbortOnDrop, QueryStream};
use arrow::array::StringArray;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::Statement;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use whence_schema::TenantId;
use whence_storage::{Grant, Snapshot};

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
    cursors: Arc<Cursors>,
    process: Arc<AtomicI32>,
    user: Arc<OnceLock<String>>,
    local: bool,
}

/// Answer to a statement.
pub enum Answer {
    /// Rows.
    Rows(QueryStream),
    /// Done, with the tag of the command.
    Done(&'static str),
    /// Done, with the tag of the command and what the client should know.
    Told(&'static str, Vec<String>),
    /// Done with so many rows, with the tag of the command.
    Passed(&'static str, u64),
    /// Rows to be copied to the client, and how.
    Copy(QueryStream, CopyFormat),
}

/// What is known about a statement without running it.
#[derive(Debug, Clone, Default)]
pub struct Description {
    /// Type of each parameter, where it follows from the statement.
    pub parameters: Vec<Option<DataType>>,
    /// Columns of the answer; `None` if it has no rows.
    pub columns: Option<SchemaRef>,
    /// Types that parameters (counted from 1) are cast to, as written.
    pub(crate) casts: BTreeMap<usize, String>,
}

impl Session {
    pub(crate) fn new(engine: QueryEngine, grant: Grant) -> Self {
        let options = engine.options();
        let settings = Settings::new(options.statement_timeout).with_longest_timeout(options.longest_statement_timeout);
        Self {
            engine,
            grant,
            settings: Arc::new(Mutex::new(settings)),
            cursors: Arc::default(),
            process: Arc::default(),
            user: Arc::default(),
            local: false,
        }
    }

    /// The same for a client on the server's own host, who may change something without an API key as long as there is
    /// none.
    #[must_use]
    pub fn on_this_host(self) -> Self {
        Self { local: true, ..self }
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

    /// Lists the session as a connection: `pg_stat_activity` shows it as long as the answer lives.
    pub(crate) fn list(&self, process: i32, user: String, address: SocketAddr) -> Listed {
        self.process.store(process, Ordering::Relaxed);
        let _ = self.user.set(user.clone());
        self.engine.activity().list(process, self.tenant(), (user, address), self.settings.clone())
    }

    pub(crate) fn engine(&self) -> &QueryEngine {
        &self.engine
    }

    /// Everything one statement may name, with the functions that belong to this session.
    pub(crate) fn context(
        &self,
        snapshot: Arc<Snapshot>,
        settings: Arc<Settings>,
    ) -> Result<SessionContext, QueryError> {
        let context = self.engine.statement_context(snapshot, self.tenant(), settings)?;
        context.register_udf(SetConfig::of(self.settings.clone()));
        context.register_udf(SessionUser::named(self.user.get().map_or(OWNER, String::as_str)));
        context.register_udf(BackendPid::of(self.process.load(Ordering::Relaxed)));
        context.register_udf(CancelBackend::of(self.engine.activity().clone(), self.tenant().clone()));
        Ok(context)
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
            Answer::Copy(..) => Err(QueryError::NotSupported { what: "COPY here".to_owned() }),
            Answer::Done(tag) | Answer::Passed(tag, _) | Answer::Told(tag, _) => {
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
                return Ok(Description { columns, ..Description::default() });
            }
            Command::Declare { query, .. } | Command::Copy { query, .. } => {
                let description = Box::pin(self.describe(query)).await?;
                return Ok(Description { columns: None, ..description });
            }
            Command::Fetch { name, moves: false, .. } => {
                let columns = self.cursors.schema(name);
                let columns = columns.ok_or_else(|| QueryError::UnknownCursor { name: name.clone() })?;
                return Ok(Description { columns: Some(columns), ..Description::default() });
            }
            _ => return Ok(Description::default()),
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
        let columns = Some(rename(plan.schema().as_arrow(), names));
        Ok(Description { parameters, columns, casts: mentions.casts })
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
        let settings = self.settings();
        let limit = settings.statement_timeout();
        let session = self.clone();
        let planning = async move {
            // Held by the task: planning that goes on after its client has left still counts.
            let _turn = session.engine.turn(session.tenant()).await?;
            let context = session.context(session.engine.snapshot(), Arc::new(settings))?;
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
                return Ok(Answer::Rows(self.run(ast, names, Reading::AtOnce).await?));
            }
            Command::Declare { name, query, hold, scroll } => {
                let Command::Query(ast) = &query.command else {
                    return Err(QueryError::NotSupported { what: "a cursor for anything but a query".to_owned() });
                };
                let mut ast = (**ast).clone();
                let names = naming::of(&ast);
                substitute(&mut ast, parameters)?;
                let rows = self.run(ast, names, Reading::InParts).await?;
                self.cursors.open(name, rows, (*hold, *scroll))?;
                "DECLARE CURSOR"
            }
            Command::Fetch { name, distance, moves: false } => {
                let (schema, parts) = self.cursors.fetch(name, *distance)?;
                let timer =
                    self.settings().statement_timeout().map(|limit| (Box::pin(tokio::time::sleep(limit)), limit));
                return Ok(Answer::Rows(QueryStream::of_parts(schema, parts, timer)));
            }
            Command::Fetch { name, distance, moves: true } => {
                return Ok(Answer::Passed("MOVE", self.cursors.pass(name, *distance).await?));
            }
            Command::Close(name) => {
                self.cursors.close(name.as_deref())?;
                "CLOSE CURSOR"
            }
            Command::Copy { query, format } => {
                return match Box::pin(self.execute(query, parameters)).await? {
                    Answer::Rows(rows) => Ok(Answer::Copy(rows, format.clone())),
                    other => Ok(other),
                };
            }
            Command::View(view) => return self.define(view.clone()).await,
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
            Command::Commit => {
                self.cursors.end_transaction();
                "COMMIT"
            }
            Command::Rollback => {
                self.cursors.end_transaction();
                "ROLLBACK"
            }
            Command::RollbackToSavepoint => "ROLLBACK",
            Command::NoOperation(tag) => {
                if *tag == "DISCARD ALL" {
                    self.settings.lock().reset();
                    self.cursors.close(None)?;
                }
                tag
            }
        };
        Ok(Answer::Done(done))
    }

    /// Does what a statement says about a continuous aggregate, to its end: also when the client goes away.
    async fn define(&self, view: ViewCommand) -> Result<Answer, QueryError> {
        let session = self.clone();
        let work = async move {
            let _turn = session.engine.turn(session.tenant()).await?;
            define::run(&session.engine, &session.grant, session.local, &view).await
        };
        let handle = self.engine.handle().ok_or(QueryError::Shutdown)?;
        handle.spawn(work).await.map_err(joined)?
    }

    /// Columns of an open cursor.
    pub fn cursor_columns(&self, name: &str) -> Option<SchemaRef> {
        self.cursors.schema(name)
    }

    async fn run(&self, ast: Statement, names: Names, reading: Reading) -> Result<QueryStream, QueryError> {
        let mut running = self.engine.statements().begin(self.tenant(), &ast);
        match self.start(ast, names, reading).await {
            Ok(stream) => Ok(QueryStream { running: Some(running), ..stream }),
            Err(error) => {
                running.failed();
                Err(error)
            }
        }
    }

    async fn start(&self, ast: Statement, names: Names, reading: Reading) -> Result<QueryStream, QueryError> {
        let settings = Arc::new(self.settings());
        let limit = settings.statement_timeout();
        let deadline = limit.map(|limit| (Instant::now() + limit, limit));
        let (started, start) = oneshot::channel();
        let (batches, receiver) = mpsc::channel(BATCHES_IN_FLIGHT);
        let session = self.clone();
        let running = RunningPlan::default();
        let watched = running.clone();
        let work = async move {
            let outcome = run_to_channel(session, settings, ast, started, (&batches, watched), reading).await;
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
                Some((at, _)) if reading == Reading::AtOnce => drop(tokio::time::timeout_at(at + GRACE, work).await),
                _ => work.await,
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
        let timer = deadline.filter(|_| reading == Reading::AtOnce);
        let timer = timer.map(|(at, limit)| (Box::pin(tokio::time::sleep_until(at)), limit));
        Ok(QueryStream {
            schema: rename(&schema, names),
            receiver,
            timer,
            stop: Some(stop),
            first: None,
            running: None,
            plan: running,
            parts: None,
        })
    }
}

/// Whether a statement's time is that of all its rows, or of each part that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    AtOnce,
    InParts,
}

type Started = oneshot::Sender<Result<SchemaRef, QueryError>>;

/// Plans and runs; an error comes with the way to report it if rows have not started.
async fn run_to_channel(
    session: Session,
    settings: Arc<Settings>,
    ast: Statement,
    started: Started,
    (batches, running): (&mpsc::Sender<Result<RecordBatch, QueryError>>, RunningPlan),
    reading: Reading,
) -> Result<(), (QueryError, Option<Started>)> {
    let engine = session.engine.clone();
    let prepared = async {
        let turn = engine.turn(session.tenant()).await?;
        let snapshot = engine.snapshot();
        let key = settings.keeps_answers().then(|| ResultKey {
            tenant: session.tenant().clone(),
            version: snapshot.version,
            definitions: engine.declared().of(session.tenant()).version,
            sql: ast.to_string().into(),
        });
        if let Some(answer) = key.as_ref().and_then(|key| engine.answers().get(key)) {
            let rows: Vec<_> = answer.batches.iter().cloned().map(Ok).collect();
            return Ok((turn, snapshot, answer.schema, stream::iter(rows).boxed(), None));
        }
        let kept = kept_plan(&session, &snapshot, &settings, &ast).await;
        let (schema, physical, keeps) = match kept {
            // What may be kept of plans follows from the rows alone.
            Some((schema, plan, repeatable)) => (schema, plan, key.filter(|_| repeatable)),
            None => planned(&session, &snapshot, settings, ast, key).await?,
        };
        running.started(physical.clone());
        let rows = execute_stream(physical, Arc::new(engine.task_context()))?;
        Ok((turn, snapshot, schema, rows.boxed(), keeps))
    };
    // The snapshot is held to the end: files it names stay readable as long as it lives.
    let (turn, _snapshot, schema, mut rows, mut keeps) = match prepared.await {
        Ok(prepared) => prepared,
        Err(error) => return Err((error, Some(started))),
    };
    if started.send(Ok(schema.clone())).is_err() {
        return Ok(());
    }
    // A cursor that nobody reads must not keep others from running.
    let _turn = Some(turn).filter(|_| reading == Reading::AtOnce);
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
