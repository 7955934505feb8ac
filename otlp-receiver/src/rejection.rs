//! Items that cannot be stored, and why.

/// How many reasons are told; the rest is only counted, so that an answer stays small.
const REASONS_TOLD: usize = 5;

/// What was refused of one request, with the first reasons.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejections {
    count: u64,
    reasons: Vec<String>,
}

impl Rejections {
    pub(crate) fn add(&mut self, reason: impl FnOnce() -> String) {
        self.count += 1;
        if self.reasons.len() < REASONS_TOLD {
            self.reasons.push(reason());
        }
    }

    /// Number of items refused.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// An English sentence for `partial_success.error_message`; empty when nothing was refused.
    pub fn message(&self, item: &str) -> String {
        if self.count == 0 {
            return String::new();
        }
        let more = self.count - self.reasons.len() as u64;
        let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
        format!("{} {item} refused, the rest was stored: {}{rest}", self.count, self.reasons.join("; "))
    }
}
