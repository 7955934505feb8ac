//! Keys seen lately, to recognise what is sent again and again.

use std::collections::HashSet;

/// Keys in two generations: when the younger one is full, the older one is forgotten.
pub(crate) struct RecentKeys {
    younger: HashSet<u128>,
    older: HashSet<u128>,
    per_generation: usize,
}

impl RecentKeys {
    /// Remembers the last `capacity / 2` keys at least and `capacity` at most.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { younger: HashSet::new(), older: HashSet::new(), per_generation: (capacity / 2).max(1) }
    }

    /// Remembers `key`; false when it was remembered already.
    pub(crate) fn insert(&mut self, key: u128) -> bool {
        if self.older.contains(&key) || !self.younger.insert(key) {
            return false;
        }
        if self.younger.len() >= self.per_generation {
            self.older = std::mem::take(&mut self.younger);
        }
        true
    }

    /// Up to `limit` keys, those of the younger generation first.
    pub(crate) fn newest(&self, limit: usize) -> Vec<u128> {
        let mut younger: Vec<u128> = self.younger.iter().copied().collect();
        let mut older: Vec<u128> = self.older.iter().copied().collect();
        younger.sort_unstable();
        older.sort_unstable();
        younger.into_iter().chain(older).take(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_new_once_as_long_as_it_is_recent() {
        let mut keys = RecentKeys::new(4);
        assert!(keys.insert(1));
        assert!(!keys.insert(1));
        assert!(keys.insert(2));
        assert!(!keys.insert(1));
        assert!(keys.insert(3) && keys.insert(4));
        assert!(keys.insert(1), "two generations later it is forgotten");
        assert_eq!(keys.newest(2), [1, 3]);
    }
}
