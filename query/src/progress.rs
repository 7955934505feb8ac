//! How far a query has come, from the counters that its plan keeps while it runs.

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::StatisticsArgs;
use std::sync::{Arc, OnceLock};

/// How far a query has come. A guess: what partial results stand for and filters skip as a whole counts nothing, and some
/// sources do not know their size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Rows read from tables so far, before what filters took away.
    pub rows_read: u64,
    /// Rows of these tables' parts that the query asks for, where all of them know.
    pub rows_expected: Option<u64>,
}

/// The plan of a query, once it has one.
#[derive(Clone, Default)]
pub(crate) struct RunningPlan(Arc<OnceLock<Arc<dyn ExecutionPlan>>>);

impl RunningPlan {
    pub(crate) fn started(&self, plan: Arc<dyn ExecutionPlan>) {
        let _ = self.0.set(plan);
    }

    pub(crate) fn progress(&self) -> Progress {
        let Some(plan) = self.0.get() else { return Progress::default() };
        let mut progress = Progress { rows_read: 0, rows_expected: Some(0) };
        let mut waiting = vec![plan];
        while let Some(plan) = waiting.pop() {
            let inputs = plan.children();
            if inputs.is_empty() {
                let (read, expected) = of_source(plan.as_ref());
                progress.rows_read += read;
                progress.rows_expected = progress.rows_expected.zip(expected).map(|(sum, rows)| sum + rows);
            }
            waiting.extend(inputs);
        }
        progress
    }
}

fn of_source(plan: &dyn ExecutionPlan) -> (u64, Option<u64>) {
    let read = plan.metrics().map_or(0, |metrics| {
        let pruned = metrics.sum_by_name("pushdown_rows_pruned").map_or(0, |value| value.as_usize());
        metrics.output_rows().unwrap_or_default() + pruned
    });
    let rows = plan
        .statistics_from_inputs(&[], &StatisticsArgs::new())
        .ok()
        .and_then(|known| known.num_rows.get_value().copied());
    (read as u64, rows.map(|rows| rows as u64))
}
