//! How far a long command is: a bar on a terminal; elsewhere a plain line now and then, or nothing.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};

/// Pause between two plain lines.
const PAUSE: Duration = Duration::from_secs(10);

/// One bar. It goes away when dropped.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    /// What is being done, where a plain line may say so.
    plain: Option<String>,
    told: parking_lot::Mutex<Instant>,
}

impl Bar {
    /// A bar of bytes; where nobody watches, a plain line now and then.
    pub fn bytes(what: &str) -> Self {
        let mut bar = Self::shown("{msg} [{bar:30}] {percent}% of {total_bytes}, {eta} left");
        bar.bar.set_message(what.to_owned());
        bar.plain = Some(what.to_owned());
        bar
    }

    /// A line that changes; where nobody watches, nothing.
    pub fn line() -> Self {
        Self::shown("{spinner} {msg}")
    }

    fn shown(template: &str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, plain: None, told: parking_lot::Mutex::new(Instant::now()) }
    }

    /// Changes the line.
    pub fn say(&self, text: &str) {
        self.bar.set_message(text.to_owned());
        self.bar.tick();
    }

    /// Changes the line; where nobody watches, writes it.
    pub fn say_anywhere(&self, text: &str) {
        if self.bar.is_hidden() { eprintln!("{text}") } else { self.say(text) }
    }

    /// `done` of `total` bytes.
    pub fn set(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done.min(total));
        let Some(what) = self.plain.as_ref().filter(|_| self.bar.is_hidden()) else { return };
        let mut told = self.told.lock();
        if told.elapsed() >= PAUSE {
            *told = Instant::now();
            eprintln!("{what}: {}% of {total} bytes", percent(done, total));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Whole percent; nothing at all is all of nothing.
pub fn percent(done: u64, total: u64) -> u64 {
    if total == 0 { 100 } else { (u128::from(done.min(total)) * 100 / u128::from(total)) as u64 }
}
