//! What all sessions share: functions, catalog descriptions, limits, and the threads that queries run on.

use crate::activity::Activity;
use crate::admission::{Admission, Turn};
use crate::aggregates::ConfiguredAggregate;
use crate::aggregates::declared::Declared;
use crate::cache::levels::{CacheStatistics, PartialCache};
use crate::cache::partials::KeepPartials;
use crate::cache::results::ResultCache;
use crate::error::QueryError;
use crate::functions::table::{BoundTableFunction, TableFunction};
use crate::functions::{self, postgres, uuid};
use crate::gap_fill::GapFillPlanner;
use crate::group_runs::GroupRuns;
use crate::kept_plans::{KeptPlan, KeptPlans, Timed};
use crate::link_times::LinksMeetEventsInTime;
use crate::memory::QueryMemory;
use crate::metric_parts::MetricPartsAddUp;
use crate::pause::PauseBeforeJoins;
use crate::provider::catalog::{Describing, DescribingSchemas, StatementCatalog};
use crate::provider::continuous::StatementState;
use crate::provider::information_schema::DATABASE;
use crate::provider::system::SystemTable;
use crate::session::Session;
use crate::settings::Settings;
use crate::statements::Statements;
use crate::times_first::TimesFirst;
use datafusion::catalog::{CatalogProviderList, MemoryCatalogProviderList};
use datafusion::common::config::Dialect;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{FunctionRegistry, SessionState, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use whence_schema::TenantId;
use whence_storage::{Credentials, Grant, Keyring, Scope, Snapshot, Store};

/// More threads than one query has parts: a join that computes for long without a pause leaves some to others.
const THREADS_PER_PARTITION: usize = 4;

/// Stack of a thread that parses, plans or runs statements: what deep trees of expressions take. Only what is used counts.
pub const STACK_BYTES: usize = 16 << 20;

/// Limits of queries.
#[derive(Debug, Clone)]
pub struct QueryOptions {
    /// Parts of one query that are computed at one time, on threads apart from those that receive. Default 2.
    pub threads: usize,
    /// Bytes that all queries together may hold. Default 1 GiB.
    pub memory_bytes: usize,
    /// Bytes that one may hold; sorts, joins and aggregations beyond it go to disk. Default 512 MiB.
    pub memory_per_query_bytes: usize,
    /// Where they go. `None`: nowhere, the query fails. Default: the system's folder for temporary files.
    pub spill_directory: Option<PathBuf>,
    /// Bytes that all queries together may have there. Default 4 GiB.
    pub spill_bytes: u64,
    /// Time for a statement, unless a session sets its own. Zero is no limit. Default 60 s.
    pub statement_timeout: Duration,
    /// Time that no session may exceed, whatever it sets. `None`: none. Default 1 h.
    pub longest_statement_timeout: Option<Duration>,
    /// Statements that run at one time; others wait. Default 32.
    pub concurrent_statements: usize,
    /// Those of one tenant. Default 16.
    pub statements_per_tenant: usize,
    /// How long a statement waits for its turn. Default 30 s.
    pub queue_timeout: Duration,
    /// Statements that take so long are logged. `None`: none. Default 5 s.
    pub slow_query: Option<Duration>,
    /// Connections over the PostgreSQL wire at one time. Default 200.
    pub max_connections: usize,
    /// Bytes of partial results that are kept. Zero keeps none. Default 256 MiB.
    pub cache_bytes: usize,
    /// A Redis server that keeps them too, for other servers and the time after a restart.
    pub redis_url: Option<String>,
    /// Names and values that `whence.settings` shows. Default none.
    pub settings: Vec<(String, String)>,
    /// Rows of an HTTP answer, unless it is streamed. Default 100,000.
    pub http_rows: usize,
    /// Continuous aggregates that are there beside the built-in ones. Default none.
    pub aggregates: Vec<ConfiguredAggregate>,
    /// Continuous aggregates that a tenant may declare with statements. Default 100.
    pub max_continuous_aggregates: usize,
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self {
            threads: 2,
            memory_bytes: 1 << 30,
            memory_per_query_bytes: 512 << 20,
            spill_directory: Some(std::env::temp_dir()),
            spill_bytes: 4 << 30,
            statement_timeout: Duration::from_secs(60),
            longest_statement_timeout: Some(Duration::from_secs(3_600)),
            concurrent_statements: 32,
            statements_per_tenant: 16,
            queue_timeout: Duration::from_secs(30),
            slow_query: Some(Duration::from_secs(5)),
            max_connections: 200,
            cache_bytes: 256 << 20,
            redis_url: None,
            settings: Vec::new(),
            http_rows: 100_000,
            aggregates: Vec::new(),
            max_continuous_aggregates: 100,
        }
    }
}

/// What SQL has beside the store's own, from whoever builds the engine.
#[derive(Debug, Clone, Default)]
pub struct Additions {
    /// Table functions.
    pub functions: Vec<TableFunction>,
    /// Tables of the schema `whence`.
    pub tables: Vec<SystemTable>,
}

/// Answers SQL over a store. Cheap to clone.
#[derive(Clone)]
pub struct QueryEngine {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for QueryEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueryEngine").field("cache", &self.cache_statistics()).finish_non_exhaustive()
    }
}

struct Shared {
    store: Store,
    base: SessionState,
    /// The same, with partial results kept.
    caching: SessionState,
    /// The same, without rules that come after the engine's.
    plain: SessionState,
    /// What comes after them where partial results are kept.
    keeping: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>>,
    plans: KeptPlans,
    cache: Arc<PartialCache>,
    answers: ResultCache,
    declared: Declared,
    describing: DescribingSchemas,
    additions: Arc<Additions>,
    options: QueryOptions,
    admission: Arc<Admission>,
    statements: Arc<Statements>,
    /// What all queries together hold.
    memory: Arc<GreedyMemoryPool>,
    activity: Arc<Activity>,
    runtime: QueryRuntime,
}

/// Threads of queries. Dropped without waiting: whoever drops the engine may be a task.
struct QueryRuntime(Option<tokio::runtime::Runtime>);

impl Drop for QueryRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl QueryEngine {
    /// An engine over `store`, with table functions and tables of the caller's.
    ///
    /// # Errors
    ///
    /// If threads cannot be started, or the spill directory cannot be used.
    pub fn new(store: Store, additions: Additions, options: QueryOptions) -> Result<Self, QueryError> {
        let cache = PartialCache::new(options.cache_bytes, options.redis_url.as_deref())?;
        Self::with_cache(store, additions, options, Arc::new(cache))
    }

    /// The same with a cache that may have been another engine's.
    pub(crate) fn with_cache(
        store: Store,
        additions: Additions,
        options: QueryOptions,
        cache: Arc<PartialCache>,
    ) -> Result<Self, QueryError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.threads.max(1) * THREADS_PER_PARTITION)
            .max_blocking_threads(options.threads.max(1) * 4)
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|error| QueryError::Internal(format!("query threads cannot be started: {error}")))?;
        let context = base_context(&options)?;
        if let Some(files) = store.chunk_files() {
            context.register_object_store(ObjectStoreUrl::local_filesystem().as_ref(), files);
        }
        let describing = DescribingSchemas::install(&context, &additions)?;
        let plain = register(context.state(), &describing)?;
        let with = |rules: &[Arc<dyn PhysicalOptimizerRule + Send + Sync>]| {
            let state = SessionStateBuilder::new_from_existing(plain.clone());
            rules.iter().fold(state, |state, rule| state.with_physical_optimizer_rule(Arc::clone(rule))).build()
        };
        let base = with(&[Arc::new(TimesFirst::default()), Arc::new(GroupRuns)]);
        let keeping: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> = vec![
            Arc::new(TimesFirst { kept_in: Some(cache.clone()) }),
            Arc::new(KeepPartials(cache.clone())),
            Arc::new(GroupRuns),
        ];
        let caching = with(&keeping);
        let shared = Shared {
            declared: Declared::new(store.clone(), options.aggregates.clone()),
            store,
            base,
            caching,
            plain,
            keeping,
            plans: KeptPlans::new(),
            cache,
            answers: ResultCache::new(options.cache_bytes / 4),
            describing,
            additions: Arc::new(additions),
            admission: Admission::new(
                options.concurrent_statements,
                options.statements_per_tenant,
                options.queue_timeout,
            ),
            statements: Statements::new(options.slow_query, options.settings.clone()),
            memory: Arc::new(GreedyMemoryPool::new(options.memory_bytes)),
            activity: Arc::default(),
            runtime: QueryRuntime(Some(runtime)),
            options,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A session that sees the rows of the grant's tenant, and no others, for as long as the grant holds.
    pub fn session(&self, grant: Grant) -> Session {
        Session::new(self.clone(), grant)
    }

    /// A session for a request with these headers (HTTP, gRPC); `header` finds a value by its name in lower case.
    ///
    /// # Errors
    ///
    /// [`QueryError::Access`] without a good API key, if one is needed.
    pub fn authenticate<'a>(&self, header: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Session, QueryError> {
        let credentials = Credentials::from_headers(header);
        Ok(self.session(self.keyring().authenticate(&credentials, Scope::Read)?))
    }

    /// The API keys: whom doors let in.
    pub fn keyring(&self) -> &Keyring {
        self.shared.store.keyring()
    }

    /// The limits.
    pub fn options(&self) -> &QueryOptions {
        &self.shared.options
    }

    /// How well the cache does.
    pub fn cache_statistics(&self) -> CacheStatistics {
        CacheStatistics { answer_hits: self.answers().hits(), ..self.shared.cache.statistics() }
    }

    /// Continuous aggregates that were declared.
    pub(crate) fn declared(&self) -> &Declared {
        &self.shared.declared
    }

    /// Whether PostgreSQL's catalog has a table of this name.
    pub(crate) fn names_catalog_table(&self, name: &str) -> bool {
        self.shared.describing.has_catalog_table(name)
    }

    /// Whole answers that are kept.
    pub(crate) fn answers(&self) -> &ResultCache {
        &self.shared.answers
    }

    /// Removes what is kept of a tenant's rows: some of them were erased.
    ///
    /// # Errors
    ///
    /// If Redis does not answer; what it has of them it then keeps for up to a day.
    pub async fn forget(&self, tenant: &TenantId) -> Result<(), QueryError> {
        self.shared.answers.forget(tenant);
        self.shared.cache.forget(tenant).await
    }

    pub(crate) fn store(&self) -> &Store {
        &self.shared.store
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(self.shared.store.snapshot())
    }

    /// Waits until a statement of `tenant` may run.
    pub(crate) async fn turn(&self, tenant: &TenantId) -> Result<Turn, QueryError> {
        self.shared.admission.turn(tenant).await
    }

    /// What statements have cost.
    pub(crate) fn statements(&self) -> &Arc<Statements> {
        &self.shared.statements
    }

    /// Who is connected.
    pub(crate) fn activity(&self) -> &Arc<Activity> {
        &self.shared.activity
    }

    /// The threads of queries; `None` never happens while the engine lives.
    pub(crate) fn handle(&self) -> Option<tokio::runtime::Handle> {
        self.shared.runtime.0.as_ref().map(|runtime| runtime.handle().clone())
    }

    /// Tasks of queries that have not ended.
    #[cfg(test)]
    pub(crate) fn busy_tasks(&self) -> usize {
        self.handle().map_or(0, |handle| handle.metrics().num_alive_tasks())
    }

    /// Everything one statement of a session may name, over one snapshot.
    pub(crate) fn statement_context(
        &self,
        snapshot: Arc<Snapshot>,
        tenant: &TenantId,
        settings: Arc<Settings>,
    ) -> Result<SessionContext, QueryError> {
        let shared = &self.shared;
        let catalogs = MemoryCatalogProviderList::new();
        let planned = StatementState::default();
        let aggregates = shared.declared.of(tenant);
        let declares = !aggregates.list.is_empty();
        let describing = Describing { for_all: shared.describing.clone(), aggregates: Some(aggregates.clone()) };
        let catalog = StatementCatalog {
            store: shared.store.clone(),
            additions: shared.additions.clone(),
            snapshot: snapshot.clone(),
            tenant: tenant.clone(),
            describing: describing.clone(),
            statements: shared.statements.clone(),
            activity: shared.activity.clone(),
            settings: settings.clone(),
            aggregates,
            state: planned.clone(),
        };
        catalogs.register_catalog(DATABASE.to_owned(), Arc::new(catalog));
        let base = if settings.caches() { &shared.caching } else { &shared.base };
        // A copy: building a state registers hundreds of functions anew.
        let mut state = base.clone();
        state.register_catalog_list(Arc::new(catalogs));
        state.register_udf(Arc::new(postgres::CurrentSetting::of(settings)))?;
        for function in functions::sizes::functions(&describing, &snapshot, tenant) {
            state.register_udf(Arc::new(function))?;
        }
        if declares {
            for function in functions::described::functions(&describing) {
                state.register_udf(Arc::new(function))?;
            }
        }
        for function in &shared.additions.functions {
            let bound = BoundTableFunction {
                function: function.clone(),
                snapshot: snapshot.clone(),
                tenant: tenant.clone(),
                engine: self.clone(),
            };
            state.register_udtf(function.name, Arc::new(bound));
        }
        let context = SessionContext::new_with_state(state);
        let _ = planned.set(context.state_weak_ref());
        Ok(context)
    }

    /// Plans of statements that come again with other times.
    pub(crate) fn plans(&self) -> &KeptPlans {
        &self.shared.plans
    }

    /// A kept plan with the times of `statement`, over the rows of a tenant in a snapshot; `None` if it does not fit them.
    pub(crate) async fn kept_plan_over(
        &self,
        kept: &KeptPlan,
        statement: &Timed,
        rows: (&Snapshot, &TenantId),
    ) -> Result<Option<Arc<dyn ExecutionPlan>>, QueryError> {
        Ok(kept.over(statement, rows, &self.shared.plain, &self.shared.keeping).await?)
    }

    /// A state without rules that come after the engine's, to plan parts of statements.
    pub(crate) fn plain_state(&self) -> &SessionState {
        &self.shared.plain
    }

    /// What a statement runs in, with its own share of memory.
    pub(crate) fn task_context(&self) -> TaskContext {
        let state = &self.shared.plain;
        let options = &self.shared.options;
        let memory = QueryMemory::new(options.memory_per_query_bytes, self.shared.memory.clone(), options.memory_bytes);
        let environment = RuntimeEnv { memory_pool: Arc::new(memory), ..RuntimeEnv::clone(state.runtime_env()) };
        let (id, config) = (state.session_id().to_owned(), state.config().clone());
        TaskContext::new(None, id, config, none(), none(), none(), none(), Arc::new(environment))
    }
}

/// No functions: they are for whoever reads plans from bytes.
fn none<T>() -> HashMap<String, T> {
    HashMap::new()
}

/// What plans a statement without a table.
pub(crate) fn planning_state(options: &QueryOptions) -> Result<SessionState, QueryError> {
    let context = base_context(options)?;
    let describing = DescribingSchemas::install(&context, &Additions::default())?;
    register(context.state(), &describing)
}

fn base_context(options: &QueryOptions) -> Result<SessionContext, QueryError> {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(DATABASE, "public")
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(false)
        .with_target_partitions(options.threads.max(1));
    let settings = config.options_mut();
    settings.execution.time_zone = Some("UTC".to_owned());
    settings.sql_parser.dialect = Dialect::PostgreSQL;
    // Where in the statement an unknown name stands.
    settings.sql_parser.collect_spans = true;
    settings.execution.parquet.pushdown_filters = true;
    settings.execution.parquet.reorder_filters = true;
    // The rule moves JSON look-ups below the views' projections, where DataFusion 55 then finds two columns of one name.
    settings.optimizer.enable_leaf_expression_pushdown = false;
    let disk = match &options.spill_directory {
        Some(directory) => DiskManagerMode::Directories(vec![directory.clone()]),
        None => DiskManagerMode::Disabled,
    };
    let environment = RuntimeEnvBuilder::new()
        .with_disk_manager_builder(
            DiskManagerBuilder::default().with_mode(disk).with_max_temp_directory_size(options.spill_bytes),
        )
        .build_arc()?;
    Ok(SessionContext::new_with_config_rt(config, environment))
}

/// Our functions, operators and types, on top of DataFusion's and pg_catalog's.
fn register(state: SessionState, describing: &DescribingSchemas) -> Result<SessionState, QueryError> {
    let types =
        Arc::new(uuid::SqlTypes(Some(Arc::new(datafusion_pg_catalog::pg_catalog::oid_type_planner::PgOidTypePlanner))));
    let mut state = SessionStateBuilder::new_from_existing(state)
        .with_type_planner(types)
        .with_analyzer_rule(Arc::new(LinksMeetEventsInTime))
        .with_analyzer_rule(Arc::new(MetricPartsAddUp))
        .with_physical_optimizer_rule(Arc::new(PauseBeforeJoins))
        .with_query_planner(Arc::new(GapFillPlanner))
        .build();
    functions::register(&mut state)?;
    let describing = Describing { for_all: describing.clone(), aggregates: None };
    for function in functions::described::functions(&describing) {
        state.register_udf(Arc::new(function))?;
    }
    crate::bounded::bound(&mut state)?;
    Ok(state)
}
