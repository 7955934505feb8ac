//! `extensions.query.continuous_aggregates`: by name, a query, or a query with the tenants that have it.
//!
//! ```yaml
//! continuous_aggregates:
//!   orders_hourly: SELECT time_bucket('1 hour', timestamp) AS bucket, count(*) AS orders FROM events GROUP BY 1
//!   errors_daily:
//!     query: SELECT time_bucket('1 day', timestamp) AS day, count(*) AS errors FROM events WHERE status = 'error' GROUP BY 1
//!     tenants: [acme]
//! ```
//!
//! Names and queries are checked as they are read, so that what is wrong is told with its line.

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use whence_query::{ConfiguredAggregate, QueryError, STACK_BYTES, check_aggregate, check_aggregate_name};
use whence_schema::TenantId;

/// `extensions.query.continuous_aggregates`
pub type ContinuousAggregates = BTreeMap<AggregateName, ContinuousAggregate>;

/// A name that a continuous aggregate may have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct AggregateName(String);

impl TryFrom<String> for AggregateName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match check_aggregate_name(&name) {
            Ok(()) => Ok(Self(name)),
            Err(error) => Err(with_remedy(&error)),
        }
    }
}

/// A query that can be a continuous aggregate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AggregateQuery(String);

impl TryFrom<String> for AggregateQuery {
    type Error = String;

    fn try_from(query: String) -> Result<Self, String> {
        // Planning goes as deep as the query; nothing in it waits for anything.
        let checked = std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || futures::executor::block_on(check_aggregate(&query)).map(|_| query))
            .map_err(|error| format!("no thread to check the query on: {error}"))?
            .join()
            .map_err(|_| "the query cannot be planned".to_owned())?;
        checked.map(Self).map_err(|error| with_remedy(&error))
    }
}

fn with_remedy(error: &QueryError) -> String {
    let place = error.place().map(|(line, column)| format!(" (line {line}, column {column} of the query)"));
    let remedy = error.hint().map(|hint| format!(". {hint}"));
    format!("{error}{}{}", place.unwrap_or_default(), remedy.unwrap_or_default())
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContinuousAggregate {
    query: AggregateQuery,
    tenants: Vec<String>,
}

/// The form with tenants.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WithTenants {
    query: AggregateQuery,
    #[serde(default)]
    tenants: Vec<String>,
}

impl<'de> Deserialize<'de> for ContinuousAggregate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = ContinuousAggregate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a query, or a map with `query` and `tenants`")
            }

            fn visit_str<E: Error>(self, query: &str) -> Result<Self::Value, E> {
                let query = AggregateQuery::try_from(query.to_owned()).map_err(E::custom)?;
                Ok(ContinuousAggregate { query, tenants: Vec::new() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let WithTenants { query, tenants } = WithTenants::deserialize(MapAccessDeserializer::new(map))?;
                Ok(ContinuousAggregate { query, tenants })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// As the query engine wants them.
pub fn configured(aggregates: &ContinuousAggregates) -> Vec<ConfiguredAggregate> {
    let of = |(name, declared): (&AggregateName, &ContinuousAggregate)| ConfiguredAggregate {
        name: name.0.clone(),
        query: declared.query.0.clone(),
        tenants: declared.tenants.iter().map(|tenant| TenantId::new(tenant)).collect(),
    };
    aggregates.iter().map(of).collect()
}
