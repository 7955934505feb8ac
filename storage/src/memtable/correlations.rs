//! Memtable of `correlations`.

use super::Batches;

/// Links not yet sealed.
#[derive(Debug, Default)]
pub(crate) struct CorrelationsMemtable {
    pub(crate) batches: Batches,
}
