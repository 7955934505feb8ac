//! What a join has learned of times, asked of rows before what it has learned of their ids.
//!
//! A join that has read its links tells the scan of `events` which times and ids they have. The reader takes that for one
//! condition, and decodes all columns that make up an id for every row; asked for the times first, it decodes them for the
//! few that are left:
//!
//! ```text
//! DataSourceExec: DynamicFilter [timestamp .. AND id ..]  =>  TimeBounds [timestamp ..] AND DynamicFilter [..]
//! ```

use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, internal_err};
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::expressions::{Column, DynamicFilterPhysicalExpr, lit};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, conjunction, split_conjunction};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

const TIMESTAMP: &str = "timestamp";

/// Puts a [`TimeBounds`] before such filters.
#[derive(Debug)]
pub(crate) struct TimesBeforeIds;

impl PhysicalOptimizerRule for TimesBeforeIds {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let scan = plan.downcast_ref::<DataSourceExec>();
            let Some((config, source)) = scan.and_then(|scan| scan.downcast_to_file_source::<ParquetSource>()) else {
                return Ok(Transformed::no(plan));
            };
            let Some(predicate) = datafusion::datasource::physical_plan::FileSource::filter(source) else {
                return Ok(Transformed::no(plan));
            };
            let bounds: Vec<_> = split_conjunction(&predicate).into_iter().filter_map(TimeBounds::of).collect();
            if bounds.is_empty() {
                return Ok(Transformed::no(plan));
            }
            let all = conjunction(bounds.into_iter().chain([predicate]));
            let config = FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(source.with_predicate(all)));
            Ok(Transformed::yes(DataSourceExec::from_data_source(config.build()) as Arc<dyn ExecutionPlan>))
        })
        .data()
    }

    fn name(&self) -> &str {
        "times_before_ids"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The part of a dynamic filter that is about the timestamp alone; true as long as there is none.
#[derive(Debug, Clone)]
struct TimeBounds {
    time: Arc<dyn PhysicalExpr>,
    learned: Arc<dyn PhysicalExpr>,
}

impl TimeBounds {
    /// `None` of what is no dynamic filter, or is about less or more than the timestamp and something computed.
    fn of(filter: &Arc<dyn PhysicalExpr>) -> Option<Arc<dyn PhysicalExpr>> {
        let children = filter.downcast_ref::<DynamicFilterPhysicalExpr>()?.children();
        let time = children.iter().find(|child| is_time(child)).map(|time| Arc::clone(time))?;
        let computes = children.iter().any(|child| !child.is::<Column>());
        computes.then(|| Arc::new(Self { time, learned: Arc::clone(filter) }) as Arc<dyn PhysicalExpr>)
    }

    fn current(&self) -> Result<Arc<dyn PhysicalExpr>> {
        let Some(learned) = self.learned.downcast_ref::<DynamicFilterPhysicalExpr>() else {
            return internal_err!("only of dynamic filters are there time bounds");
        };
        let learned = learned.current()?;
        let about_time = |part: &&Arc<dyn PhysicalExpr>| {
            let columns = collect_columns(part);
            !columns.is_empty() && columns.iter().all(|column| column.name() == TIMESTAMP)
        };
        let bounds = conjunction(split_conjunction(&learned).into_iter().filter(about_time).map(Arc::clone));
        // The column may stand elsewhere in a file than in the filter.
        let here = bounds.transform_up(|part| {
            Ok(if is_time(&part) { Transformed::yes(Arc::clone(&self.time)) } else { Transformed::no(part) })
        });
        here.data()
    }
}

fn is_time(expression: &Arc<dyn PhysicalExpr>) -> bool {
    expression.downcast_ref::<Column>().is_some_and(|column| column.name() == TIMESTAMP)
}

impl PartialEq for TimeBounds {
    fn eq(&self, other: &Self) -> bool {
        self.time.as_ref() == other.time.as_ref() && self.learned.as_ref() == other.learned.as_ref()
    }
}

impl Eq for TimeBounds {}

impl Hash for TimeBounds {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.time.hash(state);
        self.learned.hash(state);
    }
}

impl fmt::Display for TimeBounds {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "TimeBounds [ {} ]", self.current().unwrap_or_else(|_| lit(true)))
    }
}

impl PhysicalExpr for TimeBounds {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn nullable(&self, _: &Schema) -> Result<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.current()?.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.time]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let Some(time) = children.pop() else { return internal_err!("time bounds are about one column") };
        Ok(Arc::new(Self { time, learned: Arc::clone(&self.learned) }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.current().unwrap_or_else(|_| lit(true)).fmt_sql(f)
    }

    /// What is known by now, to leave out files, row groups and pages.
    fn snapshot(&self) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        self.current().map(Some)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Field;
    use datafusion::logical_expr::Operator;
    use datafusion::physical_expr::expressions::{BinaryExpr, NotExpr};

    #[test]
    fn what_a_filter_learns_of_times_is_asked_of_the_column_wherever_it_stands() {
        let column = |name: &str, at| Arc::new(Column::new(name, at)) as Arc<dyn PhysicalExpr>;
        let id = Arc::new(NotExpr::new(column("id", 0))) as Arc<dyn PhysicalExpr>;
        let of = |children: Vec<Arc<dyn PhysicalExpr>>| {
            let filter: Arc<dyn PhysicalExpr> = Arc::new(DynamicFilterPhysicalExpr::new(children, lit(true)));
            (TimeBounds::of(&filter), filter)
        };
        assert!(of(vec![column("timestamp", 1)]).0.is_none() && of(vec![id.clone()]).0.is_none());
        let (bounds, filter) = of(vec![column("timestamp", 1), id.clone()]);
        let bounds = bounds.unwrap().with_new_children(vec![column("timestamp", 0)]).unwrap();

        let schema = Arc::new(Schema::new(vec![Field::new("timestamp", DataType::Int64, false)]));
        let rows = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![1, 2, 3]))]).unwrap();
        let holds = || {
            let holds = bounds.evaluate(&rows).unwrap().into_array(3).unwrap();
            holds.as_boolean().iter().flatten().collect::<Vec<_>>()
        };
        assert_eq!(holds(), [true; 3], "nothing is known yet");
        let late = Arc::new(BinaryExpr::new(column("timestamp", 1), Operator::Gt, lit(1_i64))) as Arc<dyn PhysicalExpr>;
        let learned = conjunction([id, late]);
        filter.downcast_ref::<DynamicFilterPhysicalExpr>().unwrap().update(learned).unwrap();
        assert_eq!(holds(), [false, true, true]);
        assert_eq!(bounds.snapshot().unwrap().unwrap().to_string(), "timestamp@0 > 1");
    }
}
