//! Rows of `metrics` as points: one for each series and minute.
//!
//! The value is the mean of what was measured in the minute: of a gauge its level; of a sum what it grew by between two
//! measurements, which is in proportion to its rate; of a histogram the mean of what it counted.

use super::names::Names;
use super::stays;
use crate::error::CorrelatorError;
use crate::functions::scan::{Only, Range, Scan};
use crate::method::observations::{Observations, PointSeen};
use crate::method::series::may_stand_out;
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use hashbrown::HashMap;
use std::ops::ControlFlow;
use whence_schema::tables::metrics::column;
use whence_schema::{BUCKET_NANOS, Table, TenantId, UnixNanos};
use whence_storage::Snapshot;
use xxhash_rust::xxh3::xxh3_64;

const COLUMNS: [usize; 8] = [
    column::TENANT_ID,
    column::TIMESTAMP,
    column::ASSET_ID,
    column::METRIC_NAME,
    column::SERIES,
    column::VALUE_COUNT,
    column::VALUE_SUM,
    column::DIMENSIONS,
];
const MISSING: CorrelatorError = CorrelatorError::Columns { table: "metrics", column: "a column of observations" };

/// Points of the series by which incidents are found.
pub(super) const MAY_STAND_OUT: Only = Only {
    columns: &[column::METRIC_NAME],
    choose: |batch| {
        let wrong = || ArrowError::SchemaError("metric_name has another type than stored".to_owned());
        let names = batch.column(0).as_string_view_opt().ok_or_else(wrong)?;
        // Rows of one metric are near each other.
        let mut last = ("", false);
        let may = names.iter().map(|name| {
            let name = name.unwrap_or_default();
            if last.0 != name {
                last = (name, may_stand_out(name));
            }
            Some(last.1)
        });
        Ok(may.collect::<BooleanArray>())
    },
};

/// What is known of a series.
#[derive(Debug, Clone, Copy)]
struct Series {
    asset: u32,
    metric: u32,
}

#[derive(Default)]
struct Points {
    most: usize,
    /// One series of how many is kept: a power of two.
    of: u64,
    series: HashMap<u128, Series>,
    /// Count and sum by series and minute.
    values: HashMap<(u128, i64), (i64, f64)>,
    metrics: Names,
    assets: Names,
}

/// Adds the points of `range` to `seen`: of the minutes that begin in it, and of those series that `only` chooses. At most
/// `most`, of one series in two, four, ... where there are more.
pub(super) fn read(
    snapshot: &Snapshot,
    tenant: &TenantId,
    range: Range,
    most: usize,
    only: Option<Only>,
    seen: &mut Observations,
) -> Result<(), CorrelatorError> {
    // The minute in which the range begins is nearly whole or nearly empty, and its mean is of the same things.
    let range = Range { from: UnixNanos(range.from.0 - range.from.0.rem_euclid(BUCKET_NANOS)), to: range.to };
    let assets = Names::of(std::mem::take(&mut seen.assets));
    let mut points = Points { most: most.max(1), of: 1, assets, ..Points::default() };
    let scan = Scan { snapshot, table: Table::Metrics, tenant, range, columns: &COLUMNS, only };
    scan.run(&mut |batch| points.add(batch))?;
    points.finish(seen);
    Ok(())
}

impl Points {
    fn add(&mut self, batch: &RecordBatch) -> Result<ControlFlow<()>, CorrelatorError> {
        let text = |at: usize| batch.column(at).as_string_view_opt().ok_or(MISSING);
        let times = batch.column(1).as_primitive_opt::<TimestampMicrosecondType>().ok_or(MISSING)?;
        let series = batch.column(4).as_fixed_size_binary_opt().ok_or(MISSING)?;
        let counts = batch.column(5).as_primitive_opt::<Int64Type>().ok_or(MISSING)?;
        let sums = batch.column(6).as_primitive_opt::<Float64Type>().ok_or(MISSING)?;
        let (assets, names, dimensions) = (text(2)?, text(3)?, text(7)?);
        for row in 0..batch.num_rows() {
            let Ok(id) = <[u8; 16]>::try_from(series.value(row)).map(u128::from_be_bytes) else { continue };
            let sum = sums.value(row);
            if counts.value(row) <= 0 || !sum.is_finite() || !stays(hash(id), self.of) {
                continue;
            }
            self.series.entry(id).or_insert_with(|| Series {
                asset: self.assets.number(assets.value(row)),
                metric: self.metrics.number(&name(names.value(row), dimensions.value(row))),
            });
            let value = self.values.entry((id, times.value(row))).or_default();
            value.0 += counts.value(row);
            value.1 += sum;
            while self.values.len() > self.most && self.of < 1 << 40 {
                self.of *= 2;
                let of = self.of;
                self.values.retain(|(series, _), _| stays(hash(*series), of));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn finish(self, seen: &mut Observations) {
        let point = |((id, micros), (count, sum)): ((u128, i64), (i64, f64))| {
            let Series { asset, metric } = *self.series.get(&id)?;
            let time = UnixNanos(micros.saturating_mul(1_000));
            Some(PointSeen { time, asset, metric, value: sum / count as f64 })
        };
        seen.points = self.values.into_iter().filter_map(point).collect();
        seen.points.sort_unstable_by_key(|point| (point.time, point.asset, point.metric));
        seen.metrics = self.metrics.into_texts();
        seen.assets = self.assets.into_texts();
    }
}

/// A series within its asset: the metric and, where there are any, its dimensions.
fn name(metric: &str, dimensions: &str) -> String {
    if dimensions.is_empty() || dimensions == "{}" { metric.to_owned() } else { format!("{metric} {dimensions}") }
}

fn hash(series: u128) -> u64 {
    xxh3_64(&series.to_be_bytes())
}
