//! Tables with the columns users know, as plans over stored columns. They are inlined into a statement's plan, so that
//! columns nobody asks for are neither computed nor read, and filters reach the files.

use super::raw::{RawTable, rows_of};
use super::user_columns::{UserType, columns_of};
use crate::functions::identity::Identity;
use crate::functions::json_metadata;
use crate::functions::sketch::{deviation, quantile};
use crate::functions::sketch_aggregate::{rollup, squared_distances};
use arrow::datatypes::IntervalMonthDayNano;
use datafusion::common::{Result, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::functions_aggregate::expr_fn::{first_value, max, min, sum};
use datafusion::logical_expr::expr::FieldMetadata;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, case};
use datafusion::prelude::{coalesce, col, lit};
use datafusion::scalar::ScalarValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use whence_schema::{BUCKET_NANOS, Table, TenantId};
use whence_storage::Snapshot;

/// The plan of `table`, for `tenant`.
pub(crate) fn plan(table: Table, snapshot: &Snapshot, tenant: &TenantId) -> Result<LogicalPlan> {
    let source = provider_as_source(Arc::new(RawTable::new(table, rows_of(table, snapshot), tenant.clone())));
    let scan = LogicalPlanBuilder::scan(format!("{}_stored", table.name()), source, None)?;
    match table {
        Table::Events => finish(table, scan, event_column),
        Table::Metrics => {
            let merged = scan.aggregate(metric_groups(), metric_parts())?;
            let tenant = tenant.as_str().to_owned();
            finish(table, merged, move |name| metric_column(name, &tenant))
        }
        Table::Correlations => finish(table, scan, correlation_column),
    }
}

/// The columns of the DDL, in its order.
fn finish(table: Table, input: LogicalPlanBuilder, column: impl Fn(&str) -> Option<Expr>) -> Result<LogicalPlan> {
    let mut columns = Vec::new();
    for user in columns_of(table) {
        let Some(expression) = column(&user.name) else {
            return plan_err!("no source for column {} of {}", user.name, table.name());
        };
        columns.push(match user.data_type {
            UserType::Json => {
                let metadata: BTreeMap<_, _> = json_metadata().into_iter().collect();
                expression.alias_with_metadata(user.name, Some(FieldMetadata::from(metadata)))
            }
            _ => expression.alias(user.name),
        });
    }
    input.project(columns)?.build()
}

fn event_column(name: &str) -> Option<Expr> {
    Some(match name {
        "id" => Identity::Event.of(vec![col("trace_id"), col("span_id"), col("request_digest"), col("position")]),
        "parent_event_id" => Identity::ParentEvent.of(vec![
            col("trace_id"),
            col("span_id"),
            col("parent_span_id"),
            col("request_digest"),
        ]),
        "correlation_id" => col("trace_id"),
        "trace_id" => Identity::TraceText.of(vec![col("trace_id")]),
        "span_id" => Identity::SpanText.of(vec![col("span_id")]),
        stored => column(stored),
    })
}

fn correlation_column(name: &str) -> Option<Expr> {
    let primary = || {
        let high = coalesce(vec![column("primary_high"), column("related_high")]);
        Identity::Halves.of(vec![high, column("primary_low")])
    };
    let related = || Identity::Halves.of(vec![column("related_high"), column("related_low")]);
    Some(match name {
        "id" => Identity::Correlation.of(vec![column("correlation_type"), column("relation"), primary(), related()]),
        "primary_event_id" => primary(),
        "related_event_id" => related(),
        "related_timestamp" => column("timestamp"),
        "metadata" => Identity::CorrelationMetadata.of(vec![
            column("relation"),
            column("timestamp"),
            column("primary_timestamp"),
            column("metadata"),
        ]),
        stored => column(stored),
    })
}

/// What makes a logical row, and what people filter on: a filter on a grouping column is applied before grouping.
fn metric_groups() -> Vec<Expr> {
    let mut groups: Vec<_> = ["timestamp", "asset_id", "metric_name"].into_iter().map(column).collect();
    groups.push(Identity::SeriesKey.of(vec![column("series")]).alias("series"));
    groups
}

/// Parts of one logical row, put together. What nobody asks for is not computed.
fn metric_parts() -> Vec<Expr> {
    let sketch = rollup().call(vec![column("sketch")]);
    let distances = squared_distances(column("value_count"), column("value_sum"), column("value_m2"));
    vec![
        first_value(column("metric_type"), vec![]).alias("metric_type"),
        first_value(column("unit"), vec![]).alias("unit"),
        first_value(column("dimensions"), vec![]).alias("dimensions"),
        min(column("created_at")).alias("created_at"),
        sum(column("point_count")).alias("point_count"),
        sum(column("value_count")).alias("value_count"),
        sum(column("value_sum")).alias("value_sum"),
        min(column("value_min")).alias("value_min"),
        max(column("value_max")).alias("value_max"),
        distances.alias("value_m2"),
        sketch.alias("sketch"),
    ]
}

fn metric_column(name: &str, tenant: &str) -> Option<Expr> {
    let has_values = || column("value_count").gt(lit(0_i64));
    let known = |value: Expr| case(lit(true)).when(has_values(), value).end().ok();
    Some(match name {
        "id" => Identity::MetricRow.of(vec![column("series"), column("timestamp")]),
        "time_bucket" => lit(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 0, BUCKET_NANOS)))),
        "tenant_id" => lit(tenant),
        "value_sum" => known(column("value_sum"))?,
        "value_avg" => known(column("value_sum") / datafusion::prelude::cast(column("value_count"), FLOAT))?,
        "value_p50" => quantile(column("sketch"), 0.50),
        "value_p95" => quantile(column("sketch"), 0.95),
        "value_p99" => quantile(column("sketch"), 0.99),
        "value_stddev" => deviation(column("value_count"), column("value_m2")),
        stored => column(stored),
    })
}

const FLOAT: arrow::datatypes::DataType = arrow::datatypes::DataType::Float64;

/// A column by its exact name.
fn column(name: &str) -> Expr {
    Expr::Column(datafusion::common::Column::from_name(name))
}
