//! How far a long operation is.

/// One report of a verification, backup or restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// Bytes done.
    pub done: u64,
    /// Bytes there are.
    pub total: u64,
}

/// Adds up bytes and reports them.
pub(crate) struct Meter<'a> {
    progress: Progress,
    told: u64,
    report: &'a (dyn Fn(Progress) + Send + Sync),
}

/// Bytes between two reports.
const STEP: u64 = 8 << 20;

impl<'a> Meter<'a> {
    pub(crate) fn new(total: u64, report: &'a (dyn Fn(Progress) + Send + Sync)) -> Self {
        report(Progress { done: 0, total });
        Self { progress: Progress { done: 0, total }, told: 0, report }
    }

    pub(crate) fn add(&mut self, bytes: u64) {
        self.progress.done += bytes;
        if self.progress.done >= self.told + STEP || self.progress.done >= self.progress.total {
            self.told = self.progress.done;
            (self.report)(self.progress);
        }
    }
}
