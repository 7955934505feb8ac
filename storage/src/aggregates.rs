//! Continuous aggregates that were declared with statements: each tenant's names and queries. What a query may be is not
//! known here.
//!
//! Held in memory, and changed in the control database first: only the process that holds the directory's lock changes
//! them. A statement takes what its tenant has once ([`Aggregates::of`]), so that it means one thing throughout.

use crate::StorageError;
use crate::control::Control;
use hashbrown::HashMap;
use parking_lot::RwLock;
use std::sync::Arc;
use whence_schema::{TenantId, UnixNanos};

/// Number of a declaration. None is given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DefinitionId(pub i64);

/// A declared continuous aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its number, which stays when it is renamed.
    pub id: DefinitionId,
    /// Name in SQL.
    pub name: String,
    /// The query it stands for.
    pub query: String,
    /// When it was declared.
    pub created_at: UnixNanos,
}

/// What one tenant has declared, at one moment.
#[derive(Debug, Clone, Default)]
pub struct TenantDefinitions {
    /// Another one after every change.
    pub version: u64,
    /// In the order in which they were declared.
    pub list: Arc<[Arc<Definition>]>,
}

impl TenantDefinitions {
    /// The one with this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Definition>> {
        self.list.iter().find(|definition| definition.name == name)
    }
}

/// Why a declaration cannot be changed so.
#[derive(Debug, thiserror::Error)]
pub enum AggregateError {
    /// The name is taken.
    #[error("relation \"{name}\" already exists")]
    Exists {
        /// As asked for.
        name: String,
    },
    /// There is none of that name.
    #[error("materialized view \"{name}\" does not exist")]
    Missing {
        /// As asked for.
        name: String,
    },
    /// The tenant has as many as it may.
    #[error("there are {limit} continuous aggregates, and no more are allowed")]
    TooMany {
        /// How many are allowed.
        limit: usize,
    },
    /// The control database failed.
    #[error(transparent)]
    Store(#[from] StorageError),
}

/// The declarations of all tenants. Clones share them.
#[derive(Debug, Clone)]
pub struct Aggregates {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    control: Control,
    by_tenant: RwLock<HashMap<TenantId, TenantDefinitions>>,
    /// Changes come one after the other.
    changing: tokio::sync::Mutex<()>,
}

impl Aggregates {
    pub(crate) async fn load(control: Control) -> Result<Self, StorageError> {
        let mut lists: HashMap<TenantId, Vec<Arc<Definition>>> = HashMap::new();
        for (tenant, definition) in control.aggregates().await? {
            lists.entry(tenant).or_default().push(Arc::new(definition));
        }
        let by_tenant =
            lists.into_iter().map(|(tenant, list)| (tenant, TenantDefinitions { version: 1, list: list.into() }));
        let by_tenant = RwLock::new(by_tenant.collect());
        Ok(Self { inner: Arc::new(Inner { control, by_tenant, changing: tokio::sync::Mutex::default() }) })
    }

    /// What a tenant has declared.
    pub fn of(&self, tenant: &TenantId) -> TenantDefinitions {
        self.inner.by_tenant.read().get(tenant).cloned().unwrap_or_default()
    }

    /// Tenants that have declared any.
    pub fn tenants(&self) -> Vec<TenantId> {
        self.inner.by_tenant.read().iter().filter(|(_, of)| !of.list.is_empty()).map(|(key, _)| key.clone()).collect()
    }

    /// Declares an aggregate, of which a tenant may have `limit`.
    ///
    /// # Errors
    ///
    /// When the name is taken, there are as many as are allowed, or it cannot be stored.
    pub async fn create(
        &self,
        tenant: &TenantId,
        name: &str,
        query: &str,
        limit: usize,
    ) -> Result<Arc<Definition>, AggregateError> {
        let _one_at_a_time = self.inner.changing.lock().await;
        let known = self.of(tenant);
        if known.named(name).is_some() {
            return Err(AggregateError::Exists { name: name.to_owned() });
        }
        if known.list.len() >= limit {
            return Err(AggregateError::TooMany { limit });
        }
        let created_at = UnixNanos::now();
        let id = self.inner.control.insert_aggregate(tenant, name, query, created_at).await?;
        let definition = Definition { id, name: name.to_owned(), query: query.to_owned(), created_at };
        let definition = Arc::new(definition);
        self.replace(tenant, known.list.iter().cloned().chain([definition.clone()]).collect());
        tracing::info!(tenant = tenant.as_str(), name, "a continuous aggregate was declared");
        Ok(definition)
    }

    /// Forgets aggregates, all of those named or, when one of them does not exist, none.
    ///
    /// # Errors
    ///
    /// When one does not exist, or it cannot be stored.
    pub async fn drop(&self, tenant: &TenantId, names: &[&str]) -> Result<(), AggregateError> {
        let _one_at_a_time = self.inner.changing.lock().await;
        let known = self.of(tenant);
        let find = |name: &&str| match known.named(name) {
            Some(definition) => Ok(definition.id),
            None => Err(AggregateError::Missing { name: (*name).to_owned() }),
        };
        let ids = names.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        self.inner.control.delete_aggregates(&ids).await?;
        self.replace(tenant, known.list.iter().filter(|known| !ids.contains(&known.id)).cloned().collect());
        tracing::info!(tenant = tenant.as_str(), ?names, "continuous aggregates were dropped");
        Ok(())
    }

    /// Gives an aggregate another name.
    ///
    /// # Errors
    ///
    /// When it does not exist, the name is taken, or it cannot be stored.
    pub async fn rename(&self, tenant: &TenantId, from: &str, to: &str) -> Result<(), AggregateError> {
        let _one_at_a_time = self.inner.changing.lock().await;
        let known = self.of(tenant);
        let Some(renamed) = known.named(from).cloned() else {
            return Err(AggregateError::Missing { name: from.to_owned() });
        };
        if known.named(to).is_some() {
            return Err(AggregateError::Exists { name: to.to_owned() });
        }
        self.inner.control.rename_aggregate(renamed.id, to).await?;
        let of = |definition: &Arc<Definition>| match definition.id == renamed.id {
            true => Arc::new(Definition { name: to.to_owned(), ..Definition::clone(definition) }),
            false => definition.clone(),
        };
        self.replace(tenant, known.list.iter().map(of).collect());
        Ok(())
    }

    fn replace(&self, tenant: &TenantId, list: Arc<[Arc<Definition>]>) {
        let mut by_tenant = self.inner.by_tenant.write();
        let of_tenant = by_tenant.entry(tenant.clone()).or_default();
        *of_tenant = TenantDefinitions { version: of_tenant.version + 1, list };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn open(folder: &std::path::Path) -> Aggregates {
        Aggregates::load(Control::open(folder).await.unwrap()).await.unwrap()
    }

    fn names(of: &TenantDefinitions) -> Vec<&str> {
        of.list.iter().map(|definition| definition.name.as_str()).collect()
    }

    #[tokio::test]
    async fn declarations_are_a_tenants_own_bounded_and_survive() {
        let folder = tempfile::TempDir::new().unwrap();
        let (mine, other) = (TenantId::new("mine"), TenantId::new("other"));
        let aggregates = open(folder.path()).await;
        let first = aggregates.create(&mine, "a", "SELECT 1", 2).await.unwrap();
        aggregates.create(&mine, "b", "SELECT 2", 2).await.unwrap();
        let before = aggregates.of(&mine);
        let refused = |outcome: Result<_, AggregateError>| outcome.map(|_: Arc<Definition>| ()).unwrap_err();
        let third = refused(aggregates.create(&mine, "c", "SELECT 3", 2).await);
        assert!(matches!(third, AggregateError::TooMany { limit: 2 }));
        let again = refused(aggregates.create(&mine, "a", "SELECT 3", 9).await);
        assert!(matches!(again, AggregateError::Exists { .. }));
        aggregates.create(&other, "a", "SELECT 4", 2).await.unwrap();
        aggregates.rename(&mine, "a", "z").await.unwrap();
        assert!(matches!(aggregates.rename(&mine, "z", "b").await, Err(AggregateError::Exists { .. })));
        let none_of_two = aggregates.drop(&mine, &["b", "a"]).await;
        assert!(matches!(none_of_two, Err(AggregateError::Missing { name }) if name == "a"));
        assert_eq!((names(&before), names(&aggregates.of(&mine))), (vec!["a", "b"], vec!["z", "b"]));
        assert_ne!(before.version, aggregates.of(&mine).version);

        let aggregates = open(folder.path()).await;
        assert_eq!((names(&aggregates.of(&mine)), names(&aggregates.of(&other))), (vec!["z", "b"], vec!["a"]));
        assert_eq!(aggregates.of(&mine).named("z").unwrap().id, first.id);
        aggregates.drop(&mine, &["z", "b"]).await.unwrap();
        let next = aggregates.create(&mine, "a", "SELECT 1", 2).await.unwrap();
        assert!(next.id > aggregates.of(&other).list[0].id, "a number is not given twice");
        let aggregates = open(folder.path()).await;
        assert_eq!((names(&aggregates.of(&mine)), names(&aggregates.of(&other))), (vec!["a"], vec!["a"]));
    }
}
