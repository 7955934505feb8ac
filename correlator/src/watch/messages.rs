//! The log templates of one tenant under the numbers they are kept with.

use super::reader::SlotReader;
use crate::method::digest::Digest;
use hashbrown::{HashMap, HashSet};
use whence_schema::UnixNanos;
use whence_storage::LogTemplate;

/// Kept templates that are taken up after a start, those last seen: there is room for new ones beside them.
const MOST_RESTORED: usize = 15_000;
/// When a template was seen last is written down once in so many nanoseconds: five minutes.
const SEEN_AGAIN: i64 = 300_000_000_000;

/// Bytes that a kept template takes beside its texts, about.
const KEPT_BYTES: usize = 200;

/// Templates as they are kept, by their number in the reader's.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    kept: HashMap<u32, LogTemplate>,
    /// Last time of each template, where it is later than the one that is kept.
    seen: HashMap<u32, UnixNanos>,
    next_id: i64,
    bytes: usize,
}

impl Messages {
    /// From what is kept; the reader's templates begin with these.
    pub(crate) fn restore(mut kept: Vec<LogTemplate>, reader: &mut SlotReader) -> Self {
        let next_id = kept.iter().map(|template| template.id).max().unwrap_or(0) + 1;
        kept.sort_by_key(|template| (std::cmp::Reverse(template.last_seen), template.id));
        kept.truncate(MOST_RESTORED);
        kept.sort_by_key(|template| template.id);
        let mut messages = Self { next_id, ..Self::default() };
        for template in kept {
            let asset = reader.names.assets.number(&template.asset);
            let number = reader.templates.restore(asset, &template.text);
            messages.bytes += bytes_of(&template);
            messages.kept.insert(number, template);
        }
        messages
    }

    /// Takes in the messages of a slot; the templates that are to be kept anew: new ones, those that have become more
    /// general, and those not written down for a while.
    pub(crate) fn take(&mut self, digest: &Digest, reader: &SlotReader) -> Vec<LogTemplate> {
        let mut changed = Vec::new();
        for &(template, first, last) in &digest.messages {
            let text = reader.templates.text(template);
            let kept = self.kept.entry(template).or_insert_with(|| {
                let asset = reader.templates.asset(template).map_or("", |asset| reader.names.assets.text(asset));
                self.next_id += 1;
                let (id, asset) = (self.next_id - 1, asset.to_owned());
                let new = LogTemplate { id, asset, text: String::new(), first_seen: first, last_seen: first };
                self.bytes += bytes_of(&new);
                new
            });
            let seen = self.seen.entry(template).or_insert(last);
            *seen = last.max(*seen);
            let is_old = seen.0.saturating_sub(kept.last_seen.0) >= SEEN_AGAIN;
            if kept.text != text || first < kept.first_seen || is_old {
                self.bytes = (self.bytes + text.len()).saturating_sub(kept.text.len());
                kept.text = text;
                kept.first_seen = first.min(kept.first_seen);
                kept.last_seen = kept.last_seen.max(*seen);
                self.seen.remove(&template);
                changed.push(kept.clone());
            }
        }
        changed
    }

    /// Forgets templates that are not among `used`: their numbers are given to others. What is kept of them stays.
    pub(crate) fn retain(&mut self, used: &HashSet<u32>) {
        self.kept.retain(|template, _| used.contains(template));
        self.seen.retain(|template, _| used.contains(template));
        self.kept.shrink_to(2 * self.kept.len());
        self.bytes = self.kept.values().map(bytes_of).sum();
    }

    /// Bytes of memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn bytes_of(template: &LogTemplate) -> usize {
    KEPT_BYTES + template.asset.len() + template.text.len()
}
