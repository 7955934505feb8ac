//! What a tenant has declared, for one statement.

use super::check::{CheckedAggregate, Checker};
use crate::error::QueryError;
use crate::provider::catalog::DescribingSchemas;
use crate::provider::relations::Relation;
use datafusion::common::Result as PlanResult;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use whence_schema::TenantId;
use whence_storage::{DefinitionId, Store};

/// An aggregate that the configuration declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredAggregate {
    /// Name in SQL.
    pub name: String,
    /// The query it stands for; [`check_aggregate`](super::check_aggregate) has accepted it.
    pub query: String,
    /// Who has it. Empty: every tenant.
    pub tenants: Vec<TenantId>,
}

/// Numbers of declared aggregates in `pg_class`: far above those that the catalog library gives.
const CONFIGURED_OIDS: i64 = 900_000_000;
const DECLARED_OIDS: i64 = 1_000_000_000;

/// Where a declaration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In the configuration.
    Configuration,
    /// In the control database.
    Statement(DefinitionId),
}

/// A declared aggregate.
#[derive(Debug)]
pub(crate) struct DeclaredAggregate {
    pub(crate) name: String,
    pub(crate) query: String,
    pub(crate) origin: Origin,
    /// Number in `pg_class`, which it keeps.
    pub(crate) oid: i32,
    checked: OnceLock<CheckedAggregate>,
}

impl DeclaredAggregate {
    fn new(name: &str, query: &str, origin: Origin, number: i64) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            query: query.to_owned(),
            origin,
            oid: i32::try_from(number).unwrap_or(i32::MAX),
            checked: OnceLock::new(),
        })
    }

    /// Its columns. Worked out when they are first asked for: they follow from the query.
    pub(crate) fn checked(&self) -> Result<&CheckedAggregate, QueryError> {
        match self.checked.get() {
            Some(checked) => Ok(checked),
            None => {
                let checked = Checker::shared()?.check_now(&self.query)?;
                Ok(self.checked.get_or_init(|| checked))
            }
        }
    }
}

/// All that a tenant has declared, as of one moment.
#[derive(Debug)]
pub(crate) struct TenantAggregates {
    /// Another one after every change.
    pub(crate) version: u64,
    pub(crate) list: Vec<Arc<DeclaredAggregate>>,
    describing: OnceLock<DescribingSchemas>,
    tenant: TenantId,
}

impl TenantAggregates {
    /// The one with this name.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<DeclaredAggregate>> {
        self.list.iter().find(|aggregate| aggregate.name == name)
    }

    /// Those whose query can still be planned; the others say why when they are read.
    pub(crate) fn valid(&self) -> impl Iterator<Item = (&DeclaredAggregate, &CheckedAggregate)> {
        self.list.iter().filter_map(|aggregate| match aggregate.checked() {
            Ok(checked) => Some((aggregate.as_ref(), checked)),
            Err(error) => {
                let (tenant, name) = (self.tenant.as_str(), &aggregate.name);
                tracing::warn!(tenant, name, %error, "a continuous aggregate can no longer be planned");
                None
            }
        })
    }

    /// What describes tables and views, these among them.
    pub(crate) fn describing(&self, for_all: &DescribingSchemas) -> PlanResult<DescribingSchemas> {
        if self.list.is_empty() {
            return Ok(for_all.clone());
        }
        if let Some(known) = self.describing.get() {
            return Ok(known.clone());
        }
        let relation = |(aggregate, checked): (&DeclaredAggregate, &CheckedAggregate)| {
            Relation::declared(aggregate.oid, &aggregate.name, &aggregate.query, &checked.schema)
        };
        let made = for_all.with(self.valid().map(relation).collect())?;
        Ok(self.describing.get_or_init(|| made).clone())
    }
}

fn has(declared: &ConfiguredAggregate, tenant: &TenantId) -> bool {
    declared.tenants.is_empty() || declared.tenants.contains(tenant)
}

/// Tells operators of declarations that nobody can read.
fn tell_of_hidden(store: &Store, configured: &[(ConfiguredAggregate, Arc<DeclaredAggregate>)]) {
    for tenant in store.aggregates().tenants() {
        for definition in store.aggregates().of(&tenant).list.iter() {
            if configured.iter().any(|(other, _)| other.name == definition.name && has(other, &tenant)) {
                let (tenant, name) = (tenant.as_str(), definition.name.as_str());
                tracing::warn!(tenant, name, "the configuration hides a continuous aggregate of this tenant's own");
            }
        }
    }
}

/// The declarations of an engine's tenants.
#[derive(Debug)]
pub(crate) struct Declared {
    store: Store,
    configured: Vec<(ConfiguredAggregate, Arc<DeclaredAggregate>)>,
    known: Mutex<HashMap<TenantId, Arc<TenantAggregates>>>,
}

impl Declared {
    pub(crate) fn new(store: Store, configured: Vec<ConfiguredAggregate>) -> Self {
        let configured = configured.into_iter().zip(CONFIGURED_OIDS..).map(|(declared, number)| {
            let aggregate = DeclaredAggregate::new(&declared.name, &declared.query, Origin::Configuration, number);
            (declared, aggregate)
        });
        let configured: Vec<_> = configured.collect();
        tell_of_hidden(&store, &configured);
        Self { store, configured, known: Mutex::default() }
    }

    /// What `tenant` has now. The configuration comes before what statements have declared under the same name.
    pub(crate) fn of(&self, tenant: &TenantId) -> Arc<TenantAggregates> {
        let stored = self.store.aggregates().of(tenant);
        let before = self.known.lock().get(tenant).cloned();
        if let Some(known) = before.as_ref().filter(|known| known.version == stored.version) {
            return known.clone();
        }
        let configured = self.configured.iter().filter(|(declared, _)| has(declared, tenant));
        let mut list: Vec<_> = configured.map(|(_, aggregate)| aggregate.clone()).collect();
        for definition in stored.list.iter() {
            if list.iter().any(|known| known.name == definition.name) {
                continue;
            }
            let origin = Origin::Statement(definition.id);
            let same = |known: &&Arc<DeclaredAggregate>| known.origin == origin && known.name == definition.name;
            let known = before.as_ref().and_then(|before| before.list.iter().find(same)).cloned();
            list.push(known.unwrap_or_else(|| {
                let number = DECLARED_OIDS.saturating_add(definition.id.0);
                DeclaredAggregate::new(&definition.name, &definition.query, origin, number)
            }));
        }
        let aggregates = Arc::new(TenantAggregates {
            version: stored.version,
            list,
            describing: OnceLock::new(),
            tenant: tenant.clone(),
        });
        // Tenants without any would only fill the map.
        if !aggregates.list.is_empty() || before.is_some() {
            self.known.lock().insert(tenant.clone(), aggregates.clone());
        }
        aggregates
    }
}
