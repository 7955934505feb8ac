//! Statements about continuous aggregates, done.

use super::check::Checker;
use super::declared::{Origin, TenantAggregates};
use crate::engine::QueryEngine;
use crate::error::{QueryError, SqlState};
use crate::provider::user_columns::{PUBLIC, catalog};
use crate::session::Answer;
use crate::statement::{RelationName, ViewCommand, ViewOption};
use whence_schema::{TenantId, VIEWS};
use whence_storage::{AggregateError, Grant, Scope};

/// Bytes of a name, as PostgreSQL has it.
const MAX_NAME_BYTES: usize = 63;

const ALWAYS_CURRENT: &str = "is always current: it is put together from partial results when it is read";

/// Does what `command` says, for whoever has the grant; `local` is a client on the server's own host.
///
/// # Errors
///
/// [`QueryError::Definition`], [`QueryError::Access`], or when it cannot be stored.
pub(crate) async fn run(
    engine: &QueryEngine,
    grant: &Grant,
    local: bool,
    command: &ViewCommand,
) -> Result<Answer, QueryError> {
    let tenant = grant.tenant();
    let known = engine.declared().of(tenant);
    let work = Work { engine, tenant, known };
    if let ViewCommand::DropOther { kind, names } = command {
        return Err(work.refuse_other(kind, names, command.tag()));
    }
    if let ViewCommand::Refresh { name, .. } = command {
        let name = work.existing(name)?;
        return Ok(told(command, vec![format!("continuous aggregate \"{name}\" {ALWAYS_CURRENT}")]));
    }
    may_define(grant, local, command.tag())?;
    let notices = match command {
        ViewCommand::Create { name, if_not_exists, options, query } => {
            work.create(name, *if_not_exists, options, query).await?
        }
        ViewCommand::Drop { names, if_exists } => work.drop(names, *if_exists).await?,
        ViewCommand::Rename { name, to, if_exists } => work.rename(name, to, *if_exists).await?,
        ViewCommand::Set { name, options, if_exists } => work.set(name, options, *if_exists)?,
        ViewCommand::DropOther { .. } | ViewCommand::Refresh { .. } => Vec::new(),
    };
    Ok(told(command, notices))
}

fn told(command: &ViewCommand, notices: Vec<String>) -> Answer {
    Answer::Told(command.tag(), notices)
}

/// Without a key, whoever is on the server's own host is an operator, as for everything that changes something.
fn may_define(grant: &Grant, local: bool, what: &str) -> Result<(), QueryError> {
    let forbidden = |problem: String, hint| {
        Err(QueryError::Definition { state: SqlState::INSUFFICIENT_PRIVILEGE, problem, hint: Some(hint) })
    };
    if grant.is_anonymous() && !local {
        return forbidden(
            format!("{what} without an API key is for clients on the server's own host"),
            "Run it there, or send a key with the scopes read and admin.",
        );
    }
    if !grant.allows(Scope::Admin) {
        return forbidden(
            format!("{what} needs an API key with scope admin"),
            "`whence apikey create --scopes read,admin` on the server makes one.",
        );
    }
    Ok(())
}

fn definition(state: SqlState, problem: String, hint: Option<&'static str>) -> QueryError {
    QueryError::Definition { state, problem, hint }
}

fn missing(name: &str) -> QueryError {
    AggregateError::Missing { name: name.to_owned() }.into()
}

impl From<AggregateError> for QueryError {
    fn from(error: AggregateError) -> Self {
        let (state, hint) = match &error {
            AggregateError::Exists { .. } => (SqlState::DUPLICATE_TABLE, None),
            AggregateError::Missing { .. } => (SqlState::UNDEFINED_TABLE, None),
            AggregateError::TooMany { .. } => (
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                Some("Drop one that nobody reads; extensions.query.max_continuous_aggregates is the bound."),
            ),
            AggregateError::Store(_) => {
                return match error {
                    AggregateError::Store(error) => Self::Storage(error),
                    other => Self::Internal(other.to_string()),
                };
            }
        };
        definition(state, error.to_string(), hint)
    }
}

/// What is done for one tenant.
struct Work<'a> {
    engine: &'a QueryEngine,
    tenant: &'a TenantId,
    known: std::sync::Arc<TenantAggregates>,
}

impl Work<'_> {
    async fn create(
        &self,
        name: &RelationName,
        if_not_exists: bool,
        options: &[ViewOption],
        query: &str,
    ) -> Result<Vec<String>, QueryError> {
        let mut notices = Vec::new();
        let continuous = options.iter().find(|option| is_continuous(option));
        if continuous.is_none_or(|option| option.value.as_deref().is_some_and(|value| !is_true(value))) {
            return Err(definition(
                SqlState::FEATURE_NOT_SUPPORTED,
                "CREATE MATERIALIZED VIEW is for continuous aggregates only: a copy of rows would age".to_owned(),
                Some("Add WITH (timescaledb.continuous)."),
            ));
        }
        let others = options.iter().filter(|option| !is_continuous(option));
        notices.extend(accepted(others)?);
        let name = in_public(name)?;
        let checked = Checker::shared()?.check(query).await?;
        if self.is_taken(name).await {
            return match if_not_exists {
                true => Ok(vec![format!("relation \"{name}\" already exists, skipping")]),
                false => Err(AggregateError::Exists { name: name.to_owned() }.into()),
            };
        }
        check_aggregate_name(name)?;
        let limit = self.engine.options().max_continuous_aggregates;
        match self.engine.store().aggregates().create(self.tenant, name, query, limit).await {
            Err(AggregateError::Exists { .. }) if if_not_exists => {
                return Ok(vec![format!("relation \"{name}\" already exists, skipping")]);
            }
            outcome => outcome?,
        };
        if !checked.not_mergeable.is_empty() {
            notices.push(format!(
                "{} cannot be put together from partial results: \"{name}\" is computed from all rows when it is read. \
                 approx_percentile over percentile_agg, and approx_distinct, can be",
                checked.not_mergeable.join(", ")
            ));
        }
        Ok(notices)
    }

    async fn drop(&self, names: &[RelationName], if_exists: bool) -> Result<Vec<String>, QueryError> {
        let (mut notices, mut found) = (Vec::new(), Vec::new());
        for name in names {
            match self.own(name) {
                Ok(name) => found.push(name),
                Err(error) if if_exists && error.sqlstate() == SqlState::UNDEFINED_TABLE => {
                    notices.push(format!("materialized view \"{}\" does not exist, skipping", name.name));
                }
                Err(error) => return Err(error),
            }
        }
        found.dedup();
        self.engine.store().aggregates().drop(self.tenant, &found).await?;
        Ok(notices)
    }

    async fn rename(&self, name: &RelationName, to: &RelationName, if_exists: bool) -> Result<Vec<String>, QueryError> {
        let from = match self.own(name) {
            Err(error) if if_exists && error.sqlstate() == SqlState::UNDEFINED_TABLE => {
                return Ok(vec![format!("relation \"{}\" does not exist, skipping", name.name)]);
            }
            own => own?,
        };
        let to = in_public(to)?;
        if self.is_taken(to).await {
            return Err(AggregateError::Exists { name: to.to_owned() }.into());
        }
        check_aggregate_name(to)?;
        self.engine.store().aggregates().rename(self.tenant, from, to).await?;
        Ok(Vec::new())
    }

    fn set(&self, name: &RelationName, options: &[ViewOption], if_exists: bool) -> Result<Vec<String>, QueryError> {
        match self.existing(name) {
            Err(error) if if_exists && error.sqlstate() == SqlState::UNDEFINED_TABLE => {
                return Ok(vec![format!("relation \"{}\" does not exist, skipping", name.name)]);
            }
            existing => drop(existing?),
        }
        accepted(options.iter())
    }

    /// The name of an aggregate that is there, built in or declared.
    fn existing<'a>(&self, name: &'a RelationName) -> Result<&'a str, QueryError> {
        let name = in_public(name)?;
        if is_built_in(name) || self.known.named(name).is_some() { Ok(name) } else { Err(missing(name)) }
    }

    /// The name of an aggregate that a statement has declared.
    fn own<'a>(&self, name: &'a RelationName) -> Result<&'a str, QueryError> {
        let name = in_public(name)?;
        if is_built_in(name) {
            return Err(built_in(name));
        }
        // What the configuration hides can still be dropped.
        if self.engine.store().aggregates().of(self.tenant).named(name).is_some() {
            return Ok(name);
        }
        match self.known.named(name).map(|aggregate| aggregate.origin) {
            Some(Origin::Configuration) => Err(definition(
                SqlState::NOT_IN_PREREQUISITE_STATE,
                format!("\"{name}\" is declared in the configuration"),
                Some("Change extensions.query.continuous_aggregates there, and start the server again."),
            )),
            _ => Err(missing(name)),
        }
    }

    async fn is_taken(&self, name: &str) -> bool {
        self.known.named(name).is_some()
            || catalog().iter().any(|table| table.schema == PUBLIC && table.name == name)
            || self.engine.names_catalog_table(name)
    }

    fn refuse_other(&self, kind: &str, names: &[RelationName], tag: &str) -> QueryError {
        for name in names {
            match in_public(name).map(|name| (name, is_built_in(name), self.known.named(name).is_some())) {
                Ok((name, true, _)) => return built_in(name),
                Ok((name, false, true)) => {
                    return definition(
                        SqlState::WRONG_OBJECT_TYPE,
                        format!("\"{name}\" is not a {kind}"),
                        Some("Use DROP MATERIALIZED VIEW to remove a materialized view."),
                    );
                }
                _ => {}
            }
        }
        QueryError::ReadOnly { statement: tag.to_owned() }
    }
}

fn is_built_in(name: &str) -> bool {
    VIEWS.iter().any(|view| view.name == name)
}

fn built_in(name: &str) -> QueryError {
    let problem = format!("permission denied: \"{name}\" comes with Whence and stays as it is");
    definition(SqlState::INSUFFICIENT_PRIVILEGE, problem, Some("Declare one of your own under another name."))
}

fn in_public(name: &RelationName) -> Result<&str, QueryError> {
    match name.schema.as_deref() {
        None | Some(PUBLIC) => Ok(&name.name),
        Some(other) => Err(definition(
            SqlState::INVALID_SCHEMA_NAME,
            format!("continuous aggregates are in the schema public, not in \"{other}\""),
            None,
        )),
    }
}

/// Whether a continuous aggregate may have this name.
///
/// # Errors
///
/// When it would hide something, or nobody could write it.
pub fn check_aggregate_name(name: &str) -> Result<(), QueryError> {
    let reserved = |problem: String| Err(definition(SqlState::RESERVED_NAME, problem, Some("Choose another name.")));
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        let problem = format!("the name of a continuous aggregate has 1 to {MAX_NAME_BYTES} bytes");
        return Err(definition(SqlState::NAME_TOO_LONG, problem, Some("Choose another name.")));
    }
    if name.chars().any(char::is_control) {
        return reserved("the name of a continuous aggregate has no control characters".to_owned());
    }
    if name.starts_with("pg_") {
        return reserved(format!("unacceptable name \"{name}\": the prefix \"pg_\" is reserved for the catalog"));
    }
    let taken = catalog().iter().any(|table| table.name == name && table.schema == PUBLIC || table.schema == name);
    if taken || ["public", "pg_catalog", "information_schema"].contains(&name) || name.ends_with("_stored") {
        return reserved(format!("unacceptable name \"{name}\": it is one of Whence's own"));
    }
    Ok(())
}

fn is_continuous(option: &ViewOption) -> bool {
    matches!(option.name.as_str(), "continuous" | "timescaledb.continuous" | "tsdb.continuous")
}

fn is_true(value: &str) -> bool {
    matches!(value.to_lowercase().as_str(), "true" | "on" | "1" | "yes" | "t" | "y")
}

/// What is said about options that have no effect here. Others are refused.
fn accepted<'a>(options: impl Iterator<Item = &'a ViewOption>) -> Result<Vec<String>, QueryError> {
    let mut notices = Vec::new();
    for option in options {
        let on = option.value.as_deref().is_none_or(is_true);
        let bare = option.name.trim_start_matches("timescaledb.").trim_start_matches("tsdb.");
        match bare {
            "materialized_only" if on => {
                notices.push(format!("{} has no effect: a continuous aggregate {ALWAYS_CURRENT}", option.name));
            }
            "materialized_only" | "finalized" | "create_group_indexes" | "continuous" => {}
            _ => {
                return Err(definition(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("unrecognized parameter \"{}\"", option.name),
                    Some(
                        "timescaledb.continuous, timescaledb.materialized_only, timescaledb.create_group_indexes and \
                         timescaledb.finalized are known; chunks are always compressed.",
                    ),
                ));
            }
        }
    }
    Ok(notices)
}
