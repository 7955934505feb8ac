//! Whole answers, kept for as long as no row arrives or leaves: an answer is known by its statement, the tenant and the
//! version of the snapshot it was given over.

use super::levels::bytes_of;
use crate::provider::continuous::ContinuousAggregate;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan, Volatility};
use moka::sync::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use whence_schema::{Table, TenantId};

/// Bytes beside the statement's and the columns' that an entry takes.
const ENTRY_BYTES: usize = 256;

/// Which answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ResultKey {
    pub(crate) tenant: TenantId,
    /// Of the snapshot.
    pub(crate) version: u64,
    /// Version of the tenant's continuous aggregates, taken before the statement was planned.
    pub(crate) definitions: u64,
    /// The statement with its parameters put in.
    pub(crate) sql: Arc<str>,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct KeptResult {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Arc<Vec<RecordBatch>>,
}

/// Answers in memory.
#[derive(Debug)]
pub(crate) struct ResultCache {
    memory: Cache<ResultKey, KeptResult>,
    most_bytes: usize,
    hits: AtomicU64,
}

impl ResultCache {
    /// A cache of `memory_bytes`; of zero keeps nothing.
    pub(crate) fn new(memory_bytes: usize) -> Self {
        let weigh = |key: &ResultKey, result: &KeptResult| {
            u32::try_from(key.sql.len() + bytes_of(&result.batches) + ENTRY_BYTES).unwrap_or(u32::MAX)
        };
        let memory =
            Cache::builder().max_capacity(memory_bytes as u64).weigher(weigh).support_invalidation_closures().build();
        Self { memory, most_bytes: memory_bytes / 32, hits: AtomicU64::new(0) }
    }

    /// Bytes that one answer may have.
    pub(crate) fn most_bytes(&self) -> usize {
        self.most_bytes
    }

    /// Answers that were found, ever.
    pub(crate) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    pub(crate) fn get(&self, key: &ResultKey) -> Option<KeptResult> {
        let found = self.memory.get(key)?;
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(found)
    }

    pub(crate) fn put(&self, key: ResultKey, result: KeptResult) {
        self.memory.insert(key, result);
    }

    /// Removes the answers of a tenant.
    pub(crate) fn forget(&self, tenant: &TenantId) {
        let gone = tenant.clone();
        let _ = self.memory.invalidate_entries_if(move |key, _| key.tenant == gone);
        self.memory.run_pending_tasks();
    }
}

/// Whether the answer follows from the rows of the hypertables alone: not from the time of asking, chance, or what
/// Whence knows about itself.
pub(crate) fn is_repeatable(plan: &LogicalPlan) -> bool {
    let mut repeatable = true;
    let walked = plan.apply_with_subqueries(|node| {
        let fits = match node {
            LogicalPlan::TableScan(scan) => is_rows(scan),
            LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::Statement(_) => false,
            _ => true,
        };
        repeatable &= fits;
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                if let Expr::ScalarFunction(function) = part {
                    repeatable &= function.func.signature().volatility == Volatility::Immutable;
                }
                Ok(if repeatable { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
            })
        })?;
        Ok(if repeatable { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    repeatable && walked.is_ok()
}

fn is_rows(scan: &TableScan) -> bool {
    let table = scan.table_name.table();
    Table::ALL.iter().any(|known| table == known.name() || table.strip_suffix("_stored") == Some(known.name()))
        || source_as_provider(&scan.source).is_ok_and(|provider| provider.is::<ContinuousAggregate>())
}
