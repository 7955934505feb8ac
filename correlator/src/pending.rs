//! Ends of links that wait for a span that has not been seen, within a fixed amount of memory.
//!
//! Ends are kept in a slab. Two lists run through it: all ends by arrival (the oldest is dropped when the slab is full,
//! and look-ups walk along it), and the ends that want the same span, also by arrival. The oldest end of all is
//! therefore always the first of those that want its span, and every operation takes constant time.

use crate::window::{AssetHash, Marks, TenantIndex};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;
use whence_schema::{EventId, UnixNanos};

/// What an end waits for a span as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Wait {
    /// A span waits for its parent.
    Parent = 0,
    /// A span waits for a span it names in a link.
    Linked = 1,
    /// A log record waits for its span.
    LogSpan = 2,
    /// A metric row waits for the span of an exemplar.
    ExemplarSpan = 3,
}

impl Wait {
    /// From its number in the stored state.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        [Self::Parent, Self::Linked, Self::LogSpan, Self::ExemplarSpan].get(usize::from(number)).copied()
    }
}

/// The end of a link that was seen first: what it is, and which span it wants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct End {
    pub(crate) wanted: EventId,
    pub(crate) own: EventId,
    pub(crate) start: UnixNanos,
    pub(crate) duration: i64,
    pub(crate) asset: AssetHash,
    pub(crate) tenant: TenantIndex,
    pub(crate) marks: Marks,
    pub(crate) wait: Wait,
}

/// Milliseconds since the correlator started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Moment(pub(crate) u64);

/// Whether the wanted span is to be looked up in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// Not: it cannot be there, or it was looked up and is not.
    Settled,
    /// When the end has waited long enough.
    Due,
    /// It is being looked up.
    Running,
}

/// A span that waiting ends want.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) tenant: TenantIndex,
    pub(crate) id: EventId,
    /// When an end that wants it happened.
    pub(crate) near: UnixNanos,
    /// The end may have been linked before a restart.
    pub(crate) doubtful: bool,
}

const NONE: u32 = u32::MAX;
/// How many ends of one wanted span are compared to find the same end waiting already.
const COMPARED: usize = 256;
/// Bytes one end takes at worst: its slot, and up to 4.6 index buckets of nine bytes.
const BYTES_PER_END: usize = size_of::<Slot>() + 42;

#[derive(Debug, Clone, Copy)]
struct Slot {
    end: End,
    arrived: Moment,
    older: u32,
    newer: u32,
    /// Next end that wants the same span; in a free slot, the next free slot.
    next: u32,
    lookup: Lookup,
}

#[derive(Debug, Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

/// Ends that wait.
pub(crate) struct Pending {
    slots: Vec<Slot>,
    free: u32,
    capacity: usize,
    waiting: usize,
    oldest: u32,
    newest: u32,
    /// First end, by arrival, that was not considered for a look-up.
    unconsidered: u32,
    index: HashTable<List>,
    hasher: DefaultHashBuilder,
    dropped: u64,
}

impl Pending {
    /// Room for at most `bytes` bytes of ends, and at least 16 ends.
    pub(crate) fn new(bytes: usize) -> Self {
        let capacity = (bytes / BYTES_PER_END).clamp(16, u32::MAX as usize / 4);
        Self {
            slots: Vec::with_capacity(capacity),
            free: NONE,
            capacity,
            waiting: 0,
            oldest: NONE,
            newest: NONE,
            unconsidered: NONE,
            index: HashTable::with_capacity(2 * capacity),
            hasher: DefaultHashBuilder::default(),
            dropped: 0,
        }
    }

    /// Ends waiting.
    pub(crate) fn len(&self) -> usize {
        self.waiting
    }

    /// Ends dropped so far for want of room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Lets `end` wait; drops the oldest when there is no room. An end that waits already does not wait twice.
    pub(crate) fn push(&mut self, end: End, arrived: Moment, lookup: Lookup) {
        let hash = self.hash(end.tenant, end.wanted);
        if self.waits_already(hash, &end) {
            return;
        }
        if self.waiting == self.capacity {
            self.drop_oldest();
        }
        let slot = self.allocate(Slot { end, arrived, older: self.newest, newer: NONE, next: NONE, lookup });
        match self.newest {
            NONE => self.oldest = slot,
            newest => self.slots[newest as usize].newer = slot,
        }
        self.newest = slot;
        if self.unconsidered == NONE {
            self.unconsidered = slot;
        }
        self.waiting += 1;
        self.append_to_list(hash, slot);
    }

    /// Moves every end that wants `wanted` into `ends`, oldest first.
    pub(crate) fn take(&mut self, tenant: TenantIndex, wanted: EventId, ends: &mut Vec<End>) {
        if self.waiting == 0 {
            return;
        }
        let hash = self.hash(tenant, wanted);
        let slots = &self.slots;
        let Ok(entry) = self.index.find_entry(hash, |list| wants(slots, list, tenant, wanted)) else { return };
        let mut at = entry.remove().0.first;
        while at != NONE {
            let next = self.slots[at as usize].next;
            ends.push(self.slots[at as usize].end);
            self.release(at);
            at = next;
        }
    }

    /// Up to `limit` spans wanted by ends that arrived before `before`; each end is considered once.
    pub(crate) fn due(&mut self, before: Moment, limit: usize) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        while self.unconsidered != NONE && wanted.len() < limit {
            let slot = &mut self.slots[self.unconsidered as usize];
            if slot.arrived > before {
                break;
            }
            if slot.lookup == Lookup::Due {
                slot.lookup = Lookup::Running;
                let End { tenant, wanted: id, start: near, marks, .. } = slot.end;
                wanted.push(Wanted { tenant, id, near, doubtful: marks.has(Marks::DOUBTFUL) });
            }
            self.unconsidered = slot.newer;
        }
        wanted
    }

    /// The span is not in the store: its ends wait for it to arrive.
    pub(crate) fn settle(&mut self, tenant: TenantIndex, wanted: EventId) {
        let hash = self.hash(tenant, wanted);
        let slots = &self.slots;
        let Some(list) = self.index.find(hash, |list| wants(slots, list, tenant, wanted)) else { return };
        let mut at = list.first;
        while at != NONE {
            let slot = &mut self.slots[at as usize];
            if slot.lookup == Lookup::Running {
                slot.lookup = Lookup::Settled;
            }
            at = slot.next;
        }
    }

    /// The ends that wait, newest first, and whether a look-up of their span is still owed.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = (&End, bool)> {
        let slot_at = |at: u32| self.slots.get(at as usize);
        std::iter::successors(slot_at(self.newest), move |slot| slot_at(slot.older))
            .map(|slot| (&slot.end, slot.lookup != Lookup::Settled))
    }

    fn hash(&self, tenant: TenantIndex, wanted: EventId) -> u64 {
        self.hasher.hash_one((tenant, wanted))
    }

    fn waits_already(&self, hash: u64, end: &End) -> bool {
        let Some(list) = self.index.find(hash, |list| wants(&self.slots, list, end.tenant, end.wanted)) else {
            return false;
        };
        let first = self.slots.get(list.first as usize);
        std::iter::successors(first, |slot| self.slots.get(slot.next as usize))
            .take(COMPARED)
            .any(|slot| slot.end.own == end.own && slot.end.wait == end.wait)
    }

    fn allocate(&mut self, slot: Slot) -> u32 {
        if self.free == NONE {
            self.slots.push(slot);
            return (self.slots.len() - 1) as u32;
        }
        let at = self.free;
        self.free = self.slots[at as usize].next;
        self.slots[at as usize] = slot;
        at
    }

    fn append_to_list(&mut self, hash: u64, slot: u32) {
        let (slots, hasher) = (&mut self.slots, &self.hasher);
        let End { tenant, wanted, .. } = slots[slot as usize].end;
        if let Some(list) = self.index.find_mut(hash, |list| wants(slots, list, tenant, wanted)) {
            slots[list.last as usize].next = slot;
            list.last = slot;
            return;
        }
        self.index.insert_unique(hash, List { first: slot, last: slot }, |list| {
            let end = &slots[list.first as usize].end;
            hasher.hash_one((end.tenant, end.wanted))
        });
    }

    fn drop_oldest(&mut self) {
        let oldest = self.oldest;
        let Some(Slot { end, next, .. }) = self.slots.get(oldest as usize).copied() else { return };
        let hash = self.hash(end.tenant, end.wanted);
        if let Ok(mut entry) = self.index.find_entry(hash, |list| list.first == oldest) {
            match next {
                NONE => drop(entry.remove()),
                next => entry.get_mut().first = next,
            }
        }
        self.release(oldest);
        self.dropped += 1;
    }

    /// Takes the slot out of the list by arrival and frees it; its index entry is the caller's.
    fn release(&mut self, at: u32) {
        let Slot { older, newer, .. } = self.slots[at as usize];
        match older {
            NONE => self.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
        if self.unconsidered == at {
            self.unconsidered = newer;
        }
        self.slots[at as usize].next = self.free;
        self.free = at;
        self.waiting -= 1;
    }
}

fn wants(slots: &[Slot], list: &List, tenant: TenantIndex, wanted: EventId) -> bool {
    let end = &slots[list.first as usize].end;
    end.wanted == wanted && end.tenant == tenant
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantIndex = TenantIndex(0);

    fn end(wanted: u128, own: u128) -> End {
        End {
            wanted: EventId(wanted),
            own: EventId(own),
            start: UnixNanos(0),
            duration: 0,
            asset: AssetHash(0),
            tenant: TENANT,
            marks: Marks::default(),
            wait: Wait::Parent,
        }
    }

    fn take(pending: &mut Pending, wanted: u128) -> Vec<u128> {
        let mut ends = Vec::new();
        pending.take(TENANT, EventId(wanted), &mut ends);
        ends.iter().map(|end| end.own.0).collect()
    }

    #[test]
    fn ends_are_taken_once_in_order_and_only_by_their_tenant() {
        let mut pending = Pending::new(0);
        for own in [1, 2, 2, 3] {
            pending.push(end(9, own), Moment(0), Lookup::Settled);
        }
        pending.push(end(8, 4), Moment(0), Lookup::Settled);
        let mut others = Vec::new();
        pending.take(TenantIndex(1), EventId(9), &mut others);
        assert!(others.is_empty());
        assert_eq!(take(&mut pending, 9), [1, 2, 3]);
        assert_eq!(take(&mut pending, 9), []);
        assert_eq!(pending.len(), 1);
    }

    #[test]
    fn a_full_store_of_ends_drops_the_oldest_and_keeps_its_lists_whole() {
        let mut pending = Pending::new(0);
        for own in 0..1_000 {
            pending.push(end(own % 3, own), Moment(0), Lookup::Due);
        }
        assert_eq!((pending.len(), pending.dropped(), pending.slots.len()), (16, 984, 16));
        assert_eq!(take(&mut pending, 0), [984, 987, 990, 993, 996, 999]);
        assert_eq!(take(&mut pending, 1), [985, 988, 991, 994, 997]);
        assert_eq!(pending.newest_first().map(|(end, _)| end.own.0).collect::<Vec<_>>(), [998, 995, 992, 989, 986]);
        assert_eq!(take(&mut pending, 2), [986, 989, 992, 995, 998]);
        assert_eq!((pending.len(), pending.index.len()), (0, 0));
    }

    #[test]
    fn ends_are_looked_up_once_when_they_have_waited_and_only_where_that_can_help() {
        let mut pending = Pending::new(0);
        pending.push(end(1, 1), Moment(0), Lookup::Due);
        pending.push(end(2, 2), Moment(1), Lookup::Settled);
        pending.push(end(3, 3), Moment(2), Lookup::Due);
        pending.push(end(4, 4), Moment(9), Lookup::Due);
        let ids = |wanted: Vec<Wanted>| wanted.iter().map(|w| w.id.0).collect::<Vec<_>>();
        assert_eq!(ids(pending.due(Moment(5), 1)), [1]);
        assert_eq!(ids(pending.due(Moment(5), 8)), [3]);
        assert_eq!(ids(pending.due(Moment(5), 8)), []);
        pending.settle(TENANT, EventId(1));
        let owed = pending.newest_first().map(|(end, owed)| (end.own.0, owed)).collect::<Vec<_>>();
        assert_eq!(owed, [(4, true), (3, true), (2, false), (1, false)]);
        assert_eq!(take(&mut pending, 4), [4]);
        assert_eq!(ids(pending.due(Moment(50), 8)), []);
    }
}
