//! What the tests share on one machine: its processors, its ports and the words on its terminal.

use std::io::Write;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static PROCESSORS: RwLock<()> = RwLock::new(());

/// Held by a test that may run beside others.
pub(crate) fn shared() -> RwLockReadGuard<'static, ()> {
    PROCESSORS.read().unwrap_or_else(PoisonError::into_inner)
}

/// Held by a test that measures time or keeps all processors busy: nothing else runs meanwhile.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    PROCESSORS.write().unwrap_or_else(PoisonError::into_inner)
}

/// A port nobody listens on. Below the range that outgoing connections draw from, and never handed out twice.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that run at the same time start at different places.
    let start = (std::process::id() % 97) as u16 * 120;
    for _ in 0..COUNT {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}

/// Says something that must be seen although the test passes (the test runner keeps `println!` to itself).
pub(crate) fn announce(text: &str) {
    std::io::stderr().write_all(format!("\n    {text}\n").as_bytes()).unwrap();
}
