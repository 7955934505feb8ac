//! Continuous aggregates as TimescaleDB lists them.

use super::pg_rows::Rows;
use super::relations::OWNER;
use super::user_columns::PUBLIC;
use crate::aggregates::declared::TenantAggregates;
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use whence_schema::{Table, VIEWS};

struct Shown {
    name: String,
    query: String,
    table: Table,
}

/// `timescaledb_information.continuous_aggregates`: the built-in ones, then those that the tenant has declared.
pub(crate) fn continuous_aggregates(aggregates: &TenantAggregates) -> Result<RecordBatch> {
    let built_in = VIEWS.iter().map(|view| Shown {
        name: view.name.to_owned(),
        query: view.query().to_owned(),
        table: view.table,
    });
    let declared = aggregates.valid().map(|(aggregate, checked)| Shown {
        name: aggregate.name.clone(),
        query: aggregate.query.clone(),
        table: checked.table,
    });
    let all: Vec<_> = built_in.chain(declared).collect();
    Rows::of(&all)
        .text("hypertable_schema", PUBLIC)
        .texts("hypertable_name", |shown| Some(shown.table.name().to_owned()))
        .text("view_schema", PUBLIC)
        .texts("view_name", |shown| Some(shown.name.clone()))
        .text("view_owner", OWNER)
        .flag("materialized_only", false)
        // Nothing is stored of them.
        .flag("compression_enabled", false)
        .nulls(&["materialization_hypertable_schema", "materialization_hypertable_name"], &DataType::Utf8)
        .texts("view_definition", |shown| Some(format!(" {};", shown.query.trim())))
        .flag("finalized", true)
        .build()
}
