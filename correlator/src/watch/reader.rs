//! Reads one slot of a tenant from the store into a digest. Names and templates keep their numbers from slot to slot.

use crate::error::CorrelatorError;
use crate::functions::scan::Range;
use crate::method::digest::Digest;
use crate::method::observations::Observations;
use crate::method::slots::GridSlot;
use crate::method::templates::Templates;
use crate::observe::events_in;
use crate::observe::names::Names;
use std::time::Duration;
use whence_schema::{TenantId, UnixNanos};
use whence_storage::Snapshot;

/// How long before a slot the spans begin that are read with it: parents of those that begin in it.
const MARGIN: i64 = 10_000_000_000;
/// Events of one slot at most, with those around it; more are thinned to whole traces.
const MOST_EVENTS: usize = 200_000;
/// Names of assets and of operations of a tenant at most; the others share one number.
const MOST_NAMES: usize = 100_000;

/// What the slots of one tenant have in common.
#[derive(Debug, Default)]
pub(crate) struct SlotReader {
    pub(crate) assets: Names,
    operations: Names,
    pub(crate) templates: Templates,
}

/// A slot that was read.
#[derive(Debug)]
pub(crate) struct SlotRead {
    pub(crate) digest: Digest,
    /// Events that were read.
    pub(crate) events: u64,
    /// Of how many traces one was read: 1 when all were.
    pub(crate) thinned: u64,
}

impl SlotReader {
    /// Reads a slot and what belongs to its traces until `lateness` after it; `None` when nothing happened in it. Blocks
    /// on file reads.
    ///
    /// A span that ends later than that is left out, whether it has arrived or not: so that the digest is the same when
    /// the slot is read again after a start.
    ///
    /// # Errors
    ///
    /// When a chunk cannot be read.
    pub(crate) fn read(
        &mut self,
        snapshot: &Snapshot,
        tenant: &TenantId,
        slot: GridSlot,
        lateness: Duration,
    ) -> Result<Option<SlotRead>, CorrelatorError> {
        let to = UnixNanos(slot.end().0.saturating_add(lateness.as_nanos() as i64));
        let range = Range { from: UnixNanos(slot.start().0.saturating_sub(MARGIN)), to };
        let observed = events_in(snapshot, tenant, range, MOST_EVENTS)?;
        let mut seen = observed.observations;
        let events = (seen.spans.len() + seen.logs.len()) as u64;
        if events == 0 {
            return Ok(None);
        }
        seen.spans.retain(|span| span.start.0.saturating_add_unsigned(span.duration_ns) <= to.0);
        self.number(&mut seen);
        let digest = Digest::of(&seen, slot, &mut self.templates);
        Ok((!digest.is_empty()).then_some(SlotRead { digest, events, thinned: observed.thinned.max(1) }))
    }

    /// Gives names the numbers that they have in other slots.
    fn number(&mut self, seen: &mut Observations) {
        let assets: Vec<u32> = seen.assets.iter().map(|name| number(&mut self.assets, name)).collect();
        let operations: Vec<u32> = seen.operations.iter().map(|name| number(&mut self.operations, name)).collect();
        for span in &mut seen.spans {
            span.asset = assets[span.asset as usize];
            span.operation = operations[span.operation as usize];
            span.peer = span.peer.map(|peer| assets[peer as usize]);
        }
        for log in &mut seen.logs {
            log.asset = assets[log.asset as usize];
        }
    }
}

/// The number of a name; when there are too many, that of the empty one.
pub(crate) fn number(names: &mut Names, name: &str) -> u32 {
    match names.known(name) {
        Some(number) => number,
        None if names.len() < MOST_NAMES => names.number(name),
        None => names.number(""),
    }
}
