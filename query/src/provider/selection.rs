//! Chunks of a scan, without those, and without those row groups, that cannot have the texts that are looked for.

use datafusion::common::Result;
use datafusion::datasource::physical_plan::FileSource;
use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, RowGroupAccess};
use datafusion::error::DataFusionError;
use datafusion::physical_plan::metrics::MetricBuilder;
use futures::future::try_join_all;
use std::sync::Arc;
use whence_storage::{Chunk, TextCondition};

/// In `EXPLAIN ANALYZE`: row groups that are not read because of what is known of their texts, of all that were asked.
const METRIC: &str = "row_groups_pruned_text";

/// Chunks to be read, in the order they were given.
pub(super) struct Selection {
    pub(super) chunks: Vec<SelectedChunk>,
    /// Row groups left out, and row groups of which something was known and that stay. `None`: nothing was asked.
    row_groups: Option<(usize, usize)>,
}

pub(super) struct SelectedChunk {
    pub(super) chunk: Arc<Chunk>,
    /// Which row groups to read; `None`: all.
    groups: Option<Vec<bool>>,
}

impl Selection {
    /// Asks every chunk, on threads that may block.
    pub(super) async fn of(chunks: Vec<Arc<Chunk>>, condition: TextCondition, threads: usize) -> Result<Self> {
        if condition.is_always() || chunks.is_empty() {
            let chunks = chunks.into_iter().map(|chunk| SelectedChunk { chunk, groups: None }).collect();
            return Ok(Self { chunks, row_groups: None });
        }
        let condition = Arc::new(condition);
        let share = chunks.len().div_ceil(threads.max(1));
        let asked = chunks.chunks(share).map(|chunks| {
            let (chunks, condition) = (chunks.to_vec(), Arc::clone(&condition));
            tokio::task::spawn_blocking(move || chunks.into_iter().map(|chunk| ask(chunk, &condition)).collect())
        });
        let answers: Vec<Vec<SelectedChunk>> =
            try_join_all(asked).await.map_err(|error| DataFusionError::External(Box::new(error)))?;
        let (mut pruned, mut matched) = (0, 0);
        let mut kept = Vec::new();
        for selected in answers.into_iter().flatten() {
            if let Some(groups) = &selected.groups {
                let stay = groups.iter().filter(|group| **group).count();
                matched += stay;
                pruned += groups.len() - stay;
                if stay == 0 {
                    continue;
                }
            }
            kept.push(selected);
        }
        Ok(Self { chunks: kept, row_groups: Some((pruned, matched)) })
    }

    /// Nothing to read, and nothing to tell.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.row_groups.is_none()
    }

    /// The chunks that `apart` holds for, and the others. What was left out is told once: by the others, if there are any.
    pub(super) fn split(self, apart: impl Fn(&Chunk) -> bool) -> (Self, Self) {
        let (first, second): (Vec<_>, Vec<_>) = self.chunks.into_iter().partition(|selected| apart(&selected.chunk));
        let (told_first, told_second) =
            if second.is_empty() { (self.row_groups, None) } else { (None, self.row_groups) };
        (Self { chunks: first, row_groups: told_first }, Self { chunks: second, row_groups: told_second })
    }

    /// Tells `EXPLAIN ANALYZE`.
    pub(super) fn report(&self, source: &dyn FileSource) {
        if let Some((pruned, matched)) = self.row_groups {
            let metric = MetricBuilder::new(source.metrics()).pruning_metrics(METRIC, 0);
            metric.add_pruned(pruned);
            metric.add_matched(matched);
        }
    }
}

impl SelectedChunk {
    /// For the reader of Parquet, where it should not read all.
    pub(super) fn access_plan(&self) -> Option<ParquetAccessPlan> {
        let groups = self.groups.as_ref().filter(|groups| groups.contains(&false))?;
        let access = |read: &bool| if *read { RowGroupAccess::Scan } else { RowGroupAccess::Skip };
        Some(ParquetAccessPlan::new(groups.iter().map(access).collect()))
    }
}

/// Blocks.
fn ask(chunk: Arc<Chunk>, condition: &TextCondition) -> SelectedChunk {
    // Whoever reads a chunk that cannot be read says so.
    let groups = chunk.row_groups_with(condition).unwrap_or(None);
    SelectedChunk { chunk, groups }
}
