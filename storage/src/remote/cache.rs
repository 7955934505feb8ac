//! Which chunks that are in the bucket are on local disk too, and which of them go first when there are too many.

use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// The books of the cache: what was used least recently goes first. Knows nothing of files not yet in the bucket.
#[derive(Debug)]
pub(crate) struct Cache {
    limit: u64,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    /// Size of each file, and when it was last used.
    files: HashMap<PathBuf, (u64, u64)>,
    by_use: BTreeMap<u64, PathBuf>,
    bytes: u64,
    uses: u64,
}

impl Cache {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, books: Mutex::new(Books::default()) }
    }

    /// Notes a file as the one used last; returns those that have to be deleted for it. A file larger than the whole
    /// cache is let in alone.
    pub(crate) fn add(&self, path: &Path, bytes: u64) -> Vec<PathBuf> {
        let mut books = self.books.lock();
        books.remove(path);
        books.insert(path.to_owned(), bytes);
        let mut evicted = Vec::new();
        while books.bytes > self.limit && books.files.len() > 1 {
            let Some(oldest) = books.by_use.values().next().cloned() else { break };
            books.remove(&oldest);
            evicted.push(oldest);
        }
        evicted
    }

    /// Notes that a file is being used.
    pub(crate) fn touch(&self, path: &Path) {
        let mut books = self.books.lock();
        if let Some(bytes) = books.remove(path) {
            books.insert(path.to_owned(), bytes);
        }
    }

    /// Takes a file out of the books.
    pub(crate) fn forget(&self, path: &Path) {
        self.books.lock().remove(path);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.books.lock().bytes
    }
}

impl Books {
    fn insert(&mut self, path: PathBuf, bytes: u64) {
        self.uses += 1;
        self.by_use.insert(self.uses, path.clone());
        self.files.insert(path, (bytes, self.uses));
        self.bytes += bytes;
    }

    fn remove(&mut self, path: &Path) -> Option<u64> {
        let (bytes, used) = self.files.remove(path)?;
        self.by_use.remove(&used);
        self.bytes -= bytes;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_least_recently_goes_first_and_a_file_larger_than_the_cache_is_let_in_alone() {
        let cache = Cache::new(100);
        let path = |name: &str| PathBuf::from(name);
        assert!(cache.add(&path("a"), 40).is_empty());
        assert!(cache.add(&path("b"), 40).is_empty());
        cache.touch(&path("a"));
        assert_eq!(cache.add(&path("c"), 40), [path("b")]);
        assert_eq!(cache.add(&path("large"), 1_000), [path("a"), path("c")]);
        assert_eq!(cache.bytes(), 1_000);
        cache.forget(&path("large"));
        cache.forget(&path("never seen"));
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn the_same_file_added_again_counts_once() {
        let cache = Cache::new(100);
        cache.add(&PathBuf::from("a"), 60);
        assert!(cache.add(&PathBuf::from("a"), 60).is_empty());
        assert_eq!(cache.bytes(), 60);
    }
}
