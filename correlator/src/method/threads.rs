//! Two things at once, for answers that somebody waits for.

use std::panic::resume_unwind;

/// Below this many items a thread costs more than it saves.
const WORTH_A_THREAD: usize = 50_000;

/// The results of both; the first on a thread of its own where there are many items.
pub(super) fn both<A: Send, B>(items: usize, first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
    if items < WORTH_A_THREAD {
        return (first(), second());
    }
    std::thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        (first.join().unwrap_or_else(|panic| resume_unwind(panic)), second)
    })
}
