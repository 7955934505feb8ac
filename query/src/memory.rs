//! Memory of one query: fair among its own operators, within a bound of its own, and within the bound of all queries
//! together. Operators that meet a bound write to disk if they can; the query fails with SQLSTATE 53200 if they cannot.

use datafusion::common::{Result, resources_datafusion_err};
use datafusion::execution::memory_pool::{
    FairSpillPool, GreedyMemoryPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use std::fmt;
use std::sync::Arc;

/// The pool of one query.
#[derive(Debug)]
pub(crate) struct QueryMemory {
    own: FairSpillPool,
    own_bytes: usize,
    all: Arc<GreedyMemoryPool>,
    all_bytes: usize,
}

impl QueryMemory {
    /// At most `own_bytes`, and at most what others have left of `all_bytes`.
    pub(crate) fn new(own_bytes: usize, all: Arc<GreedyMemoryPool>, all_bytes: usize) -> Self {
        Self { own: FairSpillPool::new(own_bytes), own_bytes, all, all_bytes }
    }
}

impl fmt::Display for QueryMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query memory ({} of {} bytes)", self.own.reserved(), self.own_bytes)
    }
}

impl MemoryPool for QueryMemory {
    fn name(&self) -> &str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.all.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.all.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let refused = |limit: usize, of: &str, key: &str| {
            resources_datafusion_err!(
                "{} needs {additional} bytes more, and {of} may take {limit} ({key})",
                reservation.consumer().name()
            )
        };
        self.own
            .try_grow(reservation, additional)
            .map_err(|_| refused(self.own_bytes, "a query", "extensions.query.memory_per_query_mib"))?;
        self.all.try_grow(reservation, additional).map_err(|_| {
            self.own.shrink(reservation, additional);
            refused(self.all_bytes, "all queries together", "extensions.query.memory_mib")
        })
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.own_bytes.min(self.all_bytes))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_query_meets_its_own_bound_and_that_of_all_and_gives_back_to_both() {
        let all = Arc::new(GreedyMemoryPool::new(150));
        let pool = |bytes| Arc::new(QueryMemory::new(bytes, all.clone(), 150)) as Arc<dyn MemoryPool>;
        let (first, second) = (pool(100), pool(100));
        let mine = MemoryConsumer::new("sort").register(&first);
        mine.try_grow(100).unwrap();
        assert!(mine.try_grow(1).unwrap_err().to_string().contains("memory_per_query_mib"));
        let other = MemoryConsumer::new("join").register(&second);
        assert!(other.try_grow(60).unwrap_err().to_string().contains("extensions.query.memory_mib"));
        assert_eq!((second.reserved(), all.reserved()), (0, 100), "a refusal holds nothing");
        drop(mine);
        other.try_grow(60).unwrap();
        assert_eq!(all.reserved(), 60);
    }
}
